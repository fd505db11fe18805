/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways out of a shared folder, each tried: links, "..", paths in names, renames on the host between one
 * message and the next, device nodes, hard links. What lies beside the folder must be as it was.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/unit/p9_client.h"
#include "tests/unit/p9_folder.h"

static void host_path(const struct p9_folder *folder, const char *path, char name[256])
{
	snprintf(name, 256, "%s/%s", folder->share, path);
}

static void host_symlink(const struct p9_folder *folder, const char *target, const char *path)
{
	char name[256];

	host_path(folder, path, name);
	assert_int_equal(symlink(target, name), 0);
}

/* The host's own doing: paths below the top. */
static void host_rename(const struct p9_folder *folder, const char *from, const char *to)
{
	char from_name[256], to_name[256];

	snprintf(from_name, sizeof(from_name), "%s/%s", folder->top, from);
	snprintf(to_name, sizeof(to_name), "%s/%s", folder->top, to);
	assert_int_equal(rename(from_name, to_name), 0);
}

static bool host_exists(const struct p9_folder *folder, const char *path)
{
	char name[256];

	snprintf(name, sizeof(name), "%s/%s", folder->top, path);
	return access(name, F_OK) == 0;
}

static void test_dot_dot(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	uint64_t root, other;

	p9_client_start(client);
	assert_int_equal(p9_rpc(client, P9_TWALK, "ddws", 0, 1, 1u, "."), 0);
	client->body.at += 2 + 5;
	root = p9_get_u64(&client->body);
	assert_int_equal(p9_rpc(client, P9_TWALK, "ddwsssss", 0, 2, 5u, "..", "..", "sub", "..", ".."), 0);
	client->body.at += 2 + 4 * P9_QID_SIZE + 5;
	other = p9_get_u64(&client->body);
	assert_true(root == other);
	assert_int_equal(p9_client_walk(client, 0, 3, "../outside"), -ENOENT);
	assert_int_equal(p9_client_walk(client, 0, 3, "sub/../../outside/secret"), -ENOENT);
	assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 0, "..", 0755u, 0), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 1, "..", O_RDONLY, 0755u, 0), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "sub", 0, ".."), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "..", 0, "sub2"), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TUNLINKAT, "dsd", 0, "..", 0x200u), -EINVAL);
	p9_client_close(client);
}

static void test_paths_in_names(void **state)
{
	static const char *const names[] = {"../outside/secret", "sub/file", "/etc/passwd", "/", "a/", ""};
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	char long_name[300];

	p9_client_start(client);
	assert_int_equal(p9_client_walk(client, 0, 9, "sub/file"), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *name = names[i];

		assert_int_equal(p9_rpc(client, P9_TWALK, "ddws", 0, 1, 1u, name), -ENOENT);
		assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 0, name, O_RDWR, 0644u, 0), -EINVAL);
		assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 0, name, 0755u, 0), -EINVAL);
		assert_int_equal(p9_rpc(client, P9_TMKNOD, "dsdddd", 0, name, S_IFREG, 0, 0, 0), -EINVAL);
		assert_int_equal(p9_rpc(client, P9_TSYMLINK, "dssd", 0, name, "x", 0), -EINVAL);
		assert_int_equal(p9_rpc(client, P9_TLINK, "dds", 0, 9, name), -EINVAL);
		assert_int_equal(p9_rpc(client, P9_TRENAME, "dds", 9, 0, name), -EINVAL);
		assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, name, 0, "x"), -EINVAL);
		assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "sub", 0, name), -EINVAL);
		assert_int_equal(p9_rpc(client, P9_TUNLINKAT, "dsd", 0, name, 0), -EINVAL);
	}
	memset(long_name, 'a', sizeof(long_name));
	long_name[256] = '\0';
	assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 0, long_name, 0755u, 0), -ENAMETOOLONG);
	/* a NUL would end the name early for the host */
	p9_client_write(client, P9_TMKDIR, "dsdd", 0, "abc", 0755u, 0);
	client->request[14] = '\0';
	assert_int_equal(p9_client_send(client), -EINVAL);
	folder_expect_untouched(folder);
	p9_client_close(client);
}

