# SPDX-License-Identifier: Apache-2.0
"""How long functions, files and lines may be, how many parameters a function takes, and how files are named."""
import os
import re
import statistics

import tree

FUNCTION_LINES_MAX = 100
FUNCTION_LINES_P95 = 50
FUNCTION_LINES_MEDIAN = 15
FUNCTION_PARAMETERS_MAX = 6
FILE_LINES_MAX = 600
LINE_COLUMNS_MAX = 110
SOURCES = (".c", ".h")
VAGUE_NAMES = re.compile(r"(^|[_\-])(utils?|common|misc|helpers?|manager|stuff)([_\-.]|$)")


def all_functions(path_filter=lambda path: True):
    return [function for path in tree.files(*SOURCES) if path_filter(path) for function in tree.functions(path)]


def check_function_length():
    exempt = tree.exemptions("function-length")
    return [f"{function}: {function.length} lines, at most {FUNCTION_LINES_MAX} are allowed"
            for function in all_functions() if function.length > FUNCTION_LINES_MAX and function.path not in exempt]


def check_function_length_distribution():
    problems = []
    # The product is measured without its tests, whose long cases would hide behind short ones, and the reverse.
    for what, chosen in (("the product", lambda path: not path.startswith("tests/")),
                         ("the tests", lambda path: path.startswith("tests/"))):
        lengths = sorted(function.length for function in all_functions(chosen))
        if len(lengths) < 20:
            continue
        median, high = statistics.median(lengths), lengths[int(len(lengths) * 0.95)]
        if median >= FUNCTION_LINES_MEDIAN and what == "the product":
            problems.append(f"the median function of {what} has {median} lines, not under {FUNCTION_LINES_MEDIAN}")
        if high >= FUNCTION_LINES_P95:
            problems.append(f"the 95th percentile of {what}'s functions has {high} lines, not under {FUNCTION_LINES_P95}")
    return problems


def check_parameter_count():
    exempt = tree.exemptions("parameters")
    return [f"{function}: {function.parameters} parameters, at most {FUNCTION_PARAMETERS_MAX} are allowed"
            for function in all_functions()
            if function.parameters > FUNCTION_PARAMETERS_MAX and function.path not in exempt]


def check_file_length():
    exempt = tree.exemptions("file-length")
    problems = []
    for path in tree.files(*SOURCES, ".py"):
        count = tree.read(path).count("\n")
        if count >= FILE_LINES_MAX and path not in exempt:
            problems.append(f"{path}: {count} lines, not under {FILE_LINES_MAX}; tables are exempted, with a reason, in "
                            "tests/check/exempt/file-length.txt")
    return problems


def check_line_width():
    return [f"{path}:{number}: wider than {LINE_COLUMNS_MAX} columns"
            for path in tree.files(*SOURCES)
            for number, line in enumerate(tree.read(path).split("\n"), 1)
            if len(line.expandtabs(8)) > LINE_COLUMNS_MAX]


def check_file_names():
    return [f"{path}: the name says nothing of what is inside" for path in tree.files()
            if VAGUE_NAMES.search(os.path.basename(path)) and not path.startswith("tests/fuzz/corpus/")]


def check_exemptions_are_needed():
    """An exemption that nothing needs hides the next offence."""
    problems = []
    for name, needed in (("function-length", lambda path: any(f.length > FUNCTION_LINES_MAX for f in tree.functions(path))),
                         ("parameters", lambda path: any(f.parameters > FUNCTION_PARAMETERS_MAX
                                                         for f in tree.functions(path))),
                         ("file-length", lambda path: tree.read(path).count("\n") >= FILE_LINES_MAX)):
        for path in tree.exemptions(name):
            if not os.path.exists(os.path.join(tree.TOP, path)) or not needed(path):
                problems.append(f"tests/check/exempt/{name}.txt: {path} needs no exemption")
    return problems


CHECKS = [check_function_length, check_function_length_distribution, check_parameter_count, check_file_length,
          check_line_width, check_file_names, check_exemptions_are_needed]
