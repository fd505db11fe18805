# SPDX-License-Identifier: Apache-2.0
"""HTTP as Firecracker's clients meet it: the wire, its limits, its refusals."""
import os
import random
import socket
import subprocess
import time

import pytest

from microvm import Connection

DROPPED = "\nAll previous unanswered requests will be dropped."


def refused(connection, data):
    connection.send(data)
    answer = connection.receive()
    assert answer.status == 400
    body = answer.body.decode()
    assert body.startswith('{ "error": "') and body.endswith(DROPPED + '" }')
    return body[len('{ "error": "'):-len(DROPPED + '" }')]


def test_answer_to_the_byte(vm):
    vm.connection.send(b"GET /version HTTP/1.1\r\n\r\n")
    body = b'{"firecracker_version":"1.17.0-dev"}'
    expected = (b"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)) + body
    assert vm.connection.socket.recv(4096) == expected


def test_no_content_to_the_byte(vm):
    vm.connection.send(b"PUT /entropy HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    assert vm.connection.socket.recv(4096) == (b"HTTP/1.1 204 \r\nServer: Firecracker API\r\n"
                                               b"Connection: keep-alive\r\n\r\n")


def test_deprecation_header_comes_before_the_content(vm):
    answer = vm.ask("PUT", "/machine-config", {"vcpu_count": 99, "mem_size_mib": 16, "cpu_template": "None"})
    assert [name for name, _ in answer.headers] == ["Server", "Connection", "Deprecation", "Content-Type",
                                                    "Content-Length"]


@pytest.mark.parametrize("data, reason", [
    (b"POST / HTTP/1.1\r\n\r\n", "Invalid HTTP Method: Unsupported HTTP method."),
    (b"get / HTTP/1.1\r\n\r\n", "Invalid HTTP Method: Unsupported HTTP method."),
    (b"HEAD / HTTP/1.1\r\n\r\n", "Invalid HTTP Method: Unsupported HTTP method."),
    (b"GET / HTTP/2.0\r\n\r\n", "Invalid HTTP Version: Unsupported HTTP version."),
    (b"GET  HTTP/1.1\r\n\r\n", "Invalid URI: Empty URI not allowed."),
    (b"GET /\xff HTTP/1.1\r\n\r\n", "Invalid URI: Cannot parse URI as UTF-8."),
    (b"nonsense\r\n\r\n", "Invalid request."),
    (b"GET /" + b"a" * 1100, "Invalid request."),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 1100, "Invalid header. Reason: Invalid header size."),
    (b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
     "Invalid header. Reason: Invalid value. Key:Content-Length; Value:-1"),
    (b"PUT / HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\n",
     "Invalid header. Reason: Invalid value. Key:Content-Length; Value:4294967296"),
    (b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
     "Invalid header. Reason: Unsupported value. Key:Transfer-Encoding; Value:gzip"),
    (b"GET / HTTP/1.1\r\nAccept-Encoding: identity;q=0\r\n\r\n",
     "Invalid header. Reason: Invalid value. Key:Accept-Encoding; Value:identity"),
    (b"PUT /mmds HTTP/1.1\r\nContent-Length: 51201\r\n\r\n",
     "Request payload with size 51201 is larger than the limit of 51200 allowed by server."),
])
def test_refusals_keep_the_connection(vm, data, reason):
    assert refused(vm.connection, data).startswith(reason)
    time.sleep(0.01)
    if b"51201" in data:
        vm.connection.send(b" " * 51201)  # a body that is on its way is no request
    assert vm.get("/version")


def test_requests_in_pieces_and_in_a_row(vm):
    for byte in b"GET /version HTTP/1.0\r\nHost: x\r\n\r\n":
        vm.connection.send(bytes([byte]))
    assert vm.connection.receive().status == 200
    vm.connection.send(b"GET /version HTTP/1.1\r\n\r\n" * 50)
    for _ in range(50):
        assert vm.connection.receive().status == 200


