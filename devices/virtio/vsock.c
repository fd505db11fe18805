/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock: the device, its queues and the guest's packets. virtio 1.2, 5.10. Connections and sockets are
 * in the files beside, see vsock_connection.h.
 */
#include "devices/virtio/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/virtio/vsock_connection.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

#define VSOCK_F_STREAM 0

/* The longest name of a port's socket: PATH_4294967295. */
#define VSOCK_PORT_NAME_MAX 11

static void vsock_take_packet(struct vsock *vsock, const struct virtq_chain *chain)
{
	struct vsock_connection *connection;
	struct vsock_header header;

	if (!virtq_chain_read(chain, 0, &header, sizeof(header)) ||
	    header.len > chain->read_bytes - sizeof(header) || header.src_cid != vsock->cid) {
		vsock->virtio.driver_errors++;
		return;
	}
	vsock->packets_out++;
	connection = header.type == VSOCK_TYPE_STREAM && header.dst_cid == VSOCK_HOST_CID
			     ? vsock_connection_find(vsock, header.dst_port, header.src_port)
			     : NULL;
	if (connection)
		vsock_connection_receive(vsock, connection, &header, chain);
	else if (header.op == VSOCK_OP_REQUEST && header.type == VSOCK_TYPE_STREAM &&
		 header.dst_cid == VSOCK_HOST_CID)
		vsock_host_connect(vsock, &header);
	else if (header.op != VSOCK_OP_RST)
		vsock_send_reset(vsock, &header);
}

void vsock_take_packets(struct vsock *vsock)
{
	struct virtqueue *queue = &vsock->virtio.queue[VSOCK_TRANSMIT];
	struct virtq_chain *chain;

	if (!virtio_queue_is_up(&vsock->virtio, VSOCK_TRANSMIT))
		return;
	/* Every packet may cause a reset; a guest that takes none has to wait with its packets. */
	while (vsock->reset_count < VSOCK_RESETS_WAIT && (chain = virtqueue_pop(queue)) != NULL) {
		vsock_take_packet(vsock, chain);
		virtqueue_complete(chain, 0);
	}
	virtqueue_publish(queue);
}

static void vsock_send_event(struct vsock *vsock)
{
	const uint32_t id = VSOCK_EVENT_TRANSPORT_RESET;
	struct virtq_chain *chain;

	if (!vsock->transport_was_reset || !virtio_queue_is_up(&vsock->virtio, VSOCK_EVENT))
		return;
	chain = virtqueue_pop(&vsock->virtio.queue[VSOCK_EVENT]);
	if (!chain)
		return;
	vsock->transport_was_reset = false;
	virtqueue_complete_now(chain, virtq_chain_write(chain, 0, &id, sizeof(id)) ? sizeof(id) : 0);
}

static void vsock_kick(struct virtio_device *virtio, unsigned index)
{
	struct vsock *vsock = (struct vsock *)virtio;

	switch ((enum vsock_queue)index) {
	case VSOCK_RECEIVE:
	case VSOCK_TRANSMIT:
		vsock_send(vsock);
		vsock_take_packets(vsock);
		vsock_send(vsock);
		break;
	case VSOCK_EVENT: vsock_send_event(vsock); break;
	case VSOCK_QUEUES: break;
	}
}

static void vsock_forget(struct vsock *vsock)
{
	vsock_connection_remove_all(vsock);
	vsock->reset_at = vsock->reset_count = 0;
	vsock->transport_was_reset = false;
	vsock->open_count = 0;
}

static void vsock_reset(struct virtio_device *virtio)
{
	vsock_forget((struct vsock *)virtio);
}

/*
 * Connections cannot be saved: their other ends are programs of this host. A guest that had some when it was
 * saved is told that all are gone (5.10.6.7).
 */
static void vsock_resume(struct virtio_device *virtio)
{
	struct vsock *vsock = (struct vsock *)virtio;
	uint32_t live = 0;

	for (unsigned i = 0; i < VSOCK_CONNECTIONS_MAX; i++) {
		enum vsock_state state = vsock->connection[i].state;

		live += state == VSOCK_ASKED || state == VSOCK_OPEN || state == VSOCK_CLOSING;
	}
	if (live == vsock->open_count)
		return;
	vsock->open_count = live; /* what removing counts down */
	vsock_forget(vsock);
	vsock->transport_was_reset = true;
	vsock_send_event(vsock);
}

static const struct virtio_ops vsock_ops = {
	.queue_kick = vsock_kick,
	.reset = vsock_reset,
	.resume = vsock_resume,
};

static void vsock_close(void *opaque)
{
	struct vsock *vsock = opaque;

	vsock_forget(vsock);
	vsock_host_close(vsock);
	loop_timer_destroy(vsock->timer);
}

