/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small kernels made in memory for the tests of loader/ and boot/: a valid one of each kind, which a test
 * then breaks.
 */
#pragma once

#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/linux_header.h"
#include "vmm/core/gmem.h"

#define TEST_RAM_SIZE (64ull << 20)

static inline struct gmem *test_ram_create(void)
{
	struct gmem *gmem = gmem_create();

	if (gmem && gmem_add(gmem, 0, TEST_RAM_SIZE, GMEM_RAM, NULL)) {
		gmem_destroy(gmem);
		gmem = NULL;
	}
	return gmem;
}

/* A bzImage: 2 setup sectors with a version string at 0x400, then code of 0x1000 bytes 'K'. */
#define TEST_BZIMAGE_SETUP 0x600
#define TEST_BZIMAGE_CODE  0x1000
#define TEST_BZIMAGE_SIZE  (TEST_BZIMAGE_SETUP + TEST_BZIMAGE_CODE)

static inline struct linux_header *test_bzimage_header(uint8_t *image)
{
	return (struct linux_header *)(void *)(image + LINUX_HEADER_OFFSET);
}

static inline void test_bzimage_make(uint8_t image[TEST_BZIMAGE_SIZE])
{
	memset(image, 0, TEST_BZIMAGE_SETUP);
	memset(image + TEST_BZIMAGE_SETUP, 'K', TEST_BZIMAGE_CODE);
	*test_bzimage_header(image) = (struct linux_header){.setup_sects = 2,
							    .syssize = TEST_BZIMAGE_CODE / 16,
							    .boot_flag = LINUX_BOOT_FLAG,
							    .jump = 0x6aeb,
							    .header = LINUX_HEADER_MAGIC,
							    .version = 0x020f,
							    .kernel_version = 0x200,
							    .loadflags = LINUX_LOADED_HIGH,
							    .initrd_addr_max = 0x7fffffff,
							    .kernel_alignment = 0x200000,
							    .relocatable_kernel = 1,
							    .xloadflags = LINUX_XLF_KERNEL_64,
							    .cmdline_size = 2047,
							    .pref_address = 0x1000000,
							    .init_size = 0x200000};
	memcpy(image + 0x400, "9.9.9-test (me)", 16);
}

/* An ELF executable with one PT_LOAD (0x100 bytes of 'E' at 1 MiB, 0x1000 in memory) and one PT_NOTE. */
#define TEST_ELF_LOAD_OFFSET 0x200
#define TEST_ELF_NOTE_OFFSET 0x400
#define TEST_ELF_SIZE        0x440
#define TEST_ELF_GPA         0x100000
#define TEST_ELF_GVA         0xffffffff80100000ull

static inline Elf64_Ehdr *test_elf_header(uint8_t *image)
{
	return (Elf64_Ehdr *)(void *)image;
}

static inline Elf64_Phdr *test_elf_program(uint8_t *image, unsigned index)
{
	return (Elf64_Phdr *)(void *)(image + sizeof(Elf64_Ehdr)) + index;
}

static inline void test_elf_write_note(uint8_t *image, uint32_t type, uint32_t entry)
{
	const uint32_t note[] = {4, 4, type, 0x006e6558 /* "Xen" */, entry};

	memcpy(image + TEST_ELF_NOTE_OFFSET, note, sizeof(note));
}

static inline void test_elf64_make(uint8_t image[TEST_ELF_SIZE], int with_pvh)
{
	memset(image, 0, TEST_ELF_SIZE);
	memset(image + TEST_ELF_LOAD_OFFSET, 'E', 0x100);
	*test_elf_header(image) =
		(Elf64_Ehdr){.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			     .e_type = ET_EXEC,
			     .e_machine = EM_X86_64,
			     .e_version = EV_CURRENT,
			     .e_entry = TEST_ELF_GPA + 0x10,
			     .e_phoff = sizeof(Elf64_Ehdr),
			     .e_ehsize = sizeof(Elf64_Ehdr),
			     .e_phentsize = sizeof(Elf64_Phdr),
			     .e_phnum = 2};
	*test_elf_program(image, 0) = (Elf64_Phdr){.p_type = PT_LOAD,
						   .p_offset = TEST_ELF_LOAD_OFFSET,
						   .p_vaddr = TEST_ELF_GVA,
						   .p_paddr = TEST_ELF_GPA,
						   .p_filesz = 0x100,
						   .p_memsz = 0x1000,
						   .p_align = 0x1000};
	*test_elf_program(image, 1) = (Elf64_Phdr){.p_type = PT_NOTE,
						   .p_offset = TEST_ELF_NOTE_OFFSET,
						   .p_filesz = 20,
						   .p_memsz = 20,
						   .p_align = 4};
	test_elf_write_note(image, with_pvh ? 18 : 17, TEST_ELF_GPA + 0x20);
}

static inline void test_elf32_make(uint8_t image[TEST_ELF_SIZE])
{
	Elf32_Ehdr header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
			     .e_type = ET_EXEC,
			     .e_machine = EM_386,
			     .e_version = EV_CURRENT,
			     .e_entry = 0xc0100010,
			     .e_phoff = sizeof(Elf32_Ehdr),
			     .e_ehsize = sizeof(Elf32_Ehdr),
			     .e_phentsize = sizeof(Elf32_Phdr),
			     .e_phnum = 1};
	Elf32_Phdr program = {.p_type = PT_LOAD,
			      .p_offset = TEST_ELF_LOAD_OFFSET,
			      .p_vaddr = 0xc0100000,
			      .p_paddr = TEST_ELF_GPA,
			      .p_filesz = 0x100,
			      .p_memsz = 0x1000,
			      .p_align = 0x1000};

	memset(image, 0, TEST_ELF_SIZE);
	memset(image + TEST_ELF_LOAD_OFFSET, 'E', 0x100);
	memcpy(image, &header, sizeof(header));
	memcpy(image + sizeof(header), &program, sizeof(program));
}

/* A multiboot kernel by addresses: header at 0x40, all of the file at 1 MiB, 0x200 bytes of bss. */
#define TEST_MULTIBOOT_SIZE   0x400
#define TEST_MULTIBOOT_HEADER 0x40

static inline void test_multiboot_write_header(uint8_t *image, uint32_t flags)
{
	const uint32_t header[] = {0x1badb002,
				   flags,
				   0u - 0x1badb002 - flags,
				   0x100000 + TEST_MULTIBOOT_HEADER,
				   0x100000,
				   0x100000 + TEST_MULTIBOOT_SIZE,
				   0x100000 + TEST_MULTIBOOT_SIZE + 0x200,
				   0x100080};

	memcpy(image + TEST_MULTIBOOT_HEADER, header, sizeof(header));
}

static inline void test_multiboot_make(uint8_t image[TEST_MULTIBOOT_SIZE])
{
	memset(image, 'M', TEST_MULTIBOOT_SIZE);
	test_multiboot_write_header(image, 0x10003);
}

/* Writes bytes to a new temporary file and returns its path, to be unlinked and freed by test_file_remove. */
static inline char *test_file_create(const void *bytes, size_t len)
{
	char *path = strdup("/tmp/vmmctl-test-XXXXXX");
	int fd = path ? mkstemp(path) : -1;

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		abort();
	close(fd);
	return path;
}

static inline void test_file_remove(char *path)
{
	unlink(path);
	free(path);
}
