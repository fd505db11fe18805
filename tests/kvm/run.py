#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Proves `--accel kvm` on a real kvm-amd, inside the rig (rig.py): the payloads of test_kvm, what is said of a /dev/kvm that
cannot be used, ends by signals, and stock Debian kernels, which boot to a marker and power off.

    tests/kvm/run.py --vmmctl build/.../vmmctl-static --tests build/tests/kvm [--counts FILE] [CASE...]

All cases run in one rig, one after another, because the rig's own start costs more than a case. Where the rig's own kernel
stands still or dies, the rest, that case included, runs in another, and the summary says so. Without QEMU they are skipped, by name. Times are those of the rig's emulated CPUs: compare them only with others taken in the same rig.
"""
import argparse
import os
import re
import shlex
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import rig  # noqa: E402  (finds guests and monitors)
import guests  # noqa: E402
import handover  # noqa: E402
import monitors  # noqa: E402
import virtio  # noqa: E402

CASE_TIMEOUT_S = float(os.environ.get("VMMCTL_BOOT_TIMEOUT", "150"))
RESTARTS_MAX = 2  # of rigs; more would hide that nothing can be tested


def boot_command(kernel, cpus, accel, quiet):
    """quiet: without the kernel's log, most of whose time is the serial port's."""
    append = "console=ttyS0 vmmctl_action=marker" + (" quiet" if quiet else "")
    return (f"/vmmctl boot --accel {accel} --log-level info --kernel {kernel} --initrd /guest/initrd --mem 256M "
            f"--cpus {cpus} --append '{append}'")


def expect_boot(session, cpus):
    """The guest reaches its marker and powers off in order; returns the seconds from exec to the marker."""
    start = time.monotonic()
    session.expect(r"^vmmctl: info: accelerator: kvm, ", CASE_TIMEOUT_S)
    session.expect("^" + guests.MARKER + "$", CASE_TIMEOUT_S)
    seconds = time.monotonic() - start
    online = int(session.expect(r"^vmmctl-cpus (\d+)$", CASE_TIMEOUT_S).group(1))
    if online != cpus:
        raise monitors.BootError(f"the guest runs {online} CPUs, expected {cpus}")
    session.expect("the guest switched the machine off$", CASE_TIMEOUT_S)
    return seconds


def boot_case(kernel, cpus, accel="kvm", quiet=False):
    command = boot_command(kernel, cpus, accel, quiet)
    return command, lambda session: f"marker after {expect_boot(session, cpus):.1f} s"


def probe_expect(session):
    finding = session.expect(r"^accel kvm +(.+)\n", CASE_TIMEOUT_S).group(1)
    session.expect(r"^--accel auto takes kvm", CASE_TIMEOUT_S)
    return finding


def program_expect(session, name):
    """All of a program's tests pass. What it skips, it skips for want of something in the kernel: the remark names it."""
    start = session.seen
    status = session.expect(f"^payloads of {name}: status (\\d+)$", CASE_TIMEOUT_S).group(1)
    text = session.text[start:session.seen]
    passed = sum(int(number) for number in re.findall(r"^\[  PASSED  \] (\d+) test", text, re.MULTILINE))
    skipped = sorted(set(re.findall(r"^\[  SKIPPED \] (test_\w+)$", text, re.MULTILINE)))
    if status != "0" or passed <= len(skipped):
        raise monitors.BootError(f"{name} ended with status {status}, {passed} tests passed")
    return f"{passed} tests" + (f", without {', '.join(skipped)}" if skipped else "")


def program_case(name):
    """A cmocka program of this folder."""
    return f"/{name} 2>&1; echo payloads of {name}: status $?", lambda session: program_expect(session, name)


PROGRAMS = {"payloads": "test_kvm", "controllers": "test_kvm_chips",
            "controller-states": "test_kvm_chip_states", "memory": "test_kvm_memory", "states": "test_handover"}


# How /dev/kvm is spoiled (refuse.c), and what vmmctl then says.
REFUSALS = {
    "missing": "there is no /dev/kvm",
    "empty": "no KVM behind it",
    "forbidden": "no permission to open /dev/kvm",
    "closed": "opening /dev/kvm is forbidden",
    "deaf": "ioctl on /dev/kvm is forbidden",
    "version:11": "KVM's interface has version 11",
    "lacks:136": "too old: it lacks immediate exit",
    "slow:20": "it opens, but interprets guest code",
}


