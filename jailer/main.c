/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm-jailer: the steps that put a program into a jail, in the order in which each still can be taken: while
 * there are a host's files to read, then with rights to mount and make devices, then none. It ends as the
 * program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "jailer/jail.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"

static int main_prepare(struct jail *jail, struct err *err)
{
	int code = jail_tree_make(jail, err);

	if (code == 0)
		code = jail_netns_enter(&jail->config, err);
	if (code == 0)
		code = jail_limits_set(&jail->config, err);
	if (code == 0)
		code = jail_cgroup_enter(&jail->config, err);
	if (code == 0 && jail->config.daemonize) {
		jail->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (jail->null_fd < 0)
			code = err_set_errno(err, -errno, "/dev/null");
	}
	return code;
}

static int main_enter(const struct jail *jail, struct err *err)
{
	unsigned userfaultfd_minor = jail_userfaultfd_minor();
	int code = jail_root_enter(jail, err);

	if (code == 0)
		code = jail_devices_make(&jail->config, userfaultfd_minor, err);
	if (code == 0 && jail->config.daemonize)
		code = jail_daemonize(jail, err);
	if (code == 0)
		code = jail_pid_enter(jail, err);
	return code == 0 ? jail_exec(jail, err) : code;
}

int main(int argc, char **argv)
{
	struct jail *jail = calloc(1, sizeof(*jail));
	struct err err = {0};
	int code;

	if (!jail)
		return 1;
	jail->null_fd = -1;
	jail->start_us = clock_monotonic_ns() / NS_PER_US;
	clearenv();
	code = jail_descriptors_close(&err);
	if (code == 0)
		code = jail_config_parse(&jail->config, argc, argv, &err);
	if (code == JAIL_CONFIG_PRINTED)
		return 0;
	if (code == JAIL_CONFIG_RUN)
		code = main_prepare(jail, &err);
	if (code == 0)
		code = main_enter(jail, &err);
	fprintf(stderr, "vmm-jailer: %s\n", err.message);
	return 1;
}
