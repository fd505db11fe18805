/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control state of the CPU on flat memory: control registers, MSRs, CPUID, flags by mode, port permission,
 * debug traps, system calls. Expected answers are those of the Intel SDM (AMD APM where the vendor is
 * AMD).
 */
#include "tests/unit/x86_flat.h"

#include "insn_gen.h"
#include "tcg-fallback/x86/xsave.h"

static int write_cr(struct flat *flat, unsigned n, uint64_t value)
{
	struct x86_insn in = {.len = 3, .reg = n, .rm = REG_RAX, .opsize = 8};

	flat->cpu.r[REG_RAX] = value;
	return flat_run(flat, x86_slow_mov_to_cr, &in);
}

static void test_cr0_rules(void **state)
{
	struct flat *flat = flat_create();

	assert_int_equal(write_cr(flat, 0, CR0_PG), VEC_GP);
	assert_int_equal(write_cr(flat, 0, CR0_PE | CR0_NW), VEC_GP);
	assert_int_equal(write_cr(flat, 1, 0), VEC_UD);
	assert_int_equal(write_cr(flat, 0, CR0_PE | 0x1ffc0), -1); /* undefined bits are dropped */
	assert_int_equal(flat->cpu.cr0, CR0_PE | CR0_ET | CR0_WP);
	flat->cpu.efer = EFER_LME;
	assert_int_equal(write_cr(flat, 0, CR0_PE | CR0_PG), VEC_GP); /* without PAE */
	flat->cpu.cr4 = CR4_PAE;
	assert_int_equal(write_cr(flat, 0, CR0_PE | CR0_PG), -1);
	assert_true(flat->cpu.long_mode);
	assert_int_equal(write_cr(flat, 0, CR0_PE), -1); /* from compatibility mode */
	assert_false(flat->cpu.long_mode);
	assert_int_equal(flat->cpu.efer, EFER_LME);
	flat_enter_long_mode(flat, 0);
	assert_int_equal(write_cr(flat, 0, CR0_PE), VEC_GP); /* not from 64-bit mode */
	assert_int_equal(write_cr(flat, 0, CR0_PE | CR0_PG | 1ull << 32), VEC_GP);
	free(flat);
}

static void test_cr0_pae_loads_pdptes(void **state)
{
	struct flat *flat = flat_create();

	flat->cpu.cr4 = CR4_PAE;
	flat->cpu.cr3 = 0x1020;
	flat_put(flat, 0x1020, 0x5001, 8);
	flat_put(flat, 0x1038, 0x6002, 8); /* not present: reserved bits do not count */
	assert_int_equal(write_cr(flat, 0, CR0_PE | CR0_PG), -1);
	assert_int_equal(flat->cpu.pdptr[0], 0x5001);
	flat_put(flat, 0x1028, 0x7003, 8);
	assert_int_equal(write_cr(flat, 3, 0x1020), VEC_GP);
	assert_int_equal(flat->cpu.pdptr[1], 0);
	free(flat);
}

static void test_cr3_rules(void **state)
{
	struct flat *flat = flat_create();
	unsigned flushes;

	flat_enter_long_mode(flat, 0);
	assert_int_equal(write_cr(flat, 3, 1ull << 40), VEC_GP);
	assert_int_equal(write_cr(flat, 3, 1ull << 63), VEC_GP);
	assert_int_equal(write_cr(flat, 3, 0x1000), -1);
	assert_int_equal(write_cr(flat, 4, CR4_PAE | CR4_PCIDE), -1);
	flushes = flat->flushes;
	assert_int_equal(write_cr(flat, 3, 1ull << 63 | 0x2005), -1);
	assert_int_equal(flat->cpu.cr3, 0x2005);
	assert_int_equal(flat->flushes, flushes);
	assert_int_equal(write_cr(flat, 3, 0x2005), -1);
	assert_int_equal(flat->flushes, flushes + 1);
	free(flat);
}

