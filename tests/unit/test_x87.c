/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87 handlers against the host's x87: a random state is loaded with FRSTOR, one random instruction is
 * run, and the state is taken down with FNSAVE, here and natively; every byte of it is compared, with memory,
 * EFLAGS and AX. What a host cannot show (CR0, real-mode images, FERR#) is checked against the manual. Intel
 * SDM vol. 1 chapter 8.
 */
#undef _GNU_SOURCE /* <signal.h> would name its registers as cpu.h does */
#define _DEFAULT_SOURCE
#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "tests/unit/softfloat_oracle.h"
#include "tests/unit/x87_rig.h"

#define RANDOM_CASES 400000
#define MEMORY_SIZE  128

/* A task switch between FRSTOR and FNSAVE loses FIP and FDP on an AMD CPU: then the case is run again. */
#define NATIVE_ATTEMPTS 4

/* FNSAVE's 32-bit protected-mode image. */
struct x87_image {
	uint16_t control, reserved0, status, reserved1, tags, reserved2;
	uint32_t fip;
	uint16_t fcs, fop;
	uint32_t fdp;
	uint16_t fds, reserved3;
	uint8_t st[8][10];
};
static_assert(sizeof(struct x87_image) == 108, "as the manual draws it");

#if SOFTFLOAT_HAS_ORACLE
#include <cpuid.h>

/* A case, and what it leaves behind: run once natively, once by the handlers. */
struct x87_case {
	uint8_t opcode, modrm;
	bool prefix66; /* selects the 16-bit images, means nothing elsewhere */
	struct x87_image before;
	uint8_t memory_before[MEMORY_SIZE];
	uint32_t eflags_before;
};

struct x87_after {
	int vector;
	struct x87_image image;
	uint8_t memory[MEMORY_SIZE];
	uint64_t eflags, rax;
};

struct native {
	uint8_t *code;
	uint8_t *memory; /* one place for both runs: FDP tells the address */
	bool amd;
};

#define NATIVE_INSN_OFFSET 16
#define RAX_BEFORE         0x1122334455667788ull

/* A signal handler has no other way back. */
static sigjmp_buf signal_unwind;

static void on_signal(int signo)
{
	siglongjmp(signal_unwind, signo);
}

/*
 * void code(const image *before (rdi), image *after (rsi), void *memory (rdx), uint64_t eflags_rax[2] (rcx)),
 * with the instruction at a fixed place.
 */
static void native_assemble(const struct native *native, const struct x87_case *c)
{
	static const uint8_t prologue[NATIVE_INSN_OFFSET] = {
		0x48, 0x8b, 0x41, 0x08,       /* mov rax, [rcx + 8] */
		0xff, 0x31,                   /* push [rcx] */
		0x9d,                         /* popf */
		0x90, 0x90, 0x90, 0x90, 0x90, /* nop */
		0x90, 0x90, 0xdd, 0x27,       /* frstor [rdi] */
	};
	static const uint8_t epilogue[] = {
		0xdd, 0x36,             /* fnsave [rsi] */
		0x9c,                   /* pushf */
		0x8f, 0x01,             /* pop [rcx] */
		0x48, 0x89, 0x41, 0x08, /* mov [rcx + 8], rax */
		0xc3,                   /* ret */
	};
	uint8_t *p = native->code;

	memcpy(p, prologue, sizeof(prologue));
	p += sizeof(prologue);
	if (c->prefix66)
		*p++ = 0x66;
	*p++ = c->opcode;
	*p++ = c->modrm;
	memcpy(p, epilogue, sizeof(epilogue));
}

static void native_run(const struct native *native, const struct x87_case *c, struct x87_after *after)
{
	void (*code)(const void *, void *, void *, uint64_t *);
	uint64_t eflags_rax[2] = {c->eflags_before, RAX_BEFORE};
	int signo;

	memcpy(&code, &native->code, sizeof(native->code));
	memcpy(native->memory, c->memory_before, MEMORY_SIZE);
	after->vector = -1;
	signo = sigsetjmp(signal_unwind, 0);
	if (signo) {
		__asm__ volatile("fninit");
		after->vector = signo == SIGILL ? VEC_UD : VEC_MF;
		return;
	}
	code(&c->before, &after->image, native->memory, eflags_rax);
	memcpy(after->memory, native->memory, MEMORY_SIZE);
	after->eflags = eflags_rax[0] & FLAGS_STATUS;
	after->rax = eflags_rax[1];
}

static void soft_run(const struct native *native, const struct x87_case *c, struct x87_after *after)
{
	struct x87_image before = c->before;
	struct rig rig;
	uint16_t cs, ds;

	rig_init(&rig);
	__asm__("mov %%cs, %0\n\tmov %%ds, %1" : "=r"(cs), "=r"(ds));
	rig.cpu.seg[SEG_CS].selector = cs;
	rig.cpu.seg[SEG_DS].selector = ds;
	memcpy(native->memory, c->memory_before, MEMORY_SIZE);
	rig.cpu.r[REG_RDX] = (uint64_t)(uintptr_t)&before;
	rig_run(&rig, 0xdd, 0x22, 4); /* frstor */
	rig.cpu.r[REG_RAX] = RAX_BEFORE;
	rig.cpu.r[REG_RDX] = (uint64_t)(uintptr_t)native->memory;
	rig.cpu.rip = (uint64_t)(uintptr_t)native->code + NATIVE_INSN_OFFSET;
	rig.cpu.eflags = c->eflags_before;
	after->vector = rig_run(&rig, c->opcode, c->modrm, c->prefix66 ? 2 : 4);
	if (after->vector >= 0)
		return;
	memcpy(after->memory, native->memory, MEMORY_SIZE);
	after->eflags = rig.cpu.eflags & FLAGS_STATUS;
	after->rax = rig.cpu.r[REG_RAX];
	rig.cpu.r[REG_RDX] = (uint64_t)(uintptr_t)&after->image;
	rig_run(&rig, 0xdd, 0x32, 4); /* fnsave */
}

static bool is_transcendental(const struct x87_case *c)
{
	uint8_t n = c->modrm & 0x3f;

	return c->opcode == 0xd9 && c->modrm >= 0xc0 &&
	       ((n >= 0x30 && n <= 0x33) || n == 0x39 || n == 0x3b || n == 0x3e || n == 0x3f);
}

/*
 * The hardware's transcendentals are right to a unit in the last place; the handlers' value is then taken for
 * both.
 */
static void forgive_last_place(struct x87_image *a, const struct x87_image *b)
{
	for (int i = 0; i < 8; i++) {
		uint64_t x, y;

		memcpy(&x, a->st[i], 8);
		memcpy(&y, b->st[i], 8);
		if (x - y + 1 <= 2 || (x == ~0ull && y == 1ull << 63) || (y == ~0ull && x == 1ull << 63))
			memcpy(a->st[i], b->st[i], 10);
	}
	a->status = (a->status & ~X87_STATUS_C1) | (b->status & X87_STATUS_C1);
}

/* FLDENV, FNSTENV, FRSTOR, FNSAVE: with the pointers that are not recorded alike. */
static bool moves_environment(const struct x87_case *c)
{
	return (c->opcode == 0xd9 || c->opcode == 0xdd) && c->modrm < 0xc0 && (c->modrm & 0x28) == 0x20;
}

static void forgive(const struct native *native, const struct x87_case *c, struct x87_after *n,
		    struct x87_after *s)
{
	if (is_transcendental(c))
		forgive_last_place(&n->image, &s->image);
	if (native->amd)
		return;
	/* Others record the pointers in fewer cases, and differ in what the manual leaves undefined. */
	n->image.fop = s->image.fop;
	n->image.fcs = s->image.fcs;
	n->image.fds = s->image.fds;
	n->image.fdp = s->image.fdp;
	n->image.status = (n->image.status & ~X87_STATUS_CC) | (s->image.status & X87_STATUS_CC);
	if (moves_environment(c))
		*n = *s;
}

static void print_image(const char *name, const struct x87_image *image)
{
	print_error("  %s cw %04x sw %04x tw %04x fip %08x fcs %04x fop %04x fdp %08x fds %04x\n   ", name,
		    image->control, image->status, image->tags, image->fip, image->fcs, image->fop,
		    image->fdp, image->fds);
	for (int i = 0; i < 8; i++) {
		uint64_t mant;
		uint16_t sexp;

		memcpy(&mant, image->st[i], 8);
		memcpy(&sexp, image->st[i] + 8, 2);
		print_error(" %04x:%016llx", sexp, (unsigned long long)mant);
	}
	print_error("\n");
}

static void print_after(const char *name, const struct x87_after *after)
{
	uint64_t memory[2];

	memcpy(memory, after->memory, sizeof(memory));
	print_error(" %s: vector %d eflags %llx rax %llx memory %016llx %016llx\n", name, after->vector,
		    (unsigned long long)after->eflags, (unsigned long long)after->rax,
		    (unsigned long long)memory[0], (unsigned long long)memory[1]);
	print_image("after ", &after->image);
}

static void check_case(const struct native *native, const struct x87_case *c)
{
	struct x87_after n, s;

	native_assemble(native, c);
	for (int i = 0; i < NATIVE_ATTEMPTS; i++) {
		memset(&n, 0, sizeof(n));
		memset(&s, 0, sizeof(s));
		native_run(native, c, &n);
		soft_run(native, c, &s);
		forgive(native, c, &n, &s);
		if (!memcmp(&n, &s, sizeof(n)))
			return;
	}
	print_error("%s%02x %02x eflags %x\n", c->prefix66 ? "66 " : "", c->opcode, c->modrm,
		    c->eflags_before);
	print_image("before", &c->before);
	print_after("native", &n);
	print_after("soft  ", &s);
	fail();
}

static void random_memory(uint64_t *seed, const struct x87_case *c, uint8_t *memory)
{
	struct f80 f = oracle_f80(seed, (struct f80){.sexp = 0x3fff});
	uint64_t r;

	for (size_t i = 0; i < MEMORY_SIZE; i += 8) {
		r = oracle_random(seed);
		memcpy(memory + i, &r, 8);
	}
	if (c->opcode == 0xdb) {
		memcpy(memory, &f.mant, 8);
		memcpy(memory + 8, &f.sexp, 2);
	} else if (c->opcode == 0xdf) {
		struct sf_env env = {0};

		sf80_to_bcd(sf80_from_i64((int64_t)(oracle_random(seed) >> (4 + (f.mant & 31)))), memory,
			    &env);
	} else if (r & 1) {
		r = c->opcode & 4 ? oracle_f64(seed, 0) : oracle_f32(seed, 0);
		memcpy(memory, &r, 8);
	}
}

static void random_case(uint64_t *seed, struct x87_case *c)
{
	uint64_t r = oracle_random(seed);
	struct f80 f = {.sexp = 0x3fff};

	memset(c, 0, sizeof(*c));
	c->opcode = (uint8_t)(0xd8 | (r & 7));
	c->modrm = r & 8 ? (uint8_t)(0xc0 | (r >> 4 & 0x3f)) : (uint8_t)((r >> 4 & 0x38) | 2);
	c->prefix66 = !(r >> 16 & 7);
	c->eflags_before = (uint32_t)(r >> 20) & FLAGS_STATUS;
	r = oracle_random(seed);
	c->before.control = (uint16_t)((r & 0xf40) | (r & 3 << 12 ? 0x3f : r >> 16 & 0x3f));
	r = oracle_random(seed);
	c->before.status = (uint16_t)(r & (r >> 16 & 7 ? 0x7f00 : 0x7f7f));
	for (unsigned int i = 0; i < 8; i++)
		c->before.tags |= (uint16_t)((r >> (20 + 3 * i) & 7 ? 0 : 3) << (2 * i));
	if (r >> 44 & 1)
		c->before.tags |= (uint16_t)(3 << (2 * (((c->before.status >> 11) + 7) & 7)));
	for (int i = 0; i < 8; i++) {
		f = oracle_f80(seed, f);
		memcpy(c->before.st[i], &f.mant, 8);
		memcpy(c->before.st[i] + 8, &f.sexp, 2);
	}
	c->before.fip = (uint32_t)r;
	c->before.fdp = (uint32_t)(r >> 32);
	c->before.fop = r >> 20 & 0x7ff;
	c->before.fcs = 0x1234;
	c->before.fds = 0x5678;
	random_memory(seed, c, c->memory_before);
}

static void native_init(struct native *native)
{
	unsigned int eax, ebx, ecx, edx;

	native->code =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(native->code != MAP_FAILED);
	native->memory = native->code + 2048;
	native->amd = __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_AMD_ebx;
}

static void instructions_agree_with_the_host(void **state)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER}, old_ill, old_fpe;
	uint64_t seed = 0x9e3779b97f4a7c15ull;
	struct native native;
	struct x87_case c;

	native_init(&native);
	sigaction(SIGILL, &action, &old_ill);
	sigaction(SIGFPE, &action, &old_fpe);
	for (int i = 0; i < RANDOM_CASES; i++) {
		random_case(&seed, &c);
		check_case(&native, &c);
	}
	sigaction(SIGILL, &old_ill, NULL);
	sigaction(SIGFPE, &old_fpe, NULL);
	munmap(native.code, 4096);
}

