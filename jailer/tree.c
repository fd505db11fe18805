/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder that becomes the jail's root: BASE/EXEC/ID/root, with a copy of the program. A copy, because a
 * program that is shared between jails shares its pages' state with them. Whoever owned the tree before must
 * not be able to lead the copy elsewhere: the last step never follows a link.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jailer/jail.h"
#include "vmm/base/err.h"

static int tree_make_folders(char *path, struct err *err)
{
	for (char *at = path + 1;; at++) {
		char kept = *at;

		if (kept != '/' && kept != '\0')
			continue;
		*at = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_set_errno(err, -errno, "cannot make %s", path);
		*at = kept;
		if (kept == '\0')
			return 0;
	}
}

/* In the jail there is no dynamic linker: what needs one would fail without a word. */
static int tree_check_static(int fd, const char *path, struct err *err)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(segment))
		return 0; /* a script's or another machine's: exec will tell */
	for (unsigned i = 0; i < header.e_phnum; i++) {
		off_t at = (off_t)(header.e_phoff + i * sizeof(segment));

		if (pread(fd, &segment, sizeof(segment), at) == sizeof(segment) &&
		    segment.p_type == PT_INTERP)
			return err_set(
				err, -ENOEXEC,
				"--exec-file: %s needs a dynamic linker, and there is none in the jail; a "
				"statically linked program (vmmctl-static) is wanted",
				path);
	}
	return 0;
}

static int tree_copy(int from, int to, off_t size)
{
	while (size > 0) {
		ssize_t sent = sendfile(to, from, NULL, (size_t)size);

		if (sent <= 0)
			return sent < 0 ? -errno : -EIO;
		size -= sent;
	}
	return 0;
}

/* A file with a second name, or one that is a link, was put there by somebody else. */
static int tree_open_copy(const char *path, struct err *err)
{
	struct stat status;
	int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0700);

	if (fd < 0)
		return err_set_errno(err, -errno, "cannot make %s", path);
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_nlink > 1) {
		close(fd);
		return err_set(err, -EPERM, "%s: has other names, or is no file", path);
	}
	if (ftruncate(fd, 0) < 0) {
		int code = -errno;

		close(fd);
		return err_set_errno(err, code, "cannot empty %s", path);
	}
	return fd;
}

static int tree_copy_program(const struct jail *jail, int from, struct err *err)
{
	const struct jail_config *config = &jail->config;
	char path[PATH_MAX + NAME_MAX];
	struct stat status;
	int to, code;

	snprintf(path, sizeof(path), "%s/%s", jail->root, config->exec_name);
	to = tree_open_copy(path, err);
	if (to < 0)
		return to;
	code = fstat(from, &status) < 0 ? -errno : tree_copy(from, to, status.st_size);
	if (code == 0 && (fchmod(to, 0500) < 0 || fchown(to, config->uid, config->gid) < 0))
		code = -errno;
	close(to);
	return code < 0 ? err_set_errno(err, code, "cannot copy %s into the jail", config->exec_file) : 0;
}

int jail_tree_make(struct jail *jail, struct err *err)
{
	const struct jail_config *config = &jail->config;
	int len = snprintf(jail->root, sizeof(jail->root), "%s/%s/%s/root", config->chroot_base,
			   config->exec_name, config->id);
	int from, code;

	if (len < 0 || (size_t)len >= sizeof(jail->root))
		return err_set(err, -ENAMETOOLONG, "--chroot-base-dir: the path of the jail is too long");
	code = tree_make_folders(jail->root, err);
	if (code < 0)
		return code;
	from = open(config->exec_file, O_RDONLY | O_CLOEXEC);
	if (from < 0)
		return err_set_errno(err, -errno, "--exec-file: %s", config->exec_file);
	code = tree_check_static(from, config->exec_file, err);
	if (code == 0)
		code = tree_copy_program(jail, from, err);
	close(from);
	return code;
}
