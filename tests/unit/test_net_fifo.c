/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/backend/net_fifo: frames that wait, and segments that are joined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "tests/unit/net_frames.h"
#include "vmm/backend/net_fifo.h"
#include "vmm/base/err.h"
#include "vmm/core/netdev.h"

#define JOIN_ALL (NETDEV_RX_CSUM | NETDEV_RX_TSO4 | NETDEV_RX_TSO6)

struct joining {
	struct net_fifo fifo;
	struct net_fifo_taking taking;
	struct netdev_header header;
	uint8_t frame[NETDEV_FRAME_MAX];
	uint32_t seq;
};

static void joining_begin(struct joining *joining)
{
	*joining = (struct joining){.taking = {.offloads = JOIN_ALL}, .seq = tcp4.seq};
	assert_int_equal(net_fifo_init(&joining->fifo, 256 << 10, NULL), 0);
}

static void joining_put(struct joining *joining, struct frame_spec spec, size_t payload)
{
	uint8_t frame[2000];
	size_t len;

	spec.seq = joining->seq;
	len = frame_make(frame, &spec, pattern(payload), payload);
	joining->seq += (uint32_t)payload;
	assert_true(net_fifo_put(&joining->fifo, frame, len));
}

static ssize_t joining_take(struct joining *joining)
{
	struct iovec iov[64];
	unsigned count = pieces_of(joining->frame, sizeof(joining->frame), iov);

	return net_fifo_receive(&joining->fifo, &joining->taking, &joining->header, iov, count);
}

static void test_segments_are_joined(void **state)
{
	static struct joining joining;
	struct frame_spec specs[] = {tcp4, tcp6_spec()};

	for (size_t i = 0; i < 2; i++) {
		struct frame_spec spec = specs[i];
		size_t head = (i == 0 ? FRAME_IP4 : FRAME_IP6) + FRAME_ETH + FRAME_TCP;
		ssize_t len = (ssize_t)(head + 4 * MSS + 10);

		joining_begin(&joining);
		for (unsigned j = 0; j < 4; j++)
			joining_put(&joining, spec, MSS);
		spec.flags |= 0x08;
		joining_put(&joining, spec, 10);
		joining_put(&joining, specs[i], MSS); /* behind a PSH: another run */
		assert_int_equal(joining_take(&joining), len);
		assert_int_equal(joining.header.gso_type, i == 0 ? NETDEV_GSO_TCPV4 : NETDEV_GSO_TCPV6);
		assert_int_equal(joining.header.gso_size, MSS);
		assert_int_equal(joining.header.flags, NETDEV_HDR_NEEDS_CSUM);
		assert_int_equal(joining.header.csum_start, frame_l4(joining.frame));
		assert_int_equal(joining.header.csum_offset, 16);
		assert_int_equal(joining.frame[frame_l4(joining.frame) + 13], 0x18);
		for (unsigned j = 0; j < 4; j++)
			assert_memory_equal(joining.frame + head + j * MSS, pattern(MSS), MSS);
		/* The field holds the pseudo header's sum; completed, all is right. */
		assert_int_equal(frame_get16(frame_checksum(joining.frame)),
				 frame_pseudo(joining.frame, (size_t)len - frame_l4(joining.frame)));
		frame_put16(frame_checksum(joining.frame),
			    ~frame_add(0, joining.frame + frame_l4(joining.frame),
				       (size_t)len - frame_l4(joining.frame)) &
				    0xffff);
		assert_true(frame_is_right(joining.frame, (size_t)len));
		assert_int_equal(joining_take(&joining), (ssize_t)(head + MSS));
		assert_int_equal(joining.header.gso_type, 0);
		assert_int_equal(joining.header.flags, NETDEV_HDR_DATA_VALID);
		assert_int_equal(joining_take(&joining), -EAGAIN);
		net_fifo_free(&joining.fifo);
	}
}

/* What makes two segments differ so that they must not be joined. */
static void differ_port(struct frame_spec *spec, uint32_t *seq)
{
	spec->source_port++;
}

static void differ_ack(struct frame_spec *spec, uint32_t *seq)
{
	spec->ack++;
}

static void differ_window(struct frame_spec *spec, uint32_t *seq)
{
	spec->window++;
}

static void differ_address(struct frame_spec *spec, uint32_t *seq)
{
	spec->source[3]++;
}

static void differ_mac(struct frame_spec *spec, uint32_t *seq)
{
	spec->source_mac[5]++;
}

static void differ_gap(struct frame_spec *spec, uint32_t *seq)
{
	*seq += 1;
}

static void differ_syn(struct frame_spec *spec, uint32_t *seq)
{
	spec->flags |= 2;
}

