/* SPDX-License-Identifier: Apache-2.0 */
/* The device model: status, features, configuration space, resets that wait for what is in flight. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/virtio_echo.h"
#include "vmm/base/loop.h"

/* A device that writes down what is asked of it. Feature 3 needs feature 2. */
struct probe {
	struct virtio_device virtio;
	unsigned activated, started, stopped, resets, paused, resumed, kicked;
	bool refuse, keep; /* activate fails; chains stay in flight after a stop */
	struct virtq_chain *chain;
	struct loop_timer *timer;
};

static bool probe_accepts(struct virtio_device *virtio, uint64_t features)
{
	(void)virtio;
	return !(features & VIRTIO_BIT(3)) || (features & VIRTIO_BIT(2));
}

static void probe_config_write(struct virtio_device *virtio, size_t offset, const uint8_t *bytes, size_t len)
{
	if (offset == 4 && len == 2)
		virtio_config_set(virtio, offset, bytes, len);
}

static int probe_activate(struct virtio_device *virtio, struct err *err)
{
	struct probe *probe = (struct probe *)virtio;

	probe->activated++;
	return probe->refuse ? err_set(err, -5, "it refuses") : 0;
}

static void probe_start(struct virtio_device *virtio, unsigned index)
{
	((struct probe *)virtio)->started += 1 + index;
}

static void probe_kick(struct virtio_device *virtio, unsigned index)
{
	struct probe *probe = (struct probe *)virtio;

	probe->kicked++;
	if (!probe->chain)
		probe->chain = virtqueue_pop(&virtio->queue[index]);
}

static void probe_complete(void *opaque)
{
	struct probe *probe = opaque;

	if (probe->chain)
		virtqueue_complete_now(probe->chain, 0);
	probe->chain = NULL;
}

/* A backend that takes its time: the chain is completed by the loop, later. */
static void probe_stop(struct virtio_device *virtio, unsigned index)
{
	struct probe *probe = (struct probe *)virtio;

	(void)index;
	probe->stopped++;
	if (probe->keep && probe->chain)
		loop_timer_arm(probe->timer, 1);
	else if (probe->chain)
		virtqueue_discard(probe->chain);
	if (!probe->keep)
		probe->chain = NULL;
}

static void probe_reset(struct virtio_device *virtio)
{
	struct probe *probe = (struct probe *)virtio;

	assert_null(probe->chain);
	probe->resets++;
}

static void probe_pause(struct virtio_device *virtio)
{
	((struct probe *)virtio)->paused++;
}

static void probe_resume(struct virtio_device *virtio)
{
	((struct probe *)virtio)->resumed++;
}

static void probe_destroy(struct device *device)
{
	struct probe *probe = (struct probe *)device;

	virtio_release(&probe->virtio);
	loop_timer_destroy(probe->timer);
	free(probe);
}

static const struct device_class probe_class = {
	.name = "virtio-probe",
	.reset = virtio_class_reset,
	.pause = virtio_class_pause,
	.resume = virtio_class_resume,
	.destroy = probe_destroy,
};

static const struct virtio_ops probe_ops = {
	.accepts_features = probe_accepts,
	.config_write = probe_config_write,
	.activate = probe_activate,
	.queue_start = probe_start,
	.queue_kick = probe_kick,
	.queue_stop = probe_stop,
	.reset = probe_reset,
	.pause = probe_pause,
	.resume = probe_resume,
};

static struct probe *probe_create(struct virtio_guest *guest)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	const uint8_t config[6] = {1, 2, 3, 4, 5, 6};
	const struct virtio_init init = {
		.class = &probe_class,
		.ops = &probe_ops,
		.id = "probe0",
		.type = VIRTIO_TYPE_CONSOLE,
		.features = VIRTIO_BIT(2) | VIRTIO_BIT(3),
		.queue_count = 2,
		.config = config,
		.config_bytes = sizeof(config),
	};

	assert_non_null(probe);
	assert_int_equal(virtio_init(&probe->virtio, &guest->env, &init, &guest->err), 0);
	probe->timer = loop_timer_create(guest->env.io_loop, probe_complete, probe, &guest->err);
	assert_non_null(probe->timer);
	return probe;
}

static bool status_has(struct virtio_guest *guest, uint8_t bits)
{
	return (virtio_status(guest->virtio) & bits) == bits;
}

