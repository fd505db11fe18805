#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
The jail: its layout, what a jailed process is and has, and what it cannot do (escape.c tries). Needs root; left out by
name without.

    tests/jailer/test_jailer.py JAILER ESCAPE MONITOR [unittest arguments]

MONITOR is the static monitor, called firecracker.
"""
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

JAILER, ESCAPE, MONITOR = [os.path.abspath(path) for path in sys.argv[1:4]]
UID = 64123
TIMEOUT_S = 60
CGROUP = pathlib.Path("/sys/fs/cgroup")


def can_jail():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "-p", "-n", "-f", "true"], check=False,
                                                stderr=subprocess.DEVNULL).returncode == 0


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def v1_mount(controller):
    for line in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and controller in options.split(","):
            return pathlib.Path(where)
    return None


@unittest.skipUnless(can_jail(), "not root, or namespaces are refused")
class Jail(unittest.TestCase):
    def setUp(self):
        self.base = tempfile.mkdtemp(prefix="vmmctl-jail-")
        os.chmod(self.base, 0o755)
        self.cleanups = []

    def tearDown(self):
        for cleanup in self.cleanups:
            cleanup()
        shutil.rmtree(self.base)

    def root(self, identity="one", program="escape"):
        return pathlib.Path(self.base, program, identity, "root")

    def command(self, *flags, identity="one", program=ESCAPE, arguments=()):
        return [JAILER, "--id", identity, "--exec-file", program, "--uid", str(UID), "--gid", str(UID),
                "--chroot-base-dir", self.base, *flags, "--", *map(str, arguments)]

    def run_jailer(self, *flags, check=True, **kinds):
        done = subprocess.run(self.command(*flags, **kinds), check=False, capture_output=True, text=True, timeout=TIMEOUT_S,
                              env={"SECRET": "1"})
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done


class Escape(Jail):
    """Every attempt of escape.c."""

    def attempts(self, *flags):
        neighbour = subprocess.Popen(["sleep", "1000"])
        self.cleanups.append(lambda: (neighbour.kill(), neighbour.wait()))
        listener = socket.create_server(("127.0.0.1", 0))
        self.cleanups.append(listener.close)
        secret = pathlib.Path(self.base, "secret")
        secret.write_text("secret")
        secret.chmod(0o644)
        kept = os.open(secret, os.O_RDONLY)
        os.set_inheritable(kept, True)
        high = 77
        os.dup2(kept, high, inheritable=True)
        arguments = [neighbour.pid, secret, listener.getsockname()[1], high]
        done = subprocess.run(self.command(*flags, arguments=arguments), check=False, capture_output=True, text=True,
                              timeout=TIMEOUT_S, close_fds=False, env={"SECRET": "1"})
        os.close(kept)
        os.close(high)
        # With a PID namespace the jailer ends before the program: wait for what it says.
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("done", done.stdout)
        self.assertIsNone(neighbour.poll())
        return dict(re.findall(r"^([a-z-]+): (.*)$", done.stdout, re.MULTILINE))

    def check(self, results):
        expected = {
            "open-host-file": "ENOENT", "open-by-dots": "ENOENT", "list-proc": "ENOENT", "open-block-device": "EPERM",
            "keep-descriptor": "EBADF", "chroot-out": "EPERM", "mount": "EPERM", "mount-proc": "EPERM",
            "umount": "EPERM", "pivot-root": "EPERM", "raw-socket": "EPERM", "raise-rlimit": "EPERM",
            "setuid-root": "EPERM", "setgid-root": "EPERM", "load-module": "EPERM", "set-hostname": "EPERM",
            "reboot": "EPERM", "ambient-capability": "EPERM", "drop-no-new-privs": "EINVAL", "mount-namespace": "EPERM",
            "join-namespace": "EBADF", "environment": "empty",
        }
        if results.get("load-module") == "ENOSYS":
            results["load-module"] = "EPERM"  # a kernel without modules
        self.assertEqual({name: results.get(name) for name in expected}, expected)
        self.assertNotIn("ESCAPED", [result for name, result in results.items() if name != "connect-host"])

    def test_all_attempts(self):
        """With namespaces of its own for PIDs and network."""
        name = f"vmmctl-test-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.cleanups.append(lambda: subprocess.run(["ip", "netns", "del", name], check=True))
        results = self.attempts("--new-pid-ns", "--netns", f"/run/netns/{name}")
        self.check(results)
        self.assertEqual(results["pid"], "1")
        self.assertEqual(results["ptrace-neighbour"], "ESRCH")
        self.assertEqual(results["signal-neighbour"], "ESRCH")
        self.assertIn(results["connect-host"], ("ENETUNREACH", "ECONNREFUSED"))

    def test_all_attempts_without_namespaces(self):
        """The caller's network and PIDs are seen, and another user's processes are out of reach all the same."""
        results = self.attempts()
        self.check(results)
        self.assertEqual(results["ptrace-neighbour"], "EPERM")
        self.assertEqual(results["signal-neighbour"], "EPERM")
        self.assertEqual(results["renice-neighbour"], "EPERM")


class Layout(Jail):
    """Owners, modes, devices, PID file."""

    def test_tree(self):
        self.run_jailer(arguments=[1, "/nothing", 1, 5])
        root = self.root()
        for path, mode, kind in ((root, 0o700, stat.S_ISDIR), (root / "dev", 0o700, stat.S_ISDIR),
                                 (root / "dev/net", 0o700, stat.S_ISDIR), (root / "run", 0o700, stat.S_ISDIR),
                                 (root / "escape", 0o500, stat.S_ISREG), (root / "dev/kvm", 0o600, stat.S_ISCHR),
                                 (root / "dev/net/tun", 0o600, stat.S_ISCHR), (root / "dev/urandom", 0o600, stat.S_ISCHR)):
            found = path.lstat()
            self.assertTrue(kind(found.st_mode), path)
            self.assertEqual(stat.S_IMODE(found.st_mode), mode, path)
            self.assertEqual((found.st_uid, found.st_gid), (UID, UID), path)
        self.assertEqual((root / "dev/kvm").stat().st_rdev, os.makedev(10, 232))
        self.assertEqual((root / "dev/net/tun").stat().st_rdev, os.makedev(10, 200))
        self.assertTrue((root / "escape.pid").read_text().isdigit())
        self.assertFalse((root / "old_root").exists())

    def test_a_program_with_two_names_is_not_overwritten(self):
        """A hard link to a host file where the copy goes: refused, and the file is as it was."""
        precious = pathlib.Path(self.base, "precious")
        precious.write_text("precious")
        self.root().mkdir(parents=True)
        os.link(precious, self.root() / "escape")
        done = self.run_jailer(check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("other names", done.stderr)
        self.assertEqual(precious.read_text(), "precious")

    def test_a_link_is_not_followed(self):
        precious = pathlib.Path(self.base, "precious")
        precious.write_text("precious")
        self.root().mkdir(parents=True)
        os.symlink(precious, self.root() / "escape")
        self.assertEqual(self.run_jailer(check=False).returncode, 1)
        self.assertEqual(precious.read_text(), "precious")

    def test_a_dynamic_program_is_refused(self):
        done = self.run_jailer(check=False, program="/bin/true")
        self.assertEqual(done.returncode, 1)
        self.assertIn("statically", done.stderr)


class Flags(Jail):
    """Mistakes are named."""

    def test_mistakes(self):
        for change, words in ((["--id", "../x"], "--id"), (["--id", "a" * 65], "--id"), (["--uid", "root"], "--uid"),
                              (["--uid", "-1"], "--uid"), (["--exec-file", "/nothing"], "--exec-file"),
                              (["--cgroup-version", "3"], "--cgroup-version"), (["--cgroup", "cpu.shares"], "--cgroup"),
                              (["--cgroup", "../x.y=1"], "--cgroup"), (["--resource-limit", "core=1"], "--resource-limit"),
                              (["--parent-cgroup", "../up"], "--parent-cgroup"), (["--netns", "/nothing"], "--netns"),
                              (["--colour"], "--colour")):
            flags = {"--id": "one", "--exec-file": ESCAPE, "--uid": str(UID), "--gid": str(UID),
                     "--chroot-base-dir": self.base}
            if len(change) == 2 and change[0] in flags:
                flags[change[0]] = change[1]
                change = []
            command = [JAILER, *[word for pair in flags.items() for word in pair], *change]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
            self.assertEqual(done.returncode, 1, command)
            self.assertIn(words, done.stderr)
        for missing in ("--id", "--exec-file", "--uid", "--gid"):
            command = self.command()
            at = command.index(missing)
            done = subprocess.run(command[:at] + command[at + 2:], check=False, capture_output=True, text=True, timeout=TIMEOUT_S)
            self.assertIn(missing, done.stderr)

    def test_twice(self):
        done = self.run_jailer("--uid", "1", check=False)
        self.assertIn("more than once", done.stderr)


class Monitor(Jail):
    """The monitor itself in a jail."""

    def start(self, *flags, identity="one"):
        log = open(os.path.join(self.base, f"{identity}.log"), "wb")
        self.cleanups.append(log.close)
        process = subprocess.Popen(self.command(*flags, identity=identity, program=MONITOR,
                                                arguments=["--api-sock", "/run/api.socket"]), stdout=log, stderr=log)
        root = self.root(identity, "firecracker")
        deadline = time.monotonic() + TIMEOUT_S
        while not ((root / "run/api.socket").exists() and (root / "firecracker.pid").exists()):
            self.assertLess(time.monotonic(), deadline, "no socket in the jail")
            time.sleep(0.02)
        pid = int((root / "firecracker.pid").read_text())

        def stop():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(TIMEOUT_S)
            deadline = time.monotonic() + TIMEOUT_S
            while is_alive(pid):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)

        self.cleanups.append(stop)
        return pid, root, stop

    def ask(self, root, path="/"):
        done = subprocess.run(["curl", "-s", "--unix-socket", str(root / "run/api.socket"), "http://localhost" + path],
                              check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
        return done.stdout

    def status(self, pid):
        return dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE))

    def test_answers_without_rights(self):
        pid, root, _ = self.start("--new-pid-ns", "--resource-limit", "no-file=300", "--resource-limit", "fsize=1000000")
        self.assertIn('"id":"one"', self.ask(root))
        status = self.status(pid)
        self.assertEqual(status["Uid"].split(), [str(UID)] * 4)
        self.assertEqual(status["Gid"].split(), [str(UID)] * 4)
        self.assertEqual(status["Groups"], "")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[kind], 16), 0, kind)
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["NSpid"].split(), [str(pid), "1"])
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text(encoding="utf-8")
        self.assertRegex(limits, r"Max open files +300 +300 ")
        self.assertRegex(limits, r"Max file size +1000000 +1000000 ")
        self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/mnt"), os.readlink("/proc/self/ns/mnt"))
        self.assertEqual(len(pathlib.Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()), 1)

    def test_daemon(self):
        pid, root, _ = self.start("--daemonize")
        self.assertIn("Not started", self.ask(root))
        self.assertEqual(os.readlink(f"/proc/{pid}/fd/0"), "/dev/null")
        self.assertNotEqual(os.getsid(pid), os.getsid(0))
        self.assertNotEqual(os.getsid(pid), pid)

    def test_cgroups(self):
        memory, cpu = v1_mount("memory"), v1_mount("cpu")
        if not memory or not cpu:
            self.skipTest("no memory and cpu hierarchy of version 1")
        parent = f"vmmctl-test-{os.getpid()}"
        groups = [memory / parent / "one", cpu / parent / "one"]
        pid, _, stop = self.start("--parent-cgroup", parent, "--cgroup", "memory.limit_in_bytes=300000001", "--cgroup",
                                  "cpu.shares=77")
        self.assertEqual((groups[0] / "memory.limit_in_bytes").read_text().strip(), str(300000001 // 4096 * 4096))
        self.assertEqual((groups[1] / "cpu.shares").read_text().strip(), "77")
        for group in groups:
            self.assertIn(str(pid), (group / "cgroup.procs").read_text().split())
        stop()
        for group in groups:
            group.rmdir()
            group.parent.rmdir()

    def test_a_value_that_is_not_taken(self):
        if not v1_mount("cpu"):
            self.skipTest("no cpu hierarchy of version 1")
        parent = f"vmmctl-test-{os.getpid()}"
        done = self.run_jailer("--parent-cgroup", parent, "--cgroup", "cpu.shares=1", check=False)
        (v1_mount("cpu") / parent / "one").rmdir()
        (v1_mount("cpu") / parent).rmdir()
        self.assertEqual(done.returncode, 1)
        self.assertIn('reads "2"', done.stderr)

    def test_one_death_leaves_the_others(self):
        jails = [self.start("--new-pid-ns", identity=f"vm{number}") for number in range(5)]
        os.kill(jails[2][0], signal.SIGKILL)
        for number, (_, root, _) in enumerate(jails):
            if number != 2:
                self.assertIn(f'"id":"vm{number}"', self.ask(root))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
