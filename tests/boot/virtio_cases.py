# SPDX-License-Identifier: Apache-2.0
"""
Boot tests of the virtio transports with Debian's own drivers, by the simplest device: random bytes, read through
registers in memory and through PCI, with every kind of interrupt and ring, on several CPUs and I/O threads.
"""
import re
import shutil
import subprocess

from cases import BOOT_TIMEOUT_S, CASES, BootError, Skip, case, need
from device_cases import finish, scripted

# 6400 bytes of 64 each, no two blocks alike; what the guest sees of the device is printed for the test to read.
SCRIPT = """
set -e
cat /sys/class/misc/hw_random/rng_current
dd if=/dev/hwrng of=/random bs=64 count=100
test $(wc -c < /random) = 6400
hexdump -v -e '16/1 "%02x" "\\n"' /random | sort | uniq -d | { ! grep -q .; }
grep virtio /proc/interrupts
cat /sys/bus/virtio/devices/virtio0/features
echo features-end
"""

FEATURE_EVENT_IDX, FEATURE_PACKED, FEATURE_RING_RESET = 29, 34, 40

# name -> (module of the transport, options, kernel arguments, what /proc/interrupts says, features expected, and not)
TRANSPORTS = {
    "mmio": ("virtio_mmio", (), "", r"IO-APIC\s+16-fasteoi\s+virtio0", (FEATURE_EVENT_IDX,), (FEATURE_PACKED,)),
    "mmio-packed": ("virtio_mmio", ("--virtio-ring", "packed"), "", r"IO-APIC\s+16-fasteoi\s+virtio0",
                    (FEATURE_EVENT_IDX, FEATURE_PACKED), ()),
    "pci-msix": ("virtio_pci", ("--virtio-transport", "pci"), "", r"PCI-MSI\s+\S+\s+virtio0-input",
                 (FEATURE_EVENT_IDX, FEATURE_RING_RESET), (FEATURE_PACKED,)),
    "pci-msix-packed": ("virtio_pci", ("--virtio-transport", "pci", "--virtio-ring", "packed"), "",
                        r"PCI-MSI\s+\S+\s+virtio0-input", (FEATURE_PACKED, FEATURE_RING_RESET), ()),
    "pci-intx": ("virtio_pci", ("--virtio-transport", "pci"), "pci=nomsi", r"IO-APIC\s+17-fasteoi\s+virtio0",
                 (FEATURE_RING_RESET,), ()),
}


def rng_through(context, name, cpus):
    need(context, "virtio")
    module, options, append, interrupt, wanted, unwanted = TRANSPORTS[name]
    guest = scripted(context, [module, "virtio-rng"], SCRIPT, cpus=cpus)
    guest.append += " " + append
    extra = [*options, "--rng", "--rng", "--io-threads", str(cpus)]
    with context.start(guest, extra=extra) as session:
        session.expect("^virtio_rng.0", BOOT_TIMEOUT_S)
        session.expect("^features-end", BOOT_TIMEOUT_S)
        seen = session.text
        finish(session)
    line = re.search(rf"^\s*\d+:([\s\d]+)\s{interrupt}", seen, re.MULTILINE)
    if not line or sum(map(int, line.group(1).split())) < 100:
        raise BootError(f"/proc/interrupts has no hundred interrupts at '{interrupt}'")
    features = re.search(r"^([01]{64})\r?$", seen, re.MULTILINE).group(1)
    for bit in wanted + unwanted:
        if (features[bit] == "1") != (bit in wanted):
            raise BootError(f"feature {bit} is {features[bit]}")


def register_rngs():
    for name in TRANSPORTS:
        for cpus in (1, 2):
            CASES[f"virtio-rng-{name}-{cpus}cpu"] = (
                lambda context, name=name, cpus=cpus: rng_through(context, name, cpus))


register_rngs()


REBOOT_SCRIPT = """
set -e
dd if=/dev/hwrng bs=64 count=10 of=/random
echo bytes-$(wc -c < /random)
sleep 1
reboot -f
"""


def reboot_through(context, module, extra):
    """The devices work again after a reset of the machine in the middle of their work."""
    need(context, "virtio")
    guest = scripted(context, [module, "virtio-rng"], REBOOT_SCRIPT)
    with context.start(guest, extra=[*extra, "--rng=/dev/urandom,iops=40", "--rng"]) as session:
        for _ in range(3):
            session.expect("^bytes-640", BOOT_TIMEOUT_S)
        session.expect_no_trouble()


@case("virtio-reboot-mmio")
def virtio_reboot_mmio(context):
    reboot_through(context, "virtio_mmio", ["--virtio-ring", "packed"])


@case("virtio-reboot-pci")
def virtio_reboot_pci(context):
    reboot_through(context, "virtio_pci", ["--virtio-transport", "pci"])


@case("virtio-cmdline")
def virtio_cmdline(context):
    """Devices are named on the kernel's command line when that is asked for, and only then."""
    need(context, "virtio")
    for extra, count in ((["--virtio-cmdline"], 2), ([], 0)):
        guest = scripted(context, ["virtio_mmio"], "echo words-$(grep -o virtio_mmio.device=4K@0xc000[01]000:1[67] "
                         "/proc/cmdline | wc -l)")
        with context.start(guest, extra=[*extra, "--rng", "--rng"]) as session:
            session.expect(f"^words-{count}", BOOT_TIMEOUT_S)
            finish(session)


