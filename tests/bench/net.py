#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Network throughput, vmmctl and QEMU's TCG side by side: iperf3 from the guest and to it, over user-mode networking and over
a tap, the same kernel and initramfs under both.

    tests/bench/net.py --vmmctl build/.../vmmctl [--pairs 2] [--seconds 4] [--networks user,tap] [--cpus 1]
                       [--json FILE] [--markdown FILE] [-- EXTRA VMMCTL ARGUMENTS]

Needs root: every guest has a network namespace of its own, in which the host's iperf3 is its peer. Runs alternate (A B A B),
so that what else the machine does falls on both. QEMU has a virtio-net-pci card as by default, vmmctl one on virtio-mmio.
"""
import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "boot"))

import boot  # noqa: E402
import guests  # noqa: E402
import monitors  # noqa: E402
import net_cases  # noqa: E402

NETWORKS = {
    # name: (the guest's address, its peer's, vmmctl's --net, QEMU's -netdev)
    "user": ("10.0.2.15", "10.0.2.2", "user", "user,id=n"),
    "tap": ("10.9.0.2", "10.9.0.1", "tap,ifname=tap0", "tap,id=n,ifname=tap0,script=no,downscript=no"),
}
DIRECTIONS = {"from the guest": "", "to the guest": "-R"}

SCRIPT = """
ip link set lo up; ip link set eth0 up
ip addr add {guest}/24 dev eth0
echo waiting
n=0; until iperf3 -c {peer} -t 1 > /dev/null 2>&1; do n=$((n + 1)); [ $n -lt 30 ] || exit 2; sleep 1; done
for direction in "" -R; do
	sleep 1
	iperf3 -c {peer} -t {seconds} -f m $direction > /out 2>&1 || {{ cat /out; exit 3; }}
	echo "rate$direction $(sed -n 's/.* \\([0-9.]*\\) Mbits.sec.*receiver.*/\\1/p' /out)"
done
"""


def make_guest(folder, network, options):
    script = SCRIPT.format(guest=NETWORKS[network][0], peer=NETWORKS[network][1], seconds=options.seconds)
    initrd = guests.initramfs_with(os.path.join(folder, f"{network}.cpio"), ("virtio_mmio", "virtio_pci", "virtio_net"),
                                   script, net_cases.iperf3_files())
    return monitors.Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script",
                          cpus=options.cpus)


def extra_arguments(monitor, network, options):
    if monitor.name == "vmmctl":
        return ["--net", NETWORKS[network][2], *options.extra]
    return ["-netdev", NETWORKS[network][3], "-device", "virtio-net-pci,netdev=n"]


def in_namespace(session, *command):
    return ["nsenter", "-t", str(session.process.pid), "-n", *command]


def set_up_tap(session):
    """The interface is the monitor's: it appears a moment after the start."""
    add = ["ip", "addr", "add", NETWORKS["tap"][1] + "/24", "dev", "tap0"]
    while subprocess.run(in_namespace(session, *add), check=False, stderr=subprocess.DEVNULL).returncode:
        if session.process.poll() is not None:
            raise monitors.BootError("the monitor ended")
        time.sleep(0.1)
    subprocess.run(in_namespace(session, "ip", "link", "set", "tap0", "up"), check=True)


def measure(monitor, guest, network, options):
    """Mbit/s in each direction, of one guest."""
    wrapper = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    command = [*wrapper, *monitor.command(guest, extra_arguments(monitor, network, options))]
    with tempfile.NamedTemporaryFile() as log, monitors.Session(command, log.name) as session:
        if network == "tap":
            set_up_tap(session)
        session.expect("^waiting$", monitor.hang_s)
        server = subprocess.Popen(in_namespace(session, "iperf3", "-s"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            rates = {}
            for direction, flag in DIRECTIONS.items():
                match = session.expect(rf"^rate{flag} ([\d.]+)$", monitor.hang_s + options.seconds)
                rates[direction] = float(match.group(1))
            session.expect_exit(0, monitor.hang_s)
        finally:
            server.kill()
            server.wait()
    return rates


def compare(subject, peer, network, folder, options):
    guest = make_guest(folder, network, options)
    runs = {subject.name: [], peer.name: []}
    for pair in range(options.pairs):
        for monitor in (subject, peer):
            runs[monitor.name].append(measure(monitor, guest, network, options))
            print(f"{network} pair {pair + 1}/{options.pairs} {monitor.name}: {runs[monitor.name][-1]}", file=sys.stderr,
                  flush=True)
    records = []
    for direction in DIRECTIONS:
        ours = [run[direction] for run in runs[subject.name]]
        theirs = [run[direction] for run in runs[peer.name]]
        records.append({"network": network, "direction": direction, "cpus": options.cpus,
                        "mbit_per_s": {subject.name: boot.summary(ours), peer.name: boot.summary(theirs)},
                        "ratio": statistics.median(ours) / statistics.median(theirs)})
    return records


def markdown(result):
    host = result["host"]
    lines = [f"Host: {host['cpu']}, {host['cpus']} CPUs, Linux {host['kernel']}, {host['qemu']}; {result['date']}; load at "
             f"the start {host['load']:.2f}. iperf3 of {result['seconds']} s, {result['pairs']} runs each.", "",
             "| network | direction | vmmctl, Mbit/s | QEMU TCG, Mbit/s | vmmctl / QEMU |", "|---|---|---|---|---|"]
    for record in result["records"]:
        ours, theirs = record["mbit_per_s"].values()
        lines.append(f"| {record['network']}, {record['cpus']} CPU | {record['direction']} "
                     f"| {ours['median']:.0f} ({ours['min']:.0f}-{ours['max']:.0f}) "
                     f"| {theirs['median']:.0f} ({theirs['min']:.0f}-{theirs['max']:.0f}) | {record['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--networks", default="user,tap")
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--markdown", help="write the table there; it is printed in any case")
    parser.add_argument("extra", nargs="*", help="further arguments of vmmctl")
    options = parser.parse_args()
    if set(options.networks.split(",")) - set(NETWORKS):
        parser.error(f"networks are {', '.join(NETWORKS)}")
    for tool in ("iperf3", "nsenter", "qemu-system-x86_64"):
        if not shutil.which(tool):
            parser.error(f"{tool} is missing")
    return options


def main():
    options = parse_arguments()
    subject, peer = monitors.Vmmctl(os.path.abspath(options.vmmctl)), monitors.Qemu("pc")
    result = {"date": datetime.date.today().isoformat(), "host": boot.host(), "seconds": options.seconds,
              "pairs": options.pairs, "records": []}
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks.split(","):
            result["records"] += compare(subject, peer, network, folder, options)
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump(result, file, indent=1)
    if options.markdown:
        with open(options.markdown, "w", encoding="ascii") as file:
            file.write(markdown(result))
    print(markdown(result), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
