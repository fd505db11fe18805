/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of the local APICs as a guest reaches them: memory page, MSRs, CR8 and IA32_APIC_BASE;
 * creation, reset and saved state. Messages and priorities are in lapic_deliver.c, the timer in
 * lapic_timer.c. Intel SDM vol. 3, 11.4 (xAPIC) and 11.12 (x2APIC).
 *
 * At power-on the bootstrap processor is as firmware leaves it, in virtual wire mode: LINT0 carries the PIC's
 * INT and LINT1 NMI, because no firmware runs here that could set that up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/legacy/lapic_cpu.h"
#include "vmm/base/err.h"
#include "vmm/core/timer.h"

/* EOI broadcasts cannot be suppressed (bit 24), for the I/O APIC could not be told of the end otherwise. */
#define LAPIC_VERSION_VALUE (0x14u | (LAPIC_LVT_COUNT - 1) << 16)

#define MSR_APIC_BASE    0x01b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_FIRST 0x800
#define MSR_X2APIC_LAST  0x8ff

/* Bits that each LVT entry has; delivery status (12) and Remote IRR (14) are read-only. */
static uint32_t lapic_lvt_writable(const struct lapic *lapic, enum lapic_lvt lvt)
{
	switch (lvt) {
	case LAPIC_LVT_TIMER:
		return 0xff | LAPIC_LVT_MASKED | LAPIC_TIMER_PERIODIC |
		       (lapic->config.tsc_to_monotonic_ns ? LAPIC_TIMER_DEADLINE : 0);
	case LAPIC_LVT_THERMAL:
	case LAPIC_LVT_PERF: return 0x7ff | LAPIC_LVT_MASKED;
	case LAPIC_LVT_LINT0:
	case LAPIC_LVT_LINT1: return 0x7ff | 1u << 13 | LAPIC_LVT_LEVEL | LAPIC_LVT_MASKED;
	case LAPIC_LVT_ERROR:
	case LAPIC_LVT_COUNT: break;
	}
	return 0xff | LAPIC_LVT_MASKED;
}

static void lapic_cpu_write_lvt(struct lapic_cpu *cpu, enum lapic_lvt lvt, uint32_t value)
{
	value &= lapic_lvt_writable(cpu->lapic, lvt);
	if (!(cpu->svr & LAPIC_SVR_ENABLED))
		value |= LAPIC_LVT_MASKED;
	if (lvt == LAPIC_LVT_TIMER) {
		lapic_timer_write_lvt(cpu, value);
		return;
	}
	cpu->lvt[lvt] = value | (cpu->lvt[lvt] & LAPIC_LVT_REMOTE_IRR);
	if (lvt == LAPIC_LVT_LINT0)
		lapic_cpu_lint(cpu, 0, cpu->lint[0]);
}

/* 11.4.7.2: a software-disabled APIC keeps IRR and ISR and masks every LVT entry. */
static void lapic_cpu_write_svr(struct lapic_cpu *cpu, uint32_t value)
{
	cpu->svr = value & (0xff | LAPIC_SVR_ENABLED | 1u << 9);
	if (!(cpu->svr & LAPIC_SVR_ENABLED))
		for (unsigned lvt = 0; lvt < LAPIC_LVT_COUNT; lvt++)
			lapic_cpu_write_lvt(cpu, (enum lapic_lvt)lvt, cpu->lvt[lvt]);
	lapic_cpu_update(cpu);
}

static void lapic_cpu_write_tpr(struct lapic_cpu *cpu, uint32_t value)
{
	__atomic_store_n(&cpu->tpr, value & 0xff, __ATOMIC_RELAXED);
	lapic_cpu_update(cpu);
}

