/* SPDX-License-Identifier: Apache-2.0 */
/* Which accelerator runs a machine. */
#include "vmm/machine/accel_choice.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/text.h"
#include "vmm/core/accel.h"
#include "vmm/machine/config.h"

/* Accelerators that some build of vmmctl for this guest has: a message can tell "not here" from "no such
 * thing". */
static const char *const accel_known[] = {"kvm", "tcg", NULL};

static const struct accel_ops *accel_choice_find(const char *name)
{
	for (size_t i = 0; accel_table[i]; i++) {
		if (strcmp(accel_table[i]->name, name) == 0)
			return accel_table[i];
	}
	return NULL;
}

static bool accel_choice_is_known(const char *name)
{
	for (size_t i = 0; accel_known[i]; i++) {
		if (strcmp(accel_known[i], name) == 0)
			return true;
	}
	return false;
}

int accel_choice_check(const char *name, struct err *err)
{
	char names[128] = "auto";

	if (strcmp(name, "auto") == 0 || accel_choice_find(name))
		return 0;
	for (size_t i = 0; accel_table[i]; i++)
		text_append(names, sizeof(names), ", %s", accel_table[i]->name);
	if (accel_choice_is_known(name))
		return err_set(err, -EINVAL, "this build of vmmctl has no accelerator %s: it has %s", name,
			       names);
	return err_set(err, -EINVAL, "no accelerator \"%s\": there are %s", name, names);
}

int accel_choice_judge(const struct accel_ops *accel, char *finding, unsigned long size, struct err *err)
{
	int code = accel->probe(err);

	finding[0] = '\0';
	if (code == 0 && accel->calibrate)
		code = accel->calibrate(finding, size, err);
	return code;
}

/* The first in the table's order (best first) that is fit; what the better ones lacked goes to `refusals`. */
static const struct accel_ops *accel_choice_best(char *refusals, size_t size, char *finding,
						 size_t finding_size)
{
	refusals[0] = '\0';
	for (size_t i = 0; accel_table[i]; i++) {
		struct err refusal = {0};

		if (accel_choice_judge(accel_table[i], finding, finding_size, &refusal) == 0)
			return accel_table[i];
		text_append(refusals, size, "%s%s: %s", refusals[0] ? "; " : "", accel_table[i]->name,
			    refusal.message);
	}
	return NULL;
}

static const struct accel_ops *accel_choice_auto(char *reason, size_t size, struct err *err)
{
	char refusals[ERR_MESSAGE_SIZE];
	char finding[128];
	const struct accel_ops *accel =
		accel_choice_best(refusals, sizeof(refusals), finding, sizeof(finding));

	if (!accel) {
		err_set(err, -ENODEV, "no accelerator works on this host: %s",
			refusals[0] ? refusals : "none is built in");
		return NULL;
	}
	if (refusals[0])
		snprintf(reason, size, "%s, because it is the best that works here (%s)", accel->name,
			 refusals);
	else if (accel == accel_table[0] && !accel_table[1])
		snprintf(reason, size, "%s, because it is the only one in this build", accel->name);
	else
		snprintf(reason, size, "%s, because it is the best and works here%s%s", accel->name,
			 finding[0] ? ": " : "", finding);
	return accel;
}

const struct accel_ops *accel_choice_make(const char *name, char *reason, unsigned long size, struct err *err)
{
	const struct accel_ops *accel;

	if (strcmp(name, "auto") == 0)
		return accel_choice_auto(reason, size, err);
	accel = accel_choice_find(name);
	if (!accel) {
		accel_choice_check(name, err);
		return NULL;
	}
	if (accel->probe(err) < 0) {
		err_prefix(err, "accelerator %s", name);
		return NULL;
	}
	snprintf(reason, size, "%s, because it was asked for", name);
	return accel;
}

const char *accel_choice_irqchip_name(enum accel_irqchip irqchip)
{
	switch (irqchip) {
	case ACCEL_IRQCHIP_KERNEL: return "kernel";
	case ACCEL_IRQCHIP_SPLIT: return "split";
	case ACCEL_IRQCHIP_OFF:
	case ACCEL_IRQCHIP_COUNT: break;
	}
	return "off";
}

int accel_choice_irqchip(const struct accel_ops *accel, uint32_t config_irqchip, enum accel_irqchip *irqchip,
			 struct err *err)
{
	unsigned offered = accel->irqchips ? accel->irqchips() : 1u << ACCEL_IRQCHIP_OFF;

	switch ((enum machine_irqchip)config_irqchip) {
	case MACHINE_IRQCHIP_AUTO:
		*irqchip = offered & 1u << ACCEL_IRQCHIP_KERNEL ? ACCEL_IRQCHIP_KERNEL : ACCEL_IRQCHIP_OFF;
		if (accel->irqchips && *irqchip == ACCEL_IRQCHIP_OFF)
			log_info("interrupt controllers: our own, for this host's %s has none", accel->name);
		return 0;
	case MACHINE_IRQCHIP_KERNEL: *irqchip = ACCEL_IRQCHIP_KERNEL; break;
	case MACHINE_IRQCHIP_SPLIT: *irqchip = ACCEL_IRQCHIP_SPLIT; break;
	case MACHINE_IRQCHIP_OFF: *irqchip = ACCEL_IRQCHIP_OFF; break;
	}
	if (offered & 1u << *irqchip)
		return 0;
	if (!accel->irqchips)
		return err_set(
			err, -ENOTSUP,
			"--irqchip (machine.irqchip): the accelerator %s has no interrupt controllers of "
			"its own: only off and auto make sense with it",
			accel->name);
	return err_set(err, -ENOTSUP, "--irqchip (machine.irqchip): this host's %s cannot do %s", accel->name,
		       accel_choice_irqchip_name(*irqchip));
}
