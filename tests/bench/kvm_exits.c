/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaving the guest costs under KVM: round trips a second through the accelerator's operations, of ports
 * and MMIO that a device answers, of port writes that may be late, and of writes that signal an eventfd. JSON
 * on standard output.
 *
 *     kvm-exits [COUNT]
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kvm/kvm_rig.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"

#define COUNT_DEFAULT 20000
#define PORT          0x50

enum bench_help { HELP_NONE, HELP_COALESCED, HELP_DOORBELL };

static const struct bench {
	const char *name;
	uint8_t code[8]; /* the access, once */
	size_t code_size;
	enum bench_help help;
	enum accel_bus bus;
	uint64_t address;
	uint8_t size_bytes;
} benches[] = {
	{"port_write", {0xe6, PORT}, 2, HELP_NONE, ACCEL_BUS_PIO, PORT, 1},
	{"port_read", {0xe4, PORT}, 2, HELP_NONE, ACCEL_BUS_PIO, PORT, 1},
	/* a32 mov [0x200050],eax */
	{"mmio_write",
	 {0x67, 0x66, 0xa3, 0x50, 0x00, 0x20, 0x00},
	 7,
	 HELP_NONE,
	 ACCEL_BUS_MMIO,
	 HOLE_GPA + 0x50,
	 4},
	/* a32 mov eax,[0x200050] */
	{"mmio_read",
	 {0x67, 0x66, 0xa1, 0x50, 0x00, 0x20, 0x00},
	 7,
	 HELP_NONE,
	 ACCEL_BUS_MMIO,
	 HOLE_GPA + 0x50,
	 4},
	{"port_write_coalesced", {0xe6, PORT}, 2, HELP_COALESCED, ACCEL_BUS_PIO, PORT, 1},
	{"port_write_eventfd", {0xe6, PORT}, 2, HELP_DOORBELL, ACCEL_BUS_PIO, PORT, 1},
	{"mmio_write_eventfd",
	 {0x67, 0x66, 0xa3, 0x50, 0x00, 0x20, 0x00},
	 7,
	 HELP_DOORBELL,
	 ACCEL_BUS_MMIO,
	 HOLE_GPA + 0x50,
	 4},
};

/* mov ecx,count; again: ACCESS; dec ecx; jnz again; out DONE_PORT,al; hlt */
static void bench_load(struct rig *rig, const struct bench *bench, uint32_t count)
{
	uint8_t code[32] = {0x66, 0xb9};
	size_t at = 2;

	memcpy(code + at, &count, sizeof(count));
	at += sizeof(count);
	memcpy(code + at, bench->code, bench->code_size);
	at += bench->code_size;
	code[at++] = 0x66;
	code[at++] = 0x49;
	code[at++] = 0x75;
	code[at++] = (uint8_t) - (int)(bench->code_size + 4);
	code[at++] = 0xe6;
	code[at++] = DONE_PORT;
	code[at++] = 0xf4;
	rig_code(rig, CODE_GPA, code, at);
	rig_enter(rig);
}

static int bench_help(struct rig *rig, const struct bench *bench, int fd)
{
	const struct accel_coalesced range = {
		.bus = bench->bus, .address = bench->address, .size = bench->size_bytes};
	const struct bus_doorbell doorbell = {
		.address = bench->address, .size_bytes = bench->size_bytes, .fd = fd};
	struct err err = {0};

	switch (bench->help) {
	case HELP_NONE: return 0;
	case HELP_COALESCED: return kvm_accel_ops.coalesce(rig->vm, &range, &err);
	case HELP_DOORBELL: return kvm_accel_ops.ioeventfd_add(rig->vm, bench->bus, &doorbell, &err);
	}
	return 0;
}

/* Accesses a second, or 0 when this host cannot do it. */
static uint64_t bench_run(const struct bench *bench, uint32_t count)
{
	struct rig *rig = rig_create(1);
	int fd = eventfd(0, EFD_NONBLOCK);
	uint64_t start_ns, rate = 0;

	if (bench_help(rig, bench, fd) == 0) {
		bench_load(rig, bench, count);
		start_ns = clock_monotonic_ns();
		rig_run(rig);
		rate = count * NS_PER_S / (clock_monotonic_ns() - start_ns);
	}
	rig_destroy(rig);
	close(fd);
	return rate;
}

int main(int argc, char **argv)
{
	uint32_t count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : COUNT_DEFAULT;
	struct err err = {0};

	if (kvm_accel_ops.probe(&err) < 0) {
		fprintf(stderr, "kvm-exits: %s\n", err.message);
		return 1;
	}
	printf("{\"accesses\": %u", count);
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
		printf(", \"%s_per_s\": %" PRIu64, benches[i].name, bench_run(&benches[i], count));
	printf("}\n");
	return 0;
}