/* What both register interfaces have in common. False: there is no such register, or it cannot be read. */
static bool lapic_cpu_read(struct lapic_cpu *cpu, uint32_t offset, uint32_t *value)
{
	switch (offset) {
	case LAPIC_ID: *value = lapic_cpu_is_x2apic(cpu) ? cpu->index : cpu->index << 24; return true;
	case LAPIC_VERSION: *value = LAPIC_VERSION_VALUE; return true;
	case LAPIC_TPR: *value = cpu->tpr; return true;
	case LAPIC_PPR: *value = lapic_cpu_ppr(cpu); return true;
	case LAPIC_LDR: *value = lapic_cpu_ldr(cpu); return true;
	case LAPIC_SVR: *value = cpu->svr; return true;
	case LAPIC_ESR: *value = cpu->esr; return true;
	case LAPIC_ICR_LOW: *value = cpu->icr_low; return true;
	case LAPIC_TIMER_INITIAL: *value = cpu->timer_initial; return true;
	case LAPIC_TIMER_CURRENT: *value = lapic_timer_current(cpu); return true;
	case LAPIC_TIMER_DIVIDE: *value = cpu->timer_divide; return true;
	default: break;
	}
	if (offset >= LAPIC_LVT_FIRST && offset <= LAPIC_LVT_LAST)
		*value = cpu->lvt[(offset - LAPIC_LVT_FIRST) >> 4];
	else if (offset >= LAPIC_ISR && offset < LAPIC_TMR)
		*value = cpu->isr[(offset - LAPIC_ISR) >> 4];
	else if (offset >= LAPIC_TMR && offset < LAPIC_IRR)
		*value = cpu->tmr[(offset - LAPIC_TMR) >> 4];
	else if (offset >= LAPIC_IRR && offset < LAPIC_ESR)
		*value = cpu->irr[(offset - LAPIC_IRR) >> 4];
	else
		return false;
	return true;
}

static bool lapic_cpu_write(struct lapic_cpu *cpu, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case LAPIC_TPR: lapic_cpu_write_tpr(cpu, value); return true;
	case LAPIC_EOI: lapic_cpu_eoi(cpu); return true;
	case LAPIC_SVR: lapic_cpu_write_svr(cpu, value); return true;
	case LAPIC_ESR:
		cpu->esr = cpu->esr_pending;
		cpu->esr_pending = 0;
		return true;
	case LAPIC_TIMER_INITIAL: lapic_timer_write_initial(cpu, value); return true;
	case LAPIC_TIMER_DIVIDE: lapic_timer_write_divide(cpu, value & 0xb); return true;
	default: break;
	}
	if (offset < LAPIC_LVT_FIRST || offset > LAPIC_LVT_LAST)
		return false;
	lapic_cpu_write_lvt(cpu, (enum lapic_lvt)((offset - LAPIC_LVT_FIRST) >> 4), value);
	return true;
}

static uint32_t lapic_cpu_xapic_read(struct lapic_cpu *cpu, uint32_t offset)
{
	uint32_t value = 0;

	if (offset == LAPIC_DFR)
		return cpu->dfr;
	if (offset == LAPIC_ICR_HIGH)
		return cpu->icr_high;
	if (offset == LAPIC_EOI)
		return 0;
	if (!lapic_cpu_read(cpu, offset, &value))
		lapic_cpu_error(cpu, LAPIC_ESR_REGISTER);
	return value;
}

static void lapic_cpu_xapic_write(struct lapic_cpu *cpu, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case LAPIC_LDR: cpu->ldr = value & 0xff000000; return;
	case LAPIC_DFR: cpu->dfr = value | 0x0fffffff; return;
	case LAPIC_ICR_HIGH: cpu->icr_high = value & 0xff000000; return;
	case LAPIC_ICR_LOW:
		cpu->icr_low = value & 0xccfff;
		lapic_cpu_send(cpu, cpu->icr_low, cpu->icr_high >> 24);
		return;
	case LAPIC_ID:
	case LAPIC_VERSION:
	case LAPIC_PPR:
	case LAPIC_TIMER_CURRENT: return; /* read-only */
	default: break;
	}
	if (!lapic_cpu_write(cpu, offset, value))
		lapic_cpu_error(cpu, LAPIC_ESR_REGISTER);
}

