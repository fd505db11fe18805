/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accesses that instructions make beside their operands: descriptor tables and TSS by linear address with
 * supervisor rights, stacks at an explicit privilege, guest-physical reads. Intel SDM vol. 3, 4.6.1 (implicit
 * supervisor-mode accesses).
 */
#include <string.h>

#include "tcg-fallback/x86/access.h"

/* One access of up to 8 bytes that may cross a page; raises like any other. */
static void system_access(struct x86_cpu *cpu, uint64_t linear, void *value, size_t len,
			  enum x86_access access, enum x86_tlb_class class)
{
	struct x86_place place[2];
	size_t first = PAGE_SIZE - (linear & (PAGE_SIZE - 1));

	if (!cpu->long_mode)
		linear = (uint32_t)linear;
	x86_check_canonical(cpu, SEG_DS, linear, len);
	if (first > len)
		first = len;
	place[0] = x86_locate(cpu, linear, access, class);
	if (first < len)
		place[1] = x86_locate(cpu, cpu->long_mode ? linear + first : (uint32_t)(linear + first),
				      access, class);
	if (!value)
		return;
	for (size_t done = 0, i = 0; done < len; i++) {
		size_t piece = i ? len - first : first;

		x86_place_copy(cpu, &place[i], (uint8_t *)value + done, piece, access == X86_WRITE);
		done += piece;
	}
}

uint64_t x86_sys_ld(struct x86_cpu *cpu, uint64_t linear, unsigned size_bytes)
{
	uint64_t value = 0;

	system_access(cpu, linear, &value, size_bytes, X86_READ, TLB_SUPERVISOR);
	return value;
}

void x86_sys_st(struct x86_cpu *cpu, uint64_t linear, uint64_t value, unsigned size_bytes)
{
	system_access(cpu, linear, &value, size_bytes, X86_WRITE, TLB_SUPERVISOR);
}

void x86_sys_probe(struct x86_cpu *cpu, uint64_t linear, size_t len, bool write)
{
	system_access(cpu, linear, NULL, len, write ? X86_WRITE : X86_READ, TLB_SUPERVISOR);
}

/* Where the byte is no memory, a plain write is all that a device can be given. */
static void system_change8(struct x86_cpu *cpu, uint64_t linear, uint8_t set, uint8_t clear)
{
	struct x86_place place;

	if (!cpu->long_mode)
		linear = (uint32_t)linear;
	x86_check_canonical(cpu, SEG_DS, linear, 1);
	place = x86_locate(cpu, linear, X86_WRITE, TLB_SUPERVISOR);
	if (place.hva && !place.read_only) {
		if (set)
			__atomic_fetch_or(place.hva, set, __ATOMIC_SEQ_CST);
		if (clear)
			__atomic_fetch_and(place.hva, (uint8_t)~clear, __ATOMIC_SEQ_CST);
		x86_vm_wrote(cpu, place.gpa, 1);
		return;
	}
	x86_sys_st(cpu, linear, (x86_sys_ld(cpu, linear, 1) | set) & ~(uint64_t)clear, 1);
}

void x86_sys_or8(struct x86_cpu *cpu, uint64_t linear, uint8_t bits)
{
	system_change8(cpu, linear, bits, 0);
}

void x86_sys_clear8(struct x86_cpu *cpu, uint64_t linear, uint8_t bits)
{
	system_change8(cpu, linear, 0, bits);
}

static enum x86_tlb_class stack_class(const struct x86_cpu *cpu, bool user)
{
	if (user)
		return TLB_USER;
	return cpu->cpl < 3 && (cpu->eflags & FLAG_AC) ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
}

void x86_priv_st(struct x86_cpu *cpu, uint64_t linear, uint64_t value, unsigned size_bytes, bool user)
{
	system_access(cpu, linear, &value, size_bytes, X86_WRITE, stack_class(cpu, user));
}

uint64_t x86_priv_ld(struct x86_cpu *cpu, uint64_t linear, unsigned size_bytes, bool user)
{
	uint64_t value = 0;

	system_access(cpu, linear, &value, size_bytes, X86_READ, stack_class(cpu, user));
	return value;
}

uint64_t x86_phys_ld64(struct x86_cpu *cpu, uint64_t gpa)
{
	const struct x86_region *region;

	gpa &= cpu->phys_mask & cpu->a20_mask;
	region = x86_vm_region(cpu->vm, gpa);
	if (!region || region->size_bytes - (gpa - region->gpa) < 8)
		return UINT64_MAX;
	return GUEST_LD(guest64, region->hva + (gpa - region->gpa));
}

void x86_phys_st64(struct x86_cpu *cpu, uint64_t gpa, uint64_t value)
{
	const struct x86_region *region;

	gpa &= cpu->phys_mask & cpu->a20_mask;
	region = x86_vm_region(cpu->vm, gpa);
	if (!region || region->read_only || region->size_bytes - (gpa - region->gpa) < 8)
		return;
	GUEST_ST(guest64, region->hva + (gpa - region->gpa), value);
	x86_region_note_write(region, gpa);
	x86_vm_written(cpu->vm, gpa, 8);
}
