/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calendar and register encodings of the real-time clock: seconds since 1970 to time registers and back. Pure
 * functions, so that no time zone file of the host is ever read. Only the RTC includes this.
 */
#pragma once

#include <stdint.h>

#define RTC_B_24H    0x02 /* register B: hours 0-23, else 1-12 with bit 7 for PM */
#define RTC_B_BINARY 0x04 /* register B: binary, else BCD */

/* The proleptic Gregorian calendar, UTC. Out-of-range fields carry over: the 40th of January is the 9th of
 * February. */
struct rtc_time {
	int64_t year;
	unsigned month;   /* 1-12 */
	unsigned day;     /* 1-31 */
	unsigned weekday; /* 1-7, Sunday is 1 */
	unsigned hour, minute, second;
};

struct rtc_time rtc_time_from_seconds(int64_t seconds);
int64_t rtc_time_to_seconds(const struct rtc_time *time);

/* A number and an hour as the registers hold them, by the format bits of register B. */
uint8_t rtc_encode(unsigned value, uint8_t reg_b);
unsigned rtc_decode(uint8_t value, uint8_t reg_b);
uint8_t rtc_encode_hour(unsigned hour, uint8_t reg_b);
unsigned rtc_decode_hour(uint8_t value, uint8_t reg_b);
