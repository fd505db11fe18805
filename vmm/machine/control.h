/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking and changing a machine that exists: what a control socket needs beyond starting, pausing and ending
 * it. On the thread of machine_run, or before it. 0 or -errno with err set where nothing else is said.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/rate_limit.h"
#include "vmm/machine/config.h"

struct err;
struct json_t;
struct machine;

/* The configuration that it was made with. Borrowed. */
const struct machine_config *machine_config_of(const struct machine *machine);
/* "kvm" or "tcg" */
const char *machine_accel_name(const struct machine *machine);
/* Goes to the accelerator of this name; NULL: the other one. */
int machine_switch_accel(struct machine *machine, const char *name, struct err *err);

/* The guest's keyboard. */
int machine_press_ctrl_alt_del(struct machine *machine, struct err *err);

/* Further buckets; NULL leaves one as it is, a bucket of zero takes its limit away. */
struct machine_limits {
	const struct rate_bucket_config *operations, *bytes;
};

/* The disk at `index` of config.disks. The new file is opened before the old one is let go. */
int machine_replace_disk(struct machine *machine, size_t index, const char *path, struct err *err);
int machine_limit_disk(struct machine *machine, size_t index, const struct machine_limits *limits,
		       struct err *err);
/* The card at `index` of config.net, which was made with a limit of its own (even an empty one). */
int machine_limit_net(struct machine *machine, size_t index, const struct machine_limits *rx,
		      const struct machine_limits *tx, struct err *err);

/* A visitor of the first serial port: takes fd, a non-blocking stream socket, also on failure. */
int machine_visit_console(struct machine *machine, int fd, struct err *err);

/*
 * Devices that come and go while the guest runs, on PCI only (-ENOTSUP): the guest looks for them by itself,
 * and has let go of one before it is taken away. The wish is copied. An index is that of config.disks or
 * config.net; the next ones move down when one goes.
 */
int machine_plug_disk(struct machine *machine, const struct machine_disk *wish, struct err *err);
int machine_unplug_disk(struct machine *machine, size_t index, struct err *err);
struct netdev_config;
int machine_plug_net(struct machine *machine, const struct netdev_config *wish, struct err *err);
int machine_unplug_net(struct machine *machine, size_t index, struct err *err);

struct machine_balloon_status {
	uint64_t target_bytes, actual_bytes;
	struct {
		const char *name; /* "free_memory" */
		uint64_t value;   /* UINT64_MAX: not told */
	} stat[16];
	size_t stat_count;
};
/* -ENOENT: there is none. */
int machine_balloon_get(struct machine *machine, struct machine_balloon_status *status, struct err *err);
int machine_balloon_set(struct machine *machine, uint64_t size_bytes, struct err *err);
/* How often statistics are asked for; it was made with statistics. */
int machine_balloon_poll(struct machine *machine, uint32_t interval_s, struct err *err);

/* The counters of all devices, {"DEVICE": {"COUNTER": n}}, and of the accelerator's hand-overs. Owned. */
struct json_t *machine_counters(struct machine *machine);
