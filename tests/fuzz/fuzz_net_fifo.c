/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: what a peer may send over a stream. Lengths and frames of any kind go into the fifo, and are
 * taken with any offloads into room of any size; segments that look alike are joined. What comes out is never
 * more than came in, and a frame that was joined is one that may be cut again.
 */
#include <assert.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/backend/net_fifo.h"
#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_packet.h"
#include "vmm/core/netdev.h"

#define FIFO_SIZE (128u << 10)

static void check_joined(const struct netdev_header *header, const uint8_t *frame, size_t len)
{
	struct net_packet packet;

	assert(net_packet_parse(frame, len < NET_HEADERS_MAX ? len : NET_HEADERS_MAX, len, &packet));
	assert(packet.l4 == header->csum_start && packet.protocol == NET_IP_TCP);
	assert(header->gso_size > 0 && packet.payload + (size_t)header->gso_size < len);
	assert(packet.end == len && len - packet.l3 <= 65535);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t frame[NETDEV_FRAME_MAX + 16];
	struct net_fifo fifo;
	struct net_fifo_taking taking = {0};
	size_t room = NETDEV_FRAME_MAX;

	if (size < 4 || net_fifo_init(&fifo, FIFO_SIZE, NULL) < 0)
		return 0;
	taking.offloads = (uint32_t)data[0] << 8;
	taking.trusted = data[1] & 1;
	if (data[1] & 2)
		room = (size_t)data[2] * 16 + data[3];
	data += 4;
	size -= 4;
	if (size > FIFO_SIZE)
		size = FIFO_SIZE;
	memcpy(fifo.data, data, size);
	fifo.tail = size;
	for (;;) {
		const struct iovec iov[2] = {{frame, room / 3}, {frame + room / 3, room - room / 3}};
		struct netdev_header header;
		size_t before = net_fifo_bytes(&fifo);
		ssize_t got = net_fifo_receive(&fifo, &taking, &header, iov, 2);

		if (got < 0)
			break;
		assert((size_t)got + NET_FIFO_LENGTH_SIZE <= before && net_fifo_bytes(&fifo) < before);
		if (header.gso_type != NETDEV_GSO_NONE) {
			assert((size_t)got <= room);
			check_joined(&header, frame, (size_t)got);
		}
	}
	net_fifo_free(&fifo);
	return 0;
}
