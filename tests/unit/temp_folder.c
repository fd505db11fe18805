/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of a test program's own. */
#include "tests/unit/temp_folder.h"

#include <stdio.h>
#include <stdlib.h>

static char folder[] = "/tmp/vmmctl-test-XXXXXX";

int temp_folder_make(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

int temp_folder_remove(void **state)
{
	char command[sizeof(folder) + 16];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

const char *temp_folder(void)
{
	return folder;
}

const char *in_folder(const char *name)
{
	static char path[4][256];
	static unsigned next;

	next = (next + 1) % 4;
	snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
	return path[next];
}
