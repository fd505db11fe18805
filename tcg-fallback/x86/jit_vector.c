/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Re-encoding of MMX, SSE to SSE4.2, AES, PCLMULQDQ and SHA, floating point among it. Guest vector registers
 * are in themselves (jit_live.c), so an instruction is copied with its memory operand replaced; only general
 * registers may have to be renamed. MXCSR is the guest's, with every exception masked, and its flags gather
 * there.
 */
#include <string.h>

#include "tcg-fallback/x86/jit_emit.h"
#include "tcg-fallback/x86/vec.h"
#include "tcg-fallback/x86/xsave.h"

enum vector_prefix { PREFIX_NP = 1, PREFIX_66 = 2, PREFIX_F3 = 4, PREFIX_F2 = 8 };

#define PREFIX_ALL (PREFIX_NP | PREFIX_66 | PREFIX_F3 | PREFIX_F2)

struct vector_range {
	uint8_t map, first, last, prefixes;
};

/* Opcodes that read or write MXCSR. Intel SDM vol. 2, tables 2-19 to 2-21 (exception types 2 and 3). */
static const struct vector_range floating[] = {
	{1, 0x2a, 0x2a, PREFIX_ALL},            /* cvtsi2ss, cvtpi2ps and kin */
	{1, 0x2c, 0x2d, PREFIX_ALL},            /* cvttss2si, cvttps2pi and kin */
	{1, 0x2e, 0x2f, PREFIX_NP | PREFIX_66}, /* ucomiss, comiss */
	{1, 0x51, 0x51, PREFIX_ALL},            /* sqrtps */
	{1, 0x58, 0x5a, PREFIX_ALL},            /* addps, mulps, cvtps2pd */
	{1, 0x5b, 0x5b, PREFIX_NP | PREFIX_66 | PREFIX_F3},
	{1, 0x5c, 0x5f, PREFIX_ALL},            /* subps, minps, divps, maxps */
	{1, 0x7c, 0x7d, PREFIX_66 | PREFIX_F2}, /* haddpd, hsubpd */
	{1, 0xc2, 0xc2, PREFIX_ALL},            /* cmpps */
	{1, 0xd0, 0xd0, PREFIX_66 | PREFIX_F2}, /* addsubpd */
	{1, 0xe6, 0xe6, PREFIX_66 | PREFIX_F3 | PREFIX_F2},
	{3, 0x08, 0x0b, PREFIX_66}, /* roundps */
	{3, 0x40, 0x41, PREFIX_66}, /* dpps, dppd */
};

static unsigned prefix_of(const struct x86_insn *in)
{
	if (in->rep != X86_REP_NONE)
		return in->rep == X86_REP_F3 ? PREFIX_F3 : PREFIX_F2;
	return in->prefix66 ? PREFIX_66 : PREFIX_NP;
}

static bool is_floating(const struct x86_insn *in)
{
	for (unsigned i = 0; i < sizeof(floating) / sizeof(floating[0]); i++)
		if (in->map == floating[i].map && in->opcode >= floating[i].first &&
		    in->opcode <= floating[i].last && (floating[i].prefixes & prefix_of(in)))
			return true;
	return false;
}

static bool is_mxcsr_load(const struct x86_row *row)
{
	return row->slow == x86_slow_ldmxcsr || row->slow == x86_slow_vldmxcsr;
}

/* With VEX or without: what differs is who may execute it. */
static bool is_mxcsr_move(const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	return row->kind == X86_ROW_SLOW &&
	       (is_mxcsr_load(row) || row->slow == x86_slow_stmxcsr || row->slow == x86_slow_vstmxcsr);
}

static bool host_has(const struct x86_jit *jit, unsigned feature)
{
	return jit->feature[feature >> 5] >> (feature & 31) & 1;
}

static char letter(const struct x86_row *row, unsigned i)
{
	return row->operand[i] ? x86_operand_names[row->operand[i]][0] : 0;
}

/* Operands that the code below knows: V and W or U, MMX's P and Q or N, general registers as E, G or R, and
 * an immediate. */
static bool operands_known(const struct x86_row *row)
{
	for (unsigned i = 0; i < 4 && row->operand[i]; i++)
		if (!strchr("VWUPQNEGRMI", letter(row, i)))
			return false;
	return row->operand[0];
}

/* From memory the MMX registers have no part in it, but some hosts' x87 changes all the same. */
static bool transition_differs(const struct x86_insn *in)
{
	return in->map == 1 && in->opcode == 0x2a && (prefix_of(in) & (PREFIX_NP | PREFIX_66)) &&
	       x86_insn_is_mem(in);
}

/* No guest faults there, where some hosts do: SHA's operands may be unaligned on AMD's CPUs. */
static bool alignment_differs(const struct x86_insn *in)
{
	return x86_rows[in->row].feature == X86_FEATURE_SHA && x86_insn_is_mem(in);
}

bool jit_vector_accepts(const struct x86_jit *jit, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	if (!in->has_modrm || in->lock || (in->mod != 3 && !jit_address_fits(in)))
		return false;
	if (is_mxcsr_move(in))
		return host_has(jit, row->feature);
	if (in->encoding != X86_ENC_LEGACY || !(row->properties & (X86_PROP_SSE | X86_PROP_MMX)))
		return false;
	return row->kind == X86_ROW_VEC && !transition_differs(in) && !alignment_differs(in) &&
	       operands_known(row) && host_has(jit, row->feature);
}

