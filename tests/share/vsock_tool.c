/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end of the socket tests, linked statically because the guest has no libraries: sends a stream
 * of known bytes over AF_VSOCK and takes it back, or echoes what it gets.
 *
 *     vsock-tool send PORT BYTES      connects to the host; ends with 0 when all came back as it was
 *     vsock-tool echo PORT COUNT      listens; serves COUNT connections, one after another
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define TOOL_PIECE 65536

static int tool_fail(const char *what)
{
	perror(what);
	return 1;
}

static struct sockaddr_vm tool_address(unsigned cid, const char *port)
{
	return (struct sockaddr_vm){
		.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = (unsigned)strtoul(port, NULL, 10)};
}

/* The byte at a place of the stream: no period that a lost piece would hide in. */
static uint8_t tool_byte(uint64_t at)
{
	uint64_t hash = at * 0x9e3779b97f4a7c15ull;

	return (uint8_t)(hash >> 56);
}

static int tool_check(const uint8_t *bytes, ssize_t count, uint64_t at)
{
	for (ssize_t i = 0; i < count; i++) {
		if (bytes[i] == tool_byte(at + (uint64_t)i))
			continue;
		printf("byte %llu is wrong\n", (unsigned long long)(at + (uint64_t)i));
		return 1;
	}
	return 0;
}

static int tool_exchange(int fd, uint64_t total)
{
	static uint8_t out[TOOL_PIECE], in[TOOL_PIECE];
	uint64_t sent = 0, got = 0;

	while (got < total) {
		struct pollfd poller = {.fd = fd, .events = (short)(POLLIN | (sent < total ? POLLOUT : 0))};

		if (poll(&poller, 1, -1) < 0)
			return tool_fail("poll");
		if (poller.revents & POLLOUT) {
			size_t piece = total - sent < TOOL_PIECE ? (size_t)(total - sent) : TOOL_PIECE;
			ssize_t put;

			for (size_t i = 0; i < piece; i++)
				out[i] = tool_byte(sent + i);
			put = send(fd, out, piece, MSG_DONTWAIT);
			sent += put > 0 ? (uint64_t)put : 0;
			if (sent == total)
				shutdown(fd, SHUT_WR);
		}
		if (poller.revents & (POLLIN | POLLHUP)) {
			ssize_t count = recv(fd, in, sizeof(in), MSG_DONTWAIT);

			if (count == 0)
				return printf("the end after %llu bytes\n", (unsigned long long)got), 1;
			if (count > 0 && tool_check(in, count, got))
				return 1;
			got += count > 0 ? (uint64_t)count : 0;
		}
	}
	return recv(fd, in, 1, 0) == 0 ? 0 : (puts("there is more"), 1);
}

static int tool_send(const char *port, const char *total)
{
	struct sockaddr_vm address = tool_address(VMADDR_CID_HOST, port);
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return tool_fail("connect");
	return tool_exchange(fd, strtoull(total, NULL, 10));
}

static int tool_echo_one(int fd)
{
	static uint8_t bytes[TOOL_PIECE];
	ssize_t count;

	while ((count = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		for (ssize_t done = 0; done < count;) {
			ssize_t put = send(fd, bytes + done, (size_t)(count - done), 0);

			if (put < 0)
				return tool_fail("send");
			done += put;
		}
	}
	shutdown(fd, SHUT_WR);
	close(fd);
	return count < 0 ? tool_fail("recv") : 0;
}

static int tool_echo(const char *port, const char *connections)
{
	struct sockaddr_vm address = tool_address(VMADDR_CID_ANY, port);
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0), failed = 0;

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0)
		return tool_fail("listen");
	puts("listening");
	fflush(stdout);
	for (long i = strtol(connections, NULL, 10); i > 0; i--) {
		int peer = accept(fd, NULL, NULL);

		failed |= peer < 0 ? tool_fail("accept") : tool_echo_one(peer);
	}
	return failed;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "send") == 0)
		return tool_send(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "echo") == 0)
		return tool_echo(argv[2], argv[3]);
	return 2;
}
