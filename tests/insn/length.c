/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does the decoder agree with the host CPU on how long an instruction is and whether it is defined? The bytes
 *are placed against an unmapped page: an instruction that is longer than what is visible faults on fetch.
 *Opcodes are visited systematically with random prefixes and tails, in 64-, 32- and 16-bit code segments.
 *
 *	length [--cases N] [--seed S] [--bits 16|32|64] [--code "0f a2"]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "insn_gen.h"
#include "tests/insn/host_features.h"
#include "tests/insn/native.h"
#include "tests/insn/random.h"

#define FETCH_BIT 0x10u /* of a page fault's error code */
#define UNDEFINED_LONG                                                                                       \
	8u /* from here on ModRM, SIB and displacement of an undefined opcode may exceed 15 bytes */
#define DIFFERENCES_MAX 40u /* printed ones */
#define MAP_VEX         4u  /* one-byte, 0F, 0F38, 0F3A, then the same three under VEX */
#define MAP_EVEX        7u  /* under EVEX */
#define MAP_COUNT       10u

struct length_test {
	struct native *native;
	struct x86_decode_mode mode;
	struct oracle_case experiment;
	struct oracle_result result;
	unsigned long run, skipped, foreign, different;
};

static struct x86_decode_mode host_mode(uint8_t bits)
{
	struct x86_decode_mode mode = {.bits = bits, .stack32 = true, .protected_mode = true};
	uint32_t vendor[4] = {0};

	__asm__ volatile("cpuid"
			 : "=a"(vendor[3]), "=b"(vendor[0]), "=c"(vendor[2]), "=d"(vendor[1])
			 : "a"(0));
	mode.near_branch_66 = !memcmp(vendor, "AuthenticAMD", 12);
	host_features(mode.feature);
	return mode;
}

/*
 * Would executing this call the kernel? Looked for anywhere, in case the decoder errs about where the opcode
 * is.
 */
static bool calls_kernel(const uint8_t *code)
{
	for (unsigned i = 0; i + 1 < X86_INSN_LEN_MAX; i++)
		if ((code[i] == 0x0f && (code[i + 1] == 0x05 || code[i + 1] == 0x34)) ||
		    (code[i] == 0xcd && code[i + 1] == 0x80))
			return true;
	return false;
}

/*
 * What hosts have under VEX and the table has not: AVX-VNNI, AVX-IFMA, AMX, SHA-512 and SM3, SM4. `vex`
 * starts at C4 or C5.
 */
static bool is_foreign_vex(const uint8_t *vex)
{
	const unsigned map = vex[0] == 0xc5 ? 1 : vex[1] & 31;
	const uint8_t opcode = vex[0] == 0xc5 ? vex[2] : vex[3];

	switch (map) {
	case 1: return false;
	case 2:
		return (opcode >= 0x48 && opcode <= 0x5e && opcode != 0x58 && opcode != 0x59 &&
			opcode != 0x5a) ||
		       opcode == 0x72 || (opcode >= 0xb0 && opcode <= 0xb5) || opcode >= 0xc8;
	case 3: /* AMD's VPERMQ and VPERMPD ignore W */ return opcode == 0xde || opcode <= 0x01;
	}
	return map > 3;
}

/* Likewise under EVEX: AVX-512-FP16 has maps of its own, VP2INTERSECT is F2 0F38 68. */
static bool is_foreign_evex(const uint8_t *evex)
{
	const unsigned map = evex[1] & 7;

	return map > 3 || (map == 2 && evex[4] == 0x68);
}

/*
 * Instructions that hosts have and the table does not: XOP and TBM, 3DNow!, SSE4A, and what lives in
 * corners of the 0F map.
 */
static bool is_foreign(const struct x86_decode_mode *mode, const uint8_t *code, const struct x86_insn *in)
{
	unsigned at = 0;

	while (at < 14 && (code[at] == 0x66 || code[at] == 0x67 || (code[at] & 0xfe) == 0xf2 ||
			   code[at] == 0xf0 || (code[at] & 0xe7) == 0x26 || (code[at] & 0xfe) == 0x64 ||
			   (mode->bits == 64 && (code[at] & 0xf0) == 0x40)))
		at++;
	if (code[at] == 0x8f && (code[at + 1] & 0x1f) >= 8)
		return true;
	if (code[at] == 0x62 && (mode->bits == 64 || code[at + 1] >= 0xc0))
		return is_foreign_evex(code + at);
	if ((code[at] & 0xfe) == 0xc4 && (mode->bits == 64 || code[at + 1] >= 0xc0))
		return is_foreign_vex(code + at);
	if (code[at] != 0x0f)
		return false;
	switch (code[at + 1]) {
	case 0x01: return in->mod == 3;
	case 0x0e:
	case 0x0f: return true;                    /* 3DNow! */
	case 0x2b: return in->rep != X86_REP_NONE; /* MOVNTSS, MOVNTSD */
	case 0x78:
	case 0x79: return true; /* EXTRQ, INSERTQ */
	case 0x37:
	case 0x39: return true;
	case 0x38: return code[at + 2] >= 0xc8;
	case 0x3a: return code[at + 2] >= 0xc0;
	}
	return false;
}

