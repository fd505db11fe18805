/* SPDX-License-Identifier: Apache-2.0 */
/* What `vmmctl bench` is told. The rows are command_bench_options. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/option.h"

#define BENCH_MS_DEFAULT 100u
#define BENCH_MS_MAX     60000u /* of one kernel: more is a mistake in units */

struct bench_options {
	char *accel, *jit, *cpu;       /* as machine_config's; NULL: its defaults */
	struct option_strings classes; /* none: all */
	uint32_t ms;                   /* 0: BENCH_MS_DEFAULT */
	char *json_path;               /* NULL: no file */
	bool list, help;
};
