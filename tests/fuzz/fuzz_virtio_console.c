/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a hostile driver of the console, whose backends type, connect and go away. */
#include "devices/virtio/console.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_driver.h"
#include "vmm/core/chardev.h"

#define PORTS 3

/* The driver first: the operation finds the backends behind it. */
struct console_fuzz {
	struct virtio_driver driver;
	struct chardev chardev[PORTS];
};

static size_t sink_write(struct chardev *chardev, const uint8_t *data, size_t len)
{
	volatile uint8_t sum = 0;

	/* Every byte is read, so that a pointer out of the guest's memory shows. */
	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + data[i]);
	return len;
}

static const struct chardev_ops sink_ops = {.write = sink_write};

/* Somebody types as much as may be, or a connection comes or goes. */
static void act(struct virtio_driver *driver)
{
	struct console_fuzz *fuzz = (struct console_fuzz *)driver;
	uint8_t how = (uint8_t)virtio_fuzz_take(driver->input, 1);
	const struct chardev_client *client = &fuzz->chardev[how % PORTS].client;
	uint8_t typed[512];
	size_t room = client->can_receive(client->opaque);

	if (how & 0x80) {
		client->event(client->opaque, how & 0x40 ? CHARDEV_OPENED : CHARDEV_CLOSED);
		return;
	}
	memset(typed, how, sizeof(typed));
	client->receive(client->opaque, typed, room < sizeof(typed) ? room : sizeof(typed));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct console_fuzz fuzz = {.driver = {.input = &input, .other = act}};
	struct console_port_config ports[PORTS] = {
		{.is_console = true, .is_connected = true},
		{.name = "org.example.agent"},
		{.name = "another", .is_connected = true},
	};
	const struct console_config config = {.id = "console0",
					      .port = ports,
					      .port_count =
						      1 + (unsigned)virtio_fuzz_take(&input, 1) % PORTS};

	for (unsigned i = 0; i < PORTS; i++) {
		fuzz.chardev[i].ops = &sink_ops;
		ports[i].chardev = &fuzz.chardev[i];
	}
	fuzz.driver.guest = virtio_guest_create();
	fuzz.driver.device = console_create(&fuzz.driver.guest->env, &config, &fuzz.driver.guest->err);
	/* Ports that the device has not got do nothing. */
	for (unsigned i = config.port_count; i < PORTS; i++)
		chardev_attach(&fuzz.chardev[i], &fuzz.chardev[0].client);
	virtio_driver_run(&fuzz.driver);
	virtio_guest_destroy(fuzz.driver.guest);
	return 0;
}
