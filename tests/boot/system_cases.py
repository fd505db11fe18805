# SPDX-License-Identifier: Apache-2.0
"""
Boot tests with a whole Debian on a virtio disk: systemd to the login prompt, a session, an orderly end, and a file system
that e2fsck finds clean.
"""
import os
import shutil
import subprocess

import guests
from cases import BOOT_TIMEOUT_S, END_TIMEOUT_S, Skip, case, need
from monitors import BootError, Guest

PROMPT = r"root@vmmctl:~# "


def debian_image(context):
    """A copy of the Debian image (tools/debian-image) that this case may write to."""
    if os.geteuid() != 0:
        raise Skip("a Debian image is made by debootstrap, which needs root")
    if not shutil.which("debootstrap", path=os.environ["PATH"] + ":/usr/sbin"):
        raise Skip("debootstrap is not here")
    image = guests.run_tool("debian-image")[1]
    copy = context.path("ext4")
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    return copy


def root_guest(context, **changes):
    initrd = guests.initramfs_with(context.path("cpio"), ["virtio_mmio", "virtio_blk", "ext4", "crc32c_generic"])
    return Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 vmmctl_action=root", **changes)


def check_file_system(image):
    result = subprocess.run(["/usr/sbin/e2fsck", "-f", "-n", image], capture_output=True, text=True, check=False)
    if result.returncode:
        raise BootError(f"e2fsck finds the disk damaged: {result.stdout.strip()}")


@case("debian-login")
def debian_login(context):
    """systemd comes up with nothing failed, a person logs in on the console, the machine goes down in order."""
    need(context, "virtio")
    image = debian_image(context)
    with context.start(root_guest(context), terminal=True, extra=["--disk", image]) as session:
        session.expect("vmmctl login: ", BOOT_TIMEOUT_S)
        session.send("root\n")
        session.expect(PROMPT, BOOT_TIMEOUT_S)
        session.send("systemctl is-system-running --wait; systemctl --failed --no-legend | cat; echo end-of-list\n")
        state = session.expect(r"(running|degraded)$", BOOT_TIMEOUT_S).group(1)
        failed = session.expect(r"([\s\S]*?)^end-of-list$", BOOT_TIMEOUT_S).group(1).strip()
        if state != "running":
            raise BootError(f"systemd is {state}: {failed}")
        session.send("date > /home/was-here; uptime; poweroff\n")
        session.expect_exit(0, BOOT_TIMEOUT_S + END_TIMEOUT_S)
        session.expect_no_trouble()
    check_file_system(image)
    os.unlink(image)
