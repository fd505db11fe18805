/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs an experiment on the host CPU. A signal handler is the door both ways: INT3 enters it, it writes the
 * experiment's registers into the signal frame, and sigreturn starts the experiment; whatever ends that
 * (single step, a fault) comes back as a signal, whose frame holds all registers, x87 and SSE included, and
 * the exception's vector, error code and CR2. Linux's signal frames: arch/x86/include/uapi/asm/sigcontext.h.
 * Knows nothing of the guest CPU.
 */
#include "tests/insn/native.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/insn/host_features.h"

#define FLAG_TF 0x100u
#define FLAG_RF 0x10000u

/* Selectors of Linux's GDT; the 16-bit code segment is entry 0 of the LDT. */
#define USER_CS    0x33u
#define USER_CS_32 0x23u
#define USER_DS    0x2bu
#define USER_CS_16 0x07u

#define WATCHDOG_US    100000 /* of CPU time; an experiment takes about 20 */
#define ALT_STACK_SIZE 65536u
#define XSTATE_BV      512u /* offset in the frame's XSAVE area */
#define XSTATE_FP_SSE  3u
#define XSTATE_AVX     4u
#define XSTATE_AVX_AT  576u
#define XSTATE_AVX512  0xe0u /* mask registers, upper halves, upper registers: 5, 6, 7 */

enum phase { PHASE_IDLE, PHASE_ENTER, PHASE_RUN };

struct native {
	enum phase phase;
	const struct oracle_case *test;
	struct oracle_result *result;
	uint64_t host_fs, host_gs;
	uint64_t components; /* XSTATE_AVX, XSTATE_AVX512: the host has it */
	uint32_t at[8];      /* offsets of the latter in the frame */
	gregset_t host;      /* registers of native_run */
	void *alt_stack;
	uint8_t *data, *ro, *code;
	uint64_t started, started_at_tick; /* experiments so far, and at the watchdog's last tick */
};

/*
 * Signal handlers get no argument of ours. The one exception to "nothing at file scope": a process has one
 * handler.
 */
static struct native *native_current;

/* In the order of instruction encoding. */
static const int greg_of[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* No TLS (errno): the FS base may be the experiment's. */
static inline void set_base(int which, uint64_t base)
{
	long ignored;

	__asm__ volatile("syscall"
			 : "=a"(ignored)
			 : "a"(SYS_arch_prctl), "D"((long)which), "S"(base)
			 : "rcx", "r11", "memory");
}

static inline uint64_t get_base(int which)
{
	uint64_t base = 0;
	long ignored;

	__asm__ volatile("syscall"
			 : "=a"(ignored)
			 : "a"(SYS_arch_prctl), "D"((long)which), "S"(&base)
			 : "rcx", "r11", "memory");
	return base;
}

static uint64_t selectors(unsigned bits)
{
	const uint64_t cs = bits == 64 ? USER_CS : bits == 32 ? USER_CS_32 : USER_CS_16;

	return cs | (uint64_t)USER_DS << 48;
}

/*
 * No library function here either: a string function may have been chosen at load time, and would be stepped
 * through.
 */
static inline void copy(void *dst, const void *src, size_t size)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(size) : : "memory");
}

static void frame_load(struct native *native, ucontext_t *uc)
{
	const struct oracle_case *test = native->test;
	uint8_t *fx = (uint8_t *)uc->uc_mcontext.fpregs;

	copy(native->host, uc->uc_mcontext.gregs, sizeof(native->host));
	for (unsigned i = 0; i < 16; i++)
		uc->uc_mcontext.gregs[greg_of[i]] = (greg_t)test->state.r[i];
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(test->state.rip - (test->bits == 16 ? ORACLE_CODE : 0));
	uc->uc_mcontext.gregs[REG_EFL] = (greg_t)(test->state.rflags | (test->step ? FLAG_TF : 0));
	uc->uc_mcontext.gregs[REG_CSGSFS] = (greg_t)selectors(test->bits);
	copy(fx, &test->state.fx, offsetof(struct oracle_fx, rest));
	*(uint64_t *)(void *)(fx + XSTATE_BV) |= XSTATE_FP_SSE | native->components;
	if (native->components & XSTATE_AVX)
		copy(fx + XSTATE_AVX_AT, test->state.ymm, sizeof(test->state.ymm));
	if (native->components & XSTATE_AVX512) {
		copy(fx + native->at[5], test->state.k, sizeof(test->state.k));
		copy(fx + native->at[6], test->state.zmm_high, sizeof(test->state.zmm_high));
		copy(fx + native->at[7], test->state.zmm_more, sizeof(test->state.zmm_more));
	}
	if (test->bits == 64) {
		set_base(ARCH_SET_GS, test->state.gs_base);
		set_base(ARCH_SET_FS, test->state.fs_base);
	}
}

