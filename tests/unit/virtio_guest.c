/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's side of virtio for tests: memory, start, announcements. The rings are virtio_guest_ring.c. */
#include "tests/unit/virtio_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "vmm/base/loop.h"

#define GUEST_PAGE_BYTES    4096u
#define GUEST_WATCHED_BYTES (VIRTIO_GUEST_RAM_BYTES + VIRTIO_GUEST_MORE_BYTES)

static void guest_on_written(void *opaque, uint64_t gpa, uint64_t len)
{
	struct virtio_guest *guest = opaque;

	assert_true(len > 0);
	for (uint64_t i = 0; guest->announced && i < len && gpa + i < GUEST_WATCHED_BYTES; i++)
		guest->announced[gpa + i] = 1;
}

static struct virtio_guest *guest_of(const struct virtio_transport *transport)
{
	uintptr_t at = (uintptr_t)transport - offsetof(struct virtio_guest, transport);

	return (struct virtio_guest *)at;
}

static void guest_on_queue_interrupt(const struct virtio_transport *transport, unsigned queue)
{
	guest_of(transport)->queue[queue].interrupts++;
	virtio_isr_raise(guest_of(transport)->virtio, VIRTIO_ISR_QUEUE);
}

static void guest_on_config_interrupt(const struct virtio_transport *transport)
{
	guest_of(transport)->config_interrupts++;
	virtio_isr_raise(guest_of(transport)->virtio, VIRTIO_ISR_CONFIG);
}

static void guest_on_reset(const struct virtio_transport *transport)
{
	guest_of(transport)->resets++;
}

static void guest_set_line(void *opaque, unsigned number, bool level)
{
	((struct virtio_guest *)opaque)->line = level;
	(void)number;
}

struct virtio_guest *virtio_guest_create(void)
{
	struct virtio_guest *guest = calloc(1, sizeof(*guest));

	assert_non_null(guest);
	log_set_level(LOG_OFF); /* hostile guests are noisy */
	pthread_mutex_init(&guest->lock, NULL);
	pthread_mutex_init(&guest->intr_lock, NULL);
	guest->gmem = gmem_create();
	assert_int_equal(gmem_add(guest->gmem, 0, VIRTIO_GUEST_RAM_BYTES, GMEM_RAM, NULL), 0);
	assert_int_equal(
		gmem_add(guest->gmem, VIRTIO_GUEST_MORE_GPA, VIRTIO_GUEST_MORE_BYTES, GMEM_RAM, NULL), 0);
	assert_int_equal(gmem_add(guest->gmem, VIRTIO_GUEST_ROM_GPA, VIRTIO_GUEST_ROM_BYTES, GMEM_ROM, NULL),
			 0);
	assert_int_equal(gmem_listen(guest->gmem, guest_on_written, guest), 0);
	guest->env = (struct device_env){
		.gmem = guest->gmem, .lock = &guest->lock, .intr_lock = &guest->intr_lock};
	guest->env.loop = guest->env.io_loop = loop_create(&guest->err);
	assert_non_null(guest->env.loop);
	guest->transport = (struct virtio_transport){
		.queue_interrupt = guest_on_queue_interrupt,
		.config_interrupt = guest_on_config_interrupt,
		.on_reset = guest_on_reset,
	};
	guest->free_gpa = 4096; /* 0 stays empty: a driver that forgot an address is seen */
	return guest;
}

void virtio_guest_destroy(struct virtio_guest *guest)
{
	if (guest->virtio) {
		virtio_disconnect(guest->virtio);
		guest->virtio->device.class->destroy(&guest->virtio->device);
	}
	loop_destroy(guest->env.loop);
	gmem_destroy(guest->gmem);
	pthread_mutex_destroy(&guest->lock);
	pthread_mutex_destroy(&guest->intr_lock);
	free(guest->before);
	free(guest->announced);
	free(guest);
}

uint64_t virtio_guest_alloc(struct virtio_guest *guest, size_t bytes, size_t align)
{
	uint64_t gpa = (guest->free_gpa + align - 1) & ~(uint64_t)(align - 1);

	guest->free_gpa = gpa + bytes;
	assert_true(guest->free_gpa <= VIRTIO_GUEST_RAM_BYTES);
	return gpa;
}

void *virtio_guest_at(struct virtio_guest *guest, uint64_t gpa, size_t len)
{
	void *hva = gmem_span(guest->gmem, gpa, len);

	assert_non_null(hva);
	return hva;
}

