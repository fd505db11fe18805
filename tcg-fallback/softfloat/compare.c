/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparisons, minimum and maximum. The relation is found on parts; which NaNs raise SF_INVALID is the
 * caller's choice. COMISS, UCOMISS, MINSS, MAXSS: SDM vol. 2; FCOM, FUCOM: SDM vol. 1, 8.3.6.
 */
#include "tcg-fallback/softfloat/pack.h"

static enum sf_relation sf_relation_of_ordered(const struct sf_parts *a, const struct sf_parts *b)
{
	enum sf_relation magnitude;

	if (a->class == SF_CLASS_ZERO && b->class == SF_CLASS_ZERO)
		return SF_EQUAL;
	if (a->class == SF_CLASS_ZERO)
		return b->sign ? SF_GREATER : SF_LESS;
	if (b->class == SF_CLASS_ZERO || a->sign != b->sign)
		return a->sign ? SF_LESS : SF_GREATER;
	if (a->class == b->class)
		magnitude = a->class == SF_CLASS_INF ? SF_EQUAL : sf_parts_compare_magnitude(a, b);
	else
		magnitude = a->class == SF_CLASS_INF ? SF_GREATER : SF_LESS;
	return a->sign ? (enum sf_relation) - (int)magnitude : magnitude;
}

static enum sf_relation sf_parts_compare(const struct sf_parts *a, const struct sf_parts *b, bool quiet,
					 struct sf_env *env)
{
	enum sf_class worst = a->class > b->class ? a->class : b->class;

	if (worst >= SF_CLASS_QNAN) {
		if (worst > SF_CLASS_QNAN || !quiet)
			env->flags |= SF_INVALID;
		return SF_UNORDERED;
	}
	sf_denormal_stops(a->denormal | b->denormal, env);
	return sf_relation_of_ordered(a, b);
}

static enum sf_relation sf32_relation(uint32_t a, uint32_t b, bool quiet, struct sf_env *env)
{
	struct sf_parts pa = sf32_unpack(a, env), pb = sf32_unpack(b, env);

	return sf_parts_compare(&pa, &pb, quiet, env);
}

static enum sf_relation sf64_relation(uint64_t a, uint64_t b, bool quiet, struct sf_env *env)
{
	struct sf_parts pa = sf64_unpack(a, env), pb = sf64_unpack(b, env);

	return sf_parts_compare(&pa, &pb, quiet, env);
}

static enum sf_relation sf80_relation(struct f80 a, struct f80 b, bool quiet, struct sf_env *env)
{
	struct sf_parts pa = sf80_unpack(a), pb = sf80_unpack(b);

	return sf_parts_compare(&pa, &pb, quiet, env);
}

enum sf_relation sf32_compare(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_relation(a, b, false, env);
}

enum sf_relation sf32_compare_quiet(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_relation(a, b, true, env);
}

enum sf_relation sf64_compare(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_relation(a, b, false, env);
}

enum sf_relation sf64_compare_quiet(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_relation(a, b, true, env);
}

enum sf_relation sf80_compare(struct f80 a, struct f80 b, struct sf_env *env)
{
	return sf80_relation(a, b, false, env);
}

enum sf_relation sf80_compare_quiet(struct f80 a, struct f80 b, struct sf_env *env)
{
	return sf80_relation(a, b, true, env);
}

/* A denormal that DAZ takes for zero is also returned as a zero. */
static uint32_t sf32_flushed(uint32_t a, const struct sf_env *env)
{
	return env->daz && sf32_is_denormal(a) ? a & 0x80000000u : a;
}

static uint64_t sf64_flushed(uint64_t a, const struct sf_env *env)
{
	return env->daz && sf64_is_denormal(a) ? a & 0x8000000000000000ull : a;
}

uint32_t sf32_min(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_flushed(sf32_relation(a, b, false, env) == SF_LESS ? a : b, env);
}

uint32_t sf32_max(uint32_t a, uint32_t b, struct sf_env *env)
{
	return sf32_flushed(sf32_relation(a, b, false, env) == SF_GREATER ? a : b, env);
}

uint64_t sf64_min(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_flushed(sf64_relation(a, b, false, env) == SF_LESS ? a : b, env);
}

uint64_t sf64_max(uint64_t a, uint64_t b, struct sf_env *env)
{
	return sf64_flushed(sf64_relation(a, b, false, env) == SF_GREATER ? a : b, env);
}
