/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System instructions that kernels execute all the time, without C: CLI, STI, PUSHF, CLD, STD, SWAPGS, the
 * FSGSBASE family, RDTSC, moves from segment and control registers. What is not plain (a privilege missing, a
 * feature disabled) goes to the interpreter. Others, that end a block (SYSCALL, IRET, POPF, MOV to CR), are
 * executed by x86_jit_end, which goes on in the next block. Intel SDM vol. 2 of each; vol. 3, 6.8.3 (STI's
 * shadow).
 */
#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/x86/jit_emit.h"

static bool fast_is(const struct x86_insn *in, unsigned fast)
{
	return x86_rows[in->row].kind == X86_ROW_FAST && x86_rows[in->row].fast == fast;
}

static bool row_is(const struct x86_insn *in, x86_slow_fn *fn)
{
	return x86_rows[in->row].kind == X86_ROW_SLOW && x86_rows[in->row].slow == fn;
}

bool jit_system_is_sti(const struct x86_insn *in)
{
	return row_is(in, x86_slow_sti);
}

static bool is_time(const struct x86_insn *in)
{
	return row_is(in, x86_slow_rdtsc) || row_is(in, x86_slow_rdtscp);
}

static bool is_base(const struct x86_insn *in)
{
	return row_is(in, x86_slow_rdfsbase) || row_is(in, x86_slow_rdgsbase) ||
	       row_is(in, x86_slow_wrfsbase) || row_is(in, x86_slow_wrgsbase);
}

static bool is_flag(const struct x86_insn *in)
{
	return row_is(in, x86_slow_cli) || row_is(in, x86_slow_sti) || fast_is(in, X86_FAST_CLD) ||
	       fast_is(in, X86_FAST_STD);
}

bool jit_system_accepts(const struct x86_jit *jit, const struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (is_time(in)) /* the replay would read another time */
		return cpu->vm->tsc_native && !jit->verify;
	if (row_is(in, x86_slow_pushf))
		return in->opsize == 8;
	if (row_is(in, x86_slow_mov_from_sreg))
		return in->mod == 3 && in->opsize != 2 && in->reg <= SEG_GS;
	if (row_is(in, x86_slow_mov_from_cr))
		return in->reg == 0 || in->reg == 2 || in->reg == 3 || in->reg == 4;
	return is_flag(in) || is_base(in) || row_is(in, x86_slow_swapgs);
}

/* Jumps to the interpreter's stub unless the CPU is at CPL 0. */
static void fail_unless_kernel(struct jit_translation *t, struct jit_stub *stub)
{
	struct asm_op cmp = {.opcode = 0x80, .reg = ASM_CMP};
	struct asm_rm cpl = JIT_FIELD(cpl);

	asm_insn(&t->code, &cmp, &cpl);
	asm_byte(&t->code, 0);
	stub->jump[0] = asm_jcc(&t->code, ASM_NE);
}

static void test_word(struct jit_translation *t, struct asm_rm word, uint32_t bits)
{
	struct asm_op test = {.opcode = 0xf7};

	asm_insn(&t->code, &test, &word);
	asm_imm(&t->code, bits, 4);
}

static void emit_flag(struct jit_translation *t, const struct jit_insn *insn, struct jit_stub *stub)
{
	const struct x86_insn *in = &insn->in;
	struct asm_rm eflags = JIT_FIELD(eflags);

	if (fast_is(in, X86_FAST_CLD)) {
		asm_alu_imm(&t->code, ASM_AND, false, eflags, ~(int32_t)FLAG_DF);
	} else if (fast_is(in, X86_FAST_STD)) {
		asm_alu_imm(&t->code, ASM_OR, false, eflags, (int32_t)FLAG_DF);
	} else {
		fail_unless_kernel(t, stub);
		if (row_is(in, x86_slow_cli))
			asm_alu_imm(&t->code, ASM_AND, false, eflags, ~(int32_t)FLAG_IF);
		else
			asm_alu_imm(&t->code, ASM_OR, false, eflags, (int32_t)FLAG_IF);
	}
}

static void emit_swapgs(struct jit_translation *t, struct jit_stub *stub)
{
	struct asm_rm base = JIT_FIELD(seg[SEG_GS].base), other = JIT_FIELD(msr.kernel_gs_base);

	fail_unless_kernel(t, stub);
	asm_load(&t->code, true, ASM_R13, base);
	asm_load(&t->code, true, ASM_R14, other);
	asm_store(&t->code, true, other, ASM_R13);
	asm_store(&t->code, true, base, ASM_R14);
}

/* A general register becomes r14. */
static void register_set(struct jit_translation *t, unsigned guest)
{
	if (jit_host(guest) != ASM_NONE)
		asm_mov_rr(&t->code, true, jit_host(guest), ASM_R14);
	else
		asm_store(&t->code, true, jit_rm(guest), ASM_R14);
}

static void emit_base_write(struct jit_translation *t, const struct jit_insn *insn, struct asm_rm base,
			    struct jit_stub *stub)
{
	struct asm_code *code = &t->code;
	unsigned shift = x86_has(t->cpu, X86_FEATURE_LA57) ? 64 - 57 : 64 - 48;
	bool wide = insn->in.opsize == 8;

	asm_load(code, wide, ASM_R14, jit_rm(insn->in.rm));
	if (wide) {
		asm_mov_rr(code, true, ASM_R15, ASM_R14);
		asm_shift(code, 4, true, ASM_R15, shift);
		asm_shift(code, 7, true, ASM_R15, shift);
		asm_alu_rm(code, ASM_CMP, true, ASM_R15, asm_rm_reg(ASM_R14));
		stub->jump[1] = asm_jcc(code, ASM_NE);
	}
	asm_store(code, true, base, ASM_R14);
}

