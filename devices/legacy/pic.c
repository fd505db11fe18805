/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two 8259A, the second on input 2 of the first. Knows nothing of APICs. Intel 8259A data sheet; the
 * edge/level control registers as in the 82371SB, whose ICW1.LTIM is likewise ignored in their favour.
 *
 * An edge stays latched until it is acknowledged, even when the line falls before, because sources may pulse
 * their lines. The second chip's INT is latched the same way, so a request that it withdraws ends as its
 * spurious interrupt (IRQ 15).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/legacy/pic.h"
#include "vmm/base/err.h"
#include "vmm/core/bus.h"
#include "vmm/core/device.h"
#include "vmm/core/irqchip_state.h"

#define PIC_CASCADE   2
#define PIC_SPURIOUS  7
#define PIC_ELCR_PORT 0x4d0

#define ICW1_NEEDS_ICW4 0x01
#define ICW1_SINGLE     0x02
#define ICW1_SELECT     0x10
#define ICW4_AUTO_EOI   0x02
#define ICW4_NESTED     0x10
#define OCW3_SELECT     0x08

enum pic_expects { PIC_EXPECTS_OCW1, PIC_EXPECTS_ICW2, PIC_EXPECTS_ICW3, PIC_EXPECTS_ICW4 };

/* One chip; the interrupt lock guards all of it. Bit n stands for input n. */
struct pic_chip {
	uint8_t irr, isr, imr;
	uint8_t lines;        /* levels of the inputs */
	uint8_t level_mask;   /* ELCR: level-triggered inputs */
	uint8_t elcr_allowed; /* which bits of the ELCR can be set */
	uint8_t lowest;       /* input of the lowest priority; the next one has the highest */
	uint8_t vector_base;
	uint8_t expects; /* enum pic_expects: what a write to the odd port is */
	bool single, needs_icw4;
	bool read_isr; /* OCW3: the even port reads ISR, else IRR */
	bool poll;     /* OCW3: the next read is an acknowledge */
	bool special_mask;
	bool auto_eoi, rotate_on_auto_eoi;
	bool fully_nested; /* ICW4: special fully nested mode */
	bool is_first;
};

struct pic {
	struct device device;
	struct pic_config config;
	struct bus *pio;
	pthread_mutex_t *lock;
	struct pic_chip chip[2];
	bool cascade; /* level of the second chip's INT */
	bool output;  /* level of the first chip's INT */
	uint64_t metric_interrupts, metric_spurious;
};

/* The input of the highest priority among bits, or -1. */
static int pic_chip_highest(const struct pic_chip *chip, uint8_t bits)
{
	for (unsigned i = 1; i <= 8; i++) {
		unsigned input = (chip->lowest + i) & 7;

		if (bits & (1u << input))
			return (int)input;
	}
	return -1;
}

/* How far below the highest priority an input stands: 0-7. */
static unsigned pic_chip_rank(const struct pic_chip *chip, int input)
{
	return ((unsigned)input - chip->lowest - 1) & 7;
}

/* The input that INT stands for, or -1. Fully nested: only what is above all that is in service. */
static int pic_chip_request(const struct pic_chip *chip)
{
	uint8_t blocking = chip->isr;
	int input = pic_chip_highest(chip, chip->irr & ~chip->imr);
	int in_service;

	if (input < 0)
		return -1;
	if (chip->special_mask)
		blocking &= ~chip->imr;
	/* The second chip may interrupt its own, lower, service routine. */
	if (chip->fully_nested && chip->is_first)
		blocking &= ~(1u << PIC_CASCADE);
	in_service = pic_chip_highest(chip, blocking);
	if (in_service >= 0 && pic_chip_rank(chip, input) >= pic_chip_rank(chip, in_service))
		return -1;
	return input;
}

static void pic_chip_set(struct pic_chip *chip, unsigned input, bool level)
{
	uint8_t bit = (uint8_t)(1u << input);

	if (chip->level_mask & bit)
		chip->irr = level ? chip->irr | bit : chip->irr & ~bit;
	else if (level && !(chip->lines & bit))
		chip->irr |= bit;
	chip->lines = level ? chip->lines | bit : chip->lines & ~bit;
}

