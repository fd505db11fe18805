# SPDX-License-Identifier: Apache-2.0
"""What only the built objects and the build's own description tell: hidden state, sources that nobody compiles, scripts
that do not parse, generated files that are stale."""
import glob
import json
import os
import re
import shlex
import shutil
import subprocess

import tree

PRODUCT = re.compile(r"(^|/)(vmm|boot|loader|devices|tcg-fallback|kvm|api|jailer)[/@]")
SYMBOL = re.compile(r"^[0-9a-f]+ (?P<bind>.).{5}(?P<type>.) (?P<section>\S+)\s+(?P<size>[0-9a-f]+) (?P<name>.*)$")
MUTABLE = re.compile(r"^\.(data|bss|tdata|tbss)(\.(?!rel\.ro)|$)")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def objects(build):
    found = []
    for path in glob.glob(os.path.join(build, "**", "*.c.o"), recursive=True):
        if PRODUCT.search(os.path.relpath(path, build)):
            found.append(path)
    return found


def check_no_mutable_file_scope(build):
    """Two machines can run in one process only if nothing lives at file scope."""
    allowed = tree.exemptions("file-scope-state")
    problems = []
    for path in objects(build):
        for line in run("objdump", "-t", path).stdout.split("\n"):
            match = SYMBOL.match(line)
            if not match or match["type"] != "O" or not MUTABLE.match(match["section"]) or int(match["size"], 16) == 0:
                continue
            name = re.sub(r"\.\d+$", "", match["name"].strip())
            if name not in allowed and not name.startswith("__asan") and not name.startswith("."):
                problems.append(f"{os.path.relpath(path, build)}: {name} is mutable state at file scope")
    return problems


def check_every_source_is_compiled(build):
    targets = json.loads(run("meson", "introspect", build, "--targets").stdout)
    compiled = {os.path.relpath(source, tree.TOP) for target in targets for group in target["target_sources"]
                for source in group.get("sources", [])}
    return [f"{path}: no target compiles it" for path in tree.files(".c")
            if path not in compiled and not path.startswith(("tests/guest/", "tests/bench/", "tests/boot/", "tools/", "guest/bench/payload/"))
            and path not in ("tests/fuzz/replay_main.c", "vmm/bench/payload_none.c", "vmm/bench/native_none.c")]


def check_every_fuzz_target_has_a_corpus(_build):
    problems = []
    for path in tree.files(".c"):
        match = re.fullmatch(r"tests/fuzz/fuzz_(\w+)\.c", path)
        if match and not corpus_of(match.group(1)):
            problems.append(f"{path}: tests/fuzz/corpus/{match.group(1)}/ is empty")
    return problems


def corpus_of(name):
    return glob.glob(os.path.join(tree.TOP, "tests/fuzz/corpus", name, "*"))


def check_scripts_parse(_build):
    problems = []
    for path in tree.files():
        if not tree.is_text(path):
            continue
        first = tree.read(path).split("\n", 1)[0]
        full = os.path.join(tree.TOP, path)
        if path.endswith(".py") or first.startswith("#!") and "python3" in first:
            try:
                compile(tree.read(path), path, "exec")
            except SyntaxError as error:
                problems.append(f"{path}: {error}")
        elif first.startswith("#!") and ("bash" in first or "/sh" in first):
            command = ["shellcheck", "-S", "warning", full] if shutil.which("shellcheck") else ["bash", "-n", full]
            result = run(*command)
            if result.returncode:
                problems.append(f"{path}: {result.stdout}{result.stderr}")
    return problems


def check_generated_files_are_fresh(build):
    """Each line of tools/generated.txt is `FILE: COMMAND`; the command prints what the file must hold."""
    problems = []
    for line in tree.read("tools/generated.txt").split("\n"):
        if not line or line.startswith("#"):
            continue
        path, _, command = line.partition(":")
        words = [word.replace("@build@", build) for word in shlex.split(command)]
        result = run(*words, cwd=tree.TOP)
        if result.returncode:
            problems.append(f"{path}: `{command.strip()}` failed: {result.stderr.strip()}")
        elif result.stdout != tree.read(path):
            problems.append(f"{path} is stale: write the output of `{command.strip()}` to it")
    return problems


CHECKS = [check_no_mutable_file_scope, check_every_source_is_compiled, check_every_fuzz_target_has_a_corpus,
          check_scripts_parse, check_generated_files_are_fresh]
