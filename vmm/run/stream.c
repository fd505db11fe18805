/* SPDX-License-Identifier: Apache-2.0 */
/* The thread of a stream. */
#include "vmm/run/stream.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/loop.h"

#define STREAM_BLOCK (64u << 10)

struct stream {
	struct stream_config config;
	pthread_t thread;
	int stop; /* eventfd */
	atomic_bool is_done;
	char block[STREAM_BLOCK];
};

/* Waits for something to read, or for the end of the stream. */
static bool stream_wait(struct stream *stream)
{
	struct pollfd poll_fd[] = {
		{.fd = stream->config.from, .events = POLLIN},
		{.fd = stream->stop, .events = POLLIN},
	};

	while (poll(poll_fd, 2, -1) < 0) {
		if (errno != EINTR)
			return false;
	}
	return !poll_fd[1].revents;
}

static bool stream_put(int to, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t done = write(to, data, len);

		if (done < 0 && errno == EAGAIN) { /* somebody else made the descriptor so */
			struct pollfd room = {.fd = to, .events = POLLOUT};

			poll(&room, 1, -1);
			continue;
		}
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		data += done;
		len -= (size_t)done;
	}
	return true;
}

static void *stream_run(void *opaque)
{
	struct stream *stream = opaque;
	sigset_t all;
	ssize_t got;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (stream_wait(stream)) {
		got = read(stream->config.from, stream->block, sizeof(stream->block));
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0 || !stream_put(stream->config.to, stream->block, (size_t)got))
			break;
	}
	/* The peer sees the end of its input, or that nobody takes its output. */
	shutdown(stream->config.socket, stream->config.from == stream->config.socket ? SHUT_RDWR : SHUT_WR);
	atomic_store(&stream->is_done, true);
	loop_post(stream->config.loop, stream->config.on_done, stream->config.opaque);
	return NULL;
}

struct stream *stream_create(const struct stream_config *config)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->config = *config;
	stream->stop = eventfd(0, EFD_CLOEXEC);
	if (stream->stop >= 0 && pthread_create(&stream->thread, NULL, stream_run, stream) == 0)
		return stream;
	if (stream->stop >= 0)
		close(stream->stop);
	free(stream);
	return NULL;
}

bool stream_is_done(const struct stream *stream)
{
	return atomic_load(&stream->is_done);
}

void stream_destroy(struct stream *stream)
{
	const uint64_t one = 1;

	if (!stream)
		return;
	/* A source that is ours is read to the end of what has arrived; one that is not is left alone. */
	shutdown(stream->config.socket, stream->config.from == stream->config.socket ? SHUT_RD : SHUT_RDWR);
	if (stream->config.from != stream->config.socket && write(stream->stop, &one, sizeof(one)) < 0)
		abort();
	pthread_join(stream->thread, NULL);
	close(stream->stop);
	close(stream->config.socket);
	free(stream);
}
