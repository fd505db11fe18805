/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A serial port's backend with room for visitors: a stream socket that somebody hands in sees all output from
 * then on and types as the backend's own user does. A visitor that does not read loses output, the guest
 * never waits for it. Knows no devices.
 */
#pragma once

struct chardev;
struct err;
struct loop;

#define CONSOLE_VISITORS_MAX 4 /* bounds descriptors and the work of each byte of output */

/* Owns lower, also on failure; owned. Everything but writing is the loop's thread's. */
struct chardev *console_hub_create(struct loop *loop, struct chardev *lower, struct err *err);
/* Takes fd, a non-blocking stream socket, also on failure; it is closed when the peer or the hub goes. */
int console_hub_visit(struct chardev *hub, int fd, struct err *err);
