/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decoded instruction, the row of insn.tab that describes it, and the three ways in which a row is
 * executed. The decoder fills struct x86_insn; the interpreter lowers it to ops; the re-encoder copies it.
 * Intel SDM vol. 2, chapter 2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tcg-fallback/x86/cpu.h"

#define X86_INSN_LEN_MAX 15

enum x86_rep { X86_REP_NONE, X86_REP_F2, X86_REP_F3 };
enum x86_encoding { X86_ENC_LEGACY, X86_ENC_VEX, X86_ENC_EVEX };

struct x86_insn {
	uint16_t row;     /* index into x86_rows */
	uint8_t len;      /* bytes, 1..15 */
	uint8_t opcode;   /* last opcode byte */
	uint8_t map;      /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
	uint8_t encoding; /* enum x86_encoding */
	uint8_t rep;      /* enum x86_rep, as prefix (mandatory or not) */
	bool lock;
	bool prefix66, prefix67;
	uint8_t rex;                    /* 0x40-0x4f, or 0: none; VEX bits are folded in */
	uint8_t vex_vvvv, vex_l, vex_w; /* VEX: inverted back to plain numbers; vex_l 2: 512 bits */
	uint8_t evex_mask;              /* EVEX.aaa: number of the mask register, 0: none */
	uint8_t evex_rounding;          /* EVEX.L'L as it stands: the rounding mode where evex_b says so */
	bool evex_high;                 /* EVEX.R' */
	bool evex_b, evex_z;            /* broadcast, rounding or SAE; zeroing */
	uint8_t opsize;                 /* operand size in bytes: 1, 2, 4 or 8 (byte forms say 1) */
	uint8_t addrsize;               /* 2, 4 or 8 */
	uint8_t stacksize; /* 2, 4 or 8: width of the stack pointer (SS.B, or 8 in 64-bit mode) */
	bool has_modrm;
	uint8_t mod, reg, rm; /* ModRM fields extended by REX.R and REX.B; mod == 3: rm is a register */
	uint8_t base, index;  /* REG_* (REG_ZERO: none, REG_RIP: RIP-relative); valid when memory */
	uint8_t vsib;         /* X86_PROP_VSIB: the vector register whose elements are the index */
	uint8_t scale;        /* 0..3 */
	uint8_t seg;  /* SEG_* of the memory operand after overrides and defaults (64-bit mode: FS, GS, else
		       * without base or limit: SEG_SS, for #SS instead of #GP, or SEG_FLAT) */
	int64_t disp; /* displacement, sign-extended; moffs: the absolute offset, zero-extended */
	uint64_t imm; /* immediate, sign-extended to 64 bits where the manual does so; relative branch: offset
		       */
	uint16_t imm2; /* ENTER's level; far pointer's selector */
};

static inline bool x86_insn_is_mem(const struct x86_insn *in)
{
	return in->has_modrm && in->mod != 3;
}

/*
 * Slow rows: one C function for a whole instruction. On entry cpu->rip is the address of the instruction
 * itself; raising leaves it so. A row without X86_PROP_JUMP must not change cpu->rip: the caller adds in->len
 * afterwards. A row with it sets cpu->rip itself in all cases (also when it falls through). Rows with
 * X86_PROP_END end the block, so that the next instruction is looked up anew (mode, interrupts, code may have
 * changed); JUMP implies END.
 */
typedef void x86_slow_fn(struct x86_cpu *cpu, const struct x86_insn *in);

/*
 * Vector rows: functions on registers. The caller has checked #UD/#NM/alignment, loaded memory operands into
 * a temporary (zero-extended), and writes a memory destination back. dst is read and written. For MMX
 * operands and general registers only q[0] counts. SSE legacy forms leave bits above 127 of dst alone. May
 * raise (#XM) before it changes dst.
 */
typedef void x86_vec_fn(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm);

enum x86_row_kind {
	X86_ROW_FAST, /* the interpreter has specialised handlers: `fast` is an enum x86_fast */
	X86_ROW_SLOW,
	X86_ROW_VEC,
	X86_ROW_UD, /* known, always #UD (UD0, UD1, UD2) */
};

