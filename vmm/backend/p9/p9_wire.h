/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of 9P2000.L: message numbers, and reading and writing of fields. Every integer is little-endian,
 * a string is its length in 16 bits and its bytes. Knows no files. Follows Plan 9's manual section 5 and the
 * Linux kernel's include/net/9p/9p.h for the ".L" messages.
 *
 *   message: size[4] type[1] tag[2] fields...        size counts itself
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define P9_HEADER_SIZE 7
#define P9_NO_TAG      0xffff     /* of Tversion */
#define P9_NO_ID       0xffffffff /* "no fid" and "no user" */
#define P9_NAME_MAX    255        /* NAME_MAX of Linux: a longer name is in no folder */
#define P9_WALK_MAX    16         /* MAXWELEM of the protocol: names in one Twalk */

enum p9_type {
	P9_RLERROR = 7,
	P9_TSTATFS = 8,
	P9_TLOPEN = 12,
	P9_TLCREATE = 14,
	P9_TSYMLINK = 16,
	P9_TMKNOD = 18,
	P9_TRENAME = 20,
	P9_TREADLINK = 22,
	P9_TGETATTR = 24,
	P9_TSETATTR = 26,
	P9_TXATTRWALK = 30,
	P9_TXATTRCREATE = 32,
	P9_TREADDIR = 40,
	P9_TFSYNC = 50,
	P9_TLOCK = 52,
	P9_TGETLOCK = 54,
	P9_TLINK = 70,
	P9_TMKDIR = 72,
	P9_TRENAMEAT = 74,
	P9_TUNLINKAT = 76,
	P9_TVERSION = 100,
	P9_TAUTH = 102,
	P9_TATTACH = 104,
	P9_TFLUSH = 108,
	P9_TWALK = 110,
	P9_TREAD = 116,
	P9_TWRITE = 118,
	P9_TCLUNK = 120,
	P9_TREMOVE = 122,
};

/* What a file is to the protocol: unique while it lives. 13 bytes on the wire. */
struct p9_qid {
	uint8_t type; /* P9_QID_* */
	uint32_t version;
	uint64_t path;
};
#define P9_QID_FILE    0x00
#define P9_QID_SYMLINK 0x02
#define P9_QID_DIR     0x80
#define P9_QID_SIZE    13

/* Reads fields of a message that was copied. What runs over the end reads as zero and sets `bad`. */
struct p9_reader {
	const uint8_t *at, *end;
	bool bad;
};

uint8_t p9_get_u8(struct p9_reader *reader);
uint16_t p9_get_u16(struct p9_reader *reader);
uint32_t p9_get_u32(struct p9_reader *reader);
uint64_t p9_get_u64(struct p9_reader *reader);
/*
 * A string into text[size], ended by NUL. 0, -ENAMETOOLONG, or -EINVAL where it holds a NUL. A message that
 * ends too early sets `bad` and gives an empty string.
 */
int p9_get_string(struct p9_reader *reader, char *text, size_t size);
/* A string that names one entry of a folder: not empty, no slash. "." and ".." pass. 0 or -errno. */
int p9_get_name(struct p9_reader *reader, char name[P9_NAME_MAX + 1]);
/* A name for an entry to be made, renamed or removed: "." and ".." are none. */
int p9_get_entry(struct p9_reader *reader, char name[P9_NAME_MAX + 1]);

/* Writes a reply's fields. What does not fit is dropped and sets `full`. */
struct p9_writer {
	uint8_t *at, *end;
	bool full;
};

void p9_put_u8(struct p9_writer *writer, uint8_t value);
void p9_put_u16(struct p9_writer *writer, uint16_t value);
void p9_put_u32(struct p9_writer *writer, uint32_t value);
void p9_put_u64(struct p9_writer *writer, uint64_t value);
void p9_put_string(struct p9_writer *writer, const char *text, size_t length);
void p9_put_qid(struct p9_writer *writer, const struct p9_qid *qid);

/* Bytes of a scattered buffer. */
size_t p9_iov_size(const struct iovec *iov, size_t count);
/* Copies up to length bytes from the front into buffer, or from buffer to the front; returns how many. */
size_t p9_iov_copy_out(const struct iovec *iov, size_t count, void *buffer, size_t length);
size_t p9_iov_copy_in(const struct iovec *iov, size_t count, const void *buffer, size_t length);
/*
 * The pieces that make up [skip, skip + length) of iov into pieces[max]; returns how many pieces. Fewer bytes
 * than asked for where iov or pieces end.
 */
size_t p9_iov_slice(const struct iovec *iov, size_t count, size_t skip, size_t length, struct iovec *pieces,
		    size_t max);
