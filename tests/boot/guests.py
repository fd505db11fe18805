# SPDX-License-Identifier: Apache-2.0
"""
The guests of the boot tests and benchmarks: unmodified kernels of Debian's packages and an initramfs of busybox. Knows
where they come from and caches what is made of them; knows nothing of monitors.
"""
import fcntl
import gzip
import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MARKER = "vmmctl-boot-marker"


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(base, "vmmctl", "guest")
    os.makedirs(folder, exist_ok=True)
    return folder


def run_tool(name, *arguments):
    command = [os.path.join(TOP, "tools", name), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")


def is_fresh(path, *sources):
    return os.path.exists(path) and all(os.path.getmtime(path) >= os.path.getmtime(source) for source in sources)


class locked:
    """Holds the cache against another test run that would make the same file."""

    def __enter__(self):
        self.file = open(os.path.join(cache_folder(), ".lock"), "w", encoding="ascii")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def debian_file(package, ending=""):
    paths = [path for path in run_tool("debian-fetch", package) if path.endswith(ending) and path]
    if len(paths) != 1:
        raise RuntimeError(f"{package}: {len(paths)} files end with '{ending}'")
    return paths[0]


def vmlinux(package):
    """The ELF file inside of the package's bzImage."""
    image = debian_file(package)
    path = os.path.join(cache_folder(), os.path.basename(image).replace("vmlinuz", "vmlinux"))
    with locked():
        if not is_fresh(path, image, os.path.join(TOP, "tools/extract-vmlinux")):
            run_tool("extract-vmlinux", image, path)
    return path


def xen():
    """Xen's hypervisor, unpacked: a multiboot kernel."""
    packed = debian_file("xen-hypervisor-4.17-amd64", ".gz")
    path = os.path.join(cache_folder(), os.path.basename(packed)[:-len(".gz")])
    with locked():
        if not is_fresh(path, packed):
            with gzip.open(packed) as source, open(path + ".tmp", "wb") as copy:
                copy.write(source.read())
            os.rename(path + ".tmp", path)
    return path


def initramfs(arch="amd64", compress="gzip"):
    suffix = {"gzip": ".gz", "xz": ".xz", "none": ""}[compress]
    path = os.path.join(cache_folder(), f"test-{arch}.cpio{suffix}")
    with locked():
        if not is_fresh(path, os.path.join(TOP, "tools/initramfs")):
            run_tool("initramfs", "--arch", arch, "--compress", compress, "--output", path)
    return path


# name -> (architecture of the user space, a function that returns the kernel's path)
KERNELS = {
    "cloud": ("amd64", lambda: debian_file("linux-image-cloud-amd64")),
    "cloud-vmlinux": ("amd64", lambda: vmlinux("linux-image-cloud-amd64")),
    "amd64": ("amd64", lambda: debian_file("linux-image-amd64")),
    "686-pae": ("i386", lambda: debian_file("linux-image-686-pae:i386")),
    "686": ("i386", lambda: debian_file("linux-image-686:i386")),
}


def main():
    """Fetches everything, so that a test run is not held up by downloads."""
    for arch, kernel in KERNELS.values():
        print(kernel(), initramfs(arch))
    print(debian_file("memtest86+", "x64.bin"), debian_file("memtest86+", "ia32.bin"), xen())
    return 0


if __name__ == "__main__":
    sys.exit(main())
