/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers, descriptor table and page tables at the guest's first instruction. Intel SDM vol. 3, 3.4.5
 * (descriptors), 4.5 (4-level paging), 10.1 (state after reset).
 */
#pragma once

#include <stdint.h>

#include "vmm/core/cpu_state_x86.h"

struct gmem;

/* Selectors, where Linux's boot protocol wants them. */
#define ENTRY_SELECTOR_CODE 0x10
#define ENTRY_SELECTOR_DATA 0x18
#define ENTRY_SELECTOR_TSS  0x20

/*
 * Each changes what its protocols name in *cpu, clears the general registers and leaves MSRs and XSAVE state
 * as they are; the caller then sets the registers that carry arguments. 0, or -EFAULT when the tables' place
 * is not RAM.
 */

/* 64-bit mode, 4 GiB mapped one to one, flat segments. Linux 64-bit boot protocol. */
int entry_set_long_mode(struct gmem *gmem, struct x86_cpu_state *cpu, uint64_t entry_gpa);
/* Protected mode without paging, flat segments. Linux 32-bit boot protocol, PVH, multiboot. */
int entry_set_protected_mode(struct gmem *gmem, struct x86_cpu_state *cpu, uint32_t entry_gpa);
/* Real mode at 0000:entry or, above 64 KiB, entry >> 4 : entry & 15; DL = 0x80 as a BIOS says the first disk.
 */
void entry_set_real_mode(struct x86_cpu_state *cpu, uint32_t entry_gpa);
