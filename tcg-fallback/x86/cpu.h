/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of one x86 CPU of the built-in engine, and the few functions that all parts of the CPU share:
 * flags, raising exceptions, recomputing what is derived from control registers. Knows memory and devices
 * only as callbacks (struct x86_host). Intel SDM vol. 1 chapter 3, vol. 3 chapters 2-6.
 */
#pragma once

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tcg-fallback/core/range.h"
#include "tcg-fallback/softfloat/softfloat.h"
#include "tcg-fallback/x86/feature.h"

struct x86_cpu;
struct x86_vm;
struct x86_tlb;
struct x86_tlb_entry;
struct x86_code;
struct x86_jit;
struct x86_native;

/* General registers; index 16 always reads zero (no base, no index), so effective addresses need no branch.
 */
enum {
	REG_RAX,
	REG_RCX,
	REG_RDX,
	REG_RBX,
	REG_RSP,
	REG_RBP,
	REG_RSI,
	REG_RDI,
	REG_R8,
	REG_R9,
	REG_R10,
	REG_R11,
	REG_R12,
	REG_R13,
	REG_R14,
	REG_R15,
	REG_ZERO,
	REG_RIP,  /* in struct x86_insn: RIP-relative. In r[]: RIP less the page offset of the running code
		     (engine only) */
	REG_PAGE, /* engine only: a constant that lets RIP-relative displacements fit */
	REG_COUNT
};

/* Segment registers in the encoding of the Sreg field; SEG_FLAT has base 0 and no limit (long mode's ES CS SS
 * DS). */
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_FLAT, SEG_COUNT };

struct x86_segment {
	uint64_t base;
	uint32_t limit; /* last valid offset, granularity applied */
	uint16_t selector;
	uint16_t attributes; /* descriptor bits 40-47 in 0-7 (type, S, DPL, P), bits 52-55 in 12-15 (AVL, L,
				D/B, G) */
	bool usable;         /* false: null selector loaded */
};
#define SEG_ATTR_TYPE(a) ((a)&15u)
#define SEG_ATTR_S       0x0010u /* code or data, against system */
#define SEG_ATTR_DPL(a)  (((a) >> 5) & 3u)
#define SEG_ATTR_P       0x0080u
#define SEG_ATTR_L       0x2000u
#define SEG_ATTR_DB      0x4000u
#define SEG_ATTR_G       0x8000u

/* EFLAGS bits. */
#define FLAG_CF      0x00000001u
#define FLAG_ONE     0x00000002u
#define FLAG_PF      0x00000004u
#define FLAG_AF      0x00000010u
#define FLAG_ZF      0x00000040u
#define FLAG_SF      0x00000080u
#define FLAG_TF      0x00000100u
#define FLAG_IF      0x00000200u
#define FLAG_DF      0x00000400u
#define FLAG_OF      0x00000800u
#define FLAG_IOPL    0x00003000u
#define FLAG_NT      0x00004000u
#define FLAG_RF      0x00010000u
#define FLAG_VM      0x00020000u
#define FLAG_AC      0x00040000u
#define FLAG_VIF     0x00080000u
#define FLAG_VIP     0x00100000u
#define FLAG_ID      0x00200000u
#define FLAGS_STATUS (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define CR0_PE 0x00000001u
#define CR0_MP 0x00000002u
#define CR0_EM 0x00000004u
#define CR0_TS 0x00000008u
#define CR0_ET 0x00000010u
#define CR0_NE 0x00000020u
#define CR0_WP 0x00010000u
#define CR0_AM 0x00040000u
#define CR0_NW 0x20000000u
#define CR0_CD 0x40000000u
#define CR0_PG 0x80000000u

#define CR4_VME        (1u << 0)
#define CR4_PVI        (1u << 1)
#define CR4_TSD        (1u << 2)
#define CR4_DE         (1u << 3)
#define CR4_PSE        (1u << 4)
#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_PGE        (1u << 7)
#define CR4_PCE        (1u << 8)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP       (1u << 11)
#define CR4_LA57       (1u << 12)
#define CR4_FSGSBASE   (1u << 16)
#define CR4_PCIDE      (1u << 17)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)
#define CR4_PKE        (1u << 22)

#define EFER_SCE (1u << 0)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define EFER_NXE (1u << 11)

enum x86_vector {
	VEC_DE = 0,
	VEC_DB = 1,
	VEC_NMI = 2,
	VEC_BP = 3,
	VEC_OF = 4,
	VEC_BR = 5,
	VEC_UD = 6,
	VEC_NM = 7,
	VEC_DF = 8,
	VEC_TS = 10,
	VEC_NP = 11,
	VEC_SS = 12,
	VEC_GP = 13,
	VEC_PF = 14,
	VEC_MF = 16,
	VEC_AC = 17,
	VEC_MC = 18,
	VEC_XM = 19,
};

