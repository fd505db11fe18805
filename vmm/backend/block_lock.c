/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on image files: open file description locks (fcntl(2)), which two opens of one process exclude, too,
 * and which end with the process however it ends. The whole range is locked, so that QEMU, which locks single
 * bytes of it, is excluded as well.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "vmm/backend/block_file.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"

/*
 * The kernel takes the io_uring of a process that was killed apart some milliseconds after its end, and the
 * lock with it. So a lock that nobody seems to hold is asked for again for a while.
 */
#define BLOCK_LOCK_PATIENCE_NS (2 * NS_PER_S)
#define BLOCK_LOCK_PAUSE_NS    (10 * (long)NS_PER_MS)

/* Whether an fdinfo file tells of a lock: a line "lock: ..." for each that the descriptor holds. */
static bool block_lock_in_fdinfo(const char *path)
{
	char line[256];
	bool found = false;
	FILE *file = fopen(path, "re");

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = strncmp(line, "lock:", 5) == 0;
	fclose(file);
	return found;
}

/* Whether this process has the file open with a lock on it. */
static bool block_lock_is_held_by(const char *pid, const struct stat *wanted)
{
	char path[300];
	struct dirent *entry;
	struct stat found;
	bool held = false;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	folder = opendir(path);
	if (!folder)
		return false;
	while (!held && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/fd/%.16s", pid, entry->d_name);
		if (stat(path, &found) < 0 || found.st_dev != wanted->st_dev ||
		    found.st_ino != wanted->st_ino)
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/fdinfo/%.16s", pid, entry->d_name);
		held = block_lock_in_fdinfo(path);
	}
	closedir(folder);
	return held;
}

static void block_lock_name_of(long pid, char *name, size_t size)
{
	char path[64];
	FILE *file;

	name[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(name, (int)size, file))
		name[strcspn(name, "\n")] = '\0';
	fclose(file);
}

/* The kernel does not tell who holds such a lock: look for it. 0 when it cannot be found. */
static long block_lock_holder(int fd)
{
	struct stat wanted;
	struct dirent *entry;
	long holder = 0;
	DIR *proc;

	if (fstat(fd, &wanted) < 0)
		return 0;
	proc = opendir("/proc");
	if (!proc)
		return 0;
	while (holder == 0 && (entry = readdir(proc))) {
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
		    block_lock_is_held_by(entry->d_name, &wanted))
			holder = strtol(entry->d_name, NULL, 10);
	}
	closedir(proc);
	return holder;
}

static int block_lock_refused(long holder, const char *path, bool shared, struct err *err)
{
	const char *why = shared ? "another process writes to it" : "another process uses it";
	char name[32];

	if (holder == 0)
		return err_set(err, -EAGAIN, "%s is locked: %s", path, why);
	block_lock_name_of(holder, name, sizeof(name));
	return err_set(err, -EAGAIN, "%s is locked: %s, process %ld%s%s%s", path, why, holder,
		       name[0] ? " (" : "", name, name[0] ? ")" : "");
}

int block_lock(int fd, const char *path, bool shared, struct err *err)
{
	struct flock lock = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	const struct timespec pause = {.tv_nsec = BLOCK_LOCK_PAUSE_NS};
	uint64_t give_up_ns = clock_monotonic_ns() + BLOCK_LOCK_PATIENCE_NS;

	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		long holder;

		if (errno != EAGAIN && errno != EACCES)
			return err_set_errno(err, -errno, "cannot lock %s", path);
		holder = block_lock_holder(fd);
		if (holder > 0 || clock_monotonic_ns() >= give_up_ns)
			return block_lock_refused(holder, path, shared, err);
		nanosleep(&pause, NULL);
	}
	return 0;
}

void block_unlock(int fd)
{
	struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(fd, F_OFD_SETLK, &lock);
}
