/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delivery of an event through the interrupt descriptor table: real mode, protected mode (from virtual-8086
 * mode too), long mode with the interrupt stack table. All checks come first; nothing has changed when one
 * raises. Which event is delivered is not decided here. Intel SDM vol. 2, INT n (the pseudo code); vol.
 * 3, 6.10-6.14.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/core/trace.h"
#include "tcg-fallback/x86/segment.h"
#include "tcg-fallback/x86/system.h"

/* A gate, whatever its size. */
struct gate {
	uint16_t selector;
	uint64_t offset;
	unsigned type;
	unsigned ist;
};

void x86_event_deliver_real(struct x86_cpu *cpu, const struct x86_event *event, uint64_t table,
			    uint32_t limit)
{
	struct x86_stack stack = x86_stack_current(cpu);
	uint32_t entry = event->vector * 4u;
	uint32_t vector;

	if (entry + 3 > limit)
		x86_raise_code(cpu, VEC_GP, entry * 2 | 2 | x86_event_ext(event));
	x86_stack_reserve(cpu, &stack, 6);
	vector = x86_sys_ld(cpu, table + entry, 4);
	x86_stack_push(cpu, &stack, event->flags & 0xffff, 2);
	x86_stack_push(cpu, &stack, cpu->seg[SEG_CS].selector, 2);
	x86_stack_push(cpu, &stack, event->return_rip & 0xffff, 2);
	x86_stack_commit(cpu, &stack);
	x86_segment_load_real(cpu, SEG_CS, vector >> 16);
	cpu->rip = vector & 0xffff;
}

static void deliver_real(struct x86_cpu *cpu, const struct x86_event *event)
{
	x86_event_deliver_real(cpu, event, cpu->idtr.base, cpu->idtr.limit);
	x86_eflags_set(cpu, 0, FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
	x86_mode_changed(cpu);
}

static struct gate gate_from(uint64_t raw, uint64_t upper)
{
	return (struct gate){
		.selector = raw >> 16 & 0xffff,
		.offset = (raw & 0xffff) | (raw >> 32 & 0xffff0000) | upper << 32,
		.type = x86_desc_type(raw),
		.ist = raw >> 32 & 7,
	};
}

static bool gate_type_valid(const struct x86_cpu *cpu, unsigned type)
{
	switch (type) {
	case X86_TYPE_INT32:
	case X86_TYPE_TRAP32: return true;
	case X86_TYPE_INT16:
	case X86_TYPE_TRAP16:
	case X86_TYPE_TASK_GATE: return !cpu->long_mode;
	default: return false;
	}
}

/* Reads and checks the gate of the event's vector. A 16-bit gate has no upper half of the offset. */
static struct gate gate_read(struct x86_cpu *cpu, const struct x86_event *event)
{
	unsigned size = cpu->long_mode ? 16 : 8;
	uint32_t error = event->vector * 8u | 2 | x86_event_ext(event);
	uint64_t linear = cpu->idtr.base + event->vector * size, raw, upper = 0;
	struct gate gate;

	if (event->vector * size + size - 1 > cpu->idtr.limit)
		x86_raise_code(cpu, VEC_GP, error);
	raw = x86_sys_ld(cpu, cpu->long_mode ? linear : (uint32_t)linear, 8);
	if (cpu->long_mode)
		upper = x86_sys_ld(cpu, linear + 8, 8);
	gate = gate_from(raw, upper);
	if (!x86_desc_is_system(raw) || !gate_type_valid(cpu, gate.type))
		x86_raise_code(cpu, VEC_GP, error);
	if (event->kind == X86_EVENT_SOFTWARE && x86_desc_dpl(raw) < cpu->cpl)
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(raw))
		x86_raise_code(cpu, VEC_NP, error);
	if (gate.type == X86_TYPE_INT16 || gate.type == X86_TYPE_TRAP16)
		gate.offset &= 0xffff;
	return gate;
}

