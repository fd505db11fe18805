/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/backend: what is done to frames on the way: checksums, cutting, joining, limits, the pcap file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/net_frames.h"
#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_packet.h"
#include "vmm/backend/net_wrap.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

/* A backend that keeps what it is sent, and gives what it was told to. */
struct fake_backend {
	struct netdev netdev;
	uint8_t sent[64][NETDEV_FRAME_MAX];
	size_t sent_len[64];
	struct netdev_header sent_header[64];
	unsigned sent_count, room;
	const uint8_t *waiting;
	size_t waiting_len;
	unsigned waiting_count;
	bool polled;
};

static int fake_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
		     const struct iovec *iov, unsigned iov_count)
{
	struct fake_backend *fake = (struct fake_backend *)netdev;

	if (fake->room == 0)
		return -EAGAIN;
	fake->room--;
	fake->sent_header[fake->sent_count] = *header;
	fake->sent_len[fake->sent_count] =
		net_iov_read(iov, iov_count, 0, fake->sent[fake->sent_count], NETDEV_FRAME_MAX);
	fake->sent_count++;
	return 0;
}

static ssize_t fake_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
			    const struct iovec *iov, unsigned iov_count)
{
	struct fake_backend *fake = (struct fake_backend *)netdev;

	if (fake->waiting_count == 0)
		return -EAGAIN;
	fake->waiting_count--;
	*header = (struct netdev_header){0};
	net_iov_write(iov, iov_count, 0, fake->waiting, fake->waiting_len);
	return (ssize_t)fake->waiting_len;
}

static void fake_poll(struct netdev *netdev, unsigned queue, bool on)
{
	((struct fake_backend *)netdev)->polled = on;
}

static void fake_destroy(struct netdev *netdev)
{
	free(netdev);
}

static const struct netdev_ops fake_ops = {
	.send = fake_send, .receive = fake_receive, .poll = fake_poll, .destroy = fake_destroy};

static struct fake_backend *fake_new(size_t uncut_max)
{
	struct fake_backend *fake = calloc(1, sizeof(*fake));

	fake->netdev.ops = &fake_ops;
	fake->netdev.queue_pairs = 1;
	fake->netdev.uncut_max = uncut_max;
	fake->room = 64;
	return fake;
}

static void test_sums_over_pieces(void **state)
{
	uint8_t bytes[1000];
	struct iovec iov[64];
	unsigned count;

	memcpy(bytes, pattern(1000), 1000);
	count = pieces_of(bytes, sizeof(bytes), iov);
	for (size_t offset = 0; offset < 50; offset++) {
		for (size_t len = 900; len < 950; len += 7)
			assert_int_equal(net_sum_fold(net_iov_sum(iov, count, offset, len)),
					 frame_add(0, bytes + offset, len));
	}
	assert_int_equal(net_sum_fold(net_sum(bytes, 999)), frame_add(0, bytes, 999));
}

static void test_slices(void **state)
{
	uint8_t bytes[100];
	uint8_t copy[100];
	struct iovec iov[64];
	struct iovec slice[8];
	unsigned count = pieces_of(memcpy(bytes, pattern(100), 100), sizeof(bytes), iov);
	unsigned got = net_iov_slice(iov, count, 2, 60, slice, 8);

	assert_int_equal(net_iov_size(slice, got), 60);
	assert_int_equal(net_iov_read(slice, got, 0, copy, sizeof(copy)), 60);
	assert_memory_equal(copy, bytes + 2, 60);
	assert_int_equal(net_iov_slice(iov, count, 2, 60, slice, 2), 0);  /* needs more pieces */
	assert_int_equal(net_iov_slice(iov, count, 50, 51, slice, 8), 0); /* past the end */
	assert_int_equal(net_iov_read(iov, count, 90, copy, 100), 10);
}

static void test_parsing_does_not_believe(void **state)
{
	uint8_t frame[2000];
	struct net_packet packet;
	size_t len = frame_make(frame, &tcp4, pattern(100), 100);

	assert_true(net_packet_parse(frame, len, len, &packet));
	assert_int_equal(packet.l4, 34);
	assert_int_equal(packet.payload, 54);
	for (size_t head = 0; head < 54; head++)
		assert_true(!net_packet_parse(frame, head, len, &packet) || packet.l4 == 0);
	assert_false(net_packet_parse(frame, len - 1, len - 1, &packet)); /* the IP packet is longer */
	frame[34 + 12] = 0x40;                                            /* a TCP header of 16 bytes */
	assert_true(net_packet_parse(frame, len, len, &packet));
	assert_int_equal(packet.l4, 0);
	frame[34 + 12] = 0xf0;
	frame[FRAME_ETH] = 0x44; /* an IP header of 16 bytes */
	assert_false(net_packet_parse(frame, len, len, &packet));
	frame[FRAME_ETH] = 0x45;
	frame[FRAME_ETH + 6] = 0x20; /* a fragment */
	assert_true(net_packet_parse(frame, len, len, &packet));
	assert_int_equal(packet.l4, 0);
}

