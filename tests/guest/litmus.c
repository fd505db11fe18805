/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Litmus tests of the memory model on two or four CPUs: what x86's total store order forbids must never be
 * seen, with plain accesses, MFENCE, XCHG and LOCK. Each CPU runs through a batch of cells, each of which is
 * a test of its own; at each they give one another a moment, but do not wait for a CPU that its host does not
 * let run. Intel SDM vol. 3, 8.2; Owens, Sarkar, Sewell: A better x86 memory model: x86-TSO.
 */
#include "tests/guest/smp64.h"

#ifndef CPUS
#define CPUS 2u
#endif
#define CELLS   2048u
#define BATCHES 8u

/* A cell's variables are in lines of their own, so that they may become visible in any order. */
struct cell {
	volatile uint32_t x __attribute__((aligned(64)));
	volatile uint32_t y __attribute__((aligned(64)));
	volatile uint32_t result[4] __attribute__((aligned(64)));
};

struct litmus {
	const char *name;
	unsigned cpus; /* that take part */
	void (*thread[4])(struct cell *cell);
	bool (*forbidden)(const struct cell *cell);
};

static struct cell cells[CELLS];
static volatile uint32_t barrier;
static volatile struct {
	uint32_t cell __attribute__((aligned(64)));
} progress[CPUS_MAX]; /* how far a role has come */
#define PATIENCE 150u

/* Gives the others a moment to reach this cell. */
static void meet(const struct litmus *test, unsigned role, uint32_t cell)
{
	progress[role].cell = cell;
	for (unsigned other = 0; other < test->cpus; other++)
		for (unsigned i = 0; i < PATIENCE && progress[other].cell < cell; i++)
			;
}

#define STORE(variable, value) ((variable) = (value))
#define MFENCE                 __asm__ volatile("mfence" : : : "memory")
#define LOCKED                 __asm__ volatile("lock addl $0, (%%rsp)" : : : "memory")

/* SB: both store, then load the other's. Both loads may see 0 unless there is a fence. */
#define SB(name_, between_)                                                                                  \
	static void name_##_0(struct cell *c)                                                                \
	{                                                                                                    \
		STORE(c->x, 1);                                                                              \
		between_;                                                                                    \
		c->result[0] = c->y;                                                                         \
	}                                                                                                    \
	static void name_##_1(struct cell *c)                                                                \
	{                                                                                                    \
		STORE(c->y, 1);                                                                              \
		between_;                                                                                    \
		c->result[1] = c->x;                                                                         \
	}
SB(sb_mfence, MFENCE)
SB(sb_locked, LOCKED)

static void sb_xchg_0(struct cell *c)
{
	uint32_t one = 1;

	__asm__ volatile("xchg %0, %1" : "+r"(one), "+m"(c->x) : : "memory");
	c->result[0] = c->y;
}

static void sb_xchg_1(struct cell *c)
{
	uint32_t one = 1;

	__asm__ volatile("xchg %0, %1" : "+r"(one), "+m"(c->y) : : "memory");
	c->result[1] = c->x;
}

static bool both_zero(const struct cell *c)
{
	return !c->result[0] && !c->result[1];
}

/* MP: data, then a flag; who sees the flag sees the data. */
static void mp_0(struct cell *c)
{
	STORE(c->x, 1);
	STORE(c->y, 1);
}

static void mp_1(struct cell *c)
{
	c->result[0] = c->y;
	c->result[1] = c->x;
}

static bool mp_forbidden(const struct cell *c)
{
	return c->result[0] && !c->result[1];
}

/* LB: loads are not passed by later stores. */
static void lb_0(struct cell *c)
{
	c->result[0] = c->x;
	STORE(c->y, 1);
}

static void lb_1(struct cell *c)
{
	c->result[1] = c->y;
	STORE(c->x, 1);
}

static bool both_one(const struct cell *c)
{
	return c->result[0] && c->result[1];
}

/* 2+2W: two stores each, in opposite order; not both first ones may be the last. */
static void ww_0(struct cell *c)
{
	STORE(c->x, 1);
	STORE(c->y, 2);
}

static void ww_1(struct cell *c)
{
	STORE(c->y, 1);
	STORE(c->x, 2);
}

static bool ww_forbidden(const struct cell *c)
{
	return c->x == 1 && c->y == 1;
}

/* R: a store that comes last, and behind a fence a load that misses what came before. */
static void r_0(struct cell *c)
{
	STORE(c->x, 1);
	STORE(c->y, 1);
}

static void r_1(struct cell *c)
{
	STORE(c->y, 2);
	MFENCE;
	c->result[0] = c->x;
}

static bool r_forbidden(const struct cell *c)
{
	return c->y == 2 && !c->result[0];
}

/* S: a store does not pass an earlier load of the flag. */
static void s_0(struct cell *c)
{
	STORE(c->x, 2);
	STORE(c->y, 1);
}

static void s_1(struct cell *c)
{
	c->result[0] = c->y;
	STORE(c->x, 1);
}

static bool s_forbidden(const struct cell *c)
{
	return c->result[0] == 1 && c->x == 2;
}

/* CoRR: one variable does not go back. */
static void corr_0(struct cell *c)
{
	STORE(c->x, 1);
}

static void corr_1(struct cell *c)
{
	c->result[0] = c->x;
	c->result[1] = c->x;
}

