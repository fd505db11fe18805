/* SPDX-License-Identifier: Apache-2.0 */
/* The START message of guest/protocol.h, grown string by string. */
#pragma once

#include <stddef.h>

struct err;

struct run_task {
	char *bytes; /* owned */
	size_t len;
};

/* Adds one string with its letter. -E2BIG beyond GUEST_START_MAX, -ENOMEM. */
int run_task_add(struct run_task *task, char kind, struct err *err, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void run_task_free(struct run_task *task);
