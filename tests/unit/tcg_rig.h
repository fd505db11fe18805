/* SPDX-License-Identifier: Apache-2.0 */
/* Two CPUs of the built-in accelerator over a megabyte of memory, for tests of its operations. */
#pragma once

#include "vmm/core/accel.h"
#include "vmm/core/gmem.h"

extern const struct accel_ops tcg_accel_ops;

#define OPS        (&tcg_accel_ops)
#define RAM_BYTES  0x100000u
#define CODE_GPA   0x1000u
#define STACK_GPA  0x8000u
#define IDT_GPA    0x4000u
#define GDT_GPA    0x5000u
#define HANDLER    0x2000u
#define CLOCK_GPA  0x6000u
#define TSC_HZ     2000000000ull
#define MSR_TSC    0x10
#define MSR_TIME   0x4b564d01u
#define MSR_NOBODY 0xdeadbeefu

#define ATTRIBUTES_CODE32 0xc09b
#define ATTRIBUTES_DATA   0xc093

struct rig {
	struct accel_host host;
	struct gmem *gmem;
	uint8_t *ram;
	struct accel_vm *vm;
	struct accel_vcpu *vcpu[2];
	struct x86_cpu_state *state;
};

/* more: a feature that the engine does not have, of leaf 1's ECX. */
void rig_open(struct rig *rig, uint32_t more);
void rig_close(struct rig *rig);
int rig_setup(void **state);
int rig_teardown(void **state);
void put32(struct rig *rig, uint32_t gpa, uint32_t value);
uint32_t get32(const struct rig *rig, uint32_t gpa);
uint64_t get64(const struct rig *rig, uint32_t gpa);
/* Flat 32-bit protected mode, with gates that all lead to HLT at HANDLER. */
void enter_flat(struct rig *rig, const void *code, size_t size);
void load(struct rig *rig);
void save(struct rig *rig);
enum accel_exit run(struct rig *rig);
