# SPDX-License-Identifier: Apache-2.0
"""
The boot tests: each is a function that starts real guests and raises BootError where an expectation does not hold, or
Skip where the monitor at hand has no such feature. They speak of guests only (monitors.py knows the flags).
"""
import os
import re
import signal
import subprocess
import time

import guests
import processes
from monitors import BootError, Guest

# An interpreter boots a full kernel in tens of seconds; what takes longer than this hangs.
BOOT_TIMEOUT_S = float(os.environ.get("VMMCTL_BOOT_TIMEOUT", "300"))
# From a marker or a signal to the end of the process.
END_TIMEOUT_S = 60

# The guest's busybox shell as root; it may ask the terminal for the cursor's place behind it.
PROMPT = "/ # "

CASES = {}


class Skip(Exception):
    pass


def case(name):
    def register(function):
        CASES[name] = function
        return function
    return register


def need(context, feature):
    if not context.monitor.can(feature):
        raise Skip(f"{context.monitor.name} has no {feature}")


def cloud(action, **changes):
    """The guest of most tests: Debian's cloud kernel with the initramfs told what to do."""
    append = f"console=ttyS0 vmmctl_action={action} {changes.pop('append', '')}".strip()
    return Guest(guests.KERNELS["cloud"][1](), guests.initramfs(), append=append, **changes)


# --- stock kernels to the marker, power-off and exit status 0

def boot_to_marker(context, kernel_name, cpus):
    arch, kernel = guests.KERNELS[kernel_name]
    guest = Guest(kernel(), guests.initramfs(arch), append="console=ttyS0 vmmctl_action=marker", cpus=cpus)
    with context.start(guest) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        online = int(session.expect(r"^vmmctl-cpus (\d+)$", END_TIMEOUT_S).group(1))
        session.expect_exit(0, END_TIMEOUT_S)
        session.expect_no_trouble()
        if online != cpus:
            raise BootError(f"the guest runs {online} CPUs, expected {cpus}")


def register_matrix():
    for kernel_name in guests.KERNELS:
        for cpus in (1, 2):
            CASES[f"{kernel_name}-{cpus}cpu"] = (
                lambda context, kernel_name=kernel_name, cpus=cpus: boot_to_marker(context, kernel_name, cpus))


register_matrix()


@case("initramfs-uncompressed")
def initramfs_uncompressed(context):
    guest = cloud("marker")
    guest.initrd = guests.initramfs(compress="none")
    with context.start(guest) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(0, END_TIMEOUT_S)


@case("initramfs-xz")
def initramfs_xz(context):
    guest = cloud("marker")
    guest.initrd = guests.initramfs(compress="xz")
    with context.start(guest) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(0, END_TIMEOUT_S)


@case("what-the-guest-sees")
def what_the_guest_sees(context):
    with context.start(cloud("report", cpus=2)) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(0, END_TIMEOUT_S)
        report = session.text.partition("--- uname")[2]
        for wanted in (r"^Linux .*x86_64", r"^processor\s+: 1$", r"^MemTotal:", r"System RAM", r"IO-APIC.*ttyS0",
                       r"LOC:.*Local timer interrupts", r"Linux version 6\."):
            if not re.search(wanted, report, re.MULTILINE):
                raise BootError(f"the guest's report has no '{wanted}'")


@case("memory-above-4G")
def memory_above_4g(context):
    with context.start(cloud("report", memory="5G")) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(0, END_TIMEOUT_S)
        total_kib = int(re.search(r"^MemTotal:\s+(\d+) kB", session.text, re.MULTILINE).group(1))
        if total_kib < 4.7 * 1024 * 1024:
            raise BootError(f"of 5 GiB the guest sees {total_kib} KiB")


@case("memory-128M")
def memory_128m(context):
    with context.start(cloud("marker", memory="128M")) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(0, END_TIMEOUT_S)


# --- a person at the terminal

