#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The project's own tools: what counts tests, unpacks kernels, makes archives, and checks the tree must not lie."""
import bz2
import gzip
import importlib.machinery
import importlib.util
import json
import lzma
import os
import struct
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests/check"))

import layers  # noqa: E402
import text  # noqa: E402
import tree  # noqa: E402


def load(name):
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), os.path.join(TOP, "tools", name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class CountTest(unittest.TestCase):
    def count(self, output, result="OK"):
        return load("test-count").count_test({"result": result, "stdout": output})

    def test_cmocka(self):
        output = ("[==========] Running 3 test(s).\n[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[  FAILED  ] b\n"
                  "[ RUN      ] c\n[  SKIPPED ] c\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] b\n")
        self.assertEqual(self.count(output, "FAIL"), [1, 1, 1])

    def test_tap(self):
        self.assertEqual(self.count("1..3\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no KVM\n", "FAIL"), [1, 1, 1])

    def test_unittest(self):
        self.assertEqual(self.count("Ran 9 tests in 0.1s\n\nFAILED (failures=1, errors=2, skipped=1)\n", "FAIL"), [5, 3, 1])

    def test_closing_line(self):
        self.assertEqual(self.count("noise\nboot: 4 passed, 1 failed, 2 skipped\n", "FAIL"), [4, 1, 2])

    def test_a_program_that_says_nothing_is_one_case(self):
        self.assertEqual(self.count("", "OK"), [1, 0, 0])
        self.assertEqual(self.count("", "SKIP"), [0, 0, 1])

    def test_a_crash_after_good_cases_is_a_failure(self):
        self.assertEqual(self.count("[==========] Running 2 test(s).\n[       OK ] a\n", "FAIL"), [1, 1, 0])
        self.assertEqual(self.count("1..1\nok 1 - a\n", "TIMEOUT"), [1, 1, 0])

    def test_log_of_a_run(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as log:
            json.dump({"name": "x", "result": "OK", "stdout": "5 passed, 0 failed\n"}, log)
            log.flush()
            self.assertEqual(load("test-count").main([log.name]), 0)


def bzimage(payload, length=None):
    image = bytearray(2 * 512)
    image[0x1f1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20f)
    struct.pack_into("<II", image, 0x248, 0, len(payload) if length is None else length)
    return bytes(image) + payload


class ExtractTest(unittest.TestCase):
    ELF = b"\x7fELF" + bytes(range(256)) * 16

    def setUp(self):
        self.tool = load("extract-vmlinux")

    def test_each_compression(self):
        for compress in (lambda data: lzma.compress(data, check=lzma.CHECK_CRC32), gzip.compress, bz2.compress,
                         lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE)):
            packed = compress(self.ELF) + struct.pack("<I", len(self.ELF))
            self.assertEqual(self.tool.extract(bzimage(packed)), self.ELF)

    def test_what_is_refused(self):
        packed = gzip.compress(self.ELF)
        for image, message in ((b"", "no HdrS"), (bzimage(packed, 1 << 30), "cut short"),
                               (bzimage(b"garbage!"), "unknown compression"), (bzimage(gzip.compress(b"text")), "no ELF"),
                               (bzimage(packed[:4] + b"\xff" * 40), "")):
            with self.assertRaisesRegex(self.tool.ExtractError, message):
                self.tool.extract(image)


class InitramfsTest(unittest.TestCase):
    def entries(self, archive):
        found, offset = {}, 0
        while True:
            self.assertEqual(archive[offset:offset + 6], b"070701")
            field = [int(archive[offset + 6 + 8 * i:offset + 14 + 8 * i], 16) for i in range(13)]
            name = archive[offset + 110:offset + 110 + field[11] - 1].decode()
            data = (offset + 110 + field[11] + 3) // 4 * 4
            if name == "TRAILER!!!":
                return found
            found[name] = (field[1], archive[data:data + field[6]], (field[9], field[10]))
            offset = (data + field[6] + 3) // 4 * 4

    def test_archive(self):
        with tempfile.NamedTemporaryFile() as busybox:
            busybox.write(b"program")
            busybox.flush()
            tool = load("initramfs")
            archive = tool.build(busybox.name)
            self.assertEqual(archive, tool.build(busybox.name))
        entries = self.entries(archive)
        self.assertEqual(entries["bin/busybox"][:2], (0o100755, b"program"))
        self.assertEqual(entries["bin/sh"][:2], (0o120777, b"busybox"))
        self.assertEqual(entries["dev/console"][::2], (0o020600, (5, 1)))
        self.assertTrue(entries["init"][1].startswith(b"#!/bin/sh\n"))


class ChecksTest(unittest.TestCase):
    def test_arrows(self):
        rules = layers.Rules(tree.read("tools/layers.txt"))
        for path, target, allowed in (("devices/legacy/pit.c", "vmm/core/device.h", True),
                                      ("devices/legacy/pit.c", "vmm/core/accel.h", False),
                                      ("devices/legacy/pit.c", "vmm/machine/machine.h", False),
                                      ("devices/virtio/blk.c", "devices/legacy/pit.h", False),
                                      ("vmm/base/err.c", "vmm/core/bus.h", False),
                                      ("tcg-fallback/tcg.c", "vmm/core/accel.h", True),
                                      ("tcg-fallback/x86/vec.c", "vmm/core/accel.h", False),
                                      ("loader/elf.c", "loader/gone.h", False),
                                      ("unknown/file.c", "vmm/base/err.h", False)):
            self.assertEqual(layers.judge(rules, path, target) is None, allowed, f"{path} -> {target}")

    def test_circle(self):
        self.assertEqual(layers.circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}), ["a", "b", "c", "a"])
        self.assertIsNone(layers.circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}))

    def test_parameters(self):
        for signature, count in (("int f(void)", 0), ("int f()", 0), ("int f(int a, int (*g)(int, int), char c[2])", 3)):
            self.assertEqual(tree.count_parameters(signature), count)

    def test_words(self):
        self.assertTrue(text.UNFINISHED.search("a TO" + "DO here"))
        self.assertTrue(text.MACHINE_PATHS.search("see /ro" + "ot/notes"))
        self.assertFalse(text.MACHINE_PATHS.search("paths from the root/top"))


if __name__ == "__main__":
    unittest.main()
