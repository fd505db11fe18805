/* SPDX-License-Identifier: Apache-2.0 */
/* The flat memory and flags behind tests of system behaviour; see x86_flat.h. Never linked with the engine's
 * own. */
#include "tests/unit/x86_flat.h"
#include "tcg-fallback/core/trace.h"

static struct flat *flat_of(struct x86_cpu *cpu)
{
	return (struct flat *)(void *)cpu;
}

static uint8_t *at(struct x86_cpu *cpu, uint64_t linear, size_t len, bool write)
{
	struct flat *flat = flat_of(cpu);

	if (linear + len > flat->pf_from && linear < flat->pf_to)
		x86_raise_pf(cpu, linear, write ? 2 : 0);
	if (linear > FLAT_RAM - len)
		x86_raise_pf(cpu, linear, write ? 2 : 0);
	return flat->ram + linear;
}

uint64_t x86_linear(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len, bool write)
{
	const struct x86_segment *s = &cpu->seg[seg];

	if (x86_is_64bit(cpu))
		return offset + (seg == SEG_FS || seg == SEG_GS ? s->base : 0);
	if (!s->usable || offset + len - 1 > s->limit)
		x86_raise_code(cpu, seg == SEG_SS ? VEC_SS : VEC_GP, 0);
	return (uint32_t)(s->base + offset);
}

uint64_t x86_ld(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned size_bytes)
{
	uint64_t value = 0;

	memcpy(&value, at(cpu, x86_linear(cpu, seg, offset, size_bytes, false), size_bytes, false),
	       size_bytes);
	return value;
}

void x86_st(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	memcpy(at(cpu, x86_linear(cpu, seg, offset, size_bytes, true), size_bytes, true), &value, size_bytes);
}

uint8_t x86_ld8(struct x86_cpu *cpu, unsigned seg, uint64_t offset)
{
	return x86_ld(cpu, seg, offset, 1);
}

uint16_t x86_ld16(struct x86_cpu *cpu, unsigned seg, uint64_t offset)
{
	return x86_ld(cpu, seg, offset, 2);
}

uint32_t x86_ld32(struct x86_cpu *cpu, unsigned seg, uint64_t offset)
{
	return x86_ld(cpu, seg, offset, 4);
}

uint64_t x86_ld64(struct x86_cpu *cpu, unsigned seg, uint64_t offset)
{
	return x86_ld(cpu, seg, offset, 8);
}

void x86_st16(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint16_t value)
{
	x86_st(cpu, seg, offset, value, 2);
}

void x86_st32(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint32_t value)
{
	x86_st(cpu, seg, offset, value, 4);
}

void x86_ld_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, void *dst, size_t len)
{
	memcpy(dst, at(cpu, x86_linear(cpu, seg, offset, len, false), len, false), len);
}

void x86_st_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, const void *src, size_t len)
{
	memcpy(at(cpu, x86_linear(cpu, seg, offset, len, true), len, true), src, len);
}

void x86_check_alignment(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned alignment, bool write)
{
}

void x86_probe_write(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len)
{
	at(cpu, x86_linear(cpu, seg, offset, len, true), len, true);
}

uint64_t x86_sys_ld(struct x86_cpu *cpu, uint64_t linear, unsigned size_bytes)
{
	uint64_t value = 0;

	memcpy(&value, at(cpu, linear, size_bytes, false), size_bytes);
	return value;
}

void x86_sys_st(struct x86_cpu *cpu, uint64_t linear, uint64_t value, unsigned size_bytes)
{
	memcpy(at(cpu, linear, size_bytes, true), &value, size_bytes);
}

void x86_sys_probe(struct x86_cpu *cpu, uint64_t linear, size_t len, bool write)
{
	at(cpu, linear, len, write);
}

void x86_sys_or8(struct x86_cpu *cpu, uint64_t linear, uint8_t bits)
{
	*at(cpu, linear, 1, true) |= bits;
}

void x86_sys_clear8(struct x86_cpu *cpu, uint64_t linear, uint8_t bits)
{
	*at(cpu, linear, 1, true) &= ~bits;
}

void x86_priv_st(struct x86_cpu *cpu, uint64_t linear, uint64_t value, unsigned size_bytes, bool user)
{
	x86_sys_st(cpu, linear, value, size_bytes);
}

uint64_t x86_priv_ld(struct x86_cpu *cpu, uint64_t linear, unsigned size_bytes, bool user)
{
	return x86_sys_ld(cpu, linear, size_bytes);
}

uint64_t x86_phys_ld64(struct x86_cpu *cpu, uint64_t gpa)
{
	return gpa > FLAT_RAM - 8 ? UINT64_MAX : flat_get(flat_of(cpu), gpa, 8);
}

void x86_tlb_flush_all(struct x86_cpu *cpu)
{
	flat_of(cpu)->flushes++;
}

void x86_tlb_flush_nonglobal(struct x86_cpu *cpu)
{
	flat_of(cpu)->flushes++;
}

void x86_tlb_flush_pcid(struct x86_cpu *cpu, int pcid)
{
	flat_of(cpu)->flushes++;
}