def start_shell(context, **changes):
    session = context.start(cloud("shell", append="quiet", **changes), terminal=True)
    try:
        session.expect(PROMPT, BOOT_TIMEOUT_S)
    except BaseException:
        session.__exit__()
        raise
    return session


@case("shell-session")
def shell_session(context):
    with start_shell(context) as session:
        session.expect_terminal_raw()
        session.send("uname -a\n")
        session.expect(r"^Linux vmmctl 6\..*x86_64 GNU/Linux$", END_TIMEOUT_S)
        session.send("cat /proc/cpuinfo\n")
        session.expect(r"^flags\s*:.*\blm\b", END_TIMEOUT_S)
        session.send("dmesg | head -n 3\n")
        session.expect(r"Linux version 6\.", END_TIMEOUT_S)
        # A line that the guest's tty edits: backspace, and a Ctrl-C that must reach the guest and not the monitor.
        session.send("echo one-twx\x7fo\n")
        session.expect(r"^one-two$", END_TIMEOUT_S)
        session.send("sleep 1000\n")
        time.sleep(1)
        session.send("\x03")
        session.expect(PROMPT, END_TIMEOUT_S)
        session.send("echo alive-$((6*7))\n")
        session.expect(r"^alive-42$", END_TIMEOUT_S)
        session.send("poweroff -f\n")
        session.expect_exit(0, END_TIMEOUT_S)
        session.expect_terminal_restored()


@case("paste-into-the-console")
def paste_into_the_console(context):
    """A paste larger than any FIFO arrives whole."""
    words = " ".join(f"w{number:03d}" for number in range(180))
    with start_shell(context) as session:
        session.send(f"echo {words} | md5sum\n")
        expected = subprocess.run(["md5sum"], input=words + "\n", capture_output=True, text=True, check=True)
        session.expect(expected.stdout.split()[0], END_TIMEOUT_S)
        session.send("poweroff -f\n")
        session.expect_exit(0, END_TIMEOUT_S)


@case("escape-quits")
def escape_quits(context):
    with start_shell(context) as session:
        session.send("\x01h")
        session.expect(r"(?i)C-a x|Ctrl-A x", END_TIMEOUT_S)
        session.send("\x01x")
        session.expect_exit(context.monitor.exit_quit, END_TIMEOUT_S)
        session.expect_terminal_restored()


@case("escape-sends-itself")
def escape_sends_itself(context):
    """Ctrl-A twice is one Ctrl-A to the guest: the shell's line editor goes to the start of the line."""
    with start_shell(context) as session:
        session.send("no-such-word\x01\x01echo at-start-")
        session.send("\n")
        session.expect(r"^at-start-no-such-word$", END_TIMEOUT_S)
        session.send("\x01x")
        session.expect_exit(context.monitor.exit_quit, END_TIMEOUT_S)


def terminal_after_signal(context, number):
    """A signal ends the monitor as the signal itself would (a shell shows 128 + n), but with the terminal restored."""
    with start_shell(context) as session:
        session.process.send_signal(number)
        ended = session.wait(END_TIMEOUT_S)
        session.expect_terminal_restored()
        if context.monitor.signal_shows and ended not in (-number, 128 + number):
            raise BootError(f"the exit status after signal {number} is {ended}")


for signal_name in ("SIGTERM", "SIGINT", "SIGHUP"):
    CASES[f"terminal-after-{signal_name}"] = (
        lambda context, number=getattr(signal, signal_name): terminal_after_signal(context, number))

for signal_name in ("SIGSEGV", "SIGABRT", "SIGQUIT"):
    def crash(context, number=getattr(signal, signal_name)):
        need(context, "crash")
        terminal_after_signal(context, number)
    CASES[f"terminal-after-{signal_name}"] = crash


# --- how a run ends

@case("reboot-restarts")
def reboot_restarts(context):
    with context.start(cloud("reboot", append="quiet")) as session:
        for _ in range(2):
            session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)


@case("reboot-with-no-reboot")
def reboot_with_no_reboot(context):
    with context.start(cloud("reboot", append="quiet", no_reboot=True)) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(context.monitor.exit_reset, END_TIMEOUT_S)
        if session.text.count(guests.MARKER) != 1:
            raise BootError("the guest was started again")


