/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any ring memory, popped, completed and put back in any order, split and packed. What a chain
 * promises is looked at whenever one comes: all iovecs lie in memory, no more than the cap, sums are right.
 * Memory also changes at the moments when the queue writes to it, as another CPU's would.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "devices/virtio/virtqueue.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_fuzz.h"
#include "vmm/core/gmem.h"

#define RAM_BYTES  0x8000u
#define MORE_GPA   RAM_BYTES
#define MORE_BYTES 0x1000u
#define ROM_GPA    0x20000u
#define SIZE_MAX_  16
#define IOV_MAX_   6
#define DESC_GPA   0x1000u
#define DRIVER_GPA 0x2000u
#define DEVICE_GPA 0x3000u

struct rig {
	struct gmem *gmem;
	struct virtqueue queue;
	struct virtqueue_features features;
	struct virtq_chain *held[SIZE_MAX_];
	unsigned held_count;
	unsigned returnable; /* the last so many of them were popped last and in a row */
	unsigned broken;
	/* The other CPU: at the next write by the queue, 16 bits at `gpa` become `value`. */
	bool armed;
	uint32_t gpa;
	uint16_t value;
};

static void rig_on_broken(void *opaque, unsigned index, const char *why)
{
	struct rig *rig = opaque;

	assert(index == 0 && why && why[0]);
	rig->broken++;
}

static void rig_on_written(void *opaque, uint64_t gpa, uint64_t len)
{
	struct rig *rig = opaque;
	uint8_t *hva = rig->armed ? gmem_span(rig->gmem, rig->gpa, 2) : NULL;

	assert(len > 0);
	assert(gmem_span(rig->gmem, gpa, 1));
	rig->armed = false;
	if (hva)
		memcpy(hva, &rig->value, 2);
}

static bool rig_is_memory(const struct rig *rig, const struct iovec *iov, bool write)
{
	const uint8_t *start = iov->iov_base;

	for (size_t i = 0; i < gmem_region_count(rig->gmem); i++) {
		const struct gmem_region *region = gmem_region_at(rig->gmem, i);

		if (start >= region->hva && start < region->hva + region->size_bytes)
			return iov->iov_len <= (size_t)(region->hva + region->size_bytes - start) &&
			       !(write && region->kind == GMEM_ROM);
	}
	return false;
}

static void rig_check(const struct rig *rig, const struct virtq_chain *chain)
{
	assert(chain->read_count + chain->write_count <= IOV_MAX_);
	assert(chain->read_count + chain->write_count > 0);
	assert(virtq_iov_bytes(chain->read, chain->read_count) == chain->read_bytes);
	assert(virtq_iov_bytes(chain->write, chain->write_count) == chain->write_bytes);
	for (unsigned i = 0; i < chain->read_count; i++)
		assert(chain->read[i].iov_len > 0 && rig_is_memory(rig, &chain->read[i], false));
	for (unsigned i = 0; i < chain->write_count; i++)
		assert(chain->write[i].iov_len > 0 && rig_is_memory(rig, &chain->write[i], true));
}

static void rig_pop(struct rig *rig)
{
	struct virtq_chain *chain = virtqueue_pop(&rig->queue);

	if (!chain)
		return;
	assert(rig->broken == 0 && rig->held_count < SIZE_MAX_);
	rig_check(rig, chain);
	rig->held[rig->held_count++] = chain;
	rig->returnable++;
}

/* Takes any held chain out, keeping the order of the rest. */
static struct virtq_chain *rig_take(struct rig *rig, unsigned which)
{
	struct virtq_chain *chain;

	if (rig->held_count == 0)
		return NULL;
	which %= rig->held_count;
	chain = rig->held[which];
	rig->held_count--;
	memmove(&rig->held[which], &rig->held[which + 1], (rig->held_count - which) * sizeof(rig->held[0]));
	if (rig->returnable > rig->held_count - which)
		rig->returnable = rig->held_count - which;
	return chain;
}

