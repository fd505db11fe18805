/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging. Each line is formatted on the caller's stack and leaves in one write(2), so lines of several
 * threads do not mix and no lock is needed. The sink below is process-wide by design: see log.h.
 */
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "vmm/base/clock.h"

#define LOG_LINE_SIZE       1024 /* longer lines are cut */
#define LOG_LIMIT_LINES     10
#define LOG_LIMIT_WINDOW_NS (5 * NS_PER_S)

/* The one file-scope state that the design permits: a crash must be able to speak before and after any
 * machine. */
static struct {
	_Atomic int level;
	_Atomic int fd;
	_Atomic bool raw_tty;
} log_sink = {.level = LOG_WARNING, .fd = STDERR_FILENO, .raw_tty = false};

static const struct {
	const char *name;
	enum log_level level;
} log_names[] = {
	{"off", LOG_OFF},   {"error", LOG_ERROR}, {"warning", LOG_WARNING}, {"warn", LOG_WARNING},
	{"info", LOG_INFO}, {"debug", LOG_DEBUG}, {"trace", LOG_TRACE},
};

static const char *const log_labels[] = {
	[LOG_OFF] = "",      [LOG_ERROR] = "error", [LOG_WARNING] = "warning",
	[LOG_INFO] = "info", [LOG_DEBUG] = "debug", [LOG_TRACE] = "trace",
};

void log_set_level(enum log_level level)
{
	atomic_store(&log_sink.level, (int)level);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load(&log_sink.level);
}

int log_level_from_name(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < sizeof(log_names) / sizeof(log_names[0]); i++) {
		if (strcasecmp(name, log_names[i].name) == 0) {
			*level = log_names[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

int log_set_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int old;

	if (copy < 0)
		return -errno;
	old = atomic_exchange(&log_sink.fd, copy);
	if (old > STDERR_FILENO)
		close(old);
	return 0;
}

void log_set_raw_tty(bool raw_tty)
{
	atomic_store(&log_sink.raw_tty, raw_tty);
}

__attribute__((format(printf, 2, 0))) static void log_emit(enum log_level level, const char *format,
							   va_list args)
{
	char line[LOG_LINE_SIZE];
	const size_t room = sizeof(line) - 2; /* \r\n always fits */
	int used = snprintf(line, room, "vmmctl: %s: ", log_labels[level]);
	ssize_t written;

	used += vsnprintf(line + used, room - (size_t)used, format, args);
	if (used > (int)room - 1)
		used = (int)room - 1;
	if (atomic_load(&log_sink.raw_tty))
		line[used++] = '\r';
	line[used++] = '\n';
	written = write(atomic_load(&log_sink.fd), line, (size_t)used);
	(void)written; /* nobody is left to be told */
}

void log_write(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > log_get_level() || level == LOG_OFF)
		return;
	va_start(args, format);
	log_emit(level, format, args);
	va_end(args);
}

/* True when one more line fits; starts a new window, and tells what the last one dropped, when its time is
 * over. */
static bool log_limit_admits(struct log_limit *limit, enum log_level level)
{
	uint64_t now_ns = clock_monotonic_ns();

	if (limit->window_start_ns == 0 || now_ns - limit->window_start_ns >= LOG_LIMIT_WINDOW_NS) {
		if (limit->dropped > 0)
			log_write(level, "%u similar messages were dropped", limit->dropped);
		*limit = (struct log_limit){.window_start_ns = now_ns};
	}
	if (limit->in_window >= LOG_LIMIT_LINES) {
		limit->dropped++;
		return false;
	}
	limit->in_window++;
	return true;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > log_get_level() || level == LOG_OFF || !log_limit_admits(limit, level))
		return;
	va_start(args, format);
	log_emit(level, format, args);
	va_end(args);
}
