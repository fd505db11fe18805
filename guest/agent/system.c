/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's system around the command: modules, mounts, network. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest/agent/agent.h"

#define SYSTEM_MODULES     "/modules" /* NNN-name.ko, to be loaded in the order of the numbers */
#define SYSTEM_MODULES_MAX 999
#define SYSTEM_ROOT        "/newroot"
#define SYSTEM_DEVICE_MS   10000 /* how long a root device may take to appear */
#define SYSTEM_9P_OPTIONS  "trans=virtio,version=9p2000.L,msize=512000,cache=none,access=any"

struct system_folder {
	const char *type, *path, *options;
	unsigned long flags;
};

static const struct system_folder system_folders[] = {
	{"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
	{"devtmpfs", "/dev", "mode=0755", MS_NOSUID},
	{"devpts", "/dev/pts", "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
	{"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV},
	{"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
};

/* What udev would make, and scripts write to. */
static void system_link_descriptors(const char *root)
{
	static const char *const links[][2] = {
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
	};
	char path[64];

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", root, links[i][1]);
		if (symlink(links[i][0], path) < 0 && errno != EEXIST)
			fprintf(stderr, "vmmctl-agent: %s: %s\n", path, strerror(errno));
	}
}

void agent_mount_kernel_folders(const char *root)
{
	char path[64];

	for (size_t i = 0; i < sizeof(system_folders) / sizeof(system_folders[0]); i++) {
		const struct system_folder *folder = &system_folders[i];

		snprintf(path, sizeof(path), "%s%s", root, folder->path);
		/* A root without such a folder, and one that cannot have it, does without. */
		mkdir(path, 0755);
		if (mount(folder->type, path, folder->type, folder->flags, folder->options) < 0 &&
		    errno != ENOENT)
			fprintf(stderr, "vmmctl-agent: %s: %s\n", path, strerror(errno));
	}
	system_link_descriptors(root);
}

static void system_load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
		fprintf(stderr, "vmmctl-agent: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

void agent_load_modules(void)
{
	char path[64];

	for (unsigned i = 0; i < SYSTEM_MODULES_MAX; i++) {
		snprintf(path, sizeof(path), "%s/%03u.ko", SYSTEM_MODULES, i);
		if (access(path, F_OK) < 0)
			return;
		system_load_module(path);
	}
}

static void system_wait_for(const char *path)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	for (unsigned ms = 0; access(path, F_OK) < 0 && ms < SYSTEM_DEVICE_MS; ms += 5)
		nanosleep(&pause, NULL);
}

static int system_mount(const struct agent_mount *wish, const char *target, bool is_read_only)
{
	unsigned long flags = is_read_only ? MS_RDONLY : 0;

	if (!wish->kind || strcmp(wish->kind, "9p") == 0)
		return mount(wish->source, target, "9p", flags, SYSTEM_9P_OPTIONS);
	system_wait_for(wish->source);
	return mount(wish->source, target, wish->kind, flags, NULL);
}

/* Changes go to a tmpfs above the root. */
static int system_mount_overlay(const struct agent_mount *wish, const char *target)
{
	mkdir("/lower", 0755);
	mkdir("/changes", 0755);
	if (system_mount(wish, "/lower", true) < 0 || mount("tmpfs", "/changes", "tmpfs", 0, "mode=0755") < 0)
		return -1;
	mkdir("/changes/upper", 0755);
	mkdir("/changes/work", 0755);
	return mount("overlay", target, "overlay", 0,
		     "lowerdir=/lower,upperdir=/changes/upper,workdir=/changes/work");
}

static int system_make_path(const char *path)
{
	char part[4096];

	if (snprintf(part, sizeof(part), "%s/", path) >= (int)sizeof(part))
		return -1;
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(part, 0755);
		*slash = '/';
	}
	return access(path, F_OK);
}

static void system_mount_shares(struct agent *agent)
{
	for (size_t i = 0; i < agent->task.mount_count; i++) {
		const struct agent_mount *share = &agent->task.mount[i];

		if (system_make_path(share->path) < 0)
			agent_fail(agent, 125,
				   "%s: the guest's root has no such folder, and it cannot be made: %s",
				   share->path, strerror(errno));
		if (system_mount(share, share->path, strcmp(share->mode, "ro") == 0) < 0)
			agent_fail(agent, 125, "share %s at %s: %s", share->source, share->path,
				   strerror(errno));
	}
}

void agent_mount_root(struct agent *agent)
{
	const struct agent_mount *root = &agent->task.root;
	int code;

	mkdir(SYSTEM_ROOT, 0755);
	code = strcmp(root->mode, "overlay") == 0
		       ? system_mount_overlay(root, SYSTEM_ROOT)
		       : system_mount(root, SYSTEM_ROOT, strcmp(root->mode, "ro") == 0);
	if (code < 0)
		agent_fail(agent, 125, "root file system (%s %s, %s): %s", root->kind, root->source,
			   root->mode, strerror(errno));
	agent_mount_kernel_folders(SYSTEM_ROOT);
	/* As switch_root does: a chroot alone would leave the initramfs at /. */
	if (chdir(SYSTEM_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		agent_fail(agent, 125, "root file system: %s", strerror(errno));
	system_mount_shares(agent);
	if (agent->task.hostname)
		sethostname(agent->task.hostname, strlen(agent->task.hostname));
}

static int system_interface_up(int fd, const char *name, const char *address, unsigned prefix)
{
	struct ifreq request = {0};
	struct sockaddr_in in = {.sin_family = AF_INET};
	int code = 0;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (address) {
		if (inet_pton(AF_INET, address, &in.sin_addr) != 1)
			return -1;
		memcpy(&request.ifr_addr, &in, sizeof(in));
		code |= ioctl(fd, SIOCSIFADDR, &request);
		in.sin_addr.s_addr = htonl(prefix ? ~0u << (32 - prefix) : 0);
		memcpy(&request.ifr_netmask, &in, sizeof(in));
		code |= ioctl(fd, SIOCSIFNETMASK, &request);
	}
	code |= ioctl(fd, SIOCGIFFLAGS, &request);
	request.ifr_flags |= IFF_UP | IFF_RUNNING;
	code |= ioctl(fd, SIOCSIFFLAGS, &request);
	return code;
}

static int system_default_route(int fd, const char *gateway)
{
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
	struct sockaddr_in in = {.sin_family = AF_INET};

	memcpy(&route.rt_dst, &in, sizeof(in));
	memcpy(&route.rt_genmask, &in, sizeof(in));
	if (inet_pton(AF_INET, gateway, &in.sin_addr) != 1)
		return -1;
	memcpy(&route.rt_gateway, &in, sizeof(in));
	return ioctl(fd, SIOCADDRT, &route);
}

/*
 * The name server, without changing the root: a file in /run, mounted over /etc/resolv.conf. Where that is a
 * link into /run (systemd-resolved), the link's target is made instead.
 */
static void system_set_nameserver(const char *nameserver)
{
	char target[256];
	ssize_t len = readlink("/etc/resolv.conf", target, sizeof(target) - 1);
	const char *path = "/run/resolv.conf";
	FILE *file;

	if (len > 0) {
		char *run;
		char *name;

		target[len] = '\0';
		run = strstr(target, "/run/");
		name = run ? strrchr(run, '/') : NULL;
		if (name) {
			*name = '\0';
			system_make_path(run);
			*name = '/';
			path = run;
		}
	}
	file = fopen(path, "we");
	if (!file)
		return;
	fprintf(file, "nameserver %s\n", nameserver);
	fclose(file);
	if (len > 0)
		return;
	close(open("/etc/resolv.conf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	if (mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) < 0)
		fprintf(stderr, "vmmctl-agent: /etc/resolv.conf: %s\n", strerror(errno));
}

void agent_set_up_network(struct agent *agent)
{
	const struct agent_task *task = &agent->task;
	char address[64];
	unsigned prefix = 24;
	char *slash;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	system_interface_up(fd, "lo", "127.0.0.1", 8);
	if (task->address) {
		snprintf(address, sizeof(address), "%s", task->address);
		slash = strchr(address, '/');
		if (slash) {
			*slash = '\0';
			prefix = (unsigned)atoi(slash + 1);
		}
		system_wait_for("/sys/class/net/eth0");
		if (prefix > 32 || system_interface_up(fd, "eth0", address, prefix) < 0 ||
		    system_default_route(fd, task->gateway) < 0)
			agent_fail(agent, 125, "network interface eth0: %s", strerror(errno));
		system_set_nameserver(task->nameserver);
	}
	close(fd);
}