static void test_cr4_rules(void **state)
{
	struct flat *flat = flat_create();

	assert_int_equal(write_cr(flat, 4, 1 << 13), VEC_GP);
	assert_int_equal(write_cr(flat, 4, CR4_PCIDE), VEC_GP); /* outside long mode */
	flat_enter_long_mode(flat, 0);
	assert_int_equal(write_cr(flat, 4, 0), VEC_GP);
	assert_int_equal(write_cr(flat, 4, CR4_PAE | CR4_LA57), VEC_GP);
	flat->cpu.cr3 = 0x1001;
	assert_int_equal(write_cr(flat, 4, CR4_PAE | CR4_PCIDE), VEC_GP);
	flat->cpu.feature[2] = 0;
	assert_int_equal(write_cr(flat, 4, CR4_PAE | CR4_SMEP), VEC_GP);
	free(flat);
}

static void test_msr_rules(void **state)
{
	struct flat *flat = flat_create();
	struct x86_cpu *cpu = &flat->cpu;
	uint64_t value;

	assert_false(x86_msr_read(cpu, 0x12345, &value));
	assert_false(x86_msr_write(cpu, 0xc0000082, 0x0000800000000000 << 9));
	assert_true(x86_msr_write(cpu, 0xc0000082, 0xffffffff81000000));
	assert_true(x86_msr_read(cpu, 0xc0000082, &value));
	assert_int_equal(value, 0xffffffff81000000);
	assert_int_equal(cpu->msr.lstar, 0xffffffff81000000);
	assert_true(x86_msr_write(cpu, 0xc0000083, 0x1000));
	assert_int_equal(cpu->msr.cstar, 0x1000);
	assert_false(x86_msr_write(cpu, 0xc0000084, 1ull << 32));
	assert_false(x86_msr_write(cpu, 0x277, 0x02));
	assert_true(x86_msr_write(cpu, 0x277, 0x0706050401000706));
	assert_false(x86_msr_write(cpu, 0x2ff, 0x100));
	assert_true(x86_msr_write(cpu, 0x2ff, 0xc06));
	assert_true(x86_msr_write(cpu, 0x268, 0x0606060606060606));
	assert_int_equal(cpu->msr.mtrr_fixed[3], 0x0606060606060606);
	assert_false(x86_msr_write(cpu, 0xfe, 0));
	assert_false(x86_msr_write(cpu, 0xc0000080, 1 << 1));
	assert_true(x86_msr_write(cpu, 0xc0000080, EFER_LME | EFER_NXE | EFER_LMA));
	assert_int_equal(cpu->efer, EFER_LME | EFER_NXE);
	cpu->cr0 |= CR0_PG;
	assert_false(x86_msr_write(cpu, 0xc0000080, 0));
	assert_true(x86_msr_write(cpu, 0xc0000101, 0x7fff12345678));
	assert_int_equal(cpu->seg[SEG_GS].base, 0x7fff12345678);
	free(flat);
}

static void test_tsc_and_adjust(void **state)
{
	struct flat *flat = flat_create();
	uint64_t value;

	assert_true(x86_msr_write(&flat->cpu, 0x10, 1000500));
	assert_true(x86_msr_read(&flat->cpu, 0x3b, &value));
	assert_int_equal(value, 500);
	assert_true(x86_msr_write(&flat->cpu, 0x3b, 0));
	assert_true(x86_msr_read(&flat->cpu, 0x10, &value));
	assert_int_equal(value, 1000000);
	free(flat);
}

static void test_saved_msrs_restore(void **state)
{
	struct flat *flat = flat_create();
	uint32_t index[96];
	size_t count = x86_msr_saved(&flat->cpu, index, 96);
	uint64_t value;

	assert_in_range(count, 40, 95);
	flat->cpu.msr.lstar = 0x1111;
	for (size_t i = 0; i < count; i++) {
		assert_true(x86_msr_read(&flat->cpu, index[i], &value));
		assert_true(x86_msr_restore(&flat->cpu, index[i], value));
	}
	assert_int_equal(flat->cpu.msr.lstar, 0x1111);
	assert_int_equal(flat->cpu.tsc_offset, 0);
	free(flat);
}

