#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
KVM as vmmctl's users meet it on this host: what is said where /dev/kvm cannot be used, what runs instead, and how a
machine on KVM ends under signals. `refuse` (refuse.c) makes each kind of host.

    test_kvm_user.py VMMCTL REFUSE

Cases are skipped where this host cannot be made so: without root's rights, or without a /dev/kvm of any kind.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import footprint  # noqa: E402

VMMCTL = ""
REFUSE = ""
CANNOT_ARRANGE = 77
TIMEOUT_S = 60
# mov dx,0x501; mov al,7; out dx,al; jmp $
EXIT_7 = bytes.fromhex("ba 01 05 b0 07 ee eb fe")
# The PIC's words; the PIT's channel 0 ticks; a count at 0x90000 goes up; below three a reset by 0xcf9, else exit with it.
RESET_TWICE = bytes.fromhex(
    "b8 00 90 8e d8 b0 11 e6 20 b0 20 e6 21 b0 04 e6 21 b0 01 e6 21 b0 fe e6 21 b0 34 e6 43 b0 00 e6 40 b0 01 e6 40"
    "fe 06 00 00 80 3e 00 00 03 73 08 ba f9 0c b0 06 ee eb fe ba 01 05 a0 00 00 ee f4")
SPIN = bytes.fromhex("eb fe")
HALT = bytes.fromhex("fa f4 eb fd")
# Those that end no process by themselves, those that stop it, and the one that nobody can take.
HARMLESS = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
# Those that must end it, by themselves.
ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV,
          signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGALRM}


