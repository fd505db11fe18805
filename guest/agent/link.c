/* SPDX-License-Identifier: Apache-2.0 */
/* The connections to the host, and what is said on the control connection. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "guest/agent/agent.h"
#include "guest/protocol.h"

/* Writes all; false when the host is gone. */
static bool link_write(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t done = write(fd, at, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += done;
		len -= (size_t)done;
	}
	return true;
}

static bool link_read(int fd, void *data, size_t len)
{
	char *at = data;

	while (len > 0) {
		ssize_t done = read(fd, at, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += done;
		len -= (size_t)done;
	}
	return true;
}

static int link_open(char role)
{
	const struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_port = GUEST_PORT,
		.svm_cid = VMADDR_CID_HOST,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
	    link_write(fd, &role, 1))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

void agent_connect(struct agent *agent)
{
	static const char roles[AGENT_LINKS] = {
		[AGENT_CONTROL] = GUEST_ROLE_CONTROL,
		[AGENT_STDIN] = GUEST_ROLE_STDIN,
		[AGENT_STDOUT] = GUEST_ROLE_STDOUT,
		[AGENT_STDERR] = GUEST_ROLE_STDERR,
	};

	for (int i = 0; i < AGENT_LINKS; i++) {
		agent->link[i] = link_open(roles[i]);
		if (agent->link[i] < 0)
			agent_fail(agent, 125, "no connection to the host: %s", strerror(errno));
	}
}

void agent_send(struct agent *agent, uint32_t type, const void *payload, size_t len)
{
	const struct guest_message message = {.type = type, .length = (uint32_t)len};

	if (link_write(agent->link[AGENT_CONTROL], &message, sizeof(message)))
		link_write(agent->link[AGENT_CONTROL], payload, len);
}

void agent_receive_task(struct agent *agent)
{
	struct guest_message message;

	if (!link_read(agent->link[AGENT_CONTROL], &message, sizeof(message)))
		agent_power_off();
	if (message.type != GUEST_START || message.length == 0 || message.length > GUEST_START_MAX)
		agent_fail(agent, 125, "the host does not speak this agent's language");
	agent->start = malloc(message.length);
	if (!agent->start || !link_read(agent->link[AGENT_CONTROL], agent->start, message.length))
		agent_fail(agent, 125, "the task was not received");
	if (agent_parse_task(&agent->task, agent->start, message.length) < 0)
		agent_fail(agent, 125,
			   "the task is not understood, or has more than %d arguments or variables",
			   AGENT_ARGUMENTS_MAX);
}
