/* SPDX-License-Identifier: Apache-2.0 */
/* A timer whose signal calls a function on whatever the thread does just then. Apart, since <signal.h> has
 * names of registers that the engine has too. One at a time. */
#pragma once

/* fn must be async-signal-safe. Aborts when there is no timer. */
void signal_timer_start(void (*fn)(void), long every_ns);
void signal_timer_stop(void);
