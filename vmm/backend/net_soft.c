/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums and segments in software, for backends that take plain frames only: what a card's hardware would
 * do with a frame of virtio 1.2, 5.1.6.2. It costs this program little and spares an emulated CPU much. A
 * backend whose uncut_max is large enough gets a TCP segment of 64 KiB as it is, the others get it cut.
 *
 * Only the headers are copied and changed; the payload is sent from where it lies.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_packet.h"
#include "vmm/backend/net_wrap.h"
#include "vmm/base/err.h"

#define NET_SOFT_OFFLOADS (NETDEV_TX_CSUM | NETDEV_TX_TSO4 | NETDEV_TX_TSO6 | NETDEV_TX_ECN | NETDEV_TX_USO)
#define NET_SOFT_IP_MAX   65535u

/* A frame that is being sent. */
struct net_soft_frame {
	const struct netdev_header *header;
	const struct iovec *iov;
	unsigned iov_count;
	size_t len;
	size_t l3, l4;  /* offsets of the IP and the TCP or UDP header; l3 0: not known */
	size_t payload; /* of what is to be cut */
	unsigned version;
	uint8_t head[NET_HEADERS_MAX]; /* the first bytes, copied */
	size_t head_len;
};

struct net_soft {
	struct net_inner inner;
	unsigned segments_sent[NETDEV_QUEUES_MAX]; /* of a frame that met -EAGAIN */
	struct net_soft_frame frame;
	struct iovec piece[NETDEV_IOV_MAX];
};

/* Sends head bytes out of `head` and then [offset, offset + len) of the frame. */
static int net_soft_send_pieces(struct net_soft *soft, unsigned queue, uint8_t *head, size_t head_len,
				size_t offset, size_t len)
{
	static const struct netdev_header plain = {0};
	const struct net_soft_frame *frame = &soft->frame;
	unsigned count = 0;

	soft->piece[0] = (struct iovec){.iov_base = head, .iov_len = head_len};
	if (len > 0) {
		count = net_iov_slice(frame->iov, frame->iov_count, offset, len, soft->piece + 1,
				      NETDEV_IOV_MAX - 1);
		if (count == 0)
			return -EINVAL;
	}
	return netdev_send(soft->inner.lower, queue, &plain, soft->piece, count + 1);
}

/* The checksum over a copied head and payload that lies elsewhere; `partial` is what stands for the pseudo
 * header. */
static uint16_t net_soft_checksum(const struct net_soft_frame *frame, const uint8_t *head, size_t head_len,
				  size_t offset, size_t len)
{
	size_t start = frame->header->csum_start;
	uint64_t payload = net_iov_sum(frame->iov, frame->iov_count, offset, len);
	uint64_t sum = net_sum(head + start, head_len - start);

	/* The field itself is part of the head and holds the pseudo header's sum. */
	sum += (head_len - start) % 2 ? net_sum_swap(net_sum_fold(payload)) : payload;
	return (uint16_t)~net_sum_fold(sum);
}

/* RFC 768: a sum of zero is sent as all ones, because zero says that there is none. */
static void net_soft_store_checksum(const struct net_soft_frame *frame, uint8_t *head, uint16_t checksum)
{
	bool is_udp = frame->header->csum_offset == NET_UDP_CSUM;

	net_put16(head + frame->header->csum_start + frame->header->csum_offset,
		  is_udp && checksum == 0 ? 0xffff : checksum);
}

static int net_soft_send_whole(struct net_soft *soft, unsigned queue)
{
	struct net_soft_frame *frame = &soft->frame;
	size_t rest = frame->len - frame->head_len;

	if (frame->header->flags & NETDEV_HDR_NEEDS_CSUM)
		net_soft_store_checksum(
			frame, frame->head,
			net_soft_checksum(frame, frame->head, frame->head_len, frame->head_len, rest));
	return net_soft_send_pieces(soft, queue, frame->head, frame->head_len, frame->head_len, rest);
}

