/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging. Each line is formatted on the caller's stack and leaves in one write(2), so lines of several
 * threads do not mix and no lock is needed. The sink below is process-wide by design: see log.h.
 */
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/clock.h"

#define LOG_LINE_SIZE       2048 /* longer lines are cut; a request with its path fits */
#define LOG_LIMIT_LINES     10
#define LOG_LIMIT_WINDOW_NS (5 * NS_PER_S)

/* The one file-scope state that the design permits: a crash must be able to speak before and after any
 * machine. */
static struct {
	_Atomic int level;
	_Atomic int fd;
	_Atomic bool raw_tty;
	_Atomic bool has_style; /* the fields below; they are written before any other thread logs */
	char id[72], module[64];
	bool show_level, show_origin;
} log_sink = {.level = LOG_WARNING, .fd = STDERR_FILENO, .raw_tty = false};

static const struct {
	const char *name;
	enum log_level level;
} log_names[] = {
	{"off", LOG_OFF},   {"error", LOG_ERROR}, {"warning", LOG_WARNING}, {"warn", LOG_WARNING},
	{"info", LOG_INFO}, {"debug", LOG_DEBUG}, {"trace", LOG_TRACE},
};

/* As Firecracker writes them. */
static const char *const log_titles[] = {
	[LOG_OFF] = "OFF",   [LOG_ERROR] = "ERROR", [LOG_WARNING] = "WARN",
	[LOG_INFO] = "INFO", [LOG_DEBUG] = "DEBUG", [LOG_TRACE] = "TRACE",
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

void log_set_style(const struct log_style *style)
{
	atomic_store(&log_sink.has_style, false);
	if (!style)
		return;
	snprintf(log_sink.id, sizeof(log_sink.id), "%s", style->id);
	snprintf(log_sink.module, sizeof(log_sink.module), "%s", style->module ? style->module : "");
	log_sink.show_level = style->show_level;
	log_sink.show_origin = style->show_origin;
	atomic_store(&log_sink.has_style, true);
}

static const char *log_file_of(const struct log_origin *origin)
{
	const char *file = origin->file ? origin->file : "";

	while (strncmp(file, "../", 3) == 0)
		file += 3;
	return file;
}

/* Firecracker's name of the calling thread. */
static void log_thread_name(const struct log_origin *origin, char *text, size_t size)
{
	char name[16] = "";

	if (!origin->thread)
		pthread_getname_np(pthread_self(), name, sizeof(name));
	if (origin->thread)
		snprintf(text, size, "%s", origin->thread);
	else if (strncmp(name, "vcpu", 4) == 0)
		snprintf(text, size, "fc_vcpu %s", name + 4);
	else if (strncmp(name, "io", 2) == 0)
		snprintf(text, size, "%s", name);
	else
		snprintf(text, size, "main");
}

static int log_prefix(const struct log_origin *origin, enum log_level level, char *line, size_t size)
{
	uint64_t now_ns = clock_realtime_ns();
	time_t now = (time_t)(now_ns / NS_PER_S);
	char thread[32], time_text[32], label[16] = "", place[96] = "";
	struct tm tm;

	if (!atomic_load(&log_sink.has_style))
		return snprintf(line, size, "vmmctl: %s: ", log_labels[level]);
	localtime_r(&now, &tm);
	strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%S", &tm);
	log_thread_name(origin, thread, sizeof(thread));
	if (log_sink.show_level)
		snprintf(label, sizeof(label), ":%s", log_titles[level]);
	if (log_sink.show_origin)
		snprintf(place, sizeof(place), ":%s:%d", log_file_of(origin), origin->line);
	return snprintf(line, size, "%s.%09u [%s:%s%s%s] ", time_text, (unsigned)(now_ns % NS_PER_S),
			log_sink.id, thread, label, place);
}

static bool log_is_wanted(const struct log_origin *origin, enum log_level level)
{
	size_t len;

	if (level > log_get_level() || level == LOG_OFF)
		return false;
	if (!atomic_load(&log_sink.has_style))
		return true;
	len = strlen(log_sink.module);
	return strncmp(log_file_of(origin), log_sink.module, len) == 0;
}

__attribute__((format(printf, 3, 0))) static void
log_emit(const struct log_origin *origin, enum log_level level, const char *format, va_list args)
{
	char line[LOG_LINE_SIZE];
	const size_t room = sizeof(line) - 2; /* \r\n always fits */
	int used = log_prefix(origin, level, line, room);
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

void log_write_from(const struct log_origin *origin, enum log_level level, const char *format, ...)
{
	va_list args;

	if (!log_is_wanted(origin, level))
		return;
	va_start(args, format);
	log_emit(origin, level, format, args);
	va_end(args);
}

void log_write(enum log_level level, const char *format, ...)
{
	const struct log_origin origin = {.file = NULL};
	va_list args;

	if (!log_is_wanted(&origin, level))
		return;
	va_start(args, format);
	log_emit(&origin, level, format, args);
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
	const struct log_origin origin = {.file = NULL};
	va_list args;

	if (!log_is_wanted(&origin, level) || !log_limit_admits(limit, level))
		return;
	va_start(args, format);
	log_emit(&origin, level, format, args);
	va_end(args);
}
