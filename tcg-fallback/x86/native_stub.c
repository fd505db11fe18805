/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host code around one guest instruction: its registers are renamed, its memory operand is the buffer that
 * RDI points at, and what it uses is loaded before and stored after it. A stub serves all instructions that
 * become the same by that; an immediate is part of it. Knows no guest memory. Intel SDM vol. 2, 2.3.
 */
#include "tcg-fallback/x86/native_stub.h"

#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/emit/asm.h"
#include "tcg-fallback/x86/gen.h"

#define STUB_BYTES_MAX 384u
#define REX_W          8u

#define IO(field_) asm_rm_mem(ASM_RDI, (int32_t)offsetof(struct native_io, field_))

static char letter_of(const struct x86_row *row, unsigned i)
{
	return row->operand[i] ? x86_operand_letter(row->operand[i]) : 0;
}

bool native_operand_is_mask(const struct x86_row *row, unsigned i)
{
	return row->operand[i] && x86_operand_names[row->operand[i]][1] == 'k';
}

/* A vector, or a mask register, as an operand of one of these letters. */
static bool row_has_file(const struct x86_row *row, const char *letters, bool mask)
{
	for (unsigned i = 0; i < 4 && row->operand[i]; i++)
		if (letter_of(row, i) && strchr(letters, letter_of(row, i)) &&
		    native_operand_is_mask(row, i) == mask)
			return true;
	return false;
}

static bool row_has(const struct x86_row *row, const char *letters)
{
	for (unsigned i = 0; i < 4 && row->operand[i]; i++)
		if (letter_of(row, i) && strchr(letters, letter_of(row, i)))
			return true;
	return false;
}

static bool row_has_imm(const struct x86_row *row)
{
	return row_has(row, "IL");
}

/* W as the instruction means it: outside 64-bit mode it does not widen general registers, those of strings
 * (VPCMPESTRI) included. */
static bool stub_w(const struct x86_insn *in, const struct x86_row *row)
{
	return row_has(row, "EGR") || row->slow == x86_slow_native_string ? in->rex & REX_W : in->vex_w;
}

static unsigned pp_of(const struct x86_insn *in)
{
	if (in->rep != X86_REP_NONE)
		return in->rep == X86_REP_F3 ? 2 : 3;
	return in->prefix66;
}

/* The number in native_io of what VEX.vvvv names. */
static unsigned vvvv_of(const struct x86_row *row)
{
	return row_has_file(row, "H", true) ? 2 : row_has(row, "H") ? 1 : 0;
}

static void put_vex(struct asm_code *code, const struct x86_insn *in, const struct x86_row *row)
{
	const unsigned vvvv = vvvv_of(row);

	asm_byte(code, 0xc4);
	asm_byte(code, (uint8_t)(0xe0 | in->map));
	asm_byte(code,
		 (uint8_t)((stub_w(in, row) ? 0x80 : 0) | (~vvvv & 15) << 3 | in->vex_l << 2 | pp_of(in)));
}

static void put_evex(struct asm_code *code, const struct x86_insn *in, const struct x86_row *row)
{
	asm_byte(code, 0x62);
	asm_byte(code, (uint8_t)(0xf0 | in->map));
	asm_byte(code, (uint8_t)((stub_w(in, row) ? 0x80 : 0) | (~vvvv_of(row) & 15) << 3 | 4 | pp_of(in)));
	asm_byte(code, (uint8_t)(in->evex_z << 7 | in->evex_rounding << 5 | in->evex_b << 4 | 8 |
				 (in->evex_mask ? 4 : 0)));
}

static void put_legacy(struct asm_code *code, const struct x86_insn *in)
{
	static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};

	if (pp_of(in))
		asm_byte(code, prefix[pp_of(in)]);
	asm_byte(code, 0x0f);
	if (in->map > 1)
		asm_byte(code, in->map == 2 ? 0x38 : 0x3a);
}

