/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How interrupts get from devices to CPUs: lines through the router, messages, eventfds; and where the
 * interrupt controllers are, which is the devices' own or the accelerator's (accel.h, enum accel_irqchip).
 *
 * The devices are the home of the controllers' state. While the guest runs on an accelerator that has its
 * own, they are at rest and out of date; machine_intr_leave brings the state home, machine_intr_enter gives
 * it to whom it belongs then. Lines and messages that arrive between change the state at home. The router's
 * lock and the gate are held while it is carried over, so none is lost and none is taken twice.
 */
#include <errno.h>
#include <inttypes.h>

#include "devices/legacy/ioapic.h"
#include "devices/legacy/lapic.h"
#include "devices/legacy/pic.h"
#include "devices/legacy/pit.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/core/bus.h"
#include "vmm/core/irq_router.h"
#include "vmm/core/irqchip_state.h"
#include "vmm/machine/board.h"
#include "vmm/machine/irqfd.h"
#include "vmm/machine/parts.h"

#define ENTRY_LEVEL (1ull << 15)

int machine_irq_line(struct machine *machine, unsigned gsi, struct irq_line *line, struct err *err)
{
	*line = irq_router_line(machine->irq_router, gsi, err);
	return line->set ? 0 : -EINVAL;
}

/* Whether the accelerator has these controllers at the moment; the gate or the router's lock is held. */
static bool intr_is_away(const struct machine *machine, enum accel_irqchip irqchip)
{
	return !machine->intr_home && machine->irqchip == irqchip;
}

static void intr_gsi_set(void *opaque, unsigned gsi, bool level)
{
	struct machine *machine = opaque;

	if (intr_is_away(machine, ACCEL_IRQCHIP_KERNEL))
		machine->accel->irq_line(machine->vm, gsi, level);
	else
		machine->board->gsi_set(machine, gsi, level);
}

static void intr_msi_send(void *opaque, uint64_t address, uint32_t data)
{
	struct machine *machine = opaque;

	pthread_rwlock_rdlock(&machine->intr_gate);
	if (machine->intr_home || machine->irqchip == ACCEL_IRQCHIP_OFF)
		lapic_msi(machine->lapic, address, data);
	else
		machine->accel->msi_send(machine->vm, address, data);
	pthread_rwlock_unlock(&machine->intr_gate);
}

static void intr_pic_output(void *opaque, unsigned number, bool level)
{
	struct machine *machine = opaque;
	struct irq_line lint0;

	if (intr_is_away(machine, ACCEL_IRQCHIP_SPLIT)) {
		machine->accel->vcpu_intr(machine->vcpu[0].accel_vcpu, level);
		return;
	}
	lint0 = lapic_lint_line(machine->lapic, 0);
	irq_line_set(&lint0, level);
}

struct irq_line machine_pic_output(struct machine *machine)
{
	return (struct irq_line){.set = intr_pic_output, .opaque = machine};
}

static void intr_ioapic_deliver(void *opaque, const struct intr_message *message)
{
	struct machine *machine = opaque;
	struct intr_sink sink;
	uint64_t address;
	uint32_t data;

	if (intr_is_away(machine, ACCEL_IRQCHIP_SPLIT)) {
		intr_message_to_msi(message, &address, &data);
		machine->accel->msi_send(machine->vm, address, data);
		return;
	}
	sink = lapic_sink(machine->lapic);
	sink.deliver(sink.opaque, message);
}

struct intr_sink machine_ioapic_sink(struct machine *machine)
{
	return (struct intr_sink){.deliver = intr_ioapic_deliver, .opaque = machine};
}

void machine_ioapic_routed(struct machine *machine, unsigned pin, uint64_t entry)
{
	if (intr_is_away(machine, ACCEL_IRQCHIP_SPLIT))
		machine->accel->ioapic_route(machine->vm, pin, entry);
}

int machine_intr_acknowledge(struct machine *machine, unsigned cpu)
{
	int vector = -1;

	if (machine->irqchip == ACCEL_IRQCHIP_OFF)
		return lapic_acknowledge(machine->lapic, cpu);
	if (machine->irqchip == ACCEL_IRQCHIP_KERNEL)
		return -1;
	pthread_mutex_lock(&machine->intr_lock);
	if (pic_has_interrupt(machine->pic))
		vector = pic_acknowledge(machine->pic);
	pthread_mutex_unlock(&machine->intr_lock);
	return vector;
}

int machine_intr_init(struct machine *machine, struct err *err)
{
	const struct irq_line output = {.set = intr_gsi_set, .opaque = machine};

	machine->irq_router = irq_router_create();
	if (!machine->irq_router)
		return err_set(err, -ENOMEM, "no memory for interrupt lines");
	irq_router_connect(machine->irq_router, &output);
	machine->irqfds = machine_irqfds_create(machine, err);
	if (!machine->irqfds)
		return err_prefix(err, "interrupts");
	machine->device_env.msi = (struct msi_sink){.send = intr_msi_send, .opaque = machine};
	machine->device_env.irqfds = machine_irqfds_maker(machine->irqfds);
	return 0;
}

