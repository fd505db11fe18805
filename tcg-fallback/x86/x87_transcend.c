/* SPDX-License-Identifier: Apache-2.0 */
/* x87_transcend.h where the host has no x87: softfloat's. */
#include "tcg-fallback/x86/x87_transcend.h"

struct f80 x87_2xm1(struct f80 a, struct sf_env *env)
{
	return sf80_2xm1(a, env);
}

struct f80 x87_yl2x(struct f80 x, struct f80 y, struct sf_env *env)
{
	return sf80_yl2x(x, y, env);
}

struct f80 x87_yl2xp1(struct f80 x, struct f80 y, struct sf_env *env)
{
	return sf80_yl2xp1(x, y, env);
}

struct f80 x87_patan(struct f80 y, struct f80 x, struct sf_env *env)
{
	return sf80_patan(y, x, env);
}

bool x87_sin(struct f80 a, struct f80 *sin, struct sf_env *env)
{
	return sf80_sin(a, sin, env);
}

bool x87_cos(struct f80 a, struct f80 *cos, struct sf_env *env)
{
	return sf80_cos(a, cos, env);
}

bool x87_sincos(struct f80 a, struct f80 *sin, struct f80 *cos, struct sf_env *env)
{
	return sf80_sincos(a, sin, cos, env);
}

bool x87_tan(struct f80 a, struct f80 *tan, struct sf_env *env)
{
	return sf80_tan(a, tan, env);
}
