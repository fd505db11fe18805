/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordinary integer instructions re-encoded: the opcode is the guest's own, its registers are renamed, and a
 * memory operand becomes [r13] after the check. The host gives the result and the flags. Guest registers
 * without a host register are operands in memory where rm allows it, and pass through r14 and r15 elsewhere.
 */
#include <cpuid.h>

#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/jit_emit.h"

/* An instruction as it is to be encoded. Guest numbers are REG_ZERO where there is nothing to do. */
struct plain {
	struct asm_op op;
	struct asm_rm rm;
	bool modrm, memory;
	uint8_t reg_guest; /* goes through r14 */
	uint8_t via_guest; /* goes through r15: VEX.vvvv, or rm where memory will not do */
	bool reg_load, reg_store, via_store;
	unsigned imm_size;
	bool high; /* names AH, CH, DH or BH */
};

static char letter(const struct x86_row *row, unsigned i)
{
	return row->operand[i] ? x86_operand_letter(row->operand[i]) : 0;
}

static bool is_byte(const struct x86_row *row, unsigned i)
{
	return x86_operand_names[row->operand[i]][1] == 'b';
}

static bool is_high(const struct x86_insn *in, unsigned reg)
{
	return !in->rex && in->encoding == X86_ENC_LEGACY && reg >= 4 && reg < 8;
}

static unsigned fast_of(const struct x86_insn *in)
{
	return x86_rows[in->row].fast;
}

static bool is_bit_test(unsigned fast)
{
	return fast == X86_FAST_BT || fast == X86_FAST_BTS || fast == X86_FAST_BTR || fast == X86_FAST_BTC;
}

/* F2 and F3 that are part of the opcode; others mean nothing here. */
static uint8_t mandatory_rep(const struct x86_insn *in)
{
	switch (fast_of(in)) {
	case X86_FAST_POPCNT:
	case X86_FAST_LZCNT:
	case X86_FAST_TZCNT:
	case X86_FAST_ADOX: return 0xf3;
	default: break;
	}
	if (in->encoding == X86_ENC_LEGACY || in->rep == X86_REP_NONE)
		return 0;
	return in->rep == X86_REP_F2 ? 0xf2 : 0xf3;
}

/* The register that ModRM.reg names. */
static void describe_reg(struct plain *p, const struct x86_insn *in, bool byte)
{
	unsigned fast = fast_of(in);

	if (byte && is_high(in, in->reg)) {
		p->high = true;
		p->op.reg = in->reg;
		return;
	}
	p->op.reg = jit_host(in->reg);
	if (byte && in->reg >= 4 && in->reg < 8)
		p->op.force_rex = true;
	if (p->op.reg != ASM_NONE)
		return;
	p->op.reg = ASM_R14;
	p->reg_guest = in->reg;
	p->reg_load = true;
	p->reg_store = fast == X86_FAST_XCHG || fast == X86_FAST_XADD || fast == X86_FAST_MULX;
}

/* The register or memory that ModRM.rm names. */
static void describe_rm(struct plain *p, const struct x86_insn *in, bool byte)
{
	unsigned fast = fast_of(in);
	bool written;

	if (in->mod != 3) {
		p->memory = true;
		p->rm = asm_rm_mem(ASM_R13, 0);
		return;
	}
	if (byte && is_high(in, in->rm)) {
		p->high = true;
		p->rm = asm_rm_reg(in->rm);
		return;
	}
	p->rm = jit_rm(in->rm);
	if (byte && in->rm >= 4 && in->rm < 8)
		p->op.force_rex = true;
	/* In memory 32 bits are not extended, a bit's number counts beyond the operand, XCHG is locked. */
	written = x86_rows[in->row].mem_access & 2;
	if (p->rm.kind == ASM_RM_GS && ((written && in->opsize == 4) || is_bit_test(fast) ||
					fast == X86_FAST_XCHG || fast == X86_FAST_XADD)) {
		p->rm = asm_rm_reg(ASM_R15);
		p->via_guest = in->rm;
		p->via_store = written;
	}
}

static void describe_vvvv(struct plain *p, const struct x86_insn *in, bool written)
{
	p->op.vvvv = jit_host(in->vex_vvvv);
	if (p->op.vvvv != ASM_NONE)
		return;
	p->op.vvvv = ASM_R15;
	p->via_guest = in->vex_vvvv;
	p->via_store = written;
}

