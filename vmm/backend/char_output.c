/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of character backends. */
#include "vmm/backend/char_output.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* poll says writable when a pipe has PIPE_BUF bytes of room: a larger write could block. */
#define CHAR_OUTPUT_PIECE 4096

static bool char_output_is_ready(struct char_output *output)
{
	struct pollfd wanted = {.fd = output->fd, .events = POLLOUT};
	int ready = poll(&wanted, 1, output->stalled ? 0 : CHAR_OUTPUT_PATIENCE_MS);

	output->stalled = ready <= 0 || !(wanted.revents & POLLOUT);
	return !output->stalled;
}

static ssize_t char_output_piece(const struct char_output *output, const uint8_t *data, size_t len)
{
	if (len > CHAR_OUTPUT_PIECE)
		len = CHAR_OUTPUT_PIECE;
	if (output->is_socket)
		return send(output->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return write(output->fd, data, len);
}

size_t char_output_write(struct char_output *output, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len && output->fd >= 0 && char_output_is_ready(output)) {
		ssize_t written = char_output_piece(output, data + done, len - done);

		if (written < 0 && errno != EINTR && errno != EAGAIN)
			break;
		done += written > 0 ? (size_t)written : 0;
	}
	return len;
}
