#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Runs a guest payload and compares what it prints, line by line, with what the manuals demand. Prints TAP.

    tests/guest/run.py VMMCTL PAYLOAD.elf EXPECTED.txt DIFFERENCES.md [CPUS]

The same payload then runs under QEMU's TCG. QEMU may differ from the expected lines only where DIFFERENCES.md says so, in the
section named after EXPECTED.txt: rows `expected line` | `QEMU's line` | why; "(stops)" for QEMU's line means that it prints no
further. Where the two differ the manual wins.
"""
import os
import re
import shutil
import subprocess
import sys
import threading

TIMEOUT_S = float(os.environ.get("VMMCTL_GUEST_TIMEOUT", "60"))
ROW = re.compile(r"^\| `(?P<expected>.*?)` \| (?:`(?P<qemu>.*?)`|(?P<stops>\(stops\))) \|")


def with_jit(command):
    """VMMCTL_TEST_JIT=on, verify...: the payload runs through the translator; ranges: which has those before its TLB."""
    mode = os.environ.get("VMMCTL_TEST_JIT")
    if mode == "ranges":
        return command + ["--jit", "on", "--mmu", "ranges"]
    return command + ["--jit", mode] if mode else command


def output_of(command):
    """The lines a command printed, and its exit status (None when it did not end)."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace").replace("\r", "").splitlines(), None, ""
    text = done.stdout.decode(errors="replace").replace("\r", "")
    return text.splitlines(), done.returncode, done.stderr.decode(errors="replace")


def first_lines(command, count):
    """The first lines that a command prints, at most `count`; it is killed then, or when its time is over."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        timer = threading.Timer(TIMEOUT_S, process.kill)
        timer.start()
        lines = []
        for line in process.stdout:
            lines.append(line.decode(errors="replace").rstrip("\r\n"))
            if len(lines) >= count:
                break
        timer.cancel()
        process.kill()
    return lines


def known_differences(path, payload):
    """expected line -> QEMU's lines, with None among them where QEMU stops."""
    known = {}
    section = None
    for line in open(path, encoding="utf-8"):
        if line.startswith("## "):
            section = line[3:].strip()
        row = ROW.match(line)
        if row and section == payload:
            known.setdefault(row["expected"], []).append(None if row["stops"] else row["qemu"])
    return known


def run_vmmctl(vmmctl, payload, expected, cpus):
    """One TAP case a line. Returns how many there were and how many are bad."""
    lines, status, errors = output_of(with_jit([vmmctl, "boot", "--accel", "tcg", "--kernel", payload, "--exit-code-port",
                                       "--no-reboot", "--mem", "64M", "--cpu", "max", "--cpus", cpus]))
    bad = 0
    for number, wanted in enumerate(expected, 1):
        got = lines[number - 1] if number <= len(lines) else "(nothing)"
        print(f"{'ok' if got == wanted else 'not ok'} {number} - {wanted.strip()}")
        if got != wanted:
            print(f"#   instead: {got}")
            bad += 1
    ended = status == 0 and len(lines) == len(expected)
    print(f"{'ok' if ended else 'not ok'} {len(expected) + 1} - ends with status 0")
    if not ended:
        print(f"#   status {status}, {len(lines)} lines")
        for line in errors.splitlines()[-12:]:
            print(f"#   {line}")
        bad += 1
    return len(expected) + 1, bad


def run_qemu(payload, expected, known, cpus):
    """Undocumented differences of QEMU from the expected lines."""
    wanted_lines = next((i for i, line in enumerate(expected) if None in known.get(line, [])), len(expected))
    lines = first_lines(["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-display", "none", "-nodefaults", "-m", "64",
                         "-smp", cpus, "-serial", "stdio", "-device", "isa-debug-exit,iobase=0x501,iosize=4", "-no-reboot",
                         "-kernel", payload], wanted_lines)
    problems = []
    for number, wanted in enumerate(expected):
        got = lines[number] if number < len(lines) else None
        if got == wanted:
            continue
        if None in known.get(wanted, []):
            break
        if got is None or got not in known.get(wanted, []):
            problems.append(f"expected {wanted!r}, QEMU says {got!r}")
            if got is None:
                break
    return problems


def main(arguments):
    if len(arguments) not in (4, 5):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    vmmctl, payload, expected_path, differences = arguments[:4]
    cpus = arguments[4] if len(arguments) == 5 else "1"
    name = os.path.splitext(os.path.basename(expected_path))[0]
    with open(expected_path, encoding="utf-8") as file:
        expected = file.read().splitlines()
    number, bad = run_vmmctl(vmmctl, payload, expected, cpus)
    number += 1
    if shutil.which("qemu-system-x86_64"):
        problems = run_qemu(payload, expected, known_differences(differences, name), cpus)
        print(f"{'not ok' if problems else 'ok'} {number} - QEMU differs only where documented")
        for problem in problems[:30]:
            print(f"#   {problem}")
        bad += bool(problems)
    else:
        print(f"ok {number} - QEMU differs only where documented # skip no qemu-system-x86_64")
    print(f"1..{number}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
