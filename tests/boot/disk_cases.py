# SPDX-License-Identifier: Apache-2.0
"""
Boot tests of disks: real guests on real images. A small static program of ours (guest/disk_check.c) does the writing
and checking inside; the host looks at the images afterwards with e2fsprogs.
"""
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time
import zlib

import guests
from cases import BOOT_TIMEOUT_S, END_TIMEOUT_S, case, need
from monitors import BootError, Guest

DISK_MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk")
# The kills of `disk-survives-kills`; fifty are `VMMCTL_DISK_KILLS=50 tests/boot/run.py ... disk-survives-kills`.
KILLS = int(os.environ.get("VMMCTL_DISK_KILLS", "5"))
JOURNAL_FILES = 16
RECORD_MAGIC = 0x4B534944
RECORD_HEAD = struct.Struct("<IIII")


def program():
    """The guest's program, static, made anew when its source has changed."""
    source = os.path.join(guests.TOP, "tests/boot/guest/disk_check.c")
    path = os.path.join(guests.cache_folder(), "disk_check")
    with guests.locked():
        if not guests.is_fresh(path, source):
            subprocess.run(["cc", "-O2", "-static", "-D_GNU_SOURCE", "-o", path + ".tmp", source], check=True)
            os.rename(path + ".tmp", path)
    return path


def start(context, script, disks, extra=(), wrapper=(), **changes):
    """A guest that runs a script with the program as /disk_check, and these disks."""
    initrd = guests.initramfs_with(context.path(f"{context.starts}.cpio"), DISK_MODULES, script,
                                   [(program(), "/bin/disk_check")])
    guest = Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script", **changes)
    arguments = [argument for disk in disks for argument in ("--disk", disk)]
    return context.start(guest, extra=[*arguments, *extra], wrapper=wrapper)


def image(context, name, size, ext4=False):
    path = context.path(name)
    with open(path, "wb") as file:
        file.truncate(size)
    if ext4:
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-F", path], check=True)
    return path


def expect_script(session, status=0):
    session.expect(rf"^vmmctl-script-status {status}$", BOOT_TIMEOUT_S)
    session.expect_exit(0, END_TIMEOUT_S)
    session.expect_no_trouble()


def random_extents(context, settings, extra=(), cpus=1):
    """Random extents of a raw disk; what the guest wrote last is what the image holds."""
    need(context, "disks")
    path = image(context, "img", 4 << 20)
    script = f"disk_check random /dev/vda {4 << 20} {random.randrange(1 << 30)} 300 || exit 1\n"
    with start(context, script, [path + settings], extra, cpus=cpus) as session:
        checked = session.expect(r"^disk-check ok 300 ([0-9a-f]{8})$", BOOT_TIMEOUT_S).group(1)
        expect_script(session)
    with open(path, "rb") as file:
        if zlib.crc32(file.read()) != int(checked, 16):
            raise BootError("the image does not hold what the guest wrote")


for case_name, case_settings, case_extra in (
        ("io_uring", ",engine=io_uring,format=raw", ()),
        ("threads", ",engine=threads,format=raw", ()),
        ("direct", ",cache=direct,format=raw", ()),
        ("direct-pinned", ",cache=direct,pin,engine=io_uring,format=raw", ()),
        ("packed", ",engine=auto", ("--virtio-ring", "packed")),
        ("pci", ",engine=auto", ("--virtio-transport", "pci")),
        ("limited", ",iops=2000,bps=64M", ())):
    case(f"disk-random-{case_name}")(
        lambda context, settings=case_settings, extra=case_extra: random_extents(context, settings, extra))


@case("disk-random-queues")
def disk_random_queues(context):
    random_extents(context, ",queues=2", cpus=2)


