/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XSAVE family and XCR0 on flat memory: layouts, what is written and what is left, headers that are
 * refused. Expected answers are those of the Intel SDM vol. 1, chapter 13.
 */
#include "tests/unit/x86_flat.h"

#include "insn_gen.h"
#include "tcg-fallback/x86/xsave.h"

static const struct x86_insn plain32 = {.len = 1, .opsize = 4, .addrsize = 4, .has_modrm = true, .mod = 3};

static void test_xsave_round_trip(void **state)
{
	struct flat *flat = flat_create();
	struct x86_cpu *cpu = &flat->cpu;
	struct x86_insn in = {
		.len = 3, .has_modrm = true, .disp = 0x1000, .opsize = 8, .addrsize = 8, .seg = SEG_FLAT};

	flat_enter_long_mode(flat, 0);
	assert_int_equal(flat_run(flat, x86_slow_xsave, &in), VEC_UD);
	cpu->cr4 |= CR4_OSXSAVE;
	cpu->xcr0 = 0x203;
	cpu->r[REG_RAX] = 0x203;
	cpu->zmm[5].q[1] = 0x1122334455667788;
	cpu->pkru = 0x55;
	cpu->fpu.reg[3].mant = 0x8000000000000000;
	cpu->fpu.reg[3].sexp = 0x3fff;
	cpu->fpu.top = 3;
	memset(flat->ram + 0x1000, 0xcc, 4096);
	memset(flat->ram + 0x1000 + 512, 0, 64);
	assert_int_equal(flat_run(flat, x86_slow_xsave, &in), -1);
	assert_int_equal(flat_get(flat, 0x1000 + 512, 8), 0x203);
	assert_int_equal(flat_get(flat, 0x1000 + 160 + 16 * 5 + 8, 8), 0x1122334455667788);
	assert_int_equal(flat_get(flat, 0x1000 + 32, 8), 0x8000000000000000);
	assert_int_equal(flat_get(flat, 0x1000 + 2688, 8), 0x55);
	assert_int_equal(flat_get(flat, 0x1000 + 576, 8), 0xcccccccccccccccc);
	cpu->zmm[5].q[1] = 0;
	cpu->pkru = 0;
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), -1);
	assert_int_equal(cpu->zmm[5].q[1], 0x1122334455667788);
	assert_int_equal(cpu->pkru, 0x55);
	flat_put(flat, 0x1000 + 512, 0x200, 8); /* x87 and SSE: initial state */
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), -1);
	assert_int_equal(cpu->zmm[5].q[1], 0);
	assert_int_equal(cpu->fpu.control, 0x37f);
	flat_put(flat, 0x1000 + 512, 0x4, 8);
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), VEC_GP);
	flat_put(flat, 0x1000 + 512, 0, 8);
	flat_put(flat, 0x1000 + 24, 0x10000, 4);
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), VEC_GP);
	in.disp = 0x1010;
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), VEC_GP);
	free(flat);
}

static void test_xsavec_compacts(void **state)
{
	struct flat *flat = flat_create();
	struct x86_cpu *cpu = &flat->cpu;
	struct x86_insn in = {
		.len = 3, .has_modrm = true, .disp = 0x1000, .opsize = 8, .addrsize = 8, .seg = SEG_FLAT};

	flat_enter_long_mode(flat, 0);
	cpu->cr4 |= CR4_OSXSAVE;
	cpu->xcr0 = cpu->r[REG_RAX] = 0x203;
	cpu->pkru = 0x77;
	assert_int_equal(flat_run(flat, x86_slow_xsavec, &in), -1);
	assert_int_equal(flat_get(flat, 0x1000 + 512, 8) & ~1ull, 0x200);
	assert_int_equal(flat_get(flat, 0x1000 + 520, 8), 0x8000000000000203);
	assert_int_equal(flat_get(flat, 0x1000 + 576, 8), 0x77);
	cpu->pkru = 0;
	cpu->mxcsr = 0x1fbf;
	assert_int_equal(flat_run(flat, x86_slow_xrstors, &in), -1);
	assert_int_equal(cpu->pkru, 0x77);
	assert_int_equal(cpu->mxcsr, 0x1f80);
	flat_put(flat, 0x1000 + 520, 0x8000000000000003, 8); /* XSTATE_BV has what XCOMP_BV has not */
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), VEC_GP);
	free(flat);
}

