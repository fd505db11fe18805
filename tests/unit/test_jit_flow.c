/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control flow and system instructions of translated code: hot loops of them must do what the interpreter
 * does, and stay in translated code.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/engine_rig.h"
#include "tests/unit/jit_env.h"

#define PAYLOAD(name_, text_)                                                                                \
	extern const uint8_t name_##_begin[], name_##_end[];                                                 \
	__asm__(".pushsection .rodata\n.code64\n.globl " #name_ "_begin, " #name_ "_end\n" #name_            \
		"_begin:\n" text_ "\n" #name_ "_end:\n.popsection")
#define EXIT "out %al, $0xf4\n"

/* What a program left, and how often it went into translated code and out of it for one instruction. */
struct result {
	uint64_t r[16], rip;
	uint32_t eflags;
	uint64_t entries, calls;
};

static void run(const char *mode, const uint8_t *begin, const uint8_t *end, struct result *result)
{
	struct rig rig;

	if (mode)
		setenv("VMMCTL_TEST_JIT", mode, 1);
	else
		unsetenv("VMMCTL_TEST_JIT");
	assert_int_equal(rig_init(&rig, 1), 0);
	rig_load(&rig, 0, RIG_CODE, begin, end);
	assert_int_equal(rig_run(&rig, 0), X86_EXIT_KICKED);
	*result = (struct result){.rip = rig.cpu[0]->rip, .eflags = x86_eflags_get(rig.cpu[0])};
	memcpy(result->r, rig.cpu[0]->r, sizeof(result->r));
	if (mode) {
		result->entries = jit_counter(rig.vm, "jit_entries");
		result->calls = jit_counter(rig.vm, "jit_calls");
		assert_int_equal(jit_counter(rig.vm, "jit_mismatches"), 0);
	}
	rig_free(&rig);
}

/* The same in all tiers; what the translated run counted. */
static struct result run_alike(const uint8_t *begin, const uint8_t *end)
{
	struct result plain, translated, verified;

	run(NULL, begin, end, &plain);
	run("on", begin, end, &translated);
	run("verify", begin, end, &verified);
	assert_memory_equal(&plain, &translated, offsetof(struct result, entries));
	assert_memory_equal(&plain, &verified, offsetof(struct result, entries));
	return translated;
}

/* Sums of what PUSHF, the bases and the selectors show, with IF and DF changing under way. */
PAYLOAD(system_loop, "mov %cr4, %rax\n or $0x10000, %rax\n mov %rax, %cr4\n"
		     "mov $20000, %ecx\n xor %r8, %r8\n xor %r9, %r9\n mov $0x1000, %r10\n"
		     "1: cli\n pushf\n pop %rax\n add %rax, %r8\n"
		     "std\n cmp %rcx, %r8\n pushf\n pop %rax\n xor %rax, %r9\n add %rax, %r8\n cld\n"
		     "sti\n add %rax, %r9\n pushf\n pop %r13\n add %r13, %r8\n"
		     "wrgsbase %r8\n swapgs\n rdgsbase %rdx\n add %rdx, %r9\n"
		     "wrfsbase %r10\n rdfsbase %rdx\n add %edx, %r9d\n add $8, %r10\n"
		     "mov %cs, %edx\n add %rdx, %r9\n mov %cr0, %r14\n add %r14, %r9\n"
		     "shl $20, %r8\n shr $20, %r8\n"
		     "dec %ecx\n jnz 1b\n" EXIT);

static void system_instructions_stay_in_translated_code(void **state)
{
	struct result result = run_alike(system_loop_begin, system_loop_end);

	assert_true(result.entries < 200);
	assert_true(result.calls < 200);
}

/* RDTSC never goes back, be it translated or not. */
PAYLOAD(time_loop, "mov $20000, %ecx\n xor %r8, %r8\n xor %r9, %r9\n"
		   "1: rdtsc\n shl $32, %rdx\n or %rdx, %rax\n cmp %r8, %rax\n adc $0, %r9\n mov %rax, %r8\n"
		   "dec %ecx\n jnz 1b\n" EXIT);

static void time_never_goes_back(void **state)
{
	struct result result;

	run("on", time_loop_begin, time_loop_end, &result);
	assert_int_equal(result.r[REG_R9], 0);
	assert_true(result.r[REG_R8] > 0);
}

/* POPF ends a block; what follows it is entered without the run loop. The counter lends it the status flags.
 */
PAYLOAD(popf_loop,
	"mov $20000, %ecx\n xor %r8, %r8\n"
	"1: mov %ecx, %eax\n and $0x8d5, %eax\n push %rax\n popf\n pushf\n pop %rax\n add %rax, %r8\n"
	"dec %ecx\n jnz 1b\n" EXIT);

static void ends_go_on_in_translated_code(void **state)
{
	struct result result = run_alike(popf_loop_begin, popf_loop_end);

	assert_true(result.entries < 200);
	assert_true(result.calls > 19000);
}

/* Deeper than the ring of returns, and a result that depends on every return. */
PAYLOAD(recursion, "mov $60, %edi\n mov $200, %ecx\n xor %eax, %eax\n"
		   "1: push %rdi\n call 2f\n pop %rdi\n dec %ecx\n jnz 1b\n" EXIT
		   "2: test %edi, %edi\n jz 3f\n dec %edi\n call 2b\n lea 1(%rax, %rax, 2), %rax\n"
		   "add %rdi, %rax\n inc %edi\n 3: ret\n");

static void deep_recursion_returns(void **state)
{
	assert_true(run_alike(recursion_begin, recursion_end).entries < 300);
}

/* Returns that no call made, calls that never return, and one that returns elsewhere. */
PAYLOAD(odd_returns, "mov $5000, %ecx\n xor %eax, %eax\n"
		     "1: lea 2f(%rip), %rdx\n push %rdx\n ret\n hlt\n"
		     "2: call 3f\n hlt\n 3: pop %rdx\n add $7, %rdx\n add %rcx, %rax\n"
		     "call 4f\n add $3, %rax\n jmp 5f\n"
		     "4: addq $4, (%rsp)\n lea (%rax, %rax, 4), %rax\n ret\n"
		     "5: dec %ecx\n jnz 1b\n" EXIT);

static void returns_without_their_calls(void **state)
{
	run_alike(odd_returns_begin, odd_returns_end);
}

/*
 * The page that is returned to changes under the call: the same linear address, other code. PDE 4 goes back
 * and forth between 8 MiB and 10 MiB.
 */
PAYLOAD(remap, "mov $3000, %ecx\n xor %eax, %eax\n mov $0x800000, %ebx\n"
	       "lea 3f(%rip), %rsi\n mov %rbx, %rdi\n movsq\n movsq\n"
	       "lea 4f(%rip), %rsi\n mov $0xa00000, %edi\n movsq\n movsq\n lea 2f(%rip), %rdx\n"
	       "1: call *%rbx\n dec %ecx\n jnz 1b\n" EXIT "2: xorl $0x200000, 0x3020\n invlpg (%rbx)\n ret\n"
	       "3: call *%rdx\n lea 1(%rax, %rax, 2), %rax\n ret\n .balign 16\n"
	       "4: call *%rdx\n lea 7(%rax, %rax, 4), %rax\n ret\n .balign 16\n");

static void return_to_a_page_mapped_elsewhere(void **state)
{
	run_alike(remap_begin, remap_end);
}

/* A loop over a page's end, with an instruction across it; every 64th time its second half changes. */
PAYLOAD(crossing, "mov $4000, %ecx\n xor %eax, %eax\n jmp 1f\n .org crossing_begin + 0xff0\n"
		  "1: nop\n nop\n test $63, %cl\n jnz 2f\n incb 3f-1(%rip)\n"
		  "2: .org crossing_begin + 0xffe\n add $0x1020304, %eax\n"
		  "3: dec %ecx\n jnz 1b\n" EXIT);

static void instruction_across_the_page(void **state)
{
	assert_true(run_alike(crossing_begin, crossing_end).entries < 1000);
}

/*
 * Interrupts that come at any moment: r9 counts them, and r10 those whose frame shows what no interpreter
 * would. The program ends at the thousandth.
 */
#define INTERRUPT_VECTOR 0x40u
#define INTERRUPT_GDT    0x6000u
#define INTERRUPT_IDT    0x7000u
#define COUNT_IT         "inc %r9\n cmp $1000, %r9\n jb 9f\n out %al, $0xf4\n 9: iretq\n"

struct interrupter {
	struct rig rig;
	pthread_t thread;
	atomic_bool stop;
};

static int acknowledge(void *opaque, unsigned cpu)
{
	struct rig *rig = opaque;

	x86_cpu_unpost(rig->cpu[cpu], ATTENTION_INTR);
	return INTERRUPT_VECTOR;
}

static void *interrupt(void *opaque)
{
	struct interrupter *it = opaque;
	const struct timespec pause = {.tv_nsec = 20000};

	while (!it->stop) {
		x86_cpu_post(it->rig.cpu[0], ATTENTION_INTR);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void store64(struct rig *rig, uint64_t gpa, uint64_t value)
{
	memcpy(&rig->ram[gpa], &value, sizeof(value));
}

static void load_tables(struct rig *rig, uint64_t handler)
{
	const uint64_t gate = (handler & 0xffff) | 8u << 16 | 0x8e00ull << 32 | (handler >> 16) << 48;

	store64(rig, INTERRUPT_GDT + 8, 0x00af9b000000ffffull);
	store64(rig, INTERRUPT_GDT + 16, 0x00cf93000000ffffull);
	store64(rig, INTERRUPT_IDT + 16 * INTERRUPT_VECTOR, gate);
	rig->cpu[0]->gdtr.base = INTERRUPT_GDT;
	rig->cpu[0]->gdtr.limit = 23;
	rig->cpu[0]->idtr.base = INTERRUPT_IDT;
	rig->cpu[0]->idtr.limit = 0xfff;
}

/* The handler is 256 bytes behind the beginning; r10 afterwards. */
static uint64_t run_interrupted(const uint8_t *begin, const uint8_t *end)
{
	struct interrupter *it = calloc(1, sizeof(*it));
	uint64_t wrong;

	assert_non_null(it);
	setenv("VMMCTL_TEST_JIT", "on", 1);
	assert_int_equal(rig_init(&it->rig, 1), 0);
	it->rig.host.intr_acknowledge = acknowledge;
	rig_load(&it->rig, 0, RIG_CODE, begin, end);
	load_tables(&it->rig, RIG_CODE + 256);
	assert_int_equal(pthread_create(&it->thread, NULL, interrupt, it), 0);
	assert_int_equal(rig_run(&it->rig, 0), X86_EXIT_KICKED);
	it->stop = true;
	pthread_join(it->thread, NULL);
	assert_int_equal(it->rig.cpu[0]->r[REG_R9], 1000);
	assert_true(jit_counter(it->rig.vm, "jit_blocks") > 0);
	wrong = it->rig.cpu[0]->r[REG_R10];
	rig_free(&it->rig);
	free(it);
	return wrong;
}

/* The loop sets carry, and nobody reads it; the handler clears it. Who has gone round since then has it set.
 */
PAYLOAD(dead_flags, "xor %r9, %r9\n xor %r10, %r10\n xor %eax, %eax\n xor %r11, %r11\n sti\n"
		    "1: mov %rax, %rdx\n lea 1(%rax), %rax\n cmp $-1, %rax\n jne 1b\n hlt\n"
		    ".org dead_flags_begin + 256\n testb $1, 16(%rsp)\n jnz 2f\n"
		    "cmp %rax, %r11\n je 2f\n inc %r10\n"
		    "2: mov %rax, %r11\n andb $0xfe, 16(%rsp)\n " COUNT_IT);

static void interrupts_show_the_flags(void **state)
{
	assert_int_equal(run_interrupted(dead_flags_begin, dead_flags_end), 0);
}

/* No interrupt between STI and the instruction behind it. */
PAYLOAD(shadow, "xor %r9, %r9\n xor %r10, %r10\n lea 2f(%rip), %r8\n"
		"1: cli\n inc %rax\n sti\n 2: inc %rdx\n inc %rdx\n jmp 1b\n"
		".org shadow_begin + 256\n cmp %r8, (%rsp)\n jne 3f\n inc %r10\n 3: " COUNT_IT);

static void nothing_comes_between_sti_and_the_next(void **state)
{
	assert_int_equal(run_interrupted(shadow_begin, shadow_end), 0);
}

/*
 * Strings by runs against a model that goes element by element: every width, direction, overlap and repeat
 * prefix, across pages. RSI, RDI and RCX, the flags and the memory must be what single elements leave.
 */
#define STRING_AREA  0x400000u
#define STRING_BYTES (3u * 4096)

struct string_case {
	uint8_t code[8];
	unsigned len, width;
	bool compare, load, store, down;
	uint8_t rep;
};

static uint64_t string_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static struct string_case string_pick(uint64_t *seed)
{
	static const uint8_t opcode[] = {0xa4, 0xa6, 0xaa, 0xae}; /* movs, cmps, stos, scas */
	struct string_case c = {.width = 1u << string_random(seed) % 4, .down = string_random(seed) % 3 == 0};
	uint8_t op = opcode[string_random(seed) % 4];

	c.rep = string_random(seed) & 1 ? 0xf3 : 0xf2;
	c.compare = op == 0xa6 || op == 0xae;
	c.load = op == 0xa4 || op == 0xa6;
	c.store = op == 0xa4 || op == 0xaa;
	if (c.width == 2)
		c.code[c.len++] = 0x66;
	c.code[c.len++] = c.rep;
	if (c.width == 8)
		c.code[c.len++] = 0x48;
	c.code[c.len++] = op | (c.width > 1);
	c.code[c.len++] = 0xe6; /* out %al, $0xf4 */
	c.code[c.len++] = 0xf4;
	return c;
}

struct string_state {
	uint64_t rsi, rdi, rcx, rax;
	bool zf, cf, compared;
};

static void string_model(const struct string_case *c, struct string_state *s, uint8_t *ram)
{
	const uint64_t step = c->down ? (uint64_t) - (int64_t)c->width : c->width;

	while (s->rcx) {
		uint64_t a = 0, b = 0;

		memcpy(&a, c->load ? &ram[s->rsi] : (const uint8_t *)&s->rax, c->width);
		memcpy(&b, &ram[s->rdi], c->width);
		if (c->store)
			memcpy(&ram[s->rdi], &a, c->width);
		s->rsi += c->load ? step : 0;
		s->rdi += step;
		s->rcx--;
		if (!c->compare)
			continue;
		s->zf = a == b;
		s->cf = a < b;
		s->compared = true;
		if (s->zf != (c->rep == 0xf3))
			break;
	}
}

static void string_fill(uint8_t *area, uint64_t *seed)
{
	memset(area, 5, STRING_BYTES);
	for (unsigned i = string_random(seed) % 6; i > 0; i--)
		area[string_random(seed) % STRING_BYTES] = (uint8_t)string_random(seed);
}

static void string_trial(struct rig *rig, uint8_t *model, uint64_t *seed)
{
	const struct string_case c = string_pick(seed);
	struct string_state s = {.rsi = STRING_AREA + 4000 + string_random(seed) % 4000,
				 .rcx = string_random(seed) % 400,
				 .rax = 0x0505050505050505ull};
	struct x86_cpu *cpu = rig->cpu[0];

	s.rdi = s.rsi - 40 + string_random(seed) % 80;
	if (string_random(seed) % 2)
		s.rdi = STRING_AREA + 4000 + string_random(seed) % 4000;
	string_fill(&rig->ram[STRING_AREA], seed);
	memcpy(&model[STRING_AREA], &rig->ram[STRING_AREA], STRING_BYTES);
	rig_load(rig, 0, RIG_CODE, c.code, c.code + c.len);
	cpu->r[REG_RSI] = s.rsi;
	cpu->r[REG_RDI] = s.rdi;
	cpu->r[REG_RCX] = s.rcx;
	cpu->r[REG_RAX] = s.rax;
	x86_eflags_set(cpu, c.down ? FLAG_DF : 0, FLAG_DF);
	assert_int_equal(rig_run(rig, 0), X86_EXIT_KICKED);
	string_model(&c, &s, model);
	assert_int_equal(cpu->r[REG_RSI], s.rsi);
	assert_int_equal(cpu->r[REG_RDI], s.rdi);
	assert_int_equal(cpu->r[REG_RCX], s.rcx);
	if (s.compared) {
		assert_int_equal(!!(x86_eflags_get(cpu) & FLAG_ZF), s.zf);
		assert_int_equal(!!(x86_eflags_get(cpu) & FLAG_CF), s.cf);
	}
	assert_memory_equal(&rig->ram[STRING_AREA], &model[STRING_AREA], STRING_BYTES);
}

static void strings_go_element_by_element(void **state)
{
	uint8_t *model = calloc(1, RIG_RAM_SIZE);
	uint64_t seed = 0x57a1;
	struct rig rig;

	assert_non_null(model);
	unsetenv("VMMCTL_TEST_JIT");
	assert_int_equal(rig_init(&rig, 1), 0);
	for (unsigned i = 0; i < 20000; i++)
		string_trial(&rig, model, &seed);
	rig_free(&rig);
	free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(system_instructions_stay_in_translated_code),
		cmocka_unit_test(time_never_goes_back),
		cmocka_unit_test(ends_go_on_in_translated_code),
		cmocka_unit_test(deep_recursion_returns),
		cmocka_unit_test(returns_without_their_calls),
		cmocka_unit_test(return_to_a_page_mapped_elsewhere),
		cmocka_unit_test(instruction_across_the_page),
		cmocka_unit_test(interrupts_show_the_flags),
		cmocka_unit_test(nothing_comes_between_sti_and_the_next),
		cmocka_unit_test(strings_go_element_by_element),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
