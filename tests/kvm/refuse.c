/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a command on a host whose /dev/kvm cannot be used, for the tests of what vmmctl says of it:
 *
 *     refuse HOW COMMAND [ARGUMENT...]
 *
 *     missing      there is no node                     (needs root, or namespaces of one's own)
 *     empty        a node with no driver behind it      (needs root)
 *     forbidden    a node that this user may not open   (needs root; the command runs as nobody)
 *     closed       open() of the node fails with EPERM, as under a device control group or seccomp
 *     deaf         every KVM ioctl fails with EPERM, as under seccomp
 *     version:N    KVM_GET_API_VERSION gives N
 *     lacks:N      KVM_CHECK_EXTENSION gives 0 for N
 *     slow:MS      KVM_RUN takes MS milliseconds longer
 *
 * The latter ones answer in the kernel's place, by seccomp's user notification (seccomp_unotify(2)), so the
 * command may be static. Status 77: this host does not let it be arranged; else the command's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define KVM_DEVICE      "/dev/kvm"
#define CANNOT_ARRANGE  77
#define NOBODY          65534
#define MISC_MAJOR      10
#define KVM_MINOR       232
#define MISC_MINOR_FREE 254 /* 240-254 are never registered by number */

static void give_up(const char *what)
{
	fprintf(stderr, "refuse: %s: %s\n", what, strerror(errno));
	exit(CANNOT_ARRANGE);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		give_up(path);
	close(fd);
}

/* Root has a mount namespace for the asking; others become root of a user namespace first. */
static void own_mounts(void)
{
	unsigned uid = getuid(), gid = getgid();
	char text[32];

	if (unshare(CLONE_NEWNS) == 0)
		return;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		give_up("unshare");
	write_text("/proc/self/setgroups", "deny");
	snprintf(text, sizeof(text), "0 %u 1", uid);
	write_text("/proc/self/uid_map", text);
	snprintf(text, sizeof(text), "0 %u 1", gid);
	write_text("/proc/self/gid_map", text);
}

/* A /dev of one's own, with nothing in it but null. */
static void cover_dev(void)
{
	char path[32];
	int null;

	own_mounts();
	null = open("/dev/null", O_PATH | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", null);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("dev", "/dev", "tmpfs", 0, "mode=0755") < 0)
		give_up("mount");
	if (mknod("/dev/null", S_IFREG | 0600, 0) < 0 || mount(path, "/dev/null", NULL, MS_BIND, NULL) < 0)
		give_up("/dev/null");
	close(null);
}

static void make_node(mode_t mode, unsigned minor)
{
	cover_dev();
	if (mknod(KVM_DEVICE, S_IFCHR | mode, makedev(MISC_MAJOR, minor)) < 0)
		give_up("mknod");
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
		give_up("setuid");
}

enum subject { OPENING, IOCTLS, VERSION, EXTENSION, RUNNING };

struct refusal {
	enum subject subject;
	unsigned long number;
};

/* Hands over every openat or ioctl; what is not the subject goes on in the kernel. */
static int filter_install(bool of_openat)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, of_openat ? SYS_openat : SYS_ioctl, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		give_up("no_new_privs");
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static void send_descriptor(int socket, int fd)
{
	char byte = 0;
	struct iovec vector = {&byte, 1};
	union control control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
					    .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS}};
	struct msghdr message = {.msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	if (sendmsg(socket, &message, 0) < 0)
		give_up("sendmsg");
}

static int receive_descriptor(int socket)
{
	char byte;
	struct iovec vector = {&byte, 1};
	union control control;
	struct msghdr message = {.msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	int fd;

	if (recvmsg(socket, &message, 0) <= 0)
		return -1;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

static bool is_kvm_path(pid_t pid, uint64_t address)
{
	char path[32], text[sizeof(KVM_DEVICE)] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (pread(fd, text, sizeof(text), (off_t)address) < 0)
		text[0] = '\0';
	close(fd);
	return memcmp(text, KVM_DEVICE, sizeof(text)) == 0;
}

/* The answer: `error`, `val`, or by the flag that the kernel goes on with the call. */
static void answer(const struct refusal *refusal, const struct seccomp_notif *call,
		   struct seccomp_notif_resp *reply)
{
	uint32_t command = (uint32_t)call->data.args[1];

	reply->id = call->id;
	reply->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	switch (refusal->subject) {
	case OPENING: reply->error = is_kvm_path((pid_t)call->pid, call->data.args[1]) ? -EPERM : 0; break;
	case IOCTLS: reply->error = _IOC_TYPE(command) == KVMIO ? -EPERM : 0; break;
	case VERSION:
		if (command == KVM_GET_API_VERSION) {
			reply->val = (int64_t)refusal->number;
			reply->flags = 0;
		}
		break;
	case EXTENSION:
		if (command == KVM_CHECK_EXTENSION && call->data.args[2] == refusal->number)
			reply->flags = 0;
		break;
	case RUNNING:
		if (command == KVM_RUN)
			usleep((useconds_t)refusal->number * 1000);
		break;
	}
	if (reply->error)
		reply->flags = 0;
}

/* Until the child has ended: a listener's own hang-up comes with some kernels only when the child is waited
 * for. */
static void serve(const struct refusal *refusal, int listener, pid_t child)
{
	struct pollfd poll_set[] = {{.fd = listener, .events = POLLIN},
				    {.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN}};

	while (poll(poll_set, 2, -1) >= 0 && !poll_set[1].revents) {
		struct seccomp_notif call = {0};
		struct seccomp_notif_resp reply = {0};

		if (!(poll_set[0].revents & POLLIN) || ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
			continue;
		answer(refusal, &call, &reply);
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
	}
}

static int run_watched(const struct refusal *refusal, char **command)
{
	int sockets[2], status = 0, listener;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		give_up("socketpair");
	child = fork();
	if (child == 0) {
		listener = filter_install(refusal->subject == OPENING);
		if (listener < 0)
			give_up("seccomp");
		send_descriptor(sockets[1], listener);
		close(listener);
		execvp(command[0], command);
		give_up(command[0]);
	}
	close(sockets[1]);
	listener = receive_descriptor(sockets[0]);
	if (listener >= 0)
		serve(refusal, listener, child);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		give_up("fork");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The rows that need an answerer; false for the others. */
static bool refusal_parse(const char *how, struct refusal *refusal)
{
	static const struct {
		const char *name;
		enum subject subject;
	} rows[] = {{"closed", OPENING},
		    {"deaf", IOCTLS},
		    {"version:", VERSION},
		    {"lacks:", EXTENSION},
		    {"slow:", RUNNING}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].name);

		if (strncmp(how, rows[i].name, len) != 0)
			continue;
		*refusal = (struct refusal){rows[i].subject, strtoul(how + len, NULL, 0)};
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct refusal refusal;

	if (argc < 3) {
		fprintf(stderr, "usage: refuse HOW COMMAND [ARGUMENT...]\n");
		return 2;
	}
	if (refusal_parse(argv[1], &refusal))
		return run_watched(&refusal, argv + 2);
	if (strcmp(argv[1], "missing") == 0) {
		cover_dev();
	} else if (strcmp(argv[1], "empty") == 0) {
		make_node(0666, MISC_MINOR_FREE);
	} else if (strcmp(argv[1], "forbidden") == 0) {
		make_node(0600, KVM_MINOR);
		become_nobody();
	} else {
		fprintf(stderr, "refuse: no way \"%s\"\n", argv[1]);
		return 2;
	}
	execvp(argv[2], argv + 2);
	give_up(argv[2]);
}
