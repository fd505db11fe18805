/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executes every user-mode row of insn.tab in many forms and states, and random sequences of them, on the
 *host CPU and on the built-in engine, and compares.
 *
 *	oracle [--cases N] [--seed S] [--row MNEMONIC|LINE|sequence] [--bits 32|64] [--one SEED]
 *
 * --cases is the total over all rows and modes; a difference is printed with the --row, --bits and --one that
 *repeat it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "insn_gen.h"
#include "tests/insn/compare.h"
#include "tests/insn/disassemble.h"
#include "tests/insn/generate.h"
#include "tests/insn/guest.h"
#include "tests/insn/host_features.h"
#include "tests/insn/native.h"
#include "tests/insn/sequence.h"

#define STATES_PER_CODE     4u
#define SEQUENCES_PRINTED   8u
#define DIFFERENCES_PER_ROW 2u /* printed ones */

struct oracle {
	const struct oracle_runner *runner[2]; /* the host and what is tested */
	void *self[2];
	struct oracle_case test;
	struct oracle_result result[2];
	struct x86_decode_mode mode;
	unsigned long run, different;
};

struct options {
	unsigned long cases;
	uint64_t seed, one;
	bool has_one;
	const char *row;
	uint8_t bits;
};

static void print_state(const struct oracle_state *state)
{
	for (unsigned i = 0; i < 16; i++)
		printf("%sr%-2u %016" PRIx64, i % 4 ? "  " : i ? "\n    " : "    ", i, state->r[i]);
	printf("\n    rip %" PRIx64 " rflags %" PRIx64 " fcw %04x fsw %04x ftw %02x mxcsr %04x\n", state->rip,
	       state->rflags, state->fx.control, state->fx.status, state->fx.tags, state->fx.mxcsr);
}

/* in: NULL for a sequence. */
static void print_difference(struct oracle *oracle, const struct x86_insn *in, uint64_t one)
{
	const struct oracle_case *test = &oracle->test;

	if (in)
		printf("%s (insn.tab:%u), repeat with --row %u", x86_rows[in->row].mnemonic,
		       x86_row_lines[in->row], x86_row_lines[in->row]);
	else
		printf("sequence, repeat with --row sequence");
	printf(" --bits %u --one %#" PRIx64 " (%s):", test->bits, one, test->step ? "stepped" : "in a block");
	for (unsigned i = 0; i < test->code_size; i++)
		printf(" %02x", test->code[i]);
	printf("\n");
	disassemble_print(test);
	print_state(&test->state);
	compare_results(test, in, &oracle->result[0], &oracle->result[1], stdout);
}

/* Against a page's end or the end of the code. */
static uint64_t pick_rip(struct random *random, unsigned len)
{
	if (random_one_in(random, 8))
		return ORACLE_CODE + ORACLE_PAGE - random_below(random, 15);
	return ORACLE_CODE_END - len - (random_one_in(random, 2) ? 0 : 1 + random_below(random, 64));
}

/* What runs on and on natively is not worth the same again. */
static bool run_and_compare(struct oracle *oracle, const struct x86_insn *in)
{
	oracle->run++;
	oracle->runner[0]->run(oracle->self[0], &oracle->test, &oracle->result[0]);
	if (oracle->result[0].vector == ORACLE_VECTOR_HANG)
		return true;
	oracle->runner[1]->run(oracle->self[1], &oracle->test, &oracle->result[1]);
	return compare_results(&oracle->test, in, &oracle->result[0], &oracle->result[1], NULL);
}

/*
 * The experiments that one seed makes: one encoding, several states; stepped, or run up to an INT3 so that it
 * is part of a block. Returns how many differ.
 */
static unsigned run_seed(struct oracle *oracle, const struct oracle_form *form, uint64_t seed, bool print)
{
	struct random random = {.state = seed};
	struct oracle_case *test = &oracle->test;
	struct x86_insn in;
	unsigned different = 0;

	if (!generate_code(&random, &oracle->mode, form, test->code, &in))
		return 0;
	/* A single step may be taken within a gather, between two elements, wherever the host likes. */
	test->step = (x86_rows[in.row].properties & X86_PROP_JUMP) ||
		     (random_one_in(&random, 4) && !(x86_rows[in.row].properties & X86_PROP_VSIB));
	test->code[in.len] = 0xcc;
	test->code_size = in.len + (test->step ? 0u : 1u);
	for (unsigned i = 0; i < STATES_PER_CODE; i++) {
		test->state.rip = pick_rip(&random, test->code_size);
		generate_state(&random, test);
		generate_aim(&random, &in, 0, test);
		x86_decode(&oracle->mode, test->code, in.len, &in);
		if (run_and_compare(oracle, &in))
			continue;
		if (print && !different)
			print_difference(oracle, &in, seed);
		different++;
	}
	return different;
}

static unsigned run_sequence(struct oracle *oracle, uint64_t seed, bool print)
{
	struct random random = {.state = seed};

	oracle->test.step = false;
	sequence_generate(&random, &oracle->mode, &oracle->test);
	if (run_and_compare(oracle, NULL))
		return 0;
	if (print)
		print_difference(oracle, NULL, seed);
	return 1;
}