/* Row properties (struct x86_row.properties). */
enum {
	X86_PROP_JUMP = 1u << 0, /* changes RIP itself */
	X86_PROP_END = 1u << 1,  /* ends the block */
	X86_PROP_CPL0 = 1u << 2, /* #GP(0) unless CPL 0 (checked by the caller of the slow function) */
	X86_PROP_LOCK = 1u << 3, /* LOCK allowed with a memory destination */
	X86_PROP_NO64 = 1u << 4, /* #UD in 64-bit mode */
	X86_PROP_ONLY64 = 1u << 5,
	X86_PROP_D64 = 1u << 6, /* operand size defaults to 64 in 64-bit mode (push, pop, near branches) */
	X86_PROP_F64 = 1u << 7, /* operand size forced to 64 in 64-bit mode */
	X86_PROP_NO_REAL = 1u << 8, /* #UD in real and virtual-8086 mode */
	X86_PROP_ALIGN16 = 1u << 9, /* #GP(0) unless a memory operand is aligned: 16 bytes in legacy SSE, in
				     * AVX those of the instructions that say so, to their size */
	X86_PROP_MMX =
		1u << 10, /* #UD by CR0.EM, #NM by TS, #MF when pending; sets TOP = 0 and all tags valid */
	X86_PROP_SSE = 1u << 11,       /* #UD by CR0.EM or !CR4.OSFXSR, #NM by TS */
	X86_PROP_FPU = 1u << 12,       /* x87: the slow function makes its own checks */
	X86_PROP_AVX = 1u << 13,       /* #UD by CR4.OSXSAVE or XCR0, #NM by TS */
	X86_PROP_MODRM_REG = 1u << 14, /* only mod == 3 */
	X86_PROP_MODRM_MEM = 1u << 15, /* only mod != 3 */
	X86_PROP_STRING = 1u << 16,
	X86_PROP_MXCSR = 1u << 17, /* VEX and EVEX: reads MXCSR, may raise #XM */
	X86_PROP_VL = 1u << 18,    /* the memory operand has mem_size << vex_l bytes */
	X86_PROP_VSIB = 1u << 19,  /* the index of the memory operand is a vector */
	X86_PROP_ZMM = 1u << 20,   /* EVEX, or mask registers: #UD unless XCR0 has AVX-512's state */
	X86_PROP_ZEROING = 1u << 21,
	X86_PROP_ROUNDING = 1u << 22, /* EVEX.b with registers: rounding mode, no exceptions */
	X86_PROP_SAE = 1u << 23,      /* EVEX.b with registers: no exceptions */
	X86_PROP_WHOLE = 1u << 24,    /* the memory operand is read whole, whatever the mask says */
	X86_PROP_ONCE = 1u << 25,     /* likewise, unless the mask is empty */
	X86_PROP_DENSE = 1u << 26,    /* memory holds only the elements whose mask bit is set */
};

/*
 * Operand kinds, after the letters of the opcode maps (Intel SDM vol. 2, appendix A.2): E/G general registers
 * or memory, V/W/H/U vector registers or memory, P/Q/N MMX, I immediate, J relative, O moffs, S segment
 * register, C/D control/debug register, M memory only, R register only, X/Y string source and destination, Z
 * register in the opcode's low three bits, B/H general or vector register of VEX.vvvv, L vector register of
 * the immediate's high four bits, fixed registers by name. The generated enum x86_operand spells them
 * OPD_<letter><size>; sizes: b w d q v (opsize) z (2 or 4) y (4 or 8) dq (16) qq (32), ps pd ss sd, x (the
 * vector's length) and its half h, quarter f and eighth e.
 */
struct x86_row {
	const char *mnemonic; /* lower case, as the manual: "add" */
	uint8_t operand[4];   /* enum x86_operand, OPD_NONE ends; operand[0] is the destination */
	uint8_t kind;         /* enum x86_row_kind */
	uint16_t fast;        /* enum x86_fast for X86_ROW_FAST */
	x86_slow_fn *slow;
	x86_vec_fn *vec;
	uint32_t properties;                                 /* X86_PROP_* */
	uint32_t flags_read, flags_written, flags_undefined; /* FLAG_*; undefined is a subset of written */
	uint16_t feature;   /* X86_FEATURE_* required, or X86_FEATURE_ALWAYS */
	uint8_t mem_size;   /* bytes accessed at the memory operand; 0: opsize. x86_insn_mem_size */
	uint8_t mask_size;  /* EVEX: bytes of vector for each bit of the mask, 16: one bit; 0: no mask */
	uint8_t broadcast;  /* EVEX: bytes of the element that memory may hold instead; 0: none */
	uint8_t mem_access; /* 0 none or address only, 1 read, 2 write, 3 both */
};

extern const struct x86_row x86_rows[];
extern const size_t x86_row_count;

/* Bytes accessed at the memory operand. */
static inline unsigned x86_insn_mem_size(const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	if (in->evex_b && x86_insn_is_mem(in))
		return row->broadcast;
	if (!row->mem_size)
		return in->opsize;
	return (unsigned)row->mem_size << (row->properties & X86_PROP_VL ? in->vex_l : 0);
}

enum x86_decode_status {
	X86_DECODE_OK,
	X86_DECODE_UD,       /* undefined opcode or invalid prefix combination; len holds what was consumed */
	X86_DECODE_TOO_LONG, /* over 15 bytes: #GP(0) */
	X86_DECODE_MORE,     /* `avail` bytes were not enough */
};

/* What decoding depends on besides the bytes: part of a block's key. */
struct x86_decode_mode {
	uint8_t bits;        /* 16, 32, 64 */
	bool stack32;        /* SS.B (ignored in 64-bit mode) */
	bool protected_mode; /* CR0.PE and not VM */
	bool near_branch_66; /* 64-bit mode: a 66 prefix makes near branches 16 bits wide (AMD); Intel ignores
				it */
	uint32_t feature[X86_FEATURE_WORDS]; /* rows whose feature is absent decode as #UD, or as their older
						meaning */
};

/* Decodes the instruction at bytes[0..avail). Pure: no CPU, no memory. */
enum x86_decode_status x86_decode(const struct x86_decode_mode *mode, const uint8_t *bytes, size_t avail,
				  struct x86_insn *in);

/* Offset of the memory operand (base + index * scale + disp, cut to the address size; RIP-relative resolved).
 */
uint64_t x86_insn_ea(const struct x86_cpu *cpu, const struct x86_insn *in);
