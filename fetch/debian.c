/* SPDX-License-Identifier: Apache-2.0 */
/* Debian's indices: found, verified, read. */
#include "fetch/debian.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fetch/archive_file.h"
#include "vmm/base/err.h"

#define DEBIAN_RELEASE_MAX (4ull << 20)   /* Debian's have 0.2 MiB */
#define DEBIAN_INDEX_MAX   (64ull << 20)  /* Debian's have 10 MiB compressed */
#define DEBIAN_PACKAGE_MAX (512ull << 20) /* a kernel's has 30-100 MiB */

extern char **environ;

/* The value of `Field: value` in one stanza; continuation lines are not values that we take. */
int debian_field(const char *stanza, const char *field, char *value, size_t size)
{
	size_t name_len = strlen(field);

	for (const char *line = stanza; *line && *line != '\n';) {
		size_t len = strcspn(line, "\n");

		if (len > name_len && line[name_len] == ':' && strncmp(line, field, name_len) == 0) {
			const char *from = line + name_len + 1;

			from += strspn(from, " ");
			len -= (size_t)(from - line);
			if (len >= size)
				return -EBADMSG;
			memcpy(value, from, len);
			value[len] = '\0';
			return 0;
		}
		line += len + (line[len] == '\n');
	}
	return -ENOENT;
}

/* Lines ` SUM SIZE PATH` below `SHA256:`. */
int debian_release_checksum(const char *release, const char *file, char sha256[DOWNLOAD_SHA256_HEX])
{
	const char *line = strstr(release, "\nSHA256:");

	if (!line)
		return -ENOENT;
	for (line = strchr(line + 1, '\n'); line && line[1] == ' '; line = strchr(line + 1, '\n')) {
		char sum[DOWNLOAD_SHA256_HEX];
		char path[DEBIAN_FIELD_MAX];

		if (sscanf(line + 1, " %64[0-9a-f] %*u %255s", sum, path) != 2 || strcmp(path, file) != 0 ||
		    strlen(sum) != DOWNLOAD_SHA256_HEX - 1)
			continue;
		memcpy(sha256, sum, DOWNLOAD_SHA256_HEX);
		return 0;
	}
	return -ENOENT;
}

static int debian_run_gpgv(const char *keyring, const char *from, const char *to, struct err *err)
{
	char *argv[] = {"gpgv",
			"--quiet",
			"--keyring",
			(char *)(uintptr_t)keyring,
			"--output",
			(char *)(uintptr_t)to,
			(char *)(uintptr_t)from,
			NULL};
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;
	int code;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	code = posix_spawnp(&pid, "gpgv", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (code)
		return err_set_errno(err, -code, "gpgv");
	if (waitpid(pid, &status, 0) < 0)
		return err_set_errno(err, -errno, "gpgv");
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 127)
		return err_set(err, -ENOENT, "gpgv does not run");
	return WEXITSTATUS(status) == 0 ? 0
					: err_set(err, -EKEYREJECTED,
						  "the release file is not signed by a key of %s", keyring);
}

/* The text that is to be believed of a signed release file. */
static char *debian_verify_release(const struct debian_archive *archive, const char *signed_path,
				   struct err *err)
{
	char plain[PATH_MAX];
	int code = -ENOENT;

	if (snprintf(plain, sizeof(plain), "%s/Release", archive->work) >= (int)sizeof(plain)) {
		err_set(err, -ENAMETOOLONG, "%s", archive->work);
		return NULL;
	}
	if (access(archive->keyring, R_OK) == 0)
		code = debian_run_gpgv(archive->keyring, signed_path, plain, err);
	if (code == 0)
		return archive_read_text(plain, err);
	if (code != -ENOENT)
		return NULL;
	if (strncmp(archive->mirror, "https://", 8) != 0) {
		err_set(err, -EKEYREJECTED,
			"%s is not https, and its signature cannot be checked without gpgv and %s: install "
			"the packages "
			"gpgv and debian-archive-keyring, or take an https mirror",
			archive->mirror, archive->keyring);
		return NULL;
	}
	return archive_read_text(signed_path, err);
}

static int debian_fetch(const struct debian_archive *archive, const char *path, const struct download *wish,
			struct err *err)
{
	struct download download = *wish;
	char url[PATH_MAX];

	if (snprintf(url, sizeof(url), "%s/%s", archive->mirror, path) >= (int)sizeof(url))
		return err_set(err, -ENAMETOOLONG, "%s/%s", archive->mirror, path);
	download.url = url;
	if (archive->quiet)
		download.label = NULL;
	return download_file(&download, err);
}

