/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend `passt`: frames over a stream to the passt daemon, which maps the guest's connections to
 * sockets of the host. One is started for the card and ends with it (a pair of sockets, `passt --fd`), or one
 * that runs is connected to by its socket. Forwarded ports are passt's own options.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmm/backend/net_address.h"
#include "vmm/backend/net_backend.h"
#include "vmm/backend/net_stream.h"
#include "vmm/backend/net_user_config.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"

#define NET_PASST_PROGRAM     "passt"
#define NET_PASST_MTU         65520 /* its default, which it also tells guests by DHCP */
#define NET_PASST_FRAME_MAX   65535 /* longer ones it drops: tap.c, ETH_MAX_MTU */
#define NET_PASST_CHILD_FD    3
#define NET_PASST_ARGS_MAX    (16 + 2 * OPTION_LIST_MAX)
#define NET_PASST_FORWARD_MAX 128
#define NET_PASST_START_MS    300 /* a passt that does not like its arguments ends at once */

extern char **environ;

struct net_passt {
	struct net_stream stream;
	pid_t pid; /* 0: not ours */
};

/* The arguments of a passt; strings are in `forward` or constant. */
struct net_passt_args {
	char *arg[NET_PASST_ARGS_MAX];
	size_t count;
	char forward[OPTION_LIST_MAX][NET_PASST_FORWARD_MAX];
	char mtu[12];
};

static void net_passt_add(struct net_passt_args *args, const char *arg)
{
	args->arg[args->count++] = (char *)(uintptr_t)arg; /* posix_spawn does not write to it */
}

/* tcp:127.0.0.1:2222-:22 becomes -t 127.0.0.1/2222:22. */
static int net_passt_add_forward(struct net_passt_args *args, size_t index, const char *text, struct err *err)
{
	struct net_user_forward forward;
	char address[INET6_ADDRSTRLEN] = "";
	bool v6;
	int code = net_user_forward_parse(text, &forward, err);
	const struct sockaddr_in *host = (const struct sockaddr_in *)&forward.host;
	const struct sockaddr_in *guest = (const struct sockaddr_in *)&forward.guest;
	const struct sockaddr_in6 *host6 = (const struct sockaddr_in6 *)&forward.host;

	if (code < 0)
		return code;
	v6 = forward.host.ss_family == AF_INET6;
	if (!v6 && guest->sin_addr.s_addr != 0)
		return err_set(err, -EINVAL, "hostfwd: %s: passt knows one guest, leave its address out",
			       text);
	inet_ntop(forward.host.ss_family,
		  v6 ? (const void *)&host6->sin6_addr : (const void *)&host->sin_addr, address,
		  sizeof(address));
	/* Ports lie at the same place in both structures. */
	snprintf(args->forward[index], sizeof(args->forward[index]), "%s%s%u:%u",
		 forward.has_host ? address : "", forward.has_host ? "/" : "", ntohs(host->sin_port),
		 ntohs(guest->sin_port));
	net_passt_add(args, forward.udp ? "-u" : "-t");
	net_passt_add(args, args->forward[index]);
	return 0;
}

static int net_passt_make_args(struct net_passt_args *args, const struct netdev_config *config,
			       struct err *err)
{
	int code = 0;

	*args = (struct net_passt_args){0};
	net_passt_add(args, NET_PASST_PROGRAM);
	net_passt_add(args, "--foreground");
	net_passt_add(args, "--quiet");
	net_passt_add(args, "--stderr");
	net_passt_add(args, "--fd");
	net_passt_add(args, "3"); /* NET_PASST_CHILD_FD */
	if (config->mtu) {
		snprintf(args->mtu, sizeof(args->mtu), "%u", config->mtu);
		net_passt_add(args, "--mtu");
		net_passt_add(args, args->mtu);
	}
	for (size_t i = 0; i < config->hostfwd.count && code == 0; i++)
		code = net_passt_add_forward(args, i, config->hostfwd.item[i], err);
	return code;
}

