/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real-time clock. Knows nothing of the host but its clocks. Motorola MC146818 data sheet.
 *
 *   A  7: update in progress   6..4: divider (11x holds it in reset)   3..0: periodic rate
 *   B  7: SET  6: PIE  5: AIE  4: UIE  3: SQWE  2: binary  1: 24 h  0: daylight saving (kept, without effect)
 *   C  7: IRQF 6: PF   5: AF   4: UF   (a read clears all)           D  7: the battery is good
 *
 * The clock is the host's real time plus offset_ns; it stands only while SET or the divider's reset holds it.
 * The time registers are made from it before each access, flags from the time since the last access, and the
 * host's timer is armed only for an interrupt that is enabled. Periods that pass before the guest has read
 * register C are one interrupt, as in the chip: its flag cannot count.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/rtc.h"
#include "devices/legacy/rtc_calendar.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/timer.h"

#define RTC_PORT 0x70

enum rtc_register {
	RTC_SECOND,
	RTC_SECOND_ALARM,
	RTC_MINUTE,
	RTC_MINUTE_ALARM,
	RTC_HOUR,
	RTC_HOUR_ALARM,
	RTC_WEEKDAY,
	RTC_DAY,
	RTC_MONTH,
	RTC_YEAR,
	RTC_A,
	RTC_B,
	RTC_C,
	RTC_D,
	RTC_CENTURY = RTC_CENTURY_INDEX,
};

#define RTC_A_UIP     0x80
#define RTC_A_DIVIDER 0x70
#define RTC_A_RATE    0x0f
#define RTC_B_SET     0x80
#define RTC_B_UIE     0x10
#define RTC_B_AIE     0x20
#define RTC_B_PIE     0x40
#define RTC_C_IRQF    0x80
#define RTC_FLAGS     0x70 /* PF, AF, UF in C; PIE, AIE, UIE in B */
#define RTC_C_PF      0x40
#define RTC_C_AF      0x20
#define RTC_C_UF      0x10
#define RTC_D_VALID   0x80
#define RTC_ALARM_ANY 0xc0 /* both bits set: any value */

#define RTC_UPDATE_NS   (244 * NS_PER_US) /* UIP rises this long before an update */
#define RTC_DIVIDER_NS  (NS_PER_S / 2)    /* first update after the divider's reset */
#define RTC_ALARM_STEPS 200               /* an alarm is found in at most 24 + 60 + 60 steps, or never */

/* A guest's year outside 1900-2200 gets the nearest: 64 bits of ns reach from 1677 to 2262, and sums need
 * room. */
#define RTC_SECONDS_MIN (-2208988800ll)
#define RTC_SECONDS_MAX 7258118400ll

struct rtc {
	struct device device;
	struct rtc_config config;
	struct bus *pio;
	struct loop *loop;
	struct device_timer *timer;
	uint8_t index;             /* port 0x70, bits 6-0 */
	bool nmi_masked;           /* port 0x70, bit 7 */
	bool irq;                  /* level of the line */
	uint8_t cmos[128];         /* registers included */
	int64_t offset_ns;         /* guest's time less the host's */
	int64_t seen_ns;           /* guest's time up to which UF and AF are known */
	uint64_t periodic_base_ns; /* device time of a rising edge of the periodic signal */
	uint64_t saved_now_ns;     /* device time at the last pause, 0: never paused */
	uint64_t metric_interrupts;
};

static int64_t rtc_now(const struct rtc *rtc)
{
	uint64_t real_ns = rtc->config.realtime_ns ? rtc->config.realtime_ns(rtc->config.realtime_opaque)
						   : clock_realtime_ns();

	return (int64_t)real_ns + rtc->offset_ns;
}

static bool rtc_divider_is_reset(const struct rtc *rtc)
{
	return (rtc->cmos[RTC_A] & 0x60) == 0x60;
}

static bool rtc_is_running(const struct rtc *rtc)
{
	return !(rtc->cmos[RTC_B] & RTC_B_SET) && !rtc_divider_is_reset(rtc);
}

static int64_t rtc_floor_second(int64_t ns)
{
	int64_t rest = ns % (int64_t)NS_PER_S;

	return (ns - rest) / (int64_t)NS_PER_S - (rest < 0);
}

