/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal in raw mode, and its restoration whatever happens: orderly end, exit(3), a crash, a stop. A
 * process has one controlling terminal, so this is the process's and not a machine's: the saved settings must
 * be where a signal handler finds them.
 */
#pragma once

#include <stdbool.h>

struct err;

/*
 * Saves the settings of the terminal fd (borrowed, must stay open), sets raw mode and installs the handlers
 * of crash signals, which restore it and die of the same signal. -EBUSY when it is raw already, -ENOTTY.
 */
int terminal_enter_raw(int fd, struct err *err);
/* Restores settings and handlers. Safe to call when not raw. */
void terminal_leave_raw(void);

/* Restores the settings for as long as the process is stopped; async-signal-safe. */
void terminal_suspend(void);
/* Sets raw mode again, if the process is in the foreground. */
void terminal_resume(void);
