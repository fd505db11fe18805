/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status flags from their lazy form, and EFLAGS as a whole. flags.h has the encodings.
 */
#include "tcg-fallback/x86/flags.h"

static uint64_t width_mask(uint32_t op)
{
	return ~(uint64_t)0 >> (64 - CC_BITS(op));
}

/* First operand of the additions and subtractions. */
static uint64_t first_operand(const struct x86_lazy_flags *cc)
{
	uint64_t carry;

	switch (CC_KIND(cc->op)) {
	case CC_ADD:
	case CC_ADC:
		carry = CC_KIND(cc->op) == CC_ADC;
		return (cc->result - cc->source - carry) & width_mask(cc->op);
	case CC_SUB:
	case CC_SBB:
		carry = CC_KIND(cc->op) == CC_SBB;
		return (cc->result + cc->source + carry) & width_mask(cc->op);
	default: return 0;
	}
}

bool x86_flags_cf(const struct x86_cpu *cpu)
{
	const struct x86_lazy_flags *cc = &cpu->cc;

	switch (CC_KIND(cc->op)) {
	case CC_EFLAGS: return cc->result & FLAG_CF;
	case CC_ADD: return cc->result < cc->source;
	case CC_ADC: return cc->result <= cc->source;
	case CC_SUB: return first_operand(cc) < cc->source;
	case CC_SBB: return first_operand(cc) <= cc->source;
	case CC_LOGIC: return false;
	default: return cc->source & CC_SOURCE_CF;
	}
}

static bool overflow(const struct x86_lazy_flags *cc)
{
	uint64_t sign = (uint64_t)1 << (CC_BITS(cc->op) - 1), a = first_operand(cc);

	switch (CC_KIND(cc->op)) {
	case CC_EFLAGS: return cc->result & FLAG_OF;
	case CC_ADD:
	case CC_ADC: return (a ^ cc->result) & (cc->source ^ cc->result) & sign;
	case CC_SUB:
	case CC_SBB: return (a ^ cc->source) & (a ^ cc->result) & sign;
	case CC_LOGIC: return false;
	case CC_INC: return cc->result == sign;
	case CC_DEC: return cc->result == sign - 1;
	default: return cc->source & CC_SOURCE_OF;
	}
}

static bool adjust(const struct x86_lazy_flags *cc)
{
	switch (CC_KIND(cc->op)) {
	case CC_EFLAGS: return cc->result & FLAG_AF;
	case CC_LOGIC: return false;
	case CC_INC: return (cc->result & 15) == 0;
	case CC_DEC: return (cc->result & 15) == 15;
	case CC_RESULT: return cc->source & CC_SOURCE_AF;
	default: return (first_operand(cc) ^ cc->source ^ cc->result) & 16;
	}
}

static bool sign(const struct x86_lazy_flags *cc)
{
	if (CC_KIND(cc->op) == CC_EFLAGS)
		return cc->result & FLAG_SF;
	return cc->result >> (CC_BITS(cc->op) - 1) & 1;
}

static bool parity(const struct x86_lazy_flags *cc)
{
	if (CC_KIND(cc->op) == CC_EFLAGS)
		return cc->result & FLAG_PF;
	return x86_parity(cc->result);
}

uint32_t x86_flags_status(const struct x86_cpu *cpu)
{
	const struct x86_lazy_flags *cc = &cpu->cc;

	if (CC_KIND(cc->op) == CC_EFLAGS)
		return (uint32_t)cc->result;
	return (x86_flags_cf(cpu) ? FLAG_CF : 0) | (parity(cc) ? FLAG_PF : 0) | (adjust(cc) ? FLAG_AF : 0) |
	       (cc->result == 0 ? FLAG_ZF : 0) | (sign(cc) ? FLAG_SF : 0) | (overflow(cc) ? FLAG_OF : 0);
}

bool x86_cond_holds(const struct x86_cpu *cpu, unsigned cond)
{
	const struct x86_lazy_flags *cc = &cpu->cc;
	bool holds = false;

	switch ((enum x86_cond)(cond & 14)) {
	case COND_O: holds = overflow(cc); break;
	case COND_B: holds = x86_flags_cf(cpu); break;
	case COND_E: holds = x86_flags_zf(cpu); break;
	case COND_BE: holds = x86_flags_zf(cpu) || x86_flags_cf(cpu); break;
	case COND_S: holds = sign(cc); break;
	case COND_P: holds = parity(cc); break;
	case COND_L: holds = sign(cc) != overflow(cc); break;
	case COND_LE: holds = x86_flags_zf(cpu) || sign(cc) != overflow(cc); break;
	default: break;
	}
	return holds != (cond & 1);
}

uint32_t x86_eflags_get(struct x86_cpu *cpu)
{
	return (cpu->eflags & ~FLAGS_STATUS) | x86_flags_status(cpu) | FLAG_ONE;
}

void x86_eflags_set(struct x86_cpu *cpu, uint32_t value, uint32_t mask)
{
	uint32_t old = cpu->eflags;

	if (mask & FLAGS_STATUS)
		x86_flags_set_status(cpu, (x86_flags_status(cpu) & ~mask) | (value & mask));
	mask &= ~FLAGS_STATUS;
	cpu->eflags = (old & ~mask) | (value & mask) | FLAG_ONE;
	if ((old ^ cpu->eflags) & (FLAG_TF | FLAG_VM | FLAG_AC))
		x86_mode_changed(cpu);
}
