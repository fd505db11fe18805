/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio console: bytes both ways for each port, and the control queues on which ports are announced,
 * named, opened and closed (multiport). virtio 1.2, 5.3. Knows nothing of what a backend is.
 *
 * Threads: queues on the I/O loop; a backend's bytes arrive on the main loop and wait in the port's queue
 * (port.lock) until the guest has a buffer for them.
 */
#include "devices/virtio/console.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtio.h"
#include "vmm/base/err.h"
#include "vmm/core/chardev.h"

#define CONSOLE_F_MULTIPORT   1
#define CONSOLE_F_EMERG_WRITE 2

#define CONSOLE_INPUT_SIZE 4096u /* bytes of a port that wait for the guest: a pasted page */
#define CONSOLE_CHAIN_MAX  64u   /* iovecs of a buffer: Linux uses one, or a page a piece of a splice */
#define CONSOLE_KICK_BYTES (256u << 10) /* of one port's output before others on the loop get their turn */

/* 5.3.6.2 */
enum console_event {
	CONSOLE_DEVICE_READY = 0,
	CONSOLE_PORT_ADD = 1,
	CONSOLE_PORT_READY = 3,
	CONSOLE_CONSOLE_PORT = 4,
	CONSOLE_PORT_OPEN = 6,
	CONSOLE_PORT_NAME = 7,
};

struct console_control {
	uint32_t port;
	uint16_t event;
	uint16_t value;
};
_Static_assert(sizeof(struct console_control) == 8, "virtio 1.2, 5.3.6.2");

struct console_space {
	uint16_t cols, rows;
	uint32_t max_nr_ports;
	uint32_t emerg_wr;
};
_Static_assert(sizeof(struct console_space) == 12, "virtio 1.2, 5.3.4");

/* Control queues, and the queues of a port (5.3.2). */
enum { CONSOLE_CONTROL_RX = 2, CONSOLE_CONTROL_TX = 3 };

static unsigned console_rx(unsigned port)
{
	return port ? 2 + 2 * port : 0;
}

static unsigned console_tx(unsigned port)
{
	return console_rx(port) + 1;
}

struct console;

struct console_port {
	struct console *console;
	unsigned index;
	struct chardev *chardev;
	char name[CONSOLE_NAME_MAX];
	bool is_console;
	pthread_mutex_t
		output_lock;  /* one writer at a time at the backend; held while it waits for its reader */
	pthread_mutex_t lock; /* guards all below; a leaf */
	bool is_connected;    /* somebody is at the backend */
	bool is_open;         /* the guest has it open. Saved */
	uint32_t pending;     /* control messages to send: a bit an event. Saved */
	uint32_t input_at, input_len; /* ring of what waits for the guest. Saved, as the bytes are */
	uint8_t input[CONSOLE_INPUT_SIZE];
};

struct console {
	struct virtio_device virtio;
	uint32_t port_count;
	struct console_port port[CONSOLE_PORTS_MAX];
	_Atomic uint64_t bytes_in, bytes_out, control_errors;
};

static bool console_has_control(const struct console *console)
{
	return virtio_has_feature(&console->virtio, CONSOLE_F_MULTIPORT);
}

/* Moves waiting bytes into the guest's buffers; true when some were moved. */
static bool console_feed(struct console *console, struct console_port *port)
{
	struct virtqueue *queue = &console->virtio.queue[console_rx(port->index)];
	bool has_moved = false;
	struct virtq_chain *chain;

	pthread_mutex_lock(&port->lock);
	while (port->input_len > 0 && (chain = virtqueue_pop(queue)) != NULL) {
		uint64_t written = 0;

		while (port->input_len > 0 && written < chain->write_bytes) {
			uint32_t run = CONSOLE_INPUT_SIZE - port->input_at;
			uint64_t room = chain->write_bytes - written;

			run = run < port->input_len ? run : port->input_len;
			run = run < room ? run : (uint32_t)room;
			virtq_chain_write(chain, written, port->input + port->input_at, run);
			port->input_at = (port->input_at + run) % CONSOLE_INPUT_SIZE;
			port->input_len -= run;
			written += run;
		}
		virtqueue_complete(chain, written);
		atomic_fetch_add(&console->bytes_in, written);
		has_moved = true;
	}
	pthread_mutex_unlock(&port->lock);
	virtqueue_publish(queue);
	return has_moved;
}