static char *debian_read_release(const struct debian_archive *archive, struct err *err)
{
	char path[PATH_MAX];
	char file[DEBIAN_FIELD_MAX];
	struct download wish = {.path = file, .size_max = DEBIAN_RELEASE_MAX};

	snprintf(path, sizeof(path), "dists/%s/InRelease", archive->suite);
	if (snprintf(file, sizeof(file), "%s/InRelease", archive->work) >= (int)sizeof(file)) {
		err_set(err, -ENAMETOOLONG, "%s", archive->work);
		return NULL;
	}
	if (debian_fetch(archive, path, &wish, err) < 0)
		return NULL;
	return debian_verify_release(archive, file, err);
}

char *debian_read_index(const struct debian_archive *archive, struct err *err)
{
	char *release = debian_read_release(archive, err);
	char sha256[DOWNLOAD_SHA256_HEX];
	char list[DEBIAN_FIELD_MAX];
	char path[PATH_MAX];
	char file[PATH_MAX];
	struct download wish = {
		.path = file, .label = "package list", .size_max = DEBIAN_INDEX_MAX, .expected = sha256};
	int code;

	if (!release)
		return NULL;
	snprintf(list, sizeof(list), "main/binary-%s/Packages.xz", archive->arch);
	code = debian_release_checksum(release, list, sha256);
	free(release);
	if (code < 0) {
		err_set(err, -EBADMSG, "%s: the release of %s lists no %s", archive->mirror, archive->suite,
			list);
		return NULL;
	}
	snprintf(path, sizeof(path), "dists/%s/%s", archive->suite, list);
	if (snprintf(file, sizeof(file), "%s/Packages.xz", archive->work) >= (int)sizeof(file)) {
		err_set(err, -ENAMETOOLONG, "%s", archive->work);
		return NULL;
	}
	return debian_fetch(archive, path, &wish, err) < 0 ? NULL : archive_read_text(file, err);
}

/* The first line of the last stanza of this package, or NULL. */
static const char *debian_stanza(const char *index, const char *name)
{
	char line[DEBIAN_FIELD_MAX + 16];
	const char *found = NULL;
	size_t len;

	if (snprintf(line, sizeof(line), "Package: %s\n", name) >= (int)sizeof(line))
		return NULL;
	len = strlen(line);
	for (const char *at = index; (at = strstr(at, line)) != NULL; at += len) {
		if (at == index || at[-1] == '\n')
			found = at;
	}
	return found;
}

int debian_find(const char *index, const char *name, struct debian_package *package, struct err *err)
{
	const char *stanza = debian_stanza(index, name);

	if (!stanza)
		return err_set(err, -ENOENT, "the archive has no package %s", name);
	if (debian_field(stanza, "Package", package->name, sizeof(package->name)) < 0 ||
	    debian_field(stanza, "Version", package->version, sizeof(package->version)) < 0 ||
	    debian_field(stanza, "Filename", package->path, sizeof(package->path)) < 0 ||
	    debian_field(stanza, "SHA256", package->sha256, sizeof(package->sha256)) < 0)
		return err_set(err, -EBADMSG, "the archive's entry of %s is incomplete", name);
	return 0;
}

int debian_find_dependency(const char *index, const char *name, const char *prefix,
			   struct debian_package *package, struct err *err)
{
	const char *stanza = debian_stanza(index, name);
	char depends[4 * DEBIAN_FIELD_MAX];
	char *rest = depends;

	if (!stanza)
		return err_set(err, -ENOENT, "the archive has no package %s", name);
	if (debian_field(stanza, "Depends", depends, sizeof(depends)) < 0)
		return err_set(err, -EBADMSG, "the archive's %s depends on nothing", name);
	for (char *word = strsep(&rest, ","); word; word = strsep(&rest, ",")) {
		word += strspn(word, " ");
		word[strcspn(word, " (|")] = '\0';
		if (strncmp(word, prefix, strlen(prefix)) == 0)
			return debian_find(index, word, package, err);
	}
	return err_set(err, -EBADMSG, "the archive's %s depends on no %s*", name, prefix);
}

int debian_download(const struct debian_archive *archive, const struct debian_package *package,
		    const char *path, struct err *err)
{
	const struct download wish = {.path = path,
				      .label = package->name,
				      .size_max = DEBIAN_PACKAGE_MAX,
				      .expected = package->sha256};

	return debian_fetch(archive, package->path, &wish, err);
}
