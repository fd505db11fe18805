/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The buffer of frames, and joining segments. What may be joined is what Linux joins (generic receive
 * offload): TCP over IP without options or fragments, the same headers but for length, identification,
 * sequence number and checksum, every segment but the last of the first one's size; PSH or FIN ends the run.
 * A run is found by looking at the frames behind the head; nothing is copied but into the guest.
 */
#include "vmm/backend/net_fifo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_packet.h"
#include "vmm/base/err.h"
#include "vmm/core/netdev.h"

#define RUN_IP_MAX 65535u /* an IP packet's length fits 16 bits */

/* Frames that become one. */
struct net_fifo_run {
	struct net_packet packet; /* of the first frame */
	const uint8_t *first;
	size_t first_len;
	size_t segment; /* payload of the first */
	size_t total;   /* bytes of the joined frame */
	unsigned count;
	uint8_t flags;      /* FIN and PSH of the last */
	uint32_t next_seq;  /* what the next segment must begin with */
	bool ended;         /* nothing may follow */
	size_t bytes_taken; /* in the fifo */
};

int net_fifo_init(struct net_fifo *fifo, size_t size, struct err *err)
{
	*fifo = (struct net_fifo){0};
	if (size < NETDEV_FRAME_MAX + NET_FIFO_LENGTH_SIZE)
		return err_set(err, -EINVAL, "a buffer of %zu bytes holds no frame", size);
	fifo->data = malloc(size);
	if (!fifo->data)
		return err_set(err, -ENOMEM, "no memory for frames");
	fifo->size = size;
	return 0;
}

void net_fifo_free(struct net_fifo *fifo)
{
	free(fifo->data);
	*fifo = (struct net_fifo){0};
}

size_t net_fifo_room(struct net_fifo *fifo, size_t wanted)
{
	if (fifo->head == fifo->tail)
		fifo->head = fifo->tail = 0;
	if (fifo->size - fifo->tail < wanted && fifo->head > 0) {
		memmove(fifo->data, fifo->data + fifo->head, net_fifo_bytes(fifo));
		fifo->tail -= fifo->head;
		fifo->head = 0;
	}
	return fifo->size - fifo->tail;
}

bool net_fifo_put(struct net_fifo *fifo, const void *frame, size_t len)
{
	if (len > NETDEV_FRAME_MAX ||
	    net_fifo_room(fifo, NET_FIFO_LENGTH_SIZE + len) < NET_FIFO_LENGTH_SIZE + len)
		return false;
	net_put32(fifo->data + fifo->tail, (uint32_t)len);
	memcpy(fifo->data + fifo->tail + NET_FIFO_LENGTH_SIZE, frame, len);
	fifo->tail += NET_FIFO_LENGTH_SIZE + len;
	return true;
}

/* The frame `at` bytes behind the head. */
static enum net_fifo_state net_fifo_look(const struct net_fifo *fifo, size_t at, uint8_t **frame, size_t *len)
{
	size_t bytes = net_fifo_bytes(fifo) - at;

	*frame = NULL;
	*len = 0;
	if (bytes < NET_FIFO_LENGTH_SIZE)
		return NET_FIFO_EMPTY;
	*frame = fifo->data + fifo->head + at + NET_FIFO_LENGTH_SIZE;
	*len = net_get32(fifo->data + fifo->head + at);
	if (*len == 0 || *len > NETDEV_FRAME_MAX)
		return NET_FIFO_BAD;
	return *len <= bytes - NET_FIFO_LENGTH_SIZE ? NET_FIFO_FRAME : NET_FIFO_EMPTY;
}

enum net_fifo_state net_fifo_state(const struct net_fifo *fifo)
{
	uint8_t *frame;
	size_t len;

	return net_fifo_look(fifo, 0, &frame, &len);
}

void net_fifo_drop(struct net_fifo *fifo)
{
	uint8_t *frame;
	size_t len;

	while (net_fifo_look(fifo, 0, &frame, &len) == NET_FIFO_FRAME)
		fifo->head += NET_FIFO_LENGTH_SIZE + len;
}

