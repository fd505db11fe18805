/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the host's CPUID feature words. Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E. */
#include "tests/insn/host_features.h"

#include <cpuid.h>

void host_features(uint32_t feature[X86_FEATURE_WORDS])
{
	uint32_t ignored;

	for (unsigned i = 0; i < X86_FEATURE_WORDS; i++)
		feature[i] = 0;
	__get_cpuid(1, &ignored, &ignored, &feature[0], &feature[1]);
	__get_cpuid_count(7, 0, &ignored, &feature[2], &feature[3], &feature[4]);
	__get_cpuid_count(7, 1, &feature[5], &ignored, &ignored, &ignored);
	__get_cpuid_count(0xd, 1, &feature[6], &ignored, &ignored, &ignored);
	__get_cpuid(0x80000001, &ignored, &ignored, &feature[7], &feature[8]);
	__get_cpuid(0x80000007, &ignored, &ignored, &ignored, &feature[9]);
	__get_cpuid(0x80000008, &ignored, &feature[10], &ignored, &ignored);
	__get_cpuid(0x80000021, &feature[11], &ignored, &ignored, &ignored);
}

uint64_t host_xcr0(void)
{
	uint32_t feature[X86_FEATURE_WORDS], low, high;

	host_features(feature);
	if (!(feature[0] >> X86_FEATURE_OSXSAVE & 1))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

uint32_t host_xstate_offset(unsigned component)
{
	uint32_t size, offset = 0, ignored;

	__get_cpuid_count(0xd, component, &size, &offset, &ignored, &ignored);
	return offset;
}
