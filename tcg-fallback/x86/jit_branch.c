/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jumps, calls and returns, and the ways out of a block. A jump within the page is patched to go to its
 * target's translation. One to another page compares the link key that its target was found under with the
 * CPU's, for the page may be mapped elsewhere tomorrow. All others look into the jump cache, returns after a
 * look at where the last call wanted to return to.
 */
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/jit_emit.h"

#define COND_ALWAYS 16u
#define RETURNS(name_)                                                                                       \
	asm_rm_gs(offsetof(struct x86_cpu, jit_returns) + offsetof(struct x86_jit_returns, name_))
#define RETURN_STEP 8 /* offsets of entries fit into a byte and wrap with it */
_Static_assert(JIT_RETURNS *RETURN_STEP == 256, "the offset of an entry is a byte");

struct jit_exit *jit_exit_make(struct jit_translation *t, enum jit_exit_kind kind, int32_t disp,
			       unsigned insns)
{
	struct jit_exit *exit = jit_pool_take(t->jit, sizeof(*exit));

	if (!exit || t->exits == JIT_EXITS_MAX) {
		t->failed = true;
		return NULL;
	}
	*exit = (struct jit_exit){.kind = (uint8_t)kind, .disp = disp, .insns = (uint8_t)insns};
	return exit;
}

void jit_leave(struct jit_translation *t, unsigned cond, int32_t disp, unsigned insns)
{
	bool in_page = disp >= 0 && disp < (int32_t)PAGE_SIZE;
	struct jit_exit *exit = jit_exit_make(t, in_page ? JIT_EXIT_PAGE : JIT_EXIT_CROSS, disp, insns);

	if (!exit)
		return;
	exit->saved = t->flags == JIT_FLAGS_SAVED;
	exit->backward = disp <= t->block->start || disp <= t->insn[t->at].off;
	t->exit[t->exits++] = (struct jit_pending){
		.jump = cond < COND_ALWAYS ? asm_jcc(&t->code, cond) : asm_jmp(&t->code), .exit = exit};
}

void jit_leave_indirect(struct jit_translation *t, const struct jit_insn *insn, unsigned undo)
{
	struct jit_exit *exit = jit_exit_make(t, JIT_EXIT_INDIRECT, 0, t->at + 1);
	uint8_t *miss[2];

	if (!exit)
		return;
	exit->off = insn->off;
	exit->undo = (uint8_t)undo;
	asm_mov_imm64(&t->code, ASM_R14, (uintptr_t)exit);
	jit_emit_probe(t->cpu, &t->code, miss);
	if (!t->code.overflow) {
		asm_bind(miss[0], t->jit->thunk_exit_rip);
		asm_bind(miss[1], t->jit->thunk_exit_rip);
	}
}

/*
 * Compares what the link was made under, moves RIP's page on and goes there; else asks the jump cache.
 * Kernels have global pages, so their key comes first. Flags are saved.
 */
static void emit_cross(struct jit_translation *t, struct jit_exit *exit)
{
	struct asm_code *code = &t->code;
	struct asm_rm rip = JIT_FIELD(r[REG_RIP]);
	uint8_t *global, *miss[2];

	asm_mov_imm64(code, ASM_R14, (uintptr_t)exit);
	asm_load(code, true, ASM_R13, rip);
	asm_alu_rm(code, ASM_CMP, true, ASM_R13, asm_rm_mem(ASM_R14, offsetof(struct jit_exit, page)));
	miss[0] = asm_jcc(code, ASM_NE);
	asm_load(code, true, ASM_R15, asm_rm_mem(ASM_R14, offsetof(struct jit_exit, key)));
	asm_alu_rm(code, ASM_CMP, true, ASM_R15, JIT_FIELD(link_key[1]));
	global = asm_jcc(code, ASM_E);
	asm_alu_rm(code, ASM_CMP, true, ASM_R15, JIT_FIELD(link_key[0]));
	miss[1] = asm_jcc(code, ASM_NE);
	if (!code->overflow)
		asm_bind(global, code->at);
	asm_alu_imm(code, ASM_ADD, true, rip, exit->disp & -(int32_t)PAGE_SIZE);
	exit->jump = asm_jmp(code);
	for (unsigned i = 0; i < 2 && !code->overflow; i++)
		asm_bind(miss[i], code->at);
	asm_alu_imm(code, ASM_ADD, true, asm_rm_reg(ASM_R13), exit->disp);
	asm_jmp_to(code, t->jit->thunk_probe);
}

