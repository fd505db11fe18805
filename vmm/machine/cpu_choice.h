/* SPDX-License-Identifier: Apache-2.0 */
/* Which CPU model a configuration means: "auto" becomes the name of one, and stays it. */
#pragma once

struct err;
struct machine_config;
struct x86_cpu_capabilities;

/* By what the accelerator can: config->cpu_model becomes a model's name. */
int cpu_choice_resolve(struct machine_config *config, const struct x86_cpu_capabilities *capabilities,
		       struct err *err);
/* Likewise, by what the accelerators that the configuration names can on this host. */
int cpu_choice_resolve_here(struct machine_config *config, struct err *err);
