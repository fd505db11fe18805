/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio balloon that a configuration asks for. */
#include <errno.h>

#include "devices/virtio/balloon.h"
#include "vmm/base/err.h"
#include "vmm/machine/config_parts.h"
#include "vmm/machine/control.h"
#include "vmm/machine/parts.h"

#define BALLOON_STATS_S_MAX (24u * 3600)

const struct option machine_balloon_fields[] = {
	{.path = "size", .type = OPTION_SIZE, .offset = offsetof(struct machine_balloon, size_bytes)},
	{.path = "deflate_on_oom",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_balloon, deflate_on_oom),
	 .help = "The guest takes memory back by itself before it would kill a process"},
	{.path = "free_page_reporting",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct machine_balloon, free_page_reporting),
	 .help = "The guest tells of free memory as it comes, and the host gets it back"},
	{.path = "stats",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_balloon, stats_s),
	 .metavar = "SECONDS",
	 .help = "How often the guest is asked for its memory statistics",
	 .default_text = "never",
	 .max = BALLOON_STATS_S_MAX},
	{.path = NULL},
};

int machine_add_balloons(struct machine *machine, struct err *err)
{
	const struct machine_balloon *balloon = machine->config.balloon.item;
	struct device_env env;
	struct balloon_config config;

	if (machine->config.balloon.count == 0)
		return 0;
	if (machine->config.balloon.count > 1) {
		err_set(err, -EINVAL, "a guest has one balloon");
		return err_prefix(err, "--balloon (balloon)");
	}
	env = machine_io_env(machine);
	config = (struct balloon_config){
		.id = "balloon0",
		.size_bytes = balloon->size_bytes,
		.deflate_on_oom = balloon->deflate_on_oom,
		.page_reporting = balloon->free_page_reporting,
		.stats_interval_s = balloon->stats_s,
	};
	machine->balloon = balloon_create(&env, &config, err);
	if (machine_add_virtio(machine, machine->balloon, err) < 0)
		return err_prefix(err, "--balloon (balloon)");
	return 0;
}

/* In the order of enum balloon_stat. */
static const char *const balloon_stat_names[BALLOON_STATS_COUNT] = {
	"swap_in",      "swap_out",         "major_faults", "minor_faults",        "free_memory",
	"total_memory", "available_memory", "disk_caches",  "hugetlb_allocations", "hugetlb_failures",
};

int machine_balloon_get(struct machine *machine, struct machine_balloon_status *status, struct err *err)
{
	struct balloon_status told;

	_Static_assert(BALLOON_STATS_COUNT <= sizeof(status->stat) / sizeof(status->stat[0]),
		       "each statistic has a place");
	if (!machine->balloon)
		return err_set(err, -ENOENT, "No balloon device found.");
	balloon_get_status(machine->balloon, &told);
	*status = (struct machine_balloon_status){
		.target_bytes = told.target_bytes,
		.actual_bytes = told.actual_bytes,
		.stat_count = BALLOON_STATS_COUNT,
	};
	for (size_t i = 0; i < BALLOON_STATS_COUNT; i++) {
		status->stat[i].name = balloon_stat_names[i];
		status->stat[i].value = told.stat[i];
	}
	return 0;
}

int machine_balloon_set(struct machine *machine, uint64_t size_bytes, struct err *err)
{
	if (!machine->balloon)
		return err_set(err, -ENOENT, "No balloon device found.");
	return balloon_set_target(machine->balloon, size_bytes, err);
}

int machine_balloon_poll(struct machine *machine, uint32_t interval_s, struct err *err)
{
	if (!machine->balloon)
		return err_set(err, -ENOENT, "No balloon device found.");
	return balloon_set_interval(machine->balloon, interval_s, err);
}
