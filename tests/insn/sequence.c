/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences. What one instruction leaves undefined must not be seen by a later one: flags are tracked,
 * and rows with other freedom (images with pointers, AMD's POPA) stay out.
 */
#include "tests/insn/sequence.h"

#include <string.h>

#include "insn_gen.h"

#define SEQUENCE_MAX 6u
#define INT3         0xcc
#define COUNTER      64u /* offset in DATA */

struct placed {
	struct x86_insn in;
	unsigned at;
};

struct sequence {
	struct random *random;
	const struct x86_decode_mode *mode;
	struct oracle_case *test;
	struct placed placed[SEQUENCE_MAX];
	unsigned count;
	uint32_t undefined; /* flags now undefined */
};

static bool is_transcendental(const struct x86_insn *in)
{
	return in->opcode == 0xd9 && in->mod == 3 && (in->reg & 7) >= 6;
}

static bool row_fits(const struct x86_row *row)
{
	static const char *const left_out[] = {
		"popa",     "cmps",     "shld", "shrd",     "fxsave",     "fxrstor",     "hlt",   "int1",
		"wrfsbase", "wrgsbase", "lsl",  "maskmovq", "maskmovdqu", "vmaskmovdqu", "vdpps", "vdppd",
	};

	for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
		if (!strcmp(row->mnemonic, left_out[i]))
			return false;
	return !(row->properties & (X86_PROP_JUMP | X86_PROP_CPL0));
}

/* Later instructions find their base registers changed: mostly registers, or addresses that need none. */
static bool insn_fits(struct sequence *s, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	const bool image = x86_insn_is_mem(in) && (in->opcode == 0xd9 || in->opcode == 0xdd) &&
			   ((in->reg & 7) == 6 || (in->reg & 7) == 4);

	if ((row->properties & X86_PROP_FPU) && s->undefined) /* FCMOVcc among them */
		return false;
	if ((row->flags_read & s->undefined) || is_transcendental(in) ||
	    ((row->properties & X86_PROP_FPU) && image))
		return false;
	return !x86_insn_is_mem(in) || in->base == REG_RIP || in->base == REG_ZERO ||
	       random_one_in(s->random, 3);
}

static bool is_conditional_writer(const struct x86_row *row)
{
	return (row->properties & X86_PROP_STRING) ||
	       (row->flags_undefined & FLAG_AF && row->flags_undefined & FLAG_OF);
}

static bool add_insn(struct sequence *s)
{
	const struct oracle_form *form = &oracle_forms[random_below(s->random, (unsigned)x86_row_count)];
	const struct x86_row *row = &x86_rows[form->row];
	struct placed *placed = &s->placed[s->count];

	if (!generate_wanted(row, form->row) || !row_fits(row) ||
	    !generate_code(s->random, s->mode, form, s->test->code + s->test->code_size, &placed->in) ||
	    !insn_fits(s, &placed->in))
		return false;
	placed->at = s->test->code_size;
	s->test->code_size += placed->in.len;
	s->count++;
	/* A shift by zero and a string of length zero leave the flags as they were. */
	if (!is_conditional_writer(row))
		s->undefined &= ~row->flags_written;
	s->undefined |= row->flags_undefined;
	s->test->undefined_flags |= row->flags_undefined;
	s->test->has_masks |= placed->in.encoding == X86_ENC_EVEX;
	return true;
}

/* Jcc, LOOPcc, JrCXZ or JMP over the next instruction; filled in when that is known. */
static unsigned add_jump(struct sequence *s)
{
	const unsigned at = s->test->code_size;
	const unsigned kind = random_below(s->random, 20);

	if (s->undefined)
		return 0;
	s->test->code[at] = (uint8_t)(kind < 16 ? 0x70 + kind : kind < 19 ? 0xe1 + (kind - 16) : 0xeb);
	s->test->code_size = at + 2;
	return at;
}

/*
 * sub dword ptr [COUNTER], 1; jnz start: the block runs a few times, links to itself and meets its own
 * results.
 */
static void add_loop(struct sequence *s)
{
	static const uint8_t count_down[] = {0x83, 0x2c, 0x25};
	const uint32_t counter = ORACLE_DATA + COUNTER;
	uint8_t *code = s->test->code + s->test->code_size;
	int32_t back;

	memcpy(code, count_down, 3);
	memcpy(code + 3, &counter, 4);
	code[7] = 1;
	code[8] = 0x0f;
	code[9] = 0x85;
	s->test->code_size += 14;
	back = -(int32_t)s->test->code_size;
	memcpy(code + 10, &back, 4);
}

/* What bounds a loop; in a corner that operands seldom reach. */
static void set_counter(struct sequence *s)
{
	const uint32_t count = 1 + random_below(s->random, 12);

	memcpy(s->test->data + COUNTER, &count, sizeof(count));
}

void sequence_generate(struct random *random, const struct x86_decode_mode *mode, struct oracle_case *test)
{
	struct sequence s = {.random = random, .mode = mode, .test = test};
	const unsigned wanted = 2 + random_below(random, SEQUENCE_MAX - 1);

	test->code_size = 0;
	test->undefined_flags = 0;
	test->has_masks = false;
	while (s.count < wanted) {
		const bool jumps = s.count && random_one_in(random, 3);
		const unsigned jump = jumps ? add_jump(&s) : 0, start = test->code_size;
		const uint32_t undefined = s.undefined;

		while (!add_insn(&s))
			;
		if (jump) {
			test->code[jump + 1] = (uint8_t)(test->code_size - start);
			s.undefined |= undefined;
		}
	}
	if (random_one_in(random, 3))
		add_loop(&s);
	test->code[test->code_size++] = INT3;
	test->state.rip = ORACLE_CODE + (random_one_in(random, 4) ? ORACLE_PAGE - random_below(random, 60)
								  : random_below(random, 1024));
	generate_state(random, test);
	for (unsigned i = s.count; i-- > 0;)
		generate_aim(random, &s.placed[i].in, s.placed[i].at, test);
	set_counter(&s);
}
