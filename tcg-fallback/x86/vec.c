/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executes the VEC rows of the instruction table: checks, operand fetch, the row's function, write-back.
 * Knows registers and memory, and nothing of what the single instructions compute. Intel SDM vol. 2, tables
 * 2-18 to 2-25 (exception classes of legacy SSE) and vol. 1, 9.4 (MMX and the x87 tags).
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/vec.h"
#include "tcg-fallback/x86/x87.h"

void x86_vec_check(struct x86_cpu *cpu, uint32_t properties)
{
	if ((properties & X86_PROP_SSE) && !(cpu->cr4 & CR4_OSFXSR))
		x86_raise_ud(cpu);
	if (cpu->cr0 & CR0_EM)
		x86_raise_ud(cpu);
	if (cpu->cr0 & CR0_TS)
		x86_raise(cpu, VEC_NM);
	if (properties & X86_PROP_MMX)
		x87_check_pending(cpu);
}

void x86_vec_enter_mmx(struct x86_cpu *cpu)
{
	cpu->fpu.top = 0;
	memset(cpu->fpu.empty, 0, sizeof(cpu->fpu.empty));
}

void x86_vec_env_done(struct x86_cpu *cpu, const struct sf_env *env)
{
	const uint8_t flags = sf_sse_visible_flags(env->flags, env->unmasked);

	cpu->mxcsr |= flags;
	if (flags & env->unmasked)
		x86_raise(cpu, cpu->cr4 & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
}

/* The register that an operand letter names, as the vector functions see it. */
struct vec_operand {
	enum { OPERAND_XMM, OPERAND_MMX, OPERAND_GPR, OPERAND_MEM } kind;
	uint8_t number;
};

static struct vec_operand vec_operand_find(const struct x86_insn *in, uint8_t operand)
{
	const bool is_mem = x86_insn_is_mem(in);

	switch (x86_operand_letter(operand)) {
	case 'V': return (struct vec_operand){OPERAND_XMM, in->reg};
	case 'P': return (struct vec_operand){OPERAND_MMX, in->reg & 7};
	case 'G': return (struct vec_operand){OPERAND_GPR, in->reg};
	case 'W':
	case 'U': return (struct vec_operand){is_mem ? OPERAND_MEM : OPERAND_XMM, in->rm};
	case 'Q':
	case 'N': return (struct vec_operand){is_mem ? OPERAND_MEM : OPERAND_MMX, in->rm & 7};
	}
	return (struct vec_operand){is_mem ? OPERAND_MEM : OPERAND_GPR, in->rm};
}

static uint64_t aligned_address(struct x86_cpu *cpu, const struct x86_insn *in, const struct x86_row *row)
{
	const uint64_t offset = x86_insn_ea(cpu, in);
	const uint64_t base = cpu->mode_bits == 64 && in->seg < SEG_FS ? 0 : cpu->seg[in->seg].base;

	if ((row->properties & X86_PROP_ALIGN16) && ((base + offset) & 15))
		x86_raise_gp(cpu);
	x86_check_alignment(cpu, in->seg, offset, row->mem_size ? row->mem_size : in->opsize,
			    row->mem_access & 2);
	return offset;
}

/* Copies what the operand holds into *vec; bytes that it does not have are zero. */
static void vec_operand_read(struct x86_cpu *cpu, const struct x86_insn *in, struct vec_operand operand,
			     union x86_vec *vec)
{
	const struct x86_row *row = &x86_rows[in->row];

	memset(vec, 0, sizeof(*vec));
	switch (operand.kind) {
	case OPERAND_XMM: *vec = cpu->zmm[operand.number]; break;
	case OPERAND_MMX: vec->q[0] = cpu->fpu.reg[operand.number].mant; break;
	case OPERAND_GPR: vec->q[0] = cpu->r[operand.number]; break;
	case OPERAND_MEM:
		x86_ld_bytes(cpu, in->seg, aligned_address(cpu, in, row), vec,
			     row->mem_size ? row->mem_size : in->opsize);
		break;
	}
}

static void vec_operand_write(struct x86_cpu *cpu, const struct x86_insn *in, struct vec_operand operand,
			      const union x86_vec *vec)
{
	const struct x86_row *row = &x86_rows[in->row];

	switch (operand.kind) {
	case OPERAND_XMM: cpu->zmm[operand.number] = *vec; break;
	case OPERAND_MMX:
		cpu->fpu.reg[operand.number] = (struct f80){.mant = vec->q[0], .sexp = 0xffff};
		break;
	case OPERAND_GPR: cpu->r[operand.number] = vec->q[0]; break;
	case OPERAND_MEM:
		x86_st_bytes(cpu, in->seg, aligned_address(cpu, in, row), vec,
			     row->mem_size ? row->mem_size : in->opsize);
		break;
	}
}

/* The last operand that is no immediate and no implied register; a one-operand row is its own source. */
static uint8_t source_operand(const struct x86_row *row)
{
	return row->operand[1] != OPD_NONE && x86_operand_letter(row->operand[1]) != 'I' ? row->operand[1]
											 : row->operand[0];
}

/* COMISS and PTEST only read; the rest write operand 0. */
static bool writes_destination(const struct x86_row *row)
{
	return !(row->flags_written & FLAG_ZF);
}

void x86_vec_execute(struct x86_cpu *cpu, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	const struct vec_operand to = vec_operand_find(in, row->operand[0]);
	const struct vec_operand from = vec_operand_find(in, source_operand(row));
	union x86_vec dst, src;

	x86_vec_check(cpu, row->properties);
	vec_operand_read(cpu, in, from, &src);
	if (to.kind == OPERAND_XMM || to.kind == OPERAND_MMX)
		vec_operand_read(cpu, in, to, &dst);
	else
		memset(&dst, 0, sizeof(dst));
	if ((row->properties & X86_PROP_MMX) && to.kind != OPERAND_MEM)
		x86_vec_enter_mmx(cpu); /* hardware does so even when the function raises #XM */
	row->vec(cpu, &dst, &src, (unsigned)in->imm & 0xff);
	if (writes_destination(row))
		vec_operand_write(cpu, in, to, &dst);
	if (row->properties & X86_PROP_MMX)
		x86_vec_enter_mmx(cpu);
}

/* EMMS has the checks of the MMX instructions, and then empties every register; TOP becomes 0 as by any of
 * them. */
void x86_slow_emms(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_vec_check(cpu, X86_PROP_MMX);
	x86_vec_enter_mmx(cpu);
	memset(cpu->fpu.empty, 1, sizeof(cpu->fpu.empty));
}
