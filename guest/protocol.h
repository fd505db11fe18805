/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `vmmctl run` and the agent in its guest say to each other. The agent opens stream connections (vsock)
 * to one port of the host; the first byte of each tells its role. Data connections carry bytes; the control
 * connection carries messages: a header, then `length` bytes. All numbers are little-endian.
 *
 *     guest  hello 'c', 'i', 'o', 'e'
 *     host   START (text, see below)
 *     guest  STARTED, later EXITED; or FAILED
 *     host   SIGNAL, WINDOW_SIZE at any time between
 *
 * A START is a list of strings, each ended by NUL, each beginning with a letter:
 *
 *     r KIND SOURCE MODE     the root: KIND is 9p or a file system's name; SOURCE a tag or a device; MODE rw,
 * ro, or overlay (changes go to memory and are lost) m TAG MODE PATH        a shared folder n ADDRESS/PREFIX
 * GATEWAY NAMESERVER   the first network interface h NAME                 host name w PATH working folder u
 * USER[:GROUP]         names or numbers of the guest's e NAME=VALUE           environment t ROWS COLUMNS a
 * terminal instead of three pipes a ARGUMENT             argv, in order
 */
#pragma once

#include <stdint.h>

#define GUEST_PORT 1024u /* of the host (CID 2), above the privileged ones */

enum guest_role {
	GUEST_ROLE_CONTROL = 'c',
	GUEST_ROLE_STDIN = 'i', /* host -> guest; with a terminal, its input */
	GUEST_ROLE_STDOUT = 'o',
	GUEST_ROLE_STDERR = 'e', /* silent with a terminal */
};

enum guest_message_type {
	GUEST_START = 1,
	GUEST_SIGNAL = 2,      /* struct guest_signal */
	GUEST_WINDOW_SIZE = 3, /* struct guest_window_size */
	GUEST_STARTED = 16,
	GUEST_EXITED = 17, /* struct guest_exited */
	GUEST_FAILED = 18, /* struct guest_failed, then text */
};

struct guest_message {
	uint32_t type;
	uint32_t length; /* of what follows */
};

struct guest_signal {
	uint32_t number;
};

struct guest_window_size {
	uint16_t rows, columns;
};

struct guest_exited {
	uint32_t status; /* exit status, or 128 + signal */
};

struct guest_failed {
	uint32_t status; /* 125: no place to run it, 126: cannot be run, 127: not there */
};

#define GUEST_START_MAX                                                                                      \
	(1u << 20)              /* as much as Linux lets arguments and environment have by default, halved */
#define GUEST_MESSAGE_MAX 4096u /* of the guest's messages: what a host keeps of a hostile one */

_Static_assert(sizeof(struct guest_message) == 8, "no padding");
