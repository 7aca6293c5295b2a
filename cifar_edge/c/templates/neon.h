/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for 64-bit Arm with the dot product: sdot adds four products of signed bytes to each of four sums. Codes are made
 * signed when the four pixels of a tile are copied; the biases make up for the 128 that each code loses. */
#ifndef NETWORK_NEON_KERNELS_H
#define NETWORK_NEON_KERNELS_H

#include "network_arm64.h"

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

#endif