/* INTA: the request moves into service; a level stays requested while its line is high. */
static void pic_chip_take(struct pic_chip *chip, int input)
{
	uint8_t bit = (uint8_t)(1u << input);

	if (!(chip->level_mask & bit))
		chip->irr &= ~bit;
	if (!chip->auto_eoi)
		chip->isr |= bit;
	else if (chip->rotate_on_auto_eoi)
		chip->lowest = (uint8_t)input;
}

static void pic_update(struct pic *pic)
{
	bool cascade = pic_chip_request(&pic->chip[1]) >= 0;
	bool output;

	if (cascade != pic->cascade)
		pic_chip_set(&pic->chip[0], PIC_CASCADE, cascade);
	pic->cascade = cascade;
	output = pic_chip_request(&pic->chip[0]) >= 0;
	if (output == pic->output)
		return;
	pic->output = output;
	irq_line_set(&pic->config.output, output);
}

static void pic_set(void *opaque, unsigned irq, bool level)
{
	struct pic *pic = opaque;

	if (irq > 15 || irq == PIC_CASCADE)
		return;
	pthread_mutex_lock(pic->lock);
	pic_chip_set(&pic->chip[irq >> 3], irq & 7, level);
	pic_update(pic);
	pthread_mutex_unlock(pic->lock);
}

struct irq_line pic_input(struct device *device, unsigned irq)
{
	return (struct irq_line){.set = pic_set, .opaque = device, .number = irq};
}

bool pic_has_interrupt(const struct device *device)
{
	return ((const struct pic *)device)->output;
}

/* Takes a request of one chip; its spurious input when there is none. The chip's INT falls for the length of
 * INTA. */
static int pic_take(struct pic *pic, unsigned number)
{
	int input = pic_chip_request(&pic->chip[number]);

	if (input < 0) {
		pic->metric_spurious++;
		return PIC_SPURIOUS;
	}
	pic_chip_take(&pic->chip[number], input);
	if (number == 1) {
		pic_chip_set(&pic->chip[0], PIC_CASCADE, false);
		pic->cascade = false;
	}
	return input;
}

int pic_acknowledge(struct device *device)
{
	struct pic *pic = (struct pic *)device;
	int request = pic_chip_request(&pic->chip[0]);
	int input = pic_take(pic, 0);
	int vector = pic->chip[0].vector_base + input;

	pic->metric_interrupts++;
	if (request == PIC_CASCADE)
		vector = pic->chip[1].vector_base + pic_take(pic, 1);
	pic_update(pic);
	return vector;
}

static void pic_chip_init(struct pic_chip *chip, uint8_t icw1)
{
	chip->irr = chip->lines & chip->level_mask;
	chip->isr = chip->imr = 0;
	chip->lowest = 7;
	chip->read_isr = chip->poll = chip->special_mask = false;
	chip->auto_eoi = chip->rotate_on_auto_eoi = chip->fully_nested = false;
	chip->single = icw1 & ICW1_SINGLE;
	chip->needs_icw4 = icw1 & ICW1_NEEDS_ICW4;
	chip->expects = PIC_EXPECTS_ICW2;
}

/* Ends the service of one input (specific) or of the highest; masked ones stay in special mask mode. */
static int pic_chip_eoi(struct pic_chip *chip, bool specific, uint8_t input)
{
	int ended =
		specific ? input : pic_chip_highest(chip, chip->isr & ~(chip->special_mask ? chip->imr : 0));

	if (ended >= 0)
		chip->isr &= ~(1u << ended);
	return ended;
}

/* OCW2: 7 rotate, 6 specific, 5 EOI, 2..0 input. */
static void pic_chip_write_ocw2(struct pic_chip *chip, uint8_t value)
{
	bool rotate = value & 0x80, specific = value & 0x40, eoi = value & 0x20;
	int ended;

	if (!eoi && !specific) {
		chip->rotate_on_auto_eoi = rotate;
		return;
	}
	if (!eoi) {
		if (rotate)
			chip->lowest = value & 7;
		return;
	}
	ended = pic_chip_eoi(chip, specific, value & 7);
	if (rotate && ended >= 0)
		chip->lowest = (uint8_t)ended;
}