/* What the pseudo header's sum becomes when the length in it changes (RFC 1624). */
static uint16_t net_soft_shift_pseudo(uint16_t pseudo, size_t from_len, size_t to_len)
{
	uint64_t sum = (uint64_t)pseudo + (uint16_t) ~(uint16_t)from_len + to_len;

	return net_sum_fold(sum);
}

/* Headers of the segment with [offset, offset + len) of the payload. */
static void net_soft_make_head(const struct net_soft_frame *frame, uint8_t *head, size_t offset, size_t len)
{
	size_t index = offset / frame->header->gso_size;
	uint8_t *ip = head + frame->l3;
	uint8_t *l4 = head + frame->l4;
	size_t headers = frame->payload - frame->l4;
	uint8_t *csum = l4 + frame->header->csum_offset;

	memcpy(head, frame->head, frame->payload);
	if (frame->version == 4) {
		net_put16(ip + 2, (uint16_t)(frame->payload - frame->l3 + len));
		net_put16(ip + 4, (uint16_t)(net_get16(ip + 4) + index));
		net_packet_set_ip_checksum(ip);
	} else {
		net_put16(ip + 4, (uint16_t)(frame->payload - frame->l3 - 40 + len));
	}
	if (frame->header->gso_type == NETDEV_GSO_UDP_L4) {
		net_put16(l4 + NET_UDP_LEN, (uint16_t)(headers + len));
	} else {
		net_put32(l4 + NET_TCP_SEQ, net_get32(l4 + NET_TCP_SEQ) + (uint32_t)offset);
		if (offset + len < frame->len - frame->payload)
			l4[NET_TCP_FLAGS] &= (uint8_t) ~(NET_TCP_FIN | NET_TCP_PSH);
		if (offset > 0)
			l4[NET_TCP_FLAGS] &= (uint8_t)~NET_TCP_CWR;
	}
	net_put16(csum, net_soft_shift_pseudo(net_get16(csum), frame->len - frame->l4, headers + len));
	net_soft_store_checksum(frame, head,
				net_soft_checksum(frame, head, frame->payload, frame->payload + offset, len));
}

static int net_soft_send_segments(struct net_soft *soft, unsigned queue)
{
	const struct net_soft_frame *frame = &soft->frame;
	size_t total = frame->len - frame->payload;
	size_t step = frame->header->gso_size;
	size_t offset = soft->segments_sent[queue] * step;
	uint8_t head[NET_HEADERS_MAX];

	for (; offset < total; offset += step) {
		size_t len = total - offset < step ? total - offset : step;
		int code;

		net_soft_make_head(frame, head, offset, len);
		code = net_soft_send_pieces(soft, queue, head, frame->payload, frame->payload + offset, len);
		if (code < 0)
			return code;
		soft->segments_sent[queue]++;
	}
	return 0;
}

/* Where the headers are, by what the guest says (csum_start) and by the frame itself. */
static bool net_soft_find_headers(struct net_soft_frame *frame)
{
	const struct netdev_header *header = frame->header;
	size_t size;

	frame->l3 = net_packet_find_ip(frame->head, frame->head_len, &frame->version);
	frame->l4 = header->csum_start;
	size = header->gso_type == NETDEV_GSO_UDP_L4 ? NET_UDP_HEADER : NET_TCP_HEADER;
	if (frame->l3 == 0 || frame->l4 < frame->l3 + (frame->version == 4 ? 20 : 40) ||
	    frame->head_len < frame->l4 + size)
		return false;
	if (frame->version == 4 && frame->l3 + (size_t)(frame->head[frame->l3] & 15) * 4 != frame->l4)
		return false;
	if (header->gso_type != NETDEV_GSO_UDP_L4)
		size = (size_t)(frame->head[frame->l4 + NET_TCP_DATA_OFF] >> 4) * 4;
	frame->payload = frame->l4 + size;
	return size >= NET_UDP_HEADER && frame->payload < frame->len && frame->payload <= frame->head_len &&
	       header->csum_offset == (header->gso_type == NETDEV_GSO_UDP_L4 ? NET_UDP_CSUM : NET_TCP_CSUM);
}