/* A component in its initial state is not in the image. */
static void frame_store_vectors(struct native *native, const uint8_t *fx)
{
	static const uint8_t zeros[sizeof(((struct oracle_state *)0)->zmm_more)];
	const uint64_t present = *(const uint64_t *)(const void *)(fx + XSTATE_BV) & native->components;
	struct oracle_state *state = &native->result->state;

	copy(state->ymm, present & XSTATE_AVX ? fx + XSTATE_AVX_AT : zeros, sizeof(state->ymm));
	copy(state->k, present & 0x20 ? fx + native->at[5] : zeros, sizeof(state->k));
	copy(state->zmm_high, present & 0x40 ? fx + native->at[6] : zeros, sizeof(state->zmm_high));
	copy(state->zmm_more, present & 0x80 ? fx + native->at[7] : zeros, sizeof(state->zmm_more));
}

static void frame_store(struct native *native, ucontext_t *uc)
{
	struct oracle_result *result = native->result;
	greg_t *gregs = uc->uc_mcontext.gregs;

	for (unsigned i = 0; i < 16; i++)
		result->state.r[i] = (uint64_t)gregs[greg_of[i]];
	result->state.rip = (uint64_t)gregs[REG_RIP] + (native->test->bits == 16 ? ORACLE_CODE : 0);
	result->state.rflags = (uint64_t)gregs[REG_EFL] & ~(uint64_t)(native->test->step ? FLAG_TF : 0);
	result->vector = (uint8_t)gregs[REG_TRAPNO];
	result->error = (uint32_t)gregs[REG_ERR];
	result->cr2 = result->vector == ORACLE_VECTOR_PF ? (uint64_t)gregs[REG_CR2] : 0;
	copy(&result->state.fx, uc->uc_mcontext.fpregs, offsetof(struct oracle_fx, rest));
	frame_store_vectors(native, (const uint8_t *)uc->uc_mcontext.fpregs);
	copy(gregs, native->host, sizeof(native->host));
}

/*
 * 32-bit code wants usable data segments, which 64-bit code does without; instructions may have changed them.
 */
static inline void load_data_segments(void)
{
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(USER_DS));
}

/*
 * Some instructions fault forever (the kernel retries), or jump to themselves. Called at each tick of the
 * timer.
 */
static bool watchdog_expired(struct native *native)
{
	const bool expired = native->phase == PHASE_RUN && native->started == native->started_at_tick;

	native->started_at_tick = native->started;
	return expired;
}

static __attribute__((no_stack_protector)) void on_signal(int signal, siginfo_t *info, void *context)
{
	struct native *native = native_current;

	(void)info;
	__asm__ volatile("cld");
	if (signal == SIGPROF && !watchdog_expired(native))
		return;
	if (native->phase == PHASE_ENTER) {
		native->phase = PHASE_RUN;
		load_data_segments();
		frame_load(native, context);
		return;
	}
	if (native->phase != PHASE_RUN)
		_exit(99);
	native->result->state.fs_base = get_base(ARCH_GET_FS);
	native->result->state.gs_base = get_base(ARCH_GET_GS);
	set_base(ARCH_SET_FS, native->host_fs);
	set_base(ARCH_SET_GS, native->host_gs);
	native->phase = PHASE_IDLE;
	frame_store(native, context);
	if (signal == SIGPROF)
		native->result->vector = ORACLE_VECTOR_HANG;
}

