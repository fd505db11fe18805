/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instructions as text, from the rows of insn.tab: mnemonic and operands as the manual spells them. Executes
 * nothing. Intel SDM vol. 2, appendix A.2 (operand codes).
 */
#include "tcg-fallback/x86/disassemble.h"

#include <inttypes.h>
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/core/code.h"
#include "tcg-fallback/core/phys.h"
#include "tcg-fallback/x86/gen.h"
#include "tcg-fallback/x86/mmu.h"
#include "tcg-fallback/x86/system.h"
#include "vmm/base/text.h"

struct listing {
	const struct x86_insn *in;
	unsigned bits;
	uint64_t rip;
	char *text;
	size_t size;
};

static void put_gpr(const struct listing *l, unsigned reg, unsigned size_bytes)
{
	static const char *const low[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
	static const char *const high[] = {"ah", "ch", "dh", "bh"};
	static const char *const names[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};

	if (reg > REG_R15)
		return;
	if (reg >= REG_R8)
		text_append(l->text, l->size, "r%u%s", reg,
			    size_bytes == 8   ? ""
			    : size_bytes == 4 ? "d"
			    : size_bytes == 2 ? "w"
					      : "b");
	else if (size_bytes == 1)
		text_append(l->text, l->size, "%s", !l->in->rex && reg >= 4 ? high[reg - 4] : low[reg]);
	else
		text_append(l->text, l->size, "%s%s",
			    size_bytes == 8   ? "r"
			    : size_bytes == 4 ? "e"
					      : "",
			    names[reg]);
}

static void put_segment(const struct listing *l, unsigned seg)
{
	static const char *const names[] = {"es", "cs", "ss", "ds", "?", "fs", "gs"};

	text_append(l->text, l->size, "%s", seg < sizeof(names) / sizeof(names[0]) ? names[seg] : "?");
}

static void put_number(const struct listing *l, uint64_t value)
{
	if ((int64_t)value < 0 && (int64_t)value >= -0x10000)
		text_append(l->text, l->size, "-0x%" PRIx64, -value);
	else
		text_append(l->text, l->size, "0x%" PRIx64, value);
}

static void put_override(const struct listing *l)
{
	if (l->in->seg == SEG_FS || l->in->seg == SEG_GS)
		text_append(l->text, l->size, "%s:", l->in->seg == SEG_FS ? "fs" : "gs");
}

static void put_memory(const struct listing *l)
{
	const struct x86_insn *in = l->in;
	const char *plus = "";

	put_override(l);
	text_append(l->text, l->size, "[");
	if (in->base == REG_RIP) {
		put_number(l, l->rip + in->len + (uint64_t)in->disp);
		text_append(l->text, l->size, "]");
		return;
	}
	if (in->base != REG_ZERO) {
		put_gpr(l, in->base, in->addrsize);
		plus = "+";
	}
	if (in->index != REG_ZERO) {
		text_append(l->text, l->size, "%s", plus);
		put_gpr(l, in->index, in->addrsize);
		text_append(l->text, l->size, "*%u", 1u << in->scale);
		plus = "+";
	}
	if (in->disp || !plus[0]) {
		text_append(l->text, l->size, "%s", in->disp < 0 ? "" : plus);
		put_number(l, (uint64_t)in->disp);
	}
	text_append(l->text, l->size, "]");
}

/* Bytes of an operand by the small letters of its code. */
static unsigned operand_size(const struct x86_insn *in, const char *code)
{
	switch (code[0]) {
	case 'b': return 1;
	case 'w': return 2;
	case 'd': return 4;
	case 'q': return 8;
	case 'z': return in->opsize == 8 ? 4 : in->opsize;
	case 'y': return in->opsize == 8 ? 8 : 4;
	default: return in->opsize;
	}
}

static void put_register(const struct listing *l, const char *kind, unsigned reg)
{
	text_append(l->text, l->size, "%s%u", kind, reg);
}

static void put_rm(const struct listing *l, const char *kind, unsigned size_bytes)
{
	if (x86_insn_is_mem(l->in))
		put_memory(l);
	else if (kind)
		put_register(l, kind, l->in->rm);
	else
		put_gpr(l, l->in->rm, size_bytes);
}

/* Names in the table's own letters: AL, CL, DX, rAX, 1, ES. */
static void put_fixed(const struct listing *l, const char *code)
{
	if (strcmp(code, "rAX") == 0 || strcmp(code, "eAX") == 0) {
		put_gpr(l, REG_RAX, l->in->opsize);
		return;
	}
	for (const char *c = code; *c; c++)
		text_append(l->text, l->size, "%c", *c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
}

static void put_operand(const struct listing *l, unsigned operand)
{
	const struct x86_insn *in = l->in;
	const char *code = x86_operand_names[operand];
	unsigned size_bytes = operand_size(in, code + 1);

	switch (x86_operand_letter(operand)) {
	case 0:
	case '1': put_fixed(l, code); return;
	case 'G': put_gpr(l, in->reg, size_bytes); return;
	case 'B': put_gpr(l, in->vex_vvvv, size_bytes); return;
	case 'Z': put_gpr(l, (in->opcode & 7u) | (in->rex & 1u) << 3, size_bytes); return;
	case 'V': put_register(l, "xmm", in->reg); return;
	case 'P': put_register(l, "mm", in->reg & 7); return;
	case 'S': put_segment(l, in->reg); return;
	case 'C': put_register(l, "cr", in->reg); return;
	case 'D': put_register(l, "dr", in->reg); return;
	case 'W':
	case 'U': put_rm(l, "xmm", 0); return;
	case 'Q':
	case 'N': put_rm(l, "mm", 0); return;
	case 'I':
	case 's': put_number(l, in->imm); return;
	case 'J': put_number(l, l->rip + in->len + in->imm); return;
	case 'O':
		put_override(l);
		text_append(l->text, l->size, "[0x%" PRIx64 "]", (uint64_t)in->disp);
		return;
	case 'A': text_append(l->text, l->size, "0x%x:0x%" PRIx64, in->imm2, in->imm); return;
	case 'X': text_append(l->text, l->size, "[si]"); return;
	case 'Y': text_append(l->text, l->size, "es:[di]"); return;
	default: put_rm(l, NULL, size_bytes); return; /* E, M, R and their mixtures */
	}
}

/* The operands of a string instruction do not tell their size. */
static const char *string_suffix(const struct x86_insn *in, const struct x86_row *row)
{
	if (!(row->properties & X86_PROP_STRING))
		return "";
	return in->opsize == 8 ? "q" : in->opsize == 4 ? "d" : in->opsize == 2 ? "w" : "b";
}

void x86_insn_text(const struct x86_insn *in, unsigned bits, uint64_t rip, char *text, size_t size)
{
	const struct x86_row *row = &x86_rows[in->row];
	const struct listing l = {.in = in, .bits = bits, .rip = rip, .text = text, .size = size};

	text[0] = '\0';
	if (in->lock)
		text_append(text, size, "lock ");
	if ((row->properties & X86_PROP_STRING) && in->rep != X86_REP_NONE)
		text_append(text, size, in->rep == X86_REP_F3 ? "rep " : "repne ");
	text_append(text, size, "%s%s", row->mnemonic, string_suffix(in, row));
	for (unsigned i = 0; i < 4 && row->operand[i] != OPD_NONE; i++) {
		text_append(text, size, i ? ", " : " ");
		put_operand(&l, row->operand[i]);
	}
}

/* Bytes that can be read without a fault; how many there are. */
static unsigned bytes_at(struct x86_cpu *cpu, uint64_t linear, uint8_t bytes[X86_INSN_LEN_MAX])
{
	unsigned count = 0;
	uint64_t gpa;

	while (count < X86_INSN_LEN_MAX) {
		const struct x86_region *region;

		if (x86_mmu_look(cpu, cpu->mode_bits == 64 ? linear + count : (uint32_t)(linear + count),
				 &gpa) < 0)
			break;
		region = x86_vm_region(cpu->vm, gpa);
		if (!region)
			break;
		bytes[count++] = region->hva[gpa - region->gpa];
	}
	return count;
}

void x86_cpu_insn_text(struct x86_cpu *cpu, char *text, size_t size)
{
	uint64_t linear = cpu->mode_bits == 64 ? cpu->rip : (uint32_t)(cpu->seg[SEG_CS].base + cpu->rip);
	uint8_t bytes[X86_INSN_LEN_MAX];
	unsigned count = bytes_at(cpu, linear, bytes);
	struct x86_decode_mode mode;
	struct x86_insn in;
	char line[96] = "?";

	x86_code_decode_mode(cpu, x86_code_mode(cpu), &mode);
	if (x86_decode(&mode, bytes, count, &in) == X86_DECODE_OK) {
		x86_insn_text(&in, mode.bits, cpu->rip, line, sizeof(line));
		count = in.len;
	}
	text[0] = '\0';
	for (unsigned i = 0; i < count; i++)
		text_append(text, size, "%02x ", bytes[i]);
	text_append(text, size, "%s", line);
}
