/* SPDX-License-Identifier: Apache-2.0 */
/* A CPU's state and its clock to JSON and back. The names are the manual's; Intel SDM vol. 3. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/machine/snapshot_parts.h"
#include "vmm/machine/state_json.h"

#define CPU(type_, name_, member_, count_, max_)                                                             \
	{                                                                                                    \
		.name = (name_), .type = (type_), .offset = offsetof(struct x86_cpu_state, member_),         \
		.count = (count_), .max = (max_)                                                             \
	}
#define CPU_FIELD(type_, member_) CPU(type_, #member_, member_, 1, 0)
#define CPU_SEGMENT(name_, index_)                                                                           \
	CPU(STATE_U64, name_ ".base", segment[index_].base, 1, 0),                                           \
		CPU(STATE_U32, name_ ".limit", segment[index_].limit, 1, 0),                                 \
		CPU(STATE_U16, name_ ".selector", segment[index_].selector, 1, 0),                           \
		CPU(STATE_U16, name_ ".attributes", segment[index_].attributes, 1, 0)

_Static_assert(sizeof(enum x86_mp_state) == 4, "saved as a 32-bit number");

static const struct state_field cpu_fields[] = {
	CPU(STATE_U64, "gpr", gpr, X86_GPR_COUNT, 0),
	CPU_FIELD(STATE_U64, rip),
	CPU_FIELD(STATE_U64, rflags),
	CPU_SEGMENT("es", X86_ES),
	CPU_SEGMENT("cs", X86_CS),
	CPU_SEGMENT("ss", X86_SS),
	CPU_SEGMENT("ds", X86_DS),
	CPU_SEGMENT("fs", X86_FS),
	CPU_SEGMENT("gs", X86_GS),
	CPU_SEGMENT("ldtr", X86_LDTR),
	CPU_SEGMENT("tr", X86_TR),
	CPU_FIELD(STATE_U64, gdtr.base),
	CPU_FIELD(STATE_U16, gdtr.limit),
	CPU_FIELD(STATE_U64, idtr.base),
	CPU_FIELD(STATE_U16, idtr.limit),
	CPU_FIELD(STATE_U64, cr0),
	CPU_FIELD(STATE_U64, cr2),
	CPU_FIELD(STATE_U64, cr3),
	CPU_FIELD(STATE_U64, cr4),
	CPU(STATE_U64, "cr8", cr8, 1, 15),
	CPU_FIELD(STATE_U64, efer),
	CPU(STATE_U64, "dr", dr, 8, 0),
	CPU_FIELD(STATE_U64, xcr0),
	CPU(STATE_U8, "xsave", xsave, X86_XSAVE_SIZE_MAX, 0),
	CPU_FIELD(STATE_BOOL, event.injected),
	CPU_FIELD(STATE_U8, event.vector),
	CPU_FIELD(STATE_BOOL, event.is_interrupt),
	CPU_FIELD(STATE_BOOL, event.is_software),
	CPU_FIELD(STATE_BOOL, event.has_error_code),
	CPU_FIELD(STATE_U32, event.error_code),
	CPU(STATE_U8, "event.instruction_length", event.instruction_length, 1, 15),
	CPU_FIELD(STATE_BOOL, nmi_pending),
	CPU_FIELD(STATE_BOOL, nmi_masked),
	CPU_FIELD(STATE_BOOL, interrupt_shadow),
	CPU_FIELD(STATE_U64, pending_debug),
	CPU_FIELD(STATE_BOOL, smm),
	CPU(STATE_U32, "mp_state", mp_state, 1, X86_MP_SHUTDOWN),
	CPU_FIELD(STATE_U8, sipi_vector),
	{.name = NULL},
};

static const struct state_field msr_fields[] = {
	STATE_FIELD(STATE_U32, struct x86_msr_state, index),
	STATE_FIELD(STATE_U64, struct x86_msr_state, value),
	{.name = NULL},
};

static const struct state_field clock_fields[] = {
	STATE_FIELD(STATE_U64, struct accel_clock, tsc),
	STATE_FIELD(STATE_BOOL, struct accel_clock, has_paravirtual),
	STATE_FIELD(STATE_U64, struct accel_clock, paravirtual_ns),
	{.name = NULL},
};

static const struct state_field pin_fields[] = {
	STATE_FIELD(STATE_BOOL, struct accel_pins, nmi),
	STATE_FIELD(STATE_BOOL, struct accel_pins, smi),
	STATE_FIELD(STATE_BOOL, struct accel_pins, init),
	STATE_FIELD(STATE_BOOL, struct accel_pins, startup),
	STATE_FIELD(STATE_U8, struct accel_pins, startup_vector),
	{.name = NULL},
};

static json_t *cpu_msrs_to_json(const struct x86_cpu_state *state)
{
	json_t *list = json_array();

	for (uint32_t i = 0; list && i < state->msr_count; i++) {
		if (json_array_append_new(list, state_to_json(msr_fields, &state->msr[i])) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

json_t *snapshot_cpu_to_json(const struct snapshot_cpu *cpu)
{
	json_t *json = state_to_json(cpu_fields, cpu->state);

	if (json && json_object_set_new(json, "msrs", cpu_msrs_to_json(cpu->state)) == 0 &&
	    json_object_set_new(json, "clock", state_to_json(clock_fields, &cpu->clock)) == 0 &&
	    json_object_set_new(json, "pins", state_to_json(pin_fields, &cpu->pins)) == 0)
		return json;
	json_decref(json);
	return NULL;
}

static int cpu_msrs_from_json(struct x86_cpu_state *state, const json_t *list, struct err *err)
{
	size_t count = json_array_size(list);

	if (!json_is_array(list) || count > X86_STATE_MSR_MAX)
		return err_set(err, -EINVAL, "msrs: a list of at most %d is expected", X86_STATE_MSR_MAX);
	state->msr_count = 0;
	for (size_t i = 0; i < count; i++) {
		if (state_from_json(msr_fields, &state->msr[i], json_array_get(list, i), err) < 0)
			return err_prefix(err, "msrs[%zu]", i);
		state->msr_count++;
	}
	return 0;
}

/* Takes a member out of the object, so that the rest can be held against one table. */
static int cpu_part_from_json(const struct state_field *table, void *instance, json_t *json, const char *name,
			      struct err *err)
{
	int code = state_from_json(table, instance, json_object_get(json, name), err);

