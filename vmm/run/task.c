/* SPDX-License-Identifier: Apache-2.0 */
/* A START message as it grows: one string after the other, each with its letter, within the protocol's limit.
 */
#include "vmm/run/task.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/protocol.h"
#include "vmm/base/err.h"

int run_task_add(struct run_task *task, char kind, struct err *err, const char *format, ...)
{
	va_list arguments;
	char *text;
	char *bytes;
	int len;

	va_start(arguments, format);
	len = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (len < 0)
		return err_set(err, -ENOMEM, "no memory for the guest's task");
	if ((size_t)len + 2 > GUEST_START_MAX - task->len) {
		free(text);
		return err_set(err, -E2BIG, "command and environment are longer than %u KiB",
			       GUEST_START_MAX >> 10);
	}
	bytes = realloc(task->bytes, task->len + (size_t)len + 2);
	if (bytes) {
		task->bytes = bytes;
		bytes[task->len] = kind;
		memcpy(bytes + task->len + 1, text, (size_t)len + 1);
		task->len += (size_t)len + 2;
	}
	free(text);
	return bytes ? 0 : err_set(err, -ENOMEM, "no memory for the guest's task");
}

void run_task_free(struct run_task *task)
{
	free(task->bytes);
	*task = (struct run_task){0};
}
