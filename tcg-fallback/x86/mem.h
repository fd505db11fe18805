/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as instructions see it: segment check, linear address, TLB and page walk, MMIO. Every function
 * may raise
 * (#GP, #SS, #PF, #AC, #DB bookkeeping) and then does not return; nothing has been written in that case. The
 * implementation and the inline fast paths are the engine's. Intel SDM vol. 3, chapters 3-5.
 */
#pragma once

#include "tcg-fallback/x86/cpu.h"

/* By segment and offset (already cut to the address size). Checks limit, type, canonical form and alignment
 * (AC). */
uint8_t x86_ld8(struct x86_cpu *cpu, unsigned seg, uint64_t offset);
uint16_t x86_ld16(struct x86_cpu *cpu, unsigned seg, uint64_t offset);
uint32_t x86_ld32(struct x86_cpu *cpu, unsigned seg, uint64_t offset);
uint64_t x86_ld64(struct x86_cpu *cpu, unsigned seg, uint64_t offset);
void x86_st8(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint8_t value);
void x86_st16(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint16_t value);
void x86_st32(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint32_t value);
void x86_st64(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint64_t value);
/* size_bytes 1, 2, 4, 8. */
uint64_t x86_ld(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned size_bytes);
void x86_st(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint64_t value, unsigned size_bytes);
/* Any length up to a page (vectors, FXSAVE, XSAVE areas); all bytes are checked before the first is written.
 * No AC check. */
void x86_ld_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, void *dst, size_t len);
void x86_st_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, const void *src, size_t len);
/*
 * Raises #AC when alignment checking is on and the operand is no multiple of `alignment`, a power of two: for
 * what is then accessed by x86_ld_bytes or x86_st_bytes. Segment and canonical form come first.
 */
void x86_check_alignment(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned alignment, bool write);
/* Raises what a write of len bytes would raise (read-modify-write checks this before it reads). */
void x86_probe_write(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len);
/* The same without AC, as x86_st_bytes. */
void x86_probe_write_bytes(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len);

/*
 * Locked compare-and-swap with all the checks of a write; size_bytes 1, 2, 4, 8, any alignment. True when
 * swapped; else *expected becomes what was found. On a device, *expected is what the caller has just read,
 * and always swapped. The 128-bit form: the caller has refused misaligned addresses; what was found is
 * written back, as the processor does.
 */
bool x86_cas(struct x86_cpu *cpu, unsigned seg, uint64_t offset, unsigned size_bytes, uint64_t *expected,
	     uint64_t desired);
bool x86_cas128(struct x86_cpu *cpu, unsigned seg, uint64_t offset, uint64_t expected[2],
		const uint64_t desired[2]);

/*
 * Host pointer to [linear, linear + len) when it lies in one page of RAM that may be accessed so without any
 * further effect (write: dirty, no decoded code); NULL otherwise. Raises #PF. Valid until the instruction
 * ends, whatever else it accesses.
 */
void *x86_span(struct x86_cpu *cpu, uint64_t linear, size_t len, bool write);

/* Linear address of seg:offset after the segment checks of an access of len bytes (no paging). */
uint64_t x86_linear(struct x86_cpu *cpu, unsigned seg, uint64_t offset, size_t len, bool write);

/* Implicit supervisor accesses at a linear address (descriptor tables, TSS): CPL does not count. */
uint64_t x86_sys_ld(struct x86_cpu *cpu, uint64_t linear, unsigned size_bytes);
void x86_sys_st(struct x86_cpu *cpu, uint64_t linear, uint64_t value, unsigned size_bytes);
/* Raises what such an access of len bytes would raise. */
void x86_sys_probe(struct x86_cpu *cpu, uint64_t linear, size_t len, bool write);
/* Atomically sets (or) and clears (and-not) bits of a byte in a descriptor table (accessed, busy). */
void x86_sys_or8(struct x86_cpu *cpu, uint64_t linear, uint8_t bits);
void x86_sys_clear8(struct x86_cpu *cpu, uint64_t linear, uint8_t bits);

/* Stack accesses at an explicit privilege (an inner or outer stack during a transfer). user: with CPL 3
 * rights. */
void x86_priv_st(struct x86_cpu *cpu, uint64_t linear, uint64_t value, unsigned size_bytes, bool user);
uint64_t x86_priv_ld(struct x86_cpu *cpu, uint64_t linear, unsigned size_bytes, bool user);

/* Guest-physical accesses for PDPTEs, SMRAM and the like. What is no RAM reads as all ones and swallows
 * writes. */
uint64_t x86_phys_ld64(struct x86_cpu *cpu, uint64_t gpa);
void x86_phys_st64(struct x86_cpu *cpu, uint64_t gpa, uint64_t value);

/* TLB maintenance. pcid < 0: the current one. */
void x86_tlb_flush_all(struct x86_cpu *cpu);            /* with global entries */
void x86_tlb_flush_nonglobal(struct x86_cpu *cpu);      /* every PCID's non-global entries */
void x86_tlb_flush_pcid(struct x86_cpu *cpu, int pcid); /* one PCID's non-global entries */
void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t linear, int pcid);
/* CR3, CPL or paging bits changed: pick or make the TLB context. */
void x86_tlb_context_changed(struct x86_cpu *cpu);
