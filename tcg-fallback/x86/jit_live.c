/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest state that lives in host registers beside the general ones: vector registers and MXCSR. When it is
 * loaded, and how it is put away before C runs. jit_cache.h has the convention; what instructions do with it
 * is none of this file's business. Intel SDM vol. 1, 11.6 (MXCSR), vol. 2, tables 2-16 to 2-25 (what enables
 * them).
 */
#include <cpuid.h>

#include "tcg-fallback/x86/jit_emit.h"
#include "tcg-fallback/x86/vec.h"

#define LIVE(name_)  asm_rm_gs(offsetof(struct x86_cpu, jit_live) + offsetof(struct x86_jit_live, name_))
#define VECTORS      16u
#define MXCSR_HOST   0x1f80u /* what the ABI gives C: all exceptions masked, to the nearest */
#define XCR0_AVX     6u      /* SSE and AVX state */
#define MOVAPS_LOAD  0x28u
#define MOVAPS_STORE 0x29u
#define LDMXCSR      2u
#define STMXCSR      3u

static bool host_has(const struct x86_jit *jit, unsigned feature)
{
	return jit->feature[feature >> 5] >> (feature & 31) & 1;
}

/* AVX that CPUID tells of and the system lets us use. */
static bool host_avx_usable(uint32_t leaf1_ecx)
{
	const uint32_t wanted = bit_AVX | bit_OSXSAVE;
	uint32_t low, high;

	if ((leaf1_ecx & wanted) != wanted)
		return false;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low & XCR0_AVX) == XCR0_AVX;
}

static void read_features(struct x86_jit *jit)
{
	uint32_t none, *feature = jit->feature;

	__get_cpuid(1, &none, &none, &feature[0], &feature[1]);
	__get_cpuid_count(7, 0, &none, &feature[2], &feature[3], &feature[4]);
	__get_cpuid(0x80000001, &none, &none, &feature[7], &feature[8]);
	if (!host_avx_usable(feature[0]))
		feature[0] &= ~(uint32_t)bit_AVX;
}

static void set_word(struct asm_code *code, struct asm_rm word, uint32_t value)
{
	struct asm_op mov = {.opcode = 0xc7};

	asm_insn(code, &mov, &word);
	asm_imm(code, value, 4);
}

static void is_away(struct asm_code *code, struct asm_rm word)
{
	asm_alu_imm(code, ASM_CMP, false, word, 0);
}

static void bind_here(const struct asm_code *code, uint8_t *jump)
{
	if (!code->overflow)
		asm_bind(jump, code->at);
}

static void move_all(struct asm_code *code, unsigned opcode, bool ymm)
{
	for (unsigned i = 0; i < VECTORS; i++) {
		struct asm_op op = {
			.opcode = (uint8_t)opcode, .map = 1, .reg = (uint8_t)i, .vex = ymm, .vex_l = ymm};
		struct asm_rm home = asm_rm_gs(offsetof(struct x86_cpu, zmm) + sizeof(union x86_vec) * i);

		asm_insn(code, &op, &home);
	}
}

/* C's code and the guest's SSE both run slower on some CPUs while the upper halves are in use. */
static void emit_vzeroupper(const struct x86_jit *jit, struct asm_code *code)
{
	static const uint8_t vzeroupper[] = {0xc5, 0xf8, 0x77};

	for (unsigned i = 0; host_has(jit, X86_FEATURE_AVX) && i < sizeof(vzeroupper); i++)
		asm_byte(code, vzeroupper[i]);
}

static void move_mxcsr(struct asm_code *code, unsigned extension, struct asm_rm word)
{
	struct asm_op op = {.opcode = 0xae, .map = 1, .reg = (uint8_t)extension};

	asm_insn(code, &op, &word);
}

static void note_resume(struct asm_code *code, enum jit_live kind)
{
	asm_alu_imm(code, ASM_OR, false, LIVE(resume), (int32_t)kind);
}

/* Vectors are live: puts them and MXCSR away. */
static void make_save(const struct x86_jit *jit, struct asm_code *code)
{
	uint8_t *narrow = NULL, *saved = NULL, *done;

	if (host_has(jit, X86_FEATURE_AVX)) {
		is_away(code, LIVE(ymm_away));
		narrow = asm_jcc(code, ASM_NE);
		move_all(code, MOVAPS_STORE, true);
		set_word(code, LIVE(ymm_away), 1);
		note_resume(code, JIT_LIVE_YMM);
		emit_vzeroupper(jit, code);
		saved = asm_jmp(code);
		bind_here(code, narrow);
	}
	move_all(code, MOVAPS_STORE, false);
	if (saved)
		bind_here(code, saved);
	set_word(code, LIVE(vector_away), 1);
	note_resume(code, JIT_LIVE_XMM);
	is_away(code, LIVE(float_away));
	done = asm_jcc(code, ASM_NE);
	move_mxcsr(code, STMXCSR, JIT_FIELD(mxcsr));
	move_mxcsr(code, LDMXCSR, LIVE(mxcsr_host));
	set_word(code, LIVE(float_away), 1);
	note_resume(code, JIT_LIVE_FLOAT);
	bind_here(code, done);
	asm_byte(code, 0xc3);
}

