/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a kernel file, whatever its kind: the whole way from detection to the entry registers. The
 * first byte chooses protocol and options, the rest is the file.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

#define FUZZ_RAM_SIZE (32u << 20)

static int fuzz_file_create(const uint8_t *data, size_t size)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	assert(fd >= 0);
	while (size) {
		ssize_t done = write(fd, data, size);

		assert(done > 0);
		data += done;
		size -= (size_t)done;
	}
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct x86_cpu_state *bsp = aligned_alloc(_Alignof(struct x86_cpu_state), sizeof(*bsp));
	struct gmem *gmem = gmem_create();
	struct boot_x86_config config = {.cmdline = "console=ttyS0",
					 .cpu_count = 1,
					 .lapic_gpa = 0xfee00000,
					 .ioapic_gpa = 0xfec00000};
	struct boot_x86_summary summary = {0};
	struct module module = {.cmdline = "arguments"};
	struct err err = {0};
	char path[32];
	int fd, ret;

	if (!size || !bsp)
		goto out;
	memset(bsp, 0, sizeof(*bsp));
	assert(gmem && !gmem_add(gmem, 0, FUZZ_RAM_SIZE, GMEM_RAM, NULL));
	fd = fuzz_file_create(data + 1, size - 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config.kernel_path = module.path = path;
	config.protocol = (enum boot_protocol)((data[0] & 7) % (BOOT_FLAT + 1));
	config.module = &module;
	config.module_count = data[0] >> 3 & 1;
	config.no_acpi = config.no_mptable = data[0] >> 4 & 1;
	config.device_tree = data[0] >> 5 & 1;
	ret = boot_x86_prepare(gmem, &config, bsp, &summary, &err);
	assert(ret ? err.code == ret && err.message[0] : summary.protocol != BOOT_AUTO);
	assert(ret || bsp->rip || bsp->segment[X86_CS].base);
	close(fd);
out:
	gmem_destroy(gmem);
	free(bsp);
	return 0;
}