/* A vector register: 64 bytes so that AVX and AVX-512 only use what is there. Lanes little-endian, lane 0
 * lowest. */
union x86_vec {
	uint8_t b[64];
	uint16_t w[32];
	uint32_t d[16];
	uint64_t q[8];
} __attribute__((aligned(64)));

/*
 * x87 and MMX. Physical register numbering: st(i) is reg[(top + i) & 7]; MMX register n is reg[n].mant (sexp
 * := 0xffff when written). The two-bit tags are derived when stored.
 */
struct x86_fpu {
	struct f80 reg[8];
	uint8_t empty[8]; /* a physical register; 1: empty */
	uint16_t control; /* FCW */
	uint16_t status;  /* FSW without TOP, which is merged when read */
	uint8_t top;
	uint16_t opcode; /* FOP, 11 bits */
	uint64_t fip, fdp;
	uint16_t fcs, fds;
};

/* Requests to a running CPU, set by any thread, looked at between blocks (cpu->attention). */
enum {
	ATTENTION_KICK = 1u << 0, /* leave x86_cpu_run */
	ATTENTION_INTR = 1u << 1, /* the INTR pin is high: ask the host for a vector when IF allows */
	ATTENTION_NMI = 1u << 2,
	ATTENTION_SMI = 1u << 3,
	ATTENTION_INIT = 1u << 4,
	ATTENTION_SIPI = 1u << 5,  /* cpu->sipi_vector */
	ATTENTION_CODE = 1u << 6,  /* another CPU or a device wrote to translated code: look at the mailbox */
	ATTENTION_TLB = 1u << 7,   /* flush everything (memory map or A20 changed) */
	ATTENTION_PARK = 1u << 8,  /* another CPU wants to be alone for a moment */
	ATTENTION_EVENT = 1u << 9, /* cpu->resumed must be delivered */
	ATTENTION_CLOCK = 1u << 10, /* the guest's page of the paravirtual clock is out of date */
	ATTENTION_BLOCK = 1u << 11, /* go back to the run loop after each block */
};

/* Why x86_cpu_run returned; the adapter maps these to enum accel_exit. */
enum x86_exit {
	X86_EXIT_KICKED,
	X86_EXIT_HALTED,
	X86_EXIT_SHUTDOWN,
	X86_EXIT_RESET,
	X86_EXIT_DEBUG,
	X86_EXIT_UNKNOWN, /* CPUID promises the instruction at RIP, or the MSR, and the engine has no such */
};

/* The world outside the CPU. All are called on the CPU's own thread. */
struct x86_host {
	void *opaque;
	uint64_t (*mmio_read)(void *opaque, unsigned cpu, uint64_t gpa, unsigned size_bytes);
	void (*mmio_write)(void *opaque, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size_bytes);
	uint64_t (*pio_read)(void *opaque, unsigned cpu, uint16_t port, unsigned size_bytes);
	void (*pio_write)(void *opaque, unsigned cpu, uint16_t port, uint64_t value, unsigned size_bytes);
	int (*intr_acknowledge)(void *opaque, unsigned cpu); /* vector, or -1: none after all */
	bool (*apic_msr_read)(void *opaque, unsigned cpu, uint32_t index, uint64_t *value);
	bool (*apic_msr_write)(void *opaque, unsigned cpu, uint32_t index, uint64_t value);
	uint64_t (*cr8_read)(void *opaque, unsigned cpu);
	void (*cr8_write)(void *opaque, unsigned cpu, uint64_t value);
	void (*ferr)(void *opaque, unsigned cpu, bool level);
};

struct x86_cpuid_leaf {
	uint32_t leaf, subleaf;
	bool subleaf_matters;
	uint32_t eax, ebx, ecx, edx;
};

/* MSRs kept as plain values; those with effects have fields of their own in struct x86_cpu. msr.c owns the
 * list. */
struct x86_msrs {
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t star, lstar, cstar, sfmask;
	uint64_t kernel_gs_base, tsc_aux;
	uint64_t pat, mtrr_def_type, mtrr_fixed[11], mtrr_phys[16];
	uint64_t misc_enable, spec_ctrl, mcg_status, mcg_ctl, debugctl, tsc_adjust;
	uint64_t kvm_system_time, kvm_wall_clock; /* paravirtual clock, when offered */
};

