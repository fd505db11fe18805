/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An accelerator for tests of the machine: its guests are programs of one-letter instructions, loaded as flat
 * binaries and run from CS:IP. What they do to devices goes through struct accel_host like any guest's
 * accesses.
 *
 *     b PORT16 VALUE8    OUT, one byte          i        increment the byte at FAKE_COUNTER_GPA
 *     w PORT16 VALUE16   OUT, two bytes         c N OFF  go on while that byte is below N, else skip OFF
 * bytes d PORT16 VALUE32   OUT, four bytes        s        overwrite this instruction with f h halt t triple
 * fault l                  loop until kicked      f        the accelerator fails x                  increment
 * RAX: "fake" cannot execute it, "other" can a                  as l, but on "other" it goes on n N go on
 * once RAX is N, else loop until kicked y                  nobody can execute it
 *     m                  as i, but "fake" cannot execute it
 */
#pragma once

#include "vmm/core/accel.h"

#define FAKE_COUNTER_GPA 0x90000

extern const struct accel_ops fake_accel_ops;   /* "fake": works */
extern const struct accel_ops other_accel_ops;  /* "other": works, and helps out */
extern const struct accel_ops absent_accel_ops; /* "absent": its probe fails */

/* What the next state_set of "other" returns, once: for a hand-over that fails. */
extern _Atomic int fake_other_refuses;
