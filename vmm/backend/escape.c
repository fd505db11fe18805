/* SPDX-License-Identifier: Apache-2.0 */
/* The console's escape character. */
#include "vmm/backend/escape.h"

const char escape_help[] = "\r\n"
			   "Ctrl-A h       this help\r\n"
			   "Ctrl-A x       quit: the machine is switched off at once\r\n"
			   "Ctrl-A p       press the power button\r\n"
			   "Ctrl-A r       reset the machine\r\n"
			   "Ctrl-A k       run on the other accelerator (with --accel-switch)\r\n"
			   "Ctrl-A b       send a break\r\n"
			   "Ctrl-A a       send Ctrl-A (Ctrl-A Ctrl-A does, too)\r\n";

static enum escape_action escape_second(uint8_t *byte)
{
	switch (*byte) {
	case 'h':
	case '?': return ESCAPE_HELP;
	case 'x': return ESCAPE_QUIT;
	case 'b': return ESCAPE_BREAK;
	case 'r': return ESCAPE_RESET;
	case 'k': return ESCAPE_SWITCH_ACCEL;
	case 'p': return ESCAPE_POWER_BUTTON;
	case 'a':
	case ESCAPE_CHARACTER: *byte = ESCAPE_CHARACTER; return ESCAPE_PASS;
	default: return ESCAPE_NOTHING;
	}
}

enum escape_action escape_feed(struct escape *escape, uint8_t *byte)
{
	if (escape->pending) {
		escape->pending = false;
		return escape_second(byte);
	}
	if (*byte != ESCAPE_CHARACTER)
		return ESCAPE_PASS;
	escape->pending = true;
	return ESCAPE_NOTHING;
}
