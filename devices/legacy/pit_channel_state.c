/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A counter of the 8254 to and from the neutral state. That has one count and the time at which it was
 * loaded; a count register that waits for the end of a period becomes a count loaded now.
 */
#include "devices/legacy/pit.h"
#include "devices/legacy/pit_channel.h"
#include "vmm/base/clock.h"
#include "vmm/core/irqchip_state.h"

static bool pit_channel_is_frozen_by(const struct pit_channel_state *state)
{
	return !state->gate && state->mode != 1 && state->mode != 5;
}

static uint64_t pit_channel_elapsed_state(const struct pit_channel *channel, uint64_t tick)
{
	if (!channel->running || channel->reload_tick != PIT_TICK_NEVER)
		return 0;
	if (!channel->gate && channel->mode != 1 && channel->mode != 5)
		return channel->frozen;
	return (int64_t)(tick - channel->base_tick) > 0 ? tick - channel->base_tick : 0;
}

void pit_channel_state_get(const struct pit_channel *channel, uint64_t tick, uint64_t now_ns,
			   struct pit_channel_state *state)
{
	uint64_t elapsed_ns = muldiv64(pit_channel_elapsed_state(channel, tick), NS_PER_S, PIT_HZ);

	*state = (struct pit_channel_state){
		.mode = channel->mode,
		.access = channel->access,
		.bcd = channel->bcd,
		.gate = channel->gate,
		.running = channel->running,
		.count = channel->reload,
		.loaded_ns = elapsed_ns < now_ns ? now_ns - elapsed_ns : 0,
		.write_low = channel->write_low,
		.write_second = channel->write_second,
		.read_second = channel->read_second,
		.latch = channel->latch,
		.latched = channel->latched,
		.status = channel->status,
		.status_latched = channel->status_latched,
	};
}

/* Counts are those of the counting element: 0 stands for its modulus. */
void pit_channel_state_set(struct pit_channel *channel, uint64_t tick, uint64_t now_ns,
			   const struct pit_channel_state *state)
{
	uint64_t elapsed_ns = state->loaded_ns < now_ns ? now_ns - state->loaded_ns : 0;
	uint64_t elapsed = muldiv64(elapsed_ns, PIT_HZ, NS_PER_S);
	uint32_t count = state->count && state->count <= 65536 ? state->count : 65536;

	*channel = (struct pit_channel){
		.mode = state->mode <= 5 ? state->mode : 0,
		.access = state->access & 3 ? state->access & 3 : 3,
		.bcd = state->bcd,
		.gate = state->gate,
		.loaded = state->running,
		.running = state->running,
		.count = count,
		.reload = count,
		.base_tick = tick - elapsed,
		.reload_tick = PIT_TICK_NEVER,
		.frozen = pit_channel_is_frozen_by(state) ? elapsed : 0,
		.write_low = state->write_low,
		.write_second = state->write_second,
		.read_second = state->read_second,
		.latch = state->latch,
		.latched = state->latched,
		.status = state->status,
		.status_latched = state->status_latched,
	};
}
