/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng: random bytes of the host for the guest. virtio 1.2, 5.4. */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct rate_limit_config;
struct err;

#define RNG_SOURCE_DEFAULT "/dev/urandom"

struct rng_config {
	const char *id;          /* "rng0" */
	const char *source;      /* a file whose bytes are handed out; RNG_SOURCE_DEFAULT if NULL */
	uint64_t bytes_per_s;    /* 0: no limit */
	uint64_t requests_per_s; /* 0: no limit */
	const struct rate_limit_config *limit; /* instead of the two; NULL: they hold */
};

/* Opens the source; NULL with err set. */
struct device *rng_create(const struct device_env *env, const struct rng_config *config, struct err *err);