/* Lazy status flags; flags.h explains the encodings. */
struct x86_lazy_flags {
	uint64_t result; /* of the last flag-setting operation, zero-extended from its width */
	uint64_t source; /* second operand, or what the operation needs */
	uint32_t op;     /* enum x86_cc: operation and width; CC_EFLAGS: `result` holds the six status bits
			    themselves */
};

/* Random bytes fetched from the host in bulk; each is used once. */
struct x86_random {
	uint8_t bytes[256];
	uint16_t used;
};

/*
 * Which of the guest's state is in host registers, while translated code runs: jit_cache.h has the
 * convention. A word is 0 while the state is there, and what the structures below have of it is out of date.
 * In the interpreter, and in all of C but for the x87, none is.
 */
struct x86_jit_live {
	uint32_t vector_away; /* XMM0 to XMM15 */
	uint32_t ymm_away;    /* bits 128 to 255 of them; 0 only with vector_away 0 */
	uint32_t float_away;  /* MXCSR; 0 only with vector_away 0, and with all its exceptions masked */
	uint32_t x87_away;    /* x87 and MMX; 0 only with all its exceptions masked */
	uint32_t resume;      /* JIT_LIVE_* that a call of C put away, to be loaded again after it */
	uint32_t mxcsr_host;  /* for C */
	/* Of the x87 while it is live, for FIP, FOP and FDP: jit_x87.c. */
	uint32_t x87_where;     /* the last instruction's offset in its page | FOP << 16 */
	uint32_t x87_data_used; /* x87_data is of an instruction since then: 1 + its segment */
	uint64_t x87_page, x87_data;
};

/*
 * Where calls in translated code will return to: a ring, indexed by the offset of the youngest entry, which
 * wraps at 256. An entry counts while its return address and the CPU's link_key[0] are what they were.
 */
#define JIT_RETURNS 32u
struct x86_jit_returns {
	uint64_t rip[JIT_RETURNS], key[JIT_RETURNS];
	const void *host[JIT_RETURNS];
	uint8_t top;
};

struct x86_cpu {
	/* Hot: touched by nearly every operation. */
	uint64_t r[REG_COUNT];
	uint64_t rip; /* see x86_slow_fn in insn.h for when it is exact */
	struct x86_lazy_flags cc;
	_Atomic uint32_t attention; /* ATTENTION_* */
	uint32_t eflags;            /* all but the six status flags (those are in cc); bit 1 is kept set */
	uint8_t cpl;
	uint8_t mode_bits; /* 16, 32 or 64: default operand/address mode of CS */
	bool long_mode;    /* EFER.LMA */
	bool intr_shadow;  /* STI or MOV SS: no interrupt before the next instruction has completed */
	uint16_t
		flat_segments; /* bit SEG_*: writable data, no limit, base 0 but for FS and GS; engine only */
	struct x86_tlb_entry *tlb_hot; /* the entries that inline lookups see: those of the context, or a
					  table that misses */
	uint64_t miss;                 /* linear address that a fast handler could not access; engine only */
	uint64_t miss_rip;    /* of the instruction that was last tried again after a miss; engine only */
	uint64_t link_key[2]; /* what code links are valid for: [0] this context, [1] global pages; core/tlb.h
			       */
	struct x86_tlb *tlb;  /* owned; core/ */
	struct x86_code *code;     /* owned; core/ */
	struct x86_jit *jit;       /* owned; NULL: the interpreter alone */
	struct x86_native *native; /* owned; what the host executes for it, NULL: nothing. native.h */
	uint64_t jit_flags;        /* status flags between translated code and C; jit_cache.h */
	uint64_t jit_value;        /* of translated code, within an instruction */
	uint64_t jit_jumps;        /* address of the jump cache */
	uint64_t jump_salt; /* of the jump cache's hash: spaces of user code do not drive each other out */
	struct x86_jit_live jit_live;
	struct x86_jit_returns jit_returns;
	struct x86_ranges range; /* of translated code; core/range.h */
	struct x86_segment seg[SEG_COUNT];

	/* Control state. Written only by the setters of system code, so that derived state follows. */
	struct {
		uint64_t base;
		uint16_t limit;
	} gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, efer;
	uint64_t pdptr[4]; /* PAE: loaded with CR3 */
	uint64_t dr[8];
	bool debug_active; /* DR7 enables something, or TF: the engine takes its careful path */
	uint32_t pkru;
	uint64_t xcr0;
	uint64_t phys_mask;        /* valid bits of a physical address, by CPUID */
	_Atomic uint64_t a20_mask; /* all ones, or all but bit 20 */
	struct x86_msrs msr;
	int64_t tsc_offset; /* guest TSC = host-derived TSC + offset */
	uint64_t tsc_hz;    /* the rate that CPUID tells; 0: none */

