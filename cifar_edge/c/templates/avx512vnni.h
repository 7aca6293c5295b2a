/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for AVX-512 VNNI: vpdpbusd adds four products of unsigned codes and signed weights to each of 16 sums. */
#ifndef NETWORK_AVX512VNNI_KERNELS_H
#define NETWORK_AVX512VNNI_KERNELS_H

#if defined(__cplusplus) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" /* GCC 12 warns of its own intrinsics */
#endif
#include <immintrin.h>

#include "network_x86.h"

/* Sums as codes, as float32 rounds them. */
static inline __m512i codes_of(const layer *l, __m512i sums, __m512 factors) {
  __m512i codes = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), factors));
  if (l->output_zero_point) codes = _mm512_add_epi32(codes, _mm512_set1_epi32(l->output_zero_point));
  codes = _mm512_max_epi32(codes, _mm512_setzero_si512());
  return l->largest < 255 ? _mm512_min_epi32(codes, _mm512_set1_epi32(l->largest)) : codes;
}

/* Four codes in every lane. */
static inline __m512i four_codes(const uint8_t *codes) {
  int32_t four;
  memcpy(&four, codes, 4);
  return _mm512_set1_epi32(four);
}

/* sums + four products a lane. GCC copies all sums in each step where it is given the intrinsic. */
static inline __m512i dot(__m512i sums, __m512i codes, __m512i weights) {
#if defined(__GNUC__) && !defined(__clang__)
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
  return sums;
#else
  return _mm512_dpbusd_epi32(sums, codes, weights);
#endif
}

