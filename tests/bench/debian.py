#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
A whole Debian with systemd under vmmctl and under QEMU's TCG in turn: time from exec to the login prompt, resident memory beyond
the guest's RAM at the prompt, CPU that the booted system takes while it idles, and how a load of two processes scales on two CPUs.

    tests/bench/debian.py --vmmctl build/.../vmmctl [--pairs 5] [--parts login,scaling] [--idle-s 20] [--arguments="--jit on"]
                          [--peer qemu-pc | --peer OTHER_VMMCTL] [--json FILE] [--markdown FILE]

Each run has a copy of the image of its own. Goals: login at most 0.5 times QEMU's time; less than 64 MiB beyond the guest's RAM; less
than 2% of a CPU when idle; two processes on two CPUs at least 1.8 times the work of one.
"""
import argparse
import datetime
import json
import os
import re
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "boot"))

import boot  # noqa: E402
import debian_guest  # noqa: E402
import micro  # noqa: E402
import monitors  # noqa: E402
import processes  # noqa: E402

MEMORY_MIB = 512
TIMEOUT_S = 600
SETTLE_S = 15  # after the prompt, systemd still starts this and that
GOALS = {"login_ratio": 0.5, "rss_mib": 64, "idle_percent": 2, "scaling": 1.8}

# One process, then two at once, each a loop of integer work for as long as the work takes; three times each.
SCALING = (r"""cat > /tmp/load.py <<'END'
x = 1
for i in range(600000):
    x = (x * 1103515245 + 12345 + (x >> 7)) & 0xffffffff
