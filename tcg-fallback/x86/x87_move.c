/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87's loads, stores, exchanges, conditional moves and constants. A store to memory happens before any
 * state changes, so that a page fault leaves the instruction as if it had not begun. Intel SDM vol. 2.
 */
#include <string.h>

#include "tcg-fallback/x86/x87_state.h"

#define M80_ALIGNMENT 8 /* of ten-byte operands, for #AC (SDM vol. 3, table 6-7) */

/* Pushes a value that a load has made; a full stack gives the default NaN, unless the source was the fault.
 */
static void x87_load(struct x86_cpu *cpu, const struct x86_insn *in, struct f80 value, struct sf_env *env)
{
	if (!x87_is_empty(cpu, 7) && !(env->flags & X87_STATUS_SF)) {
		env->flags = X87_STACK_FAULT;
		env->rounded_up = true;
		value = SF80_DEFAULT_NAN;
	}
	x87_commit(cpu, in, env);
	if (!(env->flags & env->unmasked & SF_INVALID)) /* an unmasked denormal is loaded all the same */
		x87_push(cpu, value);
}

void x87_fld_sti(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	unsigned int i = in->rm & 7;
	struct f80 value = x87_get(cpu, i);

	if (x87_is_empty(cpu, i)) {
		env.flags = X87_STACK_FAULT;
		value = SF80_DEFAULT_NAN;
	}
	x87_load(cpu, in, value, &env);
}

void x87_fld_m32(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint32_t value = x86_ld32(cpu, in->seg, x86_insn_ea(cpu, in));
	struct sf_env env = x87_env(cpu);

	x87_load(cpu, in, sf80_from_f32(value, &env), &env);
}

void x87_fld_m64(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t value = x86_ld64(cpu, in->seg, x86_insn_ea(cpu, in));
	struct sf_env env = x87_env(cpu);

	x87_load(cpu, in, sf80_from_f64(value, &env), &env);
}

void x87_fld_m80(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	uint8_t bytes[10];
	struct f80 value;

	x86_check_alignment(cpu, in->seg, x86_insn_ea(cpu, in), M80_ALIGNMENT, false);
	x86_ld_bytes(cpu, in->seg, x86_insn_ea(cpu, in), bytes, sizeof(bytes));
	memcpy(&value.mant, bytes, 8);
	memcpy(&value.sexp, bytes + 8, 2);
	x87_load(cpu, in, value, &env);
}

static void x87_load_int(struct x86_cpu *cpu, const struct x86_insn *in, int64_t value)
{
	struct sf_env env = x87_env(cpu);

	x87_load(cpu, in, sf80_from_i64(value), &env);
}

void x87_fild_m16(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_load_int(cpu, in, (int16_t)x86_ld16(cpu, in->seg, x86_insn_ea(cpu, in)));
}

void x87_fild_m32(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_load_int(cpu, in, (int32_t)x86_ld32(cpu, in->seg, x86_insn_ea(cpu, in)));
}

void x87_fild_m64(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_load_int(cpu, in, (int64_t)x86_ld64(cpu, in->seg, x86_insn_ea(cpu, in)));
}

void x87_fbld(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	uint8_t bcd[10];

	x86_check_alignment(cpu, in->seg, x86_insn_ea(cpu, in), M80_ALIGNMENT, false);
	x86_ld_bytes(cpu, in->seg, x86_insn_ea(cpu, in), bcd, sizeof(bcd));
	x87_load(cpu, in, sf80_from_bcd(bcd), &env);
}

static void x87_store_sti(struct x86_cpu *cpu, const struct x86_insn *in, bool pop)
{
	struct sf_env env = x87_env(cpu);
	struct f80 value = x87_get(cpu, 0);

	if (x87_is_empty(cpu, 0)) {
		env.flags = X87_STACK_FAULT;
		value = SF80_DEFAULT_NAN;
	}
	if (!x87_commit(cpu, in, &env))
		return;
	x87_put(cpu, in->rm & 7, value);
	if (pop)
		x87_pop(cpu);
}

void x87_fst_sti(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_sti(cpu, in, false);
}

void x87_fstp_sti(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_sti(cpu, in, true);
}

/* D9 D8+i: as FSTP, but an empty st(0) is popped without a fault and without being moved. */
void x87_fstp1(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_commit_quiet(cpu, in);
	if (!x87_is_empty(cpu, 0))
		x87_put(cpu, in->rm & 7, x87_get(cpu, 0));
	x87_pop(cpu);
}

