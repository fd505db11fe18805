#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes an assembler file that carries a program file as bytes: agent_image.py PROGRAM OUTPUT."""
import os
import sys

TEXT = """/* Made by agent_image.py: the agent's program file. */
	.section .rodata
	.globl run_agent_image, run_agent_image_end
	.type run_agent_image, @object
run_agent_image:
	.incbin "{path}"
run_agent_image_end:
	.byte 0
	.size run_agent_image, . - run_agent_image
	.section .note.GNU-stack, "", @progbits
"""

with open(sys.argv[2], "w", encoding="utf-8") as output:
    output.write(TEXT.format(path=os.path.abspath(sys.argv[1])))
