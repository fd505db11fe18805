/* SPDX-License-Identifier: Apache-2.0 */
/* The accelerators of vmmctl-fake. */
#include "tests/unit/fake_accel.h"

const struct accel_ops *const accel_table[] = {&absent_accel_ops, &fake_accel_ops, NULL};
