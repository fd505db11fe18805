#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
The KVM rig: a Linux host with a real kvm-amd, on any machine. QEMU's TCG emulates an AMD CPU with SVM, a stock Debian kernel
boots on it and loads its own KVM modules, and commands run there as root with a working /dev/kvm.

The rig's kernel can stand still, all by itself: hold.c tells why. Whoever waits for something in the rig is told (StoodStill).

    tests/kvm/rig.py [--add FILE=PATH]... [--program FILE=PATH]... [--cpus N] [--memory MIB] [--timeout S] COMMAND...

Runs one shell command in the rig, printing the console; the exit status is the command's, or 125 when the rig did not come
up. The rig needs qemu-system-x86 and what tools/debian-fetch needs.
"""
import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

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
# The heart beats every two seconds; a host that is so busy that it takes twenty times as long was not seen.
HEART_PATIENCE_S = 45


class StoodStill(monitors.BootError):
    """The rig's own kernel does nothing any more: no fault of what ran in it."""


class RigSession(monitors.Session):
    """
    The rig's console, and its heart: the rig's init writes to a second serial port, a file of the host's, as long as every CPU
    of the rig runs processes.
    """

    def __init__(self, command, log_path, heart, monitor):
        self.heart = heart
        self.monitor = monitor
        self.beaten = 0
        self.beaten_at = time.monotonic()
        super().__init__(command, log_path)

    def pump(self, timeout):
        alive = super().pump(timeout)
        self._watch()
        return alive

    def expect(self, pattern, timeout):
        """As ever, but what a case must show shows before its end."""
        found = super().expect(rf"{pattern}|^rig: end \d+-.*$", timeout)
        match = re.compile(pattern, re.MULTILINE).search(self.text, found.start(), found.end())
        if not match:
            raise monitors.BootError(f"the case ended before '{pattern}' showed")
        return match

    def case_text(self):
        """What the case has shown so far."""
        return self.text[max(self.text.rfind("\nrig: begin ", 0, self.seen), 0):]

    def expect_no_trouble(self):
        """In what the case has shown: the rig's own kernel has words about its CPU when it boots."""
        for line in self.case_text().split("\n"):
            if monitors.KERNEL_TROUBLE.search(line):
                raise monitors.BootError(f"the guest's log tells of trouble: {line}")

    def _watch(self):
        beaten = os.path.getsize(self.heart) if os.path.exists(self.heart) else 0
        if beaten != self.beaten:
            self.beaten, self.beaten_at = beaten, time.monotonic()
        silence_s = time.monotonic() - self.beaten_at
        if silence_s > (HEART_PATIENCE_S if self.beaten else BOOT_TIMEOUT_S) and self.process.poll() is None:
            self._keep_registers()
            raise StoodStill(f"the rig's kernel stood still for {silence_s:.0f} s")

    def _keep_registers(self):
        """Where the CPUs are goes to the log; a QEMU that stands still as well does not tell."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(2)
            monitor.connect(self.monitor)
            monitor.sendall(b"info registers -a\n")
            while True:
                self.log.write(monitor.recv(65536))


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


def holder():
    """hold.c, static, made anew when its source has changed."""
    source = os.path.join(HERE, "hold.c")
    path = os.path.join(guests.cache_folder(), "rig-hold")
    with guests.locked():
        if not guests.is_fresh(path, source):
            subprocess.run(["cc", "-O2", "-static", "-o", path + ".tmp", source], check=True)
            os.rename(path + ".tmp", path)
    return path


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
        additions = [*dict.fromkeys(self.files), (holder(), "/hold")] + [(module, "/modules/" + os.path.basename(module)) for module in modules]
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

    def _command(self):
        kernel, modules = host_files()
        return [QEMU, "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(self.cpus),
                "-m", str(self.memory_mib), "-nodefaults", "-no-user-config", "-display", "none",
                "-serial", "stdio", "-serial", f"file:{self.heart}", "-monitor", f"unix:{self.monitor},server,nowait",
                "-no-reboot", "-kernel", kernel, "-initrd", self._initramfs(modules),
                "-append", "console=ttyS0 tsc=reliable quiet loglevel=4 panic=-1"]

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="vmmctl-rig.")
        self.heart = os.path.join(self.folder, "heart")
        self.monitor = os.path.join(self.folder, "monitor")
        try:
            self.session = RigSession(self._command(), self.log_path, self.heart, self.monitor)
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

    def expect_begin(self, name, timeout):
        """Goes on to this case, whatever the last one left unread."""
        monitors.Session.expect(self.session, rf"^rig: begin \d+-{re.escape(name)}$", timeout)

    def has_died(self):
        """It ended, and not because its cases had."""
        return self.session.process.poll() is not None and "rig: down" not in self.session.text

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
