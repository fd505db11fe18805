/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few pieces of host code that all blocks share: the way in, the ways out, calls of C, and the look-up in
 * the jump cache. jit_cache.h has the conventions.
 */
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/jit_cache.h"

#define THUNK_BYTES  8192 /* a page of them and of vector moves */
#define FIELD(name_) asm_rm_gs(offsetof(struct x86_cpu, name_))

/* Where guest registers are, but for r12 to r15. */
static const struct {
	uint8_t guest, host;
} placed[] = {
	{REG_RAX, ASM_RAX}, {REG_RCX, ASM_RCX}, {REG_RDX, ASM_RDX}, {REG_RBX, ASM_RBX},
	{REG_RBP, ASM_RBP}, {REG_RSI, ASM_RSI}, {REG_RDI, ASM_RDI}, {REG_R8, ASM_R8},
	{REG_R9, ASM_R9},   {REG_R10, ASM_R10}, {REG_R11, ASM_R11}, {REG_RSP, ASM_R12},
};
#define PLACED (sizeof(placed) / sizeof(placed[0]))

static struct asm_rm home(unsigned guest)
{
	return asm_rm_gs(offsetof(struct x86_cpu, r) + 8 * guest);
}

static void load_all(struct asm_code *code)
{
	for (unsigned i = 0; i < PLACED; i++)
		asm_load(code, true, placed[i].host, home(placed[i].guest));
}

static void store_all(struct asm_code *code)
{
	for (unsigned i = 0; i < PLACED; i++)
		asm_store(code, true, home(placed[i].guest), placed[i].host);
}

static const uint8_t callee_saved[] = {ASM_RBX, ASM_RBP, ASM_R12, ASM_R13, ASM_R14, ASM_R15};
#define CALLEE_SAVED sizeof(callee_saved)

static void push_pop(struct asm_code *code, uint8_t opcode, unsigned reg)
{
	if (reg & 8)
		asm_byte(code, 0x41);
	asm_byte(code, (uint8_t)(opcode | (reg & 7)));
}

/* Leaves the stack aligned as before a call. */
static void frame_begin(struct asm_code *code)
{
	for (unsigned i = 0; i < CALLEE_SAVED; i++)
		push_pop(code, 0x50, callee_saved[i]);
	asm_alu_imm(code, ASM_SUB, true, asm_rm_reg(ASM_RSP), 8);
}

static void frame_end(struct asm_code *code)
{
	asm_alu_imm(code, ASM_ADD, true, asm_rm_reg(ASM_RSP), 8);
	for (unsigned i = CALLEE_SAVED; i-- > 0;)
		push_pop(code, 0x58, callee_saved[i]);
	asm_byte(code, 0xc3);
}

/* Goes to the body of a block at r15, flags native. */
static void emit_go(struct asm_code *code)
{
	static const uint8_t restore[] = {0x04, 0x7f, 0x9e}; /* add al, 0x7f; sahf */
	struct asm_op movzx = {.opcode = 0xb7, .map = 1, .reg = ASM_RAX};
	struct asm_rm flags = FIELD(jit_flags);

	asm_insn(code, &movzx, &flags);
	for (unsigned i = 0; i < sizeof(restore); i++)
		asm_byte(code, restore[i]);
	load_all(code);
	asm_jmp_reg(code, ASM_R15);
}

/* struct jit_exit *enter(const void *body) */
static void make_enter(struct asm_code *code)
{
	frame_begin(code);
	asm_mov_rr(code, true, ASM_R15, ASM_RDI);
	emit_go(code);
}

void jit_emit_save(struct asm_code *code)
{
	static const uint8_t lahf_seto[] = {0x9f, 0x0f, 0x90, 0xc0};
	struct asm_op store = {.opcode = 0x89, .prefix66 = true, .reg = ASM_RAX};
	struct asm_rm flags = FIELD(jit_flags);

	asm_mov_rr(code, true, ASM_R15, ASM_RAX);
	for (unsigned i = 0; i < sizeof(lahf_seto); i++)
		asm_byte(code, lahf_seto[i]);
	asm_insn(code, &store, &flags);
	asm_mov_rr(code, true, ASM_RAX, ASM_R15);
}

/* r14: the struct jit_exit. */
static void make_exit(const struct x86_jit *jit, struct asm_code *code)
{
	store_all(code);
	jit_live_emit_save(jit, code);
	asm_mov_rr(code, true, ASM_RAX, ASM_R14);
	frame_end(code);
}

/* Jumped to, with r14 a struct jit_site. A block has been left as far as what lives in registers goes. */
static void make_end(struct x86_cpu *cpu, struct asm_code *code)
{
	uint8_t *leave;

	store_all(code);
	jit_live_emit_save(cpu->jit, code);
	asm_mov_imm64(code, ASM_RDI, (uintptr_t)cpu);
	asm_mov_rr(code, true, ASM_RSI, ASM_R14);
	asm_mov_imm64(code, ASM_RAX, (uintptr_t)x86_jit_end);
	asm_call_reg(code, ASM_RAX);
	asm_mov_rr(code, true, ASM_R15, ASM_RAX);
	asm_alu_imm(code, ASM_CMP, true, asm_rm_reg(ASM_R15), 1);
	leave = asm_jcc(code, ASM_E);
	emit_go(code);
	asm_bind(leave, code->at);
	asm_mov_imm32(code, ASM_RAX, 0);
	frame_end(code);
}

