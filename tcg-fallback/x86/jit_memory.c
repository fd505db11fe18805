/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flags and memory accesses of translated code. An access looks into the TLB; where that does not serve it,
 * it calls C. With --mmu ranges it looks into its slot of range.h first, and into the TLB out of line.
 */
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/jit_emit.h"

#define RANGE_CODE_BITS 6 /* a line of code */

void jit_flags_save(struct jit_translation *t)
{
	jit_emit_save(&t->code);
}

/* add al, 0x7f gives OF back: it overflows when AL is 1. */
void jit_flags_restore(struct jit_translation *t)
{
	static const uint8_t add_sahf[] = {0x04, 0x7f, 0x9e};
	struct asm_op load = {.opcode = 0xb7, .map = 1, .reg = ASM_RAX};
	struct asm_rm flags = JIT_FIELD(jit_flags);

	asm_mov_rr(&t->code, true, ASM_R15, ASM_RAX);
	asm_insn(&t->code, &load, &flags);
	for (unsigned i = 0; i < sizeof(add_sahf); i++)
		asm_byte(&t->code, add_sahf[i]);
	asm_mov_rr(&t->code, true, ASM_RAX, ASM_R15);
}

void jit_flags_spare(struct jit_translation *t, uint32_t wanted)
{
	if (t->flags == JIT_FLAGS_NATIVE && t->flags_kept)
		t->flags = JIT_FLAGS_SAVED;
	if (t->flags == JIT_FLAGS_SAVED)
		return;
	if (t->flags == JIT_FLAGS_NATIVE && wanted) {
		jit_flags_save(t);
		t->flags = JIT_FLAGS_SAVED;
	} else {
		t->flags = JIT_FLAGS_DEAD;
	}
}

void jit_flags_need(struct jit_translation *t)
{
	if (t->flags == JIT_FLAGS_SAVED) {
		jit_flags_restore(t);
		t->flags_kept = true;
	}
	t->flags = JIT_FLAGS_NATIVE;
}

/* RIP-relative displacements count from the page; r[REG_PAGE] takes part where they do not fit. */
static int64_t displacement(const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;

	return in->base == REG_RIP ? in->disp + insn->off + in->len : in->disp;
}

bool jit_address_fits(const struct x86_insn *in)
{
	int64_t slack = 2 * (int64_t)PAGE_SIZE;

	if (in->addrsize < 4)
		return false;
	return in->disp >= INT32_MIN + slack && in->disp <= INT32_MAX - slack;
}

/* A base or index in a host register, loaded into r13 or r14 when it has none. */
static uint8_t address_register(struct jit_translation *t, unsigned guest, unsigned scratch)
{
	if (guest == REG_ZERO)
		return ASM_NONE;
	if (guest != REG_RIP && jit_host(guest) != ASM_NONE)
		return jit_host(guest);
	asm_load(&t->code, true, scratch, asm_rm_gs(offsetof(struct x86_cpu, r) + 8 * guest));
	return (uint8_t)scratch;
}

void jit_address_to(struct jit_translation *t, const struct jit_insn *insn, unsigned dst)
{
	const struct x86_insn *in = &insn->in;
	bool wide = in->addrsize == 8;
	struct asm_rm ea = {.kind = ASM_RM_MEM, .scale = in->scale, .disp = (int32_t)displacement(insn)};

	ea.base = address_register(t, in->base, ASM_R13);
	ea.index = address_register(t, in->index, ASM_R14);
	if (ea.base == ASM_NONE && ea.index == ASM_NONE)
		asm_mov_imm64(&t->code, dst, wide ? (uint64_t)(int64_t)ea.disp : (uint32_t)ea.disp);
	else
		asm_lea(&t->code, wide, dst, ea);
	if (in->seg == SEG_FS || in->seg == SEG_GS)
		asm_alu_rm(&t->code, ASM_ADD, true, dst, JIT_FIELD(seg[in->seg].base));
}

void jit_address(struct jit_translation *t, const struct jit_insn *insn)
{
	jit_address_to(t, insn, ASM_R13);
}

