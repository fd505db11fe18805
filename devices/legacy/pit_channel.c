/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A counter of the 8254: six modes, access modes, latches, gate. Knows nothing of ports, host time or
 * interrupts. Intel 8254 data sheet, "Mode Definitions" and "Read Operations".
 *
 * A count written in clock t is in the counting element in clock t + 1 (base_tick). With e clocks since then,
 * and a count of n, OUT and the element are functions of e alone:
 *
 *   mode  OUT                                counting element
 *   0, 1  low until e = n                    n - e, on through 0 to 0xffff (9999)
 *   2     low in the clock before a reload   n - e mod n
 *   3     high for (n + 1) / 2, then low     down by two, twice in a period
 *   4, 5  low in the clock e = n             n - e, on through 0
 */
#include "devices/legacy/pit_channel.h"

static uint32_t pit_channel_modulus(const struct pit_channel *channel)
{
	return channel->bcd ? 10000 : 65536;
}

static bool pit_channel_is_periodic(const struct pit_channel *channel)
{
	return channel->mode == 2 || channel->mode == 3;
}

static bool pit_channel_is_triggered(const struct pit_channel *channel)
{
	return channel->mode == 1 || channel->mode == 5;
}

/* The gate stops modes 0, 2, 3, 4 while it is low. */
static bool pit_channel_is_frozen(const struct pit_channel *channel)
{
	return !channel->gate && !pit_channel_is_triggered(channel);
}

static uint64_t pit_channel_elapsed(const struct pit_channel *channel, uint64_t tick)
{
	if (pit_channel_is_frozen(channel))
		return channel->frozen;
	/* A square wave may be based before clock 0, and a count in the clock to come. */
	return (int64_t)(tick - channel->base_tick) > 0 ? tick - channel->base_tick : 0;
}

static uint32_t pit_channel_high_clocks(uint32_t count)
{
	return (count + 1) / 2;
}

void pit_channel_reset(struct pit_channel *channel, bool gate)
{
	*channel = (struct pit_channel){
		.access = 3,
		.gate = gate,
		.count = 65536,
		.reload = 65536,
		.reload_tick = PIT_TICK_NEVER,
	};
}

void pit_channel_set_mode(struct pit_channel *channel, uint8_t control)
{
	uint8_t mode = (control >> 1) & 7;

	channel->mode = mode > 5 ? mode - 4 : mode;
	channel->access = control >> 4;
	channel->bcd = control & 1;
	channel->loaded = channel->running = false;
	channel->write_second = channel->read_second = false;
	channel->latched = channel->status_latched = false;
	channel->reload_tick = PIT_TICK_NEVER;
	channel->frozen = 0;
}

static uint32_t pit_channel_from_bcd(uint16_t value)
{
	return (value >> 12) * 1000u + ((value >> 8) & 15) * 100u + ((value >> 4) & 15) * 10u + (value & 15);
}

static uint16_t pit_channel_to_bcd(uint32_t value)
{
	return (uint16_t)((value / 1000 % 10) << 12 | (value / 100 % 10) << 8 | (value / 10 % 10) << 4 |
			  value % 10);
}

/* The end of the present period (mode 2) or half-period (mode 3), where a new count is taken over. */
static uint64_t pit_channel_boundary(const struct pit_channel *channel, uint64_t tick)
{
	uint64_t elapsed = pit_channel_elapsed(channel, tick);
	uint64_t phase = elapsed % channel->count;
	uint64_t start = channel->base_tick + elapsed - phase;
	uint32_t high = pit_channel_high_clocks(channel->count);

	if (channel->mode == 3 && phase < high)
		return start + high;
	return start + channel->count;
}

/* Starts the counting element with the count register in the next clock. */
static void pit_channel_start(struct pit_channel *channel, uint64_t tick)
{
	channel->count = channel->reload;
	channel->base_tick = tick + 1;
	channel->reload_tick = PIT_TICK_NEVER;
	channel->frozen = 0;
	channel->running = true;
}

