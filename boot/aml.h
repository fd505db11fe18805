/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer of AML, the byte code of ACPI's definition blocks: ACPI 6.5, chapter 20 (grammar) and 6.4
 * (resources). Knows the grammar, no device. Names are NameSegs of four characters; packages nest and their
 * lengths are filled in at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH_MAX 8

struct aml {
	uint8_t *data; /* borrowed */
	size_t len, room;
	size_t open[AML_DEPTH_MAX]; /* where the body of each open package starts */
	size_t depth;
	bool is_full; /* something did not fit: the result must not be used */
};

void aml_init(struct aml *aml, void *data, size_t room);

/* Blocks; each must be closed by aml_end. */
void aml_begin_scope(struct aml *aml, const char *name); /* "_SB_" is written \_SB_ */
void aml_begin_device(struct aml *aml, const char *name);
void aml_begin_package(struct aml *aml, uint8_t count);
void aml_begin_resources(struct aml *aml); /* after aml_name(aml, "_CRS") */
void aml_end_resources(struct aml *aml);
void aml_end(struct aml *aml);

/* Name (name, the object that is written next). */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/* "PNP0501" and the like: three letters, four hexadecimal digits, as a compressed id; anything else as a
 * string. */
void aml_hardware_id(struct aml *aml, const char *id);

/* Resource descriptors of a bridge: what it passes on to its bus. */
void aml_bus_numbers(struct aml *aml, uint8_t first, uint8_t last);
void aml_memory_window(struct aml *aml, uint64_t base, uint64_t size); /* of 32 bits if it lies below 4 GiB */

/* Resource descriptors, between begin and end of resources. */
void aml_io_ports(struct aml *aml, uint16_t base, uint8_t count);
void aml_isa_irq(struct aml *aml, unsigned irq);                  /* 0-15, edge, active high */
void aml_interrupt(struct aml *aml, uint32_t gsi, bool is_level); /* active high; level: shared */
void aml_memory32(struct aml *aml, uint32_t base, uint32_t size); /* read and write */
