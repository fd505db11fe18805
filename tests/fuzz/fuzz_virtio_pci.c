/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any accesses to the configuration space of a PCI bus, by ports and ECAM, and to a virtio
 * device behind it, wherever its BAR may be.
 */
#include "devices/pci/host.h"
#include "devices/virtio/pci.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_fuzz.h"
#include "tests/unit/virtio_echo.h"
#include "vmm/core/bus.h"

#define ECAM    0xe0000000ull
#define WINDOW  0xc1000000ull
#define HIGH    (1ull << 40)
#define SLOT    1u
#define BAR_LEN 0x8000u

struct rig {
	struct virtio_guest *guest;
	struct device *host, *pci;
	unsigned messages;
};

static void on_message(void *opaque, uint64_t address, uint32_t data)
{
	((struct rig *)opaque)->messages++;
	(void)address;
	(void)data;
}

static void access_at(struct bus *bus, uint64_t base, uint64_t len, struct virtio_fuzz_input *input)
{
	uint64_t how = virtio_fuzz_take(input, 1);
	uint64_t offset = virtio_fuzz_take(input, 2) % len;
	unsigned size = 1u << (how & 3);

	if (how & 4)
		bus_read(bus, base + offset, size);
	else
		bus_write(bus, base + offset, virtio_fuzz_take(input, size), size);
}

static void access_by_ports(struct rig *rig, struct virtio_fuzz_input *input)
{
	pci_host_address_write(rig->host, (uint32_t)virtio_fuzz_take(input, 4));
	access_at(rig->guest->env.pio, PCI_HOST_DATA_PORT, 4, input);
}

static void step(struct rig *rig, struct virtio_fuzz_input *input)
{
	struct bus *mmio = rig->guest->env.mmio;
	struct device *device = &rig->guest->virtio->device;
	uint64_t op = virtio_fuzz_take(input, 1);

	switch (op & 7) {
	case 0: virtio_fuzz_poke(rig->guest->gmem, input); return;
	case 1: access_at(mmio, ECAM + (SLOT << 15), 0x1000, input); return;
	case 2: access_at(mmio, op & 8 ? WINDOW : HIGH, op & 16 ? 0x10000 : BAR_LEN, input); return;
	case 3: virtio_guest_run(rig->guest); return;
	case 4: access_by_ports(rig, input); return;
	case 5: pci_host_assign_bars(rig->host); return;
	case 6:
		device->class->reset(device);
		rig->pci->class->reset(rig->pci);
		rig->host->class->reset(rig->host);
		return;
	default:
		device->class->pause(device);
		device->class->resume(device);
		return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pci_host_config host = {
		.ecam_base = ECAM,
		.window = {{.base = WINDOW, .size = 1 << 20}, {.base = HIGH, .size = 1 << 20}}};
	struct virtio_fuzz_input input = {data, size};
	struct rig rig = {.guest = virtio_guest_create()};
	struct device_env *env = &rig.guest->env;
	struct virtio_pci_config pci = {.slot = SLOT};

	env->mmio = bus_create("memory", 46);
	env->pio = bus_create("port", 16);
	env->msi = (struct msi_sink){.send = on_message, .opaque = &rig};
	rig.host = pci_host_create(env, &host, &rig.guest->err);
	rig.guest->virtio = (struct virtio_device *)echo_create(rig.guest);
	virtio_offer(rig.guest->virtio, VIRTIO_BIT(VIRTIO_F_RING_PACKED));
	pci.bus = pci_host_bus(rig.host);
	rig.pci = virtio_pci_create(env, rig.guest->virtio, &pci, &rig.guest->err);
	for (unsigned i = 0; i < VIRTIO_FUZZ_STEPS && input.size; i++)
		step(&rig, &input);
	rig.pci->class->destroy(rig.pci);
	rig.host->class->destroy(rig.host);
	bus_destroy(env->mmio);
	bus_destroy(env->pio);
	virtio_guest_destroy(rig.guest);
	return 0;
}
