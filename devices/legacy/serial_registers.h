/* SPDX-License-Identifier: Apache-2.0 */
/* Registers of the 16550A and their bits. National Semiconductor PC16550D data sheet, tables I and II. */
#pragma once

enum serial_register {
	SERIAL_DATA,
	SERIAL_IER,
	SERIAL_IIR_FCR,
	SERIAL_LCR,
	SERIAL_MCR,
	SERIAL_LSR,
	SERIAL_MSR,
	SERIAL_SCR
};

#define IER_RECEIVED 0x01
#define IER_THRE     0x02
#define IER_LINE     0x04
#define IER_MODEM    0x08

#define IIR_NONE     0x01
#define IIR_MODEM    0x00
#define IIR_THRE     0x02
#define IIR_RECEIVED 0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c
#define IIR_FIFO     0xc0

#define FCR_ENABLE   0x01
#define FCR_RESET_RX 0x02
#define FCR_RESET_TX 0x04

#define LCR_DLAB 0x80

#define MCR_RTS  0x02
#define MCR_DTR  0x01
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_READY   0x01
#define LSR_OVERRUN 0x02
#define LSR_BREAK   0x10
#define LSR_ERRORS  0x1c /* parity, framing, break: they belong to a byte */
#define LSR_THRE    0x20
#define LSR_TEMT    0x40
#define LSR_FIFO    0x80 /* an error somewhere in the FIFO */

#define MSR_CTS  0x10
#define MSR_DSR  0x20
#define MSR_RI   0x40
#define MSR_DCD  0x80
#define MSR_TERI 0x04
