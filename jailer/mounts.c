/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail's own view of files: a mount namespace whose root is the jail's folder, with the host's root gone
 * from it, and the devices that a monitor needs. mount_namespaces(7), pivot_root(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "jailer/jail.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"

#define OLD_ROOT "old_root"

int jail_netns_enter(const struct jail_config *config, struct err *err)
{
	int fd, code = 0;

	if (!config->netns)
		return 0;
	fd = open(config->netns, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(err, -errno, "--netns: %s", config->netns);
	if (setns(fd, CLONE_NEWNET) < 0)
		code = err_set_errno(err, -errno, "--netns: %s", config->netns);
	close(fd);
	return code;
}

/* pivot_root wants a mount point for the new root, and its old place out of sight of other namespaces. */
static int root_pivot(const char *root, struct err *err)
{
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return err_set_errno(err, -errno, "cannot part the mounts from the host's");
	if (mount(root, root, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(root) < 0)
		return err_set_errno(err, -errno, "cannot mount %s onto itself", root);
	if (mkdir(OLD_ROOT, 0700) < 0 && errno != EEXIST)
		return err_set_errno(err, -errno, "cannot make " OLD_ROOT);
	if (syscall(SYS_pivot_root, ".", OLD_ROOT) < 0)
		return err_set_errno(err, -errno, "pivot_root");
	if (chdir("/") < 0 || umount2(OLD_ROOT, MNT_DETACH) < 0 || rmdir(OLD_ROOT) < 0)
		return err_set_errno(err, -errno, "cannot leave the host's root");
	return 0;
}

int jail_root_enter(const struct jail *jail, struct err *err)
{
	if (unshare(CLONE_NEWNS) < 0)
		return err_set_errno(err, -errno, "cannot have a mount namespace");
	return root_pivot(jail->root, err);
}

static int devices_make_folder(const struct jail_config *config, const char *path, struct err *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set_errno(err, -errno, "cannot make %s in the jail", path);
	if (chmod(path, 0700) < 0 || chown(path, config->uid, config->gid) < 0)
		return err_set_errno(err, -errno, "cannot give %s in the jail away", path);
	return 0;
}

/* One that is there already is from an earlier jail of this name. */
static int devices_make_node(const struct jail_config *config, const char *path, dev_t device,
			     struct err *err)
{
	if (mknod(path, S_IFCHR | 0600, device) < 0 && errno != EEXIST)
		return err_set_errno(err, -errno, "cannot make the device %s", path);
	if (chown(path, config->uid, config->gid) < 0)
		return err_set_errno(err, -errno, "cannot give %s in the jail away", path);
	return 0;
}

/* userfaultfd's minor number is given out when the host boots. 0: it has none. */
static unsigned devices_misc_minor(const char *wanted)
{
	FILE *misc = fopen("/proc/misc", "re");
	unsigned minor_number = 0, found = 0;
	char name[64];

	while (misc && !found && fscanf(misc, "%u %63s", &minor_number, name) == 2)
		found = strcmp(name, wanted) == 0 ? minor_number : 0;
	if (misc)
		fclose(misc);
	return found;
}

unsigned jail_userfaultfd_minor(void)
{
	return devices_misc_minor("userfaultfd");
}

int jail_devices_make(const struct jail_config *config, unsigned userfaultfd_minor, struct err *err)
{
	static const char *const folders[] = {"/", "/dev", "/dev/net", "/run"};
	struct err urandom = {0};
	int code = 0;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]) && code == 0; i++)
		code = devices_make_folder(config, folders[i], err);
	if (code == 0)
		code = devices_make_node(config, "/dev/net/tun", makedev(10, 200), err);
	if (code == 0)
		code = devices_make_node(config, "/dev/kvm", makedev(10, 232), err);
	if (code == 0 && devices_make_node(config, "/dev/urandom", makedev(1, 9), &urandom) < 0)
		log_warning("%s", urandom.message);
	if (code == 0 && userfaultfd_minor)
		code = devices_make_node(config, "/dev/userfaultfd", makedev(10, userfaultfd_minor), err);
	return code;
}