void machine_intr_destroy(struct machine *machine)
{
	machine_irqfds_destroy(machine->irqfds);
	irq_router_destroy(machine->irq_router);
}

/* What is carried over under the router's lock. */
struct intr_move {
	struct machine *machine;
	struct err *err;
	int code;
};

/* The pins' levels as each chip sees them: GSI 0 is the I/O APIC's pin 2, the PIC's input 2 is its own. */
static void intr_lines_set(struct irqchip_state *state, uint32_t levels)
{
	state->pic.chip[0].lines = (uint8_t)(levels & 0xfb);
	state->pic.chip[1].lines = (uint8_t)(levels >> 8);
	state->ioapic.lines = (levels & ~5u) | (levels & 1) << 2;
}

static int intr_lapics_take(struct machine *machine, struct err *err)
{
	struct lapic_state lapic;
	int code = 0;

	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++) {
		code = machine->accel->lapic_state_get(machine->vcpu[i].accel_vcpu, &lapic, err);
		if (code == 0)
			lapic_state_set(machine->lapic, i, &lapic);
	}
	return code;
}

static int intr_lapics_give(struct machine *machine, struct err *err)
{
	struct lapic_state lapic;
	int code = 0;

	for (unsigned i = 0; i < machine->vcpu_count && code == 0; i++) {
		lapic_state_get(machine->lapic, i, &lapic);
		code = machine->accel->lapic_state_set(machine->vcpu[i].accel_vcpu, &lapic, err);
	}
	return code;
}

static int intr_chips_take(struct machine *machine, uint32_t levels, struct err *err)
{
	struct irqchip_state state = {0};
	int code = machine->accel->irqchip_state_get(machine->vm, &state, err);

	if (code < 0)
		return code;
	intr_lines_set(&state, levels);
	ioapic_state_set(machine->ioapic, &state.ioapic);
	pic_state_set(machine->pic, &state.pic);
	pit_state_set(machine->pit, &state.pit);
	return 0;
}

/* Lines that are levels to a chip are told it; an edge was taken when it came. */
static void intr_give_levels(struct machine *machine, const struct irqchip_state *state, uint32_t levels)
{
	uint32_t elcr = (uint32_t)state->pic.chip[1].elcr << 8 | state->pic.chip[0].elcr;

	/* GSI 0 is the accelerator's own timer's. */
	for (unsigned gsi = 1; gsi < IRQ_ROUTER_PINS; gsi++) {
		bool is_level = (elcr >> gsi & 1) || (state->ioapic.entry[gsi] & ENTRY_LEVEL);

		machine->accel->irq_line(machine->vm, gsi, is_level && (levels >> gsi & 1));
	}
}

static int intr_chips_give(struct machine *machine, uint32_t levels, struct err *err)
{
	struct irqchip_state state = {0};
	int code;

	pic_state_get(machine->pic, &state.pic);
	ioapic_state_get(machine->ioapic, &state.ioapic);
	pit_state_get(machine->pit, &state.pit);
	pit_rest(machine->pit);
	code = machine->accel->irqchip_state_set(machine->vm, &state, err);
	if (code == 0)
		intr_give_levels(machine, &state, levels);
	return code;
}

/* The PIC's output and the I/O APIC's routes go to somebody else from now on. */
static void intr_reconnect(struct machine *machine)
{
	struct irqchip_state state;

	ioapic_state_get(machine->ioapic, &state.ioapic);
	for (unsigned pin = 0; pin < IRQ_ROUTER_PINS; pin++)
		machine_ioapic_routed(machine, pin, state.ioapic.entry[pin]);
	pic_state_get(machine->pic, &state.pic);
	pic_state_set(machine->pic, &state.pic);
}

static void intr_take(void *opaque, uint32_t levels)
{
	struct intr_move *move = opaque;
	struct machine *machine = move->machine;

	pthread_rwlock_wrlock(&machine->intr_gate);
	machine->intr_home = true;
	if (machine->irqchip != ACCEL_IRQCHIP_OFF)
		move->code = intr_lapics_take(machine, move->err);
	if (machine->irqchip == ACCEL_IRQCHIP_KERNEL && move->code == 0)
		move->code = intr_chips_take(machine, levels, move->err);
	if (machine->irqchip == ACCEL_IRQCHIP_SPLIT)
		intr_reconnect(machine);
	pthread_rwlock_unlock(&machine->intr_gate);
}

static void intr_give(void *opaque, uint32_t levels)
{
	struct intr_move *move = opaque;
	struct machine *machine = move->machine;

	pthread_rwlock_wrlock(&machine->intr_gate);
	if (machine->irqchip != ACCEL_IRQCHIP_OFF)
		move->code = intr_lapics_give(machine, move->err);
	if (machine->irqchip == ACCEL_IRQCHIP_KERNEL && move->code == 0)
		move->code = intr_chips_give(machine, levels, move->err);
	machine->intr_home = move->code < 0;
	if (!machine->intr_home && machine->irqchip == ACCEL_IRQCHIP_SPLIT)
		intr_reconnect(machine);
	pthread_rwlock_unlock(&machine->intr_gate);
}