static void emit_load(const struct x86_jit *jit, struct asm_code *code, bool ymm)
{
	if (!ymm)
		emit_vzeroupper(jit, code);
	move_all(code, MOVAPS_LOAD, ymm);
	set_word(code, LIVE(vector_away), 0);
	if (ymm)
		set_word(code, LIVE(ymm_away), 0);
}

static void emit_load_float(struct asm_code *code)
{
	move_mxcsr(code, LDMXCSR, JIT_FIELD(mxcsr));
	set_word(code, LIVE(float_away), 0);
}

/* jit_live.resume is not 0. */
static void make_resume(const struct x86_jit *jit, struct asm_code *code)
{
	struct asm_op test = {.opcode = 0xf7};
	struct asm_rm resume = LIVE(resume);
	uint8_t *narrow = NULL, *loaded = NULL, *done;

	if (host_has(jit, X86_FEATURE_AVX)) {
		asm_insn(code, &test, &resume);
		asm_imm(code, JIT_LIVE_YMM, 4);
		narrow = asm_jcc(code, ASM_E);
		emit_load(jit, code, true);
		loaded = asm_jmp(code);
		bind_here(code, narrow);
	}
	emit_load(jit, code, false);
	if (loaded)
		bind_here(code, loaded);
	asm_insn(code, &test, &resume);
	asm_imm(code, JIT_LIVE_FLOAT, 4);
	done = asm_jcc(code, ASM_E);
	emit_load_float(code);
	bind_here(code, done);
	asm_byte(code, 0xc3);
}

void jit_live_emit_save(const struct x86_jit *jit, struct asm_code *code)
{
	uint8_t *none;

	set_word(code, LIVE(resume), 0);
	is_away(code, LIVE(vector_away));
	none = asm_jcc(code, ASM_NE);
	asm_call_to(code, jit->thunk_save);
	bind_here(code, none);
}

void jit_live_emit_resume(const struct x86_jit *jit, struct asm_code *code)
{
	uint8_t *none;

	is_away(code, LIVE(resume));
	none = asm_jcc(code, ASM_E);
	asm_call_to(code, jit->thunk_resume);
	bind_here(code, none);
}

struct failures {
	uint8_t *jump[8];
	unsigned count;
};

/* To the end of the thunk when any (cond NE) or none (E) of the bits is set. */
static void fail_on(struct asm_code *code, struct failures *f, struct asm_rm word, uint32_t bits,
		    enum asm_cond cond)
{
	struct asm_op test = {.opcode = 0xf7};

	asm_insn(code, &test, &word);
	asm_imm(code, bits, 4);
	f->jump[f->count++] = asm_jcc(code, cond);
}

static void fail_unless_sse(struct asm_code *code, struct failures *f)
{
	fail_on(code, f, JIT_FIELD(cr0), CR0_EM | CR0_TS, ASM_NE);
	fail_on(code, f, JIT_FIELD(cr4), CR4_OSFXSR, ASM_E);
}

static void fail_unless_avx(struct asm_code *code, struct failures *f)
{
	fail_on(code, f, JIT_FIELD(cr4), CR4_OSXSAVE, ASM_E);
	asm_load(code, false, ASM_R14, JIT_FIELD(xcr0));
	asm_alu_imm(code, ASM_AND, false, asm_rm_reg(ASM_R14), XCR0_AVX);
	asm_alu_imm(code, ASM_CMP, false, asm_rm_reg(ASM_R14), XCR0_AVX);
	f->jump[f->count++] = asm_jcc(code, ASM_NE);
}

/* Returns to the caller; where it failed, five bytes further on. */
static void emit_return(struct asm_code *code, const struct failures *f)
{
	asm_byte(code, 0xc3);
	for (unsigned i = 0; i < f->count; i++)
		bind_here(code, f->jump[i]);
	asm_alu_imm(code, ASM_ADD, true, asm_rm_mem(ASM_RSP, 0), 5);
	asm_byte(code, 0xc3);
}

static void make_xmm(const struct x86_jit *jit, struct asm_code *code)
{
	struct failures f = {.count = 0};

	fail_unless_sse(code, &f);
	emit_load(jit, code, false);
	emit_return(code, &f);
}

/* What is live of MXCSR stays so. */
static void make_ymm(const struct x86_jit *jit, struct asm_code *code)
{
	struct failures f = {.count = 0};
	uint8_t *away;

	fail_unless_sse(code, &f);
	fail_unless_avx(code, &f);
	is_away(code, LIVE(vector_away));
	away = asm_jcc(code, ASM_NE);
	move_all(code, MOVAPS_STORE, false);
	bind_here(code, away);
	emit_load(jit, code, true);
	emit_return(code, &f);
}