/* Sizes of a power of two are checked for alignment (#AC). */
static void x87_store_bytes(struct x86_cpu *cpu, const struct x86_insn *in, const void *value,
			    size_t size_bytes)
{
	uint64_t word = 0;

	if (size_bytes > sizeof(word)) {
		x86_check_alignment(cpu, in->seg, x86_insn_ea(cpu, in), M80_ALIGNMENT, true);
		x86_st_bytes(cpu, in->seg, x86_insn_ea(cpu, in), value, size_bytes);
		return;
	}
	memcpy(&word, value, size_bytes);
	x86_st(cpu, in->seg, x86_insn_ea(cpu, in), word, (unsigned int)size_bytes);
}

/* The address is looked at before the value: it may fault even when nothing is stored. */
static void x87_store_probe(struct x86_cpu *cpu, const struct x86_insn *in, size_t size_bytes)
{
	uint64_t ea = x86_insn_ea(cpu, in);

	if (size_bytes > sizeof(uint64_t))
		x86_check_alignment(cpu, in->seg, ea, M80_ALIGNMENT, true);
	x86_probe_write(cpu, in->seg, ea, size_bytes);
}

/*
 * Stores the low size_bytes of value, unless an unmasked exception forbids it, then completes the
 * instruction. Overflow and underflow have no result in memory either (SDM vol. 1, 8.5.4).
 */
static void x87_store(struct x86_cpu *cpu, const struct x86_insn *in, const void *value, size_t size_bytes,
		      const struct sf_env *env, bool pop)
{
	bool stores = !(env->flags & env->unmasked & (SF_ALL & ~SF_INEXACT));

	if (stores)
		x87_store_bytes(cpu, in, value, size_bytes);
	else
		x87_store_probe(cpu, in, size_bytes);
	x87_commit(cpu, in, env);
	if (stores && pop)
		x87_pop(cpu);
}

static void x87_store_f32(struct x86_cpu *cpu, const struct x86_insn *in, bool pop)
{
	struct sf_env env = x87_env(cpu);
	uint32_t value = SF32_DEFAULT_NAN;

	if (x87_is_empty(cpu, 0))
		env.flags = X87_STACK_FAULT;
	else
		value = sf80_to_f32(x87_get(cpu, 0), &env);
	x87_store(cpu, in, &value, sizeof(value), &env, pop);
}

void x87_fst_m32(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_f32(cpu, in, false);
}

void x87_fstp_m32(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_f32(cpu, in, true);
}

static void x87_store_f64(struct x86_cpu *cpu, const struct x86_insn *in, bool pop)
{
	struct sf_env env = x87_env(cpu);
	uint64_t value = SF64_DEFAULT_NAN;

	if (x87_is_empty(cpu, 0))
		env.flags = X87_STACK_FAULT;
	else
		value = sf80_to_f64(x87_get(cpu, 0), &env);
	x87_store(cpu, in, &value, sizeof(value), &env, pop);
}

void x87_fst_m64(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_f64(cpu, in, false);
}

void x87_fstp_m64(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_f64(cpu, in, true);
}

void x87_fstp_m80(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	struct f80 value = x87_get(cpu, 0);
	uint8_t bytes[10];

	if (x87_is_empty(cpu, 0)) {
		env.flags = X87_STACK_FAULT;
		value = SF80_DEFAULT_NAN;
	}
	memcpy(bytes, &value.mant, 8);
	memcpy(bytes + 8, &value.sexp, 2);
	x87_store(cpu, in, bytes, sizeof(bytes), &env, true);
}

/* The integer stores; truncating ones ignore FCW.RC. */
static struct sf_env x87_store_env(const struct x86_cpu *cpu, bool truncate)
{
	struct sf_env env = x87_env(cpu);

	if (truncate)
		env.rounding = SF_ROUND_ZERO;
	if (x87_is_empty(cpu, 0))
		env.flags = X87_STACK_FAULT;
	return env;
}

static void x87_store_i16(struct x86_cpu *cpu, const struct x86_insn *in, bool truncate, bool pop)
{
	struct sf_env env = x87_store_env(cpu, truncate);
	int16_t value = INT16_MIN;

	if (!env.flags)
		value = sf80_to_i16(x87_get(cpu, 0), (enum sf_rounding)env.rounding, &env);
	x87_store(cpu, in, &value, sizeof(value), &env, pop);
}

static void x87_store_i32(struct x86_cpu *cpu, const struct x86_insn *in, bool truncate, bool pop)
{
	struct sf_env env = x87_store_env(cpu, truncate);
	int32_t value = INT32_MIN;

	if (!env.flags)
		value = sf80_to_i32(x87_get(cpu, 0), (enum sf_rounding)env.rounding, &env);
	x87_store(cpu, in, &value, sizeof(value), &env, pop);
}

static void x87_store_i64(struct x86_cpu *cpu, const struct x86_insn *in, bool truncate)
{
	struct sf_env env = x87_store_env(cpu, truncate);
	int64_t value = INT64_MIN;

	if (!env.flags)
		value = sf80_to_i64(x87_get(cpu, 0), (enum sf_rounding)env.rounding, &env);
	x87_store(cpu, in, &value, sizeof(value), &env, true);
}

