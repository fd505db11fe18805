#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
The micro classes of work, each in a guest under vmmctl and under QEMU's TCG in turn, and on the host: the static program of
tests/bench/guest and guest/bench, on one CPU, in Debian's cloud kernel with an initramfs.

    tests/bench/micro.py --vmmctl build/.../vmmctl [--pairs 5] [--ms 100] [--classes int-alu,sort] [--arguments="--jit on"]
                         [--peer qemu-pc | --peer OTHER_VMMCTL] [--json FILE] [--markdown FILE]

Runs alternate (A B A B ..., the host before each pair). Each class runs until it lasts --ms, and the best of five stretches is
its figure. `gain` is the peer's time over vmmctl's, `x native` vmmctl's time over the host's, `bound` the peer's over the host's:
what gain would bring a guest to the host's speed. Medians of the pairs (min-max). Gains below the goal are marked with `!`; a
goal beyond the bound is asked for no further than the bound. To compare two builds, name the other one with --peer.
"""
import argparse
import datetime
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "boot"))

import boot  # noqa: E402
import guests  # noqa: E402
import monitors  # noqa: E402

LINE = re.compile(r"^([a-z0-9-]+)\t([0-9.]+)\t(.+)$", re.MULTILINE)
SOURCES = ("guest/bench", "tests/bench/guest")
# The kernels are measured as they are written, not as a compiler would replace them.
FLAGS = ("-std=gnu17", "-D_GNU_SOURCE", "-O2", "-fno-tree-loop-distribute-patterns", "-fno-tree-vectorize", "-fno-strict-aliasing",
         "-Wall", "-Wextra", "-static")
TIMEOUT_S = 600

# class -> (group, the first goal, the final goal): gains over QEMU's TCG.
GOALS = {
    "int-alu": ("integer", 1.1, 1.2),
    "int-divide": ("integer", 1.0, 1.1),
    "crc32-bytes": ("integer", 1.1, 1.8),
    "call-return": ("integer", 4, 5.5),
    "call-deep": ("integer", 4, 5.5),
    "call-indirect": ("integer", 4, 5.5),
    "branch-indirect": ("integer", 4, 5.5),
    "sort": ("integer", 1.1, 1.8),
    "hash": ("integer", 1.1, 1.8),
    "chase-4m": ("integer", 1.1, 3),
    "lz": ("integer", 1.1, 3),
    "fp-scalar": ("sse", 15, 25),
    "sse-packed": ("sse", 6, 12),
    "sse-integer": ("sse", 6, 12),
    "x87": ("x87", 20, 25),
    "rep-movs-1k": ("memory", 50, 100),
    "rep-stos-1k": ("memory", 50, 100),
    "rep-movs-64k": ("memory", 50, 100),
    "rep-short": ("memory", 1.1, 2),
    "copy-loop": ("integer", 1.1, 1.8),
    "copy-aliased": ("integer", 1.1, 1.8),
    "locked-add": ("integer", 1.1, 1.8),
    "code-fresh": ("code", 5, 6.5),
    "code-warm": ("code", 1.1, 2),
    "code-modified": ("code", 1.1, 4.5),
    "code-neighbour": ("code", 1.1, 4.5),
    "libm": ("sse", 15, 25),
    "memcpy-1m": ("memory", 6, 12),
    "memset-1m": ("memory", 6, 12),
    "snprintf": ("integer", 4, 5.5),
    "syscall": ("system", 1.5, 2),
    "clock-gettime": ("system", 1.1, 2),
    "read-write-4k": ("system", 3, 5),
    "create-unlink": ("system", 1.5, 2),
    "page-fault": ("system", 2, 3),
    "mmap-touch": ("system", 2, 3),
    "signal": ("system", 1.5, 2),
    "segv-longjmp": ("system", 1.5, 2),
    "pipe-ping-pong": ("system", 3, 5),
    "fork-wait": ("system", 1.5, 2),
    "exec": ("system", 3, 6),
    "thread": ("system", 1.5, 2),
}


def sources():
    return sorted(os.path.join(guests.TOP, folder, name) for folder in SOURCES
                  for name in os.listdir(os.path.join(guests.TOP, folder)) if name.endswith((".c", ".h")))


def program():
    """The static program, built anew when a source is younger."""
    path = os.path.join(guests.cache_folder(), "micro")
    with guests.locked():
        if not guests.is_fresh(path, *sources(), os.path.abspath(__file__)):
            units = [source for source in sources() if source.endswith(".c") and "/payload" not in source]
            subprocess.run(["gcc", *FLAGS, "-I", guests.TOP, *units, "-lm", "-o", path + ".tmp"], check=True)
            os.rename(path + ".tmp", path)
    return path


def parse(text):
    """class -> (nanoseconds a unit, the unit)"""
    return {name: (float(ns), unit) for name, ns, unit in LINE.findall(text)}


def native_run(options):
    done = subprocess.run([program(), "--ms", str(options.ms), *options.classes], stdout=subprocess.PIPE, text=True, check=True)
    return parse(done.stdout)


def guest_of(folder, options):
    script = f"/micro --ms {options.ms} {' '.join(options.classes)}\n"
    initrd = guests.initramfs_with(os.path.join(folder, "micro.cpio"), (), script, [(program(), "/micro")])
    return monitors.Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script", memory="512M")


def guest_run(monitor, guest, extra):
    with tempfile.NamedTemporaryFile() as log:
        with monitors.Session(monitor.command(guest, extra), log.name) as session:
            session.expect(r"^vmmctl-script-status 0$", TIMEOUT_S)
            session.expect_exit(0, monitor.hang_s)
            return parse(session.text)


def monitor_of(name):
    if name.startswith("qemu-"):
        return monitors.Qemu(name.partition("-")[2])
    other = monitors.Vmmctl(os.path.abspath(name))
    other.name = name
    return other


def measure(subject, peer, options):
    """One list of runs for the host and each of the monitors."""
    runs = {"native": [], subject.name: [], peer.name: []}
    extra = {subject.name: options.arguments.split(), peer.name: options.peer_arguments.split()}
    with tempfile.TemporaryDirectory(prefix="vmmctl-bench-") as folder:
        guest = guest_of(folder, options)
        for pair in range(options.pairs):
            runs["native"].append(native_run(options))
            for monitor in (subject, peer):
                runs[monitor.name].append(guest_run(monitor, guest, extra[monitor.name]))
            print(f"pair {pair + 1}/{options.pairs} done", file=sys.stderr, flush=True)
    return runs


def ratios(above, below, name):
    return boot.summary([high[name][0] / low[name][0] for high, low in zip(above, below)])


def record(runs, subject, peer, name):
    group, first, final = GOALS.get(name, ("other", 1, 1))
    native, ours, theirs = runs["native"], runs[subject], runs[peer]
    values = {"class": name, "group": group, "unit": ours[0][name][1], "goal_first": first, "goal_final": final,
              "native_ns": boot.summary([run[name][0] for run in native]),
              "subject_ns": boot.summary([run[name][0] for run in ours]),
              "peer_ns": boot.summary([run[name][0] for run in theirs]),
              "gain": ratios(theirs, ours, name), "times_native": ratios(ours, native, name),
              "bound": ratios(theirs, native, name)}
    values["goal_met"] = values["gain"]["median"] >= min(first, values["bound"]["median"])
    return values


def geomeans(records):
    """group -> geometric mean of the gains and of the multiples of native."""
    means = {}
    for group in sorted({row["group"] for row in records}) + ["all"]:
        rows = [row for row in records if group in ("all", row["group"])]
        means[group] = {key: math.exp(statistics.fmean(math.log(row[key]["median"]) for row in rows))
                        for key in ("gain", "times_native", "bound")}
    return means


def number(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def spread(values):
    return f"{number(values['median'])} ({number(values['min'])}-{number(values['max'])})"


def markdown(result):
    host, subject, peer = result["host"], *result["monitors"]
    lines = [f"Host: {host['cpu']}, {host['cpus']} CPUs, Linux {host['kernel']}, {host['qemu']}; {result['date']}; load at the start "
             f"{host['load']:.2f}; {result['pairs']} pairs, {result['ms']} ms a class; {subject} {result['arguments']}", "",
             f"| class | unit | native, ns | {subject}, ns | {peer}, ns | gain | goal: first, final | x native | bound |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in result["records"]:
        mark = "" if row["goal_met"] else " !"
        lines.append(f"| {row['class']} | {row['unit']} | {number(row['native_ns']['median'])} | {number(row['subject_ns']['median'])} "
                     f"| {number(row['peer_ns']['median'])} | {spread(row['gain'])}{mark} "
                     f"| {row['goal_first']:g}, {row['goal_final']:g} | {spread(row['times_native'])} | {number(row['bound']['median'])} |")
    lines += ["", "| geometric mean of | gain | x native | bound |", "|---|---|---|---|"]
    for group, means in result["geomeans"].items():
        lines.append(f"| {group} | {number(means['gain'])} | {number(means['times_native'])} | {number(means['bound'])} |")
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--ms", type=int, default=100, help="how long a class runs (default 100)")
    parser.add_argument("--classes", default="", type=lambda text: [name for name in text.split(",") if name],
                        help=f"some of: {', '.join(GOALS)}")
    parser.add_argument("--peer", default="qemu-pc", help="qemu-pc, qemu-microvm, or the path of another vmmctl")
    parser.add_argument("--arguments", default="", help="further ones for vmmctl")
    parser.add_argument("--peer-arguments", default="", help="further ones for the peer")
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--markdown", help="write the table there; it is printed in any case")
    options = parser.parse_args()
    unknown = set(options.classes) - set(GOALS)
    if unknown:
        parser.error(f"no such class: {', '.join(sorted(unknown))}; there are {', '.join(GOALS)}")
    if options.pairs < 1 or options.ms < 1:
        parser.error("--pairs and --ms take at least 1")
    return options


def main():
    options = parse_arguments()
    subject, peer = monitors.Vmmctl(os.path.abspath(options.vmmctl)), monitor_of(options.peer)
    result = {"host": boot.host(), "date": datetime.date.today().isoformat(), "pairs": options.pairs, "ms": options.ms,
              "arguments": options.arguments, "monitors": [subject.name, peer.name]}
    runs = measure(subject, peer, options)
    result["records"] = [record(runs, subject.name, peer.name, name) for name in runs["native"][0]]
    result["geomeans"] = geomeans(result["records"])
    table = markdown(result)
    print(table, end="")
    for path, text in ((options.json, json.dumps(result, indent=1) + "\n"), (options.markdown, table)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
