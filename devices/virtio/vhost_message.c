/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the vhost-user protocol: written whole, answered whole or not at all. */
#include "devices/virtio/vhost_message.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/unix_socket.h"

enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_GET_CONFIG = 24,
};

struct vhost_header {
	uint32_t request; /* enum vhost_request */
	uint32_t flags;
	uint32_t size; /* of what follows */
};
_Static_assert(sizeof(struct vhost_header) == 12, "vhost-user: Header");
#define VHOST_VERSION    0x1u
#define VHOST_VERSIONS   0x3u
#define VHOST_REPLY      0x4u
#define VHOST_NEED_REPLY 0x8u

struct vhost_ring_state {
	uint32_t index;
	uint32_t value;
};

struct vhost_memory {
	uint32_t count;
	uint32_t padding;
	struct vhost_region
		region[VHOST_REGIONS_MAX]; /* guest address, size, our address, offset in the file */
};
_Static_assert(sizeof(struct vhost_region) == 32, "vhost-user: memory region description");
_Static_assert(sizeof(struct vhost_ring_address) == 40, "vhost-user: vring address description");

struct vhost_config {
	uint32_t offset, size, flags;
	uint8_t bytes[VHOST_CONFIG_MAX];
};

#define VHOST_PAYLOAD_MAX 300 /* of what we send and take: the configuration is the largest */
_Static_assert(sizeof(struct vhost_config) <= VHOST_PAYLOAD_MAX &&
		       sizeof(struct vhost_memory) <= VHOST_PAYLOAD_MAX,
	       "every payload fits");

int vhost_connect(struct vhost_link *link, const char *path, struct err *err)
{
	link->fd = unix_socket_connect(path, err);
	link->protocol_features = 0;
	return link->fd < 0 ? link->fd : 0;
}

void vhost_close(struct vhost_link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
}

/* Waits until the socket is ready or the time is up. */
static int vhost_wait(const struct vhost_link *link, short events, uint64_t deadline_ns)
{
	struct pollfd poller = {.fd = link->fd, .events = events};
	uint64_t now_ns = clock_monotonic_ns();
	int ready;

	if (now_ns >= deadline_ns)
		return -ETIMEDOUT;
	ready = poll(&poller, 1, (int)((deadline_ns - now_ns) / 1000000) + 1);
	return ready < 0 && errno != EINTR ? -errno : 0;
}

static uint64_t vhost_deadline(const struct vhost_link *link)
{
	return clock_monotonic_ns() + (uint64_t)link->timeout_ms * 1000000;
}

/* The descriptors go along with the first byte. */
static int vhost_write(struct vhost_link *link, const uint8_t *bytes, size_t size, const int *fds,
		       size_t fd_count)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int) * VHOST_REGIONS_MAX)];
	} control = {0};
	const uint64_t deadline_ns = vhost_deadline(link);
	size_t done = 0;

	while (done < size) {
		struct iovec piece = {(uint8_t *)(uintptr_t)bytes + done, size - done};
		struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
		ssize_t sent;

		if (done == 0 && fd_count > 0) {
			message.msg_control = &control;
			message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
			control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int) * fd_count),
							.cmsg_level = SOL_SOCKET,
							.cmsg_type = SCM_RIGHTS};
			memcpy(CMSG_DATA(&control.head), fds, sizeof(int) * fd_count);
		}
		sent = sendmsg(link->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent >= 0)
			done += (size_t)sent;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
		else if (vhost_wait(link, POLLOUT, deadline_ns) < 0)
			return -ETIMEDOUT;
	}
	return 0;
}

static int vhost_read(struct vhost_link *link, void *bytes, size_t size)
{
	const uint64_t deadline_ns = vhost_deadline(link);
	size_t done = 0;

	while (done < size) {
		ssize_t got = recv(link->fd, (uint8_t *)bytes + done, size - done, MSG_DONTWAIT);

		if (got > 0)
			done += (size_t)got;
		else if (got == 0)
			return -EPIPE;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
		else if (vhost_wait(link, POLLIN, deadline_ns) < 0)
			return -ETIMEDOUT;
	}
	return 0;
}

