/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87: one slow handler for each escape byte, and its registers as the rest of the CPU sees them (FXSAVE,
 * XSAVE, MMX and the neutral CPU state). Intel SDM vol. 1 chapter 8, vol. 2; where it leaves a choice, an AMD
 * Zen's.
 */
#pragma once

#include "tcg-fallback/x86/insn.h"

#define X87_CONTROL_INIT     0x037fu
#define X87_CONTROL_ONE      0x0040u /* bit 6 reads as one */
#define X87_CONTROL_WRITABLE 0x1f3fu

/* Status word, but for the six exception flags, which are SF_*. */
#define X87_STATUS_SF  0x0040u /* stack fault */
#define X87_STATUS_ES  0x0080u /* an unmasked exception is pending; B (bit 15) always equals it */
#define X87_STATUS_C0  0x0100u
#define X87_STATUS_C1  0x0200u
#define X87_STATUS_C2  0x0400u
#define X87_STATUS_TOP 0x3800u
#define X87_STATUS_C3  0x4000u
#define X87_STATUS_B   0x8000u
#define X87_STATUS_CC  (X87_STATUS_C0 | X87_STATUS_C1 | X87_STATUS_C2 | X87_STATUS_C3)

/* Rows D8 to DF, and FWAIT (9B). They make all checks themselves: #NM, #MF, #UD of the holes. */
x86_slow_fn x86_slow_fpu_d8, x86_slow_fpu_d9, x86_slow_fpu_da, x86_slow_fpu_db;
x86_slow_fn x86_slow_fpu_dc, x86_slow_fpu_dd, x86_slow_fpu_de, x86_slow_fpu_df;
x86_slow_fn x86_slow_fwait;

/* The function of an escape (D8 to DF); NULL: a hole, which is #UD. */
x86_slow_fn *x87_find(const struct x86_insn *in);

/* The status word with TOP merged in; setting it takes TOP out and derives ES and B from flags and masks. */
uint16_t x87_status_get(const struct x86_cpu *cpu);
void x87_status_set(struct x86_cpu *cpu, uint16_t status);
/* The control word; setting it keeps only the bits that exist, and derives ES and B anew. */
void x87_control_set(struct x86_cpu *cpu, uint16_t control);

/*
 * The tag word of FNSAVE: two bits a physical register (0 valid, 1 zero, 2 special, 3 empty), from the
 * contents.
 */
uint16_t x87_tag_word_get(const struct x86_cpu *cpu);
/* Only "empty" is taken from it, the rest always follows from the contents. */
void x87_tag_word_set(struct x86_cpu *cpu, uint16_t tags);

/* FNINIT: the registers keep their contents, but are empty. */
void x87_init(struct x86_cpu *cpu);

/*
 * What a waiting instruction (x87 or MMX) does first: raises #MF when an unmasked exception is pending and
 * CR0.NE is set; without NE the FERR# pin is driven instead, and the instruction goes on.
 */
void x87_check_pending(struct x86_cpu *cpu);
