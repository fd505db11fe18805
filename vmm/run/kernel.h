/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel of a run: the one that was named, or the cache's, fetched when it is not there; and the
 * initramfs for it. */
#pragma once

#include <limits.h>
#include <stddef.h>

struct err;

struct run_kernel {
	char kernel[PATH_MAX];
	char modules[PATH_MAX]; /* "" when all is built in */
};

/* A cached kernel, "cloud" or "full"; runs vmmctl-fetch (which says what it does on standard error) when
 * there is none.
 */
int run_kernel_default(struct run_kernel *kernel, const char *flavour, struct err *err);

/*
 * Makes the initramfs: the agent and the wanted modules with what they need. Returns a memfd, owned; its path
 * for the loader is "/proc/self/fd/N". `names` ends with NULL. -errno.
 */
int run_initramfs(const char *modules_folder, const char *const *names, struct err *err);
