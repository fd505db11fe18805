#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
The KVM rig: a Linux host with a real kvm-amd, on any machine. QEMU's TCG emulates an AMD CPU with SVM, a stock Debian kernel
boots on it and loads its own KVM modules, and commands run there as root with a working /dev/kvm.

    tests/kvm/rig.py [--add FILE=PATH]... [--program FILE=PATH]... [--cpus N] [--memory MIB] [--timeout S] COMMAND...

Runs one shell command in the rig, printing the console; the exit status is the command's, or 125 when the rig did not come
up. The rig needs qemu-system-x86 and what tools/debian-fetch needs.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "boot"))

import guests  # noqa: E402
import monitors  # noqa: E402

QEMU = "qemu-system-x86_64"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
# Loaded in this order.
MODULES = ("virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-amd.ko")
BOOT_TIMEOUT_S = 120


def is_available():
    return shutil.which(QEMU) is not None


def host_files():
    """The rig's kernel and its modules, of one package, so that they fit."""
    patterns = ["boot/vmlinuz-*"] + [f"lib/modules/*/kernel/{module}" for module in MODULES]
    paths = [path for path in guests.run_tool("debian-fetch", KERNEL_PACKAGE, *patterns) if path]
    kernel = [path for path in paths if "/vmlinuz-" in path]
    modules = [path for path in paths if path.endswith(".ko")]
    if len(kernel) != 1 or len(modules) != len(MODULES):
        raise RuntimeError(f"{KERNEL_PACKAGE}: found {paths}")
    return kernel[0], modules


def with_libraries(path, target):
    """The files that a program needs in the rig: itself, and the shared libraries where it looks for them."""
    listing = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return [(path, target)] + [(library, library) for library in re.findall(r"(/\S+) \(0x", listing.stdout)]


class Rig:
    """A rig that boots when it is entered and runs the cases, (name, shell command) each; read its session in their order."""

    def __init__(self, cases, log_path, files=(), cpus=2, memory_mib=1024):
        self.cases = cases
        self.log_path = log_path
        self.files = list(files)
        self.cpus = cpus
        self.memory_mib = memory_mib

    def _initramfs(self, modules):
        path = os.path.join(self.folder, "rig.cpio.gz")
        additions = list(dict.fromkeys(self.files)) + [(module, "/modules/" + os.path.basename(module)) for module in modules]
        for number, (name, command) in enumerate(self.cases):
            case = os.path.join(self.folder, f"case{number}")
            with open(case, "w", encoding="ascii") as file:
                file.write(command + "\n")
            additions.append((case, f"/cases/{number:02}-{name}"))
        arguments = ["--output", path, "--compress", "none", "--init", os.path.join(HERE, "rig_init.sh")]
        for source, target in additions:
            arguments += ["--add", f"{source}={target}"]
        guests.run_tool("initramfs", *arguments)
        return path

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="vmmctl-rig.")
        try:
            kernel, modules = host_files()
            command = [QEMU, "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(self.cpus),
                       "-m", str(self.memory_mib), "-nodefaults", "-no-user-config", "-display", "none",
                       "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", self._initramfs(modules),
                       "-append", "console=ttyS0 tsc=reliable quiet loglevel=4 panic=-1"]
            self.session = monitors.Session(command, self.log_path)
            self.session.__enter__()
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *exception):
        self.session.__exit__(*exception)
        shutil.rmtree(self.folder)

    def expect_up(self):
        """The rig runs and has KVM."""
        match = self.session.expect(r"^rig: (up|no /dev/kvm)$", BOOT_TIMEOUT_S)
        if match.group(1) != "up":
            raise monitors.BootError("the rig came up without /dev/kvm")

    def expect_end(self, name, timeout):
        """Waits until a case ends; returns its exit status."""
        return int(self.session.expect(rf"^rig: end \d+-{re.escape(name)} status (\d+)$", timeout).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", action="append", default=[], metavar="FILE=PATH")
    parser.add_argument("--program", action="append", default=[], metavar="FILE=PATH", help="as --add, with its libraries")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", type=int, default=1024)
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    files = [tuple(addition.split("=", 1)) for addition in options.add]
    for program in options.program:
        files += with_libraries(*program.split("=", 1))
    command = " ".join(options.command)
    log = os.path.join(tempfile.gettempdir(), f"vmmctl-rig.{os.getpid()}.log")
    try:
        with Rig([("command", command)], log, files, options.cpus, options.memory) as rig:
            rig.expect_up()
            status = rig.expect_end("command", options.timeout)
    except monitors.BootError as error:
        print(f"rig: {error}", file=sys.stderr)
        status = 125
    with open(log, encoding="utf-8", errors="replace") as file:
        print(file.read())
    os.unlink(log)
    return status


if __name__ == "__main__":
    sys.exit(main())
