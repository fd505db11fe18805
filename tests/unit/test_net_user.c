/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/backend/net_user with the real libslirp: a guest's frames written by hand. ARP, DHCP, TCP both ways
 * with large segments, port forwarding, restriction. Left out by name where libslirp is not installed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/net_frames.h"
#include "tests/unit/net_peer.h"

#define SYN 0x02
#define ACK 0x10
#define PSH 0x08

struct user {
	struct loop *loop;
	struct peer *peer;
	struct frame_spec spec; /* of the guest's next frame */
	int listener;
	uint16_t port; /* of the listener */
};

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

/* false: libslirp is not here. */
static bool user_open(struct user *user, struct netdev_config config)
{
	static char backend[] = "user";
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	struct err err = {0};

	*user = (struct user){.loop = loop_create(NULL)};
	config.backend = backend;
	user->peer = peer_open(user->loop, &config, &err);
	if (!user->peer && err.code == -ENOENT) {
		print_message("%s\n", err.message);
		loop_destroy(user->loop);
		return false;
	}
	if (!user->peer)
		fail_msg("%s", err.message);
	user->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(user->listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(user->listener, 1), 0);
	getsockname(user->listener, (struct sockaddr *)&address, &len);
	user->port = ntohs(address.sin_port);
	user->spec = (struct frame_spec){.version = 4,
					 .protocol = 6,
					 .source = {10, 0, 2, 15},
					 .target = {10, 0, 2, 2},
					 .target_mac = {0x52, 0x55, 10, 0, 2, 2},
					 .source_port = 4000,
					 .target_port = user->port,
					 .window = 65535};
	memcpy(user->spec.source_mac, guest_mac, 6);
	return true;
}

static void user_close(struct user *user)
{
	close(user->listener);
	peer_close(user->peer);
	loop_destroy(user->loop);
}

/* The next frame of this Ethernet type. */
static const uint8_t *user_wait(struct user *user, unsigned type, size_t *len)
{
	for (;;) {
		unsigned slot = peer_wait(user->peer);

		*len = user->peer->len[slot];
		if (frame_get16(user->peer->frame[slot] + 12) == type)
			return user->peer->frame[slot];
	}
}

/* The guest asks who the host is, and libslirp learns who the guest is. */
static void user_arp(struct user *user)
{
	uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const uint8_t *reply;
	size_t len;

	memcpy(arp + 6, guest_mac, 6);
	memcpy(arp + 12, "\x08\x06\0\1\x08\0\6\4\0\1", 10);
	memcpy(arp + 22, guest_mac, 6);
	memcpy(arp + 28, "\x0a\0\2\x0f", 4);
	memcpy(arp + 38, "\x0a\0\2\2", 4);
	assert_int_equal(peer_send(user->peer, arp, sizeof(arp), NULL), 0);
	reply = user_wait(user, 0x0806, &len);
	assert_int_equal(frame_get16(reply + 20), 2);
	assert_memory_equal(reply + 28, "\x0a\0\2\2", 4);
	assert_memory_equal(reply, guest_mac, 6);
	memcpy(user->spec.target_mac, reply + 6, 6);
}

static void user_tcp(struct user *user, unsigned flags, const void *payload, size_t len)
{
	static uint8_t frame[NETDEV_FRAME_MAX];
	size_t frame_len;
	const struct netdev_header header = {
		.flags = NETDEV_HDR_NEEDS_CSUM,
		.gso_type = len > 1460 ? NETDEV_GSO_TCPV4 : NETDEV_GSO_NONE,
		.gso_size = 1460,
		.csum_start = 34,
		.csum_offset = 16,
	};

	user->spec.flags = flags;
	frame_len = frame_make(frame, &user->spec, payload, len);
	frame_make_partial(frame, frame_len);
	assert_int_equal(peer_send(user->peer, frame, frame_len, &header), 0);
	user->spec.seq += (uint32_t)len + (flags & SYN ? 1 : 0);
}

/* The next TCP segment; its payload. Acknowledges nothing by itself. */
static const uint8_t *user_tcp_wait(struct user *user, unsigned *flags, size_t *payload)
{
	for (;;) {
		size_t len;
		const uint8_t *frame = user_wait(user, 0x0800, &len);
		size_t head = 34 + (size_t)(frame[34 + 12] >> 4) * 4;

		if (frame_protocol(frame) != 6)
			continue;
		*flags = frame[34 + 13];
		*payload = frame_get16(frame + 16) + 14u - head;
		if (*payload > 0 || (*flags & SYN))
			user->spec.ack =
				frame_get32(frame + 38) + (uint32_t)*payload + (*flags & SYN ? 1 : 0);
		return frame + head;
	}
}

/* The three steps; returns the host's socket. */
static int user_connect(struct user *user)
{
	unsigned flags;
	size_t payload;
	int fd = -1;

	user_arp(user);
	user_tcp(user, SYN, NULL, 0);
	user_tcp_wait(user, &flags, &payload);
	assert_int_equal(flags & (SYN | ACK), SYN | ACK);
	user_tcp(user, ACK, NULL, 0);
	for (int i = 0; i < 100 && fd < 0; i++) {
		loop_run_once(user->loop, 20);
		fd = accept(user->listener, NULL, NULL);
	}
	assert_true(fd >= 0);
	return fd;
}

