/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the jailer is asked for, and its steps in the order in which main.c takes them. Each step is one file:
 * tree.c the folder that becomes the root, cgroup.c quotas, mounts.c the new root, process.c limits, identity
 * and the program itself. Knows no machine: any static program can be put into a jail.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

#define JAIL_ID_MAX      64 /* characters, as Firecracker has it */
#define JAIL_CGROUPS_MAX 64 /* --cgroup and --resource-limit: bounds what a command line can ask for */
#define JAIL_NO_FILE     2048

/* --cgroup FILE=VALUE. */
struct jail_cgroup {
	const char *file, *value;
};

struct jail_config {
	const char *id;
	char exec_file[PATH_MAX];   /* canonical */
	const char *exec_name;      /* its last part */
	char chroot_base[PATH_MAX]; /* canonical */
	uid_t uid;
	gid_t gid;
	const char *netns; /* NULL: that of the caller */
	bool daemonize, new_pid_ns;
	unsigned cgroup_version; /* 1 or 2 */
	const char *parent_cgroup;
	struct jail_cgroup cgroup[JAIL_CGROUPS_MAX];
	unsigned cgroup_count;
	uint64_t limit_fsize; /* bytes; UINT64_MAX: none */
	uint64_t limit_no_file;
	char **arguments; /* the program's own, ends with NULL */
};

struct jail {
	struct jail_config config;
	char root[PATH_MAX]; /* BASE/EXEC/ID/root */
	int null_fd;         /* of /dev/null, when a daemon is wanted; else -1 */
	uint64_t start_us, start_cpu_us;
};

/* config.c: fills in the defaults and what argv says. 0, -EINVAL naming the flag. JAIL_CONFIG_*: printed,
 * done. */
enum jail_config_result { JAIL_CONFIG_RUN, JAIL_CONFIG_PRINTED };
int jail_config_parse(struct jail_config *config, int argc, char **argv, struct err *err);

/* tree.c: makes BASE/EXEC/ID/root with a copy of the program in it. 0 or -errno. */
int jail_tree_make(struct jail *jail, struct err *err);

/* cgroup.c: makes the groups, writes the values and reads them back, and joins. 0 or -errno. */
int jail_cgroup_enter(const struct jail_config *config, struct err *err);

/* mounts.c: a mount namespace whose root is the tree, and the devices in it. 0 or -errno. */
int jail_netns_enter(const struct jail_config *config, struct err *err);
int jail_root_enter(const struct jail *jail, struct err *err);
int jail_devices_make(const struct jail_config *config, unsigned userfaultfd_minor, struct err *err);
/* Asked on the host, where /proc is; 0: there is no such device. */
unsigned jail_userfaultfd_minor(void);

/* process.c. */
int jail_descriptors_close(struct err *err);
int jail_limits_set(const struct jail_config *config, struct err *err);
/* Leaves the session; the caller's own process ends. 0 or -errno in the daemon. */
int jail_daemonize(const struct jail *jail, struct err *err);
/* With a PID namespace of its own the caller's process ends once the file has the PID. 0 or -errno in the
 * child. */
int jail_pid_enter(const struct jail *jail, struct err *err);
/* Gives up rights and executes the program. Returns only with an error. */
int jail_exec(const struct jail *jail, struct err *err);
