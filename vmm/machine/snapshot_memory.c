/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory file: the bytes of each region of RAM, one region after the other in the order of their
 * addresses, with holes where nothing is. Loaded, it is mapped privately, so that a page is read when it is
 * first touched; or a process on the other side of a socket fills pages in (userfaultfd(2)), to which the
 * message is sent that Firecracker's handlers expect.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/unix_socket.h"
#include "vmm/core/gmem.h"
#include "vmm/machine/snapshot_parts.h"

#define MEMORY_PAGE  4096u
#define MEMORY_PIECE (1u << 20) /* what is looked at and written at once */
#define MEMORY_TEXT_MAX                                                                                      \
	(64 * 256) /* of the message to a page-fault handler: as many regions as there can be */

/* A region that the file holds: ROMs are loaded again, device memory is a file of its own. */
static bool memory_is_saved(const struct gmem_region *region)
{
	return region->kind == GMEM_RAM;
}

uint64_t snapshot_memory_bytes(const struct machine *machine)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < gmem_region_count(machine->gmem); i++) {
		if (memory_is_saved(gmem_region_at(machine->gmem, i)))
			bytes += gmem_region_at(machine->gmem, i)->size_bytes;
	}
	return bytes;
}

uint64_t snapshot_memory_offset(const struct machine *machine, uint64_t gpa)
{
	uint64_t offset = 0;

	for (size_t i = 0; i < gmem_region_count(machine->gmem); i++) {
		const struct gmem_region *region = gmem_region_at(machine->gmem, i);

		if (!memory_is_saved(region))
			continue;
		if (gpa >= region->gpa && gpa - region->gpa < region->size_bytes)
			return offset + (gpa - region->gpa);
		offset += region->size_bytes;
	}
	return UINT64_MAX;
}

/* Saving. */

struct memory_save {
	int fd;
	enum machine_snapshot_kind kind;
	bool over_base;        /* into a file that holds an earlier snapshot */
	const uint64_t *dirty; /* DIFF: a bit a page of the file; NULL: there is no log */
	uint8_t *was;          /* MEMORY_PIECE bytes, to read the file into that pages came from */
};

static bool memory_is_zero(const uint8_t *bytes, size_t len)
{
	static const uint8_t zeros[MEMORY_PAGE];

	return len == MEMORY_PAGE && memcmp(bytes, zeros, MEMORY_PAGE) == 0;
}

static int memory_write(int fd, const uint8_t *bytes, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t written = pwrite(fd, bytes, len, (off_t)offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		bytes += written;
		len -= (size_t)written;
		offset += (uint64_t)written;
	}
	return 0;
}

