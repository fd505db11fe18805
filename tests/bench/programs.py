#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Real programs of Debian in a guest under vmmctl and under QEMU's TCG in turn, and on the host: one kernel, one root file system
on a virtio disk, the data in memory, one CPU. What a program puts out must be the same everywhere.

    tests/bench/programs.py --vmmctl build/.../vmmctl [--pairs 5] [--programs python3,gcc] [--arguments="--jit on"]
                            [--peer qemu-pc | --peer OTHER_VMMCTL] [--json FILE] [--markdown FILE]

`gain` is the peer's time over vmmctl's, pair by pair; its goal is a geometric mean of 3.5, and no program below 1. `x native` is
vmmctl's time over that of the same program in the same root file system on the host (which needs root, as making the image does).
Times are taken in the guest, of the second run of each program (of the first for `sh`, a thousand processes).
"""
import argparse
import datetime
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "boot"))

import boot  # noqa: E402
import debian_guest  # noqa: E402
import guests  # noqa: E402
import micro  # noqa: E402
import monitors  # noqa: E402

GOAL_GEOMEAN = 3.5
TIMEOUT_S = 1800
LINE = re.compile(r"^vmmctl-program (\S+) ([0-9.]+) (\S+)$", re.MULTILINE)

# name -> a command in /tmp whose standard output is the same wherever it runs
PROGRAMS = {
    "python3": "python3 -S data.py",
    "perl": "perl data.pl",
    "sort": "sort lines | sha256sum",
    "gcc": "gcc -O2 -S -o - large.c | sha256sum",
    "sha256sum": "sha256sum bytes bytes bytes bytes",
    "gzip": "gzip -9 -n -c text | sha256sum",
    "xz": "xz -1 -T1 -c text | sha256sum",
    "sqlite3": "rm -f data.db; sqlite3 data.db < data.sql",
    "openssl-simd": "cat bytes bytes | openssl enc -aes-256-ctr -K {0} -iv {1} | openssl dgst -sha512 -r",
    "openssl-plain": "export OPENSSL_ia32cap=0:0; cat bytes | openssl enc -aes-256-ctr -K {0} -iv {1} | openssl dgst -sha512 -r",
    "sh": "i=0; while [ $i -lt 1000 ]; do sh -c true; i=$((i+1)); done; echo $i",
    "make": "make -s -j2 -C project clean all && ./project/program",
}
KEY, VECTOR = "0123456789abcdef" * 4, "fedcba9876543210" * 2

PYTHON = """
words = {}
value = 12345
for i in range(120000):
    value = (value * 1103515245 + 12345) & 0x7fffffff
    word = "w%d" % (value % 5000)
    words[word] = words.get(word, 0) + 1
grid = [[(x * y) % 7 for x in range(60)] for y in range(60)]
total = 0
for step in range(6):
    grid = [[(grid[y - 1][x] + grid[y][x - 1] + grid[y][x]) % 11 for x in range(60)] for y in range(60)]
    total += sum(map(sum, grid))
x = 0.1
for i in range(100000):
    x = 3.7 * x * (1.0 - x)
print(len(words), max(words.values()), total, "%.12f" % x)
"""

PERL = """
my %count; my $value = 12345; my $text = "";
for my $i (1 .. 100000) {
    $value = ($value * 1103515245 + 12345) & 0x7fffffff;
    $count{"w" . ($value % 5000)}++;
    $text .= chr(97 + $value % 26) if $i % 3 == 0;
}
my $found = 0;
$found++ while $text =~ /a[b-m]+[n-z]/g;
my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 4];
print scalar(keys %count), " $found @top\\n";
"""

SQL = """
pragma journal_mode = memory;
create table item (id integer primary key, name text, amount integer);
begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
    insert into item select i, 'name' || (i * 7919 % 10007), i * 31 % 997 from n;
commit;
create index item_name on item (name);
select count(*), sum(amount) from item where name like 'name1%';
select name, count(*), sum(amount) from item group by name order by 3 desc, 1 limit 5;
select count(*) from item a join item b on a.name = b.name where a.amount < b.amount;
"""

RUN = """
cd /tmp
for name in {names}; do
	[ $name = sh ] || sh commands/$name > warm.out 2>&1
	start=$(date +%s%N)
	sh commands/$name > out 2>&1
	status=$?
	end=$(date +%s%N)
	sum=$(sha256sum < out | cut -c1-16)
	[ $status = 0 ] || {{ tail -n 5 out; sum=status-$status; }}
	us=$(((end - start) / 1000))
	printf 'vmmctl-program %s %d.%06d %s\\n' $name $((us / 1000000)) $((us % 1000000)) $sum
