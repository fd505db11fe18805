/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From bytes to struct x86_insn: prefixes, opcode, ModRM, displacement, immediate. The opcodes themselves are
 * data (insn.tab); this file knows how instructions are put together, and neither CPU state nor memory. Intel
 * SDM vol. 2, chapter 2; AMD APM vol. 3, chapter 1.
 */
#include "tcg-fallback/x86/decode.h"

#define REX_B 1u
#define REX_X 2u
#define REX_R 4u
#define REX_W 8u

#define ROW_NONE 0xffffu

/* The bytes, and how far decoding has come. */
struct cursor {
	const uint8_t *bytes;
	unsigned at, end; /* end: at most X86_INSN_LEN_MAX */
	bool exhausted;   /* more than `end` bytes were asked for */
};

static uint8_t cursor_byte(struct cursor *c)
{
	if (c->at >= c->end) {
		c->exhausted = true;
		return 0;
	}
	return c->bytes[c->at++];
}

/* Little-endian, zero-extended. */
static uint64_t cursor_take(struct cursor *c, unsigned size)
{
	uint64_t value = 0;

	if (size > c->end - c->at) {
		c->exhausted = true;
		c->at = c->end;
		return 0;
	}
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)c->bytes[c->at + i] << (8 * i);
	c->at += size;
	return value;
}

static int64_t cursor_take_signed(struct cursor *c, unsigned size)
{
	const uint64_t value = cursor_take(c, size);
	const unsigned unused = 64 - 8 * size;

	return (int64_t)(value << unused) >> unused;
}

/* Prefix classes. In 64-bit mode 40-4F are REX instead of INC and DEC. */
enum { PREFIX_NO, PREFIX_SEG, PREFIX_SEG_FS_GS, PREFIX_66, PREFIX_67, PREFIX_LOCK, PREFIX_REP, PREFIX_REX };
static const uint8_t prefix_class[256] = {
	[0x26] = PREFIX_SEG,       [0x2e] = PREFIX_SEG,       [0x36] = PREFIX_SEG, [0x3e] = PREFIX_SEG,
	[0x64] = PREFIX_SEG_FS_GS, [0x65] = PREFIX_SEG_FS_GS, [0x66] = PREFIX_66,  [0x67] = PREFIX_67,
	[0xf0] = PREFIX_LOCK,      [0xf2] = PREFIX_REP,       [0xf3] = PREFIX_REP, [0x40] = PREFIX_REX,
	[0x41] = PREFIX_REX,       [0x42] = PREFIX_REX,       [0x43] = PREFIX_REX, [0x44] = PREFIX_REX,
	[0x45] = PREFIX_REX,       [0x46] = PREFIX_REX,       [0x47] = PREFIX_REX, [0x48] = PREFIX_REX,
	[0x49] = PREFIX_REX,       [0x4a] = PREFIX_REX,       [0x4b] = PREFIX_REX, [0x4c] = PREFIX_REX,
	[0x4d] = PREFIX_REX,       [0x4e] = PREFIX_REX,       [0x4f] = PREFIX_REX,
};

static uint8_t segment_of_prefix(uint8_t byte)
{
	switch (byte) {
	case 0x26: return SEG_ES;
	case 0x2e: return SEG_CS;
	case 0x36: return SEG_SS;
	case 0x3e: return SEG_DS;
	case 0x64: return SEG_FS;
	}
	return SEG_GS;
}

/*
 * Prefixes up to the first opcode byte, which is returned. Of segments and of F2/F3 the last counts; 64-bit
 * mode ignores ES, CS, SS and DS; REX counts only directly before the opcode. in->seg becomes the override,
 * or SEG_COUNT.
 */
