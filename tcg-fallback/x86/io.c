/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port I/O: the privilege check by IOPL and the TSS's bitmap, IN, OUT and their string forms. One element of
 * a string is complete before the next begins, so that an event between two restarts the instruction where it
 * was. Intel SDM vol. 1, chapter 19; vol. 2, IN, OUT, INS, OUTS.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

/* The bitmap's two bytes that hold the port are both read, so both must lie within the TSS. */
void x86_io_check(struct x86_cpu *cpu, uint16_t port, unsigned size_bytes)
{
	const struct x86_segment *tr = &cpu->seg[SEG_TR];
	uint64_t mask = cpu->long_mode ? ~0ull : 0xffffffff;
	uint32_t at;
	uint16_t bits;

	if (x86_is_real(cpu) || (cpu->cpl <= x86_iopl(cpu) && !x86_is_v86(cpu)))
		return;
	if (!(tr->attributes & 8) || tr->limit < 0x67)
		x86_raise_gp(cpu);
	at = x86_sys_ld(cpu, (tr->base + 0x66) & mask, 2);
	at += port / 8;
	if (at + 1 > tr->limit)
		x86_raise_gp(cpu);
	bits = x86_sys_ld(cpu, (tr->base + at) & mask, 2) >> (port & 7);
	if (bits & ((1u << size_bytes) - 1))
		x86_raise_gp(cpu);
}

static uint64_t port_read(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
	if (cpu->debug_active)
		x86_debug_io(cpu, port, size);
	return cpu->host->pio_read(cpu->host->opaque, cpu->index, port, size);
}

static void port_write(struct x86_cpu *cpu, uint16_t port, uint64_t value, unsigned size)
{
	if (cpu->debug_active)
		x86_debug_io(cpu, port, size);
	cpu->host->pio_write(cpu->host->opaque, cpu->index, port, value & x86_size_mask(size), size);
}

/* I/O is at most 32 bits wide. */
static unsigned io_size(const struct x86_insn *in)
{
	return in->opsize > 4 ? 4 : in->opsize;
}

static void in_port(struct x86_cpu *cpu, const struct x86_insn *in, uint16_t port)
{
	unsigned size = io_size(in);

	x86_io_check(cpu, port, size);
	x86_gpr_set(cpu, REG_RAX, port_read(cpu, port, size), size);
}

static void out_port(struct x86_cpu *cpu, const struct x86_insn *in, uint16_t port)
{
	unsigned size = io_size(in);

	x86_io_check(cpu, port, size);
	port_write(cpu, port, cpu->r[REG_RAX], size);
}

void x86_slow_in_imm(struct x86_cpu *cpu, const struct x86_insn *in)
{
	in_port(cpu, in, in->imm & 0xff);
}

void x86_slow_in_dx(struct x86_cpu *cpu, const struct x86_insn *in)
{
	in_port(cpu, in, cpu->r[REG_RDX]);
}

void x86_slow_out_imm(struct x86_cpu *cpu, const struct x86_insn *in)
{
	out_port(cpu, in, in->imm & 0xff);
}

void x86_slow_out_dx(struct x86_cpu *cpu, const struct x86_insn *in)
{
	out_port(cpu, in, cpu->r[REG_RDX]);
}

static void index_advance(struct x86_cpu *cpu, const struct x86_insn *in, unsigned reg)
{
	int64_t step = io_size(in);

	x86_gpr_set(cpu, reg, cpu->r[reg] + (cpu->eflags & FLAG_DF ? -step : step), in->addrsize);
}

static void ins_element(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t offset = cpu->r[REG_RDI] & x86_size_mask(in->addrsize);
	unsigned seg = x86_is_64bit(cpu) ? SEG_FLAT : SEG_ES;

	x86_probe_write(cpu, seg, offset, io_size(in)); /* the device must not be read twice */
	x86_st(cpu, seg, offset, port_read(cpu, cpu->r[REG_RDX], io_size(in)), io_size(in));
	index_advance(cpu, in, REG_RDI);
}

static void outs_element(struct x86_cpu *cpu, const struct x86_insn *in)
{
	uint64_t offset = cpu->r[REG_RSI] & x86_size_mask(in->addrsize);

	port_write(cpu, cpu->r[REG_RDX], x86_ld(cpu, in->seg, offset, io_size(in)), io_size(in));
	index_advance(cpu, in, REG_RSI);
}

/* Between two elements the instruction gives way to whatever waits, with RIP still on it. */
static bool must_pause(const struct x86_cpu *cpu)
{
	return cpu->debug_active || atomic_load_explicit(&cpu->attention, memory_order_relaxed);
}

static void string_io(struct x86_cpu *cpu, const struct x86_insn *in,
		      void (*element)(struct x86_cpu *, const struct x86_insn *))
{
	uint64_t mask = x86_size_mask(in->addrsize);

	x86_io_check(cpu, cpu->r[REG_RDX], io_size(in));
	if (in->rep == X86_REP_NONE) {
		element(cpu, in);
	} else {
		while (cpu->r[REG_RCX] & mask) {
			element(cpu, in);
			x86_gpr_set(cpu, REG_RCX, cpu->r[REG_RCX] - 1, in->addrsize);
			if ((cpu->r[REG_RCX] & mask) && must_pause(cpu))
				return;
		}
	}
	cpu->rip = x86_next_rip(cpu, in);
}

void x86_slow_ins(struct x86_cpu *cpu, const struct x86_insn *in)
{
	string_io(cpu, in, ins_element);
}

void x86_slow_outs(struct x86_cpu *cpu, const struct x86_insn *in)
{
	string_io(cpu, in, outs_element);
}
