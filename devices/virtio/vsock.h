/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio socket device. virtio 1.2, 5.10. On the host every port is a unix socket, in the way of
 * Firecracker: who connects to PATH and writes "CONNECT PORT\n" reaches that port of the guest and reads "OK
 * HOST_PORT\n"; what the guest connects to on port P of CID 2 reaches who listens on PATH_P.
 */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct err;

#define VSOCK_GUEST_CID_MIN 3           /* 0 is reserved, 1 local, 2 the host */
#define VSOCK_GUEST_CID_MAX 0xfffffffeu /* 0xffffffff: any */

struct vsock_config {
	const char *id;   /* "vsock0" */
	uint64_t cid;     /* the guest's address */
	const char *path; /* of the socket that is made */
};

/* Returns owned, or NULL with err set: -EADDRINUSE, -ENAMETOOLONG ... */
struct device *vsock_create(const struct device_env *env, const struct vsock_config *config, struct err *err);
