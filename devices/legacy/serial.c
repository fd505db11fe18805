/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550A serial port. Knows nothing of what is behind its chardev. National Semiconductor PC16550D data
 * sheet; register numbers below are those of its table II.
 *
 * Output goes to the chardev at once, whatever the baud rate says; only when the chardev refuses a byte does
 * the transmitter fill and THRE fall, and the bytes are offered again until they are taken. Input comes on
 * the loop's thread, as fast as there is room. The character time-out alone follows the baud rate. INTR is
 * not gated by OUT2, which is the board's doing on a PC, because guests exist that never set it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/legacy/serial.h"
#include "devices/legacy/serial_fifo.h"
#include "devices/legacy/serial_registers.h"
#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/chardev.h"
#include "vmm/core/device.h"
#include "vmm/core/timer.h"

#define SERIAL_PORTS    8
#define SERIAL_CLOCK_HZ 115200 /* bits per second with a divisor of 1 */
#define SERIAL_RETRY_NS NS_PER_MS

struct serial {
	struct device device;
	struct serial_config config;
	struct bus *pio;
	struct loop *loop;
	pthread_mutex_t *lock; /* the board lock, for all below */
	struct device_timer *timeout_timer, *retry_timer;
	struct serial_fifo rx, tx;
	uint8_t ier, fcr, lcr, mcr, msr, scr;
	uint8_t divisor_low, divisor_high;
	bool overrun;
	bool thre_pending; /* THRE became set and the guest has not been told */
	bool timeout_pending;
	bool rx_held; /* the chardev was told that there is no room */
	bool irq;     /* level of the line */
	uint64_t metric_rx_bytes, metric_tx_bytes, metric_tx_dropped, metric_overruns;
};

static bool serial_is_fifo(const struct serial *serial)
{
	return serial->fcr & FCR_ENABLE;
}

static unsigned serial_fifo_size(const struct serial *serial)
{
	return serial_is_fifo(serial) ? SERIAL_FIFO_SIZE : 1;
}

static unsigned serial_trigger(const struct serial *serial)
{
	static const uint8_t levels[4] = {1, 4, 8, 14};

	return serial_is_fifo(serial) ? levels[serial->fcr >> 6] : 1;
}

static uint8_t serial_line_status(const struct serial *serial)
{
	uint8_t status = serial->overrun ? LSR_OVERRUN : 0;

	if (serial->rx.count)
		status |= LSR_READY | serial->rx.flags[serial->rx.head % SERIAL_FIFO_SIZE];
	if (!serial->tx.count)
		status |= LSR_THRE | LSR_TEMT;
	if (serial_is_fifo(serial) && serial_fifo_has_error(&serial->rx))
		status |= LSR_FIFO;
	return status;
}

/* Table V: the highest-priority interrupt that is enabled and pending. */
static uint8_t serial_interrupt_id(const struct serial *serial)
{
	if ((serial->ier & IER_LINE) && (serial_line_status(serial) & (LSR_OVERRUN | LSR_ERRORS)))
		return IIR_LINE;
	if ((serial->ier & IER_RECEIVED) && serial->rx.count >= serial_trigger(serial))
		return IIR_RECEIVED;
	if ((serial->ier & IER_RECEIVED) && serial->timeout_pending)
		return IIR_TIMEOUT;
	if ((serial->ier & IER_THRE) && serial->thre_pending)
		return IIR_THRE;
	if ((serial->ier & IER_MODEM) && (serial->msr & 0x0f))
		return IIR_MODEM;
	return IIR_NONE;
}

static void serial_update_irq(struct serial *serial)
{
	bool level = serial_interrupt_id(serial) != IIR_NONE;

	if (level == serial->irq)
		return;
	serial->irq = level;
	irq_line_set(&serial->config.irq, level);
}

/* Four character times: start, 5-8 data, parity and stop bits by LCR. */
static uint64_t serial_timeout_ns(const struct serial *serial)
{
	unsigned divisor = serial->divisor_high << 8 | serial->divisor_low;
	unsigned bits = 1 + 5 + (serial->lcr & 3) + ((serial->lcr >> 3) & 1) + 1 + ((serial->lcr >> 2) & 1);

	return 4ull * bits * NS_PER_S * (divisor ? divisor : 1) / SERIAL_CLOCK_HZ;
}

