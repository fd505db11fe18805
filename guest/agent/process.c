/* SPDX-License-Identifier: Apache-2.0 */
/* Starting the command: its descriptors or terminal, its user, its folder. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "guest/agent/agent.h"
#include "guest/protocol.h"

#define PROCESS_GROUPS_MAX 64

/* Who runs it. Read from the guest's files by ourselves: libc's own way would want the guest's libc. */
struct process_user {
	uid_t uid;
	gid_t gid;
	gid_t group[PROCESS_GROUPS_MAX];
	size_t group_count;
	char name[64];
	char home[256];
};

static bool process_is_number(const char *text, unsigned *value)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	*value = (unsigned)number;
	return text[0] >= '0' && text[0] <= '9' && !*end && number < UINT32_MAX;
}

/* Looks name (or number) up in a file of lines of `count` fields between colons; the fields, or false. */
static bool process_look_up(const char *path, const char *key, char *line, size_t size, char **field,
			    size_t count)
{
	FILE *file = fopen(path, "re");
	unsigned number;
	bool is_number = process_is_number(key, &number);
	bool is_found = false;

	while (file && !is_found && fgets(line, (int)size, file)) {
		char *rest = line;
		size_t i;

		line[strcspn(line, "\n")] = '\0';
		for (i = 0; i < count && rest; i++)
			field[i] = strsep(&rest, ":");
		is_found = i == count && strcmp(field[is_number ? 2 : 0], key) == 0;
	}
	if (file)
		fclose(file);
	return is_found;
}

/* The groups that list the user. */
static void process_add_groups(struct process_user *user)
{
	FILE *file = fopen("/etc/group", "re");
	char line[4096];

	while (file && user->group_count < PROCESS_GROUPS_MAX && fgets(line, sizeof(line), file)) {
		char *rest = line;
		char *field[4] = {0};
		char *name;

		line[strcspn(line, "\n")] = '\0';
		for (size_t i = 0; i < 3 && rest; i++)
			field[i] = strsep(&rest, ":");
		while ((name = strsep(&rest, ",")) != NULL) {
			if (strcmp(name, user->name) != 0)
				continue;
			user->group[user->group_count++] = (gid_t)strtoul(field[2], NULL, 10);
			break;
		}
	}
	if (file)
		fclose(file);
}

static void process_find_user(struct agent *agent, struct process_user *user)
{
	char wish[256];
	char line[1024];
	char *field[6];
	char *group = wish;
	char *name;
	unsigned number;

	*user = (struct process_user){.home = "/"};
	snprintf(wish, sizeof(wish), "%s", agent->task.user ? agent->task.user : "0");
	name = strsep(&group, ":");
	if (process_look_up("/etc/passwd", name, line, sizeof(line), field, 6)) {
		user->uid = (uid_t)strtoul(field[2], NULL, 10);
		user->gid = (gid_t)strtoul(field[3], NULL, 10);
		snprintf(user->name, sizeof(user->name), "%s", field[0]);
		snprintf(user->home, sizeof(user->home), "%s", field[5]);
		process_add_groups(user);
	} else if (process_is_number(name, &number)) {
		user->uid = number;
		user->gid = number;
	} else {
		agent_fail(agent, 125, "the guest has no user %s", name);
	}
	if (!group)
		return;
	if (process_look_up("/etc/group", group, line, sizeof(line), field, 3))
		user->gid = (gid_t)strtoul(field[2], NULL, 10);
	else if (process_is_number(group, &number))
		user->gid = number;
	else
		agent_fail(agent, 125, "the guest has no group %s", group);
}

static void process_set_default(struct agent_task *task, const char *name, const char *value)
{
	size_t len = strlen(name);
	char *entry;

	for (size_t i = 0; i < task->envc; i++) {
		if (strncmp(task->envp[i], name, len) == 0 && task->envp[i][len] == '=')
			return;
	}
	if (task->envc == AGENT_ARGUMENTS_MAX || asprintf(&entry, "%s=%s", name, value) < 0)
		return;
	task->envp[task->envc++] = entry;
	task->envp[task->envc] = NULL;
}

