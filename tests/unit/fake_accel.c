/* SPDX-License-Identifier: Apache-2.0 */
/* The accelerator of the machine's tests. See fake_accel.h for its instruction set. */
#include "tests/unit/fake_accel.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"
#include "vmm/core/gmem.h"

struct accel_vm {
	const struct accel_host *host;
	uint8_t *ram; /* at guest-physical 0 */
	bool is_other;
	bool logs_writes, counter_is_dirty;
};

struct accel_vcpu {
	struct accel_vm *vm;
	unsigned index;
	struct x86_cpu_state state;
	atomic_bool kicked, nmi;
	pthread_mutex_t lock;
	pthread_cond_t woken;
};

static int fake_probe(struct err *err)
{
	return 0;
}

static int absent_probe(struct err *err)
{
	return err_set(err, -ENODEV, "no such hardware");
}

static int fake_capabilities(struct x86_cpu_capabilities *capabilities, struct err *err)
{
	*capabilities = (struct x86_cpu_capabilities){.phys_bits = 40, .virt_bits = 48, .tsc_hz = 1000000000};
	memset(capabilities->feature, 0xff, sizeof(capabilities->feature));
	return 0;
}

static struct accel_vm *fake_vm_create(const struct accel_vm_config *config, struct err *err)
{
	struct accel_vm *vm = calloc(1, sizeof(*vm));

	if (vm)
		vm->host = config->host;
	return vm;
}

static struct accel_vm *other_vm_create(const struct accel_vm_config *config, struct err *err)
{
	struct accel_vm *vm = fake_vm_create(config, err);

	if (vm)
		vm->is_other = true;
	return vm;
}

static void fake_vm_destroy(struct accel_vm *vm)
{
	free(vm);
}

static int fake_mem_map(struct accel_vm *vm, const struct gmem_region *region, struct err *err)
{
	if (region->gpa == 0)
		vm->ram = region->hva;
	return 0;
}

static int fake_mem_unmap(struct accel_vm *vm, uint64_t gpa, struct err *err)
{
	return 0;
}

static struct accel_vcpu *fake_vcpu_create(struct accel_vm *vm, const struct accel_vcpu_config *config,
					   struct err *err)
{
	struct accel_vcpu *vcpu = aligned_alloc(64, (sizeof(*vcpu) + 63) / 64 * 64);

	if (!vcpu)
		return NULL;
	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->vm = vm;
	vcpu->index = config->index;
	vcpu->state.mp_state = config->index == 0 ? X86_MP_RUNNABLE : X86_MP_WAIT_FOR_SIPI;
	vcpu->state.gpr[X86_RBX] = 0x1234; /* recognised after a reset */
	pthread_mutex_init(&vcpu->lock, NULL);
	pthread_cond_init(&vcpu->woken, NULL);
	return vcpu;
}

static void fake_vcpu_destroy(struct accel_vcpu *vcpu)
{
	free(vcpu);
}

static uint32_t fake_operand(const uint8_t *at, unsigned size_bytes)
{
	uint32_t value = 0;

	memcpy(&value, at, size_bytes);
	return value;
}

static void fake_out(struct accel_vcpu *vcpu, const uint8_t *code, unsigned size_bytes)
{
	const struct accel_host *host = vcpu->vm->host;

	vcpu->state.rip += 3 + size_bytes;
	host->pio_write(host->opaque, vcpu->index, (uint16_t)fake_operand(code + 1, 2),
			fake_operand(code + 3, size_bytes), size_bytes);
}

/* One instruction; ACCEL_EXIT_KICKED stands for "go on". */
static enum accel_exit fake_step(struct accel_vcpu *vcpu)
{
	uint8_t *ram = vcpu->vm->ram;
	uint8_t *code = ram + vcpu->state.segment[X86_CS].base + vcpu->state.rip;

	switch (*code) {
	case 'b': fake_out(vcpu, code, 1); return ACCEL_EXIT_KICKED;
	case 'w': fake_out(vcpu, code, 2); return ACCEL_EXIT_KICKED;
	case 'd': fake_out(vcpu, code, 4); return ACCEL_EXIT_KICKED;
	case 'm':
		if (!vcpu->vm->is_other)
			return ACCEL_EXIT_CANNOT_EXECUTE;
		ram[FAKE_COUNTER_GPA]++;
		vcpu->vm->counter_is_dirty = vcpu->vm->logs_writes;
		vcpu->state.rip++;
		return ACCEL_EXIT_KICKED;
	case 'i':
		ram[FAKE_COUNTER_GPA]++;
		vcpu->vm->counter_is_dirty = vcpu->vm->logs_writes;
		vcpu->state.rip++;
		return ACCEL_EXIT_KICKED;
	case 'c':
		vcpu->state.rip += 3u + (ram[FAKE_COUNTER_GPA] < code[1] ? 0u : code[2]);
		return ACCEL_EXIT_KICKED;
	case 's':
		*code = 'f';
		vcpu->state.rip++;
		return ACCEL_EXIT_KICKED;
	case 'x':
		if (!vcpu->vm->is_other)
			return ACCEL_EXIT_CANNOT_EXECUTE;
		vcpu->state.gpr[X86_RAX]++;
		vcpu->state.rip++;
		return ACCEL_EXIT_KICKED;
	case 'a': vcpu->state.rip += vcpu->vm->is_other; return ACCEL_EXIT_KICKED;
	case 'n': vcpu->state.rip += vcpu->state.gpr[X86_RAX] == code[1] ? 2 : 0; return ACCEL_EXIT_KICKED;
	case 'y': return ACCEL_EXIT_CANNOT_EXECUTE;
	case 'l': return ACCEL_EXIT_KICKED;
	case 'h': return ACCEL_EXIT_HALTED;
	case 't': return ACCEL_EXIT_SHUTDOWN;
	default: return ACCEL_EXIT_FAILED;
	}
}

