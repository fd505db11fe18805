/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening image files: their kind, size and alignment. Knows no format and no requests. For O_DIRECT's
 * alignment see open(2) and statx(2), STATX_DIOALIGN.
 */
#include "vmm/backend/block_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"

#define BLOCK_SECTOR_BYTES   512u
#define BLOCK_LOGICAL_MAX    4096u
#define BLOCK_PHYSICAL_BYTES 4096u       /* of files: what the page cache and file systems work in */
#define BLOCK_OPTIMAL_MAX    (16u << 20) /* a larger hint is a mistake of the host's driver */

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x2000u
#endif

static int block_file_open_fd(struct block_file *file, const struct blockdev_config *config, struct err *err)
{
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (config->readonly ? O_RDONLY : O_RDWR) |
		    (file->direct ? O_DIRECT : 0);

	file->fd = open(config->path, flags);
	if (file->fd >= 0)
		return 0;
	if (errno == EINVAL && file->direct)
		return err_set(err, -EINVAL,
			       "%s: its file system cannot bypass the page cache (cache=direct)",
			       config->path);
	if ((errno == EACCES || errno == EROFS || errno == EPERM) && !config->readonly)
		return err_set_errno(err, -errno, "cannot open %s for writing (readonly would do without)",
				     config->path);
	return err_set_errno(err, -errno, "cannot open %s", config->path);
}

static int block_file_read_kind(struct block_file *file, struct err *err)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return err_set_errno(err, -errno, "cannot look at %s", file->path);
	file->is_device = S_ISBLK(st.st_mode);
	if (!file->is_device && !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s is neither a file nor a block device", file->path);
	/* It kept a named pipe from stopping us; io_uring would give up where it should wait. */
	if (fcntl(file->fd, F_SETFL, file->direct ? O_DIRECT : 0) < 0)
		return err_set_errno(err, -errno, "cannot set %s to wait", file->path);
	return 0;
}

static int block_file_read_size(const struct block_file *file, uint64_t *size_bytes, struct err *err)
{
	struct stat st;

	if (file->is_device) {
		if (ioctl(file->fd, BLKGETSIZE64, size_bytes) < 0)
			return err_set_errno(err, -errno, "cannot ask %s for its size", file->path);
		return 0;
	}
	if (fstat(file->fd, &st) < 0)
		return err_set_errno(err, -errno, "cannot ask %s for its size", file->path);
	*size_bytes = (uint64_t)st.st_size;
	return 0;
}

/* The kernel's layout of what statx(2) says of O_DIRECT: older C libraries have no names for it. */
static void block_file_ask_dio_align(struct block_file *file)
{
	struct statx answer = {0};
	uint32_t align[2];

	static_assert(sizeof(answer) == 256, "struct statx as the kernel fills it");
	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) < 0 ||
	    !(answer.stx_mask & STATX_DIOALIGN))
		return;
	/* stx_dio_mem_align and stx_dio_offset_align follow stx_mnt_id, at 0x98. */
	memcpy(align, (const uint8_t *)&answer + 0x98, sizeof(align));
	if (align[0] == 0 || align[1] == 0)
		return;
	file->memory_align = align[0];
	file->offset_align = align[1];
}

static uint32_t block_file_device_block(const struct block_file *file, unsigned long request,
					uint32_t otherwise)
{
	unsigned value = 0;

	if (!file->is_device || ioctl(file->fd, request, &value) < 0 || value < BLOCK_SECTOR_BYTES ||
	    (value & (value - 1)) != 0)
		return otherwise;
	return value;
}

static void block_file_read_align(struct block_file *file)
{
	file->memory_align = 1;
	file->offset_align = 1;
	if (!file->direct)
		return;
	file->memory_align = BLOCK_PHYSICAL_BYTES;
	file->offset_align = block_file_device_block(file, BLKSSZGET, BLOCK_SECTOR_BYTES);
	block_file_ask_dio_align(file);
}

static int block_file_choose_blocks(struct block_file *file, const struct blockdev_config *config,
				    struct err *err)
{
	struct block_limits *limits = &file->blockdev.limits;
	uint32_t least = file->offset_align > BLOCK_SECTOR_BYTES ? file->offset_align : BLOCK_SECTOR_BYTES;
	uint32_t logical = config->logical_block_bytes ? config->logical_block_bytes : least;

