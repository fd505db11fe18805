/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder of asm.h. Intel SDM vol. 2, 2.1 (legacy and REX), 2.3 (VEX). */
#include "tcg-fallback/emit/asm.h"

#include <string.h>

#define REX   0x40u
#define REX_W 0x08u
#define REX_R 0x04u
#define REX_X 0x02u
#define REX_B 0x01u

void asm_byte(struct asm_code *code, uint8_t byte)
{
	if (code->at >= code->end) {
		code->overflow = true;
		return;
	}
	*code->at++ = byte;
}

void asm_imm(struct asm_code *code, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		asm_byte(code, (uint8_t)(value >> (8 * i)));
}

static uint8_t rex_bits(const struct asm_op *op, const struct asm_rm *rm)
{
	uint8_t rex = (uint8_t)((op->w ? REX_W : 0) | (op->reg & 8 ? REX_R : 0));

	if (rm->kind == ASM_RM_REG)
		return rex | (rm->reg & 8 ? REX_B : 0);
	if (rm->base != ASM_NONE && (rm->base & 8))
		rex |= REX_B;
	if (rm->index != ASM_NONE && (rm->index & 8))
		rex |= REX_X;
	return rex;
}

bool asm_needs_rex(const struct asm_op *op, const struct asm_rm *rm)
{
	return op->force_rex || rex_bits(op, rm);
}

static void emit_escape(struct asm_code *code, unsigned map)
{
	if (map)
		asm_byte(code, 0x0f);
	if (map == 2)
		asm_byte(code, 0x38);
	if (map == 3)
		asm_byte(code, 0x3a);
}

static void emit_vex(struct asm_code *code, const struct asm_op *op, uint8_t rex)
{
	unsigned pp = op->prefix66 ? 1 : op->rep == 0xf3 ? 2 : op->rep == 0xf2 ? 3 : 0;

	asm_byte(code, 0xc4);
	asm_byte(code, (uint8_t)(((~rex & (REX_R | REX_X | REX_B)) << 5) | op->map));
	asm_byte(code, (uint8_t)((op->w ? 0x80u : 0) | (~op->vvvv & 15u) << 3 | (op->vex_l ? 4u : 0) | pp));
}

/* ModRM, SIB and displacement of a memory operand. A base of rbp or r13 has no form without displacement, and
 * rsp or r12 none without SIB. */
static void emit_mem(struct asm_code *code, unsigned reg, const struct asm_rm *rm)
{
	bool byte = rm->disp == (int8_t)rm->disp;
	bool sib = rm->index != ASM_NONE || rm->base == ASM_NONE || (rm->base & 7) == 4;
	unsigned mod = 2;

	if (rm->base == ASM_NONE)
		mod = 0;
	else if (!rm->disp && (rm->base & 7) != 5)
		mod = 0;
	else if (byte)
		mod = 1;
	asm_byte(code, (uint8_t)(mod << 6 | (reg & 7) << 3 | (sib ? 4 : rm->base & 7)));
	if (sib)
		asm_byte(code, (uint8_t)(rm->scale << 6 | (rm->index == ASM_NONE ? 4 : rm->index & 7) << 3 |
					 (rm->base == ASM_NONE ? 5 : rm->base & 7)));
	if (mod == 1)
		asm_byte(code, (uint8_t)rm->disp);
	else if (mod == 2 || rm->base == ASM_NONE)
		asm_imm(code, (uint32_t)rm->disp, 4);
}

static void emit_rm(struct asm_code *code, unsigned reg, const struct asm_rm *rm)
{
	switch (rm->kind) {
	case ASM_RM_REG: asm_byte(code, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm->reg & 7))); break;
	case ASM_RM_MEM:
	case ASM_RM_GS: emit_mem(code, reg, rm); break;
	}
}

void asm_insn(struct asm_code *code, const struct asm_op *op, const struct asm_rm *rm)
{
	uint8_t rex = rex_bits(op, rm);

	if (rm->kind == ASM_RM_GS)
		asm_byte(code, 0x65);
	if (op->vex) {
		emit_vex(code, op, rex);
	} else {
		if (op->lock)
			asm_byte(code, 0xf0);
		if (op->prefix66)
			asm_byte(code, 0x66);
		if (op->rep)
			asm_byte(code, op->rep);
		if (rex || op->force_rex)
			asm_byte(code, REX | rex);
		emit_escape(code, op->map);
	}
	asm_byte(code, op->opcode);
	emit_rm(code, op->reg, rm);
}

static void plain(struct asm_code *code, uint8_t opcode, bool w, unsigned reg, struct asm_rm rm)
{
	struct asm_op op = {.opcode = opcode, .w = w, .reg = (uint8_t)reg};

	asm_insn(code, &op, &rm);
}

void asm_mov_rr(struct asm_code *code, bool w, unsigned dst, unsigned src)
{
	plain(code, 0x8b, w, dst, asm_rm_reg(src));
}

