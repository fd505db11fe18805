/* SPDX-License-Identifier: Apache-2.0 */
/* The table of routes. A new one is a row here and a function in handle_*.c. */
#include <stddef.h>

#include "api/handlers.h"
#include "api/models.h"

static bool route_has_template(const void *body)
{
	return body_is_given(&machine_type, body, "cpu_template");
}

static bool route_has_vsock_id(const void *body)
{
	return body_is_given(&vsock_type, body, "vsock_id");
}

static bool route_is_mmds_v1(const void *body)
{
	return ((const struct mmds_config_body *)body)->version == 0;
}

static bool route_has_old_load(const void *body)
{
	return body_is_given(&snapshot_load_type, body, "mem_file_path") ||
	       body_is_given(&snapshot_load_type, body, "enable_diff_snapshots");
}

#define GET(path_, phase_, handle_, reply_, summary_)                                                        \
	.method = HTTP_GET, .path = (path_), .phase = (phase_), .handle = (handle_), .reply = (reply_),      \
	.summary = (summary_)
#define PUT(path_, phase_, handle_, body_, summary_)                                                         \
	.method = HTTP_PUT, .path = (path_), .phase = (phase_), .handle = (handle_), .body = (body_),        \
	.summary = (summary_)
#define PATCH(path_, phase_, handle_, body_, summary_)                                                       \
	.method = HTTP_PATCH, .path = (path_), .phase = (phase_), .handle = (handle_), .body = (body_),      \
	.summary = (summary_)
#define DELETE(path_, phase_, handle_, summary_)                                                             \
	.method = HTTP_DELETE, .path = (path_), .phase = (phase_), .handle = (handle_), .summary = (summary_)

#define PRE  API_BEFORE_START
#define POST API_AFTER_START
#define ANY  API_ANY_PHASE