@case("disk-ext4")
def disk_ext4(context):
    """A file system on one disk of 4096-byte blocks, unpacked to from a second one that is read-only."""
    need(context, "disks")
    path = image(context, "img", 64 << 20, ext4=True)
    other = image(context, "ro.img", 4 << 20)
    with open(other, "r+b") as file:
        file.write(os.urandom(4 << 20))
    with open(other, "rb") as file:
        crc = zlib.crc32(file.read())
    script = """
cat /sys/block/vda/queue/logical_block_size /sys/block/vdb/ro /sys/block/vda/serial; echo
mkdir /mnt && mount -t ext4 /dev/vda /mnt || exit 1
for n in 1 2 3; do cp /dev/vdb /mnt/copy$n || exit 2; done
rm /mnt/copy2; sync; dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>/dev/null && exit 3
umount /mnt && mount -t ext4 -o discard /dev/vda /mnt && rm /mnt/copy3 && sync && cmp /dev/vdb /mnt/copy1 || exit 4
umount /mnt
"""
    with start(context, script, [f"{path},block_size=4096,serial=root-disk", f"{other},readonly"]) as session:
        session.expect(r"^4096\n1\nroot-disk$", BOOT_TIMEOUT_S)
        expect_script(session)
    subprocess.run(["e2fsck", "-fn", path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    copy = dump(path, "/copy1", context.path("copy1"))
    if zlib.crc32(copy) != crc:
        raise BootError("the file on the disk differs from what the guest copied")


@case("disk-resize")
def disk_resize(context):
    """A disk grows while the guest runs: it is told, and reaches the new end."""
    need(context, "disks")
    path = image(context, "img", 4 << 20)
    script = """
echo before $(cat /sys/block/vda/size)
while [ $(cat /sys/block/vda/size) = 8192 ]; do sleep 0.1; done
echo after $(cat /sys/block/vda/size)
dd if=/dev/zero of=/dev/vda bs=1M count=1 seek=7 oflag=direct 2>/dev/null || exit 1
"""
    with start(context, script, [path]) as session:
        session.expect(r"^before 8192$", BOOT_TIMEOUT_S)
        os.truncate(path, 8 << 20)
        session.process.send_signal(signal.SIGUSR1)
        session.expect(r"^after 16384$", END_TIMEOUT_S)
        expect_script(session)


@case("disk-is-locked")
def disk_is_locked(context):
    """A second machine does not get a disk that one writes to, and is told who has it; readers share."""
    need(context, "disks")
    path = image(context, "img", 4 << 20)
    script = "echo up; while :; do sleep 1; done"
    with start(context, script, [path]) as first:
        first.expect("^up$", BOOT_TIMEOUT_S)
        for settings in ("", ",readonly"):
            with start(context, script, [path + settings]) as second:
                second.expect(rf"{re.escape(path)} is locked: .*process {first.process.pid} \(vmmctl\)", END_TIMEOUT_S)
                second.expect_exit(1, END_TIMEOUT_S)
    with start(context, script, [path + ",readonly"]) as first:
        first.expect("^up$", BOOT_TIMEOUT_S)
        with start(context, script, [path + ",readonly"]) as second:
            second.expect("^up$", BOOT_TIMEOUT_S)


@case("disk-without-io_uring")
def disk_without_io_uring(context):
    """Where the kernel refuses io_uring, as most containers have it, threads do the same; unless io_uring was asked for."""
    need(context, "disks")
    path = image(context, "img", 1 << 20)
    refuse = ["strace", "-f", "--seccomp-bpf", "-o", context.path("strace.out"), "-e", "trace=io_uring_setup",
              "-e", "inject=io_uring_setup:error=EPERM"]
    script = f"disk_check random /dev/vda {1 << 20} 1 50 || exit 1\n"
    with start(context, script, [path], ("--log-level", "info"), refuse) as session:
        session.expect(r"io_uring: Operation not permitted; threads do its I/O", END_TIMEOUT_S)
        session.expect(r"^disk-check ok 50 ", BOOT_TIMEOUT_S)
        expect_script(session)
    with start(context, script, [path + ",engine=io_uring"], (), refuse) as session:
        session.expect(rf"--disk \(disks\): {re.escape(path)}: io_uring: Operation not permitted", END_TIMEOUT_S)
        session.expect_exit(1, END_TIMEOUT_S)


# --- the monitor is killed

def dump(path, name, target):
    """A file out of an ext4 image, without mounting it."""
    with open(target, "wb"):
        pass
    subprocess.run(["debugfs", "-R", f"dump {name} {target}", path], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    with open(target, "rb") as file:
        return file.read()


def records(data):
    """The numbers of the whole records that data begins with."""
    numbers, at = [], 0
    while len(data) - at >= RECORD_HEAD.size:
        magic, number, length, crc = RECORD_HEAD.unpack_from(data, at)
        body = data[at + RECORD_HEAD.size:at + RECORD_HEAD.size + length]
        if magic != RECORD_MAGIC or len(body) != length or zlib.crc32(body) != crc:
            break
        numbers.append(number)
        at += RECORD_HEAD.size + length
    return numbers


def check_survivors(context, path, acked):
    """The journal replayed, the file system whole, and everything in it that the guest was told of."""
    copy = context.path("copy.img")
    shutil.copyfile(path, copy)
    replay = subprocess.run(["e2fsck", "-y", "-E", "journal_only", copy], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False)
    if replay.returncode > 1:
        raise BootError(f"the journal cannot be replayed:\n{replay.stdout}")
    check = subprocess.run(["e2fsck", "-fn", copy], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           check=False)
    if check.returncode != 0:
        raise BootError(f"the file system is damaged:\n{check.stdout}")
    log = records(dump(copy, "/log", context.path("log.dump")))
    if log != list(range(len(log))) or len(log) <= acked["log"]:
        raise BootError(f"record {acked['log']} was acknowledged, and the log ends at {len(log)}")
    for number in sorted(acked["file"].values()):
        found = records(dump(copy, f"/file{number % JOURNAL_FILES}", context.path("file.dump")))
        if len(found) != 1 or found[0] % JOURNAL_FILES != number % JOURNAL_FILES or found[0] < number:
            raise BootError(f"file {number} was acknowledged, and its place holds {found}")


def note_acked(text, acked):
    """Takes over what the guest said; a line that the kill cut short says nothing."""
    for kind, number in re.findall(r"^acked (log|file) (\d+)\n", text, re.MULTILINE):
        number = int(number)
        if kind == "log":
            acked["log"] = max(acked["log"], number)
        else:
            acked["file"][number % JOURNAL_FILES] = number


def kill_once(context, path, settings, acked):
    script = "mkdir /mnt; mount -t ext4 /dev/vda /mnt && disk_check journal /mnt"
    with start(context, script, [path + settings]) as session:
        session.expect(r"^resumed at \d+$", BOOT_TIMEOUT_S)
        session.expect(r"^acked log \d+$", BOOT_TIMEOUT_S)
        deadline = time.monotonic() + random.uniform(0, 1.5)
        while time.monotonic() < deadline:
            session.pump(0.01)
        session.process.kill()
        session.process.wait()
        while session.pump(0) and not session.process.poll() is None:
            if not session.pump(0.05):
                break
        note_acked(session.text, acked)
        session.expect_no_trouble()


@case("disk-survives-kills")
def disk_survives_kills(context):
    """kill -9 of the monitor while the guest writes: what fsync told the guest is there, every time."""
    need(context, "disks")
    path = image(context, "img", 64 << 20, ext4=True)
    acked = {"log": -1, "file": {}}
    before = -1
    ways = (",engine=io_uring", ",engine=threads", ",cache=direct")
    for number in range(KILLS):
        kill_once(context, path, ways[number % len(ways)], acked)
        if acked["log"] <= before:
            raise BootError("the guest acknowledged nothing, so nothing is proven")
        before = acked["log"]
        check_survivors(context, path, acked)
    context.note(f"{KILLS} kills, {acked['log'] + 1} records")
