/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs as the jailed program and tries to get out, each attempt a real one. Prints `NAME: RESULT` for each,
 * RESULT being the errno's name where it was refused and ESCAPED where it was not. Arguments: the PID of a
 * neighbour, a host file, a TCP port of the host's loopback, a number of a descriptor that was open outside.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void report(const char *name, long result)
{
	printf("%s: %s\n", name, result < 0 ? strerrorname_np(errno) : "ESCAPED");
}

static void try_files(const char *path, int fd)
{
	char up[4096] = "";

	report("open-host-file", open(path, O_RDONLY));
	for (int i = 0; i < 20; i++)
		strcat(up, "../");
	strncat(up, path + 1, sizeof(up) - strlen(up) - 1);
	report("open-by-dots", open(up, O_RDONLY));
	report("list-proc", open("/proc/1/root", O_RDONLY | O_DIRECTORY));
	report("open-block-device", mknod("/dev/disk", S_IFBLK | 0600, makedev(8, 0)));
	report("keep-descriptor", fcntl(fd, F_GETFD));
	report("write-program", open("/escape", O_WRONLY | O_TRUNC));
}

static void try_root(void)
{
	mkdir("/hole", 0700);
	report("chroot-out", chroot("/hole"));
	report("mount", mount("none", "/hole", "tmpfs", 0, NULL));
	report("mount-proc", mount("proc", "/hole", "proc", 0, NULL));
	report("umount", umount2("/", MNT_DETACH));
	report("pivot-root", syscall(SYS_pivot_root, "/", "/hole"));
}

static void try_neighbour(pid_t pid)
{
	report("ptrace-neighbour", ptrace(PTRACE_ATTACH, pid, NULL, NULL));
	report("signal-neighbour", kill(pid, SIGTERM));
	report("renice-neighbour", setpriority(PRIO_PROCESS, (id_t)pid, 10));
}

static void try_network(uint16_t port)
{
	const struct sockaddr_in loopback = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	report("connect-host", connect(fd, (const struct sockaddr *)&loopback, sizeof(loopback)));
	report("raw-socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static void try_rights(void)
{
	struct rlimit limit = {1 << 20, 1 << 20};

	report("raise-rlimit", setrlimit(RLIMIT_NOFILE, &limit));
	report("setuid-root", setuid(0));
	report("setgid-root", setgid(0));
	report("load-module", syscall(SYS_init_module, "", 0, ""));
	report("set-hostname", sethostname("escaped", 7));
	report("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
	report("ambient-capability", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0));
	report("drop-no-new-privs", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	report("mount-namespace", unshare(CLONE_NEWNS));
	report("join-namespace", setns(open("/proc/1/ns/mnt", O_RDONLY), 0));
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	try_files(argv[2], atoi(argv[4]));
	try_root();
	try_neighbour((pid_t)atoi(argv[1]));
	try_network((uint16_t)atoi(argv[3]));
	try_rights();
	printf("pid: %d\n", (int)getpid());
	printf("environment: %s\n", environ[0] ? environ[0] : "empty");
	printf("done\n");
	return 0;
}
