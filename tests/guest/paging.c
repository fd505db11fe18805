/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page faults and their error codes, accessed and dirty bits, the protections (WP, NX, SMEP, SMAP, protection
 * keys), reserved bits, large pages and stale translations: 32-bit and PAE paging in a 32-bit payload,
 * 4-level (5-level with LA57) in a 64-bit one. Intel SDM vol. 3, chapter 4.
 */
#include "tests/guest/runtime.h"

#define P        1ul
#define W        2ul
#define U        4ul
#define A        0x20ul
#define D        0x40ul
#define PS       0x80ul
#define G        0x100ul
#define NX       (1ull << 63)
#define CR0_WP   0x10000ul
#define CR4_PSE  0x10ul
#define CR4_PAE  0x20ul
#define CR4_PGE  0x80ul
#define CR4_SMEP 0x100000ul
#define CR4_SMAP 0x200000ul
#define CR4_PKE  0x400000ul

/* The page under test: one entry of a last-level table that maps PAGE to `frame`. */
#define PAGE 0x40000000ul
static uint8_t frame[4096] __attribute__((aligned(4096)));
static uint64_t table64[512] __attribute__((aligned(4096))), directory64[512] __attribute__((aligned(4096)));
static bool pae;
#ifndef __x86_64__
static uint32_t table32[1024] __attribute__((aligned(4096))),
	directory32[1024] __attribute__((aligned(4096)));
static uint64_t low64[4][512] __attribute__((aligned(4096))), pdpt[4] __attribute__((aligned(32)));
#endif

