# SPDX-License-Identifier: Apache-2.0
"""Every route in every phase, the errors that all share, and the document that describes them."""
import pytest

BAD = "An error occurred when deserializing the json body of a request: "
BEFORE = "The requested operation is not supported before starting the microVM."
AFTER = "The requested operation is not supported after starting the microVM."

# A body for each that passes all checks which come before the phase is looked at.
SAMPLES = {
    ("put", "/actions"): {"action_type": "FlushMetrics"},
    ("put", "/boot-source"): {"kernel_image_path": "/x"},
    ("put", "/machine-config"): {"vcpu_count": 1, "mem_size_mib": 16},
    ("patch", "/machine-config"): {"smt": False},
    ("patch", "/vm"): {"state": "Paused"},
    ("put", "/drives/{id}"): {"drive_id": "a", "is_root_device": False, "path_on_host": "/x"},
    ("patch", "/drives/{id}"): {"drive_id": "a"},
    ("put", "/pmem/{id}"): {"id": "a", "path_on_host": "/x"},
    ("patch", "/pmem/{id}"): {"id": "a"},
    ("put", "/network-interfaces/{id}"): {"iface_id": "a", "host_dev_name": "t"},
    ("patch", "/network-interfaces/{id}"): {"iface_id": "a"},
    ("put", "/vsock"): {"guest_cid": 3, "uds_path": "v"},
    ("put", "/balloon"): {"amount_mib": 0, "deflate_on_oom": False},
    ("patch", "/balloon"): {"amount_mib": 0},
    ("patch", "/balloon/statistics"): {"stats_polling_interval_s": 1},
    ("put", "/hotplug/memory"): {"total_size_mib": 1024},
    ("patch", "/hotplug/memory"): {"requested_size_mib": 0},
    ("put", "/metrics"): {"metrics_path": "metrics"},
    ("put", "/mmds/config"): {"network_interfaces": ["a"]},
    ("put", "/snapshot/create"): {"snapshot_path": "s", "mem_file_path": "m"},
    ("put", "/snapshot/load"): {"snapshot_path": "s", "mem_file_path": "m"},
    ("put", "/vmmctl/accel"): {"name": "tcg"},
}


