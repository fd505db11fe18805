/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verify mode: a block is tried with all its stores remembered, everything is taken back, the interpreter
 * executes the same instructions, and the outcomes are compared. The interpreter's stays, so a guest goes on
 * in spite of a mismatch. A trial ends before what cannot be taken back: devices, stores to code, accesses
 * that cross pages, and instructions that the block itself leaves to the interpreter.
 *
 * With several CPUs another one may change memory between trial and replay; then blocks run unverified.
 */
#include <stdlib.h>
#include <string.h>

#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/jit_cache.h"
#include "tcg-fallback/x86/system.h"
#include "vmm/base/log.h"

#define JOURNAL_MAX (JIT_BLOCK_INSNS * 2)
#define STORE_MAX   64 /* bytes of the longest store */
/* What #AC may ask of an operand: ten bytes count as eight. */
#define MIN_ALIGNED(size_) ((size_) == 10 ? 8u : (size_))
#define REPORTS_MAX        20 /* mismatches told; one is enough to know that something is wrong */

struct jit_store {
	uint8_t *hva;
	unsigned size;
	uint8_t before[STORE_MAX], after[STORE_MAX];
};

/* What an instruction can change, memory aside. */
struct jit_outcome {
	uint64_t r[REG_COUNT], rip, cr2, k[8];
	uint64_t vec[32][8];
	struct x86_lazy_flags cc;
	uint32_t mxcsr;
	struct x86_fpu fpu;
	uint32_t eflags;          /* but the status flags */
	uint64_t fs, gs, swapped; /* bases, and the one that SWAPGS brings */
	bool faulted;
	uint8_t vector;
	uint32_t code;
};

struct jit_journal {
	struct jit_store store[JOURNAL_MAX];
	unsigned count;
	bool flags_exact; /* the trial ended where its flags are known */
	struct jit_outcome before, trial, replay;
	uint32_t undefined; /* flags that the replayed instructions leave undefined */
};

bool jit_verify_create(struct x86_jit *jit)
{
	jit->trial.journal = calloc(1, sizeof(*jit->trial.journal));
	return jit->trial.journal != NULL;
}

void jit_verify_destroy(struct x86_jit *jit)
{
	free(jit->trial.journal);
}

static void outcome_take(const struct x86_cpu *cpu, struct jit_outcome *outcome, bool faulted)
{
	memcpy(outcome->r, cpu->r, sizeof(outcome->r));
	memcpy(outcome->vec, cpu->zmm, sizeof(outcome->vec));
	memcpy(outcome->k, cpu->k, sizeof(outcome->k));
	outcome->rip = cpu->rip;
	outcome->cc = cpu->cc;
	outcome->mxcsr = cpu->mxcsr;
	outcome->fpu = cpu->fpu;
	outcome->eflags = cpu->eflags;
	outcome->fs = cpu->seg[SEG_FS].base;
	outcome->gs = cpu->seg[SEG_GS].base;
	outcome->swapped = cpu->msr.kernel_gs_base;
	outcome->faulted = faulted;
	outcome->vector = cpu->fault.vector;
	outcome->code = cpu->fault.has_code ? cpu->fault.code : 0;
	outcome->cr2 = cpu->fault.vector == VEC_PF ? cpu->fault.cr2 : 0;
}

static void outcome_put(struct x86_cpu *cpu, const struct jit_outcome *outcome)
{
	memcpy(cpu->r, outcome->r, sizeof(outcome->r));
	memcpy(cpu->zmm, outcome->vec, sizeof(outcome->vec));
	memcpy(cpu->k, outcome->k, sizeof(outcome->k));
	cpu->rip = outcome->rip;
	cpu->cc = outcome->cc;
	cpu->mxcsr = outcome->mxcsr;
	cpu->fpu = outcome->fpu;
	cpu->eflags = outcome->eflags;
	cpu->seg[SEG_FS].base = outcome->fs;
	cpu->seg[SEG_GS].base = outcome->gs;
	cpu->msr.kernel_gs_base = outcome->swapped;
}

static bool store_is_plain(struct x86_cpu *cpu, const struct x86_place *place)
{
	const struct x86_region *region = x86_vm_region(cpu->vm, place->gpa);

	return !place->read_only && region &&
	       !atomic_load_explicit(x86_region_lines(region, place->gpa), memory_order_relaxed);
}

uint64_t jit_verify_stop(struct x86_cpu *cpu, const struct jit_site *site)
{
	cpu->jit->trial.insns = site->index;
	cpu->jit->trial.journal->flags_exact = site->flags_saved;
	return 1;
}

