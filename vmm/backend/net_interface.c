/* SPDX-License-Identifier: Apache-2.0 */
/* Interface ioctls, and scripts. */
#include "vmm/backend/net_interface.h"

#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/err.h"

extern char **environ;

/* One ioctl of the interface layer; 0 or -errno. */
static int net_interface_ask(unsigned long number, const char *ifname, struct ifreq *request)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int code;

	if (fd < 0)
		return -errno;
	snprintf(request->ifr_name, sizeof(request->ifr_name), "%s", ifname);
	code = ioctl(fd, number, request) < 0 ? -errno : 0;
	close(fd);
	return code;
}

uint16_t net_interface_mtu(const char *ifname)
{
	struct ifreq request = {0};

	if (net_interface_ask(SIOCGIFMTU, ifname, &request) < 0 || request.ifr_mtu > UINT16_MAX)
		return 0;
	return (uint16_t)request.ifr_mtu;
}

int net_interface_set_up(const char *ifname)
{
	struct ifreq request = {0};
	int code = net_interface_ask(SIOCGIFFLAGS, ifname, &request);

	if (code < 0 || (request.ifr_flags & IFF_UP))
		return code;
	request.ifr_flags |= IFF_UP;
	return net_interface_ask(SIOCSIFFLAGS, ifname, &request);
}

int net_interface_join_bridge(const char *ifname, const char *bridge, struct err *err)
{
	struct ifreq request = {.ifr_ifindex = (int)if_nametoindex(ifname)};
	int code = request.ifr_ifindex ? net_interface_ask(SIOCBRADDIF, bridge, &request) : -ENODEV;

	return code < 0 ? err_set_errno(err, code, "cannot add %s to the bridge %s", ifname, bridge) : 0;
}

/* The signals that this program holds back or ignores are no business of a script's. */
static int net_interface_spawn(pid_t *pid, const char *program, char *const argv[])
{
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int error;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	error = posix_spawn(pid, program, NULL, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	return -error;
}

int net_interface_run(const char *program, const char *ifname, struct err *err)
{
	char name[IFNAMSIZ];
	char path[4096];
	char *const argv[] = {path, name, NULL};
	pid_t pid;
	int status;
	int code;

	snprintf(path, sizeof(path), "%s", program);
	snprintf(name, sizeof(name), "%s", ifname);
	code = net_interface_spawn(&pid, program, argv);
	if (code < 0)
		return err_set_errno(err, code, "cannot run %s", program);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return err_set_errno(err, -errno, "cannot wait for %s", program);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status))
		return err_set(err, -EIO, "%s %s ended with status %d", program, ifname, WEXITSTATUS(status));
	return err_set(err, -EIO, "%s %s was ended by signal %d", program, ifname, WTERMSIG(status));
}