# The blob as the kernel got it, from its list of setup_data: two hex digits a byte.
FDT_SCRIPT = """
set -e
cd /sys/kernel/boot_params/setup_data/0
echo setup-data-type-$(cat type)
echo blob-begins
hexdump -v -e '32/1 "%02x" "\\n"' data
echo blob-ends
"""


def device_tree_source(context, text):
    """What dtc reads in the blob between the marks."""
    blob = bytes.fromhex(re.search(r"blob-begins\s+([0-9a-f\s]+?)\s+blob-ends", text).group(1))
    path = context.path("guest.dtb")
    with open(path, "wb") as file:
        file.write(blob)
    done = subprocess.run(["dtc", "-I", "dtb", "-O", "dts", path], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BootError(f"dtc refuses the device tree: {done.stderr}")
    return done.stdout


@case("virtio-fdt")
def virtio_fdt(context):
    """
    A kernel gets a device tree with each device's registers and interrupt. No kernel of Debian's for x86 is built with
    OF_EARLY_FLATTREE, so the guest shows what it was given, and dtc reads it.
    """
    need(context, "virtio")
    if not shutil.which("dtc"):
        raise Skip("dtc is not installed (device-tree-compiler)")
    wanted = {"mmio": [r"virtio_mmio@c0000000 \{\s+compatible = \"virtio,mmio\";\s+reg = <0x00 0xc0000000 0x00 0x1000>;"
                       r"\s+interrupts = <0x10 0x02>;", r"virtio_mmio@c0001000 \{.*?interrupts = <0x11 0x02>;"],
              "pci": [r"pcie@e0000000 \{\s+compatible = \"pci-host-ecam-generic\\0pci\";", r"interrupt-map-mask = <0xf800 "]}
    for transport, patterns in wanted.items():
        guest = scripted(context, [f"virtio_{transport}"], FDT_SCRIPT, cpus=2)
        with context.start(guest, extra=["--virtio-fdt", "--virtio-transport", transport, "--rng", "--rng"]) as session:
            session.expect("^setup-data-type-0x2", BOOT_TIMEOUT_S)
            session.expect("^blob-ends", BOOT_TIMEOUT_S)
            seen = session.text
            finish(session)
        source = device_tree_source(context, seen)
        for pattern in [*patterns, r"cpu@1 \{", r"memory@100000 \{", r"ns16550a@i3f8 \{.*?reg = <0x01 0x3f8 0x08>;",
                        r"bootargs = \"[^\"]*console=ttyS0"]:
            if not re.search(pattern, source, re.DOTALL):
                raise BootError(f"the device tree has no {pattern}:\n{source}")


EVERYTHING_SCRIPT = """
set -e
for device in /sys/bus/virtio/devices/*; do
	test -e $device/driver
	echo "driven $(basename $(readlink $device/driver)) status $(cat $device/status)"
done
dd if=/dev/vda of=/read bs=64k count=16 iflag=direct 2>/dev/null
dd if=/read of=/dev/vda bs=64k seek=16 oflag=direct 2>/dev/null
echo from-the-guest > /dev/hvc0
dd if=/dev/hwrng of=/random bs=64 count=10 2>/dev/null
echo everything-done
"""

EVERYTHING_DRIVERS = ["virtio_balloon", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng"]


def everything(context, transport, ring):
    """Every common device at once on one transport: each has its driver, and disk, console and random bytes work."""
    need(context, "virtio")
    disk, console = context.path("disk.img"), context.path("hvc0.txt")
    with open(disk, "wb") as file:
        file.write(bytes(range(256)) * 4096)
        file.truncate(4 << 20)
    modules = [f"virtio_{transport}", "virtio_blk", "virtio_net", "virtio_console", "virtio_balloon", "virtio-rng"]
    guest = scripted(context, modules, EVERYTHING_SCRIPT, cpus=2)
    extra = ["--virtio-transport", transport, "--virtio-ring", ring, "--io-threads", "2", "--disk", disk, "--net", "user",
             "--console", f"file:{console}", "--balloon", "0", "--rng"]
    with context.start(guest, extra=extra) as session:
        session.expect("^everything-done", BOOT_TIMEOUT_S)
        seen = session.text
        finish(session)
    # ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, and no NEEDS_RESET.
    driven = sorted(re.findall(r"^driven (\w+) status 0x0000000f", seen, re.MULTILINE))
    if driven != EVERYTHING_DRIVERS:
        raise BootError(f"the guest drives {driven}")
    with open(disk, "rb") as file:
        content = file.read()
    if content[:1 << 20] != content[1 << 20:2 << 20]:
        raise BootError("the disk does not hold what the guest copied")
    with open(console, "rb") as file:
        if b"from-the-guest" not in file.read():
            raise BootError("the console did not print what the guest wrote")


def register_everything():
    for transport in ("mmio", "pci"):
        for ring in ("split", "packed"):
            CASES[f"virtio-everything-{transport}-{ring}"] = (
                lambda context, transport=transport, ring=ring: everything(context, transport, ring))


register_everything()
