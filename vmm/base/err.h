/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error object: a negative errno for the program and a message for the person.
 * The message is made where the failure is seen and prefixed on the way up. Knows nothing of machines.
 */
#pragma once

#include <stdarg.h>

#define ERR_MESSAGE_SIZE 512 /* longer messages are cut; a path and a reason fit */

/* Owned by the caller, on its stack as a rule; needs no destruction. Zero-initialise: `struct err err = {0};`
 */
struct err {
	int code;                       /* -errno, 0 while nothing failed */
	char message[ERR_MESSAGE_SIZE]; /* one line without a final stop */
};

/*
 * Records a failure and returns `code` so that callers can `return err_set(err, -EINVAL, "...")`.
 * `err` may be NULL: the message is dropped, the code still returned. `code` is a negative errno.
 */
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, and appends ": " and strerror(-code). */
int err_set_errno(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the recorded message; returns err->code (or -EIO when err is NULL). */
int err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
