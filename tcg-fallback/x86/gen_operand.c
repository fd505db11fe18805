/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operands, flags and stack of the general forms, and the table that finds a form by its row. Intel SDM vol.
 * 2, appendix A.2 (operand codes); vol. 1, 3.4.3 (flags) and 6.2 (stack).
 */
#include "insn_gen.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

char x86_operand_letter(unsigned operand)
{
	const char *name = x86_operand_names[operand];
	const char second = name[0] ? name[1] : 0;

	return !second || (second >= 'a' && second <= 'z') || name[0] == 's' ? name[0] : 0;
}

static uint8_t operand_width(const struct x86_insn *in, const char *name)
{
	switch (name[1] == 'I' ? 'v' : name[1]) {
	case 'b': return 1;
	case 'w': return 2;
	case 'd': return 4;
	case 'q': return 8;
	}
	return in->opsize;
}

static struct gen_operand operand_register(const struct x86_insn *in, unsigned number, uint8_t width)
{
	if (width == 1 && !in->rex && number >= 4)
		return (struct gen_operand){.kind = GEN_HIGH, .width = 1, .number = number - 4};
	return (struct gen_operand){.kind = GEN_REG, .width = width, .number = number};
}

static struct gen_operand operand_memory(const struct x86_insn *in, uint64_t offset, uint8_t width)
{
	return (struct gen_operand){.kind = GEN_MEM, .width = width, .seg = in->seg, .value = offset};
}

static struct gen_operand operand_named(const struct x86_insn *in, const char *name)
{
	switch (name[0]) {
	case 'A': return (struct gen_operand){.kind = GEN_REG, .width = 1, .number = REG_RAX};
	case 'C': return (struct gen_operand){.kind = GEN_REG, .width = 1, .number = REG_RCX};
	}
	return (struct gen_operand){.kind = GEN_REG, .width = in->opsize, .number = REG_RAX};
}

struct gen_operand gen_operand_find(const struct x86_cpu *cpu, const struct x86_insn *in, unsigned index)
{
	const char *name = x86_operand_names[x86_rows[in->row].operand[index]];
	const uint8_t width = operand_width(in, name);

	switch (x86_operand_letter(x86_rows[in->row].operand[index])) {
	case 0: return operand_named(in, name);
	case 'G': return operand_register(in, in->reg, width);
	case 'B': return operand_register(in, in->vex_vvvv, width);
	case 'Z': return operand_register(in, (in->opcode & 7u) | (in->rex & 1u) << 3, width);
	case 'O': return operand_memory(in, (uint64_t)in->disp, width);
	case 'I':
	case 's':
		return (struct gen_operand){
			.kind = GEN_IMM, .width = width, .value = in->imm & gen_mask(width)};
	case '1': return (struct gen_operand){.kind = GEN_IMM, .width = 1, .value = 1};
	}
	if (x86_insn_is_mem(in))
		return operand_memory(in, x86_insn_ea(cpu, in), width);
	return operand_register(in, in->rm, width);
}

uint64_t gen_register_get(const struct x86_cpu *cpu, unsigned number, unsigned width)
{
	return cpu->r[number] & gen_mask(width);
}

void gen_register_set(struct x86_cpu *cpu, unsigned number, unsigned width, uint64_t value)
{
	if (width >= 4)
		cpu->r[number] = value & gen_mask(width);
	else
		cpu->r[number] = (cpu->r[number] & ~gen_mask(width)) | (value & gen_mask(width));
}

uint64_t gen_read(struct x86_cpu *cpu, const struct gen_operand *operand)
{
	switch (operand->kind) {
	case GEN_REG: return gen_register_get(cpu, operand->number, operand->width);
	case GEN_HIGH: return cpu->r[operand->number] >> 8 & 0xff;
	case GEN_MEM: return x86_ld(cpu, operand->seg, operand->value, operand->width);
	case GEN_IMM: break;
	}
	return operand->value;
}

