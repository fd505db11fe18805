/* SPDX-License-Identifier: Apache-2.0 */
/* The network card's control queue and filter, several queues, and a card that moves with its state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/virtio/net_filter.h"
#include "tests/unit/virtio_net_bench.h"

#define ALL_CONTROL                                                                                          \
	(BIT(CTRL_VQ) | BIT(CTRL_RX) | BIT(CTRL_RX_EXTRA) | BIT(CTRL_VLAN) | BIT(CTRL_MAC_ADDR) |            \
	 BIT(GUEST_ANNOUNCE) | BIT(CTRL_GUEST_OFFLOADS) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4) |                \
	 BIT(MRG_RXBUF) | BIT(STATUS))

static uint8_t command_at(struct bench *bench, unsigned queue, uint8_t class, uint8_t command,
			  const void *data, size_t len)
{
	uint8_t bytes[2048] = {class, command};
	uint8_t status = 0x55;

	assert_true(len <= sizeof(bytes) - 2);
	memcpy(bytes + 2, data, len);
	assert_int_equal(virtio_guest_request(bench->guest, queue, bytes, len + 2, &status, 1), 1);
	return status;
}

static uint8_t command(struct bench *bench, uint8_t class, uint8_t command, const void *data, size_t len)
{
	return command_at(bench, CONTROL, class, command, data, len);
}

/* Whether the guest gets a frame to this address. */
static bool gets(struct bench *bench, const uint8_t *head, size_t head_len)
{
	struct fake_queue *queue = &bench->fake->queue[0];
	uint16_t id;
	uint32_t len;

	bench_offer(bench, 0, 1, 2100);
	fake_netdev_put(bench->fake, 0, NULL, 64, 0);
	memcpy(queue->waiting[queue->first % FAKE_FRAMES_MAX].bytes, head, head_len);
	netdev_tell_readable(&bench->fake->netdev, 0);
	return virtio_guest_take(bench->guest, RX, &id, &len);
}

static const uint8_t own[6] = {0x52, 0x54, 0, 0, 0, 1};
static const uint8_t other[6] = {0x52, 0x54, 0, 0, 0, 9};
static const uint8_t group[6] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void test_receive_modes(void **state)
{
	const uint8_t on = 1, off = 0;
	struct bench bench;

	bench_start(&bench, 1, 0, ALL_CONTROL);
	assert_true(gets(&bench, other, 6)); /* promiscuous until told */
	assert_int_equal(command(&bench, 0, 0, &off, 1), 0);
	assert_true(gets(&bench, own, 6));
	assert_true(gets(&bench, all, 6));
	assert_false(gets(&bench, other, 6));
	assert_false(gets(&bench, group, 6));
	assert_int_equal(command(&bench, 0, 1, &on, 1), 0); /* all multicast */
	assert_true(gets(&bench, group, 6));
	assert_int_equal(command(&bench, 0, 3, &on, 1), 0); /* no multicast */
	assert_false(gets(&bench, group, 6));
	assert_int_equal(command(&bench, 0, 2, &on, 1), 0); /* all unicast */
	assert_true(gets(&bench, other, 6));
	assert_int_equal(command(&bench, 0, 4, &on, 1), 0); /* no unicast */
	assert_false(gets(&bench, own, 6));
	assert_int_equal(command(&bench, 0, 5, &on, 1), 0); /* no broadcast */
	assert_false(gets(&bench, all, 6));
	assert_int_equal(command(&bench, 0, 6, &on, 1), 1);
	assert_int_equal(command(&bench, 0, 0, &on, 0), 1);
	virtio_guest_destroy(bench.guest);
}

/* le32 count and addresses, twice; `count` are said, `real` are there. */
static size_t make_tables(uint8_t *bytes, uint32_t unicast, uint32_t multicast, const uint8_t *mac)
{
	size_t at = 0;

	memcpy(bytes + at, &unicast, 4);
	at += 4;
	for (uint32_t i = 0; i < unicast; i++, at += 6)
		memcpy(bytes + at, mac, 6);
	memcpy(bytes + at, &multicast, 4);
	at += 4;
	for (uint32_t i = 0; i < multicast; i++, at += 6)
		memcpy(bytes + at, group, 6);
	return at;
}