/*
 * Called with r14 a struct jit_site, and r13 the linear address. Returns to the caller with r13 the host's
 * address; or five bytes further on, when the instruction has been executed; or leaves the block.
 */
static void make_call(struct x86_cpu *cpu, struct asm_code *code, uintptr_t function)
{
	uint8_t *leave, *done;

	store_all(code);
	jit_live_emit_save(cpu->jit, code);
	asm_mov_imm64(code, ASM_RDI, (uintptr_t)cpu);
	asm_mov_rr(code, true, ASM_RSI, ASM_R14);
	asm_mov_rr(code, true, ASM_RDX, ASM_R13);
	asm_alu_imm(code, ASM_SUB, true, asm_rm_reg(ASM_RSP), 8);
	asm_mov_imm64(code, ASM_RAX, function);
	asm_call_reg(code, ASM_RAX);
	asm_alu_imm(code, ASM_ADD, true, asm_rm_reg(ASM_RSP), 8);
	asm_mov_rr(code, true, ASM_R13, ASM_RAX);
	asm_alu_imm(code, ASM_CMP, true, asm_rm_reg(ASM_R13), 1);
	leave = asm_jcc(code, ASM_E);
	jit_live_emit_resume(cpu->jit, code);
	load_all(code);
	asm_alu_imm(code, ASM_CMP, true, asm_rm_reg(ASM_R13), 1);
	done = asm_jcc(code, ASM_B);
	asm_byte(code, 0xc3);
	asm_bind(done, code->at);
	asm_alu_imm(code, ASM_ADD, true, asm_rm_mem(ASM_RSP, 0), 5);
	asm_byte(code, 0xc3);
	asm_bind(leave, code->at);
	asm_alu_imm(code, ASM_ADD, true, asm_rm_reg(ASM_RSP), 8);
	asm_mov_imm32(code, ASM_RAX, 0);
	frame_end(code);
}

/* The thunk of jit_live.c's kind: returns to the caller, or five bytes further on where the x87 cannot be
 * live. */
static void make_x87(struct x86_cpu *cpu, struct asm_code *code)
{
	uint8_t *loaded;

	store_all(code);
	jit_live_emit_save(cpu->jit, code);
	asm_mov_imm64(code, ASM_RDI, (uintptr_t)cpu);
	asm_alu_imm(code, ASM_SUB, true, asm_rm_reg(ASM_RSP), 8);
	asm_mov_imm64(code, ASM_RAX, (uintptr_t)x86_jit_x87_load);
	asm_call_reg(code, ASM_RAX);
	asm_alu_imm(code, ASM_ADD, true, asm_rm_reg(ASM_RSP), 8);
	asm_mov_rr(code, false, ASM_R13, ASM_RAX);
	jit_live_emit_resume(cpu->jit, code);
	load_all(code);
	asm_alu_imm(code, ASM_AND, false, asm_rm_reg(ASM_R13), 1);
	loaded = asm_jcc(code, ASM_NE);
	asm_alu_imm(code, ASM_ADD, true, asm_rm_mem(ASM_RSP, 0), 5);
	asm_bind(loaded, code->at);
	asm_byte(code, 0xc3);
}

void jit_emit_probe(struct x86_cpu *cpu, struct asm_code *code, uint8_t *miss[2])
{
	struct asm_op imul = {.opcode = 0xaf, .map = 1, .w = true, .reg = ASM_R15};
	struct asm_rm linear = asm_rm_reg(ASM_R13);
	uint8_t *global;

	_Static_assert(sizeof(struct x86_jump) == 32, "a shift makes the index an offset");
	asm_mov_imm64(code, ASM_R15, CODE_JUMP_FACTOR);
	asm_insn(code, &imul, &linear);
	asm_alu_rm(code, ASM_ADD, true, ASM_R15, FIELD(jump_salt));
	asm_shift(code, 5, true, ASM_R15, 64 - CODE_JUMP_BITS);
	asm_shift(code, 4, true, ASM_R15, 5);
	asm_alu_rm(code, ASM_ADD, true, ASM_R15, FIELD(jit_jumps));
	asm_alu_rm(code, ASM_CMP, true, ASM_R13, asm_rm_mem(ASM_R15, offsetof(struct x86_jump, linear)));
	miss[0] = asm_jcc(code, ASM_NE);
	asm_load(code, true, ASM_R13, asm_rm_mem(ASM_R15, offsetof(struct x86_jump, key)));
	asm_alu_rm(code, ASM_CMP, true, ASM_R13, FIELD(link_key[1]));
	global = asm_jcc(code, ASM_E);
	asm_alu_rm(code, ASM_CMP, true, ASM_R13, FIELD(link_key[0]));
	asm_load(code, true, ASM_R13, asm_rm_mem(ASM_R15, offsetof(struct x86_jump, linear)));
	miss[1] = asm_jcc(code, ASM_NE);
	if (!code->overflow)
		asm_bind(global, code->at);
	asm_load(code, true, ASM_R13, asm_rm_mem(ASM_R15, offsetof(struct x86_jump, linear)));
	/* The code that misses wants r13 whole, so the page goes by way of rip: it is not exact here. */
	asm_store(code, true, FIELD(rip), ASM_R13);
	asm_alu_imm(code, ASM_AND, true, asm_rm_reg(ASM_R13), -(int32_t)PAGE_SIZE);
	asm_store(code, true, FIELD(r[REG_RIP]), ASM_R13);
	{
		struct asm_op jmp = {.opcode = 0xff, .reg = 4};
		struct asm_rm host = asm_rm_mem(ASM_R15, offsetof(struct x86_jump, host));

		asm_insn(code, &jmp, &host);
	}
}

