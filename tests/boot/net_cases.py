# SPDX-License-Identifier: Apache-2.0
"""
Boot tests of network cards: real guests with Debian's virtio_net on every backend. What needs root (namespaces, taps, a
name server on port 53) is left out by name where that is missing.
"""
import contextlib
import hashlib
import http.server
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import guests
from cases import BOOT_TIMEOUT_S, END_TIMEOUT_S, Skip, case, need
from monitors import BootError, Guest, Qemu, Session

NET_MODULES = ("virtio_mmio", "virtio_pci", "virtio_net")
DOWNLOAD_BYTES = 6 << 20
MAC = "[0-9a-f][26ae](:[0-9a-f]{2}){5}"  # by chance, locally administered

PCI = ("--virtio-transport", "pci")

# What udhcpc calls when it has a lease.
LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/${mask:-24} dev $interface
[ -n "$router" ] && ip route add default via $router
for d in $dns; do echo nameserver $d; done > /etc/resolv.conf
echo "lease $ip router $router dns $dns"
"""
SETUP = """
ip link set lo up
echo "card $(cat /sys/class/net/eth0/address) mtu $(cat /sys/class/net/eth0/mtu) carrier-$(ip link set eth0 up; cat /sys/class/net/eth0/carrier)"
"""
DHCP = SETUP + "busybox udhcpc -i eth0 -s /lease -n -q -t 5 || exit 1\n"


def make_guest(context, script, files=(), **changes):
    """A guest that runs a script, with udhcpc's helper."""
    lease = context.path("lease")
    with open(lease, "w", encoding="ascii") as file:
        file.write(LEASE)
    os.chmod(lease, 0o755)
    initrd = guests.initramfs_with(context.path(f"{context.starts}.cpio"), NET_MODULES, script,
                                   [(lease, "/lease"), *files])
    return Guest(guests.KERNELS["cloud"][1](), initrd, append="console=ttyS0 quiet vmmctl_action=script", **changes)


def start(context, script, nets, extra=(), wrapper=(), files=(), **changes):
    """The same with these cards, running."""
    guest = make_guest(context, script, files, **changes)
    arguments = [argument for net in nets for argument in ("--net", net)]
    return context.start(guest, extra=[*arguments, *extra], wrapper=wrapper)


def expect_script(session, status=0):
    session.expect(rf"^vmmctl-script-status {status}$", BOOT_TIMEOUT_S)
    session.expect_exit(0, END_TIMEOUT_S)
    session.expect_no_trouble()


def need_root():
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        raise Skip("no right to make a network namespace")


def need_tap():
    need_root()
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise Skip("no /dev/net/tun")


class quiet_files(http.server.BaseHTTPRequestHandler):
    """Serves the bytes of the class to everybody."""
    content = b""

    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


@contextlib.contextmanager
def web_server(address="127.0.0.1"):
    """A server on the host; gives its port and the digest of what it serves."""
    content = os.urandom(DOWNLOAD_BYTES)
    handler = type("handler", (quiet_files,), {"content": content})
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], hashlib.md5(content).hexdigest()
    finally:
        server.shutdown()


@contextlib.contextmanager
def sink_server():
    """Takes one connection and gives a function that waits for the digest of all that came."""
    listener = socket.create_server(("127.0.0.1", 0))
    digest = hashlib.md5()
    done = threading.Event()

    def run():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            while data := connection.recv(1 << 16):
                digest.update(data)
            done.set()

    def wait():
        if not done.wait(END_TIMEOUT_S):
            raise BootError("the guest's upload did not end")
        return digest.hexdigest()

    threading.Thread(target=run, daemon=True).start()
    try:
        yield listener.getsockname()[1], wait
    finally:
        listener.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def ask_guest(port):
    """What the guest's nc says at a forwarded port; it may listen a moment later than it says."""
    # Debian 12's passt answers the guest's SYN,ACK only when there is something to send: this end speaks first.
    deadline = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(b"hello-from-host\n")
                answer = connection.recv(100)
                if answer:
                    return answer
        time.sleep(0.3)
    raise BootError(f"nobody in the guest answers at port {port}")


