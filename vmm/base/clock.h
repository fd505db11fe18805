/* SPDX-License-Identifier: Apache-2.0 */
/* Host time: monotonic nanoseconds, and scaled arithmetic that does not overflow. */
#pragma once

#include <stdint.h>

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

/* CLOCK_MONOTONIC in ns. */
uint64_t clock_monotonic_ns(void);
/* CLOCK_REALTIME in ns since 1970. */
uint64_t clock_realtime_ns(void);

/* value * mul / div with a 128-bit product, rounded down. div != 0. */
static inline uint64_t muldiv64(uint64_t value, uint64_t mul, uint64_t div)
{
	return (uint64_t)((unsigned __int128)value * mul / div);
}
