/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host code as text, for traces. Capstone is loaded when somebody asks for it: linked in, it would cost every
 * start of the program a millisecond of relocations. Where it is not installed, or the program is static, the
 * bytes are shown.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef HAVE_CAPSTONE
#include <capstone/capstone.h>
#endif

#include "tcg-fallback/core/trace.h"

#define LINE_BYTES 16u /* of code that is not disassembled */

static void host_bytes(const struct x86_cpu *cpu, const uint8_t *code, size_t count, uint64_t address)
{
	for (size_t at = 0; at < count; at += LINE_BYTES) {
		char text[3 * LINE_BYTES + 1] = "";

		for (size_t i = 0; i < LINE_BYTES && at + i < count; i++)
			snprintf(text + 3 * i, 4, "%02x ", code[at + i]);
		x86_trace_line(cpu, "  %#" PRIx64 "  %s", address + at, text);
	}
}

#ifdef HAVE_CAPSTONE

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#define LIBRARY  "libcapstone.so." TEXT(CS_API_MAJOR)

struct x86_trace_disassembler {
	void *library;
	csh handle;
	cs_err (*close)(csh *handle);
	size_t (*disasm)(csh handle, const uint8_t *code, size_t size, uint64_t address, size_t count,
			 cs_insn **insn);
	void (*free)(cs_insn *insn, size_t count);
};

struct x86_trace_disassembler *x86_trace_disassembler_open(void)
{
	struct x86_trace_disassembler *d = calloc(1, sizeof(*d));
	cs_err (*open)(cs_arch, cs_mode, csh *);

	if (!d)
		return NULL;
	d->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (d->library) {
		open = (cs_err(*)(cs_arch, cs_mode, csh *))dlsym(d->library, "cs_open");
		d->close = (cs_err(*)(csh *))dlsym(d->library, "cs_close");
		d->disasm = (size_t(*)(csh, const uint8_t *, size_t, uint64_t, size_t, cs_insn **))dlsym(
			d->library, "cs_disasm");
		d->free = (void (*)(cs_insn *, size_t))dlsym(d->library, "cs_free");
		if (open && d->close && d->disasm && d->free &&
		    open(CS_ARCH_X86, CS_MODE_64, &d->handle) == CS_ERR_OK)
			return d;
		dlclose(d->library);
	}
	free(d);
	return NULL;
}

void x86_trace_disassembler_close(struct x86_trace_disassembler *disassembler)
{
	if (!disassembler)
		return;
	disassembler->close(&disassembler->handle);
	dlclose(disassembler->library);
	free(disassembler);
}

void x86_trace_host_code(const struct x86_cpu *cpu, const uint8_t *code, size_t count, uint64_t address)
{
	struct x86_trace_disassembler *d = x86_trace_disassembler_of(cpu);
	cs_insn *insn = NULL;
	size_t known = d ? d->disasm(d->handle, code, count, address, 0, &insn) : 0, used = 0;

	for (size_t i = 0; i < known; i++) {
		x86_trace_line(cpu, "  %#" PRIx64 "  %s %s", insn[i].address, insn[i].mnemonic,
			       insn[i].op_str);
		used += insn[i].size;
	}
	if (known)
		d->free(insn, known);
	host_bytes(cpu, code + used, count - used, address + used);
}

#else

struct x86_trace_disassembler *x86_trace_disassembler_open(void)
{
	return NULL;
}

void x86_trace_disassembler_close(struct x86_trace_disassembler *disassembler)
{
	(void)disassembler;
}

void x86_trace_host_code(const struct x86_cpu *cpu, const uint8_t *code, size_t count, uint64_t address)
{
	host_bytes(cpu, code, count, address);
}

#endif
