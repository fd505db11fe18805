/* SPDX-License-Identifier: Apache-2.0 */
/* Between xsave_area.c (images of state components) and xsave.c (the instructions). Intel SDM vol. 1, 10.5.1
 * and 13.4. */
#pragma once

#include "tcg-fallback/x86/xsave.h"

/* Offsets in the legacy area. */
#define X86_FX_MXCSR      24
#define X86_FX_MXCSR_MASK 28
#define X86_FX_ST         32
#define X86_FX_XMM        160

/* A component beyond the legacy area. */
struct x86_xcomponent {
	uint8_t number;
	uint16_t size_bytes, offset; /* offset in the standard format */
	bool aligned;                /* to 64 bytes in the compacted format */
	void (*store)(const struct x86_cpu *cpu, uint8_t *area);
	void (*load)(struct x86_cpu *cpu, const uint8_t *area); /* NULL: initial state */
	bool (*in_use)(const struct x86_cpu *cpu);
};

extern const struct x86_xcomponent x86_xcomponents[];
extern const unsigned x86_xcomponent_count;

/* wide: 64-bit instruction and data pointers (REX.W), no selectors. */
void x86_fx_store_x87(const struct x86_cpu *cpu, uint8_t *area, bool wide);
void x86_fx_load_x87(struct x86_cpu *cpu, const uint8_t *area, bool wide);
void x86_fx_init_x87(struct x86_cpu *cpu);
void x86_fx_store_mxcsr(const struct x86_cpu *cpu, uint8_t *area);
void x86_fx_store_xmm(const struct x86_cpu *cpu, uint8_t *area, unsigned count);
/* area NULL: zeros. */
void x86_fx_load_xmm(struct x86_cpu *cpu, const uint8_t *area, unsigned count);
uint32_t x86_fx_mxcsr(const uint8_t *area);
/* Where a component lies in a compacted area that holds `components`. */
uint32_t x86_xsave_compacted_offset(uint64_t components, unsigned number);
