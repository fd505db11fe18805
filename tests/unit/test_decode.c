/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder's rules one by one, and the instruction table as a whole. What hardware makes of random bytes
 * is compared by tests/insn/length.c; the expectations here are from Intel SDM vol. 2, chapter 2, and AMD APM
 * vol. 3, chapter 1.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "insn_gen.h"

#define DECODE(bits_, in_, ...)                                                                              \
	({                                                                                                   \
		const uint8_t bytes_[] = {__VA_ARGS__};                                                      \
		const struct x86_decode_mode mode_ = full_mode(bits_);                                       \
		x86_decode(&mode_, bytes_, sizeof(bytes_), (in_));                                           \
	})

/* Every feature, Intel's near branches, 32-bit stack. */
static struct x86_decode_mode full_mode(uint8_t bits)
{
	struct x86_decode_mode mode = {.bits = bits, .stack32 = bits != 16, .protected_mode = true};

	memset(mode.feature, 0xff, sizeof(mode.feature));
	return mode;
}

static void without(struct x86_decode_mode *mode, unsigned feature)
{
	mode->feature[feature >> 5] &= ~(1u << (feature & 31));
}

static void assert_row(const struct x86_insn *in, const char *mnemonic)
{
	assert_string_equal(x86_rows[in->row].mnemonic, mnemonic);
}

static void test_operand_size(void **state)
{
	struct x86_insn in;

	assert_int_equal(DECODE(64, &in, 0x01, 0xd8), X86_DECODE_OK);
	assert_row(&in, "add");
	assert_int_equal(in.opsize, 4);
	DECODE(64, &in, 0x66, 0x01, 0xd8);
	assert_int_equal(in.opsize, 2);
	DECODE(64, &in, 0x66, 0x48, 0x01, 0xd8);
	assert_int_equal(in.opsize, 8);
	DECODE(16, &in, 0x01, 0xd8);
	assert_int_equal(in.opsize, 2);
	DECODE(16, &in, 0x66, 0x01, 0xd8);
	assert_int_equal(in.opsize, 4);
	DECODE(64, &in, 0x00, 0xd8);
	assert_int_equal(in.opsize, 1);
	DECODE(64, &in, 0x50);
	assert_int_equal(in.opsize, 8);
	DECODE(64, &in, 0x66, 0x50);
	assert_int_equal(in.opsize, 2);
	DECODE(64, &in, 0x66, 0x0f, 0x22, 0xc0); /* MOV CR0, RAX has one size */
	assert_int_equal(in.opsize, 8);
	DECODE(16, &in, 0x0f, 0x22, 0xc0);
	assert_int_equal(in.opsize, 4);
}

static void test_rex(void **state)
{
	struct x86_insn in;

	DECODE(64, &in, 0x4d, 0x8b, 0xcb); /* mov r9, r11 */
	assert_int_equal(in.reg, REG_R9);
	assert_int_equal(in.rm, REG_R11);
	DECODE(64, &in, 0x48, 0x66, 0x01, 0xd8); /* a prefix after REX cancels it */
	assert_int_equal(in.rex, 0);
	assert_int_equal(in.opsize, 2);
	assert_int_equal(DECODE(32, &in, 0x48), X86_DECODE_OK);
	assert_row(&in, "dec");
	DECODE(64, &in, 0x90);
	assert_row(&in, "nop");
	DECODE(64, &in, 0x41, 0x90);
	assert_row(&in, "xchg");
	DECODE(64, &in, 0xf3, 0x90);
	assert_row(&in, "pause");
}

static void test_prefix_priority(void **state)
{
	struct x86_insn in;

	DECODE(64, &in, 0x66, 0xf3, 0x0f, 0x58, 0xc1);
	assert_row(&in, "addss");
	DECODE(64, &in, 0xf3, 0xf2, 0x0f, 0x58, 0xc1); /* of F2 and F3 the last counts */
	assert_row(&in, "addsd");
	DECODE(64, &in, 0xf2, 0x66, 0x0f, 0x38, 0xf1, 0xc1);
	assert_row(&in, "crc32");
	assert_int_equal(in.opsize, 2);
	assert_int_equal(DECODE(64, &in, 0xf3, 0x0f, 0x57, 0xc1), X86_DECODE_UD);
}