static uint8_t decode_prefixes(const struct x86_decode_mode *mode, struct cursor *c, struct x86_insn *in)
{
	in->seg = SEG_COUNT;
	while (true) {
		const uint8_t byte = cursor_byte(c);
		const uint8_t class = prefix_class[byte];

		if (class == PREFIX_NO || (class == PREFIX_REX && mode->bits != 64) || c->exhausted)
			return byte;
		if (class == PREFIX_REX) {
			in->rex = byte;
			continue;
		}
		in->rex = 0;
		if (class == PREFIX_SEG_FS_GS || (class == PREFIX_SEG && mode->bits != 64))
			in->seg = segment_of_prefix(byte);
		else if (class == PREFIX_66)
			in->prefix66 = true;
		else if (class == PREFIX_67)
			in->prefix67 = true;
		else if (class == PREFIX_LOCK)
			in->lock = true;
		else if (class == PREFIX_REP)
			in->rep = byte == 0xf2 ? X86_REP_F2 : X86_REP_F3;
	}
}

/* Values of X86_SELECT_PREFIX and of VEX.pp: F2 and F3 win over 66. */
static unsigned prefix_select(const struct x86_insn *in)
{
	if (in->rep == X86_REP_F3)
		return 2;
	if (in->rep == X86_REP_F2)
		return 3;
	return in->prefix66;
}

/* The implied prefix becomes visible to consumers as if it had been written out. */
static void vex_set_prefix(struct x86_insn *in, unsigned pp)
{
	in->prefix66 = pp == 1;
	in->rep = pp == 2 ? X86_REP_F3 : pp == 3 ? X86_REP_F2 : X86_REP_NONE;
}

/* C5: R vvvv L pp; C4: R X B mmmmm, W vvvv L pp. R, X, B and vvvv are stored inverted. False: undefined. */
static bool decode_vex(const struct x86_decode_mode *mode, struct cursor *c, struct x86_insn *in,
		       bool three_bytes)
{
	uint8_t first = cursor_byte(c), last = first, map = 1;
	unsigned rex = first & 0x80 ? 0 : REX_R;

	if (in->rex || in->prefix66 || in->rep != X86_REP_NONE || in->lock || !mode->protected_mode)
		return false;
	if (three_bytes) {
		map = first & 31;
		rex |= (first & 0x40 ? 0 : REX_X) | (first & 0x20 ? 0 : REX_B);
		last = cursor_byte(c);
		in->vex_w = last >> 7;
	}
	in->encoding = X86_ENC_VEX;
	in->vex_vvvv = (uint8_t)(~last >> 3) & 15;
	in->vex_l = last >> 2 & 1;
	vex_set_prefix(in, last & 3);
	if (mode->bits == 64)
		in->rex = (uint8_t)(0x40 | rex | (in->vex_w ? REX_W : 0));
	in->map = map;
	in->opcode = cursor_byte(c);
	return map >= 1 && map <= 3;
}

/*
 * 62: R X B R' 0 mmm, W vvvv 1 pp, z L'L b V' aaa; R, X, B, R', vvvv and V' are stored inverted. R' and V'
 * become bit 4 of reg and vvvv; X is that of a vector in ModRM.rm. Intel SDM vol. 2, 2.7.1. False: undefined.
 */
static bool decode_evex(const struct x86_decode_mode *mode, struct cursor *c, struct x86_insn *in)
{
	const uint8_t p0 = cursor_byte(c), p1 = cursor_byte(c), p2 = cursor_byte(c);

	if (in->rex || in->prefix66 || in->rep != X86_REP_NONE || in->lock || !mode->protected_mode)
		return false;
	in->encoding = X86_ENC_EVEX;
	in->vex_w = p1 >> 7;
	in->vex_vvvv = (uint8_t)((~p1 >> 3 & 15) | (mode->bits == 64 ? ~p2 << 1 & 16 : 0));
	in->evex_z = p2 >> 7;
	in->evex_b = p2 >> 4 & 1;
	in->evex_rounding = in->vex_l = p2 >> 5 & 3;
	in->evex_mask = p2 & 7;
	in->evex_high = ~p0 >> 4 & 1;
	vex_set_prefix(in, p1 & 3);
	if (mode->bits == 64)
		in->rex = (uint8_t)(0x40 | (in->vex_w ? REX_W : 0) | (p0 & 0x80 ? 0 : REX_R) |
				    (p0 & 0x40 ? 0 : REX_X) | (p0 & 0x20 ? 0 : REX_B));
	in->map = p0 & 7;
	in->opcode = cursor_byte(c);
	return !(p0 & 8) && (p1 & 4) && in->map >= 1 && in->map <= 3;
}

