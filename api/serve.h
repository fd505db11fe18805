/* SPDX-License-Identifier: Apache-2.0 */
/* What a serving process is told on its command line, as `vmmctl serve` and as `firecracker`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/option.h"

struct machine_config;

#define SERVE_SOCKET_DEFAULT  "/run/firecracker.socket"
#define SERVE_ID_DEFAULT      "anonymous-instance"
#define SERVE_PAYLOAD_DEFAULT 51200

/* Exit statuses that Firecracker has beyond 0 and 1. */
enum serve_status {
	SERVE_BAD_SYSCALL = 148,
	SERVE_SIGBUS = 149,
	SERVE_SIGSEGV = 150,
	SERVE_SIGXFSZ = 151,
	SERVE_BAD_CONFIG = 152,
	SERVE_BAD_ARGUMENTS = 153,
	SERVE_SIGXCPU = 154,
	SERVE_SIGHUP = 156,
	SERVE_SIGILL = 157,
};

struct serve_options {
	char *api_sock, *id, *seccomp_filter, *config_file, *metadata, *log_path, *level, *module,
		*metrics_path, *describe_snapshot;
	char *start_time_us, *start_time_cpu_us, *parent_cpu_time_us; /* decimal numbers of 64 bits */
	uint32_t payload_max, mmds_max;                               /* 0: not given */
	bool no_seccomp, no_api, show_level, show_log_origin, boot_timer, pci, version, snapshot_version,
		help;
	bool is_plain; /* `vmmctl serve`: vmmctl's own lines and defaults */
};

extern const struct option serve_options_table[];

/* Prints the version of this snapshot's format; the process's exit status. */
int serve_describe_snapshot(const char *path);

/* Serves until the machine ends; the process's exit status. base is taken over. */
int serve_run(const struct serve_options *options, struct machine_config *base);
