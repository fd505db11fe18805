/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General forms of the string instructions. Each element is complete in itself: registers are up to date when
 * a fault or an interrupt comes between two, and RIP stays at the instruction until the count is used up.
 * Long runs within a page of plain RAM go through host pointers. Intel SDM vol. 1, 7.3.9; vol. 2, REP.
 */
#include <string.h>

#include "insn_gen.h"
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

/* Whole elements that may be taken at once upwards from seg:offset: within the page, no segment check to
 * make. */
static uint64_t string_room(const struct x86_cpu *cpu, const struct string *s, unsigned seg, uint64_t offset,
			    uint64_t count)
{
	const struct x86_segment *segment = &cpu->seg[seg];
	const bool flat =
		cpu->mode_bits == 64 || (segment->usable && !segment->base && segment->limit == UINT32_MAX &&
					 SEG_ATTR_TYPE(segment->attributes) < 4);
	const uint64_t linear =
		offset + (cpu->mode_bits == 64 && seg != SEG_FS && seg != SEG_GS ? 0 : segment->base);
	const uint64_t room = (STRING_PAGE - (linear & (STRING_PAGE - 1))) / s->width;

	if (!flat || s->step < 0 ||
	    (s->in->addrsize != 8 && offset > gen_mask(s->in->addrsize) - STRING_PAGE))
		return 0;
	return room < count ? room : count;
}

static void *string_span(struct x86_cpu *cpu, const struct string *s, unsigned seg, uint64_t offset,
			 uint64_t elements, bool write)
{
	return x86_span(cpu, x86_linear(cpu, seg, offset, elements * s->width, write), elements * s->width,
			write);
}

/* MOVS. Overlapping runs whose destination lies just above the source spread bytes: element by element then.
 */
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
	if (!dst || (dst > src && dst < src + elements * s->width))
		return 0;
	memmove(dst, src, elements * s->width);
	return elements;
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
	for (uint64_t i = 0; i < elements; i++)
		memcpy(dst + i * width, &value, width);
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

/* CMPS and SCAS: F3 goes on while equal, F2 while not. The flags are those of the last comparison; none when
 * the count is 0. */
static void compare_strings(struct x86_cpu *cpu, const struct x86_insn *in, bool with_memory)
{
	const struct string s = string_begin(cpu, in);
	uint64_t count;

	while ((count = string_count(cpu, &s))) {
		const uint64_t a = with_memory
					   ? x86_ld(cpu, in->seg, string_address(cpu, &s, REG_RSI), s.width)
					   : gen_register_get(cpu, REG_RAX, s.width);
		const uint64_t b = x86_ld(cpu, s.dst_seg, string_address(cpu, &s, REG_RDI), s.width);

		x86_eflags_set(cpu, gen_flags_sub(a, b, 0, s.width), FLAGS_STATUS);
		if (with_memory)
			string_advance(cpu, &s, REG_RSI, 1);
		string_advance(cpu, &s, REG_RDI, 1);
		string_count_down(cpu, &s, 1);
		if (in->rep == X86_REP_NONE || count == 1 || (a == b) != (in->rep == X86_REP_F3))
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