void jit_exits_emit(struct jit_translation *t)
{
	for (unsigned i = 0; i < t->exits; i++) {
		struct jit_exit *exit = t->exit[i].exit;

		if (t->code.overflow)
			return;
		asm_bind(t->exit[i].jump, t->code.at);
		if (t->jit->verify)
			exit->kind = JIT_EXIT_PLAIN;
		if (exit->kind == JIT_EXIT_CROSS) {
			if (!exit->saved)
				jit_flags_save(t);
			emit_cross(t, exit);
			continue;
		}
		if (exit->kind == JIT_EXIT_PAGE)
			exit->jump = t->exit[i].jump;
		asm_mov_imm64(&t->code, ASM_R14, (uintptr_t)exit);
		asm_jmp_to(&t->code, exit->saved ? t->jit->thunk_exit : t->jit->thunk_exit_native);
	}
}

static int64_t target_of(const struct jit_insn *insn)
{
	return (int64_t)insn->off + insn->in.len + (int64_t)insn->in.imm;
}

bool jit_branch_accepts(const struct x86_insn *in)
{
	int64_t slack = 2 * (int64_t)PAGE_SIZE, imm = (int64_t)in->imm;

	if (in->opsize != 8)
		return false;
	switch (x86_rows[in->row].fast) {
	case X86_FAST_JCC: return true;
	case X86_FAST_JMP:
	case X86_FAST_CALL: return imm >= INT32_MIN + slack && imm <= INT32_MAX - slack;
	case X86_FAST_JMP_IND:
	case X86_FAST_CALL_IND: return in->mod == 3 || jit_address_fits(in);
	case X86_FAST_RET: return in->imm <= UINT8_MAX - 8;
	default: return false;
	}
}

/* r13 = target of an indirect jump or call. */
static void emit_target(struct jit_translation *t, const struct jit_insn *insn)
{
	if (insn->in.mod == 3) {
		asm_load(&t->code, true, ASM_R13, jit_rm(insn->in.rm));
		return;
	}
	jit_address(t, insn);
	jit_check(t, insn, 8, false);
	asm_load(&t->code, true, ASM_R13, asm_rm_mem(ASM_R13, 0));
}

static void emit_push_return(struct jit_translation *t, const struct jit_insn *insn)
{
	struct asm_code *code = &t->code;

	asm_lea(code, true, ASM_R13, asm_rm_mem(ASM_R12, -8));
	jit_check(t, insn, 8, true);
	asm_load(code, true, ASM_R14, JIT_FIELD(r[REG_RIP]));
	asm_lea(code, true, ASM_R14, asm_rm_mem(ASM_R14, insn->off + insn->in.len));
	asm_store(code, true, asm_rm_mem(ASM_R13, 0), ASM_R14);
	asm_lea(code, true, ASM_R12, asm_rm_mem(ASM_R12, -8));
}

static struct asm_rm return_at(struct asm_rm array)
{
	array.base = ASM_R15;
	return array;
}

static void byte_insn(struct asm_code *code, unsigned opcode, unsigned map, unsigned reg, struct asm_rm rm)
{
	struct asm_op op = {.opcode = (uint8_t)opcode, .map = (uint8_t)map, .reg = (uint8_t)reg};

	asm_insn(code, &op, &rm);
}

/* The youngest entry becomes the return address in r14, which goes to where this block is left for it. */
static void emit_note_return(struct jit_translation *t, const struct jit_insn *insn)
{
	struct asm_code *code = &t->code;
	int32_t disp = insn->off + insn->in.len;
	struct jit_exit *exit;

	if (t->jit->verify || disp >= (int32_t)PAGE_SIZE)
		return;
	exit = jit_exit_make(t, JIT_EXIT_PAGE, disp, 0);
	if (!exit)
		return;
	exit->saved = true;
	byte_insn(code, 0xb6, 1, ASM_R15, RETURNS(top));
	byte_insn(code, 0x80, 0, ASM_ADD, asm_rm_reg(ASM_R15));
	asm_byte(code, RETURN_STEP);
	byte_insn(code, 0x88, 0, ASM_R15, RETURNS(top));
	asm_store(code, true, return_at(RETURNS(rip)), ASM_R14);
	asm_load(code, true, ASM_R14, JIT_FIELD(link_key));
	asm_store(code, true, return_at(RETURNS(key)), ASM_R14);
	t->exit[t->exits++] = (struct jit_pending){.jump = asm_lea_rip(code, ASM_R14), .exit = exit};
	asm_store(code, true, return_at(RETURNS(host)), ASM_R14);
}