static int net_passt_spawn(struct net_passt *passt, struct net_passt_args *args, int fd)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int error;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	/* A group of its own: Ctrl-C at our terminal is not for it. */
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(&attributes,
				 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
	posix_spawn_file_actions_adddup2(&actions, 2, 1);
	/* Onto the number itself dup2 keeps close-on-exec off as well. */
	posix_spawn_file_actions_adddup2(&actions, fd, NET_PASST_CHILD_FD);
	error = posix_spawnp(&passt->pid, NET_PASST_PROGRAM, &actions, &attributes, args->arg, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (error)
		passt->pid = 0;
	return -error;
}

/* A passt that does not start says why on standard error and ends; its end of the pair closes then. */
static int net_passt_check_alive(struct net_passt *passt, int fd, struct err *err)
{
	struct pollfd wait = {.fd = fd, .events = POLLRDHUP};

	if (poll(&wait, 1, NET_PASST_START_MS) <= 0)
		return 0;
	return err_set(err, -EIO, "passt ended at once (it said why)");
}

static int net_passt_start(struct net_passt *passt, const struct netdev_config *config, struct err *err)
{
	struct net_passt_args args;
	int pair[2];
	int code = net_passt_make_args(&args, config, err);

	if (code < 0)
		return code;
	/* passt's end must block: what is left of a frame it sends in one call, and takes it for gone. Ours
	 * asks not to wait at each call. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set_errno(err, -errno, "socketpair");
	code = net_passt_spawn(passt, &args, pair[1]);
	close(pair[1]);
	if (code == -ENOENT)
		code = err_set(err, code,
			       "there is no program passt: install it (Debian's package passt), or use "
			       "--net user");
	else if (code < 0)
		code = err_set_errno(err, code, "cannot start passt");
	else
		code = net_passt_check_alive(passt, pair[0], err);
	if (code == 0)
		return net_stream_connected(&passt->stream, pair[0], err);
	close(pair[0]);
	return code;
}

static int net_passt_connect(struct net_passt *passt, const struct netdev_config *config, struct err *err)
{
	struct net_address address;
	int fd;
	int code;

	if (config->hostfwd.count > 0)
		return err_set(err, -EINVAL, "hostfwd: a passt that runs already has been told its ports");
	if (!strchr(config->socket, '/'))
		return err_set(err, -EINVAL, "socket: \"%s\" is no path with a slash", config->socket);
	if (net_address_parse(config->socket, SOCK_STREAM, &address, err) < 0)
		return err_prefix(err, "socket");
	fd = net_address_socket(&address, SOCK_STREAM, err);
	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&address.storage, address.len) == 0)
		return net_stream_connected(&passt->stream, fd, err);
	code = -errno;
	close(fd);
	return err_set_errno(err, code, "socket: %s", config->socket);
}

/* passt ends by itself when its only connection does; if it hangs it is made to. */
static void net_passt_end(struct net_passt *passt)
{
	struct timespec pause = {.tv_nsec = 10000000};

	if (!passt->pid)
		return;
	kill(passt->pid, SIGTERM);
	for (int i = 0; i < 100; i++) {
		if (waitpid(passt->pid, NULL, WNOHANG) != 0)
			return;
		nanosleep(&pause, NULL);
	}
	kill(passt->pid, SIGKILL);
	waitpid(passt->pid, NULL, 0);
}

static void net_passt_on_lost(struct net_stream *stream)
{
	log_error("network card: passt went away; the link is down until the machine is started again");
}

static void net_passt_destroy(struct netdev *netdev)
{
	struct net_passt *passt = (struct net_passt *)netdev;

	net_stream_release(&passt->stream);
	net_passt_end(passt);
	free(passt);
}

static const struct netdev_ops net_passt_ops = {
	.send = net_stream_send,
	.receive = net_stream_receive,
	.poll = net_stream_poll,
	.reset = net_stream_reset,
	.set_offloads = net_stream_set_offloads,
	.destroy = net_passt_destroy,
};

static struct netdev *net_passt_create(const struct netdev_env *env, const struct netdev_config *config,
				       struct err *err)
{
	struct net_passt *passt = calloc(1, sizeof(*passt));
	int code;

	if (!passt) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	code = net_stream_init(&passt->stream, env->loop, &net_passt_ops, err);
	passt->stream.netdev.uncut_max = NET_PASST_FRAME_MAX;
	passt->stream.netdev.mtu = NET_PASST_MTU;
	passt->stream.netdev.trusted = true;
	if (code == 0)
		code = config->socket ? net_passt_connect(passt, config, err)
				      : net_passt_start(passt, config, err);
	passt->stream.lost = net_passt_on_lost;
	if (code == 0)
		return &passt->stream.netdev;
	net_passt_destroy(&passt->stream.netdev);
	return NULL;
}

static const char *const net_passt_keys[] = {"socket", "hostfwd", NULL};

const struct netdev_class passt_netdev_class = {
	.name = "passt",
	.summary = "the passt daemon, started for the card or reached by its socket",
	.keys = net_passt_keys,
	.create = net_passt_create,
};
