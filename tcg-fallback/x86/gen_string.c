/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General forms of the string instructions. Each element is complete in itself: registers are up to date when
 * a fault or an interrupt comes between two, and RIP stays at the instruction until the count is used up.
 * Long runs within a page of plain RAM go through host pointers. Intel SDM vol. 1, 7.3.9; vol. 2, REP.
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/core/tlb.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mem.h"

#define STRING_PAGE 4096u /* spans never cross a page */

/* One instruction under way. */
struct string {
	const struct x86_insn *in;
	unsigned width;   /* of an element */
	int64_t step;     /* +width or -width, by DF */
	unsigned dst_seg; /* ES, or none in 64-bit mode */
};

/* The element's width: byte rows have operand size 1. */
static struct string string_begin(const struct x86_cpu *cpu, const struct x86_insn *in)
{
	const int64_t width = in->opsize;

	return (struct string){
		.in = in,
		.width = in->opsize,
		.step = cpu->eflags & FLAG_DF ? -width : width,
		.dst_seg = cpu->mode_bits == 64 ? SEG_FLAT : SEG_ES,
	};
}

static uint64_t string_address(const struct x86_cpu *cpu, const struct string *s, unsigned number)
{
	return cpu->r[number] & gen_mask(s->in->addrsize);
}

static void string_advance(struct x86_cpu *cpu, const struct string *s, unsigned number, uint64_t elements)
{
	gen_register_set(cpu, number, s->in->addrsize, cpu->r[number] + (uint64_t)s->step * elements);
}

static uint64_t string_count(const struct x86_cpu *cpu, const struct string *s)
{
	return s->in->rep == X86_REP_NONE ? 1 : cpu->r[REG_RCX] & gen_mask(s->in->addrsize);
}

static void string_count_down(struct x86_cpu *cpu, const struct string *s, uint64_t elements)
{
	if (s->in->rep != X86_REP_NONE)
		gen_register_set(cpu, REG_RCX, s->in->addrsize, cpu->r[REG_RCX] - elements);
}

static void string_end(struct x86_cpu *cpu, const struct string *s)
{
	const uint64_t next = cpu->rip + s->in->len;

	cpu->rip = cpu->mode_bits == 64 ? next : (uint32_t)next;
}

/* Between two elements: does somebody want the CPU (or does a trap follow each iteration)? */
static bool string_interrupted(struct x86_cpu *cpu)
{
	return atomic_load_explicit(&cpu->attention, memory_order_relaxed) || cpu->debug_active;
}

/* Whole elements that may be taken at once from seg:offset on, up or down: within the page, no segment check
 * to make. */
static uint64_t string_room(const struct x86_cpu *cpu, const struct string *s, unsigned seg, uint64_t offset,
			    uint64_t count)
{
	const struct x86_segment *segment = &cpu->seg[seg];
	const bool flat =
		cpu->mode_bits == 64 || (segment->usable && !segment->base && segment->limit == UINT32_MAX &&
					 SEG_ATTR_TYPE(segment->attributes) < 4);
	const uint64_t linear =
		offset + (cpu->mode_bits == 64 && seg != SEG_FS && seg != SEG_GS ? 0 : segment->base);
	const uint64_t above = STRING_PAGE - (linear & (STRING_PAGE - 1));
	const uint64_t below = (linear & (STRING_PAGE - 1)) / s->width + 1;
	const uint64_t room = s->step > 0 ? above / s->width : above < s->width ? 0 : below;

	if (!flat || (s->in->addrsize != 8 && (s->step > 0 ? offset > gen_mask(s->in->addrsize) - STRING_PAGE
							   : offset < STRING_PAGE)))
		return 0;
	return room < count ? room : count;
}

/* The lowest of the elements. Downwards what the TLB has is all: a fault must name the first element. */
static void *string_span(struct x86_cpu *cpu, const struct string *s, unsigned seg, uint64_t offset,
			 uint64_t elements, bool write)
{
	const unsigned len = (unsigned)(elements * s->width);
	void *span = NULL;

	if (s->step < 0)
		offset -= len - s->width;
	if (cpu->mode_bits == 64 && seg != SEG_FS && seg != SEG_GS)
		span = write ? x86_tlb_write(cpu, offset, len) : x86_tlb_read(cpu, offset, len);
	if (span || s->step < 0)
		return span;
	return x86_span(cpu, x86_linear(cpu, seg, offset, elements * s->width, write), elements * s->width,
			write);
}

/*
 * What copying element by element, upwards, gives where the destination begins within the source: its first
 * bytes again and again. What is there already doubles with each copy.
 */
