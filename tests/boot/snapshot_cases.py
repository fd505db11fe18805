# SPDX-License-Identifier: Apache-2.0
"""
Boot tests of snapshots: a guest that is saved, destroyed and made again from what was saved, in the middle of what it
does (tests/snapshot/cycle.c), and knows nothing of it.
"""
import contextlib
import os
import random
import re
import subprocess
import zlib

import disk_cases
import guests
import net_cases
from cases import BOOT_TIMEOUT_S, END_TIMEOUT_S, PROMPT, Skip, case, cloud, need
from monitors import BootError, Guest

RETYPE_S = 30
CYCLES = int(os.environ.get("VMMCTL_SNAPSHOTS", "20"))


def wrapper(context, every_ms, count=CYCLES, accels="-"):
    need(context, "disks")
    cycle = os.path.join(os.path.dirname(context.monitor.path), "../../tests/snapshot/snapshot-cycle")
    if not os.path.exists(cycle):
        raise Skip("snapshot-cycle is not built")
    folder = context.path("snapshots")
    os.makedirs(folder, exist_ok=True)
    return [os.path.join(guests.TOP, "tests/snapshot/wrap.py"), cycle, folder, str(every_ms), str(count), accels]


def expect_cycles(session, count=CYCLES):
    session.expect_exit(0, END_TIMEOUT_S)
    session.expect_no_trouble()
    taken = len(re.findall(r"snapshot-cycle: restored after", session.text))
    if taken != count:
        raise BootError(f"{taken} restores, expected {count}")


@case("snapshot-clocks")
def snapshot_clocks(context):
    """A kernel is saved twenty times while it boots and checks its clocks, with two CPUs."""
    source = os.path.join(guests.TOP, "tests/boot/guest/clock_check.c")
    program = os.path.join(guests.cache_folder(), "clock_check")
    with guests.locked():
        if not guests.is_fresh(program, source):
            subprocess.run(["cc", "-O2", "-static", "-pthread", "-D_GNU_SOURCE", "-o", program + ".tmp", source], check=True)
            os.rename(program + ".tmp", program)
    script = "clock_check 12 || exit 1\ngrep -E '^ *(ERR|MIS)' /proc/interrupts\ndmesg | grep -i 'tsc unstable\\|went backwards'\ntrue\n"
    initrd = guests.initramfs_with(context.path("cpio"), [], script, [(program, "/bin/clock_check")])
    guest = Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script", cpus=2)
    with context.start(guest, wrapper=wrapper(context, 300)) as session:
        session.expect(r"^clock_check: ok$", BOOT_TIMEOUT_S)
        expect_cycles(session)
        if re.search("tsc unstable|went backwards", session.text, re.IGNORECASE):
            raise BootError("the guest's kernel has noticed something")


def snapshot_disk(context, extra):
    path = disk_cases.image(context, "img", 4 << 20)
    script = ""
    for _ in range(8):
        script += f"disk_check random /dev/vda {4 << 20} {random.randrange(1 << 30)} 300 || exit 1\n"
    with disk_cases.start(context, script, [path], extra, wrapper=wrapper(context, 250), cpus=2) as session:
        session.expect(r"^vmmctl-script-status 0$", BOOT_TIMEOUT_S)
        expect_cycles(session)
    checked = re.findall(r"^disk-check ok 300 ([0-9a-f]{8})$", session.text, re.MULTILINE)[-1]
    with open(path, "rb") as file:
        if zlib.crc32(file.read()) != int(checked, 16):
            raise BootError("the image does not hold what the guest wrote")


@case("snapshot-disk")
def snapshot_disk_mmio(context):
    snapshot_disk(context, ())


@case("snapshot-disk-pci")
def snapshot_disk_pci(context):
    snapshot_disk(context, ("--virtio-transport", "pci", "--virtio-ring", "packed"))


@case("snapshot-net")
def snapshot_net(context):
    """Downloads go on: a connection that was cut is made again, and what arrived is what was sent."""
    with net_cases.web_server() as (port, digest):
        script = net_cases.DHCP + f"""
good=0; tries=0
while [ $good -lt 30 ] && [ $tries -lt 200 ]; do
    tries=$((tries + 1))
    busybox timeout 5 wget -q -O /tmp/f http://10.0.2.2:{port}/f || continue
    echo "{digest}  /tmp/f" | busybox md5sum -c -s || exit 3
    good=$((good + 1))
done
echo "downloads $good of $tries"
[ $good -eq 30 ]
"""
        with net_cases.start(context, script, ["user"], wrapper=wrapper(context, 300), cpus=1) as session:
            session.expect(r"^vmmctl-script-status 0$", BOOT_TIMEOUT_S)
            expect_cycles(session)


def type_until_answered(session, line, answer):
    """What is typed while no machine has the terminal, or has read it and not passed it on, is nobody's: it is typed again."""
    for _ in range(5):
        session.send(line + "\n")
        with contextlib.suppress(BootError):
            session.expect(answer, RETYPE_S)
            return
    raise BootError(f"no answer to '{line}'")


@case("snapshot-terminal")
def snapshot_terminal(context):
    """A shell goes on where it was, and what is typed afterwards arrives."""
    with context.start(cloud("shell"), terminal=True, wrapper=wrapper(context, 1000, count=4)) as session:
        session.expect(re.escape(PROMPT), BOOT_TIMEOUT_S)
        for number in range(100):
            type_until_answered(session, f"echo answer-$((1000 + {number}))", rf"^answer-{1000 + number}$")
            if session.text.count("restored after") == 4 and number > 3:
                break
            session.pump(0.3)
        session.send("poweroff -f\n")
        expect_cycles(session, 4)
