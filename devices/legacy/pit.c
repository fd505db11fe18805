/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interrupt timer of a PC. Knows nothing of who counts on it. The counters themselves are in
 * pit_channel.c; here are the ports, the read-back and the interrupt of channel 0. Intel 8254 data sheet,
 * "Programming"; 82371SB, port 0x61.
 *
 * Late ticks. The host may wake us late, or not for a while. Every rising edge of OUT 0 is counted, none is
 * lost up to PIT_OWED_NS of them, and the ones owed are given one by one, a quarter of a period apart, so
 * that a guest that counts ticks keeps its time and yet has the room to handle each. Beyond that bound, and
 * when the guest programs the channel, the debt is forgotten. The host's timer is armed for rising edges
 * only: a channel that has none to come arms nothing.
 *
 *   port 0x61   7,6: NMI causes, 0   5: OUT 2   4: toggles with each memory refresh   3,2: kept   1: speaker
 * 0: GATE 2
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/pit.h"
#include "devices/legacy/pit_channel.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/irqchip_state.h"
#include "vmm/core/timer.h"

#define PIT_PORT         0x40
#define PIT_CONTROL_PORT 0x61
#define PIT_REFRESH_NS   15085 /* 18 clocks of the PIT: channel 1 as every BIOS programs it */

#define PIT_OWED_NS NS_PER_S /* debts older than a second help nobody */
#define PIT_SPACING_MIN_NS                                                                                   \
	(50 * NS_PER_US) /* bounds what a guest with a period of 2 costs the event loop                      \
			  */

struct pit {
	struct device device;
	struct pit_config config;
	struct bus *pio;
	struct loop *loop;
	struct device_timer *timer;
	struct pit_channel channel[3];
	uint8_t control;     /* port 0x61, bits 3-0 */
	uint64_t seen_tick;  /* edges of OUT 0 up to here are counted */
	uint64_t owed;       /* edges counted and not yet given */
	uint64_t saved_tick; /* device time at the last pause, 0: never paused */
	uint64_t metric_ticks, metric_late_ticks, metric_forgotten_ticks;
};

/* Device time in clocks of the PIT: all three channels count on one grid, and whole numbers do not drift. */
static uint64_t pit_tick(uint64_t now_ns)
{
	return muldiv64(now_ns, PIT_HZ, NS_PER_S);
}

static uint64_t pit_tick_to_ns(uint64_t tick)
{
	return tick == PIT_TICK_NEVER ? DEVICE_TIMER_OFF : muldiv64(tick, NS_PER_S, PIT_HZ) + 1;
}

/* Counts the edges since the last time, and forgets what is too old. */
static void pit_count_edges(struct pit *pit, uint64_t tick)
{
	const struct pit_channel *channel = &pit->channel[0];
	uint64_t edges = pit_channel_edges(channel, pit->seen_tick, tick);
	uint64_t period = pit_channel_period(channel);
	uint64_t most = 1 + (period ? pit_tick(PIT_OWED_NS) / period : 0);

	pit->owed += edges;
	pit->seen_tick = tick;
	if (pit->owed > most) {
		pit->metric_forgotten_ticks += pit->owed - most;
		pit->owed = most;
	}
}

static void pit_give_edge(struct pit *pit)
{
	if (!pit->owed)
		return;
	pit->owed--;
	pit->metric_ticks++;
	irq_line_set(&pit->config.irq, false);
	irq_line_set(&pit->config.irq, true);
}

static void pit_arm(struct pit *pit, uint64_t now_ns)
{
	uint64_t deadline_ns = pit_tick_to_ns(pit_channel_next_edge(&pit->channel[0], pit->seen_tick));
	uint64_t spacing_ns = pit_channel_period(&pit->channel[0]) * NS_PER_S / PIT_HZ / 4;

	if (spacing_ns < PIT_SPACING_MIN_NS)
		spacing_ns = PIT_SPACING_MIN_NS;
	if (pit->owed) {
		pit->metric_late_ticks++;
		deadline_ns = now_ns + spacing_ns;
	} else if (pit_channel_period(&pit->channel[0]) && deadline_ns < now_ns + PIT_SPACING_MIN_NS) {
		deadline_ns = now_ns + PIT_SPACING_MIN_NS;
	}
	device_timer_arm(pit->timer, deadline_ns);
}