static void test_address_tables(void **state)
{
	const uint8_t off = 0;
	uint8_t bytes[2040];
	uint32_t huge = 0x2aaaaaab; /* times six wraps in 32 bits */
	struct bench bench;

	bench_start(&bench, 1, 0, ALL_CONTROL);
	assert_int_equal(command(&bench, 0, 0, &off, 1), 0);
	assert_int_equal(command(&bench, 1, 0, bytes, make_tables(bytes, 1, 1, other)), 0);
	assert_true(gets(&bench, other, 6));
	assert_true(gets(&bench, group, 6));
	assert_int_equal(command(&bench, 1, 0, bytes, make_tables(bytes, 0, 0, other)), 0);
	assert_false(gets(&bench, other, 6));
	/* More than are kept: everything passes rather than too little. */
	assert_int_equal(command(&bench, 1, 0, bytes, make_tables(bytes, NET_FILTER_MACS_MAX + 1, 0, own)),
			 0);
	assert_true(gets(&bench, other, 6));
	assert_false(gets(&bench, group, 6));
	/* Lies about the count change nothing. */
	assert_int_equal(command(&bench, 1, 0, bytes, make_tables(bytes, 3, 0, own) - 5), 1);
	memcpy(bytes, &huge, 4);
	assert_int_equal(command(&bench, 1, 0, bytes, 100), 1);
	assert_int_equal(command(&bench, 1, 0, bytes, 3), 1);
	assert_true(gets(&bench, other, 6));
	virtio_guest_destroy(bench.guest);
}

static void test_the_card_gets_another_address(void **state)
{
	const uint8_t off = 0;
	struct bench bench;
	uint8_t mac[6];

	bench_start(&bench, 1, 0, ALL_CONTROL);
	assert_int_equal(command(&bench, 0, 0, &off, 1), 0);
	assert_int_equal(command(&bench, 1, 1, other, 6), 0);
	assert_true(gets(&bench, other, 6));
	assert_false(gets(&bench, own, 6));
	virtio_config_get(bench.guest->virtio, 0, mac, 6);
	assert_memory_equal(mac, other, 6);
	assert_int_equal(command(&bench, 1, 1, other, 5), 1);
	virtio_class_reset(bench.device);
	virtio_config_get(bench.guest->virtio, 0, mac, 6);
	assert_memory_equal(mac, own, 6);
	virtio_guest_destroy(bench.guest);
}

static void test_vlans(void **state)
{
	uint8_t tagged[18] = {0x52, 0x54, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 0x81, 0x00, 0x20, 0x2a, 8, 0};
	const uint16_t id = 42, wrong = 4096;
	struct bench bench;

	bench_start(&bench, 1, 0, ALL_CONTROL);
	assert_true(gets(&bench, own, 6));
	assert_false(gets(&bench, tagged, 18));
	assert_int_equal(command(&bench, 2, 0, &id, 2), 0);
	assert_true(gets(&bench, tagged, 18));
	assert_int_equal(command(&bench, 2, 1, &id, 2), 0);
	assert_false(gets(&bench, tagged, 18));
	assert_int_equal(command(&bench, 2, 0, &wrong, 2), 1);
	assert_int_equal(command(&bench, 2, 2, &id, 2), 1);
	virtio_guest_destroy(bench.guest);
}

static void test_offloads_are_switched(void **state)
{
	const uint64_t none = 0, csum = BIT(GUEST_CSUM), more = BIT(GUEST_CSUM) | BIT(GUEST_TSO6);
	struct bench bench;

	bench_start(&bench, 1, 0, ALL_CONTROL);
	assert_int_equal(bench.fake->set_offloads, NETDEV_RX_CSUM | NETDEV_RX_TSO4);
	assert_int_equal(command(&bench, 5, 0, &csum, 8), 0);
	assert_int_equal(bench.fake->set_offloads, NETDEV_RX_CSUM);
	assert_int_equal(command(&bench, 5, 0, &none, 8), 0);
	assert_int_equal(bench.fake->set_offloads, 0);
	assert_int_equal(command(&bench, 5, 0, &more, 8), 1); /* not negotiated */
	assert_int_equal(bench.fake->set_offloads, 0);
	virtio_guest_destroy(bench.guest);
}

static void test_what_was_not_negotiated_is_refused(void **state)
{
	const uint8_t on = 1;
	const uint16_t id = 1;
	const uint64_t none = 0;
	struct bench bench;

	bench_start(&bench, 1, 0, BIT(CTRL_VQ));
	assert_int_equal(command(&bench, 0, 0, &on, 1), 1);
	assert_int_equal(command(&bench, 0, 2, &on, 1), 1);
	assert_int_equal(command(&bench, 1, 1, own, 6), 1);
	assert_int_equal(command(&bench, 2, 0, &id, 2), 1);
	assert_int_equal(command(&bench, 3, 0, &id, 0), 1);
	assert_int_equal(command(&bench, 4, 0, &id, 2), 1);
	assert_int_equal(command(&bench, 5, 0, &none, 8), 1);
	assert_int_equal(command(&bench, 6, 0, &none, 8), 1);
	assert_int_equal(command(&bench, 255, 0, &none, 8), 1);
	virtio_guest_destroy(bench.guest);
}