	if (logical < least)
		return err_set(err, -EINVAL, "%s needs blocks of %u bytes with cache=direct, not of %u",
			       file->path, least, logical);
	if (logical > BLOCK_LOGICAL_MAX)
		return err_set(err, -ENOTSUP, "%s needs blocks of %u bytes: at most %u are possible",
			       file->path, logical, BLOCK_LOGICAL_MAX);
	limits->logical_block_bytes = logical;
	limits->physical_block_bytes = block_file_device_block(file, BLKPBSZGET, BLOCK_PHYSICAL_BYTES);
	if (limits->physical_block_bytes < logical)
		limits->physical_block_bytes = logical;
	limits->optimal_io_bytes = block_file_device_block(file, BLKIOOPT, 0);
	if (limits->optimal_io_bytes > BLOCK_OPTIMAL_MAX)
		limits->optimal_io_bytes = 0;
	limits->discard_granularity_bytes = limits->physical_block_bytes;
	limits->readonly = config->readonly;
	limits->can_discard = !config->readonly;
	limits->volatile_cache = !config->readonly;
	return 0;
}

static int block_file_take_size(struct block_file *file, struct err *err)
{
	uint32_t block = file->blockdev.limits.logical_block_bytes;
	uint64_t size_bytes;
	int code = block_file_read_size(file, &size_bytes, err);

	if (code < 0)
		return code;
	if (size_bytes < block)
		return err_set(err, -EINVAL, "%s has %" PRIu64 " bytes: a disk has at least one block of %u",
			       file->path, size_bytes, block);
	if (size_bytes % block != 0)
		log_warning("%s: the last %" PRIu64 " bytes are no whole block and are left out of the disk",
			    file->path, size_bytes % block);
	atomic_store(&file->size_bytes, size_bytes - size_bytes % block);
	return 0;
}

static int block_file_fill(struct block_file *file, const struct blockdev_config *config, struct err *err)
{
	int code = block_file_open_fd(file, config, err);

	if (code == 0)
		code = block_file_read_kind(file, err);
	if (code == 0)
		code = block_lock(file->fd, file->path, config->readonly, err);
	if (code < 0)
		return code;
	block_file_read_align(file);
	code = block_file_choose_blocks(file, config, err);
	return code < 0 ? code : block_file_take_size(file, err);
}

int block_file_open(struct block_file *file, const struct blockdev_config *config, struct err *err)
{
	int code;

	*file = (struct block_file){
		.fd = -1,
		.direct = config->cache == BLOCK_CACHE_DIRECT,
		.ignore_flush = config->cache == BLOCK_CACHE_UNSAFE,
		.guard_format = config->guard_format && !config->readonly,
		.pin = config->pin,
		.path = strdup(config->path),
	};
	if (!file->path)
		return err_set(err, -ENOMEM, "no memory");
	code = block_file_fill(file, config, err);
	if (code < 0)
		block_file_close(file);
	return code;
}

void block_file_close(struct block_file *file)
{
	if (file->fd >= 0) {
		block_unlock(file->fd);
		close(file->fd);
	}
	file->fd = -1;
	free(file->path);
	file->path = NULL;
}

int block_file_resize(struct block_file *file, uint64_t size_bytes, struct err *err)
{
	uint32_t block = file->blockdev.limits.logical_block_bytes;

	if (size_bytes == 0)
		return block_file_take_size(file, err);
	if (size_bytes % block != 0)
		return err_set(err, -EINVAL, "%" PRIu64 " bytes are not a multiple of the block of %u",
			       size_bytes, block);
	if (file->is_device)
		return err_set(err, -ENOTSUP, "%s is a device: its size can only be read again", file->path);
	if (file->blockdev.limits.readonly)
		return err_set(err, -EROFS, "%s is opened read-only", file->path);
	if (ftruncate(file->fd, (off_t)size_bytes) < 0)
		return err_set_errno(err, -errno, "cannot resize %s", file->path);
	atomic_store(&file->size_bytes, size_bytes);
	return 0;
}
