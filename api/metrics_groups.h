/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the metrics: Firecracker's groups and fields, and which counter of ours is which of theirs.
 */
#pragma once

#include <stdbool.h>

struct metrics_group_fields {
	const char *group; /* NULL ends */
	const char *const *field;
};
extern const struct metrics_group_fields metrics_groups[];

struct metrics_device_row {
	const char *prefix;  /* of the device's id */
	const char *counter; /* ours */
	const char *group;   /* theirs; NULL ends */
	const char *field;
	bool has_own; /* devices have a group each, too: "block_ID" */
};
extern const struct metrics_device_row metrics_devices[];
