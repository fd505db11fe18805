#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes insn_gen.h and insn_gen.c from insn.tab: rows, operand and handler names, the decoder's tries.

The trie: x86_opcode_root[map][opcode] refers to a node or a leaf. A reference is 0 (undefined), 0x8000 + offset into
x86_leaf (rows to try in order, the last one with bit 15 set), or an offset into x86_tree, where the selector is followed
by one reference for each value that the selector can have. decode.h says the same to the reader of decode.c.
"""
import re
import sys

MAPS = {'': 0, '0F': 1, '0F38': 2, '0F3A': 3}
VEX_MAP_BASE = 3  # VEX maps 1..3 follow the four legacy maps
EVEX_MAP_BASE = 6
MAP_COUNT = 10
PREFIXES = {'NP': [0], '66': [1], 'F3': [2], 'F2': [3], 'NFx': [0, 1]}
# Selectors in the order in which the trie asks; the number of values of each. decode.h: enum x86_select.
SELECTORS = [('mode64', 2), ('prefix', 4), ('reg', 8), ('mod3', 2), ('rm', 8), ('w', 2), ('rexb', 2), ('osize', 3), ('vexl', 4),
             ('vexw', 2)]
FLAG_LETTERS = {'o': 'OF', 's': 'SF', 'z': 'ZF', 'a': 'AF', 'p': 'PF', 'c': 'CF', 'd': 'DF'}
FLAG_ALL = 'FLAGS_STATUS | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC | FLAG_ID'
PROPERTIES = {'lock': 'LOCK', 'jump': 'JUMP', 'end': 'END', 'cpl0': 'CPL0', 'no64': 'NO64', 'only64': 'ONLY64',
              'd64': 'D64', 'f64': 'F64', 'noreal': 'NO_REAL', 'string': 'STRING', 'fpu': 'FPU', 'mmx': 'MMX', 'sse': 'SSE',
              'mem': 'MODRM_MEM', 'reg': 'MODRM_REG', 'avx': 'AVX', 'mxcsr': 'MXCSR', 'vsib': 'VSIB'}
FORM_WORDS = {'modreg', 'byte', 'unaligned', 'aligned'}
MASK_WORDS = {'k1': 1, 'k2': 2, 'k4': 4, 'k8': 8, 'ks': 16}
BROADCAST_WORDS = {'bc4': 4, 'bc8': 8}
EVEX_WORDS = {'z': 'ZEROING', 'er': 'ROUNDING', 'sae': 'SAE', 'nf': 'WHOLE', 'once': 'ONCE', 'dense': 'DENSE'}
SIZES = {'b': 1, 'w': 2, 'd': 4, 'q': 8, 'dq': 16, 'ps': 16, 'pd': 16, 'ss': 4, 'sd': 8, 'pi': 8, 'qq': 32,
         'x': 16, 'h': 8, 'f': 4, 'e': 2}
BY_LENGTH = 'xhfe'  # sizes that grow with the vector length
IMMEDIATES = {'Ib': 'IB', 'sIb': 'SIB', 'Iw': 'IW', 'Iz': 'IZ', 'Iv': 'IV', 'Jb': 'SIB', 'Jz': 'IZ', 'Ap': 'AP',
              'Ob': 'MOFFS', 'Ov': 'MOFFS', 'Iw,Ib': 'IWIB', 'Lx': 'IB'}
OPERAND = re.compile(r'(?P<letter>[EGVWUMRPQNSCDIJOAXYZBHL])(?P<size>dq|ps|pd|ss|sd|pi|qq|[bwdqvzypsaxhfek])?$')
EITHER = re.compile(r'R[dv]M(?P<size>[bwd])$')


class Row:
    """One line of the table."""

    def __init__(self, line, number):
        self.number = number
        cells = [cell.strip() for cell in line.split('|')]
        if len(cells) < 6:
            self.fail('too few columns')
        cells += [''] * (7 - len(cells))
        self.encoding_text, operands, self.mem, self.flags, self.feature, self.binding, properties = cells
        self.mnemonic, _, operands = operands.partition(' ')
        self.operands = [operand for operand in operands.strip().split(',') if operand]
        self.words = properties.split()
        for word in self.words:
            if not any(word in known for known in (PROPERTIES, FORM_WORDS, MASK_WORDS, BROADCAST_WORDS, EVEX_WORDS)):
                self.fail(f'unknown property {word}')
        self.select = {}
        self.modrm = False
        self.parse_encoding(self.encoding_text.split())
        self.restrict_by_operands()

    def fail(self, message):
        sys.exit(f'insn.tab:{self.number}: {message}')

    def parse_encoding(self, tokens):
        self.evex = tokens[0].startswith('EVEX.')
        self.vex = self.evex or tokens[0].startswith('VEX.')
        self.lengths = ''
        self.opcodes = []
        if self.vex:
            parts = tokens.pop(0).split('.')[1:]
            opcode_map = (EVEX_MAP_BASE if self.evex else VEX_MAP_BASE) + MAPS[parts[2]]
            self.lengths = parts[0]
            self.select['prefix'] = PREFIXES[parts[1]]
            if parts[0] in ('LZ', 'L0', '128'):
                self.select['vexl'] = [0]
            elif parts[0] in ('L1', '256'):
                self.select['vexl'] = [1]
            elif parts[0] == '512':
                self.select['vexl'] = [2]
            elif parts[0] == 'L12':
                self.select['vexl'] = [1, 2]
            elif self.evex and parts[0] in ('LX', 'LIG'):
                self.select['vexl'] = [0, 1, 2]
            if len(parts) > 3:
                self.select['vexw'] = [int(parts[3][1])]
        elif tokens[0] in PREFIXES and (tokens[0] in ('NP', 'NFx') or len(tokens) > 1 and tokens[1] in ('0F', '90')):
            self.select['prefix'] = PREFIXES[tokens.pop(0)]
        if not self.vex:
            name = ''
            if tokens[0] == '0F':
                name = tokens.pop(0)
                if tokens[0] in ('38', '3A') and len(tokens) > 1 and re.match(r'[0-9A-F]{2}', tokens[1]):
                    name += tokens.pop(0)
            opcode_map = MAPS[name]
        opcode = tokens.pop(0)
        if opcode.endswith('+r'):
            first = int(opcode[:2], 16)
            self.opcodes = [(opcode_map, first + i) for i in range(8)]
        else:
            self.opcodes = [(opcode_map, int(opcode, 16))]
        for token in tokens:
            self.parse_selector(token)

    def parse_selector(self, token):
        if token == '/r':
            self.modrm = True
        elif re.match(r'/[0-7]+$', token):
            self.modrm = True
            self.select['reg'] = [int(digit) for digit in token[1:]]
        elif re.match(r'[0-9A-F]{2}$', token):
            modrm = int(token, 16)
            self.modrm = True
            self.select.update(reg=[modrm >> 3 & 7], mod3=[1], rm=[modrm & 7])
        elif token in ('W0', 'W1'):
            self.select['w'] = [int(token[1])]
        elif token == 'B=0':
            self.select['rexb'] = [0]
        elif token in ('O16', 'O32', 'O64'):
            self.select['osize'] = [('O16', 'O32', 'O64').index(token)]
        else:
            self.fail(f'unknown token {token}')

    def restrict_by_operands(self):
        letters = {operand[0] for operand in self.operands if OPERAND.match(operand)}
        if 'modreg' not in self.words:
            if 'M' in letters or 'mem' in self.words:
                self.select['mod3'] = [0]
            if letters & set('RUN') or 'reg' in self.words:
                self.select['mod3'] = [1]
        if 'no64' in self.words:
            self.select['mode64'] = [0]
        if 'only64' in self.words:
            self.select['mode64'] = [1]
        self.letters = letters

    def mem_size(self):
        for operand in self.operands:
            match = EITHER.match(operand)
            if match:
                return SIZES[match['size']]
            match = OPERAND.match(operand)
            if match and match['letter'] in 'EMWQOXY':
                return SIZES.get(match['size'] or '', 0)
        return 0

    def grows(self):
        """Is the memory operand as long as VEX.L says?"""
        matches = [OPERAND.match(operand) for operand in self.operands]
        return any(m and m['letter'] in 'MW' and (m['size'] or '-') in BY_LENGTH for m in matches)

    def opmasks(self):
        return {operand[0] for operand in self.operands if operand in ('Vk', 'Hk', 'Uk')}

    def class_of(self, letters):
        """What register file a field of the encoding names. decode.h: enum x86_register_class."""
        operands = [operand for operand in self.operands if OPERAND.match(operand) and operand[0] in letters]
        if not operands:
            return 'OTHER'
        return 'MASK' if operands[0] in ('Vk', 'Hk', 'Uk') else 'VECTOR' if operands[0][0] in 'VHWU' else 'GENERAL'

    def needs_vl(self):
        return self.evex and (self.lengths in ('LX', 'L12') or self.mnemonic == 'vmovddup')

    def word_value(self, values):
        return max((values[word] for word in self.words if word in values), default=0)

    def property_names(self):
        names = [PROPERTIES[word] for word in self.words if word in PROPERTIES]
        if self.letters & set('VWU'):
            names.append('AVX' if self.vex else 'SSE')
        if self.grows():
            names.append('VL')
        names += [EVEX_WORDS[word] for word in self.words if word in EVEX_WORDS]
        if self.evex or self.opmasks():
            names.append('ZMM')
        if 'aligned' in self.words:
            names.append('ALIGN16')
        if self.letters & set('PQN') and 'MMX' not in names:
            names.append('MMX')
        if 'JUMP' in names and 'END' not in names:
            names.append('END')
        if 'mod3' in self.select and 'modreg' not in self.words:
            wanted = 'MODRM_REG' if self.select['mod3'] == [1] else 'MODRM_MEM'
            if wanted not in names:
                names.append(wanted)
        if self.letters & set('VWU') and self.mem_size() == 16 and 'unaligned' not in self.words and not self.vex:
            if self.letters & set('WM'):
                names.append('ALIGN16')
        return unique(names)

    def operand_size_rule(self):
        names = self.property_names()
        sizes = []
        for operand in self.operands:
            match = OPERAND.match(operand)
            if match and match['letter'] in 'EGMRXYZBOD':
                sizes.append(match['size'] or '')
            elif operand in ('AL', 'CL', 'rAX', 'eAX'):
                sizes.append({'AL': 'b', 'CL': 'c', 'rAX': 'v', 'eAX': 'z'}[operand])
        if 'byte' in self.words or ('b' in sizes and not set(sizes) - set('bc')):
            return 'BYTE'
        if 'F64' in names:
            if 'JUMP' in names:
                return 'BRANCH'
            return 'NATIVE' if 'y' in sizes else 'F64'
        if 'D64' in names:
            return 'D64'
        if 'v' in sizes:
            return 'V'
        if 'y' in sizes:
            return 'Y'
        return 'Z' if 'z' in sizes else 'V'

    def immediate(self):
        kinds = [operand for operand in self.operands if operand in IMMEDIATES]
        return IMMEDIATES[','.join(kinds)] if kinds else 'NONE'

    def flag_masks(self):
        masks = {'r': '0', 'w': '0', 'u': '0'}
        for part in self.flags.split():
            if part == '-':
                continue
            kind, _, letters = part.partition('=')
            masks[kind] = FLAG_ALL if letters == 'all' else ' | '.join('FLAG_' + FLAG_LETTERS[c] for c in letters)
        return masks


def read_table(path):
    rows = []
    with open(path, encoding='ascii') as table:
        for number, line in enumerate(table, 1):
            line = line.split('#')[0].strip()
            if line:
                rows.append(Row(line, number))
    return rows


class Trie:
    """All tries, with equal subtrees shared."""

    def __init__(self, rows):
        self.rows = rows
        self.tree = [0]
        self.leaf = []
        self.known = {}
        self.reachable = set()
        self.root = [[0] * 256 for _ in range(MAP_COUNT)]
        self.modrm = [[0] * 256 for _ in range(MAP_COUNT)]
        slots = {}
        for index, row in enumerate(rows):
            for slot in row.opcodes:
                slots.setdefault(slot, []).append(index)
        for (opcode_map, opcode), members in slots.items():
            if len({rows[index].modrm for index in members}) > 1:
                rows[members[0]].fail('rows of one opcode disagree about ModRM')
            self.modrm[opcode_map][opcode] = int(rows[members[0]].modrm)
            self.root[opcode_map][opcode] = self.build(members, 0)
        for index, row in enumerate(rows):
            if index not in self.reachable:
                row.fail('hidden by the rows before it')

    def build(self, members, depth):
        if not members:
            return 0
        while depth < len(SELECTORS) and not any(SELECTORS[depth][0] in self.rows[i].select for i in members):
            depth += 1
        if depth == len(SELECTORS):
            return self.make_leaf(members)
        name, count = SELECTORS[depth]
        children = []
        for value in range(count):
            matching = [i for i in members if value in self.rows[i].select.get(name, range(count))]
            children.append(self.build(matching, depth + 1))
        return self.intern(self.tree, ('node', depth, *children), [depth] + children, 0)

    def make_leaf(self, members):
        for count, index in enumerate(members, 1):
            if self.rows[index].feature == '-':
                members = members[:count]
                break
        self.reachable.update(members)
        values = members[:-1] + [members[-1] | 0x8000]
        return self.intern(self.leaf, ('leaf', *values), values, 0x8000)

    def intern(self, pool, key, values, mark):
        if key not in self.known:
            self.known[key] = len(pool) | mark
            pool.extend(values)
            if len(pool) >= 0x8000:
                sys.exit('insn.tab: trie too large')
        return self.known[key]


def identifier(operand):
    return 'OPD_' + operand


def unique(values):
    return list(dict.fromkeys(values))


def binding_names(rows, kind):
    return unique(row.binding.partition(':')[2] for row in rows if row.binding.startswith(kind + ':'))


def write_header(path, rows):
    operands = unique(operand for row in rows for operand in row.operands)
    with open(path, 'w', encoding='ascii') as out:
        out.write('/* SPDX-License-Identifier: Apache-2.0 */\n/* Made from insn.tab by insn_gen.py. */\n#pragma once\n\n'
                  '#include "tcg-fallback/x86/insn.h"\n\nenum x86_operand {\n\tOPD_NONE,\n')
        out.writelines(f'\t{identifier(operand)},\n' for operand in operands)
        out.write('\tOPD_COUNT\n};\n\nenum x86_fast {\n')
        out.writelines(f'\tX86_FAST_{name.upper()},\n' for name in binding_names(rows, 'fast'))
        out.write('\tX86_FAST_COUNT\n};\n\n/* Spelled as in insn.tab. */\n'
                  'extern const char *const x86_operand_names[OPD_COUNT];\n'
                  'extern const char *const x86_fast_names[X86_FAST_COUNT];\n'
                  '/* Names of the functions that rows are bound to ("" for FAST and UD rows), and their lines in insn.tab. */\n'
                  'extern const char *const x86_row_bindings[];\nextern const uint16_t x86_row_lines[];\n\n')
        for name in binding_names(rows, 'slow'):
            out.write(f'x86_slow_fn x86_slow_{name};\n')
        for name in binding_names(rows, 'vec'):
            out.write(f'x86_vec_fn x86_vec_{name};\n')


def row_text(row):
    kind, _, name = row.binding.partition(':')
    masks = row.flag_masks()
    fields = [f'"{row.mnemonic}"', '{' + (', '.join(map(identifier, row.operands)) or '0') + '}', f'X86_ROW_{kind.upper()}',
              f'.flags_read = {masks["r"]}', f'.flags_written = {masks["w"]}', f'.flags_undefined = {masks["u"]}',
              '.properties = ' + (' | '.join('X86_PROP_' + n for n in row.property_names()) or '0'),
              f'.feature = X86_FEATURE_{"ALWAYS" if row.feature == "-" else row.feature}',
              f'.mem_size = {row.mem_size()}', f'.mask_size = {row.word_value(MASK_WORDS)}',
              f'.broadcast = {row.word_value(BROADCAST_WORDS)}', f'.mem_access = {("-", "r", "w", "rw").index(row.mem)}']
    if kind == 'fast':
        fields.append(f'.fast = X86_FAST_{name.upper()}')
    elif kind in ('slow', 'vec'):
        fields.append(f'.{kind} = x86_{kind}_{name}')
    elif kind != 'ud':
        row.fail(f'unknown binding {row.binding}')
    return '\t{' + ', '.join(fields) + '},\n'


def write_array(out, declaration, values):
    out.write(f'\nconst {declaration} = {{')
    for index, value in enumerate(values):
        out.write(('\n\t' if index % 16 == 0 else ' ') + f'{value},')
    out.write('\n};\n')


def write_nested(out, declaration, tables):
    out.write(f'\nconst {declaration} = {{\n')
    for table in tables:
        out.write('\t{\n')
        for start in range(0, 256, 16):
            out.write('\t\t' + ' '.join(f'{value},' for value in table[start:start + 16]) + '\n')
        out.write('\t},\n')
    out.write('};\n')


def write_source(path, rows):
    trie = Trie(rows)
    with open(path, 'w', encoding='ascii') as out:
        out.write('/* SPDX-License-Identifier: Apache-2.0 */\n/* Made from insn.tab by insn_gen.py. */\n'
                  '#include "insn_gen.h"\n#include "tcg-fallback/x86/decode.h"\n\nconst struct x86_row x86_rows[] = {\n')
        out.writelines(map(row_text, rows))
        out.write(f'}};\nconst size_t x86_row_count = {len(rows)};\n\nconst struct x86_row_form x86_row_forms[] = {{\n')
        for row in rows:
            vvvv, mod_ignored = int(bool(row.letters & set('BH'))), int('modreg' in row.words)
            classes = ', '.join('X86_CLASS_' + row.class_of(letters) for letters in ('VG', 'WUEMR', 'HB'))
            out.write(f'\t{{X86_OPSIZE_{row.operand_size_rule()}, X86_IMM_{row.immediate()}, {vvvv}, {mod_ignored}, '
                      f'{int(row.needs_vl())}, {classes}}},\n')
        out.write('};\n\nconst char *const x86_row_bindings[] = {\n')
        out.writelines(f'\t"{row.binding.partition(":")[2] if row.binding[:4] in ("slow", "vec:") else ""}",\n' for row in rows)
        out.write('};\n')
        write_array(out, 'uint16_t x86_row_lines[]', [row.number for row in rows])
        out.write('\nconst char *const x86_operand_names[] = {\n\t"",\n')
        out.writelines(f'\t"{operand}",\n' for operand in unique(o for row in rows for o in row.operands))
        out.write('};\n\nconst char *const x86_fast_names[] = {\n')
        out.writelines(f'\t"{name}",\n' for name in binding_names(rows, 'fast'))
        out.write('};\n')
        write_array(out, 'uint16_t x86_tree[]', trie.tree)
        write_array(out, 'uint16_t x86_leaf[]', trie.leaf)
        write_nested(out, 'uint16_t x86_opcode_root[X86_MAP_COUNT][256]', trie.root)
        write_nested(out, 'uint8_t x86_opcode_modrm[X86_MAP_COUNT][256]', trie.modrm)


def main():
    rows = read_table(sys.argv[1])
    write_header(sys.argv[2], rows)
    write_source(sys.argv[3], rows)


if __name__ == '__main__':
    main()
