/* SPDX-License-Identifier: Apache-2.0 */
/* Disassembly for messages, by capstone alone. */
#include "tests/insn/disassemble.h"

#include <capstone/capstone.h>
#include <stdio.h>

void disassemble_print(const struct oracle_case *test)
{
	csh handle;
	cs_insn *insn;
	size_t count;

	if (cs_open(CS_ARCH_X86, test->bits == 64 ? CS_MODE_64 : CS_MODE_32, &handle) != CS_ERR_OK)
		return;
	count = cs_disasm(handle, test->code, test->code_size, test->state.rip, 0, &insn);
	for (size_t i = 0; i < count; i++)
		printf("    %s %s\n", insn[i].mnemonic, insn[i].op_str);
	if (count)
		cs_free(insn, count);
	cs_close(&handle);
}
