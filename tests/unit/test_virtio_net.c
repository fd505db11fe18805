/* SPDX-License-Identifier: Apache-2.0 */
/* The network card: frames both ways on every kind of ring, merged buffers, backpressure, features, what is
 * saved. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/virtio_net_bench.h"

static void test_what_the_card_offers(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct net_config config = {.id = "net0", .mac = {2, 3, 4, 5, 6, 7}, .mtu = 1400};
	struct virtio_device *virtio;
	uint8_t space[12];

	config.netdev = &fake_netdev_new(2, NETDEV_TX_CSUM | NETDEV_RX_CSUM | NETDEV_RX_TSO4)->netdev;
	virtio = (struct virtio_device *)net_create(&guest->env, &config, &guest->err);
	assert_non_null(virtio);
	assert_true(virtio->features & BIT(CSUM));
	assert_true(virtio->features & BIT(GUEST_TSO4));
	assert_true(virtio->features & BIT(MTU));
	assert_true(virtio->features & BIT(MQ));
	assert_false(virtio->features & BIT(HOST_TSO4));
	assert_false(virtio->features & BIT(GUEST_TSO6));
	assert_int_equal(virtio->queue_count, 5);
	virtio_config_get(virtio, 0, space, sizeof(space));
	assert_memory_equal(space, "\2\3\4\5\6\7\1\0\2\0\x78\5", 12);
	virtio_guest_attach(guest, &virtio->device);
	/* 5.1.3.1: segments without checksums, and several queues without a control queue. */
	assert_false(virtio_guest_negotiate(guest, 0, BIT(GUEST_TSO4)));
	virtio_guest_destroy(guest);
}

static void test_dependent_features(void **state)
{
	static const uint64_t wrong[] = {BIT(GUEST_TSO4), BIT(HOST_TSO6),     BIT(HOST_USO),
					 BIT(MQ),         BIT(CTRL_RX),       BIT(CSUM) | BIT(HOST_ECN),
					 BIT(CTRL_VLAN),  BIT(GUEST_ANNOUNCE)};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct bench bench;

		bench_make(&bench, 2);
		virtio_guest_attach(bench.guest, bench.device);
		assert_false(virtio_guest_negotiate(bench.guest, 0, wrong[i]));
		virtio_guest_destroy(bench.guest);
	}
}

static void test_frames_are_sent_on_every_ring(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		const struct netdev_header header = {.flags = 1,
						     .gso_type = NETDEV_GSO_TCPV4,
						     .gso_size = 500,
						     .csum_start = 34,
						     .csum_offset = 16};
		struct bench bench;

		bench_start(&bench, 1, ring, BIT(CSUM) | BIT(HOST_TSO4) | BIT(MRG_RXBUF));
		for (unsigned i = 0; i < 40; i++) {
			size_t len = 60 + i * 37;

			bench_send(&bench, 0, &header, len, (uint8_t)i);
			assert_int_equal(bench.fake->sent_count, i + 1);
			assert_int_equal(bench.fake->sent[i].len, len);
			assert_memory_equal(&bench.fake->sent[i].header, &header, sizeof(header));
			for (size_t j = 0; j < len; j++)
				assert_int_equal(bench.fake->sent[i].bytes[j],
						 fake_netdev_byte((uint8_t)i, j));
		}
		assert_int_equal(bench.fake->flushes, 40);
		virtio_guest_destroy(bench.guest);
	}
}