static void test_segments(void **state)
{
	struct x86_insn in;

	DECODE(32, &in, 0x8b, 0x45, 0x04);
	assert_int_equal(in.seg, SEG_SS);
	DECODE(32, &in, 0x26, 0x3e, 0x8b, 0x45, 0x04); /* the last one counts */
	assert_int_equal(in.seg, SEG_DS);
	DECODE(64, &in, 0x64, 0x2e, 0x8b, 0x00); /* 64-bit mode ignores CS */
	assert_int_equal(in.seg, SEG_FS);
	DECODE(64, &in, 0x8b, 0x00);
	assert_int_equal(in.seg, SEG_FLAT);
	DECODE(64, &in, 0x8b, 0x45, 0x00); /* #SS, not #GP, when not canonical */
	assert_int_equal(in.seg, SEG_SS);
}

static void test_addresses(void **state)
{
	struct x86_insn in;

	DECODE(64, &in, 0x8b, 0x84, 0x8b, 0xf0, 0xff, 0xff, 0xff);
	assert_int_equal(in.base, REG_RBX);
	assert_int_equal(in.index, REG_RCX);
	assert_int_equal(in.scale, 2);
	assert_int_equal(in.disp, -16);
	DECODE(64, &in, 0x8b, 0x05, 0x10, 0x00, 0x00, 0x00);
	assert_int_equal(in.base, REG_RIP);
	DECODE(32, &in, 0x8b, 0x05, 0x10, 0x00, 0x00, 0x00);
	assert_int_equal(in.base, REG_ZERO);
	DECODE(64, &in, 0x8b, 0x04, 0x25, 0x10, 0x00, 0x00, 0x00);
	assert_int_equal(in.base, REG_ZERO);
	assert_int_equal(in.index, REG_ZERO);
	DECODE(64, &in, 0x42, 0x8b, 0x04, 0x20); /* r12 can be an index */
	assert_int_equal(in.index, REG_R12);
	DECODE(16, &in, 0x8b, 0x42, 0xfe);
	assert_int_equal(in.base, REG_RBP);
	assert_int_equal(in.index, REG_RSI);
	assert_int_equal(in.disp, -2);
	assert_int_equal(in.seg, SEG_SS);
	DECODE(16, &in, 0x8b, 0x06, 0x34, 0x12);
	assert_int_equal(in.base, REG_ZERO);
	assert_int_equal(in.disp, 0x1234);
	DECODE(64, &in, 0xa1, 8, 7, 6, 5, 4, 3, 2, 1);
	assert_int_equal(in.disp, 0x0102030405060708);
	DECODE(64, &in, 0x67, 0xa1, 4, 3, 2, 1);
	assert_int_equal(in.len, 6);
}

static void test_immediates(void **state)
{
	struct x86_insn in;

	DECODE(64, &in, 0x48, 0x83, 0xc0, 0xff);
	assert_int_equal(in.imm, UINT64_MAX);
	DECODE(64, &in, 0x48, 0x81, 0xc0, 0, 0, 0, 0x80);
	assert_int_equal(in.imm, 0xffffffff80000000u);
	DECODE(64, &in, 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 0x88);
	assert_int_equal(in.imm, 0x8807060504030201u);
	DECODE(64, &in, 0xcd, 0xff);
	assert_int_equal(in.imm, 0xff);
	DECODE(64, &in, 0xc8, 0x34, 0x12, 0x05);
	assert_int_equal(in.imm, 0x1234);
	assert_int_equal(in.imm2, 5);
	DECODE(32, &in, 0xea, 4, 3, 2, 1, 0x22, 0x11);
	assert_int_equal(in.imm, 0x01020304);
	assert_int_equal(in.imm2, 0x1122);
	DECODE(64, &in, 0xf6, 0x00, 0x7f); /* TEST has an immediate, NOT none */
	assert_int_equal(in.len, 3);
	DECODE(64, &in, 0xf6, 0x10);
	assert_int_equal(in.len, 2);
}

static void test_near_branches(void **state)
{
	const uint8_t call[] = {0x66, 0xe8, 1, 2, 3, 4};
	struct x86_decode_mode mode = full_mode(64);
	struct x86_insn in;

	x86_decode(&mode, call, sizeof(call), &in);
	assert_int_equal(in.len, 6);
	assert_int_equal(in.opsize, 8);
	mode.near_branch_66 = true;
	x86_decode(&mode, call, sizeof(call), &in);
	assert_int_equal(in.len, 4);
	assert_int_equal(in.opsize, 2);
}

