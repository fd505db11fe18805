/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87's transcendental functions as the interpreter executes them; signatures as in softfloat.h. Makers'
 * CPUs differ in the last bit, so on a host that translates they are the host's (x87_transcend_host.c), else
 * softfloat's (x87_transcend.c): docs/decisions/0012.
 */
#pragma once

#include "tcg-fallback/softfloat/softfloat.h"

struct f80 x87_2xm1(struct f80 a, struct sf_env *env);
struct f80 x87_yl2x(struct f80 x, struct f80 y, struct sf_env *env);
struct f80 x87_yl2xp1(struct f80 x, struct f80 y, struct sf_env *env);
struct f80 x87_patan(struct f80 y, struct f80 x, struct sf_env *env);
bool x87_sin(struct f80 a, struct f80 *sin, struct sf_env *env);
bool x87_cos(struct f80 a, struct f80 *cos, struct sf_env *env);
bool x87_sincos(struct f80 a, struct f80 *sin, struct f80 *cos, struct sf_env *env);
bool x87_tan(struct f80 a, struct f80 *tan, struct sf_env *env);
