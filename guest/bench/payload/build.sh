#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh OUTPUT SOURCE...: the payload of `vmmctl bench`, a multiboot image. Loaders of multiboot take no ELF64, so the 64-bit
# code is re-labelled; its addresses are below 4 GiB. The kernels are measured as they are written, not as a compiler would
# replace them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=$1
shift
# shellcheck disable=SC2086
${PAYLOAD_CC:-gcc} -m64 -std=gnu17 -O2 -g0 -ffreestanding -fno-pic -no-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fcf-protection=none -mno-red-zone -fno-strict-aliasing -fno-tree-loop-distribute-patterns -fno-tree-vectorize -Wall -Wextra \
	-nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -Wl,-T,"$here/payload.ld" \
	-I"$here/../../.." "$@" -o "$output"
${PAYLOAD_OBJCOPY:-objcopy} -O elf32-i386 "$output"
