/* SPDX-License-Identifier: Apache-2.0 */
/* litmus.c with four CPUs, and with the tests that need more than two. */
#define CPUS 4u
#include "tests/guest/litmus.c"
