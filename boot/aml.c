/* SPDX-License-Identifier: Apache-2.0 */
/* The AML writer. Numbers in comments are sections of ACPI 6.5. */
#include "boot/aml.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum aml_opcode {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_QWORD = 0x0e,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_EXTENDED = 0x5b,
	AML_EXTENDED_DEVICE = 0x82,
};

#define AML_LENGTH_BYTES 4 /* of the longest PkgLength */
#define AML_LENGTH_MAX   0x0fffffff

void aml_init(struct aml *aml, void *data, size_t room)
{
	*aml = (struct aml){.data = data, .room = room};
}

static void aml_bytes(struct aml *aml, const void *bytes, size_t len)
{
	if (aml->is_full || len > aml->room - aml->len) {
		aml->is_full = true;
		return;
	}
	memcpy(aml->data + aml->len, bytes, len);
	aml->len += len;
}

static void aml_byte(struct aml *aml, uint8_t value)
{
	aml_bytes(aml, &value, 1);
}

static void aml_open(struct aml *aml)
{
	assert(aml->depth < AML_DEPTH_MAX);
	aml->open[aml->depth++] = aml->len;
}

/*
 * PkgLength, 20.2.4: one byte for lengths up to 63; else bits 7-6 of the first count the bytes that follow,
 * its bits 3-0 are the lowest of the length. The length includes its own bytes.
 */
static size_t aml_encode_length(size_t body, uint8_t out[AML_LENGTH_BYTES])
{
	size_t bytes = 1, total;

	if (body + 1 <= 0x3f) {
		out[0] = (uint8_t)(body + 1);
		return 1;
	}
	for (bytes = 2; bytes < AML_LENGTH_BYTES && body + bytes >= 1ull << (4 + 8 * (bytes - 1)); bytes++)
		;
	total = body + bytes;
	assert(total <= AML_LENGTH_MAX);
	out[0] = (uint8_t)((bytes - 1) << 6 | (total & 0xf));
	for (size_t i = 1; i < bytes; i++)
		out[i] = (uint8_t)(total >> (4 + 8 * (i - 1)));
	return bytes;
}

/* Moves the body up and puts its length before it. */
void aml_end(struct aml *aml)
{
	uint8_t length[AML_LENGTH_BYTES];
	size_t start, body, bytes;

	assert(aml->depth);
	start = aml->open[--aml->depth];
	if (aml->is_full)
		return;
	body = aml->len - start;
	bytes = aml_encode_length(body, length);
	if (bytes > aml->room - aml->len) {
		aml->is_full = true;
		return;
	}
	memmove(aml->data + start + bytes, aml->data + start, body);
	memcpy(aml->data + start, length, bytes);
	aml->len += bytes;
}

static void aml_name_segment(struct aml *aml, const char *name)
{
	assert(strlen(name) == 4);
	aml_bytes(aml, name, 4);
}

void aml_begin_scope(struct aml *aml, const char *name)
{
	aml_byte(aml, AML_SCOPE);
	aml_open(aml);
	aml_byte(aml, '\\');
	aml_name_segment(aml, name);
}

void aml_begin_device(struct aml *aml, const char *name)
{
	aml_byte(aml, AML_EXTENDED);
	aml_byte(aml, AML_EXTENDED_DEVICE);
	aml_open(aml);
	aml_name_segment(aml, name);
}

void aml_begin_package(struct aml *aml, uint8_t count)
{
	aml_byte(aml, AML_PACKAGE);
	aml_open(aml);
	aml_byte(aml, count);
}

void aml_name(struct aml *aml, const char *name)
{
	aml_byte(aml, AML_NAME);
	aml_name_segment(aml, name);
}

void aml_integer(struct aml *aml, uint64_t value)
{
	static const struct {
		uint64_t max;
		uint8_t opcode, bytes;
	} width[] = {{0xff, AML_BYTE, 1},
		     {0xffff, AML_WORD, 2},
		     {0xffffffff, AML_DWORD, 4},
		     {UINT64_MAX, AML_QWORD, 8}};
	size_t i = 0;

	if (value <= 1) {
		aml_byte(aml, value ? AML_ONE : AML_ZERO);
		return;
	}
	while (value > width[i].max)
		i++;
	aml_byte(aml, width[i].opcode);
	aml_bytes(aml, &value, width[i].bytes);
}

void aml_string(struct aml *aml, const char *text)
{
	aml_byte(aml, AML_STRING);
	aml_bytes(aml, text, strlen(text) + 1);
}

static bool aml_is_pnp_id(const char *id)
{
	if (strlen(id) != 7)
		return false;
	for (unsigned i = 0; i < 7; i++)
		if (i < 3 ? !isupper((unsigned char)id[i]) : !isxdigit((unsigned char)id[i]))
			return false;
	return true;
}

