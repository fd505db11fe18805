/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets. Tokens are whole; what a fraction of one needs stays in filled_ns, which advances only by
 * the time that the tokens added stand for. A debt is a filled_ns that lies in the future.
 */
#include "vmm/base/rate_limit.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"

static bool rate_bucket_is_set(const struct rate_bucket *bucket)
{
	return bucket->config.size > 0 && bucket->config.refill_time_ns > 0;
}

static void rate_bucket_init(struct rate_bucket *bucket, const struct rate_bucket_config *config,
			     uint64_t now_ns)
{
	*bucket = (struct rate_bucket){
		.config = *config,
		.tokens = config->size,
		.burst = config->one_time_burst,
		.filled_ns = now_ns,
	};
}

/* The time in which so many tokens come in, rounded up. */
static uint64_t rate_bucket_time_ns(const struct rate_bucket *bucket, uint64_t tokens)
{
	unsigned __int128 product = (unsigned __int128)tokens * bucket->config.refill_time_ns;
	unsigned __int128 time_ns = (product + bucket->config.size - 1) / bucket->config.size;

	return time_ns > INT64_MAX ? INT64_MAX : (uint64_t)time_ns;
}

static void rate_bucket_fill(struct rate_bucket *bucket, uint64_t now_ns)
{
	uint64_t room = bucket->config.size - bucket->tokens;
	uint64_t gained;

	if (now_ns <= bucket->filled_ns)
		return;
	if (now_ns - bucket->filled_ns >= bucket->config.refill_time_ns) {
		bucket->tokens = bucket->config.size;
		bucket->filled_ns = now_ns;
		return;
	}
	gained = muldiv64(now_ns - bucket->filled_ns, bucket->config.size, bucket->config.refill_time_ns);
	if (gained >= room) {
		bucket->tokens = bucket->config.size;
		bucket->filled_ns = now_ns;
		return;
	}
	bucket->tokens += gained;
	bucket->filled_ns += rate_bucket_time_ns(bucket, gained);
}

/* How long until `tokens` can be taken; 0: now. After rate_bucket_fill. */
static uint64_t rate_bucket_wait_ns(const struct rate_bucket *bucket, uint64_t tokens, uint64_t now_ns)
{
	uint64_t beyond_burst = tokens > bucket->burst ? tokens - bucket->burst : 0;
	uint64_t needed = beyond_burst < bucket->config.size ? beyond_burst : bucket->config.size;
	uint64_t ready_ns;

	if (needed == 0 || (needed <= bucket->tokens && now_ns >= bucket->filled_ns))
		return 0;
	ready_ns = bucket->filled_ns;
	if (needed > bucket->tokens)
		ready_ns += rate_bucket_time_ns(bucket, needed - bucket->tokens);
	return ready_ns > now_ns ? ready_ns - now_ns : 1;
}

static void rate_bucket_spend(struct rate_bucket *bucket, uint64_t tokens)
{
	uint64_t from_burst = tokens < bucket->burst ? tokens : bucket->burst;

	bucket->burst -= from_burst;
	tokens -= from_burst;
	if (tokens <= bucket->tokens) {
		bucket->tokens -= tokens;
		return;
	}
	bucket->filled_ns += rate_bucket_time_ns(bucket, tokens - bucket->tokens);
	bucket->tokens = 0;
}

void rate_limit_init(struct rate_limit *limit, const struct rate_limit_config *config, uint64_t now_ns)
{
	rate_bucket_init(&limit->operations, &config->operations, now_ns);
	rate_bucket_init(&limit->bytes, &config->bytes, now_ns);
}

bool rate_limit_is_set(const struct rate_limit *limit)
{
	return rate_bucket_is_set(&limit->operations) || rate_bucket_is_set(&limit->bytes);
}

uint64_t rate_limit_take(struct rate_limit *limit, uint64_t size_bytes, uint64_t now_ns)
{
	bool count_operations = rate_bucket_is_set(&limit->operations);
	bool count_bytes = rate_bucket_is_set(&limit->bytes) && size_bytes > 0;
	uint64_t operations_ns = 0;
	uint64_t bytes_ns = 0;

	if (count_operations) {
		rate_bucket_fill(&limit->operations, now_ns);
		operations_ns = rate_bucket_wait_ns(&limit->operations, 1, now_ns);
	}
	if (count_bytes) {
		rate_bucket_fill(&limit->bytes, now_ns);
		bytes_ns = rate_bucket_wait_ns(&limit->bytes, size_bytes, now_ns);
	}
	if (operations_ns > 0 || bytes_ns > 0)
		return operations_ns > bytes_ns ? operations_ns : bytes_ns;
	if (count_operations)
		rate_bucket_spend(&limit->operations, 1);
	if (count_bytes)
		rate_bucket_spend(&limit->bytes, size_bytes);
	return 0;
}

/* Decimal digits at *text, which is moved behind them. */
static bool rate_number(const char **text, uint64_t *value)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*value = strtoull(*text, &end, 10);
	*text = end;
	return errno == 0;
}

int rate_bucket_parse(const char *text, struct rate_bucket_config *config, struct err *err)
{
	const char *at = text;
	uint64_t refill_ms = 0;
	bool good;

	*config = (struct rate_bucket_config){0};
	if (!text || !*text)
		return 0;
	good = rate_number(&at, &config->size) && *at++ == '/' && rate_number(&at, &refill_ms);
	if (good && *at == '+') {
		at++;
		good = rate_number(&at, &config->one_time_burst);
	}
	if (!good || *at || refill_ms > UINT64_MAX / NS_PER_MS)
		return err_set(err, -EINVAL, "\"%s\" is no bucket: write SIZE/MS or SIZE/MS+BURST", text);
	config->refill_time_ns = refill_ms * NS_PER_MS;
	return 0;
}

void rate_limit_change(struct rate_limit *limit, const struct rate_bucket_config *operations,
		       const struct rate_bucket_config *bytes, uint64_t now_ns)
{
	if (operations)
		rate_bucket_init(&limit->operations, operations, now_ns);
	if (bytes)
		rate_bucket_init(&limit->bytes, bytes, now_ns);
}