/* 3.1.1 and 6.1: which features the device agrees to. */
static void features_are_negotiated(void **state)
{
	static const struct {
		uint64_t features;
		bool agreed;
	} cases[] = {
		{VIRTIO_BIT(2), true},
		{VIRTIO_BIT(2) | VIRTIO_BIT(3), true},
		{VIRTIO_BIT(3), false}, /* the device's own rule */
		{VIRTIO_BIT(4), false}, /* not offered */
		{VIRTIO_BIT(VIRTIO_F_IN_ORDER), false},
		{VIRTIO_BIT(63), false},
		{VIRTIO_BIT(VIRTIO_F_RING_RESET), true},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct virtio_guest *guest = virtio_guest_create();

		virtio_guest_attach(guest, &probe_create(guest)->virtio.device);
		assert_int_equal(virtio_guest_negotiate(guest, 0, cases[i].features), cases[i].agreed);
		assert_int_equal(guest->virtio->driver_errors, !cases[i].agreed);
		virtio_guest_destroy(guest);
	}
	(void)state;
}

/* A legacy driver does not know VERSION_1, and one that forgets FEATURES_OK is not served. */
static void old_drivers_are_refused(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct probe *probe = probe_create(guest);

	virtio_guest_attach(guest, &probe->virtio.device);
	virtio_status_write(guest->virtio, 1);
	virtio_status_write(guest->virtio, 3);
	virtio_status_write(guest->virtio, 3 | VIRTIO_STATUS_FEATURES_OK);
	assert_false(status_has(guest, VIRTIO_STATUS_FEATURES_OK));
	virtio_status_write(guest->virtio, 3 | VIRTIO_STATUS_DRIVER_OK);
	assert_false(status_has(guest, VIRTIO_STATUS_DRIVER_OK));
	assert_int_equal(probe->activated, 0);
	virtio_guest_destroy(guest);
	(void)state;
}

/* 2.1: bits stay until a reset; features are frozen by FEATURES_OK; nothing but the driver's bits can be set.
 */
static void status_bits_stay(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct probe *probe = probe_create(guest);

	virtio_guest_attach(guest, &probe->virtio.device);
	assert_true(virtio_guest_negotiate(guest, 0, VIRTIO_BIT(2)));
	virtio_driver_features_write(guest->virtio, 0, 0);
	assert_true(virtio_has_feature(guest->virtio, 2));
	virtio_status_write(guest->virtio, VIRTIO_STATUS_ACKNOWLEDGE);
	assert_int_equal(virtio_status(guest->virtio), 1 | 2 | 8);
	virtio_status_write(guest->virtio, 0xff & ~VIRTIO_STATUS_DRIVER_OK);
	assert_int_equal(virtio_status(guest->virtio), 1 | 2 | 8 | 128);
	virtio_status_write(guest->virtio, 0);
	assert_int_equal(virtio_status(guest->virtio), 0);
	assert_int_equal(guest->virtio->driver_features, 0);
	assert_int_equal(probe->resets, 0); /* it never was active */
	assert_int_equal(guest->resets, 1);
	virtio_guest_destroy(guest);
	(void)state;
}

static void activation_may_fail(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct probe *probe = probe_create(guest);

	probe->refuse = true;
	virtio_guest_attach(guest, &probe->virtio.device);
	assert_true(virtio_guest_negotiate(guest, 0, 0));
	virtio_guest_set_up_queue(guest, 0, 16);
	virtio_guest_driver_ok(guest);
	assert_true(status_has(guest, VIRTIO_STATUS_NEEDS_RESET));
	assert_int_equal(guest->config_interrupts, 1);
	virtio_guest_kick(guest, 0);
	assert_int_equal(probe->kicked, 0);
	virtio_status_write(guest->virtio, 0);
	assert_int_equal(probe->resets, 1);
	virtio_guest_destroy(guest);
	(void)state;
}

