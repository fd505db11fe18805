/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calendar and encodings of the real-time clock. Knows no registers but the format bits. Motorola MC146818
 * data sheet, table 3 (time, calendar and alarm data modes).
 *
 * Days are counted in years that begin in March, so that the leap day is the last of its year: a year of 400
 * has 146097 days, and the days before a month m (0 is March) are (153 m + 2) / 5.
 */
#include "devices/legacy/rtc_calendar.h"

#define DAYS_PER_ERA    146097 /* 400 years */
#define DAYS_TO_1970    719468 /* from 1 March of the year 0 */
#define SECONDS_PER_DAY 86400

static int64_t rtc_floor_div(int64_t value, int64_t divisor)
{
	return value / divisor - (value % divisor < 0);
}

struct rtc_time rtc_time_from_seconds(int64_t seconds)
{
	int64_t days = rtc_floor_div(seconds, SECONDS_PER_DAY);
	unsigned rest = (unsigned)(seconds - days * SECONDS_PER_DAY);
	int64_t era = rtc_floor_div(days + DAYS_TO_1970, DAYS_PER_ERA);
	unsigned day = (unsigned)(days + DAYS_TO_1970 - era * DAYS_PER_ERA);
	unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	unsigned day_of_year = day - (365 * year + year / 4 - year / 100);
	unsigned month = (5 * day_of_year + 2) / 153;

	return (struct rtc_time){
		.year = era * 400 + year + (month >= 10),
		.month = month < 10 ? month + 3 : month - 9,
		.day = day_of_year - (153 * month + 2) / 5 + 1,
		.weekday = (unsigned)(days + 4 - rtc_floor_div(days + 4, 7) * 7) + 1,
		.hour = rest / 3600,
		.minute = rest / 60 % 60,
		.second = rest % 60,
	};
}

int64_t rtc_time_to_seconds(const struct rtc_time *time)
{
	int64_t months = time->year * 12 + (int64_t)time->month - 3; /* March is 0 */
	int64_t year = rtc_floor_div(months, 12);
	int64_t month = months - year * 12;
	int64_t era = rtc_floor_div(year, 400);
	int64_t year_of_era = year - era * 400;
	int64_t days = era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
		       (153 * month + 2) / 5 + (int64_t)time->day - 1 - DAYS_TO_1970;

	return ((days * 24 + time->hour) * 60 + time->minute) * 60 + time->second;
}

uint8_t rtc_encode(unsigned value, uint8_t reg_b)
{
	return (uint8_t)(reg_b & RTC_B_BINARY ? value : value / 10 << 4 | value % 10);
}

unsigned rtc_decode(uint8_t value, uint8_t reg_b)
{
	return reg_b & RTC_B_BINARY ? value : (value >> 4) * 10u + (value & 15);
}

uint8_t rtc_encode_hour(unsigned hour, uint8_t reg_b)
{
	if (reg_b & RTC_B_24H)
		return rtc_encode(hour, reg_b);
	return rtc_encode(hour % 12 ? hour % 12 : 12, reg_b) | (hour >= 12 ? 0x80 : 0);
}

unsigned rtc_decode_hour(uint8_t value, uint8_t reg_b)
{
	if (reg_b & RTC_B_24H)
		return rtc_decode(value, reg_b);
	return rtc_decode(value & 0x7f, reg_b) % 12 + (value & 0x80 ? 12 : 0);
}
