/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a machine, for the files of this folder only: builder.c makes it, run.c decides, vcpu.c runs
 * guests, host_x86.c answers the accelerator, board_*.c wire devices.
 *
 * Locks, outermost first: board_lock, irq_router's, intr_gate, intr_lock, run.lock. The main thread (the one
 * in machine_run) takes board_lock to reset devices, and waits for parked vCPUs only while it holds none of
 * them.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/log.h"
#include "vmm/core/accel.h"
#include "vmm/core/chardev.h"
#include "vmm/core/device.h"
#include "vmm/machine/config.h"
#include "vmm/machine/machine.h"

struct accel_switching;
struct blockdev;
struct board;
struct boot_x86_config;
struct irq_router;
struct loop_fd;
struct machine_io_thread;
struct netdev;
struct machine_irqfds;
struct machine_snapshot;
struct snapshot_log;

#define MACHINE_PCI_SLOTS   32
#define MACHINE_DEVICES_MAX 96 /* the board has some fifteen, and 32 virtio devices are two each */

/* What a vCPU, a device or a person asks of the main thread. A later one replaces an earlier, smaller one. */
enum machine_request {
	REQUEST_NONE,
	REQUEST_RESET,
	REQUEST_RESTART, /* a reset that no_reboot does not turn into an end */
	REQUEST_TRIPLE_FAULT,
	REQUEST_POWER_OFF,
	REQUEST_EXIT,
	REQUEST_FAIL,
	REQUEST_QUIT,
};

enum machine_target {
	TARGET_PAUSED, /* vCPU threads park */
	TARGET_RUNNING,
	TARGET_STOPPING, /* vCPU threads end */
};

struct machine_run {
	pthread_mutex_t lock;   /* guards all below; a leaf */
	pthread_cond_t changed; /* target, request or parked */
	enum machine_target target;
	enum machine_request request; /* pending: vCPUs park until the main thread has dealt with it */
	uint32_t request_value;
	bool power_button; /* pressed, not yet dealt with */
	bool lend; /* a vCPU waits for the built-in CPU: all park until the main thread has seen to it */
	bool switch_accel; /* somebody wants the other accelerator */
	unsigned parked;   /* vCPU threads that wait in vcpu_park */
	int request_fd;    /* eventfd that wakes the main thread */
	struct loop_fd *request_watch;
	struct machine_result result; /* main thread */
	uint64_t started_ns;          /* last start or reset; main thread */
	unsigned early_triple_faults; /* in a row; main thread */
};

/*
 * An accelerator's VM of this machine. There are two where there must be: that which runs the guest, and the
 * other, which may take it over or help out. Made once and for the machine's life, so that anybody who finds
 * it ready may kick its vCPUs and tell it of memory, whichever of the two is running.
 */
struct machine_side {
	const struct accel_ops *ops;
	struct accel_vm *vm;
	struct accel_vcpu **vcpu;    /* config.cpus of them */
	enum accel_irqchip irqchip;  /* where the interrupt controllers are while this one runs the guest */
	struct x86_cpu_state *state; /* one for each CPU, on its way from one side to the other */
	_Atomic bool ready;
};
#define MACHINE_SIDES 2

/* vCPUs that the built-in CPU helped out; see assist.c. */
struct machine_assist {
	_Atomic bool active;       /* the helper has the vCPU; its thread sets it */
	bool reached_apic;         /* the instruction touched a local APIC that is not the machine's own */
	unsigned blocks;           /* how many the next one may take */
	uint64_t last_ns;          /* end of the last one */
	_Atomic uint64_t count;    /* how often */
	_Atomic uint64_t total_ns; /* how long in all */
	struct log_limit limit;
};

struct machine_vcpu {
	struct machine *machine;
	unsigned index;
	struct accel_vcpu *accel_vcpu;
	const struct accel_ops *pin_ops; /* who has the vCPU's pins; under intr_lock; NULL: machine->accel */
	struct accel_vcpu *pin_vcpu;
	struct machine_assist assist;
	struct x86_cpu_state *reset_state; /* as the accelerator made it */
	pthread_t thread;
	bool has_thread;
};

