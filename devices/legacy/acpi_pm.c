/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI fixed hardware. Knows nothing of what power-off does. ACPI specification 6.4, 4.8.3: PM1 event
 * registers (4.8.3.1), PM1 control (4.8.3.2), PM timer (4.8.3.3).
 *
 *   status  15 WAK  10 RTC  8 PWRBTN  5 GBL  4 BM  0 TMR          (write one to clear)
 *   enable          10 RTC  8 PWRBTN  5 GBL        0 TMR
 *   control 13 SLP_EN (reads 0)  12..10 SLP_TYP  2 GBL_RLS (reads 0)  1 BM_RLD  0 SCI_EN (always 1)
 *
 * The timer's carry event is armed on the host only while its enable bit is set.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/acpi_pm.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/timer.h"

#define PM1_TIMER        (1u << 0)
#define PM1_GLOBAL       (1u << 5)
#define PM1_POWER_BUTTON (1u << 8)
#define PM1_RTC          (1u << 10)
#define PM1_WAKE         (1u << 15)
#define PM1_STATUS_MASK  (PM1_TIMER | 1u << 4 | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_RTC | PM1_WAKE)
#define PM1_ENABLE_MASK  (PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_RTC)

#define PM1_SCI_ENABLE    (1u << 0)
#define PM1_CONTROL_KEPT  (7u << 10 | 1u << 1)
#define PM1_SLEEP_TYPE(v) (((v) >> 10) & 7)
#define PM1_SLEEP_ENABLE  (1u << 13)

struct acpi_pm {
	struct device device;
	struct acpi_pm_config config;
	struct bus *pio;
	struct loop *loop;
	struct device_timer *timer;
	pthread_mutex_t *lock; /* the board lock, for all below */
	uint16_t status, enable, control;
	bool sci;              /* level of the line */
	uint64_t epoch_ns;     /* device time at which the timer was 0 */
	uint64_t carries;      /* carry events seen since then */
	uint64_t saved_now_ns; /* device time at the last pause, 0: never paused */
};

static uint64_t acpi_pm_ticks(const struct acpi_pm *pm, uint64_t now_ns)
{
	return now_ns < pm->epoch_ns ? 0 : muldiv64(now_ns - pm->epoch_ns, ACPI_PM_TIMER_HZ, NS_PER_S);
}

/* TMR_STS is set whenever the top bit of the timer changes (4.8.3.3), in either direction. */
static unsigned acpi_pm_carry_shift(const struct acpi_pm *pm)
{
	return pm->config.timer_24bit ? 23 : 31;
}

static void acpi_pm_update_sci(struct acpi_pm *pm)
{
	bool level = pm->status & pm->enable & PM1_ENABLE_MASK;

	if (level == pm->sci)
		return;
	pm->sci = level;
	irq_line_set(&pm->config.sci, level);
}

static void acpi_pm_sync(struct acpi_pm *pm, uint64_t now_ns)
{
	uint64_t carries = acpi_pm_ticks(pm, now_ns) >> acpi_pm_carry_shift(pm);

	if (carries != pm->carries)
		pm->status |= PM1_TIMER;
	pm->carries = carries;
	acpi_pm_update_sci(pm);
}

static void acpi_pm_arm(struct acpi_pm *pm)
{
	uint64_t ticks = (pm->carries + 1) << acpi_pm_carry_shift(pm);
	uint64_t deadline_ns = pm->epoch_ns + muldiv64(ticks, NS_PER_S, ACPI_PM_TIMER_HZ) + 1;
	bool needed = (pm->enable & PM1_TIMER) && !(pm->status & PM1_TIMER);

	device_timer_arm(pm->timer, needed ? deadline_ns : DEVICE_TIMER_OFF);
}

static void acpi_pm_fire(void *opaque, uint64_t now_ns)
{
	acpi_pm_sync(opaque, now_ns);
	acpi_pm_arm(opaque);
}

void acpi_pm_power_button(struct device *device)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	pthread_mutex_lock(pm->lock);
	pm->status |= PM1_POWER_BUTTON;
	acpi_pm_update_sci(pm);
	pthread_mutex_unlock(pm->lock);
}

