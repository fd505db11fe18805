/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network backends as a device sees them: a network card on one side; tap, user-mode stack, passt, socket or
 * a descriptor on the other. Frames are Ethernet without preamble and checksum; each comes with the header of
 * virtio 1.2, 5.1.6, which says what is left to do (checksum, segmentation).
 *
 * Everything runs on the thread of the loop that owns the backend. The device pulls: a backend says that
 * frames wait, the device takes them where it has room, so that nothing is lost for want of guest buffers and
 * a tap reads straight into them. Wrappers (net_soft, net_limit, net_pcap) are netdevs over a netdev.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "vmm/base/option.h"

struct err;
struct loop;
struct netdev;
struct rate_bucket_config;

/* The largest frame: 64 KiB of IP (a segment still to be cut), Ethernet with two VLAN tags, rounded up. */
#define NETDEV_FRAME_MAX   65600u
#define NETDEV_FRAME_MIN   14u   /* an Ethernet header: shorter ones are nobody's */
#define NETDEV_QUEUES_MAX  16    /* pairs: more than CPUs that a busy guest has, and bounds descriptors */
#define NETDEV_MTU_MIN     68    /* RFC 791: what IPv4 needs at least; also virtio 1.2, 5.1.4.1 */
#define NETDEV_MTU_MAX     65520 /* libslirp's and passt's largest: the frame's length still fits 16 bits */
#define NETDEV_MTU_DEFAULT 1500
#define NETDEV_MAC_SIZE    6
#define NETDEV_IOV_MAX     1024 /* pieces of one frame: UIO_MAXIOV */

/* virtio_net_hdr_v1 (virtio 1.2, 5.1.6), as a tap with IFF_VNET_HDR has it too. Little-endian. */
struct netdev_header {
	uint8_t flags;        /* NETDEV_HDR_* */
	uint8_t gso_type;     /* NETDEV_GSO_* */
	uint16_t hdr_len;     /* bytes of all headers: a hint */
	uint16_t gso_size;    /* payload of each segment */
	uint16_t csum_start;  /* where the checksum begins to count */
	uint16_t csum_offset; /* from there: where it is stored */
	uint16_t num_buffers; /* the device's: merged receive buffers */
};
_Static_assert(sizeof(struct netdev_header) == 12, "the header's layout is the kernel's");

#define NETDEV_HDR_NEEDS_CSUM 1 /* the checksum field holds the pseudo header's sum */
#define NETDEV_HDR_DATA_VALID 2 /* the checksum has been looked at */

#define NETDEV_GSO_NONE   0
#define NETDEV_GSO_TCPV4  1
#define NETDEV_GSO_TCPV6  4
#define NETDEV_GSO_UDP_L4 5
#define NETDEV_GSO_ECN    0x80 /* with TCP: CWR is on the first segment only */

/* What a header may ask for. TX: of frames that the backend is given; RX: of those that it gives. */
#define NETDEV_TX_CSUM (1u << 0)
#define NETDEV_TX_TSO4 (1u << 1)
#define NETDEV_TX_TSO6 (1u << 2)
#define NETDEV_TX_ECN  (1u << 3)
#define NETDEV_TX_USO  (1u << 4)
#define NETDEV_RX_CSUM (1u << 8)
#define NETDEV_RX_TSO4 (1u << 9)
#define NETDEV_RX_TSO6 (1u << 10)
#define NETDEV_RX_ECN  (1u << 11)
#define NETDEV_RX_USO4 (1u << 12)
#define NETDEV_RX_USO6 (1u << 13)
#define NETDEV_RX_ALL  0xff00u

/* Implemented by the device (or a wrapper). Called on the loop's thread with no lock held. */
struct netdev_client {
	/*
	 * Frames have come: take them until -EAGAIN, or come back for the rest by yourself. While a queue is
	 * polled this may be called again for frames that still wait.
	 */
	void (*readable)(void *opaque, unsigned queue);
	/* After a netdev_send that gave -EAGAIN: try again. */
	void (*writable)(void *opaque, unsigned queue);
	/* The carrier came or went; may be NULL. */
	void (*link)(void *opaque, bool up);
	void *opaque;
};

