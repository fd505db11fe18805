/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmmctl-fetch: puts Debian's cloud kernel and its modules into the cache from which `vmmctl run` takes its
 * default. A program of its own, so that the monitor carries no HTTP, no archives and no cryptography.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fetch/archive_file.h"
#include "fetch/debian.h"
#include "fetch/store.h"
#include "vmm/base/err.h"

#define FETCH_MIRROR   "https://deb.debian.org/debian"
#define FETCH_SUITE    "bookworm"
#define FETCH_KEYRING  "/usr/share/keyrings/debian-archive-keyring.gpg"
#define FETCH_REAL     "linux-image-"
#define FETCH_TREE_FDS 16

/* A flavour of the store and the package that leads to it. */
struct fetch_flavour {
	const char *name, *package;
};

static const struct fetch_flavour fetch_flavours[] = {
	{STORE_CLOUD, "linux-image-cloud-amd64"},
	{STORE_FULL, "linux-image-amd64"},
	{NULL, NULL},
};

struct fetch_options {
	const struct fetch_flavour *flavour;
	const char *mirror;
	const char *suite;
	bool quiet;
	bool update;
};

struct fetch_paths {
	char kernels[PATH_MAX]; /* ROOT/kernels */
	char work[PATH_MAX];    /* a folder of ours in it, removed at the end */
};

static void fetch_print_help(FILE *out)
{
	fputs("vmmctl-fetch [OPTION]... [cloud|full]\n\n"
	      "Downloads a kernel of Debian's and its modules into the cache "
	      "($XDG_CACHE_HOME/vmmctl/kernels) and prints\n"
	      "the folder: the one for virtual machines (cloud, the default) or the one for all machines "
	      "(full), which is\n"
	      "larger and has 9p for shared folders. A kernel that is there is kept.\n"
	      "What is downloaded is checked: the release file by its signature (gpgv, "
	      "debian-archive-keyring) or, without\n"
	      "those, by https; all else by SHA-256.\n\n"
	      "  --mirror URL   the Debian mirror (default " FETCH_MIRROR ")\n"
	      "  --suite NAME   the Debian release (default " FETCH_SUITE ")\n"
	      "  --update       takes a newer kernel where there is one\n"
	      "  --quiet        no progress\n"
	      "  --help         prints this help\n\n"
	      "Examples:\n\n"
	      "  vmmctl-fetch full                                 the kernel that `vmmctl run` uses for a "
	      "folder\n"
	      "  vmmctl-fetch --update                             a newer one\n"
	      "  vmmctl-fetch --mirror http://mirror.example/debian  from another mirror\n",
	      out);
}

/* A path that is cut names nothing: the call that takes it fails and says so. */
static void fetch_path(char path[PATH_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fetch_path(char path[PATH_MAX], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(path, PATH_MAX, format, arguments);
	va_end(arguments);
}

static int fetch_remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	return remove(path);
}

static void fetch_remove_tree(const char *path)
{
	nftw(path, fetch_remove_entry, FETCH_TREE_FDS, FTW_DEPTH | FTW_PHYS);
}

static int fetch_make_folders(const char *path, struct err *err)
{
	char part[PATH_MAX];

	fetch_path(part, "%s/", path);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return err_set_errno(err, -errno, "%s", part);
		*slash = '/';
	}
	return 0;
}

