/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point in a guest's user space: digests of what the C library's functions give in all rounding
 * modes, with the exceptions that they raise; registers and modes that must survive signals, threads and
 * forks; and SIGFPE. Two runs of one binary on one model of CPU must print the same lines, whatever executes
 * them.
 *
 *     float_check
 */
#define _GNU_SOURCE
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS     6
#define ROUNDS      40000
#define TICK_US     2000
#define POINTS      60
#define DIGEST_SEED 0xcbf29ce484222325ull

static const int modes[4] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
static _Atomic unsigned failures;

static void digest(uint64_t *sum, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	while (size--)
		*sum = (*sum ^ *at++) * 0x100000001b3ull;
}

static void digest_flags(uint64_t *sum)
{
	int flags = fetestexcept(FE_ALL_EXCEPT);

	digest(sum, &flags, sizeof(flags));
	feclearexcept(FE_ALL_EXCEPT);
}

/* Around one, large, small, odd. */
static double point(int i)
{
	static const double odd[] = {
		0.0,      -0.0,      1.0, -1.0,   0x1p-1074, 0x1p-1030, 0x1p1000, -0x1p1023,
		INFINITY, -INFINITY, NAN, 0x1p63, 1e22,      2.5,       -0.5,     0x1.fffffffffffffp-1};
	int n = (int)(sizeof(odd) / sizeof(odd[0]));

	if (i < n)
		return odd[i];
	return ldexp(1.0 + i * 0.0137, i % 40 - 20) * (i & 1 ? -1 : 1);
}

#define ONE(type_, fn_)                                                                                      \
	for (int i = 0; i < POINTS; i++) {                                                                   \
		volatile type_ x = (type_)point(i);                                                          \
		type_ r = fn_(x);                                                                            \
		digest(&sum, &r, sizeof(type_) > 8 ? 10 : sizeof(type_));                                    \
		digest_flags(&sum);                                                                          \
	}
#define TWO(type_, fn_)                                                                                      \
	for (int i = 0; i < POINTS; i++) {                                                                   \
		volatile type_ x = (type_)point(i), y = (type_)point((i * 7 + 3) % POINTS);                  \
		type_ r = fn_(x, y);                                                                         \
		digest(&sum, &r, sizeof(type_) > 8 ? 10 : sizeof(type_));                                    \
		digest_flags(&sum);                                                                          \
	}