static struct netdev *soft_over(struct fake_backend *fake)
{
	const struct netdev_env env = {0};
	const struct netdev_config config = {0};
	struct netdev *soft = net_soft_wrap(&fake->netdev, &env, &config, NULL);

	assert_non_null(soft);
	assert_ptr_not_equal(soft, &fake->netdev);
	return soft;
}

static void send_gso(struct netdev *netdev, uint8_t *frame, size_t len, unsigned gso_type, unsigned size)
{
	struct iovec iov[64];
	bool udp = frame_protocol(frame) == 17;
	const struct netdev_header header = {
		.flags = NETDEV_HDR_NEEDS_CSUM,
		.gso_type = (uint8_t)gso_type,
		.gso_size = (uint16_t)size,
		.csum_start = (uint16_t)frame_l4(frame),
		.csum_offset = udp ? 6 : 16,
	};

	frame_make_partial(frame, len);
	assert_int_equal(netdev_send(netdev, 0, &header, iov, pieces_of(frame, len, iov)), 0);
}

static void test_checksum_is_completed(void **state)
{
	struct frame_spec spec[] = {tcp4, tcp6_spec(), tcp4};
	uint8_t frame[2000];
	uint8_t whole[2000];

	spec[2].protocol = 17;
	for (size_t i = 0; i < 3; i++) {
		for (size_t payload = 0; payload < 1400; payload += 133) {
			struct fake_backend *fake = fake_new(0);
			struct netdev *soft = soft_over(fake);
			size_t len = frame_make(frame, &spec[i], pattern(payload), payload);

			memcpy(whole, frame, len);
			send_gso(soft, frame, len, NETDEV_GSO_NONE, 0);
			assert_int_equal(fake->sent_count, 1);
			assert_int_equal(fake->sent_len[0], len);
			assert_memory_equal(fake->sent[0], whole, len);
			assert_int_equal(fake->sent_header[0].flags, 0);
			netdev_destroy(soft);
		}
	}
}

/* Every segment is a right frame by itself, and together they are what was sent. */
static void check_segments(const struct fake_backend *fake, const struct frame_spec *spec,
			   const uint8_t *payload, size_t len)
{
	bool v4 = spec->version == 4;
	size_t at = 0;

	for (unsigned i = 0; i < fake->sent_count; i++) {
		const uint8_t *frame = fake->sent[i];
		size_t l4 = frame_l4(frame);
		size_t head = l4 + (spec->protocol == 17 ? FRAME_UDP : FRAME_TCP);
		size_t part = fake->sent_len[i] - head;
		bool last = i + 1 == fake->sent_count;

		assert_true(frame_is_right(frame, fake->sent_len[i]));
		assert_true(part == MSS || last);
		assert_memory_equal(frame + head, payload + at, part);
		if (v4)
			assert_int_equal(frame_get16(frame + FRAME_ETH + 4), (spec->id + i) & 0xffff);
		if (spec->protocol == 17) {
			assert_int_equal(frame_get16(frame + l4 + 4), FRAME_UDP + part);
		} else {
			unsigned flags = spec->flags & ~((last ? 0u : 0x09u) | (i > 0 ? 0x80u : 0u));

			assert_int_equal(frame_get32(frame + l4 + 4), (uint32_t)(spec->seq + at));
			assert_int_equal(frame[l4 + 13], flags);
		}
		at += part;
	}
	assert_int_equal(at, len);
}

static void test_segments_are_cut(void **state)
{
	static uint8_t frame[NETDEV_FRAME_MAX];
	struct frame_spec spec[] = {tcp4, tcp6_spec(), tcp4, tcp6_spec()};
	const unsigned gso[] = {NETDEV_GSO_TCPV4 | NETDEV_GSO_ECN, NETDEV_GSO_TCPV6, NETDEV_GSO_UDP_L4,
				NETDEV_GSO_UDP_L4};
	const size_t sizes[] = {1, MSS, MSS + 1, 5 * MSS, 40 * MSS + 123};

	spec[2].protocol = spec[3].protocol = 17;
	spec[0].flags = spec[1].flags = 0x10 | 0x80 | 0x08 | 0x01; /* ACK CWR PSH FIN */
	for (size_t i = 0; i < 4; i++) {
		for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
			struct fake_backend *fake = fake_new(0);
			struct netdev *soft = soft_over(fake);
			size_t len = frame_make(frame, &spec[i], pattern(sizes[j]), sizes[j]);

			send_gso(soft, frame, len, gso[i], MSS);
			assert_int_equal(fake->sent_count, (sizes[j] + MSS - 1) / MSS);
			check_segments(fake, &spec[i], pattern(sizes[j]), sizes[j]);
			netdev_destroy(soft);
		}
	}
}

