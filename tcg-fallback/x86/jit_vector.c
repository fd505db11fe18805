/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SSE instructions that neither read nor write MXCSR, re-encoded: moves, logic, shuffles, integer arithmetic,
 * AES. Guest XMM registers stay in the CPU's structure, where they are operands in memory; what an
 * instruction needs in a register passes through xmm0 (ModRM.reg) and xmm1 (ModRM.rm). Floating point is the
 * interpreter's: its exceptions would be the host's signals.
 */
#include <cpuid.h>
#include <string.h>

#include "tcg-fallback/x86/jit_emit.h"

enum vector_prefix { PREFIX_NP = 1, PREFIX_66 = 2, PREFIX_F3 = 4, PREFIX_F2 = 8 };

struct vector_range {
	uint8_t map, first, last, prefixes;
};

/* Opcodes without MXCSR, without implicit operands, and without MMX. Intel SDM vol. 2, appendix A. */
static const struct vector_range ranges[] = {
	{1, 0x10, 0x11, PREFIX_NP | PREFIX_66 | PREFIX_F3 | PREFIX_F2}, /* movups, movss and kin */
	{1, 0x12, 0x12, PREFIX_NP | PREFIX_66 | PREFIX_F3 | PREFIX_F2}, /* movlps, movsldup, movddup */
	{1, 0x13, 0x15, PREFIX_NP | PREFIX_66},
	{1, 0x16, 0x16, PREFIX_NP | PREFIX_66 | PREFIX_F3},
	{1, 0x17, 0x17, PREFIX_NP | PREFIX_66},
	{1, 0x28, 0x29, PREFIX_NP | PREFIX_66}, /* movaps */
	{1, 0x2b, 0x2b, PREFIX_NP | PREFIX_66}, /* movntps */
	{1, 0x50, 0x50, PREFIX_NP | PREFIX_66}, /* movmskps */
	{1, 0x54, 0x57, PREFIX_NP | PREFIX_66}, /* andps to xorps */
	{1, 0x60, 0x6e, PREFIX_66},             /* punpck, pack, pcmpgt, movd */
	{1, 0x6f, 0x6f, PREFIX_66 | PREFIX_F3}, /* movdqa, movdqu */
	{1, 0x70, 0x70, PREFIX_66 | PREFIX_F3 | PREFIX_F2},
	{1, 0x71, 0x76, PREFIX_66}, /* shifts by immediate, pcmpeq */
	{1, 0x7e, 0x7f, PREFIX_66 | PREFIX_F3},
	{1, 0xc6, 0xc6, PREFIX_NP | PREFIX_66}, /* shufps */
	{1, 0xd1, 0xe5, PREFIX_66},
	{1, 0xe7, 0xef, PREFIX_66},
	{1, 0xf0, 0xf0, PREFIX_F2}, /* lddqu */
	{1, 0xf1, 0xf6, PREFIX_66},
	{1, 0xf8, 0xfe, PREFIX_66},
	{2, 0x00, 0x0b, PREFIX_66}, /* SSSE3 */
	{2, 0x1c, 0x1e, PREFIX_66},
	{2, 0x20, 0x25, PREFIX_66}, /* SSE4.1 */
	{2, 0x28, 0x2b, PREFIX_66},
	{2, 0x30, 0x41, PREFIX_66},
	{2, 0xdb, 0xdf, PREFIX_66}, /* AES */
	{3, 0x0c, 0x0f, PREFIX_66},
	{3, 0x42, 0x42, PREFIX_66},
	{3, 0x44, 0x44, PREFIX_66},
	{3, 0xdf, 0xdf, PREFIX_66},
};

static unsigned prefix_of(const struct x86_insn *in)
{
	if (in->rep != X86_REP_NONE)
		return in->rep == X86_REP_F3 ? PREFIX_F3 : PREFIX_F2;
	return in->prefix66 ? PREFIX_66 : PREFIX_NP;
}

static bool in_ranges(const struct x86_insn *in)
{
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (in->map == ranges[i].map && in->opcode >= ranges[i].first &&
		    in->opcode <= ranges[i].last && (ranges[i].prefixes & prefix_of(in)))
			return true;
	return false;
}

static bool host_has(unsigned feature)
{
	unsigned a, b, c, d;

	if (feature == X86_FEATURE_SSE || feature == X86_FEATURE_SSE2)
		return true;
	if (!__get_cpuid(1, &a, &b, &c, &d))
		return false;
	switch (feature) {
	case X86_FEATURE_SSE3: return c & bit_SSE3;
	case X86_FEATURE_SSSE3: return c & bit_SSSE3;
	case X86_FEATURE_SSE4_1: return c & bit_SSE4_1;
	case X86_FEATURE_SSE4_2: return c & bit_SSE4_2;
	case X86_FEATURE_AES: return c & bit_AES;
	case X86_FEATURE_PCLMULQDQ: return c & bit_PCLMUL;
	default: return false;
	}
}

static char letter(const struct x86_row *row, unsigned i)
{
	return row->operand[i] ? x86_operand_names[row->operand[i]][0] : 0;
}

/* Operands that the code below knows: V and W or U, general registers as E, G or R, and an immediate. */
static bool operands_known(const struct x86_row *row)
{
	for (unsigned i = 0; i < 4 && row->operand[i]; i++)
		if (!strchr("VWUEGRMI", letter(row, i)))
			return false;
	return row->operand[0];
}

