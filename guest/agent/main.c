/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's life, from top to bottom. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/agent/agent.h"
#include "guest/protocol.h"

void agent_power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	/* Without a way to switch off, the kernel's panic at init's end tells the monitor. */
	_exit(1);
}

void agent_fail(struct agent *agent, unsigned status, const char *format, ...)
{
	struct {
		struct guest_failed failed;
		char text[1024];
	} payload = {.failed = {.status = status}};
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(payload.text, sizeof(payload.text), format, arguments);
	va_end(arguments);
	fprintf(stderr, "vmmctl-agent: %s\n", payload.text);
	if (agent->link[AGENT_CONTROL] >= 0) {
		agent_send(agent, GUEST_FAILED, &payload, sizeof(payload.failed) + strlen(payload.text));
		/* Until the host has read it and closes: a machine that is off sends nothing more. */
		shutdown(agent->link[AGENT_CONTROL], SHUT_WR);
		while (read(agent->link[AGENT_CONTROL], payload.text, sizeof(payload.text)) > 0)
			;
	}
	agent_power_off();
}

/* The last word: after it the host closes the connection, and nothing more is in flight. */
static void agent_finish(struct agent *agent, unsigned status)
{
	const struct guest_exited exited = {.status = status};
	char rest[64];

	sync();
	/* The monitor may end the machine as soon as it knows: the file system is left as after an unmount.
	 */
	mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	agent_send(agent, GUEST_EXITED, &exited, sizeof(exited));
	shutdown(agent->link[AGENT_CONTROL], SHUT_WR);
	while (read(agent->link[AGENT_CONTROL], rest, sizeof(rest)) > 0)
		;
	agent_power_off();
}

int main(void)
{
	static struct agent agent = {.link = {-1, -1, -1, -1}};
	int ends[3];

	signal(SIGPIPE, SIG_IGN);
	agent_mount_kernel_folders("");
	agent_load_modules();
	agent_connect(&agent);
	agent_receive_task(&agent);
	agent_mount_root(&agent);
	agent_set_up_network(&agent);
	agent_start(&agent, ends);
	agent_finish(&agent, agent_relay(&agent, ends));
}
