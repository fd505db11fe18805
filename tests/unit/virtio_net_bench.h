/* SPDX-License-Identifier: Apache-2.0 */
/* A network card on the fake guest and the fake backend: sending, offering buffers, and checking what came.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/virtio/net.h"
#include "devices/virtio/net_device.h"
#include "tests/unit/fake_netdev.h"
#include "tests/unit/virtio_guest.h"

#define BIT(feature_) (1ull << NET_F_##feature_)

enum { RX = 0, TX = 1, CONTROL = 2 }; /* of a card with one pair */

#define BENCH_BUFFERS_MAX 256

struct bench {
	struct virtio_guest *guest;
	struct fake_netdev *fake;
	struct device *device;
	/* Receive buffers in the order in which they were offered. */
	uint64_t rx_gpa[NETDEV_QUEUES_MAX][BENCH_BUFFERS_MAX];
	unsigned rx_offered[NETDEV_QUEUES_MAX], rx_taken[NETDEV_QUEUES_MAX];
};

static inline void bench_make(struct bench *bench, unsigned pairs)
{
	struct net_config config = {.id = "net0", .mac = {0x52, 0x54, 0, 0, 0, 1}};

	memset(bench, 0, sizeof(*bench));
	bench->guest = virtio_guest_create();
	bench->fake = fake_netdev_new(pairs, FAKE_OFFLOADS);
	config.netdev = &bench->fake->netdev;
	bench->device = net_create(&bench->guest->env, &config, &bench->guest->err);
	assert_non_null(bench->device);
}

static inline void bench_start(struct bench *bench, unsigned pairs, unsigned ring, uint64_t features)
{
	bench_make(bench, pairs);
	virtio_guest_start(bench->guest, bench->device, ring, features);
}

/* Offers writable buffers to a receive queue, and kicks. */
static inline void bench_offer(struct bench *bench, unsigned pair, unsigned count, uint32_t len)
{
	for (unsigned i = 0; i < count; i++) {
		const struct virtio_guest_buffer buffer = {
			.gpa = virtio_guest_alloc(bench->guest, len, 16), .len = len, .write = true};

		bench->rx_gpa[pair][bench->rx_offered[pair]++ % BENCH_BUFFERS_MAX] = buffer.gpa;
		virtio_guest_add(bench->guest, net_rx_index(pair), &buffer, 1);
	}
	virtio_guest_kick(bench->guest, net_rx_index(pair));
}

/* A frame of the guest's in two pieces, the header cut across them. */
static inline void bench_add_frame(struct bench *bench, unsigned pair, const struct netdev_header *header,
				   size_t len, uint8_t seed)
{
	uint64_t gpa = virtio_guest_alloc(bench->guest, sizeof(*header) + len, 16);
	uint8_t *at = virtio_guest_at(bench->guest, gpa, sizeof(*header) + len);
	const struct virtio_guest_buffer buffers[] = {
		{.gpa = gpa, .len = 10},
		{.gpa = gpa + 10, .len = (uint32_t)(sizeof(*header) + len - 10)},
	};

	memcpy(at, header, sizeof(*header));
	for (size_t i = 0; i < len; i++)
		at[sizeof(*header) + i] = fake_netdev_byte(seed, i);
	virtio_guest_add(bench->guest, net_tx_index(pair), buffers, 2);
}

static inline void bench_send(struct bench *bench, unsigned pair, const struct netdev_header *header,
			      size_t len, uint8_t seed)
{
	uint16_t id;
	uint32_t written;

	bench_add_frame(bench, pair, header, len, seed);
	virtio_guest_kick(bench->guest, net_tx_index(pair));
	assert_true(virtio_guest_take(bench->guest, net_tx_index(pair), &id, &written));
	assert_int_equal(written, 0);
}

static inline void bench_send_no_wait(struct bench *bench, unsigned pair, size_t len)
{
	bench_add_frame(bench, pair, &(struct netdev_header){0}, len, 1);
	virtio_guest_kick(bench->guest, net_tx_index(pair));
}

/* The next buffer came back with nothing in it. */
static inline void bench_expect_unused(struct bench *bench, unsigned pair)
{
	uint32_t written;
	uint16_t id;

	assert_true(virtio_guest_take(bench->guest, net_rx_index(pair), &id, &written));
	assert_int_equal(written, 0);
	bench->rx_taken[pair]++;
}

/* The next frame that the guest got: made by fake_netdev_put, in so many buffers. */
static inline void bench_expect(struct bench *bench, unsigned pair, const struct netdev_header *header,
				size_t len, uint8_t seed, unsigned buffers)
{
	struct netdev_header got;
	size_t at = 0;

	for (unsigned i = 0; i < buffers; i++) {
		uint64_t gpa = bench->rx_gpa[pair][bench->rx_taken[pair]++ % BENCH_BUFFERS_MAX];
		size_t skip = i == 0 ? sizeof(got) : 0;
		const uint8_t *bytes;
		uint32_t written;
		uint16_t id;

		assert_true(virtio_guest_take(bench->guest, net_rx_index(pair), &id, &written));
		bytes = virtio_guest_at(bench->guest, gpa, written);
		if (i == 0) {
			memcpy(&got, bytes, sizeof(got));
			assert_int_equal(got.num_buffers, buffers);
			assert_int_equal(got.gso_type, header->gso_type);
			assert_int_equal(got.gso_size, header->gso_size);
		}
		for (size_t j = skip; j < written; j++, at++) {
			uint8_t wanted = fake_netdev_byte(seed, at);

			assert_int_equal(bytes[j], at == 0 ? wanted & 0xfe : wanted);
		}
	}
	assert_int_equal(at, len);
}
