# SPDX-License-Identifier: Apache-2.0
"""
Virtio devices under KVM, for run.py: in the rig a guest writes and checks a disk, fetches and sends a file through user-mode
networking, writes it to a second disk and takes random bytes; the rig compares what came out. Kicks of queues must not leave
the kernel: they are the ioeventfds of vmmctl's doorbells. (Debian's cloud kernel has no 9p: no share.)
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "boot"))

import guests  # noqa: E402
import monitors  # noqa: E402

MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk", "virtio_net", "virtio_rng")
DISK_BYTES = 4 << 20
KVM_CAP_IOEVENTFD = 36

LEASE = """#!/bin/sh
[ "$1" = bound ] && ip addr add $ip/${mask:-24} dev $interface && ip route add default via $router
"""

DISK_PART = f"""
disk_check random /dev/vda {DISK_BYTES} 77 100 || exit 1
echo "guest disk $(md5sum < /dev/vda)"
"""
REST = """
ip link set eth0 up
busybox udhcpc -i eth0 -s /lease -n -q -t 5 >/dev/null 2>&1 || exit 2
wget -q -O /f http://10.0.2.2:8080/f || exit 3
nc 10.0.2.2 9000 < /f || exit 4
dd if=/f of=/dev/vdb bs=64k oflag=direct 2>/dev/null || exit 5
dd if=/dev/hwrng of=/random bs=64 count=16 2>/dev/null
echo "guest file $(md5sum < /f)"
echo "guest random $(wc -c < /random)"
"""
SCRIPT = DISK_PART + "[ -e /sys/class/net/eth0 ] || exit 0\n" + REST

VMMCTL = "/vmmctl-shared boot --accel kvm --kernel /guest/bzImage --initrd /guest/virtio --mem 256M --log-level debug " \
         "--append 'console=ttyS0 quiet vmmctl_action=script' --disk /tmp/img,format=raw"
BEFORE = f"rm -f /tmp/img; dd if=/dev/zero of=/tmp/img bs={DISK_BYTES} count=1 2>/dev/null\n"
AFTER = """
echo "host disk $(md5sum < /tmp/img)"
grep -v "the doorbell at" /tmp/errors
echo "doorbells $(grep -c "the doorbell at .* is kvm" /tmp/errors) $(sed -n 's/.*doorbells rung over the buses: //p' /tmp/errors)"
"""


def slirp():
    """Where user-mode networking's library is: vmmctl loads it by name."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.search(r"libslirp\.so\.0 .*x86-64.* => (\S+)", listing)
    if not found:
        raise RuntimeError("libslirp.so.0 is not installed")
    return found.group(1)


def initrd(folder, disk_check):
    lease = os.path.join(folder, "lease")
    with open(lease, "w", encoding="ascii") as file:
        file.write(LEASE)
    os.chmod(lease, 0o755)
    return guests.initramfs_with(os.path.join(folder, "virtio.cpio"), MODULES, SCRIPT,
                                 [(lease, "/lease"), (disk_check, "/bin/disk_check")])


def everything_command(options):
    return f"""{BEFORE}
ip link set lo up
rm -rf /tmp/www /tmp/copy; mkdir /tmp/www
dd if=/dev/zero of=/tmp/copy bs=64k count=16 2>/dev/null
dd if=/dev/urandom of=/tmp/www/f bs=64k count=16 2>/dev/null
httpd -f -p 127.0.0.1:8080 -h /tmp/www & web=$!
rm -f /tmp/silence; mkfifo /tmp/silence  # at the end of its own input nc would hang up
nc -l -p 9000 <>/tmp/silence >/tmp/sent & sink=$!
{VMMCTL} --disk /tmp/copy,format=raw --net user --rng {options} 2>/tmp/errors
kill $web; kill $sink 2>/dev/null
{AFTER}
for file in www/f sent copy; do echo "host file $(md5sum < /tmp/$file)"; done
"""


def expect_disk(session, timeout_s):
    session.expect("^disk-check ok 100 ", timeout_s)
    guest = session.expect("^guest disk ([0-9a-f]{32})", timeout_s).group(1)
    return guest


def expect_host_disk(session, guest, timeout_s):
    """Returns the doorbells that KVM took, and how often one was rung over a bus."""
    host = session.expect("^host disk ([0-9a-f]{32})", timeout_s).group(1)
    if host != guest:
        raise monitors.BootError("the image does not hold what the guest wrote")
    taken, rung = session.expect(r"^doorbells (\d+) (\d+)$", timeout_s).groups()
    return int(taken), int(rung)


def expect_everything(session, timeout_s):
    start = session.seen
    guest = expect_disk(session, timeout_s)
    file = session.expect("^guest file ([0-9a-f]{32})", timeout_s).group(1)
    session.expect("^guest random 1024$", timeout_s)
    session.expect("^vmmctl-script-status 0$", timeout_s)
    taken, rung = expect_host_disk(session, guest, timeout_s)
    for where in ("served", "sent", "copied"):
        if session.expect("^host file ([0-9a-f]{32})", timeout_s).group(1) != file:
            raise monitors.BootError(f"the file that was {where} is not the one that the guest has")
    # A disk has a queue, a card two at least, and random bytes one.
    if taken < 5 or rung:
        raise monitors.BootError(f"{taken} doorbells are KVM's, and {rung} kicks left the kernel")
    for line in session.text[start:session.seen].split("\n"):
        if monitors.KERNEL_TROUBLE.search(line):
            raise monitors.BootError(f"the guest's log tells of trouble: {line}")
    return f"{taken} doorbells of KVM's"


def bus_command():
    """A disk alone, where KVM has no ioeventfd."""
    return f"{BEFORE}/refuse lacks:{KVM_CAP_IOEVENTFD} {VMMCTL} 2>/tmp/errors\n{AFTER}"


def expect_bus(session, timeout_s):
    guest = expect_disk(session, timeout_s)
    taken, rung = expect_host_disk(session, guest, timeout_s)
    if taken or rung < 100:
        raise monitors.BootError(f"{taken} doorbells are KVM's, and {rung} kicks came over the bus")
    return f"{rung} kicks over the bus"
