/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debug registers: their moves, breakpoints on instructions, data and ports, single step, and the moment at
 * which traps are delivered. The run loop calls in here only while cpu->debug_active. Intel SDM vol. 3,
 * chapter 17.
 *
 *   DR7:  31..16 four fields LENn (2) R/Wn (2), 13 GD, 9 GE, 8 LE, 7..0 pairs Gn Ln
 *   DR6:  15 BT (task switch), 14 BS (step), 13 BD (register access), 3..0 Bn
 */
#include "insn_gen.h"
#include "tcg-fallback/x86/system.h"

#define DR6_BD       0x2000u
#define DR6_BS       0x4000u
#define DR6_WRITABLE 0xe00fu
#define DR6_FIXED    0xffff0ff0u
#define DR7_GD       0x2000u
#define DR7_WRITABLE 0xffff23ffu
#define DR7_FIXED    0x400u

enum breakpoint_kind { BREAK_INSTRUCTION, BREAK_WRITE, BREAK_IO, BREAK_ACCESS };

static bool breakpoint_enabled(const struct x86_cpu *cpu, unsigned n)
{
	return cpu->dr[7] >> (2 * n) & 3;
}

static enum breakpoint_kind breakpoint_kind(const struct x86_cpu *cpu, unsigned n)
{
	return (enum breakpoint_kind)(cpu->dr[7] >> (16 + 4 * n) & 3);
}

/* LEN 0 1 2 3 means 1 2 8 4 bytes; the address is aligned to it. */
static unsigned breakpoint_len(const struct x86_cpu *cpu, unsigned n)
{
	static const uint8_t len[4] = {1, 2, 8, 4};

	return len[cpu->dr[7] >> (18 + 4 * n) & 3];
}

static bool breakpoint_overlaps(const struct x86_cpu *cpu, unsigned n, uint64_t address, unsigned bytes)
{
	unsigned len = breakpoint_len(cpu, n);
	uint64_t first = cpu->dr[n] & ~(uint64_t)(len - 1);

	return address <= first + len - 1 && first <= address + bytes - 1;
}

/*
 * Before an instruction: traps still due (a task switch with T set while an event was delivered), then
 * instruction breakpoints. RF, and a MOV SS just before, hold the latter back.
 */
void x86_debug_before(struct x86_cpu *cpu)
{
	uint64_t linear = cpu->seg[SEG_CS].base + cpu->rip, hits = 0, due = cpu->pending_db;
	bool held_back = cpu->ss_shadow || (cpu->eflags & FLAG_RF);

	if (x86_is_64bit(cpu))
		linear = cpu->rip;
	else
		linear = (uint32_t)linear;
	if (due && !cpu->ss_shadow) {
		cpu->pending_db = 0;
		x86_raise_db(cpu, due);
	}
	cpu->ss_shadow = false;
	cpu->rf_loaded = false;
	cpu->step_late = false;
	for (unsigned n = 0; !held_back && n < 4; n++)
		if (breakpoint_enabled(cpu, n) && breakpoint_kind(cpu, n) == BREAK_INSTRUCTION &&
		    cpu->dr[n] == linear)
			hits |= 1u << n;
	if (hits)
		x86_raise_db(cpu, hits);
}

/* After an instruction has completed, RIP at the next one. */
void x86_debug_after(struct x86_cpu *cpu, bool tf_at_start)
{
	uint64_t due;

	if (!cpu->rf_loaded)
		cpu->eflags &= ~FLAG_RF;
	if (cpu->step_late ? cpu->eflags & FLAG_TF : tf_at_start)
		if (!cpu->ss_shadow)
			cpu->pending_db |= DR6_BS;
	cpu->step_late = false;
	if (cpu->ss_shadow)
		return;
	due = cpu->pending_db;
	cpu->pending_db = 0;
	x86_mode_changed(cpu);
	if (due)
		x86_deliver_db_trap(cpu, due);
}

void x86_debug_data(struct x86_cpu *cpu, uint64_t linear, unsigned len, bool write)
{
	for (unsigned n = 0; n < 4; n++) {
		enum breakpoint_kind kind = breakpoint_kind(cpu, n);
		bool wanted = kind == BREAK_ACCESS || (kind == BREAK_WRITE && write);

		if (wanted && breakpoint_enabled(cpu, n) && breakpoint_overlaps(cpu, n, linear, len))
			cpu->pending_db |= 1u << n;
	}
}

void x86_debug_io(struct x86_cpu *cpu, uint16_t port, unsigned size_bytes)
{
	for (unsigned n = 0; (cpu->cr4 & CR4_DE) && n < 4; n++)
		if (breakpoint_enabled(cpu, n) && breakpoint_kind(cpu, n) == BREAK_IO &&
		    breakpoint_overlaps(cpu, n, port, size_bytes))
			cpu->pending_db |= 1u << n;
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. With GD every access traps first. */
static unsigned register_number(struct x86_cpu *cpu, unsigned reg)
{
	if (reg > 7 || ((reg == 4 || reg == 5) && (cpu->cr4 & CR4_DE)))
		x86_raise_ud(cpu);
	if (cpu->dr[7] & DR7_GD)
		x86_raise_db(cpu, DR6_BD);
	return reg == 4 || reg == 5 ? reg + 2 : reg;
}

void x86_slow_mov_from_dr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	unsigned n = register_number(cpu, in->reg);

	x86_gpr_set(cpu, in->rm, cpu->dr[n], x86_is_64bit(cpu) ? 8 : 4);
}

void x86_slow_mov_to_dr(struct x86_cpu *cpu, const struct x86_insn *in)
{
	unsigned n = register_number(cpu, in->reg);
	uint64_t value = x86_is_64bit(cpu) ? cpu->r[in->rm] : (uint32_t)cpu->r[in->rm];

	if (n >= 6 && value >> 32)
		x86_raise_gp(cpu);
	if (n == 6)
		value = (value & DR6_WRITABLE) | DR6_FIXED;
	else if (n == 7)
		value = (value & DR7_WRITABLE) | DR7_FIXED;
	cpu->dr[n] = value;
	if (n == 7)
		x86_mode_changed(cpu);
}
