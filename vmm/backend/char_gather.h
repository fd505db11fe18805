/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output by lines: a serial port gives its bytes one by one, and a system call for each costs more than the
 * byte. They wait for the end of their line, for a full buffer, or a few milliseconds. Knows neither device
 * nor descriptor.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/backend/char_output.h"

struct err;
struct loop;
struct loop_timer;

#define CHAR_GATHER_SIZE     256
#define CHAR_GATHER_DELAY_MS 4 /* a prompt without a line's end shows up at once, to a person */

struct char_gather {
	struct char_output output; /* its fd is set by the owner */
	struct loop_timer *timer;  /* owned */
	pthread_mutex_t lock;      /* a leaf, for all but the timer */
	size_t count;
	uint8_t bytes[CHAR_GATHER_SIZE];
};

int char_gather_start(struct char_gather *gather, struct loop *loop, struct err *err);
/* Writes what waits. Harmless on one that was never started; on the loop's thread, or when the loop does not
 * run. */
void char_gather_stop(struct char_gather *gather);
/* Takes all; returns len. Any thread. */
size_t char_gather_write(struct char_gather *gather, const uint8_t *data, size_t len);
/* Writes what waits. Any thread. */
void char_gather_flush(struct char_gather *gather);
