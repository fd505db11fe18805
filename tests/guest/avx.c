/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVX in code that is run often enough to be translated: two contexts that XSAVE and XRSTOR in turn, upper
 * halves under SSE and VZEROUPPER, what CR0, CR4 and XCR0 forbid, masked moves at the end of what is mapped,
 * alignment. Intel SDM vol. 1, chapters 13 and 14. Needs a host with AVX2.
 */
#include "tests/guest/runtime.h"

#define CR0_TS      (1u << 3)
#define CR4_OSXSAVE (1u << 18)
#define HOT         300 /* rounds: many times what makes code hot */
#define LATE        290
#define X87_SSE     3
#define X87_SSE_AVX 7

/* Named by assembly. */
uint8_t area[2][1024] __attribute__((aligned(64)));
uint64_t value[8] __attribute__((aligned(32)));

static void xcr0_set(uint32_t to)
{
	__asm__ volatile("xsetbv" : : "a"(to), "d"(0), "c"(0));
}

static void show(const char *name)
{
	print("%s: %x %x %x %x\n", name, (word)value[0], (word)value[1], (word)value[2], (word)value[3]);
}

static void restore(unsigned context)
{
	__asm__ volatile("xrstor64 (%0)" : : "r"(area[context]), "a"(X87_SSE_AVX), "d"(0) : "memory");
}

/* Each context counts in its own YMM5, the second one twice as fast; XSAVE and XSAVEOPT take turns. */
static void switch_contexts(void)
{
	for (unsigned i = 0; i < 8; i++)
		value[i] = 1 + i / 4;
	for (unsigned i = 0; i < HOT; i++) {
		const unsigned context = i & 1;

		restore(context);
		__asm__ volatile("vpaddq (%0), %%ymm5, %%ymm5" : : "r"(&value[4 * context]));
		if (i & 2)
			__asm__ volatile("xsave64 (%0)"
					 :
					 : "r"(area[context]), "a"(X87_SSE_AVX), "d"(0)
					 : "memory");
		else
			__asm__ volatile("xsaveopt64 (%0)"
					 :
					 : "r"(area[context]), "a"(X87_SSE_AVX), "d"(0)
					 : "memory");
		__asm__ volatile("vpcmpeqd %ymm5, %ymm5, %ymm5");
	}
	for (unsigned context = 0; context < 2; context++) {
		restore(context);
		__asm__ volatile("vmovdqu %%ymm5, %0" : "=m"(value));
		show(context ? "second context" : "first context");
	}
}

/* SSE leaves upper halves alone, AVX of 128 bits and VZEROUPPER clear them. */
static void upper_halves(void)
{
	for (unsigned i = 0; i < HOT; i++)
		__asm__ volatile(
			"vpcmpeqd %%ymm0, %%ymm0, %%ymm0; vmovdqa %%ymm0, %%ymm1; vmovdqa %%ymm0, %%ymm2;"
			"pxor %%xmm0, %%xmm0; vpxor %%xmm1, %%xmm1, %%xmm1; vmovdqu %%ymm0, %0"
			: "=m"(value));
	show("after SSE");
	__asm__ volatile("vmovdqu %%ymm1, %0" : "=m"(value));
	show("after AVX");
	__asm__ volatile("vzeroupper; vmovdqu %%ymm2, %0" : "=m"(value));
	show("after vzeroupper");
}

static word forbidden_cr0, forbidden_cr4, forbidden_xcr0;

static void forbidden(void)
{
	for (unsigned i = 0; i < HOT; i++) {
		if (i == LATE) {
			xcr0_set(X87_SSE_AVX & ~forbidden_xcr0);
			WRITE_CR(4, READ_CR(4) & ~forbidden_cr4);
			WRITE_CR(0, READ_CR(0) | forbidden_cr0);
		}
		__asm__ volatile("vpaddd %ymm1, %ymm0, %ymm0; vaddps %ymm2, %ymm3, %ymm3");
	}
}

static void forbidding(const char *name, word cr0, word cr4, word xcr0)
{
	forbidden_cr0 = cr0;
	forbidden_cr4 = cr4;
	forbidden_xcr0 = xcr0;
	report(name, catch (forbidden));
	WRITE_CR(0, READ_CR(0) & ~(word)CR0_TS);
	WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
	xcr0_set(X87_SSE_AVX);
}

static void misaligned(void)
{
	for (unsigned i = 0; i < HOT; i++)
		__asm__ volatile("vmovaps (%0), %%ymm0" : : "r"(area[0] + (i >= LATE ? 16 : 0)));
}

static void misaligned_operand(void)
{
	for (unsigned i = 0; i < HOT; i++)
		__asm__ volatile("vandps (%0), %%ymm0, %%ymm0" : : "r"(area[0] + (i >= LATE ? 4 : 0)));
}

int main(void)
{
	WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
	xcr0_set(X87_SSE_AVX);
	switch_contexts();
	upper_halves();
	forbidding("with TS", CR0_TS, 0, 0);
	forbidding("without OSXSAVE", 0, CR4_OSXSAVE, 0);
	forbidding("without AVX in XCR0", 0, 0, X87_SSE_AVX & ~X87_SSE);
	report("misaligned vmovaps", catch (misaligned));
	report("misaligned operand", catch (misaligned_operand));
	finish();
}
