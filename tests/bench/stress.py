#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
stress-ng --verify in a Debian guest under the built-in CPU: its classes cpu, memory and vm, one stressor after the other, for as long
as there is time. A finding is a stressor that fails its own verification, a guest that crashes or hangs, or a mismatch where the
translator verifies itself.

    tests/bench/stress.py --vmmctl build/.../vmmctl [--minutes 60] [--cpus 2] [--classes cpu,memory,vm] [--seconds 20]
                          [--arguments="--jit verify=100"] [--log FILE]

Prints what each round's summary of stress-ng says, and ends with status 1 when there was a finding. Needs root to make the image.
"""
import argparse
import os
import re
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "boot"))

import debian_guest  # noqa: E402
import guests  # noqa: E402
import monitors  # noqa: E402

START_TIMEOUT_S = 600
# stress-ng's own words; a stressor that a guest without something skips is no finding.
FINDING = re.compile(r"^.*stress-ng: (?:fail|error).*$|^.*(?:failed: [1-9]|\bmetrics untrustworthy).*$|jit mismatch.*$"
                     # 3: something could not be had; 4: not implemented; anything else, and 2 above all: a stressor failed.
                     r"|^vmmctl-round-end \d+ \S+ (?![034]$)\d+$", re.MULTILINE)
SUMMARY = re.compile(r"(?:passed|failed|skipped): \d+|(?:un)?successful run completed in \S+|dispatching hogs: .*|vmmctl-round-end .*")

RUN = """
cd /tmp
end=$(($(date +%s) + {seconds_total}))
round=0
while [ $(date +%s) -lt $end ]; do
	for class in {classes}; do
		[ $(date +%s) -lt $end ] || break
		echo "vmmctl-round $round $class"
		stress-ng --class $class --sequential {cpus} --timeout {seconds} --verify --oomable --vm-bytes 64M --no-rand-seed \\
			--exclude {excluded} 2>&1 | grep -e 'fail' -e 'error' -e 'terminated on' -e 'warn' -e 'run completed' -e 'assed:' -e 'kipped:' -e 'dispatching'
		echo "vmmctl-round-end $round $class ${{PIPESTATUS[0]}}"
	done
	round=$((round + 1))
done
echo vmmctl-stress-end
"""
# What measures or breaks the machine on purpose, and never verifies anything.
EXCLUDED = "bad-altstack,resources,oom-pipe,brk,bigheap,stackmmap,sysbadaddr,smi,zombie,rlimit,watchdog,mlockmany,numa,uprobe"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--classes", default="cpu,memory,vm")
    parser.add_argument("--seconds", type=int, default=20, help="of each stressor (default 20)")
    parser.add_argument("--arguments", default="", help="further ones for vmmctl")
    parser.add_argument("--log", help="the console's text goes there")
    return parser.parse_args()


def guest_of(folder, options):
    script = os.path.join(folder, "run")
    with open(script, "w", encoding="ascii") as file:
        file.write(RUN.format(seconds_total=int(options.minutes * 60), classes=options.classes.replace(",", " "), cpus=options.cpus,
                              seconds=options.seconds, excluded=EXCLUDED))
    initrd = debian_guest.initramfs(folder, debian_guest.CHROOT_SCRIPT, [(script, "/data/run")])
    return monitors.Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script", memory="1024M",
                          cpus=options.cpus)


def main():
    options = parse_arguments()
    monitor = monitors.Vmmctl(os.path.abspath(options.vmmctl))
    image = debian_guest.image()[1]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vmmctl-stress-") as folder:
        guest = guest_of(folder, options)
        command = monitor.command(guest, [*debian_guest.disk(monitor, image, readonly=True), *options.arguments.split()])
        with monitors.Session(command, options.log or os.path.join(folder, "log")) as session:
            trouble = None
            try:
                session.expect(r"^vmmctl-round 0 ", START_TIMEOUT_S)
                session.expect(r"^vmmctl-stress-end$", options.minutes * 60 + 3600)
                session.expect_exit(0, monitor.hang_s)
                session.expect_no_trouble()
            except monitors.BootError as error:
                trouble = str(error)
            text = session.text
    findings = FINDING.findall(text)
    for round_text in re.findall(r"^vmmctl-round \d+ \S+$[\s\S]*?^vmmctl-round-end .*$", text, re.MULTILINE):
        print(round_text.splitlines()[0], "; ".join(SUMMARY.findall(round_text)))
    print(f"{(time.monotonic() - started) / 60:.0f} minutes, {options.cpus} CPUs, {len(findings)} findings"
          + (f"; {trouble}" if trouble else ""))
    for finding in findings[:40]:
        print("  " + finding.strip())
    return 1 if findings or trouble else 0


if __name__ == "__main__":
    sys.exit(main())
