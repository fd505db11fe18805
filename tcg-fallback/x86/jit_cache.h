/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the translator: blocks of host code, what describes them, and the conventions that translated
 * code follows.
 *
 * Registers. GS base is the CPU's structure. Guest rax rcx rdx rbx rbp rsi rdi r8-r11 are in themselves,
 * guest rsp is in r12; guest r12-r15 stay in cpu->r. r13, r14 and r15 are free between instructions; r13 is
 * the address of a memory operand. Host rsp is the monitor's stack.
 *
 * Flags. The six status flags are native, or saved in cpu->jit_flags (AH as LAHF leaves it, AL = OF), or dead
 * (nobody will read them before they are written). At an edge between blocks they are never dead.
 *
 * A block lies within one guest page. r[REG_RIP] is the linear address of the page that runs, so blocks serve
 * every address at which it is mapped. Its entries:
 *
 *   entry_saved:  flags are saved; room for a jump, restores them if the block wants them
 *   entry_poll:   flags are native; leaves when cpu->attention is set
 *   entry_body:   likewise, without looking: from C, which must make progress, and from jumps forward
 *
 * A dropped block's entries become jumps to code that leaves, so whoever holds one (links of other blocks,
 * the jump cache) need not be found. Memory is reused only when all is flushed.
 *
 * Vector registers, MXCSR and the x87. The guest's are in the host's while translated code wants them so, and
 * loaded when first wanted: cpu->jit_live tells what is there, and jit_live.c has the code. A block looks
 * once (jit_live_need), before its first such instruction; blocks of integer code pay nothing, for what is
 * live stays so from block to block. That it is live says that it may be used: CR0.EM and TS are clear,
 * CR4.OSFXSR is set (for YMM, CR4.OSXSAVE and XCR0 too), no exception is unmasked. So nothing but C may
 * change those.
 *
 *   into C    every thunk puts vectors and MXCSR away first (jit_live_emit_save), for C uses the registers
 *   back      they are loaded again (jit_live_emit_resume), for the block counts on them; where C has
 * unmasked an exception, or CR0 and CR4 may have changed, it must not come back into the block out       a
 * block is left with all in memory, so what the interpreter and signals see is the truth
 *
 * No C that runs between blocks uses the x87 (no long double): it stays where it is until somebody wants to
 * know it (x86_jit_x87_away), and until the block is left.
 *
 * An instruction encoded without VEX leaves what is above bit 127 alone, as it would on the guest's own CPU,
 * so it wants JIT_LIVE_XMM; one with VEX clears it up to the end of the register and wants the widest kind
 * that XCR0 enables. Wider kinds are loaded by putting the narrower one away first. Host code of the
 * translator's own uses no vector register.
 *
 * Translated code calls C in three places: x86_jit_access when an inline lookup fails, x86_jit_call for an
 * instruction that is left to the interpreter, and x86_jit_end for one that a block ends with (it may change
 * the mode, the address space, the privilege). Guest registers are in cpu->r then. None translates, links or
 * flushes; all may raise, which unwinds over the host code.
 */
#pragma once

#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/emit/asm.h"
#include "tcg-fallback/emit/code_memory.h"
#include "tcg-fallback/x86/flags.h"
#include "tcg-fallback/x86/jit.h"

#define JIT_CODE_BYTES  (24u << 20) /* a Debian boot translates some 15 MiB */
#define JIT_POOL_BYTES  (24u << 20) /* what describes it: touched only as far as it is used */
#define JIT_BLOCK_INSNS 64u
#define JIT_BLOCK_BYTES (32u << 10) /* the longest translation: 64 instructions of at most 500 bytes */
#define JIT_HASH_SIZE   16384u
#define JIT_PAGE_HASH   2048u
/* Executions of a block before it is translated. A kernel's boot takes the same CPU time with anything from
 * 12 to 48, a shell that is started again and again least with 12. */
#define JIT_THRESHOLD 16u

/* A block is made for one privilege, since it names the slots of range.h that hold what that may access. */
#define JIT_KEY_USER (1ull << 63)

#define JIT_SIZES 7 /* accesses of 1 to 64 bytes */

struct jit_block {
	struct jit_block *next;    /* same hash */
	struct jit_block *in_page; /* next of the page's */
	uint64_t key;              /* guest-physical address | mode << 56 | JIT_KEY_USER */
	uint16_t start, end;       /* bytes of the page */
	bool dropped;
	uint8_t live_in;              /* status flags that it wants, as bits of EFLAGS' low byte and OF's */
	uint8_t *saved, *poll, *body; /* entries, to be written */
	uint8_t *stale_saved, *stale_native;
};

struct jit_page {
	struct jit_page *next;
	uint64_t gpa;
	struct jit_block *blocks;
};