static void console_drain(struct console *console, struct console_port *port)
{
	struct virtqueue *queue = &console->virtio.queue[console_tx(port->index)];
	uint64_t budget = CONSOLE_KICK_BYTES;
	struct virtq_chain *chain = NULL;

	while (budget > 0 && (chain = virtqueue_pop(queue)) != NULL) {
		uint64_t len = chain->read_bytes;

		pthread_mutex_lock(&port->output_lock);
		for (unsigned i = 0; i < chain->read_count; i++)
			chardev_write(port->chardev, chain->read[i].iov_base, chain->read[i].iov_len);
		pthread_mutex_unlock(&port->output_lock);
		atomic_fetch_add(&console->bytes_out, len);
		budget = len < budget ? budget - len : 0;
		virtqueue_complete(chain, 0);
	}
	virtqueue_publish(queue);
	if (chain)
		virtio_queue_poke(&console->virtio, console_tx(port->index));
}

static void console_want(struct console_port *port, enum console_event event)
{
	pthread_mutex_lock(&port->lock);
	port->pending |= 1u << event;
	pthread_mutex_unlock(&port->lock);
}

/* One message into one buffer; false when there is no buffer for it. */
static bool console_send(struct console *console, const struct console_port *port, enum console_event event,
			 uint16_t value)
{
	const struct console_control control = {.port = port->index, .event = event, .value = value};
	struct virtq_chain *chain = virtqueue_pop(&console->virtio.queue[CONSOLE_CONTROL_RX]);
	uint64_t written = sizeof(control);

	if (!chain)
		return false;
	if (!virtq_chain_write(chain, 0, &control, sizeof(control))) {
		atomic_fetch_add(&console->control_errors, 1);
		written = 0;
	} else if (event == CONSOLE_PORT_NAME &&
		   virtq_chain_write(chain, written, port->name, strlen(port->name))) {
		written += strlen(port->name);
	}
	virtqueue_complete(chain, written);
	return true;
}

/* Sends what a port has to say, in the order in which a driver wants to hear it. */
static bool console_send_pending(struct console *console, struct console_port *port)
{
	static const enum console_event order[] = {CONSOLE_PORT_ADD, CONSOLE_CONSOLE_PORT, CONSOLE_PORT_NAME,
						   CONSOLE_PORT_OPEN};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		bool is_pending;
		uint16_t value;

		pthread_mutex_lock(&port->lock);
		is_pending = port->pending & 1u << order[i];
		port->pending &= ~(1u << order[i]);
		value = order[i] == CONSOLE_PORT_OPEN ? port->is_connected : 1;
		pthread_mutex_unlock(&port->lock);
		if (is_pending && !console_send(console, port, order[i], value)) {
			console_want(port, order[i]);
			return false;
		}
	}
	return true;
}

static void console_send_control(struct console *console)
{
	for (unsigned i = 0; i < console->port_count; i++) {
		if (!console_send_pending(console, &console->port[i]))
			break;
	}
	virtqueue_publish(&console->virtio.queue[CONSOLE_CONTROL_RX]);
}

static void console_set_open(struct console_port *port, bool is_open)
{
	pthread_mutex_lock(&port->lock);
	port->is_open = is_open;
	if (!is_open)
		port->input_len = 0;
	pthread_mutex_unlock(&port->lock);
	if (is_open)
		chardev_accept_input(port->chardev);
}

static void console_on_control(struct console *console, const struct console_control *control)
{
	struct console_port *port =
		control->port < console->port_count ? &console->port[control->port] : NULL;

	if (control->event == CONSOLE_DEVICE_READY) {
		for (unsigned i = 0; control->value && i < console->port_count; i++)
			console_want(&console->port[i], CONSOLE_PORT_ADD);
		return;
	}
	if (!port || (control->event != CONSOLE_PORT_READY && control->event != CONSOLE_PORT_OPEN)) {
		atomic_fetch_add(&console->control_errors, 1);
		return;
	}
	if (control->event == CONSOLE_PORT_OPEN) {
		console_set_open(port, control->value);
		return;
	}
	if (!control->value) /* the driver could not add it */
		return;
	if (port->is_console)
		console_want(port, CONSOLE_CONSOLE_PORT);
	if (port->name[0])
		console_want(port, CONSOLE_PORT_NAME);
	console_want(port, CONSOLE_PORT_OPEN);
}