bool jit_vector_accepts(const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	if (row->kind != X86_ROW_VEC || in->encoding != X86_ENC_LEGACY || !in->has_modrm || in->lock)
		return false;
	if (!(row->properties & X86_PROP_SSE) || (row->properties & X86_PROP_MMX) || row->flags_written)
		return false;
	if (in->mod != 3 && !jit_address_fits(in))
		return false;
	return in_ranges(in) && operands_known(row) && host_has(row->feature);
}

static struct asm_rm vector_home(unsigned number)
{
	return asm_rm_gs(offsetof(struct x86_cpu, zmm) + sizeof(union x86_vec) * number);
}

/* movaps between xmm0 or xmm1 and a home. */
static void move(struct jit_translation *t, uint8_t opcode, unsigned xmm, unsigned number)
{
	struct asm_op op = {.opcode = opcode, .map = 1, .reg = (uint8_t)xmm};
	struct asm_rm rm = vector_home(number);

	asm_insn(&t->code, &op, &rm);
}

#define LOAD  0x28
#define STORE 0x29

/* SSE is off: CR0.EM or TS set, or CR4.OSFXSR clear. Whoever changes that ends the block. */
static void emit_enabled(struct jit_translation *t, const struct jit_insn *insn)
{
	struct asm_op test = {.opcode = 0xf7};
	struct asm_rm cr0 = JIT_FIELD(cr0), cr4 = JIT_FIELD(cr4);
	struct jit_stub *stub;

	if (t->sse_checked)
		return;
	jit_flags_spare(t, FLAGS_STATUS);
	stub = jit_call_stub(t, insn);
	if (!stub)
		return;
	asm_insn(&t->code, &test, &cr0);
	asm_imm(&t->code, CR0_EM | CR0_TS, 4);
	stub->jump[0] = asm_jcc(&t->code, ASM_NE);
	asm_insn(&t->code, &test, &cr4);
	asm_imm(&t->code, CR4_OSFXSR, 4);
	stub->jump[1] = asm_jcc(&t->code, ASM_E);
	t->sse_checked = true;
}

/* Which operand ModRM.reg and ModRM.rm are, by the letters of the row. */
static bool is_reg_letter(char c)
{
	return c == 'V' || c == 'G';
}

static struct asm_op encoding(const struct x86_insn *in)
{
	return (struct asm_op){
		.opcode = in->opcode,
		.map = in->map,
		.reg = in->reg & 7,
		.w = in->rex & 8,
		.prefix66 = prefix_of(in) == PREFIX_66,
		.rep = in->rep == X86_REP_F3   ? 0xf3
		       : in->rep == X86_REP_F2 ? 0xf2
					       : 0,
	};
}

struct vector {
	struct asm_op op;
	struct asm_rm rm;
	bool reg_vector, reg_general; /* neither: the opcode's extension */
	bool rm_general;
	bool writes_reg;
	unsigned imm_size;
};

static void describe(struct vector *v, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	*v = (struct vector){.op = encoding(in), .writes_reg = is_reg_letter(letter(row, 0))};
	for (unsigned i = 0; i < 4 && row->operand[i]; i++) {
		char c = letter(row, i);

		v->reg_vector |= c == 'V';
		v->reg_general |= c == 'G';
		v->rm_general |= c == 'E' || c == 'R';
		v->imm_size |= c == 'I';
	}
	if (v->reg_vector)
		v->op.reg = 0;
}

/* A register as rm: general ones and those that are only read are operands where they are. */
static void place_rm(struct jit_translation *t, struct vector *v, const struct x86_insn *in)
{
	if (in->mod != 3) {
		v->rm = asm_rm_mem(ASM_R13, 0);
	} else if (v->rm_general) {
		/* 32 bits written are extended: not in memory. */
		v->rm = v->writes_reg || jit_host(in->rm) != ASM_NONE ? jit_rm(in->rm) : asm_rm_reg(ASM_R14);
	} else {
		v->rm = asm_rm_reg(1);
		move(t, LOAD, 1, in->rm);
	}
}

static void emit_register_write(struct jit_translation *t, const struct vector *v, const struct x86_insn *in)
{
	unsigned guest = v->writes_reg ? in->reg : in->rm;

	if (v->writes_reg && v->reg_vector)
		move(t, STORE, 0, guest);
	else if (v->writes_reg ? v->reg_general : v->rm_general) {
		if (jit_host(guest) == ASM_NONE && in->mod == 3)
			asm_store(&t->code, true, jit_rm(guest), ASM_R14);
	} else if (in->mod == 3)
		move(t, STORE, 1, guest);
}

void jit_vector_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	const struct x86_row *row = &x86_rows[in->row];
	struct vector v;

	describe(&v, in);
	emit_enabled(t, insn);
	if (in->mod != 3) {
		jit_flags_spare(t, insn->live);
		jit_address(t, insn);
		jit_check(t, insn, row->mem_size, row->mem_access & 2);
	}
	place_rm(t, &v, in);
	if (v.reg_vector)
		move(t, LOAD, 0, in->reg);
	if (v.reg_general)
		v.op.reg = jit_host(in->reg) != ASM_NONE ? jit_host(in->reg) : ASM_R14;
	asm_insn(&t->code, &v.op, &v.rm);
	asm_imm(&t->code, in->imm, v.imm_size);
	emit_register_write(t, &v, in);
}
