/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time-stamp counter, processor number, performance counters (none), random numbers, MONITOR and MWAIT. Intel
 * SDM vol. 2 of each; vol. 3, 17.17.
 */
#include <string.h>
#include <sys/random.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/system.h"

static void check_tsd(struct x86_cpu *cpu)
{
	if ((cpu->cr4 & CR4_TSD) && cpu->cpl != 0)
		x86_raise_gp(cpu);
}

static void tsc_to_registers(struct x86_cpu *cpu)
{
	uint64_t tsc = x86_tsc_read(cpu);

	cpu->r[REG_RAX] = (uint32_t)tsc;
	cpu->r[REG_RDX] = tsc >> 32;
}

void x86_slow_rdtsc(struct x86_cpu *cpu, const struct x86_insn *in)
{
	check_tsd(cpu);
	tsc_to_registers(cpu);
}

void x86_slow_rdtscp(struct x86_cpu *cpu, const struct x86_insn *in)
{
	check_tsd(cpu);
	tsc_to_registers(cpu);
	cpu->r[REG_RCX] = (uint32_t)cpu->msr.tsc_aux;
}

void x86_slow_rdpid(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_gpr_set(cpu, in->rm, (uint32_t)cpu->msr.tsc_aux, x86_is_64bit(cpu) ? 8 : 4);
}

/* CPUID leaf 0xa offers no counter, so that every index is wrong. */
void x86_slow_rdpmc(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_raise_gp(cpu);
}

/* CF = 1: a number; CF = 0 and zero when the host has none to give. The other status flags are cleared. */
static void random_number(struct x86_cpu *cpu, const struct x86_insn *in)
{
	struct x86_random *pool = &cpu->random;
	bool ok = pool->used < sizeof(pool->bytes);
	uint64_t value = 0;

	if (!ok) {
		ok = getrandom(pool->bytes, sizeof(pool->bytes), GRND_NONBLOCK) ==
		     (ssize_t)sizeof(pool->bytes);
		if (ok)
			pool->used = 0;
	}
	if (ok) {
		memcpy(&value, pool->bytes + pool->used, 8);
		memset(pool->bytes + pool->used, 0, 8); /* nobody can read it a second time */
		pool->used += 8;
	}
	x86_gpr_set(cpu, in->rm, value, in->opsize);
	x86_eflags_set(cpu, ok ? FLAG_CF : 0, FLAGS_STATUS);
}

void x86_slow_rdrand(struct x86_cpu *cpu, const struct x86_insn *in)
{
	random_number(cpu, in);
}

void x86_slow_rdseed(struct x86_cpu *cpu, const struct x86_insn *in)
{
	random_number(cpu, in);
}

/*
 * MONITOR reads the byte it watches, and MWAIT may return for any reason: it does so at once. CPUID should
 * not offer the pair, because an idle loop of MWAITs never sleeps on the host.
 */
void x86_slow_monitor(struct x86_cpu *cpu, const struct x86_insn *in)
{
	unsigned seg = in->seg == SEG_FS || in->seg == SEG_GS || !x86_is_64bit(cpu) ? in->seg : SEG_FLAT;

	if (cpu->cpl != 0)
		x86_raise_ud(cpu);
	if ((uint32_t)cpu->r[REG_RCX])
		x86_raise_gp(cpu);
	x86_ld8(cpu, seg, cpu->r[REG_RAX] & x86_size_mask(in->addrsize));
}

void x86_slow_mwait(struct x86_cpu *cpu, const struct x86_insn *in)
{
	if (cpu->cpl != 0)
		x86_raise_ud(cpu);
	if ((uint32_t)cpu->r[REG_RCX])
		x86_raise_gp(cpu);
}
