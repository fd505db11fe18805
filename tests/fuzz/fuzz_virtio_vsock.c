/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a hostile driver of the socket device, and programs of the host that connect, send, read and
 * leave at any time. Each byte is an operation with its operands. At the end the device is reset and every
 * socket of the host must see its end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio/vsock.h"
#include "devices/virtio/vsock_packet.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/virtio_guest.h"
#include "vmm/base/unix_socket.h"

#define FUZZ_CID   3
#define FUZZ_PORT  52
#define FUZZ_HOSTS 8
#define FUZZ_STEPS 200
#define FUZZ_ARENA (256u << 10)

struct fuzz {
	const uint8_t *data;
	size_t size;
	struct virtio_guest *guest;
	char path[48], port_path[64];
	int listen_fd;
	int host[FUZZ_HOSTS]; /* programs of the host, -1: none */
	uint64_t arena;
	uint32_t host_port; /* of the last packet to the guest */
};

static uint8_t fuzz_byte(struct fuzz *fuzz)
{
	if (fuzz->size == 0)
		return 0;
	fuzz->size--;
	return *fuzz->data++;
}

static uint32_t fuzz_number(struct fuzz *fuzz, unsigned bytes)
{
	uint32_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | fuzz_byte(fuzz);
	return value;
}

static void fuzz_start(struct fuzz *fuzz)
{
	if (!virtio_guest_negotiate(fuzz->guest, VIRTIO_GUEST_SPLIT, 1))
		return;
	fuzz->guest->free_gpa = 4096;
	for (unsigned i = 0; i < 3; i++)
		virtio_guest_set_up_queue(fuzz->guest, i, 16);
	fuzz->arena = fuzz->guest->free_gpa;
	virtio_guest_driver_ok(fuzz->guest);
}

static uint64_t fuzz_alloc(struct fuzz *fuzz, size_t bytes)
{
	if (fuzz->guest->free_gpa > fuzz->arena + FUZZ_ARENA)
		fuzz->guest->free_gpa = fuzz->arena;
	return virtio_guest_alloc(fuzz->guest, bytes, 16);
}

static void fuzz_take(struct fuzz *fuzz, unsigned queue)
{
	uint16_t id;
	uint32_t len;

	while (virtio_guest_take(fuzz->guest, queue, &id, &len))
		;
}

/* A packet that is nearly right, with data of its length or not. */
static void fuzz_packet(struct fuzz *fuzz)
{
	uint8_t shape = fuzz_byte(fuzz), length = fuzz_byte(fuzz);
	struct vsock_header header = {
		.src_cid = shape & 128 ? fuzz_byte(fuzz) : FUZZ_CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = 4000 + shape % 4,
		.dst_port = shape & 64 ? fuzz->host_port : FUZZ_PORT,
		.len = shape & 32 ? fuzz_number(fuzz, 4) : length * 64u,
		.type = VSOCK_TYPE_STREAM,
		.op = fuzz_byte(fuzz) % 10,
		.flags = fuzz_byte(fuzz) % 5,
		.buf_alloc = shape & 16 ? fuzz_number(fuzz, 4) : 1 << 16,
		.fwd_cnt = fuzz_byte(fuzz) * 64u,
	};
	const size_t bytes = sizeof(header) + length * 64u;
	uint64_t gpa = fuzz_alloc(fuzz, bytes);
	const size_t cut = shape & 8 ? fuzz_byte(fuzz) % bytes : 0;
	const struct virtio_guest_buffer buffers[2] = {
		{gpa, (uint32_t)(cut ? cut : bytes), false},
		{gpa + cut, (uint32_t)(bytes - cut), (shape & 4) != 0}};

	memcpy(virtio_guest_at(fuzz->guest, gpa, bytes), &header, sizeof(header));
	virtio_guest_add(fuzz->guest, 1, buffers, cut ? 2 : 1);
	virtio_guest_kick(fuzz->guest, 1);
	fuzz_take(fuzz, 1);
}

static void fuzz_buffer(struct fuzz *fuzz)
{
	uint8_t length = fuzz_byte(fuzz);
	uint32_t bytes = length < 200 ? 44 + length * 16u : length - 199u;
	uint64_t gpa = fuzz_alloc(fuzz, 4096);
	const struct virtio_guest_buffer buffer = {gpa, bytes, true};
	struct vsock_header header;

	virtio_guest_add(fuzz->guest, 0, &buffer, 1);
	virtio_guest_kick(fuzz->guest, 0);
	fuzz_take(fuzz, 0);
	memcpy(&header, virtio_guest_at(fuzz->guest, gpa, sizeof(header)), sizeof(header));
	if (header.src_port >= 1u << 30)
		fuzz->host_port = header.src_port;
}

