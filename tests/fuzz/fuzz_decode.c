/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instruction decoder on any bytes in any mode: what it returns must be within its own bounds, and must
 * not depend on bytes beyond the instruction. The first byte of the input chooses the mode.
 */
#include <stdlib.h>
#include <string.h>

#include "insn_gen.h"
#include "tests/fuzz/fuzz.h"

static void require(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct x86_decode_mode mode = {.bits = 64};
	struct x86_insn in, again;
	size_t avail;

	if (!size)
		return 0;
	mode.bits = (uint8_t)(16u << data[0] % 3);
	mode.protected_mode = mode.bits == 64 || data[0] & 4;
	mode.stack32 = data[0] & 8;
	mode.near_branch_66 = data[0] & 16;
	memset(mode.feature, data[0] & 32 ? 0 : 0xff, sizeof(mode.feature));
	avail = size - 1;
	const enum x86_decode_status status = x86_decode(&mode, data + 1, avail, &in);

	require(in.row < x86_row_count && in.len <= X86_INSN_LEN_MAX && in.len <= avail);
	require(in.base <= REG_RIP && in.index <= REG_ZERO && in.reg < 32 && in.rm < 32 && in.vex_vvvv < 32 &&
		in.vsib < 32 && in.vex_l < 4 && in.seg <= SEG_COUNT);
	if (status != X86_DECODE_OK)
		return 0;
	require(in.seg < SEG_COUNT && in.len > 0);
	require(x86_decode(&mode, data + 1, in.len, &again) == X86_DECODE_OK && again.len == in.len &&
		again.row == in.row);
	return 0;
}