/* Registers are 32 bits wide, 16 bytes apart; what lies between reads as zero. 11.4.1. */
uint64_t lapic_mmio_read(struct device *device, unsigned cpu, uint64_t offset, unsigned size_bytes)
{
	struct lapic *lapic = (struct lapic *)device;
	unsigned byte = offset & 0xf;
	uint64_t value = 0;

	if (cpu >= lapic->cpu_count || offset >= LAPIC_MMIO_SIZE || byte >= 4)
		return 0;
	pthread_mutex_lock(lapic->lock);
	value = lapic_cpu_xapic_read(&lapic->cpu[cpu], (uint32_t)offset & ~0xfu);
	pthread_mutex_unlock(lapic->lock);
	value >>= 8 * byte;
	return size_bytes >= 4 ? value : value & ((1ull << 8 * size_bytes) - 1);
}

/* Only aligned 32-bit writes are defined (11.4.1); the rest is ignored. */
void lapic_mmio_write(struct device *device, unsigned cpu, uint64_t offset, uint64_t value,
		      unsigned size_bytes)
{
	struct lapic *lapic = (struct lapic *)device;

	if (cpu >= lapic->cpu_count || offset >= LAPIC_MMIO_SIZE || (offset & 0xf) || size_bytes != 4)
		return;
	pthread_mutex_lock(lapic->lock);
	lapic_cpu_xapic_write(&lapic->cpu[cpu], (uint32_t)offset, (uint32_t)value);
	pthread_mutex_unlock(lapic->lock);
}

static bool lapic_cpu_x2apic_read(struct lapic_cpu *cpu, uint32_t offset, uint64_t *value)
{
	uint32_t low;

	if (!lapic_cpu_read(cpu, offset, &low))
		return false;
	*value = offset == LAPIC_ICR_LOW ? (uint64_t)cpu->icr_high << 32 | low : low;
	return true;
}

/* Bits that may be set in a write by MSR; a reserved one is #GP (11.12.1.3). Zero also for registers not
 * writable. */
static uint64_t lapic_cpu_x2apic_writable(const struct lapic_cpu *cpu, uint32_t offset)
{
	switch (offset) {
	case LAPIC_TPR:
	case LAPIC_SELF_IPI: return 0xff;
	case LAPIC_SVR: return 0xff | LAPIC_SVR_ENABLED | 1u << 9;
	case LAPIC_ICR_LOW: return 0xffffffff000ccfffull;
	case LAPIC_TIMER_INITIAL: return 0xffffffff;
	case LAPIC_TIMER_DIVIDE: return 0xb;
	default: break;
	}
	if (offset >= LAPIC_LVT_FIRST && offset <= LAPIC_LVT_LAST)
		return lapic_lvt_writable(cpu->lapic, (enum lapic_lvt)((offset - LAPIC_LVT_FIRST) >> 4)) |
		       LAPIC_LVT_REMOTE_IRR | 1u << 12;
	return 0;
}

static bool lapic_cpu_x2apic_write(struct lapic_cpu *cpu, uint32_t offset, uint64_t value)
{
	if (value & ~lapic_cpu_x2apic_writable(cpu, offset))
		return false;
	if (offset == LAPIC_ICR_LOW) {
		cpu->icr_low = value & 0xccfff;
		cpu->icr_high = (uint32_t)(value >> 32);
		lapic_cpu_send(cpu, cpu->icr_low, cpu->icr_high);
		return true;
	}
	if (offset == LAPIC_SELF_IPI) {
		lapic_cpu_send(cpu, 1u << 18 | (uint32_t)value, 0);
		return true;
	}
	return lapic_cpu_write(cpu, offset, (uint32_t)value);
}

