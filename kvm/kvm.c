/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accelerator that runs guest code on the host's CPU through Linux's KVM: its table of operations, and
 * the VM. The machine's own interrupt controllers and timers work under it; it sees them as pins and
 * callbacks, and no device ever.
 */
#include "kvm/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"

#define MSR_APIC_BASE    0x01b
#define MSR_TSC_DEADLINE 0x6e0

/*
 * The machine's local APIC must see what reaches it by MSR. IA32_APIC_BASE and TSC_DEADLINE are taken out of
 * KVM's hands by the filter; x2APIC MSRs cannot be, but are invalid to a KVM without a local APIC of its own.
 */
static int kvm_vm_filter_msrs(struct accel_vm *vm, struct err *err)
{
	uint8_t denied = 0;
	struct kvm_enable_cap exits = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = {KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_FILTER},
	};
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges =
			{
				{.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
				 .nmsrs = 1,
				 .base = MSR_APIC_BASE,
				 .bitmap = &denied},
				{.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
				 .nmsrs = 1,
				 .base = MSR_TSC_DEADLINE,
				 .bitmap = &denied},
			},
	};

	if (kvm_has_lapic(vm) || !kvm_can_filter_msrs(vm->kvm_fd))
		return 0;
	if (ioctl(vm->vm_fd, KVM_ENABLE_CAP, &exits) < 0)
		return err_set_errno(err, -errno, "kvm: cannot have MSR accesses handed out");
	if (ioctl(vm->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_X86_SET_MSR_FILTER");
	return 0;
}

/* Also user code's failures come out then, instead of reaching the guest as #UD. */
static void kvm_vm_want_failures(struct accel_vm *vm)
{
	struct kvm_enable_cap failures = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};

	vm->exits_on_failure = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0 &&
			       ioctl(vm->vm_fd, KVM_ENABLE_CAP, &failures) == 0;
}

void kvm_say_once(struct accel_vm *vm, enum kvm_said what, const char *text)
{
	if (!(atomic_fetch_or(&vm->said, (uint32_t)what) & (uint32_t)what))
		log_info("kvm: %s", text);
}

static void kvm_vm_probe(struct accel_vm *vm)
{
	int xsave = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	vm->xsave_size_bytes = xsave > 0 ? (size_t)xsave : 0;
	vm->has_read_only = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0;
	kvm_eventfd_probe(vm);
	kvm_coalesced_probe(vm);
}

static int kvm_vm_open(struct accel_vm *vm, struct err *err)
{
	uint64_t identity = KVM_IDENTITY_GPA;
	int size, code;

	vm->kvm_fd = kvm_open(err);
	if (vm->kvm_fd < 0)
		return vm->kvm_fd;
	do
		vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	while (vm->vm_fd < 0 && errno == EINTR);
	if (vm->vm_fd < 0)
		return err_set_errno(err, -errno, "kvm: KVM_CREATE_VM");
	size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return err_set(err, -EIO, "kvm: KVM_GET_VCPU_MMAP_SIZE gives %d", size);
	vm->run_size_bytes = (size_t)size;
	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, KVM_TSS_GPA) < 0)
		return err_set_errno(err, -errno, "kvm: KVM_SET_TSS_ADDR");
	vm->is_shadowed = kvm_mem_find_shadows();
	kvm_vm_want_failures(vm);
	kvm_vm_probe(vm);
	code = kvm_irqchip_create(vm, err);
	return code < 0 ? code : kvm_vm_filter_msrs(vm, err);
}

static void kvm_vm_destroy(struct accel_vm *vm)
{
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	for (unsigned i = 0; i < KVM_SLOTS_MAX; i++)
		free(vm->slot[i].dirty);
	pthread_mutex_destroy(&vm->route_lock);
	pthread_mutex_destroy(&vm->coalesced_lock);
	pthread_mutex_destroy(&vm->dirty_lock);
	pthread_mutex_destroy(&vm->msr_lock);
	free(vm->vcpu);
	free(vm);
}

static struct accel_vm *kvm_vm_create(const struct accel_vm_config *config, struct err *err)
{
	struct accel_vm *vm = calloc(1, sizeof(*vm));
	struct accel_vcpu **vcpus = calloc(config->cpu_count, sizeof(*vcpus));

	if (!vm || !vcpus) {
		free(vm);
		free(vcpus);
		err_set(err, -ENOMEM, "kvm: no memory for a VM");
		return NULL;
	}
	vm->kvm_fd = vm->vm_fd = -1;
	vm->host = config->host;
	vm->vcpu = vcpus;
	vm->cpu_count = config->cpu_count;
	vm->irqchip = config->irqchip;
	pthread_mutex_init(&vm->route_lock, NULL);
	pthread_mutex_init(&vm->coalesced_lock, NULL);
	pthread_mutex_init(&vm->dirty_lock, NULL);
	pthread_mutex_init(&vm->msr_lock, NULL);
	if (kvm_kick_signal_prepare(err) < 0 || kvm_vm_open(vm, err) < 0) {
		kvm_vm_destroy(vm);
		return NULL;
	}
	kvm_dirty_prepare(vm, config->dirty_ring);
	return vm;
}

static void kvm_vcpu_kick(struct accel_vcpu *vcpu)
{
	kvm_vcpu_post(vcpu, KVM_ATTENTION_KICK);
}

static void kvm_vcpu_intr(struct accel_vcpu *vcpu, bool level)
{
	if (level)
		kvm_vcpu_post(vcpu, KVM_ATTENTION_INTR);
	else
		atomic_fetch_and(&vcpu->attention, ~(uint32_t)KVM_ATTENTION_INTR);
}