def operations(vm):
    for path, item in vm.get("/vmmctl/openapi")["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def test_wrong_phase_is_refused_everywhere(vm, running):
    seen = 0
    for method, path, operation in operations(vm):
        if operation["x-phase"] == "any":
            continue
        other, message = (running, AFTER) if operation["x-phase"] == "before" else (vm, BEFORE)
        body = SAMPLES.get((method, path), None if method in ("get", "delete") else {})
        other.refuse(method.upper(), path.replace("{id}", "a"), body, message)
        seen += 1
    assert seen > 30


def test_document_and_server_agree(vm, running):
    """What the document names exists in the server: no answer says that there is no such path."""
    for method, path, operation in operations(vm):
        if "101" in operation["responses"] or path == "/vmmctl/events" or path == "/vmmctl/stop":
            continue
        for each in (vm, running):
            body = None if method in ("get", "delete") else b"\x00"
            answer = each.ask(method.upper(), path.replace("{id}", "a"), body)
            assert str(answer.status) in operation["responses"], (method, path, answer.status)
            assert b"Invalid request method" not in answer.body
    document = vm.get("/vmmctl/openapi")
    assert document["openapi"].startswith("3.")
    text = str(document)
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text


def test_required_members_are_those_of_the_document(vm):
    document = vm.get("/vmmctl/openapi")
    seen = 0
    for method, path, operation in operations(vm):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        name = content.get("schema", {}).get("$ref", "").split("/")[-1]
        required = document["components"]["schemas"].get(name, {}).get("required")
        if not required:
            continue
        vm.refuse(method.upper(), path.replace("{id}", "a"), b"{ }",
                  f"{BAD}missing field `{required[0]}` at line 1 column 3.")
        seen += 1
    assert seen > 15


@pytest.mark.parametrize("method, path, body, message", [
    ("GET", "/nothing", None, "Invalid request method and/or path: GET nothing."),
    ("GET", "/vm", None, "Invalid request method and/or path: GET vm."),
    ("PUT", "/vm/config", {}, "Invalid request method and/or path: PUT vm."),
    ("DELETE", "/version", None, "Invalid request method and/or path: DELETE version."),
    ("GET", "/version", {}, "GET request cannot have a body."),
    ("PUT", "/actions", None, "Empty PUT request."),
    ("PATCH", "/vm", None, "Empty PATCH request."),
    ("DELETE", "/drives/a", {}, "Empty Delete request."),
    ("PUT", "/drives", {}, "The ID cannot be empty."),
    ("PUT", "/drives/", {}, "The ID cannot be empty."),
    ("PUT", "/drives/a-b", {}, "API Resource IDs can only contain alphanumeric characters and underscores."),
    ("PUT", "/drives/a", {"drive_id": "b", "is_root_device": False},
     "The id from the path does not match the id from the body!"),
    ("PUT", "/pmem/a", {"id": "b", "path_on_host": "x"}, "The id from the path does not match the id from the body!"),
    ("PUT", "/network-interfaces/a", {"iface_id": "b", "host_dev_name": "x"},
     "The id from the path [a] does not match the id from the body [b]!"),
    ("PUT", "/snapshot", {}, "Missing snapshot operation type."),
    ("PUT", "/snapshot/x", {}, "Invalid request method and/or path: PUT /snapshot/x."),
    ("PATCH", "/balloon/x", {}, "Unrecognized PATCH request path `x`."),
    ("PUT", "/mmds/x", {}, "Unrecognized PUT request path `x`."),
])
def test_general_errors(vm, method, path, body, message):
    vm.refuse(method, path, body, message)


@pytest.mark.parametrize("path, body, message", [
    ("/machine-config", b'{"vcpu_count": 300, "mem_size_mib": 1}', "invalid value: integer `300`, expected u8 at line 1 column 18"),
    ("/machine-config", b'{"vcpu_count": -2, "mem_size_mib": 1}', "invalid value: integer `-2`, expected u8 at line 1 column 17"),
    ("/machine-config", b'{"vcpu_count": "-2"}', 'invalid type: string "-2", expected u8 at line 1 column 19'),
    ("/machine-config", b'{"vcpu_count": 1.5}', "invalid type: floating point `1.5`, expected u8 at line 1 column 18"),
    ("/machine-config", b'{"vcpu_count": 1, "mem_size_mib": 99999999999999999999}',
     "invalid type: floating point `1e20`, expected usize at line 1 column 54"),
    ("/machine-config", b'{"vcpu_count": null}', "invalid type: null, expected u8 at line 1 column 19"),
    ("/machine-config", b'{"vcpu_count": [1]}', "invalid type: sequence, expected u8 at line 1 column 15"),
    ("/machine-config", b'{"smt": 1}', "invalid type: integer `1`, expected a boolean at line 1 column 9"),
    ("/machine-config", b'{"vcpu_count": 1}', "missing field `mem_size_mib` at line 1 column 17"),
    ("/machine-config", b'{\n "vcpu_count": 1\n}', "missing field `mem_size_mib` at line 3 column 1"),
    ("/machine-config", b'{"vcpu_count": 1, "vcpu_count": 1}', "duplicate field `vcpu_count` at line 1 column 30"),
    ("/machine-config", b'{"huge_pages": "4M"}',
     "unknown variant `4M`, expected one of `None`, `Transparent`, `2M` at line 1 column 19"),
    ("/machine-config", b'{"huge_pages": 1}', "expected value at line 1 column 16"),
    ("/machine-config", b'5', "invalid type: integer `5`, expected struct MachineConfig at line 1 column 1"),
    ("/machine-config", b'{', "EOF while parsing an object at line 1 column 1"),
    ("/machine-config", b'{"vcpu_count":', "EOF while parsing a value at line 1 column 14"),
    ("/machine-config", b'{"vcpu_count" 1}', "expected `:` at line 1 column 15"),
    ("/machine-config", b'{"vcpu_count": 1,}', "trailing comma at line 1 column 18"),
    ("/machine-config", b'{"vcpu_count": 01}', "invalid number at line 1 column 17"),
    ("/machine-config", b'{vcpu_count: 1}', "key must be a string at line 1 column 2"),
    ("/machine-config", b'{"vcpu_count": 1, "mem_size_mib": 1} x', "trailing characters at line 1 column 38"),
    ("/boot-source", b'{"kernel": "x"}',
     "unknown field `kernel`, expected one of `kernel_image_path`, `initrd_path`, `boot_args` at line 1 column 9"),
    ("/boot-source", b'{"kernel_image_path": 5}', "invalid type: integer `5`, expected a string at line 1 column 23"),
    ("/actions", b'{"action_type": "Fly"}',
     "unknown variant `Fly`, expected one of `FlushMetrics`, `InstanceStart`, `SendCtrlAltDel` at line 1 column 21"),
    ("/entropy", b'{"x": 1}', "unknown field `x`, expected `rate_limiter` at line 1 column 4"),
    ("/entropy", b'{"rate_limiter": {"x": 1}}', "unknown field `x`, expected `bandwidth` or `ops` at line 1 column 21"),
    ("/logger", b'{"level": "Loud"}', "Invalid LevelFilter at line 1 column 17"),
    ("/network-interfaces/a", b'{"iface_id": "a", "host_dev_name": "t", "guest_mac": "0"}',
     "The provided MAC address is invalid. at line 1 column 57"),
    ("/serial", b'{"serial_out_path": 1}', "invalid type: integer `1`, expected path string at line 1 column 21"),
])
def test_bodies_are_refused_in_the_words_of_serde(vm, path, body, message):
    vm.refuse("PUT", path, body, BAD + message + ".")


def test_unknown_members_are_taken_where_firecracker_takes_them(vm):
    vm.do("PUT", "/entropy", {"rate_limiter": {"ops": {"size": 1, "refill_time": 1, "more": [{}]}}})
    vm.do("PUT", "/metrics", {"metrics_path": "m", "more": 1})


def test_content_type_does_not_matter(vm):
    answer = vm.connection.request("PUT", "/entropy", b"{}", ["Content-Type: text/html", "Accept: image/png"])
    assert answer.status == 204


def test_instance(vm, running):
    assert vm.get("/") == {"id": "anonymous-instance", "state": "Not started", "vmm_version": "1.17.0-dev",
                           "app_name": "Firecracker"}
    assert running.get("/")["state"] == "Running"


def test_pause_and_resume(running):
    for state, name in (("Paused", "Paused"), ("Paused", "Paused"), ("Resumed", "Running"), ("Resumed", "Running")):
        running.do("PATCH", "/vm", {"state": state})
        assert running.get("/")["state"] == name


def test_machine_config(vm):
    assert vm.get("/machine-config") == {"vcpu_count": 1, "mem_size_mib": 128, "smt": False, "track_dirty_pages": False,
                                         "huge_pages": "None"}
    vm.do("PUT", "/machine-config", {"vcpu_count": 4, "mem_size_mib": 256, "smt": True, "cpu_template": "T2"})
    assert vm.get("/machine-config")["cpu_template"] == "T2"
    vm.do("PATCH", "/machine-config", {"mem_size_mib": 64})
    assert vm.get("/machine-config")["vcpu_count"] == 4
    vm.do("PATCH", "/machine-config", {"cpu_template": "None"})
    assert "cpu_template" not in vm.get("/machine-config")
    vm.do("PUT", "/machine-config", {"vcpu_count": 32, "mem_size_mib": 1})
    assert vm.get("/machine-config")["smt"] is False
    vm.refuse("PATCH", "/machine-config", {}, "Empty PATCH request.")
    cpus = ("Machine config error: The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even "
            "number if SMT is enabled.")
    memory = ("Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page size.")
    vm.refuse("PATCH", "/machine-config", {"vcpu_count": 0}, cpus)
    vm.refuse("PATCH", "/machine-config", {"vcpu_count": 33}, cpus)
    vm.refuse("PATCH", "/machine-config", {"vcpu_count": 3, "smt": True}, cpus)
    vm.refuse("PATCH", "/machine-config", {"mem_size_mib": 0}, memory)
    vm.refuse("PATCH", "/machine-config", {"mem_size_mib": 3, "huge_pages": "2M"}, memory)


@pytest.mark.parametrize("method, path, body", [
    ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 16, "cpu_template": "None"}),
    ("PATCH", "/machine-config", {"cpu_template": "T2"}),
    ("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v", "vsock_id": "x"}),
    ("PUT", "/mmds/config", {"network_interfaces": []}),
    ("PUT", "/snapshot/load", {"snapshot_path": "none", "mem_file_path": "none", "mem_backend": None,
                               "enable_diff_snapshots": True, "network_overrides": 5}),
])
def test_deprecation(vm, method, path, body):
    answer = vm.ask(method, path, body)
    expected = None if body.get("network_overrides") == 5 else "true"
    assert dict(answer.headers).get("Deprecation") == expected