static bool net_fifo_checksum_is_right(const uint8_t *frame, const struct net_packet *packet)
{
	size_t l4_len = packet->end - packet->l4;
	uint64_t sum = net_packet_pseudo_sum(frame, packet, l4_len) + net_sum(frame + packet->l4, l4_len);

	/* UDP over IPv4 need not have one: that is nothing to vouch for, and nothing wrong. */
	if (packet->protocol == NET_IP_UDP && net_get16(frame + packet->csum) == 0)
		return false;
	return net_sum_fold(sum) == 0xffff;
}

/* A segment that may be part of a run. */
static bool net_fifo_is_plain(const uint8_t *frame, size_t len, const struct net_packet *packet)
{
	const uint8_t *ip = frame + packet->l3;

	if (packet->protocol != NET_IP_TCP || packet->l4 == 0 || packet->payload >= packet->end)
		return false;
	if (packet->version == 4 && (packet->l4 - packet->l3 != 20 || (net_get16(ip + 6) & 0xbfff) != 0))
		return false; /* options or fragments; DF may be set */
	if (packet->end != len && len > 60)
		return false; /* padding where none is needed */
	return (frame[packet->l4 + NET_TCP_FLAGS] & ~(NET_TCP_PSH | NET_TCP_FIN)) == NET_TCP_ACKED;
}

/* Whether two heads differ only where segments of one connection do. */
static bool net_fifo_heads_match(const struct net_fifo_run *run, const uint8_t *frame)
{
	const struct net_packet *p = &run->packet;
	const uint8_t *a = run->first;
	const uint8_t *b = frame;
	uint8_t mask = (uint8_t) ~(NET_TCP_PSH | NET_TCP_FIN);

	if (memcmp(a, b, p->l3) != 0)
		return false;
	if (p->version == 4 &&
	    (memcmp(a + p->l3, b + p->l3, 2) != 0 || memcmp(a + p->l3 + 6, b + p->l3 + 6, 4) != 0 ||
	     memcmp(a + p->l3 + 12, b + p->l3 + 12, 8) != 0))
		return false;
	if (p->version == 6 &&
	    (memcmp(a + p->l3, b + p->l3, 4) != 0 || memcmp(a + p->l3 + 6, b + p->l3 + 6, 34) != 0))
		return false;
	a += p->l4;
	b += p->l4;
	return memcmp(a, b, 4) == 0 && memcmp(a + NET_TCP_ACK, b + NET_TCP_ACK, 5) == 0 &&
	       (a[NET_TCP_FLAGS] & mask) == (b[NET_TCP_FLAGS] & mask) && memcmp(a + 14, b + 14, 2) == 0 &&
	       memcmp(a + 18, b + 18, (size_t)(p->payload - p->l4) - 18) == 0;
}

/* Joins the frame behind the run, if it belongs there. */
static bool net_fifo_join(struct net_fifo_run *run, const uint8_t *frame, size_t len, size_t capacity,
			  const struct net_fifo_taking *taking)
{
	struct net_packet packet;
	size_t payload;

	if (run->ended || !net_packet_parse(frame, len, len, &packet) ||
	    !net_fifo_is_plain(frame, len, &packet))
		return false;
	payload = packet.end - packet.payload;
	if (packet.version != run->packet.version || packet.l3 != run->packet.l3 ||
	    packet.l4 != run->packet.l4 || packet.payload != run->packet.payload || payload > run->segment)
		return false;
	if (run->total + payload - run->packet.l3 > RUN_IP_MAX || run->total + payload > capacity)
		return false;
	if (net_get32(frame + packet.l4 + NET_TCP_SEQ) != run->next_seq || !net_fifo_heads_match(run, frame))
		return false;
	if (!taking->trusted && !net_fifo_checksum_is_right(frame, &packet))
		return false;
	run->flags = frame[packet.l4 + NET_TCP_FLAGS] & (NET_TCP_PSH | NET_TCP_FIN);
	run->ended = run->flags != 0 || payload < run->segment;
	run->next_seq += (uint32_t)payload;
	run->total += payload;
	run->count++;
	run->bytes_taken += NET_FIFO_LENGTH_SIZE + len;
	return true;
}

