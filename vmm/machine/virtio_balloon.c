/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio balloon that a configuration asks for. */
#include <errno.h>

#include "devices/virtio/balloon.h"
#include "vmm/base/err.h"
#include "vmm/machine/config_parts.h"
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
	if (machine_add_virtio(machine, balloon_create(&env, &config, err), err) < 0)
		return err_prefix(err, "--balloon (balloon)");
	return 0;
}