@case("triple-fault")
def triple_fault(context):
    need(context, "triple-fault")
    with context.start(cloud("reboot", append="quiet reboot=t", no_reboot=True)) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect(r"(?i)triple fault", END_TIMEOUT_S)
        session.expect(r"(?i)rip\W+[0-9a-f]{8,}", END_TIMEOUT_S)
        session.expect_exit(3, END_TIMEOUT_S)


@case("exit-code-port")
def exit_code_port(context):
    """What the guest writes to the port decides the monitor's exit status."""
    # The cloud kernel has no /dev/port for the guest to write with.
    guest = cloud("exit", append="quiet vmmctl_port=1281 vmmctl_code=21", exit_port=True)
    guest.kernel = guests.KERNELS["amd64"][1]()
    with context.start(guest) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(context.monitor.exit_status(21), END_TIMEOUT_S)


@case("kernel-panic-resets")
def kernel_panic_resets(context):
    with context.start(cloud("panic", append="panic=-1", no_reboot=True)) as session:
        session.expect("Kernel panic", BOOT_TIMEOUT_S)
        session.expect_exit(context.monitor.exit_reset, END_TIMEOUT_S)


@case("serial-to-a-file")
def serial_to_a_file(context):
    path = context.path("serial.out")
    with context.start(cloud("marker", append="quiet", serial=f"file:{path}")) as session:
        session.expect_exit(0, BOOT_TIMEOUT_S)
        with open(path, encoding="utf-8", errors="replace") as file:
            if guests.MARKER not in file.read():
                raise BootError("the file does not hold what the guest printed")
        if guests.MARKER in session.text:
            raise BootError("the guest's console went to standard output too")


# --- other kernels

def memtest(context, ending):
    guest = Guest(guests.debian_file("memtest86+", ending), append="console=ttyS0,115200", memory="20M")
    with context.start(guest, terminal=True) as session:
        # The screen names the running test, sampled now and then: any but #0 says that the first is over.
        session.expect(r"Memtest86\+", BOOT_TIMEOUT_S)
        session.expect(r"#[1-9]\d* +\[", BOOT_TIMEOUT_S)
        if re.search(r"Errors: *[1-9]", session.text) or "FAIL" in session.text:
            raise BootError("memtest86+ found errors")


@case("memtest86+-64")
def memtest_64(context):
    memtest(context, "x64.bin")


@case("memtest86+-32")
def memtest_32(context):
    memtest(context, "ia32.bin")


@case("xen-banner")
def xen_banner(context):
    modules = (guests.debian_file("linux-image-cloud-amd64"), guests.initramfs())
    guest = Guest(guests.xen(), append="console=com1 com1=115200,8n1 noreboot loglvl=all", modules=modules, memory="1G",
                  no_reboot=True)
    with context.start(guest) as session:
        session.expect(r"Xen version 4\.17", BOOT_TIMEOUT_S)
        session.expect(r"Command line: .*console=com1", BOOT_TIMEOUT_S)


# --- the host's side

@case("idle-guest")
def idle_guest(context):
    """A halted CPU does not spin, over 10 s and with a tickless kernel. How little it takes is told, and measured by
    tests/bench/start.py --idle."""
    with context.start(cloud("idle", append="quiet vmmctl_seconds=15")) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        # The kernel's own deferred work after the boot is no idling.
        time.sleep(3)
        before, start = processes.cpu_seconds(session.process.pid), time.monotonic()
        time.sleep(10)
        used = processes.cpu_seconds(session.process.pid) - before
        share = used / (time.monotonic() - start)
        context.note(f"{share:.2%} of a CPU")
        if share >= 0.5:
            raise BootError(f"an idle guest takes {share:.2%} of a host CPU: something spins")
        session.expect("vmmctl-idle-end", END_TIMEOUT_S)