static void test_strangers_are_not_joined(void **state)
{
	static struct joining joining;
	static void (*const differences[])(struct frame_spec * spec, uint32_t * seq) = {
		differ_port, differ_ack, differ_window, differ_address, differ_mac, differ_gap, differ_syn};

	for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
		struct frame_spec spec = tcp4;

		joining_begin(&joining);
		joining_put(&joining, spec, MSS);
		differences[i](&spec, &joining.seq);
		joining_put(&joining, spec, MSS);
		assert_int_equal(joining_take(&joining), FRAME_HEAD + MSS);
		assert_int_equal(joining_take(&joining), FRAME_HEAD + MSS);
		assert_int_equal(joining_take(&joining), -EAGAIN);
		net_fifo_free(&joining.fifo);
	}
}

static void test_a_wrong_checksum_is_nobodys_to_vouch_for(void **state)
{
	static struct joining joining;

	joining_begin(&joining);
	joining_put(&joining, tcp4, MSS);
	joining_put(&joining, tcp4, MSS);
	joining.fifo.data[joining.fifo.tail - 1] ^= 1;
	assert_int_equal(joining_take(&joining), FRAME_HEAD + MSS);
	assert_int_equal(joining.header.flags, NETDEV_HDR_DATA_VALID);
	assert_int_equal(joining_take(&joining), FRAME_HEAD + MSS);
	assert_int_equal(joining.header.flags, 0);
	net_fifo_free(&joining.fifo);
}

static void test_joining_heeds_what_the_guest_takes(void **state)
{
	static struct joining joining;
	uint8_t small[FRAME_HEAD + 2 * MSS + 5];
	struct iovec iov = {small, sizeof(small)};

	joining_begin(&joining);
	for (unsigned i = 0; i < 4; i++)
		joining_put(&joining, tcp4, MSS);
	joining.taking.offloads = NETDEV_RX_CSUM | NETDEV_RX_TSO6;
	assert_int_equal(joining_take(&joining), FRAME_HEAD + MSS);
	joining.taking.offloads = JOIN_ALL;
	assert_int_equal(net_fifo_receive(&joining.fifo, &joining.taking, &joining.header, &iov, 1),
			 FRAME_HEAD + 2 * MSS); /* no more than there is room for */
	joining.taking.offloads = 0;
	assert_int_equal(joining_take(&joining), FRAME_HEAD + MSS);
	assert_int_equal(joining.header.flags, 0);
	net_fifo_free(&joining.fifo);
}

static void test_joining_ends_at_64_kib(void **state)
{
	static struct joining joining;
	ssize_t got;
	size_t total = 0;

	joining_begin(&joining);
	for (unsigned i = 0; i < 80; i++)
		joining_put(&joining, tcp4, MSS);
	while ((got = joining_take(&joining)) > 0) {
		assert_true(got - FRAME_ETH <= 65535);
		total += (size_t)got - FRAME_HEAD;
	}
	assert_int_equal(total, 80 * MSS);
	net_fifo_free(&joining.fifo);
}

static void test_a_stream_may_lie_about_lengths(void **state)
{
	struct net_fifo fifo;
	uint8_t byte;
	struct iovec iov = {&byte, 1};
	struct netdev_header header;
	const struct net_fifo_taking taking = {0};

	assert_int_equal(net_fifo_init(&fifo, 128 << 10, NULL), 0);
	frame_put32(fifo.data, NETDEV_FRAME_MAX + 1);
	fifo.tail = 4;
	assert_int_equal(net_fifo_state(&fifo), NET_FIFO_BAD);
	assert_int_equal(net_fifo_receive(&fifo, &taking, &header, &iov, 1), -EAGAIN);
	frame_put32(fifo.data, 0);
	assert_int_equal(net_fifo_state(&fifo), NET_FIFO_BAD);
	frame_put32(fifo.data, 60);
	fifo.tail = 63;
	assert_int_equal(net_fifo_state(&fifo), NET_FIFO_EMPTY);
	net_fifo_free(&fifo);
	assert_int_equal(net_fifo_init(&fifo, 1000, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_are_joined),
		cmocka_unit_test(test_strangers_are_not_joined),
		cmocka_unit_test(test_a_wrong_checksum_is_nobodys_to_vouch_for),
		cmocka_unit_test(test_joining_heeds_what_the_guest_takes),
		cmocka_unit_test(test_joining_ends_at_64_kib),
		cmocka_unit_test(test_a_stream_may_lie_about_lengths),
	};

	return cmocka_run_group_tests_name("net_fifo", tests, NULL, NULL);
}