/* No queue is enabled before the features, none changed while it is enabled, none served before DRIVER_OK. */
static void queues_in_their_order(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct probe *probe = probe_create(guest);

	virtio_guest_attach(guest, &probe->virtio.device);
	virtio_queue_enable(guest->virtio, 0);
	assert_false(virtio_queue_is_enabled(guest->virtio, 0));
	assert_true(virtio_guest_negotiate(guest, 0, 0));
	virtio_guest_set_up_queue(guest, 0, 16);
	assert_false(virtio_queue_write(guest->virtio, 0, VIRTIO_QUEUE_DESC, UINT64_MAX, 0));
	assert_int_equal(virtio_queue_read(guest->virtio, 0, VIRTIO_QUEUE_DESC), guest->queue[0].desc_gpa);
	virtio_guest_kick(guest, 0);
	assert_int_equal(probe->kicked, 0);
	virtio_guest_driver_ok(guest);
	assert_int_equal(probe->activated, 1);
	assert_int_equal(probe->kicked, 1); /* buffers may have been there already */
	/* The second queue comes late. */
	virtio_guest_set_up_queue(guest, 1, 16);
	assert_int_equal(probe->started, 2);
	/* Queues that do not exist. */
	assert_false(virtio_queue_write(guest->virtio, 2, VIRTIO_QUEUE_SIZE, UINT64_MAX, 8));
	assert_int_equal(virtio_queue_size_max(guest->virtio, 2), 0);
	assert_int_equal(virtio_queue_size_max(guest->virtio, UINT32_MAX), 0);
	virtio_queue_enable(guest->virtio, UINT32_MAX);
	virtio_queue_reset(guest->virtio, 2);
	virtio_queue_notify(guest->virtio, UINT32_MAX);
	virtio_guest_destroy(guest);
	(void)state;
}

static void config_space(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct probe *probe = probe_create(guest);
	uint8_t bytes[8];
	const uint8_t changed[2] = {0xaa, 0xbb};

	virtio_guest_start(guest, &probe->virtio.device, 0, 0);
	virtio_config_read(guest->virtio, 2, bytes, 8);
	assert_memory_equal(bytes, ((uint8_t[]){3, 4, 5, 6, 0, 0, 0, 0}), 8);
	virtio_config_read(guest->virtio, UINT64_MAX, bytes, 8);
	assert_int_equal(bytes[0], 0);
	virtio_config_write(guest->virtio, 0, changed, 2); /* not writable */
	virtio_config_write(guest->virtio, 4, changed, 2);
	virtio_config_write(guest->virtio, 5, changed, 2); /* beyond the end */
	virtio_config_write(guest->virtio, UINT64_MAX, changed, 2);
	virtio_config_read(guest->virtio, 0, bytes, 6);
	assert_memory_equal(bytes, ((uint8_t[]){1, 2, 3, 4, 0xaa, 0xbb}), 6);
	assert_int_equal(virtio_config_generation(guest->virtio), 0);
	virtio_config_change(guest->virtio, 0, changed, 2);
	assert_int_equal(virtio_config_generation(guest->virtio), 1);
	assert_int_equal(guest->config_interrupts, 1);
	assert_true(guest->line);
	assert_int_equal(virtio_isr_clear(guest->virtio, VIRTIO_ISR_CONFIG), VIRTIO_ISR_CONFIG);
	assert_false(guest->line);
	/* A driver that is not ready is told nothing. */
	virtio_status_write(guest->virtio, 0);
	virtio_config_change(guest->virtio, 0, changed, 2);
	assert_int_equal(guest->config_interrupts, 1);
	virtio_guest_destroy(guest);
	(void)state;
}

static void make_busy(struct virtio_guest *guest, unsigned queue)
{
	const struct virtio_guest_buffer buffer = {4096, 16, true};

	virtio_guest_add(guest, queue, &buffer, 1);
	virtio_guest_kick(guest, queue);
	assert_non_null(((struct probe *)guest->virtio)->chain);
}

/* A reset returns when the backend has given the last chain back, and lowers the line. */
static void a_reset_waits(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct probe *probe = probe_create(guest);

	probe->keep = true;
	virtio_guest_start(guest, &probe->virtio.device, 0, 0);
	make_busy(guest, 0);
	virtio_isr_raise(guest->virtio, VIRTIO_ISR_QUEUE);
	virtio_status_write(guest->virtio, 0);
	assert_null(probe->chain);
	assert_int_equal(probe->resets, 1);
	assert_int_equal(probe->stopped, 2);
	assert_false(guest->line);
	assert_int_equal(virtio_isr(guest->virtio), 0);
	assert_false(virtio_queue_is_enabled(guest->virtio, 0));
	assert_int_equal(virtio_queue_read(guest->virtio, 0, VIRTIO_QUEUE_DESC), 0);
	virtio_guest_destroy(guest);
	(void)state;
}

static void *run_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

