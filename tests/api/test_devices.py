# SPDX-License-Identifier: Apache-2.0
"""Drives, cards and the other devices: before the start, while the guest runs, in GET /vm/config."""
import os

import pytest

from microvm import ECHO, Connection

BUCKET = {"size": 1000, "refill_time": 100}


def test_drives(vm):
    path = vm.file("disk", 1 << 20)
    root = {"drive_id": "root", "is_root_device": True, "path_on_host": path}
    vm.do("PUT", "/drives/data", {"drive_id": "data", "is_root_device": False, "path_on_host": path, "is_read_only": True,
                                  "cache_type": "Writeback", "io_engine": "Async", "partuuid": None,
                                  "rate_limiter": {"bandwidth": BUCKET}})
    vm.do("PUT", "/drives/root", root)
    assert vm.get("/vm/config")["drives"] == [
        {"drive_id": "root", "partuuid": None, "is_root_device": True, "cache_type": "Unsafe", "is_read_only": False,
         "path_on_host": path, "rate_limiter": None, "io_engine": "Sync", "socket": None},
        {"drive_id": "data", "partuuid": None, "is_root_device": False, "cache_type": "Writeback", "is_read_only": True,
         "path_on_host": path, "io_engine": "Async", "socket": None,
         "rate_limiter": {"bandwidth": {"size": 1000, "one_time_burst": None, "refill_time": 100}, "ops": None}}]
    vm.refuse("PUT", "/drives/b", {**root, "drive_id": "b"}, "Drive config error: A root block device already exists!")
    vm.do("PUT", "/drives/root", {**root, "partuuid": "0eaa91a0-01"})
    assert [drive["partuuid"] for drive in vm.get("/vm/config")["drives"]] == ["0eaa91a0-01", None]
    vm.refuse("PUT", "/pmem/p", {"id": "p", "path_on_host": path, "root_device": True},
              "Pmem config error: Attempt to add pmem as a root device while the root device defined as a block device")


def test_drive_files_are_opened(vm):
    answer = vm.ask("PUT", "/drives/a", {"drive_id": "a", "is_root_device": False, "path_on_host": "foo.bar"})
    assert answer.fault.endswith("Error manipulating the backing file: No such file or directory (os error 2) foo.bar")


def test_drives_while_the_guest_runs(vm):
    vm.configure()
    first, second = vm.file("first", 1 << 20), vm.file("second", 2 << 20)
    vm.do("PUT", "/drives/a", {"drive_id": "a", "is_root_device": False, "path_on_host": first})
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    vm.do("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": second})
    before = vm.descriptors()  # the first pause makes what later ones need
    for path in (first, second, second):
        vm.do("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": path})
        assert vm.get("/vm/config")["drives"][0]["path_on_host"] == path
        links = [os.readlink(f"/proc/{vm.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{vm.process.pid}/fd")]
        assert path in links and (second if path == first else first) not in links
    assert vm.descriptors() == before
    prefix = "Drive config error: Unable to patch the block device: "
    vm.refuse("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": "foo.bar"},
              prefix + "Virtio backend error: Error manipulating the backing file: No such file or directory "
                       "(os error 2) foo.bar")
    vm.refuse("PATCH", "/drives/a", {"drive_id": "a"}, prefix + "Running method expected different backend.")
    vm.refuse("PATCH", "/drives/b", {"drive_id": "b", "path_on_host": first}, "Drive config error: Device not found")
    vm.refuse("PATCH", "/drives/a", {"drive_id": "a", "is_read_only": True},
              "An error occurred when deserializing the json body of a request: unknown field `is_read_only`, expected "
              "one of `drive_id`, `path_on_host`, `rate_limiter` at line 1 column 32.")
    vm.do("PATCH", "/drives/a", {"drive_id": "a", "rate_limiter": {"ops": BUCKET}})
    vm.do("PATCH", "/drives/a", {"drive_id": "a", "rate_limiter": {"bandwidth": BUCKET}})
    limiter = vm.get("/vm/config")["drives"][0]["rate_limiter"]
    assert limiter["ops"]["size"] == limiter["bandwidth"]["size"] == 1000


def test_a_paused_guest_stays_paused_while_its_drive_changes(vm):
    vm.configure()
    vm.do("PUT", "/drives/a", {"drive_id": "a", "is_root_device": False, "path_on_host": vm.file("first", 1 << 20)})
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    vm.do("PATCH", "/vm", {"state": "Paused"})
    vm.do("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": vm.file("second", 1 << 20)})
    assert vm.get("/")["state"] == "Paused"


