# SPDX-License-Identifier: Apache-2.0
"""The cases: each starts a guest with something shared and compares what both sides see."""
import hashlib
import os
import random
import shutil
import socket
import stat
import subprocess
import tarfile
import threading
import time

import monitors
import vhost_net_peer

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


def whole_seconds(entry):
    """busybox's tar knows no others, and Python's rounds them up."""
    entry.mtime = int(entry.mtime)
    return entry


def unpack_and_compare(context, tree, extra=""):
    """The guest unpacks an archive of the tree in the share, packs it up again, and reads all of it."""
    share = context.path("share")
    os.mkdir(share)
    with tarfile.open(os.path.join(share, "in.tar"), "w") as archive:
        archive.add(tree, arcname="tree", filter=whole_seconds)
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


# An unpacked kernel (linux-source-6.1 of Debian has one), too large for every test run.
KERNEL_TREE = os.environ.get("VMMCTL_SHARE_KERNEL_TREE")
if KERNEL_TREE:
    @case("9p-kernel-tree")
    def p9_kernel_tree(context):
        unpack_and_compare(context, KERNEL_TREE)


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


@case("9p-unlinked")
def p9_unlinked(context):
    """Files used after they have lost their name, many of them, and folders moved with what is in them."""
    share = context.path("share")
    os.mkdir(share)
    output = context.run(
        f"set -e\n{MOUNT} share0 /mnt\ncd /mnt\nexec 5>gone 6<gone\nrm gone\necho still-there >&5\ncat <&6\nexec 5>&- 6<&-\n"
        "i=0\nwhile [ $i -lt 40 ]; do echo $i > f$i; i=$((i+1)); done\ncat f* | wc -l\n"
        "mkdir -p a/b/c\necho deep > a/b/c/d\nmv a z\ncat z/b/c/d\nrm -r z\nls | wc -l\n",
        MODULES_9P, ["--share", share])
    for wanted in ("still-there", "40", "deep"):
        expect(wanted in output.split("\n"), f"'{wanted}' is missing:\n{output}")
    expect(sorted(os.listdir(share)) == sorted(f"f{i}" for i in range(40)), "the folder holds other names")


# --- sockets

VSOCK_MODULES = ["vmw_vsock_virtio_transport"]
VSOCK_BYTES = 6 << 20


def vsock_tool(context):
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(context.vmmctl))), "tests/share/vsock-tool")
    with open(path, "rb") as file:
        return ("bin/vsock-tool", file.read())


def vsock_byte(at):
    return (at * 0x9e3779b97f4a7c15 & 0xffffffffffffffff) >> 56


def echo_until_end(listener, digests):
    """Serves connections of the guest: gives back what comes, until its end."""
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        digest = hashlib.sha256()
        while data := peer.recv(1 << 16):
            digest.update(data)
            peer.sendall(data)
        peer.close()
        digests.append(digest.hexdigest())


@case("vsock-from-guest")
def vsock_from_guest(context):
    """The guest sends some MiB to a port of the host and gets them back, while it sends; a port nobody has refuses."""
    path = context.path("v")
    digests = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + "_5000")
        listener.listen()
        threading.Thread(target=echo_until_end, args=(listener, digests), daemon=True).start()
        output = context.run(
            f"vsock-tool send 5000 {VSOCK_BYTES} && echo first-ok\n"
            "for i in 1 2 3 4; do vsock-tool send 5000 100001 & done; wait; echo several-ok\n"
            "vsock-tool send 5001 10 || echo refused\n",
            VSOCK_MODULES, ["--vsock", f"cid=7,path={path}"], additions=[vsock_tool(context)])
    expect("first-ok" in output and "several-ok" in output and "refused" in output and "wrong" not in output,
           f"the guest says:\n{output}")
    wanted = [hashlib.sha256(bytes(map(vsock_byte, range(size)))).hexdigest() for size in (VSOCK_BYTES, 100001)]
    expect(sorted(digests) == sorted([wanted[0]] + 4 * [wanted[1]]), "the host got other bytes")
    expect(not os.path.exists(path), "the socket is still there after the end")


