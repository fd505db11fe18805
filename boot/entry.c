/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot CPU's registers for the three modes in which kernels are entered, and the tables that those
 * registers point to.
 *
 *     GDT     0x00 null   0x08 null   0x10 code   0x18 data   0x20 TSS (two entries in 64-bit mode)
 *     paging  PML4[0] -> PDPT[0..3] -> four page directories of 512 pages of 2 MiB: 0 - 4 GiB, writable,
 * supervisor
 */
#include "boot/entry.h"

#include <string.h>

#include "boot/layout.h"
#include "vmm/core/gmem.h"

#define ENTRY_CR0_PE   0x00000001u
#define ENTRY_CR0_ET   0x00000010u /* always reads 1 */
#define ENTRY_CR0_PG   0x80000000u
#define ENTRY_CR4_PAE  0x20u
#define ENTRY_EFER_LME 0x100u
#define ENTRY_EFER_LMA 0x400u
#define ENTRY_RFLAGS   0x2u /* bit 1 always reads 1; interrupts off */

#define ENTRY_PTE_PRESENT  0x01u
#define ENTRY_PTE_WRITABLE 0x02u
#define ENTRY_PDE_LARGE    0x80u
#define ENTRY_LARGE_PAGE   (2ull << 20)
#define ENTRY_TABLE_LEN    512

#define ENTRY_GDT_LEN 6

/* Attributes as in struct x86_segment_state: access byte, then AVL, L, D/B, G in bits 12-15. */
#define ENTRY_CODE32 0xc09b
#define ENTRY_CODE64 0xa09b
#define ENTRY_DATA32 0xc093
#define ENTRY_CODE16 0x009b
#define ENTRY_DATA16 0x0093
#define ENTRY_TSS    0x008b

/*
 *   63      56 55  52 51     48 47      40 39              16 15           0
 *   base 31:24 flags  lim 19:16 access     base 23:0          limit 15:0
 */
static uint64_t entry_descriptor(const struct x86_segment_state *segment)
{
	uint64_t limit = segment->attributes & 0x8000 ? segment->limit >> 12 : segment->limit;

	return (limit & 0xffff) | (segment->base & 0xffffff) << 16 |
	       (uint64_t)(segment->attributes & 0xff) << 40 | (limit >> 16 & 0xf) << 48 |
	       (uint64_t)(segment->attributes >> 12) << 52 | (segment->base >> 24 & 0xff) << 56;
}

static struct x86_segment_state entry_flat_segment(uint16_t selector, uint16_t attributes)
{
	return (struct x86_segment_state){
		.limit = 0xffffffff, .selector = selector, .attributes = attributes};
}

static int entry_set_flat_segments(struct gmem *gmem, struct x86_cpu_state *cpu, uint16_t code_attributes)
{
	struct x86_segment_state data = entry_flat_segment(ENTRY_SELECTOR_DATA, ENTRY_DATA32);
	uint64_t gdt[ENTRY_GDT_LEN] = {0};

	cpu->segment[X86_CS] = entry_flat_segment(ENTRY_SELECTOR_CODE, code_attributes);
	cpu->segment[X86_DS] = cpu->segment[X86_ES] = cpu->segment[X86_SS] = data;
	cpu->segment[X86_FS] = cpu->segment[X86_GS] = data;
	cpu->segment[X86_TR] = (struct x86_segment_state){
		.limit = 0x67, .selector = ENTRY_SELECTOR_TSS, .attributes = ENTRY_TSS};
	gdt[ENTRY_SELECTOR_CODE / 8] = entry_descriptor(&cpu->segment[X86_CS]);
	gdt[ENTRY_SELECTOR_DATA / 8] = entry_descriptor(&data);
	gdt[ENTRY_SELECTOR_TSS / 8] = entry_descriptor(&cpu->segment[X86_TR]);
	cpu->gdtr = (struct x86_table_state){.base = LAYOUT_GDT_GPA, .limit = sizeof(gdt) - 1};
	cpu->idtr = (struct x86_table_state){0};
	return gmem_write(gmem, LAYOUT_GDT_GPA, gdt, sizeof(gdt));
}