static uint16_t acpi_pm_event_register(struct acpi_pm *pm, unsigned index)
{
	return index ? pm->enable : pm->status;
}

/* Byte accesses are allowed to event and control registers (4.8.3: "accessed as bytes or words"). */
static uint64_t acpi_pm_event_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	struct acpi_pm *pm = opaque;
	uint16_t value;

	acpi_pm_sync(pm, device_now_ns(pm->loop));
	value = acpi_pm_event_register(pm, offset / 2 % 2);
	return size_bytes == 2 ? value : (value >> 8 * (offset & 1)) & 0xff;
}

static void acpi_pm_event_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct acpi_pm *pm = opaque;
	unsigned shift = 8 * (offset & 1);
	uint16_t mask = size_bytes == 2 ? 0xffff : (uint16_t)(0xff << shift);
	uint16_t bits = (uint16_t)(value << shift) & mask;

	acpi_pm_sync(pm, device_now_ns(pm->loop));
	if (offset < 2)
		pm->status &= ~(bits & PM1_STATUS_MASK);
	else
		pm->enable = ((pm->enable & ~mask) | bits) & PM1_ENABLE_MASK;
	acpi_pm_update_sci(pm);
	acpi_pm_arm(pm);
}

static uint64_t acpi_pm_control_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	struct acpi_pm *pm = opaque;
	uint16_t value = pm->control | PM1_SCI_ENABLE;

	return size_bytes == 2 ? value : (value >> 8 * (offset & 1)) & 0xff;
}

/* Of the sleeping states only S5 exists: the others are not in the DSDT, and a request for them is ignored.
 */
static void acpi_pm_control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct acpi_pm *pm = opaque;
	unsigned shift = 8 * (offset & 1);
	uint16_t mask = size_bytes == 2 ? 0xffff : (uint16_t)(0xff << shift);
	uint16_t bits = (uint16_t)(value << shift) & mask;

	pm->control = ((pm->control & ~mask) | bits) & PM1_CONTROL_KEPT;
	if ((bits & PM1_SLEEP_ENABLE) && PM1_SLEEP_TYPE(pm->control) == ACPI_PM_S5_TYPE &&
	    pm->config.power_off)
		pm->config.power_off(pm->config.power_off_opaque);
}

static uint64_t acpi_pm_timer_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	struct acpi_pm *pm = opaque;
	uint64_t ticks = acpi_pm_ticks(pm, device_now_ns(pm->loop));
	uint64_t value = ticks & (pm->config.timer_24bit ? 0xffffff : 0xffffffff);

	value >>= 8 * (offset & 3);
	return size_bytes >= 4 ? value : value & ((1ull << 8 * size_bytes) - 1);
}

static void acpi_pm_timer_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
}

static void acpi_pm_reset(struct device *device)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	pm->status = pm->enable = pm->control = 0;
	pm->carries = 0;
	pm->epoch_ns = device_now_ns(pm->loop);
	acpi_pm_update_sci(pm);
	acpi_pm_arm(pm);
}

static void acpi_pm_pause(struct device *device)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	pm->saved_now_ns = device_now_ns(pm->loop);
	acpi_pm_sync(pm, pm->saved_now_ns);
	device_timer_arm(pm->timer, DEVICE_TIMER_OFF);
}

/* Device time may be another host's: unsigned arithmetic carries the epoch over even where it was later than
 * now. */
static void acpi_pm_resume(struct device *device)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	if (pm->saved_now_ns)
		pm->epoch_ns += device_now_ns(pm->loop) - pm->saved_now_ns;
	pm->saved_now_ns = 0;
	acpi_pm_arm(pm);
}

static void acpi_pm_remove_ranges(struct acpi_pm *pm, unsigned count)
{
	static const uint8_t offsets[] = {ACPI_PM_EVENT_OFFSET, ACPI_PM_CONTROL_OFFSET, ACPI_PM_TIMER_OFFSET};

	for (unsigned i = 0; i < count; i++)
		bus_remove(pm->pio, pm->config.base_port + offsets[i]);
}