static void invlpg(word address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static void entry_set(uint64_t bits)
{
#ifndef __x86_64__
	if (!pae) {
		table32[0] = (uint32_t)bits ? (uint32_t)(word)frame | (uint32_t)bits : 0;
		invlpg(PAGE);
		return;
	}
#endif
	table64[0] = bits ? (uint64_t)(word)frame | bits : 0;
	invlpg(PAGE);
}

static uint64_t entry_get(void)
{
#ifndef __x86_64__
	if (!pae)
		return table32[0];
#endif
	return table64[0];
}

/* The entry above the tested one. */
static void upper_set(uint64_t bits)
{
#ifndef __x86_64__
	if (!pae) {
		directory32[PAGE >> 22] =
			bits & PS ? (uint32_t)bits : (uint32_t)(word)table32 | (uint32_t)bits;
		invlpg(PAGE);
		return;
	}
#endif
	directory64[0] = bits & PS ? bits : (uint64_t)(word)table64 | bits;
	invlpg(PAGE);
}

static void read_page(void)
{
	(void)*(volatile uint32_t *)PAGE;
}

static void write_page(void)
{
	*(volatile uint32_t *)PAGE = 0xc3c3c3c3;
}

static void run_page(void)
{
	((void (*)(void))PAGE)();
}

static void user_read(void)
{
	(void)*(volatile uint32_t *)PAGE;
	LEAVE;
}

static void user_write(void)
{
	*(volatile uint32_t *)PAGE = 0xc3c3c3c3;
	LEAVE;
}

static void user_run(void)
{
	((void (*)(void))PAGE)();
	LEAVE;
}

static void add_page(void)
{
	__asm__ volatile("lock addl $0, %0" : "+m"(*(volatile uint32_t *)PAGE));
}

static void result(const char *name, int vector)
{
	if (vector == 14 && trap.cr2 != PAGE)
		print("(cr2 %x) ", trap.cr2);
	report(name, vector);
}

static void all(const char *name)
{
	frame[0] = 0xc3; /* RET */
	print("%s\n", name);
	result("  read", catch (read_page));
	result("  write", catch (write_page));
	result("  execute", catch (run_page));
	result("  user read", catch_user(user_read));
	result("  user write", catch_user(user_write));
	result("  user execute", catch_user(user_run));
}

static void rights(void)
{
	entry_set(0);
	all("not present");
	entry_set(P | W | U);
	all("user, writable");
	entry_set(P | U);
	all("user, read-only");
	entry_set(P | W);
	all("supervisor, writable");
	entry_set(P);
	all("supervisor, read-only");
	WRITE_CR(0, READ_CR(0) | CR0_WP);
	all("supervisor, read-only, WP");
	entry_set(P | U);
	all("user, read-only, WP");
	result("  locked add", catch (add_page));
	WRITE_CR(0, READ_CR(0) & ~CR0_WP);
	entry_set(P | W | U);
	upper_set(P | W | A);
	all("supervisor above");
	upper_set(P | U | A);
	all("read-only above");
	upper_set(P | W | U | A);
}

static void accessed_dirty(void)
{
	entry_set(P | W | U);
	read_page();
	report_value("after a read", entry_get() & 0xfff);
	write_page();
	report_value("after a write", entry_get() & 0xfff);
	entry_set(P | U);
	catch_user(user_write);
	report_value("after a refused write", entry_get() & 0xfff);
	entry_set(P | W | U);
	add_page();
	report_value("after a locked add", entry_get() & 0xfff);
}

static void large(void)
{
	WRITE_CR(4, READ_CR(4) | CR4_PSE);
	upper_set(P | W | U | PS); /* physical 0 */
	result("large page read", catch (read_page));
	result("large page, reserved bit",
	       (upper_set(P | W | U | PS | (pae ? 0x2000 : 0x200000)), catch (read_page)));
	upper_set(P | W | U | A);
}

#define HAS_NX (pae)

static void no_execute(void)
{
	if (!HAS_NX)
		return;
	entry_set(P | W | U | NX);
	all("NX");
	entry_set(P | W | U | 1ull << 51);
	result("reserved physical bit", catch (read_page));
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
	entry_set(P | W | U | NX);
	result("NX bit without EFER.NXE", catch (read_page));
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
}

#ifdef __x86_64__
extern uint64_t boot_pdpt[], boot_pd[];
#endif

/* SMEP and SMAP are about user pages: the payload's own must be the supervisor's then. */
static void own_pages(uint64_t set, uint64_t clear)
{
#ifdef __x86_64__
	for (unsigned i = 0; i < 2048; i++)
		boot_pd[i] = (boot_pd[i] & ~clear) | set;
#else
	for (unsigned i = 0; i < 1024; i++)
		if (i != PAGE >> 22)
			directory32[i] = (uint32_t)((directory32[i] & ~clear) | set);
	for (unsigned i = 0; i < 2048; i++)
		low64[i / 512][i % 512] = (low64[i / 512][i % 512] & ~clear) | set;
#endif
	WRITE_CR(3, READ_CR(3));
}

static void supervisor_protections(void)
{
	own_pages(0, U);
	WRITE_CR(4, READ_CR(4) | CR4_SMEP);
	entry_set(P | W | U);
	result("SMEP read", catch (read_page));
	result("SMEP execute", catch (run_page));
	WRITE_CR(4, (READ_CR(4) | CR4_SMAP) & ~CR4_SMEP);
	result("SMAP read", catch (read_page));
	result("SMAP write", catch (write_page));
	result("SMAP execute", catch (run_page));
	__asm__ volatile("stac");
	read_page();
	__asm__ volatile("clac");
	print("SMAP read with AC: ok\n");
	WRITE_CR(4, READ_CR(4) & ~CR4_SMAP);
	own_pages(U, 0);
}

static void stale(void)
{
	uint8_t before, after;

	entry_set(P | W | U | G);
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	frame[0] = 1;
	before = *(volatile uint8_t *)PAGE;
	WRITE_CR(3, READ_CR(3));
	after = *(volatile uint8_t *)PAGE;
	print("global page over a CR3 write: %d %d\n", (word)before, (word)after);
	entry_set(P | W | U);
	print("after invlpg: %d\n", (word) * (volatile uint8_t *)PAGE);
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
}

static void load_from_gdt(void)
{
	__asm__ volatile("mov %0, %%fs" : : "r"((word)KDATA));
}

static void page_across(void)
{
	(void)*(volatile uint32_t *)(PAGE + 0xffe);
}

static void write_across(void)
{
	*(volatile uint32_t *)(PAGE - 2) = 0;
}

static void across(void)
{
	entry_set(P | W | U);
	print("read into an absent page: cr2 ");
	if (catch (page_across) == 14)
		print("%x error %x\n", trap.cr2, trap.error);
	else
		print("none\n");
	entry_set(0);
	print("write into an absent page: cr2 ");
	if (catch (write_across) == 14)
		print("%x error %x\n", trap.cr2, trap.error);
	else
		print("none\n");
	report("descriptor load", catch (load_from_gdt));
}

static void suite(const char *name)
{
	print("== %s\n", name);
	rights();
	accessed_dirty();
	large();
	no_execute();
	supervisor_protections();
	stale();
	across();
}

#ifdef __x86_64__

static void pkru(word value)
{
	__asm__ volatile("wrpkru" : : "a"((uint32_t)value), "c"(0), "d"(0));
}

static void keys(void)
{
	WRITE_CR(4, READ_CR(4) | CR4_PKE);
	entry_set(P | W | U | 3ull << 59);
	pkru(0);
	all("key 3, allowed");
	pkru(2u << 6);
	all("key 3, write-disabled");
	WRITE_CR(0, READ_CR(0) | CR0_WP);
	all("key 3, write-disabled, WP");
	WRITE_CR(0, READ_CR(0) & ~CR0_WP);
	pkru(1u << 6);
	all("key 3, access-disabled");
	entry_set(P | W | 3ull << 59);
	all("key 3 does not matter for a supervisor page");
	pkru(0);
	WRITE_CR(4, READ_CR(4) & ~CR4_PKE);
}

static void pcids(void)
{
	word cr3 = READ_CR(3);
	uint32_t leaf[4];
	uint8_t seen;

	cpuid(1, 0, leaf);
	if (!(leaf[2] >> 17 & 1)) {
		print("pcid: none\n");
		return;
	}
	WRITE_CR(4, READ_CR(4) | 1ul << 17);
	entry_set(P | W | U);
	frame[0] = 1;
	WRITE_CR(3, cr3 | 1);
	seen = *(volatile uint8_t *)PAGE;
	WRITE_CR(3, cr3 | 2);
	WRITE_CR(3, cr3 | 1 | 1ul << 63);
	print("pcid: %d %d cr3 %x\n", (word)seen, (word) * (volatile uint8_t *)PAGE, READ_CR(3) & 0xfff);
	WRITE_CR(3, cr3);
	WRITE_CR(4, READ_CR(4) & ~(1ul << 17));
}

int main(void)
{
	pae = true;
	boot_pdpt[1] = (word)directory64 | P | W | U;
	directory64[0] = (word)table64 | P | W | U;
	WRITE_CR(3, READ_CR(3));
#ifdef LA57
	suite("5-level paging");
#else
	suite("4-level paging");
#endif
	keys();
	pcids();
	return 0;
}

#else

static void paging_off(void)
{
	WRITE_CR(0, READ_CR(0) & 0x7fffffff);
	WRITE_CR(4, READ_CR(4) & ~(CR4_PAE | CR4_SMEP | CR4_SMAP));
}

static void paging32(void)
{
	WRITE_CR(4, READ_CR(4) | CR4_PSE);
	for (unsigned i = 0; i < 1024; i++)
		directory32[i] = i << 22 | P | W | U | PS;
	directory32[PAGE >> 22] = (word)table32 | P | W | U;
	WRITE_CR(3, directory32);
	WRITE_CR(0, READ_CR(0) | 0x80000000);
	suite("32-bit paging");
	paging_off();
}

static void load_cr3(void)
{
	WRITE_CR(3, pdpt);
}

static void paging_pae(void)
{
	pae = true;
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < 512; k++)
			low64[i][k] = (uint64_t)i << 30 | (uint64_t)k << 21 | P | W | U | PS;
		pdpt[i] = (word)low64[i] | P;
	}
	pdpt[1] = (word)directory64 | P;
	directory64[0] = (word)table64 | P | W | U;
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	WRITE_CR(4, READ_CR(4) | CR4_PAE);
	WRITE_CR(3, pdpt);
	WRITE_CR(0, READ_CR(0) | 0x80000000);
	suite("PAE paging");
	pdpt[3] |= W;
	report("PDPTE with a reserved bit", catch (load_cr3));
	pdpt[3] &= ~W;
	entry_set(P | W | U);
	pdpt[1] = 0;
	read_page(); /* PDPTEs are registers: the change shows with the next CR3 */
	print("PDPTE changed in memory only: ok\n");
	WRITE_CR(3, pdpt);
	result("absent PDPTE", catch (read_page));
	paging_off();
}

int main(void)
{
	paging32();
	paging_pae();
	return 0;
}

#endif
