/* SPDX-License-Identifier: Apache-2.0 */
/* In place of the payload where no compiler could make it. */
#include "vmm/bench/bench_parts.h"

const char bench_payload_image[1] = {0}, bench_payload_image_end[1] = {0};
