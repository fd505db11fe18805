/* SPDX-License-Identifier: Apache-2.0 */
/* What the rows of the option table cannot check by themselves: names against tables, what must be given,
 * what goes together. Messages begin with the flag and the JSON path. */
#include <errno.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/chardev.h"
#include "vmm/core/cpu_model_x86.h"
#include "vmm/core/netdev.h"
#include "vmm/machine/accel_choice.h"
#include "vmm/machine/board.h"
#include "vmm/machine/config.h"
#include "vmm/machine/config_parts.h"
#include "vmm/machine/jit_choice.h"
#include "vmm/machine/trace_choice.h"

/* Puts "--flag (json.path)" before the message: a check knows the field, not where its value came from. */
static int config_wrong(const char *path, struct err *err)
{
	const struct option *row = config_row(path);

	return err_prefix(err, "%s (%s)", row ? row->flag : "", path);
}

static int config_check_boot(const struct machine_config *config, struct err *err)
{
	const struct machine_module *modules = config->modules.item;

	if (!config->kernel || !config->kernel[0]) {
		err_set(err, -EINVAL, "there is no kernel to boot: name one, such as --kernel bzImage");
		return config_wrong("boot.kernel", err);
	}
	for (size_t i = 0; i < config->modules.count; i++) {
		if (modules[i].path && modules[i].path[0])
			continue;
		err_set(err, -EINVAL, "module %zu has no file: write FILE or FILE,CMDLINE", i + 1);
		return config_wrong("boot.modules", err);
	}
	return 0;
}

static int config_check_serial(const struct machine_config *config, struct err *err)
{
	const struct chardev_class *class;
	const char *argument;

	if (config->serial.count > MACHINE_SERIAL_MAX) {
		err_set(err, -EINVAL, "%zu serial ports are asked for: the board has %d",
			config->serial.count, MACHINE_SERIAL_MAX);
		return config_wrong("serial", err);
	}
	for (size_t i = 0; i < config->serial.count; i++) {
		if (chardev_parse(config->serial.item[i], &class, &argument, err) < 0)
			return config_wrong("serial", err);
	}
	return 0;
}

static int config_check_net(const struct machine_config *config, struct err *err)
{
	const struct netdev_config *cards = config->net.item;

	for (size_t i = 0; i < config->net.count; i++) {
		if (netdev_config_check(&cards[i], err) < 0)
			return err_prefix(err, "card %zu", i + 1);
	}
	return 0;
}

static int config_check_sharing(const struct machine_config *config, struct err *err)
{
	if (config_check_shares(config, err) < 0)
		return config_wrong("shares", err);
	if (config_check_vsock(config, err) < 0)
		return config_wrong("vsock", err);
	if (config_check_vhost_users(&config->vhost_user_blk, false, err) < 0)
		return config_wrong("vhost_user_blk", err);
	if (config_check_vhost_users(&config->vhost_user_net, false, err) < 0)
		return config_wrong("vhost_user_net", err);
	if (config_check_vhost_users(&config->vhost_user_fs, true, err) < 0)
		return config_wrong("vhost_user_fs", err);
	return 0;
}

int machine_config_check(const struct machine_config *config, struct err *err)
{
	struct jit_choice jit;
	uint32_t trace;
	int code = config_check_boot(config, err);

	if (code == 0)
		code = config_check_serial(config, err);
	if (code == 0)
		code = config_check_sharing(config, err);
	if (code < 0)
		return code;
	if (config_check_disks(config, err) < 0)
		return config_wrong("disks", err);
	if (config_check_net(config, err) < 0)
		return config_wrong("net", err);
	if (strcmp(config->cpu_model, X86_CPU_MODEL_AUTO) != 0 && !x86_cpu_model_find(config->cpu_model, err))
		return config_wrong("machine.cpu", err);
	if (!board_find(config->board, err))
		return config_wrong("machine.board", err);
	if (accel_choice_check(config->accel, err) < 0)
		return config_wrong("machine.accel", err);
	if (jit_choice_parse(config->jit, &jit, err) < 0)
		return config_wrong("machine.jit", err);
	if (trace_choice_parse(config->log, &trace, err) < 0)
		return config_wrong("log", err);
	return 0;
}
