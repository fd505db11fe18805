/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a hostile driver of the source of random bytes, with and without limits, and with a source
 * that ends or lets wait. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/virtio/rng.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_driver.h"

/* The driver first: the operation finds the pipe behind it. */
struct rng_fuzz {
	struct virtio_driver driver;
	int pipe[2];
};

/* The source has more, or the board resets the device. */
static void act(struct virtio_driver *driver)
{
	static const uint8_t bytes[256];
	uint8_t how = (uint8_t)virtio_fuzz_take(driver->input, 1);

	if (how & 1)
		driver->device->class->reset(driver->device);
	else
		(void)!write(((struct rng_fuzz *)driver)->pipe[1], bytes, how);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct rng_fuzz fuzz = {.driver = {.input = &input, .other = act}};
	uint8_t how = (uint8_t)virtio_fuzz_take(&input, 1);
	char source[32];
	struct rng_config config = {
		.id = "rng0",
		.source = how & 8   ? source
			  : how & 1 ? "/dev/zero"
				    : "/dev/null",
		.bytes_per_s = how & 16  ? 1u << 30
			       : how & 2 ? 4096
					 : 0,
		.requests_per_s = how & 32  ? 1000000
				  : how & 4 ? 10
					    : 0,
	};

	if (pipe2(fuzz.pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return 0;
	snprintf(source, sizeof(source), "/proc/self/fd/%d", fuzz.pipe[0]);
	fuzz.driver.guest = virtio_guest_create();
	fuzz.driver.device = rng_create(&fuzz.driver.guest->env, &config, &fuzz.driver.guest->err);
	virtio_driver_run(&fuzz.driver);
	virtio_guest_destroy(fuzz.driver.guest);
	close(fuzz.pipe[0]);
	close(fuzz.pipe[1]);
	return 0;
}