static void emit_base(struct jit_translation *t, const struct jit_insn *insn, struct jit_stub *stub)
{
	const struct x86_insn *in = &insn->in;
	bool fs = row_is(in, x86_slow_rdfsbase) || row_is(in, x86_slow_wrfsbase);
	struct asm_rm base = fs ? JIT_FIELD(seg[SEG_FS].base) : JIT_FIELD(seg[SEG_GS].base);

	test_word(t, JIT_FIELD(cr4), CR4_FSGSBASE);
	stub->jump[0] = asm_jcc(&t->code, ASM_E);
	if (row_is(in, x86_slow_wrfsbase) || row_is(in, x86_slow_wrgsbase)) {
		emit_base_write(t, insn, base, stub);
	} else {
		asm_load(&t->code, in->opsize == 8, ASM_R14, base);
		register_set(t, in->rm);
	}
}

/* Not before what has been read already: the guest's LFENCE, or RDTSCP, orders nothing here (clock.c). */
static void emit_time(struct jit_translation *t, const struct jit_insn *insn, struct jit_stub *stub)
{
	static const uint8_t lfence_rdtsc[] = {0x0f, 0xae, 0xe8, 0x0f, 0x31};
	struct asm_code *code = &t->code;

	test_word(t, JIT_FIELD(cr4), CR4_TSD);
	stub->jump[0] = asm_jcc(code, ASM_NE);
	for (unsigned i = 0; i < sizeof(lfence_rdtsc); i++)
		asm_byte(code, lfence_rdtsc[i]);
	asm_shift(code, 4, true, ASM_RDX, 32);
	asm_alu_rm(code, ASM_OR, true, ASM_RAX, asm_rm_reg(ASM_RDX));
	asm_alu_rm(code, ASM_ADD, true, ASM_RAX, JIT_FIELD(tsc_offset));
	asm_mov_rr(code, true, ASM_RDX, ASM_RAX);
	asm_shift(code, 5, true, ASM_RDX, 32);
	asm_mov_rr(code, false, ASM_RAX, ASM_RAX);
	if (row_is(&insn->in, x86_slow_rdtscp))
		asm_load(code, false, ASM_RCX, JIT_FIELD(msr.tsc_aux));
}

/* Flags are saved: AH and AL of jit_flags, and the others of cpu->eflags, in which RF and VM are clear here.
 */
static void emit_pushf(struct jit_translation *t, const struct jit_insn *insn)
{
	struct asm_code *code = &t->code;
	struct asm_op movzx = {.opcode = 0xb6, .map = 1, .reg = ASM_R14};
	struct asm_rm packed = JIT_FIELD(jit_flags);

	asm_lea(code, true, ASM_R13, asm_rm_mem(ASM_R12, -8));
	jit_check(t, insn, 8, true);
	asm_insn(code, &movzx, &packed);
	asm_shift(code, 4, false, ASM_R14, 11);
	packed.disp++;
	movzx.reg = ASM_R15;
	asm_insn(code, &movzx, &packed);
	asm_alu_rm(code, ASM_OR, false, ASM_R14, asm_rm_reg(ASM_R15));
	asm_alu_rm(code, ASM_OR, false, ASM_R14, JIT_FIELD(eflags));
	asm_store(code, true, asm_rm_mem(ASM_R13, 0), ASM_R14);
	asm_lea(code, true, ASM_R12, asm_rm_mem(ASM_R12, -8));
}

static void emit_from_sreg(struct jit_translation *t, const struct jit_insn *insn)
{
	struct asm_op movzx = {.opcode = 0xb7, .map = 1, .reg = ASM_R14};
	struct asm_rm selector = JIT_FIELD(seg[insn->in.reg].selector);

	asm_insn(&t->code, &movzx, &selector);
	register_set(t, insn->in.rm);
}

static void emit_from_cr(struct jit_translation *t, const struct jit_insn *insn, struct jit_stub *stub)
{
	const struct asm_rm cr[] = {
		[0] = JIT_FIELD(cr0), [2] = JIT_FIELD(cr2), [3] = JIT_FIELD(cr3), [4] = JIT_FIELD(cr4)};

	fail_unless_kernel(t, stub);
	asm_load(&t->code, true, ASM_R14, cr[insn->in.reg]);
	register_set(t, insn->in.rm);
}

void jit_system_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	struct jit_stub *stub;

	if (row_is(in, x86_slow_mov_from_sreg)) {
		emit_from_sreg(t, insn);
		return;
	}
	jit_flags_spare(t, jit_flags_wanted(insn));
	if (row_is(in, x86_slow_pushf)) {
		emit_pushf(t, insn);
		return;
	}
	stub = jit_call_stub(t, insn);
	if (!stub)
		return;
	if (is_flag(in))
		emit_flag(t, insn, stub);
	else if (row_is(in, x86_slow_swapgs))
		emit_swapgs(t, stub);
	else if (is_base(in))
		emit_base(t, insn, stub);
	else if (is_time(in))
		emit_time(t, insn, stub);
	else
		emit_from_cr(t, insn, stub);
}

void jit_system_poll(struct jit_translation *t, const struct jit_insn *insn)
{
	struct jit_exit *exit = jit_exit_make(t, JIT_EXIT_PLAIN, insn->off + insn->in.len, t->at + 1);

	jit_flags_spare(t, FLAGS_STATUS);
	if (!exit)
		return;
	exit->saved = true;
	asm_alu_imm(&t->code, ASM_CMP, false, JIT_FIELD(attention), 0);
	t->exit[t->exits++] = (struct jit_pending){.jump = asm_jcc(&t->code, ASM_NE), .exit = exit};
}
