/* SPDX-License-Identifier: Apache-2.0 */
/* A folder to share and one beside it, for tests. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/p9_folder.h"

static void folder_write_at(const char *top, const char *path, const char *text)
{
	char name[256];
	FILE *file;

	snprintf(name, sizeof(name), "%s/%s", top, path);
	file = fopen(name, "w");
	assert_non_null(file);
	assert_int_equal(fputs(text, file) < 0, 0);
	assert_int_equal(fclose(file), 0);
}

void folder_write(const struct p9_folder *folder, const char *path, const char *text)
{
	folder_write_at(folder->share, path, text);
}

void folder_stat(const struct p9_folder *folder, const char *path, struct stat *info)
{
	char name[256];

	snprintf(name, sizeof(name), "%s/%s", folder->share, path);
	assert_int_equal(lstat(name, info), 0);
}

static int folder_remove_entry(const char *path, const struct stat *info, int flag, struct FTW *where)
{
	return remove(path);
}

int p9_folder_setup(void **state)
{
	const char *base = getenv("TMPDIR");
	struct p9_folder *folder = calloc(1, sizeof(*folder));
	char sub[96];

	assert_non_null(folder);
	if (snprintf(folder->top, sizeof(folder->top), "%s/p9-test-XXXXXX", base ? base : "/tmp") >= 60)
		return -1;
	assert_non_null(mkdtemp(folder->top));
	snprintf(folder->share, sizeof(folder->share), "%s/share", folder->top);
	snprintf(folder->outside, sizeof(folder->outside), "%s/outside", folder->top);
	snprintf(sub, sizeof(sub), "%s/sub", folder->share);
	assert_int_equal(mkdir(folder->share, 0755), 0);
	assert_int_equal(mkdir(sub, 0755), 0);
	assert_int_equal(mkdir(folder->outside, 0755), 0);
	folder_write(folder, "sub/file", "inside\n");
	folder_write_at(folder->outside, "secret", "secret\n");
	*state = folder;
	return 0;
}

void folder_expect_untouched(const struct p9_folder *folder)
{
	char path[128], text[32] = "";
	struct stat info;
	DIR *dir = opendir(folder->outside);
	unsigned entries = 0;
	FILE *file;

	assert_non_null(dir);
	while (readdir(dir))
		entries++;
	closedir(dir);
	assert_int_equal(entries, 3); /* with "." and ".." */
	snprintf(path, sizeof(path), "%s/secret", folder->outside);
	assert_int_equal(lstat(path, &info), 0);
	assert_int_equal(info.st_mode, S_IFREG | 0644);
	assert_int_equal(info.st_nlink, 1);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_string_equal(text, "secret\n");
}

int p9_folder_teardown(void **state)
{
	struct p9_folder *folder = *state;

	nftw(folder->top, folder_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(folder);
	return 0;
}