static void test_bad_headers_are_not_sent(void **state)
{
	static const struct netdev_header wrong[] = {
		{.flags = 2},
		{.flags = 1, .csum_start = 100, .csum_offset = 0},
		{.flags = 1, .csum_start = 98, .csum_offset = 1},
		{.flags = 1, .csum_start = 34, .csum_offset = 0xffff},
		{.gso_type = NETDEV_GSO_TCPV4, .gso_size = 100},
		{.flags = 1, .gso_type = NETDEV_GSO_TCPV4, .gso_size = 0, .csum_start = 34},
		{.flags = 1, .gso_type = NETDEV_GSO_TCPV6, .gso_size = 10, .csum_start = 34},
		{.flags = 1, .gso_type = NETDEV_GSO_UDP_L4, .gso_size = 10, .csum_start = 34},
		{.flags = 1, .gso_type = NETDEV_GSO_TCPV4 | NETDEV_GSO_ECN, .gso_size = 10, .csum_start = 34},
		{.flags = 1, .gso_type = 3, .gso_size = 10, .csum_start = 34},
	};
	struct bench bench;
	uint8_t byte = 0;

	bench_start(&bench, 1, 0, BIT(CSUM) | BIT(HOST_TSO4));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		bench_send(&bench, 0, &wrong[i], 100, 1);
	assert_int_equal(bench.fake->sent_count, 0);
	bench_send(&bench, 0, &(struct netdev_header){0}, 13, 1); /* shorter than Ethernet */
	virtio_guest_request(bench.guest, TX, &byte, 1, NULL, 0); /* shorter than the header */
	virtio_guest_request(bench.guest, TX, NULL, 0, &byte, 1); /* nothing to read */
	assert_int_equal(bench.fake->sent_count, 0);
	bench_send(&bench, 0, &(struct netdev_header){.flags = 1, .csum_start = 98}, 100, 1);
	assert_int_equal(bench.fake->sent_count, 1);
	virtio_guest_destroy(bench.guest);
	/* Nothing negotiated: no checksum may be asked for. */
	bench_start(&bench, 1, 0, 0);
	bench_send(&bench, 0, &(struct netdev_header){.flags = 1, .csum_start = 98}, 100, 1);
	assert_int_equal(bench.fake->sent_count, 0);
	virtio_guest_destroy(bench.guest);
}

static void test_a_full_backend_holds_the_ring(void **state)
{
	struct bench bench;
	uint16_t id;
	uint32_t len;
	unsigned done = 0;

	bench_start(&bench, 1, 0, 0);
	bench.fake->room = 3;
	for (unsigned i = 0; i < 6; i++)
		bench_add_frame(&bench, 0, &(struct netdev_header){0}, 100, (uint8_t)i);
	virtio_guest_kick(bench.guest, TX);
	while (virtio_guest_take(bench.guest, TX, &id, &len))
		done++;
	assert_int_equal(done, 3);
	virtio_guest_kick(bench.guest, TX); /* a kick changes nothing */
	assert_int_equal(bench.fake->sent_count, 3);
	bench.fake->room = 2;
	netdev_tell_writable(&bench.fake->netdev, 0);
	assert_int_equal(bench.fake->sent_count, 5);
	bench.fake->room = 100;
	netdev_tell_writable(&bench.fake->netdev, 0);
	assert_int_equal(bench.fake->sent_count, 6);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(bench.fake->sent[i].bytes[1], fake_netdev_byte((uint8_t)i, 1));
	virtio_guest_destroy(bench.guest);
}

static void test_a_large_frame_takes_several_buffers(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		const struct netdev_header header = {.flags = 1,
						     .gso_type = NETDEV_GSO_TCPV4,
						     .gso_size = 1448,
						     .csum_start = 34,
						     .csum_offset = 16};
		struct bench bench;

		/* Enough for the largest frame: it comes straight into them. */
		bench_start(&bench, 1, ring, BIT(MRG_RXBUF) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4));
		bench_offer(&bench, 0, 16, 5000);
		for (unsigned i = 0; i < 3; i++) {
			size_t len = i == 1 ? 60 : 12000;

			virtio_guest_watch_writes(bench.guest);
			fake_netdev_put(bench.fake, 0, &header, len, (uint8_t)i);
			netdev_tell_readable(&bench.fake->netdev, 0);
			virtio_guest_run(bench.guest);
			virtio_guest_check_writes(bench.guest);
			bench_expect(&bench, 0, &header, len, (uint8_t)i, i == 1 ? 1 : 3);
			bench_offer(&bench, 0, i == 1 ? 1 : 3, 5000);
		}
		virtio_guest_destroy(bench.guest);
	}
}

static void test_a_batch_of_frames_is_one_interrupt(void **state)
{
	struct bench bench;
	unsigned before;

	bench_start(&bench, 1, 0, BIT(MRG_RXBUF));
	bench_offer(&bench, 0, 14, 2048);
	before = bench.guest->queue[RX].interrupts;
	for (unsigned i = 0; i < 10; i++)
		fake_netdev_put(bench.fake, 0, NULL, 200, (uint8_t)i);
	netdev_tell_readable(&bench.fake->netdev, 0);
	virtio_guest_run(bench.guest);
	for (unsigned i = 0; i < 10; i++)
		bench_expect(&bench, 0, &(struct netdev_header){0}, 200, (uint8_t)i, 1);
	assert_int_equal(bench.guest->queue[RX].interrupts, before + 1);
	virtio_guest_destroy(bench.guest);
}