def run(how, *arguments):
    """vmmctl on a host of that kind."""
    result = subprocess.run([REFUSE, how, VMMCTL, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S,
                            stdin=subprocess.DEVNULL, check=False)
    if result.returncode == CANNOT_ARRANGE:
        raise unittest.SkipTest(f"this host cannot be made {how}: {result.stderr.strip()}")
    return result


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        os.chmod(self.folder.name, 0o755)
        self.addCleanup(self.folder.cleanup)

    def guest(self, code):
        path = os.path.join(self.folder.name, "guest")
        with open(path, "wb") as file:
            file.write(code)
        # A KVM that interprets has been seen to know no more than the baseline.
        return ["boot", "--kernel", path, "--protocol", "flat", "--mem", "4M", "--cpu", "x86-64"]

    def need_node(self):
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            self.skipTest("there is no /dev/kvm that this user may open")


class Refusals(Case):
    def expect_refusal(self, how, reason):
        """probe names it, --accel kvm fails with it, --accel auto goes on with another accelerator and says why."""
        probe = run(how, "probe")
        self.assertRegex(probe.stdout, f"(?m)^accel kvm +.*{reason}")
        self.assertRegex(probe.stdout, r"(?m)^--accel auto takes (?!kvm)\w+, because .*" + reason)
        asked = run(how, *self.guest(EXIT_7), "--accel", "kvm")
        self.assertEqual(asked.returncode, 1)
        self.assertRegex(asked.stderr, f"accelerator kvm: .*{reason}")
        auto = run(how, *self.guest(EXIT_7), "--accel", "auto", "--exit-code-port", "--log-level", "info")
        self.assertRegex(auto.stderr, r"accelerator: (?!kvm)\w+, because .*" + reason)
        self.assertEqual(auto.returncode, 7, auto.stderr)

    def test_no_device(self):
        self.expect_refusal("missing", "there is no /dev/kvm")

    def test_a_device_without_a_driver(self):
        self.expect_refusal("empty", "no KVM behind it")

    def test_no_permission(self):
        self.expect_refusal("forbidden", "no permission to open /dev/kvm: join its group")

    def test_opening_is_forbidden(self):
        self.need_node()
        self.expect_refusal("closed", "opening /dev/kvm is forbidden")

    def test_ioctls_are_forbidden(self):
        self.need_node()
        self.expect_refusal("deaf", "ioctl on /dev/kvm is forbidden, by seccomp")

    def test_another_interface(self):
        self.need_node()
        self.expect_refusal("version:11", "interface has version 11, 12 is needed")

    def test_a_kernel_too_old(self):
        self.need_node()
        self.expect_refusal("lacks:136", "too old: it lacks immediate exit")
        self.expect_refusal("lacks:55", "too old: it lacks XSAVE state")


class Choice(Case):
    def test_auto_leaves_a_slow_kvm(self):
        """A KVM that runs guests, but not at speed: it may be asked for, and auto leaves it."""
        self.need_node()
        probe = run("slow:20", "probe")
        self.assertRegex(probe.stdout, r"(?m)^accel kvm +it opens, but interprets guest code")
        self.assertRegex(probe.stdout, r"(?m)^--accel auto takes (?!kvm)\w+, .*interprets guest code")
        asked = run("slow:20", *self.guest(EXIT_7), "--accel", "kvm", "--exit-code-port")
        self.assertEqual(asked.returncode, 7, asked.stderr)

    def test_auto_agrees_with_the_finding(self):
        """On this host as it is, with one line of log."""
        self.need_node()
        probe = subprocess.run([VMMCTL, "probe"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
        fast = "accel kvm    works" in probe
        self.assertEqual(fast, "--accel auto takes kvm" in probe, probe)
        boot = subprocess.run([VMMCTL, *self.guest(EXIT_7), "--exit-code-port", "--log-level", "info"],
                              capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(boot.returncode, 7, boot.stderr)
        self.assertEqual(fast, "accelerator: kvm, " in boot.stderr, boot.stderr)
        self.assertEqual(boot.stderr.count("accelerator: "), 1)


class Irqchips(Case):
    def boot(self, how, *options):
        return run(how, *self.guest(RESET_TWICE), "--exit-code-port", "--serial", "null", "--log-level", "info", *options)

    def test_a_reset_starts_the_controllers_anew(self):
        """Twice, with the timer ticking: the third time the guest exits with its count."""
        self.need_node()
        for irqchip in ("off", "split", "kernel"):
            with self.subTest(irqchip):
                result = self.boot("slow:1", "--accel", "kvm", "--cpus", "2", "--irqchip", irqchip)
                self.assertEqual(result.returncode, 3, result.stderr)

    def test_a_kvm_without_controllers(self):
        """Ours serve it, with one line of log; asked for, they are a mistake."""
        self.need_node()
        result = self.boot("lacks:25", "--accel", "kvm")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertEqual(result.stderr.count("interrupt controllers: our own, for this host's kvm has none"), 1)
        for irqchip in ("split", "kernel"):
            result = self.boot("lacks:25", "--accel", "kvm", "--irqchip", irqchip)
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"--irqchip (machine.irqchip): this host's kvm cannot do {irqchip}", result.stderr)

    def test_what_else_a_kvm_lacks_is_said_once(self):
        """And the machine runs: twice reset, with several ranges and vectors that each would say it."""
        self.need_node()
        result = self.boot("lacks:15", "--accel", "kvm")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertEqual(result.stderr.count("this KVM does not coalesce"), 1, result.stderr)

    def test_rings_of_written_pages_are_asked_for(self):
        """And where there are none, bitmaps are taken and it is said."""
        self.need_node()
        for options, said in (((), 0), (("--dirty-log", "bitmap"), 0), (("--dirty-log", "ring"), 1)):
            result = self.boot("slow:1", "--accel", "kvm", *options)
            self.assertEqual(result.returncode, 3, result.stderr)
            found = re.findall("written pages are found by (rings|bitmaps: this KVM has no dirty rings)$", result.stderr, re.M)
            self.assertEqual(len(found), said, result.stderr)

    def test_tcg_has_none(self):
        for irqchip in ("split", "kernel"):
            result = subprocess.run([VMMCTL, *self.guest(EXIT_7), "--accel", "tcg", "--irqchip", irqchip],
                                    capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            self.assertEqual(result.returncode, 1)
            self.assertIn("tcg has no interrupt controllers of its own: only off and auto make sense", result.stderr)

    def test_probe_lists_them(self):
        self.need_node()
        self.assertRegex(run("slow:1", "probe").stdout, r"(?m)^irqchip kvm +(kernel |split )*off$")
        self.assertRegex(run("lacks:25", "probe").stdout, r"(?m)^irqchip kvm +off$")


class Signals(Case):
    """CPUs that run, that halt, and that wait to be started, under every signal that there is."""

    def start(self, code):
        self.need_node()
        child = subprocess.Popen([VMMCTL, *self.guest(code), "--accel", "kvm", "--cpus", "2"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.wait_for_vcpus(child)
        return child

    def wait_for_vcpus(self, child):
        """Until both have been running, or waiting, for a moment."""
        deadline = time.monotonic() + TIMEOUT_S
        names = []
        while names.count("vcpu0") + names.count("vcpu1") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
            if child.poll() is not None:
                self.fail(f"ended before its CPUs ran: {child.stderr.read().decode()}")
            names = [self.thread_name(child.pid, thread) for thread in os.listdir(f"/proc/{child.pid}/task")]
        time.sleep(0.05)

    @staticmethod
    def thread_name(pid, thread):
        try:
            with open(f"/proc/{pid}/task/{thread}/comm", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return ""

    def expect_end(self, child, numbers):
        try:
            child.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.fail(f"the process did not end after signal {numbers}")
        self.assertIn(-child.returncode, numbers)

    def expect_ends(self, code):
        for number in sorted(signal.valid_signals() - HARMLESS - STOPPING):
            child = self.start(code)
            child.send_signal(number)
            time.sleep(0.05)
            # What the program takes for itself (a broken pipe, the kick of a CPU) leaves the machine running, whole enough to
            # be ended by another.
            if number not in ENDING:
                child.send_signal(signal.SIGTERM)
            self.expect_end(child, {number} if number in ENDING else {number, signal.SIGTERM})

    def test_running_cpus(self):
        self.expect_ends(SPIN)

    def test_halted_cpus(self):
        self.expect_ends(HALT)

    def test_harmless_and_stopping_ones(self):
        child = self.start(SPIN)
        for number in HARMLESS | {signal.SIGTSTP}:
            child.send_signal(number)
            child.send_signal(signal.SIGCONT)
            time.sleep(0.02)
            self.assertIsNone(child.poll())
        child.send_signal(signal.SIGTERM)
        self.expect_end(child, {signal.SIGTERM})


class Footprint(Case):
    """What a machine holds before its guest does anything. tests/bench/start.py measures the time to there."""

    def test_memory_at_the_first_instruction(self):
        """Under 5 MiB beyond the guest's, the goal of docs/benchmarks.md."""
        self.need_node()
        cpu_ms, rss_kib = footprint.of_a_start([VMMCTL, *self.guest(footprint.WRITE_AND_HALT), "--accel", "kvm"])
        print(f"CPU time to the first instruction {cpu_ms:.1f} ms, {rss_kib} KiB beyond the guest", file=sys.stderr)
        self.assertLess(rss_kib, 5 << 10)


def main():
    global VMMCTL, REFUSE
    VMMCTL, REFUSE = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    result = unittest.main(argv=sys.argv[:1], exit=False, verbosity=2).result
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad - len(result.skipped)} passed, {bad} failed, {len(result.skipped)} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
