/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of a test program's own, made before its tests and removed with all in it after them. */
#pragma once

/* For cmocka_run_group_tests. */
int temp_folder_make(void **state);
int temp_folder_remove(void **state);

const char *temp_folder(void);
/* The path of what has this name in it; good until the fourth call from now. */
const char *in_folder(const char *name);
