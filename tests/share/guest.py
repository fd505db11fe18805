# SPDX-License-Identifier: Apache-2.0
"""
The guest of the sharing tests: Debian's kernel, an initramfs of busybox and the kernel modules that a test wants,
and a shell script that the guest runs. Knows nothing of what is tested.
"""
import functools
import importlib.machinery
import importlib.util
import os
import re
import sys

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "boot"))

import guests  # noqa: E402

# Debian's cloud kernel has no 9p.
KERNEL_PACKAGE = "linux-image-amd64"
MODULE_PATTERNS = ("*/9p*.ko", "*/vmw_vsock/*", "*/fuse/*", "*/virtio*.ko", "*/*failover.ko", "*/netfs/*", "*/fscache/*")
END = "vmmctl-share-end"

# The guest's messages but errors are kept off the console, so that a script's output stands alone.
INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /mnt
echo 3 > /proc/sys/kernel/printk
while read module; do insmod $module || echo "insmod $module failed"; done < /modules/order
echo vmmctl-share-start
sh /test.sh
echo "vmmctl-share-end $?"
dmesg -r | grep -E '^<[0-3]>' | sed 's/^/kernel: /'
poweroff -f
"""


def load_tool(name):
    path = os.path.join(TOP, "tools", name)
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@functools.lru_cache
def kernel_files():
    """The kernel's file and its modules by name, all of one package."""
    image = guests.debian_file(KERNEL_PACKAGE)
    version = os.path.basename(image).removeprefix("vmlinuz-")
    modules = {}
    for path in guests.run_tool("debian-fetch", KERNEL_PACKAGE, *MODULE_PATTERNS):
        if path.endswith(".ko") and f"/{version}/" in path:
            modules[os.path.basename(path)[:-3].replace("-", "_")] = path
    if not modules:
        raise RuntimeError(f"the package's modules are not those of {version}: empty the cache")
    return image, modules


def depends(path):
    with open(path, "rb") as file:
        match = re.search(rb"\0depends=([^\0]*)\0", file.read())
    return [name for name in match.group(1).decode().replace("-", "_").split(",") if name] if match else []


def in_order(names, modules):
    """The modules with what they need, each after its own needs."""
    order = []

    def add(name):
        for needed in depends(modules[name]):
            add(needed)
        if name not in order:
            order.append(name)
    for name in names:
        add(name)
    return order


def initrd(script, module_names, additions=()):
    """Bytes of an initramfs; additions are (name in the guest, bytes)."""
    tool = load_tool("initramfs")
    _, modules = kernel_files()
    order = in_order(["virtio_mmio", *module_names], modules)
    archive = tool.Archive()
    for name in ("bin", "dev", "proc", "sys", "tmp", "root", "etc"):
        archive.folder(name)
    for name, major, minor in tool.DEVICES:
        archive.device("dev/" + name, major, minor)
    archive.file("bin/busybox", tool.read(guests.debian_file("busybox-static")), executable=True)
    for applet in tool.APPLETS:
        archive.link("bin/" + applet, "busybox")
    archive.link("sbin", "bin")
    archive.file("init", INIT.encode(), executable=True)
    archive.file("test.sh", script.encode())
    for name in order:
        archive.file(f"modules/{name}.ko", tool.read(modules[name]))
    archive.file("modules/order", "".join(f"/modules/{name}.ko\n" for name in order).encode())
    for name, data in additions:
        archive.file(name, data, executable=True)
    return archive.finish()
