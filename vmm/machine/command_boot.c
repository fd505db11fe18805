/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmmctl boot`: arguments to a configuration, a machine made of it, the signals that end it, its exit
 * status. SIGTERM, SIGINT, SIGHUP and SIGQUIT end the machine in order (terminal, socket files) and then this
 * process of the same signal, so that a caller sees what happened. SIGUSR1 has the sizes of disk images read
 * again.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vmm/base/err.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/machine/commands.h"
#include "vmm/machine/config.h"
#include "vmm/machine/cpu_choice.h"
#include "vmm/machine/machine.h"

struct boot_signals {
	struct machine *machine;
	struct loop_fd *watch;
	int fd;
	int caught; /* 0: none */
};

static void boot_signal_set(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	sigaddset(signals, SIGQUIT);
	sigaddset(signals, SIGUSR1);
}

static void boot_on_signal(void *opaque, uint32_t epoll_events)
{
	struct boot_signals *signals = opaque;
	struct signalfd_siginfo info;

	if (read(signals->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1) {
		machine_refresh_disks(signals->machine);
		return;
	}
	signals->caught = (int)info.ssi_signo;
	machine_quit(signals->machine);
}

static int boot_watch_signals(struct boot_signals *signals, struct err *err)
{
	sigset_t set;

	boot_signal_set(&set);
	signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals->fd < 0)
		return err_set_errno(err, -errno, "signalfd");
	signals->watch = loop_fd_add(machine_loop(signals->machine), signals->fd, EPOLLIN, boot_on_signal,
				     signals, err);
	return signals->watch ? 0 : err_prefix(err, "signals");
}

static void boot_unwatch_signals(struct boot_signals *signals)
{
	if (signals->watch)
		loop_fd_remove(signals->watch);
	if (signals->fd >= 0)
		close(signals->fd);
}

static int boot_run_machine(const struct machine_config *config, const char *api_sock,
			    struct boot_signals *signals)
{
	struct api_attachment *attachment = NULL;
	struct machine_result result = {0};
	struct err err = {0};
	int code = -1;

	signals->machine = machine_create(config, &err);
	if (signals->machine && api_sock)
		attachment = api_attach(signals->machine, api_sock, &err);
	if (signals->machine && (attachment || !api_sock) && boot_watch_signals(signals, &err) == 0)
		code = machine_run(signals->machine, &result, &err);
	boot_unwatch_signals(signals);
	api_detach(attachment);
	machine_destroy(signals->machine);
	if (code == 0)
		return machine_exit_status(&result);
	log_error("%s", err.message);
	return CLI_FAILURE;
}

/* Shares and sockets need many; the soft limit is low for the sake of select(2), which is not used here. */
static void boot_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int boot_with_signals(const struct machine_config *config, const char *api_sock)
{
	struct boot_signals signals = {.fd = -1};
	sigset_t set;
	sigset_t before;
	int status;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a guest's file that grows over the limit is the guest's error */
	boot_raise_descriptors();
	boot_signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	status = boot_run_machine(config, api_sock, &signals);
	if (signals.caught)
		raise(signals.caught); /* delivered by the next line */
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return status;
}

/* With the CPU model that this host would give; where it would give none, "auto" says all that is known. */
static int boot_print_config(struct machine_config *config)
{
	struct err ignored;
	const bool resolved = cpu_choice_resolve_here(config, &ignored) == 0;
	json_t *json = option_to_json(machine_options, config);
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	int status = text && puts(text) >= 0 && fflush(stdout) == 0 ? CLI_OK : CLI_FAILURE;

	if (!resolved)
		log_warning("machine.cpu: %s", ignored.message);
	free(text);
	json_decref(json);
	return status;
}

/* argv over JSON file over defaults. */
static int boot_configure(const struct cli_settings *settings, struct command_options *own,
			  struct machine_config *config, struct err *err)
{
	int code = 0;

	if (own->config_path)
		code = machine_config_read(config, own->config_path, err);
	if (code < 0)
		return err_prefix(err, "--config");
	code = cli_apply(settings, config, err);
	if (code == 0)
		code = machine_config_check(config, err);
	return code < 0 ? code : machine_config_complete(config, err);
}

static int boot_configured(const struct cli_command *command, const struct cli_settings *settings,
			   struct command_options *own, struct machine_config *config)
{
	struct err err = {0};

	if (cli_apply(settings, own, &err) < 0)
		return cli_usage_error(command, &err);
	if (own->help) {
		cli_print_help(stdout, command);
		return CLI_OK;
	}
	if (boot_configure(settings, own, config, &err) < 0)
		return cli_usage_error(command, &err);
	if (own->print_config)
		return boot_print_config(config);
	log_set_level((enum log_level)config->log_level);
	return boot_with_signals(config, own->api_sock);
}

int command_boot(const struct cli_command *command, int argc, char **argv)
{
	struct machine_config config;
	struct command_options own = {0};
	const struct cli_options options[] = {
		{machine_options, &config}, {command_boot_options, &own}, {NULL, NULL}};
	struct cli_settings settings;
	struct err err = {0};
	int status;

	if (cli_parse(argc, argv, options, &settings, &err) < 0)
		return cli_usage_error(command, &err);
	if (machine_config_init(&config, &err) < 0) {
		log_error("%s", err.message);
		return CLI_FAILURE;
	}
	status = boot_configured(command, &settings, &own, &config);
	option_free(command_boot_options, &own);
	machine_config_free(&config);
	return status;
}
