/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Debian archive as far as one package needs it: the signed release file, the package list that its
 * checksum vouches for, the package that the list's checksum vouches for. Formats:
 * https://wiki.debian.org/DebianRepository/Format, deb-control(5).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "fetch/download.h"

struct err;

#define DEBIAN_FIELD_MAX 256 /* of a path or a name that we take from an index; longer ones are refused */

struct debian_archive {
	const char *mirror;  /* "https://deb.debian.org/debian" */
	const char *suite;   /* "bookworm" */
	const char *arch;    /* "amd64" */
	const char *keyring; /* of the archive's keys */
	const char *work;    /* a folder for what is downloaded */
	bool quiet;
};

struct debian_package {
	char name[DEBIAN_FIELD_MAX];
	char version[DEBIAN_FIELD_MAX];
	char path[DEBIAN_FIELD_MAX]; /* below the mirror */
	char sha256[DOWNLOAD_SHA256_HEX];
};

/*
 * The package list's text, verified: the release file's signature is checked by gpgv where it and the keyring
 * are there; where not, only an https mirror is trusted. Owned (free), or NULL with err set.
 */
char *debian_read_index(const struct debian_archive *archive, struct err *err);

/* Finds a package in the list; of several versions the last listed. -ENOENT, -EBADMSG. */
int debian_find(const char *index, const char *name, struct debian_package *package, struct err *err);

/* The first package that `name` depends on whose name begins with prefix: a metapackage's real one. */
int debian_find_dependency(const char *index, const char *name, const char *prefix,
			   struct debian_package *package, struct err *err);

/* Downloads the package to path and checks it. */
int debian_download(const struct debian_archive *archive, const struct debian_package *package,
		    const char *path, struct err *err);

/*
 * Parts, apart so that they are tested apart. The SHA-256 that a release file has for `file`; -ENOENT. The
 * field's value in the stanza at `stanza` (its first line; stanzas end at an empty line), -ENOENT.
 */
int debian_release_checksum(const char *release, const char *file, char sha256[DOWNLOAD_SHA256_HEX]);
int debian_field(const char *stanza, const char *field, char *value, size_t size);