/* Bytes below the trigger level raise the time-out when nothing moves; nothing is armed that could not
 * interrupt. */
static void serial_arm_timeout(struct serial *serial)
{
	bool needed = serial_is_fifo(serial) && serial->rx.count &&
		      serial->rx.count < serial_trigger(serial) && (serial->ier & IER_RECEIVED) &&
		      !serial->timeout_pending;

	device_timer_arm(serial->timeout_timer,
			 needed ? device_now_ns(serial->loop) + serial_timeout_ns(serial) : DEVICE_TIMER_OFF);
}

static void serial_timeout(void *opaque, uint64_t now_ns)
{
	struct serial *serial = opaque;

	serial->timeout_pending = serial_is_fifo(serial) && serial->rx.count;
	serial_update_irq(serial);
}

static void serial_push_rx(struct serial *serial, uint8_t data, uint8_t flags)
{
	if (!serial_fifo_push(&serial->rx, serial_fifo_size(serial), data, flags)) {
		serial->overrun = true;
		serial->metric_overruns++;
		/* Without FIFOs the new byte overwrites the old one; with them it is lost in the shift
		 * register. */
		if (!serial_is_fifo(serial))
			serial->rx.data[serial->rx.head % SERIAL_FIFO_SIZE] = data;
	}
	serial_arm_timeout(serial);
}

static size_t serial_room(const struct serial *serial)
{
	if (serial->mcr & MCR_LOOP)
		return 0;
	return serial->rx.count < serial_fifo_size(serial) ? serial_fifo_size(serial) - serial->rx.count : 0;
}

/* Lets the chardev go on where it was held up. */
static void serial_offer_room(struct serial *serial)
{
	if (!serial->rx_held || !serial_room(serial))
		return;
	serial->rx_held = false;
	if (serial->config.chardev)
		chardev_accept_input(serial->config.chardev);
}

static size_t serial_can_receive(void *opaque)
{
	struct serial *serial = opaque;
	size_t room;

	pthread_mutex_lock(serial->lock);
	room = serial_room(serial);
	/* Whoever fills the room may not ask again, so a partly filled FIFO calls back as well. */
	serial->rx_held = true;
	pthread_mutex_unlock(serial->lock);
	return room;
}

static void serial_receive(void *opaque, const uint8_t *data, size_t len)
{
	struct serial *serial = opaque;

	pthread_mutex_lock(serial->lock);
	serial->metric_rx_bytes += len;
	for (size_t i = 0; i < len; i++)
		serial_push_rx(serial, data[i], 0);
	serial_update_irq(serial);
	pthread_mutex_unlock(serial->lock);
}

static void serial_event(void *opaque, int event)
{
	struct serial *serial = opaque;

	if (event != CHARDEV_BREAK)
		return;
	pthread_mutex_lock(serial->lock);
	if (!(serial->mcr & MCR_LOOP))
		serial_push_rx(serial, 0, LSR_BREAK);
	serial_update_irq(serial);
	pthread_mutex_unlock(serial->lock);
}

static bool serial_send(struct serial *serial, uint8_t data)
{
	if (serial->config.chardev && chardev_write(serial->config.chardev, &data, 1) != 1)
		return false;
	serial->metric_tx_bytes++;
	return true;
}

/* Offers what waits; THRE comes when all is gone. */
static void serial_retry(void *opaque, uint64_t now_ns)
{
	struct serial *serial = opaque;

	while (serial->tx.count) {
		if (!serial_send(serial, serial->tx.data[serial->tx.head % SERIAL_FIFO_SIZE])) {
			device_timer_arm(serial->retry_timer, now_ns + SERIAL_RETRY_NS);
			return;
		}
		serial_fifo_pop(&serial->tx);
	}
	serial->thre_pending = true;
	serial_update_irq(serial);
}

