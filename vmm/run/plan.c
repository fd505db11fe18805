/* SPDX-License-Identifier: Apache-2.0 */
/* The plan, step by step. */
#include "vmm/run/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "fetch/store.h"
#include "guest/protocol.h"
#include "vmm/base/err.h"
#include "vmm/core/netdev.h"
#include "vmm/machine/config.h"

#define PLAN_ROOT_TAG "vmmctl-root"
#define PLAN_CID      3 /* the first that a guest may have */
#define PLAN_MODULES  32
#define PLAN_SHARES   "/mnt" /* where shares are mounted, each under its tag */

/* As the user-mode network has it (QEMU's and libslirp's defaults). */
#define PLAN_NETWORK "10.0.2.15/24 10.0.2.2 10.0.2.3"

/* What of the kernel's says too much, what ends the machine when the kernel gives up, and where it speaks. */
#define PLAN_APPEND "console=ttyS0 quiet loglevel=4 panic=-1 rdinit=/init"

/* Sets a machine option as its flag would. */
static int plan_set(struct run_plan *plan, const char *flag, struct err *err, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int plan_set(struct run_plan *plan, const char *flag, struct err *err, const char *format, ...)
{
	const struct option *option = option_find_flag(machine_options, flag, strlen(flag));
	char text[PATH_MAX + 256];
	va_list arguments;
	int code;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	code = option_set_text(option, plan->config, text, err);
	return code < 0 ? err_prefix(err, "%s", flag) : 0;
}

static void plan_clear(struct run_plan *plan, const char *flag)
{
	option_clear_list(option_find_flag(machine_options, flag, strlen(flag)), plan->config);
}

static int plan_check(struct run_plan *plan, struct err *err)
{
	const struct run_rootfs *given = plan->options->rootfs.item;
	size_t count = plan->options->rootfs.count;

	if (!plan->argv[0])
		return err_set(
			err, -EINVAL,
			"there is no command: write it after --, as in vmmctl run --rootfs DIR -- ls -l");
	if (count == 0 || !given[count - 1].path || !given[count - 1].path[0])
		return err_set(err, -EINVAL, "--rootfs: give a folder or an image as the guest's root");
	/* The last one given, as with every option that there is one of. */
	plan->rootfs = given[count - 1];
	if (plan->rootfs.readonly && plan->rootfs.overlay)
		return err_set(err, -EINVAL, "--rootfs: readonly and overlay exclude one another");
	if (plan->options->kernel_modules && !plan->config->kernel)
		return err_set(err, -EINVAL,
			       "--kernel-modules: they belong to a kernel, give it with --kernel");
	if (strchr(plan->rootfs.path, ','))
		return err_set(err, -EINVAL, "--rootfs: a path with a comma cannot be used");
	return rootfs_look(&plan->root, plan->rootfs.path, err);
}

static int plan_find_kernel(struct run_plan *plan, struct err *err)
{
	bool needs_9p = plan->root.is_folder || plan->config->shares.count > 0;
	int code;

	if (plan->config->kernel) {
		snprintf(plan->kernel.modules, sizeof(plan->kernel.modules), "%s",
			 plan->options->kernel_modules ? plan->options->kernel_modules : "");
		return 0;
	}
	code = run_kernel_default(&plan->kernel, needs_9p ? STORE_FULL : STORE_CLOUD, err);
	return code < 0 ? code : plan_set(plan, "--kernel", err, "%s", plan->kernel.kernel);
}

static int plan_make_folder(struct run_plan *plan, struct err *err)
{
	const char *base = getenv("XDG_RUNTIME_DIR");

	if (!base || base[0] != '/' || strlen(base) > RUN_FOLDER_MAX - 24 || access(base, W_OK) < 0)
		base = "/tmp";
	snprintf(plan->folder, sizeof(plan->folder), "%s/vmmctl-run-XXXXXX", base);
	if (!mkdtemp(plan->folder)) {
		int code = err_set_errno(err, -errno, "%s", plan->folder);

		plan->folder[0] = '\0';
		return code;
	}
	snprintf(plan->socket, sizeof(plan->socket), "%s/vsock_%u", plan->folder, GUEST_PORT);
	if (plan->options->console_log)
		snprintf(plan->console, sizeof(plan->console), "%s", plan->options->console_log);
	else
		snprintf(plan->console, sizeof(plan->console), "%s/console", plan->folder);
	return 0;
}

static int plan_add_root(struct run_plan *plan, struct err *err)
{
	const struct run_rootfs *rootfs = &plan->rootfs;
	bool is_read_only = rootfs->readonly || rootfs->overlay;
	const char *mode = rootfs->overlay ? "overlay" : rootfs->readonly ? "ro" : "rw";
	char disk = (char)('a' + plan->config->disks.count);
	int code;

	if (plan->root.is_folder) {
		code = plan_set(plan, "--share", err, "%s,tag=%s%s", rootfs->path, PLAN_ROOT_TAG,
				is_read_only ? ",readonly" : "");
		return code < 0 ? code : run_task_add(&plan->task, 'r', err, "9p %s %s", PLAN_ROOT_TAG, mode);
	}
	code = plan_set(plan, "--disk", err, "%s%s", rootfs->path, is_read_only ? ",readonly" : "");
	return code < 0 ? code
			: run_task_add(&plan->task, 'r', err, "%s /dev/vd%c %s", plan->root.kind, disk, mode);
}

/* The user's shares, all that are there before the root's is added. */
static int plan_add_shares(struct run_plan *plan, struct err *err)
{
	const struct machine_share *shares = plan->config->shares.item;
	int code = 0;

	for (size_t i = 0; i < plan->config->shares.count && code == 0; i++) {
		char tag[32];

		snprintf(tag, sizeof(tag), "share%zu", i);
		code = run_task_add(&plan->task, 'm', err, "%s %s %s/%s", shares[i].tag ? shares[i].tag : tag,
				    shares[i].readonly ? "ro" : "rw", PLAN_SHARES,
				    shares[i].tag ? shares[i].tag : tag);
	}
	return code;
}

static int plan_add_network(struct run_plan *plan, struct err *err)
{
	const struct netdev_config *cards = plan->config->net.item;

	if (plan->config->net.count == 0 || strcmp(cards[0].backend, "user") != 0)
		return 0;
	return run_task_add(&plan->task, 'n', err, "%s", PLAN_NETWORK);
}

static int plan_set_machine(struct run_plan *plan, struct err *err)
{
	char *user_append = plan->config->append ? strdup(plan->config->append) : NULL;
	int code = plan_set(plan, "--append", err, "%s%s%s", PLAN_APPEND, user_append ? " " : "",
			    user_append ? user_append : "");

	free(user_append);
	plan_clear(plan, "--serial");
	if (code == 0)
		code = plan_set(plan, "--serial", err, "file:%s", plan->console);
	if (code == 0)
		code = plan_set(plan, "--vsock", err, "cid=%d,path=%s/vsock", PLAN_CID, plan->folder);
	/* A guest that restarts has lost its command. */
	plan->config->no_reboot = true;
	return code;
}

static int plan_make_initramfs(struct run_plan *plan, struct err *err)
{
	const char *names[PLAN_MODULES] = {"virtio_mmio", "vmw_vsock_virtio_transport"};
	size_t count = 2;

	if (plan->config->virtio_transport == VIRTIO_TRANSPORT_PCI)
		names[0] = "virtio_pci";
	if (plan->config->shares.count > 0) {
		names[count++] = "9pnet_virtio";
		names[count++] = "9p";
	}
	if (plan->config->disks.count > 0)
		names[count++] = "virtio_blk";
	if (plan->root.module)
		names[count++] = plan->root.module;
	/* ext4 wants a checksum by name, not by dependency. */
	if (plan->root.module && strcmp(plan->root.module, "ext4") == 0)
		names[count++] = "crc32c_generic";
	if (plan->rootfs.overlay)
		names[count++] = "overlay";
	if (plan->config->net.count > 0) {
		names[count++] = "virtio_net";
		names[count++] = "af_packet";
	}
	if (plan->config->rng.count > 0)
		names[count++] = "virtio_rng";
	if (plan->config->balloon.count > 0)
		names[count++] = "virtio_balloon";
	if (plan->config->console.count > 0)
		names[count++] = "virtio_console";
	names[count] = NULL;
	plan->initramfs = run_initramfs(plan->kernel.modules, names, err);
	if (plan->initramfs < 0)
		return plan->initramfs;
	return plan_set(plan, "--initrd", err, "/proc/self/fd/%d", plan->initramfs);
}

static int plan_add_variable(struct run_plan *plan, const char *text, struct err *err)
{
	const char *value = strchr(text, '=') ? NULL : getenv(text);

	if (text[0] == '=' || !text[0])
		return err_set(err, -EINVAL, "--env: \"%s\" has no name", text);
	if (strchr(text, '='))
		return run_task_add(&plan->task, 'e', err, "%s", text);
	return value ? run_task_add(&plan->task, 'e', err, "%s=%s", text, value) : 0;
}

static int plan_add_terminal(struct run_plan *plan, struct err *err)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	const char *terminal = getenv("TERM");
	int code;

	if (!plan->options->tty)
		return 0;
	if (!isatty(STDIN_FILENO))
		return err_set(err, -ENOTTY, "--tty: standard input is not a terminal");
	ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
	code = run_task_add(&plan->task, 't', err, "%u %u", size.ws_row, size.ws_col);
	if (code == 0 && terminal)
		code = run_task_add(&plan->task, 'e', err, "TERM=%s", terminal);
	return code;
}

