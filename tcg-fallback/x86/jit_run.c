/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the interpreter and translated code: counting how often blocks are entered, going in, coming out,
 * and linking what was left to where it went.
 */
#include <asm/prctl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/jit_cache.h"
#include "tcg-fallback/x86/lower.h"

#define COUNT_NEVER UINT32_MAX /* translating was tried: it is not worth it */

static x86_op_fn op_count, op_jit;

void x86_jit_thread(struct x86_cpu *cpu)
{
	syscall(SYS_arch_prctl, ARCH_SET_GS, cpu);
}

static struct jit_side *side_of(const struct x86_cpu *cpu, const struct x86_op *op)
{
	return &cpu->jit->side[op - cpu->code->arena];
}

void x86_jit_watch(struct x86_cpu *cpu, struct x86_op *op)
{
	struct jit_side *side = side_of(cpu, op);

	if (side->fn || op->fn == op_stale)
		return;
	side->fn = op->fn;
	op->fn = op_count;
}

const void *x86_jit_host(const struct x86_cpu *cpu, const struct x86_op *op)
{
	const struct jit_side *side = side_of(cpu, op);

	if (op->fn == op_jit && jit_block_serves(cpu, side->block) && !cpu->jit->verify)
		return jit_run_address(cpu->jit, side->block->saved);
	return cpu->jit->thunk_miss;
}

struct jit_exit *jit_execute(struct x86_cpu *cpu, const struct jit_block *block)
{
	struct jit_exit *exit;

	cpu->jit_flags = jit_flags_pack(x86_flags_status(cpu));
	exit = cpu->jit->enter(jit_run_address(cpu->jit, block->body));
	x86_jit_x87_away(cpu);
	if (exit)
		x86_flags_set_status(cpu, jit_flags_unpack(cpu->jit_flags));
	return exit;
}

void jit_settle(struct x86_cpu *cpu, const struct jit_exit *exit)
{
	if (!exit)
		return;
	if (exit->kind == JIT_EXIT_PLAIN || exit->kind == JIT_EXIT_PAGE) {
		cpu->rip = cpu->r[REG_RIP] + (uint64_t)(int64_t)exit->disp;
	} else if (exit->kind == JIT_EXIT_INDIRECT && !x86_canonical(cpu, cpu->rip)) {
		cpu->r[REG_RSP] -= exit->undo; /* the jump itself faults: the interpreter raises it */
		cpu->rip = cpu->r[REG_RIP] + exit->off;
	}
}

/* Writing to code that runs costs the host much more than writing beside it. */
static void jump_to(uint8_t *jump, const uint8_t *target)
{
	int32_t distance;

	memcpy(&distance, jump, sizeof(distance));
	if (jump + sizeof(distance) + distance != target)
		asm_bind(jump, target);
}

/* Which of the link keys stands for the page of cpu->rip, of which the jump cache has just been told. */
static uint64_t key_of_rip(const struct x86_cpu *cpu)
{
	const struct x86_jump *jump = &cpu->code->jump[x86_jump_hash(cpu, cpu->rip)];

	return jump->linear == cpu->rip ? jump->key : 0;
}

/* RIP's page was left for another one, at the distance that the exit tells. */
static void link_cross(struct x86_cpu *cpu, struct jit_exit *exit, const struct jit_block *block)
{
	exit->key = key_of_rip(cpu);
	exit->page = cpu->r[REG_RIP] - (uint64_t)(int64_t)(exit->disp & -(int32_t)PAGE_SIZE);
	jump_to(exit->jump, block->saved);
	cpu->jit->count[JIT_LINKS]++;
}

static void link_page(struct x86_cpu *cpu, const struct jit_exit *exit, const struct jit_block *block)
{
	jump_to(exit->jump, exit->saved ? block->saved : exit->backward ? block->poll : block->body);
	cpu->jit->count[JIT_LINKS]++;
}

/* A block was left by this exit to another one: next time, without coming here. */
static void link_exit(struct x86_cpu *cpu, struct jit_exit *exit, const struct jit_block *block)
{
	if (!block || cpu->jit->verify || !exit->jump)
		return;
	if (exit->kind == JIT_EXIT_CROSS)
		link_cross(cpu, exit, block);
	else if (exit->kind == JIT_EXIT_PAGE)
		link_page(cpu, exit, block);
}

const struct jit_block *jit_block_at_rip(struct x86_cpu *cpu)
{
	const struct x86_tlb_table *table = cpu->tlb->table;
	uint64_t linear = cpu->rip, info, gpa;
	struct x86_jump *jump = &cpu->code->jump[x86_jump_hash(cpu, linear)];
	const struct jit_block *block;
	struct x86_op *op;
	bool global;

	if (!table || table->entry[x86_tlb_index(linear)].ex != (linear & PAGE_MASK))
		return NULL;
	info = table->info[x86_tlb_index(linear)];
	gpa = (info & PAGE_MASK) | (linear & ~PAGE_MASK);
	block = jit_block_find(cpu->jit, jit_block_key(cpu, gpa));
	if (!block)
		return NULL;
	global = info & TLB_INFO_GLOBAL;
	x86_tlb_note_executed(cpu, linear, global);
	op = jump->linear == linear && jump->key == cpu->link_key[global] ? jump->op : NULL;
	*jump = (struct x86_jump){.linear = linear,
				  .key = cpu->link_key[global],
				  .op = op,
				  .host = jit_run_address(cpu->jit, block->saved)};
	cpu->r[REG_RIP] = linear & PAGE_MASK;
	return block;
}

