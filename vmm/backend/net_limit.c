/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate limits for each direction, in bytes and in frames: a frame over the limit waits where it is, in the
 * guest's ring or in the backend. Nothing is thrown away here. What a large segment is cut into counts as one
 * frame.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_wrap.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/base/rate_limit.h"

/* Frames are let through in lots, so that high rates do not need a timer a frame; far below the burst. */
#define NET_LIMIT_WAIT_MIN_NS (500 * NS_PER_US)

/* A bucket holds a tenth of a second's worth. */
#define NET_LIMIT_BURSTS_PER_S 10

/*
 * One direction. A frame's size is known only when it is through, and one that the backend does not take must
 * not be paid for: so a frame is owed, and paid before the next one passes.
 */
struct net_limit_side {
	struct rate_limit rate;
	bool owes;
	size_t owed_bytes;
	uint32_t waiting; /* a bit a queue that was refused */
};

struct net_limit {
	struct net_inner inner;
	struct net_limit_side rx, tx;
	struct loop_timer *timer;
	uint64_t deadline_ns; /* of the timer; UINT64_MAX: off */
	uint32_t polled;      /* a bit a queue that the client wants polled */
};

_Static_assert(NETDEV_QUEUES_MAX <= 32, "a bit a queue");

static void net_limit_arm(struct net_limit *limit, uint64_t now_ns, uint64_t delay_ns)
{
	uint64_t wait_ns = delay_ns < NET_LIMIT_WAIT_MIN_NS ? NET_LIMIT_WAIT_MIN_NS : delay_ns;

	if (now_ns + wait_ns >= limit->deadline_ns)
		return;
	limit->deadline_ns = now_ns + wait_ns;
	loop_timer_arm(limit->timer, limit->deadline_ns);
}

/* 0: go on; -EAGAIN: the queue waits and the timer runs. */
static int net_limit_ask(struct net_limit *limit, struct net_limit_side *side, unsigned queue)
{
	uint64_t now_ns;
	uint64_t delay_ns;

	if (!side->owes)
		return 0;
	now_ns = clock_monotonic_ns();
	delay_ns = rate_limit_take(&side->rate, side->owed_bytes, now_ns);
	if (delay_ns == 0) {
		side->owes = false;
		return 0;
	}
	side->waiting |= 1u << queue;
	net_limit_arm(limit, now_ns, delay_ns);
	return -EAGAIN;
}

static void net_limit_owe(struct net_limit_side *side, size_t bytes)
{
	side->owes = rate_limit_is_set(&side->rate);
	side->owed_bytes = bytes;
}

static int net_limit_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
			  const struct iovec *iov, unsigned iov_count)
{
	struct net_limit *limit = (struct net_limit *)netdev;
	int code = net_limit_ask(limit, &limit->tx, queue);

	if (code == 0)
		code = netdev_send(limit->inner.lower, queue, header, iov, iov_count);
	if (code == 0)
		net_limit_owe(&limit->tx, net_iov_size(iov, iov_count));
	return code;
}

static ssize_t net_limit_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
				 const struct iovec *iov, unsigned iov_count)
{
	struct net_limit *limit = (struct net_limit *)netdev;
	ssize_t got = net_limit_ask(limit, &limit->rx, queue);

	if (got < 0) {
		netdev_poll(limit->inner.lower, queue, false);
		return got;
	}
	got = netdev_receive(limit->inner.lower, queue, header, iov, iov_count);
	if (got >= 0)
		net_limit_owe(&limit->rx, (size_t)got);
	return got;
}

static void net_limit_poll(struct netdev *netdev, unsigned queue, bool on)
{
	struct net_limit *limit = (struct net_limit *)netdev;

	limit->polled = on ? limit->polled | 1u << queue : limit->polled & ~(1u << queue);
	netdev_poll(limit->inner.lower, queue, on && !(limit->rx.waiting >> queue & 1));
}