/* OCW3: 6 special mask is written, 5 special mask, 2 poll, 1 read register is written, 0 ISR. */
static void pic_chip_write_ocw3(struct pic_chip *chip, uint8_t value)
{
	if (value & 0x40)
		chip->special_mask = value & 0x20;
	chip->poll = value & 0x04;
	if (value & 0x02)
		chip->read_isr = value & 0x01;
}

static void pic_chip_write_command(struct pic_chip *chip, uint8_t value)
{
	if (value & ICW1_SELECT)
		pic_chip_init(chip, value);
	else if (value & OCW3_SELECT)
		pic_chip_write_ocw3(chip, value);
	else
		pic_chip_write_ocw2(chip, value);
}

static void pic_chip_write_data(struct pic_chip *chip, uint8_t value)
{
	switch ((enum pic_expects)chip->expects) {
	case PIC_EXPECTS_OCW1: chip->imr = value; break;
	case PIC_EXPECTS_ICW2:
		chip->vector_base = value & 0xf8;
		if (!chip->single)
			chip->expects = PIC_EXPECTS_ICW3;
		else
			chip->expects = chip->needs_icw4 ? PIC_EXPECTS_ICW4 : PIC_EXPECTS_OCW1;
		break;
	case PIC_EXPECTS_ICW3: /* the wiring is the board's */
		chip->expects = chip->needs_icw4 ? PIC_EXPECTS_ICW4 : PIC_EXPECTS_OCW1;
		break;
	case PIC_EXPECTS_ICW4:
		chip->auto_eoi = value & ICW4_AUTO_EOI;
		chip->fully_nested = value & ICW4_NESTED;
		chip->expects = PIC_EXPECTS_OCW1;
		break;
	}
}

/* A poll acknowledges: bit 7 "there was one", bits 2..0 the input. */
static uint8_t pic_poll(struct pic *pic, unsigned number)
{
	bool requested = pic_chip_request(&pic->chip[number]) >= 0;
	uint8_t value = 0;

	pic->chip[number].poll = false;
	if (requested)
		value = (uint8_t)(0x80 | pic_take(pic, number));
	pic_update(pic);
	return value;
}

static uint64_t pic_read_chip(struct pic *pic, unsigned number, uint64_t offset)
{
	struct pic_chip *chip = &pic->chip[number];

	if (chip->poll)
		return pic_poll(pic, number);
	if (offset & 1)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

static void pic_write_chip(struct pic *pic, unsigned number, uint64_t offset, uint8_t value)
{
	if (offset & 1)
		pic_chip_write_data(&pic->chip[number], value);
	else
		pic_chip_write_command(&pic->chip[number], value);
	pic_update(pic);
}

static uint64_t pic_read_first(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return pic_read_chip(opaque, 0, offset);
}

static uint64_t pic_read_second(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return pic_read_chip(opaque, 1, offset);
}

static void pic_write_first(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	pic_write_chip(opaque, 0, offset, (uint8_t)value);
}

static void pic_write_second(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	pic_write_chip(opaque, 1, offset, (uint8_t)value);
}

static uint64_t pic_read_elcr(void *opaque, uint64_t offset, unsigned size_bytes)
{
	return ((struct pic *)opaque)->chip[offset & 1].level_mask;
}

static void pic_write_elcr(void *opaque, uint64_t offset, uint64_t value, unsigned size_bytes)
{
	struct pic *pic = opaque;
	struct pic_chip *chip = &pic->chip[offset & 1];

	chip->level_mask = (uint8_t)value & chip->elcr_allowed;
	chip->irr = (chip->irr & ~chip->level_mask) | (chip->lines & chip->level_mask);
	pic_update(pic);
}

static void pic_reset(struct device *device)
{
	struct pic *pic = (struct pic *)device;

	pthread_mutex_lock(pic->lock);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t lines = pic->chip[i].lines;

		pic->chip[i] = (struct pic_chip){
			.lines = i ? lines : lines & ~(1u << PIC_CASCADE),
			.lowest = 7,
			.is_first = i == 0,
			/* 0, 1, 2 and 8, 13 are the board's own and always edges. */
			.elcr_allowed = i ? 0xde : 0xf8,
		};
	}
	pic->cascade = false;
	pic_update(pic);
	pthread_mutex_unlock(pic->lock);
}

