#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh 32|64|57 PAYLOAD.c OUTPUT: a multiboot ELF32 image; 57 is 64-bit code under 5-level paging. Loaders of multiboot take no ELF64, so that 64-bit code is
# re-labelled; its addresses are below 4 GiB.
set -eu
here=$(dirname "$0")
flags="-std=gnu17 -O1 -g0 -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none
-mgeneral-regs-only -mno-red-zone -Wall -Wextra -nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments
-Wl,-T,$here/payload.ld -I$here/../.."
bits=$1
if [ "$bits" = 57 ]; then
	bits=64
	flags="$flags -DLA57"
fi
# shellcheck disable=SC2086
gcc -m"$bits" $flags "$here/start$bits.S" "$here/runtime.c" "$2" -o "$3"
if [ "$bits" = 64 ]; then
	objcopy -O elf32-i386 "$3"
fi
