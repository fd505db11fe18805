/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instructions that the host executes for the interpreter: AVX and what came after it. The guest's
 * instruction is copied into a small function of host code, with its registers renamed to fixed ones and its
 * memory operand in a buffer; native_stub.c makes and keeps these functions, native.c fetches operands, calls
 * them and writes results back. Where the host has no such code, the features are not offered.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tcg-fallback/x86/insn.h"

/* What the host executes of it: words as in feature.h, all zero where that is nothing. False: it would, and
 * refuses executable memory. */
bool x86_native_features(uint32_t present[X86_FEATURE_WORDS]);

/* Gives the CPU, whose features are known, what it needs to execute them. False: no memory. cpu->native stays
 * NULL where none is needed, or the host lacks it: then such instructions are unknown ones. */
bool x86_native_create(struct x86_cpu *cpu);
void x86_native_destroy(struct x86_cpu *cpu);

/*
 * The memory operand of an EVEX instruction under a mask, at an offset of its segment: only what the mask
 * selects is accessed, and may fault. value holds the operand as if it were whole, but for DENSE rows.
 */
void x86_masked_load(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t offset, union x86_vec *value);
bool x86_masked_none(const struct x86_cpu *cpu, const struct x86_insn *in); /* selects nothing */
void x86_masked_probe(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t offset);
void x86_masked_store(struct x86_cpu *cpu, const struct x86_insn *in, uint64_t offset,
		      const union x86_vec *value);

/* #UD and #NM of the VEX and EVEX instructions; needs: state components that XCR0 must have on. */
void x86_avx_check(struct x86_cpu *cpu, uint64_t needs);
