/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine of one or two CPUs for the payload tests of the KVM accelerator, which it reaches through its
 * operations alone: it records what its guest does to ports and memory.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/core/accel.h"
#include "vmm/core/gmem.h"

extern const struct accel_ops kvm_accel_ops;

#define RAM_BYTES     0x100000
#define CODE_GPA      0x1000
#define AP_GPA        0x2000
#define HOLE_GPA      0x200000 /* behind RAM, reached with a 32-bit offset in big real mode */
#define DATA_PORT     0x10
#define DONE_PORT     0x11
#define LOG_MAX       64
#define ATTRIBUTES_16 0x93

struct access {
	bool is_mmio, is_write;
	uint64_t address, value;
	unsigned size_bytes, cpu;
};

/* A machine of one or two CPUs that records what its guest does. */
struct rig {
	struct gmem *gmem;
	struct accel_host host;
	struct accel_vm *vm;
	struct accel_vcpu *vcpu[2];
	unsigned cpu_count;
	struct access log[LOG_MAX];
	unsigned log_count;
	uint64_t input;     /* what reads give */
	_Atomic int vector; /* what an acknowledge gives, once; -1: none */
	uint64_t cr8;
	_Atomic bool done;  /* the guest wrote to DONE_PORT */
	uint8_t eoi_vector; /* of the last EOI that was for an I/O APIC */
	unsigned eois;
	int event_fd; /* the test's own */
};

/* Every case begins so: there must be a KVM to talk to. */
void need_kvm(void);

struct rig *rig_create(unsigned cpu_count);
/* As rig_create; config's host and cpu_count are filled in. */
struct rig *rig_create_as(unsigned cpu_count, struct accel_vm_config config);
void rig_destroy(struct rig *rig);
void rig_code(struct rig *rig, uint64_t gpa, const void *code, size_t size);
/* Real mode at CODE_GPA with every segment at 0 and 4 GiB long data segments. */
void rig_enter(struct rig *rig);
/* Runs CPU 0 until the guest writes to DONE_PORT. */
void rig_run(struct rig *rig);
void expect_access(const struct rig *rig, unsigned index, struct access expected);

/* Whether this host's KVM can have the controllers so; a rig with one CPU and them, or a skip. */
bool rig_has_irqchip(enum accel_irqchip irqchip);
struct rig *rig_with_irqchip(enum accel_irqchip irqchip);
