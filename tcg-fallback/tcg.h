/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in engine as an accelerator: the one name by which the rest of the program knows it. */
#pragma once

#include "vmm/core/accel.h"

extern const struct accel_ops tcg_accel_ops;