static int memory_read(int fd, uint8_t *bytes, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t got = pread(fd, bytes, len, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		bytes += got;
		len -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

/* Whether a page goes into the file: one that is not zero, or, in a DIFF, one that is not what it was. */
static bool memory_page_counts(const struct memory_save *save, const uint8_t *now, const uint8_t *was)
{
	if (save->kind == MACHINE_SNAPSHOT_DIFF)
		return !was || memcmp(now, was, MEMORY_PAGE) != 0;
	return !memory_is_zero(now, MEMORY_PAGE);
}

/* Writes the pages of a piece that count, runs of them at once. */
static int memory_save_piece(const struct memory_save *save, const uint8_t *now, const uint8_t *was,
			     size_t len, uint64_t offset)
{
	size_t start = 0;
	int code = 0;

	for (size_t at = 0; at <= len && code == 0; at += MEMORY_PAGE) {
		if (at < len && memory_page_counts(save, now + at, was ? was + at : NULL))
			continue;
		if (at > start)
			code = memory_write(save->fd, now + start, at - start, offset + start);
		start = at + MEMORY_PAGE;
	}
	return code;
}

/* [from, end) of a region, whose first byte is at `offset` of the file. */
static int memory_save_range(const struct memory_save *save, const struct gmem_region *region, uint64_t from,
			     uint64_t end, uint64_t offset)
{
	bool compares = save->kind == MACHINE_SNAPSHOT_DIFF && region->backing == GMEM_PRIVATE;
	int code = 0;

	for (uint64_t at = from; at < end && code == 0; at += MEMORY_PIECE) {
		size_t len = end - at < MEMORY_PIECE ? (size_t)(end - at) : MEMORY_PIECE;

		if (compares)
			code = memory_read(region->fd, save->was, len, region->fd_offset + at);
		if (code == 0)
			code = memory_save_piece(save, region->hva + at, compares ? save->was : NULL, len,
						 offset + at);
	}
	return code;
}

/* A run of pages that the log names, wherever it lies: what was given back to the host is zeros now. */
static int memory_save_logged(const struct memory_save *save, const struct gmem_region *region,
			      uint64_t offset)
{
	uint64_t first = offset / MEMORY_PAGE, count = region->size_bytes / MEMORY_PAGE, start = 0;
	int code = 0;

	for (uint64_t i = 0; i <= count && code == 0; i++) {
		bool is_dirty = i < count && (save->dirty[(first + i) / 64] >> (first + i) % 64 & 1);

		if (is_dirty)
			continue;
		if (i > start)
			code = memory_write(save->fd, region->hva + start * MEMORY_PAGE,
					    (i - start) * MEMORY_PAGE, offset + start * MEMORY_PAGE);
		start = i + 1;
	}
	return code;
}

/* [from, end) of a region holds nothing: nor shall a base that is written over. */
static int memory_save_hole(const struct memory_save *save, uint64_t from, uint64_t end)
{
	if (!save->over_base || from >= end)
		return 0;
	if (fallocate(save->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(end - from)) < 0)
		return -errno;
	return 0;
}

/* A memfd knows where it holds nothing; touching that would fill it. */
static int memory_save_shared(const struct memory_save *save, const struct gmem_region *region,
			      uint64_t offset)
{
	off_t end = (off_t)(region->fd_offset + region->size_bytes);
	off_t at = (off_t)region->fd_offset;
	int code = 0;

	while (code == 0 && at < end) {
		off_t data = lseek(region->fd, at, SEEK_DATA);
		off_t hole = data < 0 ? data : lseek(region->fd, data, SEEK_HOLE);

		if (data < 0 && errno == ENXIO)
			data = hole = end;
		if (hole < 0)
			return -errno;
		if (data > end)
			data = end;
		code = memory_save_hole(save, offset + (uint64_t)at - region->fd_offset,
					offset + (uint64_t)data - region->fd_offset);
		at = hole < end ? hole : end;
		if (code == 0 && data < at)
			code = memory_save_range(save, region, (uint64_t)data - region->fd_offset,
						 (uint64_t)at - region->fd_offset, offset);
	}
	return code;
}

static int memory_save_all(const struct machine *machine, const struct memory_save *save)
{
	uint64_t offset = 0;
	int code = 0;

	for (size_t i = 0; i < gmem_region_count(machine->gmem) && code == 0; i++) {
		const struct gmem_region *region = gmem_region_at(machine->gmem, i);

		if (!memory_is_saved(region))
			continue;
		if (save->dirty)
			code = memory_save_logged(save, region, offset);
		else if (region->backing == GMEM_SHARED)
			code = memory_save_shared(save, region, offset);
		else
			code = memory_save_range(save, region, 0, region->size_bytes, offset);
		offset += region->size_bytes;
	}
	return code;
}

/* A DIFF goes into a file of the right size; any other is written under a name of its own first, since it may
 * be the file that this very machine's pages come from. */
static int memory_open_base(const char *path, uint64_t bytes)
{
	struct stat status;
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size == bytes)
		return fd;
	close(fd);
	return -ENOENT;
}

static int memory_save_new(struct machine *machine, struct memory_save *save, const char *path,
			   uint64_t bytes)
{
	char *temporary;
	int code = 0;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	save->fd = mkostemp(temporary, O_CLOEXEC);
	if (save->fd < 0 || ftruncate(save->fd, (off_t)bytes) < 0)
		code = -errno;
	if (code == 0)
		code = memory_save_all(machine, save);
	if (code == 0 && rename(temporary, path) < 0)
		code = -errno;
	if (code < 0 && save->fd >= 0)
		unlink(temporary);
	free(temporary);
	return code;
}

int snapshot_memory_save(struct machine *machine, const struct machine_snapshot_target *target,
			 struct err *err)
{
	struct memory_save save = {.fd = -1, .kind = target->kind, .was = malloc(MEMORY_PIECE)};
	uint64_t bytes = snapshot_memory_bytes(machine);
	int code = save.was ? snapshot_log_collect(machine, &save.dirty, err) : -ENOMEM;

	if (target->kind == MACHINE_SNAPSHOT_FULL)
		save.dirty = NULL;
	if (code == 0 && target->kind == MACHINE_SNAPSHOT_DIFF)
		save.fd = memory_open_base(target->memory_path, bytes);
	save.over_base = save.fd >= 0;
	if (code == 0 && save.over_base)
		code = memory_save_all(machine, &save);
	else if (code == 0)
		code = memory_save_new(machine, &save, target->memory_path, bytes);
	if (save.fd >= 0)
		close(save.fd);
	free(save.was);
	return code < 0 ? err_set_errno(err, code, "cannot write %s", target->memory_path) : 0;
}

json_t *snapshot_memory_to_json(const struct machine *machine)
{
	json_t *list = json_array();

	for (size_t i = 0; i < gmem_region_count(machine->gmem); i++) {
		const struct gmem_region *region = gmem_region_at(machine->gmem, i);

		if (memory_is_saved(region))
			json_array_append_new(list, json_pack("{s:I, s:I}", "gpa", (json_int_t)region->gpa,
							      "size_bytes", (json_int_t)region->size_bytes));
	}
	return list;
}

int snapshot_memory_check(const struct machine *machine, const json_t *json, struct err *err)
{
	json_t *mine = snapshot_memory_to_json(machine);
	bool equal = mine && json_equal(mine, json);

	json_decref(mine);
	return equal ? 0 : err_set(err, -EINVAL, "memory: the machine has its memory elsewhere");
}

/* Loading from a file. */

static int memory_map_file(struct machine *machine, int fd, struct err *err)
{
	uint64_t offset = 0;
	int code = 0;

	for (size_t i = 0; i < gmem_region_count(machine->gmem) && code == 0; i++) {
		const struct gmem_region *region = gmem_region_at(machine->gmem, i);

		if (!memory_is_saved(region))
			continue;
		code = gmem_replace(machine->gmem, i, fd, offset, err);
		offset += region->size_bytes;
	}
	return code;
}

static int memory_load_file(struct machine *machine, const char *path, struct err *err)
{
	uint64_t bytes = snapshot_memory_bytes(machine);
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int code;

	if (fd < 0)
		return err_set_errno(err, -errno, "cannot open %s", path);
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		code = err_set(err, -EINVAL, "%s: no regular file", path);
	else if ((uint64_t)status.st_size != bytes)
		code = err_set(err, -EINVAL, "%s has %jd bytes, the memory of the snapshot %" PRIu64, path,
			       (intmax_t)status.st_size, bytes);
	else
		code = memory_map_file(machine, fd, err);
	close(fd);
	return code;
}

/* Loading from a page-fault handler. */

static int memory_uffd_open(struct err *err)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE};
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd;

	if (device >= 0) {
		fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		close(device);
	} else {
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	}
	if (fd < 0)
		return err_set_errno(err, -errno, "userfaultfd (see vm.unprivileged_userfaultfd)");
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		int code = -errno;

		close(fd);
		return err_set_errno(err, code, "userfaultfd: UFFDIO_API");
	}
	return fd;
}