static void test_cpuid_ranges(void **state)
{
	struct flat *flat = flat_create();
	uint32_t out[4];

	x86_cpuid_query(&flat->cpu, 0x17, 0, out); /* Intel: the highest basic leaf */
	assert_int_equal(out[0], 1600);
	x86_cpuid_query(&flat->cpu, 5, 0, out);
	assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
	flat->leaf[0].ebx = 0x68747541; /* AMD: zeros */
	x86_cpuid_query(&flat->cpu, 0x17, 0, out);
	assert_int_equal(out[0], 0);
	x86_cpuid_query(&flat->cpu, 1, 0, out);
	assert_false(out[2] >> 27 & 1);
	flat->cpu.cr4 |= CR4_OSXSAVE;
	x86_cpuid_query(&flat->cpu, 1, 0, out);
	assert_true(out[2] >> 27 & 1);
	flat->cpu.xcr0 = 0x203;
	x86_cpuid_query(&flat->cpu, 0xd, 0, out);
	assert_int_equal(out[1], 2696);
	free(flat);
}

static const struct x86_insn plain32 = {.len = 1, .opsize = 4, .addrsize = 4, .has_modrm = true, .mod = 3};
static const struct x86_insn plain16 = {.len = 1, .opsize = 2, .addrsize = 2, .has_modrm = true, .mod = 3};

static struct flat *flat_mode(uint32_t cr0, unsigned cpl, uint32_t eflags)
{
	struct flat *flat = flat_create();

	flat->cpu.cr0 |= cr0;
	flat->cpu.cpl = cpl;
	x86_eflags_set(&flat->cpu, eflags, X86_FLAGS_ALL);
	flat->cpu.r[REG_RSP] = 0x8000;
	return flat;
}

static void test_cli_sti_by_mode(void **state)
{
	struct flat *flat = flat_mode(CR0_PE, 3, FLAG_IF);

	assert_int_equal(flat_run(flat, x86_slow_cli, &plain32), VEC_GP);
	flat->cpu.cr4 |= CR4_PVI;
	assert_int_equal(flat_run(flat, x86_slow_cli, &plain32), -1);
	assert_int_equal(flat->cpu.eflags & (FLAG_IF | FLAG_VIF), FLAG_IF);
	assert_int_equal(flat_run(flat, x86_slow_sti, &plain32), -1);
	assert_int_equal(flat->cpu.eflags & (FLAG_IF | FLAG_VIF), FLAG_IF | FLAG_VIF);
	assert_false(flat->cpu.intr_shadow);
	flat->cpu.eflags |= FLAG_VIP;
	assert_int_equal(flat_run(flat, x86_slow_sti, &plain32), VEC_GP);
	free(flat);
	flat = flat_mode(CR0_PE, 0, 0);
	assert_int_equal(flat_run(flat, x86_slow_sti, &plain32), -1);
	assert_true(flat->cpu.intr_shadow);
	flat->cpu.intr_shadow = false;
	assert_int_equal(flat_run(flat, x86_slow_sti, &plain32), -1);
	assert_false(flat->cpu.intr_shadow); /* IF was set before */
	free(flat);
}

static void test_popf_by_privilege(void **state)
{
	struct flat *flat = flat_mode(CR0_PE, 3, 0);

	flat_put(flat, 0x8000, 0xffffffff, 4);
	assert_int_equal(flat_run(flat, x86_slow_popf, &plain32), -1);
	assert_int_equal(x86_eflags_get(&flat->cpu),
			 FLAGS_STATUS | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID | FLAG_ONE);
	free(flat);
	flat = flat_mode(CR0_PE, 0, 0);
	flat_put(flat, 0x8000, FLAG_IF | FLAG_IOPL | FLAG_VIF | FLAG_VM | FLAG_RF, 4);
	assert_int_equal(flat_run(flat, x86_slow_popf, &plain32), -1);
	assert_int_equal(x86_eflags_get(&flat->cpu), FLAG_IF | FLAG_IOPL | FLAG_ONE);
	free(flat);
}

static void test_v86_flags(void **state)
{
	struct flat *flat = flat_mode(CR0_PE, 3, FLAG_VM | FLAG_VIF);

	assert_int_equal(flat_run(flat, x86_slow_pushf, &plain16), VEC_GP);
	flat->cpu.cr4 |= CR4_VME;
	assert_int_equal(flat_run(flat, x86_slow_pushf, &plain32), VEC_GP);
	assert_int_equal(flat_run(flat, x86_slow_pushf, &plain16), -1);
	assert_int_equal(flat_get(flat, 0x7ffe, 2), FLAG_IF | FLAG_IOPL | FLAG_ONE);
	flat_put(flat, 0x7ffe, FLAG_CF, 2);
	assert_int_equal(flat_run(flat, x86_slow_popf, &plain16), -1);
	assert_int_equal(x86_eflags_get(&flat->cpu), FLAG_VM | FLAG_CF | FLAG_ONE);
	flat->cpu.eflags |= FLAG_VIP;
	flat_put(flat, 0x8000, FLAG_IF, 2);
	assert_int_equal(flat_run(flat, x86_slow_popf, &plain16), VEC_GP);
	free(flat);
}

