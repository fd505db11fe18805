/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of the host as a file-sharing device sees it: a server that takes request messages and gives reply
 * messages. Which protocol they speak, the device need not know; the server knows nothing of rings and
 * guests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct iovec;
struct share;

/* One message and the room for its answer: guest memory, which may change while it is being read. */
struct share_request {
	const struct iovec *in;
	size_t in_count;
	const struct iovec *out;
	size_t out_count;
	/* The server's, from share_begin until share_handle returns. */
	struct share_request *older, *newer;
	uint16_t tag;
};

struct share_ops {
	/* Notes that the request has arrived: called in the order of arrival. Never waits. */
	void (*begin)(struct share *share, struct share_request *request);
	/*
	 * Answers one request: returns how many bytes of `out` hold the reply, 0 when it is too broken to be
	 * answered. Works on the host's files on the calling thread, so it may take long; any number of
	 * threads, which begin with the oldest: a request may wait for those that arrived before it. Once for
	 * each begin.
	 */
	size_t (*handle)(struct share *share, struct share_request *request);
	/* Whether handle may well wait for a disk, so that others had better not wait behind it. */
	bool (*may_wait)(struct share *share, const struct share_request *request);
	/* Forgets what the guest has opened: the device was reset. No thread is in handle. */
	void (*reset)(struct share *share);
	void (*destroy)(struct share *share);
};

/* First member of each server's structure. */
struct share {
	const struct share_ops *ops;
};

struct share_config {
	const char *path; /* the folder; borrowed during the call */
	bool readonly;    /* the guest changes nothing */
};

/* A 9P2000.L server for one guest; it holds the folder open, so a later rename of it does not matter. Returns
 * owned, or NULL with err set. Implemented by vmm/backend/p9. */
struct share *share_open_9p(const struct share_config *config, struct err *err);

static inline void share_begin(struct share *share, struct share_request *request)
{
	share->ops->begin(share, request);
}

static inline size_t share_handle(struct share *share, struct share_request *request)
{
	return share->ops->handle(share, request);
}

static inline bool share_may_wait(struct share *share, const struct share_request *request)
{
	return share->ops->may_wait(share, request);
}

static inline void share_reset(struct share *share)
{
	share->ops->reset(share);
}

static inline void share_destroy(struct share *share)
{
	if (share)
		share->ops->destroy(share);
}
