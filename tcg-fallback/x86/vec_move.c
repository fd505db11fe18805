/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vector instructions that only move bits: loads and stores, shuffles, unpacks, packs, blends, inserts,
 * extracts, sign and zero extensions, masks. MMX, SSE to SSE4.1. Knows no memory: operands come from vec.c.
 * Intel SDM vol. 2, chapters 3-4.
 */
#include <string.h>

#include "insn_gen.h"
#include "tcg-fallback/x86/vec.h"

#define VEC(name_)                                                                                           \
	void x86_vec_##name_(struct x86_cpu *cpu, union x86_vec *dst, const union x86_vec *src, unsigned imm)

VEC(mov128)
{
	memmove(dst, src, 16);
}

VEC(mov64_mmx)
{
	dst->q[0] = src->q[0];
}

VEC(movq)
{
	dst->q[0] = src->q[0];
	dst->q[1] = 0;
}

VEC(movss)
{
	dst->d[0] = src->d[0];
}

VEC(movsd)
{
	dst->q[0] = src->q[0];
}

VEC(movss_load)
{
	dst->q[0] = src->d[0];
	dst->q[1] = 0;
}

VEC(movsd_load)
{
	dst->q[0] = src->q[0];
	dst->q[1] = 0;
}

VEC(movss_store)
{
	dst->d[0] = src->d[0];
}

VEC(movsd_store)
{
	dst->q[0] = src->q[0];
}

VEC(movlps)
{
	dst->q[0] = src->q[0];
}

VEC(movlps_store)
{
	dst->q[0] = src->q[0];
}

VEC(movhps)
{
	dst->q[1] = src->q[0];
}

VEC(movhps_store)
{
	dst->q[0] = src->q[1];
}

VEC(movhlps)
{
	dst->q[0] = src->q[1];
}

VEC(movlhps)
{
	dst->q[1] = src->q[0];
}

VEC(movq2dq)
{
	dst->q[0] = src->q[0];
	dst->q[1] = 0;
}

VEC(movdq2q)
{
	dst->q[0] = src->q[0];
}

VEC(movd_to_xmm)
{
	dst->q[0] = src->d[0];
	dst->q[1] = 0;
}

VEC(movq_to_xmm)
{
	dst->q[0] = src->q[0];
	dst->q[1] = 0;
}

VEC(movd_from_xmm)
{
	dst->q[0] = src->d[0];
}

VEC(movq_from_xmm)
{
	dst->q[0] = src->q[0];
}

VEC(movd_to_mmx)
{
	dst->q[0] = src->d[0];
}

VEC(movq_to_mmx)
{
	dst->q[0] = src->q[0];
}

VEC(movd_from_mmx)
{
	dst->q[0] = src->d[0];
}

VEC(movq_from_mmx)
{
	dst->q[0] = src->q[0];
}

VEC(movddup)
{
	const uint64_t low = src->q[0];

	dst->q[0] = low;
	dst->q[1] = low;
}

VEC(movshdup)
{
	const uint32_t one = src->d[1], three = src->d[3];

	dst->q[0] = one | (uint64_t)one << 32;
	dst->q[1] = three | (uint64_t)three << 32;
}

VEC(movsldup)
{
	const uint32_t zero = src->d[0], two = src->d[2];

	dst->q[0] = zero | (uint64_t)zero << 32;
	dst->q[1] = two | (uint64_t)two << 32;
}

/* Masks of sign bits, into a general register. */
#define SIGN_MASK(name_, field_, lanes_)                                                                     \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		uint64_t mask = 0;                                                                           \
		for (unsigned i = 0; i < (lanes_); i++)                                                      \
			mask |= (uint64_t)(src->field_[i] >> (8 * sizeof(src->field_[0]) - 1)) << i;         \
		dst->q[0] = mask;                                                                            \
	}
SIGN_MASK(pmovmskb, b, 16)
SIGN_MASK(pmovmskb_mmx, b, 8)
SIGN_MASK(movmskps, d, 4)
SIGN_MASK(movmskpd, q, 2)

/* Shuffles by immediate. */
VEC(pshufd)
{
	const union x86_vec from = *src;

	for (unsigned i = 0; i < 4; i++)
		dst->d[i] = from.d[imm >> (2 * i) & 3];
}

VEC(pshuflw)
{
	const union x86_vec from = *src;

	for (unsigned i = 0; i < 4; i++)
		dst->w[i] = from.w[imm >> (2 * i) & 3];
	dst->q[1] = from.q[1];
}

