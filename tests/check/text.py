# SPDX-License-Identifier: Apache-2.0
"""What every file says at its head, and the words that none may hold."""
import re

import tree

SPDX = "SPDX-License-Identifier: Apache-2.0"
HASH_FILES = re.compile(r"(meson\.build|meson_options\.txt|\.py|\.sh|\.tab|\.ya?ml|tools/\w[\w-]*|\.ci/run)$")
# Written in pieces, so that this file does not hold what it looks for.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|\b(place" r"holder|for " r"now|not " r"implemented yet)\b")
LEFTOVERS = re.compile(r"^[ \t]*#[ \t]*if[ \t]+0\b|^<<<<" r"<<<|^>>>>" r">>>", re.MULTILINE)
MACHINE_PATHS = re.compile(r"(?<![\w.~}/])/(wo" r"rk|ro" r"ot|home/\w+|tmp/w)/\w")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
CODE_LINE = re.compile(r"^[\s*/]*((\w+\([^)]*\)|return \w+|[\w.>-]+ [-+|&]?= [^;]*);|(if|for|while) \(.*\) \{|#\w+.*\\)[\s*/]*$")


def source_files():
    return tree.files(".c", ".h")


def text_files():
    return [path for path in tree.files() if not path.startswith("tests/fuzz/corpus/") and tree.is_text(path)]


def check_licence_line():
    problems = []
    for path in source_files():
        if not tree.read(path).startswith(f"/* {SPDX} */\n"):
            problems.append(f"{path}: the first line is not /* {SPDX} */")
    for path in text_files():
        if HASH_FILES.search(path) and SPDX not in "\n".join(tree.read(path).split("\n")[:3]):
            problems.append(f"{path}: the first lines have no {SPDX}")
    return problems


def check_head_comment():
    """The second line of a C file begins the comment that says what the file is responsible for."""
    problems = []
    for path in source_files():
        comment = re.match(r"/\*.*?\*/\n/\*(.*?)\*/", tree.read(path), re.DOTALL)
        if not comment or len(comment.group(1).split()) < 4:
            problems.append(f"{path}: no comment under the licence line says what the file is responsible for")
    return problems


def check_include_guards():
    return [f"{path}: no #pragma once" for path in tree.files(".h")
            if not re.search(r"^#pragma once$", tree.read(path), re.MULTILINE) and "_table" not in path]


def matches(pattern, paths):
    problems = []
    for path in paths:
        text = tree.read(path)
        for match in pattern.finditer(text):
            problems.append(f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match.group(0).strip()}")
    return problems


def check_no_unfinished_words():
    return matches(UNFINISHED, text_files())


def check_no_leftovers():
    return matches(LEFTOVERS, text_files())


def check_no_commented_code():
    return [f"{path}: {line.strip()}" for path in source_files()
            for comment in COMMENT.findall(re.sub(r'"(\\\\.|[^"\\\\\n])*"', '""', tree.read(path)))
            for line in comment.split("\n") if CODE_LINE.match(line)]


def check_no_machine_paths():
    return matches(MACHINE_PATHS, text_files())


def check_white_space():
    problems = []
    for path in text_files():
        text = tree.read(path)
        if text and not text.endswith("\n"):
            problems.append(f"{path}: no newline at the end")
        problems += [f"{path}:{number}: white space at the end of the line"
                     for number, line in enumerate(text.split("\n"), 1)
                     if line != line.rstrip() and not path.endswith((".md", ".1", "LICENSE"))]
    return problems


CHECKS = [check_licence_line, check_head_comment, check_include_guards, check_no_unfinished_words, check_no_leftovers,
          check_no_commented_code, check_no_machine_paths, check_white_space]
