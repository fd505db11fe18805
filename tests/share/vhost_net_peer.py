# SPDX-License-Identifier: Apache-2.0
"""
A vhost-user-net back end for tests: one host that answers ARP for its address and echoes ICMP. Speaks as much of the
protocol as that takes; split rings, no offloads. `serve` runs on a thread until the front end goes away.
"""
import mmap
import os
import select
import socket
import struct
import threading

VERSION_1, PROTOCOL_FEATURES = 1 << 32, 1 << 30
REPLY_ACK = 1 << 3
VNET_HEADER = 12
RECEIVE, TRANSMIT = 0, 1


class Ring:
    def __init__(self):
        self.size = self.next = 0
        self.desc = self.used = self.avail = 0
        self.kick = self.call = None
        self.enabled = False


class Peer:
    """address: four bytes; mac: six."""

    def __init__(self, path, address, mac):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.address, self.mac = address, mac
        self.regions = []
        self.rings = [Ring(), Ring()]
        self.waiting = []
        self.frames = 0
        self.problem = None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    # --- guest memory

    def find(self, address, field):
        for region in self.regions:
            if region[field] <= address < region[field] + region[1]:
                return region[4], region[3] + address - region[field]
        raise ValueError(f"{address:#x} is in no region")

    def read(self, address, length, field=0):
        memory, at = self.find(address, field)
        return memory[at:at + length]

    def write(self, address, data, field=0):
        memory, at = self.find(address, field)
        memory[at:at + len(data)] = data

    # --- rings

    def pop(self, ring):
        """The next chain's head and its pieces (address, length, writable), or None."""
        if not ring.enabled:
            return None
        idx = struct.unpack("<H", self.read(ring.avail + 2, 2, 2))[0]
        if idx == ring.next:
            return None
        head = struct.unpack("<H", self.read(ring.avail + 4 + 2 * (ring.next % ring.size), 2, 2))[0]
        ring.next = ring.next + 1 & 0xffff
        pieces, at = [], head
        while True:
            address, length, flags, following = struct.unpack("<QIHH", self.read(ring.desc + 16 * at, 16, 2))
            pieces.append((address, length, flags & 2))
            if not flags & 1:
                return head, pieces
            at = following

    def push(self, ring, head, length):
        idx = struct.unpack("<H", self.read(ring.used + 2, 2, 2))[0]
        self.write(ring.used + 4 + 8 * (idx % ring.size), struct.pack("<II", head, length), 2)
        self.write(ring.used + 2, struct.pack("<H", idx + 1 & 0xffff), 2)
        os.eventfd_write(ring.call, 1)

    # --- frames

    def answer(self, frame):
        """What the host at the other end says to a frame, or None."""
        source, kind = frame[6:12], frame[12:14]
        head = source + self.mac + kind
        if kind == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == self.address:
            return head + frame[14:20] + b"\0\2" + self.mac + self.address + frame[22:32]
        if kind == b"\x08\0" and frame[23] == 1 and frame[34] == 8 and frame[30:34] == self.address:
            # An echo reply is the request with another type: the checksum grows by the difference.
            checksum = struct.unpack(">H", frame[36:38])[0] + 0x800
            checksum = (checksum & 0xffff) + (checksum >> 16)
            return (head + frame[14:26] + self.address + frame[26:30] + b"\0" + frame[35:36]
                    + struct.pack(">H", checksum) + frame[38:])
        return None

    def exchange(self):
        while chain := self.pop(self.rings[TRANSMIT]):
            head, pieces = chain
            frame = b"".join(self.read(address, length) for address, length, _ in pieces)[VNET_HEADER:]
            self.push(self.rings[TRANSMIT], head, 0)
            self.frames += 1
            reply = self.answer(frame)
            if reply:
                self.waiting.append(struct.pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, 1) + reply)
        while self.waiting and (chain := self.pop(self.rings[RECEIVE])):
            data, done = self.waiting.pop(0), 0
            for address, length, _ in chain[1]:
                self.write(address, data[done:done + length])
                done += min(length, len(data) - done)
            self.push(self.rings[RECEIVE], chain[0], done)

    # --- messages

    def take_memory(self, payload, fds):
        count = struct.unpack_from("<I", payload)[0]
        self.regions = []
        for i, fd in enumerate(fds[:count]):
            gpa, size, uva, offset = struct.unpack_from("<QQQQ", payload, 8 + 32 * i)
            self.regions.append((gpa, size, uva, offset, mmap.mmap(fd, offset + size)))
            os.close(fd)

    def handle(self, request, payload, fds):
        """The payload of the answer, or None where the protocol has none."""
        index, value = struct.unpack_from("<II", payload) if len(payload) >= 8 else (0, 0)
        ring = self.rings[index % 2]
        if request == 1:
            return struct.pack("<Q", VERSION_1 | PROTOCOL_FEATURES)
        if request == 15:
            return struct.pack("<Q", REPLY_ACK)
        if request == 5:
            self.take_memory(payload, fds)
        elif request == 8:
            ring.size = value
        elif request == 9:
            ring.desc, ring.used, ring.avail = struct.unpack_from("<QQQ", payload, 8)
        elif request == 10:
            ring.next = value
        elif request == 11:
            ring.enabled = False
            return struct.pack("<II", index, ring.next)
        elif request == 12:
            ring.kick = fds[0]
        elif request == 13:
            ring.call = fds[0]
        elif request == 18:
            ring.enabled = bool(value)
        return None

    def receive(self, link):
        head, fds, _, _ = socket.recv_fds(link, 12, 8)
        if len(head) < 12:
            return False
        request, flags, size = struct.unpack("<III", head)
        payload = b""
        while len(payload) < size:
            payload += link.recv(size - len(payload))
        answer = self.handle(request, payload, fds)
        if answer is None and flags & 8:
            answer = bytes(8)
        if answer is not None:
            link.sendall(struct.pack("<III", request, 5, len(answer)) + answer)
        return True

    def serve(self):
        link, _ = self.listener.accept()
        try:
            alive = True
            while alive:
                kicks = [ring.kick for ring in self.rings if ring.enabled]
                ready, _, _ = select.select([link, *kicks], [], [], 0.2)
                for kick in kicks:
                    if kick in ready:
                        os.eventfd_read(kick)
                if kicks:
                    self.exchange()
                if link in ready:
                    alive = self.receive(link)
        except (OSError, ValueError) as problem:
            self.problem = problem
