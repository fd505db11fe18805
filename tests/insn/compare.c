/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compares a runner's result with the host CPU's. What the manuals leave undefined is left out: by the flags
 * of the row, and by the list of special cases here, each with its reason.
 */
#include "tests/insn/compare.h"

#include <stdlib.h>
#include <inttypes.h>
#include <string.h>

#include "insn_gen.h"

#define FLAGS_COMPARED (FLAGS_STATUS | FLAG_DF | FLAG_IF | FLAG_NT | FLAG_AC | FLAG_ID)
#define KERNEL_HALF    0x7ffffffff000u
#define MXCSR_MM       0x20000u /* AMD's misaligned SSE mode, which no guest is offered */
#define PF_PRESENT     1u

struct comparison {
	const struct oracle_case *test;
	const struct x86_insn *in;
	const struct oracle_result *expected, *found;
	FILE *out;
	bool equal;
};

static void differ(struct comparison *c, const char *what, uint64_t expected, uint64_t found)
{
	c->equal = false;
	if (c->out)
		fprintf(c->out, "    %-10s host %016" PRIx64 "  found %016" PRIx64 "\n", what, expected,
			found);
}

static void check(struct comparison *c, const char *what, uint64_t expected, uint64_t found)
{
	if (expected != found)
		differ(c, what, expected, found);
}

static const char *mnemonic(const struct comparison *c)
{
	return c->in ? x86_rows[c->in->row].mnemonic : "";
}

static bool completed(const struct comparison *c)
{
	return c->expected->vector == ORACLE_VECTOR_DB || c->expected->vector == ORACLE_VECTOR_BP;
}

/* The count of a shift or rotate, masked as the CPU does. */
static unsigned shift_count(const struct comparison *c)
{
	const struct x86_row *row = &x86_rows[c->in->row];
	const unsigned mask = c->in->opsize == 8 ? 63 : 31;

	for (unsigned i = 0; i < 4; i++) {
		if (row->operand[i] == OPD_CL)
			return c->test->state.r[REG_RCX] & mask;
		if (row->operand[i] == OPD_Ib)
			return c->in->imm & mask;
	}
	return 1;
}

static bool is_shift(const struct comparison *c)
{
	static const char *const names[] = {"rol", "ror", "rcl", "rcr", "shl", "shr", "sar", "shld", "shrd"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(mnemonic(c), names[i]))
			return true;
	return false;
}

/*
 * A count of zero leaves all flags alone; a count of one defines OF (SDM vol. 2, SAL/SAR/SHL/SHR, RCL, SHLD).
 */
static uint32_t undefined_flags(const struct comparison *c)
{
	uint32_t undefined;

	/* Translated code does not keep flags for a fault that nobody else will read: x86/jit_cache.h. */
	if (!c->in && !completed(c) && getenv("VMMCTL_TEST_JIT"))
		return FLAGS_STATUS;
	if (!c->in)
		return c->test->undefined_flags;
	if (!completed(c))
		return 0;
	undefined = x86_rows[c->in->row].flags_undefined;
	if (is_shift(c) && shift_count(c) == 0)
		return 0;
	if (is_shift(c) && shift_count(c) == 1)
		undefined &= ~FLAG_OF;
	if (is_shift(c) && shift_count(c) > 8u * c->in->opsize - 1)
		undefined |= FLAG_CF;
	return undefined;
}

/* SHLD and SHRD by more than the operand's width: destination and flags are undefined. */
static bool is_undefined_result(const struct comparison *c)
{
	if (!c->in || !completed(c))
		return false;
	return !strncmp(mnemonic(c), "sh", 2) && strlen(mnemonic(c)) == 4 && mnemonic(c)[3] == 'd' &&
	       shift_count(c) > 8u * c->in->opsize;
}

static bool is_one_of(const struct comparison *c, const char *const *names)
{
	for (; *names; names++)
		if (!strcmp(mnemonic(c), *names))
			return true;
	return false;
}

/*
 * Operands of many bytes are accessed in pieces whose order no manual gives: any byte may be the one that
 * faults. Of CMPS AMD loads the second operand first, Intel the first.
 */
