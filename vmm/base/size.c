/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and numbers: strict readers, because a forgiving one turns a typing mistake into a machine of the
 * wrong size. */
#include "vmm/base/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vmm/base/err.h"

static const char size_suffixes[] = "BKMGT";

/* The unit of a suffix, 0 for one that is none. */
static uint64_t size_unit(const char *suffix)
{
	const char *found = strchr(size_suffixes, toupper((unsigned char)suffix[0]));

	if (!found || (suffix[1] && (found == size_suffixes || (strcasecmp(suffix + 1, "B") != 0 &&
								strcasecmp(suffix + 1, "iB") != 0))))
		return 0;
	return 1ull << ((found - size_suffixes) * 10);
}

int size_parse(const char *text, uint64_t plain_unit, uint64_t *size_bytes, struct err *err)
{
	char *end;
	uint64_t unit = plain_unit;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (isdigit((unsigned char)text[0]) && *end)
		unit = size_unit(end);
	if (!isdigit((unsigned char)text[0]) || unit == 0)
		return err_set(err, -EINVAL,
			       "\"%s\" is not a size: write a whole number and K, M, G or T, such as 512M",
			       text);
	if (errno == ERANGE || number > UINT64_MAX / unit)
		return err_set(err, -ERANGE, "\"%s\" is too large", text);
	*size_bytes = number * unit;
	return 0;
}

void size_format(uint64_t size_bytes, char text[SIZE_TEXT_MAX])
{
	unsigned step = 0;

	while (size_suffixes[step + 1] && size_bytes && size_bytes % 1024 == 0) {
		size_bytes /= 1024;
		step++;
	}
	snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 "%c", size_bytes, size_suffixes[step]);
}

int number_parse(const char *text, uint64_t *value, struct err *err)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	bool starts_well = hex ? isxdigit((unsigned char)digits[0]) : isdigit((unsigned char)digits[0]);
	char *end;

	errno = 0;
	*value = strtoull(digits, &end, hex ? 16 : 10);
	if (!starts_well || *end)
		return err_set(err, -EINVAL, "\"%s\" is not a number", text);
	if (errno == ERANGE)
		return err_set(err, -ERANGE, "\"%s\" is too large", text);
	return 0;
}
