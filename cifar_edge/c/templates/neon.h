/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for 64-bit Arm with the dot product: sdot adds four products of signed bytes to each of four sums. Codes are made
 * signed when the four pixels of a tile are copied; the biases make up for the 128 that each code loses. */
#ifndef NETWORK_NEON_KERNELS_H
#define NETWORK_NEON_KERNELS_H

#include <arm_neon.h>

/* Four sums as codes before the clip to 0 to 255, as float32 rounds them. */
static inline int32x4_t codes_of(const layer *l, int32x4_t sums, const float *factors) {
  const int32x4_t codes = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(factors)));
  return vaddq_s32(codes, vdupq_n_s32(l->output_zero_point));
}

/* The codes of the sums of 16 channels. */
static inline uint8x16_t codes_of_block(const layer *l, int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d,
                                        const float *factors) {
  const uint16x8_t low = vcombine_u16(vqmovun_s32(codes_of(l, a, factors)), vqmovun_s32(codes_of(l, b, factors + 4)));
  const uint16x8_t high =
      vcombine_u16(vqmovun_s32(codes_of(l, c, factors + 8)), vqmovun_s32(codes_of(l, d, factors + 12)));
  return vminq_u8(vcombine_u8(vqmovn_u16(low), vqmovn_u16(high)), vdupq_n_u8(l->largest));
}

static inline void store_codes(uint8_t *out, uint8x16_t codes, int32_t count) {
  uint8_t bytes[16];
  if (count >= 16) {
    vst1q_u8(out, codes);
  } else {
    vst1q_u8(bytes, codes);
    memcpy(out, bytes, (size_t)count);
  }
}

/* The codes of the window of a pixel, signed, in steps of four; rows of padding are the code 0. */
static inline void copy_column(const layer *l, const window *w, int32_t length, int32_t x, int8_t *column) {
  const uint8x16_t sign = vdupq_n_u8(0x80);
  int32_t k, i;
  for (k = 0; k < l->kernel_rows; k++) {
    const int32_t row = k - w->first;
    if (row < 0 || row >= w->count) {
      memset(column, 0x80, (size_t)length);
    } else {
      const uint8_t *a = w->rows[row] + x * l->stride_columns * l->channels_in;
      for (i = 0; i + 16 <= length; i += 16) vst1q_s8(column + i, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a + i), sign)));
      for (; i < length; i += 4) {
        uint32_t four;
        memcpy(&four, a + i, 4);
        four ^= 0x80808080u;
        memcpy(column + i, &four, 4);
      }
    }
    column += length;
  }
}

#define EACH_PIXEL(M) M(0) M(1) M(2) M(3)
#define SUMS(P) int32x4_t a##P = bias0, b##P = bias1, c##P = bias2, d##P = bias3;
#define LOAD_16(P) const int8x16_t codes##P = vld1q_s8(columns + P * size + i);
#define LOAD_4(P) \
  const int8x16_t codes##P = vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t *)(const void *)(columns + P * size + i)));
#define DOT(P, LANE)                                \
  a##P = vdotq_laneq_s32(a##P, w0, codes##P, LANE); \
  b##P = vdotq_laneq_s32(b##P, w1, codes##P, LANE); \
  c##P = vdotq_laneq_s32(c##P, w2, codes##P, LANE); \
  d##P = vdotq_laneq_s32(d##P, w3, codes##P, LANE);
#define STEP(LANE)                                                                        \
  {                                                                                       \
    const int8x16_t w0 = vld1q_s8(weights), w1 = vld1q_s8(weights + 16);                  \
    const int8x16_t w2 = vld1q_s8(weights + 32), w3 = vld1q_s8(weights + 48);             \
    DOT(0, LANE) DOT(1, LANE) DOT(2, LANE) DOT(3, LANE)                                   \
    weights += 64;                                                                        \
  }