void gen_write(struct x86_cpu *cpu, const struct gen_operand *operand, uint64_t value)
{
	switch (operand->kind) {
	case GEN_REG: gen_register_set(cpu, operand->number, operand->width, value); break;
	case GEN_HIGH:
		cpu->r[operand->number] = (cpu->r[operand->number] & ~0xff00ull) | (value & 0xff) << 8;
		break;
	case GEN_MEM:
		x86_st(cpu, operand->seg, operand->value, value & gen_mask(operand->width), operand->width);
		break;
	case GEN_IMM: break;
	}
}

uint64_t gen_update_begin(struct x86_cpu *cpu, const struct gen_operand *operand)
{
	if (operand->kind == GEN_MEM)
		x86_probe_write(cpu, operand->seg, operand->value, operand->width);
	return gen_read(cpu, operand);
}

bool gen_update_end(struct x86_cpu *cpu, const struct gen_operand *operand, bool locked, uint64_t old,
		    uint64_t value)
{
	if (operand->kind == GEN_MEM && locked)
		return x86_cas(cpu, operand->seg, operand->value, operand->width, &old,
			       value & gen_mask(operand->width));
	gen_write(cpu, operand, value);
	return true;
}

uint32_t gen_flags_szp(uint64_t result, unsigned width)
{
	uint32_t flags = 0;

	if (!(result & gen_mask(width)))
		flags |= FLAG_ZF;
	if (result & gen_sign_bit(width))
		flags |= FLAG_SF;
	if (!(__builtin_popcount((unsigned)result & 0xff) & 1))
		flags |= FLAG_PF;
	return flags;
}

uint32_t gen_flags_add(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	const uint64_t result = (a + b + carry) & gen_mask(width);
	const uint64_t carries = (a & b) | ((a | b) & ~result);
	uint32_t flags = gen_flags_szp(result, width);

	if (carries & gen_sign_bit(width))
		flags |= FLAG_CF;
	if (carries & 8)
		flags |= FLAG_AF;
	if ((a ^ result) & (b ^ result) & gen_sign_bit(width))
		flags |= FLAG_OF;
	return flags;
}

uint32_t gen_flags_sub(uint64_t a, uint64_t b, unsigned carry, unsigned width)
{
	const uint64_t result = (a - b - carry) & gen_mask(width);
	const uint64_t borrows = (~a & b) | (~(a ^ b) & result);
	uint32_t flags = gen_flags_szp(result, width);

	if (borrows & gen_sign_bit(width))
		flags |= FLAG_CF;
	if (borrows & 8)
		flags |= FLAG_AF;
	if ((a ^ b) & (a ^ result) & gen_sign_bit(width))
		flags |= FLAG_OF;
	return flags;
}

bool gen_condition(struct x86_cpu *cpu, unsigned condition)
{
	const uint32_t flags = x86_eflags_get(cpu);
	const bool less = !(flags & FLAG_SF) != !(flags & FLAG_OF);
	bool holds = false;

	switch (condition >> 1) {
	case 0: holds = flags & FLAG_OF; break;
	case 1: holds = flags & FLAG_CF; break;
	case 2: holds = flags & FLAG_ZF; break;
	case 3: holds = flags & (FLAG_CF | FLAG_ZF); break;
	case 4: holds = flags & FLAG_SF; break;
	case 5: holds = flags & FLAG_PF; break;
	case 6: holds = less; break;
	case 7: holds = less || (flags & FLAG_ZF); break;
	}
	return holds != (condition & 1);
}

uint64_t gen_stack_pointer(const struct x86_cpu *cpu, const struct x86_insn *in, int64_t displacement)
{
	return (cpu->r[REG_RSP] + (uint64_t)displacement) & gen_mask(in->stacksize);
}

void gen_stack_pointer_set(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t value)
{
	gen_register_set(cpu, REG_RSP, in->stacksize, value);
}

void gen_push(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t value, unsigned width)
{
	const uint64_t pointer = gen_stack_pointer(cpu, in, -(int64_t)width);

	x86_st(cpu, SEG_SS, pointer, value & gen_mask(width), width);
	gen_stack_pointer_set(cpu, in, pointer);
}

