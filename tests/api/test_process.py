# SPDX-License-Identifier: Apache-2.0
"""The process: its arguments, files, logs, metrics, ends; snapshots; vmmctl's own routes and its client."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from microvm import BOOTED, ECHO, IDLE, PATIENCE_S, RESET, MicroVM, guest_kernel


def run(program, folder, *arguments, name="firecracker"):
    alias = os.path.join(folder, name)
    if not os.path.exists(alias):
        os.symlink(program, alias)
    return subprocess.run([alias, *arguments], capture_output=True, text=True, cwd=folder, timeout=PATIENCE_S)


def test_version_as_clients_parse_it(program, tmp_path):
    done = run(program, tmp_path, "--version")
    assert done.returncode == 0
    assert re.fullmatch(r"Firecracker v(\d+\.\d+\.\d+)\S*", done.stdout.split("\n")[0])
    assert "exit_code=0" in done.stdout


@pytest.mark.parametrize("arguments, message", [
    (["--id", "a", "--id", "b"], "The argument 'id' was provided more than once."),
    (["--nothing"], "Found argument 'nothing' which wasn't expected, or isn't valid in this context."),
    (["--no-seccomp", "--seccomp-filter", "x"],
     "Argument 'seccomp-filter' cannot be used together with argument 'no-seccomp'."),
    (["--id"], "The argument 'id' requires a value, but none was supplied."),
    (["--no-api"], "The argument 'config-file' is required by 'no-api', but none was provided."),
    (["--id", "a_b"], "Invalid instance ID: Invalid char (_) at position 1"),
])
def test_argument_errors(program, tmp_path, arguments, message):
    done = run(program, tmp_path, *arguments)
    assert done.returncode == 153
    assert message in done.stderr


def test_arguments_end_with_two_hyphens(make):
    assert make("--id", "x-1", "--", "--nothing").get("/")["id"] == "x-1"


def write_config(vm_folder, code, **sections):
    kernel = os.path.join(vm_folder, "kernel")
    guest_kernel(kernel, code)
    config = {"boot-source": {"kernel_image_path": kernel, "boot_args": "a=b"}, "drives": [],
              "machine-config": {"vcpu_count": 1, "mem_size_mib": 16}, **sections}
    path = os.path.join(vm_folder, "config.json")
    with open(path, "w") as file:
        json.dump(config, file)
    return path


def test_config_file_starts_the_machine(make, tmp_path):
    vm = make("--config-file", write_config(str(tmp_path), IDLE, unknown=1, serial=None))
    assert vm.get("/")["state"] == "Running"
    assert vm.get("/vm/config")["boot-source"]["boot_args"] == "a=b"


def test_what_get_vm_config_says_is_a_config_file(make, tmp_path):
    first = make("--config-file", write_config(str(tmp_path), IDLE, entropy={}, balloon={
        "amount_mib": 1, "deflate_on_oom": False}, drives=[]))
    config = first.get("/vm/config")
    path = tmp_path / "again.json"
    path.write_text(json.dumps(config))
    assert make("--config-file", path).get("/vm/config") == config


def test_config_file_without_a_socket(make, tmp_path):
    vm = make("--no-api", "--config-file", write_config(str(tmp_path), RESET), wait=False)
    assert vm.wait() == 0
    assert "Firecracker exiting successfully. exit_code=0" in vm.output()


@pytest.mark.parametrize("sections, message", [
    ({"machine-config": {"vcpu_count": 1}}, "missing field `mem_size_mib`"),
    ({"machine-config": {"vcpu_count": 1, "mem_size_mib": 1, "x": 1}}, "unknown field `x`"),
    ({"boot-source": {"kernel_image_path": "none"}}, "The kernel file cannot be opened"),
    ({"drives": None}, "invalid type: null, expected a sequence"),
])
def test_bad_config_file(make, tmp_path, sections, message):
    vm = make("--config-file", write_config(str(tmp_path), IDLE, **sections), wait=False)
    assert vm.wait() == 1
    assert message in vm.output() and "exit_code=1" in vm.output()


def test_metadata_file(make, tmp_path):
    path = tmp_path / "metadata"
    path.write_text('{"latest": {"x": 1}}')
    vm = make("--metadata", path)
    assert vm.get("/mmds") == {"latest": {"x": 1}}
    assert "Successfully added metadata to mmds from file" in vm.output()


def test_reset_ends_with_status_0(vm):
    vm.configure(RESET)
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    assert vm.wait() == 0


def test_log_lines(make):
    vm = make("--id", "vm1", "--level", "Debug", "--show-level", "--show-log-origin")
    vm.get("/version")
    vm.ask("PUT", "/entropy", {})
    vm.ask("GET", "/nothing")
    vm.do("PUT", "/mmds", {"secret": 1})
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}"
    for thread, level, message in (
            ("main", "INFO", r"Running Firecracker v1\.17\.0-dev"),
            ("fc_api", "INFO", r"Listening on API socket \(.*\)\."), ("fc_api", "INFO", r"API server started\."),
            ("fc_api", "INFO", r'The API server received a Get request on "/version"\.'),
            ("fc_api", "INFO", r'The API server received a Put request on "/entropy" with body "\{\}"\.'),
            ("fc_api", "INFO", r"The request was executed successfully\. Status code: 204 No Content\."),
            ("fc_api", "ERROR", r"Received Error\. Status code: 400 Bad Request\. Message: Invalid request .*"),
            ("fc_api", "DEBUG", r"Total previous API call duration: \d+ us\.")):
        assert re.search(rf"^{stamp} \[vm1:{thread}:{level}:[\w/.]+:\d+\] {message}$", vm.output(), re.MULTILINE), message
    assert "secret" not in vm.output()


def test_logger(vm):
    path = os.path.join(vm.folder, "log2")
    vm.do("PUT", "/logger", {"log_path": path, "level": "error", "show_level": True})
    vm.ask("GET", "/nothing")
    vm.get("/version")
    with open(path) as log:
        lines = log.read().splitlines()
    assert len(lines) == 1 and ":ERROR]" in lines[0]
    vm.refuse("PUT", "/logger", {"log_path": "/none/x"},
              "Logger error: Failed to open target file: No such file or directory (os error 2)")


def test_metrics(make):
    vm = make("--id", "m1", "--start-time-us", "1", "--start-time-cpu-us", "1", "--parent-cpu-time-us", "7")
    path = os.path.join(vm.folder, "metrics")
    vm.do("PUT", "/metrics", {"metrics_path": path, "emit_id": True, "properties": {"a": "b"}})
    vm.refuse("PUT", "/metrics", {"metrics_path": path},
              "Metrics error: Cannot initialize the metrics system due to bad user input: Reinitialization of metrics "
              "not allowed.")
    vm.do("PUT", "/drives/d", {"drive_id": "d", "is_root_device": False, "path_on_host": vm.file("d", 4096)})
    vm.ask("PUT", "/drives/e", {"drive_id": "e"})
    vm.start()
    vm.do("PATCH", "/vm", {"state": "Paused"})
    vm.do("PATCH", "/vm", {"state": "Resumed"})
    vm.do("PUT", "/actions", {"action_type": "FlushMetrics"})
    with open(path) as file:
        first, second = map(json.loads, file.read().splitlines())
    assert (first["id"], first["properties"]) == ("m1", {"a": "b"})
    assert first["put_api_requests"]["drive_count"] == 2 and first["put_api_requests"]["drive_fails"] == 1
    assert second["put_api_requests"]["drive_count"] == 0
    assert first["put_api_requests"]["actions_count"] == second["put_api_requests"]["actions_count"] == 1
    assert second["latencies_us"]["pause_vm"] > 0
    assert first["api_server"]["process_startup_time_us"] > 0
    assert {"block", "net", "vcpu", "balloon", "seccomp", "uart", "block_d"} <= set(second)
    assert isinstance(first["block"]["read_agg"], dict)
    vm.end()
    with open(path) as file:
        assert len(file.read().splitlines()) == 3


@pytest.mark.parametrize("number, status", [(signal.SIGHUP, 156), (signal.SIGILL, 157), (signal.SIGXCPU, 154),
                                            (signal.SIGBUS, 149), (signal.SIGSEGV, 150), (signal.SIGSYS, 148)])
def test_signals(vm, number, status):
    vm.process.send_signal(number)
    assert vm.wait() == status


def test_sigterm_and_sigpipe(running):
    running.process.send_signal(signal.SIGPIPE)
    assert running.get("/")["state"] == "Running"
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == -signal.SIGTERM
    assert not os.path.exists(running.path)


def test_boot_timer(make):
    vm = make("--boot-timer")
    vm.do("PUT", "/entropy", {})
    vm.start(BOOTED)
    vm.wait_for_output("Guest-boot-time")
    assert re.search(r"Guest-boot-time = +\d+ us \d+ ms, +\d+ CPU us \d+ CPU ms", vm.output())


def test_ctrl_alt_del(running):
    answer = running.ask("PUT", "/actions", {"action_type": "SendCtrlAltDel"})
    # No driver has switched the keyboard on, or its keys are in its buffer.
    assert answer.status == 204 or answer.fault.startswith("Internal VMM error: ")


def test_hundred_machines_leave_nothing(program, tmp_path):
    for number in range(100):
        folder = tmp_path / f"m{number}"
        folder.mkdir()
        vm = MicroVM(program, folder)
        vm.start()
        vm.do("PUT", "/vmmctl/stop", {})
        assert vm.wait() == 0
        vm.connection.close()
        assert sorted(os.listdir(folder)) == ["firecracker", "kernel", "log"]


# --- snapshots


def test_snapshot_goes_on_in_another_process(make):
    first = make()
    first.do("PUT", "/entropy", {})
    first.start(ECHO)
    first.wait_for_output("!")
    state, memory = (os.path.join(first.folder, name) for name in ("state", "memory"))
    create = {"snapshot_path": state, "mem_file_path": memory}
    answer = first.ask("PUT", "/snapshot/create", create)
    assert answer.status == 400 and answer.fault.startswith("Create snapshot error: ")
    first.do("PATCH", "/vm", {"state": "Paused"})
    first.do("PUT", "/snapshot/create", create)
    first.end()
    second = make("--id", "second")
    second.do("PUT", "/logger", {"level": "Info"})
    second.do("PUT", "/snapshot/load", {"snapshot_path": state,
                                        "mem_backend": {"backend_type": "File", "backend_path": memory}})
    assert second.get("/")["state"] == "Paused"
    assert second.get("/vm/config")["machine-config"]["mem_size_mib"] == 16
    second.do("PATCH", "/vm", {"state": "Resumed"})
    console = open_console(second)
    console.sendall(b"x")
    assert console.recv(1) == b"x"
    console.close()
    third = make()
    third.do("PUT", "/snapshot/load", {"snapshot_path": state, "mem_file_path": memory, "resume_vm": True})
    assert third.get("/")["state"] == "Running"


# --- vmmctl's own


def open_console(vm):
    connection = vm.connect()
    connection.send(b"GET /vmmctl/console HTTP/1.1\r\nUpgrade: vmmctl-console\r\n\r\n")
    head = connection._until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return connection.socket


def test_console_stream(vm):
    vm.start(ECHO)
    vm.wait_for_output("!")
    first, second = open_console(vm), open_console(vm)
    first.sendall(b"abc")
    for console in (first, second):
        got = b""
        while len(got) < 3:
            got += console.recv(10)
        assert got == b"abc"
    first.close()
    second.sendall(b"z")
    assert second.recv(1) == b"z"
    vm.refuse("GET", "/vmmctl/console", None, 'The console is a stream: send "Upgrade: vmmctl-console".')


def test_events(vm):
    watcher = vm.connect()
    watcher.send(b"GET /vmmctl/events HTTP/1.1\r\n\r\n")
    watcher._until(b"\r\n\r\n")
    vm.start()
    vm.do("PATCH", "/vm", {"state": "Paused"})
    vm.do("PATCH", "/vm", {"state": "Resumed"})
    vm.do("PUT", "/vmmctl/stop", {})
    events = [json.loads(watcher._until(b"\n"))["event"] for _ in range(5)]
    assert events == ["Not started", "Running", "Paused", "Running", "Stopped"]


def test_own_configuration(vm):
    path = vm.file("disk", 4096)
    vm.do("PATCH", "/vmmctl/config", {"machine": {"accel": "tcg", "cpus": 2}})
    vm.do("PUT", "/vmmctl/drives/a", {"path": path, "readonly": True})
    vm.do("PUT", "/vmmctl/drives/b", {"path": path, "readonly": True})
    vm.do("PUT", "/vmmctl/drives/a", {"path": path, "readonly": True, "queues": 2})
    vm.do("PUT", "/vmmctl/network-interfaces/n", {"backend": "user", "restrict": True})
    config = vm.get("/vmmctl/config")
    assert [(disk["id"], disk["queues"]) for disk in config["disks"]] == [("b", 0), ("a", 2)]
    assert config["net"][0]["backend"] == "user"
    assert vm.get("/vmmctl/accel") == {"name": None, "asked": "tcg", "can_switch": False}
    answer = vm.ask("PATCH", "/vmmctl/config", {"machine": {"cpu": 1, "x": 2}})
    assert answer.status == 400 and "machine." in answer.fault
    assert vm.ask("PUT", "/vmmctl/drives/c", {"pth": path}).status == 400
    assert len(vm.get("/vmmctl/config")["disks"]) == 2
    vm.start()
    assert vm.get("/vmmctl/accel")["name"] == "tcg"
    assert vm.ask("PUT", "/vmmctl/accel", {"name": "nothing"}).status == 400


def test_own_metrics_are_prometheus_text(running):
    answer = running.ask("GET", "/vmmctl/metrics")
    assert dict(answer.headers)["Content-Type"].startswith("text/plain")
    for line in answer.body.decode().splitlines():
        assert re.fullmatch(r'# TYPE \w+ (counter|gauge)|[a-z_0-9]+(\{device="[\w-]+"\})? -?\d+', line), line


def test_own_reset(vm):
    vm.start(ECHO)
    vm.wait_for_output("!")
    vm.do("PUT", "/vmmctl/reset", {})
    end = time.monotonic() + PATIENCE_S
    while vm.output().count("!") < 2:
        assert time.monotonic() < end
        time.sleep(0.01)


# --- boot --api-sock and ctl


def ctl(program, *arguments, **how):
    return subprocess.run([program, "ctl", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, **how)


def test_boot_with_a_socket_and_ctl(program, tmp_path):
    kernel, path = str(tmp_path / "kernel"), str(tmp_path / "sock")
    guest_kernel(kernel, ECHO)
    boot = subprocess.Popen([program, "boot", "--kernel", kernel, "--mem", "16M", "--serial", "null", "--api-sock", path],
                            stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE_S
        while ctl(program, path, "status").returncode:
            assert time.monotonic() < end and boot.poll() is None
        assert json.loads(ctl(program, path, "status").stdout)["state"] == "Running"
        assert json.loads(ctl(program, path, "config").stdout)["machine"]["memory"] == "16M"
        assert json.loads(ctl(program, path, "request", "GET", "/vm/config").stdout)["machine-config"]["vcpu_count"] == 1
        assert ctl(program, path, "pause").returncode == 0
        assert json.loads(ctl(program, path, "status").stdout)["state"] == "Paused"
        assert ctl(program, path, "resume").returncode == 0
        assert "vmmctl_" in ctl(program, path, "metrics").stdout
        refused = ctl(program, path, "drive", "x", kernel)
        assert refused.returncode == 1 and "PCI is not enabled" in refused.stderr
        state, memory = str(tmp_path / "state"), str(tmp_path / "memory")
        assert ctl(program, path, "snapshot", state, memory).returncode == 0
        assert os.path.exists(state) and os.path.exists(memory)
        assert ctl(program, path, "stop").returncode == 0
        assert boot.wait(PATIENCE_S) == 0
        assert not os.path.exists(path)
    finally:
        boot.kill()


def test_ctl_console(program, vm):
    vm.start(ECHO)
    client = subprocess.Popen([program, "ctl", vm.path, "console"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client.stdin.write(b"hello\n")
    client.stdin.flush()
    got = b""
    while not got.endswith(b"hello\n"):
        got += client.stdout.read(1)
    client.kill()
    client.communicate()


def walk_through(readme):
    """The commands of the README's section on the API, as a shell would read them."""
    with open(readme) as file:
        section = file.read().split("## API\n", 1)[1].split("\n## ", 1)[0]
    return "".join(line[4:] + "\n" for line in section.split("\n") if line.startswith("    "))


