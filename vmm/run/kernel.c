/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel and initramfs of a run. */
#include "vmm/run/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fetch/store.h"
#include "vmm/base/err.h"
#include "vmm/run/agent_image.h"
#include "vmm/run/cpio.h"
#include "vmm/run/modules.h"

#define KERNEL_FETCH "vmmctl-fetch"

extern char **environ;

/* Beside this program (as built or installed), else where PATH finds it. */
static void kernel_fetch_path(char path[PATH_MAX])
{
	static const char *const places[] = {"", "../../fetch/"};
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	for (size_t i = 0; strchr(self, '/') && i < sizeof(places) / sizeof(places[0]); i++) {
		int folder_len = (int)(strrchr(self, '/') - self) + 1;

		if (snprintf(path, PATH_MAX, "%.*s%s" KERNEL_FETCH, folder_len, self, places[i]) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return;
	}
	snprintf(path, PATH_MAX, KERNEL_FETCH);
}

static int kernel_fetch(const char *flavour, struct err *err)
{
	posix_spawn_file_actions_t actions;
	char path[PATH_MAX];
	char *argv[] = {path, (char *)(uintptr_t)flavour, NULL};
	pid_t pid;
	int status;
	int code;

	kernel_fetch_path(path);
	fprintf(stderr,
		"vmmctl: no kernel is cached yet: fetching Debian's (once; --kernel FILE takes another)\n");
	posix_spawn_file_actions_init(&actions);
	/* Standard output is the command's. */
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	code = posix_spawnp(&pid, path, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (code)
		return err_set_errno(err, -code, "%s, which fetches the default kernel", path);
	if (waitpid(pid, &status, 0) < 0)
		return err_set_errno(err, -errno, "%s", path);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0
		       ? 0
		       : err_set(err, -EIO, "no default kernel: %s failed; give one with --kernel",
				 KERNEL_FETCH);
}

static int kernel_find(struct run_kernel *kernel, const char *flavour, struct err *err)
{
	char store[PATH_MAX];
	int code = store_path(store, sizeof(store), err);

	if (code < 0)
		return code;
	if (snprintf(kernel->kernel, PATH_MAX, "%s/%s/%s", store, flavour, STORE_KERNEL) >= PATH_MAX ||
	    snprintf(kernel->modules, PATH_MAX, "%s/%s/%s", store, flavour, STORE_MODULES) >= PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "the cache's path is too long");
	return access(kernel->kernel, R_OK) == 0 ? 0 : err_set_errno(err, -errno, "%s", kernel->kernel);
}

int run_kernel_default(struct run_kernel *kernel, const char *flavour, struct err *err)
{
	int code = kernel_find(kernel, flavour, err);

	if (code == -ENOENT)
		code = kernel_fetch(flavour, err);
	else
		return code;
	return code < 0 ? code : kernel_find(kernel, flavour, err);
}

static int kernel_write_modules(struct cpio *cpio, const char *folder, const char *const *names,
				struct err *err)
{
	struct modules *modules = modules_open(folder, err);
	const char *const *paths;
	char path[64];
	size_t count;
	int code = modules ? 0 : -EINVAL;

	for (; code == 0 && *names; names++)
		code = modules_want(modules, *names, err);
	count = code == 0 ? modules_wanted(modules, &paths) : 0;
	for (size_t i = 0; i < count && code == 0; i++) {
		snprintf(path, sizeof(path), "modules/%03zu.ko", i);
		code = cpio_add_file(cpio, path, paths[i], err);
	}
	modules_close(modules);
	return code;
}

static int kernel_write_initramfs(FILE *out, const char *folder, const char *const *names, struct err *err)
{
	static const char *const folders[] = {"dev", "proc", "sys", "run", "modules"};
	struct cpio cpio = {.out = out};
	int code;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		cpio_add_folder(&cpio, folders[i]);
	cpio_add_device(&cpio, "dev/console", 5, 1);
	cpio_add_device(&cpio, "dev/null", 1, 3);
	cpio_add_program(&cpio, "init", run_agent_image, (size_t)(run_agent_image_end - run_agent_image));
	code = kernel_write_modules(&cpio, folder, names, err);
	cpio_finish(&cpio);
	if (code == 0 && (fflush(out) != 0 || ferror(out)))
		code = err_set_errno(err, -errno, "initramfs");
	return code;
}

int run_initramfs(const char *modules_folder, const char *const *names, struct err *err)
{
	int fd = memfd_create("initramfs", MFD_CLOEXEC);
	FILE *out = fd >= 0 ? fdopen(dup(fd), "w") : NULL;
	int code;

	if (!out)
		code = err_set_errno(err, -errno, "initramfs");
	else
		code = kernel_write_initramfs(out, modules_folder[0] ? modules_folder : NULL, names, err);
	if (out)
		fclose(out);
	if (code < 0 && fd >= 0)
		close(fd);
	return code < 0 ? code : fd;
}
