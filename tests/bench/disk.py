#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Disk throughput, vmmctl and QEMU's TCG side by side: fio of Debian in the same guest on a disk of the same file, 4 KiB
random reads and writes at depth 32 and 1 MiB sequential ones at depth 4, all with O_DIRECT in the guest.

    tests/bench/disk.py --vmmctl build/.../vmmctl [--pairs 2] [--seconds 3] [--cache direct,writeback] [--size-mib 256]
                        [--engine io_uring] [--transport pci] [--arguments="--jit on"] [--folder DIR]
                        [--json FILE] [--markdown FILE]

Runs alternate (A B A B ...). QEMU has the machine `pc`, virtio-blk-pci and an iothread. Before each pair the host's own
fio runs the sequential jobs on the same file with O_DIRECT, so that the guest's share of it can be told. The image lies in
--folder (default: TMPDIR), which should be on the medium of interest and have O_DIRECT.
"""
import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "boot"))

import boot  # noqa: E402
import guests  # noqa: E402
import monitors  # noqa: E402

MODULES = ("virtio_mmio", "virtio_pci", "virtio_blk")
# name -> fio's rw, block size, depth; and what is compared: requests or bytes a second.
JOBS = {
    "randread-4k": ("randread", "4k", 32, "iops"),
    "randwrite-4k": ("randwrite", "4k", 32, "iops"),
    "read-1m": ("read", "1m", 4, "mib_s"),
    "write-1m": ("write", "1m", 4, "mib_s"),
}
GUEST_TIMEOUT_S = 240

# fio's terse output, version 3: fields from 0.
TERSE_READ = 5
TERSE_WRITE = 46


def job_file(device, seconds, engine="libaio", names=tuple(JOBS)):
    lines = ["[global]", f"filename={device}", f"ioengine={engine}", "direct=1", "time_based", f"runtime={seconds}",
             "gtod_reduce=1", "group_reporting", "randrepeat=1"]
    for name in names:
        kind, block, depth, _ = JOBS[name]
        lines += [f"[{name}]", "stonewall", f"rw={kind}", f"bs={block}", f"iodepth={depth}"]
    return "\n".join(lines) + "\n"


def parse_terse(text):
    """name -> {iops, mib_s} from fio's lines."""
    results = {}
    for line in text.split("\n"):
        fields = line.strip().split(";")
        if len(fields) < 60 or fields[2] not in JOBS:
            continue
        base = TERSE_WRITE if "write" in fields[2] else TERSE_READ
        results[fields[2]] = {"mib_s": float(fields[base + 1]) / 1024, "iops": float(fields[base + 2])}
    if set(results) - set(JOBS) or not results:
        raise RuntimeError(f"fio said something else:\n{text[-2000:]}")
    return results


