/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the configuration that have files of their own: rows of elements, and what single rows cannot
 * say. For config.c, and for the devices that the elements ask for. */
#pragma once

#include <stddef.h>

#include "vmm/base/option.h"
#include "vmm/machine/config.h"

/* config.c: the row of this JSON path, or NULL. */
const struct option *config_row(const char *path);

/* config_disk.c */
extern const struct option config_disk_fields[];

/* Messages say which disk and which key. 0 or -errno. */
int config_check_disks(const struct machine_config *config, struct err *err);
/* The id of a disk, given or made. */
void config_disk_id(const struct machine_config *config, size_t index, char *id, size_t size);

/* config_share.c; messages do not name the flag */
extern const struct option config_share_fields[];
extern const struct option config_vsock_fields[];
extern const struct option config_vhost_user_blk_fields[];
extern const struct option config_vhost_user_net_fields[];
extern const struct option config_vhost_user_fs_fields[];

int config_check_vhost_users(const struct option_records *records, bool is_fs, struct err *err);
int config_check_vsock(const struct machine_config *config, struct err *err);
int config_check_shares(const struct machine_config *config, struct err *err);

/* virtio_balloon.c, virtio_console.c, virtio_pmem.c, virtio_rng.c */
extern const struct option machine_balloon_fields[];
extern const struct option machine_console_fields[];
extern const struct option machine_pmem_fields[];
extern const struct option machine_rng_fields[];

/* load_x86.c */
extern const struct option machine_module_fields[];