/* 11.4.7.3: the state after INIT; the id and IA32_APIC_BASE stay. */
void lapic_cpu_init(struct lapic_cpu *cpu)
{
	__atomic_store_n(&cpu->tpr, 0, __ATOMIC_RELAXED);
	cpu->ldr = 0;
	cpu->dfr = 0xffffffff;
	cpu->svr = 0xff;
	memset(cpu->irr, 0, sizeof(cpu->irr));
	memset(cpu->isr, 0, sizeof(cpu->isr));
	memset(cpu->tmr, 0, sizeof(cpu->tmr));
	cpu->esr = cpu->esr_pending = 0;
	cpu->icr_low = cpu->icr_high = 0;
	for (unsigned lvt = 0; lvt < LAPIC_LVT_COUNT; lvt++)
		cpu->lvt[lvt] = LAPIC_LVT_MASKED;
	cpu->extint_pending = false;
	cpu->timer_running = false;
	cpu->timer_initial = cpu->timer_divide = cpu->timer_start_count = 0;
	cpu->tsc_deadline = 0;
	device_timer_arm(cpu->timer, DEVICE_TIMER_OFF);
	lapic_cpu_update(cpu);
}

/* IA32_APIC_BASE: 11.12.5 has the transitions; those out of x2APIC mode lead only to "disabled", and on only
 * through it. */
static bool lapic_cpu_write_base(struct lapic_cpu *cpu, uint64_t value)
{
	const struct lapic *lapic = cpu->lapic;
	uint64_t mask = (1ull << lapic->config.phys_bits) - 1;
	uint64_t allowed = (mask & ~0xfffull) | LAPIC_BASE_BSP | LAPIC_BASE_ENABLE |
			   (lapic->config.x2apic ? LAPIC_BASE_X2APIC : 0);
	bool enable = value & LAPIC_BASE_ENABLE, x2apic = value & LAPIC_BASE_X2APIC;

	if ((value & ~allowed) || (x2apic && !enable))
		return false;
	if (lapic_cpu_is_x2apic(cpu) && enable && !x2apic)
		return false;
	if (!lapic_cpu_is_enabled(cpu) && x2apic)
		return false;
	if (enable != lapic_cpu_is_enabled(cpu))
		lapic_cpu_init(cpu);
	if (x2apic && !lapic_cpu_is_x2apic(cpu))
		cpu->icr_high = 0;
	__atomic_store_n(&cpu->base, value, __ATOMIC_RELAXED);
	lapic_cpu_update(cpu);
	return true;
}

static bool lapic_cpu_msr_read(struct lapic_cpu *cpu, uint32_t index, uint64_t *value)
{
	if (index == MSR_APIC_BASE) {
		*value = cpu->base;
		return true;
	}
	if (index == MSR_TSC_DEADLINE) {
		lapic_timer_sync(cpu, device_now_ns(cpu->lapic->loop));
		*value = cpu->tsc_deadline;
		return cpu->lapic->config.tsc_to_monotonic_ns;
	}
	if (index < MSR_X2APIC_FIRST || index > MSR_X2APIC_LAST || !lapic_cpu_is_x2apic(cpu))
		return false;
	return lapic_cpu_x2apic_read(cpu, (index - MSR_X2APIC_FIRST) << 4, value);
}

static bool lapic_cpu_msr_write(struct lapic_cpu *cpu, uint32_t index, uint64_t value)
{
	if (index == MSR_APIC_BASE)
		return lapic_cpu_write_base(cpu, value);
	if (index == MSR_TSC_DEADLINE) {
		if (!cpu->lapic->config.tsc_to_monotonic_ns)
			return false;
		lapic_timer_write_deadline(cpu, value);
		return true;
	}
	if (index < MSR_X2APIC_FIRST || index > MSR_X2APIC_LAST || !lapic_cpu_is_x2apic(cpu))
		return false;
	return lapic_cpu_x2apic_write(cpu, (index - MSR_X2APIC_FIRST) << 4, value);
}

