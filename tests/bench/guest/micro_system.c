/* SPDX-License-Identifier: Apache-2.0 */
/* Micro classes of one process and the kernel: system calls, files, memory, signals. */
#include "tests/bench/guest/micro.h"

#include <err.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE         4096u
#define FAULT_PAGES  1024u /* of one mapping */
#define TOUCH_PAGES  16u
#define FILE_PATTERN "/tmp/micro-XXXXXX"

static sigjmp_buf segv_return;
static volatile sig_atomic_t signals;

void micro_syscall(struct bench_room *room, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		room->sink += (uint64_t)syscall(SYS_getppid);
}

void micro_clock_gettime(struct bench_room *room, uint64_t n)
{
	struct timespec now;

	for (uint64_t i = 0; i < n; i++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		room->sink += (uint64_t)now.tv_nsec;
	}
}

/* 4 KiB of a file in the page cache, read and written back. */
void micro_read_write(struct bench_room *room, uint64_t n)
{
	char path[] = FILE_PATTERN;
	int fd = mkstemp(path);

	if (fd < 0 || ftruncate(fd, PAGE))
		err(1, "%s", path);
	unlink(path);
	for (uint64_t i = 0; i < n; i++)
		if (pread(fd, room->data, PAGE, 0) != PAGE || pwrite(fd, room->data, PAGE, 0) != PAGE)
			err(1, "read and write");
	close(fd);
}

void micro_create_unlink(struct bench_room *room, uint64_t n)
{
	char path[64] = "/tmp/micro-file";

	(void)room;
	for (uint64_t i = 0; i < n; i++) {
		int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

		if (fd < 0)
			err(1, "%s", path);
		close(fd);
		unlink(path);
	}
}

static uint8_t *micro_anonymous(size_t size)
{
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		err(1, "mmap");
	/* A huge page would make one fault of 512. */
	madvise(map, size, MADV_NOHUGEPAGE);
	return map;
}

void micro_page_fault(struct bench_room *room, uint64_t n)
{
	(void)room;
	while (n) {
		uint64_t pages = n < FAULT_PAGES ? n : FAULT_PAGES;
		uint8_t *map = micro_anonymous(FAULT_PAGES * PAGE);

		for (uint64_t i = 0; i < pages; i++)
			*(volatile uint8_t *)(map + i * PAGE) = 1;
		munmap(map, FAULT_PAGES * PAGE);
		n -= pages;
	}
}

void micro_mmap_touch(struct bench_room *room, uint64_t n)
{
	(void)room;
	for (uint64_t i = 0; i < n; i++) {
		uint8_t *map = micro_anonymous(TOUCH_PAGES * PAGE);

		for (unsigned page = 0; page < TOUCH_PAGES; page++)
			*(volatile uint8_t *)(map + page * PAGE) = 1;
		munmap(map, TOUCH_PAGES * PAGE);
	}
}

static void micro_on_signal(int number)
{
	(void)number;
	signals = signals + 1;
}

void micro_signal(struct bench_room *room, uint64_t n)
{
	struct sigaction action = {.sa_handler = micro_on_signal};

	sigaction(SIGUSR1, &action, NULL);
	for (uint64_t i = 0; i < n; i++)
		raise(SIGUSR1);
	room->sink += (uint64_t)signals;
}

static void micro_on_segv(int number)
{
	(void)number;
	siglongjmp(segv_return, 1);
}

void micro_segv_longjmp(struct bench_room *room, uint64_t n)
{
	struct sigaction action = {.sa_handler = micro_on_segv}, before;
	volatile uint64_t left = n;

	(void)room;
	sigaction(SIGSEGV, &action, &before);
	sigsetjmp(segv_return, 1);
	if (left) {
		left = left - 1;
		__asm__ volatile("movl $0, 8");
	}
	sigaction(SIGSEGV, &before, NULL);
}
