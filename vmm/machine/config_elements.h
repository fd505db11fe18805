/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the lists in machine_options whose elements are devices; each table stands with its device, in
 * virtio_*.c. */
#pragma once

#include "vmm/base/option.h"

extern const struct option machine_balloon_fields[];
extern const struct option machine_console_fields[];
extern const struct option machine_pmem_fields[];
