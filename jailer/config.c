/* SPDX-License-Identifier: Apache-2.0 */
/* The jailer's command line: Firecracker's flags, and errors that name them. Repeated flags are errors, but
 * for those that are lists. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jailer/jail.h"
#include "vmm/base/err.h"

enum config_flag {
	FLAG_ID = 256,
	FLAG_EXEC_FILE,
	FLAG_UID,
	FLAG_GID,
	FLAG_CHROOT_BASE,
	FLAG_NETNS,
	FLAG_DAEMONIZE,
	FLAG_NEW_PID_NS,
	FLAG_CGROUP,
	FLAG_CGROUP_VERSION,
	FLAG_PARENT_CGROUP,
	FLAG_RESOURCE_LIMIT,
	FLAG_VERSION,
	FLAG_HELP,
};

static const struct option config_flags[] = {
	{"id", required_argument, NULL, FLAG_ID},
	{"exec-file", required_argument, NULL, FLAG_EXEC_FILE},
	{"uid", required_argument, NULL, FLAG_UID},
	{"gid", required_argument, NULL, FLAG_GID},
	{"chroot-base-dir", required_argument, NULL, FLAG_CHROOT_BASE},
	{"netns", required_argument, NULL, FLAG_NETNS},
	{"daemonize", no_argument, NULL, FLAG_DAEMONIZE},
	{"new-pid-ns", no_argument, NULL, FLAG_NEW_PID_NS},
	{"cgroup", required_argument, NULL, FLAG_CGROUP},
	{"cgroup-version", required_argument, NULL, FLAG_CGROUP_VERSION},
	{"parent-cgroup", required_argument, NULL, FLAG_PARENT_CGROUP},
	{"resource-limit", required_argument, NULL, FLAG_RESOURCE_LIMIT},
	{"version", no_argument, NULL, FLAG_VERSION},
	{"help", no_argument, NULL, FLAG_HELP},
	{NULL, 0, NULL, 0},
};

static void config_print_help(void)
{
	fputs("vmm-jailer --id ID --exec-file FILE --uid UID --gid GID [OPTION]... [-- ARGUMENT...]\n\n"
	      "Puts a virtual machine monitor into a jail and runs it there: a folder that becomes its root, "
	      "with\n"
	      "nothing but the program and three devices in it, cgroups, limits, namespaces, an ordinary "
	      "user, no\n"
	      "capabilities. What follows `--` is the program's own.\n\n"
	      "  --id ID                   names the jail: up to 64 letters, digits and '-'\n"
	      "  --exec-file FILE          the program, statically linked; it is copied into the jail\n"
	      "  --uid UID, --gid GID      whom it runs as\n"
	      "  --chroot-base-dir DIR     where jails are (default /srv/jailer)\n"
	      "  --netns PATH              a network namespace to join\n"
	      "  --daemonize               leaves the terminal\n"
	      "  --new-pid-ns              a PID namespace of its own; its PID is in NAME.pid in the jail\n"
	      "  --cgroup FILE=VALUE       as memory.max=512M or cpuset.cpus=0-1; may be repeated\n"
	      "  --cgroup-version 1|2      (default 1)\n"
	      "  --parent-cgroup PATH      below which the jail's group is (default: the program's name)\n"
	      "  --resource-limit LIMIT    fsize=BYTES or no-file=COUNT (default no-file=2048); may be "
	      "repeated\n"
	      "  --version                 prints the version\n"
	      "  --help                    prints this help\n\n"
	      "Example:\n\n"
	      "  vmm-jailer --id vm1 --exec-file /usr/bin/vmmctl-static --uid 10001 --gid 10001 \\\n"
	      "      --cgroup memory.limit_in_bytes=600000000 -- serve --api-sock /run/vm.socket\n\n"
	      "The socket is then /srv/jailer/vmmctl-static/vm1/root/run/vm.socket.\n",
	      stdout);
}

static int config_number(const char *flag, const char *text, uint64_t max, uint64_t *value, struct err *err)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || *value > max)
		return err_set(err, -EINVAL, "--%s: \"%s\" is no number from 0 to %llu", flag, text,
			       (unsigned long long)max);
	return 0;
}

static int config_check_id(const char *id, struct err *err)
{
	size_t len = strlen(id);

	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)id[i]) && id[i] != '-')
			return err_set(err, -EINVAL,
				       "--id: \"%s\" has characters other than letters, digits and '-'", id);
	}
	if (len < 1 || len > JAIL_ID_MAX)
		return err_set(err, -EINVAL, "--id: 1 to %d characters are possible, not %zu", JAIL_ID_MAX,
			       len);
	return 0;
}

/* FILE=VALUE; a file lies in the group, whatever its name says. */
static int config_add_cgroup(struct jail_config *config, char *text, struct err *err)
{
	char *value = strchr(text, '=');

	if (!value || value == text || !value[1])
		return err_set(err, -EINVAL, "--cgroup: \"%s\" is not FILE=VALUE", text);
	*value++ = '\0';
	if (strchr(text, '/') || strstr(text, "..") || !strchr(text, '.'))
		return err_set(err, -EINVAL, "--cgroup: \"%s\" is no file of a cgroup, as cpu.shares is",
			       text);
	if (config->cgroup_count == JAIL_CGROUPS_MAX)
		return err_set(err, -EINVAL, "--cgroup: more than %d", JAIL_CGROUPS_MAX);
	config->cgroup[config->cgroup_count++] = (struct jail_cgroup){text, value};
	return 0;
}