static void entry_set_registers(struct x86_cpu_state *cpu, uint64_t rip)
{
	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpu->rip = rip;
	cpu->rflags = ENTRY_RFLAGS;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = 0;
	cpu->efer = 0;
	cpu->mp_state = X86_MP_RUNNABLE;
}

static int entry_write_table(struct gmem *gmem, uint64_t table_gpa, uint64_t first, uint64_t step,
			     unsigned count)
{
	uint64_t table[ENTRY_TABLE_LEN] = {0};

	for (unsigned i = 0; i < count; i++)
		table[i] = first + i * step;
	return gmem_write(gmem, table_gpa, table, sizeof(table));
}

static int entry_write_page_tables(struct gmem *gmem)
{
	uint64_t flags = ENTRY_PTE_PRESENT | ENTRY_PTE_WRITABLE;
	int ret = entry_write_table(gmem, LAYOUT_PML4_GPA, LAYOUT_PDPT_GPA | flags, 0, 1);

	if (!ret)
		ret = entry_write_table(gmem, LAYOUT_PDPT_GPA, LAYOUT_PD_GPA | flags, 4096, LAYOUT_PD_COUNT);
	for (unsigned i = 0; i < LAYOUT_PD_COUNT && !ret; i++)
		ret = entry_write_table(gmem, LAYOUT_PD_GPA + i * 4096ull,
					i * ENTRY_TABLE_LEN * ENTRY_LARGE_PAGE | flags | ENTRY_PDE_LARGE,
					ENTRY_LARGE_PAGE, ENTRY_TABLE_LEN);
	return ret;
}

int entry_set_long_mode(struct gmem *gmem, struct x86_cpu_state *cpu, uint64_t entry_gpa)
{
	int ret = entry_set_flat_segments(gmem, cpu, ENTRY_CODE64);

	if (!ret)
		ret = entry_write_page_tables(gmem);
	entry_set_registers(cpu, entry_gpa);
	cpu->gpr[X86_RSP] = LAYOUT_STACK_GPA;
	cpu->cr0 = ENTRY_CR0_PE | ENTRY_CR0_ET | ENTRY_CR0_PG;
	cpu->cr3 = LAYOUT_PML4_GPA;
	cpu->cr4 = ENTRY_CR4_PAE;
	cpu->efer = ENTRY_EFER_LME | ENTRY_EFER_LMA;
	return ret;
}

int entry_set_protected_mode(struct gmem *gmem, struct x86_cpu_state *cpu, uint32_t entry_gpa)
{
	int ret = entry_set_flat_segments(gmem, cpu, ENTRY_CODE32);

	entry_set_registers(cpu, entry_gpa);
	cpu->gpr[X86_RSP] = LAYOUT_STACK_GPA;
	cpu->cr0 = ENTRY_CR0_PE | ENTRY_CR0_ET;
	return ret;
}

void entry_set_real_mode(struct x86_cpu_state *cpu, uint32_t entry_gpa)
{
	uint16_t paragraph = entry_gpa < 0x10000 ? 0 : (uint16_t)(entry_gpa >> 4);
	struct x86_segment_state data = {.limit = 0xffff, .attributes = ENTRY_DATA16};

	entry_set_registers(cpu, entry_gpa - paragraph * 16u);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		cpu->segment[i] = data;
	cpu->segment[X86_CS] = (struct x86_segment_state){
		.base = paragraph * 16u, .limit = 0xffff, .selector = paragraph, .attributes = ENTRY_CODE16};
	cpu->gdtr = (struct x86_table_state){.limit = 0xffff};
	cpu->idtr = (struct x86_table_state){.limit = 0x3ff};
	cpu->cr0 = ENTRY_CR0_ET;
	cpu->gpr[X86_RSP] = LAYOUT_FLAT_GPA;
	cpu->gpr[X86_RDX] = 0x80;
}
