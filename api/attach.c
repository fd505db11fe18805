/* SPDX-License-Identifier: Apache-2.0 */
/* A socket for a machine that somebody else made and runs: `vmmctl boot --api-sock`. */
#include <errno.h>
#include <stdlib.h>

#include "api/serve.h"
#include "api/server.h"
#include "vmm/base/err.h"
#include "vmm/machine/commands.h"
#include "vmm/machine/control.h"
#include "vmm/machine/machine.h"

struct api_attachment {
	struct api_vm vm;
	struct api_server *server;
};

/* The machine is there already. */
static void attach_on_start(void *opaque)
{
}

struct api_attachment *api_attach(struct machine *machine, const char *path, struct err *err)
{
	struct api_attachment *attachment = calloc(1, sizeof(*attachment));
	const struct machine_config *config = machine_config_of(machine);
	const struct api_vm_settings settings = {
		.id = SERVE_ID_DEFAULT,
		.pci = config->virtio_transport == VIRTIO_TRANSPORT_PCI,
		.is_plain = true,
		.mmds_max = SERVE_PAYLOAD_DEFAULT,
		.socket_path = path,
	};
	struct machine_config base;

	if (!attachment || machine_config_copy(&base, config, err) < 0) {
		free(attachment);
		return NULL;
	}
	if (api_vm_init(&attachment->vm, &settings, &base, err) == 0) {
		attachment->vm.machine = machine;
		attachment->vm.is_borrowed = true;
		attachment->vm.on_start = attach_on_start;
		api_vm_adopt(&attachment->vm, config);
		attachment->server =
			api_server_create(machine_loop(machine), &attachment->vm, SERVE_PAYLOAD_DEFAULT, err);
	}
	if (attachment->server)
		return attachment;
	err_prefix(err, "--api-sock");
	api_detach(attachment);
	return NULL;
}

void api_detach(struct api_attachment *attachment)
{
	if (!attachment)
		return;
	if (attachment->server) {
		api_vm_tell(&attachment->vm, "Stopped");
		api_server_destroy(attachment->server);
	}
	attachment->vm.is_borrowed = true;
	api_vm_free(&attachment->vm);
	free(attachment);
}