static void test_a_full_backend_gets_the_other_segments_later(void **state)
{
	static uint8_t frame[NETDEV_FRAME_MAX];
	struct fake_backend *fake = fake_new(0);
	struct netdev *soft = soft_over(fake);
	size_t len = frame_make(frame, &tcp4, pattern(10 * MSS), 10 * MSS);
	struct iovec iov = {frame, len};
	const struct netdev_header header = {
		.flags = NETDEV_HDR_NEEDS_CSUM,
		.gso_type = NETDEV_GSO_TCPV4,
		.gso_size = MSS,
		.csum_start = 34,
		.csum_offset = 16,
	};

	frame_make_partial(frame, len);
	fake->room = 4;
	assert_int_equal(netdev_send(soft, 0, &header, &iov, 1), -EAGAIN);
	fake->room = 3;
	assert_int_equal(netdev_send(soft, 0, &header, &iov, 1), -EAGAIN);
	fake->room = 64;
	assert_int_equal(netdev_send(soft, 0, &header, &iov, 1), 0);
	check_segments(fake, &tcp4, pattern(10 * MSS), 10 * MSS);
	/* A reset in the middle: the next frame begins at its first segment. */
	fake->sent_count = 0;
	fake->room = 4;
	assert_int_equal(netdev_send(soft, 0, &header, &iov, 1), -EAGAIN);
	netdev_reset(soft, 0);
	fake->sent_count = 0;
	fake->room = 64;
	assert_int_equal(netdev_send(soft, 0, &header, &iov, 1), 0);
	check_segments(fake, &tcp4, pattern(10 * MSS), 10 * MSS);
	netdev_destroy(soft);
}

static void test_a_large_backend_gets_tcp_whole(void **state)
{
	static uint8_t frame[NETDEV_FRAME_MAX], whole[NETDEV_FRAME_MAX];
	struct fake_backend *fake = fake_new(NETDEV_FRAME_MAX);
	struct netdev *soft = soft_over(fake);
	size_t len = frame_make(frame, &tcp4, pattern(30 * MSS), 30 * MSS);

	memcpy(whole, frame, len);
	send_gso(soft, frame, len, NETDEV_GSO_TCPV4, MSS);
	assert_int_equal(fake->sent_count, 1);
	assert_int_equal(fake->sent_len[0], len);
	assert_memory_equal(fake->sent[0], whole, len);
	netdev_destroy(soft);
}

static void test_headers_that_lie_are_dropped(void **state)
{
	static const struct netdev_header lies[] = {
		{.flags = 1, .csum_start = 0xffff, .csum_offset = 16},
		{.flags = 1, .csum_start = 34, .csum_offset = 0xffff},
		{.flags = 1, .gso_type = 1, .gso_size = 0, .csum_start = 34, .csum_offset = 16},
		{.flags = 1, .gso_type = 1, .gso_size = 10, .csum_start = 33, .csum_offset = 16},
		{.flags = 1, .gso_type = 1, .gso_size = 10, .csum_start = 34, .csum_offset = 6},
		{.flags = 1, .gso_type = 1, .gso_size = 10, .csum_start = 14, .csum_offset = 16},
		{.flags = 1, .gso_type = 5, .gso_size = 10, .csum_start = 34, .csum_offset = 16},
		{.flags = 0, .gso_type = 1, .gso_size = 10, .csum_start = 34, .csum_offset = 16},
	};
	uint8_t frame[2000];
	size_t len = frame_make(frame, &tcp4, pattern(200), 200);
	struct iovec iov = {frame, len};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct fake_backend *fake = fake_new(0);
		struct netdev *soft = soft_over(fake);

		assert_int_equal(netdev_send(soft, 0, &lies[i], &iov, 1), 0);
		assert_int_equal(fake->sent_count, 0);
		assert_int_equal(soft->tx_dropped, 1);
		netdev_destroy(soft);
	}
}

/* --- limits and files */

static unsigned limit_told;

static void limit_on_readable(void *opaque, unsigned queue)
{
	limit_told++;
}

