/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed integer arithmetic, comparison, logic and shifts of MMX, SSE2, SSSE3 and SSE4: lane by lane, in
 * portable C. Each macro makes the 64-bit (MMX) and the 128-bit form of one instruction. Knows no memory and
 * no modes. Intel SDM vol. 2, chapter 4 (PABSB to PXOR).
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/vec.h"

static inline uint32_t lane_abs(int32_t a)
{
	return a < 0 ? 0u - (uint32_t)a : (uint32_t)a;
}

static inline int32_t saturate(int32_t value, int32_t low, int32_t high)
{
	if (value < low)
		return low;
	return value > high ? high : value;
}

#define SATURATE_S8(v)  ((uint8_t)saturate((v), INT8_MIN, INT8_MAX))
#define SATURATE_U8(v)  ((uint8_t)saturate((v), 0, UINT8_MAX))
#define SATURATE_S16(v) ((uint16_t)saturate((v), INT16_MIN, INT16_MAX))
#define SATURATE_U16(v) ((uint16_t)saturate((v), 0, UINT16_MAX))

/* One instruction over the first `lanes` lanes; a is the destination's lane, b the source's. */
#define LANES(name_, field_, lanes_, expression_)                                                            \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src,              \
			     unsigned imm)                                                                   \
	{                                                                                                    \
		for (unsigned i = 0; i < (lanes_); i++) {                                                    \
			const __typeof__(dst->field_[0]) a = dst->field_[i], b = src->field_[i];             \
			dst->field_[i] = (__typeof__(a))(expression_);                                       \
		}                                                                                            \
	}
#define XMM8(name_, e_)   LANES(name_, b, 16, e_)
#define XMM16(name_, e_)  LANES(name_, w, 8, e_)
#define XMM32(name_, e_)  LANES(name_, d, 4, e_)
#define XMM64(name_, e_)  LANES(name_, q, 2, e_)
#define BOTH8(name_, e_)  XMM8(name_, e_) LANES(name_##_mmx, b, 8, e_)
#define BOTH16(name_, e_) XMM16(name_, e_) LANES(name_##_mmx, w, 4, e_)
#define BOTH32(name_, e_) XMM32(name_, e_) LANES(name_##_mmx, d, 2, e_)
#define BOTH64(name_, e_) XMM64(name_, e_) LANES(name_##_mmx, q, 1, e_)

#define S8(v)  ((int32_t)(int8_t)(v))
#define S16(v) ((int32_t)(int16_t)(v))
#define S32(v) ((int64_t)(int32_t)(v))

BOTH8(paddb, a + b)
BOTH16(paddw, a + b)
BOTH32(paddd, a + b)
BOTH64(paddq, a + b)
BOTH8(psubb, a - b)
BOTH16(psubw, a - b)
BOTH32(psubd, a - b)
BOTH64(psubq, a - b)
BOTH8(paddsb, SATURATE_S8(S8(a) + S8(b)))
BOTH16(paddsw, SATURATE_S16(S16(a) + S16(b)))
BOTH8(paddusb, SATURATE_U8(a + b))
BOTH16(paddusw, SATURATE_U16(a + b))
BOTH8(psubsb, SATURATE_S8(S8(a) - S8(b)))
BOTH16(psubsw, SATURATE_S16(S16(a) - S16(b)))
BOTH8(psubusb, SATURATE_U8(a - b))
BOTH16(psubusw, SATURATE_U16(a - b))
BOTH16(pmullw, b *(uint32_t)a)
BOTH16(pmulhw, (S16(a) * S16(b)) >> 16)
BOTH16(pmulhuw, ((uint32_t)a * b) >> 16)
BOTH16(pmulhrsw, (((S16(a) * S16(b)) >> 14) + 1) >> 1)
BOTH64(pmuludq, (b & UINT32_MAX) * (a & UINT32_MAX))
XMM64(pmuldq, (uint64_t)(S32(a) * S32(b)))
XMM32(pmulld, b *a)
BOTH8(pavgb, (a + b + 1) >> 1)
BOTH16(pavgw, (a + b + 1) >> 1)
BOTH8(pmaxub, a > b ? a : b)
BOTH8(pminub, a < b ? a : b)
BOTH16(pmaxsw, S16(a) > S16(b) ? a : b)
BOTH16(pminsw, S16(a) < S16(b) ? a : b)
XMM8(pmaxsb, S8(a) > S8(b) ? a : b)
XMM8(pminsb, S8(a) < S8(b) ? a : b)
XMM16(pmaxuw, a > b ? a : b)
XMM16(pminuw, a < b ? a : b)
XMM32(pmaxsd, S32(a) > S32(b) ? a : b)
XMM32(pminsd, S32(a) < S32(b) ? a : b)
XMM32(pmaxud, a > b ? a : b)
XMM32(pminud, a < b ? a : b)
BOTH8(pcmpeqb, a == b ? UINT8_MAX : 0)
BOTH16(pcmpeqw, a == b ? UINT16_MAX : 0)
BOTH32(pcmpeqd, a == b ? UINT32_MAX : 0)
XMM64(pcmpeqq, a == b ? UINT64_MAX : 0)
BOTH8(pcmpgtb, S8(a) > S8(b) ? UINT8_MAX : 0)
BOTH16(pcmpgtw, S16(a) > S16(b) ? UINT16_MAX : 0)
BOTH32(pcmpgtd, S32(a) > S32(b) ? UINT32_MAX : 0)
XMM64(pcmpgtq, (int64_t)a > (int64_t)b ? UINT64_MAX : 0)
BOTH64(pand, a &b)
BOTH64(pandn, ~a &b)
BOTH64(por, a | b)
BOTH64(pxor, a ^ b)
BOTH8(psignb, S8(b) < 0 ? -a : b ? a : 0)
BOTH16(psignw, S16(b) < 0 ? -a : b ? a : 0)
BOTH32(psignd, S32(b) < 0 ? 0u - a : b ? a : 0)