static void pic_chip_state_get(const struct pic_chip *chip, struct pic_chip_state *state)
{
	*state = (struct pic_chip_state){
		.irr = chip->irr,
		.isr = chip->isr,
		.imr = chip->imr,
		.lines = chip->lines,
		.elcr = chip->level_mask,
		.lowest = chip->lowest,
		.vector_base = chip->vector_base,
		.init_state = chip->expects,
		.single = chip->single,
		.needs_icw4 = chip->needs_icw4,
		.read_isr = chip->read_isr,
		.poll = chip->poll,
		.special_mask = chip->special_mask,
		.auto_eoi = chip->auto_eoi,
		.rotate_on_auto_eoi = chip->rotate_on_auto_eoi,
		.fully_nested = chip->fully_nested,
	};
}

/* A level's request is its line. */
static void pic_chip_state_set(struct pic_chip *chip, const struct pic_chip_state *state)
{
	uint8_t level_mask = state->elcr & chip->elcr_allowed;

	*chip = (struct pic_chip){
		.irr = (uint8_t)((state->irr & ~level_mask) | (state->lines & level_mask)),
		.isr = state->isr,
		.imr = state->imr,
		.lines = state->lines,
		.level_mask = level_mask,
		.elcr_allowed = chip->elcr_allowed,
		.lowest = state->lowest & 7,
		.vector_base = state->vector_base & 0xf8,
		.expects = state->init_state <= PIC_EXPECTS_ICW4 ? state->init_state : PIC_EXPECTS_OCW1,
		.single = state->single,
		.needs_icw4 = state->needs_icw4,
		.read_isr = state->read_isr,
		.poll = state->poll,
		.special_mask = state->special_mask,
		.auto_eoi = state->auto_eoi,
		.rotate_on_auto_eoi = state->rotate_on_auto_eoi,
		.fully_nested = state->fully_nested,
		.is_first = chip->is_first,
	};
}

_Static_assert((int)PIC_EXPECTS_ICW4 == (int)PIC_INIT_ICW4 && (int)PIC_EXPECTS_OCW1 == (int)PIC_INIT_DONE,
	       "both count the words of an initialization alike");

void pic_state_get(struct device *device, struct pic_state *state)
{
	struct pic *pic = (struct pic *)device;

	pthread_mutex_lock(pic->lock);
	for (unsigned i = 0; i < 2; i++)
		pic_chip_state_get(&pic->chip[i], &state->chip[i]);
	pthread_mutex_unlock(pic->lock);
}

/* The cascade is not in the state: a request of the second chip makes its edge again. */
void pic_state_set(struct device *device, const struct pic_state *state)
{
	struct pic *pic = (struct pic *)device;

	pthread_mutex_lock(pic->lock);
	for (unsigned i = 0; i < 2; i++)
		pic_chip_state_set(&pic->chip[i], &state->chip[i]);
	pic->chip[0].lines &= ~(1u << PIC_CASCADE);
	pic->cascade = false;
	pic_update(pic);
	irq_line_set(&pic->config.output, pic->output);
	pthread_mutex_unlock(pic->lock);
}

static void pic_destroy(struct device *device)
{
	struct pic *pic = (struct pic *)device;

	bus_remove(pic->pio, 0x20);
	bus_remove(pic->pio, 0xa0);
	bus_remove(pic->pio, PIC_ELCR_PORT);
	free(pic);
}

#define PIC_CHIP_FIELD(type_, chip_, member_)                                                                \
	{                                                                                                    \
		.name = "chip" #chip_ "." #member_, .type = (type_), .count = 1,                             \
		.offset = offsetof(struct pic, chip) + (chip_) * sizeof(struct pic_chip) +                   \
			  offsetof(struct pic_chip, member_)                                                 \
	}
