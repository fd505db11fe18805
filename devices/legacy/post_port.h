/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The POST code port 0x80 and its twin for delays, 0xed: keeps the last code, answers nothing. IBM AT
 * Technical Reference, power-on self-test.
 */
#pragma once

#include <stdint.h>

struct device;
struct device_env;
struct err;

struct device *post_port_create(const struct device_env *env, struct err *err);

/* The last code written. Takes the board lock. */
uint8_t post_port_code(struct device *device);
