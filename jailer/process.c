/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that becomes the jailed program: descriptors, limits, session, PID namespace, identity, rights.
 * capabilities(7), pid_namespaces(7), PR_SET_NO_NEW_PRIVS of prctl(2).
 */
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "jailer/jail.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"

#define PROCESS_TEXT 160
#define PROCESS_ARGUMENTS_MAX                                                                                \
	1024 /* of the program: more is no command line that a person or a tool makes                        \
	      */

int jail_descriptors_close(struct err *err)
{
	if (syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_UNSHARE) < 0)
		return err_set_errno(err, -errno, "cannot close the descriptors that were handed down");
	return 0;
}

static int process_limit(int resource, const char *name, uint64_t value, struct err *err)
{
	const struct rlimit limit = {.rlim_cur = value, .rlim_max = value};

	if (setrlimit(resource, &limit) < 0)
		return err_set_errno(err, -errno, "--resource-limit %s=%" PRIu64, name, value);
	return 0;
}

int jail_limits_set(const struct jail_config *config, struct err *err)
{
	int code = 0;

	if (config->limit_fsize != UINT64_MAX)
		code = process_limit(RLIMIT_FSIZE, "fsize", config->limit_fsize, err);
	return code < 0 ? code : process_limit(RLIMIT_NOFILE, "no-file", config->limit_no_file, err);
}

/* The parent's end; the child goes on. */
static int process_fork_and_leave(struct err *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return err_set_errno(err, -errno, "--daemonize: fork");
	if (pid > 0)
		_exit(0);
	return 0;
}

/* Twice: the second child leads no session and so never gets a terminal. */
int jail_daemonize(const struct jail *jail, struct err *err)
{
	int code = process_fork_and_leave(err);

	if (code < 0)
		return code;
	if (setsid() < 0)
		return err_set_errno(err, -errno, "--daemonize: setsid");
	code = process_fork_and_leave(err);
	for (int fd = 0; fd < 3 && code == 0; fd++) {
		if (dup2(jail->null_fd, fd) < 0)
			code = err_set_errno(err, -errno, "--daemonize: dup2");
	}
	return code;
}

/* The folder is the jailed user's: no link of theirs is followed, and no file of theirs taken. */
static int process_write_pid(const struct jail_config *config, pid_t pid, struct err *err)
{
	char path[NAME_MAX + 8];
	int fd;

	snprintf(path, sizeof(path), "/%.200s.pid", config->exec_name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set_errno(err, -errno, "cannot make %s in the jail", path);
	if (dprintf(fd, "%d", (int)pid) < 0 || fchown(fd, config->uid, config->gid) < 0) {
		int code = -errno;

		close(fd);
		return err_set_errno(err, code, "cannot write %s in the jail", path);
	}
	close(fd);
	return 0;
}

int jail_pid_enter(const struct jail *jail, struct err *err)
{
	pid_t pid;

	if (!jail->config.new_pid_ns)
		return process_write_pid(&jail->config, getpid(), err);
	if (unshare(CLONE_NEWPID) < 0)
		return err_set_errno(err, -errno, "--new-pid-ns");
	pid = fork();
	if (pid < 0)
		return err_set_errno(err, -errno, "--new-pid-ns: fork");
	if (pid == 0)
		return 0;
	if (process_write_pid(&jail->config, pid, err) < 0) {
		fprintf(stderr, "vmm-jailer: %s\n", err->message);
		_exit(1);
	}
	_exit(0);
}

static int process_add(char **argv, unsigned *count, char *text)
{
	if (*count + 1 >= PROCESS_ARGUMENTS_MAX)
		return -E2BIG;
	argv[(*count)++] = text;
	return 0;
}

static uint64_t process_cpu_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/*
 * A program that knows Firecracker's flags is told who it is and when it was started, as Firecracker's jailer
 * does; any other, vmmctl with its commands among them, gets its own arguments alone.
 */
static int process_arguments(const struct jail *jail, char **argv, char text[3][PROCESS_TEXT],
			     struct err *err)
{
	const struct jail_config *config = &jail->config;
	bool is_firecracker = strncmp(config->exec_name, "firecracker", 11) == 0;
	char *told[] = {"--id",
			(char *)(uintptr_t)config->id,
			"--start-time-us",
			text[1],
			"--start-time-cpu-us",
			"0",
			"--parent-cpu-time-us",
			text[2]};
	unsigned count = 0;
	int code;

	snprintf(text[0], PROCESS_TEXT, "/%.150s", config->exec_name);
	snprintf(text[1], PROCESS_TEXT, "%" PRIu64, jail->start_us);
	snprintf(text[2], PROCESS_TEXT, "%" PRIu64, process_cpu_us() - jail->start_cpu_us);
	code = process_add(argv, &count, text[0]);
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]) && is_firecracker && code == 0; i++)
		code = process_add(argv, &count, told[i]);
	for (char **own = config->arguments; *own && code == 0; own++)
		code = process_add(argv, &count, *own);
	argv[count] = NULL;
	return code < 0 ? err_set(err, code, "more than %d arguments", PROCESS_ARGUMENTS_MAX) : 0;
}

/* Groups and the bounding set need the right to; no_new_privs keeps what was given up from coming back. */
static int process_give_up(const struct jail_config *config, struct err *err)
{
	if (setgroups(0, NULL) < 0)
		return err_set_errno(err, -errno, "cannot leave the groups");
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_BOUNDS) < 0)
		return err_set(err, -EPERM, "cannot empty the bounding set of capabilities");
	if (setresgid(config->gid, config->gid, config->gid) < 0)
		return err_set_errno(err, -errno, "--gid %u", config->gid);
	if (setresuid(config->uid, config->uid, config->uid) < 0)
		return err_set_errno(err, -errno, "--uid %u", config->uid);
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) < 0)
		return err_set(err, -EPERM, "cannot give the capabilities up");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set_errno(err, -errno, "PR_SET_NO_NEW_PRIVS");
	return 0;
}

int jail_exec(const struct jail *jail, struct err *err)
{
	char *argv[PROCESS_ARGUMENTS_MAX + 1], *environment[] = {NULL};
	char text[3][PROCESS_TEXT];
	int code = process_arguments(jail, argv, text, err);

	if (code == 0)
		code = process_give_up(&jail->config, err);
	if (code < 0)
		return code;
	execve(argv[0], argv, environment);
	return err_set_errno(err, -errno, "cannot execute %s in the jail", argv[0]);
}