/* Links that lie there: neither walked through nor opened nor changed behind. */
static void test_symlinks(void **state)
{
	static const char *const links[] = {"absolute", "relative", "to-folder"};
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	char target[128];

	snprintf(target, sizeof(target), "%s/secret", folder->outside);
	host_symlink(folder, target, "absolute");
	host_symlink(folder, "../outside/secret", "relative");
	host_symlink(folder, folder->outside, "to-folder");
	p9_client_start(client);
	for (uint32_t i = 0; i < 3; i++) {
		const uint32_t fid = 10 + i;

		assert_int_equal(p9_client_walk(client, 0, fid, links[i]), 0);
		assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", fid, O_RDONLY), -ELOOP);
		assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", fid, O_RDWR), -ELOOP);
		assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", fid, "x", O_RDWR, 0644u, 0), -ENOTDIR);
		assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", fid, "x", 0755u, 0), -ENOTDIR);
		assert_int_equal(p9_rpc(client, P9_TUNLINKAT, "dsd", fid, "secret", 0), -ENOTDIR);
		assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "sub", fid, "x"), -ENOTDIR);
		assert_int_equal(p9_rpc(client, P9_TSETATTR,
					"ddddd"
					"qqqqq",
					fid, 8u, 0, 0, 0, (uint64_t)0, (uint64_t)0, (uint64_t)0, (uint64_t)0,
					(uint64_t)0),
				 -ELOOP);
		assert_int_not_equal(p9_rpc(client, P9_TSETATTR,
					    "ddddd"
					    "qqqqq",
					    fid, 1u, 0777u, 0, 0, (uint64_t)0, (uint64_t)0, (uint64_t)0,
					    (uint64_t)0, (uint64_t)0),
				     0);
		assert_int_equal(p9_rpc(client, P9_TXATTRWALK, "dds", fid, 50u, "user.x"), -ENODATA);
		/* a new file of the link's name would be made behind it */
		assert_int_equal(p9_client_walk(client, 0, 20, ""), 0);
		assert_int_equal(
			p9_rpc(client, P9_TLCREATE, "dsddd", 20, links[i], O_RDWR | O_TRUNC, 0644u, 0),
			-ELOOP);
		assert_int_equal(p9_rpc(client, P9_TCLUNK, "d", 20), 0);
		/* a hard link is one to the link itself */
		assert_int_equal(p9_rpc(client, P9_TLINK, "dds", 0, fid,
					i == 0   ? "h0"
					: i == 1 ? "h1"
						 : "h2"),
				 0);
	}
	assert_int_equal(p9_client_walk(client, 0, 30, "to-folder/secret"), -ENOENT);
	assert_int_equal(p9_client_walk(client, 12, 30, "secret"), -ENOTDIR);
	assert_int_equal(p9_client_walk(client, 0, 31, "h0"), 0);
	assert_int_equal(p9_rpc(client, P9_TREADLINK, "d", 31), 0);
	folder_expect_untouched(folder);
	p9_client_close(client);
}

/* The guest's links point where they like and lead nowhere for us. */
static void test_symlinks_made_by_the_guest(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);

	p9_client_start(client);
	assert_int_equal(p9_rpc(client, P9_TSYMLINK, "dssd", 0, "out", folder->outside, 0), 0);
	assert_int_equal(p9_rpc(client, P9_TSYMLINK, "dssd", 0, "self", "/proc/self/root", 0), 0);
	assert_int_equal(p9_client_walk(client, 0, 1, "out/secret"), -ENOENT);
	assert_int_equal(p9_client_walk(client, 0, 1, "self/etc"), -ENOENT);
	/* A folder under a fid becomes a link: what is asked of the fid must not follow it. */
	assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 0, "swap", 0755u, 0), 0);
	assert_int_equal(p9_client_walk(client, 0, 2, "swap"), 0);
	assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "swap", 0, "swapped"), 0);
	assert_int_equal(p9_rpc(client, P9_TRENAMEAT, "dsds", 0, "out", 0, "swap"), 0);
	assert_int_equal(p9_client_walk(client, 0, 3, "swap"), 0);
	assert_int_equal(p9_client_walk(client, 3, 4, "secret"), -ENOTDIR);
	assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 3, "x", O_RDWR, 0644u, 0), -ENOTDIR);
	assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 2, "x", O_RDWR, 0644u, 0), 0);
	assert_true(host_exists(folder, "share/swapped/x"));
	folder_expect_untouched(folder);
	p9_client_close(client);
}

/* Another process of the host, or another guest with the same folder, swaps things between two messages. */
static void test_host_swaps_a_folder_for_a_link(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	int code;

	p9_client_start(client);
	assert_int_equal(p9_client_walk(client, 0, 1, "sub"), 0);
	assert_int_equal(p9_client_walk(client, 0, 2, "sub/file"), 0);
	host_rename(folder, "share/sub", "share/kept");
	host_symlink(folder, "../outside", "sub");
	folder_write(folder, "kept/secret", "x");
	code = p9_rpc(client, P9_TLCREATE, "dsddd", 1, "made", O_RDWR, 0644u, 0);
	assert_true(code == -ELOOP || code == -ENOTDIR);
	code = p9_rpc(client, P9_TUNLINKAT, "dsd", 1, "secret", 0);
	assert_true(code == -ELOOP || code == -ENOTDIR);
	code = p9_rpc(client, P9_TRENAMEAT, "dsds", 1, "secret", 0, "got");
	assert_true(code == -ELOOP || code == -ENOTDIR);
	code = p9_client_walk(client, 1, 3, "secret");
	assert_true(code == -ELOOP || code == -ENOTDIR);
	code = p9_rpc(client, P9_TGETATTR, "dq", 2, (uint64_t)0x7ff);
	assert_int_equal(code, -ELOOP);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 2, O_RDWR), -ELOOP);
	folder_expect_untouched(folder);
	p9_client_close(client);
}