@pytest.mark.skipif(not (os.geteuid() == 0 and os.path.exists("/dev/net/tun")), reason="the network interface is made by root")
def test_walk_through_of_the_readme(program, tmp_path, request):
    commands = walk_through(request.config.getoption("--readme"))
    assert "snapshot/load" in commands
    guest_kernel(tmp_path / "vmlinux", ECHO)
    with open(tmp_path / "rootfs.ext4", "wb") as disk:
        disk.truncate(1 << 20)
    (tmp_path / "vmmctl").symlink_to(program)
    script = "set -e\nwait_for() { while ! curl -s --unix-socket $1 http://localhost/ > answer; do sleep 0.05; done; }\n"
    script += re.sub(r"^(vmmctl serve --api-sock (\S+)) &$", r"\1 < /dev/null > \2.log 2>&1 &\nwait_for \2", commands,
                     flags=re.MULTILINE)
    script += "curl -s --unix-socket two.sock http://localhost/ > state\nvmmctl ctl two.sock stop\n"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
                          env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 0 and "fault_message" not in done.stdout, (script, done.stdout, done.stderr)
    assert '"state":"Running"' in (tmp_path / "state").read_text()


def test_ctl_mistakes(program, tmp_path):
    assert ctl(program).returncode == 2
    assert ctl(program, "x").returncode == 2
    assert ctl(program, "x", "fly").returncode == 2
    absent = ctl(program, str(tmp_path / "none"), "status")
    assert absent.returncode == 1 and "none" in absent.stderr


def test_serve_takes_a_machines_options(program, tmp_path):
    vm = MicroVM(program, tmp_path, "--accel", "tcg", "--cpus", "2", name="vmmctl")
    try:
        assert vm.get("/vmmctl/accel")["asked"] == "tcg"
        vm.do("PUT", "/boot-source", {"kernel_image_path": vm.kernel()})
        vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
        assert vm.get("/vmmctl/config")["machine"]["cpus"] == 2
    finally:
        vm.end()


def test_first_answer_is_cheap(program, tmp_path):
    """A bound far above what it takes, on CPU time: a busy host does not change it much."""
    vm = MicroVM(program, tmp_path)
    try:
        vm.get("/version")
        with open(f"/proc/{vm.process.pid}/stat") as stat:
            fields = stat.read().rsplit(") ", 1)[1].split()
        assert (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") < 0.1
    finally:
        vm.end()


