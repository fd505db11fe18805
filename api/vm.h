/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microVM that the API shapes: a configuration under construction, then a machine. Handlers (handle_*.c)
 * work on it; it knows no HTTP. Everything happens on one thread, that of the loop.
 *
 * Before the start there are two halves of one configuration: `config` is what came in Firecracker's words
 * and is what GET /vm/config answers; `base` is what came in vmmctl's (command line, /vmmctl/...).
 * api_vm_configure puts the first over the second, with the rows of machine_options.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/metrics.h"
#include "api/models.h"
#include "vmm/machine/config.h"

struct api_server;
struct err;
struct loop;
struct machine;
struct mmds;
struct mmds_guest;

#define API_FIRECRACKER_VERSION "1.17.0-dev" /* whose API this is; clients compare it */
#define API_SNAPSHOT_VERSION    "1.0.0"      /* of the snapshots written; see docs/snapshots.md */
#define API_VM_ID_MAX           64
#define API_CPUS_MAX            32 /* of a microVM; more are for `vmmctl boot` */

enum api_state { API_NOT_STARTED, API_RUNNING, API_PAUSED };

struct api_vm_settings {
	const char *id;          /* borrowed for the VM's life */
	bool pci;                /* virtio-pci instead of virtio-mmio */
	bool is_plain;           /* vmmctl's own command line: no default command line, no "pci=off" */
	size_t mmds_max;         /* bytes of the data store */
	const char *socket_path; /* of the API; NULL: none. Sockets of our own lie beside it */
};

struct api_vm {
	struct api_vm_settings settings;
	struct machine_config base;
	struct vm_config_body config;
	struct serial_body serial;
	bool has_serial;
	bool is_dirty;           /* something was configured that forbids to load a snapshot */
	struct machine *machine; /* NULL before the start */
	bool is_borrowed;        /* the machine is somebody else's */
	bool has_plugged; /* devices came or went: where they lie is in no configuration */
	bool load_failed;        /* the process ends with the answer */
	bool is_stopped;         /* the process ends before there was a machine */
	struct loop *loop;       /* that the VM is served on now */
	struct api_metrics metrics;
	struct mmds *mmds;
	struct mmds_guest *mmds_guest; /* with a machine whose cards reach it */
	char mmds_path[108];           /* of its socket, beside that of the API; "" while there is none */
	/* Called when the machine was made and is to run, or when none will be: the owner of the loop takes
	 * over. */
	void (*on_start)(void *opaque);
	/* State changes, for those who watch: "Running", "Paused", ... */
	void (*on_event)(void *vm, const char *event);
	struct api_server *server; /* for on_event; NULL: nobody watches */
	void *opaque;
};

/* base is taken over. 0 or -errno; api_vm_free in either case. */
int api_vm_init(struct api_vm *vm, const struct api_vm_settings *settings, struct machine_config *base,
		struct err *err);
void api_vm_free(struct api_vm *vm);

enum api_state api_vm_state(const struct api_vm *vm);
const char *api_vm_state_name(const struct api_vm *vm);
void api_vm_tell(struct api_vm *vm, const char *event);

/* The machine's configuration as it stands: owned by the caller (machine_config_free). 0 or -errno. */
int api_vm_configure(const struct api_vm *vm, struct machine_config *config, struct err *err);
/* A drive or a card for the machine that runs, or away from it. Messages are the whole fault_message. */
int api_vm_plug_drive(struct api_vm *vm, struct drive *body, struct err *err);
int api_vm_plug_net(struct api_vm *vm, struct net_body *body, struct err *err);
/* The same without the check that it makes a machine. */
int api_vm_configure_unchecked(const struct api_vm *vm, struct machine_config *config, struct err *err);
/* What the client calls the machine's device of this id: "disk0" is a drive's name. Borrowed. */
const char *api_vm_device_name(const struct api_vm *vm, const char *id);
/* Makes the machine and has on_start called; it runs when its loop does. */
int api_vm_start(struct api_vm *vm, struct err *err);

/* The configuration becomes what a machine of this configuration would have been asked for with. */
void api_vm_adopt(struct api_vm *vm, const struct machine_config *config);
/* Makes the machine of a snapshot and has on_start called. 0 or -errno. */
int api_vm_load(struct api_vm *vm, const struct snapshot_load_body *body, struct err *err);

/* GET /vm/config. Owned. */
struct json_t *api_vm_config_json(const struct api_vm *vm);

/* Checks of a body and the places it goes to, shared by requests and configuration files; before the start.
 * The structure is taken over on success. Messages are the whole fault_message. */
int api_vm_set_boot_source(struct api_vm *vm, struct boot_source *body, struct err *err);
int api_vm_set_machine(struct api_vm *vm, struct machine_body *body, struct err *err);
int api_vm_patch_machine(struct api_vm *vm, struct machine_body *body, struct err *err);
int api_vm_set_drive(struct api_vm *vm, struct drive *body, struct err *err);
int api_vm_set_pmem(struct api_vm *vm, struct pmem_body *body, struct err *err);
int api_vm_set_net(struct api_vm *vm, struct net_body *body, struct err *err);
/* Takes it out of the lists. */
void api_vm_drop_drive(struct api_vm *vm, size_t index);
void api_vm_drop_net(struct api_vm *vm, size_t index);
int api_vm_set_vsock(struct api_vm *vm, struct vsock_body *body, struct err *err);
int api_vm_set_entropy(struct api_vm *vm, struct entropy_body *body, struct err *err);
int api_vm_set_balloon(struct api_vm *vm, struct balloon_body *body, struct err *err);
int api_vm_set_mmds_config(struct api_vm *vm, struct mmds_config_body *body, struct err *err);
int api_vm_set_memory_hotplug(struct api_vm *vm, struct memory_hotplug_body *body, struct err *err);
int api_vm_set_cpu_config(struct api_vm *vm, struct json_t *json, struct err *err);

/* Reads a configuration file over what there is. */
int api_vm_read_config(struct api_vm *vm, const char *path, struct err *err);

/* PUT /logger and --log-path ...: where log lines go. The body stays the caller's. */
int api_vm_set_logger(const struct api_vm *vm, const struct logger_body *body, struct err *err);
