/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: the first process of a guest that `vmmctl run` starts. It loads modules, mounts what it is told,
 * runs one command, carries its bytes and its status to the host, and switches the machine off. It has no
 * libraries but libc and runs from an initramfs; nothing of the monitor's is in it but guest/protocol.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENT_ARGUMENTS_MAX 4096
#define AGENT_MOUNTS_MAX    64

enum { AGENT_CONTROL, AGENT_STDIN, AGENT_STDOUT, AGENT_STDERR, AGENT_LINKS };

struct agent_mount {
	const char *kind; /* NULL: 9p */
	const char *source;
	const char *mode; /* rw, ro, overlay */
	const char *path;
};

/* A START message; strings point into it. */
struct agent_task {
	struct agent_mount root;
	struct agent_mount mount[AGENT_MOUNTS_MAX];
	size_t mount_count;
	const char *address, *gateway, *nameserver; /* NULL: no network to set up */
	const char *hostname;
	const char *folder;
	const char *user;
	char *argv[AGENT_ARGUMENTS_MAX + 1];
	size_t argc;
	char *envp[AGENT_ARGUMENTS_MAX + 1];
	size_t envc;
	bool has_terminal;
	uint16_t rows, columns;
};

struct agent {
	int link[AGENT_LINKS]; /* connections to the host */
	char *start;           /* what the task points into */
	struct agent_task task;
	pid_t child;
};

/* Says why on the control connection (or the console while there is none) and switches off. */
void agent_fail(struct agent *agent, unsigned status, const char *format, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
/* Writes back what is in memory and switches off. */
void agent_power_off(void) __attribute__((noreturn));

/* link.c */
void agent_connect(struct agent *agent);
void agent_send(struct agent *agent, uint32_t type, const void *payload, size_t len);
/* Reads and parses START; fails on anything else. */
void agent_receive_task(struct agent *agent);
int agent_parse_task(struct agent_task *task, char *text, size_t len);

/* system.c */
void agent_mount_kernel_folders(const char *root);
void agent_load_modules(void);
void agent_mount_root(struct agent *agent);
void agent_set_up_network(struct agent *agent);

/* process.c: starts the command; *in, *out, *err are our ends (-1: none; all the same with a terminal). */
void agent_start(struct agent *agent, int ends[3]);

/* relay.c: carries bytes until the command has ended and all is delivered; returns its status as EXITED has
 * it. */
unsigned agent_relay(struct agent *agent, int ends[3]);
