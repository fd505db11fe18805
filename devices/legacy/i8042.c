/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyboard controller. Knows nothing of scan codes but their translation. IBM PS/2 Hardware Interface
 * Technical Reference, keyboard and auxiliary device controller.
 *
 *   status        7: parity  6: time-out  5: output is the mouse's  4: not locked  3: last write was a
 * command 2: system flag  1: input full (never: bytes are taken at once)  0: output full command byte  6:
 * translate  5: mouse off  4: keyboard off  2: system flag  1: IRQ 12  0: IRQ 1 output port   5, 4: IRQ 12,
 * IRQ 1  1: A20  0: not reset
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/i8042.h"
#include "devices/legacy/ps2.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"

#define I8042_DATA_PORT    0x60
#define I8042_COMMAND_PORT 0x64

#define STATUS_OUTPUT   0x01
#define STATUS_COMMAND  0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_MOUSE    0x20

#define BYTE_KEYBOARD_IRQ 0x01
#define BYTE_MOUSE_IRQ    0x02
#define BYTE_SYSTEM       0x04
#define BYTE_KEYBOARD_OFF 0x10
#define BYTE_MOUSE_OFF    0x20
#define BYTE_TRANSLATE    0x40

#define OUTPUT_NOT_RESET 0x01
#define OUTPUT_A20       0x02

struct i8042 {
	struct device device;
	struct i8042_config config;
	struct bus *pio;
	pthread_mutex_t *lock; /* the board lock, for all below */
	struct ps2_keyboard keyboard;
	struct ps2_mouse mouse;
	uint8_t ram[32];     /* byte 0 is the command byte */
	uint8_t output_port; /* bits 1 and 0 */
	uint8_t command;     /* waits for its byte at port 0x60, 0: none */
	bool last_was_command;
	uint8_t data; /* output buffer */
	bool full, from_mouse;
	uint8_t reply; /* the controller's own answer, before that of the devices */
	bool reply_waits, reply_from_mouse;
	bool released; /* 0xf0 seen in translation: the next code is a release */
};

static void i8042_update_irq(struct i8042 *i8042)
{
	irq_line_set(&i8042->config.keyboard_irq,
		     i8042->full && !i8042->from_mouse && (i8042->ram[0] & BYTE_KEYBOARD_IRQ));
	irq_line_set(&i8042->config.mouse_irq,
		     i8042->full && i8042->from_mouse && (i8042->ram[0] & BYTE_MOUSE_IRQ));
}

static void i8042_fill(struct i8042 *i8042, uint8_t data, bool from_mouse)
{
	i8042->data = data;
	i8042->from_mouse = from_mouse;
	i8042->full = true;
}

/* One byte of the keyboard; false if translation swallowed it: 0xf0 becomes bit 7 of the next. */
static bool i8042_take_key(struct i8042 *i8042)
{
	uint8_t code = ps2_queue_get(&i8042->keyboard.queue);

	if (!(i8042->ram[0] & BYTE_TRANSLATE)) {
		i8042_fill(i8042, code, false);
		return true;
	}
	if (code == 0xf0) {
		i8042->released = true;
		return false;
	}
	i8042_fill(i8042, ps2_translate(code) | (i8042->released ? 0x80 : 0), false);
	/* The 0xe0 of an extended key comes before the 0xf0. */
	i8042->released = false;
	return true;
}

/* Refills the output buffer: the controller's answer, then the keyboard, then the mouse. */
static void i8042_refill(struct i8042 *i8042)
{
	if (!i8042->full && i8042->reply_waits) {
		i8042->reply_waits = false;
		i8042_fill(i8042, i8042->reply, i8042->reply_from_mouse);
	}
	while (!i8042->full && i8042->keyboard.queue.count && !(i8042->ram[0] & BYTE_KEYBOARD_OFF))
		i8042_take_key(i8042);
	if (!i8042->full && i8042->mouse.queue.count && !(i8042->ram[0] & BYTE_MOUSE_OFF)) {
		i8042_fill(i8042, ps2_queue_get(&i8042->mouse.queue), true);
		ps2_mouse_flush(&i8042->mouse);
	}
	i8042_update_irq(i8042);
}

static void i8042_reply(struct i8042 *i8042, uint8_t value, bool from_mouse)
{
	i8042->reply = value;
	i8042->reply_from_mouse = from_mouse;
	i8042->reply_waits = true;
}

static void i8042_pull_reset(struct i8042 *i8042)
{
	if (i8042->config.reset)
		i8042->config.reset(i8042->config.reset_opaque);
}

