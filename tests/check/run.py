#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Checks the tree against the rules of ARCHITECTURE.md and CONTRIBUTING.md. Prints TAP, with what is wrong under each case.

    tests/check/run.py layers|shape|text           rules that the sources alone tell
    tests/check/run.py built BUILD_FOLDER          rules that need a build
"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import built  # noqa: E402
import layers  # noqa: E402
import shape  # noqa: E402
import text  # noqa: E402

GROUPS = {"layers": layers, "shape": shape, "text": text, "built": built}
PROBLEMS_SHOWN = 30


def main(arguments):
    if not arguments or arguments[0] not in GROUPS or (arguments[0] == "built") != (len(arguments) == 2):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    checks = GROUPS[arguments[0]].CHECKS
    bad = 0
    print(f"1..{len(checks)}")
    for number, check in enumerate(checks, 1):
        problems = check(*arguments[1:])
        name = check.__name__.replace("check_", "", 1)
        print(f"{'not ok' if problems else 'ok'} {number} - {name}")
        for problem in problems[:PROBLEMS_SHOWN]:
            print(f"#   {problem}")
        if len(problems) > PROBLEMS_SHOWN:
            print(f"#   and {len(problems) - PROBLEMS_SHOWN} more")
        bad += bool(problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