def test_start_needs_a_kernel_and_may_be_tried_again(vm):
    vm.refuse("PUT", "/actions", {"action_type": "InstanceStart"},
              "Start microvm error: Cannot start microvm without kernel configuration.")
    vm.configure()
    vm.do("PATCH", "/machine-config", {"mem_size_mib": 2 ** 64 - 1})
    vm.refuse("PUT", "/actions", {"action_type": "InstanceStart"},
              "Start microvm error: Invalid Memory Configuration: Cannot create mmap region: Out of memory (os error 12)")
    vm.do("PATCH", "/machine-config", {"mem_size_mib": 16})
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    vm.refuse("PUT", "/actions", {"action_type": "InstanceStart"}, AFTER)
    assert vm.get("/")["state"] == "Running"


def test_boot_source_files_are_opened(vm):
    vm.refuse("PUT", "/boot-source", {"kernel_image_path": "none"},
              "Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)")
    vm.refuse("PUT", "/boot-source", {"kernel_image_path": vm.kernel(), "initrd_path": "none"},
              "Boot source error: The initrd file cannot be opened: No such file or directory (os error 2)")


def test_mmds_store(vm):
    assert vm.get("/mmds") == {}
    vm.refuse("PATCH", "/mmds", {"a": 1}, "MMDS error: The MMDS data store is not initialized.")
    vm.do("PUT", "/mmds", {"a": {"b": 1, "c": "x"}, "d": [1]})
    vm.do("PATCH", "/mmds", {"a": {"b": None, "e": 2}, "d": [2, 3]})
    assert vm.get("/mmds") == {"a": {"c": "x", "e": 2}, "d": [2, 3]}
    vm.refuse("PUT", "/mmds", [], "MMDS error: The MMDS data store must be a JSON object.")
    full = {"x": "a" * 51000}
    vm.do("PUT", "/mmds", full)
    vm.refuse("PATCH", "/mmds", {"y": "b" * 500}, "MMDS limit exceeded error: The MMDS patch request doesn't fit.", 413)
    assert vm.get("/mmds") == full


