/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder to share, and what lies outside of it, made anew for each test:
 *
 *     TOP/share/sub/file    "inside\n"         TOP/outside/secret   "secret\n"
 */
#pragma once

#include <sys/stat.h>

struct p9_folder {
	char top[64];
	char share[80];   /* what the guest may see */
	char outside[80]; /* what it may not */
};

int p9_folder_setup(void **state);
int p9_folder_teardown(void **state);
#define P9_FOLDER_TEST(test_) cmocka_unit_test_setup_teardown(test_, p9_folder_setup, p9_folder_teardown)

/* Paths are below the share; each fails the test when it does not work. */
void folder_write(const struct p9_folder *folder, const char *path, const char *text);
void folder_stat(const struct p9_folder *folder, const char *path, struct stat *info);
/* Fails the test unless everything outside is as it was made. */
void folder_expect_untouched(const struct p9_folder *folder);
