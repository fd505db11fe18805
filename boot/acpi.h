/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables: RSDP, RSDT, XSDT, FADT, FACS, MADT and the DSDT. ACPI 6.5, chapter 5.2. Made from the neutral
 * configuration; knows no device beyond its description.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct aml;
struct boot_x86_config;
struct err;

#define ACPI_HEADER_SIZE 36

/*
 * Builds all tables into out, whose first byte will lie at gpa (16-byte aligned, below 4 GiB); the RSDP comes
 * first. *len: bytes used. -ENOSPC when they do not fit.
 */
int acpi_build(const struct boot_x86_config *config, uint64_t gpa, uint8_t *out, size_t room, size_t *len,
	       struct err *err);

/* The body of the DSDT: sleep state, processors, device nodes (boot/dsdt.c). */
void acpi_write_dsdt_body(const struct boot_x86_config *config, struct aml *aml);
