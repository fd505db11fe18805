/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a hostile driver of a device that another process implements, and a process that lies in one
 * of the ways that vhost_peer.h knows. The process asserts that every address it is given lies in the memory
 * that it was given. What a process may answer in any bytes, fuzz_vhost_user.c looks at.
 *
 * The process is a thread that stays from input to input: starting one takes longer than an input.
 */
#include <stdlib.h>
#include <unistd.h>

#include "devices/virtio/vhost_user.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_driver.h"
#include "tests/unit/vhost_peer.h"

#define F_PROTOCOL (1ull << 30)
#define F_VERSION  (1ull << 32)

/* The driver first: the operation finds the process behind it. */
struct vhost_fuzz {
	struct virtio_driver driver;
	struct vhost_peer *peer;
};

static void act(struct virtio_driver *driver)
{
	static const enum vhost_peer_fault faults[] = {
		PEER_HONEST, PEER_CLOSES, PEER_USES_UNKNOWN_ID, PEER_USES_TWICE, PEER_WRITES_TOO_MUCH,
	};
	struct vhost_peer *peer = ((struct vhost_fuzz *)driver)->peer;
	uint8_t how = (uint8_t)virtio_fuzz_take(driver->input, 1);

	if (how & 1) { /* let it answer */
		usleep(200);
		virtio_guest_run(driver->guest);
	} else {
		atomic_store(&peer->fault, faults[how / 2 % (sizeof(faults) / sizeof(faults[0]))]);
	}
}

static void end_peer(int status, void *opaque)
{
	vhost_peer_destroy(opaque);
	(void)status;
}

static struct vhost_peer *peer_of_all_inputs(void)
{
	static struct vhost_peer *peer;

	if (!peer) {
		peer = vhost_peer_start(F_PROTOCOL | F_VERSION | 0xffffff);
		on_exit(end_peer, peer);
	}
	return peer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct vhost_fuzz fuzz = {.driver = {.input = &input, .other = act}, .peer = peer_of_all_inputs()};
	uint8_t how = (uint8_t)virtio_fuzz_take(&input, 1);
	const struct vhost_user_config config = {
		.id = "vhost0",
		.kind = (enum vhost_user_kind)(how % 3),
		.socket = fuzz.peer->path,
		.queues = 1 + (how >> 4) % 2,
		.tag = "files",
		.mac = {2, 3, 4, 5, 6, 7},
	};

	atomic_store(&fuzz.peer->fault, PEER_HONEST);
	fuzz.driver.guest = virtio_guest_create();
	fuzz.driver.device = vhost_user_create(&fuzz.driver.guest->env, &config, &fuzz.driver.guest->err);
	if (fuzz.driver.device)
		virtio_driver_run(&fuzz.driver);
	virtio_guest_destroy(fuzz.driver.guest);
	return 0;
}
