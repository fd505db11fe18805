/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and numbers as people write them: 512M, 2G, 0x501. Knows nothing of options or JSON. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct err;

#define SIZE_KIB (1ull << 10)
#define SIZE_MIB (1ull << 20)
#define SIZE_GIB (1ull << 30)

/*
 * Parses a whole decimal number and at most one suffix: B, K, M, G, T (any case, powers of 1024, "iB" or
 * "B" may follow). A number without a suffix counts in `plain_unit`. -EINVAL, -ERANGE.
 */
int size_parse(const char *text, uint64_t plain_unit, uint64_t *size_bytes, struct err *err);

#define SIZE_TEXT_MAX 24
/* The shortest text that size_parse reads back exactly: "512M", "1536K", "513B". */
void size_format(uint64_t size_bytes, char text[SIZE_TEXT_MAX]);

/* Decimal, or hexadecimal after 0x. No sign, no blanks, no rest. -EINVAL, -ERANGE. */
int number_parse(const char *text, uint64_t *value, struct err *err);