static void console_take_control(struct console *console)
{
	struct virtqueue *queue = &console->virtio.queue[CONSOLE_CONTROL_TX];
	struct virtq_chain *chain;

	while ((chain = virtqueue_pop(queue)) != NULL) {
		struct console_control control;

		if (virtq_chain_read(chain, 0, &control, sizeof(control)))
			console_on_control(console, &control);
		else
			atomic_fetch_add(&console->control_errors, 1);
		virtqueue_complete(chain, 0);
	}
	virtqueue_publish(queue);
	console_send_control(console);
}

static void console_kick(struct virtio_device *virtio, unsigned index)
{
	struct console *console = (struct console *)virtio;
	bool is_control = index == CONSOLE_CONTROL_RX || index == CONSOLE_CONTROL_TX;
	unsigned number = index < CONSOLE_CONTROL_RX ? 0 : index / 2 - 1;
	struct console_port *port = &console->port[number];

	if (is_control) {
		if (!console_has_control(console))
			return;
		if (index == CONSOLE_CONTROL_RX)
			console_send_control(console);
		else
			console_take_control(console);
	} else if (number >= console->port_count) {
		return;
	} else if (index == console_tx(number)) {
		console_drain(console, port);
	} else if (console_feed(console, port)) {
		chardev_accept_input(port->chardev);
	}
}

/* A driver without control queues knows one port, which is open. */
static int console_activate(struct virtio_device *virtio, struct err *err)
{
	struct console *console = (struct console *)virtio;

	if (!console_has_control(console))
		console_set_open(&console->port[0], true);
	return 0;
}

static void console_reset(struct virtio_device *virtio)
{
	struct console *console = (struct console *)virtio;

	for (unsigned i = 0; i < console->port_count; i++) {
		console_set_open(&console->port[i], false);
		pthread_mutex_lock(&console->port[i].lock);
		console->port[i].pending = 0;
		pthread_mutex_unlock(&console->port[i].lock);
	}
}

/* An early kernel's last words: one character into a register (5.3.4). */
static void console_config_write(struct virtio_device *virtio, size_t offset, const uint8_t *bytes,
				 size_t len)
{
	struct console *console = (struct console *)virtio;
	struct console_port *port = &console->port[0];

	if (offset != offsetof(struct console_space, emerg_wr) || len == 0)
		return;
	pthread_mutex_lock(&port->output_lock);
	chardev_write(port->chardev, bytes, 1);
	pthread_mutex_unlock(&port->output_lock);
}

static size_t console_can_receive(void *opaque)
{
	struct console_port *port = opaque;
	size_t room;

	pthread_mutex_lock(&port->lock);
	room = port->is_open ? CONSOLE_INPUT_SIZE - port->input_len : 0;
	pthread_mutex_unlock(&port->lock);
	return room;
}

static void console_receive(void *opaque, const uint8_t *data, size_t len)
{
	struct console_port *port = opaque;

	pthread_mutex_lock(&port->lock);
	for (size_t i = 0; i < len && port->input_len < CONSOLE_INPUT_SIZE; i++)
		port->input[(port->input_at + port->input_len++) % CONSOLE_INPUT_SIZE] = data[i];
	pthread_mutex_unlock(&port->lock);
	virtio_queue_poke(&port->console->virtio, console_rx(port->index));
}

static void console_on_event(void *opaque, int event)
{
	struct console_port *port = opaque;

	if (event != CHARDEV_OPENED && event != CHARDEV_CLOSED)
		return;
	pthread_mutex_lock(&port->lock);
	port->is_connected = event == CHARDEV_OPENED;
	port->pending |= 1u << CONSOLE_PORT_OPEN;
	pthread_mutex_unlock(&port->lock);
	virtio_queue_poke(&port->console->virtio, CONSOLE_CONTROL_RX);
}

static void console_destroy(struct device *device)
{
	struct console *console = (struct console *)device;

	virtio_release(&console->virtio);
	for (unsigned i = 0; i < console->port_count; i++) {
		/* The backend lives on: nobody is told of its bytes any more. */
		chardev_attach(console->port[i].chardev, &(struct chardev_client){0});
		pthread_mutex_destroy(&console->port[i].output_lock);
		pthread_mutex_destroy(&console->port[i].lock);
	}
	free(console);
}

static const struct state_group console_port_group = {
	.count_offset = offsetof(struct console, port_count),
	.stride = sizeof(struct console_port),
};

