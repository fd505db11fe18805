/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the families of fast handlers are made of: registers by width, addresses by form, loads and stores
 * that hand over to op_miss_* when the inline lookup fails. A handler changes nothing before its last lookup
 * has succeeded.
 */
#pragma once

#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/flags.h"
#include "tcg-fallback/x86/lower.h"

#define HANDLER(name_) static struct x86_op *name_(struct x86_cpu *cpu, struct x86_op *op)

/* Registers: a number, but for bytes the offset in r[], so that AH and kin are no special case. */
#define RD_8(n)     (((const uint8_t *)cpu->r)[n])
#define RD_16(n)    ((uint16_t)cpu->r[n])
#define RD_32(n)    ((uint32_t)cpu->r[n])
#define RD_64(n)    (cpu->r[n])
#define WR_8(n, v)  (((uint8_t *)cpu->r)[n] = (v))
#define WR_16(n, v) (*(guest16 *)&cpu->r[n] = (v))
#define WR_32(n, v) (cpu->r[n] = (uint32_t)(v))
#define WR_64(n, v) (cpu->r[n] = (v))

/* log2 of the bytes of a width. */
#define LOG_8  0
#define LOG_16 1
#define LOG_32 2
#define LOG_64 3

#define ADDRESS_SUM(cpu, op)                                                                                 \
	((cpu)->r[(op)->base] + ((cpu)->r[(op)->index] << (op)->scale) + (uint64_t)(int64_t)(op)->disp)
#define ADDRESS_BD(cpu, op)  ((cpu)->r[(op)->base] + (uint64_t)(int64_t)(op)->disp)
#define ADDRESS_BIS(cpu, op) ADDRESS_SUM(cpu, op)
#define ADDRESS_SEG(cpu, op) (ADDRESS_SUM(cpu, op) + (cpu)->seg[(op)->seg].base)
#define ADDRESS_32(cpu, op)  ((uint32_t)ADDRESS_SUM(cpu, op))
#define ADDRESS_B32(cpu, op) ((uint32_t)ADDRESS_BD(cpu, op))
#define ADDRESS_S32(cpu, op) ((uint32_t)ADDRESS_SEG(cpu, op))

/* 32-bit mode: a segment that is not flat needs checks that only the general form makes. */
#define GUARD_BD(cpu, op)
#define GUARD_BIS(cpu, op)
#define GUARD_SEG(cpu, op)
#define GUARD_32(cpu, op)                                                                                    \
	do {                                                                                                 \
		if (__builtin_expect(!((cpu)->flat_segments >> (op)->seg & 1), 0))                           \
			OP_TAIL(op_miss_general, cpu, op);                                                   \
	} while (0)

#define GUARD_B32(cpu, op) GUARD_32(cpu, op)
#define GUARD_S32(cpu, op) GUARD_32(cpu, op)

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Declares a pointer to the operand, for reading or for writing. */
#define TAG_read  rd
#define TAG_write wr
#define LOOKUP_AT(ptr_, bits_, address_, way_)                                                               \
	const uint64_t address_of_##ptr_ = (address_);                                                       \
	const struct x86_tlb_entry *const entry_of_##ptr_ = &cpu->tlb_hot[x86_tlb_index(address_of_##ptr_)]; \
	if (UNLIKELY(entry_of_##ptr_->TAG_##way_ != ((address_of_##ptr_ + (bits_) / 8 - 1) & PAGE_MASK))) {  \
		cpu->miss = address_of_##ptr_;                                                               \
		OP_TAIL(op_miss_##way_, cpu, op);                                                            \
	}                                                                                                    \
	void *const ptr_ = (void *)(uintptr_t)(address_of_##ptr_ + entry_of_##ptr_->addend);
#define LOOKUP(ptr_, bits_, ea_, way_)                                                                       \
	GUARD_##ea_(cpu, op);                                                                                \
	LOOKUP_AT(ptr_, bits_, ADDRESS_##ea_(cpu, op), way_)

#define LD(bits_, ptr_)     GUEST_LD(guest##bits_, ptr_)
#define ST(bits_, ptr_, v_) GUEST_ST(guest##bits_, ptr_, v_)

/*
 * The carry as it is now, for handlers that replace all flags. Where it is not at hand, op_settle_carry
 * reduces the flags to it and comes back; so this stands after the last lookup.
 */
#define CARRY_NOW(carry_)                                                                                    \
	if (UNLIKELY(cpu->cc.op < CC_OP(CC_INC, 0)))                                                         \
		OP_TAIL(op_settle_carry, cpu, op);                                                           \
	const unsigned carry_ = (unsigned)cpu->cc.source & CC_SOURCE_CF

/* X(ea, ...) for each address form, and X(bits, ...) for each width. */
#define FOR_EA(X, ...)                                                                                       \
	X(BD, __VA_ARGS__)                                                                                   \
	X(BIS, __VA_ARGS__) X(SEG, __VA_ARGS__) X(32, __VA_ARGS__) X(B32, __VA_ARGS__) X(S32, __VA_ARGS__)
#define FOR_BITS(X, ...) X(8, __VA_ARGS__) X(16, __VA_ARGS__) X(32, __VA_ARGS__) X(64, __VA_ARGS__)

/* A byte register as offset in r[]. */
static inline uint8_t byte_register(const struct x86_insn *in, unsigned reg)
{
	return (uint8_t)(!in->rex && reg >= 4 && reg < 8 ? (reg - 4) * 8 + 1 : reg * 8);
}

/* A register operand as the handlers of this width want it. */
static inline uint8_t fast_register(const struct x86_insn *in, unsigned reg)
{
	return in->opsize == 1 ? byte_register(in, reg) : (uint8_t)reg;
}

static inline uint64_t fast_immediate(const struct x86_insn *in)
{
	return in->imm & (~(uint64_t)0 >> (64 - 8 * in->opsize));
}