unsigned jit_vector_kinds(const struct x86_insn *in)
{
	const uint32_t properties = x86_rows[in->row].properties;
	unsigned kinds = properties & X86_PROP_MMX ? JIT_LIVE_X87 : 0;

	if (is_mxcsr_move(in))
		return JIT_LIVE_FLOAT | (properties & X86_PROP_AVX ? JIT_LIVE_YMM : 0);
	if (is_floating(in))
		kinds |= JIT_LIVE_FLOAT;
	else if (properties & X86_PROP_SSE)
		kinds |= JIT_LIVE_XMM;
	return kinds;
}

static struct asm_op encoding(const struct x86_insn *in)
{
	return (struct asm_op){
		.opcode = in->opcode,
		.map = in->map,
		.reg = in->reg,
		.w = in->rex & 8,
		.prefix66 = prefix_of(in) == PREFIX_66,
		.rep = in->rep == X86_REP_F3   ? 0xf3
		       : in->rep == X86_REP_F2 ? 0xf2
					       : 0,
	};
}

/* Which operand ModRM.reg and ModRM.rm are, by the letters of the row. */
struct vector {
	struct asm_op op;
	struct asm_rm rm;
	bool reg_general, rm_general, rm_mmx;
	bool writes_reg;
	unsigned imm_size;
};

static void describe(struct vector *v, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	*v = (struct vector){.op = encoding(in), .writes_reg = strchr("VPG", letter(row, 0))};
	for (unsigned i = 0; i < 4 && row->operand[i]; i++) {
		char c = letter(row, i);

		v->reg_general |= c == 'G';
		v->rm_mmx |= c == 'Q' || c == 'N';
		if (c == 'P')
			v->op.reg &= 7; /* REX.R names no other */
		v->rm_general |= c == 'E' || c == 'R';
		v->imm_size |= c == 'I';
	}
	if (v->reg_general)
		v->op.reg = jit_host(in->reg) != ASM_NONE ? jit_host(in->reg) : ASM_R14;
}

static void place_rm(struct vector *v, const struct x86_insn *in)
{
	if (in->mod != 3)
		v->rm = asm_rm_mem(ASM_R13, 0);
	else if (!v->rm_general)
		v->rm = asm_rm_reg(v->rm_mmx ? in->rm & 7 : in->rm);
	else /* 32 bits written are extended: not in memory */
		v->rm = v->writes_reg || jit_host(in->rm) != ASM_NONE ? jit_rm(in->rm) : asm_rm_reg(ASM_R14);
}

/* A general register that was written, but has its home in memory. */
static void emit_home(struct jit_translation *t, const struct vector *v, const struct x86_insn *in)
{
	unsigned guest = v->writes_reg ? in->reg : in->rm;
	bool general = v->writes_reg ? v->reg_general : v->rm_general && in->mod == 3;

	if (general && jit_host(guest) == ASM_NONE)
		asm_store(&t->code, true, jit_rm(guest), ASM_R14);
}

static void emit_operand(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_row *row = &x86_rows[insn->in.row];

	if (insn->in.mod == 3)
		return;
	jit_flags_spare(t, jit_flags_wanted(insn));
	jit_address(t, insn);
	jit_check(t, insn, row->mem_size, row->mem_access & 2);
}

/* What sets a reserved bit or unmasks an exception is the interpreter's, and the block ends there. */
static void emit_ldmxcsr(struct jit_translation *t, const struct jit_insn *insn)
{
	struct asm_op ldmxcsr = {.opcode = 0xae, .map = 1, .reg = 2}, test = {.opcode = 0xf7};
	struct asm_rm r15 = asm_rm_reg(ASM_R15), home = JIT_FIELD(mxcsr);
	struct jit_stub *stub = jit_call_stub(t, insn);

	if (!stub)
		return;
	stub->site->leave = true;
	asm_load(&t->code, false, ASM_R14, asm_rm_mem(ASM_R13, 0));
	asm_mov_rr(&t->code, false, ASM_R15, ASM_R14);
	asm_alu_imm(&t->code, ASM_XOR, false, r15, MXCSR_MASKS);
	asm_insn(&t->code, &test, &r15);
	asm_imm(&t->code, ~(uint64_t)MXCSR_VALID | MXCSR_MASKS, 4);
	stub->jump[0] = asm_jcc(&t->code, ASM_NE);
	asm_store(&t->code, false, home, ASM_R14);
	asm_insn(&t->code, &ldmxcsr, &home);
}

static void emit_stmxcsr(struct jit_translation *t)
{
	struct asm_op stmxcsr = {.opcode = 0xae, .map = 1, .reg = 3};
	struct asm_rm operand = asm_rm_mem(ASM_R13, 0);

	asm_insn(&t->code, &stmxcsr, &operand);
}

static void emit_mxcsr_move(struct jit_translation *t, const struct jit_insn *insn)
{
	emit_operand(t, insn);
	if (is_mxcsr_load(&x86_rows[insn->in.row]))
		emit_ldmxcsr(t, insn);
	else
		emit_stmxcsr(t);
}

void jit_vector_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	struct vector v;

	for (unsigned kind = 1; kind < 1u << JIT_LIVE_KINDS; kind <<= 1)
		if (insn->live_kinds & kind)
			jit_live_need(t, insn, (enum jit_live)kind);
	if (is_mxcsr_move(in)) {
		emit_mxcsr_move(t, insn);
		return;
	}
	describe(&v, in);
	emit_operand(t, insn);
	place_rm(&v, in);
	asm_insn(&t->code, &v.op, &v.rm);
	asm_imm(&t->code, in->imm, v.imm_size);
	emit_home(t, &v, in);
	if (insn->may)
		jit_flags_made(t);
}
