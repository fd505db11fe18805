/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing half of character backends: a reader that is slow slows the guest for a while, one that stands
 * still loses output and stops nobody. Knows neither the kind of descriptor nor the device.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAR_OUTPUT_PATIENCE_MS                                                                              \
	1000 /* a pager gets a moment; afterwards nothing waits until it reads again */

struct char_output {
	int fd;         /* borrowed; -1: nobody is there */
	bool is_socket; /* send without SIGPIPE */
	bool stalled;   /* the last wait was in vain */
};

/* Writes all, or drops the rest when the reader stands still. Returns len: a guest sees no error. One thread
 * at a time. */
size_t char_output_write(struct char_output *output, const uint8_t *data, size_t len);
