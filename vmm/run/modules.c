/* SPDX-License-Identifier: Apache-2.0 */
/* Modules: names to files, dependencies out of ELF sections. */
#include "vmm/run/modules.h"

#include <elf.h>
#include <errno.h>
#include <fts.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"

#define MODULES_FILE_MAX  (64u << 20) /* the largest of Debian's has 15 MiB */
#define MODULES_DEPTH_MAX 16          /* of dependencies: Linux's deepest chains have 8 */

struct modules {
	char **file; /* owned paths of all modules */
	size_t file_count;
	const char *wanted[MODULES_LOAD_MAX]; /* into file */
	size_t wanted_count;
};

static bool modules_add_file(struct modules *modules, const char *path)
{
	char **files;

	if (modules->file_count == MODULES_FILES_MAX)
		return false;
	files = reallocarray(modules->file, modules->file_count + 1, sizeof(*files));
	if (!files)
		return false;
	modules->file = files;
	files[modules->file_count] = strdup(path);
	if (!files[modules->file_count])
		return false;
	modules->file_count++;
	return true;
}

static int modules_scan(struct modules *modules, const char *folder, struct err *err)
{
	char *paths[] = {(char *)(uintptr_t)folder, NULL};
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *entry;
	int code = tree ? 0 : err_set_errno(err, -errno, "%s", folder);

	while (code == 0 && (entry = fts_read(tree)) != NULL) {
		size_t len = entry->fts_namelen;

		if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR)
			code = err_set_errno(err, -entry->fts_errno, "%s", entry->fts_path);
		else if (entry->fts_info == FTS_F && len > 3 &&
			 strcmp(entry->fts_name + len - 3, ".ko") == 0 &&
			 !modules_add_file(modules, entry->fts_path))
			code = err_set(err, -E2BIG, "%s: more than %d modules", folder, MODULES_FILES_MAX);
	}
	if (tree)
		fts_close(tree);
	return code;
}

struct modules *modules_open(const char *folder, struct err *err)
{
	struct modules *modules = calloc(1, sizeof(*modules));

	if (!modules) {
		err_set(err, -ENOMEM, "no memory for modules");
		return NULL;
	}
	if (folder && modules_scan(modules, folder, err) < 0) {
		modules_close(modules);
		return NULL;
	}
	return modules;
}

void modules_close(struct modules *modules)
{
	if (!modules)
		return;
	for (size_t i = 0; i < modules->file_count; i++)
		free(modules->file[i]);
	free(modules->file);
	free(modules);
}

static char modules_letter(char c)
{
	return c == '-' ? '_' : c;
}

static const char *modules_find(const struct modules *modules, const char *name, size_t len)
{
	for (size_t i = 0; i < modules->file_count; i++) {
		const char *slash = strrchr(modules->file[i], '/');
		const char *file = slash ? slash + 1 : modules->file[i];
		size_t at = 0;

		while (at < len && file[at] && modules_letter(file[at]) == modules_letter(name[at]))
			at++;
		if (at == len && strcmp(file + at, ".ko") == 0)
			return modules->file[i];
	}
	return NULL;
}

static char *modules_read(const char *path, size_t *size, struct err *err)
{
	FILE *file = fopen(path, "re");
	char *data = NULL;
	long len = -1;

	if (file && fseek(file, 0, SEEK_END) == 0)
		len = ftell(file);
	if (len < 0 || fseek(file, 0, SEEK_SET) < 0)
		err_set_errno(err, -errno, "%s", path);
	else if (len > (long)MODULES_FILE_MAX)
		err_set(err, -EFBIG, "%s: larger than any module", path);
	else if (!(data = malloc((size_t)len + 1)))
		err_set(err, -ENOMEM, "no memory for %s", path);
	else
		*size = fread(data, 1, (size_t)len, file);
	if (file)
		fclose(file);
	return data;
}

/* The section of this name, inside the file; NULL when there is none. */
static const char *modules_section(const char *data, size_t size, const char *name, size_t *len)
{
	Elf64_Ehdr head;
	Elf64_Shdr names;
	Elf64_Shdr section;

	if (size < sizeof(head))
		return NULL;
	memcpy(&head, data, sizeof(head));
	if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_shentsize != sizeof(section) || head.e_shstrndx >= head.e_shnum || head.e_shoff > size ||
	    (size - head.e_shoff) / sizeof(section) < head.e_shnum)
		return NULL;
	memcpy(&names, data + head.e_shoff + head.e_shstrndx * sizeof(names), sizeof(names));
	if (names.sh_offset > size || names.sh_size > size - names.sh_offset)
		return NULL;
	for (unsigned i = 0; i < head.e_shnum; i++) {
		memcpy(&section, data + head.e_shoff + i * sizeof(section), sizeof(section));
		if (section.sh_name >= names.sh_size || section.sh_offset > size ||
		    section.sh_size > size - section.sh_offset ||
		    names.sh_size - section.sh_name < strlen(name) + 1 ||
		    memcmp(data + names.sh_offset + section.sh_name, name, strlen(name) + 1) != 0)
			continue;
		*len = section.sh_size;
		return data + section.sh_offset;
	}
	return NULL;
}

/* The value of `depends=` in the module's information, owned; "" where it is absent. */
static char *modules_depends(const char *path, struct err *err)
{
	size_t size = 0;
	size_t len = 0;
	char *data = modules_read(path, &size, err);
	const char *info = data ? modules_section(data, size, ".modinfo", &len) : NULL;
	char *depends = NULL;

	if (data && !info)
		err_set(err, -EBADMSG, "%s: this is not a 64-bit kernel module", path);
	for (size_t at = 0; info && !depends && at < len;) {
		size_t text_len = strnlen(info + at, len - at);

		if (text_len >= 8 && memcmp(info + at, "depends=", 8) == 0)
			depends = strndup(info + at + 8, text_len - 8);
		at += text_len + 1;
	}
	if (info && !depends)
		depends = strdup("");
	free(data);
	return depends;
}

static int modules_want_deep(struct modules *modules, const char *name, size_t len, unsigned depth,
			     struct err *err)
{
	const char *path = modules_find(modules, name, len);
	char *depends;
	char *rest;
	char *need;
	int code = 0;

	for (size_t i = 0; i < modules->wanted_count; i++) {
		if (modules->wanted[i] == path)
			return 0;
	}
	if (!path)
		return 0;
	if (depth == MODULES_DEPTH_MAX)
		return err_set(err, -ELOOP, "%s: its dependencies are too deep", path);
	depends = rest = modules_depends(path, err);
	if (!depends)
		return err && err->code ? err->code : -ENOMEM;
	while (code == 0 && (need = strsep(&rest, ",")) != NULL)
		code = need[0] ? modules_want_deep(modules, need, strlen(need), depth + 1, err) : 0;
	free(depends);
	if (code < 0)
		return code;
	if (modules->wanted_count == MODULES_LOAD_MAX)
		return err_set(err, -E2BIG, "more than %d modules to load", MODULES_LOAD_MAX);
	modules->wanted[modules->wanted_count++] = path;
	return 0;
}

int modules_want(struct modules *modules, const char *name, struct err *err)
{
	return modules_want_deep(modules, name, strlen(name), 0, err);
}

size_t modules_wanted(const struct modules *modules, const char *const **paths)
{
	*paths = modules->wanted;
	return modules->wanted_count;
}
