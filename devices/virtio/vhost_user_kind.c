/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kinds of vhost-user devices: their features, queues and configuration spaces. virtio 1.2, 5.1.4
 * (network), 5.2.4 (disks), 5.11.4 (file systems).
 */
#include <errno.h>
#include <string.h>

#include "devices/virtio/vhost_user_device.h"
#include "vmm/base/err.h"

#define VHOST_USER_BLK_CONFIG    60 /* bytes of struct virtio_blk_config, 5.2.4, up to write zeroes */
#define VHOST_USER_BLK_QUEUES_AT 34 /* num_queues in it */

/* The devices' own feature bits that work without help of ours: no control queue, no writable configuration.
 */
#define VHOST_USER_BLK_FEATURES                                                                              \
	0x7666ull /* SIZE_MAX SEG_MAX RO BLK_SIZE FLUSH TOPOLOGY MQ DISCARD WRITE_ZEROES */
#define VHOST_USER_NET_FEATURES 0xff83ull  /* CSUM GUEST_CSUM, offloads both ways, MRG_RXBUF */
#define VHOST_USER_NET_OURS     0x10020ull /* MAC STATUS */

int vhost_user_describe(struct vhost_user *user, const struct vhost_user_config *asked,
			struct virtio_init *init, uint8_t config[VHOST_CONFIG_MAX], struct err *err)
{
	const size_t tag_length = asked->tag ? strlen(asked->tag) : 0;
	int code = 0;

	switch (asked->kind) {
	case VHOST_USER_BLOCK:
		init->type = VIRTIO_TYPE_BLOCK;
		init->features = user->backend_features & VHOST_USER_BLK_FEATURES;
		init->config_bytes = VHOST_USER_BLK_CONFIG;
		if (!(user->link.protocol_features >> VHOST_PROTOCOL_F_CONFIG & 1))
			return err_set(err, -ENOTSUP, "%s: the back end does not tell its configuration",
				       user->path);
		code = vhost_get_config(&user->link, config, VHOST_USER_BLK_CONFIG, err);
		config[VHOST_USER_BLK_QUEUES_AT] = (uint8_t)user->queue_count;
		config[VHOST_USER_BLK_QUEUES_AT + 1] = 0;
		return code;
	case VHOST_USER_NET:
		init->type = VIRTIO_TYPE_NET;
		init->features = (user->backend_features & VHOST_USER_NET_FEATURES) | VHOST_USER_NET_OURS;
		init->config_bytes = 8; /* mac, status: the link is up */
		memcpy(config, asked->mac, 6);
		config[6] = 1;
		return 0;
	case VHOST_USER_FS:
		init->type = VIRTIO_TYPE_FS;
		init->config_bytes = VHOST_USER_TAG_MAX + 4; /* tag, num_request_queues */
		if (tag_length == 0 || tag_length > VHOST_USER_TAG_MAX)
			return err_set(err, -EINVAL, "a file system's tag has 1 to %d characters",
				       VHOST_USER_TAG_MAX);
		memcpy(config, asked->tag, tag_length);
		config[VHOST_USER_TAG_MAX] = (uint8_t)asked->queues;
		return 0;
	}
	return -EINVAL;
}

unsigned vhost_user_queue_count(const struct vhost_user_config *config)
{
	switch (config->kind) {
	case VHOST_USER_BLOCK: return config->queues;
	case VHOST_USER_NET: return 2;
	case VHOST_USER_FS: return config->queues + 1; /* and the one for urgent requests */
	}
	return 0;
}
