/* SPDX-License-Identifier: Apache-2.0 */
/* The API on its socket: an HTTP server, the microVM it shapes, and those who watch its events. */
#pragma once

#include "api/vm.h"

struct api_server;
struct err;
struct loop;

/*
 * Serves vm (borrowed) on settings.socket_path, on this loop. vm's callbacks become the server's; on_start of
 * the caller is called when a machine was made, or none will be. Owned, or NULL with err set.
 */
struct api_server *api_server_create(struct loop *loop, struct api_vm *vm, size_t payload_max,
				     struct err *err);
/* Goes over to another loop; neither runs. */
int api_server_move(struct api_server *server, struct loop *loop, struct err *err);
/* Sends what is to be sent, closes everything, removes the socket. */
void api_server_destroy(struct api_server *server);
/* A line for those who watch. */
void api_server_tell(struct api_server *server, const char *event);
