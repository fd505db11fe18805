/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x87's control instructions: control and status word, environment and whole state in their four memory
 * images. They leave FIP, FDP and FOP alone. Intel SDM vol. 1, 8.1.10, figures 8-9 to 8-12:
 *
 *   word or dword   protected mode        real and virtual-8086 mode
 *   0  control
 *   1  status
 *   2  tags
 *   3  FIP          offset                linear address, bits 15-0
 *   4  FCS          selector; FOP above   FOP and linear address bits from 16 on, in bit 12 and above
 *   5  FDP          offset                linear address, bits 15-0
 *   6  FDS          selector              linear address bits from 16 on, in bit 12 and above
 *
 * The upper FOP exists in the 32-bit protected image only. FNSAVE appends st(0) to st(7), ten bytes each.
 */
#include <string.h>

#include "tcg-fallback/x86/x87_state.h"

#define ENV_WORDS    7
#define ENV_SIZE_MAX 28
#define STATE_SIZE   80

static bool x87_image_is_real(const struct x86_cpu *cpu)
{
	return !(cpu->cr0 & CR0_PE) || (cpu->eflags & FLAG_VM);
}

/* The image knows 16 and 32 bits; a REX.W changes nothing. */
static size_t x87_image_word(const struct x86_insn *in)
{
	return in->opsize == 2 ? 2 : 4;
}

/* Fields 3 to 6 of a real-mode image, whose addresses are linear. */
static void x87_image_put_real(const struct x86_fpu *fpu, size_t word, uint32_t *field)
{
	uint32_t ip = (uint32_t)fpu->fip + ((uint32_t)fpu->fcs << 4);
	uint32_t dp = (uint32_t)fpu->fdp + ((uint32_t)fpu->fds << 4);
	uint32_t high = word == 2 ? 0xf000 : 0x0ffff000;

	field[3] = ip & 0xffff;
	field[4] = (ip >> 4 & high) | fpu->opcode;
	field[5] = dp & 0xffff;
	field[6] = dp >> 4 & high;
}

static void x87_image_put_protected(const struct x86_fpu *fpu, uint32_t *field)
{
	field[3] = (uint32_t)fpu->fip;
	field[4] = fpu->fcs | (uint32_t)fpu->opcode << 16;
	field[5] = (uint32_t)fpu->fdp;
	field[6] = 0xffff0000 | fpu->fds;
}

static void x87_image_make(const struct x86_cpu *cpu, size_t word, uint8_t *image)
{
	uint32_t field[ENV_WORDS] = {
		0xffff0000 | cpu->fpu.control,
		0xffff0000 | x87_status_get(cpu),
		0xffff0000 | x87_tag_word_get(cpu),
	};

	if (x87_image_is_real(cpu))
		x87_image_put_real(&cpu->fpu, word, field);
	else
		x87_image_put_protected(&cpu->fpu, field);
	for (size_t n = 0; n < ENV_WORDS; n++)
		memcpy(image + n * word, &field[n], word);
}

static void x87_image_take(struct x86_cpu *cpu, size_t word, const uint8_t *image)
{
	uint32_t field[ENV_WORDS] = {0};
	struct x86_fpu *fpu = &cpu->fpu;

	for (size_t n = 0; n < ENV_WORDS; n++)
		memcpy(&field[n], image + n * word, word);
	if (x87_image_is_real(cpu)) {
		fpu->fip = (field[3] & 0xffff) | (field[4] & 0x0ffff000) << 4;
		fpu->fdp = (field[5] & 0xffff) | (field[6] & 0x0ffff000) << 4;
		fpu->fcs = fpu->fds = 0;
		fpu->opcode = field[4] & 0x7ff;
	} else {
		fpu->fip = field[3];
		fpu->fdp = field[5];
		fpu->fcs = (uint16_t)field[4];
		fpu->fds = (uint16_t)field[6];
		fpu->opcode = word == 4 ? field[4] >> 16 & 0x7ff : 0;
	}
	x87_tag_word_set(cpu, (uint16_t)field[2]);
	fpu->control = (uint16_t)((field[0] & X87_CONTROL_WRITABLE) | X87_CONTROL_ONE);
	x87_status_set(cpu, (uint16_t)field[1]);
}