uint64_t jit_verify_access(struct x86_cpu *cpu, const struct jit_site *site, uint64_t linear)
{
	struct jit_journal *journal = cpu->jit->trial.journal;
	struct jit_store *store = &journal->store[journal->count];
	struct x86_place place;

	cpu->jit->trial.insns = site->index;
	journal->flags_exact = site->flags_saved;
	if (!x86_canonical(cpu, linear) || (linear & ~PAGE_MASK) > PAGE_SIZE - site->size ||
	    (site->aligned && (linear & (site->size - 1u))) ||
	    ((cpu->eflags & FLAG_AC) && (linear & (MIN_ALIGNED(site->size) - 1u))))
		return 1;
	place = x86_locate(cpu, linear, site->write ? X86_WRITE : X86_READ, cpu->tlb->class);
	if (!place.hva)
		return 1;
	if (!site->write)
		return (uintptr_t)place.hva;
	if (!store_is_plain(cpu, &place) || journal->count == JOURNAL_MAX)
		return 1;
	store->hva = place.hva;
	store->size = site->size;
	memcpy(store->before, place.hva, site->size);
	journal->count++;
	return (uintptr_t)place.hva;
}

/* Runs the block with inline look-ups that all fail. */
static void try_block(struct x86_cpu *cpu, const struct jit_block *block)
{
	struct jit_journal *journal = cpu->jit->trial.journal;
	struct x86_tlb_entry *hot = cpu->tlb_hot;
	sigjmp_buf *outer = cpu->unwind;
	volatile bool faulted = false;
	const struct jit_exit *exit;
	sigjmp_buf here;

	journal->count = 0;
	cpu->unwind = &here;
	cpu->tlb_hot = cpu->tlb->none;
	x86_range_reset(cpu);
	cpu->jit->trial.active = true;
	if (sigsetjmp(here, 0)) {
		faulted = true;
	} else {
		exit = jit_execute(cpu, block);
		if (exit) {
			cpu->jit->trial.insns = exit->insns;
			journal->flags_exact = true;
			if (exit->kind == JIT_EXIT_INDIRECT && !x86_canonical(cpu, cpu->rip))
				cpu->jit->trial.insns--; /* settling takes it back */
		}
		jit_settle(cpu, exit);
	}
	x86_jit_x87_away(cpu);
	cpu->jit->trial.active = false;
	cpu->tlb_hot = hot;
	cpu->unwind = outer;
	outcome_take(cpu, &journal->trial, faulted);
	cpu->fault.valid = false;
}

static void take_back(struct jit_journal *journal)
{
	for (unsigned i = 0; i < journal->count; i++)
		memcpy(journal->store[i].after, journal->store[i].hva, journal->store[i].size);
	for (unsigned i = journal->count; i-- > 0;)
		memcpy(journal->store[i].hva, journal->store[i].before, journal->store[i].size);
}

/* Which flags are undefined after the instruction at RIP; those that a shift by 0 leaves alone stay so. */
static void note_undefined(struct x86_cpu *cpu)
{
	struct jit_journal *journal = cpu->jit->trial.journal;
	uint8_t bytes[X86_INSN_LEN_MAX];
	struct x86_decode_mode mode;
	const struct x86_row *row;
	struct x86_insn in;
	unsigned avail = x86_code_fetch(cpu, cpu->rip, bytes);

	x86_code_decode_mode(cpu, x86_code_mode(cpu), &mode);
	if (x86_decode(&mode, bytes, avail, &in) != X86_DECODE_OK)
		return;
	row = &x86_rows[in.row];
	if (!row->flags_undefined)
		journal->undefined &= ~row->flags_written;
	journal->undefined |= row->flags_undefined;
}

static void replay(struct x86_cpu *cpu, unsigned insns)
{
	struct jit_journal *journal = cpu->jit->trial.journal;
	sigjmp_buf *outer = cpu->unwind;
	volatile bool faulted = false;
	sigjmp_buf here;

	journal->undefined = 0;
	cpu->unwind = &here;
	if (sigsetjmp(here, 0)) {
		faulted = true;
	} else {
		for (unsigned i = 0; i < insns; i++) {
			note_undefined(cpu);
			cpu->intr_shadow = false;
			x86_execute_one(cpu);
		}
	}
	cpu->unwind = outer;
	outcome_take(cpu, &journal->replay, faulted);
}

static bool memory_agrees(const struct jit_journal *journal)
{
	for (unsigned i = 0; i < journal->count; i++)
		if (memcmp(journal->store[i].hva, journal->store[i].after, journal->store[i].size) != 0)
			return false;
	return true;
}

static uint32_t outcome_flags(struct x86_cpu *cpu, const struct jit_outcome *outcome)
{
	struct x86_lazy_flags now = cpu->cc;
	uint32_t status;

	cpu->cc = outcome->cc;
	status = x86_flags_status(cpu);
	cpu->cc = now;
	return status;
}

