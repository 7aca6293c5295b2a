/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels for AVX2 and for AVX-512 VNNI share. */
#ifndef NETWORK_X86_H
#define NETWORK_X86_H

/* The sum of two branches, with their zero points and a clip. */
static inline void x86_add_row(const layer *l, const uint8_t *one, const uint8_t *shortcut, uint8_t *out) {
#if NETWORK_HAS_FRACTIONS
  const int32_t share = l->share;
#else
  const int32_t share = WHOLE_SHARE;
#endif
  const int32_t codes = l->columns * l->channels_out, zero_point = l->other_zero_point, whole = share == WHOLE_SHARE;
  const int32_t half = WHOLE_SHARE / 2 - zero_point * share;
  const int32_t offset = l->output_zero_point - l->zero_point - (whole ? zero_point : 0);
  const __m256i offsets = _mm256_set1_epi16((int16_t)offset), zero_points = _mm256_set1_epi16((int16_t)zero_point);
  const __m256i shares = _mm256_set1_epi16((int16_t)share);
  const __m128i largest = _mm_set1_epi8((char)l->largest);
  int32_t i;
  for (i = 0; i + 16 <= codes; i += 16) {
    const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(one + i)));
    const __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(shortcut + i)));
    const __m256i other = whole ? b : _mm256_mulhrs_epi16(_mm256_sub_epi16(b, zero_points), shares);
    const __m256i sum = _mm256_add_epi16(_mm256_add_epi16(a, other), offsets);
    const __m256i code = _mm256_permute4x64_epi64(_mm256_packus_epi16(sum, sum), 0xd8);
    _mm_storeu_si128((__m128i *)(void *)(out + i), _mm_min_epu8(_mm256_castsi256_si128(code), largest));
  }
  for (; i < codes; i++) {
    const int32_t sum = one[i] + offset + (whole ? shortcut[i] : (shortcut[i] * share + half) >> 15);
    out[i] = (uint8_t)(sum < 0 ? 0 : sum < l->largest ? sum : l->largest);
  }
}
#define ADD_ROW x86_add_row

#if NETWORK_HAS_SHORT_SUMS
/* The sums of a global pool, with one more row. */
static inline void x86_add_to_sums(const uint8_t *codes, int32_t pixels, int32_t channels, pool_sum *sums) {
  int32_t c, x;
  for (c = 0; c + 16 <= channels; c += 16) {
    __m256i sum = _mm256_loadu_si256((const __m256i *)(const void *)(sums + c));
    for (x = 0; x < pixels; x++) {
      const __m128i codes16 = _mm_loadu_si128((const __m128i *)(const void *)(codes + x * channels + c));
      sum = _mm256_add_epi16(sum, _mm256_cvtepu8_epi16(codes16));
    }
    _mm256_storeu_si256((__m256i *)(void *)(sums + c), sum);
  }
  for (; c < channels; c++)
    for (x = 0; x < pixels; x++) sums[c] = (pool_sum)(sums[c] + codes[x * channels + c]);
}
#define ADD_TO_SUMS x86_add_to_sums
#endif

/* Depthwise convolutions: four rows of 32 channels are interleaved, so that the four codes of
 * a channel stand side by side, as the products of vpdpbusd and vpmaddubsw want them. The channels of the four vectors
 * are 0-3 and 16-19, 4-7 and 20-23, 8-11 and 24-27, 12-15 and 28-31; weights, biases and factors are packed so. */
enum { DEPTHWISE_COLUMNS = 36, DEPTHWISE_QUADS = 2 }; /* of interleaved codes at a time; up to 8 rows */

typedef union {
  __m256i codes[4];
#if defined(__AVX512F__)
  __m512i pairs[2];
#endif
} column;

static inline __m256i load_codes(const uint8_t *codes) {
  return codes ? _mm256_loadu_si256((const __m256i *)(const void *)codes) : _mm256_setzero_si256();
}

static inline void interleave(column *to, const uint8_t *const *rows, int32_t at) {
  const __m256i r0 = load_codes(rows[0] ? rows[0] + at : 0), r1 = load_codes(rows[1] ? rows[1] + at : 0);
  const __m256i r2 = load_codes(rows[2] ? rows[2] + at : 0), r3 = load_codes(rows[3] ? rows[3] + at : 0);
  const __m256i low01 = _mm256_unpacklo_epi8(r0, r1), high01 = _mm256_unpackhi_epi8(r0, r1);
  const __m256i low23 = _mm256_unpacklo_epi8(r2, r3), high23 = _mm256_unpackhi_epi8(r2, r3);
  const __m256i a = _mm256_unpacklo_epi16(low01, low23), b = _mm256_unpackhi_epi16(low01, low23);
  const __m256i c = _mm256_unpacklo_epi16(high01, high23), d = _mm256_unpackhi_epi16(high01, high23);
#if defined(__AVX512F__) /* in the width that it is read in */
  to->pairs[0] = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
  to->pairs[1] = _mm512_inserti64x4(_mm512_castsi256_si512(c), d, 1);
#else
  to->codes[0] = a;
  to->codes[1] = b;
  to->codes[2] = c;
  to->codes[3] = d;
#endif
}

/* The pixels from x on whose columns are interleaved together. */
static inline int32_t depthwise_part(const layer *l, int32_t x) {
  const int32_t most = (DEPTHWISE_COLUMNS - l->kernel_columns) / l->stride_columns + 1;
  return l->columns - x < most ? l->columns - x : most;
}

/* The columns of the channels from c on that so many pixels from x on read. */
static inline void interleave_columns(const layer *l, const window *w, int32_t x, int32_t c, int32_t pixels,
                                      column (*columns)[DEPTHWISE_COLUMNS]) {
  const int32_t channels = l->channels_in, count = (pixels - 1) * l->stride_columns + l->kernel_columns;
  const uint8_t *rows[4];
  int32_t q, i;
  for (q = 0; q < (l->kernel_rows + 3) / 4; q++) {
    for (i = 0; i < 4; i++) {
      const int32_t row = 4 * q + i - w->first;
      rows[i] = row >= 0 && row < w->count ? w->rows[row] + x * l->stride_columns * channels + c : 0;
    }
    for (i = 0; i < count; i++) interleave(&columns[q][i], rows, i * channels);
  }
}

#endif
