/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instruction (or a short sequence) as an experiment: the bytes, the state before and what came of it. A
 * runner carries the experiment out: the host CPU (native.c) or a guest CPU of the built-in engine (guest.c).
 * Both use the same addresses, so that states can be compared byte by byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORACLE_PAGE 4096u

/*
 * Addresses, all below 2 GiB so that 32-bit code and disp32 reach them; what surrounds them is unmapped:
 *
 *	DATA  two pages, read and write          CODE  two pages, execute and read
 *	RO    one page, read only
 */
#define ORACLE_DATA      0x10000000u
#define ORACLE_DATA_SIZE (2 * ORACLE_PAGE)
#define ORACLE_RO        0x10010000u
#define ORACLE_CODE      0x20000000u
#define ORACLE_CODE_SIZE (2 * ORACLE_PAGE)
#define ORACLE_CODE_END  (ORACLE_CODE + ORACLE_CODE_SIZE)
#define ORACLE_CODE_MAX  128u /* bytes of one experiment */

#define ORACLE_VECTOR_DB   1
#define ORACLE_VECTOR_BP   3
#define ORACLE_VECTOR_UD   6
#define ORACLE_VECTOR_SS   12
#define ORACLE_VECTOR_GP   13
#define ORACLE_VECTOR_PF   14
#define ORACLE_VECTOR_AC   17
#define ORACLE_VECTOR_XM   19
#define ORACLE_VECTOR_HANG 255 /* no exception in a long time */

/* FXSAVE's image (Intel SDM vol. 1, table 10-2). */
struct oracle_fx {
	uint16_t control, status;
	uint8_t tags, reserved; /* tags abridged: bit n set: physical register n is not empty */
	uint16_t opcode;
	uint64_t ip, dp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
	uint8_t rest[96];
} __attribute__((aligned(16)));

struct oracle_state {
	struct oracle_fx fx;
	uint8_t ymm[16][16];      /* upper halves; zero where the host has none, as what follows */
	uint8_t zmm_high[16][32]; /* upper halves of ZMM0 to ZMM15 */
	uint8_t zmm_more[16][64]; /* ZMM16 to ZMM31 */
	uint64_t k[8];
	uint64_t r[16]; /* in the order of their encoding */
	uint64_t rip, rflags;
	uint64_t fs_base, gs_base; /* 64-bit experiments only */
};

struct oracle_case {
	uint8_t bits; /* 64 or 32 (compatibility mode), for decoding also 16 */
	bool step;    /* RFLAGS.TF: one instruction; else runs until an exception, the last byte is INT3 */
	uint8_t code[ORACLE_CODE_MAX];
	unsigned code_size;
	bool has_masks;                 /* of a sequence: EVEX masks or VEX ones are among its instructions */
	uint32_t undefined_flags;       /* of a sequence: what its instructions leave undefined */
	struct oracle_state state;      /* rip: where the code is placed */
	uint8_t data[ORACLE_DATA_SIZE]; /* what DATA holds */
};

struct oracle_result {
	uint8_t vector; /* of the exception that ended the experiment; ORACLE_VECTOR_DB: stepped */
	uint32_t error; /* its error code, 0 when it has none */
	uint64_t cr2;   /* when the vector is #PF */
	struct oracle_state state;
	uint8_t data[ORACLE_DATA_SIZE];
};

/* Fills the page at ORACLE_RO the same way for every runner. */
void oracle_fill_ro(uint8_t page[ORACLE_PAGE]);

struct oracle_runner {
	const char *name;
	void *(*open)(void); /* NULL: cannot run here */
	void (*run)(void *self, const struct oracle_case *test, struct oracle_result *result);
	void (*close)(void *self);
};

extern const struct oracle_runner oracle_native;
