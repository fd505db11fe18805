/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio-rng devices that a configuration asks for. */
#include <stdio.h>

#include "devices/virtio/rng.h"
#include "vmm/base/err.h"
#include "vmm/base/rate_limit.h"
#include "vmm/machine/config_parts.h"
#include "vmm/machine/parts.h"

const struct option machine_rng_fields[] = {
	{.path = "source",
	 .type = OPTION_PATH,
	 .offset = offsetof(struct machine_rng, source),
	 .metavar = "FILE",
	 .help = "The file that the bytes are read from"},
	{.path = "bps",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct machine_rng, bytes_per_s),
	 .metavar = "SIZE",
	 .help = "At most so many bytes a second; a plain number is MiB",
	 .default_text = "no limit"},
	{.path = "iops",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct machine_rng, requests_per_s),
	 .metavar = "N",
	 .help = "At most so many requests a second",
	 .default_text = "no limit",
	 .max = UINT32_MAX},
	{.path = "byte_bucket",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_rng, byte_bucket),
	 .metavar = "SIZE/MS[+BURST]",
	 .help = "Instead of bps: SIZE bytes in MS milliseconds, and BURST bytes more, once"},
	{.path = "request_bucket",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_rng, request_bucket),
	 .metavar = "N/MS[+BURST]",
	 .help = "Instead of iops: N requests in MS milliseconds, and BURST more, once"},
	{.path = NULL},
};

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
