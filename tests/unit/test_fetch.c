/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel cache's fetcher: indices read, archives unpacked, a whole fetch from a file:// mirror refused
 * when damaged. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>

#include "fetch/archive_file.h"
#include "fetch/debian.h"
#include "fetch/download.h"
#include "fetch/store.h"
#include "tests/unit/temp_folder.h"
#include "vmm/base/err.h"

#define SUM "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" /* of no bytes */

static const char index_text[] = "Package: linux-image-cloud-amd64\n"
				 "Version: 6.1.9-1\n"
				 "Depends: linux-base (>= 4), linux-image-6.1.0-9-cloud-amd64 (= 6.1.9-1)\n"
				 "Filename: pool/meta.deb\n"
				 "SHA256: " SUM "\n"
				 "\n"
				 "Package: linux-image-6.1.0-9-cloud-amd64\n"
				 "Version: 6.1.9-1\n"
				 "Description: kernel\n"
				 " Filename: not/this\n"
				 "Filename: pool/kernel.deb\n"
				 "SHA256: " SUM "\n"
				 "\n"
				 "Package: broken\n"
				 "Version: 1\n"
				 "\n";

static void test_dependency_is_found(void **state)
{
	struct debian_package package;
	struct err err = {0};

	assert_int_equal(
		debian_find_dependency(index_text, "linux-image-cloud-amd64", "linux-image-", &package, &err),
		0);
	assert_string_equal(package.name, "linux-image-6.1.0-9-cloud-amd64");
	assert_string_equal(package.version, "6.1.9-1");
	assert_string_equal(package.path, "pool/kernel.deb");
	assert_string_equal(package.sha256, SUM);
}

static void test_what_is_missing_is_said(void **state)
{
	struct debian_package package;
	struct err err = {0};

	assert_int_equal(debian_find(index_text, "linux-image", &package, &err), -ENOENT);
	assert_non_null(strstr(err.message, "linux-image"));
	assert_int_equal(debian_find(index_text, "broken", &package, &err), -EBADMSG);
	assert_int_equal(debian_find_dependency(index_text, "broken", "x", &package, &err), -EBADMSG);
	assert_int_equal(
		debian_find_dependency(index_text, "linux-image-cloud-amd64", "grub", &package, &err),
		-EBADMSG);
}

static void test_a_field_too_long_is_refused(void **state)
{
	char value[4];

	assert_int_equal(debian_field("Key: 123\nOther: 1\n", "Key", value, sizeof(value)), 0);
	assert_string_equal(value, "123");
	assert_int_equal(debian_field("Key: 1234\n", "Key", value, sizeof(value)), -EBADMSG);
	assert_int_equal(debian_field("Key: 1\n\nLater: 2\n", "Later", value, sizeof(value)), -ENOENT);
}

static void test_release_checksums(void **state)
{
	static const char release[] = "Origin: Debian\nMD5Sum:\n 0123 4 main/a\nSHA256:\n " SUM
				      " 4 main/a\n " SUM "0 4 main/long\nSHA512:\n " SUM " 4 main/c\n";
	char sum[DOWNLOAD_SHA256_HEX];

	assert_int_equal(debian_release_checksum(release, "main/a", sum), 0);
	assert_string_equal(sum, SUM);
	assert_int_equal(debian_release_checksum(release, "main/b", sum), -ENOENT);
	assert_int_equal(debian_release_checksum(release, "main/long", sum), -ENOENT);
	assert_int_equal(debian_release_checksum(release, "main/c", sum), -ENOENT);
	assert_int_equal(debian_release_checksum("Origin: x\n", "main/a", sum), -ENOENT);
}

static void add_file(struct archive *archive, const char *name, const void *data, size_t size)
{
	struct archive_entry *entry = archive_entry_new();

	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_size(entry, (la_int64_t)size);
	assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
	assert_int_equal(archive_write_data(archive, data, size), size);
	archive_entry_free(entry);
}

/* A package whose data holds one file of this name. */
static void write_deb(const char *path, const char *name)
{
	static char data[65536];
	size_t used = 0;
	struct archive *tar = archive_write_new();
	struct archive *deb = archive_write_new();

	archive_write_set_format_ustar(tar);
	archive_write_add_filter_xz(tar);
	assert_int_equal(archive_write_open_memory(tar, data, sizeof(data), &used), ARCHIVE_OK);
	add_file(tar, name, "kernel", 6);
	add_file(tar, "./usr/share/doc/readme", "text", 4);
	assert_int_equal(archive_write_close(tar), ARCHIVE_OK);
	archive_write_free(tar);

	archive_write_set_format_ar_bsd(deb);
	assert_int_equal(archive_write_open_filename(deb, path), ARCHIVE_OK);
	add_file(deb, "debian-binary", "2.0\n", 4);
	add_file(deb, "data.tar.xz", data, used);
	assert_int_equal(archive_write_close(deb), ARCHIVE_OK);
	archive_write_free(deb);
}

