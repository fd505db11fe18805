/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/backend: what can be said of a card, sockets as networks, descriptors, and a tap in a namespace of its
 * own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/net_frames.h"
#include "tests/unit/net_peer.h"
#include "vmm/backend/net_user_config.h"

static void test_addresses_of_cards(void **state)
{
	static const char *const wrong[] = {"",
					    "02:00:00:00:00",
					    "02:00:00:00:00:00:00",
					    "2:0:0:0:0:0",
					    "02-00-00-00-00-00",
					    "0g:00:00:00:00:00",
					    "03:00:00:00:00:00"};
	char text[NETDEV_MAC_TEXT_SIZE];
	uint8_t mac[6], first[6];

	assert_int_equal(netdev_mac_parse("52:54:00:aB:cd:ef", mac, NULL), 0);
	assert_memory_equal(mac, "\x52\x54\0\xab\xcd\xef", 6);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(netdev_mac_parse(wrong[i], mac, NULL), -EINVAL);
	netdev_mac_print(mac, text);
	assert_string_equal(text, "52:54:00:ab:cd:ef");
	assert_int_equal(netdev_mac_random(first, NULL), 0);
	assert_int_equal(netdev_mac_random(mac, NULL), 0);
	assert_int_equal(first[0] & 3, 2); /* locally administered, of one card */
	assert_int_equal(mac[0] & 3, 2);
	assert_memory_not_equal(first, mac, 6);
}

static void test_keys_belong_to_backends(void **state)
{
	char name[] = "user";
	char value[] = "x0";
	struct netdev_config config = {.backend = name, .ifname = value};
	struct err err = {0};

	assert_int_equal(netdev_config_check(&config, &err), -EINVAL);
	assert_string_equal(err.message, "ifname: the backend user has no such setting");
	config = (struct netdev_config){.backend = value};
	assert_int_equal(netdev_config_check(&config, &err), -EINVAL);
	assert_string_equal(err.message, "\"x0\" is not known: there are user, tap, passt, socket, fd");
	config = (struct netdev_config){.backend = name, .queues = 2};
	assert_int_equal(netdev_config_check(&config, &err), -EINVAL);
	config = (struct netdev_config){.backend = name, .mtu = 1400, .rx_bps = 1, .restricted = true};
	assert_int_equal(netdev_config_check(&config, &err), 0);
}

static void test_forwardings(void **state)
{
	static const char *const wrong[] = {"",
					    "tcp",
					    "tcp:22",
					    "tcp::22",
					    "tcp:1.2.3.4:22",
					    "tcp::22-",
					    "tcp::0-:22",
					    "tcp::65536-:22",
					    "sctp::1-:2",
					    "tcp:host:1-:2",
					    "tcp:[::1]:1-:2",
					    "tcp::1-:2x",
					    "tcp::-1-:2"};
	struct net_user_forward forward;
	const struct sockaddr_in *host = (const struct sockaddr_in *)&forward.host;
	const struct sockaddr_in *guest = (const struct sockaddr_in *)&forward.guest;
	const struct sockaddr_in6 *host6 = (const struct sockaddr_in6 *)&forward.host;

	assert_int_equal(net_user_forward_parse("tcp:127.0.0.1:2222-:22", &forward, NULL), 0);
	assert_false(forward.udp);
	assert_int_equal(ntohl(host->sin_addr.s_addr), 0x7f000001);
	assert_int_equal(ntohs(host->sin_port), 2222);
	assert_int_equal(guest->sin_addr.s_addr, 0);
	assert_int_equal(ntohs(guest->sin_port), 22);
	assert_int_equal(net_user_forward_parse("udp::53-10.0.2.20:5353", &forward, NULL), 0);
	assert_true(forward.udp);
	assert_int_equal(host->sin_addr.s_addr, 0);
	assert_int_equal(ntohl(guest->sin_addr.s_addr), 0x0a000214);
	assert_int_equal(net_user_forward_parse("tcp:[::1]:80-[fec0::15]:80", &forward, NULL), 0);
	assert_int_equal(host6->sin6_family, AF_INET6);
	assert_int_equal(host6->sin6_addr.s6_addr[15], 1);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(net_user_forward_parse(wrong[i], &forward, NULL), -EINVAL);
}