static struct jit_site *site_make(struct jit_translation *t, const struct jit_insn *insn)
{
	struct jit_site *site = jit_pool_take(t->jit, sizeof(*site));

	if (!site) {
		t->failed = true;
		return NULL;
	}
	*site = (struct jit_site){
		.off = insn->off,
		.len = insn->in.len,
		.index = (uint8_t)t->at,
		.flags_saved = t->flags == JIT_FLAGS_SAVED,
	};
	return site;
}

struct jit_site *jit_call_site(struct jit_translation *t, const struct jit_insn *insn)
{
	struct jit_site *site = site_make(t, insn);
	struct x86_insn *in = jit_pool_take(t->jit, sizeof(*in));

	if (!site || !in) {
		t->failed = true;
		return NULL;
	}
	*in = insn->in;
	site->in = in;
	return site;
}

struct jit_stub *jit_call_stub(struct jit_translation *t, const struct jit_insn *insn)
{
	struct jit_site *site = jit_call_site(t, insn);
	struct jit_stub *stub = &t->stub[t->stubs];

	if (!site)
		return NULL;
	*stub = (struct jit_stub){.site = site, .call = true};
	t->stubs++;
	return stub;
}

/* The code of a line is about the same things by the same registers. Any slot would be right. */
static unsigned range_hashed(const struct jit_translation *t, const struct jit_insn *insn, unsigned base)
{
	uint64_t line = ((t->block->key & PAGE_MASK) + insn->off) >> RANGE_CODE_BITS;
	uint64_t hash = (line << 5 | base) * 0x9e3779b97f4a7c15ull >> 32;

	return RANGE_HASHED + (unsigned)(hash * (RANGE_SET - RANGE_HASHED) >> 32);
}

/* The kernel's way in has a stack of its own. */
static unsigned range_stack(const struct jit_translation *t)
{
	return RANGE_STACK + (t->block->key >> PAGE_BITS) % RANGE_STACKS;
}

/* Which slot serves best. */
static unsigned range_base(const struct jit_translation *t, const struct jit_insn *insn, bool write)
{
	const struct x86_insn *in = &insn->in;

	switch (insn->kind == JIT_STACK || insn->kind == JIT_BRANCH ? x86_rows[in->row].fast : 0) {
	case X86_FAST_PUSH:
	case X86_FAST_CALL:
	case X86_FAST_CALL_IND:
		if (write)
			return range_stack(t);
		break;
	case X86_FAST_POP:
	case X86_FAST_RET: return range_stack(t);
	case X86_FAST_LEAVE: return range_hashed(t, insn, REG_RBP);
	default: break;
	}
	if (in->seg == SEG_FS || in->seg == SEG_GS)
		return in->seg == SEG_FS ? RANGE_FS : RANGE_GS;
	if (in->base == REG_RSP)
		return range_stack(t);
	return range_hashed(t, insn, in->base == REG_ZERO ? in->index : in->base);
}

/* r13 becomes the host's address where the slot serves it; where to jump to else. */
static uint8_t *check_range(struct jit_translation *t, unsigned slot, unsigned size)
{
	struct asm_code *code = &t->code;
	uint8_t *miss;

	asm_mov_rr(code, true, ASM_R14, ASM_R13);
	asm_alu_rm(code, ASM_ADD, true, ASM_R14, JIT_FIELD(range.slot[slot].neg_low));
	asm_alu_rm(code, ASM_CMP, true, ASM_R14, JIT_FIELD(range.slot[slot].limit[size > RANGE_SHORT]));
	miss = asm_jcc(code, ASM_AE);
	asm_alu_rm(code, ASM_ADD, true, ASM_R13, JIT_FIELD(range.slot[slot].delta));
	return miss;
}

/* Likewise by the TLB. */
static uint8_t *check_tlb(struct jit_translation *t, unsigned size, bool write)
{
	uint8_t *miss = jit_emit_tlb(&t->code, size, write);

	asm_alu_rm(&t->code, ASM_ADD, true, ASM_R13,
		   asm_rm_mem(ASM_R14, offsetof(struct x86_tlb_entry, addend)));
	return miss;
}