/* Takes the frame over, with its head copied. false: it asks for what cannot be done. */
static bool net_soft_take(struct net_soft *soft, const struct netdev_header *header, const struct iovec *iov,
			  unsigned iov_count)
{
	struct net_soft_frame *frame = &soft->frame;

	frame->header = header;
	frame->iov = iov;
	frame->iov_count = iov_count;
	frame->len = net_iov_size(iov, iov_count);
	frame->head_len = net_iov_read(iov, iov_count, 0, frame->head, sizeof(frame->head));
	if (frame->len > NETDEV_FRAME_MAX)
		return false;
	if (!(header->flags & NETDEV_HDR_NEEDS_CSUM))
		return header->gso_type == NETDEV_GSO_NONE;
	return (size_t)header->csum_start + header->csum_offset + 2 <= frame->head_len;
}

/* A TCP segment that lower takes as one. UDP is cut always: datagrams have borders. */
static bool net_soft_fits_whole(const struct net_soft *soft)
{
	const struct net_soft_frame *frame = &soft->frame;

	return frame->header->gso_type != NETDEV_GSO_UDP_L4 && frame->len <= soft->inner.lower->uncut_max &&
	       frame->len - frame->l3 <= NET_SOFT_IP_MAX;
}

static int net_soft_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
			 const struct iovec *iov, unsigned iov_count)
{
	struct net_soft *soft = (struct net_soft *)netdev;
	struct netdev_header whole = *header;
	int code;

	if (header->gso_type == NETDEV_GSO_NONE && !(header->flags & NETDEV_HDR_NEEDS_CSUM))
		return netdev_send(soft->inner.lower, queue, header, iov, iov_count);
	whole.gso_type &= (uint8_t)~NETDEV_GSO_ECN;
	if (!net_soft_take(soft, &whole, iov, iov_count) ||
	    (whole.gso_type != NETDEV_GSO_NONE &&
	     (!net_soft_find_headers(&soft->frame) || whole.gso_size == 0))) {
		netdev->tx_dropped++;
		return 0;
	}
	if (whole.gso_type == NETDEV_GSO_NONE || net_soft_fits_whole(soft))
		return net_soft_send_whole(soft, queue);
	code = net_soft_send_segments(soft, queue);
	if (code != -EAGAIN)
		soft->segments_sent[queue] = 0;
	return code;
}

static void net_soft_reset(struct netdev *netdev, unsigned queue)
{
	((struct net_soft *)netdev)->segments_sent[queue] = 0;
	net_inner_reset(netdev, queue);
}

static void net_soft_destroy(struct netdev *netdev)
{
	net_inner_release((struct net_inner *)netdev);
	free(netdev);
}

static const struct netdev_ops net_soft_ops = {
	.send = net_soft_send,
	.flush = net_inner_flush,
	.receive = net_inner_receive,
	.poll = net_inner_poll,
	.reset = net_soft_reset,
	.set_offloads = net_inner_set_offloads,
	.set_queue_pairs = net_inner_set_queue_pairs,
	.destroy = net_soft_destroy,
};

struct netdev *net_soft_wrap(struct netdev *lower, const struct netdev_env *env,
			     const struct netdev_config *config, struct err *err)
{
	struct net_soft *soft;

	if (lower->offloads & NETDEV_TX_CSUM)
		return lower;
	soft = calloc(1, sizeof(*soft));
	if (!soft) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	net_inner_init(&soft->inner, lower, &net_soft_ops);
	soft->inner.netdev.offloads |= NET_SOFT_OFFLOADS;
	soft->inner.netdev.uncut_max = NETDEV_FRAME_MAX;
	return &soft->inner.netdev;
}
