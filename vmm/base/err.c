/* SPDX-License-Identifier: Apache-2.0 */
/* The error object: formatting, cutting and prefixing of messages. */
#include "vmm/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void err_format(struct err *err, int code, const char *format,
							     va_list args)
{
	err->code = code;
	vsnprintf(err->message, sizeof(err->message), format, args);
}

int err_set(struct err *err, int code, const char *format, ...)
{
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	err_format(err, code, format, args);
	va_end(args);
	return code;
}

int err_set_errno(struct err *err, int code, const char *format, ...)
{
	char reason[128];
	size_t used;
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	err_format(err, code, format, args);
	va_end(args);
	used = strlen(err->message);
	snprintf(err->message + used, sizeof(err->message) - used, ": %s",
		 strerror_r(-code, reason, sizeof(reason)));
	return code;
}

int err_prefix(struct err *err, const char *format, ...)
{
	char prefixed[ERR_MESSAGE_SIZE];
	va_list args;

	if (!err)
		return -EIO;
	va_start(args, format);
	vsnprintf(prefixed, sizeof(prefixed), format, args);
	va_end(args);
	strncat(prefixed, ": ", sizeof(prefixed) - strlen(prefixed) - 1);
	strncat(prefixed, err->message, sizeof(prefixed) - strlen(prefixed) - 1);
	memcpy(err->message, prefixed, sizeof(prefixed));
	return err->code;
}
