/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The translator of hot 64-bit guest code to host code, as the rest of the engine sees it. A CPU has its own
 * translations (nothing of them is shared, so nothing is locked); cpu->jit is NULL where there is none: not
 * asked for, another host than x86-64, or executable memory refused.
 *
 *   op of a block's entry --op_count (interpreted, counted)--> hot: translated --op_jit--> host code
 *   host code --link--> host code;  --exit--> x86_op_at_rip: the interpreter goes on, or the run loop attends
 *
 * The interpreter executes every instruction that is not translated, every access that the inline lookup does
 * not allow, and all that comes before a block is hot. It is the oracle: in verify mode it replays what
 * translated blocks did, and what it says counts.
 */
#pragma once

#include "tcg-fallback/core/vm.h"
#include "tcg-fallback/x86/op.h"

struct x86_jit;

/* Gives the CPU a translator when the VM asks for one and the host can. */
void x86_jit_create(struct x86_cpu *cpu);
void x86_jit_destroy(struct x86_cpu *cpu);

/* The rest wants cpu->jit. The thread is about to run this CPU. */
void x86_jit_thread(struct x86_cpu *cpu);
/* An op was found by look-up: count how often it is entered. In 64-bit mode only. */
void x86_jit_watch(struct x86_cpu *cpu, struct x86_op *op);
/* Where host code that goes to this op by way of the jump cache must go; never NULL. */
const void *x86_jit_host(const struct x86_cpu *cpu, const struct x86_op *op);

/* All ops are about to be dropped: translations stay. */
void x86_jit_forget_ops(struct x86_cpu *cpu);
/* Drops all, once the ops have been dropped: only where no translated code will be gone back to. */
void x86_jit_flush(struct x86_cpu *cpu);
/* Drops translations of the bytes first..last of a page; true when there was one. Translated code may be
 * running: it leaves at its next instruction. */
bool x86_jit_drop(struct x86_cpu *cpu, uint64_t page_gpa, unsigned first, unsigned last);
/* Lines of a page (x86_line_bits) that live translations cover. */
uint64_t x86_jit_lines(const struct x86_cpu *cpu, uint64_t page_gpa);

/* Makes cpu->fpu true, and the host's x87 as C expects it, where translated code left it live: before
 * anything looks at cpu->fpu, and wherever an exception unwinds to. */
void x86_jit_x87_away(struct x86_cpu *cpu);

/* Counted for metrics. */
enum x86_jit_counter {
	JIT_BLOCKS,     /* translated */
	JIT_INSNS,      /* guest instructions in them */
	JIT_BYTES,      /* host code */
	JIT_ENTRIES,    /* from the interpreter */
	JIT_LINKS,      /* jumps patched */
	JIT_SLOW,       /* accesses that missed the inline lookup */
	JIT_CALLS,      /* single instructions interpreted from within a block */
	JIT_DROPS,      /* translations overwritten */
	JIT_FLUSHES,    /* all translations dropped */
	JIT_VERIFIED,   /* blocks replayed */
	JIT_MISMATCHES, /* replays that disagreed */
	/* Ways out of translated code, in the order of enum jit_exit_kind. */
	JIT_EXITS_PLAIN,    /* for attention, or from a dropped block */
	JIT_EXITS_PAGE,     /* a jump within the page that was not linked yet */
	JIT_EXITS_CROSS,    /* one to another page, or linked under another key */
	JIT_EXITS_INDIRECT, /* an indirect one that missed the jump cache */
	JIT_EXITS_C,        /* by way of C: the instruction left to the interpreter ended the block */
	JIT_COUNTERS
};
uint64_t x86_jit_count(const struct x86_cpu *cpu, enum x86_jit_counter counter);
