/* SPDX-License-Identifier: Apache-2.0 */
/* The pseudo-random numbers of the instruction tests: the same on every machine for one seed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct random {
	uint64_t state;
};

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static inline uint64_t random_u64(struct random *random)
{
	uint64_t z = (random->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* 0..bound-1 */
static inline unsigned random_below(struct random *random, unsigned bound)
{
	return (unsigned)(random_u64(random) >> 33) % bound;
}

static inline bool random_one_in(struct random *random, unsigned n)
{
	return random_below(random, n) == 0;
}
