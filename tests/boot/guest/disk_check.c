/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs inside a guest: a static program that tells whether a disk keeps what is written to it.
 *
 *     disk_check random DEVICE BYTES SEED OPERATIONS
 *         Random extents of a block device against a copy in memory: direct and cached reads and writes,
 * fsync, discard, zeroes. Prints "disk-check ok N" or says what differs. disk_check journal FOLDER Appends
 * records to FOLDER/log and replaces files beside it, without end. After each fsync that returned it prints
 * "acked log N" or "acked file N": from then on record or file N must survive the death of the monitor.
 * tests/boot/disk_cases.py reads them with the same layout.
 *
 * A record: magic 4 | number 4 | length of data 4 | CRC-32 of data 4 | data.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RECORD_MAGIC    0x4b534944u /* "DISK" */
#define RECORD_DATA_MAX 20000
#define EXTENT_MAX      (256u << 10)
#define ALIGN           4096u
#define SECTOR          512u
#define JOURNAL_FILES   16

struct record {
	uint32_t magic;
	uint32_t number;
	uint32_t length;
	uint32_t crc;
	uint8_t data[RECORD_DATA_MAX];
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fail(const char *what)
{
	printf("disk-check failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t crc32_of(const uint8_t *bytes, size_t len)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* --- random extents */

struct check {
	int direct_fd, cached_fd;
	uint8_t *model, *buffer;
	uint64_t size, random;
};

static void check_read(struct check *check, int fd, uint64_t offset, uint64_t len)
{
	ssize_t got = pread(fd, check->buffer, len, (off_t)offset);

	if (got != (ssize_t)len)
		fail("read");
	if (memcmp(check->buffer, check->model + offset, len) == 0)
		return;
	for (uint64_t i = 0; i < len; i++) {
		if (check->buffer[i] != check->model[offset + i]) {
			printf("disk-check failed: byte %llu is 0x%02x, not 0x%02x (read of %llu at %llu)\n",
			       (unsigned long long)(offset + i), check->buffer[i], check->model[offset + i],
			       (unsigned long long)len, (unsigned long long)offset);
			exit(1);
		}
	}
}

static void check_write(struct check *check, int fd, uint64_t offset, uint64_t len)
{
	uint64_t seed = next_random(&check->random);

	for (uint64_t i = 0; i + 8 <= len; i += 8) {
		uint64_t word = seed + i;

		memcpy(check->buffer + i, &word, 8);
	}
	memcpy(check->model + offset, check->buffer, len);
	if (pwrite(fd, check->buffer, len, (off_t)offset) != (ssize_t)len)
		fail("write");
}

/* The kernel drops its own cached pages of the range. A discarded range may read as anything: we ask for
 * zeroes afterwards. */
static void check_zero(struct check *check, uint64_t offset, uint64_t len, int discard)
{
	uint64_t range[2] = {offset, len};

	if (fsync(check->cached_fd) < 0)
		fail("fsync");
	if (discard && ioctl(check->cached_fd, BLKDISCARD, range) < 0)
		fail("BLKDISCARD");
	if (ioctl(check->cached_fd, BLKZEROOUT, range) < 0)
		fail("BLKZEROOUT");
	memset(check->model + offset, 0, len);
}

static void check_step(struct check *check)
{
	uint64_t sectors = check->size / SECTOR;
	uint64_t first = next_random(&check->random) % sectors;
	uint64_t most = sectors - first < EXTENT_MAX / SECTOR ? sectors - first : EXTENT_MAX / SECTOR;
	uint64_t count = 1 + next_random(&check->random) % most;
	uint64_t offset = first * SECTOR, len = count * SECTOR;

	switch (next_random(&check->random) % 8) {
	case 0:
	case 1: check_write(check, check->direct_fd, offset, len); return;
	case 2: check_write(check, check->cached_fd, offset, len); return;
	case 3:
	case 4: check_read(check, check->direct_fd, offset, len); return;
	case 5: check_read(check, check->cached_fd, offset, len); return;
	case 6: check_zero(check, offset, len, next_random(&check->random) % 2 != 0); return;
	default:
		if (fsync(check->cached_fd) < 0)
			fail("fsync");
	}
}

static int run_random(const char *device, uint64_t size, uint64_t seed, unsigned long operations)
{
	struct check check = {.size = size, .random = seed | 1};

	check.direct_fd = open(device, O_RDWR | O_DIRECT);
	check.cached_fd = open(device, O_RDWR);
	check.model = malloc(size);
	check.buffer = aligned_alloc(ALIGN, EXTENT_MAX);
	if (check.direct_fd < 0 || check.cached_fd < 0 || !check.model || !check.buffer)
		fail(device);
	for (uint64_t at = 0; at < size; at += EXTENT_MAX) {
		uint64_t len = size - at < EXTENT_MAX ? size - at : EXTENT_MAX;

		check_write(&check, check.direct_fd, at, len);
	}
	for (unsigned long i = 0; i < operations; i++)
		check_step(&check);
	if (fsync(check.cached_fd) < 0)
		fail("fsync");
	for (uint64_t at = 0; at < size; at += EXTENT_MAX) {
		uint64_t len = size - at < EXTENT_MAX ? size - at : EXTENT_MAX;

		check_read(&check, check.direct_fd, at, len);
	}
	printf("disk-check ok %lu %08x\n", operations, crc32_of(check.model, size));
	return 0;
}

/* --- records that must survive */

static size_t record_make(struct record *record, uint32_t number)
{
	uint64_t random = number * 0x9e3779b97f4a7c15ull | 1;

	record->magic = RECORD_MAGIC;
	record->number = number;
	record->length = (uint32_t)(next_random(&random) % RECORD_DATA_MAX);
	for (uint32_t i = 0; i < record->length; i++)
		record->data[i] = (uint8_t)next_random(&random);
	record->crc = crc32_of(record->data, record->length);
	return offsetof(struct record, data) + record->length;
}

static void write_all(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t done = write(fd, at, len);

		if (done <= 0)
			fail("write");
		at += done;
		len -= (size_t)done;
	}
}

/* How many whole records the log begins with; the rest, which was never acknowledged, is cut off. */
static uint32_t log_resume(int fd)
{
	static struct record record;
	uint32_t number = 0;
	off_t end = 0;

	for (;;) {
		size_t head = offsetof(struct record, data);

		if (pread(fd, &record, head, end) != (ssize_t)head || record.magic != RECORD_MAGIC ||
		    record.number != number || record.length > RECORD_DATA_MAX)
			break;
		if (pread(fd, record.data, record.length, end + (off_t)head) != (ssize_t)record.length ||
		    crc32_of(record.data, record.length) != record.crc)
			break;
		end += (off_t)(head + record.length);
		number++;
	}
	if (ftruncate(fd, end) < 0 || fsync(fd) < 0 || lseek(fd, end, SEEK_SET) != end)
		fail("log");
	return number;
}

static void replace_file(int folder_fd, uint32_t number)
{
	static struct record record;
	size_t len = record_make(&record, number);
	char name[32];
	int fd = openat(folder_fd, "new", O_CREAT | O_TRUNC | O_WRONLY, 0644);

	if (fd < 0)
		fail("new");
	write_all(fd, &record, len);
	if (fsync(fd) < 0 || close(fd) < 0)
		fail("fsync");
	snprintf(name, sizeof(name), "file%u", number % JOURNAL_FILES);
	if (renameat(folder_fd, "new", folder_fd, name) < 0 || fsync(folder_fd) < 0)
		fail(name);
	printf("acked file %u\n", number);
	fflush(stdout);
}

__attribute__((noreturn)) static void run_journal(const char *folder)
{
	static struct record record;
	int folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
	int fd = openat(folder_fd, "log", O_CREAT | O_RDWR, 0644);
	uint32_t number;

	if (folder_fd < 0 || fd < 0)
		fail(folder);
	if (fsync(folder_fd) < 0)
		fail("fsync");
	number = log_resume(fd);
	printf("resumed at %u\n", number);
	for (;; number++) {
		write_all(fd, &record, record_make(&record, number));
		if (fdatasync(fd) < 0)
			fail("fdatasync");
		printf("acked log %u\n", number);
		fflush(stdout);
		if (number % 3 == 0)
			replace_file(folder_fd, number);
	}
}

int main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "random") == 0)
		return run_random(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0),
				  strtoul(argv[5], NULL, 0));
	if (argc == 3 && strcmp(argv[1], "journal") == 0)
		run_journal(argv[2]);
	fprintf(stderr, "usage: disk_check random DEVICE BYTES SEED OPERATIONS | journal FOLDER\n");
	return 2;
}
