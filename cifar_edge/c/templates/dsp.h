/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for Cortex-M4, M7, M33 and others with the DSP instructions: SMLAD adds two products of 16 bits to a sum. Bytes
 * 0 and 2, and 1 and 3, are widened together by UXTB16 and SXTB16. The assembly keeps compilers from spilling. */
#ifndef NETWORK_DSP_KERNELS_H
#define NETWORK_DSP_KERNELS_H

static inline uint32_t four_bytes(const void *bytes) {
  uint32_t four;
  memcpy(&four, bytes, 4);
  return four;
}

/* The code of a sum by the upper word of its product with a multiplier, rounded half up. */
static inline int32_t product(int32_t sum, int32_t multiplier) {
  __asm__("smmulr %0, %0, %1" : "+r"(sum) : "r"(multiplier));
  return sum;
}
static inline uint8_t code_of(int32_t sum, int32_t multiplier) {
  __asm__("smmulr %0, %0, %1\n\tusat %0, #8, %0" : "+r"(sum) : "r"(multiplier));
  return (uint8_t)sum;
}

static inline uint8_t dsp_requantize(const layer *l, int32_t channel, int32_t sum) {
  if (l->shifts) return requantize(l, channel, sum);
  sum = product(sum, l->multipliers[channel]) + l->output_zero_point;
  return (uint8_t)(sum < 0 ? 0 : sum < l->largest ? sum : l->largest);
}

/* The windows of two pixels, widened: for each four codes of the one and of the other two words each. */
static inline void widen_columns(const uint8_t *a, const uint8_t *b, int32_t length, uint32_t *columns) {
  int32_t i;
  for (i = 0; i < length; i += 4) {
    uint32_t one = four_bytes(a + i), other = four_bytes(b + i), high;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(high) : "r"(one));
    __asm__("uxtb16 %0, %0" : "+r"(one));
    columns[0] = one;
    columns[1] = high;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(high) : "r"(other));
    __asm__("uxtb16 %0, %0" : "+r"(other));
    columns[2] = other;
    columns[3] = high;
    columns += 4;
  }
}

/* Four codes of two pixels with the weights of two channels. */
#define FOUR_CODES                                                                                             \
  __asm__ volatile(                                                                                            \
      "ldrd %[xa], %[xb], [%[c]], #16\n\t"                                                                     \
      "ldrd %[w0], %[w1], [%[w]], #8\n\t"                                                                      \
      "ldrd %[ya], %[yb], [%[c], #-8]\n\t"                                                                     \
      "sxtb16 %[u], %[w0]\n\t"                                                                                 \
      "sxtb16 %[w0], %[w0], ror #8\n\t"                                                                        \
      "smlad %[s00], %[xa], %[u], %[s00]\n\t"                                                                  \
      "smlad %[s10], %[ya], %[u], %[s10]\n\t"                                                                  \
      "smlad %[s00], %[xb], %[w0], %[s00]\n\t"                                                                 \
      "smlad %[s10], %[yb], %[w0], %[s10]\n\t"                                                                 \
      "sxtb16 %[u], %[w1]\n\t"                                                                                 \
      "sxtb16 %[w1], %[w1], ror #8\n\t"                                                                        \
      "smlad %[s01], %[xa], %[u], %[s01]\n\t"                                                                  \
      "smlad %[s11], %[ya], %[u], %[s11]\n\t"                                                                  \
      "smlad %[s01], %[xb], %[w1], %[s01]\n\t"                                                                 \
      "smlad %[s11], %[yb], %[w1], %[s11]\n\t"                                                                 \
      : [c] "+r"(c), [w] "+r"(weights), [s00] "+r"(s00), [s10] "+r"(s10), [s01] "+r"(s01), [s11] "+r"(s11),    \
        [xa] "=&r"(xa), [xb] "=&r"(xb), [ya] "=&r"(ya), [yb] "=&r"(yb), [w0] "=&r"(w0), [w1] "=&r"(w1),        \
        [u] "=&r"(u)                                                                                           \
      :                                                                                                        \
      : "memory");

/* All channels of two pixels, two at a time, from weights packed [channels / 2][row, 4 codes][2][4]; skipped are those
 * of rows of padding. */
