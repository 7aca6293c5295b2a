/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for every 64-bit Arm, such as Cortex-A53 and A72: smull and smlal multiply signed bytes, and sadalp adds the pairs
 * of products to four sums. Codes are made signed when the four pixels of a tile are copied; the biases make up for the
 * 128 that each code loses. */
#ifndef NETWORK_ASIMD_KERNELS_H
#define NETWORK_ASIMD_KERNELS_H

#include "network_arm64.h"

/* The codes of the window of a pixel, signed; rows of padding are the code 0. */
static inline void copy_column(const layer *l, const window *w, int32_t x, int8_t *column) {
  const int32_t length = l->kernel_columns * l->channels_in;
  int32_t k, i;
  for (k = 0; k < l->kernel_rows; k++, column += length) {
    const int32_t row = k - w->first;
    if (row < 0 || row >= w->count) {
      memset(column, 0x80, (size_t)length);
    } else {
      const uint8_t *a = w->rows[row] + x * l->stride_columns * l->channels_in;
      for (i = 0; i < length; i += 16)
        vst1q_s8(column + i, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a + i), vdupq_n_u8(0x80))));
    }
  }
}

/* The codes of four channels, of which count are stored. */
static inline void store_codes(const layer *l, uint8_t *out, int32x4_t sums, const float *factors, int32_t count) {
  const uint16x4_t words = vqmovun_s32(codes_of(l, sums, factors));
  const uint8x8_t codes = vmin_u8(vqmovn_u16(vcombine_u16(words, words)), vdup_n_u8(l->largest));
  uint8_t bytes[8];
  vst1_u8(bytes, codes);
  if (count >= 4) memcpy(out, bytes, 4);
  else memcpy(out, bytes, (size_t)count);
}

#define EACH_PIXEL(M, DOT) M(0, DOT) M(1, DOT) M(2, DOT) M(3, DOT)
#define SUMS(P, DOT) int32x4_t a##P = vdupq_n_s32(0), b##P = a##P, c##P = a##P, d##P = a##P;
#define STEP(P, DOT)                                        \
  {                                                         \
    const int8x16_t codes = vld1q_s8(columns + P * size + i); \
    DOT(a##P, codes, w0) DOT(b##P, codes, w1)               \
    DOT(c##P, codes, w2) DOT(d##P, codes, w3)               \
  }
#define STORE(P, DOT)                                                                                   \
  if (P < pixels) {                                                                                     \
    const int32x4_t sums = vpaddq_s32(vpaddq_s32(a##P, b##P), vpaddq_s32(c##P, d##P));                  \
    store_codes(l, out + P * outputs + o, vaddq_s32(sums, vld1q_s32(l->bias + o)), l->factors + o, outputs - o); \
  }

/* 16 products. Two of them fit into 16 bits unless a layer is wide: then each is added alone. */
#define DOT_16(SUMS, CODES, WEIGHTS)                                                \
  SUMS = vpadalq_s16(SUMS, vmlal_high_s8(vmull_s8(vget_low_s8(CODES), vget_low_s8(WEIGHTS)), CODES, WEIGHTS));
#define WIDE_DOT_16(SUMS, CODES, WEIGHTS)                                            \
  SUMS = vpadalq_s16(SUMS, vmull_s8(vget_low_s8(CODES), vget_low_s8(WEIGHTS))); \
  SUMS = vpadalq_s16(SUMS, vmull_high_s8(CODES, WEIGHTS));

/* All channels of up to four pixels, four at a time, from weights packed [channels / 4][16 codes][4][16]. */
#define DEFINE_TILE(NAME, DOT)                                                                                  \
  static inline void NAME(const layer *l, const int8_t *columns, int32_t size, int32_t pixels, uint8_t *out) { \
    const int32_t outputs = l->channels_out;                                                                    \
    const int8_t *weights = l->weights;                                                                         \
    int32_t o, i;                                                                                               \
    for (o = 0; o < outputs; o += 4) {                                                                          \
      EACH_PIXEL(SUMS, DOT)                                                                                     \
      for (i = 0; i < size; i += 16) {                                                                          \
        const int8x16_t w0 = vld1q_s8(weights), w1 = vld1q_s8(weights + 16);                                    \
        const int8x16_t w2 = vld1q_s8(weights + 32), w3 = vld1q_s8(weights + 48);                               \
        EACH_PIXEL(STEP, DOT)                                                                                   \
        weights += 64;                                                                                          \
      }                                                                                                         \
      EACH_PIXEL(STORE, DOT)                                                                                    \
    }                                                                                                           \
  }
DEFINE_TILE(tile, DOT_16)
DEFINE_TILE(wide_tile, WIDE_DOT_16)

static inline void asimd_conv_row(const layer *l, const window *w, uint8_t *out) {
  int8_t columns[4 * COLUMN_BYTES + 16];
  const int32_t codes = l->kernel_rows * l->kernel_columns * l->channels_in, size = (codes + 15) / 16 * 16;
  int32_t x, i;
  memset(columns, 0, sizeof columns); /* behind each column too, where weights are 0 */
  for (x = 0; x < l->columns; x += 4) {
    const int32_t pixels = l->columns - x < 4 ? l->columns - x : 4;
    for (i = 0; i < pixels; i++) copy_column(l, w, x + i, columns + i * size);
    if (l->wide) wide_tile(l, columns, size, pixels, out + x * l->channels_out);
    else tile(l, columns, size, pixels, out + x * l->channels_out);
  }
}
#define CONV_ROW asimd_conv_row

#endif
