/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vhost-user back end may send: answers of any bytes to a sequence of messages, and a used ring of any
 * contents. No call may wait for more than it was sent, and no chain may come out of a ring twice.
 *
 * Input: protocol features (1 byte), number of calls (1), a byte a call, a length (1), used ring operations
 * of that many bytes, and the rest is what the peer answers.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/vhost_message.h"
#include "devices/virtio/vhost_ring.h"
#include "devices/virtio/virtqueue.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/core/gmem.h"

#define FUZZ_CALLS  32
#define FUZZ_CHAINS 64

static uint8_t fuzz_byte(const uint8_t **data, size_t *size)
{
	if (*size == 0)
		return 0;
	(*size)--;
	return *(*data)++;
}

static int fuzz_call(struct vhost_link *link, uint8_t which)
{
	const struct vhost_region regions[2] = {{0, 4096, 0x10000, 0}, {8192, 4096, 0x20000, 0}};
	const struct vhost_ring_address address = {.index = 1};
	const int fds[2] = {link->fd, link->fd};
	uint8_t config[VHOST_CONFIG_MAX];
	uint64_t value;
	unsigned base;

	switch (which % 15) {
	case 0: return vhost_get_features(link, &value, NULL);
	case 1: return vhost_set_features(link, 1, NULL);
	case 2: return vhost_get_protocol_features(link, &value, NULL);
	case 3: return vhost_set_protocol_features(link, which, NULL);
	case 4: return vhost_set_owner(link, NULL);
	case 5: return vhost_get_queue_count(link, &value, NULL);
	case 6: return vhost_get_config(link, config, which < 128 ? 60 : VHOST_CONFIG_MAX, NULL);
	case 7: return vhost_set_memory(link, regions, fds, 2, NULL);
	case 8: return vhost_set_ring_size(link, 0, 256, NULL);
	case 9: return vhost_set_ring_base(link, 0, 0, NULL);
	case 10: return vhost_set_ring_address(link, &address, NULL);
	case 11: return vhost_set_ring_kick(link, 0, link->fd, NULL);
	case 12: return vhost_enable_ring(link, 0, true, NULL);
	case 13: return vhost_set_ring_call(link, 1, link->fd, NULL);
	default: return vhost_get_ring_base(link, 1, &base, NULL);
	}
}

static void fuzz_messages(const uint8_t *calls, size_t count, uint8_t features, const uint8_t *answers,
			  size_t size)
{
	struct vhost_link link = {.timeout_ms = 1000, .protocol_features = features};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	link.fd = pair[0];
	if (send(pair[1], answers, size < 60000 ? size : 60000, MSG_NOSIGNAL) < 0 && size > 0)
		abort();
	shutdown(pair[1], SHUT_WR);
	for (size_t i = 0; i < count; i++)
		fuzz_call(&link, calls[i]);
	close(pair[1]);
	vhost_close(&link);
}

/* Chains go in; what comes out by the peer's word must have been in, and not twice. */
static void fuzz_ring(const uint8_t *data, size_t size)
{
	struct vhost_ring *ring = calloc(1, sizeof(*ring));
	struct gmem *gmem = gmem_create();
	struct virtq_chain chain[FUZZ_CHAINS] = {0};
	struct iovec iov[4];
	bool broken = false;
	uint64_t written;

	if (!ring || !gmem || gmem_add(gmem, 0, 1 << 16, GMEM_RAM, NULL) < 0)
		abort();
	ring->gmem = gmem;
	ring->memory = calloc(1, VHOST_RING_BYTES);
	vhost_ring_reset(ring);
	for (unsigned i = 0; i < 4; i++)
		iov[i] = (struct iovec){gmem_span(gmem, 4096 * i, 4096), 4096};
	while (size > 0 && !broken) {
		uint8_t what = fuzz_byte(&data, &size);
		struct virtq_chain *which = &chain[what % FUZZ_CHAINS];

		if (what < 128 && !which->in_flight) {
			*which = (struct virtq_chain){.read = iov,
						      .read_count = 1 + what % 2,
						      .write_count = what % 3,
						      .write_bytes = 4096ull * (what % 3),
						      .write = iov + 1};
			which->in_flight = vhost_ring_put(ring, which);
		} else if (what < 192) {
			size_t at = (size_t)(fuzz_byte(&data, &size) << 8 | fuzz_byte(&data, &size));

			vhost_ring_used(ring)[at % 2052] = fuzz_byte(&data, &size);
		} else {
			struct virtq_chain *taken = what < 240   ? vhost_ring_take(ring, &written, &broken)
						    : what < 248 ? vhost_ring_take_newest(ring)
								 : vhost_ring_take_back(ring);

			if (taken && !taken->in_flight)
				abort();
			if (taken)
				taken->in_flight = false;
			vhost_ring_wants_kick(ring);
		}
	}
	free(ring->memory);
	gmem_destroy(gmem);
	free(ring);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t features = fuzz_byte(&data, &size);
	size_t calls = fuzz_byte(&data, &size) % FUZZ_CALLS, ring;
	const uint8_t *call_bytes = data;

	calls = calls < size ? calls : size;
	data += calls, size -= calls;
	ring = fuzz_byte(&data, &size);
	ring = ring < size ? ring : size;
	fuzz_ring(data, ring);
	fuzz_messages(call_bytes, calls, features, data + ring, size - ring);
	return 0;
}
