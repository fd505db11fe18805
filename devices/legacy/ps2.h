/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two PS/2 devices behind the keyboard controller: what they answer to a byte and what they send by
 * themselves. They know nothing of ports and interrupts. Only the files of the i8042 include this.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Room for one key sequence more than the 16 bytes of a keyboard's own buffer, and the longest reply. */
#define PS2_QUEUE_SIZE 32
#define PS2_EVENTS_MAX                                                                                       \
	16 /* bytes of keys or movements that may wait; the rest of the queue is for replies                 \
	    */

struct ps2_queue {
	uint8_t data[PS2_QUEUE_SIZE];
	uint8_t head, count;
	uint8_t last; /* sent last, for the resend command */
};

struct ps2_keyboard {
	struct ps2_queue queue;
	uint8_t command; /* waits for its parameter, 0: none */
	uint8_t set;     /* scan code set, 1 or 2 */
	uint8_t leds, rate;
	bool scanning;
};

struct ps2_mouse {
	struct ps2_queue queue;
	uint8_t command;
	uint8_t rate, resolution, buttons;
	bool enabled, remote, wrap, scale_2_1;
	int32_t dx, dy; /* movement not reported yet */
};

void ps2_queue_clear(struct ps2_queue *queue);
/* False, and nothing is put, when the queue is full. */
bool ps2_queue_put(struct ps2_queue *queue, uint8_t value);
/* count must not be 0. */
uint8_t ps2_queue_get(struct ps2_queue *queue);

void ps2_keyboard_reset(struct ps2_keyboard *keyboard);
/* The host (the controller) sends a byte. */
void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t value);
/* 0, -EINVAL for a code that no key has, -EAGAIN when there is no room or the keyboard does not scan. */
int ps2_keyboard_key(struct ps2_keyboard *keyboard, uint16_t set1_code, bool down);
/* How many bytes of keys still fit. */
unsigned ps2_keyboard_room(const struct ps2_keyboard *keyboard);

/* Set 2 to set 1 as the controller translates; a code that no key has stays as it is. */
uint8_t ps2_translate(uint8_t set2_code);

void ps2_mouse_reset(struct ps2_mouse *mouse);
void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t value);
void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, uint8_t buttons);
/* Reports movement that waits for room. */
void ps2_mouse_flush(struct ps2_mouse *mouse);
