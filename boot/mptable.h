/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MP configuration table, for kernels without ACPI. Intel MultiProcessor Specification 1.4, chapter 4.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct boot_x86_config;
struct err;

/* Builds floating pointer and table into out, whose first byte will lie at gpa (16-byte aligned). -ENOSPC if
 * too small. */
int mptable_build(const struct boot_x86_config *config, uint64_t gpa, uint8_t *out, size_t room, size_t *len,
		  struct err *err);