/* The folder that a fid names is moved out of the share: the fid leads nowhere. */
static void test_host_moves_a_folder_out(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);

	p9_client_start(client);
	assert_int_equal(p9_client_walk(client, 0, 1, "sub"), 0);
	host_rename(folder, "share/sub", "moved");
	assert_int_equal(p9_client_walk(client, 1, 2, "file"), -ENOENT);
	assert_int_equal(p9_client_walk(client, 1, 2, ".."), -ENOENT);
	assert_int_equal(p9_client_walk(client, 1, 2, "../outside"), -ENOENT);
	assert_int_equal(p9_rpc(client, P9_TMKDIR, "dsdd", 1, "x", 0755u, 0), -ENOENT);
	assert_false(host_exists(folder, "moved/x"));
	folder_expect_untouched(folder);
	p9_client_close(client);
}

static void test_devices_and_pipes(void **state)
{
	struct p9_folder *folder = *state;
	struct p9_client *client = p9_client_open(folder->share, false);
	char name[256];

	p9_client_start(client);
	assert_int_equal(p9_rpc(client, P9_TMKNOD, "dsdddd", 0, "null", S_IFCHR | 0666u, 1, 3, 0), -EPERM);
	assert_int_equal(p9_rpc(client, P9_TMKNOD, "dsdddd", 0, "disk", S_IFBLK | 0666u, 8, 0, 0), -EPERM);
	assert_int_equal(p9_rpc(client, P9_TMKNOD, "dsdddd", 0, "what", 0170000u, 0, 0, 0), -EINVAL);
	assert_int_equal(p9_rpc(client, P9_TMKNOD, "dsdddd", 0, "pipe", S_IFIFO | 0666u, 0, 0, 0), 0);
	assert_int_equal(p9_client_walk(client, 0, 1, "pipe"), 0);
	/* Neither waits for a peer nor opens. */
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 1, O_RDONLY), -EPERM);
	assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 1, O_WRONLY), -EPERM);
	host_path(folder, "host-null", name);
	if (mknod(name, S_IFCHR | 0666, makedev(1, 3)) == 0) {
		assert_int_equal(p9_client_walk(client, 0, 2, "host-null"), 0);
		assert_int_equal(p9_rpc(client, P9_TLOPEN, "dd", 2, O_RDWR), -EPERM);
		assert_int_equal(p9_client_walk(client, 0, 3, ""), 0);
		assert_int_equal(p9_rpc(client, P9_TLCREATE, "dsddd", 3, "host-null", O_RDWR, 0666u, 0),
				 -EPERM);
	} else {
		print_message("no right to make device nodes here: the host's own is not tried\n");
	}
	p9_client_close(client);
}

/* Two servers on one folder, one renames as fast as it can between a folder and a link, the other uses the
 * name. */
struct racer {
	struct p9_folder *folder;
	_Atomic bool stop;
};

static void *race_thread(void *opaque)
{
	struct racer *racer = opaque;
	char sub[256], kept[256], link[256];

	host_path(racer->folder, "sub", sub);
	host_path(racer->folder, "kept", kept);
	host_path(racer->folder, "link", link);
	while (!atomic_load(&racer->stop)) {
		rename(sub, kept);
		rename(link, sub);
		rename(sub, link);
		rename(kept, sub);
	}
	return NULL;
}

static void test_race_of_folder_and_link(void **state)
{
	struct racer racer = {.folder = *state};
	struct p9_client *client = p9_client_open(racer.folder->share, false);
	pthread_t thread;

	host_symlink(racer.folder, racer.folder->outside, "link");
	p9_client_start(client);
	assert_int_equal(p9_client_walk(client, 0, 1, "sub"), 0);
	assert_int_equal(pthread_create(&thread, NULL, race_thread, &racer), 0);
	for (unsigned i = 0; i < 3000; i++) {
		p9_rpc(client, P9_TMKDIR, "dsdd", 1, "made", 0755u, 0);
		p9_rpc(client, P9_TUNLINKAT, "dsd", 1, "secret", 0);
		if (p9_client_walk(client, 0, 2, "sub/secret") == 0)
			fail_msg("the guest reaches a file outside of its folder");
		p9_rpc(client, P9_TUNLINKAT, "dsd", 1, "made", 0x200u);
	}
	atomic_store(&racer.stop, true);
	pthread_join(thread, NULL);
	folder_expect_untouched(racer.folder);
	p9_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		P9_FOLDER_TEST(test_dot_dot),
		P9_FOLDER_TEST(test_paths_in_names),
		P9_FOLDER_TEST(test_symlinks),
		P9_FOLDER_TEST(test_symlinks_made_by_the_guest),
		P9_FOLDER_TEST(test_host_swaps_a_folder_for_a_link),
		P9_FOLDER_TEST(test_host_moves_a_folder_out),
		P9_FOLDER_TEST(test_devices_and_pipes),
		P9_FOLDER_TEST(test_race_of_folder_and_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