static void i8042_write_output_port(struct i8042 *i8042, uint8_t value)
{
	uint8_t changed = i8042->output_port ^ value;

	i8042->output_port = value & (OUTPUT_A20 | OUTPUT_NOT_RESET);
	if (changed & OUTPUT_A20)
		irq_line_set(&i8042->config.a20, value & OUTPUT_A20);
	if (!(value & OUTPUT_NOT_RESET)) {
		i8042->output_port |= OUTPUT_NOT_RESET;
		i8042_pull_reset(i8042);
	}
}

static uint8_t i8042_read_output_port(const struct i8042 *i8042)
{
	uint8_t value = i8042->output_port;

	if (i8042->full)
		value |= i8042->from_mouse ? 0x20 : 0x10;
	return value;
}

/* Commands with a result or an effect of their own; those that wait for a byte are kept. */
static void i8042_execute(struct i8042 *i8042, uint8_t command)
{
	switch (command) {
	case 0xa7: i8042->ram[0] |= BYTE_MOUSE_OFF; break;
	case 0xa8: i8042->ram[0] &= ~BYTE_MOUSE_OFF; break;
	case 0xa9: i8042_reply(i8042, 0x00, false); break; /* mouse interface test: no error */
	case 0xaa:                                         /* self test */
		i8042->ram[0] |= BYTE_SYSTEM;
		i8042_reply(i8042, 0x55, false);
		break;
	case 0xab: i8042_reply(i8042, 0x00, false); break; /* keyboard interface test */
	case 0xad: i8042->ram[0] |= BYTE_KEYBOARD_OFF; break;
	case 0xae: i8042->ram[0] &= ~BYTE_KEYBOARD_OFF; break;
	case 0xc0: i8042_reply(i8042, 0x80, false); break; /* input port: the keyboard is not locked */
	case 0xd0: i8042_reply(i8042, i8042_read_output_port(i8042), false); break;
	case 0xd1:
	case 0xd2:
	case 0xd3:
	case 0xd4: i8042->command = command; break;
	case 0xdd: i8042_write_output_port(i8042, OUTPUT_NOT_RESET); break; /* A20 off and on: */
	case 0xdf:
		i8042_write_output_port(i8042, OUTPUT_NOT_RESET | OUTPUT_A20);
		break;                                     /* not IBM's, but usual */
	case 0xe0: i8042_reply(i8042, 0x00, false); break; /* test inputs */
	default: break;
	}
}

static void i8042_write_command(struct i8042 *i8042, uint8_t command)
{
	i8042->command = 0;
	if (command >= 0x20 && command < 0x40)
		i8042_reply(i8042, i8042->ram[command & 0x1f], false);
	else if (command >= 0x60 && command < 0x80)
		i8042->command = command;
	else if (command >= 0xf0 && !(command & OUTPUT_NOT_RESET))
		i8042_pull_reset(i8042); /* pulses output bits that are 0 */
	else
		i8042_execute(i8042, command);
}

static void i8042_write_data(struct i8042 *i8042, uint8_t value)
{
	uint8_t command = i8042->command;

	i8042->command = 0;
	switch (command) {
	case 0xd1: i8042_write_output_port(i8042, value); return;
	case 0xd2: /* as if the keyboard had sent it */
	case 0xd3: /* as if the mouse had */ i8042_reply(i8042, value, command == 0xd3); return;
	case 0xd4:
		i8042->ram[0] &= ~BYTE_MOUSE_OFF;
		ps2_mouse_write(&i8042->mouse, value);
		return;
	default: break;
	}
	if (command) {
		i8042->ram[command & 0x1f] = value;
		return;
	}
	/* Sending enables the interface. */
	i8042->ram[0] &= ~BYTE_KEYBOARD_OFF;
	ps2_keyboard_write(&i8042->keyboard, value);
}

static uint64_t i8042_data_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	struct i8042 *i8042 = opaque;
	uint8_t data = i8042->data;

	if (i8042->full) {
		i8042->full = false;
		i8042_update_irq(i8042); /* the next byte is a new edge */
		i8042_refill(i8042);
	}
	return data;
}

static void i8042_data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct i8042 *i8042 = opaque;

	i8042->last_was_command = false;
	i8042_write_data(i8042, (uint8_t)value);
	i8042_refill(i8042);
}

