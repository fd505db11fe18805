/* SPDX-License-Identifier: Apache-2.0 */
/* What passes between a network backend and the device before it. Knows no kinds of backends. */
#include "vmm/core/netdev.h"

void netdev_attach(struct netdev *netdev, const struct netdev_client *client)
{
	netdev->client = client ? *client : (struct netdev_client){0};
}

void netdev_tell_readable(struct netdev *netdev, unsigned queue)
{
	if (netdev->client.readable)
		netdev->client.readable(netdev->client.opaque, queue);
}

void netdev_tell_writable(struct netdev *netdev, unsigned queue)
{
	if (netdev->client.writable)
		netdev->client.writable(netdev->client.opaque, queue);
}

void netdev_set_link(struct netdev *netdev, bool up)
{
	if (netdev->link_up == up)
		return;
	netdev->link_up = up;
	if (netdev->client.link)
		netdev->client.link(netdev->client.opaque, up);
}

void netdev_destroy(struct netdev *netdev)
{
	if (netdev)
		netdev->ops->destroy(netdev);
}