done
"""


def c_function(number, rng):
    """A function of some branches, loops and calls, unlike the others."""
    a, b, c = rng.randrange(3, 97), rng.randrange(3, 97), rng.randrange(2, 9)
    call = f"work_{rng.randrange(number)}(value ^ {b}, depth - 1)" if number else "value"
    return f"""
unsigned work_{number}(unsigned value, int depth)
{{
	unsigned table[{c + 4}], sum = {a};

	for (int i = 0; i < {c + 4}; i++)
		table[i] = value * {a} + (unsigned)i * {b};
	for (int i = 0; i < {c}; i++) {{
		switch ((table[i] >> {c}) & 3) {{
		case 0: sum += table[i + 1] ^ {b}u; break;
		case 1: sum = sum << 3 | sum >> 29; break;
		case 2: sum -= table[i] % {b}u; break;
		default: sum ^= value / ({a}u + table[i + 2] % 5);
		}}
	}}
	if (depth > 0 && sum % {c} == 1)
		sum += {call};
	return sum;
}}
"""


def write(folder, name, data):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if isinstance(data, bytes) else "w", **({} if isinstance(data, bytes) else {"encoding": "utf-8"})) as file:
        file.write(data)


def write_project(folder, rng):
    """Twelve small files, for make."""
    names = [f"part{i}" for i in range(12)]
    for i, name in enumerate(names):
        body = c_function(0, rng).replace("work_0", name)
        write(folder, f"project/{name}.c", "#include <stdio.h>\n#include <string.h>\n" + body)
    declarations = "".join(f"unsigned {name}(unsigned, int);\n" for name in names)
    calls = "".join(f"\tsum ^= {name}(sum + {i}, 1);\n" for i, name in enumerate(names))
    write(folder, "project/main.c", f"#include <stdio.h>\n{declarations}\nint main(void)\n{{\n\tunsigned sum = 1;\n\n{calls}"
                                    '\tprintf("%u\\n", sum);\n\treturn 0;\n}\n')
    objects = " ".join(f"{name}.o" for name in [*names, "main"])
    write(folder, "project/Makefile", f"CFLAGS = -O1\nall: program\nprogram: {objects}\n\tgcc -o $@ $^\n"
                                      "clean:\n\trm -f program *.o\n")


def write_data(folder, names):
    """What the programs work on, always the same bytes."""
    rng = random.Random(20260101)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randrange(2, 11))) for _ in range(3000)]
    write(folder, "text", " ".join(rng.choices(vocabulary, k=260000)) + "\n")
    write(folder, "lines", "".join(" ".join(rng.choices(vocabulary, k=3)) + "\n" for _ in range(60000)))
    write(folder, "bytes", rng.randbytes(4 << 20))
    write(folder, "large.c", "".join(c_function(i, rng) for i in range(120)))
    write_project(folder, rng)
    for name, content in (("data.py", PYTHON), ("data.pl", PERL), ("data.sql", SQL)):
        write(folder, name, content)
    for name in names:
        write(folder, f"commands/{name}", PROGRAMS[name].format(KEY, VECTOR) + "\n")
    write(folder, "run", RUN.format(names=" ".join(names)))


def files_of(folder):
    return [(os.path.join(base, name), "/data/" + os.path.relpath(os.path.join(base, name), folder))
            for base, _, names in os.walk(folder) for name in sorted(names)]


def parse(text):
    """program -> (seconds, the sum of its output)"""
    return {name: (float(seconds), checksum) for name, seconds, checksum in LINE.findall(text)}


def native_run(root, data):
    """In the root file system of the image, with a /tmp of its own, on one CPU."""
    script = f"""set -e