static void pit_channel_load(struct pit_channel *channel, uint16_t value, uint64_t tick)
{
	uint32_t count = channel->bcd ? pit_channel_from_bcd(value) % 10000 : value;

	channel->reload = count ? count : pit_channel_modulus(channel);
	channel->loaded = true;
	if (pit_channel_is_triggered(channel))
		return; /* the next trigger takes it */
	if (pit_channel_is_periodic(channel) && channel->running && channel->gate)
		channel->reload_tick = pit_channel_boundary(channel, tick);
	else
		pit_channel_start(channel, tick);
}

bool pit_channel_write(struct pit_channel *channel, uint8_t value, uint64_t tick)
{
	if (channel->access == 3 && !channel->write_second) {
		channel->write_low = value;
		channel->write_second = true;
		/* "Writing the first byte disables counting. OUT is set low immediately." (Mode 0) */
		if (channel->mode == 0)
			channel->loaded = channel->running = false;
		return channel->mode == 0;
	}
	if (channel->access == 3)
		pit_channel_load(channel, (uint16_t)(value << 8 | channel->write_low), tick);
	else
		pit_channel_load(channel, channel->access == 2 ? (uint16_t)(value << 8) : value, tick);
	channel->write_second = false;
	return true;
}

void pit_channel_set_gate(struct pit_channel *channel, bool gate, uint64_t tick)
{
	uint64_t elapsed = pit_channel_elapsed(channel, tick);

	if (gate == channel->gate)
		return;
	channel->gate = gate;
	if (!gate) {
		channel->frozen = elapsed;
		return;
	}
	if (!channel->loaded)
		return;
	if (pit_channel_is_triggered(channel) || pit_channel_is_periodic(channel))
		pit_channel_start(channel, tick);
	else
		channel->base_tick = tick - channel->frozen;
}

/* In mode 3 the new count starts with the half that is due: the base is set so that the phase comes out
 * right. */
void pit_channel_sync(struct pit_channel *channel, uint64_t tick)
{
	uint64_t phase;

	if (tick < channel->reload_tick || pit_channel_is_frozen(channel))
		return;
	phase = (channel->reload_tick - channel->base_tick) % channel->count;
	channel->count = channel->reload;
	channel->base_tick = channel->reload_tick;
	if (channel->mode == 3 && phase)
		channel->base_tick -= pit_channel_high_clocks(channel->count);
	channel->reload_tick = PIT_TICK_NEVER;
}

bool pit_channel_out(const struct pit_channel *channel, uint64_t tick)
{
	uint64_t elapsed = pit_channel_elapsed(channel, tick);

	if (!channel->running)
		return channel->mode != 0;
	switch (channel->mode) {
	case 0:
	case 1: return elapsed >= channel->count;
	case 2:
		return !channel->gate || elapsed % channel->count != channel->count - 1 ||
		       channel->count == 1;
	case 3: return !channel->gate || elapsed % channel->count < pit_channel_high_clocks(channel->count);
	default: return elapsed != channel->count;
	}
}

/* The counting element in mode 3: even counts step through n, n - 2 .. 2; odd ones through n - 1 .. 0 and n -
 * 1 .. 2. */
static uint32_t pit_channel_square_count(const struct pit_channel *channel, uint64_t elapsed)
{
	uint32_t high = pit_channel_high_clocks(channel->count);
	uint32_t phase = (uint32_t)(elapsed % channel->count);
	uint32_t first = channel->count & ~1u;

	return first - 2 * (phase < high ? phase : phase - high);
}

static uint16_t pit_channel_count(const struct pit_channel *channel, uint64_t tick)
{
	uint32_t modulus = pit_channel_modulus(channel);
	uint64_t elapsed = channel->running ? pit_channel_elapsed(channel, tick) : 0;
	uint32_t count;

	if (channel->mode == 3)
		count = pit_channel_square_count(channel, elapsed);
	else if (channel->mode == 2)
		count = channel->count - (uint32_t)(elapsed % channel->count);
	else
		count = (uint32_t)((channel->count + modulus - elapsed % modulus) % modulus);
	return channel->bcd ? pit_channel_to_bcd(count % modulus) : (uint16_t)count;
}

