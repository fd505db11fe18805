/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a hostile driver of the balloon; the host changes the target and asks how things are. */
#include "devices/virtio/balloon.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_driver.h"

static void act(struct virtio_driver *driver)
{
	struct balloon_status status;

	balloon_set_target(driver->device, virtio_fuzz_take(driver->input, 2) << 12, NULL);
	balloon_get_status(driver->device, &status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct virtio_driver driver = {.guest = virtio_guest_create(), .input = &input, .other = act};
	uint8_t how = (uint8_t)virtio_fuzz_take(&input, 1);
	const struct balloon_config config = {
		.id = "balloon0",
		.size_bytes = 1u << 20,
		.deflate_on_oom = how & 1,
		.page_reporting = how & 2,
		.stats_interval_s = how & 4 ? 1 : 0,
	};

	driver.device = balloon_create(&driver.guest->env, &config, &driver.guest->err);
	virtio_driver_run(&driver);
	virtio_guest_destroy(driver.guest);
	return 0;
}
