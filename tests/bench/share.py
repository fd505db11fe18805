#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Small files in a shared folder, vmmctl's virtio-9p and QEMU's (local, security_model=none) side by side under TCG: the same
kernel, initramfs and mount options, in turn.

    tests/bench/share.py --vmmctl build/.../vmmctl [--pairs 2] [--files 400] [--json FILE] [--markdown FILE]

Times are the guest's own, and "cpu" is what the monitor's process took for all of it (a busy host changes it less).
The steps of one script: an archive of the files is unpacked into the share, all are looked
at (find -size), read, and removed. Each step is one process or a few, so that it is file work that is measured.
"""
import argparse
import functools
import json
import os
import statistics
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "share"))

import guest  # noqa: E402
import monitors  # noqa: E402
import processes  # noqa: E402
import share_cases  # noqa: E402

TIMEOUT_S = 170
STEPS = ["unpack", "look", "read", "pack", "remove"]
SCRIPT = """
set -e
now() { cut -d' ' -f1 /proc/uptime; }
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share0 /mnt
cp /mnt/in.tar /tmp/in.tar
cd /mnt
t0=$(now); tar xf /tmp/in.tar
t1=$(now); find tree -size +100000k
t2=$(now); find tree -type f | xargs cat > /dev/null
t3=$(now); tar cf /tmp/out.tar tree
t4=$(now); rm -r tree
echo times $t0 $t1 $t2 $t3 $t4 $(now)
cmp /tmp/in.tar /mnt/in.tar
"""


def vmmctl_command(path, kernel, initrd, share, jit="on"):
    return [path, "boot", "--accel", "tcg", "--jit", jit, "--mem", "512M", "--kernel", kernel, "--initrd", initrd,
            "--append", "console=ttyS0 quiet", "--share", share]


def qemu_command(_, kernel, initrd, share):
    # Its microvm hangs now and then with this kernel, so it is the PC, and the device is virtio-pci.
    return ["qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", "512M", "-nodefaults", "-no-user-config",
            "-display", "none", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
            "-append", "console=ttyS0 quiet",
            "-fsdev", f"local,id=f,path={share},security_model=none", "-device", "virtio-9p-pci,fsdev=f,mount_tag=share0"]


def run(make_command, vmmctl, folder, archive):
    share = tempfile.mkdtemp(dir=folder)
    os.link(archive, os.path.join(share, "in.tar"))
    initrd = os.path.join(folder, "initrd")
    command = make_command(vmmctl, guest.kernel_files()[0], initrd, share)
    with monitors.Session(command, os.path.join(folder, "log")) as session:
        session.expect("^vmmctl-share-start$", TIMEOUT_S)
        cpu_s = processes.cpu_seconds(session.process.pid)
        times = [float(word) for word in session.expect(r"^times (.*)$", TIMEOUT_S).group(1).split()]
        cpu_s = processes.cpu_seconds(session.process.pid) - cpu_s
        session.expect(rf"^{guest.END} 0$", TIMEOUT_S)
        session.wait(TIMEOUT_S)
    steps = {step: after - before for step, before, after in zip(STEPS, times, times[1:])}
    return {**steps, "all": times[-1] - times[0], "cpu": cpu_s}


def table(results, files):
    lines = ["| step | vmmctl, s | QEMU, s | ratio |", "|---|---|---|---|"]
    for step in [*STEPS, "all", "cpu"]:
        seconds = {name: [one[step] for one in runs] for name, runs in results.items()}
        mine, theirs = (statistics.median(seconds[name]) for name in ("vmmctl", "qemu"))
        lines.append(f"| {step} | {mine:.2f} | {theirs:.2f} | {mine / theirs:.2f}x |")
    return f"{files} files of 0 to 9 KB and some of 300 KB, medians of {len(results['qemu'])} runs\n\n" + "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", default="build/vmm/machine/vmmctl")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--jit", default="on", choices=("off", "on"), help="vmmctl's")
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    options = parser.parse_args()
    results = {"vmmctl": [], "qemu": []}
    with tempfile.TemporaryDirectory(prefix="vmmctl-bench-") as folder:
        share_cases.make_tree(os.path.join(folder, "tree"), options.files)
        archive = os.path.join(folder, "in.tar")
        with tarfile.open(archive, "w") as tar:
            tar.add(os.path.join(folder, "tree"), arcname="tree")
        with open(os.path.join(folder, "initrd"), "wb") as file:
            file.write(guest.initrd(SCRIPT, ["virtio_pci", *share_cases.MODULES_9P]))
        for pair in range(options.pairs):
            for name, command in (("vmmctl", functools.partial(vmmctl_command, jit=options.jit)), ("qemu", qemu_command)):
                results[name].append(run(command, options.vmmctl, folder, archive))
                print(f"{pair} {name}: {results[name][-1]}", file=sys.stderr, flush=True)
    text = table(results, options.files)
    print(text)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"files": options.files, "runs": results}, file, indent=1)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
