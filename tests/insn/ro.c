/* SPDX-License-Identifier: Apache-2.0 */
/* What the read-only page holds. */
#include "tests/insn/oracle.h"

#include "tests/insn/random.h"

void oracle_fill_ro(uint8_t page[ORACLE_PAGE])
{
	struct random random = {.state = ORACLE_RO};

	for (unsigned i = 0; i < ORACLE_PAGE; i++)
		page[i] = (uint8_t)random_u64(&random);
}