def refusals_command():
    return "\n".join(f"/refuse {how} /vmmctl probe" for how in REFUSALS)


def refusals_expect(session):
    for reason in REFUSALS.values():
        session.expect(r"^accel kvm +.*" + reason, CASE_TIMEOUT_S)
        session.expect(r"^--accel auto takes tcg, because", CASE_TIMEOUT_S)
    return f"{len(REFUSALS)} told apart"


# name -> the status after it. A shell's background jobs ignore INT and QUIT: vmmctl ends, but not by them. USR1
# has a meaning of its own, and 34 is the kick of a CPU, harmless to others: TERM comes behind both.
SIGNALS = {"HUP": 129, "INT": 0, "QUIT": 0, "USR1": 143, "TERM": 143, "34": 143, "KILL": 137}
# A guest that runs for ever, and one that sleeps; each has a second CPU that waits to be started.
SIGNALS_COMMAND = f"""printf '\\353\\376' >/tmp/spin; printf '\\372\\364\\353\\375' >/tmp/halt
for guest in spin halt; do for signal in {" ".join(SIGNALS)}; do
	/vmmctl boot --accel kvm --protocol flat --kernel /tmp/$guest --mem 4M --cpus 2 --log-level info >/tmp/log 2>&1 &
	pid=$!
	while ! grep -q 'accelerator: kvm' /tmp/log; do sleep 0.05; done
	sleep 0.3
	kill -$signal $pid
	case $signal in USR1 | 34) sleep 0.3; kill -TERM $pid ;; esac
	wait $pid
	echo "signal $signal to $guest: status $?, $(ps | grep -c '[/]vmmctl boot') left"
done; done"""


def signals_expect(session):
    for guest in ("spin", "halt"):
        for name, status in SIGNALS.items():
            session.expect(f"^signal {name} to {guest}: status {status}, 0 left$", CASE_TIMEOUT_S)
    return f"{2 * len(SIGNALS)} ends"


def handover_case(cpus):
    """Two hundred times and more from one accelerator to the other, while a kernel boots and checks its clocks."""
    arguments = handover.switch_arguments("/guest/bzImage", "/guest/clocks", cpus, 20, accel="kvm", append="quiet")
    return shlex.join(["/vmmctl", "boot", *arguments]), lambda session: handover.expect_switched(session, cpus)


def virtio_case(options):
    return virtio.everything_command(options), lambda session: virtio.expect_everything(session, CASE_TIMEOUT_S)


# name -> (shell command, what its console must show; returns a remark), in the order in which they run
CASES = {
    "probe": ("/vmmctl probe", probe_expect),
    **{name: program_case(program) for name, program in PROGRAMS.items()},
    "refusals": (refusals_command(), refusals_expect),
    "signals": (SIGNALS_COMMAND, signals_expect),
    "cloud-bzimage-1cpu": boot_case("/guest/bzImage", 1),
    "cloud-vmlinux-1cpu": boot_case("/guest/vmlinux", 1, quiet=True),
    "cloud-bzimage-2cpu": boot_case("/guest/bzImage", 2, quiet=True),
    "cloud-vmlinux-2cpu": boot_case("/guest/vmlinux", 2, accel="auto", quiet=True),
    "virtio-mmio": virtio_case("--virtio-transport mmio"),
    "virtio-pci": virtio_case("--virtio-transport pci --irqchip split --cpus 2"),
    "virtio-without-ioeventfd": (virtio.bus_command(), lambda session: virtio.expect_bus(session, CASE_TIMEOUT_S)),
    "handover-1cpu": handover_case(1),
    "handover-2cpu": handover_case(2),
}


def guest_files(vmmctl, tests, logs):
    """
    tests: the folder of the programs that are built for these cases. Beside vmmctl-static lies the usual vmmctl: user-mode
    networking is a library that only a program with shared libraries can load.
    """
    shared = os.path.join(os.path.dirname(vmmctl), "vmmctl")
    kernel = guests.debian_file("linux-image-cloud-amd64")
    vmlinux = guests.vmlinux("linux-image-cloud-amd64")
    programs = [rig.with_libraries(os.path.join(tests, name), "/" + name) for name in (*PROGRAMS.values(), "refuse")]
    return [(vmmctl, "/vmmctl"), (kernel, "/guest/bzImage"), (vmlinux, "/guest/vmlinux"),
            (guests.initramfs(), "/guest/initrd"), *sum(programs, []),
            *rig.with_libraries(shared, "/vmmctl-shared"), *rig.with_libraries(virtio.slirp(), virtio.slirp()),
            (virtio.initrd(logs, handover.guest_program("disk_check")), "/guest/virtio"),
            (handover.initrd(os.path.join(logs, "clocks.cpio")), "/guest/clocks")]


