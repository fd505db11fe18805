/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From guest bytes to a block of ops. A block goes on past conditional jumps until an instruction that always
 * leaves, the end of the page, or code that is there already. An instruction that crosses into the next page
 * is a block of its own, since the next page may be mapped elsewhere tomorrow.
 */
#include "tcg-fallback/x86/lower.h"

#include <string.h>

#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/flags.h"
#include "tcg-fallback/x86/gen.h"

#define INSN_SLOTS ((sizeof(struct x86_insn) + sizeof(struct x86_op) - 1) / sizeof(struct x86_op))

/* Is the displacement, counted from the page, a number of 32 bits? Else r[REG_PAGE] as index helps by a page.
 */
static void lower_rip_relative(const struct x86_lowering *l, struct x86_op *op)
{
	int64_t disp = l->in->disp + l->off + l->in->len;

	op->base = REG_RIP;
	if (disp > INT32_MAX) {
		op->index = REG_PAGE;
		disp -= OP_PAGE_BIAS;
	}
	op->disp = (int32_t)disp;
}

static enum x86_ea lower_ea_32(const struct x86_insn *in, const struct x86_op *op)
{
	if (in->addrsize != 4)
		return EA_NONE;
	if (in->seg == SEG_FS || in->seg == SEG_GS)
		return EA_S32;
	return op->index == REG_ZERO ? EA_B32 : EA_32;
}

enum x86_ea x86_lower_ea(const struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_insn *in = l->in;

	op->base = in->base;
	op->index = in->index;
	op->scale = in->scale;
	op->seg = in->seg;
	op->disp = (int32_t)in->disp;
	if (in->disp != (int32_t)in->disp)
		return EA_NONE;
	if (in->base == REG_RIP)
		lower_rip_relative(l, op);
	if (!lowering_is64(l))
		return lower_ea_32(in, op);
	if (in->addrsize != 8)
		return EA_NONE;
	if (in->seg == SEG_FS || in->seg == SEG_GS)
		return EA_SEG;
	return op->index == REG_ZERO ? EA_BD : EA_BIS;
}

static x86_op_fn *call_handler(const struct x86_row *row)
{
	if (row->kind == X86_ROW_VEC)
		return op_vec;
	if (row->kind == X86_ROW_SLOW && (row->properties & (X86_PROP_END | X86_PROP_JUMP)))
		return op_call_end;
	if (row->properties & X86_PROP_JUMP)
		return op_call_jump;
	if (row->kind == X86_ROW_FAST && (row->properties & X86_PROP_STRING))
		return op_call_string;
	return (row->properties & X86_PROP_CPL0) ? op_call_cpl0 : op_call;
}

static void lower_call(struct x86_lowering *l, struct x86_op *op)
{
	const struct x86_row *row = &x86_rows[l->in->row];

	*op = (struct x86_op){.fn = call_handler(row), .slots = 1 + INSN_SLOTS};
	if (row->kind == X86_ROW_FAST)
		op->slow_row = x86_general[row->fast];
	else if (row->kind == X86_ROW_SLOW)
		op->slow_row = row->slow;
	memcpy(op + 1, l->in, sizeof(*l->in));
	l->ended = row->properties & (X86_PROP_JUMP | X86_PROP_END);
	if (row->kind != X86_ROW_FAST || row->flags_written)
		l->cc_op = CC_UNKNOWN;
}

static bool lower_fast(struct x86_lowering *l, struct x86_op *op)
{
	*op = (struct x86_op){.slots = 1, .base = REG_ZERO, .index = REG_ZERO};
	return x86_lower_alu(l, op) || x86_lower_move(l, op) || x86_lower_shift(l, op) ||
	       x86_lower_branch(l, op) || x86_lower_misc(l, op);
}

static void lower_insn(struct x86_lowering *l)
{
	const struct x86_row *row = &x86_rows[l->in->row];
	struct x86_op *op = l->op;

	l->ended = false;
	if (row->kind == X86_ROW_UD)
		*op = (struct x86_op){.fn = op_raise_ud, .slots = 1}, l->ended = true;
	else if (row->kind != X86_ROW_FAST || !lower_fast(l, op))
		lower_call(l, op);
	op->off = (uint16_t)l->off;
	op->len = l->in->len;
	if (l->ended)
		op->kind |= OP_LAST;
	l->op += op->slots;
}

static void lower_simple(struct x86_lowering *l, x86_op_fn *fn, unsigned off)
{
	*l->op++ = (struct x86_op){.fn = fn, .slots = 1, .off = (uint16_t)off, .kind = OP_NO_ENTRY};
	l->ended = true;
}

/* Decodes at an offset of the page; the marks are set before the bytes are read (phys.h). */
enum x86_decode_status x86_lower_decode(struct x86_cpu *cpu, const struct x86_decode_mode *mode, uint64_t gpa,
					struct x86_insn *in)
{
	const struct x86_region *region = x86_vm_region(cpu->vm, gpa);
	unsigned avail = PAGE_SIZE - (gpa & ~PAGE_MASK);
	uint8_t bytes[X86_INSN_LEN_MAX];