mount -t tmpfs tmpfs {root}/tmp
mount -t proc proc {root}/proc
mount -o bind /dev {root}/dev
cp -r {data}/. {root}/tmp/
exec taskset -c {min(os.sched_getaffinity(0))} chroot {root} /bin/bash /tmp/run"""
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, text=True, check=True,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})
    return parse(done.stdout)


def guest_run(monitor, guest, extra):
    with tempfile.NamedTemporaryFile() as log:
        with monitors.Session(monitor.command(guest, extra), log.name) as session:
            try:
                session.expect(r"^vmmctl-script-status \d+$", TIMEOUT_S)
                session.expect_exit(0, monitor.hang_s)
            except monitors.BootError as error:
                raise SystemExit(f"{monitor.name}: {error}\n{session.text[-2000:]}") from error
            return parse(session.text)


def check_outputs(runs, names):
    """Every program put out the same everywhere."""
    for name in names:
        sums = {run[name][1] if name in run else "nothing" for series in runs.values() for run in series}
        if len(sums) != 1 or any(value.startswith(("status", "nothing")) for value in sums):
            told = {key: [run.get(name, (0, "nothing"))[1] for run in series] for key, series in runs.items()}
            raise SystemExit(f"{name} does not put out the same everywhere: {told}")


def measure(subject, peer, options):
    runs = {"native": [], subject.name: [], peer.name: []}
    root, image = debian_guest.image()
    extra = {subject.name: options.arguments.split(), peer.name: options.peer_arguments.split()}
    # A copy of its own: QEMU and vmmctl lock images against each other, even those that are only read.
    with tempfile.TemporaryDirectory(prefix="vmmctl-bench-") as folder, debian_guest.copy_of(image) as copy:
        data = os.path.join(folder, "data")
        write_data(data, options.programs)
        initrd = debian_guest.initramfs(folder, "export LC_ALL=C\n" + debian_guest.CHROOT_SCRIPT, files_of(data))
        guest = monitors.Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script",
                               memory="1024M")
        for pair in range(options.pairs):
            runs["native"].append(native_run(root, data))
            for monitor in (subject, peer):
                disk = debian_guest.disk(monitor, copy, readonly=True)
                runs[monitor.name].append(guest_run(monitor, guest, [*disk, *extra[monitor.name]]))
            check_outputs(runs, options.programs)
            print(f"pair {pair + 1}/{options.pairs} done", file=sys.stderr, flush=True)
    return runs


def record(runs, subject, peer, name):
    return {"program": name, "native_s": boot.summary([run[name][0] for run in runs["native"]]),
            "subject_s": boot.summary([run[name][0] for run in runs[subject]]),
            "peer_s": boot.summary([run[name][0] for run in runs[peer]]),
            "gain": micro.ratios(runs[peer], runs[subject], name),
            "times_native": micro.ratios(runs[subject], runs["native"], name)}


def markdown(result):
    host, subject, peer = result["host"], *result["monitors"]
    lines = [f"Host: {host['cpu']}, {host['cpus']} CPUs, Linux {host['kernel']}, {host['qemu']}; {result['date']}; load at the start "
             f"{host['load']:.2f}; {result['pairs']} pairs; {subject} {result['arguments']}", "",
             f"| program | native, s | {subject}, s | {peer}, s | gain | x native |", "|---|---|---|---|---|---|"]
    for row in result["records"]:
        mark = "" if row["gain"]["median"] >= 1 else " !"
        lines.append(f"| {row['program']} | {row['native_s']['median']:.3f} | {row['subject_s']['median']:.3f} "
                     f"| {row['peer_s']['median']:.3f} | {micro.spread(row['gain'])}{mark} | {micro.spread(row['times_native'])} |")
    means = result["geomeans"]
    lines.append(f"| geometric mean (goal {GOAL_GEOMEAN}) | | | | {micro.number(means['gain'])} | {micro.number(means['times_native'])} |")
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmmctl", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--programs", default=list(PROGRAMS), type=lambda text: text.split(","),
                        help=f"some of: {', '.join(PROGRAMS)}")
    parser.add_argument("--peer", default="qemu-pc", help="qemu-pc, qemu-microvm, or the path of another vmmctl")
    parser.add_argument("--arguments", default="", help="further ones for vmmctl")
    parser.add_argument("--peer-arguments", default="", help="further ones for the peer")
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--markdown", help="write the table there; it is printed in any case")
    options = parser.parse_args()
    unknown = set(options.programs) - set(PROGRAMS)
    if unknown:
        parser.error(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    if options.pairs < 1:
        parser.error("--pairs takes at least 1")
    return options


def main():
    options = parse_arguments()
    if os.geteuid() != 0:
        raise SystemExit("programs.py needs root: for debootstrap, and to run the programs in its root file system")
    subject, peer = monitors.Vmmctl(os.path.abspath(options.vmmctl)), micro.monitor_of(options.peer)
    result = {"host": boot.host(), "date": datetime.date.today().isoformat(), "pairs": options.pairs,
              "arguments": options.arguments, "monitors": [subject.name, peer.name]}
    runs = measure(subject, peer, options)
    result["records"] = [record(runs, subject.name, peer.name, name) for name in options.programs]
    result["geomeans"] = {key: math.exp(statistics.fmean(math.log(row[key]["median"]) for row in result["records"]))
                          for key in ("gain", "times_native")}
    table = markdown(result)
    print(table, end="")
    for path, text in ((options.json, json.dumps(result, indent=1) + "\n"), (options.markdown, table)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
