/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The assembler against capstone: what each family of instructions is encoded as must read back as what was
 * meant, for every register, base, index and size of displacement. And the two mappings of code memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <capstone/capstone.h>
#include <cmocka.h>

#include "tcg-fallback/emit/asm.h"
#include "tcg-fallback/emit/code_memory.h"

static const char *const names64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
				      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const names32[] = {"eax", "ecx", "edx",  "ebx",  "esp",  "ebp",  "esi",  "edi",
				      "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"};

struct probe {
	csh capstone;
	uint8_t bytes[64];
	struct asm_code code;
};

static void begin(struct probe *p)
{
	p->code = (struct asm_code){.at = p->bytes, .end = p->bytes + sizeof(p->bytes)};
}

/* What was written is one instruction, and reads like this. */
static void expect(struct probe *p, const char *text)
{
	size_t size = (size_t)(p->code.at - p->bytes);
	char found[256];
	cs_insn *insn;

	assert_false(p->code.overflow);
	assert_int_equal(cs_disasm(p->capstone, p->bytes, size, 0x1000, 1, &insn), 1);
	snprintf(found, sizeof(found), "%s%s%s", insn->mnemonic, insn->op_str[0] ? " " : "", insn->op_str);
	assert_string_equal(found, text);
	assert_int_equal(insn->size, size);
	cs_free(insn, 1);
	begin(p);
}

static int open_capstone(void **state)
{
	static struct probe probe;

	if (cs_open(CS_ARCH_X86, CS_MODE_64, &probe.capstone) != CS_ERR_OK)
		return -1;
	begin(&probe);
	*state = &probe;
	return 0;
}

static int close_capstone(void **state)
{
	struct probe *p = *state;

	return cs_close(&p->capstone) == CS_ERR_OK ? 0 : -1;
}

static void registers(void **state)
{
	struct probe *p = *state;
	char text[128];

	for (unsigned a = 0; a < 16; a++) {
		for (unsigned b = 0; b < 16; b++) {
			asm_mov_rr(&p->code, true, a, b);
			snprintf(text, sizeof(text), "mov %s, %s", names64[a], names64[b]);
			expect(p, text);
			asm_mov_rr(&p->code, false, a, b);
			snprintf(text, sizeof(text), "mov %s, %s", names32[a], names32[b]);
			expect(p, text);
			asm_alu_rm(&p->code, ASM_CMP, true, a, asm_rm_reg(b));
			snprintf(text, sizeof(text), "cmp %s, %s", names64[a], names64[b]);
			expect(p, text);
		}
		asm_jmp_reg(&p->code, a);
		snprintf(text, sizeof(text), "jmp %s", names64[a]);
		expect(p, text);
		asm_call_reg(&p->code, a);
		snprintf(text, sizeof(text), "call %s", names64[a]);
		expect(p, text);
		asm_shift(&p->code, 5, true, a, 51);
		snprintf(text, sizeof(text), "shr %s, 0x33", names64[a]);
		expect(p, text);
	}
}

static void append_displacement(char *text, size_t size, int32_t disp)
{
	size_t len = strlen(text);
	uint32_t magnitude = disp < 0 ? 0u - (uint32_t)disp : (uint32_t)disp;

	if (disp)
		snprintf(text + len, size - len, magnitude > 9 ? " %c 0x%x" : " %c %x", disp < 0 ? '-' : '+',
			 magnitude);
}

static void memory_operands(void **state)
{
	static const int32_t disps[] = {0, 1, -1, 127, -128, 128, -129, INT32_MAX, INT32_MIN + 1};
	struct probe *p = *state;

	for (unsigned base = 0; base < 16; base++) {
		for (unsigned index = 0; index < 17; index++) {
			for (unsigned i = 0; i < sizeof(disps) / sizeof(disps[0]); i++) {
				struct asm_rm rm = asm_rm_mem(base, disps[i]);
				char text[128];

				if (index == 4)
					continue; /* rsp is no index */
				snprintf(text, sizeof(text), "mov r9, qword ptr [%s", names64[base]);
				if (index < 16) {
					rm.index = (uint8_t)index;
					rm.scale = 2;
					snprintf(text + strlen(text), sizeof(text) - strlen(text), " + %s*4",
						 names64[index]);
				}
				append_displacement(text, sizeof(text), disps[i]);
				strcat(text, "]");
				asm_load(&p->code, true, ASM_R9, rm);
				expect(p, text);
			}
		}
	}
}

static void segment_operands(void **state)
{
	struct probe *p = *state;

	asm_load(&p->code, true, ASM_RSI, asm_rm_gs(0x118));
	expect(p, "mov rsi, qword ptr gs:[0x118]");
	asm_store(&p->code, false, asm_rm_gs(0x20), ASM_R15);
	expect(p, "mov dword ptr gs:[0x20], r15d");
	asm_alu_imm(&p->code, ASM_CMP, false, asm_rm_gs(0xb8), 0);
	expect(p, "cmp dword ptr gs:[0xb8], 0");
	asm_alu_imm(&p->code, ASM_ADD, true, asm_rm_gs(0x88), 0x3000);
	expect(p, "add qword ptr gs:[0x88], 0x3000");
}

