/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vector functions against the host's own instructions: random and special lanes, every immediate where
 * there is one, results, MXCSR and the status flags compared. Skips by name what the host cannot do. Knows no
 * decoder and no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/vec.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* What the vector functions need of the rest of the CPU. */
void x86_eflags_set(struct x86_cpu *cpu, uint32_t value, uint32_t mask)
{
	cpu->eflags = (cpu->eflags & ~mask) | (value & mask);
}

void x86_vec_env_done(struct x86_cpu *cpu, const struct sf_env *env)
{
	cpu->mxcsr |= sf_sse_visible_flags(env->flags, env->unmasked);
}

/* Registers before and after one native instruction. */
struct exchange {
	union x86_vec dst, src, xmm0;
	uint64_t rax, rdx, rcx, flags;
	uint32_t mxcsr;
};

typedef void native_fn(struct exchange *x);

/* xmm1 is the destination, xmm2 the source. */
#define NATIVE_XMM(name_, text_)                                                                             \
	static void native_##name_(struct exchange *x)                                                       \
	{                                                                                                    \
		uint64_t a = x->rax, d = x->rdx, c = 0, f;                                                   \
		uint32_t saved;                                                                              \
		__asm__ volatile(                                                                            \
			"stmxcsr %[saved]\n\tldmxcsr %[mxcsr]\n\t"                                           \
			"movdqu %[xmm0], %%xmm0\n\tmovdqu %[dst], %%xmm1\n\tmovdqu %[src], %%xmm2\n\t" text_ \
			"\n\tpushfq\n\tpopq %[f]\n\t"                                                        \
			"movdqu %%xmm0, %[xmm0]\n\tmovdqu %%xmm1, %[dst]\n\t"                                \
			"stmxcsr %[mxcsr]\n\tldmxcsr %[saved]"                                               \
			: [saved] "=m"(saved), [mxcsr] "+m"(x->mxcsr), [xmm0] "+m"(x->xmm0),                 \
			  [dst] "+m"(x->dst), "+a"(a), "+d"(d), "+c"(c), [f] "=&r"(f)                        \
			: [src] "m"(x->src)                                                                  \
			: "xmm0", "xmm1", "xmm2", "cc", "memory");                                           \
		x->rax = a;                                                                                  \
		x->rcx = c;                                                                                  \
		x->flags = f;                                                                                \
	}
#define NATIVE_MMX(name_, text_)                                                                             \
	static void native_##name_(struct exchange *x)                                                       \
	{                                                                                                    \
		__asm__ volatile("movq %[dst], %%mm1\n\tmovq %[src], %%mm2\n\t" text_                        \
				 "\n\tmovq %%mm1, %[dst]\n\temms"                                            \
				 : [dst] "+m"(x->dst)                                                        \
				 : [src] "m"(x->src)                                                         \
				 : "mm1", "mm2", "rax", "memory");                                           \
	}

