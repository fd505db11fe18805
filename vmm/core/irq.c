/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of interrupts: decoding a write to the MSI window. Intel SDM vol. 3, 11.11.
 *
 *   address  31     20 19      12 11   4  3    2   1 0        data  15  14  13 11 10     8 7      0
 *           |  0xfee  | dest id  |  -   | RH | DM | - |            |TM |LV |  -  |delivery| vector |
 */
#include "vmm/core/irq.h"

#define MSI_ADDRESS_BASE     0xfee00000u
#define MSI_ADDRESS_REDIRECT (1u << 3)
#define MSI_ADDRESS_LOGICAL  (1u << 2)
#define MSI_DATA_LEVEL       (1u << 15)
#define MSI_DATA_ASSERT      (1u << 14)

struct intr_message intr_message_from_msi(uint64_t address, uint32_t data)
{
	struct intr_message message = {
		.destination = (address >> 12) & 0xff,
		.logical = address & MSI_ADDRESS_LOGICAL,
		.level_triggered = data & MSI_DATA_LEVEL,
		.assert = !(data & MSI_DATA_LEVEL) || (data & MSI_DATA_ASSERT),
		.delivery = (enum intr_delivery)((data >> 8) & 7),
		.vector = data & 0xff,
	};

	/* The redirection hint lets the message go to the least busy of its destinations. */
	if ((address & MSI_ADDRESS_REDIRECT) && message.delivery == INTR_FIXED)
		message.delivery = INTR_LOWEST;
	return message;
}

void intr_message_to_msi(const struct intr_message *message, uint64_t *address, uint32_t *data)
{
	*address = MSI_ADDRESS_BASE | (uint64_t)(message->destination & 0xff) << 12 |
		   (message->logical ? MSI_ADDRESS_LOGICAL : 0);
	*data = message->vector | (uint32_t)message->delivery << 8 |
		(message->level_triggered ? MSI_DATA_LEVEL : 0) | (message->assert ? MSI_DATA_ASSERT : 0);
}