static void test_io_bitmap(void **state)
{
	struct flat *flat = flat_mode(CR0_PE, 3, 0);
	struct x86_insn in = {.len = 1, .opsize = 1, .addrsize = 4};

	flat->cpu.seg[SEG_TR] = (struct x86_segment){
		.base = 0x3000, .limit = 0x68 + 0x20, .attributes = 0x8b, .usable = true};
	flat_put(flat, 0x3066, 0x68, 2);
	flat_put(flat, 0x3068 + 0x60 / 8, 0x10, 1); /* port 0x64 denied */
	flat->port_value = 0x5a;
	flat->cpu.r[REG_RDX] = 0x60;
	assert_int_equal(flat_run(flat, x86_slow_in_dx, &in), -1);
	assert_int_equal(flat->cpu.r[REG_RAX] & 0xff, 0x5a);
	in.opsize = 4;
	flat->cpu.r[REG_RDX] = 0x61;
	assert_int_equal(flat_run(flat, x86_slow_in_dx, &in), VEC_GP);
	flat->cpu.r[REG_RDX] = 0x60;
	assert_int_equal(flat_run(flat, x86_slow_in_dx, &in), -1);
	in.opsize = 1;
	flat->cpu.r[REG_RDX] = 0x100; /* its byte is the last of the TSS: the second one is outside */
	assert_int_equal(flat_run(flat, x86_slow_in_dx, &in), VEC_GP);
	x86_eflags_set(&flat->cpu, FLAG_IOPL, FLAG_IOPL);
	assert_int_equal(flat_run(flat, x86_slow_in_dx, &in), -1);
	free(flat);
}

static void test_rep_ins_pauses_and_faults_precisely(void **state)
{
	struct flat *flat = flat_mode(0, 0, 0);
	struct x86_insn in = {.len = 2, .opsize = 2, .addrsize = 2, .rep = X86_REP_F3};

	flat->cpu.rip = 0x100;
	flat->cpu.r[REG_RCX] = 3;
	flat->cpu.r[REG_RDI] = 0x1000;
	atomic_store(&flat->cpu.attention, ATTENTION_KICK);
	assert_int_equal(flat_run(flat, x86_slow_ins, &in), -1);
	assert_int_equal(flat->cpu.rip, 0x100);
	assert_int_equal(flat->cpu.r[REG_RCX], 2);
	assert_int_equal(flat->cpu.r[REG_RDI], 0x1002);
	atomic_store(&flat->cpu.attention, 0);
	flat->pf_from = 0x1004;
	flat->pf_to = 0x1005;
	flat->port = 0;
	flat->cpu.r[REG_RDX] = 0x1f0;
	assert_int_equal(flat_run(flat, x86_slow_ins, &in), VEC_PF);
	assert_int_equal(flat->cpu.r[REG_RCX], 1);
	assert_int_equal(flat->cpu.r[REG_RDI], 0x1004);
	flat->pf_to = flat->pf_from = 0;
	assert_int_equal(flat_run(flat, x86_slow_ins, &in), -1);
	assert_int_equal(flat->cpu.rip, 0x102);
	free(flat);
}

static int write_dr(struct flat *flat, unsigned n, uint64_t value)
{
	struct x86_insn in = {.len = 3, .reg = n, .rm = REG_RAX};

	flat->cpu.r[REG_RAX] = value;
	return flat_run(flat, x86_slow_mov_to_dr, &in);
}

