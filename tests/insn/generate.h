/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes experiments from rows of insn.tab: bytes of the row's encoding and a state in which they have
 * something to do.
 */
#pragma once

#include "tcg-fallback/x86/insn.h"
#include "tests/insn/oracle.h"
#include "tests/insn/random.h"

/* How a row is encoded. Bit n of a mask: the value n is possible. Made from insn.tab by forms.py. */
struct oracle_form {
	uint16_t row;
	bool vex, evex, modrm;
	bool vvvv; /* VEX.vvvv is an operand */
	uint8_t map, opcode;
	uint8_t opcode_count; /* 8: +r */
	uint8_t mode64;       /* 1: not in 64-bit mode, 2: only there */
	uint8_t prefix;       /* none, 66, F3, F2 */
	uint8_t reg, mod3, rm, w, rexb, osize, vexl, vexw;
};

extern const struct oracle_form oracle_forms[];

/* Does the row run in user mode, with a result that two CPUs can agree on? */
bool generate_wanted(const struct x86_row *row, uint16_t index);

/* Bytes of the row in a random form; false when none came out (the mode lacks it). */
bool generate_code(struct random *random, const struct x86_decode_mode *mode, const struct oracle_form *form,
		   uint8_t code[X86_INSN_LEN_MAX], struct x86_insn *in);

/* Random registers, flags, vectors and memory. */
void generate_state(struct random *random, struct oracle_case *test);

/*
 * Changes state, displacements and memory for the instruction at test->code + at, of which state.rip is the
 * start: addresses mostly within the data pages (often across a page's end, sometimes outside), counts mostly
 * small.
 */
void generate_aim(struct random *random, const struct x86_insn *in, unsigned at, struct oracle_case *test);
