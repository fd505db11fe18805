/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of a 64-bit payload: from a multiboot loader's 32-bit mode into long mode with 4 GiB identity-mapped. */
	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	/* 2 MiB pages, user-accessible; payloads change what they test */
	mov $boot_pd, %edi
	mov $0x87, %eax
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
#ifdef LA57
	movl $boot_pml4 + 7, boot_pml5
	mov $0x1620, %eax /* LA57, PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $boot_pml5, %eax
#else
	mov $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $boot_pml4, %eax
#endif
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x901, %eax /* SCE, LME, NXE */
	wrmsr
	mov $0x80010033, %eax
	mov %eax, %cr0
	lgdt boot_gdtr
	ljmp $0x08, $start64

	.code64
start64:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov $boot_stack_top, %rsp
	push $0
	popfq
	call runtime_init
	call main
	call finish

	.align 16
	.globl trap_entries
trap_entries:
	.set vector, 0
	.rept 256
	.align 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	push $0
	.endif
	push $vector
	jmp trap_common
	.set vector, vector + 1
	.endr

trap_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	mov %rsp, %rbx
	and $-16, %rsp
	call trap_c
	mov %rbx, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

	.globl catch
catch:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	push catch_sp
	mov %rsp, catch_sp
	call *%rdi
	mov $-1, %eax
catch_end:
	pop catch_sp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret

	.globl catch_trap
catch_trap:
	mov %rdi, %rax
	mov $0x10, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %ss
	mov catch_sp, %rsp
	push $2
	popfq
	jmp catch_end

	.globl enter_user
enter_user:
	push $0x23
	push $user_stack + 4096
	push user_flags
	push $0x1b
	push user_function
	iretq

	.data
	.align 8
boot_gdt:
	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
	.word 23
	.quad boot_gdt

	.bss
	.align 4096
	.globl boot_pml5, boot_pml4, boot_pdpt, boot_pd
boot_pml5:
	.skip 4096
boot_pml4:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_pd:
	.skip 16384
	.align 16
	.skip 16384
boot_stack_top:
	.globl catch_sp
catch_sp:
	.skip 8
	.section .note.GNU-stack, "", @progbits