def read_pcap(path):
    """The frames of a pcap file, by the format's own words."""
    with open(path, "rb") as file:
        data = file.read()
    if struct.unpack_from("<IHHiIII", data) != (0xa1b23c4d, 2, 4, 0, 0, 262144, 1):
        raise BootError("the file's head is no pcap head")
    frames, at = [], 24
    while at < len(data):
        _, nanoseconds, captured, length = struct.unpack_from("<IIII", data, at)
        if captured != length or nanoseconds >= 10**9 or captured > len(data) - at - 16:
            raise BootError(f"the record at {at} is damaged")
        frames.append(data[at + 16:at + 16 + captured])
        at += 16 + captured
    return frames


def check_pcap(path):
    frames = read_pcap(path)
    udp_ports = {struct.unpack_from(">HH", frame, 34) for frame in frames
                 if frame[12:14] == b"\x08\x00" and frame[23] == 17 and len(frame) >= 38}
    if not {(68, 67), (67, 68)} <= udp_ports:
        raise BootError("the pcap file does not hold both sides of DHCP")
    if shutil.which("tcpdump"):
        text = subprocess.run(["tcpdump", "-n", "-r", path], capture_output=True, text=True, check=True).stdout
        if len(text.splitlines()) < len(frames) or "BOOTP/DHCP, Reply" not in text:
            raise BootError("tcpdump reads something else")


def user_network(context, extra=(), cpus=1):
    """DHCP, ping, a download with its checksum, an upload, a connection into the guest, the pcap file."""
    need(context, "net")
    pcap = context.path("pcap")
    port = free_port()
    with web_server() as (web, digest), sink_server() as (sink, uploaded):
        script = DHCP + f"""
ping -c 2 -W 5 10.0.2.2 || exit 2
wget -q -O /f http://10.0.2.2:{web}/f && echo "digest $(md5sum < /f)" || exit 3
nc 10.0.2.2 {sink} < /f || exit 4
echo listening; echo hello-from-guest | nc -l -p 22 || exit 5
i=0
while ! ip -6 addr show dev eth0 | grep -q fec0: && [ $i -lt 30 ]; do sleep 1; i=$((i + 1)); done
ip -6 addr show dev eth0 | grep -q fec0: && echo has-ipv6
"""
        net = f"user,hostfwd=tcp:127.0.0.1:{port}-:22,pcap={pcap}"
        with start(context, script, [net], extra, cpus=cpus) as session:
            session.expect(rf"^card {MAC} mtu 1500 carrier-1$", BOOT_TIMEOUT_S)
            session.expect(r"^lease 10\.0\.2\.15 router 10\.0\.2\.2 dns 10\.0\.2\.3", END_TIMEOUT_S)
            session.expect(rf"^digest {digest} ", END_TIMEOUT_S)
            if uploaded() != digest:
                raise BootError("what the guest sent is not what the host got")
            session.expect("^listening$", END_TIMEOUT_S)
            if ask_guest(port) != b"hello-from-guest\n":
                raise BootError("the forwarded port says something else")
            session.expect("^has-ipv6$", END_TIMEOUT_S)
            expect_script(session)
    check_pcap(pcap)


case("net-user")(user_network)
case("net-user-packed")(lambda context: user_network(context, ("--virtio-ring", "packed")))
case("net-user-pci")(lambda context: user_network(context, PCI))
case("net-user-2cpu")(lambda context: user_network(context, ("--io-threads", "2"), cpus=2))


class NameServer:
    """Answers every question for an address with 192.0.2.77, on port 53 of a loopback address of its own."""
    address = "127.53.53.53"

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.address, 53))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                query, peer = self.socket.recvfrom(1500)
                is_a = query[-4:-2] == b"\0\1"
                answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x4d" if is_a else b""
                head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
                self.socket.sendto(head + query[12:] + answer, peer)


