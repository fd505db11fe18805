/* SPDX-License-Identifier: Apache-2.0 */
/* The backend of tests/unit/fake_netdev.h. */
#include "tests/unit/fake_netdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int fake_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
		     const struct iovec *iov, unsigned iov_count)
{
	struct fake_netdev *fake = (struct fake_netdev *)netdev;
	struct fake_frame *frame = &fake->sent[fake->sent_count % FAKE_FRAMES_MAX];

	if (fake->room == 0)
		return -EAGAIN;
	fake->room--;
	free(frame->bytes);
	*frame = (struct fake_frame){.header = *header, .bytes = malloc(NETDEV_FRAME_MAX)};
	for (unsigned i = 0; i < iov_count; i++) {
		memcpy(frame->bytes + frame->len, iov[i].iov_base, iov[i].iov_len);
		frame->len += iov[i].iov_len;
	}
	fake->sent_queue[fake->sent_count % FAKE_FRAMES_MAX] = queue;
	fake->sent_count++;
	return 0;
}

static void fake_flush(struct netdev *netdev, unsigned queue)
{
	((struct fake_netdev *)netdev)->flushes++;
}

static ssize_t fake_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
			    const struct iovec *iov, unsigned iov_count)
{
	struct fake_queue *own = &((struct fake_netdev *)netdev)->queue[queue];
	struct fake_frame *frame = &own->waiting[own->first % FAKE_FRAMES_MAX];
	size_t done = 0;

	if (own->waiting_count == 0)
		return -EAGAIN;
	for (unsigned i = 0; i < iov_count && done < frame->len; i++) {
		size_t part = iov[i].iov_len < frame->len - done ? iov[i].iov_len : frame->len - done;

		memcpy(iov[i].iov_base, frame->bytes + done, part);
		done += part;
	}
	*header = frame->header;
	done = frame->len;
	free(frame->bytes);
	frame->bytes = NULL;
	own->first++;
	own->waiting_count--;
	return (ssize_t)done;
}

static void fake_poll(struct netdev *netdev, unsigned queue, bool on)
{
	((struct fake_netdev *)netdev)->queue[queue].polled = on;
}

static void fake_reset(struct netdev *netdev, unsigned queue)
{
	((struct fake_netdev *)netdev)->queue[queue].resets++;
}

static void fake_set_offloads(struct netdev *netdev, uint32_t offloads)
{
	((struct fake_netdev *)netdev)->set_offloads = offloads;
}

static int fake_set_queue_pairs(struct netdev *netdev, unsigned pairs)
{
	((struct fake_netdev *)netdev)->set_pairs = pairs;
	return 0;
}

static void fake_destroy(struct netdev *netdev)
{
	struct fake_netdev *fake = (struct fake_netdev *)netdev;

	if (fake->destroyed)
		*fake->destroyed = true;
	for (unsigned i = 0; i < FAKE_FRAMES_MAX; i++)
		free(fake->sent[i].bytes);
	for (unsigned i = 0; i < netdev->queue_pairs; i++) {
		for (unsigned j = 0; j < FAKE_FRAMES_MAX; j++)
			free(fake->queue[i].waiting[j].bytes);
	}
	free(fake);
}

static const struct netdev_ops fake_ops = {
	.send = fake_send,
	.flush = fake_flush,
	.receive = fake_receive,
	.poll = fake_poll,
	.reset = fake_reset,
	.set_offloads = fake_set_offloads,
	.set_queue_pairs = fake_set_queue_pairs,
	.destroy = fake_destroy,
};

struct fake_netdev *fake_netdev_new(unsigned pairs, uint32_t offloads)
{
	struct fake_netdev *fake = calloc(1, sizeof(*fake));

	fake->netdev = (struct netdev){
		.ops = &fake_ops, .queue_pairs = pairs, .offloads = offloads, .link_up = true};
	fake->room = UINT32_MAX;
	return fake;
}

uint8_t fake_netdev_byte(uint8_t seed, size_t at)
{
	return (uint8_t)(seed + at * 5 + at / 251);
}

void fake_netdev_put(struct fake_netdev *fake, unsigned queue, const struct netdev_header *header, size_t len,
		     uint8_t seed)
{
	struct fake_queue *own = &fake->queue[queue];
	struct fake_frame *frame = &own->waiting[(own->first + own->waiting_count) % FAKE_FRAMES_MAX];

	if (own->waiting_count == FAKE_FRAMES_MAX)
		return;
	*frame = (struct fake_frame){.len = len, .bytes = malloc(len)};
	if (header)
		frame->header = *header;
	for (size_t i = 0; i < len; i++)
		frame->bytes[i] = fake_netdev_byte(seed, i);
	frame->bytes[0] &= 0xfe; /* to one card */
	own->waiting_count++;
}
