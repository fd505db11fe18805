/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded text: appending to a fixed buffer, cutting what does not fit. */
#pragma once

#include <stddef.h>

/* Appends to the terminated text in buffer (of size bytes, size > 0); what does not fit is cut. */
void text_append(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
