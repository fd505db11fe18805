/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of boot/ hand each other while one guest is prepared. Nothing outside boot/ includes this
 * but its tests.
 */
#pragma once

#include "boot/boot.h"
#include "boot/e820.h"
#include "loader/image.h"
#include "loader/placement.h"

struct boot_plan {
	struct gmem *gmem;                    /* borrowed */
	const struct boot_x86_config *config; /* borrowed */
	const char *cmdline;                  /* borrowed, never NULL */
	struct image image;                   /* the kernel */
	struct placement placement;
	struct e820_map e820;
	uint64_t rsdp_gpa;         /* 0: no ACPI */
	struct x86_cpu_state *bsp; /* borrowed */
	struct boot_x86_summary summary;
};

/* One function a protocol: loads the kernel and its modules, writes its structures, sets the registers. */
int boot_prepare_bzimage(struct boot_plan *plan, struct err *err);
int boot_prepare_linux_elf(struct boot_plan *plan, struct err *err);
int boot_prepare_pvh(struct boot_plan *plan, struct err *err);
int boot_prepare_multiboot(struct boot_plan *plan, struct err *err);
int boot_prepare_flat(struct boot_plan *plan, struct err *err);

/* Copies text and a final zero to gpa, which must be claimed. -E2BIG when it has more than size_max
 * characters. */
int boot_write_string(struct boot_plan *plan, uint64_t gpa, const char *text, uint64_t size_max,
		      const char *what, struct err *err);
/* gmem_write with a message. */
int boot_write(struct boot_plan *plan, uint64_t gpa, const void *src, uint64_t len, const char *what,
	       struct err *err);

/* Last component of a path: guests need not know the host's folders. */
const char *boot_base_name(const char *path);