def test_chunks_are_read_as_requests(vm):
    vm.connection.send(b"PUT /entropy HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert vm.connection.receive().json == {"fault_message": "Empty PUT request."}
    assert refused(vm.connection, b"2\r\n{}\r\n0\r\n\r\n") == "Invalid request."


def test_expect_gets_a_continue(vm):
    vm.connection.send(b"PUT /entropy HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert vm.connection.receive().status == 100
    vm.connection.send(b"{}")
    assert vm.connection.receive().status == 204


def test_forms_of_the_target(vm):
    assert vm.get("http://localhost/version")
    assert vm.get("//version")
    assert vm.get("/version/and/more")
    assert vm.get("http://localhost")["app_name"] == "Firecracker"
    vm.refuse("GET", "/version?x=1", None, "Invalid request method and/or path: GET version?x=1.")


def test_curl(vm):
    run = subprocess.run(["curl", "-sS", "--unix-socket", vm.path, "-X", "PUT", "http://localhost/entropy", "-d", "{}",
                          "-w", "%{http_code}"], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "204"), run.stderr


def test_eleventh_connection_is_turned_away(vm):
    others = [vm.connect() for _ in range(9)]
    for other in others:
        assert other.request("GET", "/version").status == 200
    extra = vm.connect()
    answer = extra.receive()
    assert (answer.status, answer.body) == (503, b'{ "error": "Too many open connections" }')
    assert dict(answer.headers)["Connection"] == "close"
    assert extra.socket.recv(10) == b""
    others[0].close()
    end = time.monotonic() + 60
    while True:
        extra = vm.connect()
        if extra.request("GET", "/version").status == 200:
            break
        assert time.monotonic() < end
    for other in others:
        other.close()


def test_payload_limit_is_an_option(make):
    vm = make("--http-api-max-payload-size", "100000", "--mmds-size-limit", "90000")
    vm.do("PUT", "/mmds", {"x": "a" * 80000})
    vm.refuse("PUT", "/mmds", {"x": "a" * 95000},
              "MMDS limit exceeded error: The MMDS patch request doesn't fit.", 413)


WORDS = [b"GET ", b"PUT ", b"PATCH ", b"/", b"drives", b"/mmds", b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"2",
         b"99999", b"{}", b"{", b"[", b'"', b"\0", b"\xff", b"Expect: 100-continue", b":", b"a" * 300, b"\\u", b"1e999"]


def drain(connection):
    connection.socket.setblocking(False)
    try:
        while connection.socket.recv(65536):
            pass
    except OSError:
        pass
    connection.socket.settimeout(60)


def test_ten_thousand_malformed_requests(vm):
    """The server lives, and its memory has a bound."""
    rng = random.Random(1)
    before = vm.resident_kib()
    connection = vm.connect()
    for number in range(10000):
        data = b"".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 12)))
        try:
            connection.send(data)
            if number % 20 == 0:
                drain(connection)
            if number % 100 == 0:
                raise OSError
        except OSError:
            connection.close()
            connection = vm.connect()
    connection.close()
    assert vm.get("/")["state"] == "Not started"
    assert vm.resident_kib() - before < 8192


BODIES = [b"[" * 20000, b'{"a":' * 8000, b'"' + b"\\" * 40000, b"1" * 50000, b'{"drive_id":' + b" " * 40000, b"\xff" * 1000,
          b'{"a":1}{"a":1}', b"null", b"[]", b'"x"', b"1e400", b'{"\\ud800":1}', b'{"a":tru}', b"{,}", b'{"a" 1}', b'{"a":1,}']


@pytest.mark.parametrize("path", ["/machine-config", "/drives/a", "/mmds", "/boot-source", "/logger", "/snapshot/load",
                                  "/vmmctl/drives/a", "/cpu-config"])
def test_malformed_bodies(vm, path):
    for body in BODIES:
        answer = vm.ask("PUT", path, body)
        assert answer.status == 400, (path, body[:40], answer.body)
        assert answer.fault
    assert vm.get("/version")


def test_slow_and_silent_clients_hinder_nobody(vm):
    silent = [vm.connect() for _ in range(4)]
    for number, connection in enumerate(silent):
        connection.send(b"PUT /mmds HTTP/1.1\r\nContent-Length: 50000\r\n\r\n{"[:20 * (number + 1)])
    assert vm.get("/version")
    for connection in silent:
        connection.close()


def test_a_client_that_does_not_read(vm):
    vm.do("PUT", "/mmds", {"x": "a" * 40000})
    before = vm.resident_kib()
    deaf = vm.connect()
    deaf.socket.setblocking(False)
    sent = 0
    try:
        for _ in range(20000):
            sent += deaf.socket.send(b"GET /mmds HTTP/1.1\r\n\r\n")
    except BlockingIOError:
        pass
    assert vm.get("/version")
    assert vm.resident_kib() - before < 8192
    deaf.close()
    assert vm.get("/version")


def test_many_connections_leave_nothing(vm):
    assert vm.get("/version")  # so that the first connection is counted
    before = vm.descriptors()
    for _ in range(500):
        connection = vm.connect()
        connection.send(b"GET /vers")
        connection.close()
    assert vm.get("/version")
    end = time.monotonic() + 60
    while vm.descriptors() > before:
        assert time.monotonic() < end, vm.descriptors()
        time.sleep(0.01)


def test_socket_in_use(make):
    first = make()
    second = make("--api-sock", first.path, wait=False)
    assert second.wait() == 1
    assert f"Failed to open the API socket at: {first.path}. Check that it is not already used." in second.output()
    assert first.get("/version")


def test_socket_goes_with_the_process(make):
    vm = make()
    vm.end()
    assert not os.path.exists(vm.path)
    with pytest.raises(OSError):
        Connection(vm.path)


def test_socket_is_a_stream(vm):
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with pytest.raises(OSError):
        other.connect(vm.path)
