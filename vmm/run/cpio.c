/* SPDX-License-Identifier: Apache-2.0 */
/* Writing an initramfs entry by entry: heads in hexadecimal, names and data padded to four bytes. */
#include "vmm/run/cpio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/base/err.h"

#define CPIO_ALIGNMENT 4

static void cpio_pad(struct cpio *cpio, size_t len)
{
	while (len++ % CPIO_ALIGNMENT)
		fputc(0, cpio->out);
}

static void cpio_head(struct cpio *cpio, const char *path, unsigned mode, size_t size, unsigned major,
		      unsigned minor)
{
	int len = fprintf(cpio->out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s",
			  ++cpio->entries, mode, 0, 0, 1, 0, (unsigned)size, 0, 0, major, minor,
			  (unsigned)strlen(path) + 1, 0, path);

	fputc(0, cpio->out);
	if (len >= 0)
		cpio_pad(cpio, (size_t)len + 1);
}

void cpio_add_folder(struct cpio *cpio, const char *path)
{
	cpio_head(cpio, path, S_IFDIR | 0755, 0, 0, 0);
}

void cpio_add_device(struct cpio *cpio, const char *path, unsigned major, unsigned minor)
{
	cpio_head(cpio, path, S_IFCHR | 0600, 0, major, minor);
}

void cpio_add_program(struct cpio *cpio, const char *path, const void *data, size_t size_bytes)
{
	cpio_head(cpio, path, S_IFREG | 0755, size_bytes, 0, 0);
	fwrite(data, 1, size_bytes, cpio->out);
	cpio_pad(cpio, size_bytes);
}

/* Exactly `size` bytes: the head has said so already. */
static int cpio_copy(struct cpio *cpio, FILE *in, size_t size, const char *source, struct err *err)
{
	char block[16384];

	for (size_t left = size; left > 0;) {
		size_t got = fread(block, 1, left < sizeof(block) ? left : sizeof(block), in);

		if (got == 0)
			return err_set(err, -EIO, "%s: it ends early", source);
		fwrite(block, 1, got, cpio->out);
		left -= got;
	}
	cpio_pad(cpio, size);
	return 0;
}

int cpio_add_file(struct cpio *cpio, const char *path, const char *source, struct err *err)
{
	FILE *in = fopen(source, "re");
	struct stat status;
	int code;

	if (!in || fstat(fileno(in), &status) < 0) {
		code = err_set_errno(err, -errno, "%s", source);
	} else if (!S_ISREG(status.st_mode) || status.st_size > CPIO_FILE_MAX) {
		code = err_set(err, -EFBIG, "%s: not a file of at most %u MiB", source, CPIO_FILE_MAX >> 20);
	} else {
		cpio_head(cpio, path, S_IFREG | 0644, (size_t)status.st_size, 0, 0);
		code = cpio_copy(cpio, in, (size_t)status.st_size, source, err);
	}
	if (in)
		fclose(in);
	return code;
}

void cpio_finish(struct cpio *cpio)
{
	cpio_head(cpio, "TRAILER!!!", 0, 0, 0, 0);
}