static bool corr_forbidden(const struct cell *c)
{
	return c->result[0] && !c->result[1];
}

#if CPUS > 2
/* IRIW: two readers see two stores in the same order. */
static void iriw_0(struct cell *c)
{
	STORE(c->x, 1);
}

static void iriw_1(struct cell *c)
{
	STORE(c->y, 1);
}

static void iriw_2(struct cell *c)
{
	c->result[0] = c->x;
	c->result[1] = c->y;
}

static void iriw_3(struct cell *c)
{
	c->result[2] = c->y;
	c->result[3] = c->x;
}

static bool iriw_forbidden(const struct cell *c)
{
	return c->result[0] && !c->result[1] && c->result[2] && !c->result[3];
}

/* WRC: what a CPU has seen, and told another of, that one sees. */
static void wrc_1(struct cell *c)
{
	c->result[0] = c->x;
	STORE(c->y, 1);
}

static void wrc_2(struct cell *c)
{
	c->result[1] = c->y;
	c->result[2] = c->x;
}

static bool wrc_forbidden(const struct cell *c)
{
	return c->result[0] && c->result[1] && !c->result[2];
}
#endif

static const struct litmus tests[] = {
	{"SB, MFENCE", 2, {sb_mfence_0, sb_mfence_1}, both_zero},
	{"SB, LOCK", 2, {sb_locked_0, sb_locked_1}, both_zero},
	{"SB, XCHG", 2, {sb_xchg_0, sb_xchg_1}, both_zero},
	{"MP", 2, {mp_0, mp_1}, mp_forbidden},
	{"LB", 2, {lb_0, lb_1}, both_one},
	{"2+2W", 2, {ww_0, ww_1}, ww_forbidden},
	{"R, MFENCE", 2, {r_0, r_1}, r_forbidden},
	{"S", 2, {s_0, s_1}, s_forbidden},
	{"CoRR", 2, {corr_0, corr_1}, corr_forbidden},
#if CPUS > 2
	{"IRIW", 4, {iriw_0, iriw_1, iriw_2, iriw_3}, iriw_forbidden},
	{"WRC", 3, {iriw_0, wrc_1, wrc_2}, wrc_forbidden},
#endif
};
#define TESTS (sizeof(tests) / sizeof(tests[0]))

static void prepare(void)
{
	memset(cells, 0, sizeof(cells));
	for (unsigned role = 0; role < CPUS_MAX; role++)
		progress[role].cell = 0;
}

/* Every CPU's part of a test; CPU 0 prepares and counts. Roles change from batch to batch. */
static void run_test(const struct litmus *test, unsigned number)
{
	unsigned forbidden = 0;

	for (unsigned batch = 0; batch < BATCHES; batch++) {
		unsigned role = (number + batch) % CPUS;

		if (number == 0)
			prepare();
		cpu_barrier(&barrier, CPUS);
		if (role < test->cpus)
			for (unsigned i = 0; i < CELLS; i++) {
				meet(test, role, i + 1);
				test->thread[role](&cells[i]);
			}
		cpu_barrier(&barrier, CPUS);
		for (unsigned i = 0; number == 0 && i < CELLS; i++)
			forbidden += test->forbidden(&cells[i]);
		cpu_barrier(&barrier, CPUS);
	}
	if (number == 0)
		print("%s: forbidden %d\n", test->name, (word)forbidden);
}

/* Read-modify-writes of every width and place: none is lost. */
static uint8_t wide[8192] __attribute__((aligned(4096)));
static volatile uint64_t pair[2] __attribute__((aligned(16)));
#define ADDITIONS 4000u

static void add_pair(void)
{
	uint64_t low = pair[0], high = pair[1];
	bool done;

	do
		__asm__ volatile("lock cmpxchg16b %1"
				 : "=@ccz"(done), "+m"(pair), "+a"(low), "+d"(high)
				 : "b"(low + 1), "c"(high + 3)
				 : "memory");
	while (!done);
}

static void run_additions(unsigned number)
{
	cpu_barrier(&barrier, CPUS);
	for (unsigned i = 0; i < ADDITIONS; i++) {
		__asm__ volatile("lock incb %0" : "+m"(wide[5]));
		__asm__ volatile("lock incl %0" : "+m"(*(uint32_t *)(void *)(wide + 61)));
		__asm__ volatile("lock addq $1, %0" : "+m"(*(uint64_t *)(void *)(wide + 4092)));
		add_pair();
	}
	cpu_barrier(&barrier, CPUS);
	if (number)
		return;
	print("bytes: %d\n", (word)(wide[5] == (uint8_t)(CPUS * ADDITIONS)));
	print("across a line: %d\n", (word)(*(uint32_t *)(void *)(wide + 61) == CPUS * ADDITIONS));
	print("across a page: %d\n", (word)(*(uint64_t *)(void *)(wide + 4092) == CPUS * ADDITIONS));
	print("16 bytes: %d\n", (word)(pair[0] == CPUS * ADDITIONS && pair[1] == 3 * CPUS * ADDITIONS));
}

static void run_all(unsigned number)
{
	for (unsigned i = 0; i < TESTS; i++)
		run_test(&tests[i], number);
	run_additions(number);
}

void cpu_main(unsigned number)
{

	run_all(number);
	for (;;)
		__asm__ volatile("cli; hlt");
}

int main(void)
{
	start_cpus(CPUS - 1);
	run_all(0);
	return 0;
}
