/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration's CPU model, once it is known what runs the machine. What "auto" means is decided in
 * core/cpu_model_x86.c; from here on the name is part of the configuration, so that a snapshot, a printed
 * configuration and the guest agree about it.
 */
#include "vmm/machine/cpu_choice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/accel.h"
#include "vmm/machine/accel_choice.h"
#include "vmm/machine/accel_side.h"
#include "vmm/machine/config.h"

int cpu_choice_resolve(struct machine_config *config, const struct x86_cpu_capabilities *capabilities,
		       struct err *err)
{
	const struct x86_cpu_model *model = x86_cpu_model_resolve(config->cpu_model, capabilities, err);
	char *name = model ? strdup(x86_cpu_model_name(model)) : NULL;

	if (!model)
		return -EINVAL;
	if (!name)
		return err_set(err, -ENOMEM, "no memory");
	free(config->cpu_model);
	config->cpu_model = name;
	return 0;
}

int cpu_choice_resolve_here(struct machine_config *config, struct err *err)
{
	struct x86_cpu_capabilities mine = {0}, other = {0};
	char reason[ERR_MESSAGE_SIZE + 128];
	const struct accel_ops *accel = accel_choice_make(config->accel, reason, sizeof(reason), err);

	if (!accel || accel->capabilities(&mine, err) < 0)
		return -ENODEV;
	if (config->accel_switch || config->accel_switch_every_ms) {
		accel = accel_other(accel, err);
		if (!accel || accel->capabilities(&other, err) < 0 ||
		    x86_cpu_capabilities_meet(&mine, &other, err) < 0)
			return -ENOTSUP;
	}
	return cpu_choice_resolve(config, &mine, err);
}
