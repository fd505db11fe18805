# SPDX-License-Identifier: Apache-2.0
"""
The tree as the checks see it: its files, the functions of its C sources, and exemptions. Reads committed and new files
alike, but nothing that .gitignore names. Knows no rule: those are in the other modules.
"""
import os
import re
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(*endings):
    """Paths from the top of all files of the tree that end so, sorted; all files when no ending is given."""
    command = ["git", "-C", TOP, "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({name for name in names if name and (not endings or name.endswith(endings))
                   and os.path.isfile(os.path.join(TOP, name))})


def read(name):
    with open(os.path.join(TOP, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def is_text(name):
    with open(os.path.join(TOP, name), "rb") as file:
        return b"\0" not in file.read(8192)


def blank_comments(text):
    """The text with comments, strings and character constants emptied; lines stay where they are."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)

    def blank(match):
        token = match.group(0)
        return token[0] * 2 if token[0] in "\"'" else " " + "\n" * token.count("\n")
    return pattern.sub(blank, text)


class Function:
    """A function's definition: where it is, how many lines it has with its signature, and its parameters."""

    def __init__(self, name, path, line, length, parameters):
        self.name, self.path, self.line, self.length, self.parameters = name, path, line, length, parameters

    def __str__(self):
        return f"{self.path}:{self.line}: {self.name}"


def count_parameters(signature):
    """Commas of the outermost parameter list, the last pair of parentheses at depth 0."""
    depth, count, empty = 0, 1, True
    inner = signature[signature.find("(") + 1:signature.rfind(")")]
    for character in inner:
        depth += (character in "([{") - (character in ")]}")
        count += character == "," and depth == 0
        empty = empty and character.isspace()
    return 0 if empty or inner.strip() == "void" else count


def functions(path):
    """All functions of a C file: the tree's style puts a function's braces, and no others, alone into column 0."""
    lines = blank_comments(read(path)).split("\n")
    found = []
    start = None
    for number, line in enumerate(lines):
        if line.rstrip() == "{":
            start = number
        elif line.rstrip() == "}" and start is not None:
            first = start
            while first > 0 and re.match(r"\S|\s+\S", lines[first - 1]) and not re.match(r"[#}]|.*;\s*$", lines[first - 1]):
                first -= 1
            signature = " ".join(lines[first:start])
            name = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", signature))
            if name:
                found.append(Function(name.group(1), path, first + 1, number - first + 1, count_parameters(signature)))
            start = None
    return found


def exemptions(name):
    """Lines `PATH  reason` of tests/check/exempt/NAME.txt: {path: reason}. A line without a reason is an error."""
    result = {}
    for line in read(f"tests/check/exempt/{name}.txt").split("\n"):
        if line and not line.startswith("#"):
            path, _, reason = line.partition(" ")
            if not reason.strip():
                raise ValueError(f"tests/check/exempt/{name}.txt: {path} has no reason")
            result[path] = reason.strip()
    return result