void asm_mov_imm32(struct asm_code *code, unsigned dst, uint32_t value)
{
	if (dst & 8)
		asm_byte(code, REX | REX_B);
	asm_byte(code, (uint8_t)(0xb8 | (dst & 7)));
	asm_imm(code, value, 4);
}

void asm_mov_imm64(struct asm_code *code, unsigned dst, uint64_t value)
{
	if (value == (uint32_t)value) {
		asm_mov_imm32(code, dst, (uint32_t)value);
		return;
	}
	if (value == (uint64_t)(int64_t)(int32_t)value) {
		plain(code, 0xc7, true, 0, asm_rm_reg(dst));
		asm_imm(code, value, 4);
		return;
	}
	asm_byte(code, (uint8_t)(REX | REX_W | (dst & 8 ? REX_B : 0)));
	asm_byte(code, (uint8_t)(0xb8 | (dst & 7)));
	asm_imm(code, value, 8);
}

void asm_load(struct asm_code *code, bool w, unsigned dst, struct asm_rm src)
{
	plain(code, 0x8b, w, dst, src);
}

void asm_store(struct asm_code *code, bool w, struct asm_rm dst, unsigned src)
{
	plain(code, 0x89, w, src, dst);
}

void asm_lea(struct asm_code *code, bool w, unsigned dst, struct asm_rm src)
{
	plain(code, 0x8d, w, dst, src);
}

void asm_alu_imm(struct asm_code *code, enum asm_alu alu, bool w, struct asm_rm dst, int32_t value)
{
	bool byte = value == (int8_t)value;

	plain(code, byte ? 0x83 : 0x81, w, alu, dst);
	asm_imm(code, (uint32_t)value, byte ? 1 : 4);
}

void asm_alu_rm(struct asm_code *code, enum asm_alu alu, bool w, unsigned dst, struct asm_rm src)
{
	plain(code, (uint8_t)(alu << 3 | 3), w, dst, src);
}

void asm_shift(struct asm_code *code, unsigned shift, bool w, unsigned dst, unsigned count)
{
	plain(code, 0xc1, w, shift, asm_rm_reg(dst));
	asm_byte(code, (uint8_t)count);
}

static uint8_t *rel32(struct asm_code *code)
{
	uint8_t *at = code->at;

	asm_imm(code, 0, 4);
	return at;
}

uint8_t *asm_lea_rip(struct asm_code *code, unsigned reg)
{
	asm_byte(code, (uint8_t)(REX | REX_W | (reg & 8 ? REX_R : 0)));
	asm_byte(code, 0x8d);
	asm_byte(code, (uint8_t)((reg & 7) << 3 | 5));
	return rel32(code);
}

uint8_t *asm_jmp(struct asm_code *code)
{
	asm_byte(code, 0xe9);
	return rel32(code);
}

uint8_t *asm_jcc(struct asm_code *code, unsigned cond)
{
	asm_byte(code, 0x0f);
	asm_byte(code, (uint8_t)(0x80 | cond));
	return rel32(code);
}

uint8_t *asm_call(struct asm_code *code)
{
	asm_byte(code, 0xe8);
	return rel32(code);
}

void asm_bind(uint8_t *rel, const uint8_t *target)
{
	int32_t distance = (int32_t)(target - (rel + 4));

	memcpy(rel, &distance, sizeof(distance));
}

/* Without room nothing was written that could be bound. */
static void bind_if_room(const struct asm_code *code, uint8_t *rel, const uint8_t *target)
{
	if (!code->overflow)
		asm_bind(rel, target);
}

void asm_jmp_to(struct asm_code *code, const uint8_t *target)
{
	bind_if_room(code, asm_jmp(code), target);
}

void asm_jcc_to(struct asm_code *code, unsigned cond, const uint8_t *target)
{
	bind_if_room(code, asm_jcc(code, cond), target);
}

void asm_call_to(struct asm_code *code, const uint8_t *target)
{
	bind_if_room(code, asm_call(code), target);
}

uint8_t *asm_jrcxz(struct asm_code *code)
{
	asm_byte(code, 0xe3);
	asm_byte(code, 0);
	return code->at - 1;
}

uint8_t *asm_jecxz(struct asm_code *code)
{
	asm_byte(code, 0x67);
	return asm_jrcxz(code);
}

void asm_bind_short(struct asm_code *code, uint8_t *rel8, const uint8_t *target)
{
	if (!code->overflow)
		*rel8 = (uint8_t)(target - (rel8 + 1));
}

void asm_jmp_reg(struct asm_code *code, unsigned reg)
{
	plain(code, 0xff, false, 4, asm_rm_reg(reg));
}

void asm_call_reg(struct asm_code *code, unsigned reg)
{
	plain(code, 0xff, false, 2, asm_rm_reg(reg));
}

void asm_nop5(struct asm_code *code)
{
	static const uint8_t nop[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

	for (unsigned i = 0; i < sizeof(nop); i++)
		asm_byte(code, nop[i]);
}