/* Brings all channels to now. The line then shows OUT 0, but for edges still owed. */
static uint64_t pit_sync(struct pit *pit, uint64_t now_ns)
{
	uint64_t tick = pit_tick(now_ns);

	pit_count_edges(pit, tick);
	for (unsigned i = 0; i < 3; i++)
		pit_channel_sync(&pit->channel[i], tick);
	return tick;
}

static void pit_fire(void *opaque, uint64_t now_ns)
{
	struct pit *pit = opaque;

	pit_sync(pit, now_ns);
	pit_give_edge(pit);
	pit_arm(pit, now_ns);
}

/*
 * After the guest has programmed a channel. An edge that it did not see yet is given now, as the interrupt
 * controller would have kept it; then the line shows OUT 0 of the new mode.
 */
static void pit_changed(struct pit *pit, unsigned index, uint64_t now_ns)
{
	if (index != 0)
		return;
	pit_give_edge(pit);
	pit->owed = 0;
	irq_line_set(&pit->config.irq, pit_channel_out(&pit->channel[0], pit->seen_tick));
	pit_arm(pit, now_ns);
}

/* Control word 11: latch counts and states of several channels. */
static void pit_read_back(struct pit *pit, uint8_t value, uint64_t tick)
{
	for (unsigned i = 0; i < 3; i++) {
		if (!(value & (2u << i)))
			continue;
		if (!(value & 0x20))
			pit_channel_latch_count(&pit->channel[i], tick);
		if (!(value & 0x10))
			pit_channel_latch_status(&pit->channel[i], tick);
	}
}

static void pit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct pit *pit = opaque;
	uint64_t now_ns = device_now_ns(pit->loop);
	uint64_t tick = pit_sync(pit, now_ns);
	unsigned index = (unsigned)offset & 3;

	if (index != 3) {
		if (pit_channel_write(&pit->channel[index], (uint8_t)value, tick))
			pit_changed(pit, index, now_ns);
		return;
	}
	index = (value >> 6) & 3;
	if (index == 3) {
		pit_read_back(pit, (uint8_t)value, tick);
	} else if (!(value & 0x30)) {
		pit_channel_latch_count(&pit->channel[index], tick);
	} else {
		pit_channel_set_mode(&pit->channel[index], (uint8_t)value & 0x3f);
		pit_changed(pit, index, now_ns);
	}
}

/* The control word register cannot be read: the bus floats. */
static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	struct pit *pit = opaque;
	uint64_t tick = pit_sync(pit, device_now_ns(pit->loop));

	return offset == 3 ? 0xff : pit_channel_read(&pit->channel[offset & 3], tick);
}

static uint64_t pit_control_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	struct pit *pit = opaque;
	uint64_t now_ns = device_now_ns(pit->loop);
	uint64_t tick = pit_sync(pit, now_ns);
	uint8_t out2 = pit_channel_out(&pit->channel[2], tick) ? 0x20 : 0;
	uint8_t refresh = (now_ns / PIT_REFRESH_NS) & 1 ? 0x10 : 0;

	return pit->control | out2 | refresh;
}

static void pit_control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct pit *pit = opaque;
	uint64_t tick = pit_sync(pit, device_now_ns(pit->loop));

	pit->control = value & 0x0f;
	pit_channel_set_gate(&pit->channel[2], value & 1, tick);
}

static void pit_reset(struct device *device)
{
	struct pit *pit = (struct pit *)device;

	for (unsigned i = 0; i < 3; i++)
		pit_channel_reset(&pit->channel[i], i != 2);
	pit->control = 0;
	pit->owed = 0;
	pit->seen_tick = pit_tick(device_now_ns(pit->loop));
	irq_line_set(&pit->config.irq, false);
	device_timer_arm(pit->timer, DEVICE_TIMER_OFF);
}

static void pit_pause(struct device *device)
{
	struct pit *pit = (struct pit *)device;

	pit->saved_tick = pit_sync(pit, device_now_ns(pit->loop));
	device_timer_arm(pit->timer, DEVICE_TIMER_OFF);
}