/* Runs the first `visible` bytes; true: the CPU wanted more. */
static bool wants_more(struct length_test *t, const uint8_t *code, unsigned visible)
{
	struct oracle_case *experiment = &t->experiment;

	memcpy(experiment->code, code, visible);
	experiment->code_size = visible;
	experiment->state.rip = ORACLE_CODE_END - visible;
	native_run(t->native, experiment, &t->result);
	return t->result.vector == ORACLE_VECTOR_PF && t->result.error & FETCH_BIT &&
	       t->result.state.rip == experiment->state.rip;
}

static void print_difference(struct length_test *t, const uint8_t *code, const struct x86_insn *in,
			     int status)
{
	const struct oracle_result result = t->result;
	unsigned visible = 1;

	if (t->different++ >= DIFFERENCES_MAX)
		return;
	while (visible < X86_INSN_LEN_MAX && wants_more(t, code, visible))
		visible++;
	printf("%u-bit:", t->mode.bits);
	for (unsigned i = 0; i < X86_INSN_LEN_MAX; i++)
		printf(" %02x", code[i]);
	printf("\n    decoder: status %d, %u bytes, row %s (insn.tab:%u); host: %u bytes, vector %u, error "
	       "%#x\n",
	       status, in->len, x86_rows[in->row].mnemonic, x86_row_lines[in->row], visible, result.vector,
	       result.error);
}

/*
 * x87 rows are decoded further when executed; RSM, STAC, CLAC and moves to control registers depend on CPU
 * state.
 */
static bool may_be_undefined(const struct x86_insn *in)
{
	const char *name = x86_rows[in->row].mnemonic;

	return x86_rows[in->row].properties & (X86_PROP_FPU | X86_PROP_CPL0) || !strcmp(name, "rsm") ||
	       !strcmp(name, "stac") || !strcmp(name, "clac");
}

/* AMD: LOCK MOV CR0 is another way to CR8, which no guest is offered; LOCK VERR and VERW are not refused. */
static bool is_lock_quirk(const struct x86_insn *in)
{
	const uint8_t opcode = in->opcode;

	return in->lock && in->map == 1 &&
	       (opcode == 0x20 || opcode == 0x22 || (opcode == 0x00 && in->reg >= 4));
}

/*
 * With the decoder's length visible the CPU must be content, with one byte less it must not. An instruction
 * that is undefined for us may have been recognised as such before its last byte, so that only #UD is
 * compared.
 */
static void check(struct length_test *t, const uint8_t *code)
{
	struct x86_insn in;
	const enum x86_decode_status status = x86_decode(&t->mode, code, X86_INSN_LEN_MAX, &in);

	t->run++;
	if (calls_kernel(code)) {
		t->skipped++;
		return;
	}
	switch (status) {
	case X86_DECODE_OK:
		if (wants_more(t, code, in.len) ||
		    (t->result.vector == ORACLE_VECTOR_UD && !may_be_undefined(&in)) ||
		    (in.len > 1 && !wants_more(t, code, in.len - 1U)))
			print_difference(t, code, &in, status);
		return;
	case X86_DECODE_UD:
		if (is_foreign(&t->mode, code, &in) || is_lock_quirk(&in))
			t->foreign++;
		else if (!wants_more(t, code, X86_INSN_LEN_MAX) && t->result.vector != ORACLE_VECTOR_UD &&
			 !(t->result.vector == ORACLE_VECTOR_GP && in.len >= UNDEFINED_LONG))
			print_difference(t, code, &in, status);
		return;
	case X86_DECODE_TOO_LONG:
	case X86_DECODE_MORE:
		if (wants_more(t, code, X86_INSN_LEN_MAX) ||
		    (t->result.vector != ORACLE_VECTOR_GP && x86_rows[in.row].kind != X86_ROW_UD))
			print_difference(t, code, &in, status);
		return;
	}
}

/* Two bytes of prefix where they can say it; vvvv is mostly what an instruction without it wants. */
static void put_vex(struct random *random, unsigned map, uint8_t opcode, uint8_t *code)
{
	const uint8_t last = (uint8_t)(random_u64(random) | (random_one_in(random, 4) ? 0 : 0x78));

	if (map == 1 && random_one_in(random, 2)) {
		code[0] = 0xc5;
		code[1] = last;
		code[2] = opcode;
		return;
	}
	code[0] = 0xc4;
	code[1] = (uint8_t)((random_u64(random) & 0xe0) | map);
	code[2] = last;
	code[3] = opcode;
}