void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t linear, int pcid)
{
	flat_of(cpu)->flushes++;
}

void x86_tlb_context_changed(struct x86_cpu *cpu)
{
}

uint32_t x86_eflags_get(struct x86_cpu *cpu)
{
	return (cpu->eflags & ~FLAGS_STATUS) | (uint32_t)cpu->cc.result | FLAG_ONE;
}

void x86_eflags_set(struct x86_cpu *cpu, uint32_t value, uint32_t mask)
{
	uint32_t all = (x86_eflags_get(cpu) & ~mask) | (value & mask);

	cpu->cc.result = all & FLAGS_STATUS;
	cpu->eflags = (all & ~FLAGS_STATUS) | FLAG_ONE;
	x86_mode_changed(cpu);
}

bool x86_pvclock_offered(const struct x86_cpu *cpu)
{
	return false;
}

void x86_pvclock_write_time(struct x86_cpu *cpu)
{
}

void x86_pvclock_write_wall(struct x86_cpu *cpu)
{
}

uint64_t x86_tsc_read(struct x86_cpu *cpu)
{
	return 1000000 + (uint64_t)cpu->tsc_offset;
}

uint64_t x86_insn_ea(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	return (uint64_t)in->disp;
}

static uint64_t pio_read(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes)
{
	struct flat *flat = opaque;

	flat->port = port;
	return flat->port_value;
}

static void pio_write(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes)
{
	struct flat *flat = opaque;

	flat->port = port;
	flat->port_value = value;
}

struct flat *flat_create(void)
{
	struct flat *flat = aligned_alloc(64, (sizeof(*flat) + 63) & ~(size_t)63);

	assert_non_null(flat);
	memset(flat, 0, sizeof(*flat));
	flat->host = (struct x86_host){.opaque = flat, .pio_read = pio_read, .pio_write = pio_write};
	flat->leaf[0] = (struct x86_cpuid_leaf){
		.leaf = 0, .eax = 0x16, .ebx = 0x756e6547, .edx = 0x49656e69, .ecx = 0x6c65746e};
	flat->leaf[1] = (struct x86_cpuid_leaf){.leaf = 1, .eax = 0x106ca};
	flat->leaf[2] = (struct x86_cpuid_leaf){.leaf = 0xd, .subleaf_matters = true, .eax = 0x203};
	flat->leaf[3] = (struct x86_cpuid_leaf){.leaf = 0x16, .eax = 1600};
	flat->cpu.cpuid = flat->leaf;
	flat->cpu.cpuid_count = 4;
	flat->cpu.host = &flat->host;
	flat->cpu.phys_mask = (1ull << 40) - 1;
	memset(flat->cpu.feature, 0xff, sizeof(flat->cpu.feature));
	x86_cpu_reset(&flat->cpu, false);
	return flat;
}

int flat_run(struct flat *flat, x86_slow_fn *fn, const struct x86_insn *in)
{
	sigjmp_buf here;

	flat->cpu.unwind = &here;
	if (sigsetjmp(here, 0) != 0) {
		flat->cpu.unwind = NULL;
		return flat->cpu.fault.vector;
	}
	fn(&flat->cpu, in);
	flat->cpu.unwind = NULL;
	return -1;
}

uint64_t flat_descriptor(uint32_t base, uint32_t limit, uint16_t attributes)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attributes & 0xf0ff) << 40 |
	       (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56;
}

uint64_t flat_gate(uint16_t selector, uint32_t offset, uint8_t access, unsigned count)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)count << 32 | (uint64_t)access << 40 |
	       (uint64_t)(offset >> 16) << 48;
}

void flat_put(struct flat *flat, uint64_t where, uint64_t value, unsigned size_bytes)
{
	memcpy(flat->ram + where, &value, size_bytes);
}

uint64_t flat_get(const struct flat *flat, uint64_t where, unsigned size_bytes)
{
	uint64_t value = 0;

	memcpy(&value, flat->ram + where, size_bytes);
	return value;
}

/* Nothing is traced. */
bool x86_trace_wants(const struct x86_cpu *cpu, enum x86_trace_kind kind)
{
	return false;
}

void x86_trace_begin(const struct x86_cpu *cpu)
{
}

void x86_trace_line(const struct x86_cpu *cpu, const char *format, ...)
{
}

void x86_trace_end(const struct x86_cpu *cpu)
{
}

void flat_enter_long_mode(struct flat *flat, unsigned cpl)
{
	struct x86_cpu *cpu = &flat->cpu;

	cpu->cr0 |= CR0_PE | CR0_PG;
	cpu->cr4 |= CR4_PAE;
	cpu->efer = EFER_LME | EFER_LMA | EFER_SCE;
	cpu->seg[SEG_CS] = x86_segment_flat(0x10 | cpl, true, true, cpl);
	cpu->seg[SEG_SS] = x86_segment_flat(0x18 | cpl, false, false, cpl);
	cpu->cpl = cpl;
	x86_mode_changed(cpu);
}