/* The same with an I/O thread, as in a machine: the caller sleeps while the loop completes the chain. */
static void a_reset_waits_for_the_io_thread(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct probe *probe = probe_create(guest);
	pthread_t thread;

	probe->keep = true;
	assert_int_equal(pthread_create(&thread, NULL, run_loop, guest->env.io_loop), 0);
	for (unsigned round = 0; round < 50; round++) {
		const struct virtio_guest_buffer buffer = {4096, 16, true};

		virtio_guest_attach(guest, &probe->virtio.device);
		assert_true(virtio_guest_negotiate(guest, 0, 0));
		guest->free_gpa = 4096;
		virtio_guest_set_up_queue(guest, 0, 16);
		virtio_guest_add(guest, 0, &buffer, 1);
		virtio_guest_driver_ok(guest);
		assert_int_equal(probe->activated, round + 1);
		virtio_queue_notify(guest->virtio, 0);
		virtio_status_write(guest->virtio, 0);
		assert_int_equal(probe->resets, round + 1);
	}
	loop_stop(guest->env.io_loop, 0);
	pthread_join(thread, NULL);
	virtio_guest_destroy(guest);
	(void)state;
}

/* 2.6.1: one queue is reset, the other goes on; the queue is set up again, elsewhere. */
static void a_queue_is_reset(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		unsigned ring = packed ? VIRTIO_GUEST_PACKED : 0;
		struct virtio_guest *guest = virtio_guest_create();
		struct device *device = echo_create(guest);
		uint8_t out[3] = "ab", in[3];

		virtio_guest_start(guest, device, ring, VIRTIO_BIT(VIRTIO_F_RING_RESET));
		for (unsigned i = 0; i < 21; i++)
			assert_int_equal(virtio_guest_request(guest, 0, out, 3, in, 3), 3);
		virtio_queue_reset(guest->virtio, 0);
		assert_false(virtio_queue_is_enabled(guest->virtio, 0));
		assert_true(virtio_is_active(guest->virtio));
		virtio_guest_set_up_queue(guest, 0, 8);
		for (unsigned i = 0; i < 21; i++)
			assert_int_equal(virtio_guest_request(guest, 0, out, 3, in, 3), 3);
		assert_int_equal(guest->virtio->ring_errors, 0);
		virtio_guest_destroy(guest);
	}
	(void)state;
}

static void pause_and_resume_are_told(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct probe *probe = probe_create(guest);
	struct device *device = &probe->virtio.device;

	device->class->pause(device);
	device->class->resume(device);
	assert_int_equal(probe->paused + probe->resumed, 0);
	probe->keep = true;
	virtio_guest_start(guest, device, 0, 0);
	make_busy(guest, 0);
	device->class->pause(device);
	assert_null(probe->chain);
	assert_int_equal(probe->paused, 1);
	assert_int_equal(guest->queue[0].interrupts, 1); /* what was completed on the way is shown */
	device->class->resume(device);
	assert_int_equal(probe->resumed, 1);
	assert_int_equal(probe->activated, 1);
	make_busy(guest, 0);
	virtio_guest_destroy(guest);
	(void)state;
}

/* Everything that goes wrong on the way leaves nothing behind (under ASan this is the test). */
static void creation_may_fail(void **state)
{
	struct virtio_guest *guest = virtio_guest_create();
	struct virtio_device *virtio = calloc(1, sizeof(*virtio));
	const struct virtio_queue_init queues[2] = {{.size_max = 16}, {.size_max = 17}};
	const struct virtio_init init = {
		.class = &probe_class, .ops = &probe_ops, .id = "x", .queue_count = 2, .queue = queues};

	assert_non_null(virtio);
	assert_true(virtio_init(virtio, &guest->env, &init, &guest->err) < 0);
	assert_non_null(strstr(guest->err.message, "17"));
	free(virtio);
	virtio_guest_destroy(guest);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features_are_negotiated), cmocka_unit_test(old_drivers_are_refused),
		cmocka_unit_test(status_bits_stay),        cmocka_unit_test(activation_may_fail),
		cmocka_unit_test(queues_in_their_order),   cmocka_unit_test(config_space),
		cmocka_unit_test(a_reset_waits),           cmocka_unit_test(a_reset_waits_for_the_io_thread),
		cmocka_unit_test(a_queue_is_reset),        cmocka_unit_test(pause_and_resume_are_told),
		cmocka_unit_test(creation_may_fail),
	};

	return cmocka_run_group_tests_name("virtio", tests, NULL, NULL);
}
