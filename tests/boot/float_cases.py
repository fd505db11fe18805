# SPDX-License-Identifier: Apache-2.0
"""
Boot tests of floating point: a program of ours (guest/float_check.c) must print in a guest what it prints on this host, however
the guest is executed. The C library's choices by CPU are switched off, so that both execute the same instructions.
"""
import os
import subprocess

import guests
from cases import BOOT_TIMEOUT_S, END_TIMEOUT_S, Skip, case
from monitors import BootError, Guest

TUNABLES = "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F"
LINES = 17


def program():
    """The program, static, made anew when its source has changed."""
    source = os.path.join(guests.TOP, "tests/boot/guest/float_check.c")
    path = os.path.join(guests.cache_folder(), "float_check")
    with guests.locked():
        if not guests.is_fresh(path, source):
            subprocess.run(["cc", "-O2", "-static", "-pthread", "-o", path + ".tmp", source, "-lm"], check=True)
            os.rename(path + ".tmp", path)
    return path


def host_lines():
    result = subprocess.run([program()], capture_output=True, text=True, check=False, env={"GLIBC_TUNABLES": TUNABLES})
    if result.returncode:
        raise BootError(f"the program fails on this host: {result.stdout.strip()}")
    return result.stdout.split("\n")[:LINES]


def compare(context, jit, **changes):
    if context.monitor.name != "vmmctl":
        raise Skip("compares this host's CPU with the built-in one")
    expected = host_lines()
    initrd = guests.initramfs_with(context.path("cpio"), [], f"GLIBC_TUNABLES={TUNABLES} /bin/float_check\n",
                                   [(program(), "/bin/float_check")])
    guest = Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script", **changes)
    with context.start(guest, extra=("--jit", jit)) as session:
        for line in expected:
            got = session.expect(r"^float_check: .*$", BOOT_TIMEOUT_S).group(0).strip()
            if got != line:
                raise BootError(f"expected '{line}', the guest says '{got}'")
        session.expect(r"^vmmctl-script-status 0$", BOOT_TIMEOUT_S)
        session.expect_exit(0, END_TIMEOUT_S)
        session.expect_no_trouble()
        if "jit mismatch" in session.text:
            raise BootError("translated code and interpreter disagree")


@case("float-interpreted")
def float_interpreted(context):
    compare(context, "off")


@case("float-translated")
def float_translated(context):
    """On two CPUs, whose threads and signals take the registers from one another."""
    compare(context, "on", cpus=2)


@case("float-verified")
def float_verified(context):
    compare(context, "verify=20")