#define FORM(upper_, name_) [X86_FAST_##upper_] = x86_gen_##name_
x86_slow_fn *const x86_general[X86_FAST_COUNT] = {
	FORM(AAA, aaa),
	FORM(AAD, aad),
	FORM(AAM, aam),
	FORM(AAS, aas),
	FORM(ADC, adc),
	FORM(ADCX, adcx),
	FORM(ADD, add),
	FORM(ADOX, adox),
	FORM(AND, and),
	FORM(ANDN, andn),
	FORM(BEXTR, bextr),
	FORM(BLSI, blsi),
	FORM(BLSMSK, blsmsk),
	FORM(BLSR, blsr),
	FORM(BOUND, bound),
	FORM(BSF, bsf),
	FORM(BSR, bsr),
	FORM(BSWAP, bswap),
	FORM(BT, bt),
	FORM(BTC, btc),
	FORM(BTR, btr),
	FORM(BTS, bts),
	FORM(BZHI, bzhi),
	FORM(CALL, call),
	FORM(CALL_IND, call_ind),
	FORM(CBW, cbw),
	FORM(CDQ, cdq),
	FORM(CDQE, cdqe),
	FORM(CLC, clc),
	FORM(CLD, cld),
	FORM(CLFLUSH, clflush),
	FORM(CMC, cmc),
	FORM(CMOVCC, cmovcc),
	FORM(CMP, cmp),
	FORM(CMPS, cmps),
	FORM(CMPXCHG, cmpxchg),
	FORM(CMPXCHG16B, cmpxchg16b),
	FORM(CMPXCHG8B, cmpxchg8b),
	FORM(CQO, cqo),
	FORM(CRC32, crc32),
	FORM(CWD, cwd),
	FORM(CWDE, cwde),
	FORM(DAA, daa),
	FORM(DAS, das),
	FORM(DEC, dec),
	FORM(DIV, div),
	FORM(ENTER, enter),
	FORM(IDIV, idiv),
	FORM(IMUL, imul),
	FORM(IMUL1, imul1),
	FORM(INC, inc),
	FORM(JCC, jcc),
	FORM(JCXZ, jcxz),
	FORM(JMP, jmp),
	FORM(JMP_IND, jmp_ind),
	FORM(LAHF, lahf),
	FORM(LEA, lea),
	FORM(LEAVE, leave),
	FORM(LFENCE, lfence),
	FORM(LODS, lods),
	FORM(LOOP, loop),
	FORM(LOOPE, loope),
	FORM(LOOPNE, loopne),
	FORM(LZCNT, lzcnt),
	FORM(MFENCE, mfence),
	FORM(MOV, mov),
	FORM(MOVBE, movbe),
	FORM(MOVNTI, movnti),
	FORM(MOVS, movs),
	FORM(MOVSX, movsx),
	FORM(MOVSXD, movsxd),
	FORM(MOVZX, movzx),
	FORM(MUL, mul),
	FORM(MULX, mulx),
	FORM(NEG, neg),
	FORM(NOP, nop),
	FORM(NOT, not ),
	FORM(OR, or),
	FORM(PAUSE, pause),
	FORM(PDEP, pdep),
	FORM(PEXT, pext),
	FORM(POP, pop),
	FORM(POPA, popa),
	FORM(POPCNT, popcnt),
	FORM(PUSH, push),
	FORM(PUSHA, pusha),
	FORM(RCL, rcl),
	FORM(RCR, rcr),
	FORM(RET, ret),
	FORM(ROL, rol),
	FORM(ROR, ror),
	FORM(RORX, rorx),
	FORM(SAHF, sahf),
	FORM(SALC, salc),
	FORM(SAR, sar),
	FORM(SARX, sarx),
	FORM(SBB, sbb),
	FORM(SCAS, scas),
	FORM(SETCC, setcc),
	FORM(SFENCE, sfence),
	FORM(SHL, shl),
	FORM(SHLD, shld),
	FORM(SHLX, shlx),
	FORM(SHR, shr),
	FORM(SHRD, shrd),
	FORM(SHRX, shrx),
	FORM(STC, stc),
	FORM(STD, std),
	FORM(STOS, stos),
	FORM(SUB, sub),
	FORM(TEST, test),
	FORM(TZCNT, tzcnt),
	FORM(XADD, xadd),
	FORM(XCHG, xchg),
	FORM(XLAT, xlat),
	FORM(XOR, xor),
};