static void test_without_merging_a_frame_has_one_buffer(void **state)
{
	struct bench bench;
	uint16_t id;
	uint32_t len;

	bench_start(&bench, 1, 0, 0);
	bench_offer(&bench, 0, 4, 1000);
	fake_netdev_put(bench.fake, 0, NULL, 988, 1);
	fake_netdev_put(bench.fake, 0, NULL, 989,
			2); /* a byte too long: lost, and its buffer serves the next */
	fake_netdev_put(bench.fake, 0, NULL, 500, 3);
	netdev_tell_readable(&bench.fake->netdev, 0);
	virtio_guest_run(bench.guest);
	bench_expect(&bench, 0, &(struct netdev_header){0}, 988, 1, 1);
	bench_expect(&bench, 0, &(struct netdev_header){0}, 500, 3, 1);
	assert_false(virtio_guest_take(bench.guest, RX, &id, &len));
	virtio_guest_destroy(bench.guest);
}

static void test_a_starved_queue_is_not_polled(void **state)
{
	for (unsigned merged = 0; merged < 2; merged++) {
		struct bench bench;

		bench_start(&bench, 1, 0, merged ? BIT(MRG_RXBUF) : 0);
		bench_offer(&bench, 0, 2, 2100);
		assert_true(bench.fake->queue[0].polled);
		for (unsigned i = 0; i < 4; i++)
			fake_netdev_put(bench.fake, 0, NULL, 1500, (uint8_t)i);
		netdev_tell_readable(&bench.fake->netdev, 0);
		assert_false(bench.fake->queue[0].polled);
		bench_expect(&bench, 0, &(struct netdev_header){0}, 1500, 0, 1);
		bench_expect(&bench, 0, &(struct netdev_header){0}, 1500, 1, 1);
		bench_offer(&bench, 0, 4, 2100);
		assert_true(bench.fake->queue[0].polled);
		bench_expect(&bench, 0, &(struct netdev_header){0}, 1500, 2, 1);
		bench_expect(&bench, 0, &(struct netdev_header){0}, 1500, 3, 1);
		virtio_guest_destroy(bench.guest);
	}
}

/* Too few buffers for the largest frame: small ones pass, and a large one waits until there is room. */
static void test_few_buffers(void **state)
{
	struct bench bench;
	uint16_t id;
	uint32_t len;

	bench_start(&bench, 1, 0, BIT(MRG_RXBUF) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4));
	bench_offer(&bench, 0, 3, 1500);
	fake_netdev_put(bench.fake, 0, NULL, 1000, 1);
	fake_netdev_put(bench.fake, 0, NULL, 9000, 2);
	fake_netdev_put(bench.fake, 0, NULL, 100, 3);
	netdev_tell_readable(&bench.fake->netdev, 0);
	bench_expect(&bench, 0, &(struct netdev_header){0}, 1000, 1, 1);
	assert_false(virtio_guest_take(bench.guest, RX, &id, &len));
	assert_false(bench.fake->queue[0].polled);
	bench_offer(&bench, 0, 6, 1500);
	bench_expect(&bench, 0, &(struct netdev_header){0}, 9000, 2, 7);
	bench_expect(&bench, 0, &(struct netdev_header){0}, 100, 3, 1);
	virtio_guest_destroy(bench.guest);
}

/* All of the ring's buffers together are too small: the frame is lost, and not the queue. */
static void test_a_ring_too_small_for_a_frame(void **state)
{
	struct bench bench;
	uint16_t id;
	uint32_t len;

	bench_start(&bench, 1, 0, BIT(MRG_RXBUF) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4));
	bench_offer(&bench, 0, 16, 500);
	fake_netdev_put(bench.fake, 0, NULL, 9000, 1);
	fake_netdev_put(bench.fake, 0, NULL, 900, 2);
	netdev_tell_readable(&bench.fake->netdev, 0);
	virtio_guest_run(bench.guest);
	bench_expect(&bench, 0, &(struct netdev_header){0}, 900, 2, 2);
	assert_false(virtio_guest_take(bench.guest, RX, &id, &len));
	virtio_guest_destroy(bench.guest);
}