static uint64_t i8042_status_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	const struct i8042 *i8042 = opaque;
	uint8_t status = STATUS_UNLOCKED | (i8042->ram[0] & BYTE_SYSTEM);

	if (i8042->full)
		status |= STATUS_OUTPUT | (i8042->from_mouse ? STATUS_MOUSE : 0);
	return status | (i8042->last_was_command ? STATUS_COMMAND : 0);
}

static void i8042_command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct i8042 *i8042 = opaque;

	i8042->last_was_command = true;
	i8042_write_command(i8042, (uint8_t)value);
	i8042_refill(i8042);
}

int i8042_key(struct device *device, uint16_t set1_code, bool down)
{
	struct i8042 *i8042 = (struct i8042 *)device;
	int ret;

	pthread_mutex_lock(i8042->lock);
	ret = ps2_keyboard_key(&i8042->keyboard, set1_code, down);
	i8042_refill(i8042);
	pthread_mutex_unlock(i8042->lock);
	return ret;
}

/* All or nothing: a lone Ctrl would stay pressed. The longest sequence is that of set 2, 11 bytes. */
int i8042_ctrl_alt_del(struct device *device)
{
	static const uint16_t codes[] = {0x1d, 0x38, 0xe053};
	struct i8042 *i8042 = (struct i8042 *)device;
	int ret = 0;

	pthread_mutex_lock(i8042->lock);
	if (ps2_keyboard_room(&i8042->keyboard) < 11 + 2)
		ret = -EAGAIN;
	for (unsigned i = 0; !ret && i < 3; i++)
		ret = ps2_keyboard_key(&i8042->keyboard, codes[i], true);
	for (unsigned i = 3; !ret && i-- > 0;)
		ret = ps2_keyboard_key(&i8042->keyboard, codes[i], false);
	i8042_refill(i8042);
	pthread_mutex_unlock(i8042->lock);
	return ret;
}

void i8042_mouse_move(struct device *device, int dx, int dy, uint8_t buttons)
{
	struct i8042 *i8042 = (struct i8042 *)device;

	pthread_mutex_lock(i8042->lock);
	ps2_mouse_move(&i8042->mouse, dx, dy, buttons);
	i8042_refill(i8042);
	pthread_mutex_unlock(i8042->lock);
}

/* As a BIOS leaves it: keyboard with translation and IRQ 1, mouse off, A20 open. */
static void i8042_reset(struct device *device)
{
	struct i8042 *i8042 = (struct i8042 *)device;

	ps2_keyboard_reset(&i8042->keyboard);
	ps2_mouse_reset(&i8042->mouse);
	for (unsigned i = 0; i < sizeof(i8042->ram); i++)
		i8042->ram[i] = 0;
	i8042->ram[0] = BYTE_TRANSLATE | BYTE_MOUSE_OFF | BYTE_SYSTEM | BYTE_KEYBOARD_IRQ;
	i8042->output_port = OUTPUT_A20 | OUTPUT_NOT_RESET;
	i8042->command = i8042->data = i8042->reply = 0;
	i8042->last_was_command = i8042->full = i8042->from_mouse = false;
	i8042->reply_waits = i8042->reply_from_mouse = i8042->released = false;
	irq_line_set(&i8042->config.a20, true);
	i8042_update_irq(i8042);
}

static void i8042_destroy(struct device *device)
{
	struct i8042 *i8042 = (struct i8042 *)device;

	bus_remove(i8042->pio, I8042_DATA_PORT);
	bus_remove(i8042->pio, I8042_COMMAND_PORT);
	free(i8042);
}