struct machine_net_part {
	struct netdev *netdev; /* owned by the device; its loop's thread */
	struct device *device;
	unsigned slot;
	struct loop *loop;
};

struct machine_disk_part {
	struct blockdev *blockdev;
	struct device *device; /* kept among the devices, which are destroyed first */
	unsigned slot;
};

/* A machine that stands still; pause.c. */
struct machine_pausing {
	bool paused;               /* main thread */
	struct accel_clock *clock; /* of each CPU, as they stopped; NULL: the machine has not run yet */
	int uffd, uffd_socket;     /* who fills in its memory; -1: nobody */
	bool was_restored;         /* it comes from a snapshot */
};

struct machine {
	struct machine_config config;
	struct loop *loop;
	const struct board *board;
	void *board_state; /* the board's own, one allocation; freed after the devices */

	const struct accel_ops *accel;
	struct accel_host host;
	struct accel_vm *vm;
	struct x86_cpu_capabilities capabilities;
	bool has_x2apic;
	struct machine_vcpu *vcpu; /* config.cpus of them */
	unsigned vcpu_count;       /* created so far */

	struct gmem *gmem;
	struct bus *pio, *mmio;
	pthread_mutex_t board_lock, intr_lock;
	struct device_env device_env;
	struct device *device[MACHINE_DEVICES_MAX]; /* in creation order */
	size_t device_count;
	struct device *pci_host; /* NULL: the machine has no PCI */
	struct device *lapic, *pic, *ioapic, *pit, *ferr, *acpi_pm,
		*i8042;             /* those that host_x86.c and the board call by their own names */
	enum accel_irqchip irqchip; /* where the interrupt controllers are while the guest runs */
	pthread_rwlock_t intr_gate; /* with the router's lock: guards intr_home; message senders read */
	bool intr_home; /* the state of all controllers is in the devices: vCPUs parked, pins silent */
	struct irq_router *irq_router; /* GSIs: every device's line to PIC and I/O APIC goes through it */
	struct machine_irqfds *irqfds;
	_Atomic unsigned a20_gates; /* bit 0: keyboard controller, bit 1: port 92; open while either is */

	struct machine_io_thread *io_thread;         /* config.io_threads of them; io_threads.c */
	unsigned io_thread_count;                    /* started so far */
	unsigned io_thread_next;                     /* whose turn it is to get a device */
	struct irq_line pci_line[MACHINE_PCI_SLOTS]; /* INTA# of each slot that had a function */
	uint32_t virtio_slots;                       /* a bit each that is taken; board_virtio.c */
	unsigned virtio_slot;                        /* of the device that was added last */
	uint64_t pmem_gpa[MACHINE_PMEM_MAX];         /* where the files of config.pmem are; virtio_pmem.c */

	struct machine_disk_part disk[MACHINE_DISKS_MAX]; /* in the order of config.disks */
	size_t disk_count;
	struct machine_net_part net[OPTION_LIST_MAX]; /* in the order of config.net */
	struct device *balloon;                       /* NULL: there is none */

	struct chardev_env chardev_env;
	struct chardev *chardev[MACHINE_SERIAL_MAX + MACHINE_CONSOLE_MAX]; /* serial ports' first */
	size_t chardev_count;
	struct chardev *console; /* the first of them: a console hub; NULL: there is none */

	struct machine_side side[MACHINE_SIDES]; /* 0: that which the machine was made with */
	unsigned active_side;                    /* main thread; the fields above are its */
	pthread_mutex_t side_lock;               /* guards the making of side 1; taken with none held */
	struct accel_switching *switching;       /* accel_switch.c */
	struct machine_dirty *dirty;             /* dirty_log.c */
	_Atomic int accel_interprets;            /* assist.c: 0 not asked yet, 1 yes, -1 no */

	struct machine_pausing pausing;
	struct snapshot_log *snapshot_log;        /* snapshot_log.c; NULL: nobody asked for it */
	const struct machine_snapshot *restoring; /* while it is being made; NULL: from a kernel */
	struct machine_run run;
};

