/* SPDX-License-Identifier: Apache-2.0 */
/* Micro-kernels of control flow: calls, returns, calls by pointer, and a byte-code interpreter's indirect
 * jumps. */
#include "guest/bench/bench.h"

#define PROGRAM_BYTES 4096u

static __attribute__((noinline)) uint64_t bench_callee(uint64_t value)
{
	__asm__ volatile("" : "+r"(value));
	return value + 1;
}

void bench_call(struct bench_room *room, uint64_t n)
{
	uint64_t value = 0;

	for (uint64_t i = 0; i < n; i++)
		value = bench_callee(value);
	room->sink += value;
}

/* The number of calls that it makes, itself included. */
static __attribute__((noinline)) uint64_t bench_tree(unsigned depth)
{
	uint64_t calls = 1;

	__asm__ volatile("" : "+r"(depth));
	if (depth) {
		calls += bench_tree(depth - 1);
		calls += bench_tree(depth - 1);
		/* Else the second call becomes a loop. */
		__asm__ volatile("" : "+r"(calls));
	}
	return calls;
}

void bench_call_deep(struct bench_room *room, uint64_t n)
{
	for (uint64_t calls = 0; calls < n;)
		calls += bench_tree(12);
	room->sink += n;
}

#define CALLEE(k)                                                                                            \
	static __attribute__((noinline)) uint64_t bench_callee_##k(uint64_t value)                           \
	{                                                                                                    \
		__asm__ volatile("" : "+r"(value));                                                          \
		return value * 5 + k;                                                                        \
	}
CALLEE(0)
CALLEE(1)
CALLEE(2)
CALLEE(3)
CALLEE(4) CALLEE(5) CALLEE(6) CALLEE(7)

	/* Eight functions in an order that no predictor with little memory knows. */
	void bench_call_indirect(struct bench_room *room, uint64_t n)
{
	static uint64_t (*const callee[8])(uint64_t) = {bench_callee_0, bench_callee_1, bench_callee_2,
							bench_callee_3, bench_callee_4, bench_callee_5,
							bench_callee_6, bench_callee_7};
	uint64_t value = 1;

	for (uint64_t i = 0; i < n; i++)
		value = callee[value >> 7 & 7](value);
	room->sink += value;
}

void bench_branch_indirect_prepare(struct bench_room *room)
{
	uint64_t state = 88172645463325252ull;

	for (unsigned i = 0; i < PROGRAM_BYTES; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		room->data[i] = (uint8_t)(state >> 33) & 7;
	}
	room->data[PROGRAM_BYTES - 1] = 8;
}

/* An interpreter of eight instructions; n counts the instructions. */
void bench_branch_indirect(struct bench_room *room, uint64_t n)
{
	static const void *const label[9] = {&&add, &&sub, &&xor, &&mul, &&neg, &&rol, &&inc, &&not, &&end};
	uint64_t a = 1, b = 2;
	const uint8_t *next = room->data;

#define NEXT goto *label[*next++]
	if (!n)
		return;
	NEXT;
add:
	a += b;
	NEXT;
sub:
	b -= a;
	NEXT;
	xor : a ^= b;
	NEXT;
mul:
	b = b * 3 + 1;
	NEXT;
neg:
	a = -a;
	NEXT;
rol:
	b = b << 9 | b >> 55;
	NEXT;
inc:
	a++;
	NEXT;
	not : b = ~b;
	NEXT;
end:
	if (n > PROGRAM_BYTES) {
		n -= PROGRAM_BYTES;
		next = room->data;
		NEXT;
	}
#undef NEXT
	room->sink += a + b;
}
