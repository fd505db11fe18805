/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exceptions from where they are raised to where they are delivered: unwinding, classification of an
 * exception met while another event is delivered, double and triple fault. The way through the IDT is
 * gate.c's. Intel SDM vol. 3, chapter 6.
 */
#include "tcg-fallback/x86/segment.h"
#include "tcg-fallback/x86/system.h"

#define DR6_BD (1u << 13)
#define DR6_B  15u
#define DR7_GD (1u << 13)

/* Intel SDM vol. 3, table 6-4. */
enum exception_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT, CLASS_DOUBLE_FAULT };

static enum exception_class event_class(const struct x86_event *event)
{
	if (event->kind != X86_EVENT_EXCEPTION)
		return CLASS_BENIGN;
	switch (event->vector) {
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP: return CLASS_CONTRIBUTORY;
	case VEC_PF: return CLASS_PAGE_FAULT;
	case VEC_DF: return CLASS_DOUBLE_FAULT;
	default: return CLASS_BENIGN;
	}
}

static bool vector_has_code(unsigned vector)
{
	return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}

static bool vector_is_fault(unsigned vector)
{
	return vector != VEC_DB && vector != VEC_NMI && vector != VEC_BP && vector != VEC_OF &&
	       vector != VEC_DF && vector != VEC_MC;
}

static _Noreturn void unwind(struct x86_cpu *cpu, enum x86_vector vector, uint32_t code)
{
	cpu->fault.valid = true;
	cpu->fault.vector = vector;
	cpu->fault.has_code = vector_has_code(vector);
	cpu->fault.code = code;
	siglongjmp(*cpu->unwind, 1);
}

_Noreturn void x86_raise(struct x86_cpu *cpu, enum x86_vector vector)
{
	cpu->fault.dr6 = 0;
	unwind(cpu, vector, 0);
}

_Noreturn void x86_raise_code(struct x86_cpu *cpu, enum x86_vector vector, uint32_t code)
{
	cpu->fault.dr6 = 0;
	unwind(cpu, vector, code);
}

_Noreturn void x86_raise_unknown(struct x86_cpu *cpu, enum x86_vector vector)
{
	if (!cpu->promises_more)
		x86_raise(cpu, vector);
	cpu->leave = true;
	cpu->exit = X86_EXIT_UNKNOWN;
	siglongjmp(*cpu->unwind, 2);
}

_Noreturn void x86_raise_pf(struct x86_cpu *cpu, uint64_t gva, uint32_t code)
{
	cpu->fault.cr2 = gva;
	unwind(cpu, VEC_PF, code);
}

_Noreturn void x86_raise_db(struct x86_cpu *cpu, uint64_t dr6_bits)
{
	cpu->fault.dr6 = dr6_bits;
	unwind(cpu, VEC_DB, 0);
}

/*
 * The event that cpu->fault stands for, and what the CPU records of it before delivery: CR2 and DR6. The
 * image of RF is set for faults, but not for instruction breakpoints, so that these hit again only when the
 * handler wants it (17.3.1.1).
 */
static struct x86_event event_take(struct x86_cpu *cpu)
{
	struct x86_event event = {
		.vector = cpu->fault.vector,
		.kind = X86_EVENT_EXCEPTION,
		.has_code = cpu->fault.has_code,
		.code = cpu->fault.code,
		.return_rip = cpu->rip,
		.flags = x86_eflags_get(cpu),
	};

	cpu->fault.valid = false;
	if (event.vector == VEC_PF)
		cpu->cr2 = cpu->fault.cr2;
	if (event.vector == VEC_DB) {
		cpu->dr[6] = (cpu->dr[6] & ~(uint64_t)DR6_B) | cpu->fault.dr6;
		cpu->dr[7] &= ~(uint64_t)DR7_GD;
	}
	if (vector_is_fault(event.vector) || (event.vector == VEC_DB && (cpu->fault.dr6 & DR6_BD)))
		event.flags |= FLAG_RF;
	return event;
}

/* What becomes of a second exception; false: shutdown. */
static bool event_combine(struct x86_event *event, const struct x86_event *second)
{
	enum exception_class a = event_class(event), b = event_class(second);

	if (a == CLASS_DOUBLE_FAULT && b != CLASS_BENIGN)
		return false;
	if ((a == CLASS_CONTRIBUTORY && b == CLASS_CONTRIBUTORY) ||
	    (a == CLASS_PAGE_FAULT && (b == CLASS_CONTRIBUTORY || b == CLASS_PAGE_FAULT))) {
		*event = *second;
		event->vector = VEC_DF;
		event->has_code = true;
		event->code = 0;
		event->flags &= ~FLAG_RF;
	} else {
		*event = *second;
	}
	return true;
}

static void shut_down(struct x86_cpu *cpu)
{
	cpu->shutdown = true;
	cpu->leave = true;
	cpu->exit = X86_EXIT_SHUTDOWN;
}

static void deliver(struct x86_cpu *cpu, const struct x86_event *first)
{
	sigjmp_buf *outer = cpu->unwind;
	struct x86_event event = *first;
	sigjmp_buf here;

	cpu->halted = false;
	cpu->intr_shadow = false;
	cpu->ss_shadow = false;
	cpu->unwind = &here;
	while (sigsetjmp(here, 0) != 0) {
		struct x86_event second = event_take(cpu);

		if (!event_combine(&event, &second)) {
			shut_down(cpu);
			goto out;
		}
	}
	x86_event_deliver(cpu, &event);
out:
	cpu->unwind = outer;
}

void x86_deliver_fault(struct x86_cpu *cpu)
{
	struct x86_event event = event_take(cpu);

	cpu->pending_db = 0; /* traps of an instruction that did not complete */
	deliver(cpu, &event);
}

void x86_deliver_resumed(struct x86_cpu *cpu)
{
	cpu->resumed.valid = false;
	if (cpu->resumed.is_interrupt) {
		x86_deliver_interrupt(cpu, cpu->resumed.vector);
		return;
	}
	cpu->fault.vector = cpu->resumed.vector;
	cpu->fault.has_code = cpu->resumed.has_code;
	cpu->fault.code = cpu->resumed.code;
	cpu->fault.cr2 = cpu->cr2; /* both were recorded when the exception was found */
	cpu->fault.dr6 = cpu->dr[6] & DR6_B;
	x86_deliver_fault(cpu);
}

void x86_deliver_db_trap(struct x86_cpu *cpu, uint64_t dr6_bits)
{
	cpu->fault.vector = VEC_DB;
	cpu->fault.has_code = false;
	cpu->fault.code = 0;
	cpu->fault.dr6 = dr6_bits;
	x86_deliver_fault(cpu);
}

void x86_deliver_interrupt(struct x86_cpu *cpu, uint8_t vector)
{
	struct x86_event event = {
		.vector = vector,
		.kind = X86_EVENT_EXTERNAL,
		.return_rip = cpu->rip,
		.flags = x86_eflags_get(cpu),
	};

	if (vector == VEC_NMI)
		cpu->nmi_masked = true;
	deliver(cpu, &event);
}
