/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter's side of instructions that the host executes: checks, operands, MXCSR and its exceptions,
 * results. The host runs them with every exception masked; what it flags decides whether the guest's are
 * raised, before anything is written. Intel SDM vol. 1, 11.5 and 14; vol. 2, 2.7 (exception classes).
 */
#include "tcg-fallback/x86/native.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/flags.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/native_stub.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/vec.h"
#include "tcg-fallback/x86/xsave.h"

#define NATIVE_CODE_BYTES (512u << 10) /* some 5000 stubs; programs use a few hundred forms */
#define MXCSR_MASKS       0x1f80u
#define MXCSR_FLAGS       0x003fu
#define XCR0_YMM          (X86_XFEATURE_SSE | X86_XFEATURE_AVX)
#define XCR0_ZMM          (XCR0_YMM | X86_XFEATURE_AVX512)

static const uint16_t native_features[] = {
	X86_FEATURE_FMA,  X86_FEATURE_AVX,  X86_FEATURE_F16C,       X86_FEATURE_AVX2,
	X86_FEATURE_GFNI, X86_FEATURE_VAES, X86_FEATURE_VPCLMULQDQ,
};

/* AVX-512: offered where the host has the first four and keeps the state. */
static const uint16_t native_features_512[] = {
	X86_FEATURE_AVX512F,     X86_FEATURE_AVX512BW,      X86_FEATURE_AVX512DQ,
	X86_FEATURE_AVX512VL,    X86_FEATURE_AVX512CD,      X86_FEATURE_AVX512_IFMA,
	X86_FEATURE_AVX512_VBMI, X86_FEATURE_AVX512_VBMI2,  X86_FEATURE_AVX512_VNNI,
	X86_FEATURE_AVX512_BF16, X86_FEATURE_AVX512_BITALG, X86_FEATURE_AVX512_VPOPCNTDQ,
};
#define FEATURE_512_COUNT (sizeof(native_features_512) / sizeof(native_features_512[0]))
#define FEATURE_512_BASE  4u
#define FEATURE_COUNT     (sizeof(native_features) / sizeof(native_features[0]))

static uint64_t host_xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

/* The host's words that native_features are in. AVX counts when the host's kernel keeps its state. */
static void host_words(uint32_t word[X86_FEATURE_WORDS])
{
	uint32_t eax, edx, ebx = 0, ecx = 0;

	memset(word, 0, X86_FEATURE_WORDS * sizeof(word[0]));
	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx >> (X86_FEATURE_OSXSAVE & 31) & 1) ||
	    (host_xcr0() & XCR0_YMM) != XCR0_YMM || !(ecx >> (X86_FEATURE_AVX & 31) & 1))
		return;
	word[0] = ecx;
	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
		word[2] = ebx;
		word[3] = ecx;
	}
	if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx))
		word[5] = eax;
}

static bool word_has(const uint32_t word[X86_FEATURE_WORDS], unsigned feature)
{
	return word[feature / 32u] >> feature % 32u & 1;
}

static bool host_has_512(const uint32_t word[X86_FEATURE_WORDS])
{
	for (unsigned i = 0; i < FEATURE_512_BASE; i++)
		if (!word_has(word, native_features_512[i]))
			return false;
	return (host_xcr0() & XCR0_ZMM) == XCR0_ZMM;
}

static bool host_runs_code(void)
{
	struct code_memory memory;

	if (code_memory_create(&memory, 4096))
		return false;
	code_memory_destroy(&memory);
	return true;
}

bool x86_native_features(uint32_t present[X86_FEATURE_WORDS])
{
	uint32_t host[X86_FEATURE_WORDS];
	const bool runs = host_runs_code();

	host_words(host);
	memset(present, 0, X86_FEATURE_WORDS * sizeof(present[0]));
	for (size_t i = 0; runs && i < FEATURE_COUNT; i++)
		present[native_features[i] / 32u] |=
			host[native_features[i] / 32u] & 1u << native_features[i] % 32u;
	for (size_t i = 0; runs && host[0] && host_has_512(host) && i < FEATURE_512_COUNT; i++)
		present[native_features_512[i] / 32u] |=
			host[native_features_512[i] / 32u] & 1u << native_features_512[i] % 32u;
	return runs || !host[0];
}

bool x86_native_create(struct x86_cpu *cpu)
{
	struct x86_native *native;
	uint32_t host[X86_FEATURE_WORDS];
	bool wanted = cpu->lenient;

	host_words(host);
	for (size_t i = 0; i < FEATURE_COUNT; i++)
		wanted |= x86_has(cpu, native_features[i]);
	if (!wanted || cpu->native || !host[0])
		return true;
	native = aligned_alloc(64, sizeof(*native));
	if (!native)
		return false;
	memset(native, 0, sizeof(*native));
	if (code_memory_create(&native->memory, NATIVE_CODE_BYTES)) {
		free(native);
		return true;
	}
	native->next = native->memory.rw;
	cpu->native = native;
	return true;
}