void virtio_guest_attach(struct virtio_guest *guest, struct device *device)
{
	const struct irq_line line = {.set = guest_set_line, .opaque = guest};

	assert_non_null(device);
	guest->virtio = (struct virtio_device *)device;
	virtio_offer(guest->virtio, VIRTIO_BIT(VIRTIO_F_RING_PACKED));
	virtio_connect(guest->virtio, &guest->transport, &line);
}

bool virtio_guest_negotiate(struct virtio_guest *guest, unsigned ring, uint64_t features)
{
	uint8_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

	guest->ring = ring;
	features |= VIRTIO_BIT(VIRTIO_F_VERSION_1);
	features |= ring & VIRTIO_GUEST_PACKED ? VIRTIO_BIT(VIRTIO_F_RING_PACKED) : 0;
	features |= ring & VIRTIO_GUEST_EVENT_IDX ? VIRTIO_BIT(VIRTIO_F_EVENT_IDX) : 0;
	features |= ring & VIRTIO_GUEST_INDIRECT ? VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) : 0;
	virtio_status_write(guest->virtio, VIRTIO_STATUS_ACKNOWLEDGE);
	virtio_status_write(guest->virtio, status);
	virtio_driver_features_write(guest->virtio, 0, (uint32_t)features);
	virtio_driver_features_write(guest->virtio, 1, (uint32_t)(features >> 32));
	virtio_status_write(guest->virtio, status | VIRTIO_STATUS_FEATURES_OK);
	return virtio_status(guest->virtio) & VIRTIO_STATUS_FEATURES_OK;
}

void virtio_guest_set_up_queue(struct virtio_guest *guest, unsigned index, uint16_t size)
{
	struct virtio_guest_queue *queue = &guest->queue[index];
	const uint64_t all = UINT64_MAX;

	assert_true(size <= 256);
	*queue = (struct virtio_guest_queue){.size = size, .avail_wrap = true, .used_wrap = true};
	queue->desc_gpa = virtio_guest_alloc(guest, 16u * size, 16);
	queue->driver_gpa = virtio_guest_alloc(guest, 6 + 2u * size, 4);
	queue->device_gpa = virtio_guest_alloc(guest, 6 + 8u * size, 4);
	assert_true(virtio_queue_write(guest->virtio, index, VIRTIO_QUEUE_SIZE, all, size));
	assert_true(virtio_queue_write(guest->virtio, index, VIRTIO_QUEUE_DESC, all, queue->desc_gpa));
	assert_true(virtio_queue_write(guest->virtio, index, VIRTIO_QUEUE_DRIVER, all, queue->driver_gpa));
	assert_true(virtio_queue_write(guest->virtio, index, VIRTIO_QUEUE_DEVICE, all, queue->device_gpa));
	virtio_queue_enable(guest->virtio, index);
	assert_true(virtio_queue_is_enabled(guest->virtio, index));
}

void virtio_guest_driver_ok(struct virtio_guest *guest)
{
	virtio_status_write(guest->virtio, virtio_status(guest->virtio) | VIRTIO_STATUS_DRIVER_OK);
}

void virtio_guest_start(struct virtio_guest *guest, struct device *device, unsigned ring, uint64_t features)
{
	virtio_guest_attach(guest, device);
	assert_true(virtio_guest_negotiate(guest, ring, features));
	for (unsigned i = 0; i < guest->virtio->queue_count; i++) {
		uint16_t size = virtio_queue_size_max(guest->virtio, i);

		virtio_guest_set_up_queue(guest, i,
					  size < VIRTIO_GUEST_QUEUE_SIZE ? size : VIRTIO_GUEST_QUEUE_SIZE);
	}
	virtio_guest_driver_ok(guest);
	assert_true(virtio_is_active(guest->virtio));
}

/* Each round delivers one batch; the wait of 0 returns without one when nothing is ready, after which nothing
 * moves. */
void virtio_guest_run(struct virtio_guest *guest)
{
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(loop_run_once(guest->env.loop, 0), 0);
}

void virtio_guest_kick(struct virtio_guest *guest, unsigned queue)
{
	virtio_queue_notify(guest->virtio, queue);
	virtio_guest_run(guest);
}

void virtio_guest_wait(struct virtio_guest *guest, unsigned queue, uint16_t *id, uint32_t *len)
{
	for (unsigned i = 0; i < 1000; i++) {
		if (virtio_guest_take(guest, queue, id, len))
			return;
		assert_int_equal(loop_run_once(guest->env.loop, 10), 0);
	}
	fail_msg("queue %u: the device uses nothing", queue);
}