def test_mmds_config(vm):
    vm.refuse("PUT", "/mmds/config", {"network_interfaces": []},
              "MMMDS config error: The list of network interface IDs that allow forwarding MMDS requests is empty.")
    vm.refuse("PUT", "/mmds/config", {"network_interfaces": ["eth0"]},
              "MMMDS config error: The list of network interface IDs provided contains at least one ID that does not "
              "correspond to any existing network interface.")


def test_load_wants_one_memory(vm):
    vm.refuse("PUT", "/snapshot/load", {"snapshot_path": "s", "mem_file_path": "m",
                                        "mem_backend": {"backend_type": "File", "backend_path": "m"}},
              "too many fields: either `mem_backend` or `mem_file_path` exclusively is required.")
    vm.refuse("PUT", "/snapshot/load", {"snapshot_path": "s"},
              "missing field: either `mem_backend` or `mem_file_path` is required")
    vm.configure()
    vm.refuse("PUT", "/snapshot/load", {"snapshot_path": "s", "mem_file_path": "m"},
              "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.")


def test_failed_load_ends_the_process(vm):
    answer = vm.ask("PUT", "/snapshot/load", {"snapshot_path": "none", "mem_backend": {"backend_type": "File",
                                                                                       "backend_path": "none"}})
    assert answer.status == 400 and answer.fault.startswith("Load snapshot error: ")
    assert vm.wait() == 1
