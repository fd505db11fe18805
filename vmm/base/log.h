/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: levelled lines to stderr or a file, rate-limited where a guest can cause them.
 * A process-wide sink: the one thing that is not a machine's, because a crash must be able to speak.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* Sets the least urgent level printed. Thread-safe. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* 0, or -EINVAL for an unknown name; names are Firecracker's (Off Error Warning Info Debug Trace), any case,
 * `warn` too. */
int log_level_from_name(const char *name, enum log_level *level);

/* Duplicates fd for the log lines; lines end in \r\n while raw_tty is set so that a raw terminal stays
 * readable. */
int log_set_fd(int fd);
void log_set_raw_tty(bool raw_tty);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Where a line comes from: the source file and line, and the thread's name if it is not that of the caller.
 */
struct log_origin {
	const char *file, *thread;
	int line;
};
void log_write_from(const struct log_origin *origin, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_at(thread_, level_, ...)                                                                         \
	log_write_from(&(const struct log_origin){.file = __FILE__, .line = __LINE__, .thread = (thread_)},  \
		       (level_), __VA_ARGS__)
#define log_error(...)   log_at(NULL, LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(NULL, LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(NULL, LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(NULL, LOG_DEBUG, __VA_ARGS__)
#define log_trace(...)   log_at(NULL, LOG_TRACE, __VA_ARGS__)

/*
 * Lines in the form that Firecracker's have and its users' tools look for:
 *
 *     2026-01-31T12:00:00.123456789 [ID:THREAD[:LEVEL][:FILE:LINE]] message
 *
 * instead of "vmmctl: level: message". Strings are copied, and cut. NULL goes back.
 */
struct log_style {
	const char *id;
	const char *module; /* only lines of source files whose path begins so; NULL: all */
	bool show_level, show_origin;
};
void log_set_style(const struct log_style *style);

/* State of one rate-limited call site that a guest can trigger: 10 lines in 5 s, then a count of those
 * dropped. */
struct log_limit {
	uint64_t window_start_ns; /* monotonic start of the present window */
	uint32_t in_window;       /* lines printed in it */
	uint32_t dropped;         /* lines not printed since */
};

/* Prints unless the site is over its limit. The limit lives in the device or vCPU, under that object's lock.
 */
void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
