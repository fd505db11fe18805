/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PS/2 mouse with three buttons. Knows nothing of the controller. IBM PS/2 Hardware Interface Technical
 * Reference, mouse.
 *
 *   report   7: y overflow  6: x overflow  5: y sign  4: x sign  3: 1  2: middle  1: right  0: left;  x;  y
 */
#include "devices/legacy/ps2.h"

#define MOUSE_ACK          0xfa
#define MOUSE_ERROR        0xfe
#define MOUSE_TESTED       0xaa
#define MOUSE_STEP         255    /* counts that one report can carry */
#define MOUSE_DISTANCE_MAX 100000 /* movement kept while nobody reads: more would only be a jump */

static void ps2_mouse_defaults(struct ps2_mouse *mouse)
{
	mouse->command = 0;
	mouse->rate = 100;
	mouse->resolution = 2;
	mouse->enabled = mouse->remote = mouse->wrap = mouse->scale_2_1 = false;
	mouse->dx = mouse->dy = 0;
	ps2_queue_clear(&mouse->queue);
}

void ps2_mouse_reset(struct ps2_mouse *mouse)
{
	ps2_mouse_defaults(mouse);
	mouse->buttons = 0;
}

static int32_t ps2_mouse_step(int32_t *distance)
{
	int32_t step = *distance;

	if (step > MOUSE_STEP)
		step = MOUSE_STEP;
	if (step < -MOUSE_STEP)
		step = -MOUSE_STEP;
	*distance -= step;
	return step;
}

static void ps2_mouse_report(struct ps2_mouse *mouse)
{
	int32_t dx = ps2_mouse_step(&mouse->dx), dy = ps2_mouse_step(&mouse->dy);

	ps2_queue_put(&mouse->queue,
		      (uint8_t)(mouse->buttons | 0x08 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
	ps2_queue_put(&mouse->queue, (uint8_t)dx);
	ps2_queue_put(&mouse->queue, (uint8_t)dy);
}

void ps2_mouse_flush(struct ps2_mouse *mouse)
{
	while (mouse->enabled && !mouse->remote && (mouse->dx || mouse->dy) &&
	       mouse->queue.count + 3 <= PS2_EVENTS_MAX)
		ps2_mouse_report(mouse);
}

static int32_t ps2_mouse_add(int32_t distance, int delta)
{
	int64_t sum = (int64_t)distance + delta;

	if (sum > MOUSE_DISTANCE_MAX)
		return MOUSE_DISTANCE_MAX;
	return sum < -MOUSE_DISTANCE_MAX ? -MOUSE_DISTANCE_MAX : (int32_t)sum;
}

void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, uint8_t buttons)
{
	bool pressed = (buttons & 7) != mouse->buttons;

	mouse->buttons = buttons & 7;
	mouse->dx = ps2_mouse_add(mouse->dx, dx);
	mouse->dy = ps2_mouse_add(mouse->dy, dy);
	if (pressed && mouse->enabled && !mouse->remote && mouse->queue.count + 3 <= PS2_EVENTS_MAX)
		ps2_mouse_report(mouse);
	ps2_mouse_flush(mouse);
}

static void ps2_mouse_status(struct ps2_mouse *mouse)
{
	/* 2: left, 1: middle, 0: right - not the order of a report */
	uint8_t buttons =
		(uint8_t)((mouse->buttons & 1) << 2 | (mouse->buttons & 4) >> 1 | (mouse->buttons & 2) >> 1);

	ps2_queue_put(&mouse->queue,
		      (uint8_t)(mouse->remote << 6 | mouse->enabled << 5 | mouse->scale_2_1 << 4 | buttons));
	ps2_queue_put(&mouse->queue, mouse->resolution);
	ps2_queue_put(&mouse->queue, mouse->rate);
}

static void ps2_mouse_command(struct ps2_mouse *mouse, uint8_t value)
{
	ps2_queue_put(&mouse->queue, MOUSE_ACK);
	switch (value) {
	case 0xe6: mouse->scale_2_1 = false; break;
	case 0xe7: mouse->scale_2_1 = true; break;
	case 0xe8:
	case 0xf3: mouse->command = value; break; /* resolution, rate: a parameter follows */
	case 0xe9: ps2_mouse_status(mouse); break;
	case 0xea: mouse->remote = false; break;
	case 0xeb: ps2_mouse_report(mouse); break;
	case 0xec: mouse->wrap = false; break;
	case 0xee: mouse->wrap = true; break;
	case 0xf0: mouse->remote = true; break;
	case 0xf2: ps2_queue_put(&mouse->queue, 0x00); break; /* identify: a mouse without a wheel */
	case 0xf4: mouse->enabled = true; break;
	case 0xf5: mouse->enabled = false; break;
	case 0xf6:
		ps2_mouse_defaults(mouse);
		ps2_queue_put(&mouse->queue, MOUSE_ACK);
		break;
	case 0xff:
		ps2_mouse_reset(mouse);
		ps2_queue_put(&mouse->queue, MOUSE_ACK);
		ps2_queue_put(&mouse->queue, MOUSE_TESTED);
		ps2_queue_put(&mouse->queue, 0x00);
		break;
	default: /* the acknowledge becomes "send that again" */
		mouse->queue.data[(mouse->queue.head + mouse->queue.count - 1u) % PS2_QUEUE_SIZE] =
			MOUSE_ERROR;
		break;
	}
}

void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t value)
{
	uint8_t command = mouse->command;

	/* A command ends the report in progress and drops what waits (stream mode). */
	ps2_queue_clear(&mouse->queue);
	mouse->command = 0;
	if (mouse->wrap && value != 0xff && value != 0xec) {
		ps2_queue_put(&mouse->queue, value);
	} else if (value == 0xfe) {
		ps2_queue_put(&mouse->queue, mouse->queue.last);
	} else if (command && value < 0xe0) {
		if (command == 0xe8)
			mouse->resolution = value & 3;
		else
			mouse->rate = value;
		ps2_queue_put(&mouse->queue, MOUSE_ACK);
	} else {
		ps2_mouse_command(mouse, value);
	}
}
