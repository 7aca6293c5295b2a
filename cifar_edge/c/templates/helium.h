/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for Helium (Cortex-M55, M85): VMLADAVA adds 16 products of signed bytes to a sum. Codes are made signed when the
 * two pixels of a tile are copied; the biases make up for the 128 that each code loses. */
#ifndef NETWORK_HELIUM_KERNELS_H
#define NETWORK_HELIUM_KERNELS_H

#include <arm_mve.h>

/* Four sums as codes by the upper words of their products with multipliers, rounded half up. */
static inline int32x4_t codes_of(const layer *l, int32x4_t sums, int32x4_t multipliers) {
  const int32x4_t codes = vaddq_n_s32(vrmulhq_s32(sums, multipliers), l->output_zero_point);
  return vminq_s32(vmaxq_s32(codes, vdupq_n_s32(0)), vdupq_n_s32(l->largest));
}

#if NETWORK_HAS_SHIFTS
/* The same where shifts are 32 or more: the bits beyond 32 are shifted out of the upper words, rounded half up. That is
 * exact, because these words were rounded down. */
static inline int32x4_t codes_by_shift(const layer *l, int32x4_t sums, int32x4_t multipliers, uint32x4_t shifts) {
  const int32x4_t more = vsubq_s32(vdupq_n_s32(32), vreinterpretq_s32_u32(shifts));
  const int32x4_t shifted = vrshlq_s32(vmulhq_s32(sums, multipliers), more);
  const int32x4_t upper = vpselq_s32(vrmulhq_s32(sums, multipliers), shifted, vcmpeqq_n_s32(more, 0));
  const int32x4_t codes = vaddq_n_s32(upper, l->output_zero_point);
  return vminq_s32(vmaxq_s32(codes, vdupq_n_s32(0)), vdupq_n_s32(l->largest));
}
#endif

/* Whether upper words of products give all codes of a layer: its shifts are 32 or more. */
static inline int has_upper_words(const layer *l) {
#if NETWORK_HAS_SHIFTS
  uint32_t least = 32;
  int32_t o;
  if (!l->shifts) return 1;
#if NETWORK_HAS_FLOAT32
  if (l->float32) return 0;
#endif
  for (o = 0; o < l->channels_out; o += 4) {
    const mve_pred16_t left = vctp32q((uint32_t)(l->channels_out - o));
    least = vminvq_p_u32(least, vldrbq_z_u32(l->shifts + o, left), left);
  }
  return least == 32;
#else
  (void)l;
  return 1;
#endif
}

/* The codes of count channels, beginning with the first one. */
static inline void store_codes(const layer *l, int32_t first, int32_t count, const int32_t *sums, int by_words,
                               uint8_t *out) {
  const int32_t *multipliers = l->multipliers + first;
  int32_t o;
  if (!by_words) {
    for (o = 0; o < count; o++) out[o] = requantize(l, first + o, sums[o]);
    return;
  }
  for (o = 0; o < count; o += 4) {
    const mve_pred16_t left = vctp32q((uint32_t)(count - o));
#if NETWORK_HAS_SHIFTS
    if (l->shifts) {
      const uint32x4_t shifts = vldrbq_z_u32(l->shifts + first + o, left);
      const int32x4_t factors = vldrwq_z_s32(multipliers + o, left);
      vstrbq_p_s32((int8_t *)out + o, codes_by_shift(l, vldrwq_s32(sums + o), factors, shifts), left);
      continue;
    }
#endif
    const int32x4_t codes = codes_of(l, vldrwq_s32(sums + o), vldrwq_z_s32(multipliers + o, left));
    vstrbq_p_s32((int8_t *)out + o, codes, left);
  }
}

/* The codes of the window of a pixel, signed; rows of padding are the code 0. */
static inline void copy_column(const layer *l, const window *w, int32_t x, int8_t *column) {
  const int32_t length = l->kernel_columns * l->channels_in;
  int32_t k, i;
  for (k = 0; k < l->kernel_rows; k++, column += length) {
    const int32_t row = k - w->first;
    if (row < 0 || row >= w->count) {
      for (i = 0; i < length; i += 16) vstrbq_s8(column + i, vdupq_n_s8(-128));
    } else {
      const uint8_t *a = w->rows[row] + x * l->stride_columns * l->channels_in;
      for (i = 0; i < length; i += 16) vstrbq_u8((uint8_t *)column + i, veorq_u8(vldrbq_u8(a + i), vdupq_n_u8(0x80)));
    }
  }
}

/* The sums of count channels of two pixels, from weights packed [channels / 2][16 codes][2][16]. */
static __attribute__((noinline)) void sums_of_two_pixels(const int8_t *weights, const int32_t *bias, int32_t count,
                                                         const int8_t *one, const int8_t *other, int32_t steps,
                                                         int32_t *sums, int32_t *other_sums) {
  int32_t o, i;
  for (o = 0; o < count; o += 2) {
    const int8_t *a = one, *b = other;
    int32_t s00 = bias[o], s10 = s00, s01 = bias[o + 1], s11 = s01;
    for (i = steps; i > 0; i--) {
      const int8x16_t codes = vldrbq_s8(a), other_codes = vldrbq_s8(b);
      const int8x16_t w0 = vldrbq_s8(weights), w1 = vldrbq_s8(weights + 16);
      s00 = vmladavaq_s8(s00, codes, w0);
      s10 = vmladavaq_s8(s10, other_codes, w0);
      s01 = vmladavaq_s8(s01, codes, w1);
      s11 = vmladavaq_s8(s11, other_codes, w1);
      a += 16;
      b += 16;
      weights += 32;
    }
    sums[o] = s00;
    sums[o + 1] = s01;
    other_sums[o] = s10;
    other_sums[o + 1] = s11;
  }
}