static void net_limit_on_timer(void *opaque)
{
	struct net_limit *limit = opaque;
	struct netdev *netdev = &limit->inner.netdev;
	uint32_t rx = limit->rx.waiting;
	uint32_t tx = limit->tx.waiting;

	limit->deadline_ns = UINT64_MAX;
	limit->rx.waiting = limit->tx.waiting = 0;
	for (unsigned queue = 0; queue < netdev->queue_pairs; queue++) {
		if (tx >> queue & 1)
			netdev_tell_writable(netdev, queue);
		if (!(rx >> queue & 1))
			continue;
		netdev_poll(limit->inner.lower, queue, limit->polled >> queue & 1);
		if (limit->polled >> queue & 1)
			netdev_tell_readable(netdev, queue);
	}
}

static void net_limit_destroy(struct netdev *netdev)
{
	struct net_limit *limit = (struct net_limit *)netdev;

	loop_timer_destroy(limit->timer);
	net_inner_release(&limit->inner);
	free(limit);
}

/* Who waits for the old buckets asks the new ones at once. */
static int net_limit_change(struct netdev *netdev, bool rx, const struct rate_bucket_config *frames,
			    const struct rate_bucket_config *bytes)
{
	struct net_limit *limit = (struct net_limit *)netdev;
	struct net_limit_side *side = rx ? &limit->rx : &limit->tx;
	uint64_t now_ns = clock_monotonic_ns();

	rate_limit_change(&side->rate, frames, bytes, now_ns);
	side->owes = false;
	net_limit_arm(limit, now_ns, 0);
	return 0;
}

static const struct netdev_ops net_limit_ops = {
	.send = net_limit_send,
	.flush = net_inner_flush,
	.receive = net_limit_receive,
	.poll = net_limit_poll,
	.reset = net_inner_reset,
	.set_offloads = net_inner_set_offloads,
	.set_queue_pairs = net_inner_set_queue_pairs,
	.limit = net_limit_change,
	.destroy = net_limit_destroy,
};

/* What a side was asked for. */
struct net_limit_wish {
	uint64_t bps, pps;
	const char *byte_bucket, *frame_bucket;
};

static void net_limit_init_side(struct net_limit_side *side, const struct net_limit_wish *wish)
{
	const uint64_t refill_ns = NS_PER_S / NET_LIMIT_BURSTS_PER_S;
	struct rate_limit_config config = {
		.operations = {.size = (wish->pps + NET_LIMIT_BURSTS_PER_S - 1) / NET_LIMIT_BURSTS_PER_S,
			       .refill_time_ns = refill_ns},
		.bytes = {.size = (wish->bps + NET_LIMIT_BURSTS_PER_S - 1) / NET_LIMIT_BURSTS_PER_S,
			  .refill_time_ns = refill_ns},
	};

	if (wish->byte_bucket)
		rate_bucket_parse(wish->byte_bucket, &config.bytes, NULL);
	if (wish->frame_bucket)
		rate_bucket_parse(wish->frame_bucket, &config.operations, NULL);
	rate_limit_init(&side->rate, &config, clock_monotonic_ns());
}

static bool net_limit_is_wanted(const struct net_limit_wish *wish)
{
	return wish->bps || wish->pps || wish->byte_bucket || wish->frame_bucket;
}

struct netdev *net_limit_wrap(struct netdev *lower, const struct netdev_env *env,
			      const struct netdev_config *config, struct err *err)
{
	const struct net_limit_wish rx = {config->rx_bps, config->rx_pps, config->rx_byte_bucket,
					  config->rx_frame_bucket};
	const struct net_limit_wish tx = {config->tx_bps, config->tx_pps, config->tx_byte_bucket,
					  config->tx_frame_bucket};
	struct net_limit *limit;

	if (!net_limit_is_wanted(&rx) && !net_limit_is_wanted(&tx))
		return lower;
	limit = calloc(1, sizeof(*limit));
	if (!limit) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	limit->timer = loop_timer_create(env->loop, net_limit_on_timer, limit, err);
	if (!limit->timer) {
		free(limit);
		return NULL;
	}
	limit->deadline_ns = UINT64_MAX;
	net_limit_init_side(&limit->rx, &rx);
	net_limit_init_side(&limit->tx, &tx);
	net_inner_init(&limit->inner, lower, &net_limit_ops);
	return &limit->inner.netdev;
}
