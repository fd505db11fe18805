/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ground of the payload of `vmmctl bench`: from a multiboot loader into 64-bit mode with 4 GiB identity-mapped, SSE
 * on, and the few entries that its kernels time: an interrupt, a page fault, a system call from ring 3.
 */
	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	mov %ebx, multiboot_info
	mov $boot_pd, %edi
	mov $0x87, %eax /* 2 MiB pages, for ring 3 as well */
	mov $2048, %ecx
1:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $0x200000, %eax
	add $8, %edi
	loop 1b
	mov $boot_pdpt, %edi
	mov $boot_pd + 7, %eax
	mov $4, %ecx
2:	mov %eax, (%edi)
	add $0x1000, %eax
	add $8, %edi
	loop 2b
	movl $boot_pdpt + 7, boot_pml4
	movl $boot_pdpt + 7, other_pml4
	mov $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $boot_pml4, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x901, %eax /* SCE, LME, NXE */
	wrmsr
	mov $0x80010033, %eax
	mov %eax, %cr0
	lgdt gdtr
	ljmp $0x08, $start64

	.code64
start64:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $stack_top, %rsp
	fninit /* a reset leaves its exceptions unmasked */
	call payload_main
3:	cli
	hlt
	jmp 3b

/* An interrupt that does nothing. */
	.globl entry_return
entry_return:
	iretq

/* #PF in the window: its page table entry becomes present. */
	.globl entry_fault
entry_fault:
	push %rax
	mov %cr2, %rax
	shr $12, %rax
	and $511, %eax
	orb $1, window_pt(, %rax, 8)
	pop %rax
	add $8, %rsp
	iretq

/* Anything else is a mistake of this program. */
	.globl entry_unexpected
entry_unexpected:
	mov (%rsp), %rdi
	mov 8(%rsp), %rsi
	and $-16, %rsp
	call payload_unexpected

	.globl entry_syscall
entry_syscall:
	sysretq

/* void user_run(uint64_t n): n system calls from ring 3. */
	.globl user_run
user_run:
	push %rbx
	push %rbp
	mov %rdi, %rbx
	mov %rsp, %rbp
	push $0x1b
	push $user_stack_top
	push $2
	push $0x23
	push $user_loop
	iretq
user_loop:
	syscall
	dec %rbx
	jnz user_loop
	int $0x41
/* Back in ring 0, on the TSS's stack. */
	.globl entry_leave_user
entry_leave_user:
	mov $0x10, %eax
	mov %eax, %ss
	mov %rbp, %rsp
	pop %rbp
	pop %rbx
	ret

	.data
	.align 8
	.globl gdt
gdt:
	/* null, kernel code and data, ring 3 data and code (SYSRET's order), TSS (filled in) */
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0, 0
gdtr:
	.word 7 * 8 - 1
	.quad gdt

	.bss
	.align 4096
	.globl boot_pml4, other_pml4, boot_pd, window_pt
boot_pml4:
	.skip 4096
other_pml4:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_pd:
	.skip 16384
window_pt:
	.skip 4096
	.skip 16384
stack_top:
	.skip 4096
user_stack_top:
	.skip 4096
	.globl trap_stack_top, multiboot_info
trap_stack_top:
multiboot_info:
	.skip 8
	.section .note.GNU-stack, "", @progbits