def test_balloon(vm):
    vm.refuse("GET", "/balloon", None, "Balloon config error: No balloon device found.")
    vm.refuse("PUT", "/balloon", {"amount_mib": 129, "deflate_on_oom": True},
              "Balloon config error: Amount of pages requested is too large.")
    vm.configure()
    vm.do("PUT", "/balloon", {"amount_mib": 1, "deflate_on_oom": True, "stats_polling_interval_s": 1})
    shape = {"amount_mib": 1, "deflate_on_oom": True, "stats_polling_interval_s": 1, "free_page_hinting": False,
             "free_page_reporting": False}
    assert vm.get("/balloon") == shape
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    vm.do("PATCH", "/balloon", {"amount_mib": 4})
    assert vm.get("/balloon") == {**shape, "amount_mib": 4}
    statistics = vm.get("/balloon/statistics")
    assert (statistics["target_mib"], statistics["target_pages"], statistics["actual_mib"]) == (4, 1024, 0)
    vm.refuse("PATCH", "/balloon", {"amount_mib": 1000}, "Balloon config error: Amount of pages requested is too large.")
    vm.do("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 5})
    vm.refuse("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 0},
              "Balloon config error: Cannot enable/disable the statistics after boot.")


def test_statistics_need_to_be_on(vm):
    vm.configure()
    vm.do("PUT", "/balloon", {"amount_mib": 1, "deflate_on_oom": True})
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    vm.refuse("GET", "/balloon/statistics", None,
              "Balloon config error: Statistics for the balloon device are not enabled")


def test_vsock(vm):
    vm.configure()
    vm.do("PUT", "/vsock", {"guest_cid": 3, "uds_path": "first.sock"})
    vm.do("PUT", "/vsock", {"guest_cid": 4, "uds_path": "v.sock", "vsock_id": "x"})
    assert vm.get("/vm/config")["vsock"] == {"guest_cid": 4, "uds_path": "v.sock"}
    vm.file("taken")
    vm.refuse("PUT", "/vsock", {"guest_cid": 4, "uds_path": "taken"},
              "Vsock config error: Cannot create backend for vsock device: Error binding to the host-side Unix socket: "
              "Address in use (os error 98)")
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    assert os.path.exists(os.path.join(vm.folder, "v.sock"))
    vm.end()
    assert not os.path.exists(os.path.join(vm.folder, "v.sock"))


def test_serial_goes_to_a_file(vm):
    path = os.path.join(vm.folder, "serial")
    vm.do("PUT", "/serial", {"serial_out_path": path})
    vm.start(ECHO)
    while not (os.path.exists(path) and os.path.getsize(path)):
        assert vm.process.poll() is None
    with open(path) as serial:
        assert serial.read() == "!"


def test_serial_goes_to_standard_output(vm):
    vm.start(ECHO)
    vm.wait_for_output("!")


def test_config_shape_before_anything(vm):
    assert vm.get("/vm/config") == {
        "balloon": None, "drives": [], "boot-source": None, "cpu-config": None, "logger": None, "metrics": None,
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 128, "smt": False, "track_dirty_pages": False,
                           "huge_pages": "None"},
        "mmds-config": None, "network-interfaces": [], "vsock": None, "entropy": None, "pmem": [],
        "memory-hotplug": None}


def test_plugging_needs_pci(running, make):
    drive = {"drive_id": "x", "is_root_device": False, "path_on_host": running.file("x", 4096)}
    running.refuse("PUT", "/drives/x", drive, "Drive config error: PCI is not enabled")
    running.refuse("DELETE", "/drives/x", None, "Drive config error: PCI is not enabled")
    running.refuse("DELETE", "/network-interfaces/x", None, "Network config error: PCI is not enabled")


def can_make_taps():
    return os.geteuid() == 0 and os.path.exists("/dev/net/tun")