enum jit_exit_kind {
	JIT_EXIT_PLAIN,    /* not to be linked: an interrupt, a dropped block */
	JIT_EXIT_PAGE,     /* to an instruction of this page */
	JIT_EXIT_CROSS,    /* to a known distance in another page; cpu->rip is set */
	JIT_EXIT_INDIRECT, /* likewise, to wherever */
};

/* A way out of a block. */
struct jit_exit {
	uint8_t kind;
	bool saved;      /* the jump that is linked leaves flags saved, not native */
	bool backward;   /* must go where attention is looked at */
	uint8_t undo;    /* INDIRECT: by how much RSP had grown (RET), should the target not be canonical */
	uint8_t insns;   /* guest instructions executed before it */
	uint8_t forward; /* instructions to be interpreted until flags are known again: nobody reads them
			    before */
	uint16_t off;    /* of the instruction that jumps */
	int32_t disp;    /* target less the page's address */
	uint8_t *jump;   /* the 32 bits to be patched; NULL: none */
	uint64_t key;    /* CROSS: the link is good while this is one of the CPU's link keys */
	uint64_t page;   /* CROSS: and this the block's page in linear memory */
};

/* A place where translated code calls C. */
/* A fill costs about as much as this many accesses by way of the TLB. Where it did not pay, the next one is
 * further away. */
#define JIT_PATIENCE_FIRST 4u
#define JIT_PATIENCE_LAST  256u

struct jit_site {
	uint16_t off; /* of the instruction */
	uint8_t len, size;
	bool write;
	bool aligned;     /* must be, or is the interpreter's: locked, or SSE's 16 bytes */
	bool flags_saved; /* cpu->jit_flags holds what the instruction may read */
	bool leave;       /* calls only: the block cannot go on behind it */
	bool ranged;      /* `slot` of range.h came first */
	uint16_t slot;
	uint32_t left;             /* misses of the slot here until it is filled anew */
	uint32_t patience;         /* what `left` is set to then: grows while fills do not pay */
	uint8_t index;             /* instructions of the block before it */
	const struct x86_insn *in; /* calls only; of an end NULL: it crosses the page, and is fetched anew */
};

/* For each slot of the op arena. */
struct jit_side {
	x86_op_fn *fn; /* the op's own handler, while op_count or op_jit stands in for it */
	struct jit_block *block;
	uint32_t count;
};

struct jit_verify {
	bool active; /* translated code is being tried */
	unsigned insns;
	unsigned count;
	struct jit_journal *journal; /* owned */
};

/* State that can live in host registers; bits of x86_jit_live.resume. */
enum jit_live {
	JIT_LIVE_XMM = 1u << 0,
	JIT_LIVE_YMM = 1u << 1,   /* with XMM */
	JIT_LIVE_FLOAT = 1u << 2, /* MXCSR; with XMM */
	JIT_LIVE_X87 = 1u << 3,
};
#define JIT_LIVE_KINDS 4u

struct x86_jit {
	struct code_memory memory;
	uint8_t *next;  /* where the next block is written */
	uint8_t *first; /* after the thunks */
	struct jit_exit *(*enter)(const void *body);
	const uint8_t *thunk_exit, *thunk_exit_native, *thunk_exit_rip, *thunk_access, *thunk_call,
		*thunk_end, *thunk_probe, *thunk_miss, *thunk_save, *thunk_resume,
		*thunk_live[JIT_LIVE_KINDS];
	uint32_t feature[X86_FEATURE_WORDS];    /* the host's */
	const uint8_t *thunk_tlb[2][JIT_SIZES]; /* read or write; size by its logarithm */
	uint8_t *pool;
	size_t pool_used;
	struct jit_side *side;
	uint64_t epoch; /* grows with every drop */
	bool verify;    /* blocks run one by one, unlinked */
	bool ranges;    /* accesses look into range.h first */
	unsigned verify_every;
	unsigned threshold;
	struct jit_verify trial;
	uint64_t count[JIT_COUNTERS];
	struct jit_block *hash[JIT_HASH_SIZE];
	struct jit_page *page[JIT_PAGE_HASH];
};

/* cpu->jit_flags from the six bits and back. */
static inline uint64_t jit_flags_pack(uint32_t status)
{
	return (uint64_t)(status & 0xd5) << 8 | !!(status & FLAG_OF);
}

static inline uint32_t jit_flags_unpack(uint64_t packed)
{
	return (uint32_t)(packed >> 8 & 0xd5) | ((packed & 1) ? FLAG_OF : 0);
}

/* The logarithm of a size, rounded up. */
static inline unsigned jit_size_log(unsigned size)
{
	unsigned log = 0;

	while ((1u << log) < size)
		log++;
	return log;
}