static void test_addresses_of_the_user_network(void **state)
{
	char net[] = "192.168.7.99/24";
	char outside[] = "192.168.8.2";
	char inside[] = "192.168.7.9";
	char wide[] = "10.0.0.0/31";
	char six[] = "fd00:1234::/48";
	struct netdev_config config = {0};
	struct net_user_config read;
	struct err err = {0};

	assert_int_equal(net_user_config_read(&config, &read, NULL), 0);
	assert_int_equal(ntohl(read.net.s_addr), 0x0a000200);
	assert_int_equal(ntohl(read.host.s_addr), 0x0a000202);
	assert_int_equal(ntohl(read.dns.s_addr), 0x0a000203);
	assert_int_equal(ntohl(read.dhcp_start.s_addr), 0x0a00020f);
	assert_int_equal(read.host6.s6_addr[0], 0xfe);
	assert_int_equal(read.host6.s6_addr[15], 2);
	config = (struct netdev_config){.net = net, .dns = inside, .ipv6_net = six};
	assert_int_equal(net_user_config_read(&config, &read, NULL), 0);
	assert_int_equal(ntohl(read.net.s_addr), 0xc0a80700);
	assert_int_equal(ntohl(read.dns.s_addr), 0xc0a80709);
	assert_int_equal(read.prefix6, 48);
	config.host = outside;
	assert_int_equal(net_user_config_read(&config, &read, &err), -EINVAL);
	assert_string_equal(err.message, "host: 192.168.8.2 is not in the guest's network");
	config.host = inside;
	assert_int_equal(net_user_config_read(&config, &read, &err), -EINVAL); /* the name server's */
	config = (struct netdev_config){.net = wide};
	assert_int_equal(net_user_config_read(&config, &read, &err), -EINVAL);
	config = (struct netdev_config){.no_ipv4 = true, .no_ipv6 = true};
	assert_int_equal(net_user_config_read(&config, &read, &err), -EINVAL);
}

/* --- sockets */

static const struct frame_spec plain = {.version = 4,
					.protocol = 17,
					.source = {1, 2, 3, 4},
					.target = {5, 6, 7, 8},
					.source_port = 1,
					.target_port = 2};

static void check_frames_pass(struct peer *a, struct peer *b)
{
	uint8_t frame[2000];

	for (unsigned i = 0; i < 20; i++) {
		size_t len = frame_make(frame, &plain, pattern(i * 60), i * 60);
		unsigned slot;

		assert_int_equal(peer_send(i % 2 ? a : b, frame, len, NULL), 0);
		slot = peer_wait(i % 2 ? b : a);
		assert_int_equal((i % 2 ? b : a)->len[slot], len);
		assert_memory_equal((i % 2 ? b : a)->frame[slot], frame, len);
	}
}

static void test_streams_come_and_go(void **state)
{
	char backend[] = "socket";
	char path[64];
	const struct netdev_config listening = {.backend = backend, .listen = path};
	const struct netdev_config connecting = {.backend = backend, .connect = path};
	struct loop *loop = loop_create(NULL);
	struct peer *a, *b;
	struct stat info;

	snprintf(path, sizeof(path), "/tmp/vmmctl-test-net-%d", getpid());
	assert_null(peer_open(loop, &connecting, NULL)); /* nobody is there */
	a = peer_open_good(loop, &listening);
	assert_false(a->link_up);
	assert_int_equal(peer_send(a, pattern(100), 100, NULL), 0); /* lost, not kept */
	b = peer_open_good(loop, &connecting);
	peer_wait_link(a, true);
	check_frames_pass(a, b);
	/* The connecting end goes, and another comes. */
	peer_close(b);
	peer_wait_link(a, false);
	b = peer_open_good(loop, &connecting);
	peer_wait_link(a, true);
	check_frames_pass(a, b);
	/* The listening end goes: the other comes back by itself. */
	peer_close(a);
	assert_int_equal(stat(path, &info), -1);
	peer_wait_link(b, false);
	a = peer_open_good(loop, &listening);
	peer_wait_link(b, true);
	peer_wait_link(a, true);
	check_frames_pass(a, b);
	peer_close(a);
	peer_close(b);
	loop_destroy(loop);
}

