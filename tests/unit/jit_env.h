/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMMCTL_TEST_JIT=on or verify makes the tests of the built-in engine run through its translator from
 * the first entry of each block: the same programs are registered once for each.
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "tcg-fallback/core/vm.h"

static inline void jit_from_environment(struct x86_vm *vm)
{
	const char *mode = getenv("VMMCTL_TEST_JIT");

	struct x86_jit_config config = {.mode = X86_JIT_ON, .threshold = 1};

	if (!mode)
		return;
	if (strcmp(mode, "verify") == 0)
		config.mode = X86_JIT_VERIFY;
	x86_vm_set_jit(vm, &config);
}

/* How many blocks were translated: a test that translates none proves nothing. */
static inline uint64_t jit_counter(const struct x86_vm *vm, const char *wanted)
{
	const char *names[64];
	uint64_t values[64];
	size_t count = x86_vm_counters(vm, names, values, 64);

	for (size_t i = 0; i < count && i < 64; i++)
		if (strcmp(names[i], wanted) == 0)
			return values[i];
	return 0;
}