/* The experiment begins and ends at the INT3. */
static __attribute__((noinline)) void native_switch(void)
{
	const uint32_t mxcsr = 0x1f80;

	/*
	 * POPF: sigreturn keeps NT, ID and AC as the experiment left them. The red zone must not be pushed
	 * into.
	 */
	__asm__ volatile(
		"int3; fninit; ldmxcsr %0; lea -128(%%rsp), %%rsp; pushq $0x202; popfq; lea 128(%%rsp), %%rsp"
		:
		: "m"(mxcsr)
		: "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
		  "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

void native_run(struct native *native, const struct oracle_case *test, struct oracle_result *result)
{
	native->test = test;
	native->result = result;
	memcpy(native->data, test->data, ORACLE_DATA_SIZE);
	memcpy(native->code + (test->state.rip - ORACLE_CODE), test->code, test->code_size);
	native->started++;
	native->phase = PHASE_ENTER;
	native_switch();
	memcpy(result->data, native->data, ORACLE_DATA_SIZE);
}

static void *map_at(uint64_t gva, size_t size, int protection)
{
	void *p = mmap((void *)gva, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (gva == ORACLE_RO)
		oracle_fill_ro(p);
	return mprotect(p, size, protection) ? NULL : p;
}

static bool install_handlers(struct native *native)
{
	static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGPROF};
	struct sigaction action = {.sa_sigaction = on_signal,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};
	const struct itimerval tick = {.it_interval.tv_usec = WATCHDOG_US, .it_value.tv_usec = WATCHDOG_US};
	stack_t stack = {.ss_size = ALT_STACK_SIZE};

	native->alt_stack = malloc(ALT_STACK_SIZE);
	stack.ss_sp = native->alt_stack;
	if (!native->alt_stack || sigaltstack(&stack, NULL))
		return false;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], &action, NULL))
			return false;
	return setitimer(ITIMER_PROF, &tick, NULL) == 0;
}

/* A 16-bit code segment whose offset 0 is ORACLE_CODE. */
static bool make_segment_16(void)
{
	struct user_desc segment = {
		.entry_number = 0,
		.base_addr = ORACLE_CODE,
		.limit = 0xffff,
		.contents = 2 /* code */,
		.useable = 1,
	};

	return syscall(SYS_modify_ldt, 1, &segment, sizeof(segment)) == 0;
}

/* Does a NOP in a segment of this width step? */
static bool try_bits(struct native *native, uint8_t bits)
{
	struct oracle_case *test = calloc(1, sizeof(*test));
	struct oracle_result *result = calloc(1, sizeof(*result));
	bool works = false;

	if (test && result) {
		test->bits = bits;
		test->step = true;
		test->code[0] = 0x90;
		test->code_size = 1;
		test->state.rip = ORACLE_CODE;
		test->state.fx.control = 0x37f;
		test->state.fx.mxcsr = 0x1f80;
		native_run(native, test, result);
		works = result->vector == ORACLE_VECTOR_DB && result->state.rip == ORACLE_CODE + 1;
	}
	free(test);
	free(result);
	return works;
}

struct native *native_open(void)
{
	struct native *native = calloc(1, sizeof(*native));

	if (!native)
		return NULL;
	native_current = native;
	native->components = host_xcr0() & (XSTATE_AVX | XSTATE_AVX512);
	for (unsigned i = 5; i < 8; i++)
		native->at[i] = host_xstate_offset(i);
	native->host_fs = get_base(ARCH_GET_FS);
	native->host_gs = get_base(ARCH_GET_GS);
	native->data = map_at(ORACLE_DATA, ORACLE_DATA_SIZE, PROT_READ | PROT_WRITE);
	native->ro = map_at(ORACLE_RO, ORACLE_PAGE, PROT_READ);
	native->code = map_at(ORACLE_CODE, ORACLE_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	if (!native->data || !native->ro || !native->code || !install_handlers(native) ||
	    !try_bits(native, 64)) {
		native_close(native);
		return NULL;
	}
	return native;
}

/* The LDT is only made when asked for: LAR and its like would see it. */
bool native_has_bits(struct native *native, unsigned bits)
{
	return bits == 64 || (bits == 32 && try_bits(native, 32)) ||
	       (bits == 16 && make_segment_16() && try_bits(native, 16));
}

void native_close(struct native *native)
{
	const stack_t none = {.ss_flags = SS_DISABLE};

	setitimer(ITIMER_PROF, &(struct itimerval){0}, NULL);
	sigaltstack(&none, NULL);
	if (native->data)
		munmap(native->data, ORACLE_DATA_SIZE);
	if (native->ro)
		munmap(native->ro, ORACLE_PAGE);
	if (native->code)
		munmap(native->code, ORACLE_CODE_SIZE);
	free(native->alt_stack);
	free(native);
	native_current = NULL;
}

static void *runner_open(void)
{
	return native_open();
}

static void runner_run(void *self, const struct oracle_case *test, struct oracle_result *result)
{
	native_run(self, test, result);
}

static void runner_close(void *self)
{
	native_close(self);
}

const struct oracle_runner oracle_native = {
	.name = "native",
	.open = runner_open,
	.run = runner_run,
	.close = runner_close,
};