@pytest.mark.skipif(not can_make_taps(), reason="interfaces are made by root")
def test_cards(vm):
    eth0 = {"iface_id": "eth0", "host_dev_name": f"vmt{os.getpid() % 100000}", "guest_mac": "06:00:00:00:00:01"}
    vm.do("PUT", "/network-interfaces/eth0", {**eth0, "mtu": 1400, "rx_rate_limiter": {"bandwidth": BUCKET}})
    vm.refuse("PUT", "/network-interfaces/eth1", {**eth0, "iface_id": "eth1"},
              "Network config error: The MAC address is already in use: 06:00:00:00:00:01")
    vm.do("PUT", "/mmds/config", {"network_interfaces": ["eth0"], "version": "V2"})
    assert vm.get("/vm/config")["mmds-config"] == {"version": "V2", "network_interfaces": ["eth0"],
                                                  "ipv4_address": "169.254.169.254", "imds_compat": False}
    vm.refuse("PUT", "/mmds/config", {"network_interfaces": ["eth0"], "ipv4_address": "10.0.0.1"},
              "MMMDS config error: The MMDS IPv4 address is not link local.")
    card = vm.get("/vm/config")["network-interfaces"][0]
    assert list(card) == ["iface_id", "host_dev_name", "guest_mac", "mtu", "rx_rate_limiter", "tx_rate_limiter"]
    assert card["tx_rate_limiter"] is None
    vm.start()
    vm.do("PATCH", "/network-interfaces/eth0", {"iface_id": "eth0", "tx_rate_limiter": {"ops": BUCKET}})
    card = vm.get("/vm/config")["network-interfaces"][0]
    assert card["tx_rate_limiter"]["ops"]["size"] == card["rx_rate_limiter"]["bandwidth"]["size"] == 1000
    vm.refuse("PATCH", "/network-interfaces/x", {"iface_id": "x"}, "Network config error: Device not found")


def metadata_service(vm, version):
    """A connection as the network cards make it for the guest."""
    name = f"vmt{os.getpid() % 100000}"
    vm.do("PUT", "/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": name})
    vm.do("PUT", "/mmds/config", {"network_interfaces": ["eth0"], "version": version})
    vm.do("PUT", "/mmds", {"latest": {"meta-data": {"id": "i-1", "n": 5, "sub": {"a/b": ["x", "y"]}, "empty": {}}}})
    vm.start()
    return Connection(vm.path + ".mmds")


@pytest.mark.skipif(not can_make_taps(), reason="interfaces are made by root")
def test_metadata_as_text_and_as_json(vm):
    service = metadata_service(vm, "V1")
    for path, status, body in (
            ("/latest/meta-data", 200, "id\nn\nsub/\nempty/"), ("/latest/meta-data/", 200, "id\nn\nsub/\nempty/"),
            ("/", 200, "latest/"), ("/latest/meta-data/id", 200, "i-1"), ("//latest//meta-data/id", 200, "i-1"),
            ("/latest/meta-data/sub/a~1b/1", 200, "y"), ("/latest/meta-data/empty", 200, ""),
            ("/latest/meta-data/n", 501, "Cannot retrieve value. The value has an unsupported type."),
            ("/latest/meta-data/sub/a~1b/2", 404, "Resource not found: /latest/meta-data/sub/a~1b/2."),
            ("/none", 404, "Resource not found: /none.")):
        answer = service.request("GET", path)
        assert (answer.status, answer.body.decode()) == (status, body)
    answer = service.request("GET", "/latest/meta-data/n", headers=["Accept: application/json"])
    assert (answer.status, answer.body) == (200, b"5")
    answer = service.request("DELETE", "/")
    assert answer.status == 405 and dict(answer.headers)["Allow"] == "GET, PUT"
    vm.do("PATCH", "/mmds", {"latest": {"meta-data": {"id": "i-2"}}})
    assert service.request("GET", "/latest/meta-data/id").body == b"i-2"


@pytest.mark.skipif(not can_make_taps(), reason="interfaces are made by root")
def test_metadata_with_tokens(vm):
    service = metadata_service(vm, "V2")
    assert service.request("GET", "/").status == 401
    assert service.request("GET", "/", headers=["X-metadata-token: nonsense"]).body == b"MMDS token not valid."
    for headers, status in (((), 400), (["X-metadata-token-ttl-seconds: 0"], 400),
                            (["X-metadata-token-ttl-seconds: 21601"], 400),
                            (["X-metadata-token-ttl-seconds: 1", "X-Forwarded-For: x"], 400)):
        assert service.request("PUT", "/latest/api/token", headers=headers).status == status
    assert service.request("PUT", "/other", headers=["X-metadata-token-ttl-seconds: 1"]).status == 404
    tokens = set()
    for name in ("X-metadata-token", "X-aws-ec2-metadata-token"):
        answer = service.request("PUT", "/latest/api/token", headers=[f"{name}-ttl-seconds: 60"])
        token = answer.body.decode()
        assert answer.status == 200 and 0 < len(token) <= 70
        assert service.request("GET", "/", headers=[f"{name}: {token}"]).status == 200
        tokens.add(token)
    assert len(tokens) == 2
    for _ in range(1024):
        service.request("PUT", "/latest/api/token", headers=["X-metadata-token-ttl-seconds: 60"])
    assert service.request("GET", "/", headers=[f"X-metadata-token: {token}"]).status == 401


