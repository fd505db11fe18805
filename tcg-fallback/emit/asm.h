/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An assembler for x86-64 host code: one general encoder (prefixes, REX or VEX, opcode, ModRM, SIB,
 * displacement) and a few shorthands on top of it. It knows nothing of guests. Running out of space sets
 * `overflow` and drops bytes, so that callers look once, at the end. Intel SDM vol. 2, chapter 2.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum asm_reg {
	ASM_RAX,
	ASM_RCX,
	ASM_RDX,
	ASM_RBX,
	ASM_RSP,
	ASM_RBP,
	ASM_RSI,
	ASM_RDI,
	ASM_R8,
	ASM_R9,
	ASM_R10,
	ASM_R11,
	ASM_R12,
	ASM_R13,
	ASM_R14,
	ASM_R15,
	ASM_NONE = 0xff /* no base, no index */
};

/* Condition codes as in the opcodes of Jcc. */
enum asm_cond { ASM_O, ASM_NO, ASM_B, ASM_AE, ASM_E, ASM_NE, ASM_BE, ASM_A, ASM_S, ASM_NS, ASM_P, ASM_NP };

struct asm_code {
	uint8_t *at, *end;
	bool overflow;
};

/* What the rm side of an instruction is. */
struct asm_rm {
	enum { ASM_RM_REG, ASM_RM_MEM, ASM_RM_GS } kind; /* GS: as MEM, counted from the base of GS */
	uint8_t reg;                                     /* RM_REG */
	uint8_t base, index, scale;                      /* RM_MEM; the index is never rsp, scale 0..3 */
	int32_t disp;
};

/* All of an instruction but its rm operand and immediate. */
struct asm_op {
	uint8_t opcode, map; /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
	uint8_t reg;         /* register, or the opcode's extension */
	bool w;              /* REX.W or VEX.W */
	bool prefix66, lock;
	uint8_t rep;    /* 0, 0xf2, 0xf3 */
	bool force_rex; /* a byte operand is SPL, BPL, SIL or DIL */
	bool vex;
	uint8_t vvvv, vex_l; /* plain numbers */
};

static inline struct asm_rm asm_rm_reg(unsigned reg)
{
	return (struct asm_rm){.kind = ASM_RM_REG, .reg = (uint8_t)reg};
}

static inline struct asm_rm asm_rm_mem(unsigned base, int32_t disp)
{
	return (struct asm_rm){.kind = ASM_RM_MEM, .base = (uint8_t)base, .index = ASM_NONE, .disp = disp};
}

static inline struct asm_rm asm_rm_gs(uint64_t disp)
{
	return (struct asm_rm){.kind = ASM_RM_GS, .base = ASM_NONE, .index = ASM_NONE, .disp = (int32_t)disp};
}

void asm_byte(struct asm_code *code, uint8_t byte);
/* The low `size` bytes of value, little-endian. */
void asm_imm(struct asm_code *code, uint64_t value, unsigned size);
/* Would this instruction carry a REX prefix (then AH, CH, DH and BH cannot be named)? */
bool asm_needs_rex(const struct asm_op *op, const struct asm_rm *rm);
/* Everything up to the displacement; an immediate is the caller's to add. */
void asm_insn(struct asm_code *code, const struct asm_op *op, const struct asm_rm *rm);

/* Shorthands. w: 64 bits wide, else 32. */
void asm_mov_rr(struct asm_code *code, bool w, unsigned dst, unsigned src);
void asm_mov_imm32(struct asm_code *code, unsigned dst, uint32_t value);
void asm_mov_imm64(struct asm_code *code, unsigned dst, uint64_t value);
void asm_load(struct asm_code *code, bool w, unsigned dst, struct asm_rm src);
void asm_store(struct asm_code *code, bool w, struct asm_rm dst, unsigned src);
void asm_lea(struct asm_code *code, bool w, unsigned dst, struct asm_rm src);
/* ADD 0, OR 1, ADC 2, SBB 3, AND 4, SUB 5, XOR 6, CMP 7. */
enum asm_alu { ASM_ADD, ASM_OR, ASM_ADC, ASM_SBB, ASM_AND, ASM_SUB, ASM_XOR, ASM_CMP };
void asm_alu_imm(struct asm_code *code, enum asm_alu alu, bool w, struct asm_rm dst, int32_t value);
void asm_alu_rm(struct asm_code *code, enum asm_alu alu, bool w, unsigned dst, struct asm_rm src);
/* SHL 4, SHR 5, SAR 7. */
void asm_shift(struct asm_code *code, unsigned shift, bool w, unsigned dst, unsigned count);

/* Jumps with a displacement of 32 bits, whose address they return; asm_bind fills it. */
uint8_t *asm_jmp(struct asm_code *code);
uint8_t *asm_jcc(struct asm_code *code, unsigned cond);
uint8_t *asm_call(struct asm_code *code);
/* lea reg, [rip + what asm_bind fills] */
uint8_t *asm_lea_rip(struct asm_code *code, unsigned reg);
void asm_jmp_to(struct asm_code *code, const uint8_t *target);
void asm_jcc_to(struct asm_code *code, unsigned cond, const uint8_t *target);
void asm_call_to(struct asm_code *code, const uint8_t *target);
void asm_bind(uint8_t *rel32, const uint8_t *target);
/* jecxz and jrcxz: 8 bits; asm_bind_short fills them. */
uint8_t *asm_jecxz(struct asm_code *code);
uint8_t *asm_jrcxz(struct asm_code *code);
void asm_bind_short(struct asm_code *code, uint8_t *rel8, const uint8_t *target);
void asm_jmp_reg(struct asm_code *code, unsigned reg);
void asm_call_reg(struct asm_code *code, unsigned reg);
/* One instruction of five bytes that does nothing: room for a jump. */
void asm_nop5(struct asm_code *code);