static void spread(uint8_t *dst, const uint8_t *src, size_t len)
{
	const size_t period = (size_t)(dst - src);
	size_t done = 0;

	while (done < len) {
		const size_t piece = len - done < period + done ? len - done : period + done;

		memcpy(dst + done, src, piece);
		done += piece;
	}
}

/* Copies as the elements' order says; false: it spreads parts of elements, or downwards. */
static bool string_copy(const struct string *s, uint8_t *dst, const uint8_t *src, size_t len)
{
	const bool up = s->step > 0;

	if (up ? dst <= src || dst >= src + len : dst >= src || src >= dst + len)
		memmove(dst, src, len);
	else if (up && dst >= src + s->width)
		spread(dst, src, len);
	else
		return false;
	return true;
}

/* MOVS. */
static uint64_t movs_run(struct x86_cpu *cpu, const struct string *s, uint64_t count)
{
	const uint64_t from = string_address(cpu, s, REG_RSI), to = string_address(cpu, s, REG_RDI);
	uint64_t elements = string_room(cpu, s, s->in->seg, from, count);
	const uint8_t *src;
	uint8_t *dst;

	elements = elements ? string_room(cpu, s, s->dst_seg, to, elements) : 0;
	if (elements < 2)
		return 0;
	src = string_span(cpu, s, s->in->seg, from, elements, false);
	dst = src ? string_span(cpu, s, s->dst_seg, to, elements, true) : NULL;
	return dst && string_copy(s, dst, src, elements * s->width) ? elements : 0;
}

static uint64_t movs_one(struct x86_cpu *cpu, const struct string *s)
{
	const uint64_t value = x86_ld(cpu, s->in->seg, string_address(cpu, s, REG_RSI), s->width);

	x86_st(cpu, s->dst_seg, string_address(cpu, s, REG_RDI), value, s->width);
	return 1;
}

GEN(movs)
{
	const struct string s = string_begin(cpu, in);
	uint64_t count;

	while ((count = string_count(cpu, &s))) {
		uint64_t done = movs_run(cpu, &s, count);

		done = done ? done : movs_one(cpu, &s);
		string_advance(cpu, &s, REG_RSI, done);
		string_advance(cpu, &s, REG_RDI, done);
		string_count_down(cpu, &s, done);
		if (in->rep == X86_REP_NONE || done == count)
			break;
		if (string_interrupted(cpu))
			return;
	}
	string_end(cpu, &s);
}

static void fill(uint8_t *dst, uint64_t value, unsigned width, uint64_t elements)
{
	if (width == 1 || !value) {
		memset(dst, (int)(value & 0xff), elements * width);
		return;
	}
	memcpy(dst, &value, width);
	spread(dst + width, dst, (elements - 1) * width);
}

static uint64_t stos_run(struct x86_cpu *cpu, const struct string *s, uint64_t value, uint64_t count)
{
	const uint64_t to = string_address(cpu, s, REG_RDI);
	const uint64_t elements = string_room(cpu, s, s->dst_seg, to, count);
	uint8_t *dst = elements > 1 ? string_span(cpu, s, s->dst_seg, to, elements, true) : NULL;

	if (!dst)
		return 0;
	fill(dst, value, s->width, elements);
	return elements;
}

GEN(stos)
{
	const struct string s = string_begin(cpu, in);
	const uint64_t value = gen_register_get(cpu, REG_RAX, s.width);
	uint64_t count;

	while ((count = string_count(cpu, &s))) {
		uint64_t done = stos_run(cpu, &s, value, count);

		if (!done) {
			x86_st(cpu, s.dst_seg, string_address(cpu, &s, REG_RDI), value, s.width);
			done = 1;
		}
		string_advance(cpu, &s, REG_RDI, done);
		string_count_down(cpu, &s, done);
		if (in->rep == X86_REP_NONE || done == count)
			break;
		if (string_interrupted(cpu))
			return;
	}
	string_end(cpu, &s);
}

GEN(lods)
{
	const struct string s = string_begin(cpu, in);
	uint64_t count;

	while ((count = string_count(cpu, &s))) {
		const uint64_t value = x86_ld(cpu, in->seg, string_address(cpu, &s, REG_RSI), s.width);

		gen_register_set(cpu, REG_RAX, s.width, value);
		string_advance(cpu, &s, REG_RSI, 1);
		string_count_down(cpu, &s, 1);
		if (in->rep == X86_REP_NONE || count == 1)
			break;
		if (string_interrupted(cpu))
			return;
	}
	string_end(cpu, &s);
}