static void describe_operand(struct plain *p, const struct x86_insn *in, unsigned i)
{
	const struct x86_row *row = &x86_rows[in->row];

	switch (letter(row, i)) {
	case 'G':
		describe_reg(p, in, is_byte(row, i));
		if (i == 0 && p->reg_guest != REG_ZERO)
			p->reg_store = true;
		break;
	case 'E':
	case 'M': describe_rm(p, in, is_byte(row, i)); break;
	case 'B': describe_vvvv(p, in, i == 0 || row->fast == X86_FAST_MULX); break;
	case 'I':
		p->imm_size = x86_operand_names[row->operand[i]][1] == 'z' ? (in->opsize < 4 ? 2 : 4) : 1;
		break;
	case 's': p->imm_size = 1; break;
	default: break;
	}
}

static void describe(struct plain *p, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	bool vex = in->encoding == X86_ENC_VEX;

	*p = (struct plain){
		.op = {.opcode = in->opcode,
		       .map = in->map,
		       .reg = in->reg & 7,
		       .w = in->opsize == 8,
		       .lock = in->lock,
		       .prefix66 = vex ? in->prefix66 : in->opsize == 2 || row->fast == X86_FAST_ADCX,
		       .rep = mandatory_rep(in),
		       .vex = vex,
		       .vex_l = in->vex_l},
		.modrm = in->has_modrm,
		.reg_guest = REG_ZERO,
		.via_guest = REG_ZERO,
	};
	for (unsigned i = 0; i < 4 && row->operand[i]; i++)
		describe_operand(p, in, i);
}

/* Does the host have what the instruction needs? The guest's CPU may have more. */
static bool host_has(unsigned feature)
{
	unsigned a, b, c, d;

	switch (feature) {
	case X86_FEATURE_POPCNT: return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_POPCNT);
	case X86_FEATURE_MOVBE: return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_MOVBE);
	case X86_FEATURE_LZCNT: return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
	case X86_FEATURE_BMI1: return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_BMI);
	case X86_FEATURE_BMI2: return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_BMI2);
	case X86_FEATURE_ADX: return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_ADX);
	default: return true;
	}
}

/* Operations whose encoding says it all. */
static bool is_plain_modrm(unsigned fast)
{
	switch (fast) {
	case X86_FAST_ADD:
	case X86_FAST_OR:
	case X86_FAST_ADC:
	case X86_FAST_SBB:
	case X86_FAST_AND:
	case X86_FAST_SUB:
	case X86_FAST_XOR:
	case X86_FAST_CMP:
	case X86_FAST_TEST:
	case X86_FAST_NOT:
	case X86_FAST_NEG:
	case X86_FAST_INC:
	case X86_FAST_DEC:
	case X86_FAST_MOV:
	case X86_FAST_XCHG:
	case X86_FAST_XADD:
	case X86_FAST_CMPXCHG:
	case X86_FAST_ROL:
	case X86_FAST_ROR:
	case X86_FAST_RCL:
	case X86_FAST_RCR:
	case X86_FAST_SHL:
	case X86_FAST_SHR:
	case X86_FAST_SAR:
	case X86_FAST_SHLD:
	case X86_FAST_SHRD:
	case X86_FAST_MUL:
	case X86_FAST_IMUL:
	case X86_FAST_IMUL1:
	case X86_FAST_MOVZX:
	case X86_FAST_MOVSX:
	case X86_FAST_MOVSXD:
	case X86_FAST_BT:
	case X86_FAST_BTS:
	case X86_FAST_BTR:
	case X86_FAST_BTC:
	case X86_FAST_BSF:
	case X86_FAST_BSR:
	case X86_FAST_LZCNT:
	case X86_FAST_TZCNT:
	case X86_FAST_POPCNT:
	case X86_FAST_MOVBE:
	case X86_FAST_MOVNTI:
	case X86_FAST_ADCX:
	case X86_FAST_ADOX:
	case X86_FAST_SETCC:
	case X86_FAST_CMOVCC:
	case X86_FAST_ANDN:
	case X86_FAST_BEXTR:
	case X86_FAST_BLSI:
	case X86_FAST_BLSMSK:
	case X86_FAST_BLSR:
	case X86_FAST_BZHI:
	case X86_FAST_MULX:
	case X86_FAST_PDEP:
	case X86_FAST_PEXT:
	case X86_FAST_RORX:
	case X86_FAST_SARX:
	case X86_FAST_SHLX:
	case X86_FAST_SHRX: return true;
	default: return false;
	}
}