enum { SUMS = CHANNELS < 64 ? CHANNELS : 64 }; /* channels whose sums are on the stack at a time */

static inline void helium_conv_row(const layer *l, const window *w, uint8_t *out) {
  int8_t columns[2][COLUMN_BYTES + 16];
  int32_t sums[2][SUMS];
  const int32_t outputs = l->channels_out, steps = (l->kernel_rows * l->kernel_columns * l->channels_in + 15) / 16;
  const int by_words = has_upper_words(l);
  int32_t x, o;
  for (x = 0; x < l->columns; x += 2) {
    const int32_t next = has_next(x, l->columns);
    copy_column(l, w, x, columns[0]);
    copy_column(l, w, x + next, columns[1]);
    for (o = 0; o < outputs; o += SUMS) {
      const int32_t count = outputs - o < SUMS ? outputs - o : SUMS;
      const int8_t *weights = l->weights + o * steps * 16;
      sums_of_two_pixels(weights, l->bias + o, count, columns[0], columns[1], steps, sums[0], sums[1]);
      store_codes(l, o, count, sums[0], by_words, out + x * outputs + o);
      store_codes(l, o, count, sums[1], by_words, out + (x + next) * outputs + o);
    }
  }
}
#define CONV_ROW helium_conv_row

/* Eight channels of a pixel, the even and the odd ones apart, from weights packed [row][column][channel]. */
static inline void eight_channels(const layer *l, const window *w, int32_t at, int32_t c, uint8_t *out) {
  const int32_t channels = l->channels_in, taps = l->kernel_columns;
  const int8_t *weights = l->weights + w->first * taps * channels + c;
  const int32x4x2_t multipliers = vld2q_s32(l->multipliers + c);
  int32x4x2_t sums = vld2q_s32(l->bias + c);
  int16x8_t codes = vdupq_n_s16(0);
  int32_t k, t;
  for (k = 0; k < w->count; k++) {
    const uint8_t *a = w->rows[k] + at + c;
    for (t = taps; t > 0; t--) {
      const int16x8_t inputs = vreinterpretq_s16_u16(vldrbq_u16(a)), factors = vldrbq_s16(weights);
      sums.val[0] = vaddq_s32(sums.val[0], vmullbq_int_s16(inputs, factors));
      sums.val[1] = vaddq_s32(sums.val[1], vmulltq_int_s16(inputs, factors));
      a += channels;
      weights += channels;
    }
  }
#if NETWORK_HAS_SHIFTS
  if (l->shifts) {
    const uint16x8_t shifts = vldrbq_u16(l->shifts + c);
    codes = vmovnbq_s32(codes, codes_by_shift(l, sums.val[0], multipliers.val[0], vmovlbq_u16(shifts)));
    codes = vmovntq_s32(codes, codes_by_shift(l, sums.val[1], multipliers.val[1], vmovltq_u16(shifts)));
    vstrbq_u16(out + c, vreinterpretq_u16_s16(codes));
    return;
  }
#endif
  codes = vmovnbq_s32(codes, codes_of(l, sums.val[0], multipliers.val[0]));
  codes = vmovntq_s32(codes, codes_of(l, sums.val[1], multipliers.val[1]));
  vstrbq_u16(out + c, vreinterpretq_u16_s16(codes));
}

/* Eight channels at a time; those that are left with a predicate. */
static inline void helium_depthwise_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t channels = l->channels_in, taps = l->kernel_columns, step = l->stride_columns * channels;
  const int by_words = has_upper_words(l);
  int32_t x, c, k, t, i;
  for (x = 0; x < l->columns; x++, out += channels) {
    for (c = 0; c < channels; c += 8) {
      if (c + 8 <= channels && by_words) {
        eight_channels(l, w, x * step, c, out);
        continue;
      }
      const mve_pred16_t left = vctp16q((uint32_t)(channels - c));
      const int8_t *weights = l->weights + w->first * taps * channels + c;
      int32_t sums[8];
      int32x4x2_t both;
      both.val[0] = vdupq_n_s32(0);
      both.val[1] = vdupq_n_s32(0);
      for (k = 0; k < w->count; k++) {
        const uint8_t *a = w->rows[k] + x * step + c;
        for (t = 0; t < taps; t++) {
          const int16x8_t codes = vreinterpretq_s16_u16(vldrbq_u16(a)), factors = vldrbq_z_s16(weights, left);
          both.val[0] = vaddq_s32(both.val[0], vmullbq_int_s16(codes, factors));
          both.val[1] = vaddq_s32(both.val[1], vmulltq_int_s16(codes, factors));
          a += channels;
          weights += channels;
        }
      }
      vst2q_s32(sums, both);
#if NETWORK_HAS_SHIFTS
      if (l->shifts) {
        for (i = 0; i < 8 && c + i < channels; i++) out[c + i] = requantize(l, c + i, sums[i] + l->bias[c + i]);
        continue;
      }
#endif
      for (i = 0; i < 8 && c + i < channels; i += 4) {
        const mve_pred16_t some = vctp32q((uint32_t)(channels - c - i));
        const int32x4_t total = vaddq_s32(vldrwq_s32(sums + i), vldrwq_z_s32(l->bias + c + i, some));
        vstrbq_p_s32((int8_t *)out + c + i, codes_of(l, total, vldrwq_z_s32(l->multipliers + c + i, some)), some);
      }
    }
  }
}
#define DEPTHWISE_ROW helium_depthwise_row

#endif