static void test_buffers_that_hold_no_header(void **state)
{
	struct bench bench;

	bench_start(&bench, 1, 0, BIT(MRG_RXBUF));
	bench_offer(&bench, 0, 2, 11);
	bench_offer(&bench, 0, 2, 2100);
	fake_netdev_put(bench.fake, 0, NULL, 100, 1);
	netdev_tell_readable(&bench.fake->netdev, 0);
	bench_expect_unused(&bench, 0);
	bench_expect_unused(&bench, 0);
	bench_expect(&bench, 0, &(struct netdev_header){0}, 100, 1, 1);
	virtio_guest_destroy(bench.guest);
}

/* Small buffers between others: they carry what they can, and nothing comes twice when the queue stops. */
static void test_small_buffers_between_others(void **state)
{
	for (unsigned ring = 0; ring < VIRTIO_GUEST_RING_KINDS; ring++) {
		struct bench bench;

		bench_start(&bench, 1, ring, BIT(MRG_RXBUF));
		bench_offer(&bench, 0, 1, 600);
		bench_offer(&bench, 0, 1, 5);
		bench_offer(&bench, 0, 1, 600);
		bench_offer(&bench, 0, 1, 5);
		bench_offer(&bench, 0, 6, 600);
		fake_netdev_put(bench.fake, 0, NULL, 1000, 1);
		netdev_tell_readable(&bench.fake->netdev, 0);
		bench_expect(&bench, 0, &(struct netdev_header){0}, 1000, 1, 3);
		virtio_class_pause(bench.device);
		virtio_class_resume(bench.device);
		fake_netdev_put(bench.fake, 0, NULL, 500, 2);
		netdev_tell_readable(&bench.fake->netdev, 0);
		bench_expect_unused(&bench, 0); /* no room for a header */
		bench_expect(&bench, 0, &(struct netdev_header){0}, 500, 2, 1);
		virtio_guest_destroy(bench.guest);
	}
}

static void test_a_reset_forgets(void **state)
{
	struct bench bench;
	bool destroyed = false;

	bench_start(&bench, 1, 0, BIT(MRG_RXBUF) | BIT(CTRL_VQ) | BIT(CTRL_MAC_ADDR));
	bench.fake->destroyed = &destroyed;
	bench_offer(&bench, 0, 8, 1500);
	fake_netdev_put(bench.fake, 0, NULL, 100, 1);
	netdev_tell_readable(&bench.fake->netdev, 0);
	bench.fake->room = 0;
	bench_send_no_wait(&bench, 0, 100);
	virtio_class_reset(bench.device);
	assert_false(bench.fake->queue[0].polled);
	assert_int_equal(bench.fake->queue[0].resets, 1);
	netdev_tell_readable(&bench.fake->netdev, 0); /* nobody is there */
	netdev_tell_writable(&bench.fake->netdev, 0);
	assert_int_equal(bench.fake->sent_count, 0);
	virtio_guest_destroy(bench.guest);
	assert_true(destroyed);
}

static void test_the_link(void **state)
{
	struct bench bench;
	uint16_t status;

	bench_start(&bench, 1, 0, BIT(STATUS));
	netdev_set_link(&bench.fake->netdev, false);
	assert_int_equal(bench.guest->config_interrupts, 1);
	virtio_config_get(bench.guest->virtio, 6, &status, 2);
	assert_int_equal(status, 0);
	netdev_set_link(&bench.fake->netdev, true);
	assert_int_equal(bench.guest->config_interrupts, 2);
	virtio_config_get(bench.guest->virtio, 6, &status, 2);
	assert_int_equal(status, 1);
	virtio_guest_destroy(bench.guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_the_card_offers),
		cmocka_unit_test(test_dependent_features),
		cmocka_unit_test(test_frames_are_sent_on_every_ring),
		cmocka_unit_test(test_bad_headers_are_not_sent),
		cmocka_unit_test(test_a_full_backend_holds_the_ring),
		cmocka_unit_test(test_a_large_frame_takes_several_buffers),
		cmocka_unit_test(test_a_batch_of_frames_is_one_interrupt),
		cmocka_unit_test(test_without_merging_a_frame_has_one_buffer),
		cmocka_unit_test(test_a_starved_queue_is_not_polled),
		cmocka_unit_test(test_few_buffers),
		cmocka_unit_test(test_a_ring_too_small_for_a_frame),
		cmocka_unit_test(test_buffers_that_hold_no_header),
		cmocka_unit_test(test_small_buffers_between_others),
		cmocka_unit_test(test_a_reset_forgets),
		cmocka_unit_test(test_the_link),
	};

	return cmocka_run_group_tests_name("virtio_net", tests, NULL, NULL);
}