	json_object_del(json, name);
	return code < 0 ? err_prefix(err, "%s", name) : 0;
}

int snapshot_cpu_from_json(struct snapshot_cpu *cpu, const json_t *json, struct err *err)
{
	json_t *rest = json_copy((json_t *)(uintptr_t)json);
	int code;

	if (!rest || !json_is_object(rest)) {
		json_decref(rest);
		return err_set(err, -EINVAL, "an object is expected");
	}
	code = cpu_msrs_from_json(cpu->state, json_object_get(rest, "msrs"), err);
	json_object_del(rest, "msrs");
	if (code == 0)
		code = cpu_part_from_json(clock_fields, &cpu->clock, rest, "clock", err);
	if (code == 0)
		code = cpu_part_from_json(pin_fields, &cpu->pins, rest, "pins", err);
	if (code == 0)
		code = state_from_json(cpu_fields, cpu->state, rest, err);
	json_decref(rest);
	return code;
}

static const struct state_field capability_fields[] = {
	STATE_ARRAY(STATE_U32, struct x86_cpu_capabilities, feature, X86_WORD_COUNT),
	STATE_FIELD(STATE_U64, struct x86_cpu_capabilities, xcr0),
	STATE_FIELD_MAX(STATE_U8, struct x86_cpu_capabilities, phys_bits, 52),
	STATE_FIELD_MAX(STATE_U8, struct x86_cpu_capabilities, virt_bits, 57),
	STATE_FIELD(STATE_U64, struct x86_cpu_capabilities, tsc_hz),
	STATE_FIELD(STATE_BOOL, struct x86_cpu_capabilities, tsc_any_rate),
	STATE_FIELD(STATE_U64, struct x86_cpu_capabilities, apic_timer_hz),
	STATE_ARRAY(STATE_U8, struct x86_cpu_capabilities, hypervisor_signature, 13),
	STATE_ARRAY(STATE_U8, struct x86_cpu_capabilities, vendor, 13),
	STATE_FIELD(STATE_U32, struct x86_cpu_capabilities, signature),
	STATE_FIELD(STATE_BOOL, struct x86_cpu_capabilities, kvmclock),
	{.name = NULL},
};

json_t *snapshot_capabilities_to_json(const struct x86_cpu_capabilities *capabilities)
{
	return state_to_json(capability_fields, capabilities);
}

int snapshot_capabilities_from_json(struct x86_cpu_capabilities *capabilities, const json_t *json,
				    struct err *err)
{
	int code = state_from_json(capability_fields, capabilities, json, err);

	capabilities->hypervisor_signature[sizeof(capabilities->hypervisor_signature) - 1] = '\0';
	capabilities->vendor[sizeof(capabilities->vendor) - 1] = '\0';
	/* Below these no x86-64 goes, and shifts by them are counted on. */
	if (code == 0 &&
	    (capabilities->phys_bits < 36 || capabilities->virt_bits < 48 || !capabilities->tsc_hz))
		code = err_set(err, -EINVAL, "phys_bits, virt_bits or tsc_hz: no CPU has so little");
	return code;
}