static void test_debug_registers(void **state)
{
	struct flat *flat = flat_mode(0, 0, 0);

	assert_int_equal(write_dr(flat, 6, 0), -1);
	assert_int_equal(flat->cpu.dr[6], 0xffff0ff0);
	assert_int_equal(write_dr(flat, 5, 0xffffd0ff), -1); /* an alias of DR7 */
	assert_int_equal(flat->cpu.dr[7], 0xffff04ff);
	flat->cpu.cr4 |= CR4_DE;
	assert_int_equal(write_dr(flat, 5, 0), VEC_UD);
	assert_int_equal(write_dr(flat, 7, 0x2400), -1);
	assert_int_equal(write_dr(flat, 0, 1), VEC_DB);
	assert_int_equal(flat->cpu.fault.dr6, 0x2000);
	free(flat);
}

static void before(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_debug_before(cpu);
}

static void test_instruction_breakpoint_and_rf(void **state)
{
	struct flat *flat = flat_mode(0, 0, 0);
	struct x86_cpu *cpu = &flat->cpu;

	cpu->seg[SEG_CS].base = 0x10000;
	cpu->rip = 0x200;
	write_dr(flat, 1, 0x10200);
	write_dr(flat, 7, 4);
	assert_true(cpu->debug_active);
	assert_int_equal(flat_run(flat, before, &plain32), VEC_DB);
	assert_int_equal(cpu->fault.dr6, 2);
	x86_eflags_set(cpu, FLAG_RF, FLAG_RF);
	assert_int_equal(flat_run(flat, before, &plain32), -1);
	x86_debug_after(cpu, false);
	assert_int_equal(cpu->eflags & FLAG_RF, 0);
	assert_int_equal(flat_run(flat, before, &plain32), VEC_DB);
	free(flat);
}

static void test_single_step_and_data_breakpoint(void **state)
{
	struct flat *flat = flat_mode(0, 0, FLAG_TF);
	struct x86_cpu *cpu = &flat->cpu;

	cpu->seg[SEG_CS].base = 0;
	cpu->rip = 0x300;
	flat_put(flat, 4, 0x00001234, 4);
	write_dr(flat, 2, 0x5004);
	write_dr(flat, 7, 0x20 | 0xd000000); /* L2... G2, write, 4 bytes */
	x86_debug_before(cpu);
	x86_debug_data(cpu, 0x5007, 1, false);
	assert_int_equal(cpu->pending_db, 0);
	x86_debug_data(cpu, 0x5007, 1, true);
	x86_debug_after(cpu, true);
	assert_int_equal(cpu->dr[6], 0xffff0ff0 | 0x4000 | 4);
	assert_int_equal(cpu->rip, 0x1234);
	assert_int_equal(cpu->eflags & FLAG_TF, 0);
	assert_int_equal(flat_get(flat, 0x7ffe, 2), FLAG_TF | FLAG_ONE);
	free(flat);
}

static void test_mov_ss_defers_debug_trap(void **state)
{
	struct flat *flat = flat_mode(0, 0, FLAG_TF);
	struct x86_cpu *cpu = &flat->cpu;
	struct x86_insn in = {
		.len = 2, .has_modrm = true, .mod = 3, .reg = SEG_SS, .rm = REG_RAX, .opsize = 2};

	flat_put(flat, 4, 0x00001234, 4);
	cpu->rip = 0x300;
	x86_debug_before(cpu);
	assert_int_equal(flat_run(flat, x86_slow_mov_sreg, &in), -1);
	x86_debug_after(cpu, true);
	assert_int_equal(cpu->rip, 0x300);
	x86_debug_before(cpu);
	x86_debug_after(cpu, true);
	assert_int_equal(cpu->rip, 0x1234);
	free(flat);
}

