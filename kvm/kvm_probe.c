/* SPDX-License-Identifier: Apache-2.0 */
/* Whether /dev/kvm can be used: no device, no permission, forbidden and too old are told apart. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm/kvm.h"
#include "vmm/base/err.h"

#define KVM_DEVICE "/dev/kvm"

/* Without these no guest can run, or not without losing wake-ups. All are in Linux 4.12 and later. */
static const struct {
	int extension;
	const char *name;
} kvm_needed[] = {
	{KVM_CAP_USER_MEMORY, "user memory"},
	{KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
	{KVM_CAP_EXT_CPUID, "extended CPUID"},
	{KVM_CAP_SET_TSS_ADDR, "TSS address"},
	{KVM_CAP_VCPU_EVENTS, "vCPU events"},
	{KVM_CAP_DEBUGREGS, "debug registers"},
	{KVM_CAP_XSAVE, "XSAVE state"},
	{KVM_CAP_XCRS, "XCR state"},
	{KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "removal of memory"},
};

static int kvm_refusal(int code, struct err *err)
{
	switch (code) {
	case ENOENT:
		return err_set(err, -code,
			       "there is no " KVM_DEVICE ": load the module kvm_intel or kvm_amd, or use a "
			       "host with hardware virtualization");
	case ENODEV:
	case ENXIO:
		return err_set(err, -code,
			       KVM_DEVICE " is there, but no KVM behind it: load kvm_intel or kvm_amd");
	case EACCES:
		return err_set(err, -code,
			       "no permission to open " KVM_DEVICE ": join its group (kvm, as a rule)");
	case EPERM:
		return err_set(err, -code,
			       "opening " KVM_DEVICE " is forbidden, by seccomp or a device control group");
	default: return err_set_errno(err, -code, "cannot open " KVM_DEVICE);
	}
}

static int kvm_check_version(int fd, struct err *err)
{
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);

	if (version < 0 && (errno == EPERM || errno == EACCES))
		return err_set(err, -errno,
			       "ioctl on " KVM_DEVICE " is forbidden, by seccomp or a security module");
	if (version < 0)
		return err_set_errno(err, -errno, KVM_DEVICE " does not answer as KVM does");
	if (version != KVM_API_VERSION)
		return err_set(err, -ENOTSUP, "KVM's interface has version %d, %d is needed", version,
			       KVM_API_VERSION);
	for (size_t i = 0; i < sizeof(kvm_needed) / sizeof(kvm_needed[0]); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, kvm_needed[i].extension) <= 0)
			return err_set(err, -ENOTSUP, "this kernel's KVM is too old: it lacks %s",
				       kvm_needed[i].name);
	}
	return 0;
}

int kvm_open(struct err *err)
{
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
	int code;

	if (fd < 0)
		return kvm_refusal(errno, err);
	code = kvm_check_version(fd, err);
	if (code < 0) {
		close(fd);
		return code;
	}
	return fd;
}

int kvm_probe(struct err *err)
{
	int fd = kvm_open(err);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}
