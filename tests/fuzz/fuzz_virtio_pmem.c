/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a hostile driver of persistent memory, whose buffers may lie in it. */
#include <sys/mman.h>
#include <unistd.h>

#include "devices/virtio/pmem.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_driver.h"

#define PMEM_GPA (32u << 20)

static void act(struct virtio_driver *driver)
{
	driver->device->class->reset(driver->device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct virtio_driver driver = {.guest = virtio_guest_create(), .input = &input, .other = act};
	struct gmem_file file = {
		.fd = memfd_create("pmem", MFD_CLOEXEC),
		.file_bytes = 8192,
		.size_bytes = PMEM_ALIGNMENT,
		.kind = virtio_fuzz_take(&input, 1) & 1 ? GMEM_ROM : GMEM_DEVICE,
	};
	struct pmem_config config = {
		.id = "pmem0", .gpa = PMEM_GPA, .size_bytes = PMEM_ALIGNMENT, .file_bytes = 8192};

	if (ftruncate(file.fd, 8192) < 0 ||
	    gmem_add_file(driver.guest->gmem, PMEM_GPA, &file, &driver.guest->err) < 0)
		return 0;
	config.hva = gmem_span(driver.guest->gmem, PMEM_GPA, PMEM_ALIGNMENT);
	driver.device = pmem_create(&driver.guest->env, &config, &driver.guest->err);
	virtio_driver_run(&driver);
	virtio_guest_destroy(driver.guest);
	return 0;
}
