# SPDX-License-Identifier: Apache-2.0
"""
How a guest is started under each monitor, and a running one: its console, its terminal, its end. The tests speak of a
`Guest`; which flags that means to vmmctl or to QEMU is known only here. QEMU proves the tests themselves.
"""
import contextlib
import dataclasses
import fcntl
import os
import re
import select
import signal
import subprocess
import termios
import time

# What a line of a guest's log must not hold: the kernel's own words for trouble.
KERNEL_TROUBLE = re.compile(
    r"Kernel panic|BUG:|Oops|WARNING: CPU|unchecked MSR access|Call Trace|soft lockup|rcu.*detected.*stall|Hardware Error"
    r"|IO-APIC \+ timer doesn't work|CPU\d+ failed to report alive|segfault at|general protection")


class BootError(AssertionError):
    """A test's expectation that did not hold."""


@dataclasses.dataclass
class Guest:
    kernel: str
    initrd: str = ""
    append: str = "console=ttyS0"
    memory: str = "512M"
    cpus: int = 1
    modules: tuple = ()
    no_reboot: bool = False
    exit_port: bool = False
    serial: str = "stdio"


class Vmmctl:
    """The product. hang_s: a boot of the benchmarks that takes longer hangs."""

    name = "vmmctl"
    exit_quit = 0
    exit_reset = 0
    signal_shows = True
    hang_s = 120

    def __init__(self, path):
        self.path = path

    @staticmethod
    def exit_status(value):
        """The monitor's status when the guest writes this to the exit-code port."""
        return value

    def can(self, feature):
        return True

    def command(self, guest, extra=()):
        command = [self.path, "boot", "--accel", "tcg", "--kernel", guest.kernel, "--mem", guest.memory,
                   "--cpus", str(guest.cpus), "--append", guest.append, "--serial", guest.serial]
        if guest.initrd:
            command += ["--initrd", guest.initrd]
        for module in guest.modules:
            command += ["--module", module]
        if guest.no_reboot:
            command += ["--no-reboot"]
        if guest.exit_port:
            command += ["--exit-code-port", "0x501"]
        if os.environ.get("VMMCTL_TEST_JIT"):
            command += ["--jit", os.environ["VMMCTL_TEST_JIT"]]
        return command + list(extra)


class Qemu:
    """The peer, and the proof of the harness; machine is pc or microvm."""

    exit_quit = 0
    exit_reset = 0
    signal_shows = False
    hang_s = 40

    def __init__(self, machine, path="qemu-system-x86_64"):
        self.machine = machine
        self.path = path
        self.name = f"qemu-{machine}"

    @staticmethod
    def exit_status(value):
        return value << 1 | 1

    def can(self, feature):
        return feature not in ("rss", "files", "crash", "triple-fault", "config", "disks")

    def command(self, guest, extra=()):
        serial = "mon:stdio" if guest.serial == "stdio" else guest.serial
        append = guest.append + (" reboot=t" if self.machine == "microvm" else "")
        # Without its clock and PIT named, a microvm often finds no reference for its TSC, and hangs.
        machine = {"pc": "pc", "microvm": "microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on"}[self.machine]
        command = [self.path, "-M", machine, "-accel", "tcg",
                   "-m", guest.memory, "-smp", str(guest.cpus), "-nodefaults", "-no-user-config", "-display", "none",
                   "-serial", serial, "-kernel", guest.kernel, "-append", append]
        initrds = ([guest.initrd] if guest.initrd else []) + list(guest.modules)
        if initrds:
            command += ["-initrd", ",".join(initrds)]
        if guest.no_reboot:
            command += ["-no-reboot"]
        if guest.exit_port:
            command += ["-device", "isa-debug-exit,iobase=0x501,iosize=1"]
        return command + list(extra)


def become_session_of_terminal():
    """In the child: signals as by default (a job in the background inherits some ignored), and the terminal its own."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Session:
    """A monitor that runs: everything its console printed, and ways to wait for more. Use it in a `with`."""

    def __init__(self, command, log_path, terminal=False):
        self.log = open(log_path, "wb")
        self.log.write((" ".join(command) + "\n").encode())
        self.text = ""
        self.seen = 0
        self.start = time.monotonic()
        self.slave = None
        if terminal:
            self.master, self.slave = os.openpty()
            fcntl.ioctl(self.slave, termios.TIOCSWINSZ, b"\x28\0\xa0\0\0\0\0\0")
            self.settings = termios.tcgetattr(self.slave)
            self.process = subprocess.Popen(
                command, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
                preexec_fn=become_session_of_terminal)
        else:
            self.master, writer = os.pipe()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer,
                                            start_new_session=True)
            os.close(writer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
        if self.slave is not None:
            os.close(self.slave)
        self.log.close()

    def pump(self, timeout):
        """Takes what the console printed within the timeout; returns False at its end."""
        ready, _, _ = select.select([self.master], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.log.write(data)
        self.log.flush()
        self.text += data.decode("utf-8", "replace").replace("\r", "")
        return bool(data)

    def expect(self, pattern, timeout):
        """
        Waits until the pattern shows in what no earlier expect has consumed; returns the match. One that ends with $ is
        looked for in whole lines, since the last one may still be on its way.
        """
        deadline = time.monotonic() + timeout
        regex = re.compile(pattern, re.MULTILINE)
        alive = True
        while True:
            end = self.text.rfind("\n") + 1 if alive and pattern.endswith("$") else len(self.text)
            match = regex.search(self.text, self.seen, end)
            if match:
                self.seen = match.end()
                return match
            if not alive:
                raise BootError(f"the monitor ended (status {self.process.wait()}) before '{pattern}' showed")
            if time.monotonic() > deadline:
                raise BootError(f"'{pattern}' did not show within {timeout:.0f} s")
            # A terminal that this process holds open has no end of file: the process tells.
            alive = self.pump(0.1) and (self.slave is None or self.process.poll() is None)
            if not alive:
                while select.select([self.master], [], [], 0)[0] and self.pump(0):
                    pass

    def send(self, text):
        os.write(self.master, text.encode())

    def wait(self, timeout):
        """Waits for the monitor's end, taking its output meanwhile; returns its exit status."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise BootError(f"the monitor did not end within {timeout:.0f} s")
            if not self.pump(0.1):
                time.sleep(0.02)
        while select.select([self.master], [], [], 0)[0] and self.pump(0):
            pass
        return self.process.returncode

    def expect_exit(self, status, timeout):
        ended = self.wait(timeout)
        if ended != status:
            raise BootError(f"the exit status is {ended}, expected {status}")

    def expect_terminal_restored(self):
        now = termios.tcgetattr(self.slave)
        if now != self.settings:
            raise BootError(f"the terminal's settings were changed: {self.settings} became {now}")

    def expect_terminal_raw(self):
        if termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO):
            raise BootError("the terminal is not in raw mode while the guest runs")

    def case_text(self):
        """What the case has shown so far: of a session of its own, everything."""
        return self.text

    def expect_no_trouble(self):
        for line in self.text.split("\n"):
            if KERNEL_TROUBLE.search(line):
                raise BootError(f"the guest's log tells of trouble: {line}")