	if (avail > X86_INSN_LEN_MAX)
		avail = X86_INSN_LEN_MAX;
	x86_vm_mark_code(cpu, gpa, avail);
	memcpy(bytes, region->hva + (gpa - region->gpa), avail);
	return x86_decode(mode, bytes, avail, in);
}

/* The instruction at the end of a page, with bytes of the next. The second page's address is stored when it
 * was needed. */
static enum x86_decode_status decode_crossing(struct x86_cpu *cpu, const struct x86_decode_mode *mode,
					      uint64_t linear, uint64_t gpa, struct x86_insn *in,
					      uint64_t *page)
{
	unsigned first = PAGE_SIZE - (gpa & ~PAGE_MASK);
	uint64_t second = cpu->mode_bits == 64 ? linear + first : (uint32_t)(linear + first);
	const struct x86_region *region = x86_vm_region(cpu->vm, gpa);
	uint8_t bytes[X86_INSN_LEN_MAX] = {0};
	struct x86_place place;

	x86_check_canonical(cpu, SEG_CS, second, 1);
	place = x86_locate(cpu, second, X86_EXECUTE, cpu->tlb->class);
	if (!place.hva)
		return X86_DECODE_MORE;
	*page = place.gpa & PAGE_MASK;
	do /* marking one page may wait for a CPU that counts the other's marks anew */
		x86_vm_mark_code(cpu, gpa, first);
	while (x86_vm_mark_code(cpu, place.gpa, X86_INSN_LEN_MAX - first));
	memcpy(bytes, region->hva + (gpa - region->gpa), first);
	memcpy(bytes + first, place.hva, X86_INSN_LEN_MAX - first);
	return x86_decode(mode, bytes, sizeof(bytes), in);
}

/* The block now ends where the instruction at l->off does. */
static void block_extend(const struct x86_lowering *l, struct x86_block *block, unsigned len)
{
	unsigned end = l->off + len;

	block->end = (uint16_t)(end < PAGE_SIZE ? end : PAGE_SIZE);
	block->end2 = block->page[1] == UINT64_MAX ? 0 : (uint16_t)(end - block->end);
}

/* An op for bytes that are no instruction, or not in RAM all: it may depend on each of them. */
static void lower_whole(struct x86_lowering *l, struct x86_block *block, x86_op_fn *fn)
{
	lower_simple(l, fn, l->off);
	l->op[-1].len = X86_INSN_LEN_MAX;
	block_extend(l, block, X86_INSN_LEN_MAX);
}

/* One instruction at l->off of the block's page. False: the block ends before it. */
static bool lower_next(struct x86_lowering *l, struct x86_block *block, const struct x86_decode_mode *mode,
		       uint64_t linear)
{
	uint64_t gpa = block->page[0] + l->off;
	struct x86_insn in;
	enum x86_decode_status status = x86_lower_decode(l->cpu, mode, gpa, &in);

	if (status == X86_DECODE_MORE) {
		if (l->op != block->ops)
			return false;
		status = decode_crossing(l->cpu, mode, linear, gpa, &in, &block->page[1]);
		if (status == X86_DECODE_MORE)
			return false;
	}
	if (status == X86_DECODE_UD || status == X86_DECODE_TOO_LONG) {
		lower_whole(l, block, status == X86_DECODE_UD ? op_raise_ud : op_raise_gp);
		return true;
	}
	l->in = &in;
	lower_insn(l);
	l->cpu->code->insns++;
	block_extend(l, block, in.len);
	l->off += in.len;
	return true;
}

static void lower_all(struct x86_lowering *l, struct x86_block *block, const struct x86_decode_mode *mode,
		      uint64_t linear)
{
	for (unsigned i = 0; i < CODE_BLOCK_INSNS; i++) {
		if (!lower_next(l, block, mode, linear) || l->ended)
			break;
		if (l->off >= PAGE_SIZE || x86_code_has_entry(l->cpu->code, block->page[0] + l->off, l->mode))
			break;
	}
}

struct x86_block *x86_lower_block(struct x86_cpu *cpu, uint64_t linear, uint64_t gpa)
{
	struct x86_code *code = cpu->code;
	struct x86_block *block = (void *)x86_code_reserve(code, 2 + CODE_BLOCK_SLOTS + 4);
	struct x86_lowering l = {
		.cpu = cpu, .mode = x86_code_mode(cpu), .off = gpa & ~PAGE_MASK, .cc_op = CC_UNKNOWN};
	struct x86_decode_mode mode;

	if (!block)
		return NULL;
	code->used -= CODE_BLOCK_SLOTS + 4; /* given back: a fault may end this here */
	*block = (struct x86_block){
		.page = {gpa & PAGE_MASK, UINT64_MAX}, .start = (uint16_t)l.off, .mode = (uint8_t)l.mode};
	block->ops = l.op = (struct x86_op *)(void *)block + 2;
	x86_code_decode_mode(cpu, l.mode, &mode);
	lower_all(&l, block, &mode, linear);
	if (l.op == block->ops) /* goes on in a device: executed generally, for the page may become RAM */
		lower_whole(&l, block, op_miss_general), l.ended = false;
	if (!l.ended)
		lower_simple(&l, op_fall, l.off);
	block->slots = (uint16_t)(l.op - block->ops);
	code->used += block->slots;
	code->blocks++;
	return x86_code_list(code, block) ? block : NULL;
}