/* The destination's old value does not count here. */
#define UNARY(name_, field_, lanes_, expression_)                                                            \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src,              \
			     unsigned imm)                                                                   \
	{                                                                                                    \
		for (unsigned i = 0; i < (lanes_); i++) {                                                    \
			const __typeof__(dst->field_[0]) b = src->field_[i];                                 \
			dst->field_[i] = (__typeof__(b))(expression_);                                       \
		}                                                                                            \
	}
UNARY(pabsb, b, 16, lane_abs(S8(b)))
UNARY(pabsb_mmx, b, 8, lane_abs(S8(b)))
UNARY(pabsw, w, 8, lane_abs(S16(b)))
UNARY(pabsw_mmx, w, 4, lane_abs(S16(b)))
UNARY(pabsd, d, 4, lane_abs((int32_t)b))
UNARY(pabsd_mmx, d, 2, lane_abs((int32_t)b))

/* The four bitwise float operations are the integer ones under other names. */
XMM64(andps, a &b)
XMM64(andpd, a &b)
XMM64(andnps, ~a &b)
XMM64(andnpd, ~a &b)
XMM64(orps, a | b)
XMM64(orpd, a | b)
XMM64(xorps, a ^ b)
XMM64(xorpd, a ^ b)

/* Shifts: the whole low quadword of the source (or the immediate) counts; too large a count clears or fills
 * with signs. */
#define SHIFT(name_, field_, lanes_, bits_, count_, shift_)                                                  \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src,              \
			     unsigned imm)                                                                   \
	{                                                                                                    \
		const uint64_t count = (count_);                                                             \
		for (unsigned i = 0; i < (lanes_); i++) {                                                    \
			const __typeof__(dst->field_[0]) a = dst->field_[i];                                 \
			dst->field_[i] = (__typeof__(a))(shift_(a, count, bits_));                           \
		}                                                                                            \
	}
#define SHIFT_LEFT(a_, n_, bits_)  ((n_) >= (bits_) ? 0 : (uint64_t)(a_) << (n_))
#define SHIFT_RIGHT(a_, n_, bits_) ((n_) >= (bits_) ? 0 : (uint64_t)(a_) >> (n_))
#define SHIFT_SIGN(a_, n_, bits_)                                                                            \
	((int64_t)((uint64_t)(a_) << (64 - (bits_))) >> (64 - (bits_)) >>                                    \
	 ((n_) >= (bits_) ? (bits_)-1 : (n_)))
