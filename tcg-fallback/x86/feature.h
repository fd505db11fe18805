/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID feature bits as numbers: word * 32 + bit. The words are numbered as enum x86_feature_word of
 * vmm/core/cpu_model_x86.h (tcg.c asserts it). Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
 */
#pragma once

#define X86_FEATURE_WORDS      12
#define X86_FEATURE(word, bit) ((word) * 32 + (bit))
#define X86_FEATURE_ALWAYS     0xffff

/* 0: leaf 1 ECX */
#define X86_FEATURE_SSE3             X86_FEATURE(0, 0)
#define X86_FEATURE_PCLMULQDQ        X86_FEATURE(0, 1)
#define X86_FEATURE_MONITOR          X86_FEATURE(0, 3)
#define X86_FEATURE_SSSE3            X86_FEATURE(0, 9)
#define X86_FEATURE_FMA              X86_FEATURE(0, 12)
#define X86_FEATURE_CX16             X86_FEATURE(0, 13)
#define X86_FEATURE_PCID             X86_FEATURE(0, 17)
#define X86_FEATURE_SSE4_1           X86_FEATURE(0, 19)
#define X86_FEATURE_SSE4_2           X86_FEATURE(0, 20)
#define X86_FEATURE_X2APIC           X86_FEATURE(0, 21)
#define X86_FEATURE_MOVBE            X86_FEATURE(0, 22)
#define X86_FEATURE_POPCNT           X86_FEATURE(0, 23)
#define X86_FEATURE_TSC_DEADLINE     X86_FEATURE(0, 24)
#define X86_FEATURE_AES              X86_FEATURE(0, 25)
#define X86_FEATURE_XSAVE            X86_FEATURE(0, 26)
#define X86_FEATURE_OSXSAVE          X86_FEATURE(0, 27)
#define X86_FEATURE_AVX              X86_FEATURE(0, 28)
#define X86_FEATURE_F16C             X86_FEATURE(0, 29)
#define X86_FEATURE_RDRAND           X86_FEATURE(0, 30)
#define X86_FEATURE_HYPERVISOR       X86_FEATURE(0, 31)

/* 1: leaf 1 EDX */
#define X86_FEATURE_FPU              X86_FEATURE(1, 0)
#define X86_FEATURE_VME              X86_FEATURE(1, 1)
#define X86_FEATURE_DE               X86_FEATURE(1, 2)
#define X86_FEATURE_PSE              X86_FEATURE(1, 3)
#define X86_FEATURE_TSC              X86_FEATURE(1, 4)
#define X86_FEATURE_MSR              X86_FEATURE(1, 5)
#define X86_FEATURE_PAE              X86_FEATURE(1, 6)
#define X86_FEATURE_MCE              X86_FEATURE(1, 7)
#define X86_FEATURE_CX8              X86_FEATURE(1, 8)
#define X86_FEATURE_APIC             X86_FEATURE(1, 9)
#define X86_FEATURE_SEP              X86_FEATURE(1, 11)
#define X86_FEATURE_MTRR             X86_FEATURE(1, 12)
#define X86_FEATURE_PGE              X86_FEATURE(1, 13)
#define X86_FEATURE_MCA              X86_FEATURE(1, 14)
#define X86_FEATURE_CMOV             X86_FEATURE(1, 15)
#define X86_FEATURE_PAT              X86_FEATURE(1, 16)
#define X86_FEATURE_PSE36            X86_FEATURE(1, 17)
#define X86_FEATURE_CLFSH            X86_FEATURE(1, 19)
#define X86_FEATURE_MMX              X86_FEATURE(1, 23)
#define X86_FEATURE_FXSR             X86_FEATURE(1, 24)
#define X86_FEATURE_SSE              X86_FEATURE(1, 25)
#define X86_FEATURE_SSE2             X86_FEATURE(1, 26)
#define X86_FEATURE_SS               X86_FEATURE(1, 27)
#define X86_FEATURE_HTT              X86_FEATURE(1, 28)

