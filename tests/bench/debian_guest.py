# SPDX-License-Identifier: Apache-2.0
"""
A Debian on a virtio disk for the benchmarks: its image (tools/debian-image), the initramfs that reaches it, and how a disk is
named to each monitor. Knows nothing of what is measured.
"""
import contextlib
import os
import subprocess
import tempfile

import guests
import monitors

PACKAGES = "python3,perl,gcc,libc6-dev,make,xz-utils,sqlite3,openssl,stress-ng"
SIZE = "2560M"
MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
PROMPT = r"root@vmmctl:~# "

# Inside of the initramfs: /dev/vda is the root of what runs, with a /tmp in memory that has the data of the initramfs.
CHROOT_SCRIPT = """
set -e
while [ ! -b /dev/vda ]; do sleep 0.1; done
mkdir -p /mnt
mount -t ext4 -o ro,noload /dev/vda /mnt
for name in dev proc sys; do mount -o bind /$name /mnt/$name; done
mount -t tmpfs tmpfs /mnt/tmp
cp -r /data/. /mnt/tmp/
chroot /mnt /bin/bash /tmp/run
"""


def image(packages=PACKAGES, size=SIZE):
    """(folder, image) of a Debian with these packages; made once, which needs root and Debian's servers."""
    arguments = ["--size", size] + (["--include", packages] if packages else [])
    return guests.run_tool("debian-image", *arguments)[:2]


def initramfs(folder, script, files=()):
    return guests.initramfs_with(os.path.join(folder, "debian.cpio"), MODULES, script, files)


def disk(monitor, path, readonly):
    if isinstance(monitor, monitors.Vmmctl):
        return ["--disk", path + (",readonly" if readonly else "")]
    return ["-drive", f"file={path},if=none,id=d0,format=raw" + (",readonly=on" if readonly else ""),
            "-device", "virtio-blk-pci,drive=d0"]


@contextlib.contextmanager
def copy_of(path):
    """A copy that a guest may write to."""
    with tempfile.NamedTemporaryFile(prefix="vmmctl-disk-", suffix=".ext4") as file:
        subprocess.run(["cp", "--sparse=always", path, file.name], check=True)
        yield file.name


def root_guest(folder, **changes):
    """Debian's own init on /dev/vda."""
    return monitors.Guest(guests.KERNELS["cloud"][1](), initramfs(folder, None),
                          append="console=ttyS0 quiet vmmctl_action=root", **changes)