static void intr_doorbell_added(struct machine *machine, enum accel_bus bus,
				const struct bus_doorbell *doorbell)
{
	struct err err = {0};

	if (machine->accel->ioeventfd_add(machine->vm, bus, doorbell, &err) < 0)
		log_debug("a doorbell stays with the bus: %s", err.message);
	else
		log_debug("the doorbell at 0x%" PRIx64 " is %s's", doorbell->address, machine->accel->name);
}

static void intr_mmio_doorbell_added(void *opaque, const struct bus_doorbell *doorbell)
{
	intr_doorbell_added(opaque, ACCEL_BUS_MMIO, doorbell);
}

static void intr_pio_doorbell_added(void *opaque, const struct bus_doorbell *doorbell)
{
	intr_doorbell_added(opaque, ACCEL_BUS_PIO, doorbell);
}

static void intr_mmio_doorbell_removed(void *opaque, const struct bus_doorbell *doorbell)
{
	struct machine *machine = opaque;

	machine->accel->ioeventfd_remove(machine->vm, ACCEL_BUS_MMIO, doorbell);
}

static void intr_pio_doorbell_removed(void *opaque, const struct bus_doorbell *doorbell)
{
	struct machine *machine = opaque;

	machine->accel->ioeventfd_remove(machine->vm, ACCEL_BUS_PIO, doorbell);
}

/* Opaque of intr_coalesce. */
struct intr_bus {
	struct machine *machine;
	enum accel_bus bus;
};

static void intr_coalesce(void *opaque, const struct bus_range *range)
{
	const struct intr_bus *bus = opaque;
	const struct accel_coalesced coalesced = {
		.bus = bus->bus, .address = range->base, .size = (uint32_t)range->size};
	struct err err = {0};

	if (range->late_writes && bus->machine->accel->coalesce(bus->machine->vm, &coalesced, &err) < 0)
		log_debug("writes to %s are not gathered: %s", range->name, err.message);
}

/* Doorbells and irqfds with the accelerator, where it can have them. */
static void intr_open(struct machine *machine)
{
	const struct bus_doorbell_listener mmio = {intr_mmio_doorbell_added, intr_mmio_doorbell_removed,
						   machine};
	const struct bus_doorbell_listener pio = {intr_pio_doorbell_added, intr_pio_doorbell_removed,
						  machine};

	if (machine->accel->ioeventfd_add) {
		bus_doorbell_listen(machine->mmio, &mmio);
		bus_doorbell_listen(machine->pio, &pio);
	}
	machine_irqfds_attach(machine->irqfds);
	if (!machine->accel->coalesce)
		return;
	bus_for_each(machine->mmio, intr_coalesce, &(struct intr_bus){machine, ACCEL_BUS_MMIO});
	bus_for_each(machine->pio, intr_coalesce, &(struct intr_bus){machine, ACCEL_BUS_PIO});
}

void machine_intr_close(struct machine *machine)
{
	if (machine->intr_home)
		return;
	log_debug("doorbells rung over the buses: %" PRIu64,
		  bus_doorbells_rung(machine->mmio) + bus_doorbells_rung(machine->pio));
	machine_irqfds_detach(machine->irqfds);
	bus_doorbell_listen(machine->mmio, NULL);
	bus_doorbell_listen(machine->pio, NULL);
}

int machine_intr_leave(struct machine *machine, struct err *err)
{
	struct intr_move move = {.machine = machine, .err = err};

	if (machine->intr_home)
		return 0;
	machine_intr_close(machine);
	pthread_mutex_lock(&machine->board_lock);
	irq_router_hold(machine->irq_router, intr_take, &move);
	pit_rest(machine->pit);
	lapic_rest(machine->lapic);
	pthread_mutex_unlock(&machine->board_lock);
	return move.code < 0 ? err_prefix(err, "interrupt controllers") : 0;
}

int machine_intr_enter(struct machine *machine, struct err *err)
{
	struct intr_move move = {.machine = machine, .err = err};

	if (!machine->intr_home)
		return 0;
	pthread_mutex_lock(&machine->board_lock);
	irq_router_hold(machine->irq_router, intr_give, &move);
	if (move.code == 0 && machine->irqchip != ACCEL_IRQCHIP_KERNEL)
		machine->pit->class->resume(machine->pit);
	if (move.code == 0 && machine->irqchip == ACCEL_IRQCHIP_OFF)
		machine->lapic->class->resume(machine->lapic);
	pthread_mutex_unlock(&machine->board_lock);
	if (move.code < 0)
		return err_prefix(err, "interrupt controllers");
	intr_open(machine);
	return 0;
}
