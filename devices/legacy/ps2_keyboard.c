/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PS/2 keyboard with 102 keys, and the queue of both PS/2 devices. Knows nothing of the controller but the
 * table by which that translates. IBM PS/2 Hardware Interface Technical Reference, keyboards (101- and
 * 102-key).
 */
#include <errno.h>
#include <stddef.h>

#include "devices/legacy/ps2.h"

#define KEYBOARD_ACK      0xfa
#define KEYBOARD_RESEND   0xfe
#define KEYBOARD_TESTED   0xaa
#define KEYBOARD_EXTENDED 0xe0
#define KEYBOARD_RELEASED 0xf0
#define KEYBOARD_SET1_MAX 0x58

/* Make codes of set 2, by those of set 1 (0: no such key). */
static const uint8_t ps2_set2_of_set1[KEYBOARD_SET1_MAX + 1] = {
	0x00, 0x76, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d,
	0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d, /* 00-0f */
	0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44,
	0x4d, 0x54, 0x5b, 0x5a, 0x14, 0x1c, 0x1b, /* 10-1f */
	0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52,
	0x0e, 0x12, 0x5d, 0x1a, 0x22, 0x21, 0x2a, /* 20-2f */
	0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7c, 0x11,
	0x29, 0x58, 0x05, 0x06, 0x04, 0x0c, 0x03, /* 30-3f */
	0x0b, 0x83, 0x0a, 0x01, 0x09, 0x77, 0x7e, 0x6c, 0x75,
	0x7d, 0x7b, 0x6b, 0x73, 0x74, 0x79, 0x69,             /* 40-4f */
	0x72, 0x7a, 0x70, 0x71, 0x84, 0x60, 0x61, 0x78, 0x07, /* 50-58 */
};

void ps2_queue_clear(struct ps2_queue *queue)
{
	queue->head = queue->count = 0;
}

bool ps2_queue_put(struct ps2_queue *queue, uint8_t value)
{
	if (queue->count >= PS2_QUEUE_SIZE)
		return false;
	queue->data[(queue->head + queue->count) % PS2_QUEUE_SIZE] = value;
	queue->count++;
	return true;
}

uint8_t ps2_queue_get(struct ps2_queue *queue)
{
	queue->last = queue->data[queue->head % PS2_QUEUE_SIZE];
	queue->head = (queue->head + 1) % PS2_QUEUE_SIZE;
	queue->count--;
	return queue->last;
}

uint8_t ps2_translate(uint8_t set2_code)
{
	/* The number of set 2 itself, as a translated keyboard answers to "which set": 0x41, and 0x43 for
	 * set 1. */
	if (set2_code == 0x02)
		return 0x41;
	for (unsigned code = 1; set2_code && code <= KEYBOARD_SET1_MAX; code++)
		if (ps2_set2_of_set1[code] == set2_code)
			return (uint8_t)code;
	return set2_code;
}

static void ps2_keyboard_defaults(struct ps2_keyboard *keyboard)
{
	keyboard->command = 0;
	keyboard->set = 2;
	keyboard->rate = 0x2b; /* 10.9 characters a second after half a second */
	ps2_queue_clear(&keyboard->queue);
}

void ps2_keyboard_reset(struct ps2_keyboard *keyboard)
{
	ps2_keyboard_defaults(keyboard);
	keyboard->leds = 0;
	keyboard->scanning = true;
}

static void ps2_keyboard_parameter(struct ps2_keyboard *keyboard, uint8_t value)
{
	uint8_t command = keyboard->command;

	keyboard->command = 0;
	if (command == 0xed) {
		keyboard->leds = value & 7;
	} else if (command == 0xf3) {
		keyboard->rate = value & 0x7f;
	} else if (command == 0xf0 && value == 0) {
		ps2_queue_put(&keyboard->queue, KEYBOARD_ACK);
		ps2_queue_put(&keyboard->queue, keyboard->set);
		return;
	} else if (command == 0xf0) {
		/* Set 3 is for terminals: no PC's system asks for it in earnest, and this keyboard has two.
		 */
		if (value > 2) {
			ps2_queue_put(&keyboard->queue, KEYBOARD_RESEND);
			return;
		}
		keyboard->set = value;
	}
	ps2_queue_put(&keyboard->queue, KEYBOARD_ACK);
}

static void ps2_keyboard_command(struct ps2_keyboard *keyboard, uint8_t value)
{
	switch (value) {
	case 0xed:
	case 0xf0:
	case 0xf3: /* LEDs, scan code set, typematic rate: a parameter follows */
		keyboard->command = value;
		break;
	case 0xee: /* echo */ ps2_queue_put(&keyboard->queue, value); return;
	case 0xf2: /* identify */
		ps2_queue_put(&keyboard->queue, KEYBOARD_ACK);
		ps2_queue_put(&keyboard->queue, 0xab);
		ps2_queue_put(&keyboard->queue, 0x83);
		return;
	case 0xf4: /* enable */
		ps2_queue_clear(&keyboard->queue);
		keyboard->scanning = true;
		break;
	case 0xf5: /* defaults, and stop scanning */
		ps2_keyboard_defaults(keyboard);
		keyboard->scanning = false;
		break;
	case 0xf6: /* defaults */ ps2_keyboard_defaults(keyboard); break;
	case 0xf7:
	case 0xf8:
	case 0xf9:
	case 0xfa: /* all keys' typematic and make/break: for set 3 only */ break;
	case 0xfe: ps2_queue_put(&keyboard->queue, keyboard->queue.last); return;
	case 0xff: /* reset and basic assurance test */
		ps2_keyboard_reset(keyboard);
		ps2_queue_put(&keyboard->queue, KEYBOARD_ACK);
		ps2_queue_put(&keyboard->queue, KEYBOARD_TESTED);
		return;
	default: ps2_queue_put(&keyboard->queue, KEYBOARD_RESEND); return;
	}
	ps2_queue_put(&keyboard->queue, KEYBOARD_ACK);
}

/* A command in the place of a parameter is a command: parameters are below 0x80. */
void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t value)
{
	if (keyboard->command && value < 0x80) {
		ps2_keyboard_parameter(keyboard, value);
		return;
	}
	keyboard->command = 0;
	ps2_keyboard_command(keyboard, value);
}

unsigned ps2_keyboard_room(const struct ps2_keyboard *keyboard)
{
	return keyboard->scanning && keyboard->queue.count < PS2_EVENTS_MAX
		       ? PS2_EVENTS_MAX - keyboard->queue.count
		       : 0;
}

int ps2_keyboard_key(struct ps2_keyboard *keyboard, uint16_t set1_code, bool down)
{
	uint8_t code = set1_code & 0xff;
	bool extended = set1_code >> 8 == KEYBOARD_EXTENDED;

	if (!code || code > KEYBOARD_SET1_MAX || (set1_code > 0xff && !extended))
		return -EINVAL;
	if (ps2_keyboard_room(keyboard) < 3)
		return -EAGAIN;
	if (extended)
		ps2_queue_put(&keyboard->queue, KEYBOARD_EXTENDED);
	if (keyboard->set == 1) {
		ps2_queue_put(&keyboard->queue, down ? code : code | 0x80);
		return 0;
	}
	if (!down)
		ps2_queue_put(&keyboard->queue, KEYBOARD_RELEASED);
	ps2_queue_put(&keyboard->queue, ps2_set2_of_set1[code]);
	return 0;
}