/*
 * Is C4 or C5 the start of VEX here? Outside 64-bit mode LES and LDS with a register operand would be
 * meaningless.
 */
static bool is_vex(const struct x86_decode_mode *mode, const struct cursor *c)
{
	return mode->bits == 64 || (c->at < c->end && c->bytes[c->at] >= 0xc0);
}

/* Opcode and map; the number of the table for them, or -1: undefined. */
static int decode_opcode(const struct x86_decode_mode *mode, struct cursor *c, struct x86_insn *in)
{
	uint8_t byte = decode_prefixes(mode, c, in);

	if ((byte == 0xc4 || byte == 0xc5) && !c->exhausted && is_vex(mode, c))
		return decode_vex(mode, c, in, byte == 0xc4) ? X86_MAP_VEX_BASE + in->map : -1;
	if (byte == 0x62 && !c->exhausted && is_vex(mode, c))
		return decode_evex(mode, c, in) ? X86_MAP_EVEX_BASE + in->map : -1;
	if (byte == 0x0f) {
		in->map = 1;
		byte = cursor_byte(c);
		if (byte == 0x38 || byte == 0x3a) {
			in->map = byte == 0x38 ? 2 : 3;
			byte = cursor_byte(c);
		}
	}
	in->opcode = byte;
	return in->map;
}

static uint8_t opsize_normal(const struct x86_decode_mode *mode, const struct x86_insn *in)
{
	if (in->rex & REX_W)
		return 8;
	return (mode->bits == 16) == in->prefix66 ? 4 : 2;
}

static uint8_t opsize_by_rule(const struct x86_decode_mode *mode, const struct x86_insn *in,
			      enum x86_opsize_rule rule)
{
	const uint8_t normal = opsize_normal(mode, in);
	const bool mode64 = mode->bits == 64;

	switch (rule) {
	case X86_OPSIZE_V: return normal;
	case X86_OPSIZE_BYTE: return 1;
	case X86_OPSIZE_Y: return in->rex & REX_W ? 8 : 4;
	case X86_OPSIZE_Z: return normal == 8 ? 4 : normal;
	case X86_OPSIZE_D64: return mode64 && normal == 4 ? 8 : normal;
	case X86_OPSIZE_F64: return mode64 ? 8 : normal;
	case X86_OPSIZE_NATIVE: return mode64 ? 8 : 4;
	case X86_OPSIZE_BRANCH: return mode64 && !(mode->near_branch_66 && normal == 2) ? 8 : normal;
	}
	return normal;
}

static uint8_t addrsize_of(const struct x86_decode_mode *mode, const struct x86_insn *in)
{
	if (mode->bits == 64)
		return in->prefix67 ? 4 : 8;
	return (mode->bits == 16) == in->prefix67 ? 4 : 2;
}

/* The value that a node asks for. ModRM has been read; its fields are not yet extended by REX. */
static unsigned select_value(const struct x86_decode_mode *mode, const struct x86_insn *in,
			     enum x86_select select)
{
	switch (select) {
	case X86_SELECT_MODE64: return mode->bits == 64;
	case X86_SELECT_PREFIX: return prefix_select(in);
	case X86_SELECT_REG: return in->reg;
	case X86_SELECT_MOD3: return in->mod == 3;
	case X86_SELECT_RM: return in->rm;
	case X86_SELECT_W: return in->rex & REX_W ? 1 : 0;
	case X86_SELECT_REX_B: return in->rex & REX_B;
	case X86_SELECT_OPSIZE: return opsize_normal(mode, in) >> 2;
	case X86_SELECT_VEX_L: return in->evex_b && in->mod == 3 && in->vex_l == 3 ? 2 : in->vex_l;
	case X86_SELECT_VEX_W: return in->vex_w;
	}
	return 0;
}

static bool mode_has(const struct x86_decode_mode *mode, unsigned feature)
{
	return feature == X86_FEATURE_ALWAYS || mode->feature[feature >> 5] >> (feature & 31) & 1;
}