static void serial_write_data(struct serial *serial, uint8_t data)
{
	serial->thre_pending = false;
	if (serial->mcr & MCR_LOOP) {
		serial_push_rx(serial, data, 0);
	} else if (serial->tx.count || !serial_send(serial, data)) {
		if (!serial_fifo_push(&serial->tx, serial_fifo_size(serial), data, 0))
			serial->metric_tx_dropped++;
		if (device_timer_deadline(serial->retry_timer) == DEVICE_TIMER_OFF)
			device_timer_arm(serial->retry_timer, device_now_ns(serial->loop) + SERIAL_RETRY_NS);
	}
	serial->thre_pending = !serial->tx.count;
}

static uint8_t serial_read_data(struct serial *serial)
{
	uint8_t data;

	if (!serial->rx.count)
		return serial->rx.data[(serial->rx.head + SERIAL_FIFO_SIZE - 1) % SERIAL_FIFO_SIZE];
	data = serial_fifo_pop(&serial->rx);
	serial->timeout_pending = false;
	serial_arm_timeout(serial);
	serial_offer_room(serial);
	return data;
}

static void serial_write_ier(struct serial *serial, uint8_t value)
{
	/* Enabling the THRE interrupt while the transmitter is empty raises it. */
	if ((value & ~serial->ier & IER_THRE) && !serial->tx.count)
		serial->thre_pending = true;
	serial->ier = value & 0x0f;
	serial_arm_timeout(serial);
}

/* Both FIFOs are cleared when they are switched on or off; the other bits count only with bit 0. */
static void serial_write_fcr(struct serial *serial, uint8_t value)
{
	if ((value ^ serial->fcr) & FCR_ENABLE)
		value |= FCR_RESET_RX | FCR_RESET_TX;
	if (value & FCR_RESET_RX) {
		serial->rx.count = 0;
		serial->timeout_pending = false;
	}
	if (value & FCR_RESET_TX && serial->tx.count) {
		serial->tx.count = 0;
		serial->thre_pending = true;
		device_timer_arm(serial->retry_timer, DEVICE_TIMER_OFF);
	}
	serial->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
	serial_arm_timeout(serial);
	serial_offer_room(serial);
}