static void put_instruction(struct asm_code *code, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	const unsigned reg = row_has_file(row, "V", true) ? 1 : row_has(row, "VG") ? 0 : in->reg & 7;
	const unsigned rm = row_has_file(row, "U", true) ? 3 : row_has(row, "WU") ? 2 : ASM_RCX;

	if (in->encoding == X86_ENC_VEX)
		put_vex(code, in, row);
	else if (in->encoding == X86_ENC_EVEX)
		put_evex(code, in, row);
	else
		put_legacy(code, in);
	asm_byte(code, in->opcode);
	if (x86_insn_is_mem(in)) {
		asm_byte(code, (uint8_t)(0x80 | reg << 3 | ASM_RDI));
		asm_imm(code, offsetof(struct native_io, mem), 4);
	} else {
		asm_byte(code, (uint8_t)(0xc0 | reg << 3 | rm));
	}
	if (row_has_imm(row))
		asm_byte(code, (uint8_t)(row_has(row, "L") ? 0x30 | (in->imm & 15) : in->imm));
}

/* EVEX.512.NP.0F.W0: the assembler of translated code has no EVEX. */
static void put_move_zmm(struct asm_code *code, uint8_t opcode, unsigned number)
{
	static const uint8_t evex[] = {0x62, 0xf1, 0x7c, 0x48};

	for (unsigned i = 0; i < sizeof(evex); i++)
		asm_byte(code, evex[i]);
	asm_byte(code, opcode);
	asm_byte(code, (uint8_t)(0x80 | number << 3 | ASM_RDI));
	asm_imm(code, offsetof(struct native_io, v) + number * sizeof(union x86_vec), 4);
}

/* vmovups between YMM or ZMM register and its place. */
static void put_move(struct asm_code *code, const struct x86_insn *in, uint8_t opcode, unsigned number)
{
	struct asm_op op = {.opcode = opcode, .map = 1, .reg = (uint8_t)number, .vex = true, .vex_l = 1};
	struct asm_rm rm = IO(v);

	if (in->encoding == X86_ENC_EVEX) {
		put_move_zmm(code, opcode, number);
		return;
	}
	rm.disp += (int32_t)(number * sizeof(union x86_vec));
	asm_insn(code, &op, &rm);
}

/* kmovq between mask register and its place. */
static void put_move_mask(struct asm_code *code, uint8_t opcode, unsigned number)
{
	struct asm_op op = {.opcode = opcode, .map = 1, .reg = (uint8_t)number, .vex = true, .w = true};
	struct asm_rm rm = IO(k);

	rm.disp += (int32_t)(number * sizeof(uint64_t));
	asm_insn(code, &op, &rm);
}
#define MASK_LOAD  0x90
#define MASK_STORE 0x91
#define MOVE_LOAD  0x10
#define MOVE_STORE 0x11

/* LDMXCSR /2, STMXCSR /3. */
static void put_mxcsr(struct asm_code *code, unsigned extension, struct asm_rm rm)
{
	struct asm_op op = {.opcode = 0xae, .map = 1, .reg = (uint8_t)extension};

	asm_insn(code, &op, &rm);
}

static void put_prologue(struct asm_code *code, const struct x86_insn *in, const struct x86_row *row)
{
	if (row->properties & X86_PROP_MXCSR) {
		put_mxcsr(code, 3, IO(mxcsr_host));
		put_mxcsr(code, 2, IO(mxcsr));
	}
	asm_load(code, true, ASM_RAX, IO(rax));
	asm_load(code, true, ASM_RCX, IO(rcx));
	asm_load(code, true, ASM_RDX, IO(rdx));
	if (row_has_file(row, "V", false))
		put_move(code, in, MOVE_LOAD, 0);
	if (row_has_file(row, "H", false))
		put_move(code, in, MOVE_LOAD, 1);
	if (row_has_file(row, "WU", false) && !x86_insn_is_mem(in))
		put_move(code, in, MOVE_LOAD, 2);
	if (row_has(row, "L"))
		put_move(code, in, MOVE_LOAD, 3);
	for (unsigned i = 1; i < 4; i++)
		if (row_has_file(row, i == 1 ? "V" : i == 2 ? "H" : "U", true))
			put_move_mask(code, MASK_LOAD, i);
	if (in->evex_mask)
		put_move_mask(code, MASK_LOAD, 4);
}

