/* SPDX-License-Identifier: Apache-2.0 */
/* Where the kernel cache lies: the environment's word, else the user's cache folder (XDG base directories).
 */
#include "fetch/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/err.h"

int store_path(char *path, size_t size, struct err *err)
{
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	int len;

	if (cache && cache[0] == '/')
		len = snprintf(path, size, "%s/vmmctl/%s", cache, STORE_KERNELS);
	else if (home && home[0] == '/')
		len = snprintf(path, size, "%s/.cache/vmmctl/%s", home, STORE_KERNELS);
	else
		return err_set(err, -ENOENT, "neither XDG_CACHE_HOME nor HOME names a folder for the cache");
	return len < (int)size ? 0 : err_set(err, -ENAMETOOLONG, "the cache's path is too long");
}
