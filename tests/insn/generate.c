/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Experiments from the instruction table. Everything is random, but weighted towards where CPUs differ:
 * extreme values, page ends, odd prefixes. Encodings: Intel SDM vol. 2, chapter 2.
 */
#include "tests/insn/generate.h"

#include <string.h>

#include "insn_gen.h"

#define REX_W 8u

static uint8_t pick_bit(struct random *random, unsigned mask)
{
	unsigned bit;

	do
		bit = random_below(random, 8);
	while (!(mask >> bit & 1));
	return (uint8_t)bit;
}

/* Rows that need a kernel, that read what differs between any two CPUs, or that end the process. */
bool generate_wanted(const struct x86_row *row, uint16_t index)
{
	static const char *const slow_wanted[] = {
		"fpu_d8",      "fpu_d9",     "fpu_da",        "fpu_db",
		"fpu_dc",      "fpu_dd",     "fpu_de",        "fpu_df",
		"fwait",       "emms",       "pushf",         "popf",
		"ldmxcsr",     "stmxcsr",    "fxsave",        "fxrstor",
		"maskmovq",    "maskmovdqu", "push_seg",      "mov_from_sreg",
		"cli",         "hlt",        "int3",          "into",
		"rdfsbase",    "rdgsbase",   "wrfsbase",      "wrgsbase",
		"lar",         "lsl",        "verr",          "verw",
		"arpl",        "clts",       "invd",          "wbinvd",
		"rdmsr",       "wrmsr",      "in_imm",        "in_dx",
		"out_imm",     "out_dx",     "ins",           "outs",
		"mov_from_cr", "mov_to_cr",  "mov_from_dr",   "mov_to_dr",
		"lgdt",        "lidt",       "lldt",          "ltr",
		"lmsw",        "invlpg",     "swapgs",        "native",
		"vmaskmov",    "vgather",    "vzeroupper",    "vzeroall",
		"vldmxcsr",    "vstmxcsr",   "native_string", "vgather_masked",
		"vscatter",
	};

	if (row->kind != X86_ROW_SLOW)
		return row->kind != X86_ROW_UD;
	for (size_t i = 0; i < sizeof(slow_wanted) / sizeof(slow_wanted[0]); i++)
		if (!strcmp(x86_row_bindings[index], slow_wanted[i]))
			return true;
	return false;
}

static unsigned put_prefixes(struct random *random, const struct x86_decode_mode *mode,
			     const struct oracle_form *form, uint8_t *code)
{
	static const uint8_t segment[] = {0x26, 0x2e, 0x36, 0x3e};
	static const uint8_t mandatory[] = {0, 0x66, 0xf3, 0xf2};
	unsigned at = 0, prefix = pick_bit(random, form->prefix & 15);
	const bool any = form->prefix == 15;
	/* AMD's LOOPNE with REPE, or LOOPE with REPNE, follows the prefix. */
	const bool loop = form->map == 0 && (form->opcode & 0xfe) == 0xe0;

	if (any && (loop || !random_one_in(random, 8)) && !(x86_rows[form->row].properties & X86_PROP_STRING))
		prefix = prefix > 1 ? 0 : prefix;
	if (form->vex)
		return 0;
	if (random_one_in(random, 12))
		code[at++] = mode->bits == 64 && random_one_in(random, 2)
				     ? (uint8_t)(0x64 | random_below(random, 2))
				     : segment[random_below(random, 4)];
	if (random_one_in(random, 16))
		code[at++] = 0x67;
	if ((x86_rows[form->row].properties & X86_PROP_LOCK) && random_one_in(random, 4))
		code[at++] = 0xf0;
	if (prefix > 1 && random_one_in(random, 8))
		code[at++] = 0x66;
	if (prefix)
		code[at++] = mandatory[prefix];
	return at;
}