static void test_limits_make_frames_wait(void **state)
{
	struct netdev_env env = {.loop = loop_create(NULL)};
	const struct netdev_config config = {.rx_pps = 100, .tx_bps = 100000};
	const struct netdev_client client = {.readable = limit_on_readable, .writable = limit_on_readable};
	struct fake_backend *fake = fake_new(0);
	struct netdev *limit = net_limit_wrap(&fake->netdev, &env, &config, NULL);
	uint8_t frame[1000] = {0};
	struct iovec iov = {frame, sizeof(frame)};
	struct netdev_header header = {0};
	unsigned sent = 0, got = 0;
	uint64_t start_ns = clock_monotonic_ns();
	uint64_t took_ns;

	netdev_attach(limit, &client);
	netdev_poll(limit, 0, true);
	fake->waiting = frame;
	fake->waiting_len = sizeof(frame);
	fake->waiting_count = 1000;
	/* 10 frames and 10 KB are the bursts; 30 frames more take 0.3 s. */
	while (sent < 40 || got < 40) {
		if (sent < 40 && netdev_send(limit, 0, &header, &iov, 1) == 0)
			sent++;
		else if (got < 40 && netdev_receive(limit, 0, &header, &iov, 1) > 0)
			got++;
		else
			loop_run_once(env.loop, 1000);
	}
	took_ns = clock_monotonic_ns() - start_ns;
	assert_true(took_ns > 250 * NS_PER_MS);
	assert_int_equal(fake->sent_count, 40);
	assert_true(limit_told > 0);
	assert_true(fake->polled);
	netdev_destroy(limit);
	loop_destroy(env.loop);
}

static void test_no_limit_no_wrapper(void **state)
{
	const struct netdev_env env = {0};
	const struct netdev_config config = {0};
	struct fake_backend *fake = fake_new(0);

	assert_ptr_equal(net_limit_wrap(&fake->netdev, &env, &config, NULL), &fake->netdev);
	assert_ptr_equal(net_pcap_wrap(&fake->netdev, &env, &config, NULL), &fake->netdev);
	fake->netdev.offloads = NETDEV_TX_CSUM;
	assert_ptr_equal(net_soft_wrap(&fake->netdev, &env, &config, NULL), &fake->netdev);
	netdev_destroy(&fake->netdev);
}

static void test_pcap_file(void **state)
{
	char path[] = "/tmp/vmmctl-test-pcap-XXXXXX";
	const struct netdev_env env = {0};
	const struct netdev_config config = {.pcap = path};
	struct fake_backend *fake = fake_new(0);
	int fd = mkstemp(path);
	struct netdev *pcap = net_pcap_wrap(&fake->netdev, &env, &config, NULL);
	uint8_t frame[2000];
	size_t len = frame_make(frame, &tcp4, pattern(100), 100);
	struct netdev_header header = {0};
	struct iovec iov[64];
	struct iovec in = {frame, sizeof(frame)};
	uint32_t words[6];

	assert_int_equal(netdev_send(pcap, 0, &header, iov, pieces_of(frame, len, iov)), 0);
	fake->room = 0;
	assert_int_equal(netdev_send(pcap, 0, &header, iov, pieces_of(frame, len, iov)), -EAGAIN);
	fake->waiting = pattern(60);
	fake->waiting_len = 60;
	fake->waiting_count = 1;
	assert_int_equal(netdev_receive(pcap, 0, &header, &in, 1), 60);
	netdev_destroy(pcap);
	assert_int_equal(read(fd, words, 24), 24);
	assert_int_equal(words[0], 0xa1b23c4du);
	assert_int_equal(words[5], 1);
	for (unsigned i = 0; i < 2; i++) {
		size_t wanted = i == 0 ? len : 60;

		assert_int_equal(read(fd, words, 16), 16);
		assert_true(words[0] > 1500000000u && words[1] < 1000000000u);
		assert_int_equal(words[2], wanted);
		assert_int_equal(words[3], wanted);
		assert_int_equal(read(fd, frame, wanted), wanted);
	}
	assert_int_equal(read(fd, frame, 1), 0);
	assert_memory_equal(frame, pattern(60), 60);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums_over_pieces),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_parsing_does_not_believe),
		cmocka_unit_test(test_checksum_is_completed),
		cmocka_unit_test(test_segments_are_cut),
		cmocka_unit_test(test_a_full_backend_gets_the_other_segments_later),
		cmocka_unit_test(test_a_large_backend_gets_tcp_whole),
		cmocka_unit_test(test_headers_that_lie_are_dropped),
		cmocka_unit_test(test_limits_make_frames_wait),
		cmocka_unit_test(test_no_limit_no_wrapper),
		cmocka_unit_test(test_pcap_file),
	};

	return cmocka_run_group_tests_name("net_frame", tests, NULL, NULL);
}