/* The key of a block that begins at this guest-physical address, as the CPU is now. */
static inline uint64_t jit_block_key(const struct x86_cpu *cpu, uint64_t gpa)
{
	return gpa | (uint64_t)x86_code_mode(cpu) << 56 | (cpu->tlb->class == TLB_USER ? JIT_KEY_USER : 0);
}

/* May the block run as the CPU is now? */
static inline bool jit_block_serves(const struct x86_cpu *cpu, const struct jit_block *block)
{
	return !block->dropped && !(block->key & JIT_KEY_USER) == !(cpu->tlb->class == TLB_USER);
}

/* The rw address of a piece of code as the address where it runs. */
static inline const uint8_t *jit_run_address(const struct x86_jit *jit, const uint8_t *rw)
{
	return code_memory_run(&jit->memory, rw);
}

/* Memory that lives until the next flush; NULL: full. */
void *jit_pool_take(struct x86_jit *jit, size_t size);
/* A live block, or NULL. */
struct jit_block *jit_block_find(struct x86_jit *jit, uint64_t key);
/* Makes a block known; false: no memory. */
bool jit_block_enter(struct x86_jit *jit, struct jit_block *block);

/* Writes the thunks of what lives in host registers. jit_live.c */
void jit_live_thunks_make(struct x86_cpu *cpu, struct asm_code *code);
/* Loads the x87; false: it must not be live. jit_x87.c */
bool x86_jit_x87_load(struct x86_cpu *cpu);
/* Appends the putting away of vectors and MXCSR, noted in jit_live.resume, and the loading of what is noted.
 * Flags are destroyed. jit_live.c */
void jit_live_emit_save(const struct x86_jit *jit, struct asm_code *code);
void jit_live_emit_resume(const struct x86_jit *jit, struct asm_code *code);
/* Writes the thunks at the beginning of the code memory. jit_thunk.c */
bool jit_thunks_make(struct x86_cpu *cpu);
/* Appends the saving of native flags, by way of r15. jit_thunk.c */
void jit_emit_save(struct asm_code *code);
/* Appends the look-up of the linear address in r13 in the TLB: r14 becomes the entry, r15 is destroyed.
 * Returns the jump that is taken when it misses. jit_thunk.c */
uint8_t *jit_emit_tlb(struct asm_code *code, unsigned size, bool write);
/* Appends the look-up of the linear address in r13 in the jump cache: goes there, or to `miss` with r13 and
 * r14 as found. Flags are saved. jit_thunk.c */
void jit_emit_probe(struct x86_cpu *cpu, struct asm_code *code, uint8_t *miss[2]);

/* Translates the code at a guest-physical address of RAM, which runs at linear. NULL: it is not worth it, or
 * *full is set. jit_translate.c */
struct jit_block *jit_translate(struct x86_cpu *cpu, uint64_t gpa, uint64_t linear, bool *full);

/* The translation at cpu->rip, of which the jump cache is told, with r[REG_RIP] set; NULL: there is none, or
 * the TLB does not know the page. jit_run.c */
const struct jit_block *jit_block_at_rip(struct x86_cpu *cpu);
/* Runs a block and follows its links; afterwards RIP, registers and flags are the CPU's. jit_run.c */
struct jit_exit *jit_execute(struct x86_cpu *cpu, const struct jit_block *block);
/* RIP after this exit (x86_jit_call and x86_jit_access have set it where exit is NULL). */
void jit_settle(struct x86_cpu *cpu, const struct jit_exit *exit);

/* Called by translated code. jit_call.c. x86_jit_access: a host address, 0: the instruction has been
 * executed, 1: and the block must be left. x86_jit_call: 0 or 1. */
uint64_t x86_jit_access(struct x86_cpu *cpu, struct jit_site *site, uint64_t linear);
uint64_t x86_jit_call(struct x86_cpu *cpu, const struct jit_site *site);
/* Host code of the next block, or 1: the run loop must go on. */
uint64_t x86_jit_end(struct x86_cpu *cpu, const struct jit_site *site);

/* Verify mode. jit_verify.c */
bool jit_verify_create(struct x86_jit *jit);
void jit_verify_destroy(struct x86_jit *jit);
/* Tries the block, takes everything back, and replays it in the interpreter, whose outcome stays. */
void jit_verify_run(struct x86_cpu *cpu, const struct jit_block *block);
/* A trial stops before this instruction: 1. */
uint64_t jit_verify_stop(struct x86_cpu *cpu, const struct jit_site *site);
/* The slow path of a trial: a host address whose bytes are remembered, or 1: stop before this instruction. */
uint64_t jit_verify_access(struct x86_cpu *cpu, const struct jit_site *site, uint64_t linear);