static void acpi_pm_destroy(struct device *device)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	acpi_pm_remove_ranges(pm, 3);
	device_timer_destroy(pm->timer);
	free(pm);
}

static const struct state_field acpi_pm_state[] = {
	STATE_FIELD(STATE_U16, struct acpi_pm, status),       STATE_FIELD(STATE_U16, struct acpi_pm, enable),
	STATE_FIELD(STATE_U16, struct acpi_pm, control),      STATE_FIELD(STATE_BOOL, struct acpi_pm, sci),
	STATE_FIELD(STATE_U64, struct acpi_pm, epoch_ns),     STATE_FIELD(STATE_U64, struct acpi_pm, carries),
	STATE_FIELD(STATE_U64, struct acpi_pm, saved_now_ns), {.name = NULL},
};

static int acpi_pm_loaded(struct device *device, struct err *err)
{
	struct acpi_pm *pm = (struct acpi_pm *)device;

	irq_line_set(&pm->config.sci, pm->sci);
	acpi_pm_update_sci(pm);
	return 0;
}

static const struct device_class acpi_pm_class = {
	.name = "acpi-pm",
	.state = acpi_pm_state,
	.reset = acpi_pm_reset,
	.pause = acpi_pm_pause,
	.resume = acpi_pm_resume,
	.loaded = acpi_pm_loaded,
	.destroy = acpi_pm_destroy,
};

static const struct bus_ops acpi_pm_event_ops = {
	.read = acpi_pm_event_read,
	.write = acpi_pm_event_write,
	.size_max = 2,
};
static const struct bus_ops acpi_pm_control_ops = {
	.read = acpi_pm_control_read,
	.write = acpi_pm_control_write,
	.size_max = 2,
};
static const struct bus_ops acpi_pm_timer_ops = {
	.read = acpi_pm_timer_read,
	.write = acpi_pm_timer_write,
	.size_max = 4,
};

static int acpi_pm_add_ranges(struct acpi_pm *pm, struct err *err)
{
	const struct bus_range ranges[] = {
		{.name = "acpi-pm1-event",
		 .base = ACPI_PM_EVENT_OFFSET,
		 .size = 4,
		 .ops = &acpi_pm_event_ops},
		{.name = "acpi-pm1-control",
		 .base = ACPI_PM_CONTROL_OFFSET,
		 .size = 2,
		 .ops = &acpi_pm_control_ops},
		{.name = "acpi-pm-timer", .base = ACPI_PM_TIMER_OFFSET, .size = 4, .ops = &acpi_pm_timer_ops},
	};

	for (unsigned i = 0; i < 3; i++) {
		struct bus_range range = ranges[i];
		int ret;

		range.base += pm->config.base_port;
		range.opaque = pm;
		range.lock = pm->lock;
		ret = bus_add(pm->pio, &range, err);
		if (ret) {
			acpi_pm_remove_ranges(pm, i);
			return ret;
		}
	}
	return 0;
}

struct device *acpi_pm_create(const struct device_env *env, const struct acpi_pm_config *config,
			      struct err *err)
{
	struct acpi_pm *pm = calloc(1, sizeof(*pm));

	if (!pm) {
		err_set(err, -ENOMEM, "acpi-pm: no memory");
		return NULL;
	}
	pm->device.class = &acpi_pm_class;
	snprintf(pm->device.id, sizeof(pm->device.id), "acpi-pm");
	pm->device.description = (struct device_description){
		.pio_base = {config->base_port},
		.pio_size = {ACPI_PM_SIZE},
		.irq = {-1, -1},
	};
	pm->config = *config;
	pm->pio = env->pio;
	pm->loop = env->loop;
	pm->lock = env->lock;
	pm->epoch_ns = device_now_ns(env->loop);
	pm->timer = device_timer_create(env->loop, env->lock, acpi_pm_fire, pm, err);
	if (!pm->timer || acpi_pm_add_ranges(pm, err)) {
		device_timer_destroy(pm->timer);
		free(pm);
		return NULL;
	}
	return &pm->device;
}