@case("net-user-dns")
def net_user_dns(context):
    """The name server that the guest sees is the one of the host's resolv.conf."""
    need(context, "net")
    need_root()
    try:
        server = NameServer()
    except OSError as error:
        raise Skip(f"no name server on port 53: {error}") from error
    conf = context.path("resolv.conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write(f"nameserver {server.address}\n")
    wrapper = ["unshare", "-m", "sh", "-c", f'mount --bind {conf} /etc/resolv.conf && exec "$@"', "sh"]
    script = DHCP + "nslookup -type=a www.example.org 10.0.2.3\n"
    with start(context, script, ["user"], wrapper=wrapper) as session:
        session.expect(r"192\.0\.2\.77", BOOT_TIMEOUT_S)
        expect_script(session)
    server.socket.close()


@case("net-user-settings")
def net_user_settings(context):
    """Another network, MAC, MTU and host name; a guest that is restricted reaches its lease and nothing else."""
    need(context, "net")
    with web_server() as (web, _):
        script = DHCP + f"wget -T 5 -q -O /f http://192.168.77.2:{web}/f && exit 3\nping -c 1 -W 5 192.168.77.2\n"
        net = "user,net=192.168.77.0/24,hostname=box,mac=52:54:00:ab:cd:ef,mtu=1400,restrict,no_ipv6"
        with start(context, script, [net]) as session:
            session.expect(r"^card 52:54:00:ab:cd:ef mtu 1400 carrier-1$", BOOT_TIMEOUT_S)
            session.expect(r"^lease 192\.168\.77\.15 router", END_TIMEOUT_S)
            expect_script(session)


@case("net-rate-limit")
def net_rate_limit(context):
    """Six MiB at 1.5 MiB a second each way take four seconds each, and never less but for the burst."""
    need(context, "net")
    with web_server() as (web, digest), sink_server() as (sink, uploaded):
        script = DHCP + f"""
wget -q -O /f http://10.0.2.2:{web}/f && echo "digest $(md5sum < /f)" || exit 3
nc 10.0.2.2 {sink} < /f && echo sent || exit 4
"""
        with start(context, script, ["user,rx_bps=1536K,tx_bps=1536K"]) as session:
            session.expect("^lease ", BOOT_TIMEOUT_S)
            begin = time.monotonic()
            session.expect(rf"^digest {digest} ", END_TIMEOUT_S)
            middle = time.monotonic()
            if uploaded() != digest:
                raise BootError("what the guest sent is not what the host got")
            took = (middle - begin, time.monotonic() - middle)
            expect_script(session)
    context.note(f"down {took[0]:.1f} s, up {took[1]:.1f} s")
    for seconds in took:
        if seconds < 3:
            raise BootError(f"the directions took {took[0]:.1f} and {took[1]:.1f} s")


@case("net-passt")
def net_passt(context):
    """The same through passt, which gives the guest the host's own address and a large MTU."""
    need(context, "net")
    if not shutil.which("passt"):
        raise Skip("no passt")
    if subprocess.run(["ip", "-4", "route", "show", "default"], capture_output=True, check=False).stdout == b"":
        raise Skip("the host has no default route, which passt needs")
    port = free_port()
    with web_server() as (web, digest):
        script = DHCP + f"""
gateway=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')
wget -q -O /f http://$gateway:{web}/f && echo "digest $(md5sum < /f)" || exit 3
echo listening; echo hello-from-guest | nc -l -p 2022 || exit 5
"""
        with start(context, script, [f"passt,hostfwd=tcp:127.0.0.1:{port}-:2022"]) as session:
            session.expect(rf"^card {MAC} mtu 65520 carrier-1$", BOOT_TIMEOUT_S)
            session.expect(r"^lease ", END_TIMEOUT_S)
            session.expect(rf"^digest {digest} ", END_TIMEOUT_S)
            session.expect("^listening$", END_TIMEOUT_S)
            if ask_guest(port) != b"hello-from-guest\n":
                raise BootError("the forwarded port says something else")
            expect_script(session)


def in_namespace(session, *command, **options):
    """Runs a command in the network namespace of the monitor."""
    return subprocess.run(["nsenter", "-t", str(session.process.pid), "-n", *command], capture_output=True, text=True,
                          check=False, **options)


TAP_WRAPPER = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]