static unsigned put_vex(struct random *random, const struct x86_decode_mode *mode,
			const struct oracle_form *form, uint8_t *code)
{
	const bool wide = mode->bits == 64;
	const unsigned rxb = wide ? random_below(random, 8) << 5 : 0xe0;
	const unsigned pp = pick_bit(random, form->prefix);
	const unsigned vvvv = form->vvvv ? random_below(random, 16) | (wide ? 0 : 8) : 15;
	const unsigned w = pick_bit(random, form->w & form->vexw & 3), l = pick_bit(random, form->vexl & 3);

	if (form->map == 1 && !w && random_one_in(random, 2)) {
		code[0] = 0xc5;
		code[1] = (uint8_t)((rxb & 0x80) | vvvv << 3 | l << 2 | pp);
		code[2] = (uint8_t)(form->opcode + random_below(random, form->opcode_count));
		return 3;
	}
	code[0] = 0xc4;
	code[1] = (uint8_t)(rxb | form->map);
	code[2] = (uint8_t)(w << 7 | vvvv << 3 | l << 2 | pp);
	code[3] = (uint8_t)(form->opcode + random_below(random, form->opcode_count));
	return 4;
}

/* Mostly a mask where the row can have one, now and then broadcast or rounding. */
static unsigned put_evex(struct random *random, const struct x86_decode_mode *mode,
			 const struct oracle_form *form, uint8_t *code)
{
	const struct x86_row *row = &x86_rows[form->row];
	const bool wide = mode->bits == 64;
	const unsigned high = wide ? random_below(random, 16) << 4 : 0xf0;
	const unsigned vvvv = form->vvvv ? random_below(random, 32) | (wide ? 0 : 0x18) : 31;
	const unsigned mask = row->mask_size && !random_one_in(random, 4) ? random_below(random, 8) : 0;
	const bool vsib = row->properties & X86_PROP_VSIB;
	const bool b = (row->broadcast || row->properties & (X86_PROP_ROUNDING | X86_PROP_SAE)) &&
		       random_one_in(random, 3);
	const bool z = (row->properties & X86_PROP_ZEROING) && mask && random_one_in(random, 2);

	code[0] = 0x62;
	code[1] = (uint8_t)(high | form->map);
	code[2] = (uint8_t)(pick_bit(random, form->w & form->vexw & 3) << 7 | (vvvv & 15) << 3 | 4 |
			    pick_bit(random, form->prefix));
	code[3] = (uint8_t)(z << 7 | (b ? random_below(random, 4) : pick_bit(random, form->vexl & 7)) << 5 |
			    b << 4 | (vsib && wide ? random_below(random, 2) << 3 : vvvv >> 1 & 8) | mask);
	code[4] = (uint8_t)(form->opcode + random_below(random, form->opcode_count));
	return 5;
}

static unsigned put_opcode(struct random *random, const struct x86_decode_mode *mode,
			   const struct oracle_form *form, uint8_t *code)
{
	unsigned at = 0;

	if (form->evex)
		return put_evex(random, mode, form, code);
	if (form->vex)
		return put_vex(random, mode, form, code);
	if (mode->bits == 64 && (form->w == 2 || form->osize == 4 || random_one_in(random, 2)))
		code[at++] = (uint8_t)(0x40 | (form->w == 2 || form->osize == 4 ? REX_W : 0) |
				       random_below(random, 16));
	if (form->map)
		code[at++] = 0x0f;
	if (form->map > 1)
		code[at++] = form->map == 2 ? 0x38 : 0x3a;
	code[at++] = (uint8_t)(form->opcode + random_below(random, form->opcode_count));
	return at;
}

/* All bytes after ModRM are random; a disp32 or moffs is corrected by aim_memory. */
static uint8_t make_modrm(struct random *random, const struct oracle_form *form)
{
	const bool register_form = pick_bit(random, form->mod3 & 3);
	const unsigned mod = register_form ? 3 : random_below(random, 3);
	unsigned rm = pick_bit(random, form->rm);

	return (uint8_t)(mod << 6 | (unsigned)pick_bit(random, form->reg) << 3 | rm);
}

/*
 * EVEX.X with a general register in ModRM.rm is ignored; but with RSP there, AMD's Zen 5 reads what RSP was
 * before the last push or pop.
 */
static bool is_stack_quirk(const struct x86_insn *in)
{
	return in->mod == 3 && in->rm == REG_RSP && (in->rex & 2);
}

