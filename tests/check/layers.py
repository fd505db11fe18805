# SPDX-License-Identifier: Apache-2.0
"""Reads every #include of the tree against the arrows of tools/layers.txt."""
import os
import re

import tree

RULES = "tools/layers.txt"
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
# tools/ and tests/ may include everything, and nobody includes them.
FREE = ("tools/", "tests/")


class Rules:
    def __init__(self, text):
        self.arrows, self.forbidden, self.generated = {}, {}, {}
        for line in text.split("\n"):
            words = line.split("#")[0].split()
            if not words:
                continue
            name, kind, targets = words[0], words[1], [word for word in words[2:] if word != "-"]
            if kind not in ("->", "!>", "=>"):
                raise ValueError(f"{RULES}: cannot read '{line}'")
            {"->": self.arrows, "!>": self.forbidden, "=>": self.generated}[kind].setdefault(name, []).extend(targets)

    def owner(self, path):
        """The longest name with arrows that the path is or lies below; devices are folders apart."""
        best = max((name for name in self.arrows if below(path, name)), key=len, default=None)
        if best == "devices":
            return "/".join(path.split("/")[:2])
        return best

    def arrows_of(self, owner):
        return self.arrows.get(owner) or self.arrows["devices" if owner.startswith("devices/") else owner]


def below(path, name):
    return path == name or path.startswith(name + "/")


def includes(path):
    return INCLUDE.findall(tree.read(path))


def judge(rules, path, target):
    """Returns what is wrong with this include, or None."""
    if target in rules.generated:
        target = rules.generated[target][0] + "/" + target
    elif not os.path.exists(os.path.join(tree.TOP, target)):
        return "is not a path from the top of the tree, nor a generated header named in tools/layers.txt"
    if path.startswith(FREE):
        return None
    owner = rules.owner(path)
    if owner is None:
        return f"its folder has no arrows in {RULES}"
    home = rules.owner(os.path.dirname(path)) or owner
    for name, headers in rules.forbidden.items():
        if below(path, name) and target in headers:
            return "is forbidden to this folder by name"
    if any(below(target, name) for name in [home, *rules.arrows_of(owner)]):
        return None
    return f"no arrow goes there: {owner} -> {' '.join(rules.arrows_of(owner)) or 'nothing'}"


def check_arrows():
    rules = Rules(tree.read(RULES))
    problems = []
    for path in tree.files(".c", ".h"):
        for target in includes(path):
            verdict = judge(rules, path, target)
            if verdict:
                problems.append(f"{path}: \"{target}\": {verdict}")
    return problems


def circle(graph):
    """Returns one circle of a graph {node: nodes} as a list, or None."""
    state = {}

    def visit(node, trail):
        state[node] = "open"
        for after in sorted(graph.get(node, ())):
            if state.get(after) == "open":
                return trail[trail.index(after):] + [after] if after in trail else [node, after]
            if after not in state:
                found = visit(after, trail + [after])
                if found:
                    return found
        state[node] = "done"
        return None

    for node in sorted(graph):
        if node not in state:
            found = visit(node, [node])
            if found:
                return found
    return None


def check_no_circle_of_headers():
    graph = {path: {target for target in includes(path) if target.endswith(".h")} for path in tree.files(".h")}
    found = circle(graph)
    return ["headers include one another: " + " -> ".join(found)] if found else []


def check_no_circle_of_folders():
    """The arrows that are used, folder to folder, without the files that are exceptions."""
    rules = Rules(tree.read(RULES))
    graph = {}
    for path in tree.files(".c", ".h"):
        if path.startswith(FREE):
            continue
        owner = rules.owner(path)
        for target in includes(path):
            other = rules.owner(rules.generated[target][0] if target in rules.generated else target)
            if owner and other and other != owner and not os.path.isfile(os.path.join(tree.TOP, owner)):
                graph.setdefault(owner, set()).add(other)
    found = circle(graph)
    return ["folders include one another: " + " -> ".join(found)] if found else []


CHECKS = [check_arrows, check_no_circle_of_headers, check_no_circle_of_folders]