#else

static void instructions_agree_with_the_host(void **state)
{
	skip();
}

#endif

static void task_switched_and_emulate_raise_nm(void **state)
{
	struct rig rig;
	struct x86_insn fwait = {.opcode = 0x9b, .len = 1};

	rig_init(&rig);
	rig.cpu.cr0 = CR0_PE | CR0_NE | CR0_TS;
	assert_int_equal(rig_run(&rig, 0xd9, 0xe8, 4), VEC_NM);
	assert_int_equal(rig_run(&rig, 0xdb, 0xe3, 4), VEC_NM); /* FNINIT as well */
	x86_slow_fwait(&rig.cpu, &fwait);                       /* without MP it passes */
	rig.cpu.cr0 = CR0_PE | CR0_NE | CR0_EM;
	assert_int_equal(rig_run(&rig, 0xd9, 0xe8, 4), VEC_NM);
	x86_slow_fwait(&rig.cpu, &fwait);
	rig.cpu.cr0 = CR0_PE | CR0_NE | CR0_TS | CR0_MP;
	if (!sigsetjmp(rig.unwind, 0)) {
		x86_slow_fwait(&rig.cpu, &fwait);
		fail();
	}
	assert_int_equal(rig.cpu.fault.vector, VEC_NM);
	rig.cpu.cr0 = CR0_PE | CR0_NE;
	assert_int_equal(rig_run(&rig, 0xd9, 0xe8, 4), -1);
}

