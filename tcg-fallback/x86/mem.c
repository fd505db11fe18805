/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as instructions see it, in full: segment checks, canonical form, translation, alignment
 * checking, data breakpoints, devices, page-crossing. The inline lookups of tlb.h are tried first. Intel SDM
 * vol. 3: 5.3 (limits), 5.4 (types), 3.3.7.1 (canonical), 6.15 (#AC).
 */
#include "tcg-fallback/x86/mem.h"

#include <string.h>

#include "tcg-fallback/x86/access.h"
#include "tcg-fallback/x86/system.h"

static _Noreturn void raise_segment(struct x86_cpu *cpu, unsigned seg)
{
	x86_raise_code(cpu, seg == SEG_SS ? VEC_SS : VEC_GP, 0);
}

void x86_check_canonical(struct x86_cpu *cpu, unsigned seg, uint64_t linear, size_t len)
{
	if (!x86_canonical(cpu, linear) || !x86_canonical(cpu, linear + len - 1))
		raise_segment(cpu, seg);
}

/* Type bits: 8 code, 4 expand-down (data) or conforming, 2 writable (data) or readable (code). */
static bool type_allows(const struct x86_segment *s, bool write)
{
	unsigned type = SEG_ATTR_TYPE(s->attributes);

	if (write)
		return (type & 0xa) == 2;
	return !(type & 8) || (type & 2);
}

static bool limit_allows(const struct x86_segment *s, uint64_t offset, size_t len)
{
	uint64_t last = offset + len - 1;

	if ((s->attributes & 0xc) == 4) /* expand-down data: valid above the limit */
		return offset > s->limit && last <= ((s->attributes & SEG_ATTR_DB) ? 0xffffffffu : 0xffffu);
	return last <= s->limit;
}

uint64_t x86_segment_check(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len, bool write)
{
	const struct x86_segment *s = &cpu->seg[seg];
	bool protected_mode = (cpu->cr0 & CR0_PE) && !(cpu->eflags & FLAG_VM);

	if (seg == SEG_FLAT)
		return (uint32_t)offset;
	if (protected_mode && (!s->usable || !type_allows(s, write)))
		raise_segment(cpu, seg);
	if (!limit_allows(s, offset, len))
		raise_segment(cpu, seg);
	return (uint32_t)(s->base + offset);
}

uint64_t x86_linear(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len, bool write)
{
	uint64_t linear = x86_linear_of(cpu, seg, offset, len, write);

	x86_check_canonical(cpu, seg, linear, len);
	return linear;
}

/* What the tables hold for this access already; hva NULL and gpa all ones: nothing. */
static struct x86_place place_cached(struct x86_cpu *cpu, uint64_t linear, enum x86_access access,
				     struct x86_tlb_table *table)
{
	struct x86_place none = {.gpa = UINT64_MAX};
	struct x86_tlb_entry *entry;
	uint64_t page = linear & PAGE_MASK, info;
	struct x86_place place;

	if (!table)
		return none;
	entry = &table->entry[x86_tlb_index(linear)];
	info = table->info[x86_tlb_index(linear)];
	if (access == X86_READ      ? entry->rd != page
	    : access == X86_EXECUTE ? entry->ex != page
				    : entry->rd != page)
		return none;
	if (access == X86_WRITE && entry->wr != page && !(info & TLB_INFO_WRITABLE))
		return none;
	place = (struct x86_place){.hva = (uint8_t *)(uintptr_t)(linear + entry->addend),
				   .gpa = (info & PAGE_MASK) | (linear & ~PAGE_MASK),
				   .read_only = info & TLB_INFO_READ_ONLY};
	if (access == X86_WRITE && entry->wr != page && !place.read_only) {
		const struct x86_region *region = x86_vm_region(cpu->vm, place.gpa);

		if (region)
			x86_region_note_write(region, place.gpa);
		/* The code that kept the page from being written inline may be gone by now. */
		if (region &&
		    !atomic_load_explicit(x86_region_lines(region, place.gpa), memory_order_relaxed))
			entry->wr = page;
	}
	return place;
}

static struct x86_place place_walked(struct x86_cpu *cpu, uint64_t linear, enum x86_access access,
				     enum x86_tlb_class class)
{
	const struct x86_region *region;
	struct x86_mapping mapping;
	struct x86_place place;
	uint32_t code;
	enum x86_tlb_store store = TLB_STORE_INLINE;

	if (x86_mmu_walk(cpu, linear, access, class, &mapping, &code))
		x86_raise_pf(cpu, linear, code);
	place = (struct x86_place){.gpa = mapping.gpa | (linear & ~PAGE_MASK)};
	region = x86_vm_region(cpu->vm, mapping.gpa);
	if (!region)
		return place;
	place.hva = region->hva + (place.gpa - region->gpa);
	place.read_only = region->read_only;
	if (region->read_only)
		store = TLB_STORE_ROM;
	else if (access == X86_WRITE)
		x86_region_note_write(region, mapping.gpa);
	else if (region->written)
		store = TLB_STORE_SLOW; /* the first store must be seen */
	if (store == TLB_STORE_INLINE &&
	    atomic_load_explicit(x86_region_lines(region, mapping.gpa), memory_order_relaxed))
		store = TLB_STORE_SLOW;
	x86_tlb_enter(cpu, class, linear, &mapping, region->hva + (mapping.gpa - region->gpa), store);
	return place;
}

struct x86_place x86_locate(struct x86_cpu *cpu, uint64_t linear, enum x86_access access,
			    enum x86_tlb_class class)
{
	struct x86_tlb_table *table = x86_tlb_table_of(cpu, class);
	struct x86_place place = place_cached(cpu, linear, access, table);

	if (place.hva)
		return place;
	if (x86_tlb_refill_global(cpu, class, linear)) {
		place = place_cached(cpu, linear, access, table);
		if (place.hva)
			return place;
	}
	return place_walked(cpu, linear, access, class);
}

/* The largest naturally aligned piece of an access to a device. */
static unsigned mmio_piece(uint64_t gpa, size_t len)
{
	unsigned size = 8;

	while (size > len || (gpa & (size - 1)))
		size >>= 1;
	return size;
}

static void mmio_read(struct x86_cpu *cpu, uint64_t gpa, uint8_t *dst, size_t len)
{
	while (len) {
		unsigned size = mmio_piece(gpa, len);
		uint64_t value = cpu->host->mmio_read(cpu->host->opaque, cpu->index, gpa, size);

		memcpy(dst, &value, size);
		gpa += size;
		dst += size;
		len -= size;
	}
}

static void mmio_write(struct x86_cpu *cpu, uint64_t gpa, const uint8_t *src, size_t len)
{
	while (len) {
		unsigned size = mmio_piece(gpa, len);
		uint64_t value = 0;

		memcpy(&value, src, size);
		cpu->host->mmio_write(cpu->host->opaque, cpu->index, gpa, value, size);
		gpa += size;
		src += size;
		len -= size;
	}
}

static void place_read(struct x86_cpu *cpu, const struct x86_place *place, void *dst, size_t len)
{
	if (!place->hva) {
		mmio_read(cpu, place->gpa, dst, len);
		return;
	}
	switch (len) {
	case 1: *(uint8_t *)dst = GUEST_LD(guest8, place->hva); break;
	case 2: *(guest16 *)dst = GUEST_LD(guest16, place->hva); break;
	case 4: *(guest32 *)dst = GUEST_LD(guest32, place->hva); break;
	case 8: *(guest64 *)dst = GUEST_LD(guest64, place->hva); break;
	default: memcpy(dst, place->hva, len); break;
	}
}

static void place_write(struct x86_cpu *cpu, const struct x86_place *place, const void *src, size_t len)
{
	if (!place->hva) {
		mmio_write(cpu, place->gpa, src, len);
		return;
	}
	if (place->read_only)
		return;
	switch (len) {
	case 1: GUEST_ST(guest8, place->hva, *(const guest8 *)src); break;
	case 2: GUEST_ST(guest16, place->hva, *(const guest16 *)src); break;
	case 4: GUEST_ST(guest32, place->hva, *(const guest32 *)src); break;
	case 8: GUEST_ST(guest64, place->hva, *(const guest64 *)src); break;
	default: memcpy(place->hva, src, len); break;
	}
	x86_vm_wrote(cpu, place->gpa, (unsigned)len);
}

void x86_place_copy(struct x86_cpu *cpu, const struct x86_place *place, void *value, size_t len, bool write)
{
	if (write)
		place_write(cpu, place, value, len);
	else
		place_read(cpu, place, value, len);
}

/* The one or two places of an access. Returns the bytes that lie on the first page. */
static unsigned places(struct x86_cpu *cpu, uint64_t linear, size_t len, enum x86_access access,
		       enum x86_tlb_class class, struct x86_place place[2])
{
	size_t first = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
	uint64_t second = linear + first;

	if (first > len)
		first = len;
	place[0] = x86_locate(cpu, linear, access, class);
	if (first < len)
		place[1] = x86_locate(cpu, cpu->mode_bits == 64 ? second : (uint32_t)second, access, class);
	return (unsigned)first;
}

static void places_read(struct x86_cpu *cpu, uint64_t linear, void *dst, size_t len, enum x86_tlb_class class)
{
	struct x86_place place[2];
	unsigned first = places(cpu, linear, len, X86_READ, class, place);

	place_read(cpu, &place[0], dst, first);
	if (first < len)
		place_read(cpu, &place[1], (uint8_t *)dst + first, len - first);
}

static void places_write(struct x86_cpu *cpu, uint64_t linear, const void *src, size_t len,
			 enum x86_tlb_class class)
{
	struct x86_place place[2];
	unsigned first = places(cpu, linear, len, X86_WRITE, class, place);

	place_write(cpu, &place[0], src, first);
	if (first < len)
		place_write(cpu, &place[1], (const uint8_t *)src + first, len - first);
}

/* Alignment checking is on and the access is misaligned. On hardware this comes before #PF, after #GP and
 * #SS. */
static void check_alignment(struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	if (cpu->cpl == 3 && (cpu->eflags & FLAG_AC) && (cpu->cr0 & CR0_AM) && (linear & (size - 1)))
		x86_raise_code(cpu, VEC_AC, 0);
}

void x86_check_alignment(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned alignment, bool write)
{
	if (cpu->eflags & FLAG_AC)
		check_alignment(cpu, x86_linear(cpu, seg, offset, alignment, write), alignment);
}

uint64_t x86_linear_ld(struct x86_cpu *cpu, unsigned seg, uint64_t linear, unsigned size)
{
	uint64_t value = 0;

	x86_check_canonical(cpu, seg, linear, size);
	check_alignment(cpu, linear, size);
	places_read(cpu, linear, &value, size, cpu->tlb->class);
	if (cpu->debug_active)
		x86_debug_data(cpu, linear, size, false);
	return value;
}

void x86_linear_st(struct x86_cpu *cpu, unsigned seg, uint64_t linear, uint64_t value, unsigned size)
{
	x86_check_canonical(cpu, seg, linear, size);
	check_alignment(cpu, linear, size);
	places_write(cpu, linear, &value, size, cpu->tlb->class);
	if (cpu->debug_active)
		x86_debug_data(cpu, linear, size, true);
}

#define ACCESSORS(bits, bytes)                                                                               \
	uint##bits##_t x86_ld##bits(struct x86_cpu *cpu, unsigned seg, uint64_t offset)                      \
	{                                                                                                    \
		uint64_t linear = x86_linear_of(cpu, seg, offset, bytes, false);                             \
		const void *p = x86_tlb_read(cpu, linear, bytes);                                            \
                                                                                                             \
		return p ? GUEST_LD(guest##bits, p)                                                          \
			 : (uint##bits##_t)x86_linear_ld(cpu, seg, linear, bytes);                           \
	}                                                                                                    \
                                                                                                             \
	void x86_st##bits(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint##bits##_t value)          \
	{                                                                                                    \
		uint64_t linear = x86_linear_of(cpu, seg, offset, bytes, true);                              \
		void *p = x86_tlb_write(cpu, linear, bytes);                                                 \
                                                                                                             \
		if (p)                                                                                       \
			GUEST_ST(guest##bits, p, value);                                                     \
		else                                                                                         \
			x86_linear_st(cpu, seg, linear, value, bytes);                                       \
	}
ACCESSORS(8, 1)
ACCESSORS(16, 2)
ACCESSORS(32, 4)
ACCESSORS(64, 8)

uint64_t x86_ld(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned size_bytes)
{
	switch (size_bytes) {
	case 1: return x86_ld8(cpu, seg, offset);
	case 2: return x86_ld16(cpu, seg, offset);
	case 4: return x86_ld32(cpu, seg, offset);
	default: return x86_ld64(cpu, seg, offset);
	}
}

void x86_st(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	switch (size_bytes) {
	case 1: x86_st8(cpu, seg, offset, (uint8_t)value); break;
	case 2: x86_st16(cpu, seg, offset, (uint16_t)value); break;
	case 4: x86_st32(cpu, seg, offset, (uint32_t)value); break;
	default: x86_st64(cpu, seg, offset, value); break;
	}
}

void x86_ld_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, void *dst, size_t len)
{
	uint64_t linear = x86_linear_of(cpu, seg, offset, len, false);
	const void *p = x86_tlb_read(cpu, linear, (unsigned)len);

	if (p) {
		memcpy(dst, p, len);
		return;
	}
	x86_check_canonical(cpu, seg, linear, len);
	places_read(cpu, linear, dst, len, cpu->tlb->class);
	if (cpu->debug_active)
		x86_debug_data(cpu, linear, (unsigned)len, false);
}

void x86_st_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, const void *src, size_t len)
{
	uint64_t linear = x86_linear_of(cpu, seg, offset, len, true);
	void *p = x86_tlb_write(cpu, linear, (unsigned)len);

	if (p) {
		memcpy(p, src, len);
		return;
	}
	x86_check_canonical(cpu, seg, linear, len);
	places_write(cpu, linear, src, len, cpu->tlb->class);
	if (cpu->debug_active)
		x86_debug_data(cpu, linear, (unsigned)len, true);
}

void x86_probe_write_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len)
{
	uint64_t linear = x86_linear_of(cpu, seg, offset, len, true);
	struct x86_place place[2];

	if (x86_tlb_write(cpu, linear, (unsigned)len))
		return;
	x86_check_canonical(cpu, seg, linear, len);
	places(cpu, linear, len, X86_WRITE, cpu->tlb->class, place);
}

void x86_probe_write(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len)
{
	if ((cpu->eflags & FLAG_AC) && len <= 16 && !(len & (len - 1)))
		check_alignment(cpu, x86_linear(cpu, seg, offset, len, true), (unsigned)len);
	x86_probe_write_bytes(cpu, seg, offset, len);
}

/* Can the host's atomics change the value in place? Misaligned ones could be split between two lines. */
static bool lockable(const struct x86_cpu *cpu, uint64_t linear, unsigned size)
{
	return !(linear & (size - 1)) || cpu->vm->cpu_count == 1;
}

/*
 * What x86_vm_wrote does may stop all CPUs, so an exclusive section ends before the code marks are looked at:
 * writes inside it are raw.
 */
static void places_write_raw(struct x86_cpu *cpu, const struct x86_place place[2], unsigned first,
			     const void *src, unsigned len)
{
	for (unsigned i = 0; i < (first < len ? 2 : 1); i++) {
		const uint8_t *from = (const uint8_t *)src + (i ? first : 0);
		unsigned piece = i ? len - first : first;

		if (!place[i].hva)
			mmio_write(cpu, place[i].gpa, from, piece);
		else if (!place[i].read_only)
			memcpy(place[i].hva, from, piece);
	}
}

/* A compare-and-swap that no host instruction can do: misaligned, page-crossing, ROM or a device. Alone, it
 * is atomic. */
static bool swap_alone(struct x86_cpu *cpu, const struct x86_place place[2], unsigned first, void *expected,
		       const void *desired, unsigned len)
{
	uint8_t found[16];
	bool same;

	x86_vm_exclusive_begin(cpu);
	place_read(cpu, &place[0], found, first);
	if (first < len)
		place_read(cpu, &place[1], found + first, len - first);
	same = memcmp(found, expected, len) == 0;
	places_write_raw(cpu, place, first, same ? desired : found, len);
	x86_vm_exclusive_end(cpu);
	memcpy(expected, found, len);
	return same;
}

/* A register that counts is never found as it was just read: comparing again could go on for ever. */
static bool swap_device(struct x86_cpu *cpu, const struct x86_place place[2], unsigned first,
			const void *desired, unsigned len)
{
	places_write_raw(cpu, place, first, desired, len);
	return true;
}

#define SWAP(bits)                                                                                           \
	do {                                                                                                 \
		uint##bits##_t want = (uint##bits##_t) * expected;                                           \
		bool done = __atomic_compare_exchange_n((uint##bits##_t *)(void *)p, &want,                  \
							(uint##bits##_t)desired, false, __ATOMIC_SEQ_CST,    \
							__ATOMIC_SEQ_CST);                                   \
		*expected = want;                                                                            \
		return done;                                                                                 \
	} while (0)

static bool swap_host(uint8_t *p, uint64_t *expected, uint64_t desired, unsigned size)
{
	switch (size) {
	case 1: SWAP(8);
	case 2: SWAP(16);
	case 4: SWAP(32);
	default: SWAP(64);
	}
}

#ifdef __x86_64__
/* The host's own instruction: no library, and lock-free. */
static bool swap_host128(uint8_t *p, uint64_t want[2], const uint64_t desired[2])
{
	bool done;

	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(done), "+m"(*(unsigned __int128 *)(void *)p), "+a"(want[0]), "+d"(want[1])
			 : "b"(desired[0]), "c"(desired[1])
			 : "memory");
	return done;
}
#else
static bool swap_host128(uint8_t *p, uint64_t want[2], const uint64_t desired[2])
{
	unsigned __int128 old = (unsigned __int128)want[1] << 64 | want[0];
	bool done = __atomic_compare_exchange_n((unsigned __int128 *)(void *)p, &old,
						(unsigned __int128)desired[1] << 64 | desired[0], false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

	want[0] = (uint64_t)old;
	want[1] = (uint64_t)(old >> 64);
	return done;
}
#endif

/* The places of a locked operation, checked; *direct: the host's atomics can serve it. */
static unsigned swap_places(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned size,
			    struct x86_place place[2], bool *direct)
{
	uint64_t linear = x86_linear_of(cpu, seg, offset, size, true);
	unsigned first;

	x86_check_canonical(cpu, seg, linear, size);
	first = places(cpu, linear, size, X86_WRITE, cpu->tlb->class, place);
	if (size <= 8)
		check_alignment(cpu, linear, size);
	*direct = first == size && place[0].hva && !place[0].read_only && lockable(cpu, linear, size);
	if (cpu->debug_active)
		x86_debug_data(cpu, linear, size, true);
	return first;
}

static void swap_done(struct x86_cpu *cpu, const struct x86_place place[2], unsigned first, unsigned size)
{
	if (place[0].hva)
		x86_vm_wrote(cpu, place[0].gpa, first);
	if (first < size && place[1].hva)
		x86_vm_wrote(cpu, place[1].gpa, size - first);
}

bool x86_cas(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned size_bytes, uint64_t *expected,
	     uint64_t desired)
{
	struct x86_place place[2];
	bool direct, done;
	unsigned first = swap_places(cpu, seg, offset, size_bytes, place, &direct);

	if (direct)
		done = swap_host(place[0].hva, expected, desired, size_bytes);
	else if (!place[0].hva || (first < size_bytes && !place[1].hva))
		done = swap_device(cpu, place, first, &desired, size_bytes);
	else
		done = swap_alone(cpu, place, first, expected, &desired, size_bytes);
	swap_done(cpu, place, first, size_bytes);
	return done;
}

bool x86_cas128(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint64_t expected[2],
		const uint64_t desired[2])
{
	struct x86_place place[2];
	bool direct, done;
	unsigned first = swap_places(cpu, seg, offset, 16, place, &direct);

	if (direct && !(place[0].gpa & 15))
		done = swap_host128(place[0].hva, expected, desired);
	else
		done = swap_alone(cpu, place, first, expected, desired, 16);
	swap_done(cpu, place, first, 16);
	return done;
}

bool x86_mem_fill(struct x86_cpu *cpu, uint64_t linear, bool write)
{
	if (cpu->tlb_hot == cpu->tlb->none || !x86_canonical(cpu, linear))
		return false;
	x86_locate(cpu, linear, write ? X86_WRITE : X86_READ, cpu->tlb->class);
	return (write ? x86_tlb_write(cpu, linear, 1) : x86_tlb_read(cpu, linear, 1)) != NULL;
}

static void *span_cached(const struct x86_cpu *cpu, uint64_t linear, size_t len, bool write)
{
	return write ? x86_tlb_write(cpu, linear, (unsigned)len) : x86_tlb_read(cpu, linear, (unsigned)len);
}

void *x86_span(struct x86_cpu *cpu, uint64_t linear, size_t len, bool write)
{
	void *span = span_cached(cpu, linear, len, write);

	if (!span && x86_mem_fill(cpu, linear, write))
		span = span_cached(cpu, linear, len, write);
	return span;
}
