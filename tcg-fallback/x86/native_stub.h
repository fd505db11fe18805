/* SPDX-License-Identifier: Apache-2.0 */
/* Between native.c (operands) and native_stub.c (host code). */
#pragma once

#include "tcg-fallback/emit/code_memory.h"
#include "tcg-fallback/x86/native.h"

/*
 * What a stub works on. Registers are renamed to their place here: vector 0 is ModRM.reg's, 1 VEX.vvvv's, 2
 * ModRM.rm's, 3 the immediate's; mask 1 is ModRM.reg's, 2 VEX.vvvv's, 3 ModRM.rm's, 4 EVEX.aaa's; general
 * registers: RAX is ModRM.reg's, RCX ModRM.rm's, and RAX, RCX and RDX themselves where the instruction
 * implies them.
 */
struct native_io {
	union x86_vec v[4];
	union x86_vec mem; /* the memory operand */
	uint64_t k[5];
	uint64_t rax, rcx, rdx;
	uint64_t flags;
	uint32_t mxcsr;      /* for the instruction, and as it leaves it */
	uint32_t mxcsr_host; /* the monitor's own */
};
typedef void native_stub_fn(struct native_io *io);

/* Is operand i of the row a mask register? */
bool native_operand_is_mask(const struct x86_row *row, unsigned i);

#define NATIVE_STUB_HASH 4096u
#define NATIVE_KEY_BYTES 24u

/* A stub, by the bytes of its instruction; their number comes last. */
struct native_stub {
	uint8_t key[NATIVE_KEY_BYTES];
	native_stub_fn *run; /* NULL: empty */
};

struct x86_native {
	struct native_io io;
	struct code_memory memory;
	uint8_t *next; /* where the next stub is written */
	struct native_stub stub[NATIVE_STUB_HASH];
};

/* The stub of this instruction. Never fails: when the memory is full all stubs are forgotten. */
native_stub_fn *native_stub_find(struct x86_native *native, const struct x86_insn *in);