@case("vsock-to-guest")
def vsock_to_guest(context):
    """Programs of the host greet, send some MiB into the guest and get them back; a port nobody has is refused."""
    path = context.path("v")
    data = random.Random(3).randbytes(VSOCK_BYTES)

    def talk(port, payload):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            peer.settimeout(120)
            peer.sendall(f"CONNECT {port}\n".encode())
            line = b""
            while not line.endswith(b"\n"):
                byte = peer.recv(1)
                if not byte:
                    return None
                line += byte
            expect(line.startswith(b"OK 10737"), f"the greeting is answered by {line}")
            back = []

            def send():
                peer.sendall(payload)
                peer.shutdown(socket.SHUT_WR)
            sender = threading.Thread(target=send, daemon=True)
            sender.start()
            while piece := peer.recv(1 << 16):
                back.append(piece)
            sender.join()
            return b"".join(back)

    script = "vsock-tool echo 6000 3 && echo served\n"
    with context.start(script, VSOCK_MODULES, ["--vsock", path], additions=[vsock_tool(context)]) as session:
        session.expect("^listening$", 300)
        expect(talk(6001, b"x") is None, "a port that nobody listens on was not refused")
        expect(talk(6000, data) == data, "other bytes came back")
        expect(talk(6000, b"short") == b"short", "other bytes came back")
        expect(talk(6000, b"") == b"", "bytes came back where none were sent")
        session.seen = 0
        expect("served" in context.finish(session), "the guest's program failed")


# --- processes that serve a device