static void make_float(const struct x86_jit *jit, struct asm_code *code)
{
	struct failures f = {.count = 0};
	uint8_t *live;

	fail_unless_sse(code, &f);
	asm_load(code, false, ASM_R14, JIT_FIELD(mxcsr));
	asm_alu_imm(code, ASM_XOR, false, asm_rm_reg(ASM_R14), -1);
	fail_on(code, &f, asm_rm_reg(ASM_R14), MXCSR_MASKS, ASM_NE);
	is_away(code, LIVE(vector_away));
	live = asm_jcc(code, ASM_E);
	emit_load(jit, code, false);
	bind_here(code, live);
	emit_load_float(code);
	emit_return(code, &f);
}

void jit_live_thunks_make(struct x86_cpu *cpu, struct asm_code *code)
{
	struct x86_jit *jit = cpu->jit;

	read_features(jit);
	cpu->jit_live = (struct x86_jit_live){
		.vector_away = 1, .ymm_away = 1, .float_away = 1, .x87_away = 1, .mxcsr_host = MXCSR_HOST};
	jit->thunk_save = code->at;
	make_save(jit, code);
	jit->thunk_resume = code->at;
	make_resume(jit, code);
	jit->thunk_live[0] = code->at;
	make_xmm(jit, code);
	jit->thunk_live[1] = code->at;
	if (host_has(jit, X86_FEATURE_AVX))
		make_ymm(jit, code);
	jit->thunk_live[2] = code->at;
	make_float(jit, code);
}

static struct asm_rm word_of(enum jit_live kind)
{
	switch (kind) {
	case JIT_LIVE_XMM: return LIVE(vector_away);
	case JIT_LIVE_YMM: return LIVE(ymm_away);
	case JIT_LIVE_FLOAT: return LIVE(float_away);
	case JIT_LIVE_X87: break;
	}
	return LIVE(x87_away);
}

/* Jumps to the stub when the word is not 0. Flags that are wanted stay native. */
static uint8_t *emit_look(struct jit_translation *t, struct asm_rm word, bool spare)
{
	struct asm_code *code = &t->code;
	uint8_t *live, *jump;

	if (!spare) {
		is_away(code, word);
		return asm_jcc(code, ASM_NE);
	}
	asm_mov_rr(code, true, ASM_R13, ASM_RCX);
	asm_load(code, false, ASM_RCX, word);
	live = asm_jecxz(code);
	asm_mov_rr(code, true, ASM_RCX, ASM_R13);
	jump = asm_jmp(code);
	asm_bind_short(code, live, code->at);
	asm_mov_rr(code, true, ASM_RCX, ASM_R13);
	return jump;
}

/* One look serves the rest of the block, so it is for all that the rest wants. */
static unsigned kinds_of_rest(const struct jit_translation *t, enum jit_live kind)
{
	const unsigned vectors = JIT_LIVE_XMM | JIT_LIVE_YMM | JIT_LIVE_FLOAT;
	unsigned kinds = kind;

	for (unsigned i = t->at; (kind & vectors) && i < t->count; i++)
		kinds |= t->insn[i].live_kinds & vectors;
	return kinds;
}

static void need_one(struct jit_translation *t, const struct jit_insn *insn, enum jit_live kind)
{
	const uint32_t wanted = jit_flags_wanted(insn);
	const bool spare = t->flags == JIT_FLAGS_NATIVE && !t->flags_kept && wanted;
	struct jit_stub *stub;

	if (!spare)
		jit_flags_spare(t, wanted);
	stub = jit_call_stub(t, insn);
	if (!stub)
		return;
	stub->site->leave = true;
	stub->site->flags_saved = t->flags != JIT_FLAGS_DEAD;
	stub->load = t->jit->thunk_live[__builtin_ctz(kind)];
	stub->load_spares = spare;
	stub->jump[0] = emit_look(t, word_of(kind), spare);
	stub->direct = t->code.at;
}

void jit_live_need(struct jit_translation *t, const struct jit_insn *insn, enum jit_live kind)
{
	unsigned kinds;

	if ((t->live & kind) == kind)
		return;
	kinds = kinds_of_rest(t, kind);
	if (kinds & (JIT_LIVE_FLOAT | JIT_LIVE_YMM))
		kinds &= ~(unsigned)JIT_LIVE_XMM;
	kinds &= ~t->live;
	for (unsigned one = 1; one < 1u << JIT_LIVE_KINDS; one <<= 1)
		if (kinds & one)
			need_one(t, insn, (enum jit_live)one);
	t->live |= kinds | kind;
	if (kinds & (JIT_LIVE_FLOAT | JIT_LIVE_YMM))
		t->live |= JIT_LIVE_XMM;
}
