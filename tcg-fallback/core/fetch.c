/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instruction bytes for decoding, one instruction at a time: from RAM, across pages, or from a device.
 */
#include <string.h>

#include "tcg-fallback/core/code.h"
#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/system.h"

void x86_code_decode_mode(const struct x86_cpu *cpu, unsigned mode, struct x86_decode_mode *decode)
{
	*decode = cpu->code->decode;
	decode->bits = (uint8_t)(16u << (mode & CODE_MODE_BITS_MASK));
	decode->stack32 = mode & CODE_MODE_STACK32;
	decode->protected_mode = mode & CODE_MODE_PROTECTED;
	decode->near_branch_66 = !x86_vendor_is_intel(cpu);
}

/* Devices are read byte by byte: nothing is known of how much of them may be read. */
static void fetch_piece(struct x86_cpu *cpu, const struct x86_place *place, uint8_t *bytes, unsigned len)
{
	if (place->hva) {
		memcpy(bytes, place->hva, len);
		return;
	}
	for (unsigned i = 0; i < len; i++)
		bytes[i] = (uint8_t)cpu->host->mmio_read(cpu->host->opaque, cpu->index, place->gpa + i, 1);
}

/* The next page's bytes count only when it can be fetched from without a fault: the instruction may end
 * before it. */
static bool fetchable(struct x86_cpu *cpu, uint64_t linear, struct x86_place *place)
{
	struct x86_mapping mapping;
	const struct x86_region *region;
	uint32_t code;

	if (!x86_canonical(cpu, linear) ||
	    x86_mmu_walk(cpu, linear, X86_EXECUTE, cpu->tlb->class, &mapping, &code))
		return false;
	region = x86_vm_region(cpu->vm, mapping.gpa);
	*place = (struct x86_place){.gpa = mapping.gpa,
				    .hva = region ? region->hva + (mapping.gpa - region->gpa) : NULL};
	return true;
}

unsigned x86_code_fetch(struct x86_cpu *cpu, uint64_t linear, uint8_t bytes[X86_INSN_LEN_MAX])
{
	unsigned first = PAGE_SIZE - (linear & ~PAGE_MASK);
	struct x86_place place = x86_locate(cpu, linear, X86_EXECUTE, cpu->tlb->class);
	uint64_t second = linear + first;

	if (first > X86_INSN_LEN_MAX)
		first = X86_INSN_LEN_MAX;
	fetch_piece(cpu, &place, bytes, first);
	if (first == X86_INSN_LEN_MAX)
		return first;
	if (!fetchable(cpu, cpu->mode_bits == 64 ? second : (uint32_t)second, &place))
		return first;
	fetch_piece(cpu, &place, bytes + first, X86_INSN_LEN_MAX - first);
	return X86_INSN_LEN_MAX;
}

void x86_code_fetch_more(struct x86_cpu *cpu, uint64_t linear)
{
	if (cpu->mode_bits != 64)
		linear = (uint32_t)linear;
	x86_check_canonical(cpu, SEG_CS, linear, 1);
	x86_locate(cpu, linear, X86_EXECUTE, cpu->tlb->class);
}
