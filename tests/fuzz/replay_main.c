/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds every file of the folders and files named on the command line to LLVMFuzzerTestOneInput, once each,
 * in the order of their names, and then the empty input. It stands where libFuzzer's main stands in a fuzzing
 * build, so that the corpus is a regression test in every build and under every compiler. It knows nothing of
 * what is fuzzed.
 *
 * A finding shows as the crash of this program; the file in hand is printed before it is run.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

/* Bounds one corpus file: libFuzzer's own default is 4 KiB, and kernels cut down for the loaders stay below
 * this. */
#define REPLAY_FILE_SIZE_MAX (16u << 20)

static int replay_file(const char *path, size_t size)
{
	uint8_t *data = malloc(size ? size : 1);
	FILE *file = fopen(path, "rb");
	int ret = -1;

	printf("# %s (%zu bytes)\n", path, size);
	fflush(stdout);
	if (data && file && fread(data, 1, size, file) == size) {
		LLVMFuzzerTestOneInput(data, size);
		ret = 0;
	} else {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	}
	if (file)
		fclose(file);
	free(data);
	return ret;
}

static int replay_name_is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int replay_path(const char *path, unsigned *count);

static int replay_folder(const char *path, unsigned *count)
{
	struct dirent **names;
	char child[PATH_MAX];
	int total = scandir(path, &names, replay_name_is_visible, alphasort);
	int ret = total < 0 ? -1 : 0;

	for (int i = 0; i < total; i++) {
		int length = snprintf(child, sizeof(child), "%s/%s", path, names[i]->d_name);

		if (length < 0 || (size_t)length >= sizeof(child) || replay_path(child, count))
			ret = -1;
		free(names[i]);
	}
	if (total >= 0)
		free(names);
	return ret;
}

static int replay_path(const char *path, unsigned *count)
{
	struct stat st;

	if (stat(path, &st)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	if (S_ISDIR(st.st_mode))
		return replay_folder(path, count);
	if (st.st_size > REPLAY_FILE_SIZE_MAX) {
		fprintf(stderr, "%s: larger than the %u bytes that a corpus file may have\n", path,
			REPLAY_FILE_SIZE_MAX);
		return -1;
	}
	(*count)++;
	return replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
	unsigned count = 0, failed = 0;

	for (int i = 1; i < argc; i++)
		if (replay_path(argv[i], &count))
			failed++;
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	if (!count) {
		fprintf(stderr, "no corpus file was found: a fuzz target needs a corpus\n");
		failed++;
	}
	printf("%u passed, %u failed\n", count, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
