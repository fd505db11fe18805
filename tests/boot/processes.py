# SPDX-License-Identifier: Apache-2.0
"""What the host's /proc tells of a running monitor: CPU time, and resident memory beyond the guest's own."""
import os
import re

# The guest's RAM: QEMU's anonymous block is told by its size, ours by the name of its memfd.
GUEST_MEMFD = re.compile(r"/memfd:guest-memory")
HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)$")


def cpu_seconds(pid):
    """User and system time of all threads so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_beyond_guest(pid, guest_bytes):
    """Rss of every mapping in bytes, less those that are the guest's RAM: memfds, and a block of exactly its size."""
    total = 0
    is_guest = False
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as smaps:
        for line in smaps:
            head = HEAD.match(line)
            if head:
                size = int(head.group(2), 16) - int(head.group(1), 16)
                is_guest = bool(GUEST_MEMFD.search(head.group(3))) or size == guest_bytes
            elif line.startswith("Rss:") and not is_guest:
                total += int(line.split()[1]) * 1024
    return total


def resident_guest(pid):
    """Rss of the guest's own memory in bytes."""
    total = 0
    is_guest = False
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as smaps:
        for line in smaps:
            head = HEAD.match(line)
            if head:
                is_guest = bool(GUEST_MEMFD.search(head.group(3)))
            elif line.startswith("Rss:") and is_guest:
                total += int(line.split()[1]) * 1024
    return total
