/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host side of devices. One file a kind; each exports its class, and the build makes chardev_table and
 * blockdev_table of them. A chardev is destroyed only while its loop does not run: a posted delivery may
 * still name it.
 */
#pragma once

#include "vmm/core/blockdev.h"
#include "vmm/core/chardev.h"

extern const struct chardev_class stdio_chardev_class;
extern const struct chardev_class file_chardev_class;
extern const struct chardev_class pty_chardev_class;
extern const struct chardev_class socket_chardev_class;
extern const struct chardev_class null_chardev_class;

extern const struct blockdev_class raw_blockdev_class;
