/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device is to the machine: a const class (one a file) and an instance. The class says its name, how
 * its state is saved, which counters it has, and how it is created, reset and destroyed. Devices know buses,
 * lines, timers and backends through this vocabulary and nothing else.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#include "vmm/core/irq.h"

struct err;
struct bus;
struct loop;
struct gmem;

/* One saved field of a device's state. Integer widths are those of the C field; arrays by count. */
enum state_type { STATE_U8, STATE_U16, STATE_U32, STATE_U64, STATE_BOOL };

/* Fields of an array of structures in the instance, saved once for each of them: the local APICs of all CPUs.
 */
struct state_group {
	size_t count_offset; /* uint32_t in the instance: how many structures */
	size_t stride;       /* bytes from one to the next */
};

struct state_field {
	const char *name; /* key in the snapshot; stable for ever */
	enum state_type type;
	size_t offset; /* in the device's instance structure; in a group: of the field in the first structure
			*/
	size_t count;  /* elements; 1 for a scalar */
	const struct state_group *group; /* NULL: the field stands once */
	uint64_t max; /* the largest value that may be loaded; 0: any of the type. What indexes an array has
			 one */
};

#define STATE_FIELD(type_, struct_, member_)                                                                 \
	{                                                                                                    \
		.name = #member_, .type = (type_), .offset = offsetof(struct_, member_), .count = 1          \
	}
/* One whose value loaded may be at most max_. */
#define STATE_FIELD_MAX(type_, struct_, member_, max_)                                                       \
	{                                                                                                    \
		.name = #member_, .type = (type_), .offset = offsetof(struct_, member_), .count = 1,         \
		.max = (max_)                                                                                \
	}
#define STATE_ARRAY(type_, struct_, member_, count_)                                                         \
	{                                                                                                    \
		.name = #member_, .type = (type_), .offset = offsetof(struct_, member_), .count = (count_)   \
	}

/* One counter (uint64_t, relaxed atomic or under the device's lock). */
struct metric_field {
	const char *name;
	size_t offset;
};

/* What firmware tables say of a device: boot/ prints both ACPI and FDT from it. */
struct device_description {
	const char *acpi_hid;   /* "PNP0501", NULL: not listed */
	const char *compatible; /* device-tree string, NULL: not listed */
	uint64_t pio_base[2];   /* port ranges, size 0: none */
	uint8_t pio_size[2];
	uint64_t mmio_base; /* size 0: none */
	uint64_t mmio_size;
	int irq[2];        /* GSI, -1: none */
	bool irq_is_level; /* level-triggered, active high and shared; else edge-triggered and its own */
};

/* What every device is created with. Borrowed from the machine for the device's whole life. */
struct device_env {
	struct bus *pio; /* NULL where the architecture has no ports */
	struct bus *mmio;
	struct gmem *gmem;
	struct loop *loop;     /* timers and descriptors */
	struct loop *io_loop;  /* of an I/O thread: queues and their backends; each device has one, several
				  share it */
	pthread_mutex_t *lock; /* the board's device lock: register bus ranges and timers with it */
	pthread_mutex_t
		*intr_lock;  /* lock of PIC, I/O APIC and local APICs; taken after `lock`, never before */
	struct msi_sink msi; /* for message-signalled interrupts; any thread */
	struct irqfd_maker irqfds; /* interrupts that somebody else's eventfd raises */
};

struct device;

struct device_class {
	const char *name;                   /* "serial", "pit", ... */
	const struct state_field *state;    /* ends with .name = NULL; NULL: nothing to save */
	const struct metric_field *metrics; /* ends with .name = NULL; may be NULL */
	const char *const
		*syscalls; /* needed at run time beyond the base set; NULL-terminated; may be NULL */
	void (*reset)(struct device *device);  /* to power-on values; board lock held */
	void (*pause)(struct device *device);  /* stop timers; may be NULL */
	void (*resume)(struct device *device); /* re-arm from state; after loaded too; may be NULL */
	/*
	 * The fields of `state` were set from a snapshot, which may be hostile, each within its max: checks
	 * what they must be together, and drives the device's lines as they say. Paused, board lock held. 0,
	 * or -EINVAL with a message that names the field. NULL: any values are good, and it has no lines.
	 */
	int (*loaded)(struct device *device, struct err *err);
	/* What keeps it from being saved just now, a phrase; NULL: nothing, as where this is NULL. Paused. */
	const char *(*unsaved)(const struct device *device);
	void (*destroy)(struct device *device); /* frees everything, the instance included */
};

/* First member of every device's instance structure. */
struct device {
	const struct device_class *class;
	char id[32]; /* unique in the machine: "serial0" */
	struct device_description description;
};