def set_up_tap(session, name="tap0"):
    deadline = time.monotonic() + END_TIMEOUT_S
    while in_namespace(session, "ip", "addr", "add", "10.9.0.1/24", "dev", name).returncode != 0:
        if time.monotonic() > deadline or session.process.poll() is not None:
            raise BootError(f"the interface {name} does not appear")
        time.sleep(0.2)


def iperf3_files():
    """The host's iperf3 and its libraries, for the guest; none where it is not installed."""
    path = shutil.which("iperf3")
    if not path:
        return []
    text = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    return [(path, "/bin/iperf3"), *((library, library) for library in re.findall(r"(/\S+) \(0x", text))]


def tap_network(context, settings="", cpus=1, extra=()):
    """Ping both ways and iperf3 both ways over a tap in a namespace of its own."""
    need(context, "net")
    need_tap()
    files = iperf3_files()
    script = SETUP + """
ip addr add 10.9.0.2/24 dev eth0
n=0; until ping -c 1 -W 1 10.9.0.1; do n=$((n + 1)); [ $n -lt 30 ] || exit 2; done
echo "queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)"
echo ready
if [ -x /bin/iperf3 ]; then
	n=0; until iperf3 -c 10.9.0.1 -t 2 -f m; do n=$((n + 1)); [ $n -lt 10 ] || exit 3; sleep 1; done
	sleep 1; iperf3 -c 10.9.0.1 -t 2 -f m -R || exit 4
fi
"""
    with start(context, script, [f"tap,ifname=tap0{settings}"], extra, TAP_WRAPPER, files, cpus=cpus) as session:
        set_up_tap(session)
        session.expect(rf"^card {MAC} mtu 1500 carrier-1$", BOOT_TIMEOUT_S)
        queues = int(session.expect(r"^queues (\d+)$", END_TIMEOUT_S).group(1))
        session.expect("^ready$", END_TIMEOUT_S)
        if files:
            server = subprocess.Popen(["nsenter", "-t", str(session.process.pid), "-n", "iperf3", "-s"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            ping = in_namespace(session, "ping", "-c", "2", "-W", "5", "10.9.0.2") if shutil.which("ping") else None
            if ping and ping.returncode != 0:
                raise BootError(f"the host does not reach the guest: {ping.stdout}")
            expect_script(session)
        finally:
            if files:
                server.kill()
                server.wait()
        rates = re.findall(r"([\d.]+) Mbits/sec.*receiver", session.text)
    context.note(f"{queues} queues" + (f", iperf3 {' and '.join(rates)} Mbit/s" if rates else ", no iperf3 here"))
    return queues


case("net-tap")(tap_network)


@case("net-tap-queues")
def net_tap_queues(context):
    if tap_network(context, ",queues=2", cpus=2) != 2:
        raise BootError("the guest uses one queue")


@case("net-tap-script")
def net_tap_script(context):
    """A script sets the interface up, another one is run at the end; the interface joins a bridge."""
    need(context, "net")
    need_tap()
    up, down, told = context.path("up"), context.path("down"), context.path("told")
    for path, text in ((up, "ip addr add 10.9.0.1/24 dev br0; ip link set $1 up"), (down, f"echo down $1 > {told}")):
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, 0o755)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(told)
    wrapper = ["unshare", "-n", "sh", "-c", 'ip link add br0 type bridge && ip link set br0 up && exec "$@"', "sh"]
    if subprocess.run([*wrapper, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        raise Skip("this kernel makes no bridge")
    script = SETUP + """
ip addr add 10.9.0.2/24 dev eth0
n=0; until ping -c 1 -W 1 10.9.0.1; do n=$((n + 1)); [ $n -lt 30 ] || exit 2; done
"""
    with start(context, script, [f"tap,bridge=br0,script={up},downscript={down}"], wrapper=wrapper) as session:
        expect_script(session)
    with open(told, encoding="ascii") as file:
        if not re.fullmatch(r"down tap\d+\n", file.read()):
            raise BootError("the second script was told another name")


def start_qemu(context, script, arguments):
    """A guest under QEMU, which proves that others understand us."""
    guest = make_guest(context, script)
    context.starts += 1
    return Session(Qemu("pc").command(guest, arguments), context.path("qemu.log"))


def two_guests(context, first, start_second):
    """Two guests on one network: ping, and a file with its checksum from one to the other."""
    need(context, "net")
    server = SETUP + """
ip addr add 10.8.0.1/24 dev eth0
mkdir /www; dd if=/dev/urandom of=/www/f bs=1M count=4 2>/dev/null
echo "digest $(md5sum < /www/f)"
busybox httpd -h /www -p 80
echo listening; nc -l -p 99
"""
    client = SETUP + """
ip addr add 10.8.0.2/24 dev eth0
n=0; until ping -c 1 -W 1 10.8.0.1; do n=$((n + 1)); [ $n -lt 60 ] || exit 2; done
wget -q -O /f http://10.8.0.1/f || exit 3
echo "digest $(md5sum < /f)"
echo bye | nc 10.8.0.1 99
"""
    with start(context, server, [first]) as one:
        digest = one.expect(r"^digest (\w+) +-$", BOOT_TIMEOUT_S).group(1)
        one.expect("^listening$", END_TIMEOUT_S)
        with start_second(client) as two:
            if two.expect(r"^digest (\w+) +-$", BOOT_TIMEOUT_S).group(1) != digest:
                raise BootError("the file changed on the way")
            expect_script(two)
        expect_script(one)


@case("net-tap-queues-pci")
def net_tap_queues_pci(context):
    if tap_network(context, ",queues=2", cpus=2, extra=PCI) != 2:
        raise BootError("the guest uses one queue")


OTHER_MAC = "mac=02:76:6d:6d:00:99"


@case("net-socket-stream")
def net_socket_stream(context):
    path = context.path("socket")
    two_guests(context, f"socket,listen={path}",
               lambda script: start(context, script, [f"socket,connect={path},{OTHER_MAC}"]))


@case("net-socket-qemu")
def net_socket_qemu(context):
    if not shutil.which("qemu-system-x86_64"):
        raise Skip("no qemu-system-x86_64")
    path = context.path("socket")
    netdev = f"stream,id=n,server=off,addr.type=unix,addr.path={path}"
    two_guests(context, f"socket,listen={path}",
               lambda script: start_qemu(context, script, ["-netdev", netdev, "-device",
                                                           f"virtio-net-pci,netdev=n,{OTHER_MAC}"]))


@case("net-socket-datagrams")
def net_socket_datagrams(context):
    one, two = context.path("a"), context.path("b")
    two_guests(context, f"socket,local={one},remote={two}",
               lambda script: start(context, script, [f"socket,local={two},remote={one},{OTHER_MAC}"]))


@case("net-fd")
def net_fd(context):
    """The second guest's card is a descriptor that its parent connected."""
    path = context.path("socket")
    program = ("import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
               "os.dup2(s.fileno(), 9); os.execvp(sys.argv[2], sys.argv[2:])")
    two_guests(context, f"socket,listen={path}",
               lambda script: start(context, script, [f"fd,fd=9,{OTHER_MAC}"],
                                    wrapper=[sys.executable, "-c", program, path]))


@case("net-reset")
def net_reset(context):
    """A guest that resets the machine under traffic finds a card that works again."""
    need(context, "net")
    port = free_port()
    script = DHCP + "ping -c 1 -W 5 10.0.2.2 || exit 2\nping -f 10.0.2.2 > /dev/null 2>&1 &\nsleep 1\necho again; reboot -f\n"
    with start(context, script, [f"user,hostfwd=tcp:127.0.0.1:{port}-:22"]) as session:
        for _ in range(3):
            session.expect("^again$", BOOT_TIMEOUT_S)
        session.process.send_signal(signal.SIGTERM)
        session.wait(END_TIMEOUT_S)
        session.expect_no_trouble()