bool generate_code(struct random *random, const struct x86_decode_mode *mode, const struct oracle_form *form,
		   uint8_t code[X86_INSN_LEN_MAX], struct x86_insn *in)
{
	if (!(form->mode64 >> (mode->bits == 64) & 1) || (mode->bits != 64 && form->w == 2))
		return false;
	for (unsigned attempt = 0; attempt < 50; attempt++) {
		unsigned at;

		for (unsigned i = 0; i < X86_INSN_LEN_MAX; i++)
			code[i] = (uint8_t)random_u64(random);
		at = put_prefixes(random, mode, form, code);
		at += put_opcode(random, mode, form, code + at);
		if (form->modrm)
			code[at] = make_modrm(random, form);
		if (x86_decode(mode, code, X86_INSN_LEN_MAX, in) == X86_DECODE_OK && in->row == form->row &&
		    !(in->encoding == X86_ENC_EVEX && is_stack_quirk(in)))
			return true;
	}
	return false;
}

/* Integers near the ends of the ranges, or small, or anything. */
static uint64_t interesting_u64(struct random *random)
{
	static const uint64_t values[] = {
		0,
		1,
		2,
		0x7f,
		0x80,
		0xff,
		0x7fff,
		0x8000,
		0xffff,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x7fffffffffffffff,
		0x8000000000000000,
		0xffffffffffffffff,
		0xfffffffffffffffe,
		0xffffffff80000000,
		0xffffffffffff8000,
		0x5555555555555555,
	};

	switch (random_below(random, 4)) {
	case 0: return values[random_below(random, sizeof(values) / sizeof(values[0]))];
	case 1: return random_u64(random) >> random_below(random, 64);
	case 2: return random_below(random, 64);
	}
	return random_u64(random);
}

/*
 * A float of `exponent_bits` and `fraction_bits`: zeros, denormals, infinities, NaNs, integers, near one,
 * anything.
 */
static uint64_t interesting_float(struct random *random, unsigned exponent_bits, unsigned fraction_bits)
{
	const uint64_t exponent_max = (1ull << exponent_bits) - 1,
		       fraction_mask = (1ull << fraction_bits) - 1;
	const uint64_t sign = (uint64_t)random_below(random, 2) << (exponent_bits + fraction_bits);
	uint64_t exponent = random_u64(random) & exponent_max, fraction = random_u64(random) & fraction_mask;

	switch (random_below(random, 10)) {
	case 0: exponent = 0, fraction = 0; break;
	case 1: exponent = 0, fraction >>= random_below(random, fraction_bits); break;
	case 2: exponent = exponent_max, fraction = 0; break;
	case 3: exponent = exponent_max; break;
	case 4: exponent = exponent_max, fraction = fraction >> 1 | 1; break;
	case 5:
		exponent = exponent_max / 2 + random_below(random, fraction_bits + 2);
		fraction &= fraction_mask << random_below(random, fraction_bits);
		break;
	case 6: exponent = exponent_max / 2 - 4 + random_below(random, 8); break;
	case 7: exponent = 1 + random_below(random, 3); break;
	case 8: exponent = exponent_max - 1 - random_below(random, 3); break;
	}
	return sign | exponent << fraction_bits | fraction;
}

static void fill_vector(struct random *random, uint8_t out[16])
{
	const unsigned kind = random_below(random, 4);

	for (unsigned i = 0; i < 2; i++) {
		uint64_t value = random_u64(random);

		if (kind == 0)
			value = interesting_float(random, 11, 52);
		else if (kind == 1)
			value = interesting_float(random, 8, 23) << 32 | interesting_float(random, 8, 23);
		else if (kind == 2)
			value = interesting_u64(random);
		memcpy(out + 8 * i, &value, 8);
	}
}

