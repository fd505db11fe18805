/* SPDX-License-Identifier: Apache-2.0 */
/* What `vmmctl run` is told beyond a machine's configuration. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/option.h"

/* The element of run_options.rootfs. */
struct run_rootfs {
	char *path;
	bool readonly, overlay;
};

struct run_options {
	struct option_records rootfs; /* struct run_rootfs; one */
	char *kernel_modules;         /* folder; NULL: none */
	struct option_strings env;    /* NAME=VALUE, or NAME: as it is here */
	char *workdir, *user, *hostname;
	char *console_log; /* file that the guest's kernel messages go to; NULL: kept until the end */
	bool tty;
	uint32_t timeout_s; /* 0: none */
	bool help;
};
