#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Boot times and memory, vmmctl and QEMU's TCG side by side: wall time from exec to a line printed by /init, wall time to
the exit, CPU time of the process, and resident memory beyond the guest's RAM when the line is printed.

    tests/bench/boot.py --vmmctl build/.../vmmctl [--pairs 5] [--guests cloud,cloud-vmlinux,amd64] [--cpus 1]
                        [--peers qemu-pc,qemu-microvm] [--json FILE] [--markdown FILE]

Runs alternate (A B A B ...), after one run of each that is not counted and warms the host's page cache. Ratios are taken
pair by pair. Memory is read in runs of its own, which stop at the marker, so that reading it costs the timed runs nothing.
"""
import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "boot"))

import guests  # noqa: E402
import monitors  # noqa: E402
import processes  # noqa: E402

MEMORY_MIB = 512
HANGS_MAX = 3


def guest_of(name, action, cpus):
    arch, kernel = guests.KERNELS[name]
    return monitors.Guest(kernel(), guests.initramfs(arch), cpus=cpus, memory=f"{MEMORY_MIB}M",
                          append=f"console=ttyS0 quiet vmmctl_action={action}")


def timed_run(monitor, guest):
    """One boot to the marker and on to power-off: seconds to each, and CPU seconds of the process."""
    with tempfile.NamedTemporaryFile() as log:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with monitors.Session(monitor.command(guest), log.name) as session:
            session.expect("^" + guests.MARKER + "$", monitor.hang_s)
            marker_s = time.monotonic() - session.start
            session.expect_exit(0, monitor.hang_s)
            exit_s = time.monotonic() - session.start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"marker_s": marker_s, "exit_s": exit_s, "cpu_s": cpu_s}


def patient_run(monitor, guest, hangs):
    """As timed_run, but a run that hangs is counted, told, and run again: QEMU's microvm is known to hang now and then."""
    for _ in range(HANGS_MAX):
        try:
            return timed_run(monitor, guest)
        except monitors.BootError as error:
            hangs[monitor.name] += 1
            print(f"{monitor.name}: {error}; the run is repeated", file=sys.stderr, flush=True)
    raise SystemExit(f"{monitor.name} does not boot {os.path.basename(guest.kernel)}")


def memory_run(monitor, guest):
    """Bytes resident beyond the guest's RAM at the marker."""
    with tempfile.NamedTemporaryFile() as log:
        with monitors.Session(monitor.command(guest), log.name) as session:
            session.expect(guests.MARKER, monitor.hang_s)
            return processes.resident_beyond_guest(session.process.pid, MEMORY_MIB << 20)


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "all": values}


def compare(subject, peer, name, options):
    """Alternates the two monitors on one guest and returns the record of what was measured."""
    runs = {subject.name: [], peer.name: []}
    hangs = {subject.name: 0, peer.name: 0}
    for monitor in (subject, peer):
        patient_run(monitor, guest_of(name, "marker", options.cpus), hangs)
    for pair in range(options.pairs):
        for monitor in (subject, peer):
            runs[monitor.name].append(patient_run(monitor, guest_of(name, "marker", options.cpus), hangs))
        times = ", ".join(f"{key} {values[-1]['marker_s']:.2f} s" for key, values in runs.items())
        print(f"{name} pair {pair + 1}/{options.pairs}: {times}", file=sys.stderr, flush=True)
    record = {"guest": name, "kernel": os.path.basename(guests.KERNELS[name][1]()), "cpus": options.cpus,
              "memory_mib": MEMORY_MIB, "hung_runs": hangs, "monitors": {}}
    for monitor in (subject, peer):
        measured = {key: summary([run[key] for run in runs[monitor.name]]) for key in ("marker_s", "exit_s", "cpu_s")}
        measured["rss_beyond_guest_mib"] = memory_run(monitor, guest_of(name, "hold", options.cpus)) / 2**20
        measured["command"] = monitor.command(guest_of(name, "marker", options.cpus))
        record["monitors"][monitor.name] = measured
    record["ratio_to_marker"] = summary([ours["marker_s"] / theirs["marker_s"]
                                         for ours, theirs in zip(runs[subject.name], runs[peer.name])])
    record["ratio_rss"] = (record["monitors"][subject.name]["rss_beyond_guest_mib"]
                           / record["monitors"][peer.name]["rss_beyond_guest_mib"])
    return record


def host():
    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo", encoding="ascii", errors="replace")
                  if line.startswith("model name")), platform.machine())
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False)
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(),
            "qemu": qemu.stdout.split("\n")[0], "load": os.getloadavg()[0]}


def spread(values, unit):
    return f"{values['median']:.2f} ({values['min']:.2f}-{values['max']:.2f}){unit}"


def markdown(result):
    lines = [f"Host: {result['host']['cpu']}, {result['host']['cpus']} CPUs, Linux {result['host']['kernel']}, "
             f"{result['host']['qemu']}; {result['date']}; load at the start {result['host']['load']:.2f}.", "",
             "| guest | monitor | to the marker, s | to the exit, s | CPU time, s | RSS beyond guest, MiB "
             "| time to the marker / peer's |", "|---|---|---|---|---|---|---|"]
    for record in result["records"]:
        names = list(record["monitors"])
        for name in names:
            values = record["monitors"][name]
            ratio = spread(record["ratio_to_marker"], "x") if name == names[0] else "1"
            lines.append(f"| {record['guest']}, {record['cpus']} CPU | {name} | {spread(values['marker_s'], '')} "
                         f"| {spread(values['exit_s'], '')} | {values['cpu_s']['median']:.2f} "
                         f"| {values['rss_beyond_guest_mib']:.1f} | {ratio} |")
    lines += ["", "Medians of the runs, (min-max). Not equal between the monitors: see tests/bench/README.md."]
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", help="the program to measure; without it, the first peer is compared with the second")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--guests", default="cloud,cloud-vmlinux,amd64")
    parser.add_argument("--peers", default="qemu-microvm,qemu-pc")
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--markdown", help="write the table there; it is printed in any case")
    options = parser.parse_args()
    unknown = set(options.guests.split(",")) - set(guests.KERNELS)
    if unknown:
        parser.error(f"no such guest: {', '.join(unknown)}; there are {', '.join(guests.KERNELS)}")
    if options.pairs < 1:
        parser.error("--pairs takes at least 1")
    return options


def main():
    options = parse_arguments()
    peers = [monitors.Qemu(name.partition("-")[2]) for name in options.peers.split(",")]
    subject = monitors.Vmmctl(os.path.abspath(options.vmmctl)) if options.vmmctl else peers.pop(0)
    result = {"host": host(), "date": datetime.date.today().isoformat(), "pairs": options.pairs, "records": []}
    for name in options.guests.split(","):
        for peer in peers:
            result["records"].append(compare(subject, peer, name, options))
    table = markdown(result)
    print(table, end="")
    for path, text in ((options.json, json.dumps(result, indent=1) + "\n"), (options.markdown, table)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
