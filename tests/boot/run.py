#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Runs the boot tests: real guests under vmmctl, or under QEMU to prove the tests themselves.

    tests/boot/run.py --vmmctl build/.../vmmctl [CASE...]       all cases, or those whose names match the shell patterns
    tests/boot/run.py --driver qemu-pc [CASE...]                the same guests under QEMU (qemu-pc, qemu-microvm)
    tests/boot/run.py --list

Two cases run at a time. The console of each is kept in the folder of --logs. Ends with `N passed, N failed, N skipped`.
"""
import argparse
import concurrent.futures
import fnmatch
import os
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cases  # noqa: E402
import disk_cases  # noqa: E402,F401  pylint: disable=unused-import
import device_cases  # noqa: E402,F401  pylint: disable=unused-import
import float_cases  # noqa: E402,F401  pylint: disable=unused-import
import virtio_cases  # noqa: E402,F401  pylint: disable=unused-import
import run_cases  # noqa: E402,F401  pylint: disable=unused-import
import system_cases  # noqa: E402,F401  pylint: disable=unused-import
import guests  # noqa: E402
import monitors  # noqa: E402
import net_cases  # noqa: E402,F401  pylint: disable=unused-import
import snapshot_cases  # noqa: E402,F401  pylint: disable=unused-import

# All cases take some minutes; the bound keeps continuous integration within its own when guests hang.
SUITE_TIMEOUT_S = float(os.environ.get("VMMCTL_BOOT_SUITE_TIMEOUT", "1500"))
# So many failures with no success before say that no guest boots.
FIRST_FAILURES_MAX = 4


class Context:
    """What one case is given: the monitor under test, names for its files, and a place for a remark."""

    def __init__(self, monitor, logs, name):
        self.monitor = monitor
        self.logs = logs
        self.name = name
        self.remark = ""
        self.starts = 0
        self.session = None

    def path(self, ending):
        return os.path.join(self.logs, f"{self.name}.{ending}")

    def note(self, remark):
        self.remark = remark

    def start(self, guest, terminal=False, extra=(), wrapper=()):
        self.starts += 1
        log = self.path("log" if self.starts == 1 else f"{self.starts}.log")
        self.session = monitors.Session([*wrapper, *self.monitor.command(guest, extra)], log, terminal)
        return self.session


class Patience:
    """Ends a run in which nothing can be learned any more: no guest boots at all, or the suite's time is up."""

    def __init__(self):
        self.deadline = time.monotonic() + SUITE_TIMEOUT_S
        self.lock = threading.Lock()
        self.passed = 0
        self.failed = 0

    def end(self, passed):
        with self.lock:
            self.passed += passed
            self.failed += not passed

    def verdict(self):
        """Why the next case is not worth starting, or None."""
        if time.monotonic() > self.deadline:
            return f"not run: the suite's {SUITE_TIMEOUT_S:.0f} s are over"
        if not self.passed and self.failed >= FIRST_FAILURES_MAX:
            return f"not run: the first {self.failed} cases failed"
        return None


class Progress:
    """One line a case as it ends, and a sign of life every half minute."""

    def __init__(self, total):
        self.lock = threading.Lock()
        self.total = total
        self.done = 0
        self.running = {}
        self.spoken = time.monotonic()

    def begin(self, name):
        with self.lock:
            self.running[name] = time.monotonic()

    def end(self, name, verdict, text=""):
        with self.lock:
            self.done += 1
            seconds = time.monotonic() - self.running.pop(name)
            self.spoken = time.monotonic()
            print(f"{self.done:3}/{self.total} boot {name:28} {verdict} {seconds:6.1f} s{text}", flush=True)

    def remind(self):
        with self.lock:
            if time.monotonic() - self.spoken > 30 and self.running:
                self.spoken = time.monotonic()
                since = ", ".join(f"{name} ({self.spoken - start:.0f} s)" for name, start in self.running.items())
                print(f"    still running: {since}", flush=True)


def run_case(monitor, logs, name, progress, patience):
    verdict = run_patiently(monitor, logs, name, progress, patience)
    if verdict != "skipped":
        patience.end(verdict == "passed")
    return verdict


def run_patiently(monitor, logs, name, progress, patience):
    context = Context(monitor, logs, name)
    progress.begin(name)
    if patience.verdict():
        progress.end(name, "FAIL", f"  {patience.verdict()}")
        return "failed"
    try:
        cases.CASES[name](context)
    except cases.Skip as skip:
        progress.end(name, "SKIP", f"  {skip}")
        return "skipped"
    except Exception as error:  # pylint: disable=broad-except
        tail = "\n".join("      | " + line for line in (context.session.text if context.session else "").split("\n")[-25:])
        progress.end(name, "FAIL", f"\n      {type(error).__name__}: {error}\n{tail}")
        return "failed"
    progress.end(name, "ok  ", f"  {context.remark}" if context.remark else "")
    return "passed"


def make_monitor(options, parser):
    if options.driver == "vmmctl":
        if not options.vmmctl or not os.access(options.vmmctl, os.X_OK):
            parser.error("--vmmctl must name the built program")
        return monitors.Vmmctl(os.path.abspath(options.vmmctl))
    return monitors.Qemu(options.driver.partition("-")[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", help="the program under test")
    parser.add_argument("--driver", choices=("vmmctl", "qemu-pc", "qemu-microvm"), default="vmmctl")
    parser.add_argument("--logs", default=os.path.join(guests.TOP, "build", "boot-logs"))
    parser.add_argument("--counts", help="a file to write `PASSED FAILED SKIPPED` to")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("patterns", nargs="*", metavar="CASE")
    options = parser.parse_args()
    chosen = [name for name in cases.CASES
              if not options.patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in options.patterns)]
    if options.list:
        print("\n".join(chosen))
        return 0
    monitor = make_monitor(options, parser)
    os.makedirs(options.logs, exist_ok=True)
    progress = Progress(len(chosen))
    patience = Patience()
    with concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs) as pool:
        runs = [pool.submit(run_case, monitor, options.logs, name, progress, patience) for name in chosen]
        while any(not run.done() for run in runs):
            concurrent.futures.wait(runs, timeout=5)
            progress.remind()
    results = [run.result() for run in runs]
    counts = [results.count(verdict) for verdict in ("passed", "failed", "skipped")]
    if options.counts:
        with open(options.counts, "w", encoding="ascii") as file:
            print(*counts, file=file)
    print(f"boot: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
    return 0 if results and not counts[1] else 1


if __name__ == "__main__":
    sys.exit(main())
