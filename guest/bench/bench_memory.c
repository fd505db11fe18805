/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-kernels of moving memory: string instructions of several lengths, a copying loop, locked additions.
 */
#include "guest/bench/bench.h"

#define FROM ((4u << 20) + (37u << 12)) /* sources lie in the data from here */
#define ALIASED                                                                                              \
	(4u                                                                                                  \
	 << 20) /* or from here: a look-up by the address's low bits finds target and source in one place */

static inline void bench_movsb(void *to, const void *from, size_t len)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
}

static inline void bench_stosq(void *to, uint64_t value, size_t quads)
{
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(quads) : "a"(value) : "memory");
}

void bench_rep_movs_1k(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		bench_movsb(room->data + (i % 64 << 10), room->data + FROM + (i % 64 << 10), 1024);
}

void bench_rep_stos_1k(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		bench_stosq(room->data + (i % 64 << 10), i, 128);
}

void bench_rep_movs_64k(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		bench_movsb(room->data, room->data + FROM, 65536);
}

void bench_rep_short(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		bench_stosq(room->data + (i % 512 << 5), i, 3);
}

static void bench_copy_quads(struct bench_room *room, size_t source, uint64_t n)
{
	uint64_t *to = (uint64_t *)(void *)room->data;
	const uint64_t *from = (const uint64_t *)(const void *)(room->data + source);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = i % 1024 * 8;

		for (unsigned k = 0; k < 8; k++) {
			to[at + k] = from[at + k];
			__asm__ volatile("" : : : "memory");
		}
	}
}

void bench_copy_loop(struct bench_room *room, uint64_t n)
{
	bench_copy_quads(room, FROM, n);
}

void bench_copy_aliased(struct bench_room *room, uint64_t n)
{
	bench_copy_quads(room, ALIASED, n);
}

void bench_locked(struct bench_room *room, uint64_t n)
{
	uint64_t *counter = (uint64_t *)(void *)room->data;

	for (uint64_t i = 0; i < n; i++)
		__atomic_fetch_add(counter, i, __ATOMIC_SEQ_CST);
}