def resident_at_the_marker(context, extra, limit_mib):
    need(context, "rss")
    with context.start(cloud("hold", append="quiet"), extra=extra) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        beyond = processes.resident_beyond_guest(session.process.pid, 512 << 20)
        context.note(f"{beyond / 2**20:.1f} MiB")
        if beyond >= limit_mib << 20:
            raise BootError(f"{beyond / 2**20:.1f} MiB are resident beyond the guest's memory")


@case("resident-memory")
def resident_memory(context):
    """Resident memory beyond the guest's own stays under 16 MiB at the marker, with the interpreter alone."""
    resident_at_the_marker(context, ("--jit", "off"), 16)


@case("resident-memory-jit")
def resident_memory_jit(context):
    """Translated code counts twice, since it is mapped twice."""
    resident_at_the_marker(context, ("--jit", "on"), 64)


def verified_boot(context, guest, every):
    if context.monitor.name != "vmmctl":
        raise Skip("there is nothing to be verified")
    with context.start(guest, extra=("--jit", f"verify={every}")) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(0, BOOT_TIMEOUT_S)
        session.expect_no_trouble()
        if "jit mismatch" in session.text:
            raise BootError("translated code and interpreter disagree")


@case("jit-verify")
def jit_verify(context):
    """One of a hundred translated blocks is replayed in the interpreter, all the way through a boot."""
    verified_boot(context, cloud("marker"), 100)


def register_whole_verification(name):
    @case(f"jit-verify-all-{name}")
    def verify_all(context):
        """Every translated block of a whole boot is replayed in the interpreter: long, and so only when asked for."""
        if not os.environ.get("VMMCTL_VERIFY_ALL"):
            raise Skip("takes minutes: VMMCTL_VERIFY_ALL=1 runs it")
        arch, kernel = guests.KERNELS[name]
        guest = Guest(kernel(), guests.initramfs(arch), append="console=ttyS0 quiet vmmctl_action=marker")
        verified_boot(context, guest, 1)


for kernel_name in ("cloud", "cloud-vmlinux", "amd64"):
    register_whole_verification(kernel_name)


# What a dynamically linked program reads before main, and what libc reads of the kernel.
LIBRARY_PATHS = re.compile(r"^(/lib/|/usr/lib|/lib64/|/etc/ld\.so|/proc/(self|thread-self|\d+)/|/sys/devices/system/cpu|"
                           r"/proc/(cpuinfo|meminfo|stat)$|/dev/(u?random|null|tty|kvm|ptmx)$|/etc/localtime$|/usr/share/zoneinfo)")
FILE_CALL = re.compile(r'\b(open|openat|openat2|creat|execve|unlink|unlinkat|rename|renameat2?|mkdir|mkdirat|connect|bind'
                       r'|truncate|link|linkat|symlink|symlinkat|mknod|mknodat|chmod|fchmodat)\(([^"]*)"([^"]*)"')


@case("no-other-file-no-network")
def no_other_file_no_network(context):
    """No file outside of the arguments and no network is touched by a boot."""
    need(context, "files")
    trace = context.path("strace.out")
    guest = cloud("marker", append="quiet")
    strace = ["strace", "-f", "--seccomp-bpf", "-o", trace, "-e", "trace=%file,%network"]
    with context.start(guest, wrapper=strace) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        session.expect_exit(0, END_TIMEOUT_S)
    allowed = {guest.kernel, guest.initrd, context.monitor.path, os.path.abspath(context.monitor.path)}
    calls = 0
    with open(trace, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            calls += 1
            match = FILE_CALL.search(line)
            if match and match.group(3) not in allowed and not LIBRARY_PATHS.match(match.group(3)):
                raise BootError(f"a boot touched another file: {line.strip()}")
            if re.search(r"\b(socket|connect|bind|sendto|sendmsg|listen)\((?!AF_UNIX|AF_LOCAL)", line):
                raise BootError(f"a boot touched the network: {line.strip()}")
    if not calls:
        raise BootError("strace saw nothing, so nothing is proven")