class Peer:
    """A process of the host that listens on a socket, for as long as a `with` lasts."""

    def __init__(self, context, socket_path, command):
        self.log = open(context.log + ".peer", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not os.path.exists(socket_path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                with open(context.log + ".peer", encoding="utf-8", errors="replace") as log:
                    raise Skip(f"{command[0]} does not run here: {log.read().strip()[-200:]}")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def find_program(*names):
    for name in names:
        path = shutil.which(name, path=os.environ["PATH"] + ":/usr/lib/qemu:/usr/libexec")
        if path:
            return path
    raise Skip(f"{names[0]} is not installed")


def virtiofsd(context, share):
    program = find_program("virtiofsd")
    socket_path = context.path("fs")
    # QEMU's own needs namespaces to build its sandbox; the guest's requests are ours, so none will do.
    command = [program, f"--socket-path={socket_path}", "-o", f"source={share}", "-o", "sandbox=chroot", "-f"]
    if "--shared-dir" in subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout:
        command = [program, f"--socket-path={socket_path}", f"--shared-dir={share}", "--sandbox=none"]
    return Peer(context, socket_path, command), socket_path


@case("virtiofs")
def virtiofs(context):
    """A tree unpacked and packed in a file system that virtiofsd serves."""
    share, tree = context.path("share"), context.path("tree")
    os.mkdir(share)
    make_tree(tree, 150, seed=4)
    with tarfile.open(os.path.join(share, "in.tar"), "w") as archive:
        archive.add(tree, arcname="tree")
    peer, socket_path = virtiofsd(context, share)
    with peer:
        output = context.run("set -e\nmount -t virtiofs files /mnt\ncd /mnt\ntar xf in.tar\ntar cf out.tar tree\n"
                             "cp /bin/busybox busybox\n./busybox echo runs-from-the-share\ncd /\numount /mnt\n",
                             ["virtiofs"], ["--vhost-user-fs", f"{socket_path},tag=files"])
    compare(describe(os.path.join(share, "tree")), describe(tree))
    with tarfile.open(os.path.join(share, "out.tar")) as archive:
        archive.extractall(context.path("again"))
    compare(describe(context.path("again", "tree")), describe(tree))
    expect("runs-from-the-share" in output, f"a program does not run from the share:\n{output}")


def storage_daemon(context, image, queues=1):
    socket_path = context.path("blk")
    command = [find_program("qemu-storage-daemon"), "--blockdev", f"driver=file,node-name=file,filename={image}",
               "--export", f"type=vhost-user-blk,id=e,node-name=file,addr.type=unix,addr.path={socket_path},"
               f"writable=on,num-queues={queues}"]
    return Peer(context, socket_path, command), socket_path


@case("vhost-user-blk")
def vhost_user_blk(context):
    """A disk that qemu-storage-daemon serves: written, read back in another order, and seen by the host."""
    image = context.path("disk")
    size = 24 << 20
    data = random.Random(5).randbytes(size)
    write(image, data)
    peer, socket_path = storage_daemon(context, image, queues=2)
    with peer:
        output = context.run(
            "set -e\ncat /sys/block/vda/size\ndd if=/dev/vda bs=1M 2>/dev/null | sha256sum\n"
            "dd if=/dev/vda of=/tmp/first bs=1M count=4 2>/dev/null\n"
            "dd if=/tmp/first of=/dev/vda bs=64k seek=128 conv=fsync 2>/dev/null\n"
            "echo 3 > /proc/sys/vm/drop_caches\n"
            "dd if=/dev/vda bs=64k skip=128 count=64 2>/dev/null | cmp - /tmp/first && echo same\n",
            ["virtio_blk"], ["--vhost-user-blk", f"{socket_path},queues=2"], memory="256M")
    expect(str(size // 512) in output and hashlib.sha256(data).hexdigest() in output and "same" in output,
           f"the guest says:\n{output}")
    with open(image, "rb") as file:
        after = file.read()
    wanted = data[:8 << 20] + data[:4 << 20] + data[12 << 20:]
    expect(after == wanted, "the image holds other bytes than the guest wrote")


@case("vhost-user-blk-dies")
def vhost_user_blk_dies(context):
    """The process is killed in the middle: the guest's disk is dead, its monitor and the guest are not."""
    image = context.path("disk")
    write(image, bytes(8 << 20))
    peer, socket_path = storage_daemon(context, image)
    script = ("dd if=/dev/vda of=/dev/null bs=1M count=4 2>/dev/null && echo disk-works\n"
              "exec 3< /dev/ttyS1\necho guest-listens\nread line <&3\n"
              "(dd if=/dev/vda of=/dev/null bs=1M skip=4 count=1 2>/dev/null &)\nsleep 3\necho guest-lives\n")
    other = context.path("com2")
    with peer, context.start(script, ["virtio_blk"], ["--vhost-user-blk", socket_path, "--serial", "stdio",
                                                      "--serial", f"socket:{other}"]) as session:
        session.expect("^disk-works$", 300)
        # What is sent before the guest has its port open is lost.
        session.expect("^guest-listens$", 300)
        peer.process.kill()
        session.expect("the process has gone away", 60)
        with socket.socket(socket.AF_UNIX) as go:
            go.connect(other)
            go.sendall(b"go\n")
            session.expect("^guest-lives$", 300)
            session.expect("vmmctl-share-end 0", 300)
            session.expect_exit(0, 300)


@case("vhost-user-net")
def vhost_user_net(context):
    """A card that a back end of these tests serves: the guest finds its neighbour and gets its packets back."""
    socket_path = context.path("net")
    peer = vhost_net_peer.Peer(socket_path, bytes([10, 9, 0, 1]), bytes([2, 0, 0, 0, 0, 1]))
    output = context.run(
        "cat /sys/class/net/eth0/address\nip addr add 10.9.0.2/24 dev eth0\nip link set eth0 up\n"
        "ping -c 3 10.9.0.1 > /dev/null; ping -c 20 -i 0.1 -s 1400 -p a5 10.9.0.1 | tail -3\n"
        "ping -c 1 -W 2 10.9.0.77 > /dev/null || echo nobody-else\n",
        ["virtio_net"], ["--vhost-user-net", f"{socket_path},mac=52:54:00:12:34:56"])
    expect(peer.problem is None, f"the back end stumbled: {peer.problem}")
    expect("52:54:00:12:34:56" in output, f"the card has another address:\n{output}")
    expect("20 packets transmitted, 20 packets received" in output and "nobody-else" in output,
           f"the guest says:\n{output}")


@case("pci-packed")
def pci_packed(context):
    """Folders, sockets and vhost-user devices over the other transport and the other layout of rings."""
    share, image, path = context.path("share"), context.path("disk"), context.path("v")
    os.mkdir(share)
    write(os.path.join(share, "file"), b"over PCI\n")
    write(image, random.Random(6).randbytes(4 << 20))
    digests = []
    peer, socket_path = storage_daemon(context, image)
    with peer, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + "_5000")
        listener.listen()
        threading.Thread(target=echo_until_end, args=(listener, digests), daemon=True).start()
        output = context.run(
            f"ls /sys/bus/pci/drivers/virtio-pci | grep -c 0000\n{MOUNT} share0 /mnt && cat /mnt/file\n"
            "cp /mnt/file /mnt/copy && sync\nvsock-tool send 5000 300000 && echo socket-ok\n"
            "dd if=/dev/vda bs=1M 2>/dev/null | sha256sum\n",
            ["virtio_pci", *MODULES_9P, *VSOCK_MODULES, "virtio_blk"],
            ["--virtio-transport", "pci", "--virtio-ring", "packed", "--share", share, "--vsock", path,
             "--vhost-user-blk", socket_path], additions=[vsock_tool(context)])
    with open(image, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    for wanted in ("3", "over PCI", "socket-ok", digest + "  -"):
        expect(wanted in output.split("\n"), f"'{wanted}' is missing:\n{output}")
    with open(os.path.join(share, "copy"), "rb") as file:
        expect(file.read() == b"over PCI\n", "the guest's file has other bytes")