/* The handler's code segment; returns the privilege it runs at. */
static unsigned handler_segment(struct x86_cpu *cpu, const struct gate *gate, uint32_t ext,
				struct x86_descriptor *desc)
{
	uint32_t error = (gate->selector & 0xfffcu) | ext;
	unsigned dpl;
	bool conforming;

	if (x86_selector_is_null(gate->selector))
		x86_raise_code(cpu, VEC_GP, ext);
	x86_descriptor_read_or(cpu, gate->selector, desc, VEC_GP, ext);
	dpl = x86_desc_dpl(desc->raw);
	conforming = x86_desc_is_conforming(desc->raw);
	if (!x86_desc_is_code(desc->raw) || dpl > cpu->cpl)
		x86_raise_code(cpu, VEC_GP, error);
	if (cpu->long_mode && (!x86_desc_long(desc->raw) || x86_desc_db(desc->raw)))
		x86_raise_code(cpu, VEC_GP, error);
	if (x86_is_v86(cpu) && (conforming || dpl != 0))
		x86_raise_code(cpu, VEC_GP, error);
	if (!x86_desc_present(desc->raw))
		x86_raise_code(cpu, VEC_NP, error);
	return conforming ? cpu->cpl : dpl;
}

/* The stack of an inner privilege level from a legacy TSS. */
static struct x86_stack inner_stack(struct x86_cpu *cpu, unsigned cpl, uint32_t ext,
				    struct x86_descriptor *ss)
{
	struct x86_stack stack;

	x86_tss_stack(cpu, cpl, ext, &stack, ss);
	stack.user = cpl == 3;
	stack.error = ext;
	return stack;
}

static void push_v86_segments(struct x86_cpu *cpu, struct x86_stack *stack, unsigned size)
{
	static const uint8_t order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};

	for (size_t i = 0; i < sizeof(order); i++)
		x86_stack_push(cpu, stack, cpu->seg[order[i]].selector, size);
}

/* The frame that handlers see: [outer SS:RSP] flags CS RIP [error code]. */
static void push_frame(struct x86_cpu *cpu, const struct x86_event *event, struct x86_stack *stack,
		       unsigned size, bool outer)
{
	if (outer) {
		if (x86_is_v86(cpu))
			push_v86_segments(cpu, stack, size);
		x86_stack_push(cpu, stack, cpu->seg[SEG_SS].selector, size);
		x86_stack_push(cpu, stack, cpu->r[REG_RSP], size);
	}
	x86_stack_push(cpu, stack, event->flags, size);
	x86_stack_push(cpu, stack, cpu->seg[SEG_CS].selector, size);
	x86_stack_push(cpu, stack, event->return_rip, size);
	if (event->has_code)
		x86_stack_push(cpu, stack, event->code, size);
}

/* The flags inside the handler: interrupt gates (even types) clear IF. */
static void enter_handler(struct x86_cpu *cpu, const struct gate *gate, struct x86_descriptor *cs,
			  unsigned cpl)
{
	uint32_t clear = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM;

	if (!(gate->type & 1))
		clear |= FLAG_IF;
	x86_eflags_set(cpu, 0, clear);
	x86_segment_load_cs(cpu, cs, cpl);
	cpu->rip = gate->offset;
}

