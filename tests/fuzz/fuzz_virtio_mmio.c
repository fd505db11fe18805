/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any accesses to the registers of a device on virtio-mmio, with any rings behind them. */
#include "devices/virtio/mmio.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_fuzz.h"
#include "tests/unit/virtio_echo.h"
#include "vmm/core/bus.h"

#define BASE 0xc0000000ull

static void write_register(struct bus *bus, struct virtio_fuzz_input *input)
{
	uint64_t offset = virtio_fuzz_take(input, 2) % VIRTIO_MMIO_SIZE;

	bus_write(bus, BASE + offset, virtio_fuzz_take(input, 4), 4);
}

static void access_any(struct bus *bus, struct virtio_fuzz_input *input)
{
	uint64_t how = virtio_fuzz_take(input, 1);
	uint64_t offset = virtio_fuzz_take(input, 2) % VIRTIO_MMIO_SIZE;
	unsigned size = 1u << (how & 3);

	if (how & 4)
		bus_read(bus, BASE + offset, size);
	else
		bus_write(bus, BASE + offset, virtio_fuzz_take(input, 8), size);
}

static void step(struct virtio_guest *guest, struct virtio_fuzz_input *input)
{
	struct device *device = &guest->virtio->device;

	switch (virtio_fuzz_take(input, 1) & 7) {
	case 0: virtio_fuzz_poke(guest->gmem, input); return;
	case 1: write_register(guest->env.mmio, input); return;
	case 2: access_any(guest->env.mmio, input); return;
	case 3: virtio_guest_run(guest); return;
	case 4: echo_of(guest)->hold = !echo_of(guest)->hold; return;
	case 5: device->class->reset(device); return;
	case 6:
		device->class->pause(device);
		device->class->resume(device);
		return;
	default: virtio_needs_reset(guest->virtio, "the fuzzer says so"); return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct virtio_guest *guest = virtio_guest_create();
	const struct virtio_mmio_config config = {.base = BASE, .gsi = 17};
	struct device *mmio;

	guest->env.mmio = bus_create("memory", 46);
	guest->virtio = (struct virtio_device *)echo_create(guest);
	virtio_offer(guest->virtio, VIRTIO_BIT(VIRTIO_F_RING_PACKED));
	mmio = virtio_mmio_create(&guest->env, guest->virtio, &config, &guest->err);
	for (unsigned i = 0; i < VIRTIO_FUZZ_STEPS && input.size; i++)
		step(guest, &input);
	mmio->class->destroy(mmio);
	bus_destroy(guest->env.mmio);
	virtio_guest_destroy(guest);
	return 0;
}