static bool is_fault_anywhere(const struct comparison *c)
{
	static const char *const names[] = {"fxsave", "fxrstor", "maskmovq", "maskmovdqu", "vmaskmovdqu",
					    "cmps",   "fpu_d9",  "fpu_dd",   NULL};

	return is_one_of(c, names) && c->expected->vector == ORACLE_VECTOR_PF &&
	       c->found->vector == ORACLE_VECTOR_PF;
}

/* Linux hides from user space whether its own pages exist. */
static bool is_kernel_half(const struct comparison *c)
{
	return c->expected->vector == ORACLE_VECTOR_PF && c->expected->cr2 >= KERNEL_HALF;
}

/*
 * An access across the end of the lower half: #PF for its mapped part or #GP for the other, in either order.
 */
static bool is_canonical_edge(const struct comparison *c)
{
	return is_kernel_half(c) && c->expected->cr2 < KERNEL_HALF + ORACLE_PAGE &&
	       (c->found->vector == ORACLE_VECTOR_GP || c->found->vector == ORACLE_VECTOR_SS);
}

/* The same for x87 images across the end of 4 GiB in 32-bit code. */
static bool is_wrapped(const struct comparison *c)
{
	const bool masked = c->in && c->in->evex_mask && c->test->bits == 32;

	static const char *const names[] = {"fpu_d9",      "fpu_db",     "fpu_dd",     "fpu_df",
					    "fxsave",      "fxrstor",    "maskmovq",   "maskmovdqu",
					    "vmaskmovdqu", "vmaskmovps", "vmaskmovpd", "vpmaskmovd",
					    "vpmaskmovq",  NULL};

	/* Under a mask some hosts look at each element, and some at the whole. */
	if (masked && c->expected->vector >= ORACLE_VECTOR_SS && c->expected->vector <= ORACLE_VECTOR_PF &&
	    c->found->vector >= ORACLE_VECTOR_SS && c->found->vector <= ORACLE_VECTOR_PF &&
	    c->expected->vector != c->found->vector)
		return true;
	return c->test->bits == 32 && c->expected->cr2 >= UINT32_MAX - ORACLE_PAGE &&
	       (!c->in || is_one_of(c, names)) &&
	       (c->found->vector == ORACLE_VECTOR_GP || c->found->vector == ORACLE_VECTOR_SS);
}

/* Which operand of CMPS faults first: see above; their faults may be of different kinds. */
static bool is_cmps_fault(const struct comparison *c)
{
	return !strcmp(mnemonic(c), "cmps") && c->expected->vector >= ORACLE_VECTOR_SS &&
	       c->found->vector >= ORACLE_VECTOR_SS;
}

static void compare_event(struct comparison *c)
{
	const uint32_t hidden = is_kernel_half(c) || is_fault_anywhere(c) ? PF_PRESENT : 0;

	if (is_canonical_edge(c) || is_wrapped(c) || is_cmps_fault(c))
		return;
	check(c, "vector", c->expected->vector, c->found->vector);
	check(c, "error", c->expected->error & ~hidden, c->found->error & ~hidden);
	if (!is_fault_anywhere(c))
		check(c, "cr2", c->expected->cr2, c->found->cr2);
}

/*
 * AMD's POPA keeps what it has popped when a later pop faults; the registers are loaded again by the next
 * try.
 */
static bool is_popa_fault(const struct comparison *c)
{
	return !completed(c) && !strcmp(mnemonic(c), "popa");
}

static void compare_integers(struct comparison *c)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	const struct oracle_state *expected = &c->expected->state, *found = &c->found->state;
	const uint32_t flags = FLAGS_COMPARED & ~undefined_flags(c);

	for (unsigned i = 0; i < (c->test->bits == 64 ? 16 : 8); i++)
		if (!is_popa_fault(c))
			check(c, names[i], expected->r[i], found->r[i]);
	check(c, "rip", expected->rip, found->rip);
	check(c, "rflags", expected->rflags & flags, found->rflags & flags);
	if (c->test->bits == 64) {
		check(c, "fs base", expected->fs_base, found->fs_base);
		check(c, "gs base", expected->gs_base, found->gs_base);
	}
}