/* Ten bytes of an extended float, unsupported formats (integer bit and exponent at odds) now and then. */
static void fill_f80(struct random *random, uint8_t out[10])
{
	const uint64_t sixteen = interesting_float(random, 15, 48);
	uint16_t sexp = (uint16_t)(sixteen >> 48);
	uint64_t fraction = sixteen << 15 | (random_u64(random) & 0x7fff);
	const bool normal = (sexp & 0x7fff) != 0;

	if (random_one_in(random, 3))
		fraction &= ~0x7fffull;
	if (normal != random_one_in(random, 40))
		fraction |= 1ull << 63;
	else
		fraction &= ~(1ull << 63);
	if (random_one_in(random, 4)) { /* integers of a size that conversions and remainders like */
		sexp = (uint16_t)((sexp & 0x8000) | (0x3fff + random_below(random, 66)));
		fraction |= 1ull << 63;
	}
	memcpy(out, &fraction, 8);
	memcpy(out + 8, &sexp, 2);
}

static void fill_fx(struct random *random, struct oracle_fx *fx)
{
	memset(fx, 0, sizeof(*fx));
	fx->control = (uint16_t)(0x37f | random_below(random, 16) << 8);
	if (random_one_in(random, 6))
		fx->control = (uint16_t)((fx->control & ~0x3fu) | random_below(random, 64));
	fx->status = (uint16_t)(random_u64(random) & 0x7f7f);
	if (!random_one_in(random, 3))
		fx->status &= ~0x7f;
	if (fx->status & ~fx->control & 0x3f) {
		if (random_one_in(random, 4))
			fx->status |= 0x8080;
		else
			fx->status &= (uint16_t)~0x3f;
	}
	fx->tags = random_one_in(random, 3)   ? (uint8_t)random_u64(random)
		   : random_one_in(random, 3) ? 0
					      : 0xff;
	fx->mxcsr = 0x1f80 | random_below(random, 4) << 13 | (random_one_in(random, 4) ? 0x8000 : 0) |
		    (random_one_in(random, 4) ? 0x40 : 0) |
		    (random_one_in(random, 2) ? random_below(random, 64) : 0);
	if (random_one_in(random, 8))
		fx->mxcsr &= ~(random_below(random, 64) << 7);
	for (unsigned i = 0; i < 8; i++)
		fill_f80(random, fx->st[i]);
	for (unsigned i = 0; i < 16; i++)
		fill_vector(random, fx->xmm[i]);
}

static void fill_ymm(struct random *random, struct oracle_state *state)
{
	memset(state->ymm, 0, sizeof(state->ymm));
	if (!__builtin_cpu_supports("avx"))
		return;
	for (unsigned i = 0; i < 16; i++)
		if (!random_one_in(random, 4))
			fill_vector(random, state->ymm[i]);
}

static void fill_zmm(struct random *random, struct oracle_state *state)
{
	memset(state->zmm_high, 0, sizeof(state->zmm_high));
	memset(state->zmm_more, 0, sizeof(state->zmm_more));
	memset(state->k, 0, sizeof(state->k));
	if (!__builtin_cpu_supports("avx512f"))
		return;
	for (unsigned i = 0; i < 16; i++) {
		for (unsigned j = 0; j < 2 && !random_one_in(random, 4); j++)
			fill_vector(random, state->zmm_high[i] + 16 * j);
		for (unsigned j = 0; j < 4; j++)
			fill_vector(random, state->zmm_more[i] + 16 * j);
	}
	for (unsigned i = 0; i < 8; i++)
		state->k[i] = random_one_in(random, 8) ? 0 : random_u64(random);
}

static void set_element(struct oracle_state *state, unsigned reg, unsigned byte, const void *value,
			unsigned size)
{
	if (reg >= 16)
		memcpy(state->zmm_more[reg - 16] + byte, value, size);
	else if (byte < 16)
		memcpy(state->fx.xmm[reg] + byte, value, size);
	else if (byte < 32)
		memcpy(state->ymm[reg] + byte - 16, value, size);
	else
		memcpy(state->zmm_high[reg] + byte - 32, value, size);
}

/* Elements of a vector of indices: mostly small numbers, of either sign. */
static void aim_indices(struct random *random, const struct x86_insn *in, struct oracle_case *test)
{
	const unsigned size = in->opcode & 1 ? 8 : 4;

	for (unsigned i = 0; i < (in->encoding == X86_ENC_EVEX ? 64 : 32) / size; i++) {
		const int64_t value = (int64_t)random_below(random, 128) - 64;

		set_element(&test->state, in->vsib, i * size, &value, size);
	}
}

