/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of a snapshot: snapshot_file.c has the container, snapshot_cpu_x86.c and state_json.c the
 * text, snapshot_memory.c the memory file, snapshot.c puts a machine into it and a machine together from it.
 */
#pragma once

#include <stdint.h>

#include "vmm/machine/parts.h"
#include "vmm/machine/snapshot.h"

struct json_t;

/* The state file's version. A machine reads those of its own major number up to its own minor number: fields
 * that an older file lacks have the values of power-on. A change that this does not cover is a new major. */
#define SNAPSHOT_MAJOR 1
#define SNAPSHOT_MINOR 0

struct machine_snapshot {
	struct json_t *root;                          /* owned; checked as far as this file's fields go */
	struct machine_config config;                 /* of the machine saved, changed by whoever loads it */
	struct x86_cpu_capabilities capabilities;     /* what its CPU was made from */
	const struct machine_snapshot_memory *memory; /* borrowed, while machine_restore is under way */
};

/* A CPU with what is around its state. */
struct snapshot_cpu {
	struct x86_cpu_state *state;
	struct accel_clock clock; /* the host's two are not saved */
	struct accel_pins pins;   /* intr is not saved: the local APIC tells it */
};

/* Owned, or NULL without memory. */
struct json_t *snapshot_cpu_to_json(const struct snapshot_cpu *cpu);
/* 0, or -EINVAL; err names the field. Fields that are missing keep what *cpu has. */
int snapshot_cpu_from_json(struct snapshot_cpu *cpu, const struct json_t *json, struct err *err);

struct json_t *snapshot_capabilities_to_json(const struct x86_cpu_capabilities *capabilities);
int snapshot_capabilities_from_json(struct x86_cpu_capabilities *capabilities, const struct json_t *json,
				    struct err *err);

/* Writes the text with its head line to a new file of this name, 0600, whole or not at all. 0 or -errno. */
int snapshot_file_write(const char *path, const struct json_t *root, struct err *err);
/* Reads and checks one; owned, or NULL with err set (-EBADMSG, -EINVAL, -errno). */
struct json_t *snapshot_file_read(const char *path, struct err *err);

/* All of a paused machine but its memory; owned, or NULL with err set. */
struct json_t *snapshot_state_to_json(struct machine *machine, struct err *err);
/* Takes the root; owned, or NULL with err set. */
struct machine_snapshot *snapshot_take(struct json_t *root, struct err *err);

/* Writes the memory of a paused machine. 0 or -errno; no new file is left behind. */
int snapshot_memory_save(struct machine *machine, const struct machine_snapshot_target *target,
			 struct err *err);
/* The memory of a machine that is being made becomes that of the file or of the page-fault handler. */
int snapshot_memory_load(struct machine *machine, const struct machine_snapshot_memory *memory,
			 struct err *err);
/* Length of the memory file; and where in it a guest address is, or UINT64_MAX. */
uint64_t snapshot_memory_bytes(const struct machine *machine);
uint64_t snapshot_memory_offset(const struct machine *machine, uint64_t gpa);

/*
 * snapshot_log.c: adds what was written to the log; *bitmap has a bit for each page of the memory file, or is
 * NULL where nobody asked for a log or there is no snapshot to differ from. Borrowed. saved: the snapshot has
 * come about.
 */
int snapshot_log_collect(struct machine *machine, const uint64_t **bitmap, struct err *err);
void snapshot_log_saved(struct machine *machine);

/* What a state file says of the memory: gpa and size of each region, in the memory file's order. */
struct json_t *snapshot_memory_to_json(const struct machine *machine);
/* Whether the machine's regions are those; -EINVAL. */
int snapshot_memory_check(const struct machine *machine, const struct json_t *json, struct err *err);

/* Steps of the builder where a snapshot is loaded: what the CPU offers; and CPUs and devices, instead of a
 * kernel. */
int snapshot_restore_capabilities(struct machine *machine, struct err *err);
int snapshot_restore_state(struct machine *machine, struct err *err);