/* Plain two-operand forms. */
/* clang-format off */
#define XMM_LIST(X) \
	X(paddb) X(paddw) X(paddd) X(paddq) X(psubb) X(psubw) X(psubd) X(psubq) X(paddsb) X(paddsw) \
	X(paddusb) \
	X(paddusw) X(psubsb) X(psubsw) X(psubusb) X(psubusw) X(pmullw) X(pmulhw) X(pmulhuw) X(pmulhrsw) \
	X(pmuludq) \
	X(pmuldq) X(pmulld) X(pavgb) X(pavgw) X(pmaxub) X(pminub) X(pmaxsw) X(pminsw) X(pmaxsb) \
	X(pminsb) X(pmaxuw) \
	X(pminuw) X(pmaxsd) X(pminsd) X(pmaxud) X(pminud) X(pcmpeqb) X(pcmpeqw) X(pcmpeqd) X(pcmpeqq) \
	X(pcmpgtb) \
	X(pcmpgtw) X(pcmpgtd) X(pcmpgtq) X(pand) X(pandn) X(por) X(pxor) X(psignb) X(psignw) X(psignd) \
	X(pabsb) \
	X(pabsw) X(pabsd) X(andps) X(andpd) X(andnps) X(andnpd) X(orps) X(orpd) X(xorps) X(xorpd) \
	X(psllw) X(pslld) \
	X(psllq) X(psrlw) X(psrld) X(psrlq) X(psraw) X(psrad) X(pmaddwd) X(pmaddubsw) X(psadbw) \
	X(phaddw) X(phaddd) \
	X(phaddsw) X(phsubw) X(phsubd) X(phsubsw) X(phminposuw) X(ptest) X(movss) X(movsd) X(movhlps) \
	X(movlhps) \
	X(movddup) X(movshdup) X(movsldup) X(pshufb) X(punpcklbw) X(punpckhbw) X(punpcklwd) X(punpckhwd) \
	X(punpckldq) \
	X(punpckhdq) X(punpcklqdq) X(punpckhqdq) X(unpcklps) X(unpckhps) X(unpcklpd) X(unpckhpd) \
	X(packsswb) \
	X(packuswb) X(packssdw) X(packusdw) X(pmovsxbw) X(pmovsxbd) X(pmovsxbq) X(pmovsxwd) X(pmovsxwq) \
	X(pmovsxdq) \
	X(pmovzxbw) X(pmovzxbd) X(pmovzxbq) X(pmovzxwd) X(pmovzxwq) X(pmovzxdq) X(pblendvb) X(blendvps) \
	X(blendvpd) \
	X(addps) X(addss) X(addpd) X(addsd) X(subps) X(subss) X(subpd) X(subsd) X(mulps) X(mulss) \
	X(mulpd) X(mulsd) \
	X(divps) X(divss) X(divpd) X(divsd) X(minps) X(minss) X(minpd) X(minsd) X(maxps) X(maxss) \
	X(maxpd) X(maxsd) \
	X(sqrtps) X(sqrtss) X(sqrtpd) X(sqrtsd) X(addsubps) X(addsubpd) X(haddps) X(haddpd) X(hsubps) \
	X(hsubpd) \
	X(comiss) X(comisd) X(ucomiss) X(ucomisd) X(cvtss2sd) X(cvtsd2ss) X(cvtdq2ps) X(cvtps2dq) \
	X(cvttps2dq) \
	X(cvtdq2pd) X(cvtps2pd) X(cvtpd2ps) X(cvtpd2dq) X(cvttpd2dq) X(aesenc) X(aesenclast) X(aesdec) \
	X(aesdeclast) \
	X(aesimc) X(sha1nexte) X(sha1msg1) X(sha1msg2) X(sha256rnds2) X(sha256msg1) X(sha256msg2)
#define MMX_LIST(X) \
	X(paddb) X(paddw) X(paddd) X(paddq) X(psubb) X(psubw) X(psubd) X(psubq) X(paddsb) X(paddsw) \
	X(paddusb) \
	X(paddusw) X(psubsb) X(psubsw) X(psubusb) X(psubusw) X(pmullw) X(pmulhw) X(pmulhuw) X(pmulhrsw) \
	X(pmuludq) \
	X(pavgb) X(pavgw) X(pmaxub) X(pminub) X(pmaxsw) X(pminsw) X(pcmpeqb) X(pcmpeqw) X(pcmpeqd) \
	X(pcmpgtb) \
	X(pcmpgtw) X(pcmpgtd) X(pand) X(pandn) X(por) X(pxor) X(psignb) X(psignw) X(psignd) X(pabsb) \
	X(pabsw) X(pabsd) \
	X(psllw) X(pslld) X(psllq) X(psrlw) X(psrld) X(psrlq) X(psraw) X(psrad) X(pmaddwd) X(pmaddubsw) \
	X(psadbw) \
	X(phaddw) X(phaddd) X(phaddsw) X(phsubw) X(phsubd) X(phsubsw) X(pshufb) X(punpcklbw) X(punpckhbw) \
	X(punpcklwd) X(punpckhwd) X(punpckldq) X(punpckhdq) X(packsswb) X(packuswb) X(packssdw)
/* clang-format on */

