/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How interrupts get from devices to interrupt controllers: lines through the router, messages to the local
 * APICs, eventfds as either. Which controllers take them is the board's and the accelerator's affair.
 */
#include <errno.h>

#include "devices/legacy/lapic.h"
#include "vmm/base/err.h"
#include "vmm/core/irq_router.h"
#include "vmm/machine/irqfd.h"
#include "vmm/machine/parts.h"

int machine_irq_line(struct machine *machine, unsigned gsi, struct irq_line *line, struct err *err)
{
	*line = irq_router_line(machine->irq_router, gsi, err);
	return line->set ? 0 : -EINVAL;
}

static void intr_msi_send(void *opaque, uint64_t address, uint32_t data)
{
	struct machine *machine = opaque;

	lapic_msi(machine->lapic, address, data);
}

int machine_intr_init(struct machine *machine, struct err *err)
{
	machine->irq_router = irq_router_create();
	if (!machine->irq_router)
		return err_set(err, -ENOMEM, "no memory for interrupt lines");
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
