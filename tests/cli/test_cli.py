#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
vmmctl as its users meet it: arguments, exit statuses, the terminal, signals. Runs vmmctl-fake, whose guests are programs
of one-letter instructions (tests/unit/fake_accel.h).

    test_cli.py VMMCTL_FAKE SOURCE_FOLDER VMMCTL_FETCH
"""
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
import unittest

VMMCTL = ""
FETCH = ""
SOURCE = ""
TIMEOUT_S = 60  # what takes longer hangs, however busy the host
POWER_OFF = b"w\x04\x06\x00\x34l"
RESET = b"b\xf9\x0c\x06l"


def exit_with(status):
    return b"b\x01\x05" + bytes([status]) + b"l"


def vmmctl(*arguments, **options):
    return subprocess.run([VMMCTL, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
                          **{"stdin": subprocess.DEVNULL, **options})


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def guest(self, program):
        """Arguments that boot a program."""
        with open(self.path("guest"), "wb") as file:
            file.write(program)
        return ["boot", "--kernel", self.path("guest"), "--protocol", "flat", "--mem", "4M"]


class Arguments(Case):
    def test_overview_without_a_command_is_a_usage_error(self):
        result = vmmctl()
        self.assertEqual(result.returncode, 2)
        self.assertIn("Usage: vmmctl COMMAND", result.stderr)

    def test_every_command_has_help_with_examples(self):
        for command in ("boot", "probe", "version", "help"):
            result = vmmctl(command, "--help")
            self.assertEqual(result.returncode, 0, command)
            self.assertIn("Examples:", result.stdout)
            self.assertEqual(vmmctl("help", command).stdout, result.stdout)
            self.assertLessEqual(max(len(line) for line in result.stdout.split("Examples:")[0].split("\n")), 80)

    def test_unknown_command_is_suggested(self):
        result = vmmctl("boott")
        self.assertEqual(result.returncode, 2)
        self.assertIn('no command "boott"; did you mean boot?', result.stderr)

    def test_unknown_option_is_suggested(self):
        result = vmmctl("boot", "--kernal", "x")
        self.assertEqual(result.returncode, 2)
        self.assertIn("unknown option --kernal; did you mean --kernel?", result.stderr)

    def test_probe_says_what_auto_takes(self):
        result = vmmctl("probe")
        self.assertEqual(result.returncode, 0)
        self.assertIn("--accel auto takes fake, because it is the best that works here (absent: no such hardware)",
                      result.stdout)
        self.assertIn("x86-64-v2", result.stdout)

    def test_missing_accelerator_is_told_from_an_unknown_one(self):
        result = vmmctl(*self.guest(POWER_OFF), "--accel", "kvm")
        self.assertEqual(result.returncode, 2)
        self.assertIn("this build of vmmctl has no accelerator kvm: it has auto, absent, fake", result.stderr)
        result = vmmctl(*self.guest(POWER_OFF), "--accel", "absent")
        self.assertEqual(result.returncode, 1)
        self.assertIn("accelerator absent: no such hardware", result.stderr)

    def test_missing_kernel_file(self):
        result = vmmctl("boot", "--kernel", self.path("none"), "--protocol", "flat")
        self.assertEqual(result.returncode, 1)
        self.assertIn(self.path("none"), result.stderr)
        self.assertIn("No such file", result.stderr)


class Fetching(Case):
    def test_what_an_interrupted_fetch_left_is_removed(self):
        left = self.path("vmmctl/kernels/.fetch")
        os.makedirs(left)
        with open(os.path.join(left, "package.deb"), "wb") as file:
            file.write(b"half of it")
        result = subprocess.run([FETCH, "--mirror", "http://127.0.0.1:1"], capture_output=True, text=True, timeout=TIMEOUT_S,
                                check=False, env={**os.environ, "XDG_CACHE_HOME": self.path("")})
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("127.0.0.1", result.stderr)
        self.assertEqual(os.listdir(self.path("vmmctl/kernels")), [".lock"])


class Configuration(Case):
    def test_printed_configuration_reads_back_the_same(self):
        first = vmmctl("boot", "--kernel", "k", "--module", "m,a b", "--initrd", "i", "--mem", "1537K", "--cpus", "3",
                       "--serial", "null", "--serial", "pty", "--exit-code-port", "--append", 'x "y"', "--net", "user",
                       "--print-config")
        self.assertEqual(first.returncode, 0, first.stderr)
        with open(self.path("vm.json"), "w", encoding="utf-8") as file:
            file.write(first.stdout)
        second = vmmctl("boot", "--config", self.path("vm.json"), "--print-config")
        self.assertEqual(second.stdout, first.stdout)
        third = vmmctl("boot", "--config", "-", "--print-config", stdin=None, input=first.stdout)
        self.assertEqual(third.stdout, first.stdout)
        parsed = json.loads(first.stdout)
        self.assertEqual(parsed["boot"]["modules"], [{"path": "m", "cmdline": "a b"}])
        self.assertEqual(parsed["machine"]["memory"], "1537K")
        self.assertRegex(parsed["net"][0]["mac"], "^[0-9a-f][26ae](:[0-9a-f]{2}){5}$")  # by chance, and then for good

    def test_options_override_the_file_wherever_they_stand(self):
        with open(self.path("vm.json"), "w", encoding="utf-8") as file:
            file.write('{"boot": {"kernel": "k", "initrd": ["a", "b"]}, "machine": {"cpus": 4, "memory": "1G"}}')
        result = vmmctl("boot", "--cpus", "2", "--initrd", "c", "--config", self.path("vm.json"), "--print-config")
        parsed = json.loads(result.stdout)
        self.assertEqual(parsed["machine"]["cpus"], 2)
        self.assertEqual(parsed["machine"]["memory"], "1G")
        self.assertEqual(parsed["boot"]["initrd"], ["c"])

    def test_mistakes_name_file_and_path(self):
        with open(self.path("vm.json"), "w", encoding="utf-8") as file:
            file.write('{"machine": {"memry": "1G"}}')
        result = vmmctl("boot", "--config", self.path("vm.json"))
        self.assertEqual(result.returncode, 2)
        self.assertIn(f'--config: {self.path("vm.json")}: machine.memry: unknown key; did you mean "memory"?',
                      result.stderr)


class ExitStatus(Case):
    def test_power_off_is_0(self):
        self.assertEqual(vmmctl(*self.guest(POWER_OFF)).returncode, 0)

    def test_the_guests_own(self):
        self.assertEqual(vmmctl(*self.guest(exit_with(42)), "--exit-code-port").returncode, 42)
        program = b"b\x00\x06\x09l"
        self.assertEqual(vmmctl(*self.guest(program), "--exit-code-port", "0x600", "--serial", "null").returncode, 1)
        program = b"b\x00\x0a\x09l"
        self.assertEqual(vmmctl(*self.guest(program), "--exit-code-port", "0xa00").returncode, 9)

    def test_reset_with_no_reboot_is_0(self):
        self.assertEqual(vmmctl(*self.guest(RESET), "--no-reboot").returncode, 0)

    def test_triple_fault_is_3_and_shows_the_registers(self):
        result = vmmctl(*self.guest(b"t"), "--no-reboot")
        self.assertEqual(result.returncode, 3)
        self.assertIn("triple fault on CPU 0", result.stderr)
        self.assertRegex(result.stderr, r"rip=[0-9a-f]{16} rflags=")
        self.assertIn("cr3=", result.stderr)

    def test_failure_is_1(self):
        result = vmmctl(*self.guest(b"f"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("no such instruction", result.stderr)

    def test_output_passes_through_a_pipe(self):
        self.assertEqual(vmmctl(*self.guest(b"b\xf8\x03Hb\xf8\x03i" + POWER_OFF)).stdout, "Hi")

    def test_a_closed_pipe_stops_nobody(self):
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run([VMMCTL, *self.guest(b"b\xf8\x03H" + POWER_OFF)], stdin=subprocess.DEVNULL, stdout=writer,
                                timeout=TIMEOUT_S, check=False)
        os.close(writer)
        self.assertEqual(result.returncode, 0)

    def test_auto_says_why_at_level_info(self):
        result = vmmctl(*self.guest(POWER_OFF), "--log-level", "info")
        self.assertIn("accelerator: fake, because it is the best that works here", result.stderr)


class Terminal(Case):
    """The child runs on a pseudo-terminal; its settings are looked at from the master's side."""

    def start(self, program, *arguments):
        self.launch(program, *arguments)
        self.wait_until(self.is_raw)

    def launch(self, program, *arguments):
        self.master, slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.addCleanup(os.close, slave)
        self.child = subprocess.Popen([VMMCTL, *self.guest(program), *arguments], stdin=slave, stdout=slave, stderr=slave,
                                      preexec_fn=self.take_terminal)
        self.addCleanup(self.kill)

    def take_terminal(self):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def wait_until(self, condition):
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, "in vain")
            time.sleep(0.01)

    def type(self, data):
        os.write(self.master, data)

    def read(self, wanted):
        text = b""
        while wanted not in text:
            ready, _, _ = select.select([self.master], [], [], TIMEOUT_S)
            self.assertTrue(ready, f"only {text!r} came")
            text += os.read(self.master, 4096)
        return text

    def test_ctrl_a_x_quits(self):
        for program in (b"l", b"h"):
            self.start(program)
            self.type(b"\x01x")
            self.assertEqual(self.child.wait(TIMEOUT_S), 0)
            self.assertTrue(self.is_restored())

    def test_ctrl_a_h_helps(self):
        self.start(b"h")
        self.type(b"\x01h")
        self.assertIn(b"Ctrl-A x", self.read(b"Ctrl-A Ctrl-A"))
        self.type(b"\x01x")
        self.assertEqual(self.child.wait(TIMEOUT_S), 0)

    def test_ctrl_a_r_resets(self):
        self.start(b"b\xf8\x03Rh")
        self.read(b"R")
        self.type(b"\x01r")
        self.read(b"R")

    def test_ctrl_c_is_the_guests(self):
        self.start(b"h")
        self.type(b"\x03\x1a\x1c")
        time.sleep(0.2)
        self.assertIsNone(self.child.poll())

    def test_quit_works_behind_a_full_queue(self):
        self.start(b"h")
        for _ in range(8):
            self.type(b"x" * 1024)
            time.sleep(0.01)
        self.type(b"\x01x")
        self.assertEqual(self.child.wait(TIMEOUT_S), 0)

    def test_guest_power_off_restores(self):
        self.launch(POWER_OFF)
        self.assertEqual(self.child.wait(TIMEOUT_S), 0)
        self.assertTrue(self.is_restored())

    def test_signals_restore_and_kill(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            self.start(b"l")
            self.child.send_signal(number)
            self.assertEqual(self.child.wait(TIMEOUT_S), -number)
            self.assertTrue(self.is_restored(), number)

    def test_crashes_restore_and_kill(self):
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
            self.start(b"l")
            self.child.send_signal(number)
            self.assertEqual(self.child.wait(TIMEOUT_S), -number)
            self.assertTrue(self.is_restored(), number)

    def state(self):
        with open(f"/proc/{self.child.pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0]

    def test_a_stop_restores_until_it_goes_on(self):
        self.start(b"h")
        self.child.send_signal(signal.SIGTSTP)
        self.wait_until(lambda: self.state() == "T")
        self.assertTrue(self.is_restored())
        self.child.send_signal(signal.SIGCONT)
        self.wait_until(self.is_raw)
        self.type(b"\x01x")
        self.assertEqual(self.child.wait(TIMEOUT_S), 0)

    def test_a_failure_leaves_the_terminal_alone(self):
        self.start(b"l")
        self.kill()
        result = subprocess.run([VMMCTL, "boot", "--kernel", "/nonexistent"], stdin=self.slave, stderr=subprocess.PIPE,
                                timeout=TIMEOUT_S, check=False)
        self.assertEqual(result.returncode, 1)

    def test_log_lines_are_readable_on_the_raw_terminal(self):
        self.start(b"b\xf8\x03Rc\x00\x00l", "--log-level", "info")
        self.type(b"\x01r")
        self.assertIn(b"resets the machine\r\n", self.read(b"resets the machine\r\n"))


class Serial(Case):
    def test_socket_is_removed_at_a_signal(self):
        path = self.path("console")
        child = subprocess.Popen([VMMCTL, *self.guest(b"h"), "--serial", f"socket:{path}"], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + TIMEOUT_S
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertTrue(os.path.exists(path))
        time.sleep(0.1)
        child.terminate()
        self.assertEqual(child.wait(TIMEOUT_S), -signal.SIGTERM)
        self.assertFalse(os.path.exists(path))

    def test_pty_name_is_printed(self):
        result = vmmctl(*self.guest(POWER_OFF), "--serial", "pty")
        self.assertRegex(result.stderr, r"serial port is on /dev/pts/\d+")


class Completion(Case):
    def complete(self, *words):
        script = (f"source {SOURCE}/docs/vmmctl.bash; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
                  "compopt() { :; }; _vmmctl; printf '%s\\n' \"${COMPREPLY[@]}\"")
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()

    def test_commands_options_and_values(self):
        self.assertEqual(self.complete("vmmctl", "bo"), ["boot"])
        self.assertEqual(self.complete("vmmctl", "boot", "--me"), ["--mem"])
        self.assertEqual(self.complete("vmmctl", "boot", "--cpu", "m"), ["max"])
        self.assertEqual(self.complete("vmmctl", "boot", "--protocol", "mu"), ["multiboot"])
        self.assertIn("/etc/passwd", self.complete("vmmctl", "boot", "--kernel", "/etc/passw"))


def main():
    global VMMCTL, SOURCE, FETCH
    VMMCTL, SOURCE, FETCH = os.path.abspath(sys.argv[1]), sys.argv[2], os.path.abspath(sys.argv[3])
    program = unittest.main(argv=sys.argv[:1], exit=False, verbosity=2)
    result = program.result
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad - len(result.skipped)} passed, {bad} failed, {len(result.skipped)} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
