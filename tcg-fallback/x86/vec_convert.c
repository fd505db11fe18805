/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversions between integers and floats, and between float widths, of SSE and SSE2, on top of softfloat.
 * The MMX forms (CVTPI2PS, CVTPS2PI and kin) use q[0] of their MMX operand. Intel SDM vol. 2, CVT*.
 */
#include "insn_gen.h"
#include "tcg-fallback/x86/vec.h"

#define VEC(name_)                                                                                           \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)

/* One value: `result_` is an expression that may use env; upper lanes of the destination stay. */
#define CONVERT_LANE(name_, lane_, result_)                                                                  \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		struct sf_env env = x86_vec_env(cpu);                                                        \
		const __typeof__(dst->lane_) value = (result_);                                              \
		x86_vec_env_done(cpu, &env);                                                                 \
		dst->lane_ = value;                                                                          \
	}
#define CURRENT ((enum sf_rounding)env.rounding)

CONVERT_LANE(cvtsi2ss_32, d[0], sf32_from_i32((int32_t)src->d[0], &env))
CONVERT_LANE(cvtsi2ss_64, d[0], sf32_from_i64((int64_t)src->q[0], &env))
CONVERT_LANE(cvtsi2sd_32, q[0], sf64_from_i32((int32_t)src->d[0], &env))
CONVERT_LANE(cvtsi2sd_64, q[0], sf64_from_i64((int64_t)src->q[0], &env))
CONVERT_LANE(cvtss2sd, q[0], sf32_to_f64(src->d[0], &env))
CONVERT_LANE(cvtsd2ss, d[0], sf64_to_f32(src->q[0], &env))
CONVERT_LANE(cvtss2si_32, q[0], (uint32_t)sf32_to_i32(src->d[0], CURRENT, &env))
CONVERT_LANE(cvtss2si_64, q[0], (uint64_t)sf32_to_i64(src->d[0], CURRENT, &env))
CONVERT_LANE(cvttss2si_32, q[0], (uint32_t)sf32_to_i32(src->d[0], SF_ROUND_ZERO, &env))
CONVERT_LANE(cvttss2si_64, q[0], (uint64_t)sf32_to_i64(src->d[0], SF_ROUND_ZERO, &env))
CONVERT_LANE(cvtsd2si_32, q[0], (uint32_t)sf64_to_i32(src->q[0], CURRENT, &env))
CONVERT_LANE(cvtsd2si_64, q[0], (uint64_t)sf64_to_i64(src->q[0], CURRENT, &env))
CONVERT_LANE(cvttsd2si_32, q[0], (uint32_t)sf64_to_i32(src->q[0], SF_ROUND_ZERO, &env))
CONVERT_LANE(cvttsd2si_64, q[0], (uint64_t)sf64_to_i64(src->q[0], SF_ROUND_ZERO, &env))

/* Four 32-bit lanes to four. */
#define CONVERT_FOUR(name_, result_)                                                                         \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		struct sf_env env = x86_vec_env(cpu);                                                        \
		uint32_t result[4];                                                                          \
		for (unsigned i = 0; i < 4; i++)                                                             \
			result[i] = (uint32_t)(result_);                                                     \
		x86_vec_env_done(cpu, &env);                                                                 \
		for (unsigned i = 0; i < 4; i++)                                                             \
			dst->d[i] = result[i];                                                               \
	}
CONVERT_FOUR(cvtdq2ps, sf32_from_i32((int32_t)src->d[i], &env))
CONVERT_FOUR(cvtps2dq, sf32_to_i32(src->d[i], CURRENT, &env))
CONVERT_FOUR(cvttps2dq, sf32_to_i32(src->d[i], SF_ROUND_ZERO, &env))

/* Two lanes to 64-bit lanes, or to 32-bit lanes with the upper half cleared or (MMX destinations and
 * cvtpi2ps) kept. */
#define CONVERT_TWO_WIDE(name_, result_)                                                                     \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		struct sf_env env = x86_vec_env(cpu);                                                        \
		uint64_t result[2];                                                                          \
		for (unsigned i = 0; i < 2; i++)                                                             \
			result[i] = (result_);                                                               \
		x86_vec_env_done(cpu, &env);                                                                 \
		dst->q[0] = result[0];                                                                       \
		dst->q[1] = result[1];                                                                       \
	}
CONVERT_TWO_WIDE(cvtdq2pd, sf64_from_i32((int32_t)src->d[i], &env))
CONVERT_TWO_WIDE(cvtpi2pd, sf64_from_i32((int32_t)src->d[i], &env))
CONVERT_TWO_WIDE(cvtps2pd, sf32_to_f64(src->d[i], &env))

#define CONVERT_TWO_NARROW(name_, clear_, result_)                                                           \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		struct sf_env env = x86_vec_env(cpu);                                                        \
		uint32_t result[2];                                                                          \
		for (unsigned i = 0; i < 2; i++)                                                             \
			result[i] = (uint32_t)(result_);                                                     \
		x86_vec_env_done(cpu, &env);                                                                 \
		dst->q[0] = result[0] | (uint64_t)result[1] << 32;                                           \
		if (clear_)                                                                                  \
			dst->q[1] = 0;                                                                       \
	}
CONVERT_TWO_NARROW(cvtpd2ps, true, sf64_to_f32(src->q[i], &env))
CONVERT_TWO_NARROW(cvtpd2dq, true, sf64_to_i32(src->q[i], CURRENT, &env))
CONVERT_TWO_NARROW(cvttpd2dq, true, sf64_to_i32(src->q[i], SF_ROUND_ZERO, &env))
CONVERT_TWO_NARROW(cvtpd2pi, false, sf64_to_i32(src->q[i], CURRENT, &env))
CONVERT_TWO_NARROW(cvttpd2pi, false, sf64_to_i32(src->q[i], SF_ROUND_ZERO, &env))
CONVERT_TWO_NARROW(cvtps2pi, false, sf32_to_i32(src->d[i], CURRENT, &env))
CONVERT_TWO_NARROW(cvttps2pi, false, sf32_to_i32(src->d[i], SF_ROUND_ZERO, &env))
CONVERT_TWO_NARROW(cvtpi2ps, false, sf32_from_i32((int32_t)src->d[i], &env))