static int memory_uffd_add(int fd, const struct gmem_region *region, struct err *err)
{
	struct uffdio_register range = {
		.range = {.start = (uintptr_t)region->hva, .len = region->size_bytes},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(fd, UFFDIO_REGISTER, &range) < 0)
		return err_set_errno(err, -errno, "userfaultfd: UFFDIO_REGISTER");
	return 0;
}

static json_t *memory_uffd_describe(const struct gmem_region *region, uint64_t offset)
{
	return json_pack("{s:I, s:I, s:I, s:i, s:i}", "base_host_virt_addr",
			 (json_int_t)(uintptr_t)region->hva, "size", (json_int_t)region->size_bytes, "offset",
			 (json_int_t)offset, "page_size", MEMORY_PAGE, "page_size_kib", MEMORY_PAGE);
}

/* Makes the regions anonymous and watched; the message that describes them is added to `list`. */
static int memory_uffd_register(struct machine *machine, int fd, json_t *list, struct err *err)
{
	uint64_t offset = 0;
	int code = 0;

	for (size_t i = 0; i < gmem_region_count(machine->gmem) && code == 0; i++) {
		const struct gmem_region *region = gmem_region_at(machine->gmem, i);

		if (!memory_is_saved(region))
			continue;
		code = gmem_replace(machine->gmem, i, -1, 0, err);
		if (code == 0)
			code = memory_uffd_add(fd, region, err);
		json_array_append_new(list, memory_uffd_describe(region, offset));
		offset += region->size_bytes;
	}
	return code;
}

static int memory_send_fd(int socket, int fd, const char *text, struct err *err)
{
	struct iovec iov = {.iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text)};
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(_Alignof(struct cmsghdr)))) = {0};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	ssize_t sent;

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	sent = sendmsg(socket, &message, MSG_NOSIGNAL);
	if (sent != (ssize_t)iov.iov_len)
		return err_set_errno(err, sent < 0 ? -errno : -EMSGSIZE,
				     "cannot speak to the page-fault handler");
	return 0;
}

/* The socket stays open: by it the handler knows who we are, and that we live. */
static int memory_load_uffd(struct machine *machine, const char *path, struct err *err)
{
	json_t *list = json_array();
	char *text = NULL;
	int fd = memory_uffd_open(err);
	int code = fd < 0 ? fd : memory_uffd_register(machine, fd, list, err);

	if (code == 0) {
		text = json_dumps(list, JSON_COMPACT);
		machine->pausing.uffd_socket = unix_socket_connect(path, err);
		code = machine->pausing.uffd_socket < 0 ? machine->pausing.uffd_socket : 0;
	}
	if (code == 0 && (!text || strlen(text) > MEMORY_TEXT_MAX))
		code = err_set(err, -EMSGSIZE, "too many regions for a page-fault handler");
	if (code == 0)
		code = memory_send_fd(machine->pausing.uffd_socket, fd, text, err);
	free(text);
	json_decref(list);
	if (code < 0) {
		if (fd >= 0)
			close(fd);
		return err_prefix(err, "%s", path);
	}
	machine->pausing.uffd = fd;
	return 0;
}

int snapshot_memory_load(struct machine *machine, const struct machine_snapshot_memory *memory,
			 struct err *err)
{
	if (memory->uffd_socket)
		return memory_load_uffd(machine, memory->uffd_socket, err);
	return memory_load_file(machine, memory->path, err);
}
