/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmmctl ctl SOCKET COMMAND`: requests to a served machine, by a table of commands, and its console. Knows
 * the API as any client does.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/unix_socket.h"
#include "vmm/machine/commands.h"

#define CTL_ANSWER_MAX (8u << 20) /* of a server that is not ours to trust: bounds memory */
#define CTL_LEAVE      0x1d       /* Ctrl-] */

/* One request of a command. $N in path and body stands for argument N, in the body as a JSON string. */
struct ctl_request {
	const char *method, *path;
	const char *body; /* NULL: none */
};

struct ctl_command {
	const char *name;
	int arguments;
	struct ctl_request request[2]; /* method NULL: no more */
};

static const struct ctl_command ctl_commands[] = {
	{"status", 0, {{"GET", "/", NULL}}},
	{"config", 0, {{"GET", "/vmmctl/config", NULL}}},
	{"pause", 0, {{"PATCH", "/vm", "{\"state\":\"Paused\"}"}}},
	{"resume", 0, {{"PATCH", "/vm", "{\"state\":\"Resumed\"}"}}},
	{"snapshot",
	 2,
	 {{"PATCH", "/vm", "{\"state\":\"Paused\"}"},
	  {"PUT", "/snapshot/create", "{\"snapshot_path\":$1,\"mem_file_path\":$2}"}}},
	{"restore",
	 2,
	 {{"PUT", "/snapshot/load",
	   "{\"snapshot_path\":$1,\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":$2},"
	   "\"resume_vm\":true}"}}},
	{"metrics", 0, {{"GET", "/vmmctl/metrics", NULL}}},
	{"events", 0, {{"GET", "/vmmctl/events", NULL}}},
	{"accel", 0, {{"GET", "/vmmctl/accel", NULL}}},
	{"accel", 1, {{"PUT", "/vmmctl/accel", "{\"name\":$1}"}}},
	{"drive",
	 2,
	 {{"PUT", "/drives/$1", "{\"drive_id\":$1,\"is_root_device\":false,\"path_on_host\":$2}"}}},
	{"net", 2, {{"PUT", "/network-interfaces/$1", "{\"iface_id\":$1,\"host_dev_name\":$2}"}}},
	{"unplug-drive", 1, {{"DELETE", "/drives/$1", NULL}}},
	{"unplug-net", 1, {{"DELETE", "/network-interfaces/$1", NULL}}},
	{"ctrl-alt-del", 0, {{"PUT", "/actions", "{\"action_type\":\"SendCtrlAltDel\"}"}}},
	{"reset", 0, {{"PUT", "/vmmctl/reset", "{}"}}},
	{"stop", 0, {{"PUT", "/vmmctl/stop", "{}"}}},
};

static int ctl_connect(const char *path, struct err *err)
{
	int fd = unix_socket_connect(path, err);

	if (fd >= 0)
		fcntl(fd, F_SETFL, 0); /* this program has nothing else to do */
	return fd;
}

static int ctl_send(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			return -errno;
		text += sent > 0 ? sent : 0;
		len -= sent > 0 ? (size_t)sent : 0;
	}
	return 0;
}

static int ctl_ask(int fd, const char *method, const char *path, const char *body)
{
	char *text;
	size_t body_len = body ? strlen(body) : 0;
	int len = asprintf(&text, "%s %s HTTP/1.1\r\nContent-Length: %zu\r\n%s\r\n%s", method, path, body_len,
			   strcmp(path, "/vmmctl/console") == 0 ? "Upgrade: vmmctl-console\r\n" : "",
			   body ? body : "");
	int code = len < 0 ? -ENOMEM : ctl_send(fd, text, (size_t)len);

	if (len >= 0)
		free(text);
	return code;
}

/* --- answers */

struct ctl_answer {
	unsigned status;
	char *text; /* owned: head and body, terminated */
	size_t len;
	char *body; /* in text */
};

/* Reads on until `wanted` bytes are there. */
static int ctl_receive(int fd, struct ctl_answer *answer, size_t wanted)
{
	while (answer->len < wanted) {
		char *text = realloc(answer->text, answer->len + 65536 + 1);
		ssize_t got;

		if (!text)
			return -ENOMEM;
		answer->text = text;
		got = recv(fd, text + answer->len, 65536, 0);
		if (got <= 0)
			return got < 0 ? -errno : -ECONNRESET;
		answer->len += (size_t)got;
		text[answer->len] = '\0';
		if (answer->len > CTL_ANSWER_MAX)
			return -EMSGSIZE;
	}
	return 0;
}

static int ctl_read_head(int fd, struct ctl_answer *answer)
{
	char *end = NULL;
	int code = 0;

	while (code == 0 && !end) {
		code = ctl_receive(fd, answer, answer->len + 1);
		end = code == 0 ? strstr(answer->text, "\r\n\r\n") : NULL;
	}
	if (code < 0)
		return code;
	answer->body = end + 4;
	return sscanf(answer->text, "HTTP/1.1 %u ", &answer->status) == 1 ? 0 : -EPROTO;
}

static int ctl_read_answer(int fd, struct ctl_answer *answer)
{
	size_t head_len, length;
	const char *header;
	int code = ctl_read_head(fd, answer);

	if (code < 0)
		return code;
	head_len = (size_t)(answer->body - answer->text);
	header = strstr(answer->text, "\r\nContent-Length: ");
	length = header && header < answer->body ? strtoul(header + 18, NULL, 10) : 0;
	if (length > CTL_ANSWER_MAX)
		return -EMSGSIZE;
	code = ctl_receive(fd, answer, head_len + length);
	answer->body = answer->text + head_len;
	return code;
}

/* JSON for people, everything else as it is. */
static void ctl_print_body(const char *body)
{
	json_t *json = json_loads(body, 0, NULL);
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;

	if (*body)
		printf("%s%s", text ? text : body, text ? "\n" : "");
	free(text);
	json_decref(json);
}

static int ctl_report(const char *path, const struct ctl_answer *answer)
{
	json_t *json;
	const char *message;

	if (answer->status < 400) {
		ctl_print_body(answer->body);
		return CLI_OK;
	}
	json = json_loads(answer->body, 0, NULL);
	message = json_string_value(json_object_get(json, "fault_message"));
	fprintf(stderr, "vmmctl: %s: %s\n", path, message ? message : answer->body);
	json_decref(json);
	return CLI_FAILURE;
}

/* --- streams */

/* Everything that comes, to standard output. */
static int ctl_copy_out(int fd)
{
	char buffer[4096];
	ssize_t got = recv(fd, buffer, sizeof(buffer), 0);

	if (got <= 0)
		return -ECONNRESET;
	return write(STDOUT_FILENO, buffer, (size_t)got) == got ? 0 : -EIO;
}

/* What is typed, up to the character that leaves. */
static int ctl_copy_in(int fd)
{
	char buffer[256];
	ssize_t got = read(STDIN_FILENO, buffer, sizeof(buffer));
	char *leave = got > 0 ? memchr(buffer, CTL_LEAVE, (size_t)got) : NULL;
	int code;

	if (got <= 0)
		return -ECANCELED;
	code = ctl_send(fd, buffer, leave ? (size_t)(leave - buffer) : (size_t)got);
	return code == 0 && leave ? -ECANCELED : code;
}

static void ctl_stream(int fd, bool both_ways)
{
	struct pollfd wait[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
	int code = 0;

	while (code == 0 && (poll(wait, both_ways ? 2 : 1, -1) > 0 || errno == EINTR)) {
		if (wait[0].revents)
			code = ctl_copy_out(fd);
		if (code == 0 && both_ways && wait[1].revents)
			code = ctl_copy_in(fd);
		/* The end of the input is not that of the output. */
		if (code == -ECANCELED && !isatty(STDIN_FILENO)) {
			both_ways = false;
			code = 0;
		}
	}
}

static int ctl_console(const char *path)
{
	struct ctl_answer answer = {0};
	struct termios before, raw;
	struct err err = {0};
	bool is_terminal = tcgetattr(STDIN_FILENO, &before) == 0;
	int fd = ctl_connect(path, &err);
	int status = CLI_FAILURE;

	if (fd < 0 || ctl_ask(fd, "GET", "/vmmctl/console", NULL) < 0 || ctl_read_head(fd, &answer) < 0) {
		fprintf(stderr, "vmmctl: %s: %s\n", path, err.message[0] ? err.message : "no answer");
	} else if (answer.status != 101) {
		status = ctl_report(path, &answer);
	} else {
		raw = before;
		cfmakeraw(&raw);
		if (is_terminal)
			tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
		fputs(answer.body, stdout);
		fflush(stdout);
		ctl_stream(fd, true);
		if (is_terminal)
			tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
		status = CLI_OK;
	}
	free(answer.text);
	if (fd >= 0)
		close(fd);
	return status;
}

/* --- commands */

/* The format with $N replaced: as JSON strings, or as they are. Owned; NULL without memory. */
static char *ctl_fill(const char *format, char **arguments, bool as_json)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (; *format; format++) {
		json_t *string;

		if (format[0] != '$') {
			fputc(*format, out);
			continue;
		}
		format++;
		string = json_string(arguments[*format - '1']);
		if (as_json && string)
			json_dumpf(string, out, JSON_ENCODE_ANY);
		else
			fputs(arguments[*format - '1'], out);
		json_decref(string);
	}
	fclose(out);
	return text;
}

static int ctl_run_request(int fd, const char *socket_path, const struct ctl_request *request,
			   char **arguments)
{
	char *path = ctl_fill(request->path, arguments, false);
	char *body = request->body ? ctl_fill(request->body, arguments, true) : NULL;
	bool is_stream = path && strcmp(path, "/vmmctl/events") == 0;
	struct ctl_answer answer = {0};
	int status = CLI_FAILURE;
	int code = path ? ctl_ask(fd, request->method, path, body) : -ENOMEM;

	if (code == 0)
		code = is_stream ? ctl_read_head(fd, &answer) : ctl_read_answer(fd, &answer);
	if (code < 0)
		fprintf(stderr, "vmmctl: %s: %s\n", socket_path, strerror(-code));
	else
		status = ctl_report(path, &answer);
	if (status == CLI_OK && is_stream) {
		fflush(stdout);
		ctl_stream(fd, false);
	}
	free(answer.text);
	free(path);
	free(body);
	return status;
}

static int ctl_run(const char *socket_path, const struct ctl_request *request, size_t count, char **arguments)
{
	struct err err = {0};
	int fd = ctl_connect(socket_path, &err);
	int status = CLI_OK;

	if (fd < 0) {
		fprintf(stderr, "vmmctl: %s\n", err.message);
		return CLI_FAILURE;
	}
	for (size_t i = 0; i < count && request[i].method && status == CLI_OK; i++)
		status = ctl_run_request(fd, socket_path, &request[i], arguments);
	close(fd);
	return status;
}

/* METHOD PATH [BODY], as they are. */
static int ctl_raw(const char *socket_path, int argc, char **argv)
{
	struct ctl_answer answer = {0};
	struct err err = {0};
	int fd = ctl_connect(socket_path, &err);
	int code = fd < 0 ? fd : ctl_ask(fd, argv[0], argv[1], argc > 2 ? argv[2] : NULL);
	int status = CLI_FAILURE;

	if (code == 0)
		code = ctl_read_answer(fd, &answer);
	if (code == 0)
		status = ctl_report(argv[1], &answer);
	else
		fprintf(stderr, "vmmctl: %s\n", err.message[0] ? err.message : strerror(-code));
	free(answer.text);
	if (fd >= 0)
		close(fd);
	return status;
}

static const struct ctl_command *ctl_find(const char *name, int arguments)
{
	for (size_t i = 0; i < sizeof(ctl_commands) / sizeof(ctl_commands[0]); i++) {
		if (strcmp(ctl_commands[i].name, name) == 0 && ctl_commands[i].arguments == arguments)
			return &ctl_commands[i];
	}
	return NULL;
}

int command_ctl(const struct cli_command *command, int argc, char **argv)
{
	const struct ctl_command *found;
	struct err err = {0};
	int status;

	if (argc < 1 || argv[0][0] == '-') {
		if (argc < 1)
			err_set(&err, -EINVAL, "a socket and a command are needed");
		else if (command_goes_on(command, argc, argv, &status))
			err_set(&err, -EINVAL, "a socket is needed first");
		else
			return status;
		return cli_usage_error(command, &err);
	}
	if (argc == 2 && strcmp(argv[1], "console") == 0)
		return ctl_console(argv[0]);
	if (argc >= 4 && argc <= 5 && strcmp(argv[1], "request") == 0)
		return ctl_raw(argv[0], argc - 2, argv + 2);
	found = argc > 1 ? ctl_find(argv[1], argc - 2) : NULL;
	if (found)
		return ctl_run(argv[0], found->request, 2, argv + 2);
	err_set(&err, -EINVAL, "%s%s",
		argc > 1 ? "no such command, or not so many arguments: " : "a command is needed",
		argc > 1 ? argv[1] : "");
	return cli_usage_error(command, &err);
}
