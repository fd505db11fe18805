/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CPU's cache of lowered code: an arena of 32-byte slots that is filled front to back and emptied at once
 * when full; a hash from (guest-physical address, decode mode) to ops; lists of the blocks that a page holds,
 * for dropping what is overwritten; and a jump cache from linear addresses to ops. Nothing of it is shared,
 * so nothing of it is locked.
 *
 *   linear RIP -> jump cache -> op                     while the link key is the CPU's
 *              -> TLB -> gpa -> entry hash -> op       else
 *                               -> lower.c builds      else
 */
#pragma once

#include "tcg-fallback/x86/op.h"

#define CODE_ARENA_SLOTS                                                                                     \
	(160u * 1024) /* 5 MiB: a kernel boot's working set; with all else it stays under 16 MiB */
#define CODE_ENTRY_HASH  65536u
#define CODE_PAGE_HASH   2048u
#define CODE_JUMP_BITS   13 /* 8192 x 32 bytes */
#define CODE_JUMPS       (1u << CODE_JUMP_BITS)
#define CODE_BLOCK_INSNS 64u /* bounds the work that dropping a block costs */
#define CODE_BLOCK_SLOTS (CODE_BLOCK_INSNS * 4 + 8)

/* Decode mode as a number: what the same bytes may mean. */
#define CODE_MODE_BITS_MASK 3u /* 0: 16-bit, 1: 32-bit, 2: 64-bit */
#define CODE_MODE_STACK32   4u
#define CODE_MODE_PROTECTED 8u
#define CODE_MODE_LIMITED   16u /* CS has a limit or a base: jumps are checked, blocks are not linked */

struct x86_block {
	struct x86_block *next[2]; /* in the lists of its first and second page */
	struct x86_op *ops;
	uint64_t page[2];    /* guest-physical; page[1] == UINT64_MAX unless an instruction crosses */
	uint16_t start, end; /* bytes on the first page */
	uint16_t end2;       /* on the second */
	uint16_t slots;
	uint8_t mode;
	bool dropped; /* ops are stale */
};
_Static_assert(sizeof(struct x86_block) <= 64, "two slots");

struct x86_entry {
	struct x86_entry *next;
	uint64_t key; /* guest-physical address | mode << 56 */
	struct x86_op *op;
	struct x86_block *block;
};

struct x86_code_page {
	struct x86_code_page *next;
	struct x86_block *blocks;
	uint64_t gpa;
	uint64_t spare;
};

struct x86_jump {
	uint64_t linear, key;
	struct x86_op *op;
	const void *host; /* where translated code goes for it; x86/jit.h */
};

struct x86_code {
	struct x86_op *arena;
	unsigned used;
	unsigned fruitless; /* stores to marked lines that dropped nothing; core/phys.c */
	uint64_t drops, flushes, blocks, insns, lookups;
	struct x86_jump jump[CODE_JUMPS];
	struct x86_entry *entry[CODE_ENTRY_HASH];
	struct x86_code_page *page[CODE_PAGE_HASH];
	struct x86_decode_mode decode; /* features and vendor; the mode is filled in for each use */
};

#define CODE_JUMP_FACTOR 0x9e3779b97f4a7c15ull

static inline unsigned x86_jump_hash(const struct x86_cpu *cpu, uint64_t linear)
{
	return (unsigned)((linear * CODE_JUMP_FACTOR + cpu->jump_salt) >> (64 - CODE_JUMP_BITS));
}

/* The jump cache's answer for a linear RIP, or NULL. Its op may have become stale. */
static inline struct x86_op *x86_jump_probe(const struct x86_cpu *cpu, const struct x86_code *code,
					    uint64_t linear)
{
	const struct x86_jump *jump = &code->jump[x86_jump_hash(cpu, linear)];

	if (__builtin_expect(jump->linear != linear ||
				     (jump->key != cpu->link_key[0] && jump->key != cpu->link_key[1]),
			     0))
		return NULL;
	return jump->op;
}

struct x86_code *x86_code_create(void);
void x86_code_destroy(struct x86_code *code);

/* Drops every block: only where no op will be gone on with, since the arena is filled anew. */
void x86_code_flush(struct x86_cpu *cpu);
/* Drops the blocks that hold a byte of [gpa, gpa + len); true when there was one. */
bool x86_code_drop(struct x86_cpu *cpu, uint64_t gpa, uint64_t len);
/* Lines of a page (x86_line_bits) that live blocks cover. */
uint64_t x86_code_lines(const struct x86_cpu *cpu, uint64_t page_gpa);
/* Empties the jump cache (its keys may come again after the TLB began anew). */
void x86_code_forget_links(struct x86_cpu *cpu);

/* The number of the CPU's present decode mode. */
unsigned x86_code_mode(const struct x86_cpu *cpu);
/* Segment registers or the mode changed: recompute which segments are flat. */
void x86_code_segments_changed(struct x86_cpu *cpu);

/*
 * The op at cpu->rip, decoding when needed; sets r[REG_RIP]. Raises what fetching raises. NULL: the
 * instruction must be stepped (it lies in no RAM, or near the limit of CS).
 */
struct x86_op *x86_code_find(struct x86_cpu *cpu);

/* Slots at the arena's end, or NULL: it is full. */
struct x86_op *x86_code_reserve(struct x86_code *code, unsigned slots);
/* Adds an entry; NULL when the arena is full. */
struct x86_entry *x86_code_enter(struct x86_code *code, uint64_t key, struct x86_op *op,
				 struct x86_block *block);
/* Is there live code that begins at this guest-physical address? */
bool x86_code_has_entry(struct x86_code *code, uint64_t gpa, unsigned mode);
/* Lists the block at its page(s); false when the arena is full. */
bool x86_code_list(struct x86_code *code, struct x86_block *block);

/*
 * Lowers a block at cpu->rip, which is `linear` and lies at gpa in RAM. lower.c. NULL: the arena is full
 * (flush and try again).
 */
struct x86_block *x86_lower_block(struct x86_cpu *cpu, uint64_t linear, uint64_t gpa);
/* Linear address of cpu->rip. Raises #GP(0) beyond CS.limit or when it is not canonical. */
uint64_t x86_code_linear_rip(struct x86_cpu *cpu);
/* The decode mode that a mode number stands for. */
void x86_code_decode_mode(const struct x86_cpu *cpu, unsigned mode, struct x86_decode_mode *decode);

/*
 * Bytes of the instruction at a linear address, at most 15, crossing into the next page when that can be
 * fetched. Raises what fetching the first byte raises. fetch.c
 */
unsigned x86_code_fetch(struct x86_cpu *cpu, uint64_t linear, uint8_t bytes[X86_INSN_LEN_MAX]);
/* As above when more bytes than that were needed: raises the fault of the next page. */
void x86_code_fetch_more(struct x86_cpu *cpu, uint64_t linear);

/*
 * Executes the instruction at cpu->rip by its general form and moves RIP. What single steps, the last
 * instructions before a segment's limit, code outside RAM, and fast handlers that meet an access they cannot
 * do, have in common. run.c
 */
void x86_execute_one(struct x86_cpu *cpu);

/* Handler of dropped ops, and of the end of a block: looks RIP up anew. run.c */
x86_op_fn op_stale;
