/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rate limit: so many units (requests, bytes) a second, with a burst after a pause. The generic cell rate
 * algorithm (ITU-T I.371): one time stamp says until when what was taken is paid for. Knows no clock and no
 * timer: the caller says what time it is, and waits.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All zero: no limit. The owner's lock or thread guards it. */
struct rate_limit {
	uint64_t rate_per_s; /* 0: no limit */
	uint64_t burst_ns;   /* how much unused time is kept */
	uint64_t paid_ns;    /* CLOCK_MONOTONIC: free from here on */
};

#define RATE_LIMIT_BURST_NS 100000000ull /* a default: a tenth of a second's worth at once */

void rate_limit_init(struct rate_limit *limit, uint64_t rate_per_s, uint64_t burst_ns);
/* 0: go on, and charge what was done. Else how many ns to wait before asking again. */
uint64_t rate_limit_delay_ns(const struct rate_limit *limit, uint64_t now_ns);
/* Counts units that were done. More than a burst at once is fine: the next ones wait longer. */
void rate_limit_charge(struct rate_limit *limit, uint64_t now_ns, uint64_t units);