static void rtc_show_time(struct rtc *rtc, int64_t now_ns)
{
	struct rtc_time time = rtc_time_from_seconds(rtc_floor_second(now_ns));
	uint8_t b = rtc->cmos[RTC_B];

	rtc->cmos[RTC_SECOND] = rtc_encode(time.second, b);
	rtc->cmos[RTC_MINUTE] = rtc_encode(time.minute, b);
	rtc->cmos[RTC_HOUR] = rtc_encode_hour(time.hour, b);
	rtc->cmos[RTC_WEEKDAY] = rtc_encode(time.weekday, b);
	rtc->cmos[RTC_DAY] = rtc_encode(time.day, b);
	rtc->cmos[RTC_MONTH] = rtc_encode(time.month, b);
	rtc->cmos[RTC_YEAR] = rtc_encode((unsigned)(time.year % 100), b);
	rtc->cmos[RTC_CENTURY] = rtc_encode((unsigned)(time.year / 100 % 100), b);
}

/* Makes the registers the time: phase_ns into that second. */
static void rtc_take_time(struct rtc *rtc, int64_t now_ns, int64_t phase_ns)
{
	uint8_t b = rtc->cmos[RTC_B];
	struct rtc_time time = {
		.year = rtc_decode(rtc->cmos[RTC_CENTURY], b) * 100 + rtc_decode(rtc->cmos[RTC_YEAR], b),
		.month = rtc_decode(rtc->cmos[RTC_MONTH], b),
		.day = rtc_decode(rtc->cmos[RTC_DAY], b),
		.hour = rtc_decode_hour(rtc->cmos[RTC_HOUR], b),
		.minute = rtc_decode(rtc->cmos[RTC_MINUTE], b),
		.second = rtc_decode(rtc->cmos[RTC_SECOND], b),
	};
	int64_t wanted_ns = rtc_time_to_seconds(&time);

	if (wanted_ns > RTC_SECONDS_MAX)
		wanted_ns = RTC_SECONDS_MAX;
	if (wanted_ns < RTC_SECONDS_MIN)
		wanted_ns = RTC_SECONDS_MIN;
	wanted_ns = wanted_ns * (int64_t)NS_PER_S + phase_ns;
	rtc->offset_ns = wanted_ns - (now_ns - rtc->offset_ns);
	rtc->seen_ns = wanted_ns;
}

static bool rtc_alarm_matches(uint8_t alarm, uint8_t value)
{
	return (alarm & RTC_ALARM_ANY) == RTC_ALARM_ANY || alarm == value;
}

/* The first second after `second` that matches the alarm, or INT64_MAX. */
static int64_t rtc_next_alarm(const struct rtc *rtc, int64_t second)
{
	uint8_t b = rtc->cmos[RTC_B];

	second++;
	for (unsigned step = 0; step < RTC_ALARM_STEPS; step++) {
		struct rtc_time time = rtc_time_from_seconds(second);

		if (!rtc_alarm_matches(rtc->cmos[RTC_HOUR_ALARM], rtc_encode_hour(time.hour, b)))
			second += 3600 - time.minute * 60 - time.second;
		else if (!rtc_alarm_matches(rtc->cmos[RTC_MINUTE_ALARM], rtc_encode(time.minute, b)))
			second += 60 - time.second;
		else if (!rtc_alarm_matches(rtc->cmos[RTC_SECOND_ALARM], rtc_encode(time.second, b)))
			second++;
		else
			return second;
	}
	return INT64_MAX;
}

/* Length of the periodic signal's period in ns, 0: none. Table 5, 32.768 kHz time base. */
static uint64_t rtc_period_ns(const struct rtc *rtc)
{
	unsigned rate = rtc->cmos[RTC_A] & RTC_A_RATE;

	if (!rate || rtc_divider_is_reset(rtc))
		return 0;
	if (rate <= 2)
		rate += 7;
	return (NS_PER_S << (rate - 1)) / 32768;
}

static void rtc_update_irq(struct rtc *rtc)
{
	bool level = rtc->cmos[RTC_B] & rtc->cmos[RTC_C] & RTC_FLAGS;

	rtc->cmos[RTC_C] = (rtc->cmos[RTC_C] & RTC_FLAGS) | (level ? RTC_C_IRQF : 0);
	if (level == rtc->irq)
		return;
	rtc->irq = level;
	rtc->metric_interrupts += level;
	irq_line_set(&rtc->config.irq, level);
}

