/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic in a file for tcpdump and Wireshark: the classic pcap format with nanoseconds (magic
 * 0xa1b23c4d, draft-ietf-opsawg-pcap, 4-5), link type Ethernet. Frames are as the guest sees them: checksums
 * that are still to be made and segments that are still to be cut show as such. One writev a frame, no buffer
 * of our own, so that the file is whole at any time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/backend/net_iov.h"
#include "vmm/backend/net_wrap.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/log.h"

#define PCAP_MAGIC_NS  0xa1b23c4du
#define PCAP_ETHERNET  1u
#define PCAP_SNAPLEN   262144u
#define PCAP_IOV_PIECE 1023u

struct pcap_file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy;
	uint32_t snaplen;
	uint32_t link_type;
};
_Static_assert(sizeof(struct pcap_file_header) == 24, "the format's");

struct pcap_record_header {
	uint32_t seconds, nanoseconds;
	uint32_t captured, length;
};
_Static_assert(sizeof(struct pcap_record_header) == 16, "the format's");

struct net_pcap {
	struct net_inner inner;
	int fd; /* -1: writing failed, which was said once */
	struct iovec piece[PCAP_IOV_PIECE + 1];
};

static void net_pcap_give_up(struct net_pcap *pcap, int error)
{
	log_error("pcap: no more frames are written: %s", strerror(error));
	close(pcap->fd);
	pcap->fd = -1;
}

static void net_pcap_record(struct net_pcap *pcap, const struct iovec *iov, unsigned iov_count, size_t len)
{
	uint64_t now_ns = clock_realtime_ns();
	struct pcap_record_header record = {
		.seconds = (uint32_t)(now_ns / NS_PER_S),
		.nanoseconds = (uint32_t)(now_ns % NS_PER_S),
		.captured = (uint32_t)len,
		.length = (uint32_t)len,
	};
	unsigned count = net_iov_slice(iov, iov_count, 0, len, pcap->piece + 1, PCAP_IOV_PIECE);
	ssize_t written;

	if (pcap->fd < 0 || count == 0)
		return;
	pcap->piece[0] = (struct iovec){.iov_base = &record, .iov_len = sizeof(record)};
	written = writev(pcap->fd, pcap->piece, (int)count + 1);
	if (written < 0)
		net_pcap_give_up(pcap, errno);
	else if ((size_t)written != sizeof(record) + len)
		net_pcap_give_up(pcap, ENOSPC); /* a part was written: only a full disk does that to a file */
}

static int net_pcap_send(struct netdev *netdev, unsigned queue, const struct netdev_header *header,
			 const struct iovec *iov, unsigned iov_count)
{
	struct net_pcap *pcap = (struct net_pcap *)netdev;
	int code = netdev_send(pcap->inner.lower, queue, header, iov, iov_count);

	if (code == 0)
		net_pcap_record(pcap, iov, iov_count, net_iov_size(iov, iov_count));
	return code;
}

static ssize_t net_pcap_receive(struct netdev *netdev, unsigned queue, struct netdev_header *header,
				const struct iovec *iov, unsigned iov_count)
{
	struct net_pcap *pcap = (struct net_pcap *)netdev;
	ssize_t got = netdev_receive(pcap->inner.lower, queue, header, iov, iov_count);

	if (got > 0 && (size_t)got <= net_iov_size(iov, iov_count))
		net_pcap_record(pcap, iov, iov_count, (size_t)got);
	return got;
}

static void net_pcap_destroy(struct netdev *netdev)
{
	struct net_pcap *pcap = (struct net_pcap *)netdev;

	net_inner_release(&pcap->inner);
	if (pcap->fd >= 0)
		close(pcap->fd);
	free(pcap);
}

static const struct netdev_ops net_pcap_ops = {
	.send = net_pcap_send,
	.flush = net_inner_flush,
	.receive = net_pcap_receive,
	.poll = net_inner_poll,
	.reset = net_inner_reset,
	.set_offloads = net_inner_set_offloads,
	.set_queue_pairs = net_inner_set_queue_pairs,
	.destroy = net_pcap_destroy,
};

static int net_pcap_create_file(const char *path, struct err *err)
{
	const struct pcap_file_header header = {
		.magic = PCAP_MAGIC_NS,
		.major = 2,
		.minor = 4,
		.snaplen = PCAP_SNAPLEN,
		.link_type = PCAP_ETHERNET,
	};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd < 0)
		return err_set_errno(err, -errno, "pcap: cannot make %s", path);
	if (write(fd, &header, sizeof(header)) == (ssize_t)sizeof(header))
		return fd;
	close(fd);
	return err_set(err, -EIO, "pcap: cannot write to %s", path);
}

struct netdev *net_pcap_wrap(struct netdev *lower, const struct netdev_env *env,
			     const struct netdev_config *config, struct err *err)
{
	struct net_pcap *pcap;

	if (!config->pcap)
		return lower;
	pcap = calloc(1, sizeof(*pcap));
	if (!pcap) {
		err_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	pcap->fd = net_pcap_create_file(config->pcap, err);
	if (pcap->fd < 0) {
		free(pcap);
		return NULL;
	}
	net_inner_init(&pcap->inner, lower, &net_pcap_ops);
	return &pcap->inner.netdev;
}
