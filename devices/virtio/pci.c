/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI transport: identity, capabilities, the BAR's regions, doorbells that follow the BAR, interrupts by
 * MSI-X or INTx. virtio 1.2, 4.1. Knows the device model, no device.
 */
#include "devices/virtio/pci.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/pci_parts.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"

#define VIRTIO_PCI_VENDOR_ID 0x1af4
#define VIRTIO_PCI_DEVICE_ID 0x1040 /* and the device's type, 4.1.2 */
#define VIRTIO_PCI_SUBSYSTEM 0x1100
#define VIRTIO_PCI_REVISION  1

/* virtio_pci_cap.cfg_type, 4.1.4. */
enum pci_region {
	REGION_COMMON = 1,
	REGION_NOTIFY = 2,
	REGION_ISR = 3,
	REGION_DEVICE = 4,
	REGION_WINDOW = 5
};

/* struct virtio_pci_cap, with what two of its kinds add: notify_off_multiplier, resp. pci_cfg_data. */
struct pci_region_capability {
	uint8_t id, next, len, type, bar, unused[3];
	uint32_t offset, length;
	uint32_t more;
} __attribute__((packed));
static_assert(sizeof(struct pci_region_capability) == 20, "virtio 1.2, 4.1.4");
#define REGION_BYTES 16u /* without `more` */

static struct virtio_pci *pci_of_transport(const struct virtio_transport *transport)
{
	return (struct virtio_pci *)((uintptr_t)transport - offsetof(struct virtio_pci, transport));
}

static struct virtio_pci *pci_of(struct pci_function *function)
{
	return (struct virtio_pci *)((uintptr_t)function - offsetof(struct virtio_pci, function));
}

/* Interrupts: 4.1.4.5 and 4.1.5.1.2. With MSI-X, the status register and INTx are not used. */

static void pci_interrupt(struct virtio_pci *pci, uint16_t vector, enum virtio_isr isr)
{
	if (pci_msix_is_enabled(&pci->function))
		pci_msix_notify(&pci->function, vector);
	else
		virtio_isr_raise(pci->virtio, isr);
}

static void pci_on_queue_interrupt(const struct virtio_transport *transport, unsigned queue)
{
	struct virtio_pci *pci = pci_of_transport(transport);

	pci_interrupt(pci, pci->queue_vector[queue], VIRTIO_ISR_QUEUE);
}

static void pci_on_config_interrupt(const struct virtio_transport *transport)
{
	struct virtio_pci *pci = pci_of_transport(transport);

	pci_interrupt(pci, pci->config_vector, VIRTIO_ISR_CONFIG);
}

static void pci_on_reset(const struct virtio_transport *transport)
{
	virtio_pci_common_reset(pci_of_transport(transport));
}

static void pci_on_resume(const struct virtio_transport *transport)
{
	pci_function_resume(&pci_of_transport(transport)->function);
}

static void pci_set_line(void *opaque, unsigned number, bool level)
{
	struct virtio_pci *pci = opaque;

	(void)number;
	pci_set_intx(&pci->function, level);
}

/* The BAR. */

static uint64_t pci_read_device(struct virtio_pci *pci, uint64_t offset, unsigned size_bytes)
{
	uint64_t value = 0;

	virtio_config_read(pci->virtio, offset, &value, size_bytes);
	return value;
}

static uint64_t pci_bar_read(struct pci_function *function, unsigned bar, uint64_t offset,
			     unsigned size_bytes)
{
	struct virtio_pci *pci = pci_of(function);

	(void)bar;
	switch (offset / VIRTIO_PCI_REGION_BYTES * VIRTIO_PCI_REGION_BYTES) {
	case VIRTIO_PCI_COMMON: return virtio_pci_common_read(pci, offset, size_bytes);
	case VIRTIO_PCI_ISR: return offset == VIRTIO_PCI_ISR ? virtio_isr_clear(pci->virtio, UINT32_MAX) : 0;
	case VIRTIO_PCI_DEVICE: return pci_read_device(pci, offset - VIRTIO_PCI_DEVICE, size_bytes);
	case VIRTIO_PCI_MSIX_TABLE:
		if (offset < VIRTIO_PCI_MSIX_PBA)
			return pci_msix_table_read(function, offset - VIRTIO_PCI_MSIX_TABLE, size_bytes);
		return pci_msix_pba_read(function, offset - VIRTIO_PCI_MSIX_PBA, size_bytes);
	default: return 0;
	}
}