VEC(pshufhw)
{
	const union x86_vec from = *src;

	for (unsigned i = 0; i < 4; i++)
		dst->w[4 + i] = from.w[4 + (imm >> (2 * i) & 3)];
	dst->q[0] = from.q[0];
}

VEC(pshufw_mmx)
{
	const union x86_vec from = *src;

	for (unsigned i = 0; i < 4; i++)
		dst->w[i] = from.w[imm >> (2 * i) & 3];
}

VEC(shufps)
{
	const union x86_vec first = *dst, second = *src;

	dst->d[0] = first.d[imm & 3];
	dst->d[1] = first.d[imm >> 2 & 3];
	dst->d[2] = second.d[imm >> 4 & 3];
	dst->d[3] = second.d[imm >> 6 & 3];
}

VEC(shufpd)
{
	const uint64_t high = src->q[imm >> 1 & 1];

	dst->q[0] = dst->q[imm & 1];
	dst->q[1] = high;
}

static void shuffle_bytes(union x86_vec *dst, const union x86_vec *src, unsigned bytes)
{
	const union x86_vec from = *dst, control = *src;

	for (unsigned i = 0; i < bytes; i++)
		dst->b[i] = control.b[i] & 0x80 ? 0 : from.b[control.b[i] & (bytes - 1)];
}

VEC(pshufb)
{
	shuffle_bytes(dst, src, 16);
}

VEC(pshufb_mmx)
{
	shuffle_bytes(dst, src, 8);
}

static void align_right(union x86_vec *dst, const union x86_vec *src, unsigned bytes, unsigned shift)
{
	uint8_t joined[48] = {0};

	memcpy(joined, src->b, bytes);
	memcpy(joined + bytes, dst->b, bytes);
	memset(dst->b, 0, bytes);
	if (shift < 2 * bytes)
		memcpy(dst->b, joined + shift, bytes);
}

VEC(palignr)
{
	align_right(dst, src, 16, imm & 0xff);
}

VEC(palignr_mmx)
{
	align_right(dst, src, 8, imm & 0xff);
}

/* Interleaves the low (first = 0) or high lanes of destination and source. */
#define UNPACK(name_, field_, lanes_, first_)                                                                \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		const union x86_vec a = *dst, b = *src;                                                      \
		for (unsigned i = 0; i < (lanes_) / 2; i++) {                                                \
			dst->field_[2 * i] = a.field_[(first_) + i];                                         \
			dst->field_[2 * i + 1] = b.field_[(first_) + i];                                     \
		}                                                                                            \
	}
#define UNPACK_BOTH(low_, high_, field_, lanes_)                                                             \
	UNPACK(low_, field_, lanes_, 0)                                                                      \
	UNPACK(high_, field_, lanes_, (lanes_) / 2)                                                          \
	UNPACK(low_##_mmx, field_, (lanes_) / 2, 0) UNPACK(high_##_mmx, field_, (lanes_) / 2, (lanes_) / 4)
UNPACK_BOTH(punpcklbw, punpckhbw, b, 16)
UNPACK_BOTH(punpcklwd, punpckhwd, w, 8)
UNPACK_BOTH(punpckldq, punpckhdq, d, 4)
UNPACK(punpcklqdq, q, 2, 0)
UNPACK(punpckhqdq, q, 2, 1)
UNPACK(unpcklps, d, 4, 0)
UNPACK(unpckhps, d, 4, 2)
UNPACK(unpcklpd, q, 2, 0)
UNPACK(unpckhpd, q, 2, 1)

static inline int32_t pack_saturate(int32_t value, int32_t low, int32_t high)
{
	if (value < low)
		return low;
	return value > high ? high : value;
}

/* Narrows the destination's lanes into the low half and the source's into the high half. */
#define PACK(name_, to_, from_, signed_, lanes_, low_, high_)                                                \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		const union x86_vec a = *dst, b = *src;                                                      \
		for (unsigned i = 0; i < (lanes_); i++) {                                                    \
			dst->to_[i] =                                                                        \
				(__typeof__(dst->to_[0]))pack_saturate((signed_)a.from_[i], low_, high_);    \
			dst->to_[(lanes_) + i] =                                                             \
				(__typeof__(dst->to_[0]))pack_saturate((signed_)b.from_[i], low_, high_);    \
		}                                                                                            \
	}
