/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio-rng devices that a configuration asks for. */
#include <stdio.h>

#include "devices/virtio/rng.h"
#include "vmm/base/err.h"
#include "vmm/machine/parts.h"

int machine_add_rngs(struct machine *machine, struct err *err)
{
	const struct machine_rng *rngs = machine->config.rng.item;

	for (size_t i = 0; i < machine->config.rng.count; i++) {
		struct device_env env = machine_io_env(machine);
		char id[32];
		const struct rng_config config = {
			.id = id,
			.source = rngs[i].source,
			.bytes_per_s = rngs[i].bytes_per_s,
			.requests_per_s = rngs[i].requests_per_s,
		};

		snprintf(id, sizeof(id), "rng%zu", i);
		if (machine_add_virtio(machine, rng_create(&env, &config, err), err) < 0)
			return err_prefix(err, "--rng (rng)");
	}
	return 0;
}
