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

/* A sum as a code, as requantize does it, where the largest code is 255: the upper word of the product with a multiplier,
 * rounded half up, and the zero point. */
static inline uint8_t code_of(int32_t sum, int32_t multiplier, int32_t zero_point) {
  __asm__("smmlar %0, %0, %1, %2\n\tusat %0, #8, %0" : "+r"(sum) : "r"(multiplier), "r"(zero_point));
  return (uint8_t)sum;
}

/* The windows of two pixels, widened: for each four codes of the one and of the other two words each. */
static inline void widen_columns(const uint8_t *a, const uint8_t *b, int32_t length, uint32_t *columns) {
  int32_t i = 0;
  do {
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
    i += 4;
  } while (i < length);
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
KERNEL void channels_of_two_pixels(const layer *l, const uint32_t *columns, int32_t size, const int8_t *weights,
                                   int32_t skipped, uint8_t *first, uint8_t *second) {
  const uint32_t *const end = columns + size;
#if NETWORK_HAS_CONV_REST
  const uint32_t *const unrolled = columns + (size & ~15);
#endif
  const int32_t outputs = l->channels_out, zero_point = l->output_zero_point, plain = is_plain(l);
  const int32_t *multipliers = l->multipliers;
  const bias_type *bias = l->bias;
  int32_t o;
  for (o = 0; o < outputs; o += 2) {
    const uint32_t *c = columns;
    int32_t s00 = bias[0], s10 = s00, s01 = bias[1], s11 = s01, m0, m1;
    uint32_t xa, xb, ya, yb, w0, w1, u;
#if NETWORK_HAS_CONV_REST
    while (c != unrolled) {
      FOUR_CODES FOUR_CODES FOUR_CODES FOUR_CODES
    }
    while (c != end) {
      FOUR_CODES
    }
#else
    do {
      FOUR_CODES FOUR_CODES FOUR_CODES FOUR_CODES
    } while (c != end);
#endif
    m0 = multipliers[0];
    m1 = multipliers[1];
    weights += skipped;
    first[o] = plain ? code_of(s00, m0, zero_point) : requantize(l, o, s00);
    second[o] = plain ? code_of(s10, m0, zero_point) : requantize(l, o, s10);
    if (has_next(o, outputs)) {
      first[o + 1] = plain ? code_of(s01, m1, zero_point) : requantize(l, o + 1, s01);
      second[o + 1] = plain ? code_of(s11, m1, zero_point) : requantize(l, o + 1, s11);
    }
    bias += 2;
    multipliers += 2;
  }
}

KERNEL void dsp_conv_row(const layer *l, const window *w, uint8_t *out) {
  uint32_t columns[COLUMN_BYTES];
  const int32_t length = (l->kernel_columns * l->channels_in + 3) / 4 * 4, step = l->stride_columns * l->channels_in;
  const int32_t outputs = l->channels_out, skipped = 2 * (l->kernel_rows - w->count) * length;
  const int8_t *const weights = l->weights + 2 * w->first * length;
  int32_t x, k;
  for (x = 0; x < l->columns; x += 2) {
    const int32_t next = has_next(x, l->columns);
    for (k = 0; k < w->count; k++) {
      const uint8_t *a = w->rows[k] + x * step;
      widen_columns(a, a + next * step, length, columns + k * length);
    }
    channels_of_two_pixels(l, columns, w->count * length, weights, skipped, out + x * outputs,
                           out + (x + next) * outputs);
  }
}
#define CONV_ROW dsp_conv_row

/* Four channels of a pixel of the window. */
#define FOUR_CHANNELS                                                                                        \
  __asm__ volatile(                                                                                          \
      "ldr %[even], [%[a]]\n\t"                                                                              \
      "ldr %[factors], [%[w]]\n\t"                                                                           \
      "add %[a], %[channels]\n\t"                                                                            \
      "add %[w], %[channels]\n\t"                                                                            \
      "uxtb16 %[odd], %[even], ror #8\n\t"                                                                   \
      "uxtb16 %[even], %[even]\n\t"                                                                          \
      "sxtb16 %[u], %[factors]\n\t"                                                                          \
      "sxtb16 %[factors], %[factors], ror #8\n\t"                                                            \
      "smlabb %[s0], %[even], %[u], %[s0]\n\t"                                                               \
      "smlatt %[s2], %[even], %[u], %[s2]\n\t"                                                               \
      "smlabb %[s1], %[odd], %[factors], %[s1]\n\t"                                                          \
      "smlatt %[s3], %[odd], %[factors], %[s3]\n\t"                                                          \
      : [a] "+r"(a), [w] "+r"(weights), [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3),          \
        [even] "=&r"(even), [odd] "=&r"(odd), [factors] "=&r"(factors), [u] "=&r"(u)                         \
      : [channels] "r"(channels)                                                                             \
      : "memory");

/* Four channels at a time, from weights packed [row][column][channel], and then those that are left. */
KERNEL void dsp_depthwise_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t channels = l->channels_in, taps = DEPTHWISE_TAPS(l), step = l->stride_columns * channels;
  const int32_t zero_point = l->output_zero_point, plain = is_plain(l);
  const int32_t *multipliers = l->multipliers;
  const bias_type *bias = l->bias;
  const int8_t *const kernel = l->weights + w->first * taps * channels;
  const uint8_t *const *const end = w->rows + w->count;
  int32_t x, c, t;
  for (x = 0; x < l->columns; x++, out += channels) {
    for (c = 0; c + 4 <= channels; c += 4) {
      const int8_t *weights = kernel + c;
      int32_t s0 = bias[c], s1 = bias[c + 1], s2 = bias[c + 2], s3 = bias[c + 3], m0, m1, m2, m3;
      const uint8_t *const *row = w->rows;
      for (; row != end; row++) {
        const uint8_t *a = *row + x * step + c;
        uint32_t even, odd, factors, u;
        for (t = taps; t >= 3; t -= 3) {
          FOUR_CHANNELS FOUR_CHANNELS FOUR_CHANNELS
        }
        for (; t > 0; t--) FOUR_CHANNELS
      }
      m0 = multipliers[c];
      m1 = multipliers[c + 1];
      m2 = multipliers[c + 2];
      m3 = multipliers[c + 3];
      out[c] = plain ? code_of(s0, m0, zero_point) : requantize(l, c, s0);
      out[c + 1] = plain ? code_of(s1, m1, zero_point) : requantize(l, c + 1, s1);
      out[c + 2] = plain ? code_of(s2, m2, zero_point) : requantize(l, c + 2, s2);
      out[c + 3] = plain ? code_of(s3, m3, zero_point) : requantize(l, c + 3, s3);
    }
#if NETWORK_HAS_DEPTHWISE_REST
    for (; c < channels; c++) out[c] = depthwise_channel(l, w, x, c);
#endif
  }
}
#define DEPTHWISE_ROW dsp_depthwise_row

#endif