static unsigned find_row(const struct x86_decode_mode *mode, const struct x86_insn *in, unsigned table)
{
	unsigned ref = x86_opcode_root[table][in->opcode];

	while (ref && !(ref & 0x8000))
		ref = x86_tree[ref + 1 + select_value(mode, in, x86_tree[ref])];
	if (!ref)
		return ROW_NONE;
	for (ref &= 0x7fff;; ref++) {
		const unsigned row = x86_leaf[ref] & 0x7fff;

		if (mode_has(mode, x86_rows[row].feature))
			return row;
		if (x86_leaf[ref] & 0x8000)
			return ROW_NONE;
	}
}

/* 16-bit addressing: rm names a sum of registers. */
static void decode_address_16(struct cursor *c, struct x86_insn *in)
{
	static const uint8_t base[8] = {REG_RBX, REG_RBX, REG_RBP, REG_RBP,
					REG_RSI, REG_RDI, REG_RBP, REG_RBX};
	static const uint8_t index[8] = {REG_RSI,  REG_RDI,  REG_RSI,  REG_RDI,
					 REG_ZERO, REG_ZERO, REG_ZERO, REG_ZERO};

	in->base = base[in->rm];
	in->index = index[in->rm];
	if (in->mod == 0 && in->rm == 6) {
		in->base = REG_ZERO;
		in->disp = cursor_take_signed(c, 2);
	} else if (in->mod) {
		in->disp = cursor_take_signed(c, in->mod);
	}
}

static bool is_vsib(const struct x86_insn *in)
{
	return x86_rows[in->row].properties & X86_PROP_VSIB;
}

/* 32- and 64-bit addressing, SIB and RIP-relative included. */
static void decode_address_32(const struct x86_decode_mode *mode, struct cursor *c, struct x86_insn *in)
{
	const unsigned high_base = in->rex & REX_B ? 8 : 0, high_index = in->rex & REX_X ? 8 : 0;
	unsigned low = in->rm;

	if (low == 4) {
		const uint8_t sib = cursor_byte(c);
		const unsigned index = (sib >> 3 & 7) | high_index;

		low = sib & 7;
		in->scale = sib >> 6;
		in->vsib = (uint8_t)index;
		in->index = index == 4 || is_vsib(in) ? REG_ZERO : (uint8_t)index;
	}
	in->base = (uint8_t)(low | high_base);
	if (in->mod == 0 && low == 5) {
		in->base = in->rm == 5 && mode->bits == 64 ? REG_RIP : REG_ZERO;
		in->disp = cursor_take_signed(c, 4);
	} else if (in->mod) {
		in->disp = cursor_take_signed(c, in->mod == 1 ? 1 : 4);
	}
}

static void decode_memory(const struct x86_decode_mode *mode, struct cursor *c, struct x86_insn *in)
{
	if (in->addrsize == 2)
		decode_address_16(c, in);
	else
		decode_address_32(mode, c, in);
}

/* The override, or what base register and mode imply. */
static uint8_t segment_effective(const struct x86_decode_mode *mode, const struct x86_insn *in)
{
	if (in->seg != SEG_COUNT)
		return in->seg;
	if (in->base == REG_RSP || in->base == REG_RBP)
		return SEG_SS;
	return mode->bits == 64 ? SEG_FLAT : SEG_DS;
}

static void decode_immediate(struct cursor *c, struct x86_insn *in, enum x86_imm_kind kind)
{
	const unsigned size_z = in->opsize == 2 ? 2 : 4;

	switch (kind) {
	case X86_IMM_NONE: return;
	case X86_IMM_IB: in->imm = cursor_take(c, 1); return;
	case X86_IMM_SIB: in->imm = (uint64_t)cursor_take_signed(c, 1); return;
	case X86_IMM_IW: in->imm = cursor_take(c, 2); return;
	case X86_IMM_IZ: in->imm = (uint64_t)cursor_take_signed(c, size_z); return;
	case X86_IMM_IV: in->imm = cursor_take(c, in->opsize); return;
	case X86_IMM_MOFFS: in->disp = (int64_t)cursor_take(c, in->addrsize); return;
	case X86_IMM_AP:
		in->imm = cursor_take(c, size_z);
		in->imm2 = (uint16_t)cursor_take(c, 2);
		return;
	case X86_IMM_IWIB:
		in->imm = cursor_take(c, 2);
		in->imm2 = (uint16_t)cursor_take(c, 1);
		return;
	}
}

