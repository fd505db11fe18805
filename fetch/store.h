/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where fetched kernels lie, for the program that fetches and the one that uses them:
 *
 *     ROOT/kernels/NAME/vmlinuz           the kernel
 *     ROOT/kernels/NAME/modules/...       its modules, as below /lib/modules/VERSION
 *     ROOT/kernels/current -> NAME        the one that is used
 *
 * ROOT is $XDG_CACHE_HOME/vmmctl, or ~/.cache/vmmctl. A folder appears whole or not at all.
 */
#pragma once

#include <stddef.h>

#define STORE_KERNELS "kernels"
#define STORE_CURRENT "current"
#define STORE_KERNEL  "vmlinuz"
#define STORE_MODULES "modules"

struct err;

/* ROOT/kernels into path. -ENAMETOOLONG, -ENOENT when neither variable is set. */
int store_path(char *path, size_t size, struct err *err);
