/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Re-encoding of VEX instructions: what native.c has the host execute for the interpreter is copied into
 * translated code, on guest registers that live in the host's (jit_live.c), with the memory operand replaced.
 * Masked moves, gathers and strings stay the interpreter's: their faults are those of single elements.
 */
#include <string.h>

#include "tcg-fallback/x86/jit_emit.h"
#include "tcg-fallback/x86/vec.h"

static char letter(const struct x86_row *row, unsigned i)
{
	return row->operand[i] ? x86_operand_names[row->operand[i]][0] : 0;
}

static bool row_has(const struct x86_row *row, const char *letters)
{
	for (unsigned i = 0; i < 4 && row->operand[i]; i++)
		if (strchr(letters, letter(row, i)))
			return true;
	return false;
}

static bool is_zero(const struct x86_row *row)
{
	return row->slow == x86_slow_vzeroupper || row->slow == x86_slow_vzeroall;
}

bool jit_avx_accepts(const struct x86_jit *jit, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	if (in->encoding != X86_ENC_VEX || row->kind != X86_ROW_SLOW)
		return false;
	if ((row->slow != x86_slow_native && !is_zero(row)) || (row->properties & X86_PROP_ZMM))
		return false;
	if (x86_insn_is_mem(in) && !jit_address_fits(in))
		return false;
	return jit->feature[row->feature >> 5] >> (row->feature & 31) & 1;
}

unsigned jit_avx_kinds(const struct x86_insn *in)
{
	return JIT_LIVE_YMM | (x86_rows[in->row].properties & X86_PROP_MXCSR ? JIT_LIVE_FLOAT : 0);
}

static struct asm_op encoding(const struct x86_insn *in, const struct x86_row *row)
{
	return (struct asm_op){
		.opcode = in->opcode,
		.map = in->map,
		.reg = in->reg,
		.w = in->vex_w,
		.prefix66 = in->prefix66,
		.rep = in->rep == X86_REP_F3   ? 0xf3
		       : in->rep == X86_REP_F2 ? 0xf2
					       : 0,
		.vex = true,
		.vvvv = row_has(row, "H") ? in->vex_vvvv : 0,
		.vex_l = in->vex_l,
	};
}

/* A general register where the instruction can have it: those without a host register pass through r14. */
static uint8_t general(unsigned guest)
{
	return jit_host(guest) != ASM_NONE ? jit_host(guest) : ASM_R14;
}

static struct asm_rm place_rm(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	const struct x86_row *row = &x86_rows[in->row];

	if (x86_insn_is_mem(in)) {
		jit_flags_spare(t, jit_flags_wanted(insn));
		jit_address(t, insn);
		jit_check(t, insn, x86_insn_mem_size(in), row->mem_access & 2);
		return asm_rm_mem(ASM_R13, 0);
	}
	if (row_has(row, "WU"))
		return asm_rm_reg(in->rm);
	if (jit_host(in->rm) == ASM_NONE && letter(row, 0) != 'E' && letter(row, 0) != 'R')
		asm_load(&t->code, true, ASM_R14, jit_rm(in->rm));
	return asm_rm_reg(general(in->rm));
}

/* Which general register it writes, or REG_ZERO. */
static unsigned written(const struct x86_insn *in, const struct x86_row *row)
{
	const char to = letter(row, 0);

	if (to == 'G')
		return in->reg;
	return (to == 'E' || to == 'R') && !x86_insn_is_mem(in) ? in->rm : REG_ZERO;
}

/* Which vector register it writes, or VECTORS. */
#define VECTORS 16u
static unsigned written_vector(const struct x86_insn *in, const struct x86_row *row)
{
	if (row->flags_written)
		return VECTORS;
	switch (letter(row, 0)) {
	case 'V': return in->reg;
	case 'H': return in->vex_vvvv;
	case 'W':
	case 'U': return x86_insn_is_mem(in) ? VECTORS : in->rm;
	}
	return VECTORS;
}

/* What lies above 256 bits does not live in host registers: it is cleared where it is. */
static void emit_clear_zmm(struct jit_translation *t, unsigned number)
{
	struct asm_op mov = {.opcode = 0xc7, .w = true};

	for (unsigned i = 4; i < 8; i++) {
		struct asm_rm home =
			asm_rm_gs(offsetof(struct x86_cpu, zmm) + sizeof(union x86_vec) * number + 8 * i);

		asm_insn(&t->code, &mov, &home);
		asm_imm(&t->code, 0, 4);
	}
}

static bool has_zmm(const struct jit_translation *t)
{
	return x86_has(t->cpu, X86_FEATURE_AVX512F);
}

/* C5 F8 77, C5 FC 77 */
static void emit_zero(struct jit_translation *t, const struct x86_insn *in)
{
	asm_byte(&t->code, 0xc5);
	asm_byte(&t->code, (uint8_t)(0xf8 | in->vex_l << 2));
	asm_byte(&t->code, 0x77);
	for (unsigned i = 0; has_zmm(t) && i < VECTORS; i++)
		emit_clear_zmm(t, i);
}

void jit_avx_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	const struct x86_row *row = &x86_rows[in->row];
	struct asm_op op = encoding(in, row);
	struct asm_rm rm;

	jit_live_need(t, insn, (enum jit_live)insn->live_kinds);
	if (is_zero(row)) {
		emit_zero(t, in);
		return;
	}
	rm = place_rm(t, insn);
	if (row_has(row, "G"))
		op.reg = general(in->reg);
	asm_insn(&t->code, &op, &rm);
	asm_imm(&t->code, in->imm, row_has(row, "IL"));
	if (written(in, row) != REG_ZERO && jit_host(written(in, row)) == ASM_NONE)
		asm_store(&t->code, true, jit_rm(written(in, row)), ASM_R14);
	if (has_zmm(t) && written_vector(in, row) < VECTORS)
		emit_clear_zmm(t, written_vector(in, row));
	if (insn->may)
		jit_flags_made(t);
}
