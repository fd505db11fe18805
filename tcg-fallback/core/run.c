/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run loop: events between instructions, faults on their way to delivery, and the choice between running
 * lowered code and the careful path of one instruction at a time. Intel SDM vol. 3, 6.9 (priorities), 6.8
 * (masking), 8.4 (INIT and SIPI).
 */
#include <string.h>

#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/jit.h"
#include "tcg-fallback/x86/system.h"
#include "tcg-fallback/x86/vec.h"

/* Starts a CPU that waited for a SIPI: CS:IP is vector:0000, the rest is as INIT left it. */
static void start_up(struct x86_cpu *cpu)
{
	struct x86_segment *cs = &cpu->seg[SEG_CS];

	cpu->wait_for_sipi = false;
	cpu->halted = false;
	cs->selector = (uint16_t)(cpu->sipi_vector << 8);
	cs->base = (uint64_t)cpu->sipi_vector << 12;
	cs->limit = 0xffff;
	cpu->rip = 0;
	x86_mode_changed(cpu);
}

static void take_sipi(struct x86_cpu *cpu)
{
	unsigned sipi;

	x86_cpu_unpost(cpu, ATTENTION_SIPI); /* before the look: one that comes between is seen again */
	sipi = atomic_exchange(&cpu->vm->mailbox[cpu->index].sipi, 0);
	if (!cpu->wait_for_sipi || !sipi)
		return;
	cpu->sipi_vector = (uint8_t)sipi;
	start_up(cpu);
}

static void take_init(struct x86_cpu *cpu)
{
	x86_cpu_unpost(cpu, ATTENTION_INIT);
	x86_cpu_unpost(cpu, ATTENTION_EVENT);
	x86_cpu_reset(cpu, true);
	cpu->wait_for_sipi = cpu->index != 0; /* the bootstrap processor starts at the reset vector */
	x86_mode_changed(cpu);
}

static void memory_changed(struct x86_cpu *cpu)
{
	x86_cpu_unpost(cpu, ATTENTION_TLB);
	atomic_store(&cpu->a20_mask, atomic_load(&cpu->vm->a20_mask));
	x86_tlb_flush_all(cpu);
	x86_code_flush(cpu);
}

/* Requests that are no concern of the guest's. */
static void attend_engine(struct x86_cpu *cpu, uint32_t attention)
{
	if (attention & ATTENTION_PARK)
		x86_vm_park(cpu);
	if (attention & ATTENTION_CODE)
		x86_vm_read_mail(cpu);
	if (attention & ATTENTION_TLB)
		memory_changed(cpu);
	if (attention & ATTENTION_CLOCK) {
		x86_cpu_unpost(cpu, ATTENTION_CLOCK);
		x86_pvclock_write_time(cpu);
	}
	if (attention & ATTENTION_SMI)
		x86_cpu_unpost(cpu, ATTENTION_SMI); /* no system management mode is offered */
}

static void deliver_resumed(struct x86_cpu *cpu)
{
	x86_cpu_unpost(cpu, ATTENTION_EVENT);
	if (!cpu->resumed.valid)
		return;
	x86_deliver_resumed(cpu);
	x86_code_segments_changed(cpu);
}

/* What had begun first, then NMI and external interrupts, when nothing holds them back. */
static void attend_interrupts(struct x86_cpu *cpu, uint32_t attention)
{
	int vector;

	if (attention & ATTENTION_EVENT) {
		deliver_resumed(cpu);
		return;
	}
	if (cpu->intr_shadow)
		return;
	if ((attention & ATTENTION_NMI) && !cpu->nmi_masked) {
		x86_cpu_unpost(cpu, ATTENTION_NMI);
		cpu->halted = false;
		x86_deliver_interrupt(cpu, VEC_NMI);
		x86_code_segments_changed(cpu);
		return;
	}
	if (!(attention & ATTENTION_INTR) || !(cpu->eflags & FLAG_IF))
		return;
	vector = cpu->host->intr_acknowledge(cpu->host->opaque, cpu->index);
	if (vector < 0)
		return;
	cpu->halted = false;
	x86_deliver_interrupt(cpu, (uint8_t)vector);
	x86_code_segments_changed(cpu);
}

static bool leave_with(struct x86_cpu *cpu, enum x86_exit exit)
{
	cpu->exit = exit;
	return true;
}

/* Everything that happens between two blocks. True: cpu->exit says why to leave. */
static bool attend(struct x86_cpu *cpu)
{
	uint32_t attention = atomic_load_explicit(&cpu->attention, memory_order_acquire);

	if (cpu->leave) {
		cpu->leave = false;
		return true;
	}
	if (!attention && !cpu->halted && !cpu->wait_for_sipi && !cpu->shutdown)
		return false;
	attend_engine(cpu, attention);
	if (attention & ATTENTION_INIT)
		take_init(cpu);
	if (attention & ATTENTION_SIPI)
		take_sipi(cpu);
	if (attention & ATTENTION_KICK) {
		x86_cpu_unpost(cpu, ATTENTION_KICK);
		return leave_with(cpu, X86_EXIT_KICKED);
	}
	if (cpu->shutdown)
		return leave_with(cpu, X86_EXIT_SHUTDOWN);
	if (cpu->wait_for_sipi)
		return leave_with(cpu, X86_EXIT_HALTED);
	attend_interrupts(cpu, attention);
	if (cpu->shutdown)
		return leave_with(cpu, X86_EXIT_SHUTDOWN);
	return cpu->halted ? leave_with(cpu, X86_EXIT_HALTED) : false;
}

