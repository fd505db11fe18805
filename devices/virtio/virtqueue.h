/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtqueues, device side: split and packed rings, indirect descriptors, event index. virtio 1.2, 2.6 - 2.8.
 * A device takes chains of checked iovecs and gives them back; it never sees a descriptor. Knows guest
 * memory, no transport and no device.
 *
 * A device's kick handler pops until it gets NULL, reads the request (virtq_chain_read), fills the writable
 * part, completes each chain with the number of bytes it wrote, and publishes at the end.
 *
 * Threads: a started queue belongs to one thread, the device's I/O loop; every function here but init,
 * destroy and the fields marked so is called there. Storage is allocated by virtqueue_init; nothing is
 * allocated later.
 *
 * Kicks: virtqueue_pop asks the driver for a kick when it finds the ring empty, and looks once more, so no
 * buffer is overlooked. A device that stops popping earlier (no room at its backend, a rate limit) goes on by
 * itself later.
 *
 * A hostile or broken ring breaks the queue: config.broken is called once, virtqueue_pop gives NULL from then
 * on, and completing chains writes nothing more to the ring.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;
struct gmem;
struct virtqueue;

#define VIRTQUEUE_SIZE_MAX 32768u /* virtio 1.2, 2.7: the largest ring */

/* One descriptor's memory as the guest named it; kept for the announcement of what was written. */
struct virtq_piece {
	uint64_t gpa;
	uint64_t len;
};

/*
 * A descriptor chain, lent by virtqueue_pop until virtqueue_complete, _return or _discard. iovecs point into
 * guest memory, whose bytes change at any time: copy (virtq_chain_read), check the copy, use the copy. The
 * iovecs are the device's to change (to advance them, to cut them); virtq_chain_read and _write then see the
 * changed ones, while the announcement of written memory uses what the guest named. A descriptor that crosses
 * memory regions is several iovecs. None is empty.
 */
struct virtq_chain {
	struct virtqueue *queue;
	struct iovec *read; /* what the driver wrote for the device */
	unsigned read_count;
	unsigned write_count;
	struct iovec *write;  /* what the device may write; follows `read` in one array */
	uint64_t read_bytes;  /* at most UINT32_MAX together */
	uint64_t write_bytes; /* as popped; not changed with the iovecs */
	void *request; /* config.request_bytes of the device's own, kept as it was left by the last use */

	/* The ring's own. */
	struct virtq_piece *piece; /* of each writable iovec, as popped */
	uint16_t id;               /* split: head index; packed: buffer id */
	uint16_t slots;            /* descriptors of the ring that it takes */
	uint16_t position;         /* of the queue behind it, for virtqueue_return */
	uint16_t next_free;        /* in the list of free chains */
	bool in_flight;
};

struct virtqueue_config {
	struct gmem *gmem;
	uint16_t size_max; /* descriptors; a power of two */
	uint16_t iov_max;  /* iovecs of one chain: bounds its storage; a longer chain breaks the queue. 0:
			      size_max */
	uint32_t request_bytes; /* of chain->request, aligned to 16; 0: none */
	/* The ring cannot be trusted any more; `why` is one phrase. Called once until the next start. */
	void (*broken)(void *opaque, unsigned index, const char *why);
	/* The driver wants an interrupt for this queue. */
	void (*interrupt)(void *opaque, unsigned index);
	/* in_flight fell to 0 while the queue is quiet. May be NULL. */
	void (*drained)(void *opaque, unsigned index);
	void *opaque;
	unsigned index; /* of the queue in its device */
};

/* What was negotiated of the features that shape the ring. */
struct virtqueue_features {
	bool packed;    /* VIRTIO_F_RING_PACKED */
	bool indirect;  /* VIRTIO_F_INDIRECT_DESC */
	bool event_idx; /* VIRTIO_F_EVENT_IDX */
};

struct virtqueue {
	struct virtqueue_config config;
	struct virtqueue_features features; /* of the last start */

	/* Set up by the transport before the start, under the device's lock; saved. */
	uint16_t size;       /* descriptors that the driver chose */
	bool enabled;        /* the driver said that it is ready */
	uint64_t desc_gpa;   /* descriptor table or ring */
	uint64_t driver_gpa; /* split: available ring; packed: driver event suppression */
	uint64_t device_gpa; /* split: used ring; packed: device event suppression */