struct vhost_call {
	enum vhost_request request;
	const void *payload;
	size_t size;
	const int *fds;
	size_t fd_count;
};

static int vhost_failed(const struct vhost_call *call, int code, struct err *err)
{
	return err_set_errno(err, code, "the vhost-user back end (request %d)", call->request);
}

static int vhost_send(struct vhost_link *link, const struct vhost_call *call, uint32_t flags, struct err *err)
{
	uint8_t bytes[sizeof(struct vhost_header) + VHOST_PAYLOAD_MAX];
	const struct vhost_header header = {
		.request = call->request, .flags = VHOST_VERSION | flags, .size = (uint32_t)call->size};
	int code;

	memcpy(bytes, &header, sizeof(header));
	if (call->size > 0)
		memcpy(bytes + sizeof(header), call->payload, call->size);
	code = vhost_write(link, bytes, sizeof(header) + call->size, call->fds, call->fd_count);
	return code < 0 ? vhost_failed(call, code, err) : 0;
}

/* Takes the answer, which must be this long. */
static int vhost_take(struct vhost_link *link, const struct vhost_call *call, void *answer, size_t size,
		      struct err *err)
{
	struct vhost_header header;
	int code = vhost_read(link, &header, sizeof(header));

	if (code < 0)
		return vhost_failed(call, code, err);
	if (header.request != call->request || (header.flags & VHOST_VERSIONS) != VHOST_VERSION ||
	    !(header.flags & VHOST_REPLY) || header.size != size)
		return err_set(err, -EPROTO,
			       "the vhost-user back end answers request %d with %u of %u bytes, flags %#x",
			       call->request, header.request, header.size, header.flags);
	code = vhost_read(link, answer, size);
	return code < 0 ? vhost_failed(call, code, err) : 0;
}

/* A message without an answer of its own: acknowledged where the peer can do that. */
static int vhost_set(struct vhost_link *link, const struct vhost_call *call, struct err *err)
{
	bool acknowledged = link->protocol_features & 1ull << VHOST_PROTOCOL_F_REPLY_ACK;
	int code = vhost_send(link, call, acknowledged ? VHOST_NEED_REPLY : 0, err);
	uint64_t result = 0;

	if (code < 0 || !acknowledged)
		return code;
	code = vhost_take(link, call, &result, sizeof(result), err);
	if (code == 0 && result != 0)
		return err_set(err, -EPROTO, "the vhost-user back end refuses request %d", call->request);
	return code;
}

static int vhost_set_u64(struct vhost_link *link, enum vhost_request request, uint64_t value, struct err *err)
{
	const struct vhost_call call = {.request = request, .payload = &value, .size = sizeof(value)};

	return vhost_set(link, &call, err);
}

static int vhost_get_u64(struct vhost_link *link, enum vhost_request request, uint64_t *value,
			 struct err *err)
{
	const struct vhost_call call = {.request = request};
	int code = vhost_send(link, &call, 0, err);

	return code < 0 ? code : vhost_take(link, &call, value, sizeof(*value), err);
}

static int vhost_set_ring(struct vhost_link *link, enum vhost_request request, unsigned index, unsigned value,
			  struct err *err)
{
	const struct vhost_ring_state state = {.index = index, .value = value};
	const struct vhost_call call = {.request = request, .payload = &state, .size = sizeof(state)};

	return vhost_set(link, &call, err);
}

static int vhost_set_ring_fd(struct vhost_link *link, enum vhost_request request, unsigned index, int fd,
			     struct err *err)
{
	const uint64_t value = index; /* bits 0-7; bit 8 would say that there is no descriptor */
	const struct vhost_call call = {
		.request = request, .payload = &value, .size = sizeof(value), .fds = &fd, .fd_count = 1};

	return vhost_set(link, &call, err);
}

int vhost_get_features(struct vhost_link *link, uint64_t *features, struct err *err)
{
	return vhost_get_u64(link, VHOST_GET_FEATURES, features, err);
}

int vhost_set_features(struct vhost_link *link, uint64_t features, struct err *err)
{
	return vhost_set_u64(link, VHOST_SET_FEATURES, features, err);
}

