/* SPDX-License-Identifier: Apache-2.0 */
/* Disassembly for messages. */
#include "tests/insn/disassemble.h"

#include <capstone/capstone.h>
#include <stdio.h>

void disassemble_print(const struct oracle_case *test)
{
	csh handle;
	cs_insn *insn;

	if (cs_open(CS_ARCH_X86, test->bits == 64 ? CS_MODE_64 : CS_MODE_32, &handle) != CS_ERR_OK)
		return;
	if (cs_disasm(handle, test->code, test->code_size, test->state.rip, 1, &insn)) {
		printf("%s %s", insn[0].mnemonic, insn[0].op_str);
		cs_free(insn, 1);
	}
	cs_close(&handle);
}
