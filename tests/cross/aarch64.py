#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
The program on aarch64: built with Debian's cross compiler against libraries of arm64 packages (unpacked into the cache, nothing is
installed), and run with qemu-aarch64. There it has the interpreter alone, which runs guest payloads as it does here.

    tests/cross/aarch64.py --payloads build/tests/guest [--counts FILE]
"""
import argparse
import os
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, "build-aarch64")
TRIPLET = "aarch64-linux-gnu"
LIBC = "/usr/" + TRIPLET
PACKAGES = ("libjansson-dev", "liburing-dev", "libfdt-dev", "libslirp-dev", "libcap-ng-dev", "zlib1g-dev", "liblz4-dev", "liblzma-dev",
            "libzstd-dev")
PROGRAMS = (TRIPLET + "-gcc", TRIPLET + "-objcopy", "qemu-aarch64", "meson", "ninja")
PAYLOADS = ("paging64", "long", "float", "segments", "paging32")
TIMEOUT_S = 900

CROSS_FILE = """[binaries]
c = '{triplet}-gcc'
ar = '{triplet}-ar'
strip = '{triplet}-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '{libc}']
[properties]
sys_root = '{root}'
pkg_config_libdir = '{root}/usr/lib/{triplet}/pkgconfig'
[built-in options]
c_args = ['-isystem', '{root}/usr/include', '-isystem', '{root}/usr/include/{triplet}']
c_link_args = ['-L{root}/usr/lib/{triplet}']
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'armv8-a'
endian = 'little'
"""


class Missing(Exception):
    """What this host lacks, and cannot be had."""


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False, **options)
    if done.returncode:
        raise AssertionError(f"{' '.join(command[:4])}...: status {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def sysroot():
    """A folder with headers and archives of the arm64 packages."""
    folder = None
    for package in PACKAGES:
        done = subprocess.run([os.path.join(TOP, "tools/debian-fetch"), package + ":arm64", "usr/include/*", "usr/lib/*"],
                              capture_output=True, text=True, check=False)
        paths = done.stdout.split()
        if done.returncode or not paths:
            raise Missing(f"{package}:arm64 cannot be fetched: {done.stderr.strip()[-200:]}")
        base = paths[0][:paths[0].index("/usr/")]
        folder = folder or os.path.join(os.path.dirname(base), "sysroot-arm64")
        shutil.copytree(os.path.join(base, "usr"), os.path.join(folder, "usr"), dirs_exist_ok=True)
    return folder


def build():
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        raise Missing("not here: " + ", ".join(missing))
    root = sysroot()
    if not os.path.exists(os.path.join(BUILD, "build.ninja")):
        os.makedirs(BUILD, exist_ok=True)
        with open(os.path.join(BUILD, "cross.txt"), "w", encoding="ascii") as file:
            file.write(CROSS_FILE.format(triplet=TRIPLET, libc=LIBC, root=root))
        run("meson", "setup", BUILD, TOP, "--cross-file", os.path.join(BUILD, "cross.txt"), "--buildtype=release", "-Dtests=false",
            env=dict(os.environ, CC="gcc"))
    run("ninja", "-C", BUILD, "vmmctl")
    return os.path.join(BUILD, "vmm/machine/vmmctl")


def emulated(vmmctl, *arguments):
    return run("qemu-aarch64", "-L", LIBC, vmmctl, *arguments, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)


def check_version(vmmctl, _payloads):
    assert emulated(vmmctl, "version").startswith("vmmctl "), "no version"


def check_probe(vmmctl, _payloads):
    text = emulated(vmmctl, "probe")
    assert "aarch64" in text and "accel tcg    works" in text and "accel kvm" not in text, text


def check_payload(name):
    def check(vmmctl, payloads):
        with open(os.path.join(TOP, "tests/guest/expected", name + ".txt"), encoding="utf-8") as file:
            expected = file.read().splitlines()
        text = emulated(vmmctl, "boot", "--accel", "tcg", "--kernel", os.path.join(payloads, name + ".elf"), "--exit-code-port",
                        "--no-reboot", "--mem", "64M", "--cpu", "max")
        lines = text.replace("\r", "").splitlines()
        wrong = [(wanted, got) for wanted, got in zip(expected, lines) if wanted != got]
        assert lines == expected, f"{len(lines)} lines of {len(expected)}, {len(wrong)} differ: {wrong[:5]}"

    return check


CHECKS = {"version": check_version, "probe": check_probe} | {"payload-" + name: check_payload(name) for name in PAYLOADS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payloads", required=True, help="where the build has its guest payloads")
    parser.add_argument("--counts", help="write `PASSED FAILED SKIPPED` there")
    options = parser.parse_args()
    passed = failed = skipped = 0
    try:
        vmmctl = build()
    except Missing as reason:
        print(f"cross: aarch64 is left out: {reason}")
        vmmctl, skipped = None, len(CHECKS)
    except AssertionError as error:
        print(f"cross: the build failed: {error}")
        vmmctl, failed = None, 1
    for name, check in CHECKS.items() if vmmctl else ():
        try:
            check(vmmctl, options.payloads)
            passed += 1
            print(f"  cross aarch64 {name:<20} ok", flush=True)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"  cross aarch64 {name:<20} BAD\n{error}", flush=True)
    print(f"cross: {passed} passed, {failed} failed, {skipped} skipped")
    if options.counts:
        with open(options.counts, "w", encoding="ascii") as file:
            print(passed, failed, skipped, file=file)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
