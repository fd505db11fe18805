/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the micro-kernels. A new one is a row here and a function beside those of its kind. */
#include "guest/bench/bench.h"

const struct bench_kernel bench_kernels[] = {
	{"int-alu", "step", NULL, bench_int_alu},
	{"int-divide", "division", NULL, bench_int_divide},
	{"crc32-bytes", "byte", bench_crc32_prepare, bench_crc32},
	{"call-return", "call", NULL, bench_call},
	{"call-deep", "call", NULL, bench_call_deep},
	{"call-indirect", "call", NULL, bench_call_indirect},
	{"branch-indirect", "jump", bench_branch_indirect_prepare, bench_branch_indirect},
	{"sort", "key", NULL, bench_sort},
	{"hash", "look-up", NULL, bench_hash},
	{"chase-4m", "step", bench_chase_prepare, bench_chase},
	{"lz", "byte", bench_lz_prepare, bench_lz},
	{"fp-scalar", "multiply-add", NULL, bench_fp_scalar},
	{"sse-packed", "4 floats", bench_fp_packed_prepare, bench_fp_packed},
	{"sse-integer", "16 bytes", bench_fp_packed_prepare, bench_int_packed},
	{"x87", "multiply-add", NULL, bench_x87},
	{"rep-movs-1k", "1 KiB", NULL, bench_rep_movs_1k},
	{"rep-stos-1k", "1 KiB", NULL, bench_rep_stos_1k},
	{"rep-movs-64k", "64 KiB", NULL, bench_rep_movs_64k},
	{"rep-short", "24 bytes", NULL, bench_rep_short},
	{"copy-loop", "64 bytes", NULL, bench_copy_loop},
	{"copy-aliased", "64 bytes", NULL, bench_copy_aliased},
	{"locked-add", "addition", NULL, bench_locked},
	{"code-fresh", "block", NULL, bench_code_fresh},
	{"code-warm", "block", NULL, bench_code_warm},
	{"code-modified", "call", bench_code_modified_prepare, bench_code_modified},
	{"code-neighbour", "call", bench_code_modified_prepare, bench_code_neighbour},
};
const unsigned bench_kernel_count = sizeof(bench_kernels) / sizeof(bench_kernels[0]);
