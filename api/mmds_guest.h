/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side of the metadata service: HTTP requests that come over a unix socket, which the network
 * cards connect the guest's connections to. Knows the store, no cards.
 */
#pragma once

struct err;
struct loop;
struct mmds;
struct mmds_guest;

/* Listens on path (borrowed). Owned, or NULL with err set. */
struct mmds_guest *mmds_guest_create(struct loop *loop, struct mmds *mmds, const char *path, struct err *err);
void mmds_guest_destroy(struct mmds_guest *guest);