bool lapic_msr_read(struct device *device, unsigned cpu, uint32_t index, uint64_t *value)
{
	struct lapic *lapic = (struct lapic *)device;
	bool ok;

	if (cpu >= lapic->cpu_count)
		return false;
	pthread_mutex_lock(lapic->lock);
	ok = lapic_cpu_msr_read(&lapic->cpu[cpu], index, value);
	pthread_mutex_unlock(lapic->lock);
	return ok;
}

bool lapic_msr_write(struct device *device, unsigned cpu, uint32_t index, uint64_t value)
{
	struct lapic *lapic = (struct lapic *)device;
	bool ok;

	if (cpu >= lapic->cpu_count)
		return false;
	pthread_mutex_lock(lapic->lock);
	ok = lapic_cpu_msr_write(&lapic->cpu[cpu], index, value);
	pthread_mutex_unlock(lapic->lock);
	return ok;
}

uint64_t lapic_mmio_page(const struct device *device, unsigned cpu)
{
	const struct lapic *lapic = (const struct lapic *)device;
	uint64_t base;

	if (cpu >= lapic->cpu_count)
		return LAPIC_MMIO_NONE;
	base = __atomic_load_n(&lapic->cpu[cpu].base, __ATOMIC_RELAXED);
	if ((base & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) != LAPIC_BASE_ENABLE)
		return LAPIC_MMIO_NONE;
	return base & ~0xfffull;
}

uint64_t lapic_cr8_read(struct device *device, unsigned cpu)
{
	struct lapic *lapic = (struct lapic *)device;

	return cpu < lapic->cpu_count ? __atomic_load_n(&lapic->cpu[cpu].tpr, __ATOMIC_RELAXED) >> 4 : 0;
}

void lapic_cr8_write(struct device *device, unsigned cpu, uint64_t value)
{
	struct lapic *lapic = (struct lapic *)device;

	if (cpu >= lapic->cpu_count)
		return;
	pthread_mutex_lock(lapic->lock);
	lapic_cpu_write_tpr(&lapic->cpu[cpu], (uint32_t)(value & 0xf) << 4);
	pthread_mutex_unlock(lapic->lock);
}

int lapic_acknowledge(struct device *device, unsigned cpu)
{
	struct lapic *lapic = (struct lapic *)device;
	int vector;

	if (cpu >= lapic->cpu_count)
		return -1;
	pthread_mutex_lock(lapic->lock);
	vector = lapic_cpu_acknowledge(&lapic->cpu[cpu]);
	pthread_mutex_unlock(lapic->lock);
	return vector;
}

void lapic_msi(struct device *device, uint64_t address, uint32_t data)
{
	struct lapic *lapic = (struct lapic *)device;
	struct intr_message message = intr_message_from_msi(address, data);

	pthread_mutex_lock(lapic->lock);
	lapic_deliver(lapic, &message);
	pthread_mutex_unlock(lapic->lock);
}

void lapic_nmi(struct device *device, unsigned cpu)
{
	struct lapic *lapic = (struct lapic *)device;

	if (cpu >= lapic->cpu_count)
		return;
	pthread_mutex_lock(lapic->lock);
	lapic_cpu_lint(&lapic->cpu[cpu], 1, true);
	lapic_cpu_lint(&lapic->cpu[cpu], 1, false);
	pthread_mutex_unlock(lapic->lock);
}

void lapic_set_eoi_sink(struct device *device, const struct eoi_sink *eoi)
{
	((struct lapic *)device)->config.eoi = *eoi;
}

static void lapic_cpu_power_on(struct lapic_cpu *cpu)
{
	bool bsp = cpu->index == 0;

	cpu->base = LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE | (bsp ? LAPIC_BASE_BSP : 0);
	lapic_cpu_init(cpu);
	if (bsp) {
		cpu->lvt[LAPIC_LVT_LINT0] = INTR_EXTINT << 8;
		cpu->lvt[LAPIC_LVT_LINT1] = INTR_NMI << 8;
	}
	lapic_cpu_update(cpu);
}

