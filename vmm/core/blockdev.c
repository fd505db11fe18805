/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing the format of a disk image. Knows formats by their magic numbers, and those built in only through
 * blockdev_table. Nothing but the first sector decides: a footer or a file's name would be the guest's or an
 * accident's.
 */
#include "vmm/core/blockdev.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/text.h"

/* The magic numbers of image formats that some program opens by them. */
static const struct block_magic {
	const char *format;
	uint16_t offset;
	uint8_t len;
	const char *bytes;
} block_magics[] = {
	{"qcow2", 0, 4, "QFI\xfb"},
	{"qed", 0, 4, "QED\0"},
	{"vmdk", 0, 4, "KDMV"},
	{"vmdk", 0, 4, "COWD"},
	{"vmdk", 0, 21, "# Disk DescriptorFile"},
	{"vdi", 64, 4, "\x7f\x10\xda\xbe"},
	{"vhdx", 0, 8, "vhdxfile"},
	{"vpc", 0, 8, "conectix"},
	{"parallels", 0, 16, "WithoutFreeSpace"},
	{"parallels", 0, 16, "WithouFreSpacExt"},
	{"bochs", 0, 22, "Bochs Virtual HD Image"},
	{"cloop", 0, 20, "#!/bin/sh\n#V2.0 Form"},
};

const char *blockdev_probe(const uint8_t head[BLOCK_PROBE_BYTES])
{
	for (size_t i = 0; blockdev_table[i]; i++) {
		if (blockdev_table[i]->probe && blockdev_table[i]->probe(head))
			return blockdev_table[i]->name;
	}
	for (size_t i = 0; i < sizeof(block_magics) / sizeof(block_magics[0]); i++) {
		const struct block_magic *magic = &block_magics[i];

		if (memcmp(head + magic->offset, magic->bytes, magic->len) == 0)
			return magic->format;
	}
	return NULL;
}

static const struct blockdev_class *blockdev_find(const char *format)
{
	for (size_t i = 0; blockdev_table[i]; i++) {
		if (strcmp(blockdev_table[i]->name, format) == 0)
			return blockdev_table[i];
	}
	return NULL;
}

static bool blockdev_is_auto(const char *format)
{
	return !format || strcmp(format, "auto") == 0;
}

int blockdev_format_check(const char *format, struct err *err)
{
	char names[160] = "auto";

	if (blockdev_is_auto(format) || blockdev_find(format))
		return 0;
	for (size_t i = 0; blockdev_table[i]; i++)
		text_append(names, sizeof(names), ", %s", blockdev_table[i]->name);
	return err_set(err, -EINVAL, "format \"%s\" is not known: there are %s", format, names);
}

/* Missing bytes of a short file are zeroes. */
static int blockdev_read_head(const char *path, uint8_t head[BLOCK_PROBE_BYTES], struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t got;

	if (fd < 0)
		return err_set_errno(err, -errno, "cannot open %s", path);
	memset(head, 0, BLOCK_PROBE_BYTES);
	got = pread(fd, head, BLOCK_PROBE_BYTES, 0);
	if (got < 0)
		err_set_errno(err, -errno, "cannot read %s", path);
	close(fd);
	return got < 0 ? -EIO : 0;
}

static struct blockdev *blockdev_open_auto(const struct blockdev_config *config, struct err *err)
{
	struct blockdev_config guarded = *config;
	uint8_t head[BLOCK_PROBE_BYTES];
	const struct blockdev_class *class;
	const char *format;

	if (blockdev_read_head(config->path, head, err) < 0)
		return NULL;
	format = blockdev_probe(head);
	class = blockdev_find(format ? format : "raw");
	if (!class) {
		err_set(err, -ENOTSUP,
			"%s is a %s image, which cannot be opened here; format=raw takes its bytes as the "
			"disk",
			config->path, format);
		return NULL;
	}
	guarded.guard_format = !format;
	return class->open(&guarded, err);
}

struct blockdev *blockdev_open(const struct blockdev_config *config, struct err *err)
{
	const struct blockdev_class *class;

	if (blockdev_is_auto(config->format))
		return blockdev_open_auto(config, err);
	class = blockdev_find(config->format);
	if (class)
		return class->open(config, err);
	blockdev_format_check(config->format, err);
	return NULL;
}
