/* SPDX-License-Identifier: Apache-2.0 */
/* The ports of the virtio console that a configuration asks for: one device, each port with its backend. */
#include <errno.h>
#include <string.h>

#include "devices/virtio/console.h"
#include "vmm/base/err.h"
#include "vmm/core/chardev.h"
#include "vmm/machine/config_parts.h"
#include "vmm/machine/parts.h"

_Static_assert(MACHINE_CONSOLE_MAX == CONSOLE_PORTS_MAX, "one port each");

const struct option machine_console_fields[] = {
	{.path = "backend", .type = OPTION_STRING, .offset = offsetof(struct machine_console, backend)},
	{.path = "name",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct machine_console, name),
	 .metavar = "NAME",
	 .help = "The port is for programs, as /dev/virtio-ports/NAME of the guest, and not a console"},
	{.path = NULL},
};

static int console_check_name(const char *name, struct err *err)
{
	if (!name || (name[0] && strlen(name) < CONSOLE_NAME_MAX && !strchr(name, '/')))
		return 0;
	return err_set(err, -EINVAL, "name: 1 to %d bytes without \"/\" are possible", CONSOLE_NAME_MAX - 1);
}

static int console_add_port(struct machine *machine, const struct machine_console *wish,
			    struct console_port_config *port, struct err *err)
{
	int code = console_check_name(wish->name, err);

	if (code < 0)
		return code;
	*port = (struct console_port_config){
		.chardev = machine_open_chardev(machine, wish->backend ? wish->backend : "", err),
		.name = wish->name,
		.is_console = !wish->name,
		/* A socket says when somebody comes; whatever else can be written to is connected. */
		.is_connected = !wish->backend || strncmp(wish->backend, "socket:", 7) != 0,
	};
	return port->chardev ? 0 : err->code;
}

int machine_add_consoles(struct machine *machine, struct err *err)
{
	const struct machine_console *wishes = machine->config.console.item;
	struct console_port_config ports[CONSOLE_PORTS_MAX];
	struct console_config config = {
		.id = "console0", .port = ports, .port_count = (unsigned)machine->config.console.count};
	struct device_env env;
	int code = 0;

	if (config.port_count == 0)
		return 0;
	if (config.port_count > CONSOLE_PORTS_MAX)
		code = err_set(err, -EINVAL, "a guest has at most %d console ports", CONSOLE_PORTS_MAX);
	for (unsigned i = 0; i < config.port_count && code == 0; i++)
		code = console_add_port(machine, &wishes[i], &ports[i], err);
	if (code == 0) {
		env = machine_io_env(machine);
		code = machine_add_virtio(machine, console_create(&env, &config, err), err);
	}
	return code < 0 ? err_prefix(err, "--console (console)") : 0;
}