#define PIC_CHIP_FIELDS(chip_)                                                                               \
	PIC_CHIP_FIELD(STATE_U8, chip_, irr), PIC_CHIP_FIELD(STATE_U8, chip_, isr),                          \
		PIC_CHIP_FIELD(STATE_U8, chip_, imr), PIC_CHIP_FIELD(STATE_U8, chip_, lines),                \
		PIC_CHIP_FIELD(STATE_U8, chip_, level_mask), PIC_CHIP_FIELD(STATE_U8, chip_, lowest),        \
		PIC_CHIP_FIELD(STATE_U8, chip_, vector_base), PIC_CHIP_FIELD(STATE_U8, chip_, expects),      \
		PIC_CHIP_FIELD(STATE_BOOL, chip_, single), PIC_CHIP_FIELD(STATE_BOOL, chip_, needs_icw4),    \
		PIC_CHIP_FIELD(STATE_BOOL, chip_, read_isr), PIC_CHIP_FIELD(STATE_BOOL, chip_, poll),        \
		PIC_CHIP_FIELD(STATE_BOOL, chip_, special_mask),                                             \
		PIC_CHIP_FIELD(STATE_BOOL, chip_, auto_eoi),                                                 \
		PIC_CHIP_FIELD(STATE_BOOL, chip_, rotate_on_auto_eoi),                                       \
		PIC_CHIP_FIELD(STATE_BOOL, chip_, fully_nested)

static const struct state_field pic_state[] = {
	PIC_CHIP_FIELDS(0),
	PIC_CHIP_FIELDS(1),
	STATE_FIELD(STATE_BOOL, struct pic, cascade),
	STATE_FIELD(STATE_BOOL, struct pic, output),
	{.name = NULL},
};

static const struct metric_field pic_metrics[] = {
	{"interrupts", offsetof(struct pic, metric_interrupts)},
	{"spurious", offsetof(struct pic, metric_spurious)},
	{.name = NULL},
};

/* The neutral state's setter takes only what a chip can have. */
static int pic_loaded(struct device *device, struct err *err)
{
	struct pic_state state;

	pic_state_get(device, &state);
	pic_state_set(device, &state);
	return 0;
}

static const struct device_class pic_class = {
	.name = "pic",
	.state = pic_state,
	.metrics = pic_metrics,
	.reset = pic_reset,
	.loaded = pic_loaded,
	.destroy = pic_destroy,
};

static const struct bus_ops pic_first_ops = {.read = pic_read_first, .write = pic_write_first, .size_max = 1};
static const struct bus_ops pic_second_ops = {
	.read = pic_read_second, .write = pic_write_second, .size_max = 1};
static const struct bus_ops pic_elcr_ops = {.read = pic_read_elcr, .write = pic_write_elcr, .size_max = 1};

static int pic_add_ranges(struct pic *pic, struct err *err)
{
	const struct bus_range ranges[] = {
		{.name = "pic0", .base = 0x20, .size = 2, .ops = &pic_first_ops},
		{.name = "pic1", .base = 0xa0, .size = 2, .ops = &pic_second_ops},
		{.name = "elcr", .base = PIC_ELCR_PORT, .size = 2, .ops = &pic_elcr_ops},
	};

	for (unsigned i = 0; i < 3; i++) {
		struct bus_range range = ranges[i];
		int ret;

		range.opaque = pic;
		range.lock = pic->lock;
		ret = bus_add(pic->pio, &range, err);
		if (!ret)
			continue;
		while (i--)
			bus_remove(pic->pio, ranges[i].base);
		return ret;
	}
	return 0;
}

struct device *pic_create(const struct device_env *env, const struct pic_config *config, struct err *err)
{
	struct pic *pic = calloc(1, sizeof(*pic));

	if (!pic) {
		err_set(err, -ENOMEM, "pic: no memory");
		return NULL;
	}
	pic->device.class = &pic_class;
	snprintf(pic->device.id, sizeof(pic->device.id), "pic");
	pic->device.description = (struct device_description){
		.acpi_hid = "PNP0000",
		.pio_base = {0x20, 0xa0},
		.pio_size = {2, 2},
		.irq = {2, -1},
	};
	pic->config = *config;
	pic->pio = env->pio;
	pic->lock = env->intr_lock;
	pic_reset(&pic->device);
	if (pic_add_ranges(pic, err)) {
		free(pic);
		return NULL;
	}
	return &pic->device;
}
