/* SPDX-License-Identifier: Apache-2.0 */
/* The two mappings of code_memory.h. */
#include "tcg-fallback/emit/code_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static uint8_t *map(int fd, size_t size_bytes, int protection)
{
	void *at = mmap(NULL, size_bytes, protection, MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

int code_memory_create(struct code_memory *memory, size_t size_bytes)
{
	int fd = memfd_create("vmmctl-code", MFD_CLOEXEC), rc = 0;

	*memory = (struct code_memory){.size_bytes = size_bytes};
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size_bytes) == 0)
		memory->rw = map(fd, size_bytes, PROT_READ | PROT_WRITE);
	if (memory->rw)
		memory->rx = map(fd, size_bytes, PROT_READ | PROT_EXEC);
	if (!memory->rx)
		rc = -errno;
	close(fd);
	if (rc)
		code_memory_destroy(memory);
	return rc;
}

void code_memory_destroy(struct code_memory *memory)
{
	if (memory->rw)
		munmap(memory->rw, memory->size_bytes);
	if (memory->rx)
		munmap(memory->rx, memory->size_bytes);
	memory->rw = memory->rx = NULL;
}
