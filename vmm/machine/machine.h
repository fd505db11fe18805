/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine from outside: made from a configuration, run until the guest or somebody ends it, destroyed. Any
 * number may live in a process, each on a thread of its own. Says nothing of how guests run or what devices
 * there are.
 */
#pragma once

#include <stdint.h>

struct err;
struct loop;
struct machine;
struct machine_config;

enum machine_end {
	MACHINE_RUNNING,      /* not ended yet */
	MACHINE_POWERED_OFF,  /* by the guest */
	MACHINE_QUIT,         /* by machine_quit or Ctrl-A x */
	MACHINE_RESET,        /* by the guest, with no_reboot */
	MACHINE_TRIPLE_FAULT, /* with no_reboot, or again and again */
	MACHINE_EXITED,       /* through the exit-code port */
	MACHINE_FAILED,       /* the monitor or the host did; logged */
};

struct machine_result {
	enum machine_end end;
	uint32_t value; /* MACHINE_EXITED: what the guest wrote */
};

/* Builds the machine and loads its kernel; nothing runs yet. config is copied. Owned, or NULL with err set.
 */
struct machine *machine_create(const struct machine_config *config, struct err *err);
/* Stops the vCPUs and frees everything. Not while machine_run runs. */
void machine_destroy(struct machine *machine);

/* Starts the vCPUs and runs the event loop on the calling thread until the machine ends. Once. 0, or -errno.
 */
int machine_run(struct machine *machine, struct machine_result *result, struct err *err);

/* The loop of machine_run, for signals and control sockets of the caller. */
struct loop *machine_loop(struct machine *machine);

/* Requests, from any thread. They are carried out on the loop's thread, soon. */
void machine_quit(struct machine *machine);
void machine_reset(struct machine *machine);
void machine_restart(struct machine *machine); /* a reset, with no_reboot as well */
void machine_press_power_button(struct machine *machine);

/*
 * The disk of this id becomes so large, or with 0 as large as its file is now, and the guest is told. On the
 * loop's thread. 0 or -errno.
 */
int machine_resize_disk(struct machine *machine, const char *id, uint64_t size_bytes, struct err *err);
/* All disks become as large as their files are now. On the loop's thread. */
void machine_refresh_disks(struct machine *machine);

/* The exit status of `vmmctl boot`, as its manual page lists them. */
int machine_exit_status(const struct machine_result *result);