static void lapic_reset(struct device *device)
{
	struct lapic *lapic = (struct lapic *)device;

	pthread_mutex_lock(lapic->lock);
	lapic->lowest_last = 0;
	for (uint32_t i = 0; i < lapic->cpu_count; i++)
		lapic_cpu_power_on(&lapic->cpu[i]);
	pthread_mutex_unlock(lapic->lock);
}

static void lapic_pause(struct device *device)
{
	struct lapic *lapic = (struct lapic *)device;

	pthread_mutex_lock(lapic->lock);
	lapic->saved_now_ns = device_now_ns(lapic->loop);
	for (uint32_t i = 0; i < lapic->cpu_count; i++)
		lapic_timer_pause(&lapic->cpu[i]);
	pthread_mutex_unlock(lapic->lock);
}

/* The pins' levels are not saved: they follow from the registers. */
static void lapic_resume(struct device *device)
{
	struct lapic *lapic = (struct lapic *)device;
	uint64_t shift_ns;

	pthread_mutex_lock(lapic->lock);
	shift_ns = lapic->saved_now_ns ? device_now_ns(lapic->loop) - lapic->saved_now_ns : 0;
	lapic->saved_now_ns = 0;
	for (uint32_t i = 0; i < lapic->cpu_count; i++) {
		lapic_timer_resume(&lapic->cpu[i], shift_ns);
		lapic_cpu_give_pin(&lapic->cpu[i]);
	}
	pthread_mutex_unlock(lapic->lock);
}

static void lapic_destroy(struct device *device)
{
	struct lapic *lapic = (struct lapic *)device;

	for (uint32_t i = 0; i < lapic->cpu_count; i++)
		device_timer_destroy(lapic->cpu[i].timer);
	free(lapic);
}

static const struct state_group lapic_group = {
	.count_offset = offsetof(struct lapic, cpu_count),
	.stride = sizeof(struct lapic_cpu),
};

/* The state of one CPU goes through the same door as an accelerator's would. */
static int lapic_loaded(struct device *device, struct err *err)
{
	struct lapic *lapic = (struct lapic *)device;

	for (uint32_t i = 0; i < lapic->cpu_count; i++) {
		struct lapic_cpu *cpu = &lapic->cpu[i];

		__atomic_store_n(&cpu->tpr, cpu->tpr & 0xff, __ATOMIC_RELAXED);
		cpu->dfr |= 0x0fffffff;
		if (cpu->timer_running && !cpu->timer_start_count)
			return err_set(err, -EINVAL, "cpu[%u]: its timer runs from a count of 0", i);
		cpu->tsc_deadline_ns = UINT64_MAX;
	}
	return 0;
}

#define LAPIC_CPU_FIELDS(type_, member_, count_)                                                             \
	{                                                                                                    \
		.name = "cpu." #member_, .type = (type_),                                                    \
		.offset = offsetof(struct lapic, cpu) + offsetof(struct lapic_cpu, member_),                 \
		.count = (count_), .group = &lapic_group                                                     \
	}

