/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail's control groups: PARENT/ID below the mount of the hierarchy. Version 1 has a hierarchy for each
 * controller, version 2 one for all, in which a controller is handed down folder by folder. Kernel
 * documentation, cgroup-v1 and cgroup-v2. Every value is read back: a kernel that takes another one is not
 * what was asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jailer/jail.h"
#include "vmm/base/err.h"

#define CGROUP_VALUE_MAX 4096

static int cgroup_write(const char *folder, const char *file, const char *value, struct err *err)
{
	char path[PATH_MAX];
	size_t len = strlen(value);
	int fd, code = 0;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(err, -errno, "cannot open %s", path);
	if (write(fd, value, len) != (ssize_t)len)
		code = err_set_errno(err, errno ? -errno : -EIO, "cannot write \"%s\" to %s", value, path);
	close(fd);
	return code;
}

/* The file's text without its last line feed; false where it cannot be read. */
static bool cgroup_read(const char *folder, const char *file, char *text, size_t size)
{
	char path[PATH_MAX];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	got = read(fd, text, size - 1);
	close(fd);
	if (got < 0)
		return false;
	text[got] = '\0';
	if (got > 0 && text[got - 1] == '\n')
		text[got - 1] = '\0';
	return true;
}

/* Memory limits are rounded to pages, down. */
static bool cgroup_is_equal(const char *asked, const char *got)
{
	char *asked_end, *got_end;
	unsigned long long a = strtoull(asked, &asked_end, 10), b = strtoull(got, &got_end, 10);
	unsigned long long page = (unsigned long long)sysconf(_SC_PAGESIZE);

	if (strcmp(asked, got) == 0)
		return true;
	return asked_end != asked && !*asked_end && got_end != got && !*got_end && a >= b && a - b < page &&
	       b % page == 0;
}

static int cgroup_set(const char *folder, const struct jail_cgroup *cgroup, struct err *err)
{
	char text[CGROUP_VALUE_MAX];
	int code = cgroup_write(folder, cgroup->file, cgroup->value, err);

	if (code < 0)
		return err_prefix(err, "--cgroup");
	if (!cgroup_read(folder, cgroup->file, text, sizeof(text)))
		return 0; /* some can only be written */
	if (cgroup_is_equal(cgroup->value, text))
		return 0;
	return err_set(err, -EINVAL, "--cgroup: %s was set to \"%s\", and reads \"%s\"", cgroup->file,
		       cgroup->value, text);
}

/* The mount of a controller's hierarchy (version 1), or of the one hierarchy (NULL). */
static int cgroup_find_mount(const char *controller, char *path, size_t size, struct err *err)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent entry;
	char buffer[PATH_MAX + 1024];
	bool found = false;

	while (mounts && !found && getmntent_r(mounts, &entry, buffer, sizeof(buffer))) {
		found = strcmp(entry.mnt_type, controller ? "cgroup" : "cgroup2") == 0 &&
			(!controller || hasmntopt(&entry, controller));
		if (found)
			snprintf(path, size, "%s", entry.mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	if (found)
		return 0;
	return controller ? err_set(err, -ENOENT, "--cgroup: no hierarchy of version 1 has the controller %s",
				    controller)
			  : err_set(err, -ENOENT, "--cgroup-version 2: it is mounted nowhere");
}

static int cgroup_make(const char *path, struct err *err)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_set_errno(err, -errno, "cannot make the cgroup %s", path);
	return 0;
}

static int cgroup_join(const char *folder, const char *file, struct err *err)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	return cgroup_write(folder, file, pid, err);
}

/* A new group of cpuset is empty, and takes no process before it has what its parent has. */
static int cgroup_inherit(const char *parent, const char *folder, const char *file, struct err *err)
{
	char text[CGROUP_VALUE_MAX];

	if (!cgroup_read(folder, file, text, sizeof(text)) || text[0])
		return 0;
	if (!cgroup_read(parent, file, text, sizeof(text)) || !text[0])
		return err_set(err, -EINVAL, "%s/%s: has no value to inherit", parent, file);
	return cgroup_write(folder, file, text, err);
}

/* Each folder below `mount` on the way to PARENT/ID, with what `step` does in it. */
struct cgroup_walk {
	const struct jail_config *config;
	const char *controller;
	char folder[PATH_MAX];
	int (*step)(const struct cgroup_walk *walk, const char *parent, struct err *err);
};

static int cgroup_walk(struct cgroup_walk *walk, const char *mount, struct err *err)
{
	char rest[PATH_MAX], parent[PATH_MAX], *at = NULL;
	int code = 0;

	if ((size_t)snprintf(rest, sizeof(rest), "%s/%s", walk->config->parent_cgroup, walk->config->id) >=
	    sizeof(rest) - strlen(mount) - 64)
		return err_set(err, -ENAMETOOLONG, "--parent-cgroup: too long");
	snprintf(walk->folder, sizeof(walk->folder), "%s", mount);
	for (char *part = strtok_r(rest, "/", &at); part && code == 0; part = strtok_r(NULL, "/", &at)) {
		size_t len = strlen(walk->folder);

		memcpy(parent, walk->folder, len + 1);
		snprintf(walk->folder + len, sizeof(walk->folder) - len, "/%s", part);
		code = walk->step(walk, parent, err);
	}
	return code;
}

