#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Runs what `vmmctl boot ARGUMENTS` would run, saved and made again on the way.

    tests/snapshot/wrap.py CYCLE FOLDER EVERY_MS COUNT ACCELS VMMCTL boot ARGUMENTS...

CYCLE is the program of cycle.c, FOLDER gets the configuration and the snapshots, ACCELS is a list or "-".
"""
import os
import subprocess
import sys


def main():
    cycle, folder, every_ms, count, accels, *command = sys.argv[1:]
    config = os.path.join(folder, "config.json")
    with open(config, "wb") as file:
        subprocess.run([*command, "--print-config"], check=True, stdout=file)
    arguments = [cycle, config, folder, every_ms, count]
    os.execv(cycle, arguments if accels == "-" else [*arguments, accels])


if __name__ == "__main__":
    main()
