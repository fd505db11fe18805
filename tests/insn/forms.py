#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes forms_gen.c from insn.tab: how each row is encoded, for the generator of experiments (generate.c)."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[1])))
sys.dont_write_bytecode = True
import insn_gen  # noqa: E402  (found by the path of the table)


def mask(row, name, count):
    return sum(1 << value for value in row.select.get(name, range(count)))


def form_text(index, row):
    opcode_map, first = row.opcodes[0]
    fields = {
        'row': index, 'vex': int(row.vex), 'map': opcode_map - (insn_gen.EVEX_MAP_BASE if row.evex else insn_gen.VEX_MAP_BASE if row.vex else 0),
        'opcode': first, 'opcode_count': len(row.opcodes), 'evex': int(row.evex), 'modrm': int(row.modrm), 'vvvv': int(bool(row.letters & set('BH'))),
    }
    for name, count in insn_gen.SELECTORS:
        fields[name] = mask(row, name, count)
    return '\t{' + ', '.join(f'.{name} = {value}' for name, value in fields.items()) + '},\n'


def main():
    rows = insn_gen.read_table(sys.argv[1])
    with open(sys.argv[2], 'w', encoding='ascii') as out:
        out.write('/* SPDX-License-Identifier: Apache-2.0 */\n/* Made from insn.tab by forms.py. */\n'
                  '#include "tests/insn/generate.h"\n\nconst struct oracle_form oracle_forms[] = {\n')
        for index, row in enumerate(rows):
            out.write(form_text(index, row))
        out.write('};\n')


main()