/* Opcodes without ModRM that are copied: the accumulator with an immediate, and those without operands. */
static bool is_plain_short(const struct x86_insn *in)
{
	switch (fast_of(in)) {
	case X86_FAST_ADD:
	case X86_FAST_OR:
	case X86_FAST_ADC:
	case X86_FAST_SBB:
	case X86_FAST_AND:
	case X86_FAST_SUB:
	case X86_FAST_XOR:
	case X86_FAST_CMP:
	case X86_FAST_TEST:
	case X86_FAST_CBW:
	case X86_FAST_CWDE:
	case X86_FAST_CDQE:
	case X86_FAST_CWD:
	case X86_FAST_CDQ:
	case X86_FAST_CQO:
	case X86_FAST_CLC:
	case X86_FAST_STC:
	case X86_FAST_CMC:
	case X86_FAST_LAHF:
	case X86_FAST_SAHF:
	case X86_FAST_NOP:
	case X86_FAST_PAUSE: return true;
	case X86_FAST_MOV: return in->opcode >= 0xb0 && in->opcode <= 0xbf;
	case X86_FAST_BSWAP: return in->opsize >= 4;
	case X86_FAST_XCHG: return true;
	default: return false;
	}
}

static bool accepts_modrm(const struct x86_insn *in)
{
	unsigned fast = fast_of(in);
	struct plain p;

	if (in->mod != 3 && !jit_address_fits(in))
		return false;
	if (fast == X86_FAST_NOP || fast == X86_FAST_LFENCE || fast == X86_FAST_MFENCE ||
	    fast == X86_FAST_SFENCE)
		return true;
	if (fast == X86_FAST_LEA)
		return in->opsize >= 4;
	if (!is_plain_modrm(fast) || !host_has(x86_rows[in->row].feature))
		return false;
	if (fast == X86_FAST_MOVSXD && in->opsize != 8)
		return false;
	if (is_bit_test(fast) && in->mod != 3 && in->opcode != 0xba)
		return false;
	describe(&p, in);
	return !p.high || !asm_needs_rex(&p.op, &p.rm);
}

bool jit_plain_accepts(const struct x86_insn *in)
{
	return in->has_modrm ? accepts_modrm(in) : is_plain_short(in);
}

static void emit_lea(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	struct jit_insn plain = *insn;
	uint8_t dst = jit_host(in->reg);

	plain.in.seg = SEG_FLAT; /* only the offset is computed */
	if (dst != ASM_NONE && in->opsize == in->addrsize) {
		jit_address_to(t, &plain, dst);
		return;
	}
	jit_address(t, &plain);
	asm_mov_rr(&t->code, in->opsize == 8, dst != ASM_NONE ? dst : ASM_R13, ASM_R13);
	if (dst == ASM_NONE)
		asm_store(&t->code, true, jit_rm(in->reg), ASM_R13);
}

static uint64_t immediate(const struct x86_insn *in)
{
	return in->opsize == 8 ? in->imm : in->imm & ((1ull << (8 * in->opsize)) - 1);
}

/* MOV register, immediate. */
static void emit_mov_imm(struct jit_translation *t, const struct x86_insn *in)
{
	unsigned guest = (in->opcode & 7u) | (in->rex & 1u) << 3;
	struct asm_op op = {.opcode = in->opsize == 1 ? 0xc6 : 0xc7, .prefix66 = in->opsize == 2};
	struct asm_rm rm = jit_rm(guest);

	if (in->opsize >= 4) {
		uint8_t host = jit_host(guest);

		asm_mov_imm64(&t->code, host == ASM_NONE ? ASM_R14 : host, immediate(in));
		if (host == ASM_NONE)
			asm_store(&t->code, true, rm, ASM_R14);
		return;
	}
	if (in->opsize == 1 && is_high(in, guest))
		rm = asm_rm_reg(guest); /* AH and kin need no REX here */
	else if (in->opsize == 1 && guest >= 4 && guest < 8)
		op.force_rex = true;
	asm_insn(&t->code, &op, &rm);
	asm_imm(&t->code, in->imm, in->opsize);
}