END
now() { date +%s%N; }; for i in 1 2 3; do a=$(now); python3 -S /tmp/load.py; b=$(now);
python3 -S /tmp/load.py & python3 -S /tmp/load.py & wait %1 %2 2>/dev/null; wait; c=$(now);
echo scaling-line $((b - a)) $((c - b)); done; echo scaling-end
""")


def login(monitor, extra, idle_s):
    """One boot: seconds to the prompt, memory there, CPU while idle."""
    image = debian_guest.image(packages="", size="1536M")[1]
    with tempfile.TemporaryDirectory(prefix="vmmctl-bench-") as folder, debian_guest.copy_of(image) as copy:
        guest = debian_guest.root_guest(folder, memory=f"{MEMORY_MIB}M")
        command = monitor.command(guest, [*debian_guest.disk(monitor, copy, readonly=False), *extra])
        with monitors.Session(command, os.path.join(folder, "log"), terminal=True) as session:
            session.expect("vmmctl login: ", TIMEOUT_S)
            values = {"login_s": time.monotonic() - session.start}
            pid = session.process.pid
            if idle_s:
                session.pump(SETTLE_S)
                time.sleep(SETTLE_S)
                before = processes.cpu_seconds(pid)
                time.sleep(idle_s)
                values["idle_percent"] = 100 * (processes.cpu_seconds(pid) - before) / idle_s
            values["rss_mib"] = processes.resident_beyond_guest(pid, MEMORY_MIB << 20) / 2**20
    return values


def scaling(monitor, extra):
    """How much more two processes do on two CPUs than one: the best of three."""
    image = debian_guest.image()[1]
    with tempfile.TemporaryDirectory(prefix="vmmctl-bench-") as folder, debian_guest.copy_of(image) as copy:
        guest = debian_guest.root_guest(folder, memory=f"{MEMORY_MIB}M", cpus=2)
        command = monitor.command(guest, [*debian_guest.disk(monitor, copy, readonly=False), *extra])
        with monitors.Session(command, os.path.join(folder, "log"), terminal=True) as session:
            session.expect("vmmctl login: ", TIMEOUT_S)
            session.send("root\n")
            session.expect(debian_guest.PROMPT, TIMEOUT_S)
            session.send("set +m; " + SCALING)
            session.expect(r"^scaling-end$", TIMEOUT_S)
            lines = re.findall(r"^scaling-line (\d+) (\d+)$", session.text, re.MULTILINE)
    return {"scaling": max(2 * int(one) / int(two) for one, two in lines)}


def measure(subject, peer, options):
    runs = {subject.name: [], peer.name: []}
    extra = {subject.name: options.arguments.split(), peer.name: options.peer_arguments.split()}
    for pair in range(options.pairs):
        for monitor in (subject, peer):
            values = {}
            if "login" in options.parts:
                # One look at an idle system is enough: it takes longer than all the rest.
                values |= login(monitor, extra[monitor.name], options.idle_s if pair == 0 else 0)
            if "scaling" in options.parts:
                values |= scaling(monitor, extra[monitor.name])
            runs[monitor.name].append(values)
        print(f"pair {pair + 1}/{options.pairs}: {runs[subject.name][-1]} {runs[peer.name][-1]}", file=sys.stderr, flush=True)
    return runs


def summaries(runs, key):
    """Medians of what was measured in every run, or in some."""
    values = {name: [run[key] for run in series if key in run] for name, series in runs.items()}
    return {name: boot.summary(series) for name, series in values.items() if series}


def markdown(result):
    host, subject, peer = result["host"], *result["monitors"]
    rows = (("login_s", "time to the login prompt, s", None), ("rss_mib", "resident beyond the guest's RAM, MiB", "rss_mib"),
            ("idle_percent", "CPU of the idle system, %", "idle_percent"), ("scaling", "two processes on two CPUs, x one", "scaling"))
    lines = [f"Host: {host['cpu']}, {host['cpus']} CPUs, Linux {host['kernel']}, {host['qemu']}; {result['date']}; load at the start "
             f"{host['load']:.2f}; {result['pairs']} pairs; {subject} {result['arguments']}", "",
             f"| Debian with systemd | {subject} | {peer} | goal |", "|---|---|---|---|"]
    for key, text, goal in rows:
        values = result["measured"].get(key)
        if values:
            cells = [micro.spread(values[name]) for name in (subject, peer)]
            lines.append(f"| {text} | {cells[0]} | {cells[1]} | {GOALS[goal] if goal else ''} |")
    if "login_ratio" in result:
        lines.append(f"| time to the prompt / peer's | {micro.spread(result['login_ratio'])} | 1 | {GOALS['login_ratio']} |")
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parts", default=["login", "scaling"], type=lambda text: text.split(","))
    parser.add_argument("--idle-s", type=int, default=20, help="how long the idle system is watched; 0: not (default 20)")
    parser.add_argument("--peer", default="qemu-pc", help="qemu-pc, qemu-microvm, or the path of another vmmctl")
    parser.add_argument("--arguments", default="", help="further ones for vmmctl")
    parser.add_argument("--peer-arguments", default="", help="further ones for the peer")
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--markdown", help="write the table there; it is printed in any case")
    options = parser.parse_args()
    if set(options.parts) - {"login", "scaling"}:
        parser.error("--parts takes login and scaling")
    if options.pairs < 1:
        parser.error("--pairs takes at least 1")
    return options


def main():
    options = parse_arguments()
    if os.geteuid() != 0:
        raise SystemExit("debian.py needs root: debootstrap does")
    subject, peer = monitors.Vmmctl(os.path.abspath(options.vmmctl)), micro.monitor_of(options.peer)
    result = {"host": boot.host(), "date": datetime.date.today().isoformat(), "pairs": options.pairs,
              "arguments": options.arguments, "monitors": [subject.name, peer.name], "goals": GOALS}
    runs = measure(subject, peer, options)
    result["runs"] = runs
    result["measured"] = {key: summaries(runs, key) for key in ("login_s", "rss_mib", "idle_percent", "scaling")}
    if "login" in options.parts:
        result["login_ratio"] = boot.summary([ours["login_s"] / theirs["login_s"]
                                              for ours, theirs in zip(runs[subject.name], runs[peer.name])])
    table = markdown(result)
    print(table, end="")
    for path, text in ((options.json, json.dumps(result, indent=1) + "\n"), (options.markdown, table)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