static void test_a_package_is_unpacked(void **state)
{
	static const char *const wanted[] = {"boot/vmlinuz-", NULL};
	struct err err = {0};
	char *text;

	write_deb(in_folder("good.deb"), "./boot/vmlinuz-6.1");
	assert_int_equal(archive_unpack_deb(in_folder("good.deb"), temp_folder(), wanted, &err), 0);
	text = archive_read_text(in_folder("boot/vmlinuz-6.1"), &err);
	assert_non_null(text);
	assert_string_equal(text, "kernel");
	free(text);
	assert_int_not_equal(access(in_folder("usr"), F_OK), 0);
}

static void test_a_package_cannot_leave_the_folder(void **state)
{
	static const char *const wanted[] = {"boot/", "/", NULL};
	struct err err = {0};

	write_deb(in_folder("evil.deb"), "boot/../../escaped");
	assert_int_equal(archive_unpack_deb(in_folder("evil.deb"), temp_folder(), wanted, &err), -EBADMSG);
	assert_int_not_equal(access("/tmp/escaped", F_OK), 0);
	write_deb(in_folder("rooted.deb"), "/tmp/escaped");
	assert_int_equal(archive_unpack_deb(in_folder("rooted.deb"), temp_folder(), wanted, &err), -EBADMSG);
	assert_int_not_equal(access("/tmp/escaped", F_OK), 0);
}

static void test_what_is_no_package(void **state)
{
	static const char *const wanted[] = {"boot/", NULL};
	struct err err = {0};
	FILE *file = fopen(in_folder("text"), "w");

	assert_non_null(file);
	fputs("this is no archive", file);
	fclose(file);
	assert_int_equal(archive_unpack_deb(in_folder("text"), temp_folder(), wanted, &err), -EBADMSG);
	assert_int_equal(archive_unpack_deb(in_folder("absent"), temp_folder(), wanted, &err), -EBADMSG);
}

static int download(const char *name, uint64_t size_max, const char *expected, struct err *err)
{
	char url[512];
	const struct download wish = {
		.url = url, .path = in_folder("copy"), .size_max = size_max, .expected = expected};

	snprintf(url, sizeof(url), "file://%s", in_folder(name));
	return download_file(&wish, err);
}

static void test_downloads_are_checked(void **state)
{
	struct err err = {0};
	FILE *file = fopen(in_folder("source"), "w");

	assert_non_null(file);
	fputs("abc", file);
	fclose(file);
	assert_int_equal(download("source", 3,
				  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &err),
			 0);
	assert_int_equal(access(in_folder("copy"), F_OK), 0);
	assert_int_equal(download("source", 3, SUM, &err), -EBADMSG);
	assert_int_not_equal(access(in_folder("copy"), F_OK), 0);
	assert_int_equal(download("source", 2, NULL, &err), -EFBIG);
	assert_int_not_equal(access(in_folder("copy"), F_OK), 0);
	assert_int_equal(download("absent", 3, NULL, &err), -EIO);
}

static void test_the_store_follows_the_environment(void **state)
{
	char path[256];
	struct err err = {0};

	setenv("XDG_CACHE_HOME", "/cache", 1);
	assert_int_equal(store_path(path, sizeof(path), &err), 0);
	assert_string_equal(path, "/cache/vmmctl/kernels");
	assert_int_equal(store_path(path, 8, &err), -ENAMETOOLONG);
	setenv("XDG_CACHE_HOME", "relative", 1); /* which the specification says is to be ignored */
	setenv("HOME", "/home/me", 1);
	assert_int_equal(store_path(path, sizeof(path), &err), 0);
	assert_string_equal(path, "/home/me/.cache/vmmctl/kernels");
	unsetenv("HOME");
	assert_int_equal(store_path(path, sizeof(path), &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dependency_is_found),
		cmocka_unit_test(test_what_is_missing_is_said),
		cmocka_unit_test(test_a_field_too_long_is_refused),
		cmocka_unit_test(test_release_checksums),
		cmocka_unit_test(test_a_package_is_unpacked),
		cmocka_unit_test(test_a_package_cannot_leave_the_folder),
		cmocka_unit_test(test_what_is_no_package),
		cmocka_unit_test(test_downloads_are_checked),
		cmocka_unit_test(test_the_store_follows_the_environment),
	};
	struct err err = {0};
	int failed;

	if (download_begin(&err) < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, temp_folder_make, temp_folder_remove);
	download_end();
	return failed;
}