/* Field by field: there are bytes between them. */
static bool fpu_agrees(const struct x86_fpu *a, const struct x86_fpu *b)
{
	for (unsigned i = 0; i < 8; i++)
		if (a->reg[i].mant != b->reg[i].mant || a->reg[i].sexp != b->reg[i].sexp)
			return false;
	return !memcmp(a->empty, b->empty, sizeof(a->empty)) && a->control == b->control &&
	       a->status == b->status && a->top == b->top && a->opcode == b->opcode && a->fip == b->fip &&
	       a->fdp == b->fdp && a->fcs == b->fcs && a->fds == b->fds;
}

static const char *disagreement(struct x86_cpu *cpu)
{
	const struct jit_journal *journal = cpu->jit->trial.journal;
	const struct jit_outcome *a = &journal->trial, *b = &journal->replay;
	uint32_t flags = outcome_flags(cpu, a) ^ outcome_flags(cpu, b);

	if (a->faulted != b->faulted)
		return "a fault";
	if (a->faulted && (a->vector != b->vector || a->code != b->code || a->cr2 != b->cr2))
		return "the fault";
	if (a->rip != b->rip)
		return "RIP";
	for (unsigned i = REG_RAX; i <= REG_R15; i++)
		if (a->r[i] != b->r[i])
			return "a register";
	if (memcmp(a->vec, b->vec, sizeof(a->vec)) != 0 || memcmp(a->k, b->k, sizeof(a->k)) != 0)
		return "a vector register";
	if (a->mxcsr != b->mxcsr)
		return "MXCSR";
	if (!fpu_agrees(&a->fpu, &b->fpu))
		return "the x87";
	if (a->eflags != b->eflags)
		return "a system flag";
	if (a->fs != b->fs || a->gs != b->gs || a->swapped != b->swapped)
		return "a base";
	if (journal->flags_exact && (flags & ~journal->undefined))
		return "flags";
	return memory_agrees(journal) ? NULL : "memory";
}

static void report(struct x86_cpu *cpu, const struct jit_block *block, const char *what, unsigned insns)
{
	const struct jit_journal *journal = cpu->jit->trial.journal;
	const struct jit_outcome *a = &journal->trial, *b = &journal->replay;

	if (cpu->jit->count[JIT_MISMATCHES]++ >= REPORTS_MAX)
		return;
	log_warning("jit mismatch: %s after %u instructions from %#llx (block %#llx)", what, insns,
		    (unsigned long long)journal->before.rip, (unsigned long long)block->key);
	if (a->faulted || b->faulted)
		log_warning("  translated: fault %u (%#x, cr2 %#llx); interpreted: %u (%#x, cr2 %#llx)",
			    a->vector, a->code, (unsigned long long)a->cr2, b->vector, b->code,
			    (unsigned long long)b->cr2);
	log_warning("  translated: rip %#llx flags %#x; interpreted: rip %#llx flags %#x; undefined %#x",
		    (unsigned long long)a->rip, outcome_flags(cpu, a), (unsigned long long)b->rip,
		    outcome_flags(cpu, b), journal->undefined);
	for (unsigned i = REG_RAX; i <= REG_R15; i++)
		if (a->r[i] != b->r[i])
			log_warning("  register %u: was %#llx, translated %#llx, interpreted %#llx", i,
				    (unsigned long long)journal->before.r[i], (unsigned long long)a->r[i],
				    (unsigned long long)b->r[i]);
	for (unsigned i = 0; i < journal->count; i++)
		if (memcmp(journal->store[i].hva, journal->store[i].after, journal->store[i].size) != 0)
			log_warning("  store %u of %u bytes differs", i, journal->store[i].size);
}

void jit_verify_run(struct x86_cpu *cpu, const struct jit_block *block)
{
	struct jit_journal *journal = cpu->jit->trial.journal;
	const char *what;
	unsigned insns;

	outcome_take(cpu, &journal->before, false);
	journal->before.rip = cpu->r[REG_RIP] + block->start;
	try_block(cpu, block);
	insns = cpu->jit->trial.insns;
	take_back(journal);
	outcome_put(cpu, &journal->before);
	/* Something must be done even when the trial got nowhere. */
	replay(cpu, journal->trial.faulted || !insns ? insns + 1 : insns);
	cpu->jit->count[JIT_VERIFIED]++;
	what = insns || journal->trial.faulted ? disagreement(cpu) : NULL;
	if (what)
		report(cpu, block, what, insns);
	if (journal->replay.faulted)
		siglongjmp(*cpu->unwind, 1);
}