static enum accel_exit fake_vcpu_run(struct accel_vcpu *vcpu, struct err *err)
{
	enum accel_exit why = ACCEL_EXIT_KICKED;

	if (vcpu->state.mp_state == X86_MP_WAIT_FOR_SIPI)
		return atomic_exchange(&vcpu->kicked, false) ? ACCEL_EXIT_KICKED : ACCEL_EXIT_HALTED;
	while (why == ACCEL_EXIT_KICKED) {
		if (atomic_exchange(&vcpu->kicked, false))
			return ACCEL_EXIT_KICKED;
		why = fake_step(vcpu);
	}
	if (why == ACCEL_EXIT_FAILED)
		err_set(err, -EIO, "no such instruction");
	return why;
}

static enum accel_exit other_vcpu_run_blocks(struct accel_vcpu *vcpu, unsigned count, struct err *err)
{
	enum accel_exit why = ACCEL_EXIT_KICKED;

	for (unsigned i = 0; i < count && why == ACCEL_EXIT_KICKED; i++)
		why = fake_step(vcpu);
	return why;
}

static void fake_vcpu_wait(struct accel_vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	while (!atomic_load(&vcpu->kicked))
		pthread_cond_wait(&vcpu->woken, &vcpu->lock);
	pthread_mutex_unlock(&vcpu->lock);
}

static void fake_vcpu_kick(struct accel_vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	atomic_store(&vcpu->kicked, true);
	pthread_cond_broadcast(&vcpu->woken);
	pthread_mutex_unlock(&vcpu->lock);
}

static void fake_vcpu_intr(struct accel_vcpu *vcpu, bool level)
{
}

static void fake_vcpu_pin(struct accel_vcpu *vcpu)
{
}

static void fake_vcpu_startup(struct accel_vcpu *vcpu, uint8_t vector)
{
}

static void fake_vcpu_pins_take(struct accel_vcpu *vcpu, struct accel_pins *pins)
{
	*pins = (struct accel_pins){.nmi = atomic_exchange(&vcpu->nmi, false)};
}

static void fake_vcpu_nmi(struct accel_vcpu *vcpu)
{
	atomic_store(&vcpu->nmi, true);
}

static int fake_state_get(struct accel_vcpu *vcpu, struct x86_cpu_state *state, struct err *err)
{
	const struct accel_host *host = vcpu->vm->host;

	*state = vcpu->state;
	state->cr8 = host->cr8_read(host->opaque, vcpu->index);
	return 0;
}

static int fake_state_set(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err)
{
	if (state->gpr[X86_RBX] != 0x1234 && vcpu->index > 0)
		return err_set(err, -EINVAL, "not the reset state");
	if (vcpu->vm->is_other && atomic_load(&fake_other_refuses))
		return err_set(err, atomic_exchange(&fake_other_refuses, 0), "other refuses");
	vcpu->state = *state;
	return 0;
}

static int fake_dirty_log_start(struct accel_vm *vm, struct err *err)
{
	vm->logs_writes = true;
	vm->counter_is_dirty = false;
	return 0;
}

static int fake_dirty_log_fetch(struct accel_vm *vm, accel_dirty_fn *fn, void *opaque, struct err *err)
{
	if (vm->counter_is_dirty)
		fn(opaque, FAKE_COUNTER_GPA, 4096);
	vm->counter_is_dirty = false;
	return 0;
}

static void fake_dirty_log_stop(struct accel_vm *vm)
{
	vm->logs_writes = false;
}

static void other_vcpu_instruction(struct accel_vcpu *vcpu, char *text, size_t size)
{
	snprintf(text, size, "a letter at %04x", (unsigned)vcpu->state.rip);
}

_Atomic int fake_other_refuses;

#define FAKE_OPS                                                                                             \
	.capabilities = fake_capabilities, .vm_destroy = fake_vm_destroy, .mem_map = fake_mem_map,           \
	.mem_unmap = fake_mem_unmap, .vcpu_create = fake_vcpu_create, .vcpu_destroy = fake_vcpu_destroy,     \
	.vcpu_run = fake_vcpu_run, .vcpu_wait = fake_vcpu_wait, .vcpu_kick = fake_vcpu_kick,                 \
	.vcpu_intr = fake_vcpu_intr, .vcpu_nmi = fake_vcpu_nmi, .vcpu_smi = fake_vcpu_pin,                   \
	.vcpu_init = fake_vcpu_pin, .vcpu_startup = fake_vcpu_startup,                                       \
	.vcpu_pins_take = fake_vcpu_pins_take, .state_get = fake_state_get, .state_set = fake_state_set,     \
	.dirty_log_start = fake_dirty_log_start, .dirty_log_fetch = fake_dirty_log_fetch,                    \
	.dirty_log_stop = fake_dirty_log_stop

const struct accel_ops fake_accel_ops = {
	.name = "fake", .probe = fake_probe, .vm_create = fake_vm_create, FAKE_OPS};
const struct accel_ops other_accel_ops = {
	.name = "other",
	.probe = fake_probe,
	.vm_create = other_vm_create,
	.vcpu_run_blocks = other_vcpu_run_blocks,
	.vcpu_instruction = other_vcpu_instruction,
	FAKE_OPS,
};
const struct accel_ops absent_accel_ops = {
	.name = "absent", .probe = absent_probe, .vm_create = fake_vm_create, FAKE_OPS};
