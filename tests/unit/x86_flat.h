/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CPU on flat memory for tests of system behaviour: no paging, no TLB, linear address = offset in `ram`.
 * Stands in for the engine's mem.h and flags. Only tests include it.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tcg-fallback/x86/mem.h"
#include "tcg-fallback/x86/segment.h"
#include "tcg-fallback/x86/system.h"

#define FLAT_RAM (256 * 1024)

struct flat {
	struct x86_cpu cpu;
	struct x86_host host;
	uint8_t ram[FLAT_RAM];
	uint64_t pf_from, pf_to; /* linear range that page-faults */
	unsigned flushes;
	uint16_t port; /* last one accessed */
	uint64_t port_value;
	struct x86_cpuid_leaf leaf[8];
};

struct flat *flat_create(void);

/* What running a slow function came to: -1 completed, else the vector, with its code in cpu.fault.code. */
int flat_run(struct flat *flat, x86_slow_fn *fn, const struct x86_insn *in);

/* An 8-byte descriptor: attributes as in struct x86_segment, limit in units of G. */
uint64_t flat_descriptor(uint32_t base, uint32_t limit, uint16_t attributes);
/* A gate of a type (with P and DPL in `access`). */
uint64_t flat_gate(uint16_t selector, uint32_t offset, uint8_t access, unsigned count);
void flat_put(struct flat *flat, uint64_t at, uint64_t value, unsigned size_bytes);
uint64_t flat_get(const struct flat *flat, uint64_t at, unsigned size_bytes);

/* 64-bit mode at this privilege, without page tables. */
void flat_enter_long_mode(struct flat *flat, unsigned cpl);
