#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`vmmctl bench` as a person or a script meets it: test_bench.py VMMCTL. Prints TAP."""
import json
import subprocess
import sys

VMMCTL = sys.argv[1]
TIMEOUT_S = 600


def bench(*arguments):
    return subprocess.run([VMMCTL, "bench", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=TIMEOUT_S, check=False)


def test_every_class_has_a_figure():
    names = [line.split()[0] for line in bench("--accel", "tcg", "--list").stdout.splitlines()]
    assert len(names) > 20 and {"int-alu", "x87", "code-modified", "cpu-syscall", "io-port"} <= set(names), names
    for jit in ("off", "on"):
        result = json.loads(bench("--accel", "tcg", "--jit", jit, "--ms", "1", "--json", "-").stdout)
        assert (result["accel"], result["jit"], result["ms"]) == ("tcg", jit, 1), result
        assert [row["class"] for row in result["rows"]] == names, result
        assert all(row["guest_ns"] > 0 and row["unit"] for row in result["rows"]), result
        native = {row["class"] for row in result["rows"] if "host_ns" in row}
        assert "int-alu" in native and "code-fresh" not in native and "io-port" not in native, native


def test_the_table_has_the_classes_asked_for():
    done = bench("--accel", "tcg", "--ms", "1", "--class", "sort", "--class", "cpu-fault")
    rows = [line.split() for line in done.stdout.splitlines()[3:]]
    assert done.returncode == 0 and [row[0] for row in rows] == ["sort", "cpu-fault"], done
    assert rows[1][2:4] == ["-", "-"], rows


def test_mistakes_are_told():
    done = bench("--accel", "tcg", "--ms", "1", "--class", "nothing")
    assert done.returncode == 1 and "no such class" in done.stderr, done
    done = bench("--ms", "0")
    assert done.returncode == 2 and "--ms" in done.stderr, done
    done = bench("--accel", "none")
    assert done.returncode == 1 and "none" in done.stderr, done


def main():
    tests = [value for name, value in sorted(globals().items()) if name.startswith("test_")]
    bad = 0
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}")
        except (AssertionError, subprocess.TimeoutExpired, ValueError) as error:
            bad += 1
            print(f"not ok {number} - {test.__name__}")
            print("# " + str(error).replace("\n", "\n# ")[:2000])
    print(f"1..{len(tests)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