/* r13: linear address; r14: struct jit_exit. */
static void make_probe(struct x86_cpu *cpu, struct asm_code *code, const uint8_t *exit_rip)
{
	uint8_t *miss[2];

	jit_emit_probe(cpu, code, miss);
	asm_bind(miss[0], exit_rip);
	asm_bind(miss[1], exit_rip);
}

uint8_t *jit_emit_tlb(struct asm_code *code, unsigned size, bool write)
{
	uint64_t tag = write ? offsetof(struct x86_tlb_entry, wr) : offsetof(struct x86_tlb_entry, rd);

	_Static_assert(sizeof(struct x86_tlb_entry) == 32, "the shift below makes the index an offset");
	asm_mov_rr(code, false, ASM_R14, ASM_R13);
	asm_shift(code, 5, false, ASM_R14, PAGE_BITS - 5);
	asm_alu_imm(code, ASM_AND, false, asm_rm_reg(ASM_R14), (TLB_ENTRIES - 1) << 5);
	asm_alu_rm(code, ASM_ADD, true, ASM_R14, FIELD(tlb_hot));
	if (size > 1)
		asm_lea(code, true, ASM_R15, asm_rm_mem(ASM_R13, (int32_t)size - 1));
	else
		asm_mov_rr(code, true, ASM_R15, ASM_R13);
	asm_alu_imm(code, ASM_AND, true, asm_rm_reg(ASM_R15), -(int32_t)PAGE_SIZE);
	asm_alu_rm(code, ASM_CMP, true, ASM_R15, asm_rm_mem(ASM_R14, (int32_t)tag));
	return asm_jcc(code, ASM_NE);
}

/* Called with r13 a linear address: returns with r13 the host's and ZF set, or r13 as it was and ZF clear. */
static void make_tlb(struct x86_jit *jit, struct asm_code *code)
{
	for (unsigned write = 0; write < 2; write++) {
		for (unsigned log = 0; log < JIT_SIZES; log++) {
			uint8_t *miss;
			struct asm_rm sum = asm_rm_mem(ASM_R13, 0);

			jit->thunk_tlb[write][log] = code->at;
			miss = jit_emit_tlb(code, 1u << log, write);
			asm_load(code, true, ASM_R15,
				 asm_rm_mem(ASM_R14, offsetof(struct x86_tlb_entry, addend)));
			sum.index = ASM_R15;
			asm_lea(code, true, ASM_R13, sum); /* leaves ZF */
			asm_bind(miss, code->at);
			asm_byte(code, 0xc3);
		}
	}
}

bool jit_thunks_make(struct x86_cpu *cpu)
{
	struct x86_jit *jit = cpu->jit;
	struct asm_code code = {.at = jit->memory.rw, .end = jit->memory.rw + THUNK_BYTES};
	uint8_t *exit_rip, *exit_miss;

	cpu->jit_jumps = (uintptr_t)cpu->code->jump;
	jit->enter = (struct jit_exit * (*)(const void *))(uintptr_t)jit_run_address(jit, code.at);
	make_enter(&code);
	jit_live_thunks_make(cpu, &code);
	/* From an entry of the jump cache that has no translation: rip is set already. */
	exit_miss = code.at;
	jit->thunk_miss = jit_run_address(jit, exit_miss);
	asm_load(&code, true, ASM_R13, FIELD(rip));
	exit_rip = code.at;
	jit->thunk_exit_rip = exit_rip;
	asm_store(&code, true, FIELD(rip), ASM_R13);
	jit->thunk_exit = code.at;
	make_exit(jit, &code);
	jit->thunk_exit_native = code.at;
	jit_emit_save(&code);
	asm_jmp_to(&code, jit->thunk_exit);
	jit->thunk_access = code.at;
	make_call(cpu, &code, (uintptr_t)x86_jit_access);
	jit->thunk_call = code.at;
	make_call(cpu, &code, (uintptr_t)x86_jit_call);
	jit->thunk_live[3] = code.at;
	make_x87(cpu, &code);
	jit->thunk_end = code.at;
	make_end(cpu, &code);
	jit->thunk_probe = code.at;
	make_probe(cpu, &code, exit_rip);
	make_tlb(jit, &code);
	jit->first = jit->next = code.at;
	return !code.overflow;
}