static void test_tcp_and_udp(void **state)
{
	char backend[] = "socket";
	/* Below the ports that the kernel gives away, and another program's run has others. */
	const int port = 10000 + (int)(getpid() % 7000) * 3;
	char tcp[32], udp[32], udp2[32];
	const struct netdev_config configs[][2] = {
		{{.backend = backend, .listen = tcp}, {.backend = backend, .connect = tcp}},
		{{.backend = backend, .local = udp, .remote = udp2},
		 {.backend = backend, .local = udp2, .remote = udp}},
	};

	snprintf(tcp, sizeof(tcp), "127.0.0.1:%d", port);
	snprintf(udp, sizeof(udp), "[::1]:%d", port + 1);
	snprintf(udp2, sizeof(udp2), "udp:[::1]:%d", port + 2);
	for (size_t i = 0; i < 2; i++) {
		struct loop *loop = loop_create(NULL);
		struct peer *a = peer_open_good(loop, &configs[i][0]);
		struct peer *b = peer_open_good(loop, &configs[i][1]);

		peer_wait_link(a, true);
		check_frames_pass(a, b);
		peer_close(a);
		peer_close(b);
		loop_destroy(loop);
	}
}

/* A pair of sockets as descriptors of two cards; large segments are cut on one side and joined on the other.
 */
static void check_pair(int type, bool joins)
{
	static uint8_t frame[NETDEV_FRAME_MAX];
	char backend[] = "fd";
	char text[2][16];
	struct loop *loop = loop_create(NULL);
	struct peer *peer[2];
	int pair[2];
	size_t len = frame_make(frame, &tcp4, pattern(20 * MSS), 20 * MSS);
	const struct netdev_header header = {.flags = 1,
					     .gso_type = NETDEV_GSO_TCPV4,
					     .gso_size = MSS,
					     .csum_start = 34,
					     .csum_offset = 16};
	size_t total = 0;

	assert_int_equal(socketpair(AF_UNIX, type, 0, pair), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct netdev_config config = {.backend = backend, .fd = text[i]};

		snprintf(text[i], sizeof(text[i]), "%d", pair[i]);
		peer[i] = peer_open_good(loop, &config);
	}
	check_frames_pass(peer[0], peer[1]);
	frame_make_partial(frame, len);
	while (peer_send(peer[0], frame, len, &header) == -EAGAIN)
		loop_run_once(loop, 1000);
	while (total < 20 * MSS)
		total += peer[1]->len[peer_wait(peer[1])] - FRAME_HEAD;
	assert_int_equal(total, 20 * MSS);
	assert_int_equal(peer[1]->got, joins ? 11 : 30);
	peer_close(peer[0]);
	peer_wait_link(peer[1], false);
	peer_close(peer[1]);
	loop_destroy(loop);
}

static void test_descriptors_of_streams(void **state)
{
	check_pair(SOCK_STREAM, true);
}

static void test_descriptors_of_datagrams(void **state)
{
	check_pair(SOCK_SEQPACKET, false);
}