static uint64_t element(const uint8_t *at, unsigned width)
{
	uint64_t value = 0;

	switch (width) {
	case 1: return *at;
	case 2: memcpy(&value, at, 2); return value;
	case 4: memcpy(&value, at, 4); return value;
	default: memcpy(&value, at, 8); return value;
	}
}

/* A comparison under way: of memory with memory, or with the accumulator. */
struct comparison {
	const uint8_t *a; /* NULL: the accumulator */
	const uint8_t *b;
	uint64_t value; /* of the accumulator */
	unsigned width;
	bool while_equal;
};

/* Elements that surely do not end it, as many as can be told quickly. */
static uint64_t compare_skip(const struct comparison *c, uint64_t count)
{
	const uint8_t *found;
	uint64_t bytes = 0;

	if (c->a && c->while_equal) {
		while (bytes + 8 <= count * c->width && element(c->a + bytes, 8) == element(c->b + bytes, 8))
			bytes += 8;
		return bytes / c->width;
	}
	if (c->a || c->while_equal || c->width != 1)
		return 0;
	found = memchr(c->b, (int)c->value, count);
	return found ? (uint64_t)(found - c->b) : count;
}

/* The element that ends it, or count. */
static uint64_t compare_find(const struct comparison *c, uint64_t count)
{
	uint64_t i = compare_skip(c, count);

	for (; i < count; i++) {
		const uint64_t b = element(c->b + i * c->width, c->width);
		const uint64_t a = c->a ? element(c->a + i * c->width, c->width) : c->value;

		if ((a == b) != c->while_equal)
			break;
	}
	return i;
}

/* Compares upwards within pages; the number of elements done, whose last one is left to the caller for its
 * flags. */
static uint64_t compare_run(struct x86_cpu *cpu, const struct string *s, bool with_memory, uint64_t count)
{
	const uint64_t from = string_address(cpu, s, REG_RSI), to = string_address(cpu, s, REG_RDI);
	uint64_t elements = s->step > 0 && count > 1 ? string_room(cpu, s, s->dst_seg, to, count) : 0;
	struct comparison c = {.width = s->width, .while_equal = s->in->rep == X86_REP_F3};

	if (with_memory && elements)
		elements = string_room(cpu, s, s->in->seg, from, elements);
	if (elements < 2)
		return 0;
	if (with_memory) {
		c.a = string_span(cpu, s, s->in->seg, from, elements, false);
		if (!c.a)
			return 0;
	} else {
		c.value = gen_register_get(cpu, REG_RAX, s->width);
	}
	c.b = string_span(cpu, s, s->dst_seg, to, elements, false);
	if (!c.b)
		return 0;
	return compare_find(&c, elements - 1);
}

/* One element; true when the comparison may go on. */
static bool compare_one(struct x86_cpu *cpu, const struct string *s, bool with_memory)
{
	const uint64_t a = with_memory ? x86_ld(cpu, s->in->seg, string_address(cpu, s, REG_RSI), s->width)
				       : gen_register_get(cpu, REG_RAX, s->width);
	const uint64_t b = x86_ld(cpu, s->dst_seg, string_address(cpu, s, REG_RDI), s->width);

	x86_eflags_set(cpu, gen_flags_sub(a, b, 0, s->width), FLAGS_STATUS);
	return (a == b) == (s->in->rep == X86_REP_F3);
}

static void compare_advance(struct x86_cpu *cpu, const struct string *s, bool with_memory, uint64_t elements)
{
	if (with_memory)
		string_advance(cpu, s, REG_RSI, elements);
	string_advance(cpu, s, REG_RDI, elements);
	string_count_down(cpu, s, elements);
}

/* CMPS and SCAS: F3 goes on while equal, F2 while not. The flags are those of the last comparison; none when
 * the count is 0. */
static void compare_strings(struct x86_cpu *cpu, const struct x86_insn *in, bool with_memory)
{
	const struct string s = string_begin(cpu, in);
	uint64_t count;
	bool more;

	while ((count = string_count(cpu, &s))) {
		const uint64_t skipped = compare_run(cpu, &s, with_memory, count);

		if (skipped) /* an advance by none would still cut the registers to the address size */
			compare_advance(cpu, &s, with_memory, skipped);
		more = compare_one(cpu, &s, with_memory);
		compare_advance(cpu, &s, with_memory, 1);
		if (in->rep == X86_REP_NONE || count == skipped + 1 || !more)
			break;
		if (string_interrupted(cpu))
			return;
	}
	string_end(cpu, &s);
}

GEN(cmps)
{
	compare_strings(cpu, in, true);
}

GEN(scas)
{
	compare_strings(cpu, in, false);
}