uint32_t virtio_guest_request(struct virtio_guest *guest, unsigned queue, const void *out, size_t out_len,
			      void *in, size_t in_len)
{
	const uint64_t keep = guest->free_gpa;
	struct virtio_guest_buffer buffers[2];
	unsigned count = 0;
	uint64_t out_gpa = virtio_guest_alloc(guest, out_len, 16);
	uint64_t in_gpa = virtio_guest_alloc(guest, in_len, 16);
	uint16_t added, id;
	uint32_t len;

	if (out_len > 0) {
		memcpy(virtio_guest_at(guest, out_gpa, out_len), out, out_len);
		buffers[count++] = (struct virtio_guest_buffer){.gpa = out_gpa, .len = (uint32_t)out_len};
	}
	if (in_len > 0)
		buffers[count++] =
			(struct virtio_guest_buffer){.gpa = in_gpa, .len = (uint32_t)in_len, .write = true};
	added = virtio_guest_add(guest, queue, buffers, count);
	virtio_guest_kick(guest, queue);
	virtio_guest_wait(guest, queue, &id, &len);
	assert_int_equal(id, added);
	assert_true(len <= in_len);
	if (in_len > 0)
		memcpy(in, virtio_guest_at(guest, in_gpa, in_len), in_len);
	guest->free_gpa = keep; /* the next request may use the memory again */
	return len;
}

void virtio_guest_watch_writes(struct virtio_guest *guest)
{
	if (!guest->before) {
		guest->before = calloc(1, GUEST_WATCHED_BYTES);
		guest->announced = calloc(1, GUEST_WATCHED_BYTES);
	}
	assert_non_null(guest->before);
	assert_non_null(guest->announced);
	memcpy(guest->before, gmem_span(guest->gmem, 0, VIRTIO_GUEST_RAM_BYTES), VIRTIO_GUEST_RAM_BYTES);
	memcpy(guest->before + VIRTIO_GUEST_MORE_GPA,
	       gmem_span(guest->gmem, VIRTIO_GUEST_MORE_GPA, VIRTIO_GUEST_MORE_BYTES),
	       VIRTIO_GUEST_MORE_BYTES);
	memset(guest->announced, 0, GUEST_WATCHED_BYTES);
}

static void guest_check_page(struct virtio_guest *guest, uint64_t page_gpa, const uint8_t *page)
{
	for (uint64_t i = 0; i < GUEST_PAGE_BYTES; i++) {
		if (page[i] != guest->before[page_gpa + i] && !guest->announced[page_gpa + i])
			fail_msg("the byte at 0x%llx was written and not announced",
				 (unsigned long long)(page_gpa + i));
	}
}

void virtio_guest_check_writes(struct virtio_guest *guest)
{
	for (uint64_t gpa = 0; gpa < GUEST_WATCHED_BYTES; gpa += GUEST_PAGE_BYTES) {
		const uint8_t *page = gmem_span(guest->gmem, gpa, GUEST_PAGE_BYTES);

		if (memcmp(page, guest->before + gpa, GUEST_PAGE_BYTES) != 0)
			guest_check_page(guest, gpa, page);
	}
}

static size_t guest_state_bytes(enum state_type type)
{
	switch (type) {
	case STATE_U8: return 1;
	case STATE_U16: return 2;
	case STATE_U32: return 4;
	case STATE_U64: return 8;
	case STATE_BOOL: return sizeof(bool);
	}
	return 0;
}

static void guest_copy_field(const struct state_field *field, const uint8_t *from, uint8_t *to)
{
	size_t bytes = field->count * guest_state_bytes(field->type);
	uint32_t copies = 1;

	if (field->group)
		memcpy(&copies, from + field->group->count_offset, sizeof(copies));
	for (uint32_t i = 0; i < copies; i++) {
		size_t at = field->offset + (field->group ? i * field->group->stride : 0);

		memcpy(to + at, from + at, bytes);
	}
}

void virtio_guest_copy_state(const struct device *from, struct device *to)
{
	assert_ptr_equal(from->class, to->class);
	for (const struct state_field *field = from->class->state; field->name; field++)
		guest_copy_field(field, (const uint8_t *)from, (uint8_t *)to);
}

void virtio_guest_move(struct virtio_guest *guest, struct device *to)
{
	struct device *from = &guest->virtio->device;
	const struct irq_line line = {.set = guest_set_line, .opaque = guest};

	assert_non_null(to);
	from->class->pause(from);
	virtio_guest_copy_state(from, to);
	virtio_disconnect(guest->virtio);
	from->class->destroy(from);
	guest->virtio = (struct virtio_device *)to;
	virtio_offer(guest->virtio, VIRTIO_BIT(VIRTIO_F_RING_PACKED));
	virtio_connect(guest->virtio, &guest->transport, &line);
	to->class->resume(to);
}