/* A peer that stands still makes the sender wait; nothing is lost when it goes on. */
static void test_a_slow_peer(void **state)
{
	char backend[] = "fd";
	char text[16];
	struct netdev_config config = {.backend = backend, .fd = text};
	struct loop *loop = loop_create(NULL);
	struct peer *peer;
	uint8_t bytes[1504], got[1504];
	unsigned sent = 0;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(text, sizeof(text), "%d", pair[0]);
	peer = peer_open(loop, &config, NULL);
	for (; sent < 10000; sent++) {
		memset(bytes, (int)sent, 1500);
		if (peer_send(peer, bytes, 1500, NULL) == -EAGAIN)
			break;
	}
	assert_true(sent > 10 && sent < 10000);
	for (unsigned i = 0; i < sent; i++) {
		assert_int_equal(recv(pair[1], got, 1504, MSG_WAITALL), 1504);
		assert_int_equal(frame_get32(got), 1500);
		assert_int_equal(got[4], (uint8_t)i);
		loop_run_once(loop, 0);
	}
	assert_true(peer->writable > 0);
	assert_int_equal(peer_send(peer, bytes, 1500, NULL), 0);
	assert_int_equal(recv(pair[1], got, 1504, MSG_WAITALL), 1504);
	/* A length that no frame has ends it. */
	frame_put32(got, 0x7fffffff);
	assert_int_equal(send(pair[1], got, 100, 0), 100);
	peer_wait_link(peer, false);
	peer_close(peer);
	close(pair[1]);
	loop_destroy(loop);
}

static void test_descriptors_that_are_none(void **state)
{
	static const char *const wrong[] = {"", "x", "-1", "3:", "60000", "0x3"};
	char backend[] = "fd";
	char text[16];
	struct netdev_config config = {.backend = backend, .fd = text};
	struct loop *loop = loop_create(NULL);
	int fd = open("/dev/null", O_RDWR);

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), "%s", wrong[i]);
		assert_null(peer_open(loop, &config, NULL));
	}
	snprintf(text, sizeof(text), "%d", fd); /* neither tap nor socket */
	assert_null(peer_open(loop, &config, NULL));
	loop_destroy(loop);
}

/* --- tap */

/* In a child with a network of its own; exits with 0, or 77 where that is not allowed. */
static void tap_child(void)
{
	char backend[] = "tap";
	char name[] = "vmmtest0";
	struct netdev_config config = {.backend = backend, .ifname = name};
	struct loop *loop = loop_create(NULL);
	struct err err = {0};
	struct peer *peer;
	uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,
			   1,    8,    6,    0,    1,    8,    0, 6, 4, 0, 1};

	if (unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0)
		_exit(77);
	peer = peer_open(loop, &config, &err);
	if (!peer) {
		fprintf(stderr, "%s\n", err.message);
		_exit(err.code == -EPERM || err.code == -ENODEV ? 77 : 1);
	}
	assert_true(peer->netdev->offloads & NETDEV_RX_TSO4);
	assert_true(peer->netdev->offloads & NETDEV_TX_TSO4);
	if (system("ip addr add 10.9.0.1/24 dev vmmtest0") != 0) /* brought up by the backend */
		_exit(77);
	memcpy(arp + 22, "\2\0\0\0\0\1\12\11\0\2", 10);
	memcpy(arp + 38, "\12\11\0\1", 4);
	assert_int_equal(peer_send(peer, arp, sizeof(arp), NULL), 0);
	for (;;) {
		unsigned slot = peer_wait(peer); /* router solicitations come first */

		if (frame_get16(peer->frame[slot] + 12) == 0x0806 && frame_get16(peer->frame[slot] + 20) == 2)
			break;
	}
	netdev_poll(peer->netdev, 0, false);
	peer_close(peer);
	_exit(0);
}

static void test_tap_in_a_namespace(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		tap_child();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("no tap may be made here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_of_cards),
		cmocka_unit_test(test_keys_belong_to_backends),
		cmocka_unit_test(test_forwardings),
		cmocka_unit_test(test_addresses_of_the_user_network),
		cmocka_unit_test(test_streams_come_and_go),
		cmocka_unit_test(test_tcp_and_udp),
		cmocka_unit_test(test_descriptors_of_streams),
		cmocka_unit_test(test_descriptors_of_datagrams),
		cmocka_unit_test(test_a_slow_peer),
		cmocka_unit_test(test_descriptors_that_are_none),
		cmocka_unit_test(test_tap_in_a_namespace),
	};

	return cmocka_run_group_tests_name("netdev", tests, NULL, NULL);
}
