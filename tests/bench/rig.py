#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
KVM on any machine: Debian's cloud kernel under `vmmctl --accel kvm` and its peers with KVM, in turn, all in one rig
(tests/kvm/rig.py: QEMU's TCG emulates an SVM host), and the rate of exits there.

    tests/bench/rig.py --vmmctl build/.../vmmctl-static [--exits build/.../kvm-exits] [--pairs N] [--cpus N]
                       [--monitors NAME,...] [--verbose-guest] [--json FILE] [--markdown FILE]

Two times from exec to the marker: by the clock, and as CPU time of the QEMU that is the rig, which tells more on a busy host.
Peers: QEMU's microvm and pc, and kvmtool if --kvmtool names a static lkvm.
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

import guests  # noqa: E402
import rig  # noqa: E402

BOOT_TIMEOUT_S = 300
QEMU_DATA = ("/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/bios-microvm.bin", "/usr/share/qemu/linuxboot_dma.bin",
             "/usr/share/qemu/pvh.bin", "/usr/share/qemu/kvmvapic.bin", "/usr/share/seabios/vgabios-stdvga.bin")
QEMU_GUEST = "-accel kvm -m 256M -nodefaults -no-user-config -display none -serial stdio -L /qemu -no-reboot"
MICROVM = "microvm,acpi=on,rtc=on,pit=on,pic=on,isa-serial=on"

# name -> command, with {cpus}, {kernel} and {append}
MONITORS = {
    "vmmctl": "/vmmctl boot --accel kvm --kernel {kernel} --initrd /guest/initrd --mem 256M --cpus {cpus} --append '{append}'",
    "vmmctl-vmlinux": "/vmmctl boot --accel kvm --kernel /guest/vmlinux --initrd /guest/initrd --mem 256M --cpus {cpus} "
                      "--append '{append}'",
    "qemu-microvm": f"/usr/bin/qemu-system-x86_64 -M {MICROVM} {QEMU_GUEST} -smp {{cpus}} -kernel {{kernel}} "
                    "-initrd /guest/initrd -append '{append} reboot=t'",
    "qemu-pc": f"/usr/bin/qemu-system-x86_64 -M pc {QEMU_GUEST} -smp {{cpus}} -kernel {{kernel}} -initrd /guest/initrd "
               "-append '{append}'",
    "kvmtool": "/lkvm run -k {kernel} -i /guest/initrd -m 256 -c {cpus} --console serial -p '{append}'",
}
BASELINE = "vmmctl"


def rig_files(options, monitors):
    files = [(options.vmmctl, "/vmmctl"), (guests.debian_file("linux-image-cloud-amd64"), "/guest/bzImage"),
             (guests.initramfs(), "/guest/initrd")]
    if "vmmctl-vmlinux" in monitors:
        files.append((guests.vmlinux("linux-image-cloud-amd64"), "/guest/vmlinux"))
    if any(name.startswith("qemu") for name in monitors):
        files += rig.with_libraries("/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-x86_64")
        files += [(os.path.realpath(path), "/qemu/" + os.path.basename(path)) for path in QEMU_DATA if os.path.exists(path)]
    if "kvmtool" in monitors:
        files.append((options.kvmtool, "/lkvm"))
    if options.exits:
        files += rig.with_libraries(options.exits, "/kvm-exits")
    return files


def script_of(options, monitors):
    """One case: every monitor once as a warm-up, then in turn. The console is watched inside, so that only the marker
    goes through the rig's own slow serial port."""
    append = "console=ttyS0 vmmctl_action=marker" + ("" if options.verbose_guest else " quiet")
    lines = ["export HOME=/root LD_BIND_NOW="]
    if options.exits:
        lines += ["echo bench: exits; /kvm-exits 2000; echo"]
    for _ in range(1 + options.pairs):
        for name in monitors:
            command = MONITORS[name].format(cpus=options.cpus, kernel="/guest/bzImage", append=append)
            lines += [f"echo 'bench: exec {name}'",
                      f"{command} 2>/tmp/errors </dev/null | awk '/{guests.MARKER}/ {{ print \"bench: marker\"; fflush() }}'",
                      f"echo 'bench: end {name}'; tail -n 3 /tmp/errors"]
    return "\n".join(lines)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_boot(session, name):
    session.expect(f"^bench: exec {name}$", BOOT_TIMEOUT_S)
    start, start_cpu = time.monotonic(), cpu_seconds(session.process.pid)
    session.expect(r"^bench: (marker|end)", BOOT_TIMEOUT_S)
    result = {"marker_s": time.monotonic() - start, "marker_cpu_s": cpu_seconds(session.process.pid) - start_cpu}
    if "marker" not in session.text[session.seen - 8:session.seen]:
        raise rig.monitors.BootError(f"{name} ended without the marker")
    session.expect(f"^bench: end {name}$", BOOT_TIMEOUT_S)
    result["end_s"] = time.monotonic() - start
    return result


def measure(options, monitors):
    runs, exits = {name: [] for name in monitors}, None
    log = os.path.join(tempfile.gettempdir(), f"vmmctl-bench-rig.{os.getpid()}.log")
    with rig.Rig([("bench", script_of(options, monitors))], log, rig_files(options, monitors), options.cpus,
                 options.memory) as host:
        host.expect_up()
        if options.exits:
            exits = json.loads(host.session.expect(r"^(\{.*\})$", BOOT_TIMEOUT_S).group(1))
        for number in range(1 + options.pairs):
            for name in monitors:
                result = measure_boot(host.session, name)
                if number:
                    runs[name].append(result)
                print(f"{number}/{options.pairs} {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in result.items()),
                      file=sys.stderr, flush=True)
    os.unlink(log)
    return runs, exits


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def markdown(runs):
    lines = ["| monitor | to the marker, s | the rig's CPU time to it, s | to the end, s | vmmctl's time / its, pair by pair "
             "(clock; CPU) |", "|---|---|---|---|---|"]
    for name, results in runs.items():
        columns = [spread([result[key] for result in results]) for key in ("marker_s", "marker_cpu_s", "end_s")]
        ratios = [spread([own[key] / other[key] for own, other in zip(runs[BASELINE], results)])
                  for key in ("marker_s", "marker_cpu_s")]
        lines.append(f"| {name} | {' | '.join(columns)} | {'1' if name == BASELINE else '; '.join(ratios)} |")
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--exits")
    parser.add_argument("--kvmtool")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--memory", type=int, default=2048, help="MiB of the rig")
    parser.add_argument("--monitors", default="vmmctl,qemu-microvm", help=", ".join(MONITORS))
    parser.add_argument("--verbose-guest", action="store_true", help="without `quiet`: most of the time is the serial port's")
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    return parser.parse_args()


def main():
    options = parse_arguments()
    monitors = options.monitors.split(",") + (["kvmtool"] if options.kvmtool else [])
    runs, exits = measure(options, monitors)
    table = markdown(runs)
    print(table)
    if exits:
        print("exits: " + json.dumps(exits))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"load": os.getloadavg()[0], "cpus": options.cpus, "runs": runs, "exits": exits}, file, indent=1)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
