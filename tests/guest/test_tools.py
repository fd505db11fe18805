#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
What helps to debug the built-in CPU: --log, --perf-map, its counters; and a host that refuses executable memory. Runs a payload
with them: test_tools.py VMMCTL PAYLOAD. Prints TAP.
"""
import ctypes
import os
import re
import struct
import subprocess
import sys
import tempfile

VMMCTL, PAYLOAD = sys.argv[1:3]
TIMEOUT_S = 600

# seccomp(2): a shared mapping that can be executed is refused, as SELinux's execmem and hardened kernels do.
SECCOMP_RET_ALLOW, SECCOMP_RET_EPERM = 0x7FFF0000, 0x00050001
SYS_MMAP, PROT_EXEC, MAP_SHARED = 9, 4, 1
LOAD, JUMP_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER, PROTECTION, FLAGS = 0, 32, 40  # offsets in struct seccomp_data
FILTER = [(LOAD, 0, 0, NUMBER), (JUMP_EQUAL, 0, 5, SYS_MMAP), (LOAD, 0, 0, PROTECTION), (JUMP_SET, 0, 3, PROT_EXEC),
          (LOAD, 0, 0, FLAGS), (JUMP_SET, 0, 1, MAP_SHARED), (RETURN, 0, 0, SECCOMP_RET_EPERM),
          (RETURN, 0, 0, SECCOMP_RET_ALLOW)]


def refuse_executable_memory():
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in FILTER))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(FILTER), ctypes.addressof(code)))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def boot(*arguments, preexec=None):
    command = [VMMCTL, "boot", "--accel", "tcg", "--kernel", PAYLOAD, "--exit-code-port", "--no-reboot", "--cpu", "max", "--mem", "64M", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
                          preexec_fn=preexec)


def log_of(kinds, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log")
        done = boot("--log", kinds, "--log-file", path, *arguments)
        assert done.returncode == 0, done
        with open(path, encoding="utf-8") as file:
            return file.read()


def test_guest_code_of_translations():
    text = log_of("in_asm")
    assert re.search(r"^cpu 0 in_asm: \d+ instructions at 0x10\w+, physical 0x10\w+$", text, re.MULTILINE), text[:300]
    assert re.search(r"^cpu 0   0x10\w+  call 0x10\w+$", text, re.MULTILINE), text[:300]
    assert "out_asm" not in text and "mmu:" not in text and "int:" not in text
    assert log_of("in_asm", "--jit", "off") == ""


def test_host_code_and_what_instructions_became():
    text = log_of("out_asm,op")
    assert re.search(r"^cpu 0 out_asm: \d+ bytes for 0x10\w+$", text, re.MULTILINE), text[:300]
    assert re.search(r"^cpu 0   0x[0-9a-f]{8,}  \S+", text, re.MULTILINE), text[:300]
    assert re.search(r"^cpu 0 op: ", text, re.MULTILINE) and re.search(r"  0x10\w+  plain, flags wanted", text), text[:300]
    assert "in_asm:" not in text


def test_events_and_page_walks():
    text = log_of("int,mmu")
    assert re.search(r"^cpu 0 int: exception 0xe code 0x\w+ at 0008:0x\w+ .* cr2 0x\w+$", text, re.MULTILINE), text[:300]
    assert re.search(r"^cpu 0 mmu: walk of 0x\w+: physical 0x\w+, \d+ bits, r", text, re.MULTILINE), text[:300]
    assert re.search(r"^cpu 0 mmu: walk of 0x\w+: fault, code 0x\w+$", text, re.MULTILINE)
    assert re.search(r"^cpu 0 mmu: flush of ", text, re.MULTILINE)


def test_without_a_file_it_goes_to_standard_error():
    assert "cpu 0 int: " in boot("--log", "int").stderr
    assert boot("--log", "int,nothing").returncode == 2


def test_perf_map():
    command = [VMMCTL, "boot", "--accel", "tcg", "--kernel", PAYLOAD, "--exit-code-port", "--no-reboot", "--cpu", "max",
               "--perf-map"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        status = process.wait(TIMEOUT_S)
    path = f"/tmp/perf-{process.pid}.map"
    with open(path, encoding="ascii") as file:
        lines = file.read().splitlines()
    os.unlink(path)
    assert status == 0 and lines
    assert all(re.fullmatch(r"[0-9a-f]+ [0-9a-f]+ guest:0x[0-9a-f]+/0x[0-9a-f]+", line) for line in lines), lines[:3]


def test_counters_are_told():
    text = boot("--log-level", "debug").stderr
    values = {name: int(value) for name, value in re.findall(r"tcg: (\w+) (\d+)$", text, re.MULTILINE)}
    for name in ("jit_blocks", "jit_bytes", "jit_links", "tlb_refills", "tlb_walks", "jit_exits_indirect", "jit_drops"):
        assert name in values, text[-2000:]
    assert values["jit_blocks"] > 10 and values["jit_bytes"] > values["jit_blocks"] and values["tlb_walks"] > 0, values
    # Who comes in goes out, and may go from one translation to the next by way of C meanwhile.
    assert sum(value for name, value in values.items() if name.startswith("jit_exits")) >= values["jit_entries"] > 0, values


def test_a_host_without_executable_memory():
    done = boot("--cpus", "2", preexec=refuse_executable_memory)
    told = [line for line in done.stderr.splitlines() if "interpreted" in line]
    assert done.returncode == 0 and len(told) == 1, done.stderr
    assert done.stdout == boot().stdout


def main():
    tests = [value for name, value in sorted(globals().items()) if name.startswith("test_")]
    bad = 0
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}")
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            bad += 1
            print(f"not ok {number} - {test.__name__}")
            print("# " + str(error).replace("\n", "\n# ")[:2000])
    print(f"1..{len(tests)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
