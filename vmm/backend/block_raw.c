/* SPDX-License-Identifier: Apache-2.0 */
/* The format without a format: the file's bytes are the disk's. Chooses the engine. */
#include <errno.h>
#include <stdlib.h>

#include "vmm/backend/backend.h"
#include "vmm/backend/block_file.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"

/* Containers refuse io_uring by seccomp, hosts by sysctl; nobody should have to know that. */
static const struct block_engine_ops *raw_choose_engine(const struct blockdev_config *config, struct err *err)
{
	struct err refused = {0};

	if (config->engine == BLOCK_ENGINE_THREADS)
		return &block_threads_engine;
	if (block_uring_check(&refused) == 0)
		return &block_uring_engine;
	if (config->engine == BLOCK_ENGINE_AUTO && !config->pin) {
		log_info("%s: %s; threads do its I/O", config->path, refused.message);
		return &block_threads_engine;
	}
	err_set(err, refused.code, "%s: %s", config->path, refused.message);
	return NULL;
}

static uint64_t raw_size_bytes(const struct blockdev *blockdev)
{
	return atomic_load(&((const struct block_file *)(const void *)blockdev)->size_bytes);
}

static int raw_resize(struct blockdev *blockdev, uint64_t size_bytes, struct err *err)
{
	return block_file_resize((struct block_file *)(void *)blockdev, size_bytes, err);
}

static const char *raw_engine_name(const struct blockdev *blockdev)
{
	return ((const struct block_file *)(const void *)blockdev)->engine->name;
}

static void raw_close(struct blockdev *blockdev)
{
	struct block_file *file = (struct block_file *)(void *)blockdev;

	block_file_close(file);
	free(file);
}

static const struct blockdev_ops raw_ops = {
	.queue_create = block_file_queue_create,
	.queue_destroy = block_file_queue_destroy,
	.submit = block_file_submit,
	.plug = block_file_plug,
	.unplug = block_file_unplug,
	.drain = block_file_drain,
	.size_bytes = raw_size_bytes,
	.resize = raw_resize,
	.close = raw_close,
	.engine_name = raw_engine_name,
};

static struct blockdev *raw_open(const struct blockdev_config *config, struct err *err)
{
	const struct block_engine_ops *engine = raw_choose_engine(config, err);
	struct block_file *file;

	if (!engine)
		return NULL;
	file = calloc(1, sizeof(*file));
	if (!file) {
		err_set(err, -ENOMEM, "no memory for a disk");
		return NULL;
	}
	if (block_file_open(file, config, err) < 0) {
		free(file);
		return NULL;
	}
	file->engine = engine;
	file->blockdev.ops = &raw_ops;
	return &file->blockdev;
}

const struct blockdev_class raw_blockdev_class = {.name = "raw", .open = raw_open};
