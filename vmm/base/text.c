/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded text: vsnprintf(3) behind what a buffer holds already. Knows nothing of what is written. */
#include "vmm/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_append(char *buffer, size_t size, const char *format, ...)
{
	size_t used = strlen(buffer);
	va_list args;

	va_start(args, format);
	vsnprintf(buffer + used, size - used, format, args);
	va_end(args);
}
