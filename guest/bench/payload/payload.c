/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main of the payload of `vmmctl bench`. Its command line is the name, `ms=N`, and the names of the
 * kernels to be run (none: all). It prints a line for each on COM1,
 *
 *     NAME<tab>UNITS<tab>TICKS<tab>UNIT
 *
 * for so many units in so many ticks of the TSC, after a line `tsc-khz<tab>N`, and ends through the exit
 * port.
 */
#include "guest/bench/payload/payload.h"

#include <stdbool.h>

#define REPEATS        5u /* of which the best is told */
#define LEAF_TSC_KHZ   0x40000010u
#define MULTIBOOT_LINE 16u /* where multiboot's information has the command line */

extern uint32_t multiboot_info;

static void payload_put(char c)
{
	while (!(inb(COM1 + 5) & 0x20))
		;
	outb(COM1, (uint8_t)c);
}

static void payload_print(const char *text)
{
	for (; *text; text++)
		payload_put(*text);
}

static void payload_print_number(uint64_t value)
{
	char digit[21];
	unsigned count = 0;

	do
		digit[count++] = (char)('0' + value % 10);
	while (value /= 10);
	while (count)
		payload_put(digit[--count]);
}

static _Noreturn void payload_end(uint8_t status)
{
	outb(EXIT_PORT, status);
	for (;;)
		__asm__ volatile("cli; hlt");
}

_Noreturn void payload_unexpected(uint64_t first, uint64_t second)
{
	payload_print("unexpected trap\t");
	payload_print_number(first);
	payload_put('\t');
	payload_print_number(second);
	payload_put('\n');
	payload_end(1);
}

/* The end of a word, or of the number that it has. */
static bool payload_ends(char c)
{
	return c == 0 || c == ' ';
}

/* The value of `ms=` in the command line, or 0; *any: names follow or precede. */
static uint64_t payload_milliseconds(const char *line, bool *any)
{
	uint64_t value = 0;

	*any = false;
	while (*line) {
		while (*line == ' ')
			line++;
		if (line[0] == 'm' && line[1] == 's' && line[2] == '=')
			for (line += 3; *line >= '0' && *line <= '9'; line++)
				value = value * 10 + (uint64_t)(*line - '0');
		else if (*line)
			*any = true;
		while (!payload_ends(*line))
			line++;
	}
	return value;
}

static bool payload_names(const char *line, const char *name)
{
	for (const char *at = line; *at; at++) {
		unsigned len = 0;

		if (at != line && at[-1] != ' ')
			continue;
		while (name[len] && at[len] == name[len])
			len++;
		if (!name[len] && payload_ends(at[len]))
			return true;
	}
	return false;
}

static inline uint64_t payload_ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return low | (uint64_t)high << 32;
}

static uint64_t payload_tsc_khz(void)
{
	uint32_t eax = LEAF_TSC_KHZ, ebx, ecx = 0, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return eax;
}

static uint64_t payload_time(const struct bench_kernel *kernel, struct bench_room *room, uint64_t n)
{
	uint64_t start = payload_ticks();

	kernel->run(room, n);
	return payload_ticks() - start;
}

static void payload_print_row(const struct bench_kernel *kernel, uint64_t units, uint64_t ticks)
{
	payload_print(kernel->name);
	payload_put('\t');
	payload_print_number(units);
	payload_put('\t');
	payload_print_number(ticks);
	payload_put('\t');
	payload_print(kernel->unit);
	payload_put('\n');
}

static void payload_measure(const struct bench_kernel *kernel, struct bench_room *room, uint64_t wanted)
{
	uint64_t n = 1, took, best = UINT64_MAX;

	if (kernel->prepare)
		kernel->prepare(room);
	while ((took = payload_time(kernel, room, n)) < wanted / 8)
		n *= took < wanted / 80 ? 8 : 2;
	n = (uint64_t)((double)n * (double)wanted / REPEATS / (double)took) + 1;
	for (unsigned i = 0; i < REPEATS; i++) {
		took = payload_time(kernel, room, n);
		best = took < best ? took : best;
	}
	payload_print_row(kernel, n, best);
}

static void payload_measure_all(const struct bench_kernel *kernels, unsigned count, const char *line)
{
	struct bench_room room = {.data = (uint8_t *)DATA, .code = (uint8_t *)CODE};
	bool any, lists = payload_names(line, "list");
	uint64_t wanted = payload_milliseconds(line, &any) * payload_tsc_khz();

	for (unsigned i = 0; i < count; i++) {
		if (lists)
			payload_print_row(&kernels[i], 1, 0);
		else if (!any || payload_names(line, kernels[i].name))
			payload_measure(&kernels[i], &room, wanted);
	}
}

_Noreturn void payload_main(void)
{
	const char *line =
		(const char *)(uintptr_t) * (const uint32_t *)(uintptr_t)(multiboot_info + MULTIBOOT_LINE);

	/* The first word is the image's name. */
	while (!payload_ends(*line))
		line++;
	bare_init();
	payload_print("tsc-khz\t");
	payload_print_number(payload_tsc_khz());
	payload_put('\n');
	payload_measure_all(bench_kernels, bench_kernel_count, line);
	payload_measure_all(bare_kernels, bare_kernel_count, line);
	payload_end(0);
}