static void compare_xmm(struct comparison *c, unsigned index)
{
	uint32_t expected[4], found[4];
	char name[16];

	memcpy(expected, c->expected->state.fx.xmm[index], 16);
	memcpy(found, c->found->state.fx.xmm[index], 16);
	for (unsigned i = 0; i < 4; i++) {
		if (expected[i] == found[i])
			continue;
		snprintf(name, sizeof(name), "xmm%u[%u]", index, i);
		differ(c, name, expected[i], found[i]);
	}
}

static void compare_ymm(struct comparison *c, unsigned index)
{
	uint64_t expected[2], found[2];
	char name[16];

	memcpy(expected, c->expected->state.ymm[index], 16);
	memcpy(found, c->found->state.ymm[index], 16);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "ymm%u.q[%u]", index, 2 + i);
		check(c, name, expected[i], found[i]);
	}
}

static void compare_zmm(struct comparison *c)
{
	const struct oracle_state *expected = &c->expected->state, *found = &c->found->state;
	uint64_t a[4], b[4];
	char name[16];

	for (unsigned i = 0; i < (c->test->bits == 64 ? 48 : 8); i++) {
		const unsigned number = i < 16 ? i : 16 + (i - 16) / 2;

		memcpy(a, i < 16 ? expected->zmm_high[i] : expected->zmm_more[(i - 16) / 2] + (i & 1) * 32,
		       32);
		memcpy(b, i < 16 ? found->zmm_high[i] : found->zmm_more[(i - 16) / 2] + (i & 1) * 32, 32);
		for (unsigned j = 0; j < 4; j++) {
			snprintf(name, sizeof(name), "zmm%u.q[%u]", number, (i < 16 || i & 1 ? 4 : 0) + j);
			check(c, name, a[j], b[j]);
		}
	}
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "k%u", i);
		check(c, name, expected->k[i], found->k[i]);
	}
}

static bool is_transcendental(const struct comparison *c)
{
	if (!c->in || c->in->opcode != 0xd9 || c->in->mod != 3)
		return false;
	switch (c->in->reg << 3 | (c->in->rm & 7)) {
	case 060:
	case 061:
	case 062:
	case 063:
	case 071:
	case 073:
	case 076:
	case 077: return true;
	}
	return false;
}

/* With an exception unmasked they are softfloat's; else the host's own, to the bit. */
static bool is_approximated(const struct comparison *c)
{
	return is_transcendental(c) && (c->test->state.fx.control & 0x3f) != 0x3f;
}

/* Transcendental functions are specified to within a unit in the last place (SDM vol. 1, 8.3.10). */
static bool is_ulp_apart(const uint8_t *expected, const uint8_t *found)
{
	uint64_t a, b;
	uint16_t a_high, b_high;

	memcpy(&a, expected, 8);
	memcpy(&b, found, 8);
	memcpy(&a_high, expected + 8, 2);
	memcpy(&b_high, found + 8, 2);
	return a_high == b_high ? a - b + 2 <= 4 : (a + 2 <= 4 || b + 2 <= 4 || a << 1 == 0 || b << 1 == 0);
}

static void compare_st(struct comparison *c, unsigned index)
{
	const uint8_t *expected = c->expected->state.fx.st[index], *found = c->found->state.fx.st[index];
	uint64_t fractions[2];
	uint16_t high[2];
	char name[16];

	if (!memcmp(expected, found, 10) || (is_approximated(c) && is_ulp_apart(expected, found)))
		return;
	memcpy(&fractions[0], expected, 8);
	memcpy(&fractions[1], found, 8);
	memcpy(&high[0], expected + 8, 2);
	memcpy(&high[1], found + 8, 2);
	snprintf(name, sizeof(name), "st%u sexp", index);
	check(c, name, high[0], high[1]);
	snprintf(name, sizeof(name), "st%u mant", index);
	check(c, name, fractions[0], fractions[1]);
}

/*
 * Overflow and underflow that are not masked are found by the host with masked ones: what it then says of
 * inexactness is that of the masked result (native.c). The steps of VDPPS are not told apart.
 */
