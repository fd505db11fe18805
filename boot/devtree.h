/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flattened device tree: Devicetree Specification 0.4. Made from the same neutral configuration as the
 * ACPI tables, for kernels that read one; interrupts by the binding that Linux has for x86
 * (Documentation/devicetree/bindings/x86/ce4100.txt, interrupt-controller/intel,ce4100-ioapic.yaml).
 */
#pragma once

#include <stddef.h>

struct boot_plan;
struct err;

/* Builds the tree into out (8-byte aligned) of the plan's configuration, memory map and command line. *len:
 * bytes used. -ENOSPC when it does not fit. */
int devtree_build(const struct boot_plan *plan, void *out, size_t room, size_t *len, struct err *err);