static int plan_describe_command(struct run_plan *plan, struct err *err)
{
	const struct run_options *options = plan->options;
	int code =
		run_task_add(&plan->task, 'h', err, "%s", options->hostname ? options->hostname : "vmmctl");

	if (code == 0 && options->workdir)
		code = run_task_add(&plan->task, 'w', err, "%s", options->workdir);
	if (code == 0 && options->user)
		code = run_task_add(&plan->task, 'u', err, "%s", options->user);
	for (size_t i = 0; i < options->env.count && code == 0; i++)
		code = plan_add_variable(plan, options->env.item[i], err);
	if (code == 0)
		code = plan_add_terminal(plan, err);
	for (char *const *word = plan->argv; *word && code == 0; word++)
		code = run_task_add(&plan->task, 'a', err, "%s", *word);
	return code;
}

int run_plan_make(struct run_plan *plan, struct err *err)
{
	static int (*const steps[])(struct run_plan * plan, struct err * err) = {
		plan_check,       plan_find_kernel,      plan_make_folder, plan_add_shares,     plan_add_root,
		plan_add_network, plan_describe_command, plan_set_machine, plan_make_initramfs,
	};
	int code = 0;

	plan->initramfs = -1;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && code == 0; i++)
		code = steps[i](plan, err);
	return code;
}

void run_plan_free(struct run_plan *plan)
{
	static const char *const names[] = {"console", "vsock"};
	char path[PATH_MAX];

	for (size_t i = 0; plan->folder[0] && i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", plan->folder, names[i]);
		unlink(path);
	}
	if (plan->folder[0])
		rmdir(plan->folder);
	if (plan->initramfs >= 0)
		close(plan->initramfs);
	run_task_free(&plan->task);
}