static void process_set_environment(struct agent_task *task, const struct process_user *user)
{
	process_set_default(task, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	process_set_default(task, "HOME", user->home);
	if (user->name[0])
		process_set_default(task, "USER", user->name);
	if (task->has_terminal)
		process_set_default(task, "TERM", "xterm");
}

static int process_become(const struct process_user *user)
{
	if (setgroups(user->group_count, user->group) < 0 || setgid(user->gid) < 0)
		return -1;
	return setuid(user->uid);
}

/* The child: never returns. What goes wrong before exec goes to `report` as errno and a letter. */
static void process_exec(struct agent *agent, const struct process_user *user, const int fds[3], int report)
	__attribute__((noreturn));

static void process_exec(struct agent *agent, const struct process_user *user, const int fds[3], int report)
{
	struct agent_task *task = &agent->task;
	char failure[sizeof(int) + 1] = {0};

	setsid();
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	if (task->has_terminal)
		ioctl(0, TIOCSCTTY, 0);
	signal(SIGPIPE, SIG_DFL);
	if (chdir(task->folder ? task->folder : "/") < 0) {
		failure[sizeof(int)] = 'w';
	} else if (process_become(user) < 0) {
		failure[sizeof(int)] = 'u';
	} else {
		execvpe(task->argv[0], task->argv, task->envp);
		failure[sizeof(int)] = 'x';
	}
	memcpy(failure, &errno, sizeof(int));
	_exit(write(report, failure, sizeof(failure)) == sizeof(failure) ? 127 : 126);
}

static void process_open_pipes(struct agent *agent, int fds[3], int ends[3])
{
	for (int i = 0; i < 3; i++) {
		int both[2];

		if (pipe2(both, O_CLOEXEC) < 0)
			agent_fail(agent, 125, "pipe: %s", strerror(errno));
		fds[i] = both[i == 0 ? 0 : 1];
		ends[i] = both[i == 0 ? 1 : 0];
	}
}

static void process_open_terminal(struct agent *agent, int fds[3], int ends[3])
{
	const struct winsize size = {.ws_row = agent->task.rows, .ws_col = agent->task.columns};
	int master;
	int slave;

	if (openpty(&master, &slave, NULL, NULL, &size) < 0)
		agent_fail(agent, 125, "terminal: %s", strerror(errno));
	fcntl(master, F_SETFD, FD_CLOEXEC);
	fds[0] = fds[1] = fds[2] = slave;
	ends[0] = ends[1] = master;
	ends[2] = -1;
}

static void process_explain(struct agent *agent, const char *failure)
{
	int error;

	memcpy(&error, failure, sizeof(error));
	switch (failure[sizeof(int)]) {
	case 'w': agent_fail(agent, 125, "working folder %s: %s", agent->task.folder, strerror(error));
	case 'u': agent_fail(agent, 125, "user %s: %s", agent->task.user, strerror(error));
	}
	agent_fail(agent, error == ENOENT ? 127 : 126, "%s: %s", agent->task.argv[0], strerror(error));
}

void agent_start(struct agent *agent, int ends[3])
{
	char failure[sizeof(int) + 1];
	struct process_user user;
	int report[2];
	int fds[3];

	process_find_user(agent, &user);
	process_set_environment(&agent->task, &user);
	/* execvpe searches our own PATH. */
	for (size_t i = 0; i < agent->task.envc; i++) {
		if (strncmp(agent->task.envp[i], "PATH=", 5) == 0)
			setenv("PATH", agent->task.envp[i] + 5, 1);
	}
	if (agent->task.has_terminal)
		process_open_terminal(agent, fds, ends);
	else
		process_open_pipes(agent, fds, ends);
	if (pipe2(report, O_CLOEXEC) < 0)
		agent_fail(agent, 125, "pipe: %s", strerror(errno));
	agent->child = fork();
	if (agent->child < 0)
		agent_fail(agent, 125, "fork: %s", strerror(errno));
	if (agent->child == 0)
		process_exec(agent, &user, fds, report[1]);
	close(report[1]);
	for (int i = 0; i < 3; i++) {
		if (i == 0 || fds[i] != fds[0])
			close(fds[i]);
	}
	/* The pipe closes at exec: what comes before is the reason why it failed. */
	if (read(report[0], failure, sizeof(failure)) == sizeof(failure))
		process_explain(agent, failure);
	close(report[0]);
	agent_send(agent, GUEST_STARTED, NULL, 0);
}
