/* SPDX-License-Identifier: Apache-2.0 */
/* Frames for tests of network cards, made and checked by the plain words of RFC 791, 768, 9293 and 1071. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#define FRAME_ETH  14
#define FRAME_IP4  20
#define FRAME_IP6  40
#define FRAME_TCP  20
#define FRAME_UDP  8
#define FRAME_HEAD (FRAME_ETH + FRAME_IP4 + FRAME_TCP) /* of TCP over IPv4 */

static inline void frame_put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void frame_put32(uint8_t *at, uint32_t value)
{
	frame_put16(at, value >> 16);
	frame_put16(at + 2, value & 0xffff);
}

static inline unsigned frame_get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static inline uint32_t frame_get32(const uint8_t *at)
{
	return (uint32_t)frame_get16(at) << 16 | frame_get16(at + 2);
}

/* RFC 1071 word by word. */
static inline uint32_t frame_add(uint32_t sum, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

struct frame_spec {
	unsigned version;  /* 4 or 6 */
	unsigned protocol; /* 6 or 17 */
	uint8_t source[16], target[16];
	uint8_t source_mac[6], target_mac[6];
	unsigned source_port, target_port;
	uint32_t seq, ack;
	unsigned flags, window, id;
};

static inline uint32_t frame_pseudo(const uint8_t *frame, size_t l4_len)
{
	bool v4 = frame[FRAME_ETH] >> 4 == 4;
	uint8_t tail[4] = {0, v4 ? frame[FRAME_ETH + 9] : frame[FRAME_ETH + 6], (uint8_t)(l4_len >> 8),
			   (uint8_t)l4_len};
	uint32_t sum = v4 ? frame_add(0, frame + FRAME_ETH + 12, 8) : frame_add(0, frame + FRAME_ETH + 8, 32);

	return frame_add(sum, tail, sizeof(tail));
}

static inline size_t frame_l4(const uint8_t *frame)
{
	return FRAME_ETH + (frame[FRAME_ETH] >> 4 == 4 ? FRAME_IP4 : FRAME_IP6);
}

static inline unsigned frame_protocol(const uint8_t *frame)
{
	return frame[FRAME_ETH] >> 4 == 4 ? frame[FRAME_ETH + 9] : frame[FRAME_ETH + 6];
}

static inline uint8_t *frame_checksum(uint8_t *frame)
{
	return frame + frame_l4(frame) + (frame_protocol(frame) == 17 ? 6 : 16);
}

/* Writes a whole frame with right checksums; returns its length. */
static inline size_t frame_make(uint8_t *frame, const struct frame_spec *spec, const void *payload,
				size_t len)
{
	size_t ip = spec->version == 4 ? FRAME_IP4 : FRAME_IP6;
	size_t l4 = FRAME_ETH + ip;
	size_t header = spec->protocol == 17 ? FRAME_UDP : FRAME_TCP;

	memset(frame, 0, l4 + header);
	memcpy(frame, spec->target_mac, 6);
	memcpy(frame + 6, spec->source_mac, 6);
	frame_put16(frame + 12, spec->version == 4 ? 0x0800 : 0x86dd);
	if (spec->version == 4) {
		frame[FRAME_ETH] = 0x45;
		frame_put16(frame + FRAME_ETH + 2, (unsigned)(ip + header + len));
		frame_put16(frame + FRAME_ETH + 4, spec->id);
		frame[FRAME_ETH + 6] = 0x40;
		frame[FRAME_ETH + 8] = 64;
		frame[FRAME_ETH + 9] = (uint8_t)spec->protocol;
		memcpy(frame + FRAME_ETH + 12, spec->source, 4);
		memcpy(frame + FRAME_ETH + 16, spec->target, 4);
		frame_put16(frame + FRAME_ETH + 10, ~frame_add(0, frame + FRAME_ETH, FRAME_IP4) & 0xffff);
	} else {
		frame[FRAME_ETH] = 0x60;
		frame_put16(frame + FRAME_ETH + 4, (unsigned)(header + len));
		frame[FRAME_ETH + 6] = (uint8_t)spec->protocol;
		frame[FRAME_ETH + 7] = 64;
		memcpy(frame + FRAME_ETH + 8, spec->source, 16);
		memcpy(frame + FRAME_ETH + 24, spec->target, 16);
	}
	frame_put16(frame + l4, spec->source_port);
	frame_put16(frame + l4 + 2, spec->target_port);
	if (spec->protocol == 17) {
		frame_put16(frame + l4 + 4, (unsigned)(header + len));
	} else {
		frame_put32(frame + l4 + 4, spec->seq);
		frame_put32(frame + l4 + 8, spec->ack);
		frame[l4 + 12] = 0x50;
		frame[l4 + 13] = (uint8_t)spec->flags;
		frame_put16(frame + l4 + 14, spec->window);
	}
	if (len > 0)
		memcpy(frame + l4 + header, payload, len);
	frame_put16(frame_checksum(frame),
		    ~frame_add(frame_pseudo(frame, header + len), frame + l4, header + len) & 0xffff);
	return l4 + header + len;
}

/* Whether both checksums of a frame without padding are right. */
static inline bool frame_is_right(const uint8_t *frame, size_t len)
{
	size_t l4 = frame_l4(frame);

	if (frame[FRAME_ETH] >> 4 == 4 && (frame_add(0, frame + FRAME_ETH, FRAME_IP4) != 0xffff ||
					   frame_get16(frame + FRAME_ETH + 2) != len - FRAME_ETH))
		return false;
	if (frame[FRAME_ETH] >> 4 == 6 && frame_get16(frame + FRAME_ETH + 4) != len - l4)
		return false;
	return frame_add(frame_pseudo(frame, len - l4), frame + l4, len - l4) == 0xffff;
}

/* Leaves in the checksum field what a driver leaves that has the device compute it (virtio 1.2, 5.1.6.2). */
static inline void frame_make_partial(uint8_t *frame, size_t len)
{
	frame_put16(frame_checksum(frame), frame_pseudo(frame, len - frame_l4(frame)));
}

#define MSS               1000
#define FRAME_PATTERN_MAX (1 << 16)

/* A segment whose sequence number wraps on the way. */
static const struct frame_spec tcp4 = {
	.version = 4,
	.protocol = 6,
	.source = {10, 0, 2, 15},
	.target = {192, 168, 1, 1},
	.source_mac = {2, 0, 0, 0, 0, 1},
	.target_mac = {2, 0, 0, 0, 0, 2},
	.source_port = 40000,
	.target_port = 80,
	.seq = 0xffffff00u, /* wraps on the way */
	.ack = 77,
	.flags = 0x10,
	.window = 4096,
	.id = 0xfffe,
};

static inline struct frame_spec tcp6_spec(void)
{
	struct frame_spec spec = tcp4;

	spec.version = 6;
	spec.source[0] = spec.target[0] = 0xfe;
	spec.target[15] = 9;
	return spec;
}

static inline uint8_t *pattern(size_t len)
{
	static uint8_t bytes[FRAME_PATTERN_MAX];

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	return bytes;
}

/* Cuts a frame into pieces of odd sizes, as a guest may. */
static inline unsigned pieces_of(uint8_t *frame, size_t len, struct iovec *iov)
{
	static const size_t sizes[] = {3, 40, 1, 333, 7};
	unsigned count = 0;

	for (size_t at = 0; at < len; count++) {
		size_t size = sizes[count % 5] < len - at ? sizes[count % 5] : len - at;

		iov[count] = (struct iovec){frame + at, count > 30 ? len - at : size};
		at += iov[count].iov_len;
	}
	return count;
}