#define STORE(P)                                                                                                  \
  if (P < pixels)                                                                                                 \
    store_codes(out + (x + P) * outputs + o, codes_of_block(l, a##P, b##P, c##P, d##P, l->factors + o), outputs - o);

/* Tiles of 4 pixels and 16 channels, from weights packed [channels / 16][row, 4 codes][16][4]. */
static inline void neon_conv_row(const layer *l, const window *w, uint8_t *out) {
  int8_t columns[4 * COLUMN_BYTES] ALIGNED;
  const int32_t length = (l->kernel_columns * l->channels_in + 3) / 4 * 4, size = l->kernel_rows * length;
  const int32_t outputs = l->channels_out;
  int32_t x, o, i;
  for (x = 0; x < l->columns; x += 4) {
    const int32_t pixels = l->columns - x < 4 ? l->columns - x : 4;
    const int8_t *weights = l->weights;
    for (i = 0; i < 4; i++) copy_column(l, w, length, i < pixels ? x + i : x, columns + i * size);
    for (o = 0; o < outputs; o += 16) {
      const int32x4_t bias0 = vld1q_s32(l->bias + o), bias1 = vld1q_s32(l->bias + o + 4);
      const int32x4_t bias2 = vld1q_s32(l->bias + o + 8), bias3 = vld1q_s32(l->bias + o + 12);
      EACH_PIXEL(SUMS)
      for (i = 0; i + 16 <= size; i += 16) {
        EACH_PIXEL(LOAD_16)
        STEP(0) STEP(1) STEP(2) STEP(3)
      }
      for (; i < size; i += 4) {
        EACH_PIXEL(LOAD_4)
        STEP(0)
      }
      EACH_PIXEL(STORE)
    }
  }
}
#define CONV_ROW neon_conv_row

/* Eight channels at a time, from weights packed [row][column][channel]. */
static inline void neon_depthwise_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t channels = l->channels_in, taps = l->kernel_columns, step = l->stride_columns * channels;
  int32_t x, c, k, t;
  for (x = 0; x < l->columns; x++, out += channels) {
    for (c = 0; c + 8 <= channels; c += 8) {
      const int8_t *weights = l->weights + w->first * taps * channels + c;
      int32x4_t low = vld1q_s32(l->bias + c), high = vld1q_s32(l->bias + c + 4);
      for (k = 0; k < w->count; k++) {
        const uint8_t *a = w->rows[k] + x * step + c;
        for (t = 0; t < taps; t++) {
          const int16x8_t codes = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(a))), factors = vmovl_s8(vld1_s8(weights));
          low = vmlal_s16(low, vget_low_s16(codes), vget_low_s16(factors));
          high = vmlal_s16(high, vget_high_s16(codes), vget_high_s16(factors));
          a += channels;
          weights += channels;
        }
      }
      low = codes_of(l, low, l->factors + c);
      high = codes_of(l, high, l->factors + c + 4);
      vst1_u8(out + c, vmin_u8(vqmovn_u16(vcombine_u16(vqmovun_s32(low), vqmovun_s32(high))), vdup_n_u8(l->largest)));
    }
    for (; c < channels; c++) {
      const int8_t *weights = l->weights + w->first * taps * channels + c;
      int32_t sum = l->bias[c];
      for (k = 0; k < w->count; k++) {
        for (t = 0; t < taps; t++) {
          sum += w->rows[k][x * step + t * channels + c] * *weights;
          weights += channels;
        }
      }
      out[c] = requantize(l, c, sum);
    }
  }
}
#define DEPTHWISE_ROW neon_depthwise_row

/* The sum of two branches, with their zero points and a clip. */
static inline void neon_add_row(const layer *l, const uint8_t *one, const uint8_t *shortcut, uint8_t *out) {
#if NETWORK_HAS_FRACTIONS
  const int32_t share = l->share;
#else
  const int32_t share = WHOLE_SHARE;
#endif
  const int32_t codes = l->columns * l->channels_out, zero_point = l->other_zero_point, whole = share == WHOLE_SHARE;
  const int32_t half = WHOLE_SHARE / 2 - zero_point * share;
  const int32_t offset = l->output_zero_point - l->zero_point - (whole ? zero_point : 0);
  const int16x8_t offsets = vdupq_n_s16((int16_t)offset);
  const uint8x8_t zero_points = vdup_n_u8(whole ? 0 : l->other_zero_point);
  int32_t i;
  for (i = 0; i + 8 <= codes; i += 8) {
    const int16x8_t other = vreinterpretq_s16_u16(vsubl_u8(vld1_u8(shortcut + i), zero_points));
    const int16x8_t added = whole ? other : vqrdmulhq_n_s16(other, (int16_t)share);
    const int16x8_t sum = vreinterpretq_s16_u16(vaddw_u8(vreinterpretq_u16_s16(added), vld1_u8(one + i)));
    vst1_u8(out + i, vmin_u8(vqmovun_s16(vaddq_s16(sum, offsets)), vdup_n_u8(l->largest)));
  }
  for (; i < codes; i++) {
    const int32_t sum = one[i] + offset + (whole ? shortcut[i] : (shortcut[i] * share + half) >> 15);
    out[i] = (uint8_t)(sum < 0 ? 0 : sum < l->largest ? sum : l->largest);
  }
}
#define ADD_ROW neon_add_row

#if NETWORK_HAS_SHORT_SUMS
/* The sums of a global pool, with one more row. */
static inline void neon_add_to_sums(const uint8_t *codes, int32_t pixels, int32_t channels, pool_sum *sums) {
  int32_t c, x;
  for (c = 0; c + 8 <= channels; c += 8) {
    uint16x8_t sum = vld1q_u16(sums + c);
    for (x = 0; x < pixels; x++) sum = vaddw_u8(sum, vld1_u8(codes + x * channels + c));
    vst1q_u16(sums + c, sum);
  }
  for (; c < channels; c++)
    for (x = 0; x < pixels; x++) sums[c] = (pool_sum)(sums[c] + codes[x * channels + c]);
}
#define ADD_TO_SUMS neon_add_to_sums
#endif

#endif