static void fill_data(struct random *random, uint8_t *data)
{
	for (unsigned i = 0; i < ORACLE_DATA_SIZE; i += 16) {
		switch (random_below(random, 4)) {
		case 0:
			fill_f80(random, data + i);
			fill_f80(random, data + i + 6);
			break;
		case 1: memset(data + i, 0, 16); break;
		default: fill_vector(random, data + i); break;
		}
	}
}

/* Where memory operands shall lie. */
static uint64_t pick_target(struct random *random)
{
	const uint64_t middle = ORACLE_DATA + ORACLE_PAGE;

	switch (random_below(random, 12)) {
	case 0: return middle - random_below(random, 40);               /* across both pages */
	case 1: return middle + ORACLE_PAGE - random_below(random, 40); /* across the end */
	case 2: return ORACLE_DATA - random_below(random, 40);          /* across the start */
	case 3: return ORACLE_RO + random_below(random, ORACLE_PAGE - 64);
	case 4: return middle + 16 * random_below(random, 100);
	case 5: return random_one_in(random, 4) ? 0x8000000000000000u + random_u64(random) / 4 : middle + 64;
	case 6:
		return random_one_in(random, 4) ? 0x00007fffffffffffu - random_below(random, 20)
						: middle - 512;
	}
	return random_one_in(random, 2) ? middle - 1024 + 16 * random_below(random, 64)
					: middle - 1024 + random_below(random, 1024);
}

static uint64_t sign_extended_disp32(uint64_t value)
{
	return (uint64_t)(int64_t)(int32_t)value;
}

/* Overwrites the displacement in the code, which ends the instruction but for an immediate. */
static void patch_disp32(const struct x86_insn *in, uint8_t *code, uint64_t disp)
{
	const uint32_t old = (uint32_t)in->disp, new = (uint32_t)disp;

	for (unsigned i = in->len - 4u; i > 0; i--)
		if (!memcmp(code + i, &old, 4)) {
			memcpy(code + i, &new, 4);
			return;
		}
}

static bool has_disp32(const struct x86_insn *in)
{
	return in->addrsize != 2 && (in->mod == 2 || in->base == REG_RIP || in->base == REG_ZERO);
}

static uint64_t segment_base(const struct x86_insn *in, const struct oracle_case *test)
{
	if (in->seg == SEG_FS)
		return test->state.fs_base;
	return in->seg == SEG_GS ? test->state.gs_base : 0;
}

/* Chooses base register (or displacement) so that the operand lies at the target. */
static void aim_memory(struct random *random, const struct x86_insn *in, unsigned at,
		       struct oracle_case *test)
{
	uint8_t *code = test->code + at;
	uint64_t *r = test->state.r;
	const uint64_t target = pick_target(random) - segment_base(in, test);
	uint64_t rest = target;

	if (in->index != REG_ZERO) {
		if (!random_one_in(random, 8))
			r[in->index] = random_below(random, 64);
		rest -= r[in->index] << in->scale;
	}
	if (in->base == REG_RIP) {
		patch_disp32(in, code, rest - (test->state.rip + at + in->len));
	} else if (in->base == REG_ZERO || in->base == in->index) {
		if (has_disp32(in))
			patch_disp32(in, code, rest - (in->base == REG_ZERO ? 0 : r[in->index]));
	} else {
		const bool shorten = has_disp32(in) && random_one_in(random, 2);

		if (shorten) {
			r[in->base] = sign_extended_disp32(random_u64(random)) >> 8;
			patch_disp32(in, code, rest - r[in->base]);
			return;
		}
		r[in->base] = rest - (uint64_t)in->disp;
		if (in->addrsize == 4 && random_one_in(random, 2))
			r[in->base] |= random_u64(random) << 32;
	}
}

static void aim_moffs(struct random *random, const struct x86_insn *in, unsigned at, struct oracle_case *test)
{
	const uint64_t target = pick_target(random) - segment_base(in, test);

	memcpy(test->code + at + in->len - in->addrsize, &target, in->addrsize);
}