const struct api_route api_routes[] = {
	{GET("", ANY, api_get_instance, NULL, "What this instance is and its state"),
	 .metric = "instance_info"},
	{GET("version", ANY, api_get_version, NULL, "The version of the API"), .metric = "vmm_version"},
	{GET("vm/config", ANY, api_get_vm_config, &vm_config_type, "The whole configuration")},
	{PATCH("vm", POST, api_patch_vm, &vm_update_type, "Pauses or resumes the guest")},
	{PUT("actions", ANY, api_put_action, &action_type_body, "Starts the guest, or tells it something"),
	 .metric = "actions"},
	{PUT("boot-source", PRE, api_put_boot_source, &boot_source_type, "The kernel"),
	 .metric = "boot_source"},
	{GET("machine-config", ANY, api_get_machine, &machine_type, "CPUs and memory"),
	 .metric = "machine_cfg"},
	{PUT("machine-config", PRE, api_put_machine, &machine_type, "CPUs and memory, all of it"),
	 .metric = "machine_cfg", .is_deprecated = route_has_template},
	{PATCH("machine-config", PRE, api_patch_machine, &machine_update_type, "CPUs and memory, a part"),
	 .metric = "machine_cfg", .is_deprecated = route_has_template},
	{PUT("cpu-config", PRE, api_put_cpu_config, NULL, "What the guest sees of the CPU"),
	 .metric = "cpu_cfg", .flags = ROUTE_BODY_ANY},
	{PUT("drives/{id}", ANY, api_put_drive, &drive_type, "A disk; after the start it is plugged in"),
	 .metric = "drive", .id_member = "drive_id"},
	{PATCH("drives/{id}", POST, api_patch_drive, &drive_update_type, "Another file or another limit"),
	 .metric = "drive", .id_member = "drive_id"},
	{DELETE("drives/{id}", POST, api_delete_drive, "Unplugs a disk")},
	{PUT("pmem/{id}", ANY, api_put_pmem, &pmem_type, "Persistent memory"), .metric = "pmem",
	 .id_member = "id"},
	{PATCH("pmem/{id}", POST, api_patch_pmem, &pmem_update_type, "Another limit"), .metric = "pmem",
	 .id_member = "id"},
	{DELETE("pmem/{id}", POST, api_delete_pmem, "Unplugs persistent memory")},
	{PUT("network-interfaces/{id}", ANY, api_put_net, &net_type,
	     "A network card; after the start it is plugged in"),
	 .metric = "network", .id_member = "iface_id"},
	{PATCH("network-interfaces/{id}", POST, api_patch_net, &net_update_type, "Other limits"),
	 .metric = "network", .id_member = "iface_id"},
	{DELETE("network-interfaces/{id}", POST, api_delete_net, "Unplugs a network card")},
	{PUT("vsock", PRE, api_put_vsock, &vsock_type, "Sockets between guest and host"), .metric = "vsock",
	 .is_deprecated = route_has_vsock_id},
	{PUT("entropy", PRE, api_put_entropy, &entropy_type, "Random bytes of the host"),
	 .metric = "entropy"},
	{PUT("serial", PRE, api_put_serial, &serial_type, "Where the serial port's output goes"),
	 .metric = "serial"},
	{GET("balloon", ANY, api_get_balloon, &balloon_type, "The balloon"), .metric = "balloon"},
	{PUT("balloon", PRE, api_put_balloon, &balloon_type, "A balloon"), .metric = "balloon"},
	{PATCH("balloon", POST, api_patch_balloon, &balloon_update_type, "Another size"),
	 .metric = "balloon"},
	{GET("balloon/statistics", POST, api_get_balloon_stats, NULL, "What the guest told of its memory"),
	 .metric = "balloon"},
	{PATCH("balloon/statistics", POST, api_patch_balloon_stats, &balloon_stats_update_type,
	       "How often statistics are asked for"),
	 .metric = "balloon"},
	{PATCH("balloon/hinting/start", POST, api_balloon_hinting, &balloon_hinting_type,
	       "Has the guest tell of free pages"),
	 .metric = "balloon", .flags = ROUTE_BODY_OPTIONAL},
	{PATCH("balloon/hinting/stop", POST, api_balloon_hinting, NULL, "Ends that"), .metric = "balloon",
	 .flags = ROUTE_BODY_OPTIONAL},
	{GET("balloon/hinting/status", POST, api_balloon_hinting, NULL, "How far it is"),
	 .metric = "balloon"},
	{PUT("hotplug/memory", PRE, api_put_memory_hotplug, &memory_hotplug_type, "Memory that can be added"),
	 .metric = "hotplug_memory"},
	{GET("hotplug/memory", POST, api_memory_hotplug, NULL, "How much has been added"),
	 .metric = "hotplug_memory"},
	{PATCH("hotplug/memory", POST, api_memory_hotplug, &memory_hotplug_update_type,
	       "Adds or takes memory"),
	 .metric = "hotplug_memory"},
	{PUT("logger", PRE, api_put_logger, &logger_type, "Where log lines go"), .metric = "logger"},
	{PUT("metrics", PRE, api_put_metrics, &metrics_type, "Where metrics go"), .metric = "metrics"},
	{GET("mmds", ANY, api_get_mmds, NULL, "The metadata"), .metric = "mmds"},
	{PUT("mmds", ANY, api_put_mmds, NULL, "Other metadata"), .metric = "mmds",
	 .flags = ROUTE_BODY_ANY | ROUTE_BODY_SECRET},
	{PATCH("mmds", ANY, api_patch_mmds, NULL, "Changes metadata (RFC 7396)"), .metric = "mmds",
	 .flags = ROUTE_BODY_ANY | ROUTE_BODY_SECRET},
	{PUT("mmds/config", PRE, api_put_mmds_config, &mmds_config_type,
	     "How the guest reaches the metadata"),
	 .metric = "mmds", .is_deprecated = route_is_mmds_v1},
	{PUT("snapshot/create", POST, api_put_snapshot_create, &snapshot_create_type, "Writes a snapshot"),
	 .metric = "snapshot_create"},
	{PUT("snapshot/load", PRE, api_put_snapshot_load, &snapshot_load_type, "Goes on from a snapshot"),
	 .metric = "snapshot_load", .is_deprecated = route_has_old_load},
	{GET("vmmctl/accel", ANY, api_own_get_accel, NULL, "The accelerator in use"), .flags = ROUTE_OWN},
	{PUT("vmmctl/accel", POST, api_own_put_accel, NULL,
	     "Goes to another accelerator: {\"name\": \"kvm\"}"),
	 .flags = ROUTE_OWN | ROUTE_BODY_ANY},
	{GET("vmmctl/config", ANY, api_own_get_config, NULL,
	     "The machine's whole configuration, as `vmmctl boot --config` reads it"),
	 .flags = ROUTE_OWN},
	{PATCH("vmmctl/config", PRE, api_own_patch_config, NULL, "Changes the machine's configuration"),
	 .flags = ROUTE_OWN | ROUTE_BODY_ANY},
	{PUT("vmmctl/drives/{id}", PRE, api_own_put_drive, NULL, "A disk as `--disk` has it"),
	 .flags = ROUTE_OWN | ROUTE_BODY_ANY},
	{PUT("vmmctl/network-interfaces/{id}", PRE, api_own_put_net, NULL,
	     "A network card as `--net` has it"),
	 .flags = ROUTE_OWN | ROUTE_BODY_ANY},
	{GET("vmmctl/console", POST, api_own_console, NULL,
	     "The first serial port, as a stream of bytes (Upgrade: vmmctl-console)"),
	 .flags = ROUTE_OWN | ROUTE_STREAM},
	{GET("vmmctl/events", ANY, api_own_events, NULL,
	     "A line of JSON for each change of state, without end"),
	 .flags = ROUTE_OWN | ROUTE_STREAM},
	{PUT("vmmctl/stop", ANY, api_own_stop, NULL, "Ends the machine and the process"),
	 .flags = ROUTE_OWN | ROUTE_BODY_OPTIONAL | ROUTE_BODY_ANY},
	{PUT("vmmctl/reset", POST, api_own_reset, NULL, "Resets the machine"),
	 .flags = ROUTE_OWN | ROUTE_BODY_OPTIONAL | ROUTE_BODY_ANY},
	{GET("vmmctl/metrics", ANY, api_own_metrics, NULL, "All figures as Prometheus text"),
	 .flags = ROUTE_OWN | ROUTE_TEXT},
	{GET("vmmctl/openapi", ANY, api_own_openapi, NULL, "This document"), .flags = ROUTE_OWN},
	{.path = NULL},
};

const char *const api_headers[API_HEADERS_COUNT + 1] = {[API_HEADER_UPGRADE] = "Upgrade", NULL};