/* pushfq; pop [flags] */
static void put_flags(struct asm_code *code)
{
	struct asm_op pop = {.opcode = 0x8f};
	struct asm_rm flags = IO(flags);

	asm_byte(code, 0x9c);
	asm_insn(code, &pop, &flags);
}

static void put_epilogue(struct asm_code *code, const struct x86_insn *in, const struct x86_row *row)
{
	static const uint8_t vzeroupper_ret[] = {0xc5, 0xf8, 0x77, 0xc3};

	if (row->flags_written)
		put_flags(code);
	if (row->properties & X86_PROP_MXCSR) {
		put_mxcsr(code, 3, IO(mxcsr));
		put_mxcsr(code, 2, IO(mxcsr_host));
	}
	asm_store(code, true, IO(rax), ASM_RAX);
	asm_store(code, true, IO(rcx), ASM_RCX);
	if (row_has_file(row, "V", false))
		put_move(code, in, MOVE_STORE, 0);
	if (letter_of(row, 0) == 'H')
		put_move(code, in, MOVE_STORE, 1);
	if ((letter_of(row, 0) == 'W' || letter_of(row, 0) == 'U') && !x86_insn_is_mem(in))
		put_move(code, in, MOVE_STORE, 2);
	if (native_operand_is_mask(row, 0))
		put_move_mask(code, MASK_STORE, 1);
	for (unsigned i = 0; i < sizeof(vzeroupper_ret); i++)
		asm_byte(code, vzeroupper_ret[i]);
}

static native_stub_fn *stub_make(struct x86_native *native, const struct x86_insn *in)
{
	const struct x86_row *row = &x86_rows[in->row];
	struct asm_code code = {.at = native->next, .end = native->memory.rw + native->memory.size_bytes};
	const uint8_t *run = code_memory_run(&native->memory, code.at);
	native_stub_fn *function;

	put_prologue(&code, in, row);
	put_instruction(&code, in);
	put_epilogue(&code, in, row);
	native->next = code.at;
	memcpy(&function, &run, sizeof(function)); /* ISO C has no cast from data to code */
	return function;
}

/* FNV-1a; each round sees one byte. */
static unsigned key_hash(const uint8_t key[NATIVE_KEY_BYTES])
{
	uint64_t hash = 0xcbf29ce484222325u, part;

	for (unsigned i = 0; i < NATIVE_KEY_BYTES; i += 8) {
		memcpy(&part, key + i, 8);
		hash = (hash ^ part) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 32;
	}
	return (unsigned)hash & (NATIVE_STUB_HASH - 1);
}

static void forget_all(struct x86_native *native)
{
	memset(native->stub, 0, sizeof(native->stub));
	native->next = native->memory.rw;
}

native_stub_fn *native_stub_find(struct x86_native *native, const struct x86_insn *in)
{
	uint8_t key[NATIVE_KEY_BYTES] = {0};
	struct asm_code code = {.at = key, .end = key + NATIVE_KEY_BYTES - 1};
	struct native_stub *stub;

	put_instruction(&code, in);
	key[NATIVE_KEY_BYTES - 1] = (uint8_t)(code.at - key);
	stub = &native->stub[key_hash(key)];
	if (stub->run && !memcmp(stub->key, key, sizeof(key)))
		return stub->run;
	if (native->memory.size_bytes - (size_t)(native->next - native->memory.rw) < STUB_BYTES_MAX)
		forget_all(native);
	memcpy(stub->key, key, sizeof(key));
	stub->run = stub_make(native, in);
	return stub->run;
}
