/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The general forms: one function for each FAST row's operation that serves every operand form, size and mode. The engine's
 * specialised handlers fall back on them, and they are the plain statement of what an instruction does. They see a decoded
 * instruction, registers and mem.h, and know neither ops nor blocks.
 */
#pragma once

#include "tcg-fallback/x86/insn.h"

/*
 * By enum x86_fast (insn_gen.h). As x86_slow_fn: cpu->rip is the instruction's own on entry. Jumps (X86_PROP_JUMP) and strings
 * (X86_PROP_STRING) set cpu->rip in all cases; a repeated string that was interrupted leaves it where it is. The others do not
 * touch it.
 */
extern x86_slow_fn *const x86_general[];

/* The letter of an operand pattern (Ev, Gb, sIb; '1' for a constant one), or 0 for a register by name (AL, rAX, DX). */
char x86_operand_letter(unsigned operand);

/* Where an operand is. */
struct gen_operand {
	enum { GEN_REG, GEN_HIGH, GEN_MEM, GEN_IMM } kind; /* GEN_HIGH: AH, CH, DH, BH of number 0..3 */
	uint8_t width;   /* bytes */
	uint8_t number;  /* REG_* */
	uint8_t seg;
	uint64_t value;  /* GEN_MEM: offset; GEN_IMM: the value, cut to width */
};

/* Operand `index` of the row (0: destination), its address computed. */
struct gen_operand gen_operand_find(const struct x86_cpu *cpu, const struct x86_insn *in, unsigned index);
uint64_t gen_read(struct x86_cpu *cpu, const struct gen_operand *operand);
/* 32-bit registers are zero-extended, narrower ones merged. */
void gen_write(struct x86_cpu *cpu, const struct gen_operand *operand, uint64_t value);

/*
 * Read-modify-write. gen_update_begin raises what the write would raise and returns the old value; gen_update_end writes, as a
 * compare-and-swap when the instruction is locked: false means that another CPU was faster, begin again.
 */
uint64_t gen_update_begin(struct x86_cpu *cpu, const struct gen_operand *operand);
bool gen_update_end(struct x86_cpu *cpu, const struct gen_operand *operand, bool locked, uint64_t old, uint64_t value);

/* A register as a value of `width` bytes, and the write that the width asks for. */
uint64_t gen_register_get(const struct x86_cpu *cpu, unsigned number, unsigned width);
void gen_register_set(struct x86_cpu *cpu, unsigned number, unsigned width, uint64_t value);

static inline uint64_t gen_mask(unsigned width)
{
	return width == 8 ? UINT64_MAX : (1ull << (8 * width)) - 1;
}

static inline uint64_t gen_sign_bit(unsigned width)
{
	return 1ull << (8 * width - 1);
}

static inline int64_t gen_sign_extend(uint64_t value, unsigned width)
{
	const unsigned shift = 64 - 8 * width;

	return (int64_t)(value << shift) >> shift;
}

/* SF, ZF and PF of a result. */
uint32_t gen_flags_szp(uint64_t result, unsigned width);
/* All six status flags of a + b + carry and a - b - carry. */
uint32_t gen_flags_add(uint64_t a, uint64_t b, unsigned carry, unsigned width);
uint32_t gen_flags_sub(uint64_t a, uint64_t b, unsigned carry, unsigned width);

/* Condition 0..15 of Jcc, SETcc, CMOVcc. Intel SDM vol. 1, appendix B. */
bool gen_condition(struct x86_cpu *cpu, unsigned condition);

/* Stack, at the width of the stack pointer. Pushes write memory before RSP changes. */
void gen_push(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t value, unsigned width);
uint64_t gen_stack_pointer(const struct x86_cpu *cpu, const struct x86_insn *in, int64_t displacement);
void gen_stack_pointer_set(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t value);

#define GEN(name_) void x86_gen_##name_(struct x86_cpu *cpu, const struct x86_insn *in)

/* All general forms. */
GEN(aaa); GEN(aad); GEN(aam); GEN(aas); GEN(adc); GEN(adcx); GEN(add); GEN(adox); GEN(and); GEN(andn); GEN(bextr); GEN(blsi);
GEN(blsmsk); GEN(blsr); GEN(bound); GEN(bsf); GEN(bsr); GEN(bswap); GEN(bt); GEN(btc); GEN(btr); GEN(bts); GEN(bzhi); GEN(call);
GEN(call_ind); GEN(cbw); GEN(cdq); GEN(cdqe); GEN(clc); GEN(cld); GEN(clflush); GEN(cmc); GEN(cmovcc); GEN(cmp); GEN(cmps);
GEN(cmpxchg); GEN(cmpxchg16b); GEN(cmpxchg8b); GEN(cqo); GEN(crc32); GEN(cwd); GEN(cwde); GEN(daa); GEN(das); GEN(dec); GEN(div);
GEN(enter); GEN(idiv); GEN(imul); GEN(imul1); GEN(inc); GEN(jcc); GEN(jcxz); GEN(jmp); GEN(jmp_ind); GEN(lahf); GEN(lea); GEN(leave);
GEN(lfence); GEN(lods); GEN(loop); GEN(loope); GEN(loopne); GEN(lzcnt); GEN(mfence); GEN(mov); GEN(movbe); GEN(movnti); GEN(movs);
GEN(movsx); GEN(movsxd); GEN(movzx); GEN(mul); GEN(mulx); GEN(neg); GEN(nop); GEN(not); GEN(or); GEN(pause); GEN(pdep); GEN(pext);
GEN(pop); GEN(popa); GEN(popcnt); GEN(push); GEN(pusha); GEN(rcl); GEN(rcr); GEN(ret); GEN(rol); GEN(ror); GEN(rorx); GEN(sahf);
GEN(salc); GEN(sar); GEN(sarx); GEN(sbb); GEN(scas); GEN(setcc); GEN(sfence); GEN(shl); GEN(shld); GEN(shlx); GEN(shr); GEN(shrd);
GEN(shrx); GEN(stc); GEN(std); GEN(stos); GEN(sub); GEN(test); GEN(tzcnt); GEN(xadd); GEN(xchg); GEN(xlat); GEN(xor);
