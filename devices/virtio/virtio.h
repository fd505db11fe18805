/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device model of virtio: feature negotiation, status, queues, configuration space, reset. virtio 1.2,
 * chapters 2 and 3. A device is a struct virtio_device, an ops table and its queues; transports
 * (virtio_transport.h) drive it. Knows no transport and no particular device.
 *
 * A device is made thus:
 *
 *     struct rng { struct virtio_device virtio; ... };           first member: it begins with struct device
 *     virtio_init(&rng->virtio, env, &(struct virtio_init){...}, err)
 *
 * Threads: everything called under "I/O loop" below runs on the loop env->io_loop, one call at a time, and so
 * do the completions of a backend that was given that loop: what a device keeps for its data path needs no
 * lock. A vCPU that resets a device waits until the I/O loop has stopped its queues and no chain is in
 * flight; so a chain in flight must complete without the help of the main loop, the board lock or a vCPU.
 *
 * Locks, outermost first: virtio.lock, then leaf or isr_lock, each of which says in the structure what it
 * guards.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/virtqueue.h"
#include "vmm/base/log.h"
#include "vmm/core/device.h"

struct loop;
struct loop_fd;
struct virtio_device;
struct virtio_transport;

/* virtio 1.2, chapter 5. */
enum virtio_type {
	VIRTIO_TYPE_NET = 1,
	VIRTIO_TYPE_BLOCK = 2,
	VIRTIO_TYPE_CONSOLE = 3,
	VIRTIO_TYPE_ENTROPY = 4,
	VIRTIO_TYPE_BALLOON = 5,
	VIRTIO_TYPE_9P = 9,
	VIRTIO_TYPE_VSOCK = 19,
	VIRTIO_TYPE_MEM = 24,
	VIRTIO_TYPE_FS = 26,
	VIRTIO_TYPE_PMEM = 27,
};

/* Bits of the device status field, 2.1. */
enum virtio_status {
	VIRTIO_STATUS_ACKNOWLEDGE = 1,
	VIRTIO_STATUS_DRIVER = 2,
	VIRTIO_STATUS_DRIVER_OK = 4,
	VIRTIO_STATUS_FEATURES_OK = 8,
	VIRTIO_STATUS_NEEDS_RESET = 64,
	VIRTIO_STATUS_FAILED = 128,
};

/* Reserved feature bits, chapter 6. A device lists none of them: the model offers those that it implements.
 */
enum virtio_feature {
	VIRTIO_F_INDIRECT_DESC = 28,
	VIRTIO_F_EVENT_IDX = 29,
	VIRTIO_F_VERSION_1 = 32,
	VIRTIO_F_ACCESS_PLATFORM = 33,
	VIRTIO_F_RING_PACKED = 34,
	VIRTIO_F_IN_ORDER = 35,
	VIRTIO_F_ORDER_PLATFORM = 36,
	VIRTIO_F_NOTIFICATION_DATA = 38,
	VIRTIO_F_RING_RESET = 40,
};

#define VIRTIO_BIT(feature_) (1ull << (feature_))

#define VIRTIO_QUEUES_MAX 66   /* 32 pairs of a network device, its control queue, one to spare */
#define VIRTIO_CONFIG_MAX 4096 /* bytes of device configuration: the largest is far below */

/* What a device implements. NULL entries are left out. */
struct virtio_ops {
	/* vCPU thread, virtio.lock held: whether the device can work with exactly these features. */
	bool (*accepts_features)(struct virtio_device *virtio, uint64_t features);
	/*
	 * vCPU thread, virtio.lock held: the driver writes the configuration space, [offset, offset + len)
	 * inside it. The device takes over what is writable, by virtio_config_set. NULL: nothing is.
	 */
	void (*config_write)(struct virtio_device *virtio, size_t offset, const uint8_t *bytes, size_t len);