static void vsock_free(struct vsock *vsock, struct loop *loop)
{
	loop_call(loop, vsock_close, vsock);
	if (vsock->buffers)
		munmap(vsock->buffers, (size_t)VSOCK_CONNECTIONS_MAX * VSOCK_BUFFER_SIZE);
	free(vsock);
}

static void vsock_destroy(struct device *device)
{
	struct vsock *vsock = (struct vsock *)device;

	struct loop *loop = vsock->virtio.env.io_loop;

	virtio_release(&vsock->virtio);
	vsock_free(vsock, loop);
}

static const struct state_field vsock_state_fields[] = {
	VIRTIO_STATE_FIELDS,
	STATE_FIELD(STATE_U32, struct vsock, open_count),
	{.name = NULL},
};

#define VSOCK_METRIC(member_)                                                                                \
	{                                                                                                    \
		.name = #member_, .offset = offsetof(struct vsock, member_)                                  \
	}

static const struct metric_field vsock_metrics[] = {
	VIRTIO_METRIC_FIELDS,   VSOCK_METRIC(packets_in),  VSOCK_METRIC(packets_out),
	VSOCK_METRIC(bytes_in), VSOCK_METRIC(bytes_out),   VSOCK_METRIC(connections),
	VSOCK_METRIC(refused),  VSOCK_METRIC(resets_lost), {.name = NULL},
};

static const char *const vsock_syscalls[] = {
	"socket",   "connect", "accept4", "recvfrom",  "recvmsg",         "sendto",  "sendmsg",
	"shutdown", "close",   "unlink",  "epoll_ctl", "timerfd_settime", "madvise", NULL,
};

static const struct device_class vsock_class = {
	.name = "virtio-vsock",
	.state = vsock_state_fields,
	.metrics = vsock_metrics,
	.syscalls = vsock_syscalls,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.loaded = virtio_class_loaded,
	.destroy = vsock_destroy,
};

static int vsock_init(struct vsock *vsock, const struct device_env *env, const struct vsock_config *config,
		      struct err *err)
{
	const struct virtio_init init = {
		.class = &vsock_class,
		.ops = &vsock_ops,
		.id = config->id,
		.type = VIRTIO_TYPE_VSOCK,
		.features = VIRTIO_BIT(VSOCK_F_STREAM),
		.queue_count = VSOCK_QUEUES,
		.config = &config->cid,
		.config_bytes = sizeof(config->cid),
	};

	if (config->cid < VSOCK_GUEST_CID_MIN || config->cid > VSOCK_GUEST_CID_MAX)
		return err_set(err, -EINVAL, "a guest's CID is at least %u and fits in 32 bits",
			       VSOCK_GUEST_CID_MIN);
	if (strlen(config->path) + VSOCK_PORT_NAME_MAX >= sizeof(vsock->path))
		return err_set(err, -ENAMETOOLONG,
			       "%s is longer than %zu characters, which leave room for _PORT", config->path,
			       sizeof(vsock->path) - VSOCK_PORT_NAME_MAX - 1);
	strcpy(vsock->path, config->path);
	vsock->cid = config->cid;
	return virtio_init(&vsock->virtio, env, &init, err);
}

static int vsock_prepare(struct vsock *vsock, const struct device_env *env, struct err *err)
{
	void *buffers = mmap(NULL, (size_t)VSOCK_CONNECTIONS_MAX * VSOCK_BUFFER_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (buffers == MAP_FAILED)
		return err_set_errno(err, -errno, "no memory for sockets");
	vsock->buffers = buffers;
	vsock->next_host_port = 0;
	vsock->ready_end = &vsock->ready;
	for (unsigned i = VSOCK_CONNECTIONS_MAX; i-- > 0;) {
		vsock->connection[i].next = vsock->free;
		vsock->free = &vsock->connection[i];
	}
	vsock->timer = loop_timer_create(env->io_loop, vsock_connection_on_timer, vsock, err);
	return vsock->timer ? vsock_host_listen(vsock, err) : -EIO;
}

struct device *vsock_create(const struct device_env *env, const struct vsock_config *config, struct err *err)
{
	struct vsock *vsock = calloc(1, sizeof(*vsock));

	if (!vsock) {
		err_set(err, -ENOMEM, "no memory for sockets");
		return NULL;
	}
	vsock->listen_fd = -1;
	if (vsock_init(vsock, env, config, err) < 0) {
		vsock_free(vsock, env->io_loop);
		return NULL;
	}
	if (vsock_prepare(vsock, env, err) < 0) {
		virtio_release(&vsock->virtio);
		vsock_free(vsock, env->io_loop);
		return NULL;
	}
	return &vsock->virtio.device;
}