static void deliver_protected(struct x86_cpu *cpu, const struct x86_event *event)
{
	uint32_t ext = x86_event_ext(event);
	struct gate gate = gate_read(cpu, event);
	struct x86_descriptor cs, ss;
	struct x86_stack stack;
	bool v86 = x86_is_v86(cpu), inner;
	unsigned cpl, size, slots;

	if (gate.type == X86_TYPE_TASK_GATE) {
		x86_task_switch(cpu, &(struct x86_task_switch){.source = X86_TASK_EVENT,
							       .selector = gate.selector,
							       .ext = ext,
							       .return_rip = event->return_rip,
							       .flags = event->flags,
							       .event = event});
		return;
	}
	cpl = handler_segment(cpu, &gate, ext, &cs);
	inner = cpl != cpu->cpl;
	size = gate.type == X86_TYPE_INT32 || gate.type == X86_TYPE_TRAP32 ? 4 : 2;
	if (inner) {
		stack = inner_stack(cpu, cpl, ext, &ss);
	} else {
		stack = x86_stack_current(cpu);
		stack.error = ext;
	}
	slots = 3 + event->has_code + (inner ? 2 + 4 * v86 : 0);
	x86_stack_reserve(cpu, &stack, slots * size);
	if (gate.offset > x86_desc_limit(cs.raw))
		x86_raise_code(cpu, VEC_GP, ext);
	push_frame(cpu, event, &stack, size, inner);
	x86_descriptor_touch(cpu, &cs);
	if (inner) {
		x86_descriptor_touch(cpu, &ss);
		cpu->seg[SEG_SS] = x86_segment_from(ss.selector, ss.raw);
	}
	for (unsigned seg = SEG_ES; v86 && seg <= SEG_GS; seg++)
		if (seg != SEG_CS && seg != SEG_SS)
			x86_segment_load_null(cpu, seg, 0);
	x86_stack_commit(cpu, &stack);
	enter_handler(cpu, &gate, &cs, cpl);
}

/* RSP of an inner level or of an IST entry; `at` is its offset in the TSS. */
static uint64_t long_tss_stack(struct x86_cpu *cpu, unsigned at, uint32_t ext)
{
	const struct x86_segment *tr = &cpu->seg[SEG_TR];
	uint64_t sp;

	if (at + 7 > tr->limit)
		x86_raise_code(cpu, VEC_TS, (tr->selector & 0xfffcu) | ext);
	sp = x86_sys_ld(cpu, tr->base + at, 8);
	if (!x86_is_canonical(cpu, sp))
		x86_raise_code(cpu, VEC_SS, ext);
	return sp;
}

static void deliver_long(struct x86_cpu *cpu, const struct x86_event *event)
{
	uint32_t ext = x86_event_ext(event);
	struct gate gate = gate_read(cpu, event);
	struct x86_descriptor cs;
	unsigned cpl = handler_segment(cpu, &gate, ext, &cs);
	bool inner = cpl != cpu->cpl;
	struct x86_stack stack = {.sp = cpu->r[REG_RSP], .flat = true, .user = cpl == 3, .error = ext};

	if (gate.ist)
		stack.sp = long_tss_stack(cpu, 28 + 8 * gate.ist, ext);
	else if (inner)
		stack.sp = long_tss_stack(cpu, 4 + 8 * cpl, ext);
	stack.sp &= ~15ull;
	if (!x86_is_canonical(cpu, gate.offset))
		x86_raise_code(cpu, VEC_GP, ext);
	push_frame(cpu, event, &stack, 8, true);
	x86_descriptor_touch(cpu, &cs);
	if (inner)
		x86_segment_load_null(cpu, SEG_SS, cpl);
	x86_stack_commit(cpu, &stack);
	enter_handler(cpu, &gate, &cs, cpl);
}

static const char *event_kind_name(enum x86_event_kind kind)
{
	switch (kind) {
	case X86_EVENT_EXCEPTION: return "exception";
	case X86_EVENT_EXTERNAL: return "interrupt";
	case X86_EVENT_SOFTWARE: return "software";
	}
	return "";
}

static void event_trace(const struct x86_cpu *cpu, const struct x86_event *event)
{
	X86_TRACE(cpu, X86_TRACE_INT,
		  "int: %s %#x code %#x at %04x:%#llx flags %#x cpl %u sp %#llx cr2 %#llx",
		  event_kind_name(event->kind), event->vector, event->has_code ? event->code : 0,
		  cpu->seg[SEG_CS].selector, (unsigned long long)event->return_rip, event->flags, cpu->cpl,
		  (unsigned long long)cpu->r[REG_RSP], (unsigned long long)cpu->cr2);
}

void x86_event_deliver(struct x86_cpu *cpu, const struct x86_event *event)
{
	event_trace(cpu, event);
	if (x86_is_real(cpu))
		deliver_real(cpu, event);
	else if (cpu->long_mode)
		deliver_long(cpu, event);
	else
		deliver_protected(cpu, event);
}
