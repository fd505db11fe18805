/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what `vmmctl run` is told to what a machine and its agent are told: kernel, initramfs, devices for
 * root and shares, the socket between them, the task. Runs nothing.
 */
#pragma once

#include <limits.h>

#include "vmm/run/kernel.h"
#include "vmm/run/rootfs.h"
#include "vmm/run/run_options.h"
#include "vmm/run/task.h"

struct err;
struct machine_config;

#define RUN_FOLDER_MAX                                                                                       \
	64 /* of the path of a run's own folder: names in it are still names of unix sockets                 \
	    */

struct run_plan {
	const struct run_options *options; /* borrowed */
	struct machine_config *config;     /* borrowed; completed by run_plan_make */
	char *const *argv;                 /* the command; ended by NULL */
	struct run_kernel kernel;
	struct run_rootfs rootfs;         /* as given; borrowed from options */
	struct rootfs root;               /* what it is */
	int initramfs;                    /* memfd; -1: none yet */
	char folder[RUN_FOLDER_MAX];      /* this run's own, removed at the end; "" while there is none */
	char console[PATH_MAX];           /* where the guest's console is written */
	char socket[RUN_FOLDER_MAX + 32]; /* where the agent's connections come out */
	struct run_task task;
};

/* 0, or -errno with a message that names the option. run_plan_free in either case. */
int run_plan_make(struct run_plan *plan, struct err *err);
/* Removes the folder with what is in it. */
void run_plan_free(struct run_plan *plan);