/* EVEX.b with registers: L'L is a rounding mode, or ignored with SAE, and the vector has 512 bits. */
static bool evex_has_rounding(const struct x86_insn *in)
{
	return in->evex_b && in->mod == 3 &&
	       (x86_rows[in->row].properties & (X86_PROP_ROUNDING | X86_PROP_SAE));
}

/* What a displacement of one byte counts: the memory operand's length, or its elements'. SDM vol. 2, 2.7.5.
 */
static unsigned evex_disp_unit(const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	if (row->properties & (X86_PROP_DENSE | X86_PROP_VSIB))
		return row->mask_size;
	return x86_insn_mem_size(in);
}

static void decode_evex_operands(const struct x86_decode_mode *mode, struct x86_insn *in,
				 const struct x86_row_form *form)
{
	if (in->mod == 1)
		in->disp *= evex_disp_unit(in);
	if (mode->bits != 64)
		return;
	if (in->evex_high && form->reg != X86_CLASS_OTHER)
		in->reg |= 16;
	if (in->mod == 3 && form->rm == X86_CLASS_VECTOR)
		in->rm |= in->rex & REX_X ? 16 : 0;
	if (x86_rows[in->row].properties & X86_PROP_VSIB) {
		in->vsib |= in->vex_vvvv & 16;
		in->vex_vvvv &= 15;
	}
}

/* What follows the opcode, by the row. */
static void decode_operands(const struct x86_decode_mode *mode, struct cursor *c, struct x86_insn *in)
{
	const struct x86_row_form *form = &x86_row_forms[in->row];

	in->opsize = opsize_by_rule(mode, in, form->opsize);
	if (form->vex_vvvv && mode->bits != 64)
		in->vex_vvvv &= 7;
	if (evex_has_rounding(in))
		in->vex_l = 2;
	if (in->has_modrm && form->mod_ignored)
		in->mod = 3;
	if (x86_insn_is_mem(in))
		decode_memory(mode, c, in);
	if (in->has_modrm) {
		in->reg |= in->rex & REX_R ? 8 : 0;
		in->rm |= in->rex & REX_B ? 8 : 0;
	}
	if (in->encoding == X86_ENC_EVEX)
		decode_evex_operands(mode, in, form);
	if (form->rm == X86_CLASS_MASK)
		in->rm &= 7;
	if (form->reg == X86_CLASS_MASK && in->encoding == X86_ENC_VEX)
		in->reg &= 7;
	if (form->vvvv == X86_CLASS_MASK)
		in->vex_vvvv &= 7;
	in->seg = segment_effective(mode, in);
	decode_immediate(c, in, form->imm);
}

/*
 * Debug registers are 0 to 7; of the control registers beyond 7, which the row leaves open, there is only
 * CR8.
 */
static bool is_control_register(const struct x86_insn *in)
{
	return in->reg < 8 || (in->reg == 8 && !(in->opcode & 1));
}

/* A vector as index needs a SIB byte, and may be neither the destination nor the mask. EVEX: scatters may
 * have it as data. */
static bool is_legal_vsib(const struct x86_insn *in)
{
	if (in->addrsize == 2 || (in->rm & 7) != 4)
		return false;
	if (in->encoding == X86_ENC_EVEX)
		return in->evex_mask && (in->reg != in->vsib || (x86_rows[in->row].mem_access & 2));
	return in->reg != in->vsib && in->reg != in->vex_vvvv && in->vsib != in->vex_vvvv;
}

