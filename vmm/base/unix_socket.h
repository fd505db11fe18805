/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets that have a name in the file system: listening and connecting. */
#pragma once

struct err;

/*
 * Listens on path: a non-blocking descriptor, or -errno. A socket file there that nobody listens on is left
 * over from a process that was killed, and replaced; anything else there is an error. The caller removes the
 * file in the end.
 */
int unix_socket_listen(const char *path, int backlog, struct err *err);
/* Connects to path: a non-blocking, connected descriptor, or -errno (-EAGAIN: the listener is busy). Never
 * waits. */
int unix_socket_connect(const char *path, struct err *err);
