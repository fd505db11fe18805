/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets that have a name in the file system. */
#include "vmm/base/unix_socket.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/base/err.h"

static int unix_socket_address(const char *path, struct sockaddr_un *address, struct err *err)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path))
		return err_set(err, -ENAMETOOLONG, "socket path %s is longer than %zu characters", path,
			       sizeof(address->sun_path) - 1);
	if (!path[0])
		return err_set(err, -EINVAL, "a socket needs a path");
	strcpy(address->sun_path, path);
	return 0;
}

static int unix_socket_new(struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 ? fd : err_set_errno(err, -errno, "socket");
}

static bool unix_socket_is_stale(const struct sockaddr_un *address)
{
	struct stat info;
	bool refused;
	int fd;

	if (lstat(address->sun_path, &info) < 0 || !S_ISSOCK(info.st_mode))
		return false;
	fd = unix_socket_new(NULL);
	if (fd < 0)
		return false;
	refused =
		connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

int unix_socket_listen(const char *path, int backlog, struct err *err)
{
	struct sockaddr_un address;
	int code = unix_socket_address(path, &address, err), fd;

	if (code < 0)
		return code;
	if (unix_socket_is_stale(&address))
		unlink(path);
	fd = unix_socket_new(err);
	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		code = err_set_errno(err, -errno, "cannot make the socket %s", path);
	} else if (listen(fd, backlog) < 0) {
		code = err_set_errno(err, -errno, "cannot listen on %s", path);
		unlink(path);
	}
	if (code == 0)
		return fd;
	close(fd);
	return code;
}

int unix_socket_connect(const char *path, struct err *err)
{
	struct sockaddr_un address;
	int code = unix_socket_address(path, &address, err), fd;

	if (code < 0)
		return code;
	fd = unix_socket_new(err);
	if (fd < 0)
		return fd;
	/* On unix sockets it is done at once, or refused. */
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	code = err_set_errno(err, -errno, "cannot connect to %s", path);
	close(fd);
	return code;
}