/* Masks, zeroing, EVEX.b, and features that go with lengths. Intel SDM vol. 2, 2.7.11. */
static bool is_legal_evex(const struct x86_decode_mode *mode, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	const bool is_mem = x86_insn_is_mem(in);

	/* With registers it is ignored where memory could be broadcast. */
	if (in->evex_b && !row->broadcast && (is_mem || !evex_has_rounding(in)))
		return false;
	if (in->vex_l == 3)
		return false;
	if (in->evex_mask && !row->mask_size)
		return false;
	/* With registers, an instruction that has no mask ignores it. */
	if (in->evex_z && is_mem && (row->mem_access & 2))
		return false;
	if (in->evex_z && row->mask_size && (!(row->properties & X86_PROP_ZEROING) || !in->evex_mask))
		return false;
	if (x86_row_forms[in->row].needs_vl && in->vex_l < 2 && !mode_has(mode, X86_FEATURE_AVX512VL))
		return false;
	return mode_has(mode, X86_FEATURE_AVX512F);
}

/* There are eight mask registers. */
static bool is_legal_mask(const struct x86_insn *in)
{
	const struct x86_row_form *form = &x86_row_forms[in->row];

	return !(form->reg == X86_CLASS_MASK && in->reg > 7) &&
	       !(form->vvvv == X86_CLASS_MASK && in->vex_vvvv > 7) &&
	       !(form->reg == X86_CLASS_GENERAL && in->reg > 15);
}

/* Rules that hold across rows. */
static bool is_legal(const struct x86_decode_mode *mode, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];

	if (in->lock && (!(row->properties & X86_PROP_LOCK) || !x86_insn_is_mem(in)))
		return false;
	if ((row->properties & X86_PROP_NO_REAL) && !mode->protected_mode)
		return false;
	if (in->encoding != X86_ENC_LEGACY && in->vex_vvvv && !x86_row_forms[in->row].vex_vvvv)
		return false;
	if (x86_row_forms[in->row].mod_ignored && !is_control_register(in))
		return false;
	if ((row->properties & X86_PROP_VSIB) && !is_legal_vsib(in))
		return false;
	if (in->encoding == X86_ENC_EVEX && !is_legal_evex(mode, in))
		return false;
	if ((row->properties & X86_PROP_ZMM) && !is_legal_mask(in))
		return false;
	return row->kind != X86_ROW_UD;
}

/* Runs out of bytes: fewer than 15 may still become an instruction, 15 may not. */
static enum x86_decode_status status_exhausted(const struct cursor *c)
{
	return c->end == X86_INSN_LEN_MAX ? X86_DECODE_TOO_LONG : X86_DECODE_MORE;
}

static void decode_modrm(struct cursor *c, struct x86_insn *in)
{
	const uint8_t byte = cursor_byte(c);

	in->has_modrm = true;
	in->mod = byte >> 6;
	in->reg = byte >> 3 & 7;
	in->rm = byte & 7;
}

enum x86_decode_status x86_decode(const struct x86_decode_mode *mode, const uint8_t *bytes, size_t avail,
				  struct x86_insn *in)
{
	struct cursor c = {.bytes = bytes,
			   .end = avail < X86_INSN_LEN_MAX ? (unsigned)avail : X86_INSN_LEN_MAX};
	int table;
	unsigned row;

	*in = (struct x86_insn){.base = REG_ZERO, .index = REG_ZERO};
	table = decode_opcode(mode, &c, in);
	in->addrsize = addrsize_of(mode, in);
	in->stacksize = mode->bits == 64 ? 8 : mode->stack32 ? 4 : 2;
	if (!c.exhausted && table >= 0 && x86_opcode_modrm[table][in->opcode])
		decode_modrm(&c, in);
	in->len = (uint8_t)c.at;
	if (c.exhausted)
		return status_exhausted(&c);
	row = table >= 0 ? find_row(mode, in, (unsigned)table) : ROW_NONE;
	if (row == ROW_NONE)
		return X86_DECODE_UD;
	in->row = (uint16_t)row;
	decode_operands(mode, &c, in);
	in->len = (uint8_t)c.at;
	if (c.exhausted)
		return status_exhausted(&c);
	return is_legal(mode, in) ? X86_DECODE_OK : X86_DECODE_UD;
}