	/* I/O loop from here on. */
	/* The driver is ready (DRIVER_OK); its enabled queues are started. -errno: NEEDS_RESET, err is
	 * logged. */
	int (*activate)(struct virtio_device *virtio, struct err *err);
	/* One more queue was started after DRIVER_OK: late, or again after a queue reset. */
	void (*queue_start)(struct virtio_device *virtio, unsigned index);
	/* Buffers may be there: pop until NULL or until there is no room for more, then publish. Spurious
	 * calls happen.
	 */
	void (*queue_kick)(struct virtio_device *virtio, unsigned index);
	/*
	 * The queue is about to stop (reset, queue reset, pause): pop gives NULL from now on. Give back or
	 * discard the chains that only wait (receive buffers, a rate limit's queue), cancel what can be
	 * cancelled; those in the hands of a backend complete as always, now or later. When none is in flight
	 * the queue is stopped.
	 */
	void (*queue_stop)(struct virtio_device *virtio, unsigned index);
	/* Every queue is stopped: forget what the driver has set. Only after activate. */
	void (*reset)(struct virtio_device *virtio);
	/* An active device is about to be saved, its queues are stopped: stop what is the device's own
	 * (timers). */
	void (*pause)(struct virtio_device *virtio);
	/* It goes on, here or from a saved state in a process where activate was never called; its queues are
	 * up. */
	void (*resume)(struct virtio_device *virtio);
};

struct virtio_queue_init {
	uint16_t size_max;      /* descriptors offered; a power of two; 0 means 256 */
	uint16_t iov_max;       /* iovecs of a chain, see struct virtqueue_config; 0: size_max */
	uint32_t request_bytes; /* of chain->request */
};

struct virtio_init {
	const struct device_class
		*class; /* reset, pause, resume: virtio_class_*; destroy: the device's own */
	const struct virtio_ops *ops;
	const char *id; /* "rng0": struct device's; unique in the machine */
	enum virtio_type type;
	uint64_t features; /* the device's own bits, 0 - 23 */
	unsigned queue_count;
	const struct virtio_queue_init *queue; /* queue_count of them; NULL: all default */
	const void *config; /* initial configuration space, little-endian, copied; may be NULL */
	size_t config_bytes;
	/*
	 * The queues are processed by somebody else (vhost-user): kick descriptors are not watched, queues
	 * are not mapped, queue_kick is not called; activate and queue_start hand them over, queue_stop takes
	 * them back. `features` then has the bits of the rings too (28, 29, 34, 40): the model adds VERSION_1
	 * only.
	 */
	bool queues_elsewhere;
};

struct virtio_device {
	struct device device;
	const struct virtio_ops *ops;
	enum virtio_type type;
	bool queues_elsewhere;
	struct device_env env;
	const struct virtio_transport *transport; /* set once, by the transport's constructor */

	/* Status, features and queue set-up. A vCPU holds it while it waits for the I/O loop: never taken
	 * there. */
	pthread_mutex_t lock;
	uint64_t features;        /* offered; set before the driver is there */
	uint64_t driver_features; /* chosen; final from FEATURES_OK on. Saved */
	_Atomic uint8_t status;   /* enum virtio_status; bits are only set without the lock. Saved */
	_Atomic bool active;      /* DRIVER_OK was accepted and no reset since. Saved */

	/* Configuration space, and who waits for queues to drain. Nothing is called under it. */
	pthread_mutex_t leaf;
	uint8_t *config;
	uint32_t config_bytes;
	uint32_t generation; /* of config. Saved */
	unsigned draining;   /* queues that are being stopped and have chains in flight */
	pthread_cond_t drained;
	struct log_limit log_limit;

	/* Interrupt status and the level made of it; the line's own locks are taken inside. */
	pthread_mutex_t isr_lock;
	uint32_t isr;         /* bit 0 a queue, bit 1 the configuration. Saved */
	struct irq_line line; /* the transport's */

	uint32_t queue_count;
	struct virtqueue queue[VIRTIO_QUEUES_MAX];
	bool queue_drains[VIRTIO_QUEUES_MAX]; /* counted in draining; I/O loop */
	int kick_fd[VIRTIO_QUEUES_MAX];       /* eventfds, which doorbells signal */
	struct loop_fd *kick_watch[VIRTIO_QUEUES_MAX];

	/* Metrics. */
	_Atomic uint64_t kicks, interrupts, config_interrupts, resets, ring_errors, driver_errors;
};

/*
 * Fills a zeroed virtio_device: storage, kick eventfds, watches on env->io_loop. Borrows env's contents. On
 * failure nothing is left behind. virtio_release undoes it; the device frees its own memory.
 */
int virtio_init(struct virtio_device *virtio, const struct device_env *env, const struct virtio_init *init,
		struct err *err);
void virtio_release(struct virtio_device *virtio);
/* Offers further feature bits, before a transport has the device: what the board decides (packed rings). */
void virtio_offer(struct virtio_device *virtio, uint64_t features);

/* For struct device_class of every virtio device. */
void virtio_class_reset(struct device *device);
void virtio_class_pause(struct device *device);
void virtio_class_resume(struct device *device);
int virtio_class_loaded(struct device *device, struct err *err);