/* builder.c: keeps a created device, or passes NULL on as an error. Returns 0 or err's code. */
int machine_keep_device(struct machine *machine, struct device *device, struct err *err);

/* builder.c: the CPUID table of a CPU, the same for every accelerator. */
int machine_cpuid_build(struct machine *machine, unsigned index, struct x86_cpuid_table *cpuid,
			struct err *err);

/* host_x86.c: fills machine->host; the pins over the accelerator. */
void machine_host_init(struct machine *machine);
struct cpu_pins machine_cpu_pins(struct machine *machine);
uint64_t machine_tsc_to_monotonic_ns(void *opaque, unsigned cpu, uint64_t tsc);

/*
 * intr_x86.c: a line to GSI `gsi`, shared with whoever else asks for it (levels are ORed); *line. Devices of
 * any thread may move it with the board lock held, not the interrupt lock. 0, or -errno.
 */
int machine_irq_line(struct machine *machine, unsigned gsi, struct irq_line *line, struct err *err);
/*
 * Brings all that the accelerator holds of interrupt controllers, timers, doorbells and irqfds home to the
 * devices (leave), and gives it to the present accelerator (enter), which need not be the same. Between the
 * two the devices' state is whole and current, their timers stand still, lines and messages of other threads
 * are kept in it. Main thread, every vCPU parked; enter: after the vCPUs' own state was set. A machine is
 * made with everything at home, and it stays there when enter fails. Any reset, saving, loading or hand-over
 * happens between the two.
 */
int machine_intr_leave(struct machine *machine, struct err *err);
int machine_intr_enter(struct machine *machine, struct err *err);

/* What the board connects its controllers to; they look up where the local APICs are. Interrupt lock held. */
struct irq_line machine_pic_output(struct machine *machine);
struct intr_sink machine_ioapic_sink(struct machine *machine);
void machine_ioapic_routed(struct machine *machine, unsigned pin, uint64_t entry);
/* The vector of the interrupt that a CPU takes now, or -1. Takes the interrupt lock. */
int machine_intr_acknowledge(struct machine *machine, unsigned cpu);

/* Router, message sink and irqfds, and their fields in device_env. After the buses. */
int machine_intr_init(struct machine *machine, struct err *err);
void machine_intr_destroy(struct machine *machine);
/* The accelerator is told no more of doorbells and irqfds: the machine is being destroyed. */
void machine_intr_close(struct machine *machine);

/* load_x86.c: puts the kernel into memory and the CPUs into their first state. Every vCPU is parked. */
int machine_load(struct machine *machine, struct err *err);
/* A zeroed state, aligned as its vector registers want; owned (free), or NULL. */
struct x86_cpu_state *machine_new_cpu_state(void);

/*
 * clocks.c: the clocks of a side's CPUs, all read at about one moment, machine->vcpu_count of them; set so
 * that they go on as if they had never stopped since; or from what they were, as if no time had passed. No
 * vCPU runs.
 */
int machine_clocks_get(const struct machine *machine, const struct machine_side *side,
		       struct accel_clock *clock, struct err *err);
int machine_clocks_set(const struct machine *machine, const struct machine_side *side,
		       const struct accel_clock *clock, struct err *err);
int machine_clocks_continue(const struct machine *machine, const struct machine_side *side,
			    const struct accel_clock *clock, struct err *err);

/* snapshot.c: what was latched is latched again. */
void machine_drive_pins(const struct accel_ops *ops, struct accel_vcpu *vcpu, const struct accel_pins *pins);

/* run.c: asks the main thread. Any thread, any lock held but run.lock. */
void machine_run_request(struct machine *machine, enum machine_request request, uint32_t value);
/* Parks every vCPU; whether they ran. Main thread, as is resume. */
bool machine_run_pause(struct machine *machine);
void machine_run_resume(struct machine *machine);
/* Asks the main thread to run the machine on the other accelerator for a while; vCPUs park until then. */
void machine_run_lend(struct machine *machine);
int machine_run_init(struct machine *machine, struct err *err);
void machine_run_destroy(struct machine *machine);

