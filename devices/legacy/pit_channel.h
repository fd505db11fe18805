/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One counter of the 8254, as a function of time in clocks: no state changes by itself. Shared by pit.c and
 * pit_channel.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pit_channel_state;

#define PIT_TICK_NEVER UINT64_MAX

struct pit_channel {
	uint8_t mode;   /* 0-5 */
	uint8_t access; /* 1: low byte, 2: high byte, 3: low then high */
	bool bcd;
	bool gate;
	bool loaded;          /* a count was written since the mode was */
	bool running;         /* the counting element was started: at once, in modes 1 and 5 by the gate */
	uint32_t count;       /* 1-65536: what the counting element was started with */
	uint32_t reload;      /* the count register: taken at reload_tick, or by the next trigger */
	uint64_t base_tick;   /* when the counting element held count */
	uint64_t reload_tick; /* when reload becomes count (modes 2 and 3), or PIT_TICK_NEVER */
	uint64_t frozen;      /* clocks counted when the gate went low */
	uint8_t write_low;    /* first byte of two */
	bool write_second;    /* the next write is the high byte */
	bool read_second;     /* the next read is the high byte */
	uint16_t latch;
	bool latched;
	uint8_t status;
	bool status_latched;
};

void pit_channel_reset(struct pit_channel *channel, bool gate);
/* The low six bits of a control word whose access bits are not 0. */
void pit_channel_set_mode(struct pit_channel *channel, uint8_t control);
void pit_channel_set_gate(struct pit_channel *channel, bool gate, uint64_t tick);
/* Takes a byte of the count; true if the channel's future has changed. */
bool pit_channel_write(struct pit_channel *channel, uint8_t value, uint64_t tick);
uint8_t pit_channel_read(struct pit_channel *channel, uint64_t tick);
void pit_channel_latch_count(struct pit_channel *channel, uint64_t tick);
void pit_channel_latch_status(struct pit_channel *channel, uint64_t tick);
/* Takes a new count over at the end of the period in which it was written. */
void pit_channel_sync(struct pit_channel *channel, uint64_t tick);
bool pit_channel_out(const struct pit_channel *channel, uint64_t tick);
/* Rising edges of OUT in (from, to]; the first after `after`, or PIT_TICK_NEVER. */
uint64_t pit_channel_edges(const struct pit_channel *channel, uint64_t from, uint64_t to);
uint64_t pit_channel_next_edge(const struct pit_channel *channel, uint64_t after);
/* Clocks between rising edges in modes 2 and 3, else 0. */
uint64_t pit_channel_period(const struct pit_channel *channel);
/* Device time stood still for shift clocks. */
void pit_channel_shift(struct pit_channel *channel, uint64_t shift);
/* The neutral state, whose time is that of the host: tick is now_ns in clocks. */
void pit_channel_state_get(const struct pit_channel *channel, uint64_t tick, uint64_t now_ns,
			   struct pit_channel_state *state);
void pit_channel_state_set(struct pit_channel *channel, uint64_t tick, uint64_t now_ns,
			   const struct pit_channel_state *state);
