/* SPDX-License-Identifier: Apache-2.0 */
/* What --jit says: off, on, verify, verify=N. Knows no accelerator. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;

struct jit_choice {
	bool on;
	uint32_t verify_every; /* 0: nothing is verified */
};

/* 0, or -EINVAL with a message that does not name the flag. */
int jit_choice_parse(const char *text, struct jit_choice *choice, struct err *err);