static void test_lock(void **state)
{
	struct x86_insn in;

	assert_int_equal(DECODE(64, &in, 0xf0, 0x01, 0x18), X86_DECODE_OK);
	assert_true(in.lock);
	assert_int_equal(DECODE(64, &in, 0xf0, 0x01, 0xd8), X86_DECODE_UD); /* register destination */
	assert_int_equal(DECODE(64, &in, 0xf0, 0x03, 0x18), X86_DECODE_UD); /* memory is the source */
	assert_int_equal(DECODE(64, &in, 0xf0, 0x39, 0x18), X86_DECODE_UD); /* CMP */
	assert_int_equal(DECODE(64, &in, 0xf0, 0x89, 0x18), X86_DECODE_UD);
	assert_int_equal(DECODE(64, &in, 0xf0, 0x87, 0x18), X86_DECODE_OK);
	assert_int_equal(DECODE(64, &in, 0xf0, 0x0f, 0xc7, 0x08), X86_DECODE_OK);
}

static void test_length_limit(void **state)
{
	uint8_t code[32];
	const struct x86_decode_mode mode = full_mode(64);
	struct x86_insn in;

	memset(code, 0x66, sizeof(code));
	code[14] = 0x90;
	assert_int_equal(x86_decode(&mode, code, sizeof(code), &in), X86_DECODE_OK);
	assert_int_equal(in.len, 15);
	assert_int_equal(x86_decode(&mode, code, 14, &in), X86_DECODE_MORE);
	code[14] = 0x01;
	assert_int_equal(x86_decode(&mode, code, sizeof(code), &in), X86_DECODE_TOO_LONG);
	memset(code, 0x66, sizeof(code));
	assert_int_equal(x86_decode(&mode, code, sizeof(code), &in), X86_DECODE_TOO_LONG);
	assert_int_equal(x86_decode(&mode, code, 0, &in), X86_DECODE_MORE);
	code[0] = 0x81; /* add r/m32, imm32: every byte is waited for */
	code[1] = 0x04;
	code[2] = 0x24;
	for (unsigned avail = 0; avail < 7; avail++)
		assert_int_equal(x86_decode(&mode, code, avail, &in), X86_DECODE_MORE);
	assert_int_equal(x86_decode(&mode, code, 7, &in), X86_DECODE_OK);
}

static void test_modes(void **state)
{
	struct x86_insn in;

	assert_int_equal(DECODE(64, &in, 0x06), X86_DECODE_UD);
	assert_int_equal(DECODE(32, &in, 0x06), X86_DECODE_OK);
	assert_int_equal(DECODE(64, &in, 0x60), X86_DECODE_UD);
	assert_int_equal(DECODE(32, &in, 0x0f, 0x01, 0xf8), X86_DECODE_UD); /* SWAPGS */
	DECODE(64, &in, 0x63, 0xc1);
	assert_row(&in, "movsxd");
	DECODE(32, &in, 0x63, 0xc1);
	assert_row(&in, "arpl");
	assert_int_equal(DECODE(64, &in, 0x98), X86_DECODE_OK);
	assert_row(&in, "cwde");
	DECODE(64, &in, 0x48, 0x98);
	assert_row(&in, "cdqe");
	assert_int_equal(DECODE(32, &in, 0x0f, 0xc7, 0x08), X86_DECODE_OK);
	assert_row(&in, "cmpxchg8b");
	DECODE(64, &in, 0x48, 0x0f, 0xc7, 0x08);
	assert_row(&in, "cmpxchg16b");
}

static void test_real_mode(void **state)
{
	struct x86_decode_mode mode = full_mode(16);
	const uint8_t sldt[] = {0x0f, 0x00, 0xc0}, andn[] = {0xc4, 0xe2, 0x78, 0xf2, 0xc1},
		      les[] = {0xc4, 0x07};
	struct x86_insn in;

	assert_int_equal(x86_decode(&mode, sldt, sizeof(sldt), &in), X86_DECODE_OK);
	assert_int_equal(x86_decode(&mode, andn, sizeof(andn), &in), X86_DECODE_OK);
	mode.protected_mode = false;
	assert_int_equal(x86_decode(&mode, sldt, sizeof(sldt), &in), X86_DECODE_UD);
	assert_int_equal(x86_decode(&mode, andn, sizeof(andn), &in), X86_DECODE_UD);
	assert_int_equal(x86_decode(&mode, les, sizeof(les), &in), X86_DECODE_OK);
	assert_row(&in, "les");
}