/* An interrupt's frame shows the flags: it comes when they are known. */
static void go_forward(struct x86_cpu *cpu, const struct jit_exit *exit)
{
	for (unsigned i = 0; i < exit->forward; i++)
		x86_execute_one(cpu);
}

/* The block that was left goes on in another one, which needs no op; NULL: it does not. */
static const struct jit_block *go_on(struct x86_cpu *cpu, struct jit_exit *exit)
{
	const struct jit_block *block;

	if (cpu->jit->verify || atomic_load_explicit(&cpu->attention, memory_order_relaxed))
		return NULL;
	block = jit_block_at_rip(cpu);
	link_exit(cpu, exit, block);
	return block;
}

/* The TLB has lost the page, or there is no translation: by way of the op, whose translation is linked all
 * the same. */
static struct x86_op *go_on_slowly(struct x86_cpu *cpu, struct jit_exit *exit)
{
	const uint64_t flushes = cpu->code->flushes;
	struct x86_op *op = x86_op_at_rip(cpu);

	if (op && op->fn == op_jit && flushes == cpu->code->flushes &&
	    jit_block_serves(cpu, side_of(cpu, op)->block))
		link_exit(cpu, exit, side_of(cpu, op)->block);
	return op;
}

/* Runs translations from this one on; where the interpreter goes on, or NULL for the run loop. */
static struct x86_op *run_blocks(struct x86_cpu *cpu, const struct jit_block *block)
{
	struct x86_jit *jit = cpu->jit;
	struct jit_exit *exit = NULL;

	jit->count[JIT_ENTRIES]++;
	if (jit->verify && ++jit->trial.count >= jit->verify_every) {
		jit->trial.count = 0;
		jit_verify_run(cpu, block);
		return x86_op_at_rip(cpu);
	}
	while (block) {
		exit = jit_execute(cpu, block);
		jit->count[exit ? JIT_EXITS_PLAIN + exit->kind : JIT_EXITS_C]++;
		if (!exit) /* C has left it: what it did may concern the run loop (a halt, another mode) */
			return NULL;
		jit_settle(cpu, exit);
		go_forward(cpu, exit);
		block = go_on(cpu, exit);
	}
	return go_on_slowly(cpu, exit);
}

static struct x86_op *op_jit(struct x86_cpu *cpu, struct x86_op *op)
{
	struct jit_side *side = side_of(cpu, op);
	struct x86_op *next;

	if (__builtin_expect(!jit_block_serves(cpu, side->block), 0)) {
		side->block = NULL;
		side->count = 0;
		op->fn = op_count;
		OP_TAIL(op_count, cpu, op);
	}
	next = run_blocks(cpu, side->block);
	if (!next)
		return NULL;
	OP_GOTO(cpu, next);
}

/* The jump cache may hold the op already. */
static void jump_update(struct x86_cpu *cpu, const struct x86_op *op, uint64_t linear)
{
	struct x86_jump *jump = &cpu->code->jump[x86_jump_hash(cpu, linear)];

	if (jump->linear == linear && jump->op == op &&
	    (jump->key == cpu->link_key[0] || jump->key == cpu->link_key[1]))
		jump->host = x86_jit_host(cpu, op);
}

/* A hot op: finds or makes its translation. False: everything was flushed, the op is no more. */
static bool become_hot(struct x86_cpu *cpu, struct x86_op *op, struct jit_side *side)
{
	uint64_t linear = op_rip(cpu, op);
	struct x86_place place;
	struct jit_block *block;
	bool full = false;

	cpu->rip = linear;
	place = x86_locate(cpu, linear, X86_EXECUTE, cpu->tlb->class);
	if (!place.hva)
		return true;
	block = jit_block_find(cpu->jit, jit_block_key(cpu, place.gpa));
	if (!block && side->count >= cpu->jit->threshold && side->count != COUNT_NEVER)
		block = jit_translate(cpu, place.gpa, linear, &full);
	if (full) {
		x86_code_flush(cpu);
		return false;
	}
	if (block) {
		side->block = block;
		op->fn = op_jit;
		jump_update(cpu, op, linear);
	} else if (side->count >= cpu->jit->threshold) {
		side->count = COUNT_NEVER;
		op->fn = side->fn;
	}
	return true;
}

/* Stands before an op's own handler. A translation that outlived the op's block is found at once. */
static struct x86_op *op_count(struct x86_cpu *cpu, struct x86_op *op)
{
	struct jit_side *side = side_of(cpu, op);
	x86_op_fn *fn = side->fn;

	side->count++;
	if (__builtin_expect(side->count == 1 || side->count >= cpu->jit->threshold, 0)) {
		if (!become_hot(cpu, op, side))
			return NULL;
		if (op->fn == op_stale)
			fn = op_stale;
		else if (op->fn == op_jit)
			fn = op_jit;
	}
	OP_TAIL(fn, cpu, op);
}