void x86_native_destroy(struct x86_cpu *cpu)
{
	if (!cpu->native)
		return;
	code_memory_destroy(&cpu->native->memory);
	free(cpu->native);
	cpu->native = NULL;
}

static struct x86_native *native_checked(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (in->encoding == X86_ENC_LEGACY)
		x86_vec_check(cpu, X86_PROP_SSE);
	else
		x86_avx_check(cpu, x86_rows[in->row].properties & X86_PROP_ZMM ? XCR0_ZMM : XCR0_YMM);
	if (!cpu->native)
		x86_raise_unknown(cpu, VEC_UD);
	return cpu->native;
}

static uint64_t operand_address(struct x86_cpu *cpu, const struct x86_insn *in, unsigned size)
{
	const struct x86_row *row = &x86_rows[in->row];
	const uint64_t offset = x86_insn_ea(cpu, in);
	const uint64_t base = cpu->mode_bits == 64 && in->seg < SEG_FS ? 0 : cpu->seg[in->seg].base;

	if ((row->properties & X86_PROP_ALIGN16) && ((base + offset) & (size - 1)) &&
	    !x86_masked_none(cpu, in))
		x86_raise_gp(cpu);
	/* What alignment checking (EFLAGS.AC) wants of longer operands is 16 bytes too. */
	if ((cpu->eflags & FLAG_AC) && !in->evex_mask && !(row->properties & X86_PROP_DENSE)) {
		x86_linear(cpu, in->seg, offset, size, row->mem_access & 2);
		x86_check_alignment(cpu, in->seg, offset, size < 16 ? size : 16, row->mem_access & 2);
	}
	return offset;
}

static void load_mask(const struct x86_cpu *cpu, const struct x86_insn *in, struct native_io *io, char letter)
{
	if (letter == 'V')
		io->k[1] = cpu->k[in->reg];
	else if (letter == 'H')
		io->k[2] = cpu->k[in->vex_vvvv];
	else
		io->k[3] = cpu->k[in->rm];
}

/* Fetches what the instruction may read. */
static void load_operands(struct x86_cpu *cpu, const struct x86_insn *in, struct native_io *io)
{
	const struct x86_row *row = &x86_rows[in->row];

	io->k[4] = cpu->k[in->evex_mask];
	for (unsigned i = 0; i < 4 && row->operand[i]; i++) {
		if (native_operand_is_mask(row, i)) {
			load_mask(cpu, in, io, x86_operand_letter(row->operand[i]));
			continue;
		}
		switch (x86_operand_letter(row->operand[i])) {
		case 'V': io->v[0] = cpu->zmm[in->reg]; break;
		case 'H': io->v[1] = cpu->zmm[in->vex_vvvv]; break;
		case 'L': io->v[3] = cpu->zmm[in->imm >> 4 & (cpu->mode_bits == 64 ? 15 : 7)]; break;
		case 'W':
		case 'U':
			if (!x86_insn_is_mem(in))
				io->v[2] = cpu->zmm[in->rm];
			break;
		case 'E':
		case 'R':
			if (!x86_insn_is_mem(in))
				io->rcx = cpu->r[in->rm];
			break;
		}
	}
}

static void load_memory(struct x86_cpu *cpu, const struct x86_insn *in, struct native_io *io)
{
	const unsigned size = x86_insn_mem_size(in);

	if (!x86_insn_is_mem(in))
		return;
	if (in->evex_mask && (x86_rows[in->row].mem_access & 1))
		x86_masked_load(cpu, in, operand_address(cpu, in, size), &io->mem);
	else if (x86_rows[in->row].mem_access & 1)
		x86_ld_bytes(cpu, in->seg, operand_address(cpu, in, size), &io->mem, size);
	else if (in->evex_mask)
		x86_masked_probe(cpu, in, operand_address(cpu, in, size));
	else if (x86_rows[in->row].properties & X86_PROP_MXCSR) /* faults come before #XM and MXCSR's flags */
		x86_probe_write_bytes(cpu, in->seg, operand_address(cpu, in, size), size);
}

/* A VEX instruction clears what lies above its result. */
static void store_vector(struct x86_cpu *cpu, const struct x86_insn *in, unsigned number,
			 const union x86_vec *value)
{
	if (in->encoding == X86_ENC_EVEX) {
		cpu->zmm[number] = *value;
		return;
	}
	memcpy(cpu->zmm[number].b, value->b, 32);
	if (in->encoding == X86_ENC_VEX)
		memset(cpu->zmm[number].b + 32, 0, 32);
}