def report(number, total, name, verdict, text=""):
    print(f"{number:3}/{total} rig {name:28} {verdict} {text}", flush=True)


def run_case(host, name, expect):
    """Returns a remark on how long it took, and what else it shows."""
    start = time.monotonic()
    host.expect_begin(name, CASE_TIMEOUT_S)
    remark = expect(host.session)
    status = host.expect_end(name, CASE_TIMEOUT_S)
    if status != 0:
        raise monitors.BootError(f"the exit status is {status}, expected 0")
    return f"{time.monotonic() - start:6.1f} s  {remark}"


def run_in(host, names, cases, tell):
    """Runs cases in a rig as long as it can be used. Returns those that are still to be run, and what befell the rig, or None."""
    try:
        host.expect_up()
    except monitors.BootError as error:
        return names, f"the rig did not come up: {error}"
    for number, name in enumerate(names):
        try:
            tell(name, "ok  ", run_case(host, name, cases[name][1]))
        except rig.StoodStill:
            return names[number:], f"the rig's kernel stood still in {name}"
        except monitors.BootError as error:
            if host.has_died():
                return names[number:], f"the rig ended in {name}"
            tail = "\n".join("      | " + line for line in host.session.text.split("\n")[-25:])
            tell(name, "FAIL", f"{error}\n{tail}")
            # What hangs in a rig that is alive is vmmctl's fault, and keeps the rig from going on.
            if "did not show" in str(error):
                return names[number + 1:], None
    return [], None


def run_cases(names, cases, start, tell):
    """
    Runs the cases, in one rig if it lives as long. start(names, number) makes the rig of that number with these cases;
    tell(name, verdict, text) is told of each. Returns what befell rigs, which is nobody's failure up to RESTARTS_MAX times.
    """
    mishaps = []
    number = 0
    while names and len(mishaps) <= RESTARTS_MAX:
        with start(names, number) as host:
            names, mishap = run_in(host, names, cases, tell)
        number += 1
        if mishap:
            mishaps.append(mishap)
            print(f"      {mishap}", flush=True)
    for name in names:
        tell(name, "FAIL", f"it was not reached: {mishaps[-1]}")
    return mishaps


def run_all(names, options, tell):
    files = guest_files(options.vmmctl, options.tests, options.logs)

    def start(names, number):
        log = os.path.join(options.logs, f"rig-{number + 1}.log" if number else "rig.log")
        return rig.Rig([(name, CASES[name][0]) for name in names], log, files)

    return run_cases(names, CASES, start, tell)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True, help="the program under test, without shared libraries")
    parser.add_argument("--tests", required=True, help="the folder of test_kvm*, test_handover and refuse")
    parser.add_argument("--logs", default=os.path.join(guests.TOP, "build", "boot-logs"))
    parser.add_argument("--counts", help="a file to write `PASSED FAILED SKIPPED` to")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=" ".join(CASES))
    options = parser.parse_args()
    names = [name for name in CASES if not options.cases or name in options.cases]
    verdicts, mishaps = [], []
    os.makedirs(options.logs, exist_ok=True)

    def tell(name, verdict, text):
        verdicts.append(verdict)
        report(len(verdicts), len(names), name, verdict, text)

    if not rig.is_available() or not os.access(options.vmmctl, os.X_OK):
        for name in names:
            tell(name, "SKIP", "no static vmmctl was built" if rig.is_available() else f"there is no {rig.QEMU}")
    else:
        mishaps = run_all(names, options, tell)
    counts = [verdicts.count(verdict) for verdict in ("ok  ", "FAIL", "SKIP")]
    if options.counts:
        with open(options.counts, "w", encoding="ascii") as file:
            print(*counts, file=file)
    print(f"rig: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped", *mishaps, sep="; ")
    return 0 if verdicts and not counts[1] else 1


if __name__ == "__main__":
    sys.exit(main())