def tools_image(folder):
    """An ext4 image with fio, the libraries that it needs and their loader: a root to chroot into."""
    fio = shutil.which("fio")
    if not fio:
        raise SystemExit("fio is missing: apt-get install fio")
    path = os.path.join(folder, "tools.img")
    root = os.path.join(folder, "tools")
    needed = subprocess.run(["ldd", fio], capture_output=True, text=True, check=True).stdout
    files = [fio, *re.findall(r"(/\S+) \(0x", needed)]
    for file in files:
        target = os.path.join(root, file.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.realpath(file), target)
        os.chmod(target, 0o755)
    for name in ("dev", "proc", "sys", "tmp"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(160 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", "-d", root, path], check=True)
    return path, fio


def initramfs(folder, fio, seconds):
    script = f"""
mkdir /tools; mount -t ext4 -o ro /dev/vdb /tools || exit 1
for name in dev proc sys; do mount -o bind /$name /tools/$name; done
mount -t tmpfs tmpfs /tools/tmp
cat > /tools/tmp/jobs <<'END'
{job_file("/dev/vda", seconds)}END
chroot /tools {fio} --output-format=terse --terse-version=3 /tmp/jobs
"""
    return guests.initramfs_with(os.path.join(folder, "bench.cpio"), MODULES, script)


def disk_arguments(monitor, image, tools, cache, options):
    if isinstance(monitor, monitors.Vmmctl):
        return ["--disk", f"{image},format=raw,cache={cache},engine={options.engine}", "--disk", f"{tools},readonly",
                "--virtio-transport", options.transport, *options.arguments.split()]
    cache = {"direct": "none"}.get(cache, cache)
    return ["-object", "iothread,id=io0",
            "-drive", f"file={image},if=none,id=d0,format=raw,cache={cache},aio={options.engine}",
            "-device", "virtio-blk-pci,drive=d0,iothread=io0",
            "-drive", f"file={tools},if=none,id=d1,format=raw,readonly=on", "-device", "virtio-blk-pci,drive=d1"]


def guest_run(monitor, guest, extra):
    with tempfile.NamedTemporaryFile() as log:
        with monitors.Session(monitor.command(guest, extra), log.name) as session:
            session.expect(r"^vmmctl-script-status 0$", GUEST_TIMEOUT_S)
            session.expect_exit(0, monitor.hang_s)
            return parse_terse(session.text)


def host_run(image, folder, seconds):
    jobs = os.path.join(folder, "host.fio")
    with open(jobs, "w", encoding="ascii") as file:
        file.write(job_file(image, seconds, names=("read-1m", "write-1m")))
    result = subprocess.run(["fio", "--output-format=terse", "--terse-version=3", jobs], capture_output=True, text=True,
                            check=True)
    return parse_terse(result.stdout)


def read_through(path):
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass


def compare(subject, peer, cache, folder, options):
    image = os.path.join(folder, "disk.img")
    tools, fio = tools_image(folder)
    guest = monitors.Guest(guests.KERNELS["cloud"][1](), initramfs(folder, fio, options.seconds),
                           append="console=ttyS0 quiet vmmctl_action=script", memory="512M")
    runs = {"host": [], subject.name: [], peer.name: []}
    for pair in range(options.pairs):
        runs["host"].append(host_run(image, folder, options.seconds))
        for monitor in (subject, peer):
            if cache != "direct":
                read_through(image)  # else the first pays for what the host's O_DIRECT has thrown out of the page cache
            extra = disk_arguments(monitor, image, tools, cache, options)
            runs[monitor.name].append(guest_run(monitor, guest, extra))
        print(f"cache={cache} pair {pair + 1}/{options.pairs} done", file=sys.stderr, flush=True)
    return {"cache": cache, "engine": options.engine, "transport": options.transport,
            "arguments": options.arguments, "runs": runs,
            "jobs": {name: job_record(runs, name, subject.name, peer.name) for name in JOBS}}


def job_record(runs, name, subject, peer):
    unit = JOBS[name][3]
    record = {"unit": unit, "ratio_to_peer": boot.summary([ours[name][unit] / theirs[name][unit]
                                                           for ours, theirs in zip(runs[subject], runs[peer])])}
    for monitor in (subject, peer):
        record[monitor] = boot.summary([run[name][unit] for run in runs[monitor]])
    if name in runs["host"][0]:
        record["host"] = boot.summary([run[name][unit] for run in runs["host"]])
        record["ratio_to_host"] = boot.summary([ours[name][unit] / theirs[name][unit]
                                                for ours, theirs in zip(runs[subject], runs["host"])])
    return record


def markdown(result):
    lines = [f"Host: {result['host']['cpu']}, {result['host']['cpus']} CPUs, Linux {result['host']['kernel']}, "
             f"{result['host']['qemu']}; {result['date']}; load at the start {result['host']['load']:.2f}; "
             f"{result['pairs']} pairs.", "",
             "| cache | job | unit | vmmctl | QEMU | vmmctl / QEMU | host | vmmctl / host |", "|---|---|---|---|---|---|---|---|"]
    for record in result["records"]:
        for name, job in record["jobs"].items():
            unit = {"iops": "requests/s", "mib_s": "MiB/s"}[job["unit"]]
            cells = [f"{job[monitor]['median']:.0f}" for monitor in result["monitors"]]
            share = f"{job['host']['median']:.0f} | {job['ratio_to_host']['median']:.0%}" if "host" in job else "- | -"
            lines.append(f"| {record['cache']} | {name} | {unit} | {cells[0]} | {cells[1]} "
                         f"| {boot.spread(job['ratio_to_peer'], 'x')} | {share} |")
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--cache", default="direct,writeback")
    parser.add_argument("--size-mib", type=int, default=256)
    parser.add_argument("--engine", default="io_uring", choices=("io_uring", "threads"))
    parser.add_argument("--transport", default="pci")
    parser.add_argument("--arguments", default="", help="further ones for vmmctl")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--markdown", help="write the table there; it is printed in any case")
    return parser.parse_args()


def fill(path, size):
    """Written through, so that nobody measures holes."""
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def main():
    options = parse_arguments()
    subject, peer = monitors.Vmmctl(os.path.abspath(options.vmmctl)), monitors.Qemu("pc")
    result = {"host": boot.host(), "date": datetime.date.today().isoformat(), "pairs": options.pairs,
              "seconds": options.seconds, "size_mib": options.size_mib, "monitors": [subject.name, peer.name], "records": []}
    with tempfile.TemporaryDirectory(prefix="vmmctl-bench-", dir=options.folder) as folder:
        fill(os.path.join(folder, "disk.img"), options.size_mib << 20)
        for cache in options.cache.split(","):
            result["records"].append(compare(subject, peer, cache, folder, options))
    table = markdown(result)
    print(table, end="")
    for path, text in ((options.json, json.dumps(result, indent=1) + "\n"), (options.markdown, table)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