static uint32_t mxcsr_unknown(const struct comparison *c)
{
	const uint32_t mxcsr = c->expected->state.fx.mxcsr, unmasked = mxcsr & ~(mxcsr >> 7) & 0x3f;

	if (c->expected->vector != ORACLE_VECTOR_XM ||
	    (c->in && !(x86_rows[c->in->row].properties & X86_PROP_MXCSR)))
		return 0;
	if (!strncmp(mnemonic(c), "vdpp", 4))
		return 0x3f;
	return unmasked & 0x18 ? 0x20 : 0;
}

static void compare_fx(struct comparison *c)
{
	const struct oracle_fx *expected = &c->expected->state.fx, *found = &c->found->state.fx;
	/* A result one unit away may be the exact one, or be rounded the other way: C1 and PE follow. */
	const uint16_t status_mask = is_approximated(c) ? (uint16_t)~0x220u : 0xffff;

	check(c, "fcw", expected->control, found->control);
	check(c, "fsw", expected->status & status_mask, found->status & status_mask);
	check(c, "ftw", expected->tags, found->tags);
	check(c, "mxcsr", expected->mxcsr & ~mxcsr_unknown(c), found->mxcsr & ~mxcsr_unknown(c));
	for (unsigned i = 0; i < 8; i++)
		compare_st(c, i);
	for (unsigned i = 0; i < (c->test->bits == 64 ? 16 : 8); i++)
		compare_xmm(c, i);
	for (unsigned i = 0; i < (c->test->bits == 64 ? 16 : 8); i++)
		compare_ymm(c, i);
	compare_zmm(c);
}

/* FXSAVE, FNSAVE and FNSTENV store the last instruction's pointers, which AMD's FXSAVE may leave out. */
static bool stores_pointers(const struct comparison *c)
{
	if (!c->in || !x86_insn_is_mem(c->in))
		return false;
	if (!strcmp(mnemonic(c), "fxsave"))
		return true;
	return (c->in->opcode == 0xd9 && (c->in->reg & 7) == 6) ||
	       (c->in->opcode == 0xdd && (c->in->reg & 7) == 6);
}

static void compare_data(struct comparison *c)
{
	char name[24];

	if (stores_pointers(c) || !memcmp(c->expected->data, c->found->data, ORACLE_DATA_SIZE))
		return;
	for (unsigned i = 0; i < ORACLE_DATA_SIZE; i++) {
		if (c->expected->data[i] == c->found->data[i])
			continue;
		snprintf(name, sizeof(name), "[%08x]", ORACLE_DATA + i);
		differ(c, name, c->expected->data[i], c->found->data[i]);
	}
}

/*
 * Which of a masked operand's bytes alignment checking (EFLAGS.AC) looks at is each maker's own; the built-in
 * CPU does not look.
 */
static bool is_ac_under_mask(const struct comparison *c)
{
	const bool masked = c->in ? c->in->evex_mask || (x86_rows[c->in->row].properties & X86_PROP_DENSE)
				  : c->test->has_masks;

	return masked && c->expected->vector == ORACLE_VECTOR_AC;
}

/* Under a mask, of several pages that fault either may be named, and stores before the fault may have been
 * done. */
static bool is_masked_fault(const struct comparison *c)
{
	const bool masked = c->in ? c->in->evex_mask || (x86_rows[c->in->row].properties & X86_PROP_DENSE)
				  : c->test->has_masks;

	return masked && c->expected->vector >= ORACLE_VECTOR_SS && c->expected->vector <= ORACLE_VECTOR_PF &&
	       c->found->vector >= ORACLE_VECTOR_SS && c->found->vector <= ORACLE_VECTOR_PF;
}

bool compare_results(const struct oracle_case *test, const struct x86_insn *in,
		     const struct oracle_result *expected, const struct oracle_result *found, FILE *out)
{
	struct comparison c = {
		.test = test, .in = in, .expected = expected, .found = found, .out = out, .equal = true};

	if (is_undefined_result(&c) || (expected->state.fx.mxcsr & MXCSR_MM) || is_ac_under_mask(&c) ||
	    is_masked_fault(&c))
		return true;
	compare_event(&c);
	compare_integers(&c);
	compare_fx(&c);
	compare_data(&c);
	return c.equal;
}
