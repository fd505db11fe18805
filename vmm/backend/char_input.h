/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reading half of character backends: a descriptor, a bounded queue, and delivery at the pace of the
 * device. Knows neither the kind of descriptor nor the device.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/core/chardev.h"

struct err;
struct loop_fd;

#define CHAR_INPUT_QUEUE_SIZE 4096 /* typed ahead of a busy guest; a pasted page fits */

/* Takes len bytes in place and returns how many the guest gets; may act on others. Loop's thread. */
typedef size_t char_input_filter(void *opaque, uint8_t *data, size_t len);

struct char_input {
	struct chardev *chardev; /* whose client receives */
	struct loop *loop;
	struct loop_fd
		*watch; /* NULL while the queue is full, at the end, and for what epoll does not take */
	int fd;         /* borrowed; -1: closed */
	bool lossy;     /* when the queue is full read on and drop, so that the filter sees every byte */
	bool pollable;  /* false: a regular file or /dev/null, always ready */
	bool ended;
	char_input_filter *filter;    /* may be NULL */
	void (*on_end)(void *opaque); /* end of file or an error; may be NULL */
	void *opaque;
	_Atomic bool waiting; /* the queue holds bytes that the device had no room for */
	size_t head, count;
	uint8_t queue[CHAR_INPUT_QUEUE_SIZE];
};

/* Starts reading. chardev, loop, lossy, filter, on_end and opaque must be set, the rest zero. */
int char_input_start(struct char_input *input, int fd, struct err *err);
/* Stops reading and drops the queue. */
void char_input_stop(struct char_input *input);
/* chardev_ops.accept_input. Any thread. */
void char_input_accept(struct char_input *input);
