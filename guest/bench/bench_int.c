/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-kernels of integer work: arithmetic, division, tables, sorting, hashing, a pointer chase, an LZ
 * decoder. */
#include "guest/bench/bench.h"

#define SORT_KEYS   4096u
#define HASH_SLOTS  (1u << 15)
#define CHASE_NODES (4u << 20 >> 6) /* a cache line each */
#define LZ_PLAIN    (64u << 10)
#define LZ_PACKED   (1u << 20) /* where the packed bytes lie in the data */

static uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void bench_int_alu(struct bench_room *room, uint64_t n)
{
	uint64_t a = 1, b = n;

	for (uint64_t i = 0; i < n; i++) {
		a = a * 3 + (b >> 3);
		b ^= a + i;
	}
	room->sink += a + b;
}

void bench_int_divide(struct bench_room *room, uint64_t n)
{
	uint64_t a = 0x123456789abcdefull, sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		sum += a / (i | 3);
		a += sum;
	}
	room->sink += sum;
}

void bench_crc32_prepare(struct bench_room *room)
{
	uint32_t *table = (uint32_t *)(void *)room->data;
	uint64_t state = 88172645463325252ull;

	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (unsigned bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
	}
	for (unsigned i = 0; i < 4096; i++)
		room->data[4096 + i] = (uint8_t)bench_random(&state);
}

void bench_crc32(struct bench_room *room, uint64_t n)
{
	const uint32_t *table = (const uint32_t *)(const void *)room->data;
	const uint8_t *bytes = room->data + 4096;
	uint32_t crc = ~0u;

	for (uint64_t i = 0; i < n; i++)
		crc = crc >> 8 ^ table[(crc ^ bytes[i & 4095]) & 255];
	room->sink += crc;
}

/* Heap sort: no recursion, as many comparisons as a quick sort and worse jumps. */
static void bench_sift(uint32_t *key, unsigned root, unsigned count)
{
	uint32_t moved = key[root];

	for (unsigned child; (child = 2 * root + 1) < count; root = child) {
		if (child + 1 < count && key[child] < key[child + 1])
			child++;
		if (key[child] <= moved)
			break;
		key[root] = key[child];
	}
	key[root] = moved;
}

static void bench_sort_keys(uint32_t *key, unsigned count)
{
	for (unsigned i = count / 2; i--;)
		bench_sift(key, i, count);
	for (unsigned last = count - 1; last; last--) {
		uint32_t top = key[0];

		key[0] = key[last];
		key[last] = top;
		bench_sift(key, 0, last);
	}
}

void bench_sort(struct bench_room *room, uint64_t n)
{
	uint32_t *key = (uint32_t *)(void *)room->data;
	uint64_t state = 88172645463325252ull;

	while (n) {
		unsigned count = n < SORT_KEYS ? (unsigned)n : SORT_KEYS;

		for (unsigned i = 0; i < count; i++)
			key[i] = (uint32_t)bench_random(&state);
		bench_sort_keys(key, count);
		room->sink += key[count / 2];
		n -= count;
	}
}

/* Open addressing: finds the key or takes a free slot; emptied when half full. */
void bench_hash(struct bench_room *room, uint64_t n)
{
	uint64_t *slot = (uint64_t *)(void *)room->data;
	uint64_t state = 88172645463325252ull, found = 0;
	unsigned used = HASH_SLOTS;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t key = (bench_random(&state) & 0xffff) + 1;
		unsigned at = (unsigned)(key * 0x9e3779b97f4a7c15ull >> 40) & (HASH_SLOTS - 1);

		if (used >= HASH_SLOTS / 2) {
			for (unsigned k = 0; k < HASH_SLOTS; k++)
				slot[k] = 0;
			used = 0;
		}
		while (slot[at] && slot[at] != key)
			at = (at + 1) & (HASH_SLOTS - 1);
		if (slot[at])
			found++;
		else
			used++;
		slot[at] = key;
	}
	room->sink += found;
}

void bench_chase_prepare(struct bench_room *room)
{
	uint64_t state = 88172645463325252ull;
	uint32_t *order = (uint32_t *)(void *)(room->data + (8u << 20));

	for (uint32_t i = 0; i < CHASE_NODES; i++)
		order[i] = i;
	for (uint32_t i = CHASE_NODES - 1; i; i--) {
		uint32_t other = (uint32_t)(bench_random(&state) % (i + 1)), kept = order[i];

		order[i] = order[other];
		order[other] = kept;
	}
	for (uint32_t i = 0; i < CHASE_NODES; i++) {
		void **node = (void **)(void *)(room->data + 64 * (size_t)order[i]);

		*node = room->data + 64 * (size_t)order[(i + 1) % CHASE_NODES];
	}
}

void bench_chase(struct bench_room *room, uint64_t n)
{
	void **node = (void **)(void *)room->data;

	while (n--)
		node = *node;
	room->sink += (uintptr_t)node;
}

/*
 * Packed bytes as tokens: L literals, then a copy of M bytes from D back; a pair (L << 4 | M) and D. Every
 * stretch is short, as in text.
 */
void bench_lz_prepare(struct bench_room *room)
{
	uint8_t *packed = room->data + LZ_PACKED;
	uint64_t state = 88172645463325252ull;

	for (unsigned made = 0; made < LZ_PLAIN;) {
		unsigned literals = 1 + bench_random(&state) % 15, copied = 3 + bench_random(&state) % 13;

		*packed++ = (uint8_t)(literals << 4 | copied);
		for (unsigned i = 0; i < literals; i++)
			*packed++ = (uint8_t)bench_random(&state);
		made += literals;
		*packed++ = (uint8_t)(1 + bench_random(&state) % (made < 255 ? made : 255));
		made += copied;
	}
	*packed = 0;
}

static unsigned bench_lz_unpack(const uint8_t *packed, uint8_t *plain)
{
	uint8_t *out = plain;

	while (*packed) {
		unsigned literals = *packed >> 4, copied = *packed & 15;
		const uint8_t *from;

		for (packed++; literals; literals--)
			*out++ = *packed++;
		from = out - *packed++;
		for (; copied; copied--)
			*out++ = *from++;
	}
	return (unsigned)(out - plain);
}

void bench_lz(struct bench_room *room, uint64_t n)
{
	for (uint64_t made = 0; made < n;)
		made += bench_lz_unpack(room->data + LZ_PACKED, room->data);
	room->sink += room->data[1000];
}