static void test_syscall_and_sysret(void **state)
{
	struct flat *flat = flat_create();
	struct x86_cpu *cpu = &flat->cpu;
	struct x86_insn in = {.len = 2, .opsize = 8};

	flat_enter_long_mode(flat, 3);
	cpu->msr.star = 0x0023001000000000;
	cpu->msr.lstar = 0xffffffff81000000;
	cpu->msr.sfmask = FLAG_IF | FLAG_TF;
	cpu->rip = 0x401000;
	x86_eflags_set(cpu, FLAG_IF | FLAG_ZF, X86_FLAGS_ALL);
	assert_int_equal(flat_run(flat, x86_slow_syscall, &in), -1);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->r[REG_RCX], 0x401002);
	assert_int_equal(cpu->r[REG_R11], FLAG_IF | FLAG_ZF | FLAG_ONE);
	assert_int_equal(x86_eflags_get(cpu), FLAG_ZF | FLAG_ONE);
	assert_int_equal(cpu->seg[SEG_CS].selector, 0x10);
	assert_int_equal(cpu->seg[SEG_SS].selector, 0x18);
	assert_int_equal(flat_run(flat, x86_slow_sysret, &in), -1);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->seg[SEG_CS].selector, 0x33);
	assert_int_equal(cpu->seg[SEG_SS].selector, 0x2b);
	assert_int_equal(cpu->rip, 0x401002);
	assert_int_equal(x86_eflags_get(cpu), FLAG_IF | FLAG_ZF | FLAG_ONE);
	assert_int_equal(flat_run(flat, x86_slow_sysret, &in), VEC_GP);
	cpu->cpl = 0;
	cpu->r[REG_RCX] = 0x800000000000;
	assert_int_equal(flat_run(flat, x86_slow_sysret, &in), VEC_GP);
	flat->leaf[0].ebx = 0x68747541;
	assert_int_equal(flat_run(flat, x86_slow_sysret, &in), -1);
	assert_int_equal(cpu->rip, 0x800000000000);
	assert_int_equal(flat_run(flat, x86_slow_sysenter, &in), VEC_UD);
	free(flat);
}

static void test_init_keeps_fpu_and_cache_bits(void **state)
{
	struct flat *flat = flat_create();
	struct x86_cpu *cpu = &flat->cpu;

	cpu->mxcsr = 0x1fa0;
	cpu->zmm[1].q[0] = 1;
	cpu->cr0 = CR0_PE | CR0_ET;
	cpu->msr.lstar = 5;
	cpu->rip = 1;
	x86_cpu_reset(cpu, true);
	assert_int_equal(cpu->mxcsr, 0x1fa0);
	assert_int_equal(cpu->zmm[1].q[0], 1);
	assert_int_equal(cpu->cr0, CR0_ET);
	assert_int_equal(cpu->msr.lstar, 5);
	assert_int_equal(cpu->rip, 0xfff0);
	assert_int_equal(cpu->seg[SEG_CS].base, 0xffff0000);
	assert_int_equal(cpu->r[REG_RDX], 0x106ca);
	x86_cpu_reset(cpu, false);
	assert_int_equal(cpu->mxcsr, 0x1f80);
	assert_int_equal(cpu->cr0, CR0_ET | CR0_CD | CR0_NW);
	free(flat);
}

static void test_random_numbers(void **state)
{
	struct flat *flat = flat_create();
	struct x86_insn in = {.len = 3, .has_modrm = true, .mod = 3, .rm = REG_RBX, .opsize = 8};
	uint64_t last = 0;

	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(flat_run(flat, x86_slow_rdrand, &in), -1);
		assert_int_equal(x86_eflags_get(&flat->cpu) & FLAGS_STATUS, FLAG_CF);
		assert_int_not_equal(flat->cpu.r[REG_RBX], last);
		last = flat->cpu.r[REG_RBX];
	}
	free(flat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cr0_rules),
		cmocka_unit_test(test_cr0_pae_loads_pdptes),
		cmocka_unit_test(test_cr3_rules),
		cmocka_unit_test(test_cr4_rules),
		cmocka_unit_test(test_msr_rules),
		cmocka_unit_test(test_tsc_and_adjust),
		cmocka_unit_test(test_saved_msrs_restore),
		cmocka_unit_test(test_cpuid_ranges),
		cmocka_unit_test(test_cli_sti_by_mode),
		cmocka_unit_test(test_popf_by_privilege),
		cmocka_unit_test(test_v86_flags),
		cmocka_unit_test(test_io_bitmap),
		cmocka_unit_test(test_rep_ins_pauses_and_faults_precisely),
		cmocka_unit_test(test_debug_registers),
		cmocka_unit_test(test_instruction_breakpoint_and_rf),
		cmocka_unit_test(test_single_step_and_data_breakpoint),
		cmocka_unit_test(test_mov_ss_defers_debug_trap),
		cmocka_unit_test(test_syscall_and_sysret),
		cmocka_unit_test(test_init_keeps_fpu_and_cache_bits),
		cmocka_unit_test(test_random_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
