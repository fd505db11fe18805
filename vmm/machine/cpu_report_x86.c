/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of an x86 CPU as log lines, for a person who must find out why a guest died. */
#include <inttypes.h>

#include "vmm/base/log.h"
#include "vmm/machine/parts.h"

static const char *const report_gpr_names[X86_GPR_COUNT] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15",
};

static const char *const report_segment_names[X86_SEGMENT_COUNT] = {
	"es  ", "cs  ", "ss  ", "ds  ", "fs  ", "gs  ", "ldtr", "tr  ",
};

static void report_gprs(const struct x86_cpu_state *state)
{
	for (unsigned i = 0; i < X86_GPR_COUNT; i += 4)
		log_error("  %s=%016" PRIx64 " %s=%016" PRIx64 " %s=%016" PRIx64 " %s=%016" PRIx64,
			  report_gpr_names[i], state->gpr[i], report_gpr_names[i + 1], state->gpr[i + 1],
			  report_gpr_names[i + 2], state->gpr[i + 2], report_gpr_names[i + 3],
			  state->gpr[i + 3]);
}

static void report_segments(const struct x86_cpu_state *state)
{
	for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++) {
		const struct x86_segment_state *segment = &state->segment[i];

		log_error("  %s=%04x base=%016" PRIx64 " limit=%08x attributes=%04x%s",
			  report_segment_names[i], segment->selector, segment->base, segment->limit,
			  segment->attributes,
			  segment->attributes & X86_SEGMENT_UNUSABLE ? " (unusable)" : "");
	}
	log_error("  gdt =%016" PRIx64 " limit=%04x   idt=%016" PRIx64 " limit=%04x", state->gdtr.base,
		  state->gdtr.limit, state->idtr.base, state->idtr.limit);
}

void cpu_report_x86(unsigned index, const struct x86_cpu_state *state)
{
	log_error("registers of CPU %u:", index);
	log_error("  rip=%016" PRIx64 " rflags=%08" PRIx64, state->rip, state->rflags);
	report_gprs(state);
	report_segments(state);
	log_error("  cr0=%08" PRIx64 " cr2=%016" PRIx64 " cr3=%016" PRIx64 " cr4=%08" PRIx64
		  " efer=%04" PRIx64,
		  state->cr0, state->cr2, state->cr3, state->cr4, state->efer);
	if (state->event.injected)
		log_error("  while it delivered vector 0x%02x, error code 0x%x", state->event.vector,
			  state->event.has_error_code ? state->event.error_code : 0);
}