static const struct state_field lapic_state[] = {
	STATE_FIELD(STATE_U32, struct lapic, lowest_last),
	STATE_FIELD(STATE_U64, struct lapic, saved_now_ns),
	LAPIC_CPU_FIELDS(STATE_U64, base, 1),
	LAPIC_CPU_FIELDS(STATE_U32, tpr, 1),
	LAPIC_CPU_FIELDS(STATE_U32, ldr, 1),
	LAPIC_CPU_FIELDS(STATE_U32, dfr, 1),
	LAPIC_CPU_FIELDS(STATE_U32, svr, 1),
	LAPIC_CPU_FIELDS(STATE_U32, irr, 8),
	LAPIC_CPU_FIELDS(STATE_U32, isr, 8),
	LAPIC_CPU_FIELDS(STATE_U32, tmr, 8),
	LAPIC_CPU_FIELDS(STATE_U32, esr, 1),
	LAPIC_CPU_FIELDS(STATE_U32, esr_pending, 1),
	LAPIC_CPU_FIELDS(STATE_U32, icr_low, 1),
	LAPIC_CPU_FIELDS(STATE_U32, icr_high, 1),
	LAPIC_CPU_FIELDS(STATE_U32, lvt, LAPIC_LVT_COUNT),
	LAPIC_CPU_FIELDS(STATE_BOOL, lint, 2),
	LAPIC_CPU_FIELDS(STATE_BOOL, extint_pending, 1),
	LAPIC_CPU_FIELDS(STATE_BOOL, timer_running, 1),
	LAPIC_CPU_FIELDS(STATE_U32, timer_initial, 1),
	LAPIC_CPU_FIELDS(STATE_U32, timer_divide, 1),
	LAPIC_CPU_FIELDS(STATE_U32, timer_start_count, 1),
	LAPIC_CPU_FIELDS(STATE_U64, timer_start_ns, 1),
	LAPIC_CPU_FIELDS(STATE_U64, tsc_deadline, 1),
	{.name = NULL},
};

static const struct metric_field lapic_metrics[] = {
	{"ipis", offsetof(struct lapic, metric_ipis)},
	{"messages", offsetof(struct lapic, metric_messages)},
	{"eois", offsetof(struct lapic, metric_eois)},
	{"timer_interrupts", offsetof(struct lapic, metric_timer_interrupts)},
	{.name = NULL},
};

static const struct device_class lapic_class = {
	.name = "lapic",
	.state = lapic_state,
	.metrics = lapic_metrics,
	.reset = lapic_reset,
	.pause = lapic_pause,
	.resume = lapic_resume,
	.loaded = lapic_loaded,
	.destroy = lapic_destroy,
};

static struct lapic *lapic_alloc(const struct device_env *env, const struct lapic_config *config)
{
	struct lapic *lapic = calloc(1, sizeof(*lapic) + config->cpu_count * sizeof(lapic->cpu[0]));

	if (!lapic)
		return NULL;
	lapic->device.class = &lapic_class;
	snprintf(lapic->device.id, sizeof(lapic->device.id), "lapic");
	lapic->device.description = (struct device_description){
		.mmio_base = LAPIC_MMIO_BASE,
		.mmio_size = LAPIC_MMIO_SIZE,
		.irq = {-1, -1},
	};
	lapic->config = *config;
	if (!lapic->config.timer_hz)
		lapic->config.timer_hz = LAPIC_TIMER_HZ;
	lapic->lock = env->intr_lock;
	lapic->loop = env->loop;
	return lapic;
}

struct device *lapic_create(const struct device_env *env, const struct lapic_config *config, struct err *err)
{
	struct lapic *lapic;

	if (!config->cpu_count || config->cpu_count > LAPIC_CPUS_MAX) {
		err_set(err, -EINVAL, "lapic: %u CPUs, but 1 to %u can be addressed", config->cpu_count,
			LAPIC_CPUS_MAX);
		return NULL;
	}
	lapic = lapic_alloc(env, config);
	if (!lapic) {
		err_set(err, -ENOMEM, "lapic: no memory for %u CPUs", config->cpu_count);
		return NULL;
	}
	for (uint32_t i = 0; i < config->cpu_count; i++) {
		struct lapic_cpu *cpu = &lapic->cpu[i];

		cpu->lapic = lapic;
		cpu->index = i;
		cpu->timer = device_timer_create(env->loop, env->intr_lock, lapic_timer_fire, cpu, err);
		if (!cpu->timer) {
			lapic_destroy(&lapic->device);
			return NULL;
		}
		lapic->cpu_count = i + 1;
	}
	lapic_reset(&lapic->device);
	return &lapic->device;
}