static void pci_bar_write(struct pci_function *function, unsigned bar, uint64_t offset, uint64_t value,
			  unsigned size_bytes)
{
	struct virtio_pci *pci = pci_of(function);

	(void)bar;
	switch (offset / VIRTIO_PCI_REGION_BYTES * VIRTIO_PCI_REGION_BYTES) {
	case VIRTIO_PCI_COMMON: virtio_pci_common_write(pci, offset, value, size_bytes); return;
	case VIRTIO_PCI_DEVICE:
		virtio_config_write(pci->virtio, offset - VIRTIO_PCI_DEVICE, &value, size_bytes);
		return;
	case VIRTIO_PCI_NOTIFY:
		virtio_queue_notify(pci->virtio,
				    (uint32_t)(offset - VIRTIO_PCI_NOTIFY) / VIRTIO_PCI_NOTIFY_STEP);
		return;
	case VIRTIO_PCI_MSIX_TABLE:
		if (offset < VIRTIO_PCI_MSIX_PBA)
			pci_msix_table_write(function, offset - VIRTIO_PCI_MSIX_TABLE, value, size_bytes);
		return;
	default: return;
	}
}

/* Doorbells: a driver writes the queue's index, 16 bits (4.1.5.2). */

static struct bus_doorbell pci_doorbell(const struct virtio_pci *pci, unsigned queue)
{
	return (struct bus_doorbell){
		.address = pci->notify_gpa + (uint64_t)queue * VIRTIO_PCI_NOTIFY_STEP,
		.size_bytes = 2,
		.fd = pci->virtio->kick_fd[queue],
	};
}

static void pci_remove_doorbells(struct virtio_pci *pci)
{
	while (pci->doorbell_count > 0) {
		struct bus_doorbell doorbell = pci_doorbell(pci, --pci->doorbell_count);

		bus_doorbell_remove(pci->mmio, &doorbell);
	}
	pci->notify_gpa = PCI_BAR_OFF;
}

/* Without a doorbell (the table is full, or two BARs overlap) the BAR's own handler does the same, more
 * slowly. */
static void pci_bar_moved(struct pci_function *function, unsigned bar, uint64_t base)
{
	struct virtio_pci *pci = pci_of(function);

	(void)bar;
	pci_remove_doorbells(pci);
	if (base == PCI_BAR_OFF)
		return;
	pci->notify_gpa = base + VIRTIO_PCI_NOTIFY;
	for (unsigned i = 0; i < pci->virtio->queue_count; i++) {
		struct bus_doorbell doorbell = pci_doorbell(pci, i);

		if (bus_doorbell_add(pci->mmio, &doorbell, NULL) < 0)
			return;
		pci->doorbell_count++;
	}
}

/*
 * The window, 4.1.4.9: a driver that cannot reach the BAR names a piece of it in the capability and accesses
 * that through the configuration space. What it names is looked at when it is used.
 */
static bool pci_window(const struct virtio_pci *pci, uint32_t *offset, uint32_t *len)
{
	const struct pci_function *function = &pci->function;
	unsigned at = pci->window_capability;

	*offset = pci_get32(function, at + offsetof(struct pci_region_capability, offset));
	*len = pci_get32(function, at + offsetof(struct pci_region_capability, length));
	return function->config[at + offsetof(struct pci_region_capability, bar)] == VIRTIO_PCI_BAR &&
	       (*len == 1 || *len == 2 || *len == 4) && *offset % *len == 0 && *offset < VIRTIO_PCI_BAR_BYTES;
}

static bool pci_is_window(const struct virtio_pci *pci, unsigned offset, unsigned size_bytes)
{
	unsigned data = pci->window_capability + (unsigned)offsetof(struct pci_region_capability, more);

	return offset < data + 4 && data < offset + size_bytes;
}