#define CONSOLE_STATE_PORT(type_, member_, count_)                                                           \
	{                                                                                                    \
		.name = "port." #member_, .type = (type_),                                                   \
		.offset = offsetof(struct console, port) + offsetof(struct console_port, member_),           \
		.count = (count_), .group = &console_port_group                                              \
	}

static const struct state_field console_state[] = {
	VIRTIO_STATE_FIELDS,
	CONSOLE_STATE_PORT(STATE_BOOL, is_open, 1),
	CONSOLE_STATE_PORT(STATE_U32, pending, 1),
	CONSOLE_STATE_PORT(STATE_U32, input_at, 1),
	CONSOLE_STATE_PORT(STATE_U32, input_len, 1),
	CONSOLE_STATE_PORT(STATE_U8, input, CONSOLE_INPUT_SIZE),
	{.name = NULL},
};

static const struct metric_field console_metrics[] = {
	VIRTIO_METRIC_FIELDS,
	{.name = "bytes_in", .offset = offsetof(struct console, bytes_in)},
	{.name = "bytes_out", .offset = offsetof(struct console, bytes_out)},
	{.name = "control_errors", .offset = offsetof(struct console, control_errors)},
	{.name = NULL},
};

/* A saved ring position is used as an index: what a snapshot says is checked here. */
static void console_resume(struct device *device)
{
	struct console *console = (struct console *)device;

	for (unsigned i = 0; i < console->port_count; i++) {
		struct console_port *port = &console->port[i];

		if (port->input_at >= CONSOLE_INPUT_SIZE || port->input_len > CONSOLE_INPUT_SIZE)
			port->input_at = port->input_len = 0;
	}
	virtio_class_resume(device);
}

static const struct device_class console_class = {
	.name = "virtio-console",
	.state = console_state,
	.metrics = console_metrics,
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = console_resume,
	.loaded = virtio_class_loaded,
	.destroy = console_destroy,
};

static const struct virtio_ops console_ops = {
	.config_write = console_config_write,
	.activate = console_activate,
	.queue_kick = console_kick,
	.reset = console_reset,
};

static void console_init_port(struct console *console, unsigned index,
			      const struct console_port_config *config)
{
	struct console_port *port = &console->port[index];
	const struct chardev_client client = {
		.can_receive = console_can_receive,
		.receive = console_receive,
		.event = console_on_event,
		.opaque = port,
	};

	port->console = console;
	port->index = index;
	port->chardev = config->chardev;
	port->is_console = config->is_console;
	port->is_connected = config->is_connected;
	snprintf(port->name, sizeof(port->name), "%s", config->name ? config->name : "");
	pthread_mutex_init(&port->output_lock, NULL);
	pthread_mutex_init(&port->lock, NULL);
	chardev_attach(port->chardev, &client);
}

struct device *console_create(const struct device_env *env, const struct console_config *config,
			      struct err *err)
{
	const struct console_space space = {.max_nr_ports = config->port_count};
	struct virtio_queue_init queues[2 * CONSOLE_PORTS_MAX + 2];
	struct console *console;
	struct virtio_init init = {
		.class = &console_class,
		.ops = &console_ops,
		.id = config->id,
		.type = VIRTIO_TYPE_CONSOLE,
		.features = VIRTIO_BIT(CONSOLE_F_MULTIPORT) | VIRTIO_BIT(CONSOLE_F_EMERG_WRITE),
		.queue_count = 2 * config->port_count + 2,
		.queue = queues,
		.config = &space,
		.config_bytes = sizeof(space),
	};

	if (config->port_count == 0 || config->port_count > CONSOLE_PORTS_MAX) {
		err_set(err, -EINVAL, "a console has 1 to %d ports, not %u", CONSOLE_PORTS_MAX,
			config->port_count);
		return NULL;
	}
	console = calloc(1, sizeof(*console));
	if (!console) {
		err_set(err, -ENOMEM, "no memory for a console");
		return NULL;
	}
	for (unsigned i = 0; i < init.queue_count; i++)
		queues[i] = (struct virtio_queue_init){.size_max = 64, .iov_max = CONSOLE_CHAIN_MAX};
	if (virtio_init(&console->virtio, env, &init, err) < 0) {
		free(console);
		return NULL;
	}
	console->port_count = config->port_count;
	for (unsigned i = 0; i < config->port_count; i++)
		console_init_port(console, i, &config->port[i]);
	return &console->virtio.device;
}