static void emit_bswap(struct jit_translation *t, const struct x86_insn *in)
{
	unsigned guest = (in->opcode & 7u) | (in->rex & 1u) << 3;
	uint8_t host = jit_host(guest);

	if (host == ASM_NONE)
		asm_load(&t->code, true, host = ASM_R14, jit_rm(guest));
	asm_byte(&t->code, (uint8_t)(0x40 | (in->opsize == 8 ? 8 : 0) | (host & 8 ? 1 : 0)));
	asm_byte(&t->code, 0x0f);
	asm_byte(&t->code, (uint8_t)(0xc8 | (host & 7)));
	if (jit_host(guest) == ASM_NONE)
		asm_store(&t->code, true, jit_rm(guest), ASM_R14);
}

/* XCHG with the accumulator. */
static void emit_xchg_rax(struct jit_translation *t, const struct x86_insn *in)
{
	unsigned guest = (in->opcode & 7u) | (in->rex & 1u) << 3;
	uint8_t host = jit_host(guest);
	struct asm_op op = {
		.opcode = 0x87, .w = in->opsize == 8, .prefix66 = in->opsize == 2, .reg = ASM_RAX};
	struct asm_rm rm = asm_rm_reg(host == ASM_NONE ? ASM_R14 : host);

	if (host == ASM_NONE)
		asm_load(&t->code, true, ASM_R14, jit_rm(guest));
	asm_insn(&t->code, &op, &rm);
	if (host == ASM_NONE)
		asm_store(&t->code, true, jit_rm(guest), ASM_R14);
}

static void emit_short(struct jit_translation *t, const struct x86_insn *in)
{
	unsigned fast = fast_of(in);
	struct plain p;

	if (fast == X86_FAST_MOV) {
		emit_mov_imm(t, in);
	} else if (fast == X86_FAST_BSWAP) {
		emit_bswap(t, in);
	} else if (fast == X86_FAST_XCHG) {
		emit_xchg_rax(t, in);
	} else if (fast == X86_FAST_PAUSE) {
		asm_byte(&t->code, 0xf3);
		asm_byte(&t->code, 0x90);
	} else if (fast != X86_FAST_NOP) {
		describe(&p, in);
		if (p.op.prefix66)
			asm_byte(&t->code, 0x66);
		if (p.op.w)
			asm_byte(&t->code, 0x48);
		asm_byte(&t->code, in->opcode);
		asm_imm(&t->code, in->imm, p.imm_size);
	}
}

static void emit_modrm(struct jit_translation *t, const struct jit_insn *insn, const struct plain *p)
{
	struct asm_code *code = &t->code;

	if (p->reg_guest != REG_ZERO && p->reg_load)
		asm_load(code, true, ASM_R14, jit_rm(p->reg_guest));
	if (p->via_guest != REG_ZERO)
		asm_load(code, true, ASM_R15, jit_rm(p->via_guest));
	asm_insn(code, &p->op, &p->rm);
	asm_imm(code, insn->in.imm, p->imm_size);
	/* Should both be one register, the sum of XADD stays, and the high half of MULX. */
	if (p->op.vex && p->via_guest != REG_ZERO && p->via_store)
		asm_store(code, true, jit_rm(p->via_guest), ASM_R15);
	if (p->reg_guest != REG_ZERO && p->reg_store)
		asm_store(code, true, jit_rm(p->reg_guest), ASM_R14);
	if (!p->op.vex && p->via_guest != REG_ZERO && p->via_store)
		asm_store(code, true, jit_rm(p->via_guest), ASM_R15);
}

static unsigned access_size(const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	return row->mem_size ? row->mem_size : in->opsize;
}

void jit_plain_emit(struct jit_translation *t, const struct jit_insn *insn)
{
	const struct x86_insn *in = &insn->in;
	const struct x86_row *row = &x86_rows[in->row];
	uint32_t wanted = jit_flags_wanted(insn);
	struct plain p;

	if (row->fast == X86_FAST_LEA) {
		emit_lea(t, insn);
		return;
	}
	if (row->fast == X86_FAST_NOP && in->has_modrm)
		return;
	describe(&p, in);
	if (row->fast == X86_FAST_LFENCE || row->fast == X86_FAST_MFENCE || row->fast == X86_FAST_SFENCE) {
		asm_insn(&t->code, &p.op, &(struct asm_rm){.kind = ASM_RM_REG});
		return;
	}
	if (p.memory) {
		jit_flags_spare(t, wanted);
		jit_address(t, insn);
		jit_check(t, insn, access_size(in), row->mem_access & 2);
	}
	if (insn->read || (insn->may && wanted))
		jit_flags_need(t);
	if (in->has_modrm)
		emit_modrm(t, insn, &p);
	else
		emit_short(t, in);
	if (insn->may)
		jit_flags_made(t);
}
