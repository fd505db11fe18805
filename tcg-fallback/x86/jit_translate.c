/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From guest bytes to a block of host code: scan forwards to the end of the block, go backwards for the flags
 * that are wanted, then make the code of one instruction after the other, and behind it what is rarely run.
 * A block goes on past conditional jumps; it ends at the end of its page, before an instruction that the
 * interpreter must end a block with, and before bytes that are no instruction.
 */
#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/jit_emit.h"
#include "tcg-fallback/x86/lower.h"

static enum jit_kind kind_of(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	const struct x86_jit *jit = cpu->jit;
	const struct x86_row *row = &x86_rows[in->row];

	if (row->kind == X86_ROW_UD)
		return JIT_STOP;
	if (row->kind == X86_ROW_FAST && jit_branch_accepts(in))
		return JIT_BRANCH;
	if (jit_system_accepts(jit, cpu, in))
		return JIT_SYSTEM;
	if (row->properties & (X86_PROP_JUMP | X86_PROP_END)) /* a trial could not take it back */
		return jit->verify ? JIT_STOP : JIT_END;
	if (row->kind == X86_ROW_FAST && jit_plain_accepts(in))
		return JIT_PLAIN;
	if (row->kind == X86_ROW_FAST && jit_stack_accepts(in))
		return JIT_STACK;
	if (row->kind == X86_ROW_FAST && jit_divide_accepts(in))
		return JIT_DIVIDE;
	if (jit_vector_accepts(jit, in))
		return JIT_VECTOR;
	if (jit_avx_accepts(cpu->jit, in))
		return JIT_AVX;
	if (jit_x87_accepts(in))
		return JIT_X87;
	return JIT_CALL;
}

static bool is_shift(unsigned fast)
{
	return fast == X86_FAST_ROL || fast == X86_FAST_ROR || fast == X86_FAST_RCL || fast == X86_FAST_RCR ||
	       fast == X86_FAST_SHL || fast == X86_FAST_SHR || fast == X86_FAST_SAR ||
	       fast == X86_FAST_SHLD || fast == X86_FAST_SHRD;
}

/* A shift by 0 leaves the flags alone; one by 1 has no immediate. Intel SDM vol. 2, SAL. */
static bool may_shift_by_0(const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	unsigned last = row->operand[2] ? 2 : 1;

	if (x86_operand_names[row->operand[last]][0] == '1')
		return false;
	if (x86_operand_names[row->operand[last]][0] == 'I')
		return !(in->imm & (in->opsize == 8 ? 63 : 31));
	return true;
}

static void find_flags(struct jit_insn *insn)
{
	const struct x86_row *row = &x86_rows[insn->in.row];

	insn->read = row->flags_read & FLAGS_STATUS;
	insn->may = row->flags_written & FLAGS_STATUS;
	insn->must = insn->may;
	if (insn->kind == JIT_CALL || insn->kind == JIT_END) {
		insn->must = 0; /* rows do not tell all: x87 has conditional moves, and anything may fault */
		insn->read = FLAGS_STATUS;
	} else if (insn->kind == JIT_VECTOR || insn->kind == JIT_AVX) {
		return;
	} else if (insn->kind == JIT_X87) {
		insn->must = insn->may = jit_x87_flags(&insn->in, &insn->read);
	} else if (is_shift(row->fast)) {
		insn->must = may_shift_by_0(&insn->in) ? 0 : insn->may;
	} else if (row->fast == X86_FAST_BT || row->fast == X86_FAST_BTS || row->fast == X86_FAST_BTR ||
		   row->fast == X86_FAST_BTC) {
		insn->must &= ~FLAG_ZF;
	}
	if (insn->kind == JIT_BRANCH || (insn->kind == JIT_SYSTEM && jit_system_is_sti(&insn->in)))
		insn->read = FLAGS_STATUS; /* whoever comes after may read them */
}

/* An instruction that goes on in the next page ends the block: it is fetched anew each time. */
static bool scan_crossing(struct jit_translation *t, unsigned off)
{
	struct jit_insn *insn = &t->insn[t->count];

	if (t->jit->verify)
		return false;
	*insn = (struct jit_insn){.in = {.len = (uint8_t)(PAGE_SIZE - off)},
				  .off = (uint16_t)off,
				  .kind = JIT_CROSSING,
				  .read = FLAGS_STATUS};
	t->count++;
	return true;
}