#define DEFINE_XMM(name_) NATIVE_XMM(name_, #name_ " %%xmm2, %%xmm1")
#define DEFINE_MMX(name_) NATIVE_MMX(name_##_mmx, #name_ " %%mm2, %%mm1")
XMM_LIST(DEFINE_XMM)
MMX_LIST(DEFINE_MMX)

/* Forms with an immediate, for a fixed set of values. */
#define IMM_VALUES(X, name_)                                                                                 \
	X(name_, 0x00)                                                                                       \
	X(name_, 0x01)                                                                                       \
	X(name_, 0x02) X(name_, 0x1b) X(name_, 0x31) X(name_, 0x4e) X(name_, 0x72) X(name_, 0x87)            \
		X(name_, 0x93) X(name_, 0xc5) X(name_, 0xe4) X(name_, 0xff) X(name_, 0x0b) X(name_, 0x10)
#define STRING_VALUES(X, name_)                                                                              \
	X(name_, 0x00)                                                                                       \
	X(name_, 0x01)                                                                                       \
	X(name_, 0x02) X(name_, 0x03) X(name_, 0x04) X(name_, 0x05) X(name_, 0x06) X(name_, 0x07)            \
		X(name_, 0x08) X(name_, 0x09) X(name_, 0x0c) X(name_, 0x0d) X(name_, 0x1a) X(name_, 0x14)    \
			X(name_, 0x30) X(name_, 0x35) X(name_, 0x38) X(name_, 0x3d) X(name_, 0x40)           \
				X(name_, 0x4c) X(name_, 0x59) X(name_, 0x7f)
#define IMM_LIST(X)                                                                                          \
	IMM_VALUES(X, pshufd)                                                                                \
	IMM_VALUES(X, pshuflw)                                                                               \
	IMM_VALUES(X, pshufhw) IMM_VALUES(X, shufps) IMM_VALUES(X, shufpd) IMM_VALUES(                       \
		X, palignr) IMM_VALUES(X, pblendw) IMM_VALUES(X, blendps) IMM_VALUES(X, blendpd)             \
		IMM_VALUES(X, insertps) IMM_VALUES(X, mpsadbw) IMM_VALUES(X, dpps) IMM_VALUES(               \
			X, dppd) IMM_VALUES(X, roundps) IMM_VALUES(X, roundss) IMM_VALUES(X, roundpd)        \
			IMM_VALUES(X, roundsd) IMM_VALUES(X, aeskeygenassist) IMM_VALUES(X, pclmulqdq) X(    \
				sha1rnds4, 0x00) X(sha1rnds4, 0x01) X(sha1rnds4, 0x02) X(sha1rnds4, 0x03)    \
				X(cmpps, 0) X(cmpps, 1) X(cmpps, 2) X(cmpps, 3) X(cmpps, 4) X(cmpps, 5)      \
					X(cmpps, 6) X(cmpps, 7) X(cmpss, 0) X(cmpss, 1) X(cmpss, 6)          \
						X(cmppd, 0) X(cmppd, 1) X(cmppd, 2) X(cmppd, 3) X(cmppd, 4)  \
							X(cmppd, 5) X(cmppd, 6) X(cmppd, 7) X(cmpsd, 2)      \
								X(cmpsd, 3) X(cmpsd, 5)                      \
									STRING_VALUES(X, pcmpistri)          \
										STRING_VALUES(X, pcmpistrm)
#define STRING_EXPLICIT_LIST(X) STRING_VALUES(X, pcmpestri) STRING_VALUES(X, pcmpestrm)
#define SHIFT_IMM_LIST(X)                                                                                    \
	IMM_VALUES(X, psllw)                                                                                 \
	IMM_VALUES(X, pslld)                                                                                 \
	IMM_VALUES(X, psllq) IMM_VALUES(X, psrlw) IMM_VALUES(X, psrld) IMM_VALUES(X, psrlq)                  \
		IMM_VALUES(X, psraw) IMM_VALUES(X, psrad) IMM_VALUES(X, pslldq) IMM_VALUES(X, psrldq)