/* 1/0 with the division by zero unmasked. */
static void rig_divide_by_zero(struct rig *rig)
{
	uint16_t control = X87_CONTROL_INIT & ~SF_DIVZERO;

	rig->cpu.r[REG_RDX] = (uint64_t)(uintptr_t)&control;
	assert_int_equal(rig_run(rig, 0xd9, 0x2a, 4), -1); /* fldcw */
	assert_int_equal(rig_run(rig, 0xd9, 0xe8, 4), -1); /* fld1 */
	assert_int_equal(rig_run(rig, 0xd9, 0xee, 4), -1); /* fldz */
	assert_int_equal(rig_run(rig, 0xde, 0xf9, 4), -1); /* fdivp */
}

static void pending_exception_raises_mf_at_the_next_waiting_instruction(void **state)
{
	struct x86_insn fwait = {.opcode = 0x9b, .len = 1};
	struct rig rig;

	rig_init(&rig);
	rig_divide_by_zero(&rig);
	assert_int_equal(x87_status_get(&rig.cpu), 0xb084); /* B, TOP 6, ES, ZE */
	assert_int_equal(rig_run(&rig, 0xdf, 0xe0, 4), -1); /* fnstsw ax */
	assert_int_equal(rig.cpu.r[REG_RAX], 0xb084);
	assert_int_equal(rig_run(&rig, 0xd9, 0xd0, 4), VEC_MF);
	if (!sigsetjmp(rig.unwind, 0)) {
		x86_slow_fwait(&rig.cpu, &fwait);
		fail();
	}
	assert_int_equal(rig.cpu.fault.vector, VEC_MF);
	assert_int_equal(rig_run(&rig, 0xdb, 0xe2, 4), -1); /* fnclex */
	assert_int_equal(rig_run(&rig, 0xd9, 0xd0, 4), -1);
	assert_int_equal(x87_status_get(&rig.cpu), 0x3000);
	assert_int_equal(rig.ferr_edges, 0); /* CR0.NE is set */
}

