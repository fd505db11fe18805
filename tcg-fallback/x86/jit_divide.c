/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DIV and IDIV of 32 and 64 bits. The host's own would raise a signal where the guest's raises #DE, so what
 * could overflow goes to the interpreter: a DIV whose high half is not below the divisor, and an IDIV whose
 * dividend is wider than the divisor, or whose divisor is 0 or -1. Intel SDM vol. 2, DIV, IDIV.
 */
#include "tcg-fallback/x86/jit_emit.h"

bool jit_divide_accepts(const struct x86_insn *in)
{
	unsigned fast = x86_rows[in->row].fast;

	if (fast != X86_FAST_DIV && fast != X86_FAST_IDIV)
		return false;
	return in->opsize >= 4 && (in->mod == 3 || jit_address_fits(in));
}

/* Leaves r14 + 1 in r14, and r15. */
static void emit_guards(struct jit_translation *t, const struct jit_insn *insn, struct asm_rm divisor,
			struct jit_stub *stub)
{
	struct asm_code *code = &t->code;
	bool w = insn->in.opsize == 8;

	if (x86_rows[insn->in.row].fast == X86_FAST_DIV) {
		asm_alu_rm(code, ASM_CMP, w, ASM_RDX, divisor);
		stub->jump[0] = asm_jcc(code, ASM_AE);
		return;
	}
	asm_mov_rr(code, w, ASM_R15, ASM_RAX);
	asm_shift(code, 7, w, ASM_R15, w ? 63 : 31);
	asm_alu_rm(code, ASM_CMP, w, ASM_R15, asm_rm_reg(ASM_RDX));
	stub->jump[0] = asm_jcc(code, ASM_NE);
	asm_load(code, w, ASM_R14, divisor);
	asm_alu_imm(code, ASM_ADD, w, asm_rm_reg(ASM_R14), 1);
	asm_alu_imm(code, ASM_CMP, w, asm_rm_reg(ASM_R14), 1);
	stub->jump[1] = asm_jcc(code, ASM_BE);
}

void jit_divide_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	struct asm_op divide = {.opcode = 0xf7, .w = in->opsize == 8, .reg = in->reg & 7};
	struct asm_rm divisor = in->mod == 3 ? jit_rm(in->rm) : asm_rm_mem(ASM_R13, 0);
	struct jit_stub *stub;

	jit_flags_spare(t, FLAGS_STATUS);
	if (in->mod != 3) {
		jit_address(t, insn);
		jit_check(t, insn, in->opsize, false);
	}
	stub = jit_call_stub(t, insn);
	if (!stub)
		return;
	emit_guards(t, insn, divisor, stub);
	asm_insn(&t->code, &divide, &divisor);
	jit_flags_made(t);
}
