/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of the translator: jit_translate.c scans a block and walks it, jit_plain.c re-encodes
 * ordinary instructions, jit_stack.c and jit_branch.c make those that need more, jit_vector.c and jit_live.c
 * those on vectors, jit_memory.c makes memory accesses and flags. jit_cache.h has the conventions of the code
 * they make.
 */
#pragma once

#include "insn_gen.h"
#include "tcg-fallback/x86/jit_cache.h"

#define JIT_FIELD(name_) asm_rm_gs(offsetof(struct x86_cpu, name_))

enum jit_flags_state { JIT_FLAGS_NATIVE, JIT_FLAGS_SAVED, JIT_FLAGS_DEAD };

struct jit_insn {
	struct x86_insn in;
	uint16_t off;
	uint8_t kind;       /* enum jit_kind */
	uint8_t live_kinds; /* JIT_LIVE_* that it works on */
	uint32_t read, must, may,
		live; /* status flags: read, surely and possibly written, wanted afterwards */
};

enum jit_kind {
	JIT_PLAIN,    /* jit_plain.c */
	JIT_STACK,    /* jit_stack.c */
	JIT_DIVIDE,   /* jit_divide.c */
	JIT_VECTOR,   /* jit_vector.c */
	JIT_AVX,      /* jit_avx.c */
	JIT_X87,      /* jit_x87.c */
	JIT_SYSTEM,   /* jit_system.c */
	JIT_BRANCH,   /* jit_branch.c */
	JIT_END,      /* the last instruction, in the interpreter, which finds where to go on */
	JIT_CROSSING, /* likewise, of two pages */
	JIT_CALL,     /* one instruction in the interpreter */
	JIT_STOP,     /* the block ends before it */
};

#define JIT_STUBS_MAX (JIT_BLOCK_INSNS * 4)
#define JIT_EXITS_MAX (JIT_BLOCK_INSNS * 2 + 4)

/* The slow half of an access, to be written after the block. */
struct jit_stub {
	uint8_t *jump[2]; /* to be bound to it; may be NULL */
	uint8_t *ranged;  /* to be bound to a look into the TLB before it; NULL: none */
	uint8_t *direct;  /* where to go with r13 the host's address */
	uint8_t *done;    /* where to go when the instruction has been executed */
	struct jit_site *site;
	bool restore; /* flags are native there */
	bool call;    /* the instruction is left to the interpreter: there is no access to be made good */
	const uint8_t *load; /* the thunk that loads what is not live, to go on at `direct`; else as `call` */
	bool load_spares;    /* flags are native and wanted */
};

/* A jump out of the block, whose code is to be written after it. */
struct jit_pending {
	uint8_t *jump;
	struct jit_exit *exit;
};

struct jit_translation {
	struct x86_cpu *cpu;
	struct x86_jit *jit;
	struct asm_code code;
	struct jit_block *block;
	unsigned mode;
	bool user;   /* the code of CPL 3 */
	bool failed; /* no memory for something */
	enum jit_flags_state flags;
	bool flags_kept;    /* native, and what is saved is still the same */
	unsigned live;      /* JIT_LIVE_* that the code has made sure of */
	bool x87_paged;     /* the code has noted its page in jit_live.x87_page */
	unsigned count, at; /* instructions, and the one being made */
	struct jit_insn insn[JIT_BLOCK_INSNS];
	unsigned stubs, exits;
	struct jit_stub stub[JIT_STUBS_MAX];
	struct jit_pending exit[JIT_EXITS_MAX];
};

/* Tells a translation that was just made: jit_trace.c. */
void jit_trace_block(const struct jit_translation *t, uint64_t gpa, uint64_t linear);