/* YMM's upper halves: where they are, what is left unwritten, and what comes back when they are not there. */
static void test_xsave_of_ymm(void **state)
{
	struct flat *flat = flat_create();
	struct x86_cpu *cpu = &flat->cpu;
	struct x86_insn in = {
		.len = 3, .has_modrm = true, .disp = 0x1000, .opsize = 8, .addrsize = 8, .seg = SEG_FLAT};

	flat_enter_long_mode(flat, 0);
	cpu->cr4 |= CR4_OSXSAVE;
	cpu->xcr0 = cpu->r[REG_RAX] = 7;
	cpu->zmm[0].q[0] = 0x1111;
	cpu->zmm[3].q[2] = 0x2222;
	cpu->zmm[15].q[3] = 0x3333;
	memset(flat->ram + 0x1000, 0, 4096);
	assert_int_equal(flat_run(flat, x86_slow_xsave, &in), -1);
	assert_int_equal(flat_get(flat, 0x1000 + 512, 8) & 6, 6);
	assert_int_equal(flat_get(flat, 0x1000 + 576 + 16 * 3, 8), 0x2222);
	assert_int_equal(flat_get(flat, 0x1000 + 576 + 16 * 15 + 8, 8), 0x3333);
	/* Asked for by one bit alone, the other's bytes and header bit stay. */
	cpu->zmm[0].q[0] = 0x4444;
	cpu->zmm[3].q[2] = cpu->zmm[15].q[3] = 0;
	cpu->r[REG_RAX] = 4;
	assert_int_equal(flat_run(flat, x86_slow_xsaveopt, &in), -1);
	assert_int_equal(flat_get(flat, 0x1000 + 512, 8) & 6, 2);
	assert_int_equal(flat_get(flat, 0x1000 + 160, 8), 0x1111);
	assert_int_equal(flat_get(flat, 0x1000 + 576 + 16 * 3, 8), 0x2222); /* initial state: not written */
	/* A header without the component clears it, and leaves what is not asked for. */
	cpu->zmm[3].q[2] = 0x5555;
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), -1);
	assert_int_equal(cpu->zmm[3].q[2], 0);
	assert_int_equal(cpu->zmm[0].q[0], 0x4444);
	flat_put(flat, 0x1000 + 512, 4, 8);
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), -1);
	assert_int_equal(cpu->zmm[3].q[2], 0x2222);
	/* Compacted without SSE: YMM follows the header all the same. */
	assert_int_equal(flat_run(flat, x86_slow_xsavec, &in), -1);
	assert_int_equal(flat_get(flat, 0x1000 + 520, 8), 0x8000000000000004);
	cpu->zmm[3].q[2] = 0;
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), -1);
	assert_int_equal(cpu->zmm[3].q[2], 0x2222);
	/* What XCR0 has not is no component of this CPU; the rest of the header is reserved. */
	cpu->xcr0 = 3;
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), VEC_GP);
	cpu->xcr0 = 7;
	flat_put(flat, 0x1000 + 512 + 24, 1, 8);
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), VEC_GP);
	cpu->cr0 |= CR0_TS;
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), VEC_NM);
	free(flat);
}

/* AVX-512's components: the standard layout is Intel's, the compacted one has them one behind the other. */
static void test_xsave_of_zmm(void **state)
{
	struct flat *flat = flat_create();
	struct x86_cpu *cpu = &flat->cpu;
	struct x86_insn in = {
		.len = 3, .has_modrm = true, .disp = 0x1000, .opsize = 8, .addrsize = 8, .seg = SEG_FLAT};

	flat_enter_long_mode(flat, 0);
	cpu->cr4 |= CR4_OSXSAVE;
	cpu->xcr0 = cpu->r[REG_RAX] = 0xe7;
	cpu->k[7] = 0x7777;
	cpu->zmm[1].q[4] = 0x1111;
	cpu->zmm[31].q[7] = 0x3131;
	memset(flat->ram + 0x1000, 0, 4096);
	assert_int_equal(flat_run(flat, x86_slow_xsave, &in), -1);
	assert_int_equal(flat_get(flat, 0x1000 + 512, 8) & 0xe0, 0xe0);
	assert_int_equal(flat_get(flat, 0x1000 + 1088 + 8 * 7, 8), 0x7777);
	assert_int_equal(flat_get(flat, 0x1000 + 1152 + 32, 8), 0x1111);
	assert_int_equal(flat_get(flat, 0x1000 + 1664 + 64 * 15 + 56, 8), 0x3131);
	cpu->k[7] = cpu->zmm[1].q[4] = cpu->zmm[31].q[7] = 0;
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), -1);
	assert_int_equal(cpu->k[7], 0x7777);
	assert_int_equal(cpu->zmm[1].q[4], 0x1111);
	assert_int_equal(cpu->zmm[31].q[7], 0x3131);
	cpu->r[REG_RAX] = 0xa0; /* masks and the upper registers alone */
	assert_int_equal(flat_run(flat, x86_slow_xsavec, &in), -1);
	assert_int_equal(flat_get(flat, 0x1000 + 576 + 8 * 7, 8), 0x7777);
	assert_int_equal(flat_get(flat, 0x1000 + 576 + 64 + 64 * 15 + 56, 8), 0x3131);
	flat_put(flat, 0x1000 + 512, 0, 8);
	assert_int_equal(flat_run(flat, x86_slow_xrstor, &in), -1);
	assert_int_equal(cpu->k[7], 0);
	assert_int_equal(cpu->zmm[31].q[7], 0);
	assert_int_equal(cpu->zmm[1].q[4], 0x1111);
	free(flat);
}

static void test_xsetbv_rules(void **state)
{
	struct flat *flat = flat_create();

	flat->cpu.cr4 |= CR4_OSXSAVE;
	flat->cpu.r[REG_RDX] = 0;
	flat->cpu.r[REG_RAX] = 2;
	assert_int_equal(flat_run(flat, x86_slow_xsetbv, &plain32), VEC_GP);
	flat->cpu.r[REG_RAX] = 7; /* AVX is not offered by the leaf */
	assert_int_equal(flat_run(flat, x86_slow_xsetbv, &plain32), VEC_GP);
	flat->cpu.r[REG_RAX] = 0x203;
	assert_int_equal(flat_run(flat, x86_slow_xsetbv, &plain32), -1);
	assert_int_equal(flat->cpu.xcr0, 0x203);
	free(flat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xsave_round_trip), cmocka_unit_test(test_xsavec_compacts),
		cmocka_unit_test(test_xsave_of_ymm),     cmocka_unit_test(test_xsave_of_zmm),
		cmocka_unit_test(test_xsetbv_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