PACK(packsswb, b, w, int16_t, 8, INT8_MIN, INT8_MAX)
PACK(packsswb_mmx, b, w, int16_t, 4, INT8_MIN, INT8_MAX)
PACK(packuswb, b, w, int16_t, 8, 0, UINT8_MAX)
PACK(packuswb_mmx, b, w, int16_t, 4, 0, UINT8_MAX)
PACK(packssdw, w, d, int32_t, 4, INT16_MIN, INT16_MAX)
PACK(packssdw_mmx, w, d, int32_t, 2, INT16_MIN, INT16_MAX)
PACK(packusdw, w, d, int32_t, 4, 0, UINT16_MAX)

/* PMOVSX and PMOVZX: from the highest lane down, so that destination and source may be one register. */
#define EXTEND(name_, to_, lanes_, from_, through_)                                                          \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		for (unsigned i = (lanes_); i-- > 0;)                                                        \
			dst->to_[i] = (__typeof__(dst->to_[0]))(through_)src->from_[i];                      \
	}
EXTEND(pmovsxbw, w, 8, b, int8_t)
EXTEND(pmovsxbd, d, 4, b, int8_t)
EXTEND(pmovsxbq, q, 2, b, int8_t)
EXTEND(pmovsxwd, d, 4, w, int16_t)
EXTEND(pmovsxwq, q, 2, w, int16_t)
EXTEND(pmovsxdq, q, 2, d, int32_t)
EXTEND(pmovzxbw, w, 8, b, uint8_t)
EXTEND(pmovzxbd, d, 4, b, uint8_t)
EXTEND(pmovzxbq, q, 2, b, uint8_t)
EXTEND(pmovzxwd, d, 4, w, uint16_t)
EXTEND(pmovzxwq, q, 2, w, uint16_t)
EXTEND(pmovzxdq, q, 2, d, uint32_t)

/* Blends: by immediate, or by the sign bits of XMM0. */
#define BLEND(name_, field_, lanes_, choice_)                                                                \
	VEC(name_)                                                                                           \
	{                                                                                                    \
		const union x86_vec mask = cpu->zmm[0];                                                      \
		(void)mask;                                                                                  \
		for (unsigned i = 0; i < (lanes_); i++)                                                      \
			if (choice_)                                                                         \
				dst->field_[i] = src->field_[i];                                             \
	}
BLEND(pblendw, w, 8, imm >> i & 1)
BLEND(blendps, d, 4, imm >> i & 1)
BLEND(blendpd, q, 2, imm >> i & 1)
BLEND(pblendvb, b, 16, mask.b[i] >> 7)
BLEND(blendvps, d, 4, mask.d[i] >> 31)
BLEND(blendvpd, q, 2, mask.q[i] >> 63)

/* Inserts and extracts. */
VEC(pinsrb)
{
	dst->b[imm & 15] = src->b[0];
}

VEC(pinsrw)
{
	dst->w[imm & 7] = src->w[0];
}

VEC(pinsrw_mmx)
{
	dst->w[imm & 3] = src->w[0];
}

VEC(pinsrd)
{
	dst->d[imm & 3] = src->d[0];
}

VEC(pinsrq)
{
	dst->q[imm & 1] = src->q[0];
}

VEC(pextrb)
{
	dst->q[0] = src->b[imm & 15];
}

VEC(pextrw)
{
	dst->q[0] = src->w[imm & 7];
}

VEC(pextrw_mmx)
{
	dst->q[0] = src->w[imm & 3];
}

VEC(pextrd)
{
	dst->q[0] = src->d[imm & 3];
}

VEC(pextrq)
{
	dst->q[0] = src->q[imm & 1];
}

VEC(extractps)
{
	dst->q[0] = src->d[imm & 3];
}

/* INSERTPS: bits 7:6 the source's lane (a register's; memory is one lane), 5:4 the destination's, 3:0 lanes
 * to clear. */
static void insert_float(union x86_vec *dst, uint32_t value, unsigned imm)
{
	dst->d[imm >> 4 & 3] = value;
	for (unsigned i = 0; i < 4; i++)
		if (imm >> i & 1)
			dst->d[i] = 0;
}

VEC(insertps)
{
	insert_float(dst, src->d[imm >> 6 & 3], imm);
}

VEC(insertps_load)
{
	insert_float(dst, src->d[0], imm);
}
