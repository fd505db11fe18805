/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM of the built-in engine without devices, for tests and benchmarks: RAM from 0, CPUs in 64-bit mode at
 * CPL 0 with an identity map of 1 GiB, and one port that ends the run.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "tcg-fallback/core/vm.h"

#define RIG_RAM_SIZE  (16u << 20)
#define RIG_PML4      0x1000u /* page tables: 0x1000 to 0x3fff */
#define RIG_CODE      0x100000u
#define RIG_STACK     0x80000u /* of CPU 0; the next ones 4 KiB above */
#define RIG_DATA      0x200000u
#define RIG_PORT_EXIT 0xf4
#define RIG_PORT_MARK 0xf5 /* remembers the host's stack pointer */
#define RIG_CPUS_MAX  4

struct rig {
	uint8_t *ram;
	struct x86_vm *vm;
	struct x86_cpu *cpu[RIG_CPUS_MAX];
	unsigned cpu_count;
	struct x86_host host;
	atomic_uint exits;
	uintptr_t mark;
	uint64_t mmio_gpa, mmio_value; /* the last device access */
	unsigned mmio_size;
};

/* 0, or -1 when out of memory. */
int rig_init(struct rig *rig, unsigned cpu_count);
void rig_free(struct rig *rig);
/* Copies code to gpa and points the CPU at it. */
void rig_load(struct rig *rig, unsigned cpu, uint64_t gpa, const void *code, const void *end);
/* Runs until the exit port is written (KICKED) or another exit. */
enum x86_exit rig_run(struct rig *rig, unsigned cpu);
