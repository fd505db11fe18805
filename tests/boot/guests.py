# SPDX-License-Identifier: Apache-2.0
"""
The guests of the boot tests and benchmarks: unmodified kernels of Debian's packages and an initramfs of busybox. Knows
where they come from and caches what is made of them; knows nothing of monitors.
"""
import fcntl
import gzip
import os
import re
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


def module_needs(path):
    """The names of the modules that this one needs, from its .modinfo section."""
    with open(path, "rb") as file:
        match = re.search(rb"\0depends=([^\0]*)\0", file.read())
    return [name.decode() for name in match.group(1).split(b",") if name] if match else []


def module_name(path):
    return os.path.basename(path)[:-len(".ko")].replace("-", "_")


def modules(*names):
    """Modules of the cloud kernel and those that they need, in the order in which they must be loaded; not what it has
    built in."""
    paths = run_tool("debian-fetch", "linux-image-cloud-amd64", "lib/modules/*")
    found = {module_name(path): path for path in paths if path.endswith(".ko")}
    with open(next(path for path in paths if path.endswith("/modules.builtin")), encoding="ascii") as file:
        built_in = {module_name(line.strip()) for line in file}
    ordered = []

    def add(name):
        if name.replace("-", "_") in built_in:
            return
        path = found[name.replace("-", "_")]
        for needed in module_needs(path):
            add(needed)
        if path not in ordered:
            ordered.append(path)

    for name in names:
        add(name)
    return ordered


def initramfs_with(path, module_names, script=None, files=()):
    """
    An initramfs at `path` that loads modules, and has further files (host path, guest path) and a script that
    `vmmctl_action=script` runs.
    """
    arguments = ["--output", path, "--compress", "none"]
    for module in modules(*module_names):
        arguments += ["--module", module]
    if script is not None:
        with open(path + ".script", "w", encoding="utf-8") as file:
            file.write(script)
        files = [*files, (path + ".script", "/script")]
    for source, target in files:
        arguments += ["--add", f"{source}={target}"]
    run_tool("initramfs", *arguments)
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
