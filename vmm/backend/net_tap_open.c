/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend `tap`: makes or opens an interface of the host, a descriptor for each queue pair, brings it up
 * where that is allowed, puts it into a bridge, runs a script. What goes through it is net_tap.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/backend/net_backend.h"
#include "vmm/backend/net_interface.h"
#include "vmm/backend/net_tap.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"

#define NET_TAP_DEVICE "/dev/net/tun"

static void net_tap_close_all(const int *fd, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fd[i]);
}

/* Opens one descriptor of the interface; the first call learns its name. */
static int net_tap_open_one(struct ifreq *request, struct err *err)
{
	int fd = open(NET_TAP_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int error;

	if (fd < 0)
		return err_set_errno(err, -errno, "cannot open %s", NET_TAP_DEVICE);
	if (ioctl(fd, TUNSETIFF, request) == 0)
		return fd;
	error = -errno;
	close(fd);
	if (error == -EPERM)
		return err_set(
			err, error,
			"no permission to make or open the interface: run as root, or let root make it: "
			"ip tuntap add mode tap user USER name NAME%s",
			request->ifr_flags & IFF_MULTI_QUEUE ? " multi_queue" : "");
	if (error == -EINVAL && request->ifr_name[0])
		return err_set(
			err, error,
			"%s is no tap, or its number of queues does not suit: make it with%s multi_queue",
			request->ifr_name, request->ifr_flags & IFF_MULTI_QUEUE ? "" : "out");
	return err_set_errno(err, error, "%s", request->ifr_name[0] ? request->ifr_name : NET_TAP_DEVICE);
}

static int net_tap_open_all(const struct netdev_config *config, int *fd, unsigned count, char *ifname,
			    struct err *err)
{
	struct ifreq request = {0};

	if (config->ifname && strlen(config->ifname) >= sizeof(request.ifr_name))
		return err_set(err, -EINVAL, "ifname: %s is longer than %zu characters", config->ifname,
			       sizeof(request.ifr_name) - 1);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", config->ifname ? config->ifname : "");
	request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (count > 1 ? IFF_MULTI_QUEUE : 0));
	for (unsigned i = 0; i < count; i++) {
		fd[i] = net_tap_open_one(&request, err);
		if (fd[i] < 0) {
			net_tap_close_all(fd, i);
			return fd[i];
		}
	}
	snprintf(ifname, sizeof(request.ifr_name), "%s", request.ifr_name);
	return 0;
}

/* Bridge, script, up. Without the right to bring it up, whoever made it has to. */
static int net_tap_set_up(struct net_tap *tap, const struct netdev_config *config, struct err *err)
{
	const char *ifname = net_tap_ifname(tap);
	int code;

	if (config->bridge && net_interface_join_bridge(ifname, config->bridge, err) < 0)
		return err_prefix(err, "bridge");
	if (config->script && net_interface_run(config->script, ifname, err) < 0)
		return err_prefix(err, "script");
	code = net_interface_set_up(ifname);
	if (code < 0)
		log_info("tap %s: not brought up: %s", ifname, strerror(-code));
	return config->downscript ? net_tap_set_downscript(tap, config->downscript, err) : 0;
}

static struct netdev *net_tap_create(const struct netdev_env *env, const struct netdev_config *config,
				     struct err *err)
{
	unsigned count = config->queues ? config->queues : 1;
	int fd[NETDEV_QUEUES_MAX];
	char ifname[IFNAMSIZ];
	struct net_tap *tap;

	if (net_tap_open_all(config, fd, count, ifname, err) < 0)
		return NULL;
	tap = net_tap_new(env, fd, count, true, err);
	if (!tap)
		return NULL;
	log_info("network card %u is the interface %s", env->slot, ifname);
	if (net_tap_set_up(tap, config, err) == 0)
		return net_tap_netdev(tap);
	netdev_destroy(net_tap_netdev(tap));
	return NULL;
}

static const char *const net_tap_keys[] = {"queues", "ifname", "bridge", "script", "downscript", NULL};

const struct netdev_class tap_netdev_class = {
	.name = "tap",
	.summary = "an interface of the host",
	.keys = net_tap_keys,
	.create = net_tap_create,
};