/* The modem's lines: in loop-back the port's own outputs, else a peer that is always there. */
static uint8_t serial_modem_inputs(const struct serial *serial)
{
	uint8_t lines = 0;

	if (!(serial->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	if (serial->mcr & MCR_RTS)
		lines |= MSR_CTS;
	if (serial->mcr & MCR_DTR)
		lines |= MSR_DSR;
	if (serial->mcr & MCR_OUT1)
		lines |= MSR_RI;
	if (serial->mcr & MCR_OUT2)
		lines |= MSR_DCD;
	return lines;
}

/* Bits 3-0 collect changes; that of the ring indicator only its end. */
static void serial_write_mcr(struct serial *serial, uint8_t value)
{
	uint8_t lines, changed, deltas;

	serial->mcr = value & 0x1f;
	lines = serial_modem_inputs(serial);
	changed = (lines ^ serial->msr) & 0xf0;
	deltas = (changed & (MSR_CTS | MSR_DSR | MSR_DCD)) >> 4;
	if ((changed & MSR_RI) && !(lines & MSR_RI))
		deltas |= MSR_TERI;
	serial->msr = lines | (serial->msr & 0x0f) | deltas;
	serial_offer_room(serial);
}

static void serial_write_register(struct serial *serial, enum serial_register index, uint8_t value)
{
	bool dlab = serial->lcr & LCR_DLAB;

	switch (index) {
	case SERIAL_DATA:
		if (dlab)
			serial->divisor_low = value;
		else
			serial_write_data(serial, value);
		break;
	case SERIAL_IER:
		if (dlab)
			serial->divisor_high = value;
		else
			serial_write_ier(serial, value);
		break;
	case SERIAL_IIR_FCR: serial_write_fcr(serial, value); break;
	case SERIAL_LCR: serial->lcr = value; break;
	case SERIAL_MCR: serial_write_mcr(serial, value); break;
	case SERIAL_LSR:
	case SERIAL_MSR: /* writing them is for factory tests */ break;
	case SERIAL_SCR: serial->scr = value; break;
	}
}

static uint8_t serial_read_iir(struct serial *serial)
{
	uint8_t id = serial_interrupt_id(serial);

	if (id == IIR_THRE)
		serial->thre_pending = false;
	return id | (serial_is_fifo(serial) ? IIR_FIFO : 0);
}

/* Reading the line status forgets the errors that it shows. */
static uint8_t serial_read_lsr(struct serial *serial)
{
	uint8_t status = serial_line_status(serial);

	serial->overrun = false;
	if (serial->rx.count)
		serial->rx.flags[serial->rx.head % SERIAL_FIFO_SIZE] = 0;
	return status;
}

static uint8_t serial_read_msr(struct serial *serial)
{
	uint8_t value = serial->msr;

	serial->msr &= 0xf0;
	return value;
}

static uint8_t serial_read_register(struct serial *serial, enum serial_register index)
{
	bool dlab = serial->lcr & LCR_DLAB;

	switch (index) {
	case SERIAL_DATA: return dlab ? serial->divisor_low : serial_read_data(serial);
	case SERIAL_IER: return dlab ? serial->divisor_high : serial->ier;
	case SERIAL_IIR_FCR: return serial_read_iir(serial);
	case SERIAL_LCR: return serial->lcr;
	case SERIAL_MCR: return serial->mcr;
	case SERIAL_LSR: return serial_read_lsr(serial);
	case SERIAL_MSR: return serial_read_msr(serial);
	case SERIAL_SCR: break;
	}
	return serial->scr;
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned size_bytes)
{
	uint8_t value = serial_read_register(opaque, (enum serial_register)(offset & 7));

	serial_update_irq(opaque);
	return value;
}

static void serial_write(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	serial_write_register(opaque, (enum serial_register)(offset & 7), (uint8_t)value);
	serial_update_irq(opaque);
}

/* Master reset, table III. Bytes that wait for the chardev are the guest's last words and are still sent. */
static void serial_reset(struct device *device)
{
	struct serial *serial = (struct serial *)device;

	serial->rx = (struct serial_fifo){0};
	serial->ier = serial->fcr = serial->lcr = serial->mcr = serial->scr = 0;
	serial->divisor_low = 12; /* 9600 bit/s: undefined in the chip, usual after a BIOS */
	serial->divisor_high = 0;
	serial->msr = serial_modem_inputs(serial);
	serial->overrun = serial->timeout_pending = false;
	serial->thre_pending = false;
	device_timer_arm(serial->timeout_timer, DEVICE_TIMER_OFF);
	serial_update_irq(serial);
	serial_offer_room(serial);
}

static void serial_pause(struct device *device)
{
	struct serial *serial = (struct serial *)device;

	device_timer_arm(serial->timeout_timer, DEVICE_TIMER_OFF);
	device_timer_arm(serial->retry_timer, DEVICE_TIMER_OFF);
}

static void serial_resume(struct device *device)
{
	struct serial *serial = (struct serial *)device;

	serial_arm_timeout(serial);
	if (serial->tx.count)
		device_timer_arm(serial->retry_timer, device_now_ns(serial->loop) + SERIAL_RETRY_NS);
	serial->rx_held = true;
	serial_offer_room(serial);
}

static void serial_free(struct serial *serial)
{
	device_timer_destroy(serial->timeout_timer);
	device_timer_destroy(serial->retry_timer);
	free(serial);
}

static void serial_destroy(struct device *device)
{
	struct serial *serial = (struct serial *)device;

	bus_remove(serial->pio, serial->config.base_port);
	if (serial->config.chardev)
		chardev_attach(serial->config.chardev, &(struct chardev_client){0});
	serial_free(serial);
}

#define SERIAL_STATE(type_, member_) STATE_FIELD(STATE_##type_, struct serial, member_)
#define SERIAL_REGISTERS                                                                                     \
	SERIAL_STATE(U8, ier), SERIAL_STATE(U8, fcr), SERIAL_STATE(U8, lcr), SERIAL_STATE(U8, mcr),          \
		SERIAL_STATE(U8, msr), SERIAL_STATE(U8, scr), SERIAL_STATE(U8, divisor_low),                 \
		SERIAL_STATE(U8, divisor_high), SERIAL_STATE(BOOL, overrun),                                 \
		SERIAL_STATE(BOOL, thre_pending), SERIAL_STATE(BOOL, timeout_pending),                       \
		SERIAL_STATE(BOOL, irq)

static const struct state_field serial_state[] = {
	STATE_ARRAY(STATE_U8, struct serial, rx.data, SERIAL_FIFO_SIZE),
	STATE_ARRAY(STATE_U8, struct serial, rx.flags, SERIAL_FIFO_SIZE),
	STATE_FIELD_MAX(STATE_U8, struct serial, rx.head, SERIAL_FIFO_SIZE - 1),
	STATE_FIELD_MAX(STATE_U8, struct serial, rx.count, SERIAL_FIFO_SIZE),
	STATE_ARRAY(STATE_U8, struct serial, tx.data, SERIAL_FIFO_SIZE),
	STATE_FIELD_MAX(STATE_U8, struct serial, tx.head, SERIAL_FIFO_SIZE - 1),
	STATE_FIELD_MAX(STATE_U8, struct serial, tx.count, SERIAL_FIFO_SIZE),
	SERIAL_REGISTERS,
	{.name = NULL},
};

static int serial_loaded(struct device *device, struct err *err)
{
	struct serial *serial = (struct serial *)device;

	irq_line_set(&serial->config.irq, serial->irq);
	serial_update_irq(serial);
	return 0;
}

static const struct metric_field serial_metrics[] = {
	{"rx_bytes", offsetof(struct serial, metric_rx_bytes)},
	{"tx_bytes", offsetof(struct serial, metric_tx_bytes)},
	{"tx_dropped", offsetof(struct serial, metric_tx_dropped)},
	{"overruns", offsetof(struct serial, metric_overruns)},
	{.name = NULL},
};

static const struct device_class serial_class = {
	.name = "serial",
	.state = serial_state,
	.metrics = serial_metrics,
	.reset = serial_reset,
	.pause = serial_pause,
	.resume = serial_resume,
	.loaded = serial_loaded,
	.destroy = serial_destroy,
};

static const struct bus_ops serial_ops = {.read = serial_read, .write = serial_write, .size_max = 1};

static struct serial *serial_alloc(const struct device_env *env, const struct serial_config *config)
{
	struct serial *serial = calloc(1, sizeof(*serial));

	if (!serial)
		return NULL;
	serial->device.class = &serial_class;
	snprintf(serial->device.id, sizeof(serial->device.id), "%s", config->id ? config->id : "serial");
	serial->device.description = (struct device_description){
		.acpi_hid = "PNP0501",
		.compatible = "ns16550a",
		.pio_base = {config->base_port},
		.pio_size = {SERIAL_PORTS},
		.irq = {config->gsi, -1},
	};
	serial->config = *config;
	serial->config.id = serial->device.id;
	serial->pio = env->pio;
	serial->loop = env->loop;
	serial->lock = env->lock;
	return serial;
}

struct device *serial_create(const struct device_env *env, const struct serial_config *config,
			     struct err *err)
{
	struct serial *serial = serial_alloc(env, config);

	if (!serial) {
		err_set(err, -ENOMEM, "serial: no memory");
		return NULL;
	}
	serial->timeout_timer = device_timer_create(env->loop, env->lock, serial_timeout, serial, err);
	if (serial->timeout_timer)
		serial->retry_timer = device_timer_create(env->loop, env->lock, serial_retry, serial, err);
	if (!serial->retry_timer || bus_add(env->pio,
					    &(struct bus_range){.name = serial->device.id,
								.base = config->base_port,
								.size = SERIAL_PORTS,
								.ops = &serial_ops,
								.opaque = serial,
								.lock = env->lock},
					    err)) {
		serial_free(serial);
		return NULL;
	}
	pthread_mutex_lock(env->lock);
	serial_reset(&serial->device);
	pthread_mutex_unlock(env->lock);
	if (config->chardev)
		chardev_attach(config->chardev, &(struct chardev_client){.can_receive = serial_can_receive,
									 .receive = serial_receive,
									 .event = serial_event,
									 .opaque = serial});
	return &serial->device;
}
