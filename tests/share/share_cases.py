# SPDX-License-Identifier: Apache-2.0
"""The cases: each starts a guest with something shared and compares what both sides see."""
import hashlib
import os
import random
import shutil
import stat
import subprocess
import tarfile

import monitors

CASES = {}
MODULES_9P = ["9pnet_virtio", "9p"]
MOUNT = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144"


class Skip(Exception):
    pass


def case(name):
    def register(function):
        CASES[name] = function
        return function
    return register


def expect(condition, problem):
    if not condition:
        raise monitors.BootError(problem)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def describe(top):
    """What a tree holds: for each name its kind and mode, and a file's checksum and time or a link's target."""
    tree = {}
    for folder, folders, names in os.walk(top):
        for name in folders + names:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            content = seconds = ""
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
                seconds = int(info.st_mtime)
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            tree[os.path.relpath(path, top)] = (oct(info.st_mode), content, seconds)
    return tree


def make_tree(top, files, seed=1):
    """A tree like a project's sources: many small files, some large, links of both kinds, folders within folders."""
    source = random.Random(seed)
    for number in range(files):
        folder = os.path.join(top, f"d{number % 7}", f"e{number % 13}")
        os.makedirs(folder, exist_ok=True)
        size = 300000 if number % 50 == 0 else source.randrange(0, 9000)
        path = os.path.join(folder, f"file-{number}.c")
        write(path, source.randbytes(size))
        os.chmod(path, source.choice([0o644, 0o755, 0o600, 0o444]))
        os.utime(path, (1700000000 + number, 1700000000 + number))
    os.symlink("d1/e1/file-1.c", os.path.join(top, "link"))
    os.symlink("/nowhere", os.path.join(top, "dangling"))
    os.link(os.path.join(top, "d0/e0/file-0.c"), os.path.join(top, "second-name"))


def compare(made, wanted):
    for path in sorted(set(made) | set(wanted)):
        expect(made.get(path) == wanted.get(path),
               f"{path} is {made.get(path)}, expected {wanted.get(path)}")


def unpack_and_compare(context, tree, extra=""):
    """The guest unpacks an archive of the tree in the share, packs it up again, and reads all of it."""
    share = context.path("share")
    os.mkdir(share)
    with tarfile.open(os.path.join(share, "in.tar"), "w") as archive:
        archive.add(tree, arcname="tree", filter=lambda entry: entry)
    output = context.run(
        f"set -e\n{MOUNT}{extra} share0 /mnt\ncd /mnt\nstart=$(cut -d' ' -f1 /proc/uptime)\ntar xf in.tar\n"
        "tar cf out.tar tree\ncut -d' ' -f1 /proc/uptime | xargs echo seconds $start\n"
        "find tree -type f | sort | xargs cat | sha256sum | sed 's/ .*//'\ncd /\numount /mnt\n",
        MODULES_9P, ["--share", share])
    wanted = describe(tree)
    compare(describe(os.path.join(share, "tree")), wanted)
    with tarfile.open(os.path.join(share, "out.tar")) as archive:
        archive.extractall(context.path("again"))
    compare(describe(context.path("again", "tree")), wanted)
    digest = hashlib.sha256()
    paths = sorted(os.path.join("tree", path) for path, what in wanted.items() if what[0].startswith("0o10"))
    for path in paths:
        with open(os.path.join(share, path), "rb") as file:
            digest.update(file.read())
    expect(digest.hexdigest() in output, f"the guest read other bytes:\n{output}")
    seconds = [line for line in output.split("\n") if line.startswith("seconds ")][0].split()
    context.remark = f"{len(wanted)} names, unpacked and packed in {float(seconds[2]) - float(seconds[1]):.1f} s"


@case("9p-tree")
def p9_tree(context):
    tree = context.path("tree")
    make_tree(tree, 300)
    unpack_and_compare(context, tree)


@case("9p-tree-cached")
def p9_tree_cached(context):
    tree = context.path("tree")
    make_tree(tree, 300, seed=2)
    unpack_and_compare(context, tree, extra=",cache=loose")


@case("9p-readonly")
def p9_readonly(context):
    share = context.path("share")
    os.makedirs(os.path.join(share, "sub"))
    write(os.path.join(share, "sub", "file"), b"unchanged\n")
    before = describe(share)
    output = context.run(
        f"{MOUNT} docs /mnt\ncd /mnt\ncat sub/file\n"
        "for what in 'touch new' 'rm sub/file' 'mkdir d' 'mv sub moved' 'ln -s x y' 'ln sub/file z' 'chmod 777 sub' "
        "'mkfifo p' 'truncate -s 0 sub/file' 'dd if=/dev/zero of=sub/file count=1'; do\n"
        "$what 2>/dev/null && echo \"$what WORKED\"\ndone\ntouch new 2>&1 | grep -o 'Read-only file system'\ntrue\n",
        MODULES_9P, ["--share", f"{share},docs,readonly"])
    expect("unchanged" in output, f"the guest cannot read:\n{output}")
    expect("WORKED" not in output, f"the guest changed a read-only share:\n{output}")
    expect("Read-only file system" in output, f"the refusal is not the one of a read-only file system:\n{output}")
    compare(describe(share), before)


@case("9p-confinement")
def p9_confinement(context):
    """What the guest's own kernel lets through: links and names that lead out of the folder."""
    share = context.path("share")
    os.mkdir(share)
    write(context.path("secret"), b"host secret\n")
    os.symlink(context.path("secret"), os.path.join(share, "absolute"))
    os.symlink("../secret", os.path.join(share, "relative"))
    os.symlink(context.folder, os.path.join(share, "top"))
    output = context.run(
        f"{MOUNT} share0 /mnt\ncd /mnt\n"
        "for name in absolute relative top/secret ../secret ../../secret; do cat $name; done 2>/dev/null\n"
        "mknod null c 1 3 2>/dev/null && echo MADE-A-DEVICE\nmkfifo pipe && test -p pipe && echo pipe-made\n"
        "echo guest > own; ln own own2; mv own2 own3; cat own3\n"
        "echo x > absolute 2>/dev/null; ls -a . | wc -l\ntrue\n",
        MODULES_9P, ["--share", share])
    expect("host secret" not in output, f"the guest reads what is not shared:\n{output}")
    expect("MADE-A-DEVICE" not in output, f"the guest made a device node:\n{output}")
    expect("pipe-made" in output and "guest" in output, f"the guest's own files do not work:\n{output}")
    with open(context.path("secret"), "rb") as file:
        expect(file.read() == b"host secret\n", "the guest wrote outside of its folder")


@case("9p-unlinked-and-locked")
def p9_unlinked(context):
    """Files used after they have lost their name, many open at once, and locks against the host."""
    share = context.path("share")
    os.mkdir(share)
    output = context.run(
        f"set -e\n{MOUNT} share0 /mnt\ncd /mnt\nexec 5>gone 6<gone\nrm gone\necho still-there >&5\ncat <&6\nexec 5>&- 6<&-\n"
        "i=0\nwhile [ $i -lt 40 ]; do echo $i > f$i; i=$((i+1)); done\ncat f* | wc -l\n"
        "flock -n f0 echo locked\nmkdir -p a/b/c\necho deep > a/b/c/d\nmv a z\ncat z/b/c/d\nrm -r z\nls | wc -l\n",
        MODULES_9P, ["--share", share])
    for wanted in ("still-there", "40", "locked", "deep"):
        expect(wanted in output.split("\n"), f"'{wanted}' is missing:\n{output}")
    expect(sorted(os.listdir(share)) == sorted(f"f{i}" for i in range(40)), "the folder holds other names")