static void pci_config_before_read(struct pci_function *function, unsigned offset, unsigned size_bytes)
{
	struct virtio_pci *pci = pci_of(function);
	uint32_t at, len, value;

	if (!pci_is_window(pci, offset, size_bytes) || !pci_window(pci, &at, &len))
		return;
	value = (uint32_t)pci_bar_read(function, VIRTIO_PCI_BAR, at, len);
	memcpy(function->config + pci->window_capability + offsetof(struct pci_region_capability, more),
	       &value, sizeof(value));
}

static void pci_config_after_write(struct pci_function *function, unsigned offset, unsigned size_bytes)
{
	struct virtio_pci *pci = pci_of(function);
	unsigned data = pci->window_capability + (unsigned)offsetof(struct pci_region_capability, more);
	uint32_t at, len;
	uint64_t value;

	if (!pci_is_window(pci, offset, size_bytes) || !pci_window(pci, &at, &len))
		return;
	value = pci_get32(function, data) & (len == 4 ? UINT32_MAX : (1u << 8 * len) - 1);
	pci_bar_write(function, VIRTIO_PCI_BAR, at, value, len);
}

static const struct pci_function_ops pci_ops = {
	.bar_read = pci_bar_read,
	.bar_write = pci_bar_write,
	.bar_moved = pci_bar_moved,
	.config_read = pci_config_before_read,
	.config_written = pci_config_after_write,
};

/* Life. */

/* Class codes are advice to whoever lists devices; drivers go by the id. PCI code and id assignment 1.11. */
static uint32_t pci_class_code(enum virtio_type type)
{
	switch (type) {
	case VIRTIO_TYPE_NET: return 0x020000;
	case VIRTIO_TYPE_BLOCK: return 0x018000;
	case VIRTIO_TYPE_CONSOLE: return 0x078000;
	case VIRTIO_TYPE_9P:
	case VIRTIO_TYPE_FS: return 0x018000;
	case VIRTIO_TYPE_VSOCK: return 0x028000;
	case VIRTIO_TYPE_MEM:
	case VIRTIO_TYPE_PMEM: return 0x050000;
	case VIRTIO_TYPE_ENTROPY:
	case VIRTIO_TYPE_BALLOON: break;
	}
	return 0xff0000;
}

static unsigned pci_add_region(struct virtio_pci *pci, enum pci_region type, uint32_t offset, uint32_t length,
			       const uint32_t *more)
{
	struct pci_region_capability capability = {
		.len = (uint8_t)(REGION_BYTES + (more ? sizeof(*more) : 0)),
		.type = (uint8_t)type,
		.bar = VIRTIO_PCI_BAR,
		.offset = offset,
		.length = length,
		.more = more ? *more : 0,
	};

	return pci_add_capability(&pci->function, PCI_CAPABILITY_VENDOR, &capability, capability.len);
}

static void pci_add_capabilities(struct virtio_pci *pci, const struct msi_sink *msi)
{
	const uint32_t step = VIRTIO_PCI_NOTIFY_STEP, none = 0;
	unsigned window;

	pci_add_msix(&pci->function, pci->virtio->queue_count + 1, VIRTIO_PCI_BAR, VIRTIO_PCI_MSIX_TABLE,
		     VIRTIO_PCI_MSIX_PBA, msi);
	pci_add_region(pci, REGION_COMMON, VIRTIO_PCI_COMMON, VIRTIO_PCI_COMMON_BYTES, NULL);
	pci_add_region(pci, REGION_NOTIFY, VIRTIO_PCI_NOTIFY, VIRTIO_PCI_REGION_BYTES, &step);
	pci_add_region(pci, REGION_ISR, VIRTIO_PCI_ISR, 1, NULL);
	if (pci->virtio->config_bytes > 0)
		pci_add_region(pci, REGION_DEVICE, VIRTIO_PCI_DEVICE, pci->virtio->config_bytes, NULL);
	window = pci_add_region(pci, REGION_WINDOW, 0, 0, &none);
	pci_set_writable(&pci->function, window + offsetof(struct pci_region_capability, bar), 1);
	pci_set_writable(&pci->function, window + offsetof(struct pci_region_capability, offset), 12);
	pci->window_capability = window;
}

static void pci_reset(struct device *device)
{
	pci_function_reset(&((struct virtio_pci *)device)->function);
}

static void pci_free(struct virtio_pci *pci)
{
	pci_function_release(&pci->function);
	pthread_mutex_destroy(&pci->lock);
	free(pci);
}

