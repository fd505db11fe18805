/* SPDX-License-Identifier: Apache-2.0 */
/* The board of tests/unit/legacy_board.h. Knows no device. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/legacy_board.h"
#include "vmm/core/timer.h"

#define LOOP_TIMERS 300

struct device_timer {
	struct loop *loop;
	pthread_mutex_t *lock;
	device_timer_fn *fn;
	void *opaque;
	uint64_t deadline_ns;
};

struct loop {
	uint64_t now_ns;
	struct device_timer *timers[LOOP_TIMERS];
};

struct device_timer *device_timer_create(struct loop *loop, pthread_mutex_t *lock, device_timer_fn *fn,
					 void *opaque, struct err *err)
{
	(void)err;
	for (unsigned i = 0; i < LOOP_TIMERS; i++) {
		if (loop->timers[i])
			continue;
		loop->timers[i] = calloc(1, sizeof(*loop->timers[i]));
		*loop->timers[i] = (struct device_timer){loop, lock, fn, opaque, DEVICE_TIMER_OFF};
		return loop->timers[i];
	}
	return NULL;
}

void device_timer_destroy(struct device_timer *timer)
{
	for (unsigned i = 0; timer && i < LOOP_TIMERS; i++)
		if (timer->loop->timers[i] == timer)
			timer->loop->timers[i] = NULL;
	free(timer);
}

void device_timer_arm(struct device_timer *timer, uint64_t deadline_ns)
{
	timer->deadline_ns = deadline_ns;
}

uint64_t device_timer_deadline(const struct device_timer *timer)
{
	return timer->deadline_ns;
}

uint64_t device_now_ns(struct loop *loop)
{
	return loop->now_ns;
}

static void loop_fire(struct device_timer *timer)
{
	pthread_mutex_lock(timer->lock);
	timer->deadline_ns = DEVICE_TIMER_OFF;
	timer->fn(timer->opaque, timer->loop->now_ns);
	pthread_mutex_unlock(timer->lock);
}

static struct device_timer *loop_next(const struct loop *loop, uint64_t until_ns)
{
	struct device_timer *next = NULL;

	for (unsigned i = 0; i < LOOP_TIMERS; i++) {
		struct device_timer *timer = loop->timers[i];

		if (timer && timer->deadline_ns <= until_ns &&
		    (!next || timer->deadline_ns < next->deadline_ns))
			next = timer;
	}
	return next;
}

void board_advance(struct board *board, uint64_t ns)
{
	uint64_t until_ns = board->loop->now_ns + ns;
	struct device_timer *timer;

	while ((timer = loop_next(board->loop, until_ns))) {
		if (timer->deadline_ns > board->loop->now_ns)
			board->loop->now_ns = timer->deadline_ns;
		loop_fire(timer);
	}
	board->loop->now_ns = until_ns;
}

void board_oversleep(struct board *board, uint64_t ns)
{
	board->loop->now_ns += ns;
	for (unsigned i = 0; i < LOOP_TIMERS; i++)
		if (board->loop->timers[i] && board->loop->timers[i]->deadline_ns <= board->loop->now_ns)
			loop_fire(board->loop->timers[i]);
}

uint64_t board_now(const struct board *board)
{
	return board->loop->now_ns;
}

unsigned board_timers_armed(const struct board *board)
{
	unsigned count = 0;

	for (unsigned i = 0; i < LOOP_TIMERS; i++)
		count += board->loop->timers[i] && board->loop->timers[i]->deadline_ns != DEVICE_TIMER_OFF;
	return count;
}

uint64_t board_realtime_ns(void *opaque)
{
	return BOARD_REAL_NS + board_now(opaque) - BOARD_START_NS;
}

struct board *board_create(void)
{
	struct board *board = calloc(1, sizeof(*board));

	board->loop = calloc(1, sizeof(*board->loop));
	board->loop->now_ns = BOARD_START_NS;
	pthread_mutex_init(&board->lock, NULL);
	pthread_mutex_init(&board->intr_lock, NULL);
	board->env = (struct device_env){
		.pio = bus_create("pio", 16),
		.mmio = bus_create("mmio", 52),
		.loop = board->loop,
		.lock = &board->lock,
		.intr_lock = &board->intr_lock,
	};
	return board;
}

void board_destroy(struct board *board, struct device *device)
{
	if (device)
		device->class->destroy(device);
	bus_destroy(board->env.pio);
	bus_destroy(board->env.mmio);
	free(board->loop);
	free(board);
}

static void board_set_line(void *opaque, unsigned number, bool level)
{
	struct board *board = opaque;

	board->edges[number] += level && !board->line[number];
	board->line[number] = level;
}

struct irq_line board_line(struct board *board, unsigned number)
{
	return (struct irq_line){.set = board_set_line, .opaque = board, .number = number};
}

void board_call(void *opaque)
{
	((struct board *)opaque)->calls++;
}

void board_call_bool(void *opaque, bool value)
{
	board_call_value(opaque, value);
}

void board_call_value(void *opaque, uint32_t value)
{
	struct board *board = opaque;

	board->calls++;
	board->last_value = value;
}

uint8_t board_in(struct board *board, uint16_t port)
{
	return (uint8_t)bus_read(board->env.pio, port, 1);
}

void board_out(struct board *board, uint16_t port, uint8_t value)
{
	bus_write(board->env.pio, port, value, 1);
}

static size_t board_state_size(enum state_type type)
{
	switch (type) {
	case STATE_U8: return 1;
	case STATE_U16: return 2;
	case STATE_U32: return 4;
	case STATE_U64: return 8;
	case STATE_BOOL: break;
	}
	return sizeof(bool);
}

void board_move_state(struct board *board, struct device *from, struct device *to)
{
	pthread_mutex_lock(&board->lock);
	if (from->class->pause)
		from->class->pause(from);
	for (const struct state_field *field = from->class->state; field && field->name; field++) {
		const struct state_group *group = field->group;
		size_t len = field->count * board_state_size(field->type);
		uint32_t count = group ? *(const uint32_t *)((const char *)from + group->count_offset) : 1;

		for (uint32_t i = 0; i < count; i++) {
			size_t at = field->offset + i * (group ? group->stride : 0);

			memcpy((char *)to + at, (const char *)from + at, len);
		}
	}
	if (to->class->resume)
		to->class->resume(to);
	pthread_mutex_unlock(&board->lock);
}

static size_t board_chardev_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	struct board_chardev *fake = (struct board_chardev *)chardev;

	if (fake->refuse)
		return 0;
	for (size_t i = 0; i < len; i++)
		fake->out[fake->out_len++ % sizeof(fake->out)] = data[i];
	return len;
}

static void board_chardev_accept(struct chardev *chardev)
{
	((struct board_chardev *)chardev)->accepts++;
}

void board_chardev_init(struct board_chardev *chardev)
{
	static const struct chardev_ops ops = {.write = board_chardev_write,
					       .accept_input = board_chardev_accept};

	*chardev = (struct board_chardev){.chardev = {.ops = &ops}};
}
