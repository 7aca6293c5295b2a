/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for AVX2: vpmaddubsw adds two products of unsigned codes and signed weights in 16 bits. */
#ifndef NETWORK_AVX2_KERNELS_H
#define NETWORK_AVX2_KERNELS_H

#include <immintrin.h>

#include "network_x86.h"

/* sums + four products a lane. The pairs of weights of a layer that is not wide are so small that 16 bits hold two
 * products; the pairs of other layers are computed one by one. */
static inline __m256i dot(__m256i sums, __m256i codes, __m256i weights) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(sums, codes, weights);
#else
  return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, weights), _mm256_set1_epi16(1)));
#endif
}
static inline __m256i wide_dot(__m256i sums, __m256i codes, __m256i weights) {
  const __m256i even = _mm256_set1_epi16(0xff);
  return dot(dot(sums, codes, _mm256_and_si256(weights, even)), codes, _mm256_andnot_si256(even, weights));
}

/* Sums as codes, as float32 rounds them. */
static inline __m256i codes_of(const layer *l, __m256i sums, __m256 factors) {
  __m256i codes = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), factors));
  if (l->output_zero_point) codes = _mm256_add_epi32(codes, _mm256_set1_epi32(l->output_zero_point));
  return l->largest < 255 ? _mm256_min_epi32(codes, _mm256_set1_epi32(l->largest)) : codes;
}

/* The codes of 16 sums, of which count are stored. */
static inline void store_codes(const layer *l, uint8_t *out, __m256i low, __m256i high, const float *factors,
                               int32_t count) {
  const __m256i a = codes_of(l, low, _mm256_loadu_ps(factors)), b = codes_of(l, high, _mm256_loadu_ps(factors + 8));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
  const __m128i codes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  uint8_t bytes[16];
  if (count >= 16) {
    _mm_storeu_si128((__m128i *)(void *)out, codes);
  } else {
    _mm_storeu_si128((__m128i *)(void *)bytes, codes);
    memcpy(out, bytes, (size_t)count);
  }
}

/* Four codes in every lane. */
static inline __m256i four_codes(const uint8_t *codes) {
  int32_t four;
  memcpy(&four, codes, 4);
  return _mm256_set1_epi32(four);
}

static inline __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }

/* PIXELS pixels of a block of 16 channels, from weights packed [channels / 16][row, 4 codes][16][4]. */
#define DEFINE_TILE(NAME, EACH, DOT)                                                                             \
  static inline void NAME(const layer *l, const window *w, int32_t length, int32_t x, int32_t o, uint8_t *out) { \
    const int32_t step = l->stride_columns * l->channels_in, outputs = l->channels_out;                          \
    const int8_t *weights = l->weights + (o / 16 * l->kernel_rows + w->first) * length * 16;                     \
    const __m256i bias0 = load(l->bias + o), bias1 = load(l->bias + o + 8);                                      \
    int32_t k, i;                                                                                                \
    EACH(TILE_BEGIN, DOT)                                                                                        \
    for (k = 0; k < w->count; k++) {                                                                             \
      const uint8_t *a = w->rows[k] + x * step;                                                                  \
      for (i = 0; i < length; i += 4) {                                                                          \
        const __m256i w0 = load(weights), w1 = load(weights + 32);                                               \
        EACH(TILE_STEP, DOT)                                                                                     \
        weights += 64;                                                                                           \
        a += 4;                                                                                                  \
      }                                                                                                          \
    }                                                                                                            \
    out += x * outputs + o;                                                                                      \
    EACH(TILE_END, DOT)                                                                                          \
  }
#define TILE_BEGIN(P, DOT) __m256i s##P = bias0, t##P = bias1;
#define TILE_STEP(P, DOT)                           \
  {                                                 \
    const __m256i codes = four_codes(a + P * step); \
    s##P = DOT(s##P, codes, w0);                    \
    t##P = DOT(t##P, codes, w1);                    \
  }
#define TILE_END(P, DOT) store_codes(l, out + P * outputs, s##P, t##P, l->factors + o, outputs - o);
#define PIXELS_1(M, DOT) M(0, DOT)
#define PIXELS_4(M, DOT) M(0, DOT) M(1, DOT) M(2, DOT) M(3, DOT)