/* PIXELS pixels of one or two blocks of 16 channels, from weights packed [channels / 16][row, 4 codes][16][4]. */
#define DEFINE_TILE(NAME, EACH, BLOCKS)                                                                           \
  static inline void NAME(const layer *l, const window *w, int32_t length, int32_t x, int32_t o, uint8_t *out) {  \
    const int32_t step = l->stride_columns * l->channels_in, outputs = l->channels_out;                           \
    const int32_t block = l->kernel_rows * length * 16, second = 16 * (BLOCKS - 1), left = outputs - o - second;  \
    const int8_t *weights = l->weights + o / 16 * block + w->first * length * 16;                                 \
    const __m512i bias0 = _mm512_loadu_si512(l->bias + o), bias1 = _mm512_loadu_si512(l->bias + o + second);      \
    const __m512 factors0 = _mm512_loadu_ps(l->factors + o), factors1 = _mm512_loadu_ps(l->factors + o + second); \
    const __mmask16 last = (__mmask16)(left < 16 ? (1 << left) - 1 : 0xffff);                                     \
    int32_t k, i;                                                                                                 \
    EACH(TILE_BEGIN_##BLOCKS)                                                                                     \
    for (k = 0; k < w->count; k++) {                                                                              \
      const uint8_t *a = w->rows[k] + x * step;                                                                   \
      for (i = 0; i < length; i += 4) {                                                                           \
        TILE_WEIGHTS_##BLOCKS                                                                                     \
        EACH(TILE_STEP_##BLOCKS)                                                                                  \
        weights += 64;                                                                                            \
        a += 4;                                                                                                   \
      }                                                                                                           \
    }                                                                                                             \
    out += x * outputs + o;                                                                                       \
    EACH(TILE_END_##BLOCKS)                                                                                       \
    (void)bias1;                                                                                                  \
    (void)factors1;                                                                                               \
  }
#define TILE_BEGIN_1(P) __m512i s##P = bias0;
#define TILE_BEGIN_2(P) __m512i s##P = bias0, t##P = bias1;
#define TILE_WEIGHTS_1 const __m512i w0 = _mm512_loadu_si512(weights);
#define TILE_WEIGHTS_2 const __m512i w0 = _mm512_loadu_si512(weights), w1 = _mm512_loadu_si512(weights + block);
#define TILE_STEP_1(P) s##P = dot(s##P, four_codes(a + P * step), w0);
#define TILE_STEP_2(P)                              \
  {                                                 \
    const __m512i codes = four_codes(a + P * step); \
    s##P = dot(s##P, codes, w0);                    \
    t##P = dot(t##P, codes, w1);                    \
  }
#define TILE_END_1(P) _mm512_mask_cvtusepi32_storeu_epi8(out + P * outputs, last, codes_of(l, s##P, factors0));
#define TILE_END_2(P)                                                                                   \
  _mm512_mask_cvtusepi32_storeu_epi8(out + P * outputs, 0xffff, codes_of(l, s##P, factors0));           \
  _mm512_mask_cvtusepi32_storeu_epi8(out + P * outputs + 16, last, codes_of(l, t##P, factors1));
#define PIXELS_1(M) M(0)
#define PIXELS_4(M) M(0) M(1) M(2) M(3)
#define PIXELS_8(M) PIXELS_4(M) M(4) M(5) M(6) M(7)

DEFINE_TILE(tile_1x16, PIXELS_1, 1)
DEFINE_TILE(tile_1x32, PIXELS_1, 2)
DEFINE_TILE(tile_4x16, PIXELS_4, 1)
DEFINE_TILE(tile_4x32, PIXELS_4, 2)
DEFINE_TILE(tile_8x16, PIXELS_8, 1)
DEFINE_TILE(tile_8x32, PIXELS_8, 2)

/* Tiles of 8, 4 or 1 pixels; the last one overlaps the one before where the row does not divide. */
static inline void avx512_conv_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t columns = l->columns, length = (l->kernel_columns * l->channels_in + 3) / 4 * 4;
  const int32_t pixels = columns >= 8 ? 8 : columns >= 4 ? 4 : 1;
  int32_t o, x;
  for (o = 0; o < l->channels_out; o += 32) {
    const int two = o + 16 < l->channels_out;
    for (x = 0; x < columns; x += pixels) {
      const int32_t at = x + pixels <= columns ? x : columns - pixels;
      if (pixels == 8 && two) tile_8x32(l, w, length, at, o, out);
      else if (pixels == 8) tile_8x16(l, w, length, at, o, out);
      else if (pixels == 4 && two) tile_4x32(l, w, length, at, o, out);
      else if (pixels == 4) tile_4x16(l, w, length, at, o, out);
      else if (two) tile_1x32(l, w, length, at, o, out);
      else tile_1x16(l, w, length, at, o, out);
    }
  }
}
#define CONV_ROW avx512_conv_row

/* The codes of interleaved channels, in their order. */
static inline __m256i in_order(__m512i low, __m512i high) {
  const __m128i a = _mm512_cvtusepi32_epi8(low), b = _mm512_cvtusepi32_epi8(high);
  const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
  return _mm256_permutevar8x32_epi32(_mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1), order);
}

/* 32 channels of pixels side by side, of interleaved columns. */
static inline void depthwise_pixels(const layer *l, column (*columns)[DEPTHWISE_COLUMNS], int32_t quads, int32_t pixels,
                                    int32_t c, uint8_t *out) {
  const int32_t taps = l->kernel_columns, stride = l->stride_columns, channels = l->channels_in;
  const int8_t *weights = l->weights + c * quads * taps * 4;
  const __m512i bias0 = _mm512_loadu_si512(l->bias + c), bias1 = _mm512_loadu_si512(l->bias + c + 16);
  const __m512 factors0 = _mm512_loadu_ps(l->factors + c), factors1 = _mm512_loadu_ps(l->factors + c + 16);
  const __mmask32 stored = channels - c < 32 ? ((__mmask32)1 << (channels - c)) - 1u : 0xffffffffu;
  int32_t x, q, t;
  if (quads == 1 && taps == 3) { /* the usual window, with its weights in registers */
    const __m512i w0 = _mm512_loadu_si512(weights), w1 = _mm512_loadu_si512(weights + 64);
    const __m512i w2 = _mm512_loadu_si512(weights + 128), w3 = _mm512_loadu_si512(weights + 192);
    const __m512i w4 = _mm512_loadu_si512(weights + 256), w5 = _mm512_loadu_si512(weights + 320);
    for (x = 0; x < pixels; x++, out += channels) {
      const column *codes = columns[0] + x * stride;
      const __m512i s0 = dot(dot(dot(bias0, codes[0].pairs[0], w0), codes[1].pairs[0], w2), codes[2].pairs[0], w4);
      const __m512i s1 = dot(dot(dot(bias1, codes[0].pairs[1], w1), codes[1].pairs[1], w3), codes[2].pairs[1], w5);
      _mm256_mask_storeu_epi8(out, stored, in_order(codes_of(l, s0, factors0), codes_of(l, s1, factors1)));
    }
    return;
  }
  for (x = 0; x < pixels; x++, out += channels) {
    __m512i s0 = bias0, s1 = bias1;
    const int8_t *at = weights;
    for (q = 0; q < quads; q++) {
      const column *codes = columns[q] + x * stride;
      for (t = 0; t < taps; t++, at += 128) {
        s0 = dot(s0, codes[t].pairs[0], _mm512_loadu_si512(at));
        s1 = dot(s1, codes[t].pairs[1], _mm512_loadu_si512(at + 64));
      }
    }
    _mm256_mask_storeu_epi8(out, stored, in_order(codes_of(l, s0, factors0), codes_of(l, s1, factors1)));
  }
}

static inline void avx512_depthwise_row(const layer *l, const window *w, uint8_t *out) {
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
#define DEPTHWISE_ROW avx512_depthwise_row

#endif