static void without_ne_the_ferr_pin_is_driven(void **state)
{
	struct rig rig;

	rig_init(&rig);
	rig.cpu.cr0 &= ~(uint64_t)CR0_NE;
	rig_divide_by_zero(&rig);
	assert_int_equal(rig.ferr_level, 1);
	assert_int_equal(rig_run(&rig, 0xd9, 0xd0, 4), -1);
	assert_int_equal(rig_run(&rig, 0xdb, 0xe2, 4), -1); /* fnclex */
	assert_int_equal(rig.ferr_level, 0);
	assert_int_equal(rig.ferr_edges, 2);
}

/* What a real-mode environment holds: SDM vol. 1, figures 8-10 and 8-12. */
static void real_mode_images_hold_linear_addresses(void **state)
{
	static const uint32_t image32[7] = {0xffff037f, 0xffff0000, 0xffffffff, 0x5678,
					    0x00123123, 0x3210,     0x000ab000};
	static const uint16_t image16[7] = {0x037f, 0x0000, 0xffff, 0x5678, 0x3123, 0x3210, 0xb000};
	uint8_t image[28];
	struct rig rig;

	rig_init(&rig);
	rig.cpu.cr0 = CR0_NE;
	rig.cpu.fpu.fcs = 0x1234;
	rig.cpu.fpu.fip = 0x1235678 - 0x12340;
	rig.cpu.fpu.fds = 0xa000;
	rig.cpu.fpu.fdp = 0xab3210 - 0xa0000;
	rig.cpu.fpu.opcode = 0x123;
	rig.cpu.r[REG_RDX] = (uint64_t)(uintptr_t)image;
	assert_int_equal(rig_run(&rig, 0xd9, 0x32, 4), -1); /* fnstenv */
	assert_memory_equal(image, image32, sizeof(image32));
	assert_int_equal(rig_run(&rig, 0xdb, 0xe3, 4), -1); /* fninit */
	assert_int_equal(rig_run(&rig, 0xd9, 0x22, 4), -1); /* fldenv */
	assert_int_equal(rig.cpu.fpu.fip, 0x1235678);
	assert_int_equal(rig.cpu.fpu.fdp, 0xab3210);
	assert_int_equal(rig.cpu.fpu.opcode, 0x123);
	assert_int_equal(rig_run(&rig, 0xd9, 0x32, 2), -1);
	assert_memory_equal(image, image16, sizeof(image16));
	rig.cpu.cr0 |= CR0_PE;
	rig.cpu.eflags |= FLAG_VM; /* virtual-8086 mode has the same images */
	assert_int_equal(rig_run(&rig, 0xd9, 0x32, 4), -1);
	assert_memory_equal(image, image32, sizeof(image32));
}

