#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Hand-over and assist with real kernels on this host's own /dev/kvm; one that interprets its guests will do.

    tests/kvm/handover.py --vmmctl build/.../vmmctl [--counts FILE] [CASE...]

A case that this host cannot run is skipped, by name; alone it ends with status 77. The guest of the hand-over cases checks
its own clocks (tests/boot/guest/clock_check.c) while it is passed to and fro. run.py has the same cases in the rig.
"""
import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "boot"))

import guests  # noqa: E402
import monitors  # noqa: E402

# A KVM that interprets runs one or two million instructions a second, as the host pleases; a boot has a few hundred million.
ASSIST_TIMEOUT_S = 1200
TIMEOUT_S = float(os.environ.get("VMMCTL_BOOT_TIMEOUT", "300"))
CHECK_SECONDS = 4
SWITCHES_MIN = 200
KERNEL_SWITCHES_MIN = 30
SKIPPED = 77

SCRIPT = f"""
echo "clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
clock_check {CHECK_SECONDS}
grep -E '^ *(LOC|RES|ERR|MIS)|ttyS0' /proc/interrupts
dmesg | grep -i -E 'tsc unstable|timekeeping watchdog|went backwards' | sed 's/^/clock trouble: /'
echo {guests.MARKER}
"""


class Skip(Exception):
    pass


def guest_program(name):
    """A program of tests/boot/guest, static, made anew when its source has changed."""
    source = os.path.join(guests.TOP, f"tests/boot/guest/{name}.c")
    path = os.path.join(guests.cache_folder(), name)
    with guests.locked():
        if not guests.is_fresh(path, source):
            subprocess.run(["cc", "-O2", "-static", "-pthread", "-D_GNU_SOURCE", "-o", path + ".tmp", source], check=True)
            os.rename(path + ".tmp", path)
    return path


def initrd(path):
    return guests.initramfs_with(path, [], SCRIPT, [(guest_program("clock_check"), "/bin/clock_check")])


def switch_arguments(kernel, initramfs, cpus, every_ms, accel="tcg", append=""):
    """A guest that boots and checks itself while it goes from one accelerator to the other and back."""
    return ["--accel", accel, "--accel-switch-every", str(every_ms), "--cpu", "x86-64", "--cpus", str(cpus), "--mem", "256M",
            "--log-level", "info", "--kernel", kernel, "--initrd", initramfs,
            "--append", f"console=ttyS0 vmmctl_action=script {append}".strip()]


def expect_switched(session, cpus, switches_min=SWITCHES_MIN):
    """What such a guest must show; returns a remark."""
    clocksource = session.expect(r"^clocksource (\S+)$", TIMEOUT_S).group(1)
    session.expect(r"^clock_check: (ok|FAILED)$", TIMEOUT_S)
    local = session.expect(r"^ *LOC:((?: +\d+)+) +Local", TIMEOUT_S).group(1).split()
    session.expect("^" + guests.MARKER + "$", TIMEOUT_S)
    session.expect("the guest switched the machine off$", TIMEOUT_S)
    switches = int(session.expect(r"accel\.switches: (\d+)\n", TIMEOUT_S).group(1))
    session.expect_no_trouble()
    for line in session.case_text().split("\n"):
        if line.startswith(("clock trouble: ", "clock_check: FAILED")) or "stays with" in line or "switches_failed" in line:
            raise monitors.BootError(f"the hand-over shows: {line}")
    if len(local) != cpus or min(int(count) for count in local) < 10:
        raise monitors.BootError(f"timer interrupts of {cpus} CPUs: {local}")
    errors = re.search(r"^ *ERR: +([1-9]\d*)$", session.case_text(), re.MULTILINE)
    if errors:
        raise monitors.BootError(f"{errors.group(1)} interrupts that were errors")
    if switches < switches_min:
        raise monitors.BootError(f"{switches} hand-overs, expected {switches_min}")
    sleep = re.search(r"longest sleep of 1 ms: (\d+) us", session.case_text()).group(1)
    return f"{switches} hand-overs, clocksource {clocksource}, longest sleep of 1 ms {sleep} us"


def finding(options):
    """What `probe` says of KVM."""
    text = subprocess.run([options.vmmctl, "probe"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return re.search(r"^accel kvm +(.*)$", text, re.MULTILINE).group(1)


def need_kvm(options):
    found = finding(options)
    if "works" not in found and "interprets" not in found:
        raise Skip(f"kvm: {found}")
    return found


def switch_case(options, folder, cpus, irqchip):
    """
    As in the rig on a KVM that runs guests at the hardware's speed. One that interprets (PVM, kvm_pvm.ko) is used only when
    --interpreting asks for it, and followed up to /init only: there a hand-over has been seen to end in a #GP of a move to
    CR4 that the guest may make, and in a system call that was entered with user rights.
    """
    interprets = "interprets" in need_kvm(options)
    if interprets and not options.interpreting:
        raise Skip("this host's KVM interprets its guests (--interpreting tries it); the rig has these cases, too")
    kernel = guests.KERNELS["cloud"][1]()
    command = [options.vmmctl, "boot", "--irqchip", irqchip,
               *switch_arguments(kernel, initrd(os.path.join(folder, "initrd")), cpus, 15)]
    with monitors.Session(command, os.path.join(options.logs, f"handover-{cpus}cpu-{irqchip}.log")) as session:
        if interprets:
            return expect_kernel_switched(session)
        remark = expect_switched(session, cpus)
        session.expect_exit(0, TIMEOUT_S)
    return remark


def expect_kernel_switched(session):
    session.expect("Run /init as init process$", TIMEOUT_S)
    session.expect_no_trouble()
    session.process.send_signal(signal.SIGTERM)
    switches = int(session.expect(r"accel\.switches: (\d+)\n", TIMEOUT_S).group(1))
    if "stays with" in session.case_text() or switches < KERNEL_SWITCHES_MIN:
        raise monitors.BootError(f"{switches} hand-overs, expected {KERNEL_SWITCHES_MIN}, and none refused")
    return f"{switches} hand-overs up to /init"


# A program of the guest at the address of the kernel's entry: an interpreting KVM was seen to enter a system call with the rights
# of the user. No other monitor's guest fares better there, and the boot goes on.
ENTERED_AS_USER = re.compile(r"segfault at ffffffff([0-9a-f]{8}) ip ffffffff\1 ")


def assist_case(options, _folder):
    """A KVM that gives up on instructions of this very kernel: without the assist the boot ends in an error."""
    if "interprets" not in need_kvm(options):
        raise Skip("this host's KVM executes everything")
    command = [options.vmmctl, "boot", "--accel", "kvm", "--irqchip", "off", "--cpu", "x86-64", "--mem", "96M", "--log-level", "info",
               "--kernel", guests.KERNELS["cloud"][1](), "--initrd", guests.initramfs(),
               "--append", "console=ttyS0 earlyprintk=ttyS0 mitigations=off noxsave nosoftlockup "
               "rcupdate.rcu_cpu_stall_suppress=1 vmmctl_action=marker"]
    with monitors.Session(command, os.path.join(options.logs, "assist.log")) as session:
        session.expect(r"CPU 0: kvm cannot emulate .*; tcg does it: rip=.* lock cmpxchg16b ", ASSIST_TIMEOUT_S)
        session.expect("^" + guests.MARKER + "$", ASSIST_TIMEOUT_S)
        session.expect("the guest switched the machine off$", ASSIST_TIMEOUT_S)
        assists = session.expect(r"accel\.assists: (\d+)$", ASSIST_TIMEOUT_S).group(1)
        session.expect_exit(0, ASSIST_TIMEOUT_S)
        for line in session.case_text().split("\n"):
            if monitors.KERNEL_TROUBLE.search(line) and not ENTERED_AS_USER.search(line):
                raise monitors.BootError(f"the guest's log tells of trouble: {line}")
    return f"{assists} assists"


CASES = {
    "switch-1cpu": lambda options, folder: switch_case(options, folder, 1, "off"),
    "switch-1cpu-irqchip": lambda options, folder: switch_case(options, folder, 1, "auto"),
    "switch-2cpu": lambda options, folder: switch_case(options, folder, 2, "off"),
    "switch-2cpu-irqchip": lambda options, folder: switch_case(options, folder, 2, "auto"),
    "assist": assist_case,
}


def run_case(name, options):
    with tempfile.TemporaryDirectory(prefix="vmmctl-handover.") as folder:
        start = time.monotonic()
        try:
            remark = CASES[name](options, folder)
            verdict = "ok  "
        except Skip as skip:
            verdict, remark = "SKIP", str(skip)
        except monitors.BootError as error:
            verdict, remark = "FAIL", str(error)
    print(f"handover {name:20} {verdict} {time.monotonic() - start:6.1f} s  {remark}", flush=True)
    return verdict


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--logs", default=os.path.join(guests.TOP, "build", "boot-logs"))
    parser.add_argument("--counts", help="a file to write `PASSED FAILED SKIPPED` to")
    parser.add_argument("--interpreting", action="store_true", help="hand over on a KVM that interprets its guests, too")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=" ".join(CASES))
    options = parser.parse_args()
    os.makedirs(options.logs, exist_ok=True)
    verdicts = [run_case(name, options) for name in options.cases or CASES]
    counts = [verdicts.count(verdict) for verdict in ("ok  ", "FAIL", "SKIP")]
    if options.counts:
        with open(options.counts, "w", encoding="ascii") as file:
            print(*counts, file=file)
    if counts[1]:
        return 1
    return SKIPPED if verdicts == ["SKIP"] else 0


if __name__ == "__main__":
    sys.exit(main())