void x87_fnstenv(struct x86_cpu *cpu, const struct x86_insn *in)
{
	size_t word = x87_image_word(in);
	uint8_t image[ENV_SIZE_MAX];

	x87_image_make(cpu, word, image);
	x86_check_alignment(cpu, in->seg, x86_insn_ea(cpu, in), (unsigned)word, true);
	x86_st_bytes(cpu, in->seg, x86_insn_ea(cpu, in), image, ENV_WORDS * word);
	x87_control_set(cpu, cpu->fpu.control | SF_ALL);
}

void x87_fldenv(struct x86_cpu *cpu, const struct x86_insn *in)
{
	size_t word = x87_image_word(in);
	uint8_t image[ENV_SIZE_MAX];

	x86_check_alignment(cpu, in->seg, x86_insn_ea(cpu, in), (unsigned)word, false);
	x86_ld_bytes(cpu, in->seg, x86_insn_ea(cpu, in), image, ENV_WORDS * word);
	x87_image_take(cpu, word, image);
}

void x87_fnsave(struct x86_cpu *cpu, const struct x86_insn *in)
{
	size_t word = x87_image_word(in), env_size = ENV_WORDS * word;
	uint8_t image[ENV_SIZE_MAX + STATE_SIZE];

	x87_image_make(cpu, word, image);
	for (unsigned int i = 0; i < 8; i++) {
		struct f80 value = x87_get(cpu, i);

		memcpy(image + env_size + 10 * i, &value.mant, 8);
		memcpy(image + env_size + 10 * i + 8, &value.sexp, 2);
	}
	x86_check_alignment(cpu, in->seg, x86_insn_ea(cpu, in), (unsigned)word, true);
	x86_st_bytes(cpu, in->seg, x86_insn_ea(cpu, in), image, env_size + STATE_SIZE);
	x87_init(cpu);
}

void x87_frstor(struct x86_cpu *cpu, const struct x86_insn *in)
{
	size_t word = x87_image_word(in), env_size = ENV_WORDS * word;
	uint8_t image[ENV_SIZE_MAX + STATE_SIZE];

	x86_check_alignment(cpu, in->seg, x86_insn_ea(cpu, in), (unsigned)word, false);
	x86_ld_bytes(cpu, in->seg, x86_insn_ea(cpu, in), image, env_size + STATE_SIZE);
	x87_image_take(cpu, word, image);
	for (unsigned int i = 0; i < 8; i++) {
		struct f80 *reg = &cpu->fpu.reg[x87_physical(cpu, i)];

		memcpy(&reg->mant, image + env_size + 10 * i, 8);
		memcpy(&reg->sexp, image + env_size + 10 * i + 8, 2);
	}
}

void x87_fldcw(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_control_set(cpu, x86_ld16(cpu, in->seg, x86_insn_ea(cpu, in)));
}

void x87_fnstcw(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_st16(cpu, in->seg, x86_insn_ea(cpu, in), cpu->fpu.control);
}

void x87_fnstsw_m16(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x86_st16(cpu, in->seg, x86_insn_ea(cpu, in), x87_status_get(cpu));
}

void x87_fnstsw_ax(struct x86_cpu *cpu, const struct x86_insn *in)
{
	cpu->r[REG_RAX] = (cpu->r[REG_RAX] & ~0xffffull) | x87_status_get(cpu);
}

void x87_fnclex(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_status_set(cpu, x87_status_get(cpu) & (X87_STATUS_CC | X87_STATUS_TOP));
}

void x87_fninit(struct x86_cpu *cpu, const struct x86_insn *in)
{
	x87_init(cpu);
}

/* FNENI and FNDISI of the 8087, FNSETPM of the 80287: nothing since the 80387. */
void x87_ignored(struct x86_cpu *cpu, const struct x86_insn *in)
{
}