/* Whether jit_plain.c can re-encode it; never for jumps. */
bool jit_plain_accepts(const struct x86_insn *in);
void jit_plain_emit(struct jit_translation *t, const struct jit_insn *insn);
bool jit_stack_accepts(const struct x86_insn *in);
void jit_stack_emit(struct jit_translation *t, const struct jit_insn *insn);
bool jit_divide_accepts(const struct x86_insn *in);
void jit_divide_emit(struct jit_translation *t, const struct jit_insn *insn);
bool jit_vector_accepts(const struct x86_jit *jit, const struct x86_insn *in);
/* JIT_LIVE_* of an instruction that it accepts. */
unsigned jit_vector_kinds(const struct x86_insn *in);
void jit_vector_emit(struct jit_translation *t, const struct jit_insn *insn);
bool jit_avx_accepts(const struct x86_jit *jit, const struct x86_insn *in);
/* JIT_LIVE_* that it wants. */
unsigned jit_avx_kinds(const struct x86_insn *in);
void jit_avx_emit(struct jit_translation *t, const struct jit_insn *insn);
bool jit_x87_accepts(const struct x86_insn *in);
void jit_x87_emit(struct jit_translation *t, const struct jit_insn *insn);
/* The status flags that it writes, all of them or none, and reads. */
uint32_t jit_x87_flags(const struct x86_insn *in, uint32_t *read);
bool jit_system_accepts(const struct x86_jit *jit, const struct x86_cpu *cpu, const struct x86_insn *in);
void jit_system_emit(struct jit_translation *t, const struct jit_insn *insn);
/* STI holds interrupts back during the instruction after it; behind that one the code must look for them. */
bool jit_system_is_sti(const struct x86_insn *in);
/* Leaves behind the instruction being made when something wants attention. */
void jit_system_poll(struct jit_translation *t, const struct jit_insn *insn);
bool jit_branch_accepts(const struct x86_insn *in);
void jit_branch_emit(struct jit_translation *t, const struct jit_insn *insn);

/* Guest registers: in a host register (ASM_NONE: r12 to r15 are not), and as operands. */
static inline uint8_t jit_host(unsigned guest)
{
	if (guest == REG_RSP)
		return ASM_R12;
	return guest < REG_R12 ? (uint8_t)guest : ASM_NONE;
}

static inline struct asm_rm jit_rm(unsigned guest)
{
	if (jit_host(guest) != ASM_NONE)
		return asm_rm_reg(jit_host(guest));
	return asm_rm_gs(offsetof(struct x86_cpu, r) + 8 * guest);
}

/* Flags, by way of r15. */
void jit_flags_save(struct jit_translation *t);
void jit_flags_restore(struct jit_translation *t);
/* What follows destroys native flags: saves them when somebody wants them. */
void jit_flags_spare(struct jit_translation *t, uint32_t wanted);
/* What follows needs native flags. */
void jit_flags_need(struct jit_translation *t);
/* New flags have been made. */
static inline void jit_flags_made(struct jit_translation *t)
{
	t->flags = JIT_FLAGS_NATIVE;
	t->flags_kept = false;
}
/* The flags that the instruction needs from before it: read, or passed on. */
static inline uint32_t jit_flags_wanted(const struct jit_insn *insn)
{
	return insn->read | (insn->live & ~insn->must);
}

/* r13, or another register, = linear address of the memory operand. Flags are destroyed where FS or GS has a
 * part in it. */
void jit_address_to(struct jit_translation *t, const struct jit_insn *insn, unsigned dst);
void jit_address(struct jit_translation *t, const struct jit_insn *insn);
bool jit_address_fits(const struct x86_insn *in);
/* r13 becomes the host's address for an access at linear address r13; r14 and r15 are destroyed. */
void jit_check(struct jit_translation *t, const struct jit_insn *insn, unsigned size, bool write);

/* A site of an instruction that the interpreter executes; NULL: no memory. */
struct jit_site *jit_call_site(struct jit_translation *t, const struct jit_insn *insn);
/* A stub that leaves the instruction to it, for the jumps that are then bound to it; NULL: no memory. */
struct jit_stub *jit_call_stub(struct jit_translation *t, const struct jit_insn *insn);

/* Makes sure that the state lives in host registers; the interpreter executes the instruction, and the block
 * is left, where it must not. Flags that the instruction wants are spared; r13 to r15 are destroyed. */
void jit_live_need(struct jit_translation *t, const struct jit_insn *insn, enum jit_live kind);

/* A way out; where jump is NULL none is linked. */
struct jit_exit *jit_exit_make(struct jit_translation *t, enum jit_exit_kind kind, int32_t disp,
			       unsigned insns);
/* Jumps, conditionally where cond < 16, to an instruction `disp` from the page's address. */
void jit_leave(struct jit_translation *t, unsigned cond, int32_t disp, unsigned insns);
/* Goes to the linear address in r13. Flags are saved. */
void jit_leave_indirect(struct jit_translation *t, const struct jit_insn *insn, unsigned undo);
/* The code that the jumps above wait for. */
void jit_exits_emit(struct jit_translation *t);
void jit_stubs_emit(struct jit_translation *t);