static void test_vex(void **state)
{
	struct x86_insn in;

	assert_int_equal(DECODE(64, &in, 0xc4, 0xe2, 0x70, 0xf2, 0xc3),
			 X86_DECODE_OK); /* andn eax, ecx, ebx */
	assert_row(&in, "andn");
	assert_int_equal(in.vex_vvvv, REG_RCX);
	assert_int_equal(in.opsize, 4);
	DECODE(64, &in, 0xc4, 0x42, 0xb0, 0xf2, 0xc3); /* andn r8, r9, r11 */
	assert_int_equal(in.reg, REG_R8);
	assert_int_equal(in.vex_vvvv, REG_R9);
	assert_int_equal(in.rm, REG_R11);
	assert_int_equal(in.opsize, 8);
	assert_int_equal(DECODE(64, &in, 0x66, 0xc4, 0xe2, 0x70, 0xf2, 0xc3), X86_DECODE_UD);
	assert_int_equal(DECODE(64, &in, 0x48, 0xc4, 0xe2, 0x70, 0xf2, 0xc3), X86_DECODE_UD);
	assert_int_equal(DECODE(64, &in, 0xc4, 0xe2, 0x74, 0xf2, 0xc3), X86_DECODE_UD); /* L1 */
	assert_int_equal(DECODE(64, &in, 0xc4, 0xe3, 0x7b, 0xf0, 0xc3, 1), X86_DECODE_OK);
	assert_row(&in, "rorx");
	assert_int_equal(DECODE(64, &in, 0xc4, 0xe3, 0x73, 0xf0, 0xc3, 1),
			 X86_DECODE_UD); /* vvvv is no operand */
	assert_int_equal(DECODE(32, &in, 0xc5, 0x06), X86_DECODE_OK);
	assert_row(&in, "lds");
}

static void test_features(void **state)
{
	const uint8_t lzcnt[] = {0xf3, 0x0f, 0xbd, 0xc1}, tzcnt[] = {0xf3, 0x0f, 0xbc, 0xc1},
		      popcnt[] = {0xf3, 0x0f, 0xb8, 0xc1};
	struct x86_decode_mode mode = full_mode(64);
	struct x86_insn in;

	x86_decode(&mode, lzcnt, sizeof(lzcnt), &in);
	assert_row(&in, "lzcnt");
	without(&mode, X86_FEATURE_LZCNT);
	without(&mode, X86_FEATURE_BMI1);
	without(&mode, X86_FEATURE_POPCNT);
	assert_int_equal(x86_decode(&mode, lzcnt, sizeof(lzcnt), &in), X86_DECODE_OK);
	assert_row(&in, "bsr");
	assert_int_equal(x86_decode(&mode, tzcnt, sizeof(tzcnt), &in), X86_DECODE_OK);
	assert_row(&in, "bsf");
	assert_int_equal(x86_decode(&mode, popcnt, sizeof(popcnt), &in), X86_DECODE_UD);
}

static void test_reserved(void **state)
{
	struct x86_insn in;

	assert_int_equal(DECODE(64, &in, 0xf3, 0x0f, 0x1e, 0xfa), X86_DECODE_OK); /* ENDBR64 */
	assert_int_equal(DECODE(64, &in, 0x0f, 0x1f, 0x44, 0x00, 0x00), X86_DECODE_OK);
	assert_int_equal(in.len, 5);
	assert_int_equal(DECODE(64, &in, 0x0f, 0x0b), X86_DECODE_UD);
	assert_int_equal(DECODE(64, &in, 0x0f, 0x01, 0xc1), X86_DECODE_UD);       /* VMCALL */
	assert_int_equal(DECODE(64, &in, 0x8e, 0xc8), X86_DECODE_UD);             /* MOV CS */
	assert_int_equal(DECODE(64, &in, 0x0f, 0x20, 0xc8), X86_DECODE_UD);       /* CR1 */
	assert_int_equal(DECODE(64, &in, 0x44, 0x0f, 0x20, 0xc0), X86_DECODE_OK); /* CR8 */
	assert_int_equal(DECODE(64, &in, 0x0f, 0x20, 0x04), X86_DECODE_OK); /* ModRM.mod does not count */
	assert_int_equal(in.len, 3);
}