DEFINE_TILE(tile_1, PIXELS_1, dot)
DEFINE_TILE(tile_4, PIXELS_4, dot)
DEFINE_TILE(wide_tile_1, PIXELS_1, wide_dot)

/* Tiles of 4 pixels; the last one overlaps the one before where the row does not divide. */
static inline void avx2_conv_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t columns = l->columns, length = (l->kernel_columns * l->channels_in + 3) / 4 * 4;
  const int32_t pixels = columns >= 4 && !l->wide ? 4 : 1;
  int32_t o, x;
  for (o = 0; o < l->channels_out; o += 16) {
    for (x = 0; x < columns; x += pixels) {
      const int32_t at = x + pixels <= columns ? x : columns - pixels;
      if (l->wide) wide_tile_1(l, w, length, at, o, out);
      else if (pixels == 4) tile_4(l, w, length, at, o, out);
      else tile_1(l, w, length, at, o, out);
    }
  }
}
#define CONV_ROW avx2_conv_row

/* 32 channels of pixels side by side, of interleaved columns. */
static inline void depthwise_pixels(const layer *l, column (*columns)[DEPTHWISE_COLUMNS], int32_t quads, int32_t pixels,
                                    int32_t c, uint8_t *out) {
  const int32_t taps = l->kernel_columns, stride = l->stride_columns, channels = l->channels_in;
  const int8_t *weights = l->weights + c * quads * taps * 4;
  const float *factors = l->factors + c;
  uint8_t bytes[32];
  int32_t x, q, t;
  for (x = 0; x < pixels; x++, out += channels) {
    __m256i s0 = load(l->bias + c), s1 = load(l->bias + c + 8);
    __m256i s2 = load(l->bias + c + 16), s3 = load(l->bias + c + 24);
    const int8_t *at = weights;
    for (q = 0; q < quads; q++) {
      const column *codes = columns[q] + x * stride;
      if (l->wide) {
        for (t = 0; t < taps; t++, at += 128) {
          s0 = wide_dot(s0, codes[t].codes[0], load(at));
          s1 = wide_dot(s1, codes[t].codes[1], load(at + 32));
          s2 = wide_dot(s2, codes[t].codes[2], load(at + 64));
          s3 = wide_dot(s3, codes[t].codes[3], load(at + 96));
        }
      } else {
        for (t = 0; t < taps; t++, at += 128) {
          s0 = dot(s0, codes[t].codes[0], load(at));
          s1 = dot(s1, codes[t].codes[1], load(at + 32));
          s2 = dot(s2, codes[t].codes[2], load(at + 64));
          s3 = dot(s3, codes[t].codes[3], load(at + 96));
        }
      }
    }
    s0 = _mm256_packs_epi32(codes_of(l, s0, _mm256_loadu_ps(factors)), codes_of(l, s1, _mm256_loadu_ps(factors + 8)));
    s2 = _mm256_packs_epi32(codes_of(l, s2, _mm256_loadu_ps(factors + 16)),
                            codes_of(l, s3, _mm256_loadu_ps(factors + 24)));
    s0 = _mm256_packus_epi16(s0, s2);
    if (channels - c >= 32) {
      _mm256_storeu_si256((__m256i *)(void *)out, s0);
    } else {
      _mm256_storeu_si256((__m256i *)(void *)bytes, s0);
      memcpy(out, bytes, (size_t)(channels - c));
    }
  }
}

static inline void avx2_depthwise_row(const layer *l, const window *w, uint8_t *out) {
  column columns[DEPTHWISE_QUADS][DEPTHWISE_COLUMNS];
  const int32_t quads = (l->kernel_rows + 3) / 4;
  int32_t x, c, pixels;
  for (x = 0; x < l->columns; x += pixels) {
    pixels = depthwise_part(l, x);
    for (c = 0; c < l->channels_in; c += 32) {
      interleave_columns(l, w, x, c, pixels, columns);
      depthwise_pixels(l, columns, quads, pixels, c, out + x * l->channels_in + c);
    }
  }
}
#define DEPTHWISE_ROW avx2_depthwise_row

#endif