struct netdev_ops {
	/*
	 * Sends one frame; the bytes are the caller's again on return. 0: taken, or lost as networks lose
	 * frames (counted); -EAGAIN: full, offer the same frame again when `writable` is called.
	 */
	int (*send)(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
		    const struct iovec *iov, unsigned iov_count);
	/* The last of a batch of frames was sent; may be NULL. */
	void (*flush)(struct netdev *netdev, unsigned queue);
	/*
	 * Takes the next waiting frame into iov. Returns its length; more than iov holds: it was cut off.
	 * -EAGAIN: none waits.
	 */
	ssize_t (*receive)(struct netdev *netdev, unsigned queue, struct netdev_header *header,
			   const struct iovec *iov, unsigned iov_count);
	/* Whether `readable` is to be called for this queue; off at first. */
	void (*poll)(struct netdev *netdev, unsigned queue, bool on);
	/* Forgets what waits in this queue and what is half sent: the guest begins anew. May be NULL. */
	void (*reset)(struct netdev *netdev, unsigned queue);
	/* The RX offloads that the client can take from now on; others are undone before. NULL: has none. */
	void (*set_offloads)(struct netdev *netdev, uint32_t offloads);
	/* How many of queue_pairs carry traffic. NULL: it has one. */
	int (*set_queue_pairs)(struct netdev *netdev, unsigned pairs);
	/* Other buckets for one direction; NULL leaves one as it is. NULL: has no limits. */
	int (*limit)(struct netdev *netdev, bool rx, const struct rate_bucket_config *frames,
		     const struct rate_bucket_config *bytes);
	void (*destroy)(struct netdev *netdev);
};

/* First member of each backend's structure. */
struct netdev {
	const struct netdev_ops *ops;
	struct netdev_client client; /* set by netdev_attach */
	uint32_t offloads;           /* NETDEV_TX_*, NETDEV_RX_*: what it can do */
	unsigned queue_pairs;        /* at least 1 */
	size_t uncut_max; /* the largest frame with TCP segments still to be cut that it takes; 0: none */
	uint16_t mtu;     /* what the network wants; 0: no opinion */
	bool link_up;
	bool trusted; /* its frames are made by a program of ours, their checksums need no look */
	uint64_t tx_dropped, rx_dropped; /* lost in the backend, not for want of guest buffers */
};

static inline int netdev_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
			      const struct iovec *iov, unsigned iov_count)
{
	return netdev->ops->send(netdev, queue, header, iov, iov_count);
}

static inline void netdev_flush(struct netdev *netdev, unsigned queue)
{
	if (netdev->ops->flush)
		netdev->ops->flush(netdev, queue);
}

static inline ssize_t netdev_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
				     const struct iovec *iov, unsigned iov_count)
{
	return netdev->ops->receive(netdev, queue, header, iov, iov_count);
}

static inline void netdev_poll(struct netdev *netdev, unsigned queue, bool on)
{
	netdev->ops->poll(netdev, queue, on);
}

static inline void netdev_reset(struct netdev *netdev, unsigned queue)
{
	if (netdev->ops->reset)
		netdev->ops->reset(netdev, queue);
}

static inline void netdev_set_offloads(struct netdev *netdev, uint32_t offloads)
{
	if (netdev->ops->set_offloads)
		netdev->ops->set_offloads(netdev, offloads);
}

static inline int netdev_limit(struct netdev *netdev, bool rx, const struct rate_bucket_config *frames,
			       const struct rate_bucket_config *bytes)
{
	if (!frames && !bytes)
		return 0;
	return netdev->ops->limit ? netdev->ops->limit(netdev, rx, frames, bytes) : -EOPNOTSUPP;
}

static inline int netdev_set_queue_pairs(struct netdev *netdev, unsigned pairs)
{
	return netdev->ops->set_queue_pairs ? netdev->ops->set_queue_pairs(netdev, pairs) : 0;
}