static bool scan_one(struct jit_translation *t, const struct x86_decode_mode *mode, uint64_t page,
		     unsigned off)
{
	struct jit_insn *insn = &t->insn[t->count];

	switch (x86_lower_decode(t->cpu, mode, page + off, &insn->in)) {
	case X86_DECODE_OK: break;
	case X86_DECODE_MORE: return scan_crossing(t, off);
	case X86_DECODE_UD:
	case X86_DECODE_TOO_LONG: return false;
	}
	insn->off = (uint16_t)off;
	insn->kind = (uint8_t)kind_of(t->cpu, &insn->in);
	insn->live_kinds = insn->kind == JIT_VECTOR ? (uint8_t)jit_vector_kinds(&insn->in)
			   : insn->kind == JIT_AVX  ? (uint8_t)jit_avx_kinds(&insn->in)
						    : 0;
	if (insn->kind == JIT_STOP)
		return false;
	find_flags(insn);
	t->count++;
	return true;
}

static bool always_leaves(const struct jit_insn *insn)
{
	return insn->kind == JIT_END || insn->kind == JIT_CROSSING ||
	       (insn->kind == JIT_BRANCH && x86_rows[insn->in.row].fast != X86_FAST_JCC);
}

/* The instruction in STI's shadow must be in the same block, for other blocks begin with a look for
 * attention.
 */
static bool is_shadow(const struct jit_translation *t, unsigned i)
{
	return i && t->insn[i - 1].kind == JIT_SYSTEM && jit_system_is_sti(&t->insn[i - 1].in);
}

static void scan(struct jit_translation *t, uint64_t gpa)
{
	struct x86_decode_mode mode;
	unsigned off = gpa & ~PAGE_MASK;

	x86_code_decode_mode(t->cpu, t->mode, &mode);
	while (t->count < JIT_BLOCK_INSNS && off < PAGE_SIZE) {
		if (!scan_one(t, &mode, gpa & PAGE_MASK, off))
			break;
		off += t->insn[t->count - 1].in.len;
		if (always_leaves(&t->insn[t->count - 1]))
			break;
	}
	if (is_shadow(t, t->count)) /* the interpreter's */
		off = t->insn[--t->count].off;
	t->block->start = gpa & ~PAGE_MASK;
	t->block->end = (uint16_t)off;
}

/* All flags are wanted at the block's end. */
static uint32_t find_live(struct jit_translation *t)
{
	uint32_t live = FLAGS_STATUS;

	for (unsigned i = t->count; i-- > 0;) {
		if (is_shadow(t, i))
			live = FLAGS_STATUS; /* it may be left behind the shadow */
		t->insn[i].live = live;
		live = jit_flags_wanted(&t->insn[i]);
	}
	return live;
}

/* A block of calls alone gains nothing. */
static bool worthwhile(const struct jit_translation *t)
{
	for (unsigned i = 0; i < t->count; i++) /* but an end saves the way through the run loop */
		if (t->insn[i].kind != JIT_CALL)
			return true;
	return false;
}

static void emit_exit(struct jit_translation *t, struct jit_exit *exit)
{
	if (!exit)
		return;
	asm_mov_imm64(&t->code, ASM_R14, (uintptr_t)exit);
	asm_jmp_to(&t->code, t->jit->thunk_exit);
}

/* The entries; *leave: to be bound to the code that leaves for attention's sake. */
static void emit_entries(struct jit_translation *t, uint8_t **leave)
{
	struct asm_code *code = &t->code;
	struct asm_rm attention = JIT_FIELD(attention);
	uint8_t *none;

	t->block->saved = code->at;
	if (!t->block->live_in) {
		asm_nop5(code);
		t->block->poll = code->at;
		asm_alu_imm(code, ASM_CMP, false, attention, 0);
		*leave = asm_jcc(code, ASM_NE);
		t->block->body = code->at;
		return;
	}
	jit_flags_restore(t);
	t->block->poll = code->at;
	asm_mov_rr(code, true, ASM_R13, ASM_RCX);
	asm_load(code, false, ASM_RCX, attention);
	none = asm_jecxz(code);
	asm_mov_rr(code, true, ASM_RCX, ASM_R13);
	*leave = asm_jmp(code);
	asm_bind_short(code, none, code->at);
	asm_mov_rr(code, true, ASM_RCX, ASM_R13);
	t->block->body = code->at;
}

static void emit_call(struct jit_translation *t, const struct jit_insn *insn)
{
	struct jit_site *site;

	jit_flags_spare(t, FLAGS_STATUS); /* it may fault, and flags are cheap beside a call */
	site = jit_call_site(t, insn);
	if (!site)
		return;
	asm_mov_imm64(&t->code, ASM_R14, (uintptr_t)site);
	asm_call_to(&t->code, t->jit->thunk_call);
	asm_nop5(&t->code); /* the call comes back behind it */
	t->flags = JIT_FLAGS_SAVED;
}

