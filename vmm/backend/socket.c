/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend that listens on a unix socket: one client at a time, the next waits in the queue of listen(2).
 * Output while nobody is connected is dropped. The socket file is removed at the end.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/backend/backend.h"
#include "vmm/backend/char_input.h"
#include "vmm/backend/char_output.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

struct socket_chardev {
	struct chardev chardev;
	struct loop *loop;
	struct char_input input;
	struct char_output output;    /* under lock */
	pthread_mutex_t lock;         /* a leaf: output.fd against the vCPU's writes */
	struct loop_fd *listen_watch; /* NULL while a client is connected */
	int listen_fd;
	int client_fd; /* -1: nobody */
	struct sockaddr_un address;
	bool bound; /* the file is ours to remove */
};

static void socket_on_connect(void *opaque, uint32_t epoll_events);

static void socket_set_output(struct socket_chardev *sock, int fd)
{
	pthread_mutex_lock(&sock->lock);
	sock->output = (struct char_output){.fd = fd, .is_socket = true};
	pthread_mutex_unlock(&sock->lock);
}

static void socket_tell(struct socket_chardev *sock, enum chardev_event event)
{
	const struct chardev_client *client = &sock->chardev.client;

	if (client->event)
		client->event(client->opaque, event);
}

static size_t socket_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	struct socket_chardev *sock = (struct socket_chardev *)chardev;

	pthread_mutex_lock(&sock->lock);
	char_output_write(&sock->output, data, len);
	pthread_mutex_unlock(&sock->lock);
	return len;
}

static void socket_accept_input(struct chardev *chardev)
{
	char_input_accept(&((struct socket_chardev *)chardev)->input);
}

static void socket_drop_client(struct socket_chardev *sock)
{
	if (sock->client_fd < 0)
		return;
	socket_set_output(sock, -1);
	char_input_stop(&sock->input);
	close(sock->client_fd);
	sock->client_fd = -1;
}

static void socket_on_end(void *opaque)
{
	struct socket_chardev *sock = opaque;

	socket_drop_client(sock);
	socket_tell(sock, CHARDEV_CLOSED);
	sock->listen_watch = loop_fd_add(sock->loop, sock->listen_fd, EPOLLIN, socket_on_connect, sock, NULL);
}

static void socket_on_connect(void *opaque, uint32_t epoll_events)
{
	struct socket_chardev *sock = opaque;
	int fd = accept4(sock->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (char_input_start(&sock->input, fd, NULL) < 0) {
		close(fd);
		return;
	}
	sock->client_fd = fd;
	socket_set_output(sock, fd);
	loop_fd_remove(sock->listen_watch);
	sock->listen_watch = NULL;
	socket_tell(sock, CHARDEV_OPENED);
}

/* A socket file that nobody listens on is left over from a monitor that was killed: it may go. */
static bool socket_is_stale(const struct sockaddr_un *address)
{
	struct stat info;
	bool refused;
	int fd;

	if (lstat(address->sun_path, &info) < 0 || !S_ISSOCK(info.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	refused =
		connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int socket_listen(struct socket_chardev *sock, const char *path, struct err *err)
{
	if (strlen(path) >= sizeof(sock->address.sun_path))
		return err_set(err, -ENAMETOOLONG, "socket path %s is longer than %zu characters", path,
			       sizeof(sock->address.sun_path) - 1);
	sock->address.sun_family = AF_UNIX;
	strcpy(sock->address.sun_path, path);
	if (socket_is_stale(&sock->address))
		unlink(path);
	sock->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock->listen_fd < 0)
		return err_set_errno(err, -errno, "socket");
	if (bind(sock->listen_fd, (const struct sockaddr *)&sock->address, sizeof(sock->address)) < 0)
		return err_set_errno(err, -errno, "cannot make the socket %s", path);
	sock->bound = true;
	if (listen(sock->listen_fd, 1) < 0)
		return err_set_errno(err, -errno, "cannot listen on %s", path);
	sock->listen_watch = loop_fd_add(sock->loop, sock->listen_fd, EPOLLIN, socket_on_connect, sock, err);
	return sock->listen_watch ? 0 : err_prefix(err, "%s", path);
}

static void socket_destroy(struct chardev *chardev)
{
	struct socket_chardev *sock = (struct socket_chardev *)chardev;

	socket_drop_client(sock);
	if (sock->listen_watch)
		loop_fd_remove(sock->listen_watch);
	if (sock->listen_fd >= 0)
		close(sock->listen_fd);
	if (sock->bound)
		unlink(sock->address.sun_path);
	pthread_mutex_destroy(&sock->lock);
	free(sock);
}

static const struct chardev_ops socket_ops = {
	.write = socket_write,
	.accept_input = socket_accept_input,
	.destroy = socket_destroy,
};

static struct chardev *socket_create(const struct chardev_env *env, const char *path, struct err *err)
{
	struct socket_chardev *sock = calloc(1, sizeof(*sock));

	if (!sock) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	sock->chardev.ops = &socket_ops;
	sock->loop = env->loop;
	sock->listen_fd = sock->client_fd = sock->output.fd = -1;
	sock->input.chardev = &sock->chardev;
	sock->input.loop = env->loop;
	sock->input.on_end = socket_on_end;
	sock->input.opaque = sock;
	pthread_mutex_init(&sock->lock, NULL);
	if (socket_listen(sock, path, err) < 0) {
		socket_destroy(&sock->chardev);
		return NULL;
	}
	return &sock->chardev;
}

const struct chardev_class socket_chardev_class = {
	.name = "socket",
	.argument = "PATH",
	.summary = "listens on a unix socket, one client at a time",
	.create = socket_create,
};
