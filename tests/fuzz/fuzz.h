/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one entry point of a fuzz target, as libFuzzer names it. Every tests/fuzz/fuzz_*.c defines it and
 * includes this; libFuzzer or replay_main.c calls it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Runs the parser or device under test once on borrowed bytes; returns 0. Must keep no state from call to
 * call. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
