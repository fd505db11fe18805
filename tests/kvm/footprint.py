# SPDX-License-Identifier: Apache-2.0
"""What a running monitor has cost so far, as /proc tells: CPU time, and memory beyond its guest's."""
import os
import re
import subprocess

# mov dx,0x3f8; mov al,'x'; out dx,al; mov al,10; out dx,al; cli; hlt; jmp back
WRITE_AND_HALT = bytes.fromhex("ba f8 03 b0 78 ee b0 0a ee fa f4 eb fd")


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


def of_a_start(command):
    """(CPU time in ms from exec, KiB resident beyond the guest's memory) when the guest, WRITE_AND_HALT, has written its byte."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        if child.stdout.read(2) != b"x\n":
            raise RuntimeError(f"the guest wrote nothing: {' '.join(command)}")
        return cpu_ms(child.pid), rss_beyond_guest_kib(child.pid)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
