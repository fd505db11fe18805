/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits by one time stamp: see the header. */
#include "vmm/core/rate_limit.h"

#include "vmm/base/clock.h"

void rate_limit_init(struct rate_limit *limit, uint64_t rate_per_s, uint64_t burst_ns)
{
	*limit = (struct rate_limit){.rate_per_s = rate_per_s, .burst_ns = burst_ns};
}

uint64_t rate_limit_delay_ns(const struct rate_limit *limit, uint64_t now_ns)
{
	if (limit->rate_per_s == 0 || limit->paid_ns <= now_ns)
		return 0;
	return limit->paid_ns - now_ns;
}

void rate_limit_charge(struct rate_limit *limit, uint64_t now_ns, uint64_t units)
{
	uint64_t earliest = now_ns > limit->burst_ns ? now_ns - limit->burst_ns : 0;
	unsigned __int128 paid_ns;

	if (limit->rate_per_s == 0)
		return;
	if (limit->paid_ns < earliest)
		limit->paid_ns = earliest;
	paid_ns = ((unsigned __int128)units * NS_PER_S + limit->rate_per_s - 1) / limit->rate_per_s +
		  limit->paid_ns;
	limit->paid_ns = paid_ns > UINT64_MAX ? UINT64_MAX : (uint64_t)paid_ns;
}