static void test_several_pairs(void **state)
{
	const uint16_t two = 2, zero = 0, five = 5;
	struct bench bench;

	bench_start(&bench, 4, 0, BIT(CTRL_VQ) | BIT(MQ) | BIT(MRG_RXBUF));
	assert_int_equal(bench.fake->set_pairs, 1);
	bench_offer(&bench, 1, 2, 2100);
	fake_netdev_put(bench.fake, 1, NULL, 100, 7);
	netdev_tell_readable(&bench.fake->netdev, 1);
	assert_false(bench.fake->queue[1].polled);
	assert_int_equal(bench.fake->queue[1].waiting_count, 1); /* not active yet */
	assert_int_equal(command_at(&bench, 8, 4, 0, &zero, 2), 1);
	assert_int_equal(command_at(&bench, 8, 4, 0, &five, 2), 1);
	assert_int_equal(command_at(&bench, 8, 4, 0, &two, 2), 0);
	assert_int_equal(bench.fake->set_pairs, 2);
	virtio_guest_run(bench.guest);
	bench_expect(&bench, 1, &(struct netdev_header){0}, 100, 7, 1);
	assert_true(bench.fake->queue[1].polled);
	assert_false(bench.fake->queue[2].polled);
	bench_send(&bench, 1, &(struct netdev_header){0}, 100, 1);
	assert_int_equal(bench.fake->sent_queue[0], 1);
	virtio_guest_destroy(bench.guest);
}

/* 5.1.2: a driver that knows of one pair has its control queue behind that, whatever the card could do. */
static void test_one_pair_of_several(void **state)
{
	const uint8_t off = 0;
	struct bench bench;

	bench_start(&bench, 4, 0, BIT(CTRL_VQ) | BIT(CTRL_RX));
	assert_int_equal(command_at(&bench, 2, 0, 0, &off, 1), 0);
	virtio_guest_destroy(bench.guest);
}

static struct device *another(struct bench *bench, struct fake_netdev **fake)
{
	struct net_config config = {.id = "net1", .mac = {0x52, 0x54, 0, 0, 0, 1}};

	*fake = fake_netdev_new(1, FAKE_OFFLOADS);
	config.netdev = &(*fake)->netdev;
	return net_create(&bench->guest->env, &config, &bench->guest->err);
}

static void test_a_card_moves_with_its_state(void **state)
{
	const uint8_t off = 0;
	const uint64_t csum = BIT(GUEST_CSUM);
	uint8_t tables[64];
	struct fake_netdev *fake;
	struct bench bench;
	uint8_t mac[6];
	uint16_t status;

	bench_start(&bench, 1, 0, ALL_CONTROL);
	bench_offer(&bench, 0, 4, 2100);
	assert_int_equal(command(&bench, 0, 0, &off, 1), 0);
	assert_int_equal(command(&bench, 1, 1, other, 6), 0);
	assert_int_equal(command(&bench, 1, 0, tables, make_tables(tables, 0, 1, own)), 0);
	assert_int_equal(command(&bench, 5, 0, &csum, 8), 0);
	virtio_guest_move(bench.guest, another(&bench, &fake));
	bench.fake = fake;
	assert_int_equal(fake->set_offloads, NETDEV_RX_CSUM);
	assert_int_equal(fake->set_pairs, 1);
	assert_true(fake->queue[0].polled);
	assert_true(gets(&bench, other, 6));
	assert_true(gets(&bench, group, 6));
	assert_false(gets(&bench, own, 6));
	virtio_config_get(bench.guest->virtio, 0, mac, 6);
	assert_memory_equal(mac, other, 6);
	/* It asks the guest to announce itself to the network, which the guest confirms. */
	virtio_config_get(bench.guest->virtio, 6, &status, 2);
	assert_int_equal(status, NET_STATUS_LINK_UP | NET_STATUS_ANNOUNCE);
	assert_int_equal(command(&bench, 3, 0, &off, 0), 0);
	virtio_config_get(bench.guest->virtio, 6, &status, 2);
	assert_int_equal(status, NET_STATUS_LINK_UP);
	virtio_guest_destroy(bench.guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_receive_modes),
		cmocka_unit_test(test_address_tables),
		cmocka_unit_test(test_the_card_gets_another_address),
		cmocka_unit_test(test_vlans),
		cmocka_unit_test(test_offloads_are_switched),
		cmocka_unit_test(test_what_was_not_negotiated_is_refused),
		cmocka_unit_test(test_several_pairs),
		cmocka_unit_test(test_one_pair_of_several),
		cmocka_unit_test(test_a_card_moves_with_its_state),
	};

	return cmocka_run_group_tests_name("virtio_net_control", tests, NULL, NULL);
}
