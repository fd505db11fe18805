/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio-rng devices that a configuration asks for. */
#include <stdio.h>

#include "devices/virtio/rng.h"
#include "vmm/base/err.h"
#include "vmm/base/rate_limit.h"
#include "vmm/machine/parts.h"

int machine_add_rngs(struct machine *machine, struct err *err)
{
	const struct machine_rng *rngs = machine->config.rng.item;

	for (size_t i = 0; i < machine->config.rng.count; i++) {
		struct device_env env = machine_io_env(machine);
		char id[32];
		struct rate_limit_config limit;
		const struct rng_config config = {
			.id = id,
			.source = rngs[i].source,
			.bytes_per_s = rngs[i].bytes_per_s,
			.requests_per_s = rngs[i].requests_per_s,
			.limit = rngs[i].byte_bucket || rngs[i].request_bucket ? &limit : NULL,
		};

		if (rate_bucket_parse(rngs[i].byte_bucket, &limit.bytes, err) < 0 ||
		    rate_bucket_parse(rngs[i].request_bucket, &limit.operations, err) < 0)
			return err_prefix(err, "--rng (rng)");
		snprintf(id, sizeof(id), "rng%zu", i);
		if (machine_add_virtio(machine, rng_create(&env, &config, err), err) < 0)
			return err_prefix(err, "--rng (rng)");
	}
	return 0;
}
