/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the configuration that is about sharing with the host: folders and sockets. For config.c. */
#pragma once

#include "vmm/base/option.h"

struct err;
struct machine_config;

extern const struct option config_share_fields[];
extern const struct option config_vsock_fields[];
extern const struct option config_vhost_user_blk_fields[];
extern const struct option config_vhost_user_net_fields[];
extern const struct option config_vhost_user_fs_fields[];

/* What single rows cannot say; the message does not name the flag. */
int config_check_vhost_users(const struct option_records *records, bool is_fs, struct err *err);
int config_check_vsock(const struct machine_config *config, struct err *err);
int config_check_shares(const struct machine_config *config, struct err *err);