/* 19.3.4, EISAID: three letters of five bits, four hexadecimal digits, bytes in big-endian order. */
void aml_hardware_id(struct aml *aml, const char *id)
{
	uint32_t value;

	if (!aml_is_pnp_id(id)) {
		aml_string(aml, id);
		return;
	}
	value = (uint32_t)(id[0] - 0x40) << 26 | (uint32_t)(id[1] - 0x40) << 21 |
		(uint32_t)(id[2] - 0x40) << 16 | (uint32_t)strtoul(id + 3, NULL, 16);
	aml_integer(aml, __builtin_bswap32(value));
}

/*
 * Buffer (size) { bytes }: the size is a term before the bytes and not known yet; it is always written as a
 * word, and filled in by aml_end_resources.
 */
void aml_begin_resources(struct aml *aml)
{
	static const uint8_t size[] = {AML_WORD, 0, 0};

	aml_byte(aml, AML_BUFFER);
	aml_open(aml);
	aml_bytes(aml, size, sizeof(size));
}

void aml_end_resources(struct aml *aml)
{
	static const uint8_t end_tag[] = {0x79, 0x00}; /* 6.4.2.9; a checksum of 0 is not checked */
	size_t start, size;

	aml_bytes(aml, end_tag, sizeof(end_tag));
	start = aml->open[aml->depth - 1];
	size = aml->len - start - 3;
	assert(aml->is_full || size <= UINT16_MAX);
	if (!aml->is_full) {
		aml->data[start + 1] = (uint8_t)size;
		aml->data[start + 2] = (uint8_t)(size >> 8);
	}
	aml_end(aml);
}

/* 6.4.2.5, I/O port descriptor: decodes 16 bits, fixed. */
void aml_io_ports(struct aml *aml, uint16_t base, uint8_t count)
{
	uint8_t low = (uint8_t)base, high = (uint8_t)(base >> 8);
	uint8_t bytes[] = {0x47, 0x01, low, high, low, high, 0x01, count};

	aml_bytes(aml, bytes, sizeof(bytes));
}

/* 6.4.2.1, IRQ descriptor without flags. */
void aml_isa_irq(struct aml *aml, unsigned irq)
{
	uint16_t mask = (uint16_t)(1u << irq);
	uint8_t bytes[] = {0x22, (uint8_t)mask, (uint8_t)(mask >> 8)};

	assert(irq < 16);
	aml_bytes(aml, bytes, sizeof(bytes));
}

/* 6.4.3.6, extended interrupt descriptor: bit 0 consumer, 1 edge, 2 active low, 3 shared. */
void aml_interrupt(struct aml *aml, uint32_t gsi, bool is_level)
{
	uint8_t bytes[] = {0x89, 0x06, 0x00, is_level ? 0x09 : 0x03, 0x01};

	aml_bytes(aml, bytes, sizeof(bytes));
	aml_bytes(aml, &gsi, sizeof(gsi));
}

/* 6.4.3.4, 32-bit fixed memory range. */
void aml_memory32(struct aml *aml, uint32_t base, uint32_t size)
{
	uint8_t bytes[] = {0x86, 0x09, 0x00, 0x01};

	aml_bytes(aml, bytes, sizeof(bytes));
	aml_bytes(aml, &base, sizeof(base));
	aml_bytes(aml, &size, sizeof(size));
}

/*
 * 6.4.3.5, address space descriptors: type, general flags (minimum and maximum fixed, positive decode,
 * producer), type's own flags, then granularity, minimum, maximum, translation and length in the descriptor's
 * width.
 */
static void aml_address_space(struct aml *aml, const uint8_t head[6], uint64_t first, uint64_t last,
			      unsigned width)
{
	const uint64_t field[] = {0, first, last, 0, last - first + 1};

	aml_bytes(aml, head, 6);
	for (unsigned i = 0; i < sizeof(field) / sizeof(field[0]); i++)
		aml_bytes(aml, &field[i], width);
}

void aml_bus_numbers(struct aml *aml, uint8_t first, uint8_t last)
{
	static const uint8_t head[] = {0x88, 0x0d, 0x00, 0x02, 0x0c, 0x00};

	aml_address_space(aml, head, first, last, 2);
}

void aml_memory_window(struct aml *aml, uint64_t base, uint64_t size)
{
	static const uint8_t dword[] = {0x87, 0x17, 0x00,
					0x00, 0x0c, 0x01}; /* read and write, not cacheable */
	static const uint8_t qword[] = {0x8a, 0x2b, 0x00, 0x00, 0x0c, 0x01};

	if (base + (size - 1) <= UINT32_MAX)
		aml_address_space(aml, dword, base, base + (size - 1), 4);
	else
		aml_address_space(aml, qword, base, base + (size - 1), 8);
}