static __attribute__((noinline)) void channels_of_two_pixels(const layer *l, const uint32_t *columns, int32_t size,
                                                             const int8_t *weights, int32_t skipped, uint8_t *first,
                                                             uint8_t *second) {
  const uint32_t *const end = columns + size, *const unrolled = columns + (size & ~15);
  const int plain = !l->shifts && l->output_zero_point == 0 && l->largest == 255;
  const int32_t outputs = l->channels_out, *multipliers = l->multipliers, *bias = l->bias;
  int32_t o;
  for (o = 0; o < outputs; o += 2) {
    const int32_t other = o + 1 < outputs ? 1 : 0;
    const uint32_t *c = columns;
    int32_t s00 = bias[o], s10 = s00, s01 = bias[o + other], s11 = s01;
    uint32_t xa, xb, ya, yb, w0, w1, u;
    while (c != unrolled) {
      FOUR_CODES FOUR_CODES FOUR_CODES FOUR_CODES
    }
    while (c != end) {
      FOUR_CODES
    }
    weights += skipped;
    if (plain) { /* the other channel first: where there is none, the first one takes its place */
      first[o + other] = code_of(s01, multipliers[o + other]);
      second[o + other] = code_of(s11, multipliers[o + other]);
      first[o] = code_of(s00, multipliers[o]);
      second[o] = code_of(s10, multipliers[o]);
    } else {
      first[o + other] = dsp_requantize(l, o + other, s01);
      second[o + other] = dsp_requantize(l, o + other, s11);
      first[o] = dsp_requantize(l, o, s00);
      second[o] = dsp_requantize(l, o, s10);
    }
  }
}

static inline void dsp_conv_row(const layer *l, const window *w, uint8_t *out) {
  uint32_t columns[COLUMN_BYTES];
  const int32_t length = (l->kernel_columns * l->channels_in + 3) / 4 * 4, step = l->stride_columns * l->channels_in;
  const int32_t outputs = l->channels_out, skipped = 2 * (l->kernel_rows - w->count) * length;
  int32_t x, k;
  for (x = 0; x < l->columns; x += 2) {
    const int32_t next = x + 1 < l->columns ? 1 : 0;
    for (k = 0; k < w->count; k++) {
      const uint8_t *a = w->rows[k] + x * step;
      widen_columns(a, a + next * step, length, columns + k * length);
    }
    channels_of_two_pixels(l, columns, w->count * length, l->weights + 2 * w->first * length, skipped,
                           out + x * outputs, out + (x + next) * outputs);
  }
}
#define CONV_ROW dsp_conv_row

/* Four channels at a time, from weights packed [row][column][channel]. */
static inline void dsp_depthwise_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t channels = l->channels_in, taps = l->kernel_columns, step = l->stride_columns * channels;
  int32_t x, c, k, t;
  for (x = 0; x < l->columns; x++, out += channels) {
    for (c = 0; c + 4 <= channels; c += 4) {
      const int8_t *weights = l->weights + w->first * taps * channels + c;
      int32_t s0 = l->bias[c], s1 = l->bias[c + 1], s2 = l->bias[c + 2], s3 = l->bias[c + 3];
      for (k = 0; k < w->count; k++) {
        const uint8_t *a = w->rows[k] + x * step + c;
        for (t = 0; t < taps; t++) {
          uint32_t codes = four_bytes(a), factors = four_bytes(weights), odd, odd_factors;
          __asm__("uxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(codes));
          __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd_factors) : "r"(factors));
          __asm__("uxtb16 %0, %0" : "+r"(codes));
          __asm__("sxtb16 %0, %0" : "+r"(factors));
          __asm__("smlabb %0, %1, %2, %0" : "+r"(s0) : "r"(codes), "r"(factors));
          __asm__("smlabb %0, %1, %2, %0" : "+r"(s1) : "r"(odd), "r"(odd_factors));
          __asm__("smlatt %0, %1, %2, %0" : "+r"(s2) : "r"(codes), "r"(factors));
          __asm__("smlatt %0, %1, %2, %0" : "+r"(s3) : "r"(odd), "r"(odd_factors));
          a += channels;
          weights += channels;
        }
      }
      out[c] = dsp_requantize(l, c, s0);
      out[c + 1] = dsp_requantize(l, c + 1, s1);
      out[c + 2] = dsp_requantize(l, c + 2, s2);
      out[c + 3] = dsp_requantize(l, c + 3, s3);
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
      out[c] = dsp_requantize(l, c, sum);
    }
  }
}
#define DEPTHWISE_ROW dsp_depthwise_row

#endif