static const struct state_field i8042_state[] = {
	STATE_ARRAY(STATE_U8, struct i8042, keyboard.queue.data, PS2_QUEUE_SIZE),
	STATE_FIELD_MAX(STATE_U8, struct i8042, keyboard.queue.head, PS2_QUEUE_SIZE - 1),
	STATE_FIELD_MAX(STATE_U8, struct i8042, keyboard.queue.count, PS2_QUEUE_SIZE),
	STATE_FIELD(STATE_U8, struct i8042, keyboard.queue.last),
	STATE_FIELD(STATE_U8, struct i8042, keyboard.command),
	STATE_FIELD(STATE_U8, struct i8042, keyboard.set),
	STATE_FIELD(STATE_U8, struct i8042, keyboard.leds),
	STATE_FIELD(STATE_U8, struct i8042, keyboard.rate),
	STATE_FIELD(STATE_BOOL, struct i8042, keyboard.scanning),
	STATE_ARRAY(STATE_U8, struct i8042, mouse.queue.data, PS2_QUEUE_SIZE),
	STATE_FIELD_MAX(STATE_U8, struct i8042, mouse.queue.head, PS2_QUEUE_SIZE - 1),
	STATE_FIELD_MAX(STATE_U8, struct i8042, mouse.queue.count, PS2_QUEUE_SIZE),
	STATE_FIELD(STATE_U8, struct i8042, mouse.queue.last),
	STATE_FIELD(STATE_U8, struct i8042, mouse.command),
	STATE_FIELD(STATE_U8, struct i8042, mouse.rate),
	STATE_FIELD(STATE_U8, struct i8042, mouse.resolution),
	STATE_FIELD(STATE_U8, struct i8042, mouse.buttons),
	STATE_FIELD(STATE_BOOL, struct i8042, mouse.enabled),
	STATE_FIELD(STATE_BOOL, struct i8042, mouse.remote),
	STATE_FIELD(STATE_BOOL, struct i8042, mouse.wrap),
	STATE_FIELD(STATE_BOOL, struct i8042, mouse.scale_2_1),
	STATE_FIELD(STATE_U32, struct i8042, mouse.dx),
	STATE_FIELD(STATE_U32, struct i8042, mouse.dy),
	STATE_ARRAY(STATE_U8, struct i8042, ram, 32),
	STATE_FIELD(STATE_U8, struct i8042, output_port),
	STATE_FIELD(STATE_U8, struct i8042, command),
	STATE_FIELD(STATE_BOOL, struct i8042, last_was_command),
	STATE_FIELD(STATE_U8, struct i8042, data),
	STATE_FIELD(STATE_BOOL, struct i8042, full),
	STATE_FIELD(STATE_BOOL, struct i8042, from_mouse),
	STATE_FIELD(STATE_U8, struct i8042, reply),
	STATE_FIELD(STATE_BOOL, struct i8042, reply_waits),
	STATE_FIELD(STATE_BOOL, struct i8042, reply_from_mouse),
	STATE_FIELD(STATE_BOOL, struct i8042, released),
	{.name = NULL},
};

static int i8042_loaded(struct device *device, struct err *err)
{
	struct i8042 *i8042 = (struct i8042 *)device;

	i8042->output_port = (i8042->output_port & OUTPUT_A20) | OUTPUT_NOT_RESET;
	irq_line_set(&i8042->config.a20, i8042->output_port & OUTPUT_A20);
	i8042_update_irq(i8042);
	return 0;
}

static const struct device_class i8042_class = {
	.name = "i8042",
	.state = i8042_state,
	.reset = i8042_reset,
	.loaded = i8042_loaded,
	.destroy = i8042_destroy,
};

static const struct bus_ops i8042_data_ops = {
	.read = i8042_data_read, .write = i8042_data_write, .size_max = 1};
static const struct bus_ops i8042_command_ops = {
	.read = i8042_status_read,
	.write = i8042_command_write,
	.size_max = 1,
};

static int i8042_add_ranges(struct i8042 *i8042, struct err *err)
{
	int ret = bus_add(i8042->pio,
			  &(struct bus_range){.name = "i8042-data",
					      .base = I8042_DATA_PORT,
					      .size = 1,
					      .ops = &i8042_data_ops,
					      .opaque = i8042,
					      .lock = i8042->lock},
			  err);

	if (ret)
		return ret;
	ret = bus_add(i8042->pio,
		      &(struct bus_range){.name = "i8042-command",
					  .base = I8042_COMMAND_PORT,
					  .size = 1,
					  .ops = &i8042_command_ops,
					  .opaque = i8042,
					  .lock = i8042->lock},
		      err);
	if (ret)
		bus_remove(i8042->pio, I8042_DATA_PORT);
	return ret;
}

struct device *i8042_create(const struct device_env *env, const struct i8042_config *config, struct err *err)
{
	struct i8042 *i8042 = calloc(1, sizeof(*i8042));

	if (!i8042) {
		err_set(err, -ENOMEM, "i8042: no memory");
		return NULL;
	}
	i8042->device.class = &i8042_class;
	snprintf(i8042->device.id, sizeof(i8042->device.id), "i8042");
	i8042->device.description = (struct device_description){
		.acpi_hid = "PNP0303",
		.pio_base = {I8042_DATA_PORT, I8042_COMMAND_PORT},
		.pio_size = {1, 1},
		.irq = {1, 12},
	};
	i8042->config = *config;
	i8042->pio = env->pio;
	i8042->lock = env->lock;
	if (i8042_add_ranges(i8042, err)) {
		free(i8042);
		return NULL;
	}
	i8042_reset(&i8042->device);
	return &i8042->device;
}
