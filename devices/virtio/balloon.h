/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio balloon: memory that the guest gives back for a while. virtio 1.2, 5.5. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct device;
struct device_env;
struct err;

#define BALLOON_PAGE_SIZE 4096u /* the device's unit, whatever the guest's pages are */

struct balloon_config {
	const char *id;
	uint64_t size_bytes;       /* the target at the start; whole pages */
	bool deflate_on_oom;       /* the guest may take pages back by itself when it runs out of memory */
	bool page_reporting;       /* the guest tells of free pages, whose memory is given back at once */
	uint32_t stats_interval_s; /* how often statistics are asked for; 0: never */
};

/* 5.5.6.3; UINT64_MAX: the guest has not said. Sizes in bytes. */
enum balloon_stat {
	BALLOON_STAT_SWAP_IN,
	BALLOON_STAT_SWAP_OUT,
	BALLOON_STAT_MAJOR_FAULTS,
	BALLOON_STAT_MINOR_FAULTS,
	BALLOON_STAT_FREE_MEMORY,
	BALLOON_STAT_TOTAL_MEMORY,
	BALLOON_STAT_AVAILABLE_MEMORY,
	BALLOON_STAT_DISK_CACHES,
	BALLOON_STAT_HUGETLB_ALLOCATIONS,
	BALLOON_STAT_HUGETLB_FAILURES,
	BALLOON_STATS_COUNT,
};

struct balloon_status {
	uint64_t target_bytes, actual_bytes;
	uint64_t stat[BALLOON_STATS_COUNT];
};

/* Owned by its device class's destroy; NULL with err set. */
struct device *balloon_create(const struct device_env *env, const struct balloon_config *config,
			      struct err *err);

/* Asks the guest for another size. Any thread. -EINVAL unless whole pages of at most 16 TiB. */
int balloon_set_target(struct device *device, uint64_t size_bytes, struct err *err);
/* How often statistics are asked for from now on; not 0, and it was made with statistics. Any thread. */
int balloon_set_interval(struct device *device, uint32_t interval_s, struct err *err);
/* Any thread. */
void balloon_get_status(struct device *device, struct balloon_status *status);
