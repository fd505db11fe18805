/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hardware task switches with 16- and 32-bit task-state segments. Up to the moment when TR names the new task
 * a fault is one of the old task; from then on (checks of the loaded selectors) it is one of the new task.
 * Intel SDM vol. 3, 7.3.
 */
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "tcg-fallback/x86/system.h"

#define TSS_T     1u /* debug trap, at the word with the I/O map base */
#define DR6_BT    (1u << 15)
#define DR7_LOCAL 0x155u /* L0-L3 and LE */

/* Offsets in a TSS; registers follow one another. Intel SDM vol. 3, figures 7-2 and 7-11. */
struct tss_layout {
	unsigned word; /* size of a register */
	unsigned min_limit;
	unsigned eip, flags, gpr, es, ldt;
	unsigned segments; /* 6 with FS and GS */
};

static const struct tss_layout tss16 = {.word = 2,
					.min_limit = 0x2b,
					.eip = 0x0e,
					.flags = 0x10,
					.gpr = 0x12,
					.es = 0x22,
					.ldt = 0x2a,
					.segments = 4};
static const struct tss_layout tss32 = {.word = 4,
					.min_limit = 0x67,
					.eip = 0x20,
					.flags = 0x24,
					.gpr = 0x28,
					.es = 0x48,
					.ldt = 0x60,
					.segments = 6};
#define TSS32_CR3  0x1c
#define TSS32_TRAP 0x64

/* What the new TSS holds. */
struct task_image {
	uint32_t cr3, eip, flags;
	uint32_t gpr[8];
	uint16_t selector[6];
	uint16_t ldt;
	bool trap;
};

static const struct tss_layout *layout_of(unsigned type)
{
	return type & 8 ? &tss32 : &tss16;
}

static uint64_t tss_address(uint64_t base, unsigned offset)
{
	return (uint32_t)(base + offset);
}

/* The checks of the new TSS's descriptor, by what starts the switch. */
static void check_descriptor(struct x86_cpu *cpu, const struct x86_task_switch *task,
			     struct x86_descriptor *desc)
{
	bool iret = task->source == X86_TASK_IRET;
	enum x86_vector vector = iret ? VEC_TS : VEC_GP;
	uint32_t error = (task->selector & 0xfffcu) | task->ext;
	unsigned type;

	if (task->selector & 4)
		x86_raise_code(cpu, vector, error);
	if (x86_selector_is_null(task->selector))
		x86_raise_code(cpu, vector, error);
	x86_descriptor_read_or(cpu, task->selector, desc, vector, task->ext);
	type = x86_desc_is_system(desc->raw) ? x86_desc_type(desc->raw) : 0;
	if ((type & ~8u) != (iret ? X86_TYPE_TSS16_BUSY : X86_TYPE_TSS16))
		x86_raise_code(cpu, vector, error);
	if (!x86_desc_present(desc->raw))
		x86_raise_code(cpu, VEC_NP, error);
	if (x86_desc_limit(desc->raw) < layout_of(type)->min_limit)
		x86_raise_code(cpu, VEC_TS, error);
}

/* The pages that the switch touches are there: a fault still belongs to the old task. */
static void probe_all(struct x86_cpu *cpu, const struct x86_task_switch *task,
		      const struct x86_descriptor *desc)
{
	const struct x86_segment *tr = &cpu->seg[SEG_TR];
	const struct tss_layout *old = layout_of(SEG_ATTR_TYPE(tr->attributes));
	const struct tss_layout *new = layout_of(x86_desc_type(desc->raw));

	x86_sys_probe(cpu, (uint32_t)tr->base, old->min_limit + 1, true);
	x86_sys_probe(cpu, x86_desc_base(desc->raw), new->min_limit + 1, false);
	if (task->source != X86_TASK_IRET) {
		x86_sys_probe(cpu, x86_desc_base(desc->raw), 2, true);
		x86_sys_probe(cpu, desc->linear, 8, true);
	}
	x86_sys_probe(cpu, cpu->gdtr.base + (tr->selector & 0xfff8), 8, true);
}

static void save_old(struct x86_cpu *cpu, const struct x86_task_switch *task)
{
	const struct x86_segment *tr = &cpu->seg[SEG_TR];
	const struct tss_layout *at = layout_of(SEG_ATTR_TYPE(tr->attributes));
	uint32_t flags = task->flags;

	if (task->source == X86_TASK_IRET)
		flags &= ~FLAG_NT;
	x86_sys_st(cpu, tss_address(tr->base, at->eip), task->return_rip, at->word);
	x86_sys_st(cpu, tss_address(tr->base, at->flags), flags, at->word);
	for (unsigned i = 0; i < 8; i++)
		x86_sys_st(cpu, tss_address(tr->base, at->gpr + i * at->word), cpu->r[i], at->word);
	for (unsigned i = 0; i < at->segments; i++)
		x86_sys_st(cpu, tss_address(tr->base, at->es + i * at->word), cpu->seg[i].selector, 2);
}

