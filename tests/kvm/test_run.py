#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
What run.py makes of rigs that stand still, die, do not come up, or go on living while a case hangs. The rigs are shell scripts
that say what a rig says; their hearts are files.
"""
import contextlib
import io
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run  # noqa: E402  (before what it imports: tests/boot has a run.py, too)
import rig  # noqa: E402

# A heart ends with its rig, however that ends.
HEART = 'heart() { while kill -0 $$ 2>/dev/null; do echo beat >>"$0"; sleep 0.05; done; }\nheart >/dev/null 2>&1 & echo "rig: up"\n'
STAND_STILL = "kill $!; sleep 1000"
LIVE_AND_HANG = "wait"
DIE = "exit 0"
DOWN = 'echo "rig: down"\n'


def case_script(number, name, body="echo fine", status=0):
    return f'echo "rig: begin {number:02}-{name}"\n{body}\necho "rig: end {number:02}-{name} status {status}"\n'


class FakeRig(rig.Rig):
    """Its script has the heart's path as $0."""

    def __init__(self, names, script, log_path):
        super().__init__([(name, "") for name in names], log_path)
        self.script = script

    def _command(self):
        return ["bash", "-c", self.script, self.heart]


class Restarts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = os.path.join(folder.name, "log")
        for module, name, value in ((rig, "HEART_PATIENCE_S", 5), (rig, "BOOT_TIMEOUT_S", 10), (run, "CASE_TIMEOUT_S", 20)):
            self.addCleanup(setattr, module, name, getattr(module, name))
            setattr(module, name, value)

    def run_with(self, names, *scripts):
        """The rigs of these scripts, in turn; returns the verdicts by name, what was started, and what befell the rigs."""
        verdicts, started = {}, []
        cases = {name: ("", lambda session: session.expect("^fine$", run.CASE_TIMEOUT_S).group()) for name in names}

        def start(rest, number):
            started.append(rest)
            return FakeRig(rest, scripts[number], self.log)

        def tell(name, verdict, text):
            self.assertNotIn(name, verdicts)
            verdicts[name] = (verdict.strip(), text)

        with contextlib.redirect_stdout(io.StringIO()):
            mishaps = run.run_cases(names, cases, start, tell)
        return {name: verdict for name, (verdict, _) in verdicts.items()}, started, mishaps

    def test_one_rig_does(self):
        verdicts, started, mishaps = self.run_with(
            ["a", "b"], HEART + case_script(0, "a") + case_script(1, "b", status=3) + DOWN)
        self.assertEqual(verdicts, {"a": "ok", "b": "FAIL"})
        self.assertEqual((started, mishaps), ([["a", "b"]], []))

    def test_a_case_that_fails_leaves_the_next_alone(self):
        verdicts, started, _ = self.run_with(
            ["a", "b"], HEART + case_script(0, "a", "echo bad") + case_script(1, "b") + DOWN)
        self.assertEqual(verdicts, {"a": "FAIL", "b": "ok"})
        self.assertEqual(started, [["a", "b"]])

    def test_a_rig_that_stands_still_is_replaced(self):
        verdicts, started, mishaps = self.run_with(
            ["a", "b", "c"],
            HEART + case_script(0, "a") + case_script(1, "b", STAND_STILL),
            HEART + case_script(0, "b") + case_script(1, "c"))
        self.assertEqual(verdicts, {"a": "ok", "b": "ok", "c": "ok"})
        self.assertEqual(started, [["a", "b", "c"], ["b", "c"]])
        self.assertEqual(mishaps, ["the rig's kernel stood still in b"])

    def test_a_rig_that_dies_is_replaced(self):
        verdicts, _, mishaps = self.run_with(["a"], HEART + case_script(0, "a", DIE), HEART + case_script(0, "a"))
        self.assertEqual((verdicts, mishaps), ({"a": "ok"}, ["the rig ended in a"]))

    def test_a_rig_that_went_down_in_order_has_not_died(self):
        verdicts, _, mishaps = self.run_with(["a"], HEART + case_script(0, "a", "echo bad") + DOWN)
        self.assertEqual((verdicts, mishaps), ({"a": "FAIL"}, []))

    def test_a_rig_that_does_not_come_up_is_replaced(self):
        verdicts, _, mishaps = self.run_with(["a"], "sleep 1000", HEART + case_script(0, "a"))
        self.assertEqual(verdicts, {"a": "ok"})
        self.assertRegex(mishaps[0], "did not come up")

    def test_not_more_than_twice(self):
        still = HEART + case_script(0, "a", STAND_STILL)
        verdicts, started, mishaps = self.run_with(["a", "b"], still, still, still)
        self.assertEqual(verdicts, {"a": "FAIL", "b": "FAIL"})
        self.assertEqual((len(started), len(mishaps)), (3, 3))

    def test_a_hang_in_a_living_rig_is_the_cases_failure(self):
        run.CASE_TIMEOUT_S = 7
        verdicts, started, mishaps = self.run_with(
            ["a", "b"], HEART + case_script(0, "a", LIVE_AND_HANG), HEART + case_script(0, "b"))
        self.assertEqual(verdicts, {"a": "FAIL", "b": "ok"})
        self.assertEqual((started, mishaps), ([["a", "b"], ["b"]], []))


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=2).result
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed, 0 skipped")
    sys.exit(1 if failed else 0)