static void execute_row(struct x86_cpu *cpu, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	uint64_t next = cpu->rip + in->len;

	if (cpu->mode_bits != 64)
		next = (uint32_t)next;
	if ((row->properties & X86_PROP_CPL0) && cpu->cpl)
		x86_raise_gp(cpu);
	switch ((enum x86_row_kind)row->kind) {
	case X86_ROW_FAST: x86_general[row->fast](cpu, in); break;
	case X86_ROW_SLOW: row->slow(cpu, in); break;
	case X86_ROW_VEC: x86_vec_execute(cpu, in); break;
	case X86_ROW_UD: x86_raise_unknown(cpu, VEC_UD);
	}
	if (!(row->properties & X86_PROP_JUMP) &&
	    !(row->kind == X86_ROW_FAST && (row->properties & X86_PROP_STRING)))
		cpu->rip = next;
	x86_code_segments_changed(cpu);
}

void x86_execute_one(struct x86_cpu *cpu)
{
	struct x86_decode_mode mode;
	uint8_t bytes[X86_INSN_LEN_MAX];
	struct x86_insn in;
	uint64_t linear = x86_code_linear_rip(cpu);
	unsigned avail = x86_code_fetch(cpu, linear, bytes);

	x86_code_decode_mode(cpu, x86_code_mode(cpu), &mode);
	switch (x86_decode(&mode, bytes, avail, &in)) {
	case X86_DECODE_OK: break;
	case X86_DECODE_UD: x86_raise_unknown(cpu, VEC_UD);
	case X86_DECODE_TOO_LONG: x86_raise_gp(cpu);
	case X86_DECODE_MORE: x86_code_fetch_more(cpu, linear + avail); x86_raise_ud(cpu);
	}
	if (cpu->mode_bits != 64 && cpu->rip + in.len - 1 > cpu->seg[SEG_CS].limit)
		x86_raise_gp(cpu);
	execute_row(cpu, &in);
}

/* One instruction with everything that may be observed around it: breakpoints, single-step traps, the
 * interrupt shadow. */
static void step(struct x86_cpu *cpu)
{
	bool tf = cpu->eflags & FLAG_TF, debug = cpu->debug_active;

	if (debug)
		x86_debug_before(cpu);
	cpu->intr_shadow = false;
	x86_execute_one(cpu);
	if (debug || cpu->debug_active)
		x86_debug_after(cpu, tf);
	x86_code_segments_changed(cpu);
}

static void run_ops(struct x86_cpu *cpu, struct x86_op *op)
{
	while (op)
		op = op->fn(cpu, op);
}

/* Something may be waiting for the end of the shadow, so exactly one instruction is executed under it. */
static bool needs_step(const struct x86_cpu *cpu)
{
	return cpu->debug_active ||
	       (cpu->intr_shadow && atomic_load_explicit(&cpu->attention, memory_order_relaxed));
}

static void run_once(struct x86_cpu *cpu)
{
	struct x86_op *op;

	if (needs_step(cpu)) {
		step(cpu);
		return;
	}
	cpu->intr_shadow = false;
	op = x86_code_find(cpu);
	if (op)
		run_ops(cpu, op);
	else
		step(cpu);
}

static void deliver(struct x86_cpu *cpu)
{
	if (cpu->jit)
		x86_jit_x87_away(cpu);
	x86_deliver_fault(cpu);
	x86_code_segments_changed(cpu);
}

/* Every way in begins so: whoever ran on this thread meanwhile (KVM, for one) has left nothing to rely on. */
static void enter(struct x86_cpu *cpu)
{
	x86_vm_enter(cpu);
	if (cpu->jit)
		x86_jit_thread(cpu);
}

enum x86_exit x86_cpu_run(struct x86_cpu *cpu)
{
	sigjmp_buf unwind;

	enter(cpu);
	cpu->unwind = &unwind;
	if (sigsetjmp(unwind, 0) == 1)
		deliver(cpu);
	while (!attend(cpu))
		run_once(cpu);
	cpu->unwind = NULL;
	x86_vm_leave(cpu);
	return cpu->exit;
}

enum x86_exit x86_cpu_run_blocks(struct x86_cpu *cpu, unsigned count)
{
	sigjmp_buf unwind;
	volatile unsigned left = count;
	volatile bool leave = false;

	enter(cpu);
	cpu->unwind = &unwind;
	x86_cpu_post(cpu, ATTENTION_BLOCK);
	if (sigsetjmp(unwind, 0) == 1)
		deliver(cpu);
	while (!(leave = attend(cpu)) && left) {
		left--;
		run_once(cpu);
	}
	x86_cpu_unpost(cpu, ATTENTION_BLOCK);
	cpu->unwind = NULL;
	x86_vm_leave(cpu);
	return leave ? cpu->exit : X86_EXIT_KICKED;
}

enum x86_exit x86_cpu_step(struct x86_cpu *cpu)
{
	sigjmp_buf unwind;
	volatile bool leave = false;

	enter(cpu);
	cpu->unwind = &unwind;
	switch (sigsetjmp(unwind, 0)) {
	case 0:
		leave = attend(cpu);
		if (!leave)
			step(cpu);
		break;
	case 1: deliver(cpu); break;
	default: break;
	}
	if (!leave && cpu->leave) {
		cpu->leave = false;
		leave = true;
	}
	cpu->unwind = NULL;
	x86_vm_leave(cpu);
	return leave ? cpu->exit : X86_EXIT_KICKED;
}