static void test_dhcp(void **state)
{
	char hostname[] = "little-guest";
	uint8_t bootp[300] = {1, 1, 6, 0, 1, 2, 3, 4};
	uint8_t frame[400];
	struct frame_spec spec = {.version = 4,
				  .protocol = 17,
				  .target = {255, 255, 255, 255},
				  .target_mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
				  .source_port = 68,
				  .target_port = 67};
	struct user user;
	const uint8_t *reply;
	bool named = false;
	size_t len;

	if (!user_open(&user, (struct netdev_config){.hostname = hostname}))
		skip();
	memcpy(spec.source_mac, guest_mac, 6);
	memcpy(bootp + 28, guest_mac, 6);
	memcpy(bootp + 236, "\x63\x82\x53\x63\x35\1\1\xff", 8); /* cookie, discover, end */
	len = frame_make(frame, &spec, bootp, sizeof(bootp));
	assert_int_equal(peer_send(user.peer, frame, len, NULL), 0);
	do {
		reply = user_wait(&user, 0x0800, &len);
	} while (frame_protocol(reply) != 17);
	assert_int_equal(frame_get16(reply + 36), 68);
	reply += 42;
	assert_memory_equal(reply + 16, "\x0a\0\2\x0f", 4); /* yours */
	assert_memory_equal(reply + 240, "\x35\1\2", 3);    /* an offer */
	for (size_t at = 240; at + 1 < len - 42 && reply[at] != 255; at += 2u + reply[at + 1]) {
		if (reply[at] == 3)
			assert_memory_equal(reply + at + 2, "\x0a\0\2\2", 4);
		if (reply[at] == 6)
			assert_memory_equal(reply + at + 2, "\x0a\0\2\3", 4);
		if (reply[at] == 12)
			named = memcmp(reply + at + 2, hostname, strlen(hostname)) == 0;
	}
	assert_true(named);
	user_close(&user);
}

static void test_large_segments_reach_the_host(void **state)
{
	static uint8_t got[60000];
	struct user user;
	size_t done = 0;
	int fd;

	if (!user_open(&user, (struct netdev_config){0}))
		skip();
	fd = user_connect(&user);
	user_tcp(&user, ACK | PSH, pattern(40000), 40000);
	for (int i = 0; i < 500 && done < 40000; i++) {
		ssize_t part = recv(fd, got + done, sizeof(got) - done, MSG_DONTWAIT);

		done += part > 0 ? (size_t)part : 0;
		loop_run_once(user.loop, 20);
	}
	assert_int_equal(done, 40000);
	assert_memory_equal(got, pattern(40000), 40000);
	close(fd);
	user_close(&user);
}

static void test_segments_to_the_guest_are_joined(void **state)
{
	struct user user;
	size_t done = 0;
	unsigned frames = 0;
	int fd;

	if (!user_open(&user, (struct netdev_config){0}))
		skip();
	fd = user_connect(&user);
	assert_int_equal(send(fd, pattern(40000), 40000, 0), 40000);
	while (done < 40000) {
		unsigned flags;
		size_t payload;
		const uint8_t *bytes = user_tcp_wait(&user, &flags, &payload);

		assert_memory_equal(bytes, pattern(40000) + done, payload);
		done += payload;
		frames += payload > 0;
		user_tcp(&user, ACK, NULL, 0);
	}
	assert_int_equal(done, 40000);
	assert_true(frames < 20); /* 28 segments and more */
	close(fd);
	user_close(&user);
}

static void test_forwarded_connections_reach_the_guest(void **state)
{
	char text[64];
	char *item[] = {text};
	/* Below the ports that the kernel gives away, and another program's run has others. */
	uint16_t port = (uint16_t)(10000 + getpid() % 20000);
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct netdev_config config = {.hostfwd = {.item = item, .count = 1}, .restricted = true};
	struct err err = {0};
	struct user user;
	unsigned flags;
	size_t payload;
	int fd;

	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u-:22", port);
	if (!user_open(&user, config))
		skip();
	config.backend = (char[]){"user"};
	assert_null(peer_open(user.loop, &config, &err)); /* the port is taken */
	assert_int_equal(err.code, -EADDRINUSE);
	user_arp(&user);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	connect(fd, (struct sockaddr *)&address, sizeof(address));
	user_tcp_wait(&user, &flags, &payload);
	assert_int_equal(flags, SYN);
	close(fd);
	user_close(&user);
}

/* A card that is restricted reaches nobody: its SYN is not answered, or refused. */
static void test_a_restricted_guest(void **state)
{
	struct user user;

	if (!user_open(&user, (struct netdev_config){.restricted = true}))
		skip();
	user_arp(&user);
	user_tcp(&user, SYN, NULL, 0);
	for (int i = 0; i < 10; i++)
		loop_run_once(user.loop, 20);
	assert_int_equal(accept(user.listener, NULL, NULL), -1);
	user_close(&user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dhcp),
		cmocka_unit_test(test_large_segments_reach_the_host),
		cmocka_unit_test(test_segments_to_the_guest_are_joined),
		cmocka_unit_test(test_forwarded_connections_reach_the_guest),
		cmocka_unit_test(test_a_restricted_guest),
	};

	return cmocka_run_group_tests_name("net_user", tests, NULL, NULL);
}
