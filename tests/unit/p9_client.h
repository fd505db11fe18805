/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 9P2000.L client for tests: writes requests field by field, hands them to a server cut into small pieces
 * of memory, and takes replies apart. Knows nothing of what the messages mean.
 *
 * Fields are spelled by letters: b 8 bits, w 16, d 32, q 64 (pass uint64_t), s a string.
 */
#pragma once

#include <stdint.h>

#include "vmm/backend/p9/p9_wire.h"
#include "vmm/core/share.h"

#define P9_CLIENT_SIZE (1u << 17)

struct p9_client {
	struct share *share;
	size_t piece; /* bytes of each piece of memory; 0: all in one */
	uint8_t request[P9_CLIENT_SIZE];
	size_t request_size;
	uint8_t reply[P9_CLIENT_SIZE];
	size_t reply_room; /* how much of it the server is given */
	size_t reply_size;
	struct p9_reader body; /* of the last reply */
	struct share_request io;
	struct iovec iov[2][64];
};

/* One more after a server was opened on the folder; fails the test when it cannot. */
struct p9_client *p9_client_open(const char *folder, bool readonly);
void p9_client_close(struct p9_client *client);

/* Writes a request; the tag is the message's number. */
void p9_client_write(struct p9_client *client, unsigned type, const char *fields, ...);
/* Gives what p9_client_write made to the server: 0, the reply being in body; or what Rlerror says, negative.
 */
int p9_client_send(struct p9_client *client);
/* Both at once. */
#define p9_rpc(client_, type_, ...) (p9_client_write(client_, type_, __VA_ARGS__), p9_client_send(client_))

/* Version and attach of fid 0. */
void p9_client_start(struct p9_client *client);
/* Walks from fid to new_fid by a path of names with slashes; "" clones. 0 when it arrives, -ENOENT short of
 * it. */
int p9_client_walk(struct p9_client *client, uint32_t fid, uint32_t new_fid, const char *path);