static void pit_resume(struct device *device)
{
	struct pit *pit = (struct pit *)device;
	uint64_t now_ns = device_now_ns(pit->loop);
	uint64_t shift = pit->saved_tick ? pit_tick(now_ns) - pit->saved_tick : 0;

	for (unsigned i = 0; i < 3; i++)
		pit_channel_shift(&pit->channel[i], shift);
	pit->seen_tick += shift;
	pit->saved_tick = 0;
	pit_arm(pit, now_ns);
}

void pit_state_get(struct device *device, struct pit_state *state)
{
	struct pit *pit = (struct pit *)device;
	uint64_t now_ns = device_now_ns(pit->loop);
	uint64_t tick = pit_sync(pit, now_ns);

	*state = (struct pit_state){.control = pit->control};
	for (unsigned i = 0; i < 3; i++)
		pit_channel_state_get(&pit->channel[i], tick, now_ns, &state->channel[i]);
}

/* Edges up to now were the other's; the line stays as it is until the next one. */
void pit_state_set(struct device *device, const struct pit_state *state)
{
	struct pit *pit = (struct pit *)device;
	uint64_t now_ns = device_now_ns(pit->loop);
	uint64_t tick = pit_tick(now_ns);

	pit->control = state->control & 0x0f;
	for (unsigned i = 0; i < 3; i++)
		pit_channel_state_set(&pit->channel[i], tick, now_ns, &state->channel[i]);
	pit->seen_tick = tick;
	pit->owed = 0;
	pit->saved_tick = 0;
}

void pit_rest(struct device *device)
{
	device_timer_arm(((struct pit *)device)->timer, DEVICE_TIMER_OFF);
}

static void pit_destroy(struct device *device)
{
	struct pit *pit = (struct pit *)device;

	bus_remove(pit->pio, PIT_PORT);
	bus_remove(pit->pio, PIT_CONTROL_PORT);
	device_timer_destroy(pit->timer);
	free(pit);
}

#define PIT_CHANNEL_FIELD(type_, channel_, member_)                                                          \
	{                                                                                                    \
		.name = "channel" #channel_ "." #member_, .type = (type_), .count = 1,                       \
		.offset = offsetof(struct pit, channel) + (channel_) * sizeof(struct pit_channel) +          \
			  offsetof(struct pit_channel, member_)                                              \
	}
#define PIT_CHANNEL_FIELDS(channel_)                                                                         \
	PIT_CHANNEL_FIELD(STATE_U8, channel_, mode), PIT_CHANNEL_FIELD(STATE_U8, channel_, access),          \
		PIT_CHANNEL_FIELD(STATE_BOOL, channel_, bcd), PIT_CHANNEL_FIELD(STATE_BOOL, channel_, gate), \
		PIT_CHANNEL_FIELD(STATE_BOOL, channel_, loaded),                                             \
		PIT_CHANNEL_FIELD(STATE_BOOL, channel_, running),                                            \
		PIT_CHANNEL_FIELD(STATE_U32, channel_, count),                                               \
		PIT_CHANNEL_FIELD(STATE_U32, channel_, reload),                                              \
		PIT_CHANNEL_FIELD(STATE_U64, channel_, base_tick),                                           \
		PIT_CHANNEL_FIELD(STATE_U64, channel_, reload_tick),                                         \
		PIT_CHANNEL_FIELD(STATE_U64, channel_, frozen),                                              \
		PIT_CHANNEL_FIELD(STATE_U8, channel_, write_low),                                            \
		PIT_CHANNEL_FIELD(STATE_BOOL, channel_, write_second),                                       \
		PIT_CHANNEL_FIELD(STATE_BOOL, channel_, read_second),                                        \
		PIT_CHANNEL_FIELD(STATE_U16, channel_, latch),                                               \
		PIT_CHANNEL_FIELD(STATE_BOOL, channel_, latched),                                            \
		PIT_CHANNEL_FIELD(STATE_U8, channel_, status),                                               \
		PIT_CHANNEL_FIELD(STATE_BOOL, channel_, status_latched)

