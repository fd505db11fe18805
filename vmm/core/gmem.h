/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest physical memory: RAM in sealed memfds. gmem_span is the only way from a guest address to a pointer,
 * and every write by the host goes through gmem_write or gmem_written, so that dirty logging and the
 * invalidation of translated code are one hook. Knows nothing of devices or accelerators.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct gmem;

enum gmem_kind {
	GMEM_RAM,    /* read, write, execute */
	GMEM_ROM,    /* the guest's writes are ignored; the host's loader may write */
	GMEM_DEVICE, /* as RAM, but a device's: no memory map lists it, no loader uses it, no page is given
			back */
};

/* Where the pages of a region come from. */
enum gmem_backing {
	GMEM_SHARED,    /* fd: others can map the same pages */
	GMEM_PRIVATE,   /* copies, made when they are written, of what fd holds */
	GMEM_ANONYMOUS, /* nowhere: zeros, or what a page-fault handler puts there. fd is -1 */
};

/* One contiguous piece. Regions never overlap and are sorted by gpa. */
struct gmem_region {
	uint64_t gpa;        /* first byte, 4 KiB aligned */
	uint64_t size_bytes; /* a multiple of 4 KiB */
	uint8_t *hva;        /* mapping of [fd_offset, fd_offset + size_bytes) */
	int fd;              /* the memfd or file, owned by the gmem */
	uint64_t fd_offset;
	enum gmem_kind kind;
	enum gmem_backing backing;
};

struct gmem *gmem_create(void);
void gmem_destroy(struct gmem *gmem);

/* Adds zero-filled memory backed by a memfd named "guest-memory". 0, or -EINVAL (alignment, overlap, wrap),
 * -ENOMEM. */
int gmem_add(struct gmem *gmem, uint64_t gpa, uint64_t size_bytes, enum gmem_kind kind, struct err *err);

/*
 * Adds GMEM_DEVICE memory: a file, then zeros up to size_bytes (a multiple of 4 KiB, at least the file's
 * size). A shared mapping, or with GMEM_ROM as kind one that the guest cannot write. Takes fd when it
 * succeeds. The file must not shrink: then an access is SIGBUS. 0, -EINVAL, -ENOMEM, -errno.
 */
struct gmem_file {
	int fd;
	uint64_t file_bytes;
	uint64_t size_bytes;
	enum gmem_kind kind; /* GMEM_DEVICE or GMEM_ROM */
};
int gmem_add_file(struct gmem *gmem, uint64_t gpa, const struct gmem_file *file, struct err *err);

/*
 * RAM that nobody has used yet, by index, gets other pages at the same host address: private copies of a
 * file's from fd_offset (a multiple of 4 KiB) on, read when they are touched, fd being copied and the file
 * not to shrink; with fd -1 anonymous ones. 0, -EINVAL, -errno; then the region is as it was.
 */
int gmem_replace(struct gmem *gmem, size_t index, int fd, uint64_t fd_offset, struct err *err);

size_t gmem_region_count(const struct gmem *gmem);
const struct gmem_region *gmem_region_at(const struct gmem *gmem, size_t index);
/* The region that holds gpa, or NULL. */
const struct gmem_region *gmem_region_find(const struct gmem *gmem, uint64_t gpa);
/* Sum of RAM in bytes. */
uint64_t gmem_ram_size_bytes(const struct gmem *gmem);

/*
 * Host pointer to [gpa, gpa + len), valid while the gmem lives, or NULL unless one region holds all of it.
 * len 0 gives NULL. For writing, call gmem_written on what was written.
 */
uint8_t *gmem_span(const struct gmem *gmem, uint64_t gpa, uint64_t len);

/* Copies across region borders; 0 or -EFAULT (then nothing outside RAM/ROM was touched, a prefix may be
 * copied). */
int gmem_read(const struct gmem *gmem, uint64_t gpa, void *dst, uint64_t len);
int gmem_write(struct gmem *gmem, uint64_t gpa, const void *src, uint64_t len);
int gmem_zero(struct gmem *gmem, uint64_t gpa, uint64_t len);

/*
 * Gives the host's memory behind whole 4 KiB pages of RAM back: they read as zeros until they are written
 * again. Listeners are told. 0; -EFAULT unless RAM holds all of it, -EINVAL (alignment), -EBUSY (pinned),
 * -errno. Any thread.
 */
int gmem_discard(struct gmem *gmem, uint64_t gpa, uint64_t len);

/*
 * All of [gpa, gpa + len) is about to be used: gets huge pages for what holds whole 2 MiB of it, where the
 * host can. Changes no byte, and promises nothing.
 */
void gmem_expect_use(struct gmem *gmem, uint64_t gpa, uint64_t len);

/* Tells the listeners that the host wrote [gpa, gpa + len) through a span. Any thread. */
void gmem_written(struct gmem *gmem, uint64_t gpa, uint64_t len);

/*
 * Somebody (io_uring, a device passed through) holds the pages of all regions themselves: from gmem_pin to
 * gmem_unpin, which nest, no page may be given back to the host, for it would be replaced by another one that
 * the holder does not see. Any thread.
 */
void gmem_pin(struct gmem *gmem);
void gmem_unpin(struct gmem *gmem);
bool gmem_is_pinned(const struct gmem *gmem);

/* Called for each host-side write, on the writer's thread. One listener a purpose; set before vCPUs run. */
typedef void gmem_written_fn(void *opaque, uint64_t gpa, uint64_t len);
#define GMEM_LISTENERS_MAX 4 /* accelerator, dirty log, and two to spare */
int gmem_listen(struct gmem *gmem, gmem_written_fn *fn, void *opaque);
