/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where fetched kernels lie, for the program that fetches and the one that uses them:
 *
 *     ROOT/kernels/NAME/vmlinuz           the kernel
 *     ROOT/kernels/NAME/modules/...       its modules, as below /lib/modules/VERSION
 *     ROOT/kernels/FLAVOUR -> NAME        the one that is used, "cloud" or "full"
 *
 * ROOT is $XDG_CACHE_HOME/vmmctl, or ~/.cache/vmmctl. A folder appears whole or not at all.
 */
#pragma once

#include <stddef.h>

#define STORE_KERNELS "kernels"
#define STORE_CLOUD   "cloud" /* Debian's kernel for virtual machines: small, and boots sooner */
#define STORE_FULL    "full"  /* Debian's kernel for all machines: has 9p, which the cloud's has not */
#define STORE_KERNEL  "vmlinuz"
#define STORE_MODULES "modules"

struct err;

/* ROOT/kernels into path. -ENAMETOOLONG, -ENOENT when neither variable is set. */
int store_path(char *path, size_t size, struct err *err);
