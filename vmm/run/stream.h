/* SPDX-License-Identifier: Apache-2.0 */
/* One direction of bytes, carried by a thread with blocking calls between a socket and a descriptor of this
 * process. */
#pragma once

#include <stdbool.h>

struct loop;
struct stream;

struct stream_config {
	struct loop *loop;
	int from, to;
	int socket;                    /* the one of the two that is ours: owned, closed at the end */
	void (*on_done)(void *opaque); /* posted to the loop when `from` has ended or `to` takes no more */
	void *opaque;
};

/* Takes the socket; NULL (and does not take it) when there is no thread to be had. */
struct stream *stream_create(const struct stream_config *config);
bool stream_is_done(const struct stream *stream);
/* One whose socket is its source is carried to its end: the peer must be gone. One that reads elsewhere is
 * stopped. */
void stream_destroy(struct stream *stream);