/* Goes where the youngest entry says when that is the address in r13, else asks the jump cache. */
static void emit_return(struct jit_translation *t, const struct jit_insn *insn, unsigned undo)
{
	struct asm_code *code = &t->code;
	struct asm_op jmp = {.opcode = 0xff, .reg = 4};
	struct asm_rm host = return_at(RETURNS(host));
	uint8_t *miss[2];

	if (t->jit->verify) {
		jit_leave_indirect(t, insn, undo);
		return;
	}
	byte_insn(code, 0xb6, 1, ASM_R15, RETURNS(top));
	byte_insn(code, 0x80, 0, ASM_SUB, RETURNS(top));
	asm_byte(code, RETURN_STEP);
	asm_load(code, true, ASM_R14, JIT_FIELD(link_key));
	asm_alu_rm(code, ASM_CMP, true, ASM_R13, return_at(RETURNS(rip)));
	miss[0] = asm_jcc(code, ASM_NE);
	asm_alu_rm(code, ASM_CMP, true, ASM_R14, return_at(RETURNS(key)));
	miss[1] = asm_jcc(code, ASM_NE);
	asm_alu_imm(code, ASM_AND, true, asm_rm_reg(ASM_R13), -(int32_t)PAGE_SIZE);
	asm_store(code, true, JIT_FIELD(r[REG_RIP]), ASM_R13);
	asm_insn(code, &jmp, &host);
	for (unsigned i = 0; i < 2 && !code->overflow; i++)
		asm_bind(miss[i], code->at);
	jit_leave_indirect(t, insn, undo);
}

static void emit_call(struct jit_translation *t, const struct jit_insn *insn)
{
	struct asm_rm value = JIT_FIELD(jit_value);

	jit_flags_spare(t, FLAGS_STATUS);
	if (x86_rows[insn->in.row].fast == X86_FAST_CALL) {
		emit_push_return(t, insn);
		emit_note_return(t, insn);
		jit_leave(t, COND_ALWAYS, (int32_t)target_of(insn), t->at + 1);
		return;
	}
	emit_target(t, insn); /* before RSP changes: it may be the operand */
	asm_store(&t->code, true, value, ASM_R13);
	emit_push_return(t, insn);
	emit_note_return(t, insn);
	asm_load(&t->code, true, ASM_R13, value);
	jit_leave_indirect(t, insn, 0);
}

static void emit_ret(struct jit_translation *t, const struct jit_insn *insn)
{
	unsigned pop = 8 + (unsigned)insn->in.imm;

	jit_flags_spare(t, FLAGS_STATUS);
	asm_mov_rr(&t->code, true, ASM_R13, ASM_R12);
	jit_check(t, insn, 8, false);
	asm_load(&t->code, true, ASM_R13, asm_rm_mem(ASM_R13, 0));
	asm_lea(&t->code, true, ASM_R12, asm_rm_mem(ASM_R12, (int32_t)pop));
	emit_return(t, insn, pop);
}

void jit_branch_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;

	switch (x86_rows[in->row].fast) {
	case X86_FAST_JCC:
		jit_flags_need(t);
		jit_leave(t, in->opcode & 15, (int32_t)target_of(insn), t->at + 1);
		break;
	case X86_FAST_JMP: jit_leave(t, COND_ALWAYS, (int32_t)target_of(insn), t->at + 1); break;
	case X86_FAST_JMP_IND:
		jit_flags_spare(t, FLAGS_STATUS);
		emit_target(t, insn);
		jit_leave_indirect(t, insn, 0);
		break;
	case X86_FAST_CALL:
	case X86_FAST_CALL_IND: emit_call(t, insn); break;
	default: emit_ret(t, insn); break;
	}
}