void x87_fist_m16(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_i16(cpu, in, false, false);
}

void x87_fistp_m16(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_i16(cpu, in, false, true);
}

void x87_fisttp_m16(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_i16(cpu, in, true, true);
}

void x87_fist_m32(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_i32(cpu, in, false, false);
}

void x87_fistp_m32(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_i32(cpu, in, false, true);
}

void x87_fisttp_m32(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_i32(cpu, in, true, true);
}

void x87_fistp_m64(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_i64(cpu, in, false);
}

void x87_fisttp_m64(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_store_i64(cpu, in, true);
}

void x87_fbstp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	uint8_t bcd[10] = {[7] = 0xc0, [8] = 0xff, [9] = 0xff};

	if (x87_is_empty(cpu, 0))
		env.flags = X87_STACK_FAULT;
	else
		sf80_to_bcd(x87_get(cpu, 0), bcd, &env);
	x87_store(cpu, in, bcd, sizeof(bcd), &env, true);
}

void x87_fxch(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct sf_env env = x87_env(cpu);
	unsigned int i = in->rm & 7;
	struct f80 a = x87_get(cpu, 0), b = x87_get(cpu, i);

	if (x87_is_empty(cpu, 0))
		a = SF80_DEFAULT_NAN;
	if (x87_is_empty(cpu, i))
		b = SF80_DEFAULT_NAN;
	if (x87_is_empty(cpu, 0) || x87_is_empty(cpu, i))
		env.flags = X87_STACK_FAULT;
	if (!x87_commit(cpu, in, &env))
		return;
	x87_put(cpu, 0, b);
	x87_put(cpu, i, a);
}

/*
 * DA and DB C0 to DF: below, equal, below or equal, unordered; DB negates. The status word is only touched by
 * a fault.
 */
void x87_fcmov(struct x86_cpu *cpu, const struct x86_insn *in)
{
	static const uint32_t condition[4] = {FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_PF};
	bool holds = x86_eflags_get(cpu) & condition[in->reg & 3];
	struct sf_env env = x87_env(cpu);
	unsigned int i = in->rm & 7;

	if (x87_is_empty(cpu, 0) || x87_is_empty(cpu, i))
		env.flags = X87_STACK_FAULT;
	if (!env.flags)
		x87_record(cpu, in);
	else if (!x87_commit(cpu, in, &env))
		return;
	if (env.flags)
		x87_put(cpu, 0, SF80_DEFAULT_NAN);
	else if (holds == !(in->opcode & 1))
		x87_put(cpu, 0, x87_get(cpu, i));
}

/*
 * A constant of D9 E8 to EE: its significand cut to 64 bits, and whether the rest rounds it up to the
 * nearest; rounding up always and rounding down never adds one. Source: the binary expansions of the numbers.
 */
struct x87_constant {
	struct f80 cut;
	bool inexact, nearest_is_up;
};

static const struct x87_constant x87_constants[7] = {
	{{0x8000000000000000, 0x3fff}, false, false}, /* 1 */
	{{0xd49a784bcd1b8afe, 0x4000}, true, false},  /* log2(10) */
	{{0xb8aa3b295c17f0bb, 0x3fff}, true, true},   /* log2(e) */
	{{0xc90fdaa22168c234, 0x4000}, true, true},   /* pi */
	{{0x9a209a84fbcff798, 0x3ffd}, true, true},   /* log10(2) */
	{{0xb17217f7d1cf79ab, 0x3ffe}, true, true},   /* ln(2) */
	{{0x0000000000000000, 0x0000}, false, false}, /* 0 */
};

void x87_fld_constant(struct x86_cpu *cpu, const struct x86_insn *in)
{
	const struct x87_constant *constant = &x87_constants[in->rm & 7];
	struct sf_env env = x87_env(cpu);
	struct f80 value = constant->cut;

	if (constant->inexact &&
	    (env.rounding == SF_ROUND_UP || (env.rounding == SF_ROUND_NEAREST && constant->nearest_is_up)))
		value.mant++;
	x87_load(cpu, in, value, &env);
}

void x87_ffree(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_commit_quiet(cpu, in);
	cpu->fpu.empty[x87_physical(cpu, in->rm & 7)] = 1;
}

void x87_ffreep(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_ffree(cpu, in);
	x87_pop(cpu);
}

void x87_fincstp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_commit_quiet(cpu, in);
	cpu->fpu.top = (cpu->fpu.top + 1) & 7;
}

void x87_fdecstp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_commit_quiet(cpu, in);
	cpu->fpu.top = (cpu->fpu.top - 1) & 7;
}

void x87_fnop(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_record(cpu, in);
}
