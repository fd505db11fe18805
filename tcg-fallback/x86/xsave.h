/* SPDX-License-Identifier: Apache-2.0 */
/* XSAVE areas: components, sizes, and the CPU's state to and from memory images. Intel SDM vol. 1,
 * chapter 13. */
#pragma once

#include "tcg-fallback/x86/cpu.h"

#define X86_XFEATURE_X87    (1ull << 0)
#define X86_XFEATURE_SSE    (1ull << 1)
#define X86_XFEATURE_AVX    (1ull << 2)
#define X86_XFEATURE_AVX512 (7ull << 5) /* mask registers, upper halves of ZMM0-15, ZMM16-31: all or none */
#define X86_XFEATURE_PKRU   (1ull << 9)

#define X86_XSAVE_LEGACY 512
#define X86_XSAVE_HEADER 64
#define X86_XSAVE_MAX    2752 /* standard format with every component, rounded up to a cache line */

#define X86_MXCSR_MASK  0xffffu
#define X86_MXCSR_RESET 0x1f80u

/* Components that XCR0 may enable: CPUID leaf 0xd. */
uint64_t x86_xsave_supported(const struct x86_cpu *cpu);
/* Bytes of an area with these components. */
uint32_t x86_xsave_size_standard(const struct x86_cpu *cpu, uint64_t components);
uint32_t x86_xsave_size_compacted(const struct x86_cpu *cpu, uint64_t components);
/* Components that are not in their initial state. */
uint64_t x86_xsave_in_use(const struct x86_cpu *cpu);

/* Whole state to a standard-format image of X86_XSAVE_MAX bytes, and back (no checks but MXCSR's mask). */
void x86_xsave_store(struct x86_cpu *cpu, uint8_t area[X86_XSAVE_MAX]);
void x86_xsave_load(struct x86_cpu *cpu, const uint8_t area[X86_XSAVE_MAX]);
