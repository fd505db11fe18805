/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PUSH, POP and LEAVE, 64 bits wide. RSP changes after the access, which may fault.
 */
#include "tcg-fallback/x86/jit_emit.h"

static unsigned fast_of(const struct x86_insn *in)
{
	return x86_rows[in->row].fast;
}

bool jit_stack_accepts(const struct x86_insn *in)
{
	if (in->opsize != 8)
		return false;
	switch (fast_of(in)) {
	case X86_FAST_PUSH: return !in->has_modrm || in->mod == 3 || jit_address_fits(in);
	case X86_FAST_POP: return !in->has_modrm || in->mod == 3;
	case X86_FAST_LEAVE: return true;
	default: return false;
	}
}

static unsigned operand_register(const struct x86_insn *in)
{
	return in->has_modrm ? in->rm : (in->opcode & 7u) | (in->rex & 1u) << 3;
}

static void emit_push(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	struct asm_code *code = &t->code;
	struct asm_op store_imm = {.opcode = 0xc7, .w = true};
	struct asm_rm to = asm_rm_mem(ASM_R13, 0), value = JIT_FIELD(jit_value);
	bool immediate = !in->has_modrm && in->opcode >= 0x60, memory = in->has_modrm && in->mod != 3;

	if (memory) {
		jit_address(t, insn);
		jit_check(t, insn, 8, false);
		asm_load(code, true, ASM_R13, asm_rm_mem(ASM_R13, 0));
		asm_store(code, true, value, ASM_R13);
	}
	asm_lea(code, true, ASM_R13, asm_rm_mem(ASM_R12, -8));
	jit_check(t, insn, 8, true);
	if (immediate) {
		asm_insn(code, &store_imm, &to);
		asm_imm(code, in->imm, 4);
	} else if (memory || jit_host(operand_register(in)) == ASM_NONE) {
		asm_load(code, true, ASM_R14, memory ? value : jit_rm(operand_register(in)));
		asm_store(code, true, to, ASM_R14);
	} else {
		asm_store(code, true, to, jit_host(operand_register(in)));
	}
	asm_lea(code, true, ASM_R12, asm_rm_mem(ASM_R12, -8));
}

static void emit_pop(struct jit_translation *t, const struct jit_insn *insn)
{
	unsigned guest = operand_register(&insn->in);
	uint8_t host = jit_host(guest);

	asm_mov_rr(&t->code, true, ASM_R13, ASM_R12);
	jit_check(t, insn, 8, false);
	asm_lea(&t->code, true, ASM_R12, asm_rm_mem(ASM_R12, 8)); /* before POP RSP replaces it */
	asm_load(&t->code, true, host == ASM_NONE ? ASM_R14 : host, asm_rm_mem(ASM_R13, 0));
	if (host == ASM_NONE)
		asm_store(&t->code, true, jit_rm(guest), ASM_R14);
}

static void emit_leave(struct jit_translation *t, const struct jit_insn *insn)
{
	asm_mov_rr(&t->code, true, ASM_R13, ASM_RBP);
	jit_check(t, insn, 8, false);
	asm_lea(&t->code, true, ASM_R12, asm_rm_mem(ASM_RBP, 8));
	asm_load(&t->code, true, ASM_RBP, asm_rm_mem(ASM_R13, 0));
}

void jit_stack_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	jit_flags_spare(t, insn->live);
	switch (fast_of(&insn->in)) {
	case X86_FAST_PUSH: emit_push(t, insn); break;
	case X86_FAST_POP: emit_pop(t, insn); break;
	default: emit_leave(t, insn); break;
	}
}
