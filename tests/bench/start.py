#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
What a machine costs before its guest does anything, and while its guest sleeps: CPU time from exec to the guest's first
instructions, memory beyond the guest's, and the share of a CPU that an idle guest takes.

    tests/bench/start.py --vmmctl build/.../vmmctl [--accels kvm,tcg] [--runs 30] [--idle SECONDS] [--json FILE]

The guest of the first two writes a byte to the serial port and halts. That of the third is Debian's cloud kernel at its
marker, three seconds later. CPU time is the monitor's, of all its threads, as /proc tells.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for folder in ("kvm", "boot"):
    sys.path.insert(0, os.path.join(TOP, "tests", folder))

import footprint  # noqa: E402
import guests  # noqa: E402
import monitors  # noqa: E402

BOOT_TIMEOUT_S = 300
SETTLE_S = 3


def measure_starts(options, accel):
    """Lists of ms and KiB; the first run warms the host's page cache and is not counted."""
    with tempfile.NamedTemporaryFile() as guest:
        guest.write(footprint.WRITE_AND_HALT)
        guest.flush()
        # A KVM that interprets has been seen to know no more than the baseline.
        command = [options.vmmctl, "boot", "--kernel", guest.name, "--protocol", "flat", "--mem", "4M", "--cpu", "x86-64",
                   "--accel", accel]
        runs = [footprint.of_a_start(command) for _ in range(1 + options.runs)][1:]
    return {"cpu_ms": [run[0] for run in runs], "rss_beyond_guest_kib": [run[1] for run in runs]}


def measure_idle(options, accel):
    """The share of one CPU that the monitor takes while its guest sleeps."""
    command = [options.vmmctl, "boot", "--accel", accel, "--kernel", guests.KERNELS["cloud"][1](), "--initrd",
               guests.initramfs(), "--mem", "512M", "--append",
               f"console=ttyS0 quiet vmmctl_action=idle vmmctl_seconds={SETTLE_S + options.idle + 60}"]
    with tempfile.NamedTemporaryFile() as log, monitors.Session(command, log.name) as session:
        session.expect("^" + guests.MARKER + "$", BOOT_TIMEOUT_S)
        time.sleep(SETTLE_S)
        before_ms, start = footprint.cpu_ms(session.process.pid), time.monotonic()
        time.sleep(options.idle)
        return (footprint.cpu_ms(session.process.pid) - before_ms) / 1000 / (time.monotonic() - start)


def markdown(results):
    lines = ["| accelerator | CPU time to the first instructions, ms | beyond the guest's memory, MiB | idle, of one CPU |",
             "|---|---|---|---|"]
    for accel, result in results.items():
        cpu_ms, rss_kib = result["cpu_ms"], result["rss_beyond_guest_kib"]
        idle = f"{result['idle']:.2%}" if "idle" in result else "-"
        lines.append(f"| {accel} | {statistics.median(cpu_ms):.2f} ({min(cpu_ms):.2f}-{max(cpu_ms):.2f}) "
                     f"| {statistics.median(rss_kib) / 1024:.2f} | {idle} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--accels", default="kvm,tcg")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--idle", type=int, default=0, metavar="SECONDS", help="measure an idle guest for so long")
    parser.add_argument("--json")
    options = parser.parse_args()
    load, results = os.getloadavg()[0], {}
    for accel in options.accels.split(","):
        results[accel] = measure_starts(options, accel)
        if options.idle:
            results[accel]["idle"] = measure_idle(options, accel)
    print(f"load at the start {load:.1f}, {options.runs} runs, medians (min-max)\n\n{markdown(results)}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"load": load, "results": results}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