static void net_fifo_find_run(const struct net_fifo *fifo, struct net_fifo_run *run, size_t capacity,
			      const struct net_fifo_taking *taking)
{
	uint32_t wanted = run->packet.version == 4 ? NETDEV_RX_TSO4 : NETDEV_RX_TSO6;
	const uint8_t *tcp = run->first + run->packet.l4;
	uint8_t *frame;
	size_t len;

	if (!(taking->offloads & wanted) || !net_fifo_is_plain(run->first, run->first_len, &run->packet) ||
	    run->packet.end != run->first_len)
		return;
	run->segment = run->packet.end - run->packet.payload;
	run->next_seq = net_get32(tcp + NET_TCP_SEQ) + (uint32_t)run->segment;
	run->flags = tcp[NET_TCP_FLAGS] & (NET_TCP_PSH | NET_TCP_FIN);
	run->ended = run->flags != 0;
	while (net_fifo_look(fifo, run->bytes_taken, &frame, &len) == NET_FIFO_FRAME &&
	       net_fifo_join(run, frame, len, capacity, taking))
		;
}

/* Makes the first frame's headers those of the whole run, and says so to the guest. */
static void net_fifo_patch_head(const struct net_fifo_run *run, uint8_t *frame, struct netdev_header *header)
{
	const struct net_packet *packet = &run->packet;
	uint8_t *ip = frame + packet->l3;
	size_t l4_len = run->total - packet->l4;

	if (packet->version == 4) {
		net_put16(ip + 2, (uint16_t)(run->total - packet->l3));
		net_packet_set_ip_checksum(ip);
	} else {
		net_put16(ip + 4, (uint16_t)l4_len);
	}
	frame[packet->l4 + NET_TCP_FLAGS] |= run->flags;
	net_put16(frame + packet->csum, net_sum_fold(net_packet_pseudo_sum(frame, packet, l4_len)));
	*header = (struct netdev_header){
		.flags = NETDEV_HDR_NEEDS_CSUM,
		.gso_type = packet->version == 4 ? NETDEV_GSO_TCPV4 : NETDEV_GSO_TCPV6,
		.hdr_len = packet->payload,
		.gso_size = (uint16_t)run->segment,
		.csum_start = packet->l4,
		.csum_offset = NET_TCP_CSUM,
	};
}

/* Copies a run: the first frame, and of the others the payload. */
static void net_fifo_copy_run(const struct net_fifo *fifo, const struct net_fifo_run *run,
			      const struct iovec *iov, unsigned iov_count)
{
	size_t done = net_iov_write(iov, iov_count, 0, run->first, run->first_len);
	size_t at = NET_FIFO_LENGTH_SIZE + run->first_len;

	for (unsigned i = 1; i < run->count; i++) {
		struct net_packet packet;
		uint8_t *frame;
		size_t len;

		net_fifo_look(fifo, at, &frame, &len);
		net_packet_parse(frame, len, len, &packet);
		done += net_iov_write(iov, iov_count, done, frame + packet.payload,
				      packet.end - packet.payload);
		at += NET_FIFO_LENGTH_SIZE + len;
	}
}

ssize_t net_fifo_receive(struct net_fifo *fifo, const struct net_fifo_taking *taking,
			 struct netdev_header *header, const struct iovec *iov, unsigned iov_count)
{
	struct net_fifo_run run = {.count = 1};
	uint8_t *frame;
	size_t len;

	if (net_fifo_look(fifo, 0, &frame, &len) != NET_FIFO_FRAME)
		return -EAGAIN;
	*header = (struct netdev_header){0};
	run.first = frame;
	run.first_len = run.total = len;
	run.bytes_taken = NET_FIFO_LENGTH_SIZE + len;
	if ((taking->offloads & NETDEV_RX_CSUM) && net_packet_parse(frame, len, len, &run.packet) &&
	    run.packet.l4 != 0 && (taking->trusted || net_fifo_checksum_is_right(frame, &run.packet))) {
		header->flags = NETDEV_HDR_DATA_VALID;
		net_fifo_find_run(fifo, &run, net_iov_size(iov, iov_count), taking);
	}
	if (run.count > 1)
		net_fifo_patch_head(&run, frame, header);
	net_fifo_copy_run(fifo, &run, iov, iov_count);
	fifo->head += run.bytes_taken;
	return (ssize_t)run.total;
}