static int cgroup_step_v1(const struct cgroup_walk *walk, const char *parent, struct err *err)
{
	int code = cgroup_make(walk->folder, err);

	if (code < 0 || strcmp(walk->controller, "cpuset") != 0)
		return code;
	code = cgroup_inherit(parent, walk->folder, "cpuset.cpus", err);
	return code < 0 ? code : cgroup_inherit(parent, walk->folder, "cpuset.mems", err);
}

static size_t cgroup_controller_len(const struct jail_cgroup *cgroup)
{
	return (size_t)(strchr(cgroup->file, '.') - cgroup->file);
}

static bool cgroup_same_controller(const struct jail_cgroup *a, const struct jail_cgroup *b)
{
	size_t len = cgroup_controller_len(a);

	return len == cgroup_controller_len(b) && strncmp(a->file, b->file, len) == 0;
}

/* Whether the controller of value `index` stands before it in the list. */
static bool cgroup_was_seen(const struct jail_config *config, unsigned index)
{
	for (unsigned i = 0; i < index; i++) {
		if (cgroup_same_controller(&config->cgroup[i], &config->cgroup[index]))
			return true;
	}
	return false;
}

static int cgroup_enter_v1(const struct jail_config *config, unsigned index, struct err *err)
{
	char controller[NAME_MAX], mount[PATH_MAX];
	struct cgroup_walk walk = {.config = config, .controller = controller, .step = cgroup_step_v1};
	int code;

	snprintf(controller, sizeof(controller), "%.*s", (int)cgroup_controller_len(&config->cgroup[index]),
		 config->cgroup[index].file);
	code = cgroup_find_mount(controller, mount, sizeof(mount), err);
	if (code == 0)
		code = cgroup_walk(&walk, mount, err);
	for (unsigned i = index; i < config->cgroup_count && code == 0; i++) {
		if (cgroup_same_controller(&config->cgroup[i], &config->cgroup[index]))
			code = cgroup_set(walk.folder, &config->cgroup[i], err);
	}
	return code < 0 ? code : cgroup_join(walk.folder, "tasks", err);
}

/* A controller is there when every folder above has handed it down. */
static int cgroup_step_v2(const struct cgroup_walk *walk, const char *parent, struct err *err)
{
	int code = 0;

	for (unsigned i = 0; i < walk->config->cgroup_count && code == 0; i++) {
		const struct jail_cgroup *cgroup = &walk->config->cgroup[i];
		char text[NAME_MAX];

		if (strncmp(cgroup->file, "cgroup.", 7) == 0)
			continue; /* the group's own */
		snprintf(text, sizeof(text), "+%.*s", (int)cgroup_controller_len(cgroup), cgroup->file);
		code = cgroup_write(parent, "cgroup.subtree_control", text, err);
	}
	return code < 0 ? code : cgroup_make(walk->folder, err);
}

/* Without values the process goes into the parent, if somebody made that. */
static int cgroup_enter_parent(const struct jail_config *config, const char *mount, struct err *err)
{
	char folder[PATH_MAX];

	if ((size_t)snprintf(folder, sizeof(folder), "%s/%s", mount, config->parent_cgroup) >=
		    sizeof(folder) ||
	    access(folder, F_OK) < 0)
		return 0;
	return cgroup_join(folder, "cgroup.procs", err);
}

static int cgroup_enter_v2(const struct jail_config *config, struct err *err)
{
	struct cgroup_walk walk = {.config = config, .step = cgroup_step_v2};
	char mount[PATH_MAX];
	int code = cgroup_find_mount(NULL, mount, sizeof(mount), err);

	if (code < 0)
		return config->cgroup_count ? code : 0;
	if (!config->cgroup_count)
		return cgroup_enter_parent(config, mount, err);
	code = cgroup_walk(&walk, mount, err);
	for (unsigned i = 0; i < config->cgroup_count && code == 0; i++)
		code = cgroup_set(walk.folder, &config->cgroup[i], err);
	return code < 0 ? code : cgroup_join(walk.folder, "cgroup.procs", err);
}

int jail_cgroup_enter(const struct jail_config *config, struct err *err)
{
	int code = 0;

	if (config->cgroup_version == 2)
		return cgroup_enter_v2(config, err);
	for (unsigned i = 0; i < config->cgroup_count && code == 0; i++) {
		if (!cgroup_was_seen(config, i))
			code = cgroup_enter_v1(config, i, err);
	}
	return code;
}