static void emit_end(struct jit_translation *t, const struct jit_insn *insn)
{
	struct jit_site *site;

	jit_flags_spare(t, FLAGS_STATUS);
	site = jit_call_site(t, insn);
	if (!site)
		return;
	if (insn->kind == JIT_CROSSING)
		site->in = NULL;
	asm_mov_imm64(&t->code, ASM_R14, (uintptr_t)site);
	asm_jmp_to(&t->code, t->jit->thunk_end);
}

static void emit_insn(struct jit_translation *t, const struct jit_insn *insn)
{
	unsigned stubs = t->stubs;

	switch ((enum jit_kind)insn->kind) {
	case JIT_PLAIN: jit_plain_emit(t, insn); break;
	case JIT_STACK: jit_stack_emit(t, insn); break;
	case JIT_VECTOR: jit_vector_emit(t, insn); break;
	case JIT_AVX: jit_avx_emit(t, insn); break;
	case JIT_X87: jit_x87_emit(t, insn); break;
	case JIT_DIVIDE: jit_divide_emit(t, insn); break;
	case JIT_SYSTEM: jit_system_emit(t, insn); break;
	case JIT_BRANCH: jit_branch_emit(t, insn); break;
	case JIT_END:
	case JIT_CROSSING: emit_end(t, insn); break;
	case JIT_CALL: emit_call(t, insn); break;
	case JIT_STOP: break;
	}
	for (; stubs < t->stubs; stubs++) {
		t->stub[stubs].done = t->code.at;
		t->stub[stubs].restore = t->flags == JIT_FLAGS_NATIVE && insn->live;
	}
	if (is_shadow(t, t->at) && !always_leaves(insn))
		jit_system_poll(t, insn);
}

/* Instructions of the block until all flags have been written. */
static unsigned until_written(const struct jit_translation *t)
{
	uint32_t written = 0;
	unsigned i = 0;

	while (i < t->count && written != FLAGS_STATUS)
		written |= t->insn[i++].must;
	return i;
}

/* What leaves before the first instruction: for attention, and once the block has been dropped. */
static void emit_before(struct jit_translation *t, uint8_t *leave)
{
	struct jit_exit *exit = jit_exit_make(t, JIT_EXIT_PLAIN, t->block->start, 0);
	struct jit_exit *unknown = jit_exit_make(t, JIT_EXIT_PLAIN, t->block->start, 0);

	if (!t->code.overflow)
		asm_bind(leave, t->code.at);
	if (!t->block->live_in && unknown) { /* the look has destroyed them */
		unknown->forward = (uint8_t)until_written(t);
		emit_exit(t, unknown);
	}
	t->block->stale_native = t->code.at;
	jit_flags_save(t);
	t->block->stale_saved = t->code.at;
	emit_exit(t, exit);
}

static void emit_block(struct jit_translation *t)
{
	uint8_t *leave;

	t->flags = JIT_FLAGS_NATIVE;
	emit_entries(t, &leave);
	for (t->at = 0; t->at < t->count && !t->failed; t->at++)
		emit_insn(t, &t->insn[t->at]);
	t->at = t->count - 1;
	if (!always_leaves(&t->insn[t->at]))
		jit_leave(t, 16, t->block->end, t->count);
	jit_stubs_emit(t);
	jit_exits_emit(t);
	emit_before(t, leave);
}

static void block_account(struct jit_translation *t)
{
	struct x86_jit *jit = t->jit;

	jit->count[JIT_BLOCKS]++;
	jit->count[JIT_INSNS] += t->count;
	jit->count[JIT_BYTES] += (uint64_t)(t->code.at - jit->next);
	jit->next = t->code.at + (-(uintptr_t)t->code.at & 15);
}

struct jit_block *jit_translate(struct x86_cpu *cpu, uint64_t gpa, uint64_t linear, bool *full)
{
	struct x86_jit *jit = cpu->jit;
	struct jit_translation t;

	t = (struct jit_translation){.cpu = cpu, .jit = jit, .mode = x86_code_mode(cpu)};
	t.user = cpu->tlb->class == TLB_USER;
	t.code = (struct asm_code){.at = jit->next, .end = jit->memory.rw + jit->memory.size_bytes};
	t.block = jit_pool_take(jit, sizeof(*t.block));
	*full = !t.block || (size_t)(t.code.end - t.code.at) < JIT_BLOCK_BYTES;
	if (*full)
		return NULL;
	*t.block = (struct jit_block){.key = jit_block_key(cpu, gpa)};
	scan(&t, gpa);
	if (!t.count || !worthwhile(&t))
		return NULL;
	t.block->live_in = (uint8_t)(find_live(&t) != 0);
	emit_block(&t);
	*full = t.failed || t.code.overflow || !jit_block_enter(jit, t.block);
	if (*full)
		return NULL;
	if (cpu->vm->trace)
		jit_trace_block(&t, gpa, linear);
	block_account(&t);
	return t.block;
}
