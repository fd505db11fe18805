/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: levelled lines to stderr or a file, rate-limited where a guest can cause them.
 * A process-wide sink: the one thing that is not a machine's, because a crash must be able to speak.
 */
#pragma once

#include <stdbool.h>
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

#define log_error(...)   log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_DEBUG, __VA_ARGS__)
#define log_trace(...)   log_write(LOG_TRACE, __VA_ARGS__)

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