	/* The I/O loop's; saved. Split rings count freely, packed ones keep a position and a wrap counter. */
	uint16_t next_avail;  /* next entry of the available ring, next descriptor to look at */
	uint16_t next_used;   /* next entry to write, published or not */
	bool avail_wrap;      /* packed */
	bool used_wrap;       /* packed */
	uint16_t signalled;   /* next_used at the last interrupt decision */
	bool signalled_valid; /* else the next decision is to interrupt */

	/* The I/O loop's; not saved. */
	bool started;   /* rings are mapped */
	bool broken;    /* see above */
	bool quiet;     /* pop gives NULL: being stopped or paused */
	bool kicks_off; /* split without event index, packed: the driver was told not to kick */
	uint8_t *desc;  /* mappings, valid while started */
	uint8_t *driver;
	uint8_t *device;
	unsigned in_flight;        /* chains lent */
	unsigned slots_in_flight;  /* their descriptors */
	uint16_t staged;           /* completed and not published: entries (split), slots (packed) */
	uint16_t staged_slot;      /* packed: where the first of them is */
	uint16_t staged_flags;     /* packed: its flags, written last */
	struct virtq_chain *chain; /* size_max of them */
	uint16_t free_chain;       /* head of the list of free ones */
	struct iovec *iov;         /* storage of all chains */
	struct virtq_piece *piece;
	uint8_t *request;
	uint8_t *head_busy; /* split: a bit a head that is in flight */
	uint64_t chains_popped, interrupts_raised, interrupts_saved; /* counters */
};

/* Allocates the storage of a queue that was zeroed. 0, -ENOMEM, -EINVAL. */
int virtqueue_init(struct virtqueue *queue, const struct virtqueue_config *config, struct err *err);
void virtqueue_destroy(struct virtqueue *queue);

/* Back to what a device reset leaves: not enabled, size_max, addresses 0, indices 0. Not while started. */
void virtqueue_reset(struct virtqueue *queue);

/*
 * Maps the rings of an enabled queue and goes on at next_avail and next_used. 0; -EINVAL for a size, an
 * alignment or an address that the specification forbids, err says which. Any number of starts and stops.
 */
int virtqueue_start(struct virtqueue *queue, const struct virtqueue_features *features, struct err *err);
/* No chain may be in flight. Indices and addresses stay. */
void virtqueue_stop(struct virtqueue *queue);

/* The next chain, or NULL: the ring is empty (a kick will come), quiet or broken. */
struct virtq_chain *virtqueue_pop(struct virtqueue *queue);
/* Whether pop would find something; asks for a kick when not, as pop does. */
bool virtqueue_has_buffers(struct virtqueue *queue);

/*
 * Gives a chain back with the number of bytes written, counted from the start of its writable part (at most
 * write_bytes: more is a bug of ours). They are announced to guest memory's listeners. The driver sees it at
 * the next publish, all chains completed since the last at once (as mergeable receive buffers need it).
 */
void virtqueue_complete(struct virtq_chain *chain, uint64_t written);
/* Shows the driver what was completed, and interrupts it if it asked for that. Cheap when there is nothing.
 */
void virtqueue_publish(struct virtqueue *queue);
/* Both. */
void virtqueue_complete_now(struct virtq_chain *chain, uint64_t written);

/* Puts back the chain that was popped last and not completed: the next pop gives it again. Repeat in reverse
 * order. */
void virtqueue_return(struct virtq_chain *chain);
/*
 * Gives a chain back without the driver ever seeing it used, for a stop or a reset of the queue; its whole
 * writable part counts as written. The ring loses the buffer.
 */
void virtqueue_discard(struct virtq_chain *chain);

/* Copies len bytes from offset of the readable part; false, copying nothing, unless all are there. */
bool virtq_chain_read(const struct virtq_chain *chain, uint64_t offset, void *dst, size_t len);
/* The same into the writable part. Announced by complete, if its `written` covers it, else by the caller. */
bool virtq_chain_write(const struct virtq_chain *chain, uint64_t offset, const void *src, size_t len);

/*
 * Cuts an array of iovecs, in place, to [offset, offset + len): *iov is moved to the first one left. Returns
 * how many are left, 0 unless the bytes are all there. len 0 gives 0.
 */
unsigned virtq_iov_cut(struct iovec **iov, unsigned count, uint64_t offset, uint64_t len);
uint64_t virtq_iov_bytes(const struct iovec *iov, unsigned count);

/* For the transport and the device model: makes pop give NULL, and back. */
void virtqueue_set_quiet(struct virtqueue *queue, bool quiet);
/* Declares the ring broken. */
void virtqueue_break(struct virtqueue *queue, const char *why);