static void rtc_sync_periodic(struct rtc *rtc)
{
	uint64_t period_ns = rtc_period_ns(rtc), now_ns = device_now_ns(rtc->loop);
	uint64_t late_ns = now_ns - rtc->periodic_base_ns;

	if (!period_ns || now_ns < rtc->periodic_base_ns || late_ns < period_ns)
		return;
	rtc->cmos[RTC_C] |= RTC_C_PF;
	rtc->periodic_base_ns = now_ns - late_ns % period_ns;
}

/* Brings registers and flags to now; returns the guest's time. */
static int64_t rtc_sync(struct rtc *rtc)
{
	int64_t now_ns = rtc_now(rtc);
	int64_t seen = rtc_floor_second(rtc->seen_ns), second = rtc_floor_second(now_ns);

	rtc_sync_periodic(rtc);
	if (rtc_is_running(rtc)) {
		if (second > seen) {
			rtc->cmos[RTC_C] |= RTC_C_UF;
			if (rtc_next_alarm(rtc, seen) <= second)
				rtc->cmos[RTC_C] |= RTC_C_AF;
		}
		rtc->seen_ns = now_ns;
		rtc_show_time(rtc, now_ns);
	}
	rtc_update_irq(rtc);
	return now_ns;
}

/* ns from the guest's time to the next update or alarm that interrupts, or UINT64_MAX. */
static uint64_t rtc_until_event(const struct rtc *rtc, int64_t now_ns)
{
	int64_t second = rtc_floor_second(now_ns), target = INT64_MAX;

	if (!rtc_is_running(rtc))
		return UINT64_MAX;
	if (rtc->cmos[RTC_B] & RTC_B_UIE & ~rtc->cmos[RTC_C])
		target = second + 1;
	else if (rtc->cmos[RTC_B] & RTC_B_AIE & ~rtc->cmos[RTC_C])
		target = rtc_next_alarm(rtc, second);
	if (target > INT64_MAX / (int64_t)NS_PER_S)
		return UINT64_MAX;
	return (uint64_t)(target * (int64_t)NS_PER_S) - (uint64_t)now_ns;
}

/* An interrupt that is pending already needs no timer: its flag stays until the guest reads register C. */
static void rtc_arm(struct rtc *rtc, int64_t now_ns)
{
	uint64_t until_ns = rtc_until_event(rtc, now_ns), period_ns = rtc_period_ns(rtc);
	uint64_t deadline_ns = DEVICE_TIMER_OFF;

	if (until_ns != UINT64_MAX)
		deadline_ns = device_now_ns(rtc->loop) + until_ns;
	if (period_ns && (rtc->cmos[RTC_B] & RTC_B_PIE & ~rtc->cmos[RTC_C]) &&
	    rtc->periodic_base_ns + period_ns < deadline_ns)
		deadline_ns = rtc->periodic_base_ns + period_ns;
	device_timer_arm(rtc->timer, deadline_ns);
}

static void rtc_fire(void *opaque, uint64_t now_ns)
{
	rtc_arm(opaque, rtc_sync(opaque));
}

static bool rtc_is_time_register(uint8_t index)
{
	return index == RTC_CENTURY || (index <= RTC_YEAR && index != RTC_SECOND_ALARM &&
					index != RTC_MINUTE_ALARM && index != RTC_HOUR_ALARM);
}

/* The divider's reset restarts the second and the periodic signal; the first update follows half a second
 * later. */
static void rtc_write_a(struct rtc *rtc, uint8_t value, int64_t now_ns)
{
	bool was_reset = rtc_divider_is_reset(rtc);
	uint8_t old = rtc->cmos[RTC_A];

	rtc->cmos[RTC_A] = value & ~RTC_A_UIP;
	if (was_reset && !rtc_divider_is_reset(rtc))
		rtc_take_time(rtc, now_ns, (int64_t)RTC_DIVIDER_NS);
	if ((old ^ value) & (RTC_A_RATE | RTC_A_DIVIDER))
		rtc->periodic_base_ns = device_now_ns(rtc->loop);
}

/* SET stops updates and clears UIE; when it falls, the registers are the time, at the phase the divider has.
 */
static void rtc_write_b(struct rtc *rtc, uint8_t value, int64_t now_ns)
{
	bool was_set = rtc->cmos[RTC_B] & RTC_B_SET;
	bool set = value & RTC_B_SET;

	if (set && !was_set)
		value &= ~RTC_B_UIE;
	rtc->cmos[RTC_B] = value;
	if (was_set && !set && !rtc_divider_is_reset(rtc))
		rtc_take_time(rtc, now_ns, now_ns - rtc_floor_second(now_ns) * (int64_t)NS_PER_S);
}

