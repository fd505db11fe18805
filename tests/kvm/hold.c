/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs in the rig from its start: two virtual machines that never run, so that KVM's static keys stay as they
 * are. With the first machine, the first CPU without a local APIC and every APIC that is off, the rig's
 * kernel rewrites its own code, the scheduler's included, and with the last one again. QEMU before 8.1
 * translates code without holding its page: what another CPU writes meanwhile is lost, and a CPU takes the
 * breakpoint of such a rewriting for ever, or leaves out what was switched on. Once in some fifty machines
 * both CPUs of the rig were seen to stand so, in __schedule, with interrupts off. KVM's api.rst;
 * arch/x86/kvm/lapic.c.
 *
 *     hold    says `held`, and sleeps until it is killed
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define APIC_BASE_OFF 0xfee00900ull & ~(1ull << 11)

static int hold_check(int value, const char *what)
{
	if (value >= 0)
		return value;
	perror(what);
	exit(1);
}

static void hold_vm(int kvm_fd, int with_irqchip)
{
	int vm_fd = hold_check(ioctl(kvm_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	struct kvm_sregs sregs;
	int vcpu_fd;

	if (with_irqchip)
		hold_check(ioctl(vm_fd, KVM_CREATE_IRQCHIP), "KVM_CREATE_IRQCHIP");
	vcpu_fd = hold_check(ioctl(vm_fd, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	if (!with_irqchip)
		return;
	/* A local APIC that its software has not yet switched on, as after reset, and that is off altogether.
	 */
	hold_check(ioctl(vcpu_fd, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.apic_base = APIC_BASE_OFF;
	hold_check(ioctl(vcpu_fd, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
}

int main(void)
{
	int kvm_fd = hold_check(open("/dev/kvm", O_RDWR), "/dev/kvm");

	hold_vm(kvm_fd, 0);
	hold_vm(kvm_fd, 1);
	puts("held");
	fflush(stdout);
	for (;;)
		pause();
}