/* The one entry of folder/below whose name begins with prefix; "" when there is none. */
static void fetch_only_entry(const char *folder, const char *below, const char *prefix, char *path,
			     size_t size)
{
	char in[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	path[0] = '\0';
	fetch_path(in, "%s/%s", folder, below);
	dir = opendir(in);
	while (dir && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		if (snprintf(path, size, "%s/%s", in, entry->d_name) >= (int)size)
			path[0] = '\0';
	}
	if (dir)
		closedir(dir);
}

/* From the package's layout to the store's. */
static int fetch_arrange(const char *unpacked, const char *target, struct err *err)
{
	char kernel[PATH_MAX];
	char modules[PATH_MAX];
	char to[PATH_MAX];

	fetch_only_entry(unpacked, "boot", "vmlinuz-", kernel, sizeof(kernel));
	fetch_only_entry(unpacked, "lib/modules", "", modules, sizeof(modules));
	if (!modules[0])
		fetch_only_entry(unpacked, "usr/lib/modules", "", modules, sizeof(modules));
	if (!kernel[0] || !modules[0])
		return err_set(err, -EBADMSG, "the package holds no kernel with modules");
	if (mkdir(target, 0755) < 0)
		return err_set_errno(err, -errno, "%s", target);
	fetch_path(to, "%s/%s", target, STORE_KERNEL);
	if (rename(kernel, to) < 0)
		return err_set_errno(err, -errno, "%s", to);
	fetch_path(to, "%s/%s", target, STORE_MODULES);
	return rename(modules, to) == 0 ? 0 : err_set_errno(err, -errno, "%s", to);
}

static int fetch_point_to(const struct fetch_paths *paths, const char *flavour, const char *name,
			  struct err *err)
{
	char link[PATH_MAX];
	char current[PATH_MAX];

	fetch_path(link, "%s/link", paths->work);
	fetch_path(current, "%s/%s", paths->kernels, flavour);
	if (symlink(name, link) < 0 || rename(link, current) < 0)
		return err_set_errno(err, -errno, "%s", current);
	return 0;
}

static int fetch_unpack(const struct debian_archive *archive, const struct debian_package *package,
			const char *target, struct err *err)
{
	static const char *const wanted[] = {"boot/vmlinuz-", "lib/modules/", "usr/lib/modules/", NULL};
	char deb[PATH_MAX];
	char unpacked[PATH_MAX];
	char arranged[PATH_MAX];
	int code;

	fetch_path(deb, "%s/package.deb", archive->work);
	fetch_path(unpacked, "%s/unpacked", archive->work);
	fetch_path(arranged, "%s/arranged", archive->work);
	code = debian_download(archive, package, deb, err);
	if (code == 0)
		code = fetch_make_folders(unpacked, err);
	if (code == 0)
		code = archive_unpack_deb(deb, unpacked, wanted, err);
	if (code == 0)
		code = fetch_arrange(unpacked, arranged, err);
	if (code < 0)
		return code;
	return rename(arranged, target) == 0 ? 0 : err_set_errno(err, -errno, "%s", target);
}

static int fetch_install(const struct debian_archive *archive, const struct debian_package *package,
			 const struct fetch_paths *paths, const char *flavour, struct err *err)
{
	char target[PATH_MAX];
	int code = 0;

	fetch_path(target, "%s/%s_%s", paths->kernels, package->name, package->version);
	if (access(target, F_OK) < 0)
		code = fetch_unpack(archive, package, target, err);
	return code < 0 ? code : fetch_point_to(paths, flavour, strrchr(target, '/') + 1, err);
}

static int fetch_kernel(const struct fetch_options *options, const struct fetch_paths *paths, struct err *err)
{
	const struct debian_archive archive = {
		.mirror = options->mirror,
		.suite = options->suite,
		.arch = "amd64",
		.keyring = FETCH_KEYRING,
		.work = paths->work,
		.quiet = options->quiet,
	};
	struct debian_package package;
	char *index = debian_read_index(&archive, err);
	int code;

	if (!index)
		return err->code;
	code = debian_find_dependency(index, options->flavour->package, FETCH_REAL, &package, err);
	free(index);
	/* A name out of an index becomes a name in our folder: no way out of it. */
	if (code == 0 && (strchr(package.name, '/') || strchr(package.version, '/')))
		code = err_set(err, -EBADMSG, "the archive calls a package \"%s\" %s", package.name,
			       package.version);
	return code < 0 ? code : fetch_install(&archive, &package, paths, options->flavour->name, err);
}

/* One fetch at a time: the second finds what the first has fetched. */
static int fetch_locked(const struct fetch_options *options, struct fetch_paths *paths, struct err *err)
{
	char current[PATH_MAX];
	int code;

	fetch_path(current, "%s/%s/%s", paths->kernels, options->flavour->name, STORE_KERNEL);
	if (!options->update && access(current, R_OK) == 0)
		return 0;
	fetch_path(paths->work, "%s/.fetch", paths->kernels);
	fetch_remove_tree(paths->work); /* of one that was interrupted */
	if (mkdir(paths->work, 0700) < 0)
		return err_set_errno(err, -errno, "%s", paths->work);
	code = download_begin(err);
	if (code == 0) {
		code = fetch_kernel(options, paths, err);
		download_end();
	}
	fetch_remove_tree(paths->work);
	return code;
}

static int fetch_run(const struct fetch_options *options, struct err *err)
{
	struct fetch_paths paths;
	char lock[PATH_MAX];
	int code = store_path(paths.kernels, sizeof(paths.kernels), err);
	int fd;

	if (code == 0)
		code = fetch_make_folders(paths.kernels, err);
	if (code < 0)
		return code;
	fetch_path(lock, "%s/.lock", paths.kernels);
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		code = err_set_errno(err, -errno, "%s", lock);
	else
		code = fetch_locked(options, &paths, err);
	if (fd >= 0)
		close(fd);
	if (code == 0)
		printf("%s/%s\n", paths.kernels, options->flavour->name);
	return code;
}

static bool fetch_choose(struct fetch_options *options, const char *name)
{
	for (options->flavour = fetch_flavours; options->flavour->name; options->flavour++) {
		if (strcmp(options->flavour->name, name) == 0)
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"mirror", required_argument, NULL, 'm'}, {"suite", required_argument, NULL, 's'},
		{"update", no_argument, NULL, 'u'},       {"quiet", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
	};
	struct fetch_options options = {.mirror = FETCH_MIRROR, .suite = FETCH_SUITE};
	struct err err = {0};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		switch (option) {
		case 'm': options.mirror = optarg; break;
		case 's': options.suite = optarg; break;
		case 'u': options.update = true; break;
		case 'q': options.quiet = true; break;
		case 'h': fetch_print_help(stdout); return 0;
		default: return 2;
		}
	}
	if (argc - optind > 1 || !fetch_choose(&options, optind < argc ? argv[optind] : STORE_CLOUD)) {
		fprintf(stderr,
			"vmmctl-fetch: \"%s\" is no kernel: there are cloud and full; see vmmctl-fetch "
			"--help\n",
			argv[argc - 1]);
		return 2;
	}
	if (fetch_run(&options, &err) == 0)
		return 0;
	fprintf(stderr, "vmmctl-fetch: %s\n", err.message);
	return 1;
}
