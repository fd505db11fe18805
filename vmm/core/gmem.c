/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest physical memory: one sealed memfd a region, mapped shared so that another process or a snapshot can
 * map the same pages. Regions are kept sorted by address and allocated one by one, so that a pointer to one
 * stays valid while others are added. Regions are added before vCPUs run (or while all are parked): look-ups
 * take no lock.
 */
#include "vmm/core/gmem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/err.h"

#define GMEM_PAGE_SIZE   4096u
#define GMEM_HUGE_SIZE   (2ull << 20)
#define GMEM_GPA_LIMIT   (1ull << 52) /* the architecture's widest physical address: no sum below can wrap */
#define GMEM_REGIONS_MAX 64 /* RAM below and above the hole, ROMs, hot-plugged RAM; bounds the search */

/* Of Linux 6.1; older headers lack it, older kernels refuse it. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

struct gmem_listener {
	gmem_written_fn *fn;
	void *opaque;
};

struct gmem {
	struct gmem_region *region[GMEM_REGIONS_MAX]; /* sorted by gpa, each owned */
	size_t region_count;
	struct gmem_listener listener[GMEM_LISTENERS_MAX];
	size_t listener_count;
	_Atomic unsigned pins;
};

struct gmem *gmem_create(void)
{
	return calloc(1, sizeof(struct gmem));
}

static void gmem_region_destroy(struct gmem_region *region)
{
	if (region->hva)
		munmap(region->hva, region->size_bytes);
	if (region->fd >= 0)
		close(region->fd);
	free(region);
}

void gmem_destroy(struct gmem *gmem)
{
	if (!gmem)
		return;
	for (size_t i = 0; i < gmem->region_count; i++)
		gmem_region_destroy(gmem->region[i]);
	free(gmem);
}

/* Index of the first region that ends above gpa: the one that holds it, or the one before which it would go.
 */
