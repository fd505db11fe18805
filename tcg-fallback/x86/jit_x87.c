/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87 and its MMX registers in the host's: loading and putting away the state, and copying instructions.
 * While it is live every exception is masked, so none is ever pending; the rest is the interpreter's, as are
 * the instructions with an image of the state in memory. Intel SDM vol. 1, 8.1 and 8.5.
 *
 * The host's FIP and FDP tell of host code and are never shown. What FNSTENV tells the guest is noted here:
 * each instruction leaves page offset and FOP in one word (x87_where), the block the page, and a memory
 * operand its address, so that it is as exact as the interpreter's.
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/jit_emit.h"
#include "tcg-fallback/x86/x87_state.h"

#define LIVE(name_)   asm_rm_gs(offsetof(struct x86_cpu, jit_live) + offsetof(struct x86_jit_live, name_))
#define WHERE_NONE    UINT32_MAX /* no instruction since the state was loaded: no page has that offset */
#define WHERE_OFFSET  0xffffu
#define WHERE_FOP_BIT 16

/* FNSAVE's image in protected mode, 32 bits wide. Intel SDM vol. 1, figure 8-9. */
struct x87_image {
	uint32_t control, status, tags, fip, fcs_fop, fdp, fds;
	uint8_t st[8][10];
};
_Static_assert(sizeof(struct x87_image) == 108, "FNSAVE writes 108 bytes");

static void image_make(const struct x86_cpu *cpu, struct x87_image *image)
{
	*image = (struct x87_image){
		.control = cpu->fpu.control, .status = x87_status_get(cpu), .tags = x87_tag_word_get(cpu)};
	for (unsigned i = 0; i < 8; i++) {
		struct f80 value = x87_get(cpu, i);

		memcpy(image->st[i], &value.mant, 8);
		memcpy(image->st[i] + 8, &value.sexp, 2);
	}
}

bool x86_jit_x87_load(struct x86_cpu *cpu)
{
	struct x87_image image;

	if ((cpu->fpu.control & SF_ALL) != SF_ALL || (cpu->cr0 & (CR0_EM | CR0_TS)))
		return false;
	image_make(cpu, &image);
	__asm__ volatile("frstor %0" : : "m"(image));
	cpu->jit_live.x87_where = WHERE_NONE;
	cpu->jit_live.x87_data = cpu->fpu.fdp;
	cpu->jit_live.x87_data_used = false;
	cpu->jit_live.x87_away = 0;
	return true;
}

static void take_pointers(struct x86_cpu *cpu)
{
	const struct x86_jit_live *live = &cpu->jit_live;
	bool selectors = !x86_has(cpu, X86_FEATURE_ZERO_FCS_FDS);
	struct x86_fpu *fpu = &cpu->fpu;

	if (live->x87_where == WHERE_NONE)
		return;
	fpu->fip = live->x87_page + (live->x87_where & WHERE_OFFSET);
	fpu->opcode = (uint16_t)(live->x87_where >> WHERE_FOP_BIT);
	fpu->fcs = selectors ? cpu->seg[SEG_CS].selector : 0;
	if (!live->x87_data_used)
		return;
	fpu->fdp = live->x87_data;
	fpu->fds = selectors ? cpu->seg[live->x87_data_used - 1].selector : 0;
}

void x86_jit_x87_away(struct x86_cpu *cpu)
{
	struct x87_image image;

	if (cpu->jit_live.x87_away)
		return;
	__asm__ volatile("fnsave %0" : "=m"(image)); /* and makes the x87 as C wants it */
	cpu->jit_live.x87_away = 1;
	cpu->fpu.control = (uint16_t)image.control;
	cpu->fpu.status = (uint16_t)(image.status & ~(uint32_t)X87_STATUS_TOP);
	cpu->fpu.top = image.status >> 11 & 7;
	x87_tag_word_set(cpu, (uint16_t)image.tags);
	for (unsigned i = 0; i < 8; i++) {
		struct f80 *reg = &cpu->fpu.reg[x87_physical(cpu, i)];

		memcpy(&reg->mant, image.st[i], 8);
		memcpy(&reg->sexp, image.st[i] + 8, 2);
	}
	take_pointers(cpu);
}

/* Rows that are no escapes. */
static bool is_wait(const struct x86_insn *in)
{
	return x86_rows[in->row].slow == x86_slow_fwait;
}

static bool is_emms(const struct x86_insn *in)
{
	return x86_rows[in->row].slow == x86_slow_emms;
}

/* Bytes of an escape's memory operand by opcode and ModRM.reg; 0: an image, or nothing. */
static unsigned operand_size(const struct x86_insn *in)
{
	static const uint8_t size[8][8] = {
		{4, 4, 4, 4, 4, 4, 4, 4},   {4, 0, 4, 4, 0, 2, 0, 2},   {4, 4, 4, 4, 4, 4, 4, 4},
		{4, 4, 4, 4, 0, 10, 0, 10}, {8, 8, 8, 8, 8, 8, 8, 8},   {8, 8, 8, 8, 0, 0, 0, 2},
		{2, 2, 2, 2, 2, 2, 2, 2},   {2, 2, 2, 2, 10, 8, 10, 8},
	};

	return size[in->opcode & 7][in->reg & 7];
}

/* The odd escapes store where ModRM.reg is 1, 2, 3, 6 or 7. */
static bool stores(const struct x86_insn *in)
{
	return (in->opcode & 1) && (0xce >> (in->reg & 7) & 1);
}

