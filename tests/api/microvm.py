# SPDX-License-Identifier: Apache-2.0
"""A serving process and its socket: started, asked, ended. Guests are made here, of a few bytes each."""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time

PATIENCE_S = 60  # for what takes milliseconds: the host may be busy


def guest_kernel(path, code):
    """An ELF file with a PVH entry, whose 32-bit code is entered with paging off."""
    load, size = 0x100000, 0x1000
    note = struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", load)
    code_at, note_at = 0x1000, 0x200
    header = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, load, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 7, code_at, load, load, len(code), size, 0x1000)
    header += struct.pack("<IIQQQQQQ", 4, 4, note_at, 0, 0, len(note), len(note), 4)
    image = header.ljust(note_at, b"\0") + note
    with open(path, "wb") as file:
        file.write(image.ljust(code_at, b"\0") + code)


# cli; forever: hlt; jmp forever
IDLE = bytes.fromhex("faf4ebfd")
# Echoes what the serial port gets, after a "!" (mov dx, 0x3f8; mov al, '!'; out dx, al; poll the line status).
ECHO = bytes.fromhex("66baf803" "b021" "ee" "66bafd03" "ec" "a801" "74f7" "66baf803" "ec" "ee" "ebef")
# A reset by the keyboard controller: mov al, 0xfe; out 0x64, al; hlt
RESET = bytes.fromhex("b0fe" "e664" "f4")


# Tells the boot timer: mov byte [0xc0000000], 123; hlt
BOOTED = bytes.fromhex("c605000000c07b" "f4")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def fault(self):
        return self.json["fault_message"]


class Connection:
    """One connection, kept alive; says nothing that it is not told to."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(PATIENCE_S)
        self.rest = b""

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _until(self, what):
        while what not in self.rest:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(self.rest)
            self.rest += data
        head, self.rest = self.rest.split(what, 1)
        return head

    def _exactly(self, count):
        while len(self.rest) < count:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(self.rest)
            self.rest += data
        body, self.rest = self.rest[:count], self.rest[count:]
        return body

    def receive(self):
        lines = self._until(b"\r\n\r\n").decode().split("\r\n")
        start = re.fullmatch(r"HTTP/1\.1 (\d{3}) ", lines[0])
        assert start, lines[0]
        headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
        length = int(dict(headers).get("Content-Length", 0))
        return Answer(int(start[1]), headers, self._exactly(length))

    def request(self, method, path, body=None, headers=()):
        text = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", *headers]
        if text is not None:
            lines.append(f"Content-Length: {len(text)}")
        self.send("\r\n".join(lines + ["", ""]).encode() + (text or b""))
        return self.receive()


class MicroVM:
    def __init__(self, program, folder, *arguments, name="firecracker", wait=True):
        self.folder = str(folder)
        self.path = os.path.join(self.folder, "api.sock")
        self.log = os.path.join(self.folder, "log")
        alias = os.path.join(self.folder, name)
        if not os.path.exists(alias):
            os.symlink(program, alias)
        command = [alias] + (["serve"] if name == "vmmctl" else [])
        if wait:
            command += ["--api-sock", self.path]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*command, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, cwd=self.folder)
        self.connection = self._connect() if wait else None

    def _connect(self):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                return Connection(self.path)
            except OSError:
                assert self.process.poll() is None, self.output()
                time.sleep(0.005)
        raise TimeoutError(self.output())

    def connect(self):
        return Connection(self.path)

    def output(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def file(self, name, size=0):
        path = os.path.join(self.folder, name)
        with open(path, "ab") as file:
            file.truncate(size)
        return path

    def kernel(self, code=IDLE):
        path = os.path.join(self.folder, "kernel")
        guest_kernel(path, code)
        return path

    def ask(self, method, path, body=None):
        return self.connection.request(method, path, body)

    def get(self, path):
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    def do(self, method, path, body=None):
        answer = self.ask(method, path, body)
        assert answer.status == 204, answer.body
        assert answer.body == b""

    def refuse(self, method, path, body, message, status=400):
        answer = self.ask(method, path, body)
        assert answer.status == status, (answer.status, answer.body)
        assert answer.fault == message

    def configure(self, code=IDLE):
        self.do("PUT", "/boot-source", {"kernel_image_path": self.kernel(code), "boot_args": "a=b"})
        self.do("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 16})

    def start(self, code=IDLE):
        self.configure(code)
        self.do("PUT", "/actions", {"action_type": "InstanceStart"})

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def wait_for_output(self, text):
        end = time.monotonic() + PATIENCE_S
        while text not in self.output():
            assert time.monotonic() < end, self.output()
            time.sleep(0.01)

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        if self.connection:
            self.connection.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