	/* FPU and vector state. */
	struct x86_fpu fpu;
	uint32_t mxcsr;
	union x86_vec zmm[32];
	uint64_t k[8];

	/* Events. */
	struct {
		bool valid; /* an exception was raised (then longjmp'd to the run loop) */
		uint8_t vector;
		bool has_code;
		uint32_t code;
		uint64_t cr2; /* for #PF: loaded at delivery */
		uint64_t dr6; /* for #DB: bits to set at delivery */
	} fault;
	/* An event whose delivery had begun when this state was that of another CPU; ATTENTION_EVENT. */
	struct {
		bool valid, is_interrupt;
		uint8_t vector;
		bool has_code;
		uint32_t code;
	} resumed;
	bool lenient;       /* executes also what CPUID does not tell of */
	bool promises_more; /* CPUID has features that the engine lacks: what it does not know is no #UD */
	bool nmi_masked;    /* between NMI and IRET */
	bool halted, wait_for_sipi, shutdown;
	bool in_smm;
	uint8_t sipi_vector;
	uint64_t pending_db; /* DR6 bits of traps due after this instruction */
	bool ss_shadow;      /* MOV SS or POP SS while debug_active: debug traps wait one instruction */
	bool rf_loaded;      /* this instruction loaded RF = 1: it outlives the instruction */
	bool step_late;     /* single step is decided by TF after this instruction (INT n, SYSCALL, SYSRET) */
	sigjmp_buf *unwind; /* where x86_raise* goes */
	enum x86_exit exit; /* set with leave */
	bool leave;         /* leave x86_cpu_run after this instruction */

	struct x86_random random; /* RDRAND, RDSEED */

	/* Identity and surroundings. */
	unsigned index, count;
	struct x86_vm *vm; /* guest memory map, other CPUs; core/vm.h */
	const struct x86_host *host;
	const struct x86_cpuid_leaf *cpuid;
	size_t cpuid_count;
	uint32_t feature[X86_FEATURE_WORDS]; /* from the CPUID leaves */
};

static inline bool x86_has(const struct x86_cpu *cpu, unsigned feature)
{
	return cpu->feature[feature >> 5] >> (feature & 31) & 1;
}

/* The whole EFLAGS register, status flags computed. flags.c */
uint32_t x86_eflags_get(struct x86_cpu *cpu);
/* Replaces the bits of `mask` by those of `value`, status flags included; calls x86_mode_changed when TF, VM,
 * AC change. */
void x86_eflags_set(struct x86_cpu *cpu, uint32_t value, uint32_t mask);

/*
 * Raise an exception at the present instruction: unwinds to the run loop, which delivers it. cpu->rip must be
 * that of the instruction (fault) and nothing of it may have become visible. exception.c
 */
_Noreturn void x86_raise(struct x86_cpu *cpu, enum x86_vector vector);
_Noreturn void x86_raise_code(struct x86_cpu *cpu, enum x86_vector vector, uint32_t code);
_Noreturn void x86_raise_pf(struct x86_cpu *cpu, uint64_t gva, uint32_t code);
#define x86_raise_ud(cpu) x86_raise((cpu), VEC_UD)
/* The bytes at RIP are no instruction, or the MSR does not exist: #UD or #GP, unless CPUID promised more than
 * there is; then the run ends with X86_EXIT_UNKNOWN. exception.c */
_Noreturn void x86_raise_unknown(struct x86_cpu *cpu, enum x86_vector vector);
#define x86_raise_gp(cpu) x86_raise_code((cpu), VEC_GP, 0)

/*
 * Delivery, called by the run loop with cpu->rip at the return address. Faults met on the way become double
 * and triple faults inside (a triple fault sets cpu->shutdown). exception.c
 */
void x86_deliver_fault(struct x86_cpu *cpu);                     /* cpu->fault */
void x86_deliver_interrupt(struct x86_cpu *cpu, uint8_t vector); /* external, or NMI with vector 2 */
void x86_deliver_resumed(struct x86_cpu *cpu);                   /* cpu->resumed */

/*
 * Recomputes everything derived (mode_bits, long_mode, TLB context, debug_active) after CR0, CR3, CR4, EFER,
 * CS, CPL or EFLAGS.VM/AC/TF changed. Cheap; called by the setters. mode.c
 */
void x86_mode_changed(struct x86_cpu *cpu);

/* Power-on or INIT state. Intel SDM vol. 3, table 10-1. reset.c */
void x86_cpu_reset(struct x86_cpu *cpu, bool init);

/* The guest's time-stamp counter now. */
uint64_t x86_tsc_read(struct x86_cpu *cpu);
