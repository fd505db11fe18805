/* SPDX-License-Identifier: Apache-2.0 */
/* Loading libslirp. The library's name carries its interface's version: 0 is that of all releases since 4.0.
 */
#include "vmm/backend/net_slirp.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/base/err.h"

#define NET_SLIRP_LIBRARY "libslirp.so.0"

int net_slirp_load(struct net_slirp *slirp, struct err *err)
{
#define NET_SLIRP_ROW(name_) {#name_, offsetof(struct net_slirp, name_)},
	static const struct {
		const char *name;
		size_t offset;
	} rows[] = {NET_SLIRP_FUNCTIONS(NET_SLIRP_ROW)};

	*slirp = (struct net_slirp){.library = dlopen(NET_SLIRP_LIBRARY, RTLD_NOW | RTLD_LOCAL)};
	if (!slirp->library)
		return err_set(
			err, -ENOENT,
			"the user-mode network needs %s: install libslirp (Debian's package libslirp0)",
			NET_SLIRP_LIBRARY);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		void *function = dlsym(slirp->library, rows[i].name);

		if (!function) {
			net_slirp_unload(slirp);
			return err_set(err, -ENOENT, "%s has no %s: a release since 4.5 is needed",
				       NET_SLIRP_LIBRARY, rows[i].name);
		}
		memcpy((char *)slirp + rows[i].offset, &function, sizeof(function));
	}
	return 0;
}

void net_slirp_unload(struct net_slirp *slirp)
{
	if (slirp->library)
		dlclose(slirp->library);
	slirp->library = NULL;
}