#define FAMILY(name_, type_, s_)                                                                             \
	static uint64_t name_(void)                                                                          \
	{                                                                                                    \
		uint64_t sum = DIGEST_SEED;                                                                  \
		ONE(type_, sin##s_)                                                                          \
		ONE(type_, cos##s_)                                                                          \
		ONE(type_, tan##s_)                                                                          \
		ONE(type_, atan##s_)                                                                         \
		ONE(type_, asin##s_)                                                                         \
		ONE(type_, exp##s_)                                                                          \
		ONE(type_, exp2##s_)                                                                         \
		ONE(type_, expm1##s_)                                                                        \
		ONE(type_, log##s_)                                                                          \
		ONE(type_, log1p##s_)                                                                        \
		ONE(type_, log2##s_)                                                                         \
		ONE(type_, sinh##s_)                                                                         \
		ONE(type_, tanh##s_)                                                                         \
		ONE(type_, cbrt##s_)                                                                         \
		ONE(type_, sqrt##s_)                                                                         \
		ONE(type_, erf##s_)                                                                          \
		ONE(type_, tgamma##s_)                                                                       \
		ONE(type_, rint##s_)                                                                         \
		ONE(type_, floor##s_)                                                                        \
		ONE(type_, round##s_)                                                                        \
		TWO(type_, pow##s_)                                                                          \
		TWO(type_, atan2##s_)                                                                        \
		TWO(type_, hypot##s_)                                                                        \
		TWO(type_, fmod##s_)                                                                         \
		TWO(type_, remainder##s_)                                                                    \
		TWO(type_, fmin##s_)                                                                         \
		TWO(type_, nextafter##s_)                                                                    \
		return sum;                                                                                  \
	}

FAMILY(digest_float, float, f)
FAMILY(digest_double, double, )
FAMILY(digest_long_double, long double, l)

/* To text and back, and to integers. */
static uint64_t digest_text(void)
{
	uint64_t sum = DIGEST_SEED;
	char text[128];

	for (int i = 0; i < POINTS; i++) {
		double x = point(i), back;
		long double y = (long double)x / 3, long_back;

		digest(&sum, text, (size_t)snprintf(text, sizeof(text), "%.17g %a %.6f", x, x, fmod(x, 1e6)));
		back = strtod(text, NULL);
		digest(&sum, &back, sizeof(back));
		digest(&sum, text, (size_t)snprintf(text, sizeof(text), "%.21Lg %La", y, y));
		long_back = strtold(text, NULL);
		digest(&sum, &long_back, 10);
		if (fabs(x) < 0x1p62) {
			long long n[4] = {llrint(x), (long long)x, llrintl(y), (long long)y};

			digest(&sum, n, sizeof(n));
		}
		digest_flags(&sum);
	}
	return sum;
}

static void all_digests(void)
{
	static const struct {
		const char *name;
		uint64_t (*fn)(void);
	} families[] = {{"float", digest_float},
			{"double", digest_double},
			{"long double", digest_long_double},
			{"text", digest_text}};

	for (unsigned f = 0; f < 4; f++)
		for (unsigned m = 0; m < 4; m++) {
			uint64_t sum;

			fesetround(modes[m]);
			feclearexcept(FE_ALL_EXCEPT);
			sum = families[f].fn();
			fesetround(FE_TONEAREST);
			printf("float_check: %s, mode %u: %016llx\n", families[f].name, m,
			       (unsigned long long)sum);
		}
}

static void expect(bool holds, const char *what)
{
	if (holds)
		return;
	printf("float_check: wrong: %s\n", what);
	failures++;
}

struct sums {
	double d;
	long double l;
	float v[4];
};

/* Values that stay in registers for long, of every kind, in a rounding mode of one's own. */
static struct sums accumulate(unsigned seed)
{
	struct sums s = {.d = seed, .l = seed};
	double d = s.d;
	long double l = s.l;

	fesetround(modes[seed & 3]);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		d = d * 0.999 + 1.0 / i;
		l = l * 0.999L + 1.0L / i;
		for (unsigned k = 0; k < 4; k++)
			s.v[k] = s.v[k] * 0.5f + (float)(i + k) / 3.0f;
	}
	s.d = d;
	s.l = l;
	expect(fegetround() == modes[seed & 3], "a rounding mode that was set");
	fesetround(FE_TONEAREST);
	return s;
}

static bool sums_equal(const struct sums *a, const struct sums *b)
{
	return a->d == b->d && a->l == b->l && !memcmp(a->v, b->v, sizeof(a->v));
}

static struct sums serial[THREADS];
static _Atomic unsigned ticks;

/* Uses what the interrupted code has in registers. */
static void on_tick(int signal)
{
	volatile double d = ticks + 0.25;
	volatile long double l = d;

	expect(fegetround() == FE_TONEAREST, "a handler's rounding mode");
	fesetround(FE_UPWARD);
	d = d / 3 + (double)(l / 7);
	feraiseexcept(FE_INEXACT);
	ticks++;
}

static void *accumulator(void *argument)
{
	unsigned seed = (unsigned)(uintptr_t)argument;

	for (unsigned i = 0; i < 3; i++) {
		struct sums s = accumulate(seed);

		expect(sums_equal(&s, &serial[seed]), "a thread's sums");
	}
	return NULL;
}

static void threads_once(void)
{
	pthread_t thread[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, accumulator, (void *)(uintptr_t)i))
			abort();
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

/* All at once, and interrupted often: a fast host may be done before the first tick, and does it again. */
static void threads(void)
{
	struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
	struct itimerval tick = {.it_interval.tv_usec = TICK_US, .it_value.tv_usec = TICK_US}, none = {};

	for (unsigned i = 0; i < THREADS; i++)
		serial[i] = accumulate(i);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &tick, NULL);
	do
		threads_once();
	while (ticks == 0);
	setitimer(ITIMER_REAL, &none, NULL);
}

static void children(void)
{
	for (unsigned m = 0; m < 4; m++) {
		int status = 0;
		pid_t child;

		fesetround(modes[m]);
		child = fork();
		if (child == 0)
			_exit(fegetround() == modes[m] && llrint(2.5) == (m == 2 ? 3 : 2) ? 0 : 1);
		waitpid(child, &status, 0);
		expect(child > 0 && status == 0, "a child's rounding mode");
	}
	fesetround(FE_TONEAREST);
}

static sigjmp_buf trapped;
static volatile sig_atomic_t trap_code;

static void on_fpe(int signal, siginfo_t *info, void *context)
{
	trap_code = info->si_code;
	siglongjmp(trapped, 1);
}

/* Hot code divides by ever less, until by zero. */
static void traps(void)
{
	struct sigaction action = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO};
	volatile double d = 1;
	volatile long double l = 1;
	volatile int n;

	sigaction(SIGFPE, &action, NULL);
	feclearexcept(FE_ALL_EXCEPT);
	feenableexcept(FE_DIVBYZERO);
	if (!sigsetjmp(trapped, 1))
		for (n = 1000; n >= 0; n--)
			d = 1.0 / n;
	expect(n == 0 && d == 1 && trap_code == FPE_FLTDIV, "a trap of SSE");
	feclearexcept(FE_ALL_EXCEPT);
	feenableexcept(FE_DIVBYZERO);
	trap_code = 0;
	if (!sigsetjmp(trapped, 1))
		for (n = 1000; n >= 0; n--)
			l = 1.0L / n;
	expect(n == 0 && l == 1 && trap_code == FPE_FLTDIV, "a trap of the x87");
	fedisableexcept(FE_ALL_EXCEPT);
	feclearexcept(FE_ALL_EXCEPT);
}

int main(void)
{
	all_digests();
	threads();
	children();
	traps();
	printf("float_check: %s\n", failures ? "FAILED" : "ok");
	return failures != 0;
}