/* Whoever wants to be told. NULL: nobody any more. */
void netdev_attach(struct netdev *netdev, const struct netdev_client *client);
/* For backends: tell the client, if there is one. */
void netdev_tell_readable(struct netdev *netdev, unsigned queue);
void netdev_tell_writable(struct netdev *netdev, unsigned queue);
void netdev_set_link(struct netdev *netdev, bool up);

/* One --net: what a person can say, rows in netdev_options. */
struct netdev_config {
	char *backend;                          /* a name of netdev_table */
	char *id;                               /* its name for a control socket; NULL: none */
	char *mac;                              /* NULL: by chance, machine_config_complete */
	uint32_t mtu;                           /* 0: the backend's */
	uint32_t queues;                        /* pairs; 0: 1 */
	uint64_t rx_bps, tx_bps;                /* bytes a second; 0: no limit */
	uint32_t rx_pps, tx_pps;                /* frames a second; 0: no limit */
	char *rx_byte_bucket, *rx_frame_bucket; /* instead: see rate_bucket_parse; NULL: none */
	char *tx_byte_bucket, *tx_frame_bucket;
	char *service; /* "ADDRESS:PORT=PATH": see net_service; NULL: none */
	char *pcap;    /* a file that gets the traffic; NULL: none */
	/* tap */
	char *ifname, *bridge, *script, *downscript;
	/* user; hostfwd of passt too */
	struct option_strings hostfwd;
	char *unixfwd; /* user: "ADDRESS:PORT=PATH" */
	char *net, *host, *dhcp_start, *dns, *ipv6_net, *ipv6_host, *ipv6_dns, *hostname, *domain;
	bool restricted, no_ipv4, no_ipv6;
	/* passt: a unix socket */
	char *socket;
	/* socket */
	char *listen, *connect, *local, *remote;
	/* fd: a number or several with colons between */
	char *fd;
};

/* The rows of a netdev_config: `--net BACKEND,KEY=VALUE...`. */
extern const struct option netdev_options[];

/* What every backend is created with. */
struct netdev_env {
	struct loop *loop; /* does not run on another thread yet; borrowed */
	unsigned slot;     /* which --net it is, from 0 */
};

/* One kind of backend. */
struct netdev_class {
	const char *name;
	const char *summary; /* for the help */
	const char *const
		*keys; /* of netdev_options, those that it takes beside the common ones; ends with NULL */
	/* Returns owned (ops->destroy frees), or NULL with err set. */
	struct netdev *(*create)(const struct netdev_env *env, const struct netdev_config *config,
				 struct err *err);
};

/* The kinds built in, ended by NULL. Generated by the build from the list in vmm/backend/meson.build. */
extern const struct netdev_class *const netdev_table[];

/*
 * What may stand between device and backend: checksums and segments in software, the pcap file, rate limits;
 * from the backend outwards, ended by NULL. Each returns a netdev that owns `lower`, or `lower` itself where
 * nothing is to be done, or NULL with err set (`lower` is then still the caller's). Generated like
 * netdev_table.
 */
typedef struct netdev *netdev_wrap_fn(struct netdev *lower, const struct netdev_env *env,
				      const struct netdev_config *config, struct err *err);
extern netdev_wrap_fn *const netdev_wrappers[];

/* Checks all that can be said wrong without touching the host. Messages name the key. */
int netdev_config_check(const struct netdev_config *config, struct err *err);

/* "52:54:00:12:34:56"; -EINVAL for a group address or a bad form. */
int netdev_mac_parse(const char *text, uint8_t mac[NETDEV_MAC_SIZE], struct err *err);
#define NETDEV_MAC_TEXT_SIZE 18
void netdev_mac_print(const uint8_t mac[NETDEV_MAC_SIZE], char text[NETDEV_MAC_TEXT_SIZE]);
/* Locally administered and of one card: two machines on one network hardly ever have the same. */
int netdev_mac_random(uint8_t mac[NETDEV_MAC_SIZE], struct err *err);

/* Creates the backend and what stands before it. Owned, or NULL with err set. */
struct netdev *netdev_open(const struct netdev_env *env, const struct netdev_config *config, struct err *err);
void netdev_destroy(struct netdev *netdev);
