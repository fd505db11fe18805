#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Shared folders, sockets and vhost-user devices as a real Linux guest sees them, with real peers on the host.

    tests/share/run.py --vmmctl build/.../vmmctl [--logs FOLDER] [--counts FILE] [CASE...]     all cases, or those named
    tests/share/run.py --list

A peer that is not installed here skips its case by name. Ends with `N passed, N failed, N skipped`.
"""
import argparse
import os
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import guest  # noqa: E402  (finds monitors)
import monitors  # noqa: E402
import share_cases as cases  # noqa: E402

# An interpreter boots in tens of seconds, and the machine may be busy.
TIMEOUT_S = float(os.environ.get("VMMCTL_BOOT_TIMEOUT", "300"))


class Context:
    """What a case is given: a folder of its own, and a guest that runs a script."""

    def __init__(self, vmmctl, folder, log):
        self.vmmctl = vmmctl
        self.folder = folder
        self.log = log
        self.remark = ""

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def start(self, script, modules, arguments, additions=(), memory="256M"):
        """A session of a guest that runs the script; arguments are vmmctl's."""
        initrd = self.path("initrd")
        with open(initrd, "wb") as file:
            file.write(guest.initrd(script, modules, additions))
        command = [self.vmmctl, "boot", "--accel", "tcg", "--mem", memory, "--kernel", guest.kernel_files()[0],
                   "--initrd", initrd, "--append", "console=ttyS0 quiet", *arguments]
        return monitors.Session(command, self.log)

    def finish(self, session, status=0):
        """Waits until the guest has run its script and switched off; returns what the script printed."""
        session.expect("^vmmctl-share-start$", TIMEOUT_S)
        start = session.seen
        end = session.expect(rf"^{guest.END} (\d+)$", TIMEOUT_S)
        output = session.text[start:end.start()].lstrip("\n")
        session.expect_exit(0, TIMEOUT_S)
        session.expect_no_trouble()
        if int(end.group(1)) != status:
            raise monitors.BootError(f"the script ended with {end.group(1)}, expected {status}:\n{output}")
        return output

    def run(self, script, modules, arguments, **more):
        with self.start(script, modules, arguments, **more) as session:
            return self.finish(session)


def run_case(name, options):
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vmmctl-share-") as folder:
        os.makedirs(options.logs, exist_ok=True)
        context = Context(os.path.abspath(options.vmmctl), folder, os.path.join(options.logs, name + ".log"))
        try:
            cases.CASES[name](context)
            verdict = "ok"
        except cases.Skip as reason:
            verdict, context.remark = "skip", str(reason)
        except monitors.BootError as problem:
            verdict, context.remark = "FAIL", str(problem)
    remark = f": {context.remark}" if context.remark else ""
    print(f"{verdict:4} {name} ({time.monotonic() - started:.1f} s){remark}", flush=True)
    return verdict


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", default="build/vmm/machine/vmmctl")
    parser.add_argument("--logs", default="build/share-logs")
    parser.add_argument("--counts", help="a file for PASSED FAILED SKIPPED")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("case", nargs="*")
    options = parser.parse_args()
    if options.list:
        print("\n".join(cases.CASES))
        return 0
    unknown = [name for name in options.case if name not in cases.CASES]
    if unknown:
        parser.error(f"there is no case {unknown[0]}")
    verdicts = [run_case(name, options) for name in options.case or cases.CASES]
    count = {verdict: verdicts.count(verdict) for verdict in ("ok", "FAIL", "skip")}
    print(f"{count['ok']} passed, {count['FAIL']} failed, {count['skip']} skipped")
    if options.counts:
        with open(options.counts, "w", encoding="ascii") as file:
            file.write(f"{count['ok']} {count['FAIL']} {count['skip']}\n")
    return 1 if count["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