int vhost_get_protocol_features(struct vhost_link *link, uint64_t *features, struct err *err)
{
	return vhost_get_u64(link, VHOST_GET_PROTOCOL_FEATURES, features, err);
}

int vhost_set_protocol_features(struct vhost_link *link, uint64_t features, struct err *err)
{
	int code = vhost_set_u64(link, VHOST_SET_PROTOCOL_FEATURES, features, err);

	/* From the next message on. */
	if (code == 0)
		link->protocol_features = features;
	return code;
}

int vhost_set_owner(struct vhost_link *link, struct err *err)
{
	const struct vhost_call call = {.request = VHOST_SET_OWNER};

	return vhost_set(link, &call, err);
}

int vhost_get_queue_count(struct vhost_link *link, uint64_t *count, struct err *err)
{
	return vhost_get_u64(link, VHOST_GET_QUEUE_NUM, count, err);
}

int vhost_get_config(struct vhost_link *link, void *bytes, size_t size, struct err *err)
{
	struct vhost_config config = {.size = (uint32_t)size};
	const size_t head = offsetof(struct vhost_config, bytes);
	const struct vhost_call call = {.request = VHOST_GET_CONFIG, .payload = &config, .size = head + size};
	int code = vhost_send(link, &call, 0, err);

	if (code == 0)
		code = vhost_take(link, &call, &config, head + size, err);
	if (code < 0)
		return code;
	memcpy(bytes, config.bytes, size);
	return 0;
}

int vhost_set_memory(struct vhost_link *link, const struct vhost_region *regions, const int *fds,
		     size_t count, struct err *err)
{
	struct vhost_memory memory = {.count = (uint32_t)count};
	const struct vhost_call call = {.request = VHOST_SET_MEM_TABLE,
					.payload = &memory,
					.size = offsetof(struct vhost_memory, region) +
						count * sizeof(*regions),
					.fds = fds,
					.fd_count = count};

	if (count > VHOST_REGIONS_MAX)
		return err_set(err, -ENOSPC, "vhost-user takes %d regions of memory, there are %zu",
			       VHOST_REGIONS_MAX, count);
	memcpy(memory.region, regions, count * sizeof(*regions));
	return vhost_set(link, &call, err);
}

int vhost_set_ring_size(struct vhost_link *link, unsigned index, unsigned size, struct err *err)
{
	return vhost_set_ring(link, VHOST_SET_VRING_NUM, index, size, err);
}

int vhost_set_ring_base(struct vhost_link *link, unsigned index, unsigned base, struct err *err)
{
	return vhost_set_ring(link, VHOST_SET_VRING_BASE, index, base, err);
}

int vhost_set_ring_address(struct vhost_link *link, const struct vhost_ring_address *address, struct err *err)
{
	const struct vhost_call call = {
		.request = VHOST_SET_VRING_ADDR, .payload = address, .size = sizeof(*address)};

	return vhost_set(link, &call, err);
}

int vhost_set_ring_kick(struct vhost_link *link, unsigned index, int fd, struct err *err)
{
	return vhost_set_ring_fd(link, VHOST_SET_VRING_KICK, index, fd, err);
}

int vhost_set_ring_call(struct vhost_link *link, unsigned index, int fd, struct err *err)
{
	return vhost_set_ring_fd(link, VHOST_SET_VRING_CALL, index, fd, err);
}

int vhost_enable_ring(struct vhost_link *link, unsigned index, bool enabled, struct err *err)
{
	return vhost_set_ring(link, VHOST_SET_VRING_ENABLE, index, enabled, err);
}

int vhost_get_ring_base(struct vhost_link *link, unsigned index, unsigned *base, struct err *err)
{
	const struct vhost_ring_state state = {.index = index};
	const struct vhost_call call = {
		.request = VHOST_GET_VRING_BASE, .payload = &state, .size = sizeof(state)};
	struct vhost_ring_state answer;
	int code = vhost_send(link, &call, 0, err);

	if (code == 0)
		code = vhost_take(link, &call, &answer, sizeof(answer), err);
	if (code == 0 && answer.index != index)
		return err_set(err, -EPROTO, "the vhost-user back end stops ring %u instead of %u",
			       answer.index, index);
	if (code == 0)
		*base = answer.value;
	return code;
}
