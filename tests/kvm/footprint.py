# SPDX-License-Identifier: Apache-2.0
"""What a running monitor has cost so far, as /proc tells: CPU time, and memory beyond its guest's."""
import os
import re


def cpu_ms(pid):
    """CPU time of all threads. schedstat counts nanoseconds, where stat counts ticks."""
    total_ns = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total_ns += int(file.read().split()[0])
    return total_ns / 1e6


def rss_beyond_guest_kib(pid):
    """Rss of all mappings but those of the guest's memory, a memfd of that name."""
    total_kib, is_guest = 0, False
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as file:
        for line in file:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                is_guest = "guest-memory" in line
            elif line.startswith("Rss:") and not is_guest:
                total_kib += int(line.split()[1])
    return total_kib
