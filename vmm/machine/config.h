/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of a machine: one structure, one option table, three ways in (command line, JSON file,
 * later the API) and one check. Knows what may be asked for; builds nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/option.h"

struct err;

#define MACHINE_CPUS_MAX   255          /* xAPIC ids 0-254 */
#define MACHINE_MEMORY_MIN (1ull << 20) /* the tables that a guest is started with lie below 1 MiB */
#define MACHINE_MEMORY_MAX                                                                                   \
	(1ull                                                                                                \
	 << 40) /* more is a typing mistake, and the DSDT's and e820's arithmetic stays far from wrapping */
#define MACHINE_SERIAL_MAX 2       /* COM1 and COM2: COM3 and COM4 would share their interrupts */
#define MACHINE_EXIT_PORT  "0x501" /* --exit-code-port without a number: QEMU's isa-debug-exit */

/* An element of machine_config.modules. */
struct machine_module {
	char *path;
	char *cmdline; /* NULL: none */
};

#define MACHINE_IO_THREADS_MAX 16 /* more than there are disks worth a thread of their own */

/* How the guest reaches its virtio devices; the order is that of the option's choices. */
enum virtio_transport_kind { VIRTIO_TRANSPORT_MMIO, VIRTIO_TRANSPORT_PCI };
/* The layout of their queues that is offered. */
enum virtio_ring_kind { VIRTIO_RING_SPLIT, VIRTIO_RING_PACKED };

#define MACHINE_DISKS_MAX 26 /* /dev/vda to vdz; the board has slots for 32 devices */

/* An element of machine_config.disks. */
struct machine_disk {
	char *path;
	char *format; /* NULL: auto */
	char *id;     /* NULL: disk0, disk1, ... */
	char *serial; /* NULL: the id */
	bool readonly;
	bool pin;
	uint32_t cache;       /* enum block_cache */
	uint32_t engine;      /* enum block_engine */
	uint32_t queues;      /* 0: 1 */
	uint32_t block_bytes; /* 0: what suits the file */
	uint32_t iops;        /* 0: no limit */
	uint32_t iops_burst;
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t bytes_burst;
	char *byte_bucket, *request_bucket; /* instead: see rate_bucket_parse; NULL: none */
};

/* An element of machine_config.rng. */
struct machine_rng {
	char *source;
	uint64_t bytes_per_s;               /* 0: no limit */
	uint32_t requests_per_s;            /* 0: no limit */
	char *byte_bucket, *request_bucket; /* instead: see rate_bucket_parse; NULL: none */
};

#define MACHINE_VSOCK_CID 3 /* the first that a guest may have */

/* An element of machine_config.vsock, of which there is one at most: Linux's driver takes no more. */
struct machine_vsock {
	char *path;
	uint32_t cid; /* 0: MACHINE_VSOCK_CID */
};

#define MACHINE_VHOST_QUEUES_MAX 16 /* as many as VHOST_USER_QUEUES_MAX */

/* An element of machine_config.vhost_user_blk, _net and _fs; each has its rows of the fields. */
struct machine_vhost_user {
	char *socket;
	char *tag;       /* fs */
	char *mac;       /* net; NULL: made of the number */
	uint32_t queues; /* blk, fs; 0: 1 */
};

/* An element of machine_config.shares. */
struct machine_share {
	char *path;
	char *tag; /* NULL: "share" and its number, from 0 */
	bool readonly;
};

#define MACHINE_CONSOLE_MAX 16 /* ports of the virtio console */
#define MACHINE_PMEM_MAX    OPTION_LIST_MAX

/* An element of machine_config.balloon, of which there is at most one. */
struct machine_balloon {
	uint64_t size_bytes;
	bool deflate_on_oom, free_page_reporting;
	uint32_t stats_s; /* 0: never */
};

/* An element of machine_config.console. */
struct machine_console {
	char *backend; /* a chardev */
	char *name;    /* NULL: a console */
};

/* An element of machine_config.pmem. */
struct machine_pmem {
	char *path;
	bool readonly;
};

/* machine_config.irqchip, in the order of its choices. */
enum machine_irqchip {
	MACHINE_IRQCHIP_AUTO,
	MACHINE_IRQCHIP_KERNEL,
	MACHINE_IRQCHIP_SPLIT,
	MACHINE_IRQCHIP_OFF
};

/* machine_config.dirty_log, in the order of its choices. */
enum machine_dirty_log { MACHINE_DIRTY_LOG_BITMAP, MACHINE_DIRTY_LOG_RING };
enum machine_mmu { MACHINE_MMU_FAST, MACHINE_MMU_RANGES, MACHINE_MMU_SAFE };

struct machine_config {
	char *kernel;
	struct option_strings initrd;
	char *append;                  /* NULL: what the kernel's kind calls for, see machine_command_line */
	struct option_records modules; /* struct machine_module */
	uint32_t protocol;             /* enum boot_protocol */
	char *board;
	uint64_t memory_bytes;
	uint32_t cpus;
	char *cpu_model;
	char *accel;                    /* "auto" or a name of accel_table */
	bool accel_switch;              /* the guest's CPU is one that both accelerators have */
	uint32_t accel_switch_every_ms; /* 0: never by itself */
	uint32_t irqchip;               /* enum machine_irqchip */
	uint32_t dirty_log;             /* enum machine_dirty_log */
	struct option_strings serial;   /* a chardev each: COM1, COM2 */
	uint32_t exit_code_port;        /* 0: none */
	uint32_t io_threads;
	uint32_t virtio_transport;   /* enum virtio_transport_kind */
	uint32_t virtio_ring;        /* enum virtio_ring_kind */
	bool virtio_cmdline;         /* a Linux command line names the virtio-mmio devices, too */
	bool virtio_fdt;             /* a Linux kernel gets a device tree, too */
	struct option_records disks; /* struct machine_disk */
	struct option_records net;   /* struct netdev_config */
	struct option_records rng;   /* struct machine_rng */
	struct option_records vsock; /* struct machine_vsock */
	struct option_records vhost_user_blk, vhost_user_net, vhost_user_fs; /* struct machine_vhost_user */
	struct option_records shares;                                        /* struct machine_share */
	struct option_records balloon;                                       /* struct machine_balloon */
	struct option_records console;                                       /* struct machine_console */
	struct option_records pmem;                                          /* struct machine_pmem */
	uint32_t mmu;                                                        /* enum machine_mmu */
	char *jit;                                                           /* see jit_choice_parse */
	char *log;      /* see trace_choice_parse; NULL: nothing */
	char *log_file; /* NULL: standard error */
	bool perf_map;
	bool boot_timer; /* a page below virtio-mmio's, see devices/legacy/boot_timer.h */
	bool no_reboot;
	uint32_t log_level; /* enum log_level */
};

/* The rows of all that machine_config has. */
extern const struct option machine_options[];

/* Fills in the defaults; machine_config_free releases. */
int machine_config_init(struct machine_config *config, struct err *err);
void machine_config_free(struct machine_config *config);
/* *copy becomes an independent equal of *config. */
int machine_config_copy(struct machine_config *copy, const struct machine_config *config, struct err *err);

/* Reads a JSON file over what config holds. Messages begin with the file's name and the JSON path. */
int machine_config_read(struct machine_config *config, const char *path, struct err *err);

/* Checks what single rows cannot: names against tables, what must be given. Messages name flag and JSON path.
 */
int machine_config_check(const struct machine_config *config, struct err *err);

/* Decides what was left to chance (MAC addresses), as machine_create does for its copy; what is decided
 * stays. */
int machine_config_complete(struct machine_config *config, struct err *err);
