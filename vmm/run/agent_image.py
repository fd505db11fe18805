#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Writes an assembler file that carries a program file as bytes, between the symbols NAME_image and NAME_image_end:

    agent_image.py PROGRAM OUTPUT [NAME]      (NAME: run_agent)
"""
import os
import sys

TEXT = """/* Made by agent_image.py: a program file. */
	.section .rodata
	.globl {name}_image, {name}_image_end
	.type {name}_image, @object
{name}_image:
	.incbin "{path}"
{name}_image_end:
	.byte 0
	.size {name}_image, . - {name}_image
	.section .note.GNU-stack, "", @progbits
"""

NAME = sys.argv[3] if len(sys.argv) > 3 else "run_agent"
with open(sys.argv[2], "w", encoding="utf-8") as output:
    output.write(TEXT.format(path=os.path.abspath(sys.argv[1]), name=NAME))
