/* SPDX-License-Identifier: Apache-2.0 */
/* The table of boards. */
#include "vmm/machine/board.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/text.h"

static const struct board *const board_table[] = {&board_microvm, NULL};

const struct board *board_find(const char *name, struct err *err)
{
	char names[128] = "";

	for (size_t i = 0; board_table[i]; i++) {
		if (strcmp(board_table[i]->name, name) == 0)
			return board_table[i];
		text_append(names, sizeof(names), "%s%s", i > 0 ? ", " : "", board_table[i]->name);
	}
	err_set(err, -EINVAL, "no board \"%s\": there is %s", name, names);
	return NULL;
}