static void rig_complete(struct rig *rig, uint64_t operand)
{
	struct virtq_chain *chain = rig_take(rig, (unsigned)operand & 0xff);
	uint8_t bytes[32] = {0x55};
	uint64_t written;

	if (!chain)
		return;
	written = chain->write_bytes ? (operand >> 8) % (chain->write_bytes + 1) : 0;
	virtq_chain_write(chain, operand >> 8, bytes, sizeof(bytes));
	virtq_chain_read(chain, operand >> 8, bytes, sizeof(bytes));
	virtqueue_complete(chain, written);
}

static void rig_give_back(struct rig *rig)
{
	if (rig->returnable == 0)
		return;
	rig->returnable--;
	virtqueue_return(rig->held[--rig->held_count]);
}

static void rig_drop_all(struct rig *rig)
{
	while (rig->held_count > 0)
		virtqueue_discard(rig->held[--rig->held_count]);
	rig->returnable = 0;
	assert(rig->queue.in_flight == 0 && rig->queue.slots_in_flight == 0);
}

/* Stopped and started where it was, as a pause does; or anew, as a reset. */
static void rig_restart(struct rig *rig, struct virtio_fuzz_input *input)
{
	uint64_t what = virtio_fuzz_take(input, 1);

	rig_drop_all(rig);
	virtqueue_stop(&rig->queue);
	if (what & 1) {
		virtqueue_reset(&rig->queue);
		rig->queue.size = (uint16_t)(what >> 1);
		rig->queue.desc_gpa = DESC_GPA;
		rig->queue.driver_gpa = DRIVER_GPA;
		rig->queue.device_gpa = DEVICE_GPA;
		rig->broken = 0;
	}
	if (rig->queue.broken)
		return;
	virtqueue_start(&rig->queue, &rig->features, NULL);
}

static void rig_step(struct rig *rig, struct virtio_fuzz_input *input)
{
	switch (virtio_fuzz_take(input, 1) & 7) {
	case 0: virtio_fuzz_poke(rig->gmem, input); return;
	case 1: rig_pop(rig); return;
	case 2: rig_complete(rig, virtio_fuzz_take(input, 3)); return;
	case 3: virtqueue_publish(&rig->queue); return;
	case 4: rig_give_back(rig); return;
	case 5: rig_restart(rig, input); return;
	case 6:
		rig->gpa = (uint32_t)virtio_fuzz_take(input, 2);
		rig->value = (uint16_t)virtio_fuzz_take(input, 2);
		rig->armed = true;
		return;
	default: virtqueue_has_buffers(&rig->queue); return;
	}
}

static void rig_init(struct rig *rig, uint64_t kind)
{
	const struct virtqueue_config config = {
		.gmem = rig->gmem = gmem_create(),
		.size_max = SIZE_MAX_,
		.iov_max = IOV_MAX_,
		.request_bytes = 8,
		.broken = rig_on_broken,
		.opaque = rig,
	};

	rig->features =
		(struct virtqueue_features){.packed = kind & 1, .event_idx = kind & 2, .indirect = kind & 4};
	assert(gmem_add(rig->gmem, 0, RAM_BYTES, GMEM_RAM, NULL) == 0);
	assert(gmem_add(rig->gmem, MORE_GPA, MORE_BYTES, GMEM_RAM, NULL) == 0);
	assert(gmem_add(rig->gmem, ROM_GPA, 0x1000, GMEM_ROM, NULL) == 0);
	assert(gmem_listen(rig->gmem, rig_on_written, rig) == 0);
	assert(virtqueue_init(&rig->queue, &config, NULL) == 0);
	rig->queue.size = kind & 8 ? SIZE_MAX_ : 4;
	rig->queue.desc_gpa = DESC_GPA;
	rig->queue.driver_gpa = DRIVER_GPA;
	rig->queue.device_gpa = DEVICE_GPA;
	assert(virtqueue_start(&rig->queue, &rig->features, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct rig rig = {.broken = 0};

	rig_init(&rig, virtio_fuzz_take(&input, 1));
	for (unsigned step = 0; step < VIRTIO_FUZZ_STEPS && input.size; step++)
		rig_step(&rig, &input);
	rig_drop_all(&rig);
	virtqueue_stop(&rig.queue);
	virtqueue_destroy(&rig.queue);
	gmem_destroy(rig.gmem);
	return 0;
}