static void run_sequences(struct oracle *oracle, const struct options *options, unsigned long cases)
{
	struct random random = {.state = options->seed * 7919 + oracle->mode.bits};
	unsigned long different = 0;

	for (unsigned long i = 0; i < cases; i++)
		different += run_sequence(oracle, options->has_one ? options->one : random_u64(&random),
					  different < SEQUENCES_PRINTED);
	if (different)
		printf("== sequences %u bits: %lu of %lu differ\n", oracle->mode.bits, different, cases);
	oracle->different += different;
}

static void run_form(struct oracle *oracle, const struct oracle_form *form, const struct options *options,
		     unsigned long seeds)
{
	struct random random = {.state =
					options->seed * 1000003 + form->row * 2u + (oracle->mode.bits == 64)};
	const unsigned long before = oracle->different;
	unsigned printed = 0;

	for (unsigned long i = 0; i < seeds; i++) {
		const uint64_t seed = options->has_one ? options->one : random_u64(&random);
		const unsigned different = run_seed(oracle, form, seed, printed < DIFFERENCES_PER_ROW);

		printed += different != 0;
		oracle->different += different;
	}
	if (oracle->different != before)
		printf("== %s (insn.tab:%u) %u bits: %lu of %lu differ\n", x86_rows[form->row].mnemonic,
		       x86_row_lines[form->row], oracle->mode.bits, oracle->different - before,
		       seeds * STATES_PER_CODE);
}

static bool is_selected(const struct oracle_form *form, const struct options *options)
{
	char line[12];

	if (!generate_wanted(&x86_rows[form->row], form->row))
		return false;
	if (!options->row)
		return true;
	snprintf(line, sizeof(line), "%u", x86_row_lines[form->row]);
	return !strcmp(options->row, x86_rows[form->row].mnemonic) || !strcmp(options->row, line);
}

/* Rows of 32-bit code get a quarter of the cases when 64-bit code has them too. */
static void run_mode(struct oracle *oracle, uint8_t bits, const struct options *options, unsigned long rows)
{
	const bool sequences = !options->row || !strcmp(options->row, "sequence");
	const unsigned long share = rows ? options->cases * 3 / 4 / rows / STATES_PER_CODE : 0;

	oracle->mode = (struct x86_decode_mode){.bits = bits, .stack32 = true, .protected_mode = true};
	host_features(oracle->mode.feature);
	oracle->test.bits = bits;
	for (size_t i = 0; i < x86_row_count; i++) {
		const struct oracle_form *form = &oracle_forms[i];
		unsigned long seeds = form->mode64 != 3 ? share : bits == 64 ? share * 3 / 4 : share / 4;

		if (is_selected(form, options))
			run_form(oracle, form, options, options->has_one ? 1 : seeds ? seeds : 1);
	}
	if (sequences)
		run_sequences(oracle, options, options->has_one ? 1 : options->cases / (bits == 64 ? 6 : 12));
}

static int parse(int argc, char **argv, struct options *options)
{
	*options = (struct options){.cases = 1000000, .seed = 1};
	for (int i = 1; i < argc; i += 2) {
		const char *value = argv[i + 1];

		if (!value)
			return -1;
		if (!strcmp(argv[i], "--cases"))
			options->cases = strtoul(value, NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			options->seed = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--row"))
			options->row = value;
		else if (!strcmp(argv[i], "--bits"))
			options->bits = (uint8_t)strtoul(value, NULL, 0);
		else if (!strcmp(argv[i], "--one"))
			options->one = strtoull(value, NULL, 0), options->has_one = true;
		else
			return -1;
	}
	return 0;
}

static int run_all(struct oracle *oracle, const struct options *options)
{
	unsigned long rows = 0;

	for (size_t i = 0; i < x86_row_count; i++)
		rows += is_selected(&oracle_forms[i], options);
	if (!rows && strcmp(options->row, "sequence"))
		return fprintf(stderr, "oracle: no such row\n"), 2;
	if (options->bits != 32)
		run_mode(oracle, 64, options, rows);
	if (options->bits != 64 && native_has_bits(oracle->self[0], 32))
		run_mode(oracle, 32, options, rows);
	printf("%lu experiments, %lu differences\n", oracle->run, oracle->different);
	return oracle->different ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options options;
	struct oracle *oracle = aligned_alloc(64, (sizeof(*oracle) + 63) & ~(size_t)63);
	int status = 77;

	if (!oracle || parse(argc, argv, &options)) {
		fprintf(stderr, "usage: oracle [--cases N] [--seed S] [--row MNEMONIC|LINE|sequence] [--bits "
				"32|64] [--one SEED]\n");
		free(oracle);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	memset(oracle, 0, sizeof(*oracle));
	oracle->runner[0] = &oracle_native;
	oracle->runner[1] = &oracle_interpreter;
	for (unsigned i = 0; i < 2; i++)
		oracle->self[i] = oracle->runner[i]->open();
	if (oracle->self[0] && oracle->self[1])
		status = run_all(oracle, &options);
	else
		printf("this host does not run the experiments\n");
	for (unsigned i = 0; i < 2; i++)
		if (oracle->self[i])
			oracle->runner[i]->close(oracle->self[i]);
	free(oracle);
	return status;
}
