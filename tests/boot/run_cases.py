# SPDX-License-Identifier: Apache-2.0
"""
`vmmctl run` as its users have it: the command's output, input, status and signals are its own, the root may be a folder or
an image, and nothing is left behind.
"""
import hashlib
import http.server
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

import guests
from cases import BOOT_TIMEOUT_S, END_TIMEOUT_S, Skip, case, need
from monitors import BootError, Session
from system_cases import check_file_system


def busybox_root(folder):
    """A root file system of a busybox, made without root's rights."""
    for name in ("bin", "dev", "proc", "sys", "run", "tmp", "etc", "mnt", "root", "home"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    busybox = guests.debian_file("busybox-static")
    subprocess.run(["cp", busybox, os.path.join(folder, "bin/busybox")], check=True)
    applets = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    for applet in applets:
        if not os.path.lexists(os.path.join(folder, "bin", applet)):
            os.symlink("busybox", os.path.join(folder, "bin", applet))
    with open(os.path.join(folder, "etc/passwd"), "w", encoding="ascii") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\nguest:x:1000:100:a guest:/tmp:/bin/sh\n")
    with open(os.path.join(folder, "etc/group"), "w", encoding="ascii") as file:
        file.write("root:x:0:\nusers:x:100:\naudio:x:29:guest\n")
    return folder


def kernel_arguments():
    """The tests' own kernel, so that nothing is fetched twice: the full one, which has 9p."""
    files = guests.run_tool("debian-fetch", "linux-image-amd64", "boot/vmlinuz-*", "lib/modules/*")
    kernel = next(path for path in files if "/vmlinuz-" in path)
    modules = next(path for path in files if path.endswith("/modules.order"))
    return ["--kernel", kernel, "--kernel-modules", os.path.dirname(modules)]


class Runner:
    """One root for the cases of a test, and runs in it."""

    def __init__(self, context):
        need(context, "run")
        self.context = context
        self.root = busybox_root(context.path("root"))
        # Where runs have their sockets: a short name, and one of this test's own.
        self.runtime = tempfile.mkdtemp(prefix="vmmctl-t", dir="/tmp")

    def command(self, *words, options=()):
        return ["env", f"XDG_RUNTIME_DIR={self.runtime}", self.context.monitor.path, "run", "--accel", "tcg", *kernel_arguments(), "--rootfs", self.root, *options,
                "--", *words]

    def run(self, *words, options=(), data=b"", status=0):
        result = subprocess.run(self.command(*words, options=options), input=data, capture_output=True,
                                timeout=BOOT_TIMEOUT_S, check=False)
        if result.returncode != status:
            raise BootError(f"{' '.join(words)}: status {result.returncode}, expected {status}: {result.stderr.decode()}")
        return result

    def check_nothing_left(self):
        left = os.listdir(self.runtime)
        if left:
            raise BootError(f"left behind: {left}")
        os.rmdir(self.runtime)


def expect_equal(what, seen, wanted):
    if seen != wanted:
        raise BootError(f"{what} is {seen!r}, expected {wanted!r}")


@case("run-command")
def run_command(context):
    """Outputs apart and whole, status, environment, user, folder; a folder that the guest writes to."""
    runner = Runner(context)
    script = ("echo out; echo err >&2; pwd; id -u; id -G; echo $HOME; echo \"$A\"; echo mine > /tmp/new; "
              "cat /etc/passwd | head -1; exit 7")
    result = runner.run("sh", "-c", script, options=["--env", "A=a  b", "--user", "guest", "--workdir", "/bin"], status=7)
    expect_equal("standard output", result.stdout.decode(),
                 "out\n/bin\n1000\n100 29\n/tmp\na  b\nroot:x:0:0:root:/root:/bin/sh\n")
    expect_equal("standard error", result.stderr.decode(), "err\nsh: can't create /tmp/new: Permission denied\n"
                 if os.geteuid() == 0 else result.stderr.decode())
    runner.run("sh", "-c", "echo mine > /home/new")
    with open(os.path.join(runner.root, "home/new"), encoding="ascii") as file:
        expect_equal("the file that the guest wrote", file.read(), "mine\n")
    runner.check_nothing_left()


@case("run-bytes")
def run_bytes(context):
    """Megabytes through the guest and back; a reader that goes away ends the writer."""
    runner = Runner(context)
    data = os.urandom(3 << 20)
    result = runner.run("sh", "-c", "tee /dev/stderr", data=data, options=["--rootfs", runner.root + ",readonly"])
    expect_equal("standard output", hashlib.sha256(result.stdout).hexdigest(), hashlib.sha256(data).hexdigest())
    expect_equal("standard error", hashlib.sha256(result.stderr).hexdigest(), hashlib.sha256(data).hexdigest())
    with subprocess.Popen(runner.command("yes"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        expect_equal("the first line", process.stdout.readline(), b"y\n")
        process.stdout.close()
        expect_equal("the status after SIGPIPE", process.wait(BOOT_TIMEOUT_S), 128 + signal.SIGPIPE)
    runner.check_nothing_left()


@case("run-failures")
def run_failures(context):
    """What is wrong is said, with the status that shells and env(1) give it."""
    runner = Runner(context)
    for words, options, status, message in (
            (["absent"], [], 127, "absent: No such file"),
            (["/etc/passwd"], [], 126, "Permission denied"),
            (["true"], ["--user", "nobody-here"], 125, "no user nobody-here"),
            (["true"], ["--workdir", "/absent"], 125, "/absent"),
            (["true"], ["--rootfs", "/absent"], 125, "/absent"),
            (["true"], ["--rootfs", "/dev/null"], 125, "no file system"),
            (["true"], ["--rootfs", runner.root + ",overlay,readonly"], 2, "exclude"),
            ([], [], 2, "no command"),
            (["sh", "-c", "kill -9 $$"], [], 137, ""),
            (["sleep", "1000"], ["--timeout", "12"], 124, "--timeout")):
        result = runner.run(*words, options=options, status=status)
        if message not in result.stderr.decode():
            raise BootError(f"{words} {options}: the message is {result.stderr.decode()!r}")
    runner.check_nothing_left()


@case("run-panic")
def run_panic(context):
    """A guest that dies is told from a command that fails, with its last words."""
    runner = Runner(context)
    result = runner.run("sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60", status=125)
    if "ended before the command" not in result.stderr.decode() or "sysrq" not in result.stderr.decode():
        raise BootError(f"the message is {result.stderr.decode()!r}")
    runner.check_nothing_left()


@case("run-signals")
def run_signals(context):
    """A signal reaches the command; a third interrupt ends the machine; so does one before the command runs."""
    runner = Runner(context)
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 1; done"
    with Session(runner.command("sh", "-c", script), context.path("log")) as session:
        session.expect("^ready$", BOOT_TIMEOUT_S)
        os.kill(session.process.pid, signal.SIGTERM)
        session.expect("^caught$", END_TIMEOUT_S)
        session.expect_exit(9, END_TIMEOUT_S)
    script = "trap '' INT; echo ready; while :; do sleep 1; done"
    with Session(runner.command("sh", "-c", script), context.path("2.log")) as session:
        session.expect("^ready$", BOOT_TIMEOUT_S)
        for _ in range(3):
            os.kill(session.process.pid, signal.SIGINT)
            time.sleep(0.3)
        session.expect_exit(130, END_TIMEOUT_S)
    with Session(runner.command("true"), context.path("3.log")) as session:
        time.sleep(1)
        os.kill(session.process.pid, signal.SIGTERM)
        session.expect_exit(128 + signal.SIGTERM, END_TIMEOUT_S)
    runner.check_nothing_left()


@case("run-terminal")
def run_terminal(context):
    """A shell on a terminal: its size, a Ctrl-C for a program in it, and the terminal as it was at the end."""
    runner = Runner(context)
    with Session(runner.command("sh", options=["--tty"]), context.path("log"), terminal=True) as session:
        session.expect("# ", BOOT_TIMEOUT_S)
        session.send("stty size; tty\n")
        session.expect(r"^40 160$", END_TIMEOUT_S)
        session.expect(r"^/dev/pts/\d+$", END_TIMEOUT_S)
        session.send("echo before; sleep 1000\n")
        session.expect("^before$", END_TIMEOUT_S)
        time.sleep(1)
        session.send("\003")
        session.send("echo interrupted $?\n")
        session.expect("^interrupted 130$", END_TIMEOUT_S)
        session.send("exit 5\n")
        session.expect_exit(5, END_TIMEOUT_S)
        session.expect_terminal_restored()
    runner.check_nothing_left()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):  # pylint: disable=redefined-builtin
        pass


@case("run-share-and-network")
def run_share_and_network(context):
    """A shared folder at /mnt/TAG, a read-only one, and the host's loopback through --net user."""
    runner = Runner(context)
    shared = context.path("shared")
    os.makedirs(shared, exist_ok=True)
    with open(os.path.join(shared, "file"), "w", encoding="ascii") as file:
        file.write("of the host\n")
    with http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *args: QuietHandler(*args, directory=shared)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = (f"cat /mnt/data/file; echo from the guest > /mnt/data/answer; echo no > /mnt/ro/file 2>/dev/null && exit 1; "
                  f"cat /etc/resolv.conf; wget -q -O - http://10.0.2.2:{server.server_port}/file")
        result = runner.run("sh", "-c", script, options=[
            "--share", f"{shared},data", "--share", f"{shared},ro,readonly", "--net", "user"])
        server.shutdown()
    expect_equal("standard output", result.stdout.decode(), "of the host\nnameserver 10.0.2.3\nof the host\n")
    with open(os.path.join(shared, "answer"), encoding="ascii") as file:
        expect_equal("the guest's file", file.read(), "from the guest\n")
    runner.check_nothing_left()


@case("run-image")
def run_image(context):
    """An ext4 image as the root: written and left clean; with overlay it stays as it is."""
    runner = Runner(context)
    image = context.path("ext4")
    if not os.access("/usr/sbin/mke2fs", os.X_OK):
        raise Skip("mke2fs is not here")
    if os.path.exists(image):
        os.unlink(image)
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-q", "-t", "ext4", "-d", runner.root, image, "32M"], check=True,
                   stdout=subprocess.DEVNULL)
    runner.run("sh", "-c", "echo kept > /home/kept", options=["--rootfs", image])
    check_file_system(image)
    before = hashlib.sha256(open(image, "rb").read()).hexdigest()
    result = runner.run("sh", "-c", "cat /home/kept; echo lost > /home/lost; cat /home/lost",
                        options=["--rootfs", image + ",overlay"])
    expect_equal("standard output", result.stdout.decode(), "kept\nlost\n")
    expect_equal("the image", hashlib.sha256(open(image, "rb").read()).hexdigest(), before)
    result = runner.run("sh", "-c", "echo no > /home/no", options=["--rootfs", image + ",readonly"], status=1)
    if not re.search("Read-only", result.stderr.decode()):
        raise BootError(f"the message is {result.stderr.decode()!r}")
    runner.check_nothing_left()
