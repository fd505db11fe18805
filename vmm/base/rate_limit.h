/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets: how many operations and bytes a device may do in a time. A bucket holds `size` tokens, is
 * filled from empty in refill_time, and has an extra store that is spent first and never comes back. The
 * semantics are those of Firecracker's rate limiter. Knows no device and no clock: the caller says the time.
 * Not thread-safe: a limiter belongs to the thread, or the lock, of the device that asks it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rate_bucket_config {
	uint64_t size;           /* tokens; 0: no limit */
	uint64_t one_time_burst; /* further tokens, once */
	uint64_t refill_time_ns; /* from empty to full; 0: no limit */
};

struct rate_bucket {
	struct rate_bucket_config config;
	uint64_t tokens; /* at filled_ns */
	uint64_t burst;  /* left of one_time_burst */
	uint64_t filled_ns;
};

struct rate_limit_config {
	struct rate_bucket_config operations;
	struct rate_bucket_config bytes;
};

struct rate_limit {
	struct rate_bucket operations;
	struct rate_bucket bytes;
};

/*
 * "SIZE/MS" or "SIZE/MS+BURST": so many tokens in so many milliseconds, and so many more once; plain numbers.
 * An empty text is no limit. 0 or -EINVAL.
 */
struct err;
int rate_bucket_parse(const char *text, struct rate_bucket_config *config, struct err *err);

/* Other buckets from now on, full; what is NULL stays as it is. */
void rate_limit_change(struct rate_limit *limit, const struct rate_bucket_config *operations,
		       const struct rate_bucket_config *bytes, uint64_t now_ns);

/* Full buckets. */
void rate_limit_init(struct rate_limit *limit, const struct rate_limit_config *config, uint64_t now_ns);
/* Whether there is a limit at all. */
bool rate_limit_is_set(const struct rate_limit *limit);

/*
 * Takes the tokens of one operation of size_bytes and returns 0; or takes none, and returns how many ns from
 * now to ask again. A transfer larger than the bucket passes when the bucket is full, and empties it for as
 * long as the rate would have needed.
 */
uint64_t rate_limit_take(struct rate_limit *limit, uint64_t size_bytes, uint64_t now_ns);
