/* SPDX-License-Identifier: Apache-2.0 */
/* The rig of engine_rig.h. */
#include "tests/unit/engine_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/jit_env.h"

static void port_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
	struct rig *rig = opaque;

	if (port == RIG_PORT_MARK)
		rig->mark = (uintptr_t)__builtin_frame_address(0);
	if (port != RIG_PORT_EXIT)
		return;
	atomic_fetch_add(&rig->exits, 1);
	x86_cpu_post(rig->cpu[cpu], ATTENTION_KICK);
}

static uint64_t port_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	return UINT64_MAX;
}

static uint64_t mmio_read(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes)
{
	struct rig *rig = opaque;

	rig->mmio_gpa = gpa;
	rig->mmio_size = size_bytes;
	return rig->mmio_value;
}

static void mmio_write(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes)
{
	struct rig *rig = opaque;

	rig->mmio_gpa = gpa;
	rig->mmio_size = size_bytes;
	rig->mmio_value = value;
}

static int no_interrupt(void *opaque, unsigned cpu)
{
	return -1;
}

static uint64_t cr8_read(void *opaque, unsigned cpu)
{
	return 0;
}

static void cr8_write(void *opaque, unsigned cpu, uint64_t value)
{
}

static bool apic_msr_read(void *opaque, unsigned cpu, uint32_t index, uint64_t *value)
{
	return false;
}

static bool apic_msr_write(void *opaque, unsigned cpu, uint32_t index, uint64_t value)
{
	return false;
}

static void ferr(void *opaque, unsigned cpu, bool level)
{
}

/* Everything that exists: the tests of single features are elsewhere. */
static const struct x86_cpuid_leaf leaves[] = {
	{.leaf = 1, .ecx = ~(1u << 12 | 1u << 28), .edx = ~0u},
	{.leaf = 7, .ebx = ~(1u << 5), .ecx = ~0u, .edx = 0},
	{.leaf = 0x80000001, .ecx = ~0u, .edx = ~0u},
	{.leaf = 0x80000008, .eax = 0x3028},
};

static void put64(struct rig *rig, uint64_t gpa, uint64_t value)
{
	memcpy(rig->ram + gpa, &value, sizeof(value));
}

/* One gigabyte by pages of 2 MiB, each where it is. */
static void build_tables(struct rig *rig)
{
	put64(rig, RIG_PML4, 0x2003);
	put64(rig, 0x2000, 0x3003);
	for (unsigned i = 0; i < 512; i++)
		put64(rig, 0x3000 + 8 * i, ((uint64_t)i << 21) | 0x83);
}

static void enter_long_mode(struct x86_cpu *cpu)
{
	const struct x86_segment data = {
		.limit = UINT32_MAX, .attributes = 0xc093, .selector = 0x10, .usable = true};

	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		cpu->seg[i] = data;
	cpu->seg[SEG_CS].attributes = 0xa09b;
	cpu->seg[SEG_CS].selector = 8;
	cpu->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
	cpu->cr4 = CR4_PAE | CR4_OSFXSR;
	cpu->efer = EFER_LME | EFER_LMA | EFER_NXE;
	cpu->cr3 = RIG_PML4;
	cpu->cpl = 0;
	cpu->wait_for_sipi = false;
	cpu->r[REG_RSP] = RIG_STACK + 4096 * cpu->index;
	x86_mode_changed(cpu);
}

int rig_init(struct rig *rig, unsigned cpu_count)
{
	*rig = (struct rig){.cpu_count = cpu_count};
	rig->host = (struct x86_host){.opaque = rig,
				      .mmio_read = mmio_read,
				      .mmio_write = mmio_write,
				      .pio_read = port_read,
				      .pio_write = port_write,
				      .intr_acknowledge = no_interrupt,
				      .apic_msr_read = apic_msr_read,
				      .apic_msr_write = apic_msr_write,
				      .cr8_read = cr8_read,
				      .cr8_write = cr8_write,
				      .ferr = ferr};
	rig->ram = mmap(NULL, RIG_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (rig->ram == MAP_FAILED)
		return -1;
	build_tables(rig);
	rig->vm = x86_vm_create(cpu_count, &rig->host);
	if (rig->vm)
		jit_from_environment(rig->vm);
	if (!rig->vm || x86_vm_map(rig->vm, 0, RIG_RAM_SIZE, rig->ram, false))
		return -1;
	for (unsigned i = 0; i < cpu_count; i++) {
		rig->cpu[i] = x86_cpu_create(rig->vm, i, leaves, sizeof(leaves) / sizeof(leaves[0]));
		if (!rig->cpu[i])
			return -1;
		enter_long_mode(rig->cpu[i]);
	}
	return 0;
}

void rig_free(struct rig *rig)
{
	for (unsigned i = 0; i < rig->cpu_count; i++)
		x86_cpu_destroy(rig->cpu[i]);
	x86_vm_destroy(rig->vm);
	munmap(rig->ram, RIG_RAM_SIZE);
}

void rig_load(struct rig *rig, unsigned cpu, uint64_t gpa, const void *code, const void *end)
{
	size_t len = (size_t)((const uint8_t *)end - (const uint8_t *)code);

	memcpy(rig->ram + gpa, code, len);
	x86_vm_written(rig->vm, gpa, len);
	rig->cpu[cpu]->rip = gpa;
}

enum x86_exit rig_run(struct rig *rig, unsigned cpu)
{
	return x86_cpu_run(rig->cpu[cpu]);
}