static int config_set_limit(struct jail_config *config, const char *text, struct err *err)
{
	if (strncmp(text, "fsize=", 6) == 0)
		return config_number("resource-limit", text + 6, INT64_MAX, &config->limit_fsize, err);
	if (strncmp(text, "no-file=", 8) == 0)
		return config_number("resource-limit", text + 8, INT32_MAX, &config->limit_no_file, err);
	return err_set(err, -EINVAL, "--resource-limit: \"%s\" is neither fsize=BYTES nor no-file=COUNT",
		       text);
}

static int config_check_parent(const char *path, struct err *err)
{
	if (path[0] == '/' || strstr(path, "..") || !path[0])
		return err_set(err, -EINVAL, "--parent-cgroup: \"%s\" is no path below the cgroup's mount",
			       path);
	return 0;
}

static int config_set(struct jail_config *config, int flag, char *text, struct err *err)
{
	uint64_t number = 0;
	int code = 0;

	switch (flag) {
	case FLAG_ID: config->id = text; return config_check_id(text, err);
	case FLAG_EXEC_FILE:
		if (!realpath(text, config->exec_file))
			return err_set_errno(err, -errno, "--exec-file: %s", text);
		config->exec_name = strrchr(config->exec_file, '/') + 1;
		return 0;
	case FLAG_UID:
		code = config_number("uid", text, UINT32_MAX - 1, &number, err);
		config->uid = (uid_t)number;
		return code;
	case FLAG_GID:
		code = config_number("gid", text, UINT32_MAX - 1, &number, err);
		config->gid = (gid_t)number;
		return code;
	case FLAG_CHROOT_BASE:
		if (!realpath(text, config->chroot_base))
			return err_set_errno(err, -errno, "--chroot-base-dir: %s", text);
		return 0;
	case FLAG_NETNS: config->netns = text; return 0;
	case FLAG_DAEMONIZE: config->daemonize = true; return 0;
	case FLAG_NEW_PID_NS: config->new_pid_ns = true; return 0;
	case FLAG_CGROUP: return config_add_cgroup(config, text, err);
	case FLAG_CGROUP_VERSION:
		config->cgroup_version = text[0] == '2' ? 2 : 1;
		if (strcmp(text, "1") != 0 && strcmp(text, "2") != 0)
			return err_set(err, -EINVAL, "--cgroup-version: \"%s\" is neither 1 nor 2", text);
		return 0;
	case FLAG_PARENT_CGROUP: config->parent_cgroup = text; return config_check_parent(text, err);
	case FLAG_RESOURCE_LIMIT: return config_set_limit(config, text, err);
	default: return err_set(err, -EINVAL, "an argument that wasn't expected; --help has them all");
	}
}

static int config_check(struct jail_config *config, const bool *seen, struct err *err)
{
	static const enum config_flag required[] = {FLAG_ID, FLAG_EXEC_FILE, FLAG_UID, FLAG_GID};
	struct stat status;

	for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
		if (!seen[required[i] - FLAG_ID])
			return err_set(err, -EINVAL, "--%s: is needed",
				       config_flags[required[i] - FLAG_ID].name);
	}
	if (stat(config->exec_file, &status) < 0 || !S_ISREG(status.st_mode))
		return err_set(err, -EINVAL, "--exec-file: %s is no file", config->exec_file);
	if (!config->chroot_base[0])
		strcpy(config->chroot_base, "/srv/jailer");
	if (!config->parent_cgroup)
		config->parent_cgroup = config->exec_name;
	return 0;
}

static bool config_may_repeat(int flag)
{
	return flag == FLAG_CGROUP || flag == FLAG_RESOURCE_LIMIT;
}

int jail_config_parse(struct jail_config *config, int argc, char **argv, struct err *err)
{
	bool seen[FLAG_HELP - FLAG_ID + 1] = {false};
	int flag, code = 0;

	*config = (struct jail_config){
		.cgroup_version = 1, .limit_fsize = UINT64_MAX, .limit_no_file = JAIL_NO_FILE};
	opterr = 0;
	while (code == 0 && (flag = getopt_long(argc, argv, "+:", config_flags, NULL)) != -1) {
		if (flag == FLAG_HELP || flag == FLAG_VERSION) {
			if (flag == FLAG_HELP)
				config_print_help();
			else
				puts("Jailer v" VMMCTL_VERSION);
			return JAIL_CONFIG_PRINTED;
		}
		if (flag == ':' || flag == '?')
			return err_set(err, -EINVAL,
				       flag == ':' ? "%s: needs a value"
						   : "%s: no such argument; --help has them all",
				       argv[optind - 1]);
		if (seen[flag - FLAG_ID] && !config_may_repeat(flag))
			return err_set(err, -EINVAL, "--%s: was given more than once",
				       config_flags[flag - FLAG_ID].name);
		seen[flag - FLAG_ID] = true;
		code = config_set(config, flag, optarg, err);
	}
	if (code < 0)
		return code;
	if (optind < argc && strcmp(argv[optind - 1], "--") != 0)
		return err_set(err, -EINVAL, "%s: the program's own arguments follow `--`", argv[optind]);
	config->arguments = argv + optind;
	code = config_check(config, seen, err);
	return code < 0 ? code : JAIL_CONFIG_RUN;
}
