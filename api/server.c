/* SPDX-License-Identifier: Apache-2.0 */
/* The API on its socket. */
#include "api/server.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/http_server.h"
#include "api/route.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/machine/control.h"

#define SERVER_WATCHERS_MAX 8   /* bounds descriptors; the eleventh connection is refused anyway */
#define SERVER_FLUSH_MS     100 /* for the last answer, at the end */

struct api_server {
	struct api_vm *vm;
	struct http_server *http;
	int watcher[SERVER_WATCHERS_MAX]; /* descriptors; -1: none */
};

static void server_handle(void *opaque, const struct http_request *request, struct http_response *response)
{
	struct api_server *server = opaque;
	uint64_t start_ns = clock_monotonic_ns();

	api_answer_request(server->vm, request, response);
	log_at("fc_api", LOG_DEBUG, "Total previous API call duration: %llu us.",
	       (unsigned long long)((clock_monotonic_ns() - start_ns) / NS_PER_US));
}

/* False when the watcher is gone or does not read. */
static bool server_send_event(int fd, const char *event)
{
	json_t *json = json_pack("{s:I,s:s}", "timestamp_ms", (json_int_t)(clock_realtime_ns() / NS_PER_MS),
				 "event", event);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	char line[256];
	size_t len;

	json_decref(json);
	if (!text)
		return false;
	len = (size_t)snprintf(line, sizeof(line), "%s\n", text);
	free(text);
	return send(fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

void api_server_tell(struct api_server *server, const char *event)
{
	for (unsigned i = 0; i < SERVER_WATCHERS_MAX; i++) {
		if (server->watcher[i] < 0 || server_send_event(server->watcher[i], event))
			continue;
		close(server->watcher[i]);
		server->watcher[i] = -1;
	}
}

static void server_on_event(void *opaque, const char *event)
{
	api_server_tell(((struct api_vm *)opaque)->server, event);
}

/* A place for one more: a free one, or that of one who has gone. */
static int *server_place(struct api_server *server)
{
	char byte;

	for (unsigned i = 0; i < SERVER_WATCHERS_MAX; i++) {
		if (server->watcher[i] >= 0 && recv(server->watcher[i], &byte, 1, MSG_DONTWAIT) == 0) {
			close(server->watcher[i]);
			server->watcher[i] = -1;
		}
		if (server->watcher[i] < 0)
			return &server->watcher[i];
	}
	return NULL;
}

static void server_take(void *opaque, const struct http_request *request, int fd, const char *early,
			size_t early_len)
{
	struct api_server *server = opaque;
	struct err err = {0};
	int *place;

	if (strstr(request->path, "console")) {
		if (machine_visit_console(server->vm->machine, fd, &err) < 0)
			log_warning("console: %s", err.message);
		return;
	}
	place = server_place(server);
	if (!place || !server_send_event(fd, api_vm_state_name(server->vm)))
		close(fd);
	else
		*place = fd;
}

struct api_server *api_server_create(struct loop *loop, struct api_vm *vm, size_t payload_max,
				     struct err *err)
{
	struct api_server *server = calloc(1, sizeof(*server));
	const struct http_server_config config = {
		.path = vm->settings.socket_path,
		.name = "Firecracker API",
		.parser = {.body_max = payload_max, .header = api_headers},
		.handle = server_handle,
		.taken = server_take,
		.opaque = server,
	};

	if (!server) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	server->vm = vm;
	memset(server->watcher, 0xff, sizeof(server->watcher));
	server->http = http_server_create(loop, &config, err);
	if (!server->http) {
		free(server);
		return NULL;
	}
	vm->server = server;
	vm->on_event = server_on_event;
	return server;
}

int api_server_move(struct api_server *server, struct loop *loop, struct err *err)
{
	return http_server_move(server->http, loop, err);
}

void api_server_destroy(struct api_server *server)
{
	if (!server)
		return;
	server->vm->on_event = NULL;
	http_server_flush(server->http, SERVER_FLUSH_MS);
	http_server_destroy(server->http);
	for (unsigned i = 0; i < SERVER_WATCHERS_MAX; i++) {
		if (server->watcher[i] >= 0)
			close(server->watcher[i]);
	}
	free(server);
}