static void store_result(struct x86_cpu *cpu, const struct x86_insn *in, struct native_io *io)
{
	const struct x86_row *row = &x86_rows[in->row];
	const unsigned size = x86_insn_mem_size(in);

	if (row->flags_written) {
		x86_flags_set_status(cpu, (uint32_t)io->flags & FLAGS_STATUS);
		return;
	}
	if (native_operand_is_mask(row, 0)) {
		cpu->k[in->reg] = io->k[1];
		return;
	}
	switch (x86_operand_letter(row->operand[0])) {
	case 'V': store_vector(cpu, in, in->reg, &io->v[0]); return;
	case 'H': store_vector(cpu, in, in->vex_vvvv, &io->v[1]); return;
	case 'G': cpu->r[in->reg] = io->rax; return;
	}
	if (x86_insn_is_mem(in) && in->evex_mask)
		x86_masked_store(cpu, in, operand_address(cpu, in, size), &io->mem);
	else if (x86_insn_is_mem(in))
		x86_st_bytes(cpu, in->seg, operand_address(cpu, in, size), &io->mem, size);
	else if (x86_operand_letter(row->operand[0]) == 'W' || x86_operand_letter(row->operand[0]) == 'U')
		store_vector(cpu, in, in->rm, &io->v[2]);
	else
		cpu->r[in->rm] = io->rcx;
}

/* Runs it with every exception masked; returns the flags that came up. */
static uint32_t run_masked(struct x86_cpu *cpu, const struct x86_insn *in, native_stub_fn *stub,
			   uint32_t mxcsr)
{
	struct native_io *io = &cpu->native->io;

	load_operands(cpu, in, io);
	io->mxcsr = (mxcsr | MXCSR_MASKS) & ~MXCSR_FLAGS;
	stub(io);
	return io->mxcsr & MXCSR_FLAGS;
}

/* VCVTPS2PH does not flush, so that denormal results show that there was underflow. */
static bool has_denormal_halves(const struct x86_insn *in, const struct native_io *io)
{
	const union x86_vec *result = x86_insn_is_mem(in) ? &io->mem : &io->v[2];
	const uint64_t mask = in->evex_mask ? io->k[4] : UINT64_MAX;

	for (unsigned i = 0; i < 4u << in->vex_l; i++)
		if ((mask >> i & 1) && !(result->w[i] & 0x7c00) && (result->w[i] & 0x3ff))
			return true;
	return false;
}

static bool is_cvtps2ph(const struct x86_insn *in)
{
	return in->map == 3 && in->opcode == 0x1d;
}

/*
 * An unmasked underflow exception does not ask whether the result is exact, which a masked one does. With
 * flush-to-zero every tiny result is flagged (SDM vol. 1, 10.2.3.3), so a run with it tells.
 */
static bool flushes(struct x86_cpu *cpu, const struct x86_insn *in, native_stub_fn *stub)
{
	return !is_cvtps2ph(in) && (run_masked(cpu, in, stub, cpu->mxcsr | MXCSR_FTZ) & SF_UNDERFLOW);
}

static void run_float(struct x86_cpu *cpu, const struct x86_insn *in, native_stub_fn *stub)
{
	struct sf_env env = x86_vec_env(cpu);
	/* EVEX.b with registers suppresses exceptions. */
	const bool underflow = (env.unmasked & SF_UNDERFLOW) && !(in->evex_b && !x86_insn_is_mem(in));
	const bool tiny = underflow && flushes(cpu, in, stub);

	env.flags = (uint8_t)run_masked(cpu, in, stub, underflow ? cpu->mxcsr & ~MXCSR_FTZ : cpu->mxcsr);
	if (tiny || (underflow && is_cvtps2ph(in) && has_denormal_halves(in, &cpu->native->io)))
		env.flags |= SF_UNDERFLOW;
	x86_vec_env_done(cpu, &env);
}

void x86_slow_native(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_native *native = native_checked(cpu, in);
	native_stub_fn *stub;

	load_memory(cpu, in, &native->io);
	stub = native_stub_find(native, in);
	if (x86_rows[in->row].properties & X86_PROP_MXCSR) {
		run_float(cpu, in, stub);
	} else {
		load_operands(cpu, in, &native->io);
		stub(&native->io);
	}
	store_result(cpu, in, &native->io);
}

/* VPCMPESTRI and kin: lengths in RAX and RDX, the result in RCX or XMM0. */
void x86_slow_native_string(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_native *native = native_checked(cpu, in);
	struct native_io *io = &native->io;

	load_memory(cpu, in, io);
	load_operands(cpu, in, io);
	io->rax = cpu->r[REG_RAX];
	io->rcx = cpu->r[REG_RCX];
	io->rdx = cpu->r[REG_RDX];
	native_stub_find(native, in)(io);
	if (in->opcode & 1)
		cpu->r[REG_RCX] = io->rcx;
	else
		store_vector(cpu, in, 0, &io->v[0]);
	x86_flags_set_status(cpu, (uint32_t)io->flags & FLAGS_STATUS);
}