/* Rows for a device's state table: everything that the model saves. struct_ begins with struct virtio_device.
 */
extern const struct state_group virtio_queue_group;
#define VIRTIO_STATE_QUEUE(type_, member_)                                                                   \
	{                                                                                                    \
		.name = "queue." #member_, .type = (type_),                                                  \
		.offset = offsetof(struct virtio_device, queue) + offsetof(struct virtqueue, member_),       \
		.count = 1, .group = &virtio_queue_group                                                     \
	}
#define VIRTIO_STATE_FIELDS                                                                                  \
	STATE_FIELD(STATE_U64, struct virtio_device, driver_features),                                       \
		STATE_FIELD(STATE_U8, struct virtio_device, status),                                         \
		STATE_FIELD(STATE_BOOL, struct virtio_device, active),                                       \
		STATE_FIELD(STATE_U32, struct virtio_device, generation),                                    \
		STATE_FIELD(STATE_U32, struct virtio_device, isr), VIRTIO_STATE_QUEUE(STATE_U16, size),      \
		VIRTIO_STATE_QUEUE(STATE_BOOL, enabled), VIRTIO_STATE_QUEUE(STATE_U64, desc_gpa),            \
		VIRTIO_STATE_QUEUE(STATE_U64, driver_gpa), VIRTIO_STATE_QUEUE(STATE_U64, device_gpa),        \
		VIRTIO_STATE_QUEUE(STATE_U16, next_avail), VIRTIO_STATE_QUEUE(STATE_U16, next_used),         \
		VIRTIO_STATE_QUEUE(STATE_BOOL, avail_wrap), VIRTIO_STATE_QUEUE(STATE_BOOL, used_wrap),       \
		VIRTIO_STATE_QUEUE(STATE_U16, signalled), VIRTIO_STATE_QUEUE(STATE_BOOL, signalled_valid)

/* Rows for a device's metrics table. */
#define VIRTIO_METRIC(member_)                                                                               \
	{                                                                                                    \
		.name = #member_, .offset = offsetof(struct virtio_device, member_)                          \
	}
#define VIRTIO_METRIC_FIELDS                                                                                 \
	VIRTIO_METRIC(kicks), VIRTIO_METRIC(interrupts), VIRTIO_METRIC(config_interrupts),                   \
		VIRTIO_METRIC(resets), VIRTIO_METRIC(ring_errors), VIRTIO_METRIC(driver_errors)

/* Whether the driver chose a feature. Any thread once the device is active. */
static inline bool virtio_has_feature(const struct virtio_device *virtio, unsigned feature)
{
	return virtio->driver_features >> feature & 1;
}

/* DRIVER_OK and working. Any thread. */
static inline bool virtio_is_active(const struct virtio_device *virtio)
{
	return atomic_load(&virtio->active) && !(atomic_load(&virtio->status) & VIRTIO_STATUS_NEEDS_RESET);
}

/* Whether the driver has this queue up: it can be popped. I/O loop. */
static inline bool virtio_queue_is_up(const struct virtio_device *virtio, unsigned index)
{
	return index < virtio->queue_count && virtio->queue[index].started && !virtio->queue[index].quiet;
}

/* Changes configuration bytes, quietly (in config_write, or before the driver is there). Any thread. */
void virtio_config_set(struct virtio_device *virtio, size_t offset, const void *bytes, size_t len);
/* The same, counts the generation up and interrupts an active driver: a disk's new size, a link that went
 * down. */
void virtio_config_change(struct virtio_device *virtio, size_t offset, const void *bytes, size_t len);
void virtio_config_get(struct virtio_device *virtio, size_t offset, void *bytes, size_t len);

/*
 * The driver broke the device's protocol or the ring beyond repair: sets NEEDS_RESET, interrupts, counts,
 * logs at a limited rate. Any thread. A request that is merely wrong is answered with its own status instead.
 */
void virtio_needs_reset(struct virtio_device *virtio, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Runs queue_kick on the I/O loop soon, as if the driver had kicked: a backend has room or data again. Any
 * thread. */
void virtio_queue_poke(struct virtio_device *virtio, unsigned index);

/* Interrupts the driver for a queue whoever processes it asks for it (vhost-user's call descriptor). Any
 * thread. */
void virtio_queue_interrupt(struct virtio_device *virtio, unsigned index);

/* Little-endian fields of configuration spaces and headers are written as they lie on a little-endian host.
 */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "guest structures are used in the host's byte order");