/* Mostly with the bits that are fixed as they must be, and without what few instructions have. */
static void put_evex(struct random *random, unsigned map, uint8_t opcode, uint8_t *code)
{
	code[0] = 0x62;
	code[1] = (uint8_t)((random_u64(random) & (random_one_in(random, 16) ? 0xf8 : 0xf0)) | map);
	code[2] = (uint8_t)(random_u64(random) | (random_one_in(random, 16) ? 0 : 4) |
			    (random_one_in(random, 4) ? 0 : 0x78));
	code[3] = (uint8_t)random_u64(random);
	if (!random_one_in(random, 3))
		code[3] |= 8;
	if (!random_one_in(random, 3))
		code[3] &= 0x6f;
	if (random_one_in(random, 3))
		code[3] &= 0xf8;
	code[4] = opcode;
}

/* Legacy prefixes in any number and order, REX sometimes, then the opcode and random bytes. */
static void make_code(struct random *random, unsigned map, uint8_t opcode, uint8_t code[X86_INSN_LEN_MAX])
{
	static const uint8_t prefixes[] = {0x66, 0x66, 0xf2, 0xf3, 0x67, 0xf0,
					   0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};
	unsigned at = 0;

	for (unsigned i = 0; i < X86_INSN_LEN_MAX; i++)
		code[i] = (uint8_t)random_u64(random);
	while (at < 11 && random_one_in(random, map >= MAP_VEX ? 8 : at ? 3 : 2))
		code[at++] = prefixes[random_below(random, sizeof(prefixes))];
	if (random_one_in(random, 64) && map < MAP_VEX)
		at = 11;
	for (unsigned i = 0; at == 11 && i < 11; i++)
		code[i] = prefixes[random_below(random, sizeof(prefixes))];
	if (random_one_in(random, map >= MAP_VEX ? 20 : 3))
		code[at++] = (uint8_t)(0x40 | random_below(random, 16));
	if (map >= MAP_EVEX) {
		put_evex(random, map - MAP_EVEX + 1, opcode, code + at);
		return;
	}
	if (map >= MAP_VEX) {
		put_vex(random, map - MAP_VEX + 1, opcode, code + at);
		return;
	}
	if (map)
		code[at++] = 0x0f;
	if (map > 1)
		code[at++] = map == 2 ? 0x38 : 0x3a;
	if (at < X86_INSN_LEN_MAX)
		code[at] = opcode;
}

static void check_mode(struct length_test *t, uint8_t bits, unsigned long cases, uint64_t seed)
{
	struct random random = {.state = seed + bits};
	uint8_t code[X86_INSN_LEN_MAX];

	t->mode = host_mode(bits);
	t->experiment.bits = bits;
	for (unsigned long i = 0; i < cases; i++) {
		make_code(&random, (unsigned)(i >> 8) % MAP_COUNT, (uint8_t)i, code);
		check(t, code);
	}
}

static void check_text(struct length_test *t, uint8_t bits, const char *text)
{
	uint8_t code[X86_INSN_LEN_MAX];
	char *end;

	memset(code, 0x90, sizeof(code));
	for (unsigned i = 0; i < X86_INSN_LEN_MAX && *text; i++, text = end)
		code[i] = (uint8_t)strtoul(text, &end, 16);
	t->mode = host_mode(bits);
	t->experiment.bits = bits;
	check(t, code);
	if (!t->different)
		printf("the decoder and the host agree\n");
}

int main(int argc, char **argv)
{
	static const uint8_t widths[] = {64, 32, 16};
	unsigned long cases = 60000;
	uint64_t seed = 1;
	uint8_t only = 0;
	const char *text = NULL;
	struct length_test *t = calloc(1, sizeof(*t));

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--cases"))
			cases = strtoul(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--bits"))
			only = (uint8_t)strtoul(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--code"))
			text = argv[i + 1];
	}
	if (!t || !(t->native = native_open())) {
		printf("this host does not run the experiments\n");
		free(t);
		return 77;
	}
	t->experiment.step = true;
	t->experiment.state.fx.control = 0x37f;
	t->experiment.state.fx.mxcsr = 0x1f80;
	for (unsigned i = 0; i < sizeof(widths); i++) {
		if ((only && widths[i] != only) || !native_has_bits(t->native, widths[i]))
			continue;
		if (text)
			check_text(t, widths[i], text);
		else
			check_mode(t, widths[i], cases, seed);
	}
	printf("%lu instructions, %lu kernel entries left out, %lu not ours, %lu differences\n", t->run,
	       t->skipped, t->foreign, t->different);
	const bool good = t->different == 0;
	native_close(t->native);
	free(t);
	return good ? 0 : 1;
}
