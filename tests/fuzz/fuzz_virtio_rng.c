/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a hostile driver of the source of random bytes, with and without limits, and with a source
 * that ends. */
#include "devices/virtio/rng.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_driver.h"

static void act(struct virtio_driver *driver)
{
	driver->device->class->reset(driver->device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct virtio_driver driver = {.guest = virtio_guest_create(), .input = &input, .other = act};
	uint8_t how = (uint8_t)virtio_fuzz_take(&input, 1);
	const struct rng_config config = {
		.id = "rng0",
		.source = how & 1 ? "/dev/zero" : "/dev/null",
		.bytes_per_s = how & 2 ? 4096 : 0,
		.requests_per_s = how & 4 ? 10 : 0,
	};

	driver.device = rng_create(&driver.guest->env, &config, &driver.guest->err);
	virtio_driver_run(&driver);
	virtio_guest_destroy(driver.guest);
	return 0;
}
