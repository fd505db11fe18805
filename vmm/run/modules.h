/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of kernel modules: which files a module needs before it, read from the modules themselves
 * (.modinfo, "depends="), because a package's modules.dep is made only when it is installed.
 */
#pragma once

#include <stddef.h>

struct err;
struct modules;

#define MODULES_FILES_MAX 16384 /* Debian's full kernel has 4,000 */
#define MODULES_LOAD_MAX  256   /* that one guest loads */

/* Reads the names below `folder`; owned, or NULL with err set. NULL as folder: a folder without modules. */
struct modules *modules_open(const char *folder, struct err *err);
void modules_close(struct modules *modules);

/*
 * Adds the module of this name ('-' and '_' are the same) after those it depends on, unless it is there
 * already. One that has no file is taken to be part of the kernel. -EBADMSG (not a module), -E2BIG, -errno.
 */
int modules_want(struct modules *modules, const char *name, struct err *err);

/* The paths wanted, in the order in which to load them. */
size_t modules_wanted(const struct modules *modules, const char *const **paths);
