/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of Firecracker's bodies: names, types, defaults. Fields in the order in which they are written.
 */
#include "api/models.h"

#include <ctype.h>

#include "vmm/base/log.h"

#define USIZE (SIZE_MAX - 1) /* as u64, but for its name in messages */

#define REQUIRED BODY_REQUIRED
#define NULLABLE BODY_NULLABLE

#define ROW(structure_, name_, kind_, flags_, member_)                                                       \
	.name = (name_), .kind = (kind_), .flags = (flags_), .offset = offsetof(struct structure_, member_)

static bool model_is_mac(const char *text)
{
	for (int i = 0; i < 17; i++) {
		if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return text[17] == '\0';
}

static bool model_is_level(const char *text)
{
	enum log_level level;

	return log_level_from_name(text, &level) == 0;
}

const char *const machine_cpu_templates[] = {"C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None", NULL};
static const char *const huge_pages_names[] = {"None", "Transparent", "2M", NULL};
static const char *const load_huge_pages_names[] = {"Snapshot", "None", "Transparent", "2M", NULL};
static const char *const cache_names[] = {"Unsafe", "Writeback", NULL};
static const char *const engine_names[] = {"Sync", "Async", NULL};
static const char *const mmds_versions[] = {"V1", "V2", NULL};
static const char *const action_names[] = {"FlushMetrics", "InstanceStart", "SendCtrlAltDel", NULL};
static const char *const vm_state_names[] = {"Paused", "Resumed", NULL};
static const char *const snapshot_names[] = {"Diff", "Full", NULL};
static const char *const mem_backend_names[] = {"File", "Uffd", NULL};

static const struct body_field token_bucket_body_fields[] = {
	{ROW(token_bucket, "size", BODY_UINT, REQUIRED, size), .max = UINT64_MAX,
	 .help = "Tokens that the bucket holds: bytes, or operations"},
	{ROW(token_bucket, "one_time_burst", BODY_UINT, NULLABLE, one_time_burst), .max = UINT64_MAX,
	 .help = "Further tokens, once"},
	{ROW(token_bucket, "refill_time", BODY_UINT, REQUIRED, refill_time_ms), .max = UINT64_MAX,
	 .help = "Milliseconds in which an empty bucket is filled"},
	{.name = NULL},
};
const struct body token_bucket_body = {"TokenBucketConfig", token_bucket_body_fields,
				       sizeof(struct token_bucket), true};

static const struct body_field rate_limiter_type_fields[] = {
	{ROW(rate_limiter_body, "bandwidth", BODY_OBJECT, NULLABLE, bandwidth), .body = &token_bucket_body},
	{ROW(rate_limiter_body, "ops", BODY_OBJECT, NULLABLE, ops), .body = &token_bucket_body},
	{.name = NULL},
};
const struct body rate_limiter_type = {"RateLimiterConfig", rate_limiter_type_fields,
				       sizeof(struct rate_limiter_body), false};

static const struct body_field boot_source_type_fields[] = {
	{ROW(boot_source, "kernel_image_path", BODY_STRING, REQUIRED, kernel_image_path),
	 .help = "The kernel: ELF or bzImage"},
	{ROW(boot_source, "initrd_path", BODY_STRING, NULLABLE, initrd_path), .help = "The initramfs"},
	{ROW(boot_source, "boot_args", BODY_STRING, NULLABLE, boot_args),
	 .help = "The kernel's command line"},
	{.name = NULL},
};
const struct body boot_source_type = {"BootSourceConfig", boot_source_type_fields, sizeof(struct boot_source),
				      false};

static const struct body_field machine_type_fields[] = {
	{ROW(machine_body, "vcpu_count", BODY_UINT, REQUIRED, vcpu_count), .max = UINT8_MAX, .preset = 1,
	 .help = "CPUs, 1 to 32"},
	{ROW(machine_body, "mem_size_mib", BODY_UINT, REQUIRED, mem_size_mib), .max = USIZE, .preset = 128,
	 .help = "Memory in MiB"},
	{ROW(machine_body, "smt", BODY_BOOL, 0, smt), .help = "Whether pairs of CPUs are threads of a core"},
	{ROW(machine_body, "cpu_template", BODY_CHOICE, NULLABLE | BODY_OMITTED, cpu_template),
	 .choice = machine_cpu_templates, .preset = MACHINE_CPU_TEMPLATE_NONE, .help = "Deprecated"},
	{ROW(machine_body, "track_dirty_pages", BODY_BOOL, 0, track_dirty_pages),
	 .help = "Keep a log of written pages, for diff snapshots"},
	{ROW(machine_body, "huge_pages", BODY_CHOICE, 0, huge_pages), .choice = huge_pages_names},
	{.name = NULL},
};
const struct body machine_type = {"MachineConfig", machine_type_fields, sizeof(struct machine_body), false};

static const struct body_field machine_update_type_fields[] = {
	{ROW(machine_body, "vcpu_count", BODY_UINT, NULLABLE, vcpu_count), .max = UINT8_MAX, .preset = 1,
	 .help = "CPUs, 1 to 32"},
	{ROW(machine_body, "mem_size_mib", BODY_UINT, NULLABLE, mem_size_mib), .max = USIZE, .preset = 128,
	 .help = "Memory in MiB"},
	{ROW(machine_body, "smt", BODY_BOOL, NULLABLE, smt),
	 .help = "Whether pairs of CPUs are threads of a core"},
	{ROW(machine_body, "cpu_template", BODY_CHOICE, NULLABLE, cpu_template),
	 .choice = machine_cpu_templates, .preset = MACHINE_CPU_TEMPLATE_NONE, .help = "Deprecated"},
	{ROW(machine_body, "track_dirty_pages", BODY_BOOL, NULLABLE, track_dirty_pages),
	 .help = "Keep a log of written pages, for diff snapshots"},
	{ROW(machine_body, "huge_pages", BODY_CHOICE, NULLABLE, huge_pages), .choice = huge_pages_names},
	{.name = NULL},
};
const struct body machine_update_type = {"MachineConfigUpdate", machine_update_type_fields,
					 sizeof(struct machine_body), false};

static const struct body_field drive_type_fields[] = {
	{ROW(drive, "drive_id", BODY_STRING, REQUIRED, drive_id)},
	{ROW(drive, "partuuid", BODY_STRING, NULLABLE, partuuid), .help = "Of the root partition"},
	{ROW(drive, "is_root_device", BODY_BOOL, REQUIRED, is_root_device)},
	{ROW(drive, "cache_type", BODY_CHOICE, 0, cache_type), .choice = cache_names},
	{ROW(drive, "is_read_only", BODY_BOOL, NULLABLE, is_read_only)},
	{ROW(drive, "path_on_host", BODY_STRING, NULLABLE, path_on_host)},
	{ROW(drive, "rate_limiter", BODY_OBJECT, NULLABLE, rate_limiter), .body = &rate_limiter_type},
	{ROW(drive, "io_engine", BODY_CHOICE, NULLABLE, io_engine), .choice = engine_names},
	{ROW(drive, "socket", BODY_STRING, NULLABLE, socket),
	 .help = "Of a vhost-user-blk backend, instead of a file"},
	{.name = NULL},
};
const struct body drive_type = {"BlockDeviceConfig", drive_type_fields, sizeof(struct drive), false};

static const struct body_field drive_update_type_fields[] = {
	{ROW(drive_update, "drive_id", BODY_STRING, REQUIRED, drive_id)},
	{ROW(drive_update, "path_on_host", BODY_STRING, NULLABLE, path_on_host)},
	{ROW(drive_update, "rate_limiter", BODY_OBJECT, NULLABLE, rate_limiter), .body = &rate_limiter_type},
	{.name = NULL},
};
const struct body drive_update_type = {"BlockDeviceUpdateConfig", drive_update_type_fields,
				       sizeof(struct drive_update), false};

static const struct body_field pmem_type_fields[] = {
	{ROW(pmem_body, "id", BODY_STRING, REQUIRED, id)},
	{ROW(pmem_body, "path_on_host", BODY_STRING, REQUIRED, path_on_host)},
	{ROW(pmem_body, "root_device", BODY_BOOL, 0, root_device)},
	{ROW(pmem_body, "read_only", BODY_BOOL, 0, read_only)},
	{ROW(pmem_body, "rate_limiter", BODY_OBJECT, NULLABLE, rate_limiter), .body = &rate_limiter_type},
	{.name = NULL},
};
const struct body pmem_type = {"PmemConfig", pmem_type_fields, sizeof(struct pmem_body), false};

static const struct body_field pmem_update_type_fields[] = {
	{ROW(pmem_body, "id", BODY_STRING, REQUIRED, id)},
	{ROW(pmem_body, "rate_limiter", BODY_OBJECT, NULLABLE, rate_limiter), .body = &rate_limiter_type},
	{.name = NULL},
};
const struct body pmem_update_type = {"PmemDeviceUpdateConfig", pmem_update_type_fields,
				      sizeof(struct pmem_body), false};

static const struct body_field net_type_fields[] = {
	{ROW(net_body, "iface_id", BODY_STRING, REQUIRED, iface_id)},
	{ROW(net_body, "host_dev_name", BODY_STRING, REQUIRED, host_dev_name),
	 .help = "A tap interface of the host"},
	{ROW(net_body, "guest_mac", BODY_STRING, NULLABLE, guest_mac), .is_good = model_is_mac,
	 .complaint = "The provided MAC address is invalid."},
	{ROW(net_body, "mtu", BODY_UINT, NULLABLE, mtu), .max = UINT16_MAX},
	{ROW(net_body, "rx_rate_limiter", BODY_OBJECT, NULLABLE, rx_rate_limiter),
	 .body = &rate_limiter_type},
	{ROW(net_body, "tx_rate_limiter", BODY_OBJECT, NULLABLE, tx_rate_limiter),
	 .body = &rate_limiter_type},
	{.name = NULL},
};
const struct body net_type = {"NetworkInterfaceConfig", net_type_fields, sizeof(struct net_body), false};

static const struct body_field net_update_type_fields[] = {
	{ROW(net_body, "iface_id", BODY_STRING, REQUIRED, iface_id)},
	{ROW(net_body, "rx_rate_limiter", BODY_OBJECT, NULLABLE, rx_rate_limiter),
	 .body = &rate_limiter_type},
	{ROW(net_body, "tx_rate_limiter", BODY_OBJECT, NULLABLE, tx_rate_limiter),
	 .body = &rate_limiter_type},
	{.name = NULL},
};
const struct body net_update_type = {"NetworkInterfaceUpdateConfig", net_update_type_fields,
				     sizeof(struct net_body), false};

static const struct body_field vsock_type_fields[] = {
	{ROW(vsock_body, "vsock_id", BODY_STRING, NULLABLE | BODY_HIDDEN, vsock_id), .help = "Deprecated"},
	{ROW(vsock_body, "guest_cid", BODY_UINT, REQUIRED, guest_cid), .max = UINT32_MAX},
	{ROW(vsock_body, "uds_path", BODY_STRING, REQUIRED, uds_path)},
	{.name = NULL},
};
const struct body vsock_type = {"VsockDeviceConfig", vsock_type_fields, sizeof(struct vsock_body), false};

static const struct body_field entropy_type_fields[] = {
	{ROW(entropy_body, "rate_limiter", BODY_OBJECT, NULLABLE, rate_limiter), .body = &rate_limiter_type},
	{.name = NULL},
};
const struct body entropy_type = {"EntropyDeviceConfig", entropy_type_fields, sizeof(struct entropy_body),
				  false};

static const struct body_field serial_type_fields[] = {
	{ROW(serial_body, "serial_out_path", BODY_STRING, NULLABLE | BODY_PATH, serial_out_path)},
	{ROW(serial_body, "rate_limiter", BODY_OBJECT, NULLABLE, rate_limiter), .body = &token_bucket_body},
	{.name = NULL},
};
const struct body serial_type = {"SerialConfig", serial_type_fields, sizeof(struct serial_body), false};

static const struct body_field balloon_type_fields[] = {
	{ROW(balloon_body, "amount_mib", BODY_UINT, REQUIRED, amount_mib), .max = UINT32_MAX},
	{ROW(balloon_body, "deflate_on_oom", BODY_BOOL, REQUIRED, deflate_on_oom)},
	{ROW(balloon_body, "stats_polling_interval_s", BODY_UINT, 0, stats_polling_interval_s),
	 .max = UINT16_MAX},
	{ROW(balloon_body, "free_page_hinting", BODY_BOOL, 0, free_page_hinting)},
	{ROW(balloon_body, "free_page_reporting", BODY_BOOL, 0, free_page_reporting)},
	{.name = NULL},
};
const struct body balloon_type = {"BalloonDeviceConfig", balloon_type_fields, sizeof(struct balloon_body),
				  false};

static const struct body_field balloon_update_type_fields[] = {
	{ROW(balloon_body, "amount_mib", BODY_UINT, REQUIRED, amount_mib), .max = UINT32_MAX},
	{.name = NULL},
};
const struct body balloon_update_type = {"BalloonUpdateConfig", balloon_update_type_fields,
					 sizeof(struct balloon_body), false};

static const struct body_field balloon_stats_update_type_fields[] = {
	{ROW(balloon_body, "stats_polling_interval_s", BODY_UINT, REQUIRED, stats_polling_interval_s),
	 .max = UINT16_MAX},
	{.name = NULL},
};
const struct body balloon_stats_update_type = {"BalloonUpdateStatsConfig", balloon_stats_update_type_fields,
					       sizeof(struct balloon_body), false};

static const struct body_field balloon_hinting_type_fields[] = {
	{ROW(balloon_hinting_body, "acknowledge_on_stop", BODY_BOOL, 0, acknowledge_on_stop), .preset = true},
	{.name = NULL},
};
const struct body balloon_hinting_type = {"StartHintingCmd", balloon_hinting_type_fields,
					  sizeof(struct balloon_hinting_body), false};

static const struct body_field memory_hotplug_type_fields[] = {
	{ROW(memory_hotplug_body, "total_size_mib", BODY_UINT, REQUIRED, total_size_mib), .max = USIZE},
	{ROW(memory_hotplug_body, "block_size_mib", BODY_UINT, 0, block_size_mib), .max = USIZE, .preset = 2},
	{ROW(memory_hotplug_body, "slot_size_mib", BODY_UINT, 0, slot_size_mib), .max = USIZE, .preset = 128},
	{.name = NULL},
};
const struct body memory_hotplug_type = {"MemoryHotplugConfig", memory_hotplug_type_fields,
					 sizeof(struct memory_hotplug_body), false};

static const struct body_field memory_hotplug_update_type_fields[] = {
	{ROW(memory_hotplug_update, "requested_size_mib", BODY_UINT, REQUIRED, requested_size_mib),
	 .max = USIZE},
	{.name = NULL},
};
const struct body memory_hotplug_update_type = {"MemoryHotplugSizeUpdate", memory_hotplug_update_type_fields,
						sizeof(struct memory_hotplug_update), false};

static const struct body_field logger_type_fields[] = {
	{ROW(logger_body, "log_path", BODY_STRING, NULLABLE | BODY_PATH, log_path)},
	{ROW(logger_body, "level", BODY_STRING, NULLABLE, level), .is_good = model_is_level,
	 .complaint = "Invalid LevelFilter", .help = "Error, Warning, Info, Debug, Trace or Off"},
	{ROW(logger_body, "show_level", BODY_BOOL, NULLABLE, show_level)},
	{ROW(logger_body, "show_log_origin", BODY_BOOL, NULLABLE, show_log_origin)},
	{ROW(logger_body, "module", BODY_STRING, NULLABLE, module)},
	{.name = NULL},
};
const struct body logger_type = {"LoggerConfig", logger_type_fields, sizeof(struct logger_body), false};

static const struct body_field metrics_type_fields[] = {
	{ROW(metrics_body, "metrics_path", BODY_STRING, REQUIRED | BODY_PATH, metrics_path)},
	{ROW(metrics_body, "emit_id", BODY_BOOL, 0, emit_id),
	 .help = "Write the instance's id into each line"},
	{ROW(metrics_body, "properties", BODY_VALUE, NULLABLE, properties),
	 .help = "Strings that are written into each line"},
	{.name = NULL},
};
const struct body metrics_type = {"MetricsConfig", metrics_type_fields, sizeof(struct metrics_body), true};

static const struct body_field mmds_config_type_fields[] = {
	{ROW(mmds_config_body, "version", BODY_CHOICE, 0, version), .choice = mmds_versions},
	{ROW(mmds_config_body, "network_interfaces", BODY_LIST, REQUIRED, network_interfaces)},
	{ROW(mmds_config_body, "ipv4_address", BODY_STRING, NULLABLE, ipv4_address)},
	{ROW(mmds_config_body, "imds_compat", BODY_BOOL, 0, imds_compat)},
	{.name = NULL},
};
const struct body mmds_config_type = {"MmdsConfig", mmds_config_type_fields, sizeof(struct mmds_config_body),
				      false};

static const struct body_field action_type_body_fields[] = {
	{ROW(action_body, "action_type", BODY_CHOICE, REQUIRED, action_type), .choice = action_names},
	{.name = NULL},
};
const struct body action_type_body = {"ActionBody", action_type_body_fields, sizeof(struct action_body),
				      false};

static const struct body_field vm_update_type_fields[] = {
	{ROW(vm_update, "state", BODY_CHOICE, REQUIRED, state), .choice = vm_state_names},
	{.name = NULL},
};
const struct body vm_update_type = {"Vm", vm_update_type_fields, sizeof(struct vm_update), false};

static const struct body_field snapshot_create_type_fields[] = {
	{ROW(snapshot_create_body, "snapshot_type", BODY_CHOICE, 0, snapshot_type), .choice = snapshot_names,
	 .preset = 1},
	{ROW(snapshot_create_body, "snapshot_path", BODY_STRING, REQUIRED | BODY_PATH, snapshot_path)},
	{ROW(snapshot_create_body, "mem_file_path", BODY_STRING, REQUIRED | BODY_PATH, mem_file_path)},
	{.name = NULL},
};
const struct body snapshot_create_type = {"CreateSnapshotParams", snapshot_create_type_fields,
					  sizeof(struct snapshot_create_body), false};

static const struct body_field mem_backend_type_fields[] = {
	{ROW(mem_backend_body, "backend_path", BODY_STRING, REQUIRED | BODY_PATH, backend_path)},
	{ROW(mem_backend_body, "backend_type", BODY_CHOICE, REQUIRED, backend_type),
	 .choice = mem_backend_names},
	{.name = NULL},
};
static const struct body mem_backend_type = {"MemBackendConfig", mem_backend_type_fields,
					     sizeof(struct mem_backend_body), false};

static const struct body_field network_override_type_fields[] = {
	{ROW(network_override, "iface_id", BODY_STRING, REQUIRED, iface_id)},
	{ROW(network_override, "host_dev_name", BODY_STRING, REQUIRED, host_dev_name)},
	{.name = NULL},
};
static const struct body network_override_type = {"NetworkOverride", network_override_type_fields,
						  sizeof(struct network_override), true};

static const struct body_field vsock_override_type_fields[] = {
	{ROW(vsock_override, "uds_path", BODY_STRING, REQUIRED, uds_path)},
	{.name = NULL},
};
static const struct body vsock_override_type = {"VsockOverride", vsock_override_type_fields,
						sizeof(struct vsock_override), true};

static const struct body_field snapshot_load_type_fields[] = {
	{ROW(snapshot_load_body, "snapshot_path", BODY_STRING, REQUIRED | BODY_PATH, snapshot_path)},
	{ROW(snapshot_load_body, "mem_file_path", BODY_STRING, NULLABLE | BODY_PATH, mem_file_path),
	 .help = "Deprecated"},
	{ROW(snapshot_load_body, "mem_backend", BODY_OBJECT, NULLABLE, mem_backend),
	 .body = &mem_backend_type},
	{ROW(snapshot_load_body, "enable_diff_snapshots", BODY_BOOL, 0, enable_diff_snapshots),
	 .help = "Deprecated"},
	{ROW(snapshot_load_body, "track_dirty_pages", BODY_BOOL, 0, track_dirty_pages)},
	{ROW(snapshot_load_body, "resume_vm", BODY_BOOL, 0, resume_vm)},
	{ROW(snapshot_load_body, "network_overrides", BODY_LIST, 0, network_overrides),
	 .body = &network_override_type},
	{ROW(snapshot_load_body, "vsock_override", BODY_OBJECT, NULLABLE, vsock_override),
	 .body = &vsock_override_type},
	{ROW(snapshot_load_body, "clock_realtime", BODY_BOOL, 0, clock_realtime)},
	{ROW(snapshot_load_body, "huge_pages", BODY_CHOICE, 0, huge_pages), .choice = load_huge_pages_names},
	{.name = NULL},
};
const struct body snapshot_load_type = {"LoadSnapshotConfig", snapshot_load_type_fields,
					sizeof(struct snapshot_load_body), false};

static const struct body_field vm_config_type_fields[] = {
	{ROW(vm_config_body, "balloon", BODY_OBJECT, NULLABLE, balloon), .body = &balloon_type},
	{ROW(vm_config_body, "drives", BODY_LIST, REQUIRED, drives), .body = &drive_type},
	{ROW(vm_config_body, "boot-source", BODY_OBJECT, REQUIRED, boot_source), .body = &boot_source_type},
	{ROW(vm_config_body, "cpu-config", BODY_VALUE, NULLABLE, cpu_config)},
	{ROW(vm_config_body, "logger", BODY_OBJECT, NULLABLE, logger), .body = &logger_type},
	{ROW(vm_config_body, "machine-config", BODY_OBJECT, NULLABLE, machine), .body = &machine_type},
	{ROW(vm_config_body, "metrics", BODY_OBJECT, NULLABLE, metrics), .body = &metrics_type},
	{ROW(vm_config_body, "mmds-config", BODY_OBJECT, NULLABLE, mmds), .body = &mmds_config_type},
	{ROW(vm_config_body, "network-interfaces", BODY_LIST, 0, nets), .body = &net_type},
	{ROW(vm_config_body, "vsock", BODY_OBJECT, NULLABLE, vsock), .body = &vsock_type},
	{ROW(vm_config_body, "entropy", BODY_OBJECT, NULLABLE, entropy), .body = &entropy_type},
	{ROW(vm_config_body, "pmem", BODY_LIST, 0, pmem), .body = &pmem_type},
	{ROW(vm_config_body, "memory-hotplug", BODY_OBJECT, NULLABLE, memory_hotplug),
	 .body = &memory_hotplug_type},
	{.name = NULL},
};
const struct body vm_config_type = {"VmmConfig", vm_config_type_fields, sizeof(struct vm_config_body), true};
