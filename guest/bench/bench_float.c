/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-kernels of floating point: scalar and packed SSE, packed integers, x87. */
#include "guest/bench/bench.h"

#include <emmintrin.h>

#define VECTOR_BYTES 16384u

void bench_fp_scalar(struct bench_room *room, uint64_t n)
{
	volatile double factor = 1.0000001, addend = 0.5;
	double a = 1, f = factor, d = addend;

	for (uint64_t i = 0; i < n; i++)
		a = a * f + d;
	room->sink += (uint64_t)(a > 1e300);
}

void bench_fp_packed_prepare(struct bench_room *room)
{
	float *value = (float *)(void *)room->data;

	for (unsigned i = 0; i < VECTOR_BYTES / sizeof(float); i++)
		value[i] = (float)(i + 1) / 1024;
}

void bench_fp_packed(struct bench_room *room, uint64_t n)
{
	const float *value = (const float *)(const void *)room->data;
	float *out = (float *)(void *)(room->data + VECTOR_BYTES);
	__m128 factor = _mm_set1_ps(1.5f), sum = _mm_setzero_ps();

	for (uint64_t i = 0; i < n; i++) {
		unsigned at = (unsigned)(4 * i) % (VECTOR_BYTES / sizeof(float));
		__m128 v = _mm_add_ps(_mm_mul_ps(_mm_load_ps(value + at), factor), sum);

		_mm_store_ps(out + at, v);
		sum = _mm_sub_ps(v, sum);
		sum = _mm_min_ps(sum, factor);
	}
	room->sink += (uint64_t)_mm_cvttss_si32(sum);
}

void bench_int_packed(struct bench_room *room, uint64_t n)
{
	const uint8_t *bytes = room->data;
	__m128i sum = _mm_setzero_si128(), one = _mm_set1_epi8(1);

	for (uint64_t i = 0; i < n; i++) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(bytes + (16 * i) % VECTOR_BYTES));

		sum = _mm_add_epi32(sum, _mm_xor_si128(v, _mm_slli_epi32(sum, 5)));
		sum = _mm_sub_epi32(sum, _mm_cmpeq_epi8(v, one));
		sum = _mm_shuffle_epi32(sum, 0x39);
	}
	room->sink += (uint64_t)_mm_cvtsi128_si64(sum);
}

void bench_x87(struct bench_room *room, uint64_t n)
{
	volatile long double factor = 1.0000001L, addend = 0.5L;
	long double a = 1, f = factor, d = addend;

	for (uint64_t i = 0; i < n; i++)
		a = a * f + d;
	room->sink += (uint64_t)(a > 1e300L);
}