#define SHIFTS(name_, field_, xmm_lanes_, mmx_lanes_, bits_, shift_)                                         \
	SHIFT(name_, field_, xmm_lanes_, bits_, src->q[0], shift_)                                           \
	SHIFT(name_##_imm, field_, xmm_lanes_, bits_, imm & 0xff, shift_)                                    \
	SHIFT(name_##_mmx, field_, mmx_lanes_, bits_, src->q[0], shift_)                                     \
	SHIFT(name_##_imm_mmx, field_, mmx_lanes_, bits_, imm & 0xff, shift_)

SHIFTS(psllw, w, 8, 4, 16, SHIFT_LEFT)
SHIFTS(pslld, d, 4, 2, 32, SHIFT_LEFT)
SHIFTS(psllq, q, 2, 1, 64, SHIFT_LEFT)
SHIFTS(psrlw, w, 8, 4, 16, SHIFT_RIGHT)
SHIFTS(psrld, d, 4, 2, 32, SHIFT_RIGHT)
SHIFTS(psrlq, q, 2, 1, 64, SHIFT_RIGHT)
SHIFTS(psraw, w, 8, 4, 16, SHIFT_SIGN)
SHIFTS(psrad, d, 4, 2, 32, SHIFT_SIGN)

/* PSLLDQ, PSRLDQ: whole bytes. */
void x86_vec_pslldq_imm(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)
{
	const unsigned count = (imm & 0xff) > 16 ? 16 : imm & 0xff;

	memmove(dst->b + count, dst->b, 16 - count);
	memset(dst->b, 0, count);
}

void x86_vec_psrldq_imm(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)
{
	const unsigned count = (imm & 0xff) > 16 ? 16 : imm & 0xff;

	memmove(dst->b, dst->b + count, 16 - count);
	memset(dst->b + 16 - count, 0, count);
}

/* Pairs of lanes combine into one wider or neighbouring lane. */
static void multiply_add_words(union x86_vec *dst, const union x86_vec *src, unsigned lanes)
{
	for (unsigned i = 0; i < lanes; i++)
		dst->d[i] = (uint32_t)(S16(dst->w[2 * i]) * S16(src->w[2 * i])) +
			    (uint32_t)(S16(dst->w[2 * i + 1]) * S16(src->w[2 * i + 1]));
}

static void multiply_add_bytes(union x86_vec *dst, const union x86_vec *src, unsigned lanes)
{
	for (unsigned i = 0; i < lanes; i++)
		dst->w[i] = SATURATE_S16(dst->b[2 * i] * S8(src->b[2 * i]) +
					 dst->b[2 * i + 1] * S8(src->b[2 * i + 1]));
}

static void sum_differences(union x86_vec *dst, const union x86_vec *src, unsigned quads)
{
	for (unsigned i = 0; i < quads; i++) {
		uint32_t sum = 0;

		for (unsigned j = 8 * i; j < 8 * i + 8; j++)
			sum += lane_abs(dst->b[j] - src->b[j]);
		dst->q[i] = sum;
	}
}

#define BOTH_BY(name_, function_, xmm_lanes_, mmx_lanes_)                                                    \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src,              \
			     unsigned imm)                                                                   \
	{                                                                                                    \
		function_(dst, src, (xmm_lanes_));                                                           \
	}                                                                                                    \
	void x86_vec_##name_##_mmx(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src,        \
				   unsigned imm)                                                             \
	{                                                                                                    \
		function_(dst, src, (mmx_lanes_));                                                           \
	}
BOTH_BY(pmaddwd, multiply_add_words, 4, 2)
BOTH_BY(pmaddubsw, multiply_add_bytes, 8, 4)
BOTH_BY(psadbw, sum_differences, 2, 1)

/* Horizontal: the low half of the result comes from the destination's pairs, the high half from the source's.
 */
#define HORIZONTAL(name_, field_, lanes_, expression_)                                                       \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src,              \
			     unsigned imm)                                                                   \
	{                                                                                                    \
		const union x86_vec first = *dst, second = *src;                                             \
		for (unsigned i = 0; i < (lanes_); i++) {                                                    \
			const union x86_vec *from = i < (lanes_) / 2 ? &first : &second;                     \
			const unsigned pair = 2 * (i % ((lanes_) / 2));                                      \
			const __typeof__(dst->field_[0]) a = from->field_[pair], b = from->field_[pair + 1]; \
			dst->field_[i] = (__typeof__(a))(expression_);                                       \
		}                                                                                            \
	}
#define HORIZONTAL_BOTH(name_, field_, lanes_, expression_)                                                  \
	HORIZONTAL(name_, field_, lanes_, expression_)                                                       \
	HORIZONTAL(name_##_mmx, field_, (lanes_) / 2, expression_)
HORIZONTAL_BOTH(phaddw, w, 8, a + b)
HORIZONTAL_BOTH(phaddd, d, 4, a + b)
HORIZONTAL_BOTH(phaddsw, w, 8, SATURATE_S16(S16(a) + S16(b)))
HORIZONTAL_BOTH(phsubw, w, 8, a - b)
HORIZONTAL_BOTH(phsubd, d, 4, a - b)
HORIZONTAL_BOTH(phsubsw, w, 8, SATURATE_S16(S16(a) - S16(b)))

void x86_vec_phminposuw(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)
{
	unsigned least = 0;

	for (unsigned i = 1; i < 8; i++)
		if (src->w[i] < src->w[least])
			least = i;
	dst->q[0] = src->w[least] | (uint64_t)least << 16;
	dst->q[1] = 0;
}

/* MPSADBW: eight sums of four absolute differences; imm bit 2 picks the destination's offset, bits 1:0 the
 * source's. */
void x86_vec_mpsadbw(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)
{
	const union x86_vec first = *dst, second = *src;
	const unsigned first_at = imm & 4 ? 4 : 0, second_at = 4 * (imm & 3);

	for (unsigned i = 0; i < 8; i++) {
		uint32_t sum = 0;

		for (unsigned j = 0; j < 4; j++)
			sum += lane_abs(first.b[first_at + i + j] - second.b[second_at + j]);
		dst->w[i] = (uint16_t)sum;
	}
}

/* PTEST: ZF and CF from AND and ANDN; the other status flags are cleared. */
void x86_vec_ptest(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)
{
	const bool zero = !((dst->q[0] & src->q[0]) | (dst->q[1] & src->q[1]));
	const bool carry = !((~dst->q[0] & src->q[0]) | (~dst->q[1] & src->q[1]));

	x86_eflags_set(cpu, (zero ? FLAG_ZF : 0) | (carry ? FLAG_CF : 0), FLAGS_STATUS);
}
