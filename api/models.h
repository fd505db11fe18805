/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of Firecracker's API, as structures; the tables that read and write them are models.c's. Member
 * by member what clients send and see, and nothing of what becomes of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "api/body.h"

struct json_t;

struct token_bucket {
	uint32_t given;
	uint64_t size, one_time_burst, refill_time_ms;
};

struct rate_limiter_body {
	uint32_t given;
	struct token_bucket *bandwidth, *ops;
};

struct boot_source {
	uint32_t given;
	char *kernel_image_path, *initrd_path, *boot_args;
};

enum huge_pages { HUGE_PAGES_NONE, HUGE_PAGES_TRANSPARENT, HUGE_PAGES_2M };

struct machine_body {
	uint32_t given;
	uint64_t vcpu_count, mem_size_mib;
	bool smt, track_dirty_pages;
	uint32_t cpu_template, huge_pages;
};

struct drive {
	uint32_t given;
	char *drive_id, *partuuid, *path_on_host, *socket;
	bool is_root_device, is_read_only;
	uint32_t cache_type, io_engine;
	struct rate_limiter_body *rate_limiter;
};
enum drive_cache { DRIVE_CACHE_UNSAFE, DRIVE_CACHE_WRITEBACK };
enum drive_engine { DRIVE_ENGINE_SYNC, DRIVE_ENGINE_ASYNC };

struct drive_update {
	uint32_t given;
	char *drive_id, *path_on_host;
	struct rate_limiter_body *rate_limiter;
};

struct pmem_body {
	uint32_t given;
	char *id, *path_on_host;
	bool root_device, read_only;
	struct rate_limiter_body *rate_limiter;
};

struct net_body {
	uint32_t given;
	char *iface_id, *host_dev_name, *guest_mac;
	uint64_t mtu;
	struct rate_limiter_body *rx_rate_limiter, *tx_rate_limiter;
};

struct vsock_body {
	uint32_t given;
	char *vsock_id, *uds_path;
	uint64_t guest_cid;
};

struct entropy_body {
	uint32_t given;
	struct rate_limiter_body *rate_limiter;
};

struct serial_body {
	uint32_t given;
	char *serial_out_path;
	struct token_bucket *rate_limiter;
};

struct balloon_body {
	uint32_t given;
	uint64_t amount_mib, stats_polling_interval_s;
	bool deflate_on_oom, free_page_hinting, free_page_reporting;
};

struct balloon_hinting_body {
	uint32_t given;
	bool acknowledge_on_stop;
};

struct memory_hotplug_body {
	uint32_t given;
	uint64_t total_size_mib, slot_size_mib, block_size_mib;
};

struct memory_hotplug_update {
	uint32_t given;
	uint64_t requested_size_mib;
};

struct logger_body {
	uint32_t given;
	char *log_path, *level, *module;
	bool show_level, show_log_origin;
};

struct metrics_body {
	uint32_t given;
	char *metrics_path;
	bool emit_id;
	struct json_t *properties;
};

struct mmds_config_body {
	uint32_t given;
	uint32_t version;                    /* 0: V1, 1: V2 */
	struct body_list network_interfaces; /* char * */
	char *ipv4_address;
	bool imds_compat;
};

enum action_type { ACTION_FLUSH_METRICS, ACTION_INSTANCE_START, ACTION_SEND_CTRL_ALT_DEL };

struct action_body {
	uint32_t given;
	uint32_t action_type;
};

enum vm_update_state { VM_UPDATE_PAUSED, VM_UPDATE_RESUMED };

struct vm_update {
	uint32_t given;
	uint32_t state;
};

struct snapshot_create_body {
	uint32_t given;
	uint32_t snapshot_type; /* 0: Diff, 1: Full */
	char *snapshot_path, *mem_file_path;
};

struct mem_backend_body {
	uint32_t given;
	char *backend_path;
	uint32_t backend_type; /* 0: File, 1: Uffd */
};

struct network_override {
	uint32_t given;
	char *iface_id, *host_dev_name;
};

struct vsock_override {
	uint32_t given;
	char *uds_path;
};

struct snapshot_load_body {
	uint32_t given;
	char *snapshot_path, *mem_file_path;
	struct mem_backend_body *mem_backend;
	bool enable_diff_snapshots, track_dirty_pages, resume_vm, clock_realtime;
	struct body_list network_overrides; /* struct network_override */
	struct vsock_override *vsock_override;
	uint32_t huge_pages; /* 0: Snapshot, then as enum huge_pages, one more */
};

/* What a configuration file has, and what GET /vm/config answers. */
struct vm_config_body {
	uint32_t given;
	struct balloon_body *balloon;
	struct body_list drives; /* struct drive */
	struct boot_source *boot_source;
	struct json_t *cpu_config;
	struct logger_body *logger;
	struct machine_body *machine;
	struct metrics_body *metrics;
	struct mmds_config_body *mmds;
	struct body_list nets; /* struct net_body */
	struct vsock_body *vsock;
	struct entropy_body *entropy;
	struct body_list pmem; /* struct pmem_body */
	struct memory_hotplug_body *memory_hotplug;
};

extern const struct body token_bucket_body, rate_limiter_type, boot_source_type, machine_type,
	machine_update_type, drive_type, drive_update_type, pmem_type, pmem_update_type, net_type,
	net_update_type, vsock_type, entropy_type, serial_type, balloon_type, balloon_update_type,
	balloon_stats_update_type, balloon_hinting_type, memory_hotplug_type, memory_hotplug_update_type,
	logger_type, metrics_type, mmds_config_type, action_type_body, vm_update_type, snapshot_create_type,
	snapshot_load_type, vm_config_type;

/* Names of cpu_template; the last is "None". */
extern const char *const machine_cpu_templates[];
#define MACHINE_CPU_TEMPLATE_NONE 6