static void immediates(void **state)
{
	struct probe *p = *state;

	asm_mov_imm64(&p->code, ASM_R14, 0x123456789abcdef0);
	expect(p, "movabs r14, 0x123456789abcdef0");
	asm_mov_imm64(&p->code, ASM_R14, 0x80000000);
	expect(p, "mov r14d, 0x80000000");
	asm_mov_imm64(&p->code, ASM_RBX, UINT64_MAX - 1);
	expect(p, "mov rbx, -2");
	asm_alu_imm(&p->code, ASM_AND, true, asm_rm_reg(ASM_R15), -4096);
	expect(p, "and r15, 0xfffffffffffff000");
	asm_alu_imm(&p->code, ASM_SUB, true, asm_rm_reg(ASM_RSP), 8);
	expect(p, "sub rsp, 8");
}

/* Prefixes and escapes of the general encoder. */
static void encodings(void **state)
{
	struct probe *p = *state;
	struct asm_rm r13 = asm_rm_mem(ASM_R13, 0), home = asm_rm_gs(0x60), rdi = asm_rm_reg(ASM_RDI);
	struct asm_op lock_xadd = {.opcode = 0xc1, .map = 1, .w = true, .lock = true, .reg = ASM_R14};
	struct asm_op word_add = {.opcode = 0x01, .prefix66 = true, .reg = ASM_R8};
	struct asm_op popcnt = {.opcode = 0xb8, .map = 1, .w = true, .rep = 0xf3, .reg = ASM_RAX};
	struct asm_op byte_mov = {.opcode = 0x88, .reg = ASM_RBX, .force_rex = true};
	struct asm_op high = {.opcode = 0x88, .reg = 4};
	struct asm_op movbe = {.opcode = 0xf0, .map = 2, .reg = ASM_R11};
	struct asm_op andn = {.opcode = 0xf2, .map = 2, .w = true, .vex = true, .vvvv = ASM_R15, .reg = 14};
	struct asm_op rorx = {.opcode = 0xf0, .map = 3, .vex = true, .rep = 0xf2, .reg = ASM_R9};

	asm_insn(&p->code, &lock_xadd, &r13);
	expect(p, "lock xadd qword ptr [r13], r14");
	asm_insn(&p->code, &word_add, &r13);
	expect(p, "add word ptr [r13], r8w");
	asm_insn(&p->code, &popcnt, &home);
	expect(p, "popcnt rax, qword ptr gs:[0x60]");
	asm_insn(&p->code, &byte_mov, &rdi);
	expect(p, "mov dil, bl");
	assert_true(asm_needs_rex(&byte_mov, &rdi));
	assert_false(asm_needs_rex(&high, &home));
	asm_insn(&p->code, &high, &home);
	expect(p, "mov byte ptr gs:[0x60], ah");
	asm_insn(&p->code, &movbe, &r13);
	expect(p, "movbe r11d, dword ptr [r13]");
	asm_insn(&p->code, &andn, &r13);
	expect(p, "andn r14, r15, qword ptr [r13]");
	asm_insn(&p->code, &rorx, &rdi);
	asm_imm(&p->code, 7, 1);
	expect(p, "rorx r9d, edi, 7");
	asm_nop5(&p->code);
	expect(p, "nop dword ptr [rax + rax]");
}

static void jumps(void **state)
{
	struct probe *p = *state;
	uint8_t *rel;

	rel = asm_jmp(&p->code);
	asm_bind(rel, p->bytes + 0x20);
	expect(p, "jmp 0x1020");
	asm_jcc_to(&p->code, ASM_BE, p->bytes - 0x10);
	expect(p, "jbe 0xff0");
	asm_call_to(&p->code, p->bytes + 5);
	expect(p, "call 0x1005");
	rel = asm_jecxz(&p->code);
	asm_bind_short(&p->code, rel, p->bytes + 0x12);
	expect(p, "jecxz 0x1012");
}

static void no_room(void **state)
{
	uint8_t bytes[6];
	struct asm_code code = {.at = bytes, .end = bytes + sizeof(bytes)};

	asm_mov_imm64(&code, ASM_R14, 0x123456789abcdef0);
	assert_true(code.overflow);
	assert_ptr_equal(code.at, bytes + sizeof(bytes));
}

static void code_runs_and_is_not_writable(void **state)
{
	struct code_memory memory;
	struct asm_code code;
	char line[256];
	unsigned maps = 0;
	FILE *file;

	assert_int_equal(code_memory_create(&memory, 1u << 16), 0);
	code = (struct asm_code){.at = memory.rw, .end = memory.rw + memory.size_bytes};
	asm_mov_imm32(&code, ASM_RAX, 42);
	asm_byte(&code, 0xc3);
	assert_int_equal(((int (*)(void))(uintptr_t)code_memory_run(&memory, memory.rw))(), 42);
	file = fopen("/proc/self/maps", "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "vmmctl-code"))
			continue;
		maps++;
		assert_true(strstr(line, " rw-s ") || strstr(line, " r-xs "));
	}
	fclose(file);
	assert_int_equal(maps, 2);
	code_memory_destroy(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers),        cmocka_unit_test(memory_operands),
		cmocka_unit_test(segment_operands), cmocka_unit_test(immediates),
		cmocka_unit_test(encodings),        cmocka_unit_test(jumps),
		cmocka_unit_test(no_room),          cmocka_unit_test(code_runs_and_is_not_writable),
	};

	return cmocka_run_group_tests(tests, open_capstone, close_capstone);
}