/* Instructions that leave the pointers alone. */
static bool is_control(const struct x86_insn *in)
{
	x86_slow_fn *fn = x87_find(in);

	return fn == x87_fldcw || fn == x87_fnstcw || fn == x87_fnstsw_m16 || fn == x87_fnstsw_ax ||
	       fn == x87_fnclex;
}

bool jit_x87_accepts(const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	x86_slow_fn *fn;

	if (row->kind != X86_ROW_SLOW || in->lock)
		return false;
	if (is_wait(in) || is_emms(in))
		return true;
	if (in->map || (in->opcode & 0xf8) != 0xd8)
		return false;
	fn = x87_find(in);
	if (!fn || fn == x87_fninit || fn == x87_ignored)
		return false;
	if (!x86_insn_is_mem(in))
		return true;
	return operand_size(in) && jit_address_fits(in) && in->seg != SEG_FS && in->seg != SEG_GS;
}

uint32_t jit_x87_flags(const struct x86_insn *in, uint32_t *read)
{
	x86_slow_fn *fn = is_wait(in) || is_emms(in) ? NULL : x87_find(in);

	*read = fn == x87_fcmov ? FLAG_CF | FLAG_PF | FLAG_ZF : 0;
	if (fn == x87_fcomi || fn == x87_fcomip || fn == x87_fucomi || fn == x87_fucomip)
		return FLAGS_STATUS;
	return 0;
}

/* What runs from now on is in this page. */
static void emit_page(struct jit_translation *t)
{
	struct asm_rm page = LIVE(x87_page);

	asm_load(&t->code, true, ASM_R14, JIT_FIELD(r[REG_RIP]));
	asm_store(&t->code, true, page, ASM_R14);
}

static void emit_need(struct jit_translation *t, const struct jit_insn *insn)
{
	jit_live_need(t, insn, JIT_LIVE_X87);
	if (!t->x87_paged)
		emit_page(t);
	t->x87_paged = true;
}

static void store_imm(struct asm_code *code, struct asm_rm to, uint32_t value)
{
	struct asm_op mov = {.opcode = 0xc7};

	asm_insn(code, &mov, &to);
	asm_imm(code, value, 4);
}

/* In 64-bit mode a memory operand counts as one in DS, or in SS. */
static void emit_pointers(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	uint32_t fop = (in->opcode & 7u) << 8 | (uint32_t)in->mod << 6 | (in->reg & 7u) << 3 | (in->rm & 7u);

	store_imm(&t->code, LIVE(x87_where), fop << WHERE_FOP_BIT | insn->off);
	if (!x86_insn_is_mem(in))
		return;
	jit_address_to(t, insn, ASM_R14);
	asm_store(&t->code, true, LIVE(x87_data), ASM_R14);
	store_imm(&t->code, LIVE(x87_data_used), (in->seg == SEG_FLAT ? SEG_DS : in->seg) + 1u);
}

/* From a copy: the guest's memory may change between the look and the load. */
static void emit_fldcw(struct jit_translation *t, const struct jit_insn *insn)
{
	struct asm_op movzx = {.opcode = 0xb7, .map = 1, .reg = ASM_R14}, fldcw = {.opcode = 0xd9, .reg = 5};
	struct asm_rm operand = asm_rm_mem(ASM_R13, 0), r14 = asm_rm_reg(ASM_R14),
		      value = JIT_FIELD(jit_value);
	struct jit_stub *stub = jit_call_stub(t, insn);

	if (!stub)
		return;
	stub->site->leave = true;
	asm_insn(&t->code, &movzx, &operand);
	asm_mov_rr(&t->code, false, ASM_R15, ASM_R14);
	asm_alu_imm(&t->code, ASM_AND, false, asm_rm_reg(ASM_R15), SF_ALL);
	asm_alu_imm(&t->code, ASM_CMP, false, asm_rm_reg(ASM_R15), SF_ALL);
	stub->jump[0] = asm_jcc(&t->code, ASM_NE);
	asm_alu_imm(&t->code, ASM_AND, false, r14, X87_CONTROL_WRITABLE);
	asm_alu_imm(&t->code, ASM_OR, false, r14, X87_CONTROL_ONE);
	asm_store(&t->code, false, value, ASM_R14);
	asm_insn(&t->code, &fldcw, &value);
}

static void emit_escape(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	struct asm_op op = {.opcode = in->opcode, .reg = in->reg & 7};
	struct asm_rm rm = asm_rm_reg(in->rm & 7);

	if (x86_insn_is_mem(in)) {
		jit_flags_spare(t, jit_flags_wanted(insn));
		jit_address(t, insn);
		jit_check(t, insn, operand_size(in), stores(in));
		rm = asm_rm_mem(ASM_R13, 0);
	}
	if (x87_find(in) == x87_fldcw) {
		emit_fldcw(t, insn);
		return;
	}
	if (insn->read)
		jit_flags_need(t);
	asm_insn(&t->code, &op, &rm);
	if (!is_control(in))
		emit_pointers(t, insn);
	if (insn->may)
		jit_flags_made(t);
}

void jit_x87_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	emit_need(t, insn);
	if (is_emms(&insn->in)) {
		asm_byte(&t->code, 0x0f);
		asm_byte(&t->code, 0x77);
	} else if (!is_wait(&insn->in)) { /* nothing is pending while it is live */
		emit_escape(t, insn);
	}
}
