/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point and vectors in code that is run often enough to be translated: exceptions masked and
 * unmasked, what control registers forbid, rounding, saved state that others load, x87 pointers, MMX. Each
 * loop begins ordinary and meets its special case late. Intel SDM vol. 1, chapters 8 to 11.
 */
#include "tests/guest/runtime.h"

#define CR0_MP          (1u << 1)
#define CR0_EM          (1u << 2)
#define CR0_TS          (1u << 3)
#define CR0_NE          (1u << 5)
#define CR4_OSFXSR      (1u << 9)
#define CR4_OSXMMEXCPT  (1u << 10)
#define CR4_OSXSAVE     (1u << 18)
#define HOT             300 /* rounds: many times what makes code hot */
#define LATE            290
#define INTERRUPT       0x50
#define TRY(statement_) __asm__ volatile(statement_)

static uint32_t mxcsr;
static uint16_t control;
extern uint8_t pointed_at[];

/* Named by assembly. */
uint64_t value[4] __attribute__((aligned(16)));
uint8_t area[1024] __attribute__((aligned(64))), other_area[1024] __attribute__((aligned(64)));
uint16_t status;
uint32_t environment[7];

static void mxcsr_set(uint32_t to)
{
	mxcsr = to;
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

static uint32_t mxcsr_get(void)
{
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	return mxcsr;
}

static void control_set(uint16_t to)
{
	control = to;
	__asm__ volatile("fldcw %0" : : "m"(control));
}

static void show(const char *name)
{
	print("%s: %x mxcsr %x\n", name, (word)value[0], (word)mxcsr_get());
}

/* x = x / 3 + y, HOT times. */
static void scalar_loop(void)
{
	mxcsr_set(0x1f80);
	value[0] = 0x3ff0000000000000; /* 1 */
	value[1] = 0x4008000000000000; /* 3 */
	value[2] = 0x3fe0000000000000; /* 0.5 */
	__asm__ volatile("movsd %0, %%xmm0; movsd %1, %%xmm1; mov %3, %%ecx;"
			 "1: divsd %%xmm1, %%xmm0; addsd %2, %%xmm0; dec %%ecx; jnz 1b; movsd %%xmm0, %0"
			 : "+m"(value[0])
			 : "m"(value[1]), "m"(value[2]), "i"(HOT)
			 : "ecx", "cc", "memory");
	show("scalar loop");
}

/* 1 / n for n = HOT down to 0. */
static void divide_to_zero(void)
{
	__asm__ volatile("mov %2, %%ecx; 1: movsd %1, %%xmm0; cvtsi2sd %%ecx, %%xmm1; divsd %%xmm1, %%xmm0;"
			 "movsd %%xmm0, %0; dec %%ecx; jns 1b"
			 : "=m"(value[0])
			 : "m"(value[1]), "i"(HOT)
			 : "ecx", "cc", "memory");
}

static void unmasked(void)
{
	value[1] = 0x3ff0000000000000;
	mxcsr_set(0x1f80);
	report("masked division by zero", catch (divide_to_zero));
	show("  result");
	mxcsr_set(0x1d80); /* ZM clear */
	report("unmasked division by zero", catch (divide_to_zero));
	show("  before it");
	mxcsr_set(0x1d80);
	WRITE_CR(4, READ_CR(4) & ~(word)CR4_OSXMMEXCPT);
	report("the same without OSXMMEXCPT", catch (divide_to_zero));
	WRITE_CR(4, READ_CR(4) | CR4_OSXMMEXCPT);
	mxcsr_set(0x1f80);
}

/* Masked at first; LDMXCSR in the loop unmasks division by zero when ecx is 10. */
static void unmask_late(void)
{
	static const uint32_t masks[2] = {0x1f80, 0x1d80};

	__asm__ volatile(
		"mov %2, %%ecx; 1: xor %%eax, %%eax; cmp $10, %%ecx; setle %%al; ldmxcsr (%3,%%rax,4);"
		"movsd %1, %%xmm0; cvtsi2sd %%ecx, %%xmm1; divsd %%xmm1, %%xmm0; movsd %%xmm0, %0;"
		"dec %%ecx; jns 1b"
		: "=m"(value[0])
		: "m"(value[1]), "i"(HOT), "r"(masks)
		: "rax", "ecx", "cc", "memory");
}

static void reserved_mxcsr(void)
{
	static const uint32_t bits[2] = {0x1f80, 0x80001f80};

	__asm__ volatile("mov %0, %%ecx; 1: xor %%eax, %%eax; cmp $10, %%ecx; setle %%al;"
			 "ldmxcsr (%1,%%rax,4); dec %%ecx; jns 1b"
			 :
			 : "i"(HOT), "r"(bits)
			 : "rax", "ecx", "cc");
}

static void rounding_loop(void)
{
	static const uint32_t modes[4] = {0x1f80, 0x3f80, 0x5f80, 0x7f80};
	uint64_t sum[4] = {0, 0, 0, 0};

	value[1] = 0x4004000000000000; /* 2.5 */
	for (unsigned i = 0; i < HOT; i++) {
		uint64_t rounded;

		mxcsr_set(modes[i & 3]);
		__asm__ volatile("cvtsd2si %1, %0" : "=r"(rounded) : "m"(value[1]));
		sum[i & 3] += rounded;
	}
	mxcsr_set(0x1f80);
	print("rounding: %d %d %d %d\n", sum[0], sum[1], sum[2], sum[3]);
}

/* The smallest normal number halved. */
static void tiny(uint32_t mode, const char *name)
{
	value[1] = 0x0010000000000000;
	value[2] = 0x3fe0000000000000;
	for (unsigned i = 0; i < HOT; i++) {
		mxcsr_set(mode);
		__asm__ volatile("movsd %1, %%xmm0; mulsd %2, %%xmm0; movsd %%xmm0, %0; addsd %%xmm0, %%xmm0"
				 : "=m"(value[0])
				 : "m"(value[1]), "m"(value[2]));
	}
	show(name);
}

static word forbidden_cr0, forbidden_cr4;

/* Vector code whose CR0 or CR4 forbids it from round LATE on. */
static void forbidden(void)
{
	for (unsigned i = 0; i < HOT; i++) {
		if (i == LATE) {
			WRITE_CR(4, READ_CR(4) & ~forbidden_cr4);
			WRITE_CR(0, READ_CR(0) | forbidden_cr0);
		}
		TRY("paddd %xmm1, %xmm0; pxor %xmm2, %xmm3");
	}
}

static void forbidden_x87(void)
{
	for (unsigned i = 0; i < HOT; i++) {
		if (i == LATE)
			WRITE_CR(0, READ_CR(0) | forbidden_cr0);
		TRY("fld1; fldpi; faddp; fstp %st(0)");
	}
}

static void forbidding(void (*fn)(void), const char *name, word cr0, word cr4)
{
	word old0 = READ_CR(0), old4 = READ_CR(4);
	int vector;

	forbidden_cr0 = cr0;
	forbidden_cr4 = cr4;
	vector = catch (fn);
	WRITE_CR(0, old0);
	WRITE_CR(4, old4);
	report(name, vector);
}

/* An interrupt whose handler uses all of it and puts back what it found. */
__asm__("float_handler: fxsave64 area; pxor %xmm0, %xmm0; pcmpeqd %xmm1, %xmm1; fninit; fldz; fldpi;"
	"fxrstor64 area; iretq");
extern uint8_t float_handler[];

static void interrupted(void)
{
	__asm__ volatile("fninit; fld1; fld1; mov %0, %%eax; cvtsi2sd %%eax, %%xmm0; movapd %%xmm0, %%xmm1;"
			 "mov %1, %%ecx; 1: addsd %%xmm1, %%xmm0; fadd %%st(1), %%st; test $7, %%cl; jnz 2f;"
			 "int $0x50; 2: dec %%ecx; jnz 1b; cvtsd2si %%xmm0, %%rax; mov %%rax, value;"
			 "fistpll value+8; fstp %%st(0)"
			 :
			 : "i"(3), "i"(HOT)
			 : "rax", "ecx", "cc", "memory");
	print("interrupted loop: %d %d\n", value[0], value[1]);
}

/* Two contexts that take turns: #NM saves the one and loads the other. */
static unsigned owner, wanted, switches;
static uint8_t *const context[2] = {area, other_area};

static void lazy_switch(void)
{
	TRY("clts");
	if (owner == wanted)
		return;
	__asm__ volatile("fxsave64 (%0); fxrstor64 (%1)"
			 :
			 : "r"(context[owner]), "r"(context[wanted])
			 : "memory");
	owner = wanted;
	switches++;
}

static void contexts(void)
{
	uint64_t sums[2], tops[2];

	TRY("fninit; fldz; pxor %xmm5, %xmm5; fxsave64 area; fxsave64 other_area");
	handler[7] = lazy_switch;
	for (unsigned i = 0; i < HOT; i++) {
		wanted = i / 3 & 1;
		WRITE_CR(0, READ_CR(0) | CR0_TS);
		__asm__ volatile("movq %0, %%xmm6; paddq %%xmm6, %%xmm5; fld1; faddp"
				 :
				 : "r"((word)i)
				 : "memory");
	}
	for (wanted = 0; wanted < 2; wanted++) {
		WRITE_CR(0, READ_CR(0) | CR0_TS);
		__asm__ volatile("movq %%xmm5, %0; fld %%st(0); fistpll %1"
				 : "=r"(sums[wanted]), "=m"(tops[wanted])
				 :
				 : "memory");
	}
	handler[7] = NULL;
	print("contexts: %d %d, %d %d, %d switches\n", sums[0], sums[1], tops[0], tops[1], switches);
}

static void misaligned(void)
{
	for (unsigned i = 0; i < HOT; i++)
		__asm__ volatile("movaps (%0), %%xmm0" : : "r"((uint8_t *)value + (i >= LATE ? 8 : 0)));
}

static void x87_loops(void)
{
	TRY("fninit");
	value[0] = 0;
	__asm__ volatile("fldz; fld1; mov %1, %%ecx; 1: fadd %%st, %%st(1); fdivr %%st, %%st(1);"
			 "dec %%ecx; jnz 1b; fstp %%st(0); fstpl %0"
			 : "=m"(value[0])
			 : "i"(HOT)
			 : "ecx", "cc");
	__asm__ volatile("fnstsw %0" : "=m"(status));
	print("x87 loop: %x status %x\n", value[0], (word)status);
	/* Eight registers, and a ninth. */
	TRY("fninit");
	for (unsigned i = 0; i < HOT; i++)
		TRY("fld1; fincstp");
	__asm__ volatile("mov $9, %%ecx; 1: fld1; dec %%ecx; jnz 1b; fnstsw %0"
			 : "=m"(status)
			 :
			 : "ecx", "cc");
	print("overflown stack: status %x\n", (word)status);
	TRY("fninit");
	for (unsigned i = 0; i < HOT; i++)
		TRY("fldpi; fsqrt; fnstenv environment; fstp %st(0); fninit");
	print("fnstenv: control %x tags %x\n", (word)(uint16_t)environment[0],
	      (word)(uint16_t)environment[2]);
}

static void x87_pointers(void)
{
	bool exact = true;

	TRY("fninit");
	for (unsigned i = 0; i < HOT; i++) {
		TRY("fld1; pointed_at: faddl value; fnstsw %ax; fnstenv environment; fstp %st(0)");
		exact &= environment[3] == (uint32_t)(word)pointed_at;
		exact &= environment[5] == (uint32_t)(word)value;
	}
	print("fnstenv: pointers exact %d\n", (word)exact);
}

/* 1 / 0 unmasked: pending, and raised by the next that waits. */
static void x87_unmasked(void)
{
	for (unsigned i = 0; i < HOT; i++) {
		if (i == LATE)
			control_set(0x37b);
		TRY("fld1; fldz; fdivrp; fnstsw status; fwait; fstp %st(0)");
	}
}

static void x87_rounding(void)
{
	static const uint16_t modes[4] = {0x37f, 0x77f, 0xb7f, 0xf7f};
	uint64_t sum[4] = {0, 0, 0, 0};

	TRY("fninit");
	value[1] = 0x4004000000000000;
	for (unsigned i = 0; i < HOT; i++) {
		control_set(modes[i & 3]);
		__asm__ volatile("fldl %1; fistpll %0" : "=m"(value[0]) : "m"(value[1]));
		sum[i & 3] += value[0];
	}
	TRY("fninit");
	print("x87 rounding: %d %d %d %d\n", sum[0], sum[1], sum[2], sum[3]);
}

static void mmx(void)
{
	TRY("fninit");
	value[0] = 0;
	value[1] = 0x0001000200030004;
	for (unsigned i = 0; i < HOT; i++)
		__asm__ volatile("movq %0, %%mm1; paddw %1, %%mm1; movq %%mm1, %0; fnstenv environment; emms;"
				 "fld1; fstp %%st(0)"
				 : "+m"(value[0])
				 : "m"(value[1])
				 : "memory");
	print("mmx: %x tags %x\n", value[0], (word)(uint16_t)environment[2]);
}

static void xsave_and_xrstor(void)
{
	WRITE_CR(4, READ_CR(4) | CR4_OSXSAVE);
	__asm__ volatile("xsetbv" : : "a"(3), "c"(0), "d"(0));
	__asm__ volatile("pxor %%xmm9, %%xmm9; mov $1, %%eax; movd %%eax, %%xmm8; mov %0, %%ecx;"
			 "1: paddd %%xmm8, %%xmm9; mov $3, %%eax; xor %%edx, %%edx; xsave64 area;"
			 "pxor %%xmm9, %%xmm9; pxor %%xmm8, %%xmm8; xrstor64 area; dec %%ecx; jnz 1b;"
			 "movq %%xmm9, value"
			 :
			 : "i"(HOT)
			 : "rax", "rcx", "rdx", "cc", "memory");
	print("xsave and xrstor: %d\n", value[0]);
}

int main(void)
{
	WRITE_CR(0, (READ_CR(0) & ~(word)(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	WRITE_CR(4, READ_CR(4) | CR4_OSFXSR | CR4_OSXMMEXCPT);
	TRY("fninit");
	idt_set(INTERRUPT, (word)float_handler, 0x8e);
	scalar_loop();
	unmasked();
	report("unmasked in the loop", catch (unmask_late));
	show("  before it");
	report("reserved bits of mxcsr", catch (reserved_mxcsr));
	rounding_loop();
	tiny(0x1f80, "denormal result");
	tiny(0x9f80, "flushed to zero");
	tiny(0x1fc0, "denormals are zeros");
	mxcsr_set(0x1f80);
	forbidding(forbidden, "vectors with TS", CR0_TS, 0);
	forbidding(forbidden, "vectors with EM", CR0_EM, 0);
	forbidding(forbidden, "vectors without OSFXSR", 0, CR4_OSFXSR);
	forbidding(forbidden_x87, "x87 with TS", CR0_TS, 0);
	forbidding(forbidden_x87, "x87 with EM", CR0_EM, 0);
	interrupted();
	contexts();
	report("misaligned movaps", catch (misaligned));
	x87_loops();
	x87_pointers();
	report("unmasked x87", catch (x87_unmasked));
	print("  status %x\n", (word)status);
	TRY("fninit");
	x87_rounding();
	mmx();
	xsave_and_xrstor();
	finish();
}