static void kvm_vcpu_nmi(struct accel_vcpu *vcpu)
{
	kvm_vcpu_post(vcpu, KVM_ATTENTION_NMI);
}

static void kvm_vcpu_smi(struct accel_vcpu *vcpu)
{
	kvm_vcpu_post(vcpu, KVM_ATTENTION_SMI);
}

static void kvm_vcpu_init(struct accel_vcpu *vcpu)
{
	kvm_vcpu_post(vcpu, KVM_ATTENTION_INIT);
}

static void kvm_vcpu_startup(struct accel_vcpu *vcpu, uint8_t vector)
{
	atomic_store(&vcpu->sipi_vector, vector);
	kvm_vcpu_post(vcpu, KVM_ATTENTION_SIPI);
}

static void kvm_vcpu_pins_take(struct accel_vcpu *vcpu, struct accel_pins *pins)
{
	const uint32_t latched =
		KVM_ATTENTION_NMI | KVM_ATTENTION_SMI | KVM_ATTENTION_INIT | KVM_ATTENTION_SIPI;
	uint32_t taken = atomic_fetch_and(&vcpu->attention, ~latched);

	*pins = (struct accel_pins){
		.intr = taken & KVM_ATTENTION_INTR,
		.nmi = taken & KVM_ATTENTION_NMI,
		.smi = taken & KVM_ATTENTION_SMI,
		.init = taken & KVM_ATTENTION_INIT,
		.startup = taken & KVM_ATTENTION_SIPI,
		.startup_vector = atomic_load(&vcpu->sipi_vector),
	};
}

static int kvm_state_set(struct accel_vcpu *vcpu, const struct x86_cpu_state *state, struct err *err)
{
	const struct accel_host *host = vcpu->vm->host;
	uint64_t apic_base;
	int code;

	code = kvm_state_load(vcpu, state, err);
	/* Its own local APIC has its own base. */
	if (kvm_has_lapic(vcpu->vm))
		return code;
	if (code == 0 && host->apic_msr_read(host->opaque, vcpu->index, MSR_APIC_BASE, &apic_base))
		code = kvm_state_set_apic_base(vcpu, apic_base, err);
	if (code < 0)
		return code;
	vcpu->run->if_flag = (state->rflags >> 9 & 1) != 0;
	vcpu->run->ready_for_interrupt_injection = 0;
	host->cr8_write(host->opaque, vcpu->index, state->cr8);
	return 0;
}

static size_t kvm_counters(struct accel_vm *vm, const char **names, uint64_t *values, size_t count)
{
	static const char *const counter_names[KVM_COUNTER_COUNT] = {
		"kvm.exits",
		"kvm.pio",
		"kvm.mmio",
		"kvm.msr",
		"kvm.halts",
		"kvm.interrupt_windows",
		"kvm.interrupts",
		"kvm.signals",
		"kvm.coalesced",
		"kvm.ioapic_eois",
		"kvm.dirty_ring_full",
	};

	for (size_t i = 0; i < KVM_COUNTER_COUNT && i < count; i++) {
		names[i] = counter_names[i];
		values[i] = 0;
		for (unsigned cpu = 0; cpu < vm->cpu_count; cpu++)
			values[i] += vm->vcpu[cpu] ? atomic_load_explicit(&vm->vcpu[cpu]->counter[i],
									  memory_order_relaxed)
						   : 0;
	}
	return KVM_COUNTER_COUNT;
}

const struct accel_ops kvm_accel_ops = {
	.name = "kvm",
	.probe = kvm_probe,
	.calibrate = kvm_calibrate,
	.capabilities = kvm_capabilities,
	.vm_create = kvm_vm_create,
	.vm_destroy = kvm_vm_destroy,
	.mem_map = kvm_mem_map,
	.mem_unmap = kvm_mem_unmap,
	.mem_protect = kvm_mem_protect,
	.vcpu_create = kvm_vcpu_create,
	.vcpu_destroy = kvm_vcpu_destroy,
	.vcpu_run = kvm_vcpu_run,
	.vcpu_wait = kvm_vcpu_wait,
	.vcpu_kick = kvm_vcpu_kick,
	.vcpu_intr = kvm_vcpu_intr,
	.vcpu_nmi = kvm_vcpu_nmi,
	.vcpu_smi = kvm_vcpu_smi,
	.vcpu_init = kvm_vcpu_init,
	.vcpu_startup = kvm_vcpu_startup,
	.vcpu_pins_take = kvm_vcpu_pins_take,
	.vcpu_tsc_to_monotonic_ns = kvm_vcpu_tsc_to_monotonic_ns,
	.clock_get = kvm_clock_get,
	.clock_set = kvm_clock_set,
	.mem_forget = kvm_mem_forget,
	.mem_is_shadowed = kvm_mem_is_shadowed,
	.state_get = kvm_state_save,
	.state_set = kvm_state_set,
	.irqchips = kvm_irqchips,
	.irq_line = kvm_irq_line,
	.msi_send = kvm_msi_send,
	.ioapic_route = kvm_ioapic_route,
	.irqfd_add = kvm_irqfd_add,
	.irqfd_update = kvm_irqfd_update,
	.irqfd_remove = kvm_irqfd_remove,
	.ioeventfd_add = kvm_ioeventfd_add,
	.ioeventfd_remove = kvm_ioeventfd_remove,
	.coalesce = kvm_coalesce,
	.irqchip_state_get = kvm_chips_save,
	.irqchip_state_set = kvm_chips_load,
	.lapic_state_get = kvm_lapic_save,
	.lapic_state_set = kvm_lapic_load,
	.dirty_log_start = kvm_dirty_start,
	.dirty_log_fetch = kvm_dirty_fetch,
	.dirty_log_stop = kvm_dirty_stop,
	.counters = kvm_counters,
};