static void fuzz_event_buffer(struct fuzz *fuzz)
{
	const struct virtio_guest_buffer buffer = {fuzz_alloc(fuzz, 16), fuzz_byte(fuzz) % 16 + 1u, true};

	virtio_guest_add(fuzz->guest, 2, &buffer, 1);
	virtio_guest_kick(fuzz->guest, 2);
	fuzz_take(fuzz, 2);
}

static void fuzz_host_comes(struct fuzz *fuzz, int *host)
{
	static const char *const greetings[] = {"CONNECT 4000\n",
						"CONNECT 4001\nab",
						"CONNECT ",
						"connect 4002\n",
						"CONNECT 99999999999\n",
						"\n",
						""};
	const char *greeting = greetings[fuzz_byte(fuzz) % 7];

	if (*host < 0)
		*host = fuzz_byte(fuzz) & 1 ? unix_socket_connect(fuzz->path, NULL)
					    : accept4(fuzz->listen_fd, NULL, NULL, SOCK_NONBLOCK);
	if (*host >= 0)
		(void)!send(*host, greeting, strlen(greeting), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void fuzz_host(struct fuzz *fuzz)
{
	static uint8_t bytes[16384];
	uint8_t what = fuzz_byte(fuzz);
	int *host = &fuzz->host[what % FUZZ_HOSTS];
	size_t length = fuzz_byte(fuzz) * 64u + 1;

	if (*host < 0 || what >= 224) {
		fuzz_host_comes(fuzz, host);
	} else if (what < 96) {
		(void)!send(*host, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	} else if (what < 160) {
		(void)!recv(*host, bytes, length, MSG_DONTWAIT);
	} else if (what < 192) {
		shutdown(*host, what & 8 ? SHUT_WR : SHUT_RD);
	} else {
		close(*host);
		*host = -1;
	}
	virtio_guest_run(fuzz->guest);
}

static void fuzz_step(struct fuzz *fuzz)
{
	uint8_t what = fuzz_byte(fuzz);
	struct device *device = &fuzz->guest->virtio->device;

	if (what < 96) {
		fuzz_packet(fuzz);
	} else if (what < 160) {
		fuzz_buffer(fuzz);
	} else if (what < 240) {
		fuzz_host(fuzz);
	} else if (what < 244) {
		fuzz_event_buffer(fuzz);
	} else if (what < 248) {
		device->class->pause(device);
		device->class->resume(device);
	} else if (what < 250) {
		device->class->reset(device);
		fuzz_start(fuzz);
	} else {
		uint8_t *ring = virtio_guest_at(fuzz->guest, 4096 + fuzz_number(fuzz, 2) % 4096, 1);

		*ring = fuzz_byte(fuzz);
	}
}

static void fuzz_end(struct fuzz *fuzz)
{
	struct device *device = &fuzz->guest->virtio->device;
	uint8_t byte[4096];

	device->class->reset(device);
	for (unsigned i = 0; i < FUZZ_HOSTS; i++) {
		if (fuzz->host[i] < 0)
			continue;
		while (recv(fuzz->host[i], byte, sizeof(byte), MSG_DONTWAIT) > 0)
			;
		close(fuzz->host[i]);
	}
	virtio_guest_destroy(fuzz->guest);
	close(fuzz->listen_fd);
	unlink(fuzz->port_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = {.data = data, .size = size};
	struct vsock_config config = {.id = "vsock0", .cid = FUZZ_CID, .path = fuzz.path};

	snprintf(fuzz.path, sizeof(fuzz.path), "/tmp/fuzz-vsock-%d", getpid());
	snprintf(fuzz.port_path, sizeof(fuzz.port_path), "%s_%d", fuzz.path, FUZZ_PORT);
	for (unsigned i = 0; i < FUZZ_HOSTS; i++)
		fuzz.host[i] = -1;
	fuzz.listen_fd = unix_socket_listen(fuzz.port_path, 8, NULL);
	fuzz.guest = virtio_guest_create();
	virtio_guest_attach(fuzz.guest, vsock_create(&fuzz.guest->env, &config, &fuzz.guest->err));
	fuzz_start(&fuzz);
	for (unsigned i = 0; i < FUZZ_STEPS && fuzz.size > 0; i++)
		fuzz_step(&fuzz);
	fuzz_end(&fuzz);
	return 0;
}
