/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who lies where in guest RAM while a guest is being loaded. Every range is checked against RAM and against
 * all others before a byte is written, so that no image can overwrite another or our own tables. Knows no
 * format.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct gmem;

#define PLACEMENT_RANGES_MAX 256 /* ELF segments (64), modules (64), our tables, with room */

struct placement_range {
	uint64_t gpa;
	uint64_t size_bytes;
	const char *what; /* borrowed; "kernel", "initrd", ... for messages */
};

struct placement {
	struct gmem *gmem; /* borrowed */
	struct placement_range range[PLACEMENT_RANGES_MAX];
	size_t count;
};

void placement_init(struct placement *placement, struct gmem *gmem);

/* Claims a range. 0; -ENOSPC outside RAM, -EEXIST on overlap: the message says which and how much RAM there
 * is. */
int placement_claim(struct placement *placement, uint64_t gpa, uint64_t size_bytes, const char *what,
		    struct err *err);

/* Whether claiming would succeed. */
bool placement_is_free(const struct placement *placement, uint64_t gpa, uint64_t size_bytes);

/*
 * Claims the highest range of size_bytes, aligned, that lies in [floor, limit) and in RAM; *gpa is where.
 * -ENOSPC with a message that names what and how large it is.
 */
struct placement_request {
	uint64_t size_bytes;
	uint64_t align; /* a power of two */
	uint64_t floor; /* lowest address */
	uint64_t limit; /* first address too high */
	const char *what;
};
int placement_claim_high(struct placement *placement, const struct placement_request *request, uint64_t *gpa,
			 struct err *err);
/* As above, the lowest such range. */
int placement_claim_low(struct placement *placement, const struct placement_request *request, uint64_t *gpa,
			struct err *err);

/* First address above RAM that begins at 0. */
uint64_t placement_low_ram_end(const struct placement *placement);
