/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libslirp, found when it is needed: a program that uses no user-mode network neither loads it nor asks for
 * it to be installed. Its own header says what the functions do.
 */
#pragma once

#include <slirp/libslirp.h>

struct err;

/* The functions that we call. */
#define NET_SLIRP_FUNCTIONS(row)                                                                             \
	row(slirp_new) row(slirp_cleanup) row(slirp_pollfds_fill) row(slirp_pollfds_poll) row(slirp_input)   \
		row(slirp_add_hostxfwd) row(slirp_add_unix)

#define NET_SLIRP_MEMBER(name_) __typeof__(name_) *name_;

struct net_slirp {
	void *library;
	NET_SLIRP_FUNCTIONS(NET_SLIRP_MEMBER)
};

/* 0, or -ENOENT with a message that says which package to install. */
int net_slirp_load(struct net_slirp *slirp, struct err *err);
void net_slirp_unload(struct net_slirp *slirp);
