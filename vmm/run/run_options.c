/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of `vmmctl run`. */
#include "vmm/run/run_options.h"

#include <stddef.h>

#include "vmm/machine/commands.h"

#define RUN_TIMEOUT_MAX (30u * 24 * 3600) /* a month: more is a mistake in units */

static const struct option run_rootfs_fields[] = {
	{.path = "path", .type = OPTION_PATH, .offset = offsetof(struct run_rootfs, path)},
	{.path = "readonly",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct run_rootfs, readonly),
	 .help = "The guest cannot change it"},
	{.path = "overlay",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct run_rootfs, overlay),
	 .help = "The guest's changes go to its memory and are lost at the end"},
	{.path = NULL},
};

const struct option command_run_options[] = {
	{.path = "-rootfs",
	 .flag = "--rootfs",
	 .type = OPTION_RECORDS,
	 .offset = offsetof(struct run_options, rootfs),
	 .metavar = "DIR|IMAGE[,KEY]...",
	 .help = "The guest's root: a folder, or an image of one file system (ext2-4, xfs, btrfs, squashfs, "
		 "erofs, "
		 "iso9660)",
	 .element = run_rootfs_fields,
	 .element_size = sizeof(struct run_rootfs),
	 .keyed = true},
	{.path = "-kernel-modules",
	 .flag = "--kernel-modules",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct run_options, kernel_modules),
	 .metavar = "DIR",
	 .help = "The modules of the kernel given with --kernel, as in /lib/modules/VERSION; without it the "
		 "kernel has "
		 "all built in"},
	{.path = "-env",
	 .flag = "--env",
	 .type = OPTION_STRINGS,
	 .offset = offsetof(struct run_options, env),
	 .metavar = "NAME[=VALUE]",
	 .help = "Sets a variable of the command's environment; without VALUE it is as it is here",
	 .default_text = "PATH, HOME, USER"},
	{.path = "-workdir",
	 .flag = "--workdir",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct run_options, workdir),
	 .metavar = "PATH",
	 .help = "The guest's folder in which the command starts",
	 .default_text = "/"},
	{.path = "-user",
	 .flag = "--user",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct run_options, user),
	 .metavar = "USER[:GROUP]",
	 .help = "Whom the command runs as: names or numbers of the guest's",
	 .default_text = "root"},
	{.path = "-hostname",
	 .flag = "--hostname",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct run_options, hostname),
	 .metavar = "NAME",
	 .help = "The guest's name",
	 .default_text = "vmmctl"},
	{.path = "-tty",
	 .flag = "--tty",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct run_options, tty),
	 .help = "Gives the command a terminal, connected to this one"},
	{.path = "-timeout",
	 .flag = "--timeout",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct run_options, timeout_s),
	 .metavar = "SECONDS",
	 .help = "Kills the virtual machine when it has run so long; the exit status is then 124",
	 .default_text = "none",
	 .max = RUN_TIMEOUT_MAX},
	{.path = "-console-log",
	 .flag = "--console-log",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct run_options, console_log),
	 .metavar = "FILE",
	 .help = "Where the guest kernel's messages go, /dev/stderr for instance; without it they are shown "
		 "only when "
		 "the guest fails"},
	{.path = "-help",
	 .flag = "--help",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct run_options, help),
	 .help = "Prints this help and ends"},
	{.path = NULL},
};
