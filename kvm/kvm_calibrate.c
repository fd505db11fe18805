/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How guest code runs on this host's KVM. A device that opens is not yet one that runs guests at speed: some
 * nested and paravirtual KVMs interpret every instruction, at a rate near one million a second, and cannot do
 * all of them. A loop of known length, in flat 32-bit protected mode (real mode is emulated on old CPUs that
 * run the rest natively), tells.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"

#define CALIBRATE_GPA         0x1000
#define CALIBRATE_PAGE_SIZE   4096
#define CALIBRATE_ITERATIONS  2000 /* 6 ms of an interpreter at 1 MIPS, under 1 us of a CPU */
#define CALIBRATE_LOOP_LENGTH 3
#define CALIBRATE_ATTEMPTS    3 /* the first run pays for page faults, others may be interrupted */
/* Hardware does thousands, even through a slow exit; the built-in CPU's interpreter some hundred. */
#define CALIBRATE_MIPS_MIN 30
#define CR0_PE             1
#define RFLAGS_ONE         2

/* again: add eax, ecx; dec ecx; jnz again; out 0x80, al; jmp $ */
static const uint8_t calibrate_code[] = {0x01, 0xc8, 0x49, 0x75, 0xfb, 0xe6, 0x80, 0xeb, 0xfe};

struct calibrate {
	int vm_fd, vcpu_fd;
	uint8_t *page;
	struct kvm_run *run;
	size_t run_size_bytes;
};

static int calibrate_open(struct calibrate *calibrate, int kvm_fd)
{
	struct kvm_userspace_memory_region slot = {.guest_phys_addr = CALIBRATE_GPA,
						   .memory_size = CALIBRATE_PAGE_SIZE};
	void *page =
		mmap(NULL, CALIBRATE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *run;
	int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	calibrate->page = page == MAP_FAILED ? NULL : page;
	calibrate->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (!calibrate->page || size < 0 || calibrate->vm_fd < 0)
		return -errno;
	memcpy(calibrate->page, calibrate_code, sizeof(calibrate_code));
	slot.userspace_addr = (uint64_t)(uintptr_t)calibrate->page;
	if (ioctl(calibrate->vm_fd, KVM_SET_TSS_ADDR, KVM_TSS_GPA) < 0 ||
	    ioctl(calibrate->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return -errno;
	calibrate->vcpu_fd = ioctl(calibrate->vm_fd, KVM_CREATE_VCPU, 0);
	if (calibrate->vcpu_fd < 0)
		return -errno;
	calibrate->run_size_bytes = (size_t)size;
	run = mmap(NULL, calibrate->run_size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, calibrate->vcpu_fd,
		   0);
	calibrate->run = run == MAP_FAILED ? NULL : run;
	return calibrate->run ? 0 : -errno;
}

static void calibrate_close(struct calibrate *calibrate)
{
	if (calibrate->run)
		munmap(calibrate->run, calibrate->run_size_bytes);
	if (calibrate->vcpu_fd >= 0)
		close(calibrate->vcpu_fd);
	if (calibrate->vm_fd >= 0)
		close(calibrate->vm_fd);
	if (calibrate->page)
		munmap(calibrate->page, CALIBRATE_PAGE_SIZE);
}

static int calibrate_enter_protected_mode(struct calibrate *calibrate)
{
	struct kvm_segment flat = {
		.limit = UINT32_MAX, .selector = 8, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
	struct kvm_sregs sregs;

	if (ioctl(calibrate->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	sregs.cs = flat;
	sregs.cs.type = 11;
	sregs.cr0 |= CR0_PE;
	return ioctl(calibrate->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ? -errno : 0;
}

/* Time of the loop with so many iterations, one exit included. */
static int calibrate_time(struct calibrate *calibrate, uint64_t iterations, uint64_t *duration_ns)
{
	struct kvm_regs regs = {.rip = CALIBRATE_GPA, .rcx = iterations, .rflags = RFLAGS_ONE};
	uint64_t start_ns;
	int code;

	if (ioctl(calibrate->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	start_ns = clock_monotonic_ns();
	do
		code = ioctl(calibrate->vcpu_fd, KVM_RUN, 0);
	while (code < 0 && errno == EINTR);
	*duration_ns = clock_monotonic_ns() - start_ns;
	if (code < 0)
		return -errno;
	return calibrate->run->exit_reason == KVM_EXIT_IO ? 0 : -EIO;
}

/* The shortest of some attempts, each of which may have been interrupted. */
static int calibrate_shortest(struct calibrate *calibrate, uint64_t iterations, uint64_t *duration_ns)
{
	*duration_ns = UINT64_MAX;
	for (int attempt = 0; attempt < CALIBRATE_ATTEMPTS; attempt++) {
		uint64_t attempt_ns = 0;
		int code = calibrate_time(calibrate, iterations, &attempt_ns);

		if (code < 0)
			return code;
		if (attempt_ns < *duration_ns)
			*duration_ns = attempt_ns;
	}
	return 0;
}

/*
 * Millions of instructions a second. The exit's own time is taken off, but never more than nine tenths of the
 * whole: an exit that was measured while the host was busy must not make an interpreter look like hardware.
 */
static int calibrate_measure(struct calibrate *calibrate, uint64_t *mips)
{
	uint64_t exit_ns, loop_ns;
	int code = calibrate_enter_protected_mode(calibrate);

	*mips = 0;
	if (code == 0)
		code = calibrate_shortest(calibrate, 1, &exit_ns);
	if (code == 0)
		code = calibrate_shortest(calibrate, CALIBRATE_ITERATIONS, &loop_ns);
	if (code < 0)
		return code;
	loop_ns -= exit_ns < loop_ns - loop_ns / 10 ? exit_ns : loop_ns - loop_ns / 10;
	*mips = CALIBRATE_ITERATIONS * CALIBRATE_LOOP_LENGTH * 1000ull / (loop_ns ? loop_ns : 1);
	return 0;
}

int kvm_calibrate(char *finding, size_t size, struct err *err)
{
	struct calibrate calibrate = {.vm_fd = -1, .vcpu_fd = -1};
	int fd = kvm_open(err);
	uint64_t mips = 0;
	int code;

	if (fd < 0)
		return fd;
	code = calibrate_open(&calibrate, fd);
	if (code == 0)
		code = calibrate_measure(&calibrate, &mips);
	calibrate_close(&calibrate);
	close(fd);
	if (code < 0)
		return err_set_errno(err, code, "it opens, but does not run a loop of a few instructions");
	if (mips < CALIBRATE_MIPS_MIN)
		return err_set(err, -ERANGE,
			       "it opens, but interprets guest code (%" PRIu64
			       " million instructions a second)",
			       mips);
	snprintf(finding, size, "it runs guest code at the hardware's speed");
	return 0;
}
