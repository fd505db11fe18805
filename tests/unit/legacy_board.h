/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A board for testing devices without a machine: buses, locks, a clock that only the test turns, interrupt
 * lines that remember, a chardev of buffers. It stands in for vmm/core/timer.c, so nothing here depends on
 * the host's time.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/chardev.h"
#include "vmm/core/device.h"

#define BOARD_LINES    24
#define BOARD_START_NS 5000000000ull         /* device time when a board is made */
#define BOARD_REAL_NS  946782245000000000ull /* 2 January 2000 03:04:05 UTC, a Sunday */

struct loop;

struct board {
	struct device_env env;
	pthread_mutex_t lock, intr_lock;
	struct loop *loop;
	struct err err;
	bool line[BOARD_LINES];      /* levels */
	unsigned edges[BOARD_LINES]; /* rising edges */
	unsigned calls;              /* reset, exit and power-off callbacks */
	uint64_t last_value;         /* what the last of them was given */
};

struct board *board_create(void);
/* Destroys the device (may be NULL) and the board. */
void board_destroy(struct board *board, struct device *device);

struct irq_line board_line(struct board *board, unsigned number);

/* Turns the clock; timers fire at their deadlines, in order, under their locks. */
void board_advance(struct board *board, uint64_t ns);
uint64_t board_now(const struct board *board);
/* The clock jumps and each due timer fires once, late: the host was busy. */
void board_oversleep(struct board *board, uint64_t ns);
/* Timers armed now: 0 means that an idle guest wakes nobody. */
unsigned board_timers_armed(const struct board *board);
/* BOARD_REAL_NS plus what the clock has turned; for rtc_config.realtime_ns with the board as opaque. */
uint64_t board_realtime_ns(void *opaque);

/* Callbacks for configs, with the board as opaque. */
void board_call(void *opaque);
void board_call_bool(void *opaque, bool value);
void board_call_value(void *opaque, uint32_t value);

uint8_t board_in(struct board *board, uint16_t port);
void board_out(struct board *board, uint16_t port, uint8_t value);

/* Pauses `from`, copies its saved state into `to` by the class's table, and resumes `to`. */
void board_move_state(struct board *board, struct device *from, struct device *to);

struct board_chardev {
	struct chardev chardev;
	uint8_t out[4096];
	size_t out_len;
	bool refuse;      /* take nothing */
	unsigned accepts; /* calls of accept_input */
};
void board_chardev_init(struct board_chardev *chardev);