/* 2: leaf 7 EBX */
#define X86_FEATURE_FSGSBASE         X86_FEATURE(2, 0)
#define X86_FEATURE_TSC_ADJUST       X86_FEATURE(2, 1)
#define X86_FEATURE_BMI1             X86_FEATURE(2, 3)
#define X86_FEATURE_AVX2             X86_FEATURE(2, 5)
#define X86_FEATURE_FDP_EXCPTN_ONLY  X86_FEATURE(2, 6)
#define X86_FEATURE_SMEP             X86_FEATURE(2, 7)
#define X86_FEATURE_BMI2             X86_FEATURE(2, 8)
#define X86_FEATURE_ERMS             X86_FEATURE(2, 9)
#define X86_FEATURE_INVPCID          X86_FEATURE(2, 10)
#define X86_FEATURE_ZERO_FCS_FDS     X86_FEATURE(2, 13)
#define X86_FEATURE_RDSEED           X86_FEATURE(2, 18)
#define X86_FEATURE_ADX              X86_FEATURE(2, 19)
#define X86_FEATURE_SMAP             X86_FEATURE(2, 20)
#define X86_FEATURE_CLFLUSHOPT       X86_FEATURE(2, 23)
#define X86_FEATURE_CLWB             X86_FEATURE(2, 24)
#define X86_FEATURE_SHA              X86_FEATURE(2, 29)

/* 3: leaf 7 ECX */
#define X86_FEATURE_UMIP             X86_FEATURE(3, 2)
#define X86_FEATURE_PKU              X86_FEATURE(3, 3)
#define X86_FEATURE_OSPKE            X86_FEATURE(3, 4)
#define X86_FEATURE_GFNI             X86_FEATURE(3, 8)
#define X86_FEATURE_VAES             X86_FEATURE(3, 9)
#define X86_FEATURE_VPCLMULQDQ       X86_FEATURE(3, 10)
#define X86_FEATURE_LA57             X86_FEATURE(3, 16)
#define X86_FEATURE_RDPID            X86_FEATURE(3, 22)

/* 4: leaf 7 EDX */
#define X86_FEATURE_FSRM             X86_FEATURE(4, 4)
#define X86_FEATURE_ARCH_CAPABILITIES X86_FEATURE(4, 29)

/* 6: leaf 0xd subleaf 1 EAX */
#define X86_FEATURE_XSAVEOPT         X86_FEATURE(6, 0)
#define X86_FEATURE_XSAVEC           X86_FEATURE(6, 1)
#define X86_FEATURE_XGETBV1          X86_FEATURE(6, 2)
#define X86_FEATURE_XSAVES           X86_FEATURE(6, 3)

/* 7: leaf 0x80000001 ECX */
#define X86_FEATURE_LAHF64           X86_FEATURE(7, 0)
#define X86_FEATURE_CR8_LEGACY       X86_FEATURE(7, 4)
#define X86_FEATURE_LZCNT            X86_FEATURE(7, 5)
#define X86_FEATURE_SSE4A            X86_FEATURE(7, 6)
#define X86_FEATURE_MISALIGNSSE      X86_FEATURE(7, 7)
#define X86_FEATURE_PREFETCHW        X86_FEATURE(7, 8)

/* 8: leaf 0x80000001 EDX */
#define X86_FEATURE_SYSCALL          X86_FEATURE(8, 11)
#define X86_FEATURE_NX               X86_FEATURE(8, 20)
#define X86_FEATURE_FFXSR            X86_FEATURE(8, 25)
#define X86_FEATURE_GBPAGES          X86_FEATURE(8, 26)
#define X86_FEATURE_RDTSCP           X86_FEATURE(8, 27)
#define X86_FEATURE_LM               X86_FEATURE(8, 29)

/* 10: leaf 0x80000008 EBX */
#define X86_FEATURE_CLZERO           X86_FEATURE(10, 0)
#define X86_FEATURE_WBNOINVD         X86_FEATURE(10, 9)