static void pci_destroy(struct device *device)
{
	struct virtio_pci *pci = (struct virtio_pci *)device;

	pci_remove_doorbells(pci);
	virtio_disconnect(pci->virtio);
	pci->function.bus->detach(pci->function.bus, &pci->function);
	pci_free(pci);
}

static const struct state_field pci_state[] = {
	STATE_ARRAY(STATE_U8, struct virtio_pci, function.config, PCI_CONFIG_BYTES),
	STATE_FIELD(STATE_BOOL, struct virtio_pci, function.intx_level),
	STATE_ARRAY(STATE_U64, struct virtio_pci, function.msix.address, PCI_MSIX_MAX),
	STATE_ARRAY(STATE_U32, struct virtio_pci, function.msix.data, PCI_MSIX_MAX),
	STATE_ARRAY(STATE_U32, struct virtio_pci, function.msix.control, PCI_MSIX_MAX),
	STATE_ARRAY(STATE_U64, struct virtio_pci, function.msix.pending, PCI_MSIX_MAX / 64),
	STATE_FIELD(STATE_U32, struct virtio_pci, device_features_sel),
	STATE_FIELD(STATE_U32, struct virtio_pci, driver_features_sel),
	STATE_FIELD(STATE_U32, struct virtio_pci, queue_sel),
	STATE_FIELD(STATE_U16, struct virtio_pci, config_vector),
	STATE_ARRAY(STATE_U16, struct virtio_pci, queue_vector, VIRTIO_QUEUES_MAX),
	{.name = NULL},
};

static int pci_loaded(struct device *device, struct err *err)
{
	pci_function_loaded(&((struct virtio_pci *)device)->function);
	return 0;
}

static const struct device_class pci_class = {
	.name = "virtio-pci",
	.state = pci_state,
	.reset = pci_reset,
	.loaded = pci_loaded,
	.destroy = pci_destroy,
};

static void pci_init(struct virtio_pci *pci, const struct device_env *env, const struct irq_line *intx)
{
	enum virtio_type type = pci->virtio->type;
	const struct pci_identity identity = {
		.vendor_id = VIRTIO_PCI_VENDOR_ID,
		.device_id = (uint16_t)(VIRTIO_PCI_DEVICE_ID + type),
		.subsystem_vendor_id = VIRTIO_PCI_VENDOR_ID,
		.subsystem_id = VIRTIO_PCI_SUBSYSTEM,
		.class_code = pci_class_code(type),
		.revision = VIRTIO_PCI_REVISION,
		.has_intx = true,
	};

	pci->device.class = &pci_class;
	snprintf(pci->device.id, sizeof(pci->device.id), "pci-%.27s", pci->virtio->device.id);
	pci->device.description = (struct device_description){.irq = {-1, -1}};
	pthread_mutex_init(&pci->lock, NULL);
	pci->notify_gpa = PCI_BAR_OFF;
	pci_function_init(&pci->function, &identity, &pci_ops);
	pci->function.intx = *intx;
	pci_add_bar(&pci->function, VIRTIO_PCI_BAR, VIRTIO_PCI_BAR_BYTES, true, true);
	pci_add_capabilities(pci, &env->msi);
	virtio_pci_common_reset(pci);
	pci->transport = (struct virtio_transport){
		.queue_interrupt = pci_on_queue_interrupt,
		.config_interrupt = pci_on_config_interrupt,
		.on_reset = pci_on_reset,
		.on_resume = pci_on_resume,
	};
}

struct device *virtio_pci_create(const struct device_env *env, struct virtio_device *virtio,
				 const struct virtio_pci_config *config, struct err *err)
{
	struct virtio_pci *pci = calloc(1, sizeof(*pci));
	struct irq_line line;

	if (!pci) {
		err_set(err, -ENOMEM, "no memory for %s", virtio->device.id);
		return NULL;
	}
	pci->virtio = virtio;
	pci->mmio = env->mmio;
	pci_init(pci, env, &config->intx);
	if (config->bus->attach(config->bus, &pci->function, config->slot, err) < 0) {
		pci_free(pci);
		return NULL;
	}
	line = (struct irq_line){.set = pci_set_line, .opaque = pci};
	virtio_connect(virtio, &pci->transport, &line);
	return &pci->device;
}
