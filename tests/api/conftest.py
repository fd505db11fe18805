# SPDX-License-Identifier: Apache-2.0
"""pytest's set-up: the program under test, a microVM a test, and the closing line that tools/test-count reads."""
import os
import sys

import pytest

from microvm import MicroVM

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "boot"))


def pytest_addoption(parser):
    parser.addoption("--vmmctl", required=True, help="the program under test")
    parser.addoption("--readme", required=True, help="the README whose walk-through is done")


@pytest.fixture(scope="session")
def program(request):
    return request.config.getoption("--vmmctl")


@pytest.fixture
def make(program, tmp_path):
    """Starts microVMs, each in a folder of its own, and ends them."""
    made = []

    def start(*arguments, **how):
        folder = tmp_path / f"vm{len(made)}"
        folder.mkdir()
        made.append(MicroVM(program, folder, *arguments, **how))
        return made[-1]

    yield start
    for vm in made:
        vm.end()


@pytest.fixture
def vm(make):
    return make()


@pytest.fixture
def running(make):
    vm = make()
    vm.start()
    return vm


def pytest_terminal_summary(terminalreporter):
    count = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "error", "skipped")}
    terminalreporter.write_line(f"{count['passed']} passed, {count['failed'] + count['error']} failed, "
                                f"{count['skipped']} skipped")