void jit_check(struct jit_translation *t, const struct jit_insn *insn, unsigned size, bool write)
{
	struct asm_code *code = &t->code;
	struct jit_stub *stub = &t->stub[t->stubs];
	struct jit_site *site = site_make(t, insn);

	if (!site)
		return;
	site->size = (uint8_t)size;
	site->write = write;
	site->aligned = insn->in.lock || (x86_rows[insn->in.row].properties & X86_PROP_ALIGN16);
	site->slot = (uint16_t)x86_range_slot(t->user, write, range_base(t, insn, write));
	site->ranged =
		t->jit->ranges && size <= RANGE_LONG && (t->user || site->slot % RANGE_SET < RANGE_HASHED);
	site->left = site->patience = JIT_PATIENCE_FIRST;
	*stub = (struct jit_stub){.site = site};
	t->stubs++;
	if (site->aligned && size > 1) {
		struct asm_op test = {.opcode = 0xf6};
		struct asm_rm r13 = asm_rm_reg(ASM_R13);

		asm_insn(code, &test, &r13);
		asm_byte(code, (uint8_t)(size - 1));
		stub->jump[1] = asm_jcc(code, ASM_NE);
	}
	if (site->ranged)
		stub->ranged = check_range(t, site->slot, size);
	else
		stub->jump[0] = check_tlb(t, size, write);
	stub->direct = code->at;
}

/* The slot did not serve: the TLB, but now and then C, which fills the slot. */
static void emit_after_range(struct jit_translation *t, const struct jit_stub *stub)
{
	struct asm_op dec = {.opcode = 0xff, .reg = 1};
	struct asm_rm left = asm_rm_mem(ASM_R14, offsetof(struct jit_site, left));
	uint8_t *fill;

	if (t->code.overflow)
		return;
	asm_bind(stub->ranged, t->code.at);
	asm_mov_imm64(&t->code, ASM_R14, (uintptr_t)stub->site);
	asm_insn(&t->code, &dec, &left);
	fill = asm_jcc(&t->code, ASM_E);
	asm_call_to(&t->code, t->jit->thunk_tlb[stub->site->write][jit_size_log(stub->site->size)]);
	asm_jcc_to(&t->code, ASM_E, stub->direct);
	if (!t->code.overflow)
		asm_bind(fill, t->code.at);
}

static void bind(struct jit_translation *t, uint8_t *jump)
{
	if (jump && !t->code.overflow)
		asm_bind(jump, t->code.at);
}

/* The thunk comes back behind the jump where the interpreter must execute the instruction; the call then
 * leaves the block. */
static void load_stub_emit(struct jit_translation *t, const struct jit_stub *stub)
{
	struct asm_code *code = &t->code;
	uint8_t *loaded;

	bind(t, stub->jump[0]);
	if (stub->load_spares)
		jit_flags_save(t);
	asm_call_to(code, stub->load);
	loaded = asm_jmp(code);
	asm_mov_imm64(code, ASM_R14, (uintptr_t)stub->site);
	asm_call_to(code, t->jit->thunk_call);
	bind(t, loaded);
	if (stub->load_spares)
		jit_flags_restore(t);
	asm_jmp_to(code, stub->direct);
}

void jit_stubs_emit(struct jit_translation *t)
{
	struct asm_code *code = &t->code;

	for (unsigned i = 0; i < t->stubs; i++) {
		const struct jit_stub *stub = &t->stub[i];

		if (stub->load) {
			load_stub_emit(t, stub);
			continue;
		}
		if (stub->ranged)
			emit_after_range(t, stub);
		bind(t, stub->jump[0]);
		bind(t, stub->jump[1]);
		asm_mov_imm64(code, ASM_R14, (uintptr_t)stub->site);
		asm_call_to(code, stub->call ? t->jit->thunk_call : t->jit->thunk_access);
		asm_jmp_to(code, stub->call ? stub->done : stub->direct);
		if (stub->restore)
			jit_flags_restore(t);
		asm_jmp_to(code, stub->done);
	}
}
