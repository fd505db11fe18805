/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What translated code calls: the slow half of a memory access, and single instructions in the interpreter.
 * Guest registers are in cpu->r; flags are in cpu->jit_flags where the site says so. Both may raise.
 */
#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/jit_cache.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/vec.h"

/* Makes RIP and flags what they are before the site's instruction. */
static void site_settle(struct x86_cpu *cpu, const struct jit_site *site)
{
	cpu->rip = cpu->r[REG_RIP] + site->off;
	if (site->flags_saved)
		x86_flags_set_status(cpu, jit_flags_unpack(cpu->jit_flags));
}

/* The block counts on MXCSR's exceptions being masked, and the instruction has unmasked one. */
static bool float_unmasked(const struct x86_cpu *cpu)
{
	return (cpu->jit_live.resume & JIT_LIVE_FLOAT) && x86_vec_env(cpu).unmasked;
}

/* The instruction has been executed: can the block go on behind it? */
static uint64_t site_done(struct x86_cpu *cpu, const struct jit_site *site, uint64_t epoch)
{
	cpu->jit_flags = jit_flags_pack(x86_flags_status(cpu));
	if (cpu->rip == cpu->r[REG_RIP] + site->off + site->len && cpu->jit->epoch == epoch && !cpu->leave &&
	    !cpu->debug_active && !cpu->jit->trial.active && !site->leave && !cpu->intr_shadow &&
	    !float_unmasked(cpu))
		return 0;
	cpu->jit->trial.insns = site->index + 1u;
	return 1;
}

/* The interpreter is about to execute an instruction: true when the x87 was live. */
static bool x87_interrupt(struct x86_cpu *cpu)
{
	bool live = !cpu->jit_live.x87_away;

	x86_jit_x87_away(cpu);
	return live;
}

/* It is live again where the block goes on, or the block cannot. */
static uint64_t x87_resume(struct x86_cpu *cpu, bool was_live, uint64_t leaves)
{
	return leaves || (was_live && !x86_jit_x87_load(cpu));
}

/* Is it time to fill the slot? */
static bool site_fill_due(struct jit_site *site)
{
	if (!site->ranged || site->left)
		return false;
	if (site->patience < JIT_PATIENCE_LAST)
		site->patience *= 2;
	site->left = site->patience;
	return true;
}

uint64_t x86_jit_access(struct x86_cpu *cpu, struct jit_site *site, uint64_t linear)
{
	uint64_t epoch = cpu->jit->epoch;
	bool fill = site_fill_due(site);
	bool live;

	site_settle(cpu, site);
	if (cpu->jit->trial.active)
		return jit_verify_access(cpu, site, linear);
	cpu->jit->count[JIT_SLOW]++;
	if ((linear & ~PAGE_MASK) <= PAGE_SIZE - site->size &&
	    !(site->aligned && (linear & (site->size - 1u))) && x86_mem_fill(cpu, linear, site->write)) {
		void *at = site->write ? x86_tlb_write(cpu, linear, site->size)
				       : x86_tlb_read(cpu, linear, site->size);

		if (at && fill && !x86_range_fill(cpu, site->slot, linear, site->write))
			site->left = JIT_PATIENCE_LAST;
		if (at)
			return (uintptr_t)at;
	}
	live = x87_interrupt(cpu);
	x86_execute_one(cpu);
	return x87_resume(cpu, live, site_done(cpu, site, epoch));
}

/* Executes it and moves RIP on. */
static void execute_row(struct x86_cpu *cpu, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	bool fast = row->kind == X86_ROW_FAST;
	uint64_t next = cpu->rip + in->len;

	if ((row->properties & X86_PROP_CPL0) && cpu->cpl)
		x86_raise_gp(cpu);
	switch ((enum x86_row_kind)row->kind) {
	case X86_ROW_FAST: x86_general[row->fast](cpu, in); break;
	case X86_ROW_SLOW: row->slow(cpu, in); break;
	case X86_ROW_VEC: x86_vec_execute(cpu, in); break;
	case X86_ROW_UD: x86_raise_ud(cpu);
	}
	if (!(row->properties & X86_PROP_JUMP) && !(fast && (row->properties & X86_PROP_STRING)))
		cpu->rip = next;
}

uint64_t x86_jit_call(struct x86_cpu *cpu, const struct jit_site *site)
{
	uint64_t epoch = cpu->jit->epoch;
	bool live;

	site_settle(cpu, site);
	if (cpu->jit->trial.active)
		return jit_verify_stop(cpu, site);
	live = x86_rows[site->in->row].kind != X86_ROW_FAST && x87_interrupt(cpu);
	cpu->jit->count[JIT_CALLS]++;
	execute_row(cpu, site->in);
	return x87_resume(cpu, live, site_done(cpu, site, epoch));
}

/* Nothing has to happen between this instruction and the next but the next. Its block is entered past the
 * look for attention, so an interrupt that comes in this moment does not break into STI's shadow. */
static bool goes_on(const struct x86_cpu *cpu)
{
	return !atomic_load_explicit(&cpu->attention, memory_order_relaxed) && !cpu->leave && !cpu->halted &&
	       !cpu->shutdown && !cpu->debug_active && cpu->mode_bits == 64;
}

/* Where the jump cache says that cpu->rip goes on. Attention may be looked at there. */
static const void *jump_host(struct x86_cpu *cpu)
{
	const struct x86_jump *jump = &cpu->code->jump[x86_jump_hash(cpu, cpu->rip)];

	if (jump->linear != cpu->rip || (jump->key != cpu->link_key[0] && jump->key != cpu->link_key[1]) ||
	    jump->host == cpu->jit->thunk_miss)
		return NULL;
	cpu->r[REG_RIP] = cpu->rip & PAGE_MASK;
	return jump->host;
}

uint64_t x86_jit_end(struct x86_cpu *cpu, const struct jit_site *site)
{
	const struct jit_block *block;
	const void *host;

	site_settle(cpu, site);
	x86_jit_x87_away(cpu);
	cpu->jit->count[JIT_CALLS]++;
	if (site->in)
		execute_row(cpu, site->in);
	else
		x86_execute_one(cpu);
	if (cpu->mode_bits != 64)
		x86_code_segments_changed(cpu);
	if (!goes_on(cpu))
		return 1;
	cpu->jit_flags = jit_flags_pack(x86_flags_status(cpu));
	host = cpu->intr_shadow ? NULL : jump_host(cpu);
	if (host)
		return (uintptr_t)host;
	block = jit_block_at_rip(cpu);
	if (!block)
		return 1;
	cpu->intr_shadow = false;
	return (uintptr_t)jit_run_address(cpu->jit, block->body);
}
