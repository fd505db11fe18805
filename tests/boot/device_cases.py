# SPDX-License-Identifier: Apache-2.0
"""
Boot tests of the smaller virtio devices with Debian's own drivers: console ports, balloon, persistent memory. Each guest
runs a script that does what the test is about and says so on its serial console.
"""
import os
import socket
import time

import guests
import processes
from cases import BOOT_TIMEOUT_S, END_TIMEOUT_S, case, need
from monitors import BootError, Guest

MIB = 1 << 20


def scripted(context, modules, script, **changes):
    initrd = guests.initramfs_with(context.path("cpio"), modules, script)
    return Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script", **changes)


def finish(session):
    if session.expect(r"^vmmctl-script-status (\d+)$", BOOT_TIMEOUT_S).group(1) != "0":
        raise BootError("the guest's script failed")
    session.expect_exit(0, END_TIMEOUT_S)
    session.expect_no_trouble()


CONSOLE_SCRIPT = """
set -e
echo hello from hvc0 > /dev/hvc0
port=/dev/$(basename $(dirname $(grep -l org.example.agent /sys/class/virtio-ports/*/name)))
echo guest-listens
read line < $port
i=0
while [ $i -lt 2000 ]; do echo "$i $line"; i=$((i + 1)); done > $port
"""


@case("virtio-console")
def virtio_console(context):
    """A console port writes a file; a named port talks to a socket, both ways, 2000 lines without a loss."""
    need(context, "virtio")
    file, path = context.path("hvc0.txt"), context.path("agent.sock")
    guest = scripted(context, ["virtio_mmio", "virtio_console"], CONSOLE_SCRIPT)
    extra = ["--console", f"file:{file}", "--console", f"socket:{path},name=org.example.agent"]
    with context.start(guest, extra=extra) as session:
        session.expect("^guest-listens$", BOOT_TIMEOUT_S)
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(BOOT_TIMEOUT_S)
            agent.connect(path)
            agent.sendall(b"ping\n")
            text = b""
            while text.count(b"\n") < 2000:
                part = agent.recv(65536)
                if not part:
                    raise BootError(f"the port closed after {len(text)} bytes")
                text += part
        if text.decode() != "".join(f"{i} ping\n" for i in range(2000)):
            raise BootError("the port's lines are not those that the guest wrote")
        finish(session)
    with open(file, encoding="ascii") as lines:
        if "hello from hvc0" not in lines.read():
            raise BootError("nothing came out of /dev/hvc0")


BALLOON_SCRIPT = """
set -e
mkdir /t
mount -t tmpfs -o size=240m tmpfs /t
dd if=/dev/urandom of=/t/1 bs=1M count=4 2>/dev/null
i=0
while [ $i -lt 40 ]; do cat /t/1 >> /t/file; i=$((i + 1)); done
echo guest-filled
read answer < /dev/ttyS0
rm /t/file
echo guest-emptied
read answer < /dev/ttyS0
for module in $(cat /balloon/order); do insmod /balloon/$module; done
i=0
while [ $(awk '/MemFree/ { print int($2 / 1024) }' /proc/meminfo) -gt 180 ] && [ $i -lt 60 ]; do sleep 1; i=$((i + 1)); done
echo guest-inflated
read answer < /dev/ttyS0
i=0
while [ $i -lt 40 ]; do cat /t/1 >> /t/file; i=$((i + 1)); done
ls -l /t/file
echo guest-refilled
read answer < /dev/ttyS0
"""


def await_resident(session, wanted, what, context):
    """Waits until the guest's resident memory satisfies; the host's view follows the guest's by seconds."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while not wanted(processes.resident_guest(session.process.pid)):
        if time.monotonic() > deadline:
            raise BootError(f"{what}: {processes.resident_guest(session.process.pid) // MIB} MiB are resident")
        session.pump(0.2)
    context.note(f"{context.remark} {what} {processes.resident_guest(session.process.pid) // MIB} MiB".strip())


@case("virtio-balloon")
def virtio_balloon(context):
    """What the guest frees and what the balloon takes leaves the host's memory; a guest in need takes it back."""
    need(context, "virtio")
    loaded = guests.modules("virtio_mmio")
    late = [path for path in guests.modules("virtio_mmio", "virtio_balloon") if path not in loaded]
    files = [(path, "/balloon/" + os.path.basename(path)) for path in late]
    order = context.path("order")
    with open(order, "w", encoding="ascii") as file:
        file.writelines(os.path.basename(path) + "\n" for path in late)
    initrd = guests.initramfs_with(context.path("cpio"), ["virtio_mmio"], BALLOON_SCRIPT, [*files, (order, "/balloon/order")])
    guest = Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script", memory="400M")
    extra = ["--balloon", "180M,deflate_on_oom,free_page_reporting,stats=1"]
    with context.start(guest, terminal=True, extra=extra) as session:
        pid = session.process.pid
        session.expect("^guest-filled$", BOOT_TIMEOUT_S)
        full = processes.resident_guest(pid)
        session.send("\n")
        session.expect("^guest-emptied$", BOOT_TIMEOUT_S)
        session.send("\n")
        session.expect("^guest-inflated$", BOOT_TIMEOUT_S)
        context.note(f"full {full // MIB} MiB")
        await_resident(session, lambda now: now < full - 100 * MIB, "inflated", context)
        low = processes.resident_guest(pid)
        session.send("\n")
        session.expect("^guest-refilled$", BOOT_TIMEOUT_S)
        await_resident(session, lambda now: now > low + 80 * MIB, "refilled", context)
        session.send("\n")
        finish(session)


PMEM_SCRIPT = """
set -e
test $(cat /sys/block/pmem0/size) -eq 8192
dd if=/dev/pmem0 bs=16 count=1 2>/dev/null
echo
echo written by the guest | dd of=/dev/pmem0 bs=4096 seek=1 conv=fsync,notrunc 2>/dev/null
grep virtio /proc/interrupts
# The device has no way to tell that it is read-only: the write is for nothing.
echo no | dd of=/dev/pmem1 bs=512 conv=fsync,notrunc 2>/dev/null || true
"""


@case("virtio-pmem")
def virtio_pmem(context):
    """A file is the guest's memory: read, written and flushed; a read-only one stays as it is."""
    need(context, "virtio")
    path, other = context.path("pmem"), context.path("readonly.pmem")
    for name, mark in ((path, b"from the host..."), (other, b"do not touch....")):
        with open(name, "wb") as file:
            file.write(mark)
            file.truncate(4 * MIB)
    guest = scripted(context, ["virtio_mmio", "virtio_pmem", "nd_pmem"], PMEM_SCRIPT)
    with context.start(guest, extra=["--pmem", path, "--pmem", other + ",readonly"]) as session:
        session.expect(r"^from the host\.\.\.$", BOOT_TIMEOUT_S)
        finish(session)
    with open(path, "rb") as file:
        file.seek(4096)
        if not file.read(32).startswith(b"written by the guest\n"):
            raise BootError("what the guest wrote is not in the file")
    with open(other, "rb") as file:
        if file.read(16) != b"do not touch....":
            raise BootError("a read-only file was written")
