/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata service: a JSON object that the API writes and the guest reads by HTTP. Knows no network: the
 * guest's requests come as bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;
struct json_t;
struct mmds;

#define MMDS_ADDRESS_DEFAULT "169.254.169.254"

enum mmds_version { MMDS_V1, MMDS_V2 };

/* max: bytes of the store as compact JSON. NULL without memory. */
struct mmds *mmds_create(size_t max);
void mmds_destroy(struct mmds *mmds);
void mmds_set_version(struct mmds *mmds, enum mmds_version version, bool imds_compat);

enum mmds_version mmds_get_version(const struct mmds *mmds);
bool mmds_is_imds_compat(const struct mmds *mmds);

/* Borrowed; an empty object before the first put. */
struct json_t *mmds_get(struct mmds *mmds);
/* value is borrowed. -EFBIG: it does not fit. -EINVAL: no object. */
int mmds_put(struct mmds *mmds, struct json_t *value, struct err *err);
/* RFC 7396. -ENODATA: there was no put. -EFBIG. */
int mmds_patch(struct mmds *mmds, struct json_t *value, struct err *err);