static struct task_image load_image(struct x86_cpu *cpu, const struct x86_descriptor *desc)
{
	const struct tss_layout *at = layout_of(x86_desc_type(desc->raw));
	uint32_t base = x86_desc_base(desc->raw);
	struct task_image image = {.cr3 = cpu->cr3};

	image.eip = x86_sys_ld(cpu, tss_address(base, at->eip), at->word);
	image.flags = x86_sys_ld(cpu, tss_address(base, at->flags), at->word);
	for (unsigned i = 0; i < 8; i++)
		image.gpr[i] = x86_sys_ld(cpu, tss_address(base, at->gpr + i * at->word), at->word);
	for (unsigned i = 0; i < at->segments; i++)
		image.selector[i] = x86_sys_ld(cpu, tss_address(base, at->es + i * at->word), 2);
	image.ldt = x86_sys_ld(cpu, tss_address(base, at->ldt), 2);
	if (at == &tss32) {
		image.cr3 = x86_sys_ld(cpu, tss_address(base, TSS32_CR3), 4);
		image.trap = x86_sys_ld(cpu, tss_address(base, TSS32_TRAP), 2) & TSS_T;
	} else {
		for (unsigned i = 0; i < 8; i++)
			image.gpr[i] |= 0xffff0000; /* the upper halves are undefined; these CPUs set them */
	}
	return image;
}

/* Busy bits, back link and TR; the old TSS is complete. */
static void change_task(struct x86_cpu *cpu, const struct x86_task_switch *task, struct x86_descriptor *desc)
{
	struct x86_segment *tr = &cpu->seg[SEG_TR];
	bool nests = task->source == X86_TASK_CALL || task->source == X86_TASK_EVENT;

	if (!nests)
		x86_sys_clear8(cpu, cpu->gdtr.base + (tr->selector & 0xfff8) + 5, 2);
	if (nests)
		x86_sys_st(cpu, x86_desc_base(desc->raw), tr->selector, 2);
	if (task->source != X86_TASK_IRET) {
		x86_sys_or8(cpu, desc->linear + 5, 2);
		desc->raw |= 2ull << 40;
	}
	*tr = x86_segment_from(task->selector, desc->raw);
}

/* Without checks: selectors become visible, hidden parts stay invalid until they are checked in the new task.
 */
static void load_registers(struct x86_cpu *cpu, const struct task_image *image)
{
	for (unsigned i = 0; i < 8; i++)
		cpu->r[i] = image->gpr[i];
	cpu->rip = image->eip;
	cpu->cr0 |= CR0_TS;
	cpu->dr[7] &= ~(uint64_t)DR7_LOCAL;
	for (unsigned i = 0; i < 6; i++)
		cpu->seg[i] = (struct x86_segment){.selector = image->selector[i]};
	cpu->seg[SEG_LDTR] = (struct x86_segment){.selector = image->ldt};
	cpu->cpl = image->flags & FLAG_VM ? 3 : image->selector[SEG_CS] & 3;
	x86_eflags_set(cpu, image->flags, X86_FLAGS_ALL);
	cpu->rf_loaded = image->flags & FLAG_RF;
	x86_mode_changed(cpu);
}

/* A new CR3 when paging is on. PDPTEs with reserved bits are #GP(0) of the new task. */
static void load_cr3(struct x86_cpu *cpu, uint32_t cr3)
{
	if ((cpu->cr0 & CR0_PG) && cr3 != cpu->cr3)
		x86_cr3_write(cpu, cr3);
}

static void load_ldt(struct x86_cpu *cpu, uint16_t selector, uint32_t ext)
{
	struct x86_descriptor desc;
	uint32_t error = (selector & 0xfffcu) | ext;

	if (x86_selector_is_null(selector))
		return;
	if (selector & 4)
		x86_raise_code(cpu, VEC_TS, error);
	x86_descriptor_read_or(cpu, selector, &desc, VEC_TS, ext);
	if (!x86_desc_is_system(desc.raw) || x86_desc_type(desc.raw) != X86_TYPE_LDT ||
	    !x86_desc_present(desc.raw))
		x86_raise_code(cpu, VEC_TS, error);
	cpu->seg[SEG_LDTR] = x86_segment_from(selector, desc.raw);
}