static bool row_is(const struct x86_insn *in, const char *const *names)
{
	for (; *names; names++)
		if (!strcmp(x86_rows[in->row].mnemonic, *names))
			return true;
	return false;
}

/* Implicit pointers: strings, stack, XLAT, MASKMOV. Counts stay small. */
static void aim_implicit(struct random *random, const struct x86_insn *in, struct oracle_case *test)
{
	static const char *const stack[] = {"push",  "pop",  "call",  "ret",  "enter", "leave",
					    "pushf", "popf", "pusha", "popa", NULL};
	static const char *const by_di[] = {"maskmovq", "maskmovdqu", "vmaskmovdqu", NULL};
	static const char *const xlat[] = {"xlat", NULL};
	static const char *const bits[] = {"bt", "bts", "btr", "btc", NULL};
	uint64_t *r = test->state.r;
	const bool string = x86_rows[in->row].properties & X86_PROP_STRING;

	if (row_is(in, stack)) {
		r[REG_RSP] = pick_target(random);
		r[REG_RBP] = pick_target(random);
	}
	if (string || row_is(in, by_di)) {
		r[REG_RDI] = pick_target(random);
		r[REG_RSI] = pick_target(random);
		if (random_one_in(random, 4))
			r[REG_RSI] = r[REG_RDI] + random_below(random, 16) - 8;
		r[REG_RCX] = random_below(random, random_one_in(random, 4) ? 600 : 20);
	}
	if (row_is(in, xlat))
		r[REG_RBX] = pick_target(random) - 128;
	if (row_is(in, bits) && x86_insn_is_mem(in) && !random_one_in(random, 16))
		r[in->reg] = random_below(random, 512) - 256u;
}

static uint64_t random_flags(struct random *random)
{
	return (random_u64(random) & 0x8d5) | (random_one_in(random, 4) ? 0x400 : 0) |
	       (random_one_in(random, 8) ? 0x40000 : 0) | 0x202;
}

/* Sometimes what CMPXCHG compares is equal, and DIV does not overflow. */
static void aim_values(struct random *random, const struct x86_insn *in, struct oracle_case *test)
{
	static const char *const divide[] = {"div", "idiv", NULL};
	static const char *const compare_wide[] = {"cmpxchg8b", "cmpxchg16b", NULL};
	uint64_t *r = test->state.r;

	if (row_is(in, divide) && !random_one_in(random, 4)) {
		r[REG_RDX] = random_one_in(random, 2) ? 0 : random_below(random, 16);
		if (random_one_in(random, 4))
			r[REG_RDX] = UINT64_MAX;
	}
	if (row_is(in, compare_wide) && random_one_in(random, 2)) {
		memset(test->data, 0, ORACLE_DATA_SIZE);
		r[REG_RAX] = r[REG_RDX] = 0;
	}
	if (random_one_in(random, 8))
		r[random_below(random, 16)] = r[REG_RAX];
}

void generate_state(struct random *random, struct oracle_case *test)
{
	struct oracle_state *state = &test->state;

	for (unsigned i = 0; i < 16; i++)
		state->r[i] = interesting_u64(random);
	state->rflags = random_flags(random);
	state->fs_base = ORACLE_DATA + 0x100;
	state->gs_base = ORACLE_DATA + random_below(random, ORACLE_PAGE);
	fill_fx(random, &state->fx);
	fill_ymm(random, state);
	fill_zmm(random, state);
	fill_data(random, test->data);
}

void generate_aim(struct random *random, const struct x86_insn *in, unsigned at, struct oracle_case *test)
{
	aim_values(random, in, test);
	aim_implicit(random, in, test);
	if ((x86_rows[in->row].properties & X86_PROP_VSIB) && !random_one_in(random, 8))
		aim_indices(random, in, test);
	if (x86_insn_is_mem(in))
		aim_memory(random, in, at, test);
	else if (x86_rows[in->row].mem_access && !in->has_modrm && in->disp)
		aim_moffs(random, in, at, test);
	if (test->bits == 32)
		for (unsigned i = 0; i < 16; i++)
			test->state.r[i] = i < 8 ? (uint32_t)test->state.r[i] : 0;
}