/* vaddps: masks, zeroing, broadcast with a compressed displacement, rounding; and what is none. */
static void test_evex(void **state)
{
	struct x86_insn in;

	assert_int_equal(DECODE(64, &in, 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1), X86_DECODE_OK);
	assert_int_equal(in.encoding, X86_ENC_EVEX);
	assert_int_equal(in.vex_l, 2);
	assert_int_equal(DECODE(64, &in, 0x62, 0x81, 0x04, 0xa5, 0x58, 0xf8), X86_DECODE_OK);
	assert_int_equal(in.reg, 23);
	assert_int_equal(in.vex_vvvv, 31);
	assert_int_equal(in.rm, 24);
	assert_int_equal(in.evex_mask, 5);
	assert_true(in.evex_z);
	assert_int_equal(DECODE(64, &in, 0x62, 0xf1, 0x7c, 0x48, 0x58, 0x40, 0x02), X86_DECODE_OK);
	assert_int_equal(in.disp, 128); /* in units of the operand */
	assert_int_equal(DECODE(64, &in, 0x62, 0xf1, 0x7c, 0x58, 0x58, 0x40, 0xfe), X86_DECODE_OK);
	assert_int_equal(in.disp, -8); /* of the element that is broadcast */
	assert_int_equal(x86_insn_mem_size(&in), 4);
	assert_int_equal(DECODE(64, &in, 0x62, 0xf1, 0x7c, 0x78, 0x58, 0xc1), X86_DECODE_OK);
	assert_int_equal(in.evex_rounding, 3);
	assert_int_equal(in.vex_l, 2);
	assert_int_equal(DECODE(64, &in, 0x62, 0xf1, 0x7c, 0xc8, 0x58, 0xc1),
			 X86_DECODE_UD); /* z without mask */
	assert_int_equal(DECODE(64, &in, 0x62, 0xf1, 0x78, 0x48, 0x58, 0xc1), X86_DECODE_UD); /* fixed bit */
	assert_int_equal(DECODE(64, &in, 0x62, 0xf1, 0x7c, 0x68, 0x58, 0xc1), X86_DECODE_UD); /* no length */
	assert_int_equal(DECODE(64, &in, 0x66, 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1), X86_DECODE_UD);
	assert_int_equal(DECODE(32, &in, 0x62, 0x08), X86_DECODE_OK); /* BOUND */
}

/* Every row leads to a function or says that it is undefined, and its flags are consistent. */
static void test_rows_are_bound(void **state)
{
	for (size_t i = 0; i < x86_row_count; i++) {
		const struct x86_row *row = &x86_rows[i];

		switch ((enum x86_row_kind)row->kind) {
		case X86_ROW_FAST: assert_true(row->fast < X86_FAST_COUNT); break;
		case X86_ROW_SLOW: assert_non_null(row->slow); break;
		case X86_ROW_VEC: assert_non_null(row->vec); break;
		case X86_ROW_UD: break;
		}
		assert_int_equal(row->flags_undefined & ~row->flags_written, 0);
		assert_true(!(row->properties & X86_PROP_JUMP) || (row->properties & X86_PROP_END));
		assert_true(!(row->properties & X86_PROP_ALIGN16) || row->mem_size == 16);
		assert_true(!row->mem_access || row->mem_access <= 3);
	}
}

/*
 * The decoder reads nothing but its table and the bytes: any bytes, any length, never more than 15 and never
 * past `avail`.
 */
static void test_any_bytes(void **state)
{
	uint64_t seed = 1;

	for (unsigned i = 0; i < 300000; i++) {
		const struct x86_decode_mode mode = full_mode((uint8_t)(16u << i % 3));
		uint8_t bytes[X86_INSN_LEN_MAX];
		struct x86_insn in;
		size_t avail;

		for (unsigned k = 0; k < sizeof(bytes); k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			bytes[k] = (uint8_t)(seed >> 56);
		}
		avail = seed >> 32 & 15;
		if (x86_decode(&mode, bytes, avail, &in) == X86_DECODE_OK)
			assert_in_range(in.len, 1, avail);
		assert_true(in.row < x86_row_count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_operand_size),
		cmocka_unit_test(test_rex),
		cmocka_unit_test(test_prefix_priority),
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_immediates),
		cmocka_unit_test(test_near_branches),
		cmocka_unit_test(test_lock),
		cmocka_unit_test(test_length_limit),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_real_mode),
		cmocka_unit_test(test_vex),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_evex),
		cmocka_unit_test(test_rows_are_bound),
		cmocka_unit_test(test_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