static void load_code(struct x86_cpu *cpu, uint16_t selector, uint32_t ext)
{
	struct x86_descriptor desc;
	uint32_t error = (selector & 0xfffcu) | ext;
	unsigned rpl = selector & 3, dpl;

	if (x86_selector_is_null(selector))
		x86_raise_code(cpu, VEC_TS, error);
	x86_descriptor_read_or(cpu, selector, &desc, VEC_TS, ext);
	dpl = x86_desc_dpl(desc.raw);
	if (!x86_desc_is_code(desc.raw))
		x86_raise_code(cpu, VEC_TS, error);
	if (x86_desc_is_conforming(desc.raw) ? dpl > rpl : dpl != rpl)
		x86_raise_code(cpu, VEC_TS, error);
	if (!x86_desc_present(desc.raw))
		x86_raise_code(cpu, VEC_NP, error);
	x86_segment_load_cs(cpu, &desc, rpl);
}

static void load_stack(struct x86_cpu *cpu, uint16_t selector, uint32_t ext)
{
	struct x86_descriptor desc;

	if (x86_selector_is_null(selector))
		x86_raise_code(cpu, VEC_TS, ext);
	x86_stack_segment_check(cpu, selector, cpu->cpl, VEC_TS, ext, &desc);
	x86_descriptor_touch(cpu, &desc);
	cpu->seg[SEG_SS] = x86_segment_from(selector, desc.raw);
}

static void load_data(struct x86_cpu *cpu, unsigned seg, uint16_t selector, uint32_t ext)
{
	struct x86_descriptor desc;
	uint32_t error = (selector & 0xfffcu) | ext;
	unsigned dpl;

	if (x86_selector_is_null(selector)) {
		x86_segment_load_null(cpu, seg, selector);
		return;
	}
	x86_descriptor_read_or(cpu, selector, &desc, VEC_TS, ext);
	dpl = x86_desc_dpl(desc.raw);
	if (!x86_desc_is_readable(desc.raw))
		x86_raise_code(cpu, VEC_TS, error);
	if (!(x86_desc_is_code(desc.raw) && x86_desc_is_conforming(desc.raw)) &&
	    (dpl < cpu->cpl || dpl < (selector & 3u)))
		x86_raise_code(cpu, VEC_TS, error);
	if (!x86_desc_present(desc.raw))
		x86_raise_code(cpu, VEC_NP, error);
	x86_descriptor_touch(cpu, &desc);
	cpu->seg[seg] = x86_segment_from(selector, desc.raw);
}

/* Checks in the context of the new task. */
static void load_segments(struct x86_cpu *cpu, const struct task_image *image, uint32_t ext)
{
	static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	load_ldt(cpu, image->ldt, ext);
	if (image->flags & FLAG_VM) {
		x86_segments_load_v86(cpu, image->selector);
		return;
	}
	load_code(cpu, image->selector[SEG_CS], ext);
	load_stack(cpu, image->selector[SEG_SS], ext);
	for (size_t i = 0; i < sizeof(data); i++)
		load_data(cpu, data[i], image->selector[data[i]], ext);
}

/* The error code of an exception goes onto the handler task's stack, in the width of its TSS. */
static void push_error_code(struct x86_cpu *cpu, const struct x86_task_switch *task)
{
	struct x86_stack stack = x86_stack_current(cpu);

	if (!task->event || !task->event->has_code)
		return;
	stack.error = task->ext;
	x86_stack_push(cpu, &stack, task->event->code, cpu->seg[SEG_TR].attributes & 8 ? 4 : 2);
	x86_stack_commit(cpu, &stack);
}

void x86_task_switch(struct x86_cpu *cpu, const struct x86_task_switch *task)
{
	struct x86_descriptor desc;
	struct task_image image;

	check_descriptor(cpu, task, &desc);
	probe_all(cpu, task, &desc);
	image = load_image(cpu, &desc);
	save_old(cpu, task);
	change_task(cpu, task, &desc);
	if (task->source == X86_TASK_CALL || task->source == X86_TASK_EVENT)
		image.flags |= FLAG_NT;
	load_registers(cpu, &image);
	load_cr3(cpu, image.cr3);
	load_segments(cpu, &image, task->ext);
	push_error_code(cpu, task);
	if (cpu->rip > cpu->seg[SEG_CS].limit)
		x86_raise_code(cpu, VEC_GP, task->ext);
	if (image.trap) {
		cpu->pending_db |= DR6_BT;
		cpu->debug_active = true;
	}
	cpu->step_late = true;
}

void x86_task_return(struct x86_cpu *cpu, uint64_t return_rip)
{
	uint16_t link = x86_sys_ld(cpu, (uint32_t)cpu->seg[SEG_TR].base, 2);

	x86_task_switch(cpu, &(struct x86_task_switch){.source = X86_TASK_IRET,
						       .selector = link,
						       .return_rip = return_rip,
						       .flags = x86_eflags_get(cpu) & ~FLAG_RF});
}
