/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an x86 guest sees at its first instruction. One call detects the kernel's kind, loads it and its
 * modules, writes memory map, ACPI and MP tables, and fills in the registers of the boot CPU. Input is
 * neutral: no machine, no device structure, no accelerator is known here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loader/module.h"
#include "vmm/core/cpu_state_x86.h"
#include "vmm/core/device.h"

struct err;
struct gmem;

#define BOOT_CPUS_MAX         1024 /* bounds MADT and DSDT to their 64 KiB */
#define BOOT_DEVICES_MAX      96   /* device nodes of the DSDT */
#define BOOT_COMMAND_LINE_MAX 65535

enum boot_protocol {
	BOOT_AUTO,  /* what the image is: Linux, multiboot, ELF with PVH note, ELF by its entry; never flat */
	BOOT_LINUX, /* bzImage, or ELF entered as Linux's 64-bit (ELF64) or 32-bit (ELF32) boot protocol says
		     */
	BOOT_PVH,   /* ELF with XEN_ELFNOTE_PHYS32_ENTRY */
	BOOT_MULTIBOOT, /* multiboot 1 */
	BOOT_FLAT,      /* raw bytes at flat_gpa, entered in real mode */
};

/* "auto", "linux", "pvh", "multiboot", "flat"; -EINVAL with a message that lists them. */
int boot_protocol_from_name(const char *name, enum boot_protocol *protocol, struct err *err);
const char *boot_protocol_name(enum boot_protocol protocol);

/* I/O ports and numbers of the ACPI hardware, as the board wired it. */
struct boot_acpi_hardware {
	uint16_t pm1a_event_port;   /* 4 bytes: status, enable */
	uint16_t pm1a_control_port; /* 2 bytes; SCI_EN reads 1 from the start: there is no SMI command port */
	uint16_t pm_timer_port;     /* 4 bytes; 0: no PM timer */
	bool pm_timer_is_32bit;     /* otherwise 24 bits count */
	uint16_t reset_port;        /* 0: no reset register */
	uint8_t reset_value;
	uint8_t sci_irq;       /* 9 */
	uint8_t sleep_type_s5; /* SLP_TYPa that means power off */
};

/* A PCI host bridge with bus 0 and up, as the board wired it. */
struct boot_pci {
	uint64_t ecam_gpa; /* 1 MiB a bus; 0: there is no PCI */
	uint8_t last_bus;
	uint64_t low_gpa, low_size;   /* window below 4 GiB */
	uint64_t high_gpa, high_size; /* above; size 0: none */
	const uint8_t *gsi; /* gsi_count of them: pin p (0-3) of slot s is gsi[(s + p) % gsi_count] */
	unsigned gsi_count;
};

struct boot_x86_config {
	enum boot_protocol protocol;
	const char *kernel_path;
	const char *cmdline;         /* NULL: empty */
	const struct module *module; /* initrd and modules, in order; Linux: joined. PVH: joined unless one
					has a cmdline */
	size_t module_count;
	uint64_t flat_gpa; /* BOOT_FLAT: 0 means LAYOUT_FLAT_GPA; below 1 MiB, real mode must reach it */
	uint64_t flat_entry_offset; /* from flat_gpa */

	uint64_t random; /* chooses the addresses of a kernel that is unpacked here; 0: those it was linked
			    for */

	unsigned cpu_count;  /* APIC ids 0 .. cpu_count - 1 */
	uint64_t lapic_gpa;  /* 0xfee00000 */
	uint64_t ioapic_gpa; /* 0xfec00000; 0: none */
	uint8_t ioapic_id;   /* must be what the device answers after reset */
	bool no_acpi;        /* leave out the ACPI tables: MP table only */
	bool no_mptable;     /* leave out the MP table */
	bool device_tree;    /* hand a Linux kernel a device tree as well; -ENOTSUP for others */
	struct boot_acpi_hardware acpi;
	struct boot_pci pci;

	const struct device_description *const *device; /* those with acpi_hid become nodes of the DSDT */
	size_t device_count;
};

/* What was done, for the log and for --print-config. */
struct boot_x86_summary {
	enum boot_protocol protocol; /* never BOOT_AUTO */
	bool is_64bit_entry;
	bool is_unpacked; /* a bzImage's kernel was unpacked before it was entered */
	uint64_t entry_gpa;
	uint64_t initrd_gpa, initrd_size;
	char kernel_version[128]; /* "" when the image does not say */
};

/*
 * Prepares guest memory and the boot CPU. *bsp: the CPU's state as after power-on, of which the entry state
 * changes what the protocol names and leaves the rest (MSRs, XSAVE). summary may be NULL. May be called again
 * after a guest reset: every byte that the guest relies on is written anew. 0, or -errno with a message that
 * names file and cause.
 */
int boot_x86_prepare(struct gmem *gmem, const struct boot_x86_config *config, struct x86_cpu_state *bsp,
		     struct boot_x86_summary *summary, struct err *err);

/*
 * What firmware leaves in every CPU, the application processors included: MTRRs on, write-back by default.
 * Changes only MSRs that the state already lists.
 */
void boot_x86_firmware_msrs(struct x86_cpu_state *cpu);
