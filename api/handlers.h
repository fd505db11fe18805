/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that answer routes, by file. Each has what its row promises: body, id and phase are checked.
 */
#pragma once

#include "api/route.h"

#define API_HANDLER(name_)                                                                                   \
	void name_(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)

/* handle_vm.c: the instance, its configuration, its states, snapshots. */
API_HANDLER(api_get_instance);
API_HANDLER(api_get_version);
API_HANDLER(api_get_vm_config);
API_HANDLER(api_get_machine);
API_HANDLER(api_put_machine);
API_HANDLER(api_patch_machine);
API_HANDLER(api_put_boot_source);
API_HANDLER(api_put_cpu_config);
API_HANDLER(api_put_action);
API_HANDLER(api_patch_vm);
API_HANDLER(api_put_snapshot_create);
API_HANDLER(api_put_snapshot_load);
API_HANDLER(api_put_logger);
API_HANDLER(api_put_metrics);

/* handle_devices.c */
API_HANDLER(api_put_drive);
API_HANDLER(api_patch_drive);
API_HANDLER(api_delete_drive);
API_HANDLER(api_put_net);
API_HANDLER(api_patch_net);
API_HANDLER(api_delete_net);
API_HANDLER(api_put_pmem);
API_HANDLER(api_patch_pmem);
API_HANDLER(api_delete_pmem);
API_HANDLER(api_put_vsock);
API_HANDLER(api_put_entropy);
API_HANDLER(api_put_serial);
API_HANDLER(api_put_balloon);
API_HANDLER(api_get_balloon);
API_HANDLER(api_patch_balloon);
API_HANDLER(api_get_balloon_stats);
API_HANDLER(api_patch_balloon_stats);
API_HANDLER(api_balloon_hinting);
API_HANDLER(api_put_memory_hotplug);
API_HANDLER(api_memory_hotplug);

/* handle_mmds.c */
API_HANDLER(api_get_mmds);
API_HANDLER(api_put_mmds);
API_HANDLER(api_patch_mmds);
API_HANDLER(api_put_mmds_config);

/* handle_own.c: vmmctl's own routes. */
API_HANDLER(api_own_get_accel);
API_HANDLER(api_own_put_accel);
API_HANDLER(api_own_get_config);
API_HANDLER(api_own_patch_config);
API_HANDLER(api_own_put_drive);
API_HANDLER(api_own_put_net);
API_HANDLER(api_own_console);
API_HANDLER(api_own_events);
API_HANDLER(api_own_stop);
API_HANDLER(api_own_reset);
API_HANDLER(api_own_metrics);
API_HANDLER(api_own_openapi);
