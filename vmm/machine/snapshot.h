/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pausing a machine, and its snapshots: a state file (the configuration, the CPUs, the devices) and a memory
 * file, from which an equal machine is made later, in another process, on either accelerator.
 * docs/snapshots.md has the format. All functions here are the main thread's: before machine_run, or from its
 * loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct machine;
struct machine_config;

/*
 * Stops the guest, its devices and its clocks, once whatever the devices have under way is done; and lets
 * them go on from there: the guest's TSC and its paravirtual clock have stood still. Asked for before
 * machine_run, the machine starts paused. Doing it twice is no error. 0 or -errno.
 */
int machine_pause(struct machine *machine, struct err *err);
int machine_resume(struct machine *machine, struct err *err);
bool machine_is_paused(const struct machine *machine);

enum machine_snapshot_kind {
	MACHINE_SNAPSHOT_FULL, /* all pages that hold anything */
	MACHINE_SNAPSHOT_DIFF, /* those written since the last snapshot, or since the machine was made or
				  loaded; the rest of the memory file is a hole */
};

struct machine_snapshot_target {
	enum machine_snapshot_kind kind;
	const char *state_path; /* made anew, 0600; it has its name once it is whole */
	const char *
		memory_path; /* likewise; but a DIFF is written into a file of the right size that is there */
};

/* Writes a snapshot of a paused machine, which stays so. -EBUSY: it is not paused. -ENOTSUP: it has something
 * that cannot be saved; the message names it. When it fails no new file is left behind. */
int machine_snapshot_create(struct machine *machine, const struct machine_snapshot_target *target,
			    struct err *err);

/*
 * From now on written pages are noted, for the sake of small DIFFs: after machine_create or machine_restore,
 * before the machine runs. -ENOTSUP: an accelerator cannot. Without it a DIFF holds every page that holds
 * anything, or of a machine that was loaded from a file those that differ from it.
 */
int machine_snapshot_track(struct machine *machine, struct err *err);

/* A state file that was read and checked. */
struct machine_snapshot;

/* -EINVAL or -EBADMSG with a message for one that is damaged, of another kind or of a later version. Owned
 * (machine_snapshot_close), or NULL with err set. */
struct machine_snapshot *machine_snapshot_open(const char *state_path, struct err *err);
void machine_snapshot_close(struct machine_snapshot *snapshot);
/*
 * The configuration that the machine had, to be changed before machine_restore where the host side is meant:
 * paths of drives, back ends of networks and serial ports, the vsock path, the accelerator. What the guest
 * can see must stay: machine_restore refuses another set of devices. Borrowed from the snapshot.
 */
struct machine_config *machine_snapshot_config(struct machine_snapshot *snapshot);

struct machine_snapshot_memory {
	const char *path;        /* the memory file; pages are read when they are first touched */
	const char *uffd_socket; /* instead: of a page-fault handler, which gets the userfaultfd */
};

/* As machine_create, but with the state of the snapshot; the machine is paused. The memory file must neither
 * change nor shrink while the machine lives. */
struct machine *machine_restore(struct machine_snapshot *snapshot,
				const struct machine_snapshot_memory *memory, struct err *err);