static void rtc_write_register(struct rtc *rtc, uint8_t value)
{
	int64_t now_ns = rtc_sync(rtc);

	switch (rtc->index) {
	case RTC_A: rtc_write_a(rtc, value, now_ns); break;
	case RTC_B: rtc_write_b(rtc, value, now_ns); break;
	case RTC_C:
	case RTC_D: return;
	default:
		rtc->cmos[rtc->index] = value;
		if (rtc_is_time_register(rtc->index) && rtc_is_running(rtc))
			rtc_take_time(rtc, now_ns, now_ns - rtc_floor_second(now_ns) * (int64_t)NS_PER_S);
		break;
	}
	rtc_update_irq(rtc);
	rtc_arm(rtc, rtc_now(rtc));
}

static uint8_t rtc_read_register(struct rtc *rtc)
{
	int64_t now_ns = rtc_sync(rtc);
	int64_t until_ns = (rtc_floor_second(now_ns) + 1) * (int64_t)NS_PER_S - now_ns;
	uint8_t value = rtc->cmos[rtc->index];

	if (rtc->index == RTC_A && rtc_is_running(rtc) && until_ns <= (int64_t)RTC_UPDATE_NS)
		value |= RTC_A_UIP;
	if (rtc->index == RTC_C) {
		rtc->cmos[RTC_C] = 0;
		rtc_update_irq(rtc);
		rtc_arm(rtc, now_ns);
	}
	return value;
}

/* The index port cannot be read on a PC. */
static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return offset ? rtc_read_register(opaque) : 0xff;
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct rtc *rtc = opaque;

	if (offset) {
		rtc_write_register(rtc, (uint8_t)value);
		return;
	}
	rtc->index = value & 0x7f;
	rtc->nmi_masked = value & 0x80;
}

static void rtc_store(struct rtc *rtc, uint8_t index, uint64_t value, uint64_t max, unsigned bytes)
{
	if (value > max)
		value = max;
	for (unsigned i = 0; i < bytes; i++)
		rtc->cmos[index + i] = (uint8_t)(value >> 8 * i);
}

/* What a BIOS leaves in the memory: sizes (IBM AT, and SeaBIOS for those above), equipment, checksum of
 * 0x10-0x2d. */
static void rtc_fill_memory(struct rtc *rtc)
{
	uint64_t below = rtc->config.ram_below_4g_bytes;
	uint64_t above_1m = below > (1u << 20) ? below - (1u << 20) : 0;
	uint64_t above_16m = below > (16u << 20) ? below - (16u << 20) : 0;
	uint16_t sum = 0;

	rtc_store(rtc, 0x14, 0x06, 0xff, 1); /* a coprocessor and a PS/2 mouse */
	rtc_store(rtc, 0x15, below >> 10, 640, 2);
	rtc_store(rtc, 0x17, above_1m >> 10, 0xffff, 2);
	rtc_store(rtc, 0x30, above_1m >> 10, 0xffff, 2);
	rtc_store(rtc, 0x34, above_16m >> 16, 0xffff, 2);
	rtc_store(rtc, 0x5b, rtc->config.ram_above_4g_bytes >> 16, 0xffffff, 3);
	for (unsigned i = 0x10; i <= 0x2d; i++)
		sum = (uint16_t)(sum + rtc->cmos[i]);
	rtc->cmos[0x2e] = (uint8_t)(sum >> 8);
	rtc->cmos[0x2f] = (uint8_t)sum;
}

/* The battery keeps the time and the memory: RESET clears only the interrupt enables and flags. */
static void rtc_reset(struct device *device)
{
	struct rtc *rtc = (struct rtc *)device;

	rtc->cmos[RTC_B] &= ~(RTC_B_PIE | RTC_B_AIE | RTC_B_UIE | 0x08);
	rtc->cmos[RTC_C] = 0;
	rtc->index = 0;
	rtc->nmi_masked = false;
	rtc_update_irq(rtc);
	device_timer_arm(rtc->timer, DEVICE_TIMER_OFF);
}

static void rtc_pause(struct device *device)
{
	struct rtc *rtc = (struct rtc *)device;

	rtc_sync(rtc);
	rtc->saved_now_ns = device_now_ns(rtc->loop);
	device_timer_arm(rtc->timer, DEVICE_TIMER_OFF);
}

