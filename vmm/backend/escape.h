/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console's escape character: Ctrl-A and a letter, with QEMU's meanings where QEMU has one. A pure state
 * machine over the typed bytes; knows no terminal and no machine.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ESCAPE_CHARACTER 0x01 /* Ctrl-A */

enum escape_action {
	ESCAPE_PASS,    /* give the byte to the guest */
	ESCAPE_NOTHING, /* swallowed */
	ESCAPE_HELP,
	ESCAPE_QUIT,
	ESCAPE_BREAK,
	ESCAPE_RESET,
	ESCAPE_POWER_BUTTON,
	ESCAPE_SWITCH_ACCEL,
};

struct escape {
	bool pending; /* the last byte was Ctrl-A */
};

/* Takes one typed byte. On ESCAPE_PASS, *byte is what the guest gets. */
enum escape_action escape_feed(struct escape *escape, uint8_t *byte);

/* The help that Ctrl-A h prints, in lines that end in \r\n. */
extern const char escape_help[];
