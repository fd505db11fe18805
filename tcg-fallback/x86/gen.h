/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The general forms: one function for each FAST row's operation that serves every operand form, size and
 * mode. The engine's specialised handlers fall back on them, and they are the plain statement of what an
 * instruction does. They see a decoded instruction, registers and mem.h, and know neither ops nor blocks.
 */
#pragma once

#include "tcg-fallback/x86/insn.h"

/*
 * By enum x86_fast (insn_gen.h). As x86_slow_fn: cpu->rip is the instruction's own on entry. Jumps
 * (X86_PROP_JUMP) and strings (X86_PROP_STRING) set cpu->rip in all cases; a repeated string that was
 * interrupted leaves it where it is. The others do not touch it.
 */
extern x86_slow_fn *const x86_general[];

/* The letter of an operand pattern (Ev, Gb, sIb; '1' for a constant one), or 0 for a register by name (AL,
 * rAX, DX). */
char x86_operand_letter(unsigned operand);

/* Where an operand is. */
struct gen_operand {
	enum { GEN_REG, GEN_HIGH, GEN_MEM, GEN_IMM } kind; /* GEN_HIGH: AH, CH, DH, BH of number 0..3 */
	uint8_t width;                                     /* bytes */
	uint8_t number;                                    /* REG_* */
	uint8_t seg;
	uint64_t value; /* GEN_MEM: offset; GEN_IMM: the value, cut to width */
};

/* Operand `index` of the row (0: destination), its address computed. */
struct gen_operand gen_operand_find(const struct x86_cpu *cpu, const struct x86_insn *in, unsigned index);
uint64_t gen_read(struct x86_cpu *cpu, const struct gen_operand *operand);
/* 32-bit registers are zero-extended, narrower ones merged. */
void gen_write(struct x86_cpu *cpu, const struct gen_operand *operand, uint64_t value);

/*
 * Read-modify-write. gen_update_begin raises what the write would raise and returns the old value;
 * gen_update_end writes, as a compare-and-swap when the instruction is locked: false means that another CPU
 * was faster, begin again.
 */
uint64_t gen_update_begin(struct x86_cpu *cpu, const struct gen_operand *operand);
bool gen_update_end(struct x86_cpu *cpu, const struct gen_operand *operand, bool locked, uint64_t old,
		    uint64_t value);

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
x86_slow_fn x86_gen_aaa, x86_gen_aad, x86_gen_aam, x86_gen_aas, x86_gen_adc, x86_gen_adcx;
x86_slow_fn x86_gen_add, x86_gen_adox, x86_gen_and, x86_gen_andn, x86_gen_bextr, x86_gen_blsi;
x86_slow_fn x86_gen_blsmsk, x86_gen_blsr, x86_gen_bound, x86_gen_bsf, x86_gen_bsr, x86_gen_bswap;
x86_slow_fn x86_gen_bt, x86_gen_btc, x86_gen_btr, x86_gen_bts, x86_gen_bzhi, x86_gen_call;
x86_slow_fn x86_gen_call_ind, x86_gen_cbw, x86_gen_cdq, x86_gen_cdqe, x86_gen_clc, x86_gen_cld;
x86_slow_fn x86_gen_clflush, x86_gen_cmc, x86_gen_cmovcc, x86_gen_cmp, x86_gen_cmps;
x86_slow_fn x86_gen_cmpxchg, x86_gen_cmpxchg16b, x86_gen_cmpxchg8b, x86_gen_cqo, x86_gen_crc32;
x86_slow_fn x86_gen_cwd, x86_gen_cwde, x86_gen_daa, x86_gen_das, x86_gen_dec, x86_gen_div;
x86_slow_fn x86_gen_enter, x86_gen_idiv, x86_gen_imul, x86_gen_imul1, x86_gen_inc, x86_gen_jcc;
x86_slow_fn x86_gen_jcxz, x86_gen_jmp, x86_gen_jmp_ind, x86_gen_lahf, x86_gen_lea, x86_gen_leave;
x86_slow_fn x86_gen_lfence, x86_gen_lods, x86_gen_loop, x86_gen_loope, x86_gen_loopne;
x86_slow_fn x86_gen_lzcnt, x86_gen_mfence, x86_gen_mov, x86_gen_movbe, x86_gen_movnti, x86_gen_movs;
x86_slow_fn x86_gen_movsx, x86_gen_movsxd, x86_gen_movzx, x86_gen_mul, x86_gen_mulx, x86_gen_neg;
x86_slow_fn x86_gen_nop, x86_gen_not, x86_gen_or, x86_gen_pause, x86_gen_pdep, x86_gen_pext, x86_gen_pop;
x86_slow_fn x86_gen_popa, x86_gen_popcnt, x86_gen_push, x86_gen_pusha, x86_gen_rcl, x86_gen_rcr;
x86_slow_fn x86_gen_ret, x86_gen_rol, x86_gen_ror, x86_gen_rorx, x86_gen_sahf, x86_gen_salc;
x86_slow_fn x86_gen_sar, x86_gen_sarx, x86_gen_sbb, x86_gen_scas, x86_gen_setcc, x86_gen_sfence;
x86_slow_fn x86_gen_shl, x86_gen_shld, x86_gen_shlx, x86_gen_shr, x86_gen_shrd, x86_gen_shrx;
x86_slow_fn x86_gen_stc, x86_gen_std, x86_gen_stos, x86_gen_sub, x86_gen_test, x86_gen_tzcnt;
x86_slow_fn x86_gen_xadd, x86_gen_xchg, x86_gen_xlat, x86_gen_xor;
