/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What insn_gen.py makes for decode.c alone: the tries over opcode bytes and how each row takes its operand
 * size and immediate. Everybody else includes insn.h.
 */
#pragma once

#include "tcg-fallback/x86/insn.h"

/* One-byte, 0F, 0F38 and 0F3A maps, then VEX maps 1 to 3, then those of EVEX. */
#define X86_MAP_COUNT     10
#define X86_MAP_VEX_BASE  3
#define X86_MAP_EVEX_BASE 6

/* How a row's operand size follows from mode, 66 and W. insn_gen.py: operand_size_rule. */
enum x86_opsize_rule {
	X86_OPSIZE_V, /* 2, 4 or 8 */
	X86_OPSIZE_BYTE,
	X86_OPSIZE_Y,      /* 8 with W, else 4: 66 does not count */
	X86_OPSIZE_Z,      /* 2 or 4 */
	X86_OPSIZE_D64,    /* 64-bit mode: 8, or 2 with 66; else as V */
	X86_OPSIZE_F64,    /* 64-bit mode: 8; else as V */
	X86_OPSIZE_NATIVE, /* 64-bit mode: 8; else 4 */
	X86_OPSIZE_BRANCH, /* as F64, but see x86_decode_mode.near_branch_66 */
};

enum x86_imm_kind {
	X86_IMM_NONE,
	X86_IMM_IB,  /* zero-extended byte */
	X86_IMM_SIB, /* sign-extended byte */
	X86_IMM_IW,
	X86_IMM_IZ,    /* 2 or 4 bytes, sign-extended */
	X86_IMM_IV,    /* as wide as the operand */
	X86_IMM_AP,    /* offset, then selector */
	X86_IMM_MOFFS, /* as wide as the address */
	X86_IMM_IWIB,  /* ENTER */
};

/* The register file that a field of the encoding names. */
enum x86_register_class { X86_CLASS_OTHER, X86_CLASS_GENERAL, X86_CLASS_VECTOR, X86_CLASS_MASK };

struct x86_row_form {
	uint8_t opsize;        /* enum x86_opsize_rule */
	uint8_t imm;           /* enum x86_imm_kind */
	bool vex_vvvv;         /* VEX.vvvv names an operand; else it must be unused */
	bool mod_ignored;      /* ModRM.rm is a register whatever ModRM.mod says (MOV CR, MOV DR) */
	bool needs_vl;         /* EVEX: 128 and 256 bits are AVX512VL's */
	uint8_t reg, rm, vvvv; /* enum x86_register_class */
};

extern const struct x86_row_form x86_row_forms[];

/* What a node of the trie asks. insn_gen.py: SELECTORS, in this order. */
enum x86_select {
	X86_SELECT_MODE64,
	X86_SELECT_PREFIX, /* none, 66, F3, F2 */
	X86_SELECT_REG,
	X86_SELECT_MOD3,
	X86_SELECT_RM,
	X86_SELECT_W,
	X86_SELECT_REX_B,
	X86_SELECT_OPSIZE, /* 2, 4, 8 bytes */
	X86_SELECT_VEX_L,
	X86_SELECT_VEX_W, /* the bit itself, in every mode */
};

/*
 * A reference is 0: undefined; with bit 15: the rest is an offset into x86_leaf, rows to be tried in order,
 * the last one marked by bit 15; else an offset into x86_tree: the selector, then one reference for each of
 * its values.
 */
extern const uint16_t x86_tree[];
extern const uint16_t x86_leaf[];
extern const uint16_t x86_opcode_root[X86_MAP_COUNT][256];
extern const uint8_t x86_opcode_modrm[X86_MAP_COUNT][256];
