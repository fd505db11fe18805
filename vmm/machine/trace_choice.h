/* SPDX-License-Identifier: Apache-2.0 */
/* What --log, --log-file and --perf-map say. Knows no accelerator. */
#pragma once

#include <stdint.h>

struct accel_vm_config;
struct err;
struct machine_config;

/* The words of --log as bits of enum accel_trace. 0, or -EINVAL with a message that does not name the flag.
 */
int trace_choice_parse(const char *text, uint32_t *kinds, struct err *err);
/* Fills in the fields on traces. trace_fd is the caller's to close (trace_choice_close) once the VM is made.
 */
int trace_choice_open(const struct machine_config *config, struct accel_vm_config *vm_config,
		      struct err *err);
void trace_choice_close(struct accel_vm_config *vm_config);