static size_t gmem_search(const struct gmem *gmem, uint64_t gpa)
{
	size_t low = 0, high = gmem->region_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct gmem_region *region = gmem->region[middle];

		if (region->gpa + (region->size_bytes - 1) < gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int gmem_check_range(const struct gmem *gmem, uint64_t gpa, uint64_t size_bytes, struct err *err)
{
	size_t at;

	if (!size_bytes || gpa % GMEM_PAGE_SIZE || size_bytes % GMEM_PAGE_SIZE)
		return err_set(err, -EINVAL,
			       "guest memory at %#" PRIx64 " of %#" PRIx64 " bytes is not whole 4 KiB pages",
			       gpa, size_bytes);
	if (gpa >= GMEM_GPA_LIMIT || size_bytes > GMEM_GPA_LIMIT - gpa)
		return err_set(err, -EINVAL,
			       "guest memory at %#" PRIx64 " of %#" PRIx64
			       " bytes ends above 52 address bits",
			       gpa, size_bytes);
	at = gmem_search(gmem, gpa);
	if (at < gmem->region_count && gmem->region[at]->gpa <= gpa + (size_bytes - 1))
		return err_set(err, -EINVAL,
			       "guest memory at %#" PRIx64 " of %#" PRIx64
			       " bytes overlaps that at %#" PRIx64,
			       gpa, size_bytes, gmem->region[at]->gpa);
	if (gmem->region_count == GMEM_REGIONS_MAX)
		return err_set(err, -ENOSPC, "guest memory has at most %d regions", GMEM_REGIONS_MAX);
	return 0;
}

/*
 * Room for a mapping, at a multiple of 2 MiB: only where guest and host addresses agree below that, huge
 * pages of the one can be huge pages of the other.
 */
static uint8_t *gmem_reserve(uint64_t size_bytes)
{
	uint64_t room = size_bytes + GMEM_HUGE_SIZE;
	uint8_t *start = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before, after;

	if (start == MAP_FAILED)
		return MAP_FAILED;
	before = -(uint64_t)(uintptr_t)start % GMEM_HUGE_SIZE;
	after = GMEM_HUGE_SIZE - before;
	if (before)
		munmap(start, before);
	munmap(start + before + size_bytes, after);
	return start + before;
}

/* The memfd keeps its size for ever: no other holder of it can make our mapping raise SIGBUS. */
static int gmem_region_map(struct gmem_region *region, struct err *err)
{
	uint8_t *room = gmem_reserve(region->size_bytes);

	if (room == MAP_FAILED)
		return err_set_errno(err, -errno, "cannot map %" PRIu64 " bytes of guest memory",
				     region->size_bytes);
	region->hva = room;
	region->fd = memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (region->fd < 0)
		return err_set_errno(err, -errno, "cannot create guest memory");
	if (ftruncate(region->fd, (off_t)region->size_bytes))
		return err_set_errno(err, -errno, "cannot size guest memory to %" PRIu64 " bytes",
				     region->size_bytes);
	if (fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return err_set_errno(err, -errno, "cannot seal guest memory");
	if (mmap(room, region->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
		 region->fd, 0) == MAP_FAILED)
		return err_set_errno(err, -errno, "cannot map %" PRIu64 " bytes of guest memory",
				     region->size_bytes);
	return 0;
}

/* Puts a mapped region into its place, or destroys it. */
static int gmem_insert(struct gmem *gmem, struct gmem_region *region, int code)
{
	size_t at;

	if (code < 0) {
		gmem_region_destroy(region);
		return code;
	}
	at = gmem_search(gmem, region->gpa);
	memmove(&gmem->region[at + 1], &gmem->region[at],
		(gmem->region_count - at) * sizeof(gmem->region[0]));
	gmem->region[at] = region;
	gmem->region_count++;
	return 0;
}

int gmem_add(struct gmem *gmem, uint64_t gpa, uint64_t size_bytes, enum gmem_kind kind, struct err *err)
{
	int ret = gmem_check_range(gmem, gpa, size_bytes, err);
	struct gmem_region *region;

	if (ret)
		return ret;
	region = calloc(1, sizeof(*region));
	if (!region)
		return err_set(err, -ENOMEM, "no memory for a guest memory region");
	*region = (struct gmem_region){.gpa = gpa, .size_bytes = size_bytes, .fd = -1, .kind = kind};
	return gmem_insert(gmem, region, gmem_region_map(region, err));
}

/* Zeros for all of it, then the file over its beginning. */
static int gmem_file_map(struct gmem_region *region, const struct gmem_file *file, struct err *err)
{
	int protection = PROT_READ | (file->kind == GMEM_ROM ? 0 : PROT_WRITE);
	uint64_t mapped = (file->file_bytes + GMEM_PAGE_SIZE - 1) & ~(uint64_t)(GMEM_PAGE_SIZE - 1);
	void *hva = mmap(NULL, region->size_bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			 -1, 0);

	if (hva == MAP_FAILED)
		return err_set_errno(err, -errno, "cannot reserve %" PRIu64 " bytes for a file",
				     region->size_bytes);
	region->hva = hva;
	if (mapped && mmap(hva, mapped, protection, MAP_SHARED | MAP_FIXED, file->fd, 0) == MAP_FAILED)
		return err_set_errno(err, -errno, "cannot map a file of %" PRIu64 " bytes", file->file_bytes);
	region->fd = file->fd;
	return 0;
}

int gmem_add_file(struct gmem *gmem, uint64_t gpa, const struct gmem_file *file, struct err *err)
{
	int ret = gmem_check_range(gmem, gpa, file->size_bytes, err);
	struct gmem_region *region;

	if (ret)
		return ret;
	if (file->file_bytes > file->size_bytes || file->kind == GMEM_RAM)
		return err_set(err, -EINVAL, "a file of %" PRIu64 " bytes does not fit into %" PRIu64,
			       file->file_bytes, file->size_bytes);
	region = calloc(1, sizeof(*region));
	if (!region)
		return err_set(err, -ENOMEM, "no memory for a guest memory region");
	*region = (struct gmem_region){
		.gpa = gpa, .size_bytes = file->size_bytes, .fd = -1, .kind = file->kind};
	return gmem_insert(gmem, region, gmem_file_map(region, file, err));
}

int gmem_replace(struct gmem *gmem, size_t index, int fd, uint64_t fd_offset, struct err *err)
{
	struct gmem_region *region = index < gmem->region_count ? gmem->region[index] : NULL;
	int flags = MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0);
	int copy = -1;

	if (!region || region->kind != GMEM_RAM || region->backing != GMEM_SHARED ||
	    fd_offset % GMEM_PAGE_SIZE)
		return err_set(err, -EINVAL, "this guest memory cannot have other pages");
	if (fd >= 0) {
		copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (copy < 0)
			return err_set_errno(err, -errno, "guest memory");
	}
	if (mmap(region->hva, region->size_bytes, PROT_READ | PROT_WRITE, flags, fd, (off_t)fd_offset) ==
	    MAP_FAILED) {
		int code = -errno;

		if (copy >= 0)
			close(copy);
		return err_set_errno(err, code, "cannot map %" PRIu64 " bytes of guest memory",
				     region->size_bytes);
	}
	close(region->fd);
	region->fd = copy;
	region->fd_offset = fd < 0 ? 0 : fd_offset;
	region->backing = fd < 0 ? GMEM_ANONYMOUS : GMEM_PRIVATE;
	return 0;
}

size_t gmem_region_count(const struct gmem *gmem)
{
	return gmem->region_count;
}

const struct gmem_region *gmem_region_at(const struct gmem *gmem, size_t index)
{
	assert(index < gmem->region_count);
	return gmem->region[index];
}

const struct gmem_region *gmem_region_find(const struct gmem *gmem, uint64_t gpa)
{
	size_t at = gmem_search(gmem, gpa);

	if (at == gmem->region_count || gpa < gmem->region[at]->gpa)
		return NULL;
	return gmem->region[at];
}

uint64_t gmem_ram_size_bytes(const struct gmem *gmem)
{
	uint64_t total = 0;

	for (size_t i = 0; i < gmem->region_count; i++)
		if (gmem->region[i]->kind == GMEM_RAM)
			total += gmem->region[i]->size_bytes;
	return total;
}

uint8_t *gmem_span(const struct gmem *gmem, uint64_t gpa, uint64_t len)
{
	const struct gmem_region *region = gmem_region_find(gmem, gpa);

	if (!region || !len || len > region->size_bytes - (gpa - region->gpa))
		return NULL;
	return region->hva + (gpa - region->gpa);
}

/* The bytes from gpa to the end of its region, at most len; 0 outside memory. */
static uint64_t gmem_piece(const struct gmem *gmem, uint64_t gpa, uint64_t len, uint8_t **hva)
{
	const struct gmem_region *region = gmem_region_find(gmem, gpa);
	uint64_t left;

	if (!region)
		return 0;
	left = region->size_bytes - (gpa - region->gpa);
	*hva = region->hva + (gpa - region->gpa);
	return len < left ? len : left;
}

int gmem_read(const struct gmem *gmem, uint64_t gpa, void *dst, uint64_t len)
{
	uint8_t *to = dst, *hva;

	while (len) {
		uint64_t piece = gmem_piece(gmem, gpa, len, &hva);

		if (!piece)
			return -EFAULT;
		memcpy(to, hva, piece);
		to += piece;
		gpa += piece;
		len -= piece;
	}
	return 0;
}

int gmem_write(struct gmem *gmem, uint64_t gpa, const void *src, uint64_t len)
{
	const uint8_t *from = src;
	uint8_t *hva;

	while (len) {
		uint64_t piece = gmem_piece(gmem, gpa, len, &hva);

		if (!piece)
			return -EFAULT;
		memcpy(hva, from, piece);
		gmem_written(gmem, gpa, piece);
		from += piece;
		gpa += piece;
		len -= piece;
	}
	return 0;
}

int gmem_zero(struct gmem *gmem, uint64_t gpa, uint64_t len)
{
	uint8_t *hva;

	while (len) {
		uint64_t piece = gmem_piece(gmem, gpa, len, &hva);

		if (!piece)
			return -EFAULT;
		memset(hva, 0, piece);
		gmem_written(gmem, gpa, piece);
		gpa += piece;
		len -= piece;
	}
	return 0;
}

/* A private mapping would show the file again: zeros go over it. A page-fault handler is told of what it need
 * not fill any more. */
static int gmem_release(const struct gmem_region *region, uint64_t offset, uint64_t len)
{
	switch (region->backing) {
	case GMEM_SHARED:
		return fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)(region->fd_offset + offset), (off_t)len) < 0
			       ? -errno
			       : 0;
	case GMEM_PRIVATE:
		return mmap(region->hva + offset, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED
			       ? -errno
			       : 0;
	case GMEM_ANONYMOUS: return madvise(region->hva + offset, len, MADV_DONTNEED) < 0 ? -errno : 0;
	}
	return -EINVAL;
}

int gmem_discard(struct gmem *gmem, uint64_t gpa, uint64_t len)
{
	const struct gmem_region *region = gmem_region_find(gmem, gpa);
	int code;

	if (gpa % GMEM_PAGE_SIZE || len % GMEM_PAGE_SIZE || !len)
		return -EINVAL;
	if (!region || region->kind != GMEM_RAM || len > region->size_bytes - (gpa - region->gpa))
		return -EFAULT;
	if (gmem_is_pinned(gmem))
		return -EBUSY;
	code = gmem_release(region, gpa - region->gpa, len);
	if (code == 0)
		gmem_written(gmem, gpa, len);
	return code;
}

/*
 * A memfd gets huge pages of its own only where the administrator said so (shmem_enabled); MADV_COLLAPSE
 * makes them of what is there, from Linux 6.1. It wants a first page in each.
 */
void gmem_expect_use(struct gmem *gmem, uint64_t gpa, uint64_t len)
{
	uint64_t first = (gpa + GMEM_HUGE_SIZE - 1) & ~(GMEM_HUGE_SIZE - 1);
	uint64_t end = (gpa + len) & ~(GMEM_HUGE_SIZE - 1);
	uint8_t *hva = first < end && gpa + len >= gpa ? gmem_span(gmem, first, end - first) : NULL;

	if (!hva || (uintptr_t)hva % GMEM_HUGE_SIZE)
		return;
	for (uint64_t at = 0; at < end - first; at += GMEM_HUGE_SIZE)
		(void)*(volatile const uint8_t *)(hva + at);
	madvise(hva, end - first, MADV_COLLAPSE);
}

void gmem_written(struct gmem *gmem, uint64_t gpa, uint64_t len)
{
	for (size_t i = 0; i < gmem->listener_count; i++)
		gmem->listener[i].fn(gmem->listener[i].opaque, gpa, len);
}

int gmem_listen(struct gmem *gmem, gmem_written_fn *fn, void *opaque)
{
	if (gmem->listener_count == GMEM_LISTENERS_MAX)
		return -ENOSPC;
	gmem->listener[gmem->listener_count++] = (struct gmem_listener){.fn = fn, .opaque = opaque};
	return 0;
}

void gmem_pin(struct gmem *gmem)
{
	atomic_fetch_add(&gmem->pins, 1);
}

void gmem_unpin(struct gmem *gmem)
{
	unsigned before = atomic_fetch_sub(&gmem->pins, 1);

	assert(before > 0);
	(void)before;
}

bool gmem_is_pinned(const struct gmem *gmem)
{
	return atomic_load(&gmem->pins) > 0;
}