/* The clock itself went on: it is the host's. */
static void rtc_resume(struct device *device)
{
	struct rtc *rtc = (struct rtc *)device;

	if (rtc->saved_now_ns)
		rtc->periodic_base_ns += device_now_ns(rtc->loop) - rtc->saved_now_ns;
	rtc->saved_now_ns = 0;
	rtc_arm(rtc, rtc_sync(rtc));
}

static void rtc_destroy(struct device *device)
{
	struct rtc *rtc = (struct rtc *)device;

	bus_remove(rtc->pio, RTC_PORT);
	device_timer_destroy(rtc->timer);
	free(rtc);
}

static const struct state_field rtc_state[] = {
	STATE_FIELD_MAX(STATE_U8, struct rtc, index, 127),
	STATE_FIELD(STATE_BOOL, struct rtc, nmi_masked),
	STATE_FIELD(STATE_BOOL, struct rtc, irq),
	STATE_ARRAY(STATE_U8, struct rtc, cmos, 128),
	STATE_FIELD(STATE_U64, struct rtc, offset_ns),
	STATE_FIELD(STATE_U64, struct rtc, seen_ns),
	STATE_FIELD(STATE_U64, struct rtc, periodic_base_ns),
	STATE_FIELD(STATE_U64, struct rtc, saved_now_ns),
	{.name = NULL},
};

/* What a two-digit year and a century can be away from today, and sums of times stay far from wrapping. */
#define RTC_OFFSET_MAX_NS (150ll * 366 * 86400 * (int64_t)NS_PER_S)

static int rtc_loaded(struct device *device, struct err *err)
{
	struct rtc *rtc = (struct rtc *)device;

	if (rtc->offset_ns > RTC_OFFSET_MAX_NS || rtc->offset_ns < -RTC_OFFSET_MAX_NS)
		return err_set(err, -EINVAL, "offset_ns: more than 150 years");
	if (rtc->seen_ns < 0 || rtc->seen_ns > rtc_now(rtc))
		rtc->seen_ns = rtc_now(rtc);
	irq_line_set(&rtc->config.irq, rtc->irq);
	rtc_update_irq(rtc);
	return 0;
}

static const struct metric_field rtc_metrics[] = {
	{"interrupts", offsetof(struct rtc, metric_interrupts)},
	{.name = NULL},
};

static const struct device_class rtc_class = {
	.name = "rtc",
	.state = rtc_state,
	.metrics = rtc_metrics,
	.reset = rtc_reset,
	.pause = rtc_pause,
	.resume = rtc_resume,
	.loaded = rtc_loaded,
	.destroy = rtc_destroy,
};

static const struct bus_ops rtc_ops = {.read = rtc_read, .write = rtc_write, .size_max = 1};

static void rtc_power_on(struct rtc *rtc)
{
	rtc->offset_ns = rtc->config.utc_offset_s * (int64_t)NS_PER_S;
	rtc->seen_ns = rtc_now(rtc);
	rtc->periodic_base_ns = device_now_ns(rtc->loop);
	rtc->cmos[RTC_A] = 0x26; /* 32.768 kHz, 1024 Hz: as every BIOS leaves it */
	rtc->cmos[RTC_B] = RTC_B_24H;
	rtc->cmos[RTC_D] = RTC_D_VALID;
	rtc_fill_memory(rtc);
	rtc_show_time(rtc, rtc->seen_ns);
}

struct device *rtc_create(const struct device_env *env, const struct rtc_config *config, struct err *err)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));

	if (!rtc) {
		err_set(err, -ENOMEM, "rtc: no memory");
		return NULL;
	}
	rtc->device.class = &rtc_class;
	snprintf(rtc->device.id, sizeof(rtc->device.id), "rtc");
	rtc->device.description = (struct device_description){
		.acpi_hid = "PNP0B00",
		.pio_base = {RTC_PORT},
		.pio_size = {2},
		.irq = {8, -1},
	};
	rtc->config = *config;
	rtc->pio = env->pio;
	rtc->loop = env->loop;
	rtc_power_on(rtc);
	rtc->timer = device_timer_create(env->loop, env->lock, rtc_fire, rtc, err);
	if (!rtc->timer || bus_add(env->pio,
				   &(struct bus_range){.name = "rtc",
						       .base = RTC_PORT,
						       .size = 2,
						       .ops = &rtc_ops,
						       .opaque = rtc,
						       .lock = env->lock},
				   err)) {
		device_timer_destroy(rtc->timer);
		free(rtc);
		return NULL;
	}
	return &rtc->device;
}
