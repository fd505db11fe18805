/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the configuration that have files of their own: rows of elements, and their checks. */
#pragma once

#include <stddef.h>

#include "vmm/machine/config.h"

extern const struct option config_disk_fields[];

/* Messages say which disk and which key. 0 or -errno. */
int config_check_disks(const struct machine_config *config, struct err *err);
/* The id of a disk, given or made. */
void config_disk_id(const struct machine_config *config, size_t index, char *id, size_t size);