static void selectors_are_not_kept_where_cpuid_says_so(void **state)
{
	struct rig rig;

	rig_init(&rig);
	rig.cpu.seg[SEG_CS].selector = 0x10;
	assert_int_equal(rig_run(&rig, 0xd9, 0xe8, 4), -1);
	assert_int_equal(rig.cpu.fpu.fcs, 0x10);
	rig.cpu.feature[X86_FEATURE_ZERO_FCS_FDS >> 5] |= 1u << (X86_FEATURE_ZERO_FCS_FDS & 31);
	assert_int_equal(rig_run(&rig, 0xd9, 0xe8, 4), -1);
	assert_int_equal(rig.cpu.fpu.fcs, 0);
}

/* sqrt(2) squared and back: what a sequence gives, step by step, without an oracle. */
static void sequence_gives_eighty_bit_results(void **state)
{
	struct f80 two = {.mant = 1ull << 63, .sexp = 0x4000};
	struct rig rig;

	rig_init(&rig);
	rig.cpu.r[REG_RDX] = (uint64_t)(uintptr_t)&two;
	assert_int_equal(rig_run(&rig, 0xdb, 0x2a, 4), -1); /* fld m80 */
	assert_int_equal(rig_run(&rig, 0xd9, 0xfa, 4), -1); /* fsqrt */
	assert_int_equal(rig.cpu.fpu.reg[7].mant, 0xb504f333f9de6484);
	assert_int_equal(rig_run(&rig, 0xd8, 0xc8, 4), -1); /* fmul st, st */
	assert_int_equal(rig.cpu.fpu.reg[7].mant, 0xffffffffffffffff);
	assert_int_equal(rig.cpu.fpu.reg[7].sexp, 0x3fff);
	assert_int_equal(x87_status_get(&rig.cpu), 0x3800 | SF_INEXACT);
	assert_int_equal(x87_tag_word_get(&rig.cpu), 0x3fff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instructions_agree_with_the_host),
		cmocka_unit_test(task_switched_and_emulate_raise_nm),
		cmocka_unit_test(pending_exception_raises_mf_at_the_next_waiting_instruction),
		cmocka_unit_test(without_ne_the_ferr_pin_is_driven),
		cmocka_unit_test(real_mode_images_hold_linear_addresses),
		cmocka_unit_test(selectors_are_not_kept_where_cpuid_says_so),
		cmocka_unit_test(sequence_gives_eighty_bit_results),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