@pytest.mark.skipif(not can_make_taps(), reason="interfaces are made by root")
def test_a_guest_reads_its_metadata(vm):
    guests = pytest.importorskip("guests")
    script = ("set +e\nip link set eth0 up; ip addr add 172.16.0.2/24 dev eth0\n"
              "ip route add 169.254.169.254 dev eth0\nB=http://169.254.169.254/latest/meta-data\n"
              "echo \"is $(wget -q -O - $B/id), $(wget -q -O - --header 'Accept: application/json' $B/sub)\"\n"
              "for i in 1 2 3 4; do wget -q -O - $B/id & done; wait\necho; echo all-read\n")
    initrd = guests.initramfs_with(os.path.join(vm.folder, "initrd"), ("virtio_mmio", "virtio_pci", "virtio_net"), script)
    vm.do("PUT", "/boot-source", {"kernel_image_path": guests.KERNELS["cloud"][1](), "initrd_path": initrd,
                                  "boot_args": "console=ttyS0 quiet vmmctl_action=script reboot=k panic=1"})
    vm.do("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 256})
    vm.do("PUT", "/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": f"vmt{os.getpid() % 100000}"})
    vm.do("PUT", "/mmds/config", {"network_interfaces": ["eth0"]})
    vm.do("PUT", "/mmds", {"latest": {"meta-data": {"id": "i-1", "sub": {"x": "y"}}}})
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    vm.wait_for_output("all-read")
    assert 'is i-1, {"x":"y"}' in vm.output()
    assert "i-1i-1i-1i-1" in vm.output()


def test_drives_come_and_go_on_pci(make):
    vm = make("--enable-pci")
    first, second = vm.file("first", 1 << 20), vm.file("second", 1 << 20)
    vm.configure()
    vm.do("PUT", "/drives/a", {"drive_id": "a", "is_root_device": True, "path_on_host": first})
    vm.do("PUT", "/actions", {"action_type": "InstanceStart"})
    other = {"drive_id": "b", "is_root_device": False, "path_on_host": second}
    before = None
    for _ in range(40):  # more often than there are slots
        vm.do("PUT", "/drives/b", other)
        assert [drive["drive_id"] for drive in vm.get("/vm/config")["drives"]] == ["a", "b"]
        vm.do("PATCH", "/drives/b", {"drive_id": "b", "rate_limiter": {"ops": BUCKET}})
        vm.do("DELETE", "/drives/b")
        before = before or vm.descriptors()
    assert vm.descriptors() == before
    assert len(vm.get("/vmmctl/config")["disks"]) == 1
    vm.do("PUT", "/drives/b", other)
    vm.refuse("PUT", "/drives/b", other, "Drive config error: Device ID in use")
    vm.refuse("DELETE", "/drives/a", None, "Drive config error: Cannot unplug root device")
    vm.refuse("DELETE", "/drives/x", None, "Drive config error: Device not found")
    answer = vm.ask("PUT", "/drives/c", {"drive_id": "c", "is_root_device": False, "path_on_host": "none"})
    assert answer.status == 400 and "No such file" in answer.fault
    assert len(vm.get("/vmmctl/config")["disks"]) == 2
    vm.do("PATCH", "/vm", {"state": "Paused"})
    answer = vm.ask("PUT", "/snapshot/create", {"snapshot_path": "s", "mem_file_path": "m"})
    assert answer.status == 400 and "plugged" in answer.fault
    vm.do("PATCH", "/vm", {"state": "Resumed"})
    assert vm.get("/")["state"] == "Running"


@pytest.mark.skipif(not can_make_taps(), reason="interfaces are made by root")
def test_cards_come_and_go_on_pci(make):
    vm = make("--enable-pci")
    vm.start()
    card = {"iface_id": "n", "host_dev_name": f"vmt{os.getpid() % 100000}"}
    for _ in range(3):
        vm.do("PUT", "/network-interfaces/n", card)
        assert vm.get("/vm/config")["network-interfaces"][0]["iface_id"] == "n"
        vm.do("DELETE", "/network-interfaces/n")
    assert vm.get("/vm/config")["network-interfaces"] == []
    vm.refuse("DELETE", "/network-interfaces/n", None, "Network config error: Device not found")