/* vcpu.c: the threads. */
int machine_vcpus_start(struct machine *machine, struct err *err);
void machine_vcpus_kick(struct machine *machine);
/* Whether vCPUs are to park or end, for one that runs outside of the accelerator. */
bool machine_vcpu_must_park(struct machine *machine);
/* Waits until every vCPU is parked; the target must not be TARGET_RUNNING. */
void machine_vcpus_wait_parked(struct machine *machine);
/* Ends and joins the threads. */
void machine_vcpus_stop(struct machine *machine);

/* cpu_report_x86.c: logs the registers, at level error. */
void cpu_report_x86(unsigned index, const struct x86_cpu_state *state);

/* io_threads.c: threads that run an event loop each, for queues and backends; from before the devices to
 * after. */
int machine_io_threads_start(struct machine *machine, struct err *err);
void machine_io_threads_stop(struct machine *machine);
/* device_env with the io_loop of the thread whose turn it is. A device and its backend use the same. */
struct device_env machine_io_env(struct machine *machine);

/*
 * board_virtio.c: the virtio devices of the configuration, in the order of virtio_kinds, each with its
 * transport in the next slot. machine_add_virtio keeps the device (NULL passes on as an error) and gives it a
 * slot.
 */
int machine_add_virtio_devices(struct machine *machine, struct err *err);
int machine_add_virtio(struct machine *machine, struct device *device, struct err *err);
/* Of a device that got none, because adding it failed. */
#define VIRTIO_NO_SLOT 31
/* Takes a device and its transport away and destroys them; its slot is free again. Every vCPU is parked. */
void machine_remove_virtio(struct machine *machine, struct device *device, unsigned slot);

/* virtio_*.c: the devices of one kind that the configuration asks for; 0, or -errno with a message that names
 * the flag. */
int machine_add_disks(struct machine *machine, struct err *err);
int machine_add_nets(struct machine *machine, struct err *err);
int machine_add_rngs(struct machine *machine, struct err *err);
int machine_add_shares(struct machine *machine, struct err *err);
int machine_add_vsock(struct machine *machine, struct err *err);
int machine_add_vhost_users(struct machine *machine, struct err *err);

/* Where virtio-mmio begins, above the RAM below 4 GiB; the boot timer has the page if there is one. */
#define MACHINE_VIRTIO_MMIO_GPA 0xc0000000ull

/* virtio_disk.c: after the devices. */
void machine_close_disks(struct machine *machine);
int machine_add_balloons(struct machine *machine, struct err *err);
int machine_add_consoles(struct machine *machine, struct err *err);
int machine_add_pmems(struct machine *machine, struct err *err);

/* control.c: a list of the configuration gets an equal of this record, or loses one. */
int machine_add_wish(struct machine *machine, const char *path, const void *wish, struct err *err);
void machine_drop_wish(struct machine *machine, const char *path, size_t index);

/* Maps the files of config.pmem at the first places from gpa on; before the accelerator has the memory. */
#define MACHINE_PMEM_ALIGNMENT (1ull << 30) /* so that the guest's kernel maps it with its largest pages */
int machine_add_pmem_memory(struct machine *machine, uint64_t gpa, struct err *err);

/* builder.c: opens one more backend, which lives as long as the machine; NULL with err set. */
struct chardev *machine_open_chardev(struct machine *machine, const char *spec, struct err *err);

/* board_pci.c: the host bridge, if the configuration has something on it; what tables and firmware say of it.
 */
int machine_add_pci(struct machine *machine, struct err *err);
void machine_describe_pci(const struct machine *machine, struct boot_x86_config *boot);
void machine_assign_pci(struct machine *machine);
/* CONFADD, for the reset port's range; opaque is the machine. */
uint32_t machine_confadd_read(void *opaque);
void machine_confadd_write(void *opaque, uint32_t value);
/* A line for INTA# of this slot. */
int machine_pci_line(struct machine *machine, unsigned slot, struct irq_line *line, struct err *err);