void pit_channel_latch_count(struct pit_channel *channel, uint64_t tick)
{
	if (channel->latched)
		return;
	channel->latch = pit_channel_count(channel, tick);
	channel->latched = true;
	channel->read_second = false;
}

/* 7 OUT, 6 null count: what was written is not yet in the counting element, 5..0 as programmed. */
void pit_channel_latch_status(struct pit_channel *channel, uint64_t tick)
{
	bool null_count = !channel->loaded || !channel->running || (int64_t)(tick - channel->base_tick) < 0 ||
			  channel->reload_tick != PIT_TICK_NEVER || channel->count != channel->reload;

	if (channel->status_latched)
		return;
	channel->status = (uint8_t)(pit_channel_out(channel, tick) << 7 | null_count << 6 |
				    channel->access << 4 | channel->mode << 1 | channel->bcd);
	channel->status_latched = true;
}

uint8_t pit_channel_read(struct pit_channel *channel, uint64_t tick)
{
	uint16_t count;

	if (channel->status_latched) {
		channel->status_latched = false;
		return channel->status;
	}
	count = channel->latched ? channel->latch : pit_channel_count(channel, tick);
	if (channel->access != 3) {
		channel->latched = false;
		return (uint8_t)(channel->access == 2 ? count >> 8 : count);
	}
	channel->read_second = !channel->read_second;
	if (channel->read_second)
		return (uint8_t)count;
	channel->latched = false;
	return (uint8_t)(count >> 8);
}

/* Clocks after base_tick of the first rising edge of OUT; the strobes of modes 4 and 5 end one clock later.
 */
static uint64_t pit_channel_first_edge(const struct pit_channel *channel)
{
	return channel->mode >= 4 ? (uint64_t)channel->count + 1 : channel->count;
}

uint64_t pit_channel_period(const struct pit_channel *channel)
{
	return pit_channel_is_periodic(channel) && channel->running && channel->gate ? channel->count : 0;
}

uint64_t pit_channel_next_edge(const struct pit_channel *channel, uint64_t after)
{
	uint64_t edge = channel->base_tick + pit_channel_first_edge(channel);
	uint64_t high;

	if (!channel->running || pit_channel_is_frozen(channel))
		return PIT_TICK_NEVER;
	if (edge > after)
		high = edge;
	else if (!pit_channel_is_periodic(channel))
		return PIT_TICK_NEVER;
	else
		high = edge + ((after - edge) / channel->count + 1) * channel->count;
	/* A count that takes over in the middle of a square wave moves the edge. */
	if (channel->reload_tick < high && channel->mode == 3)
		return channel->reload_tick + channel->reload - pit_channel_high_clocks(channel->reload);
	return high;
}

static uint64_t pit_channel_edges_until(const struct pit_channel *channel, uint64_t from, uint64_t to)
{
	uint64_t next = pit_channel_next_edge(channel, from);

	if (next > to)
		return 0;
	return pit_channel_is_periodic(channel) ? 1 + (to - next) / channel->count : 1;
}

uint64_t pit_channel_edges(const struct pit_channel *channel, uint64_t from, uint64_t to)
{
	struct pit_channel later = *channel;
	uint64_t edges;

	if (to <= from)
		return 0;
	if (channel->reload_tick > to || pit_channel_is_frozen(channel))
		return pit_channel_edges_until(channel, from, to);
	later.reload_tick = PIT_TICK_NEVER;
	edges = channel->reload_tick > from ? pit_channel_edges_until(&later, from, channel->reload_tick) : 0;
	later = *channel;
	pit_channel_sync(&later, to);
	return edges +
	       pit_channel_edges_until(&later, channel->reload_tick > from ? channel->reload_tick : from, to);
}

void pit_channel_shift(struct pit_channel *channel, uint64_t shift)
{
	channel->base_tick += shift;
	if (channel->reload_tick != PIT_TICK_NEVER)
		channel->reload_tick += shift;
}