#define DEFINE_IMM(name_, imm_)   NATIVE_XMM(name_##_##imm_, #name_ " $" #imm_ ", %%xmm2, %%xmm1")
#define DEFINE_SHIFT(name_, imm_) NATIVE_XMM(name_##_imm_##imm_, #name_ " $" #imm_ ", %%xmm1")
IMM_LIST(DEFINE_IMM)
STRING_EXPLICIT_LIST(DEFINE_IMM)
SHIFT_IMM_LIST(DEFINE_SHIFT)

struct vec_case {
	const char *name;
	native_fn *native;
	x86_vec_fn *ours;
	unsigned imm;
	bool mmx;
};

#define CASE_XMM(name_)          {#name_, native_##name_, x86_vec_##name_, 0, false},
#define CASE_MMX(name_)          {#name_ "_mmx", native_##name_##_mmx, x86_vec_##name_##_mmx, 0, true},
#define CASE_IMM(name_, imm_)    {#name_, native_##name_##_##imm_, x86_vec_##name_, imm_, false},
#define CASE_STRING(name_, imm_) {#name_, native_##name_##_##imm_, x86_vec_##name_##_32, imm_, false},
#define CASE_SHIFT(name_, imm_)                                                                              \
	{#name_ "_imm", native_##name_##_imm_##imm_, x86_vec_##name_##_imm, imm_, false},
static const struct vec_case cases[] = {XMM_LIST(CASE_XMM) MMX_LIST(CASE_MMX) IMM_LIST(CASE_IMM)
						STRING_EXPLICIT_LIST(CASE_STRING) SHIFT_IMM_LIST(CASE_SHIFT)};

static uint64_t random64(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static const uint32_t special32[] = {
	0,          0x80000000, 1,          0x80000001, 0x007fffff, 0x00800000, 0x3f800000,
	0xbf800000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001,
	0x7f800001, 0xff812345, 0x4f000000, 0xcf000000, 0x4effffff, 0x3effffff, 0x3f000000,
	0x3fc00000, 0x40200000, 0x5f000000, 0x34000000, 0x0b800000,
};
static const uint64_t special64[] = {
	0,
	0x8000000000000000,
	1,
	0x000fffffffffffff,
	0x0010000000000000,
	0x3ff0000000000000,
	0xbff0000000000000,
	0x7fefffffffffffff,
	0x7ff0000000000000,
	0xfff0000000000000,
	0x7ff8000000000000,
	0xfff8000000000001,
	0x7ff0000000000001,
	0xfff0000012345678,
	0x41dfffffffc00000,
	0x41e0000000000000,
	0xc1e0000000200000,
	0x43e0000000000000,
	0x3fe0000000000000,
	0x3ff8000000000000,
	0x4004000000000000,
	0x36a0000000000000,
	0x380fffffffffffff,
	0x47efffffe0000000,
	0x47effffff0000000,
};

/* Random bits, special floats, small numbers (shift counts, lengths, strings), and equal lanes. */
static void random_vec(union x86_vec *vec, uint64_t *state)
{
	const unsigned kind = random64(state) % 6;

	memset(vec, 0, sizeof(*vec));
	for (unsigned i = 0; i < 4; i++) {
		if (kind == 0 || kind == 5)
			vec->d[i] = (uint32_t)random64(state);
		else if (kind == 1)
			vec->d[i] = special32[random64(state) % (sizeof(special32) / sizeof(special32[0]))];
		else if (kind == 2 && !(i & 1))
			vec->q[i / 2] =
				special64[random64(state) % (sizeof(special64) / sizeof(special64[0]))];
		else if (kind == 3)
			for (unsigned j = 0; j < 4; j++)
				vec->b[4 * i + j] = random64(state) % 5;
		else if (kind == 4 && !(i & 1))
			vec->q[i / 2] = random64(state) % 80;
	}
}

static bool agrees(const struct vec_case *c, const struct exchange *before, const struct exchange *after,
		   struct x86_cpu *cpu)
{
	union x86_vec dst = before->dst;
	const union x86_vec src = before->src;

	memset(cpu, 0, sizeof(*cpu));
	cpu->zmm[0] = before->xmm0;
	cpu->mxcsr = before->mxcsr;
	cpu->r[REG_RAX] = before->rax;
	cpu->r[REG_RDX] = before->rdx;
	c->ours(cpu, &dst, &src, c->imm);
	if (memcmp(dst.b, after->dst.b, c->mmx ? 8 : 16))
		return false;
	if (c->mmx)
		return true;
	if (cpu->mxcsr != after->mxcsr || memcmp(cpu->zmm[0].b, after->xmm0.b, 16) ||
	    cpu->r[REG_RCX] != after->rcx)
		return false;
	if (strstr(c->name, "comis") || strstr(c->name, "ptest") || strstr(c->name, "str"))
		return (cpu->eflags & FLAGS_STATUS) == (after->flags & FLAGS_STATUS);
	return true;
}

static void print_case(const struct vec_case *c, const struct exchange *before, const struct exchange *after)
{
	print_error("%s imm %#x mxcsr %#x\n  dst %016lx%016lx src %016lx%016lx rax %lx rdx %lx\n  native \
	%016lx%016lx mxcsr %#x rcx %lu flags %#lx\n",
		    c->name, c->imm, before->mxcsr, before->dst.q[1], before->dst.q[0], before->src.q[1],
		    before->src.q[0], before->rax, before->rdx, after->dst.q[1], after->dst.q[0],
		    after->mxcsr, after->rcx, after->flags & FLAGS_STATUS);
}

static bool case_is_supported(const struct vec_case *c)
{
	unsigned a, b = 0, cx, d;

	__cpuid_count(7, 0, a, b, cx, d);
	return strncmp(c->name, "sha", 3) || b & 1u << 29;
}

static void test_against_host(void **unused)
{
	const unsigned rounds = 400;
	static struct x86_cpu cpu;
	uint64_t state = 0x9e3779b97f4a7c15;
	unsigned wrong = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned wrong_here = 0;

		if (!case_is_supported(&cases[i])) {
			print_message("skipped: %s (not on this host)\n", cases[i].name);
			continue;
		}
		for (unsigned round = 0; round < rounds; round++) {
			struct exchange before = {0}, after;

			random_vec(&before.dst, &state);
			random_vec(&before.src, &state);
			random_vec(&before.xmm0, &state);
			if (round % 8 == 0)
				before.src = before.dst;
			before.rax = random64(&state) % 40 - 20;
			before.rdx = random64(&state) % 40 - 20;
			before.mxcsr = 0x1f80 | (random64(&state) & 0xe07f & (round & 1 ? 0xffff : 0x603f));
			after = before;
			cases[i].native(&after);
			if (!agrees(&cases[i], &before, &after, &cpu) && !wrong_here++)
				print_case(&cases[i], &before, &after);
		}
		wrong += wrong_here != 0;
	}
	assert_int_equal(wrong, 0);
}

/* The reciprocals promise an error, not bits: 1.5 * 2^-12 relative to the host's exact quotient. */
static void test_reciprocal_error(void **unused)
{
	static struct x86_cpu cpu;
	uint64_t state = 88172645463325252;

	for (unsigned round = 0; round < 20000; round++) {
		union x86_vec dst = {0}, src = {0};
		float value, got;

		src.d[0] = (uint32_t)(random64(&state) & 0x007fffff) | (uint32_t)(64 + random64(&state) % 126)
									       << 23;
		memcpy(&value, &src.d[0], 4);
		x86_vec_rcpss(&cpu, &dst, &src, 0);
		memcpy(&got, &dst.d[0], 4);
		assert_true(__builtin_fabs((double)got * value - 1.0) <= 1.5 / 4096);
		x86_vec_rsqrtss(&cpu, &dst, &src, 0);
		memcpy(&got, &dst.d[0], 4);
		assert_true(__builtin_fabs((double)got * got * value - 1.0) <= 3.01 / 4096);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_host),
		cmocka_unit_test(test_reciprocal_error),
	};

	return cmocka_run_group_tests_name("vec", tests, NULL, NULL);
}
#else
int main(void)
{
	printf("skipped: vec (the oracle is an x86-64 host)\n");
	return 77;
}
#endif