static const struct state_field pit_state[] = {
	PIT_CHANNEL_FIELDS(0),
	PIT_CHANNEL_FIELDS(1),
	PIT_CHANNEL_FIELDS(2),
	STATE_FIELD(STATE_U8, struct pit, control),
	STATE_FIELD(STATE_U64, struct pit, seen_tick),
	STATE_FIELD(STATE_U64, struct pit, owed),
	STATE_FIELD(STATE_U64, struct pit, saved_tick),
	{.name = NULL},
};

static bool pit_channel_is_possible(const struct pit_channel *channel)
{
	return channel->mode <= 5 && channel->access >= 1 && channel->access <= 3 && channel->count >= 1 &&
	       channel->count <= 65536 && channel->reload >= 1 && channel->reload <= 65536;
}

static int pit_loaded(struct device *device, struct err *err)
{
	struct pit *pit = (struct pit *)device;

	for (unsigned i = 0; i < 3; i++) {
		if (!pit_channel_is_possible(&pit->channel[i]))
			return err_set(err, -EINVAL, "channel%u: no mode, access or count that a counter has",
				       i);
	}
	pit->control &= 0x0f;
	if (pit->owed > pit_tick(PIT_OWED_NS))
		pit->owed = pit_tick(PIT_OWED_NS);
	irq_line_set(&pit->config.irq, pit_channel_out(&pit->channel[0], pit->seen_tick));
	return 0;
}

static const struct metric_field pit_metrics[] = {
	{"ticks", offsetof(struct pit, metric_ticks)},
	{"late_ticks", offsetof(struct pit, metric_late_ticks)},
	{"forgotten_ticks", offsetof(struct pit, metric_forgotten_ticks)},
	{.name = NULL},
};

static const struct device_class pit_class = {
	.name = "pit",
	.state = pit_state,
	.metrics = pit_metrics,
	.reset = pit_reset,
	.pause = pit_pause,
	.resume = pit_resume,
	.loaded = pit_loaded,
	.destroy = pit_destroy,
};

static const struct bus_ops pit_ops = {.read = pit_read, .write = pit_write, .size_max = 1};
static const struct bus_ops pit_control_ops = {
	.read = pit_control_read,
	.write = pit_control_write,
	.size_max = 1,
};

static int pit_add_ranges(struct pit *pit, pthread_mutex_t *lock, struct err *err)
{
	int ret = bus_add(pit->pio,
			  &(struct bus_range){.name = "pit",
					      .base = PIT_PORT,
					      .size = 4,
					      .ops = &pit_ops,
					      .opaque = pit,
					      .lock = lock},
			  err);

	if (ret)
		return ret;
	ret = bus_add(pit->pio,
		      &(struct bus_range){.name = "system-control-b",
					  .base = PIT_CONTROL_PORT,
					  .size = 1,
					  .ops = &pit_control_ops,
					  .opaque = pit,
					  .lock = lock},
		      err);
	if (ret)
		bus_remove(pit->pio, PIT_PORT);
	return ret;
}

struct device *pit_create(const struct device_env *env, const struct pit_config *config, struct err *err)
{
	struct pit *pit = calloc(1, sizeof(*pit));

	if (!pit) {
		err_set(err, -ENOMEM, "pit: no memory");
		return NULL;
	}
	pit->device.class = &pit_class;
	snprintf(pit->device.id, sizeof(pit->device.id), "pit");
	pit->device.description = (struct device_description){
		.acpi_hid = "PNP0100",
		.pio_base = {PIT_PORT},
		.pio_size = {4},
		.irq = {0, -1},
	};
	pit->config = *config;
	pit->pio = env->pio;
	pit->loop = env->loop;
	pit->timer = device_timer_create(env->loop, env->lock, pit_fire, pit, err);
	if (!pit->timer || pit_add_ranges(pit, env->lock, err)) {
		device_timer_destroy(pit->timer);
		free(pit);
		return NULL;
	}
	pthread_mutex_lock(env->lock);
	pit_reset(&pit->device);
	pthread_mutex_unlock(env->lock);
	return &pit->device;
}
