/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One CPU for the x87 handlers, with just enough around it: memory operands lie at host addresses, a fault
 * unwinds to rig_run. Stands in for the engine's memory and exceptions, so it is included by one test
 * program.
 */
#pragma once

#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/x87.h"

struct rig {
	struct x86_cpu cpu;
	struct x86_host host;
	sigjmp_buf unwind;
	int ferr_level, ferr_edges;
};

void x86_raise(struct x86_cpu *cpu, enum x86_vector vector)
{
	cpu->fault.vector = (uint8_t)vector;
	siglongjmp(*cpu->unwind, 1);
}

uint64_t x86_insn_ea(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	return cpu->r[in->base] + (uint64_t)in->disp;
}

void x86_ld_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, void *dst, size_t len)
{
	memcpy(dst, (const void *)(uintptr_t)offset, len);
}

/* The rig's memory is all writable, at any alignment. */
void x86_check_alignment(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned alignment, bool write)
{
}

void x86_probe_write(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len)
{
}

void x86_st_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, const void *src, size_t len)
{
	memcpy((void *)(uintptr_t)offset, src, len);
}

uint16_t x86_ld16(struct x86_cpu *cpu, unsigned seg, uint64_t offset)
{
	uint16_t value;

	x86_ld_bytes(cpu, seg, offset, &value, sizeof(value));
	return value;
}

uint32_t x86_ld32(struct x86_cpu *cpu, unsigned seg, uint64_t offset)
{
	uint32_t value;

	x86_ld_bytes(cpu, seg, offset, &value, sizeof(value));
	return value;
}

uint64_t x86_ld64(struct x86_cpu *cpu, unsigned seg, uint64_t offset)
{
	uint64_t value;

	x86_ld_bytes(cpu, seg, offset, &value, sizeof(value));
	return value;
}

void x86_st16(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint16_t value)
{
	x86_st_bytes(cpu, seg, offset, &value, sizeof(value));
}

void x86_st(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	x86_st_bytes(cpu, seg, offset, &value, size_bytes);
}

uint32_t x86_eflags_get(struct x86_cpu *cpu)
{
	return cpu->eflags;
}

void x86_eflags_set(struct x86_cpu *cpu, uint32_t value, uint32_t mask)
{
	cpu->eflags = (cpu->eflags & ~mask) | (value & mask);
}

static void on_ferr(void *opaque, unsigned int cpu, bool level)
{
	struct rig *rig = opaque;

	rig->ferr_edges += rig->ferr_level != level;
	rig->ferr_level = level;
}

static void rig_init(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	rig->host.opaque = rig;
	rig->host.ferr = on_ferr;
	rig->cpu.host = &rig->host;
	rig->cpu.unwind = &rig->unwind;
	rig->cpu.cr0 = CR0_PE | CR0_NE | CR0_MP;
	x87_init(&rig->cpu);
}

static x86_slow_fn *const escapes[8] = {
	x86_slow_fpu_d8, x86_slow_fpu_d9, x86_slow_fpu_da, x86_slow_fpu_db,
	x86_slow_fpu_dc, x86_slow_fpu_dd, x86_slow_fpu_de, x86_slow_fpu_df,
};

/* Runs one escape; a memory form addresses [RDX]. Returns -1, or the vector of the fault. */
static int rig_run(struct rig *rig, uint8_t opcode, uint8_t modrm, uint8_t opsize)
{
	struct x86_insn in = {
		.len = 2,
		.opcode = opcode,
		.opsize = opsize,
		.has_modrm = true,
		.mod = modrm >> 6,
		.reg = modrm >> 3 & 7,
		.rm = modrm & 7,
		.base = REG_RDX,
		.index = REG_ZERO,
		.seg = SEG_FLAT,
	};

	if (sigsetjmp(rig->unwind, 0))
		return rig->cpu.fault.vector;
	escapes[opcode & 7](&rig->cpu, &in);
	return -1;
}
