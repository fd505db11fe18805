/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a START message (guest/protocol.h). */
#include <stdio.h>
#include <string.h>

#include "guest/agent/agent.h"

/* Cuts the next word off *rest; the last word takes what is left. */
static const char *task_word(char **rest)
{
	return strsep(rest, " ");
}

static int task_parse_root(struct agent_task *task, char *text)
{
	task->root.kind = task_word(&text);
	task->root.source = task_word(&text);
	task->root.mode = text;
	return text ? 0 : -1;
}

static int task_parse_mount(struct agent_task *task, char *text)
{
	struct agent_mount *mount;

	if (task->mount_count == AGENT_MOUNTS_MAX)
		return -1;
	mount = &task->mount[task->mount_count++];
	mount->source = task_word(&text);
	mount->mode = task_word(&text);
	mount->path = text;
	return text ? 0 : -1;
}

static int task_parse_network(struct agent_task *task, char *text)
{
	task->address = task_word(&text);
	task->gateway = task_word(&text);
	task->nameserver = text;
	return text ? 0 : -1;
}

static int task_parse_terminal(struct agent_task *task, char *text)
{
	int used = 0;

	task->has_terminal = true;
	return sscanf(text, "%hu %hu%n", &task->rows, &task->columns, &used) == 2 && !text[used] ? 0 : -1;
}

static int task_add(char **list, size_t *count, char *text)
{
	if (*count == AGENT_ARGUMENTS_MAX)
		return -1;
	list[(*count)++] = text;
	list[*count] = NULL;
	return 0;
}

static int task_parse_string(struct agent_task *task, char kind, char *text)
{
	switch (kind) {
	case 'r': return task_parse_root(task, text);
	case 'm': return task_parse_mount(task, text);
	case 'n': return task_parse_network(task, text);
	case 'h': task->hostname = text; return 0;
	case 'w': task->folder = text; return 0;
	case 'u': task->user = text; return 0;
	case 't': return task_parse_terminal(task, text);
	case 'e': return task_add(task->envp, &task->envc, text);
	case 'a': return task_add(task->argv, &task->argc, text);
	}
	return -1;
}

int agent_parse_task(struct agent_task *task, char *text, size_t len)
{
	if (len == 0 || text[len - 1])
		return -1;
	for (char *at = text; at < text + len;) {
		char *next = at + strlen(at) + 1;

		if (!at[0] || task_parse_string(task, at[0], at + 1) < 0)
			return -1;
		at = next;
	}
	return task->root.mode && task->argc > 0 ? 0 : -1;
}
