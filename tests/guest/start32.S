/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of a 32-bit payload from a multiboot loader, the 256 trap entries, and catching. See runtime.h. */
	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 3, -(0x1badb002 + 3)

	.text
	.globl _start
_start:
	cli
	cld
	mov $boot_stack_top, %esp
	push $0
	popf
	call runtime_init
	call main
	call finish

/* Entries of the same size: error code (0 where the CPU pushes none), vector. */
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
	pusha
	push %ds
	push %es
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	cld
	mov %esp, %eax
	push %eax
	call trap_c
	add $4, %esp
	pop %es
	pop %ds
	popa
	add $8, %esp
	iret

/* int catch(void (*fn)(void)) */
	.globl catch
catch:
	push %ebp
	push %ebx
	push %esi
	push %edi
	push catch_sp
	mov 24(%esp), %eax
	mov %esp, catch_sp
	call *%eax
	mov $-1, %eax
catch_end:
	mov $0x10, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	pop catch_sp
	pop %edi
	pop %esi
	pop %ebx
	pop %ebp
	ret

/* trap_c comes here with the vector in EAX */
	.globl catch_trap
catch_trap:
	mov 4(%esp), %eax
	mov $0x10, %ecx
	mov %ecx, %fs
	mov %ecx, %gs
	mov %ecx, %ss
	mov catch_sp, %esp
	push $2
	popf
	jmp catch_end

/* Into ring 3: fn from user_function */
	.globl enter_user
enter_user:
	mov $0x23, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	push $0x23
	push $user_stack + 4096
	push user_flags
	push $0x1b
	push user_function
	iret

	.bss
	.align 16
	.skip 16384
boot_stack_top:
	.globl catch_sp
catch_sp:
	.skip 4
	.section .note.GNU-stack, "", @progbits
