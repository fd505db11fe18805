/* SPDX-License-Identifier: Apache-2.0 */
/* smc.c on one CPU, which the translator can verify. */
#define ONE_CPU
#include "tests/guest/smc.c"
