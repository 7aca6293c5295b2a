/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels in plain C. Each makes one row of a layer. They are right everywhere, for every layer. */
#ifndef NETWORK_GENERIC_KERNELS_H
#define NETWORK_GENERIC_KERNELS_H

#ifndef CONV_ROW
/* Two pixels and two channels at a time; where only one is left it is computed twice. */
#define TWO_BY_TWO                                              \
  {                                                             \
    const int32_t c0 = *a0++, c1 = *a1++, f0 = *w0++;           \
    int32_t f1;                                                 \
    s00 += c0 * f0;                                             \
    s10 += c1 * f0;                                             \
    f1 = *w1++;                                                 \
    s01 += c0 * f1;                                             \
    s11 += c1 * f1;                                             \
  }
/* All channels of the pixel whose window begins at a byte of its rows, and of the next one. */
KERNEL void channels_of_two_pixels(const layer *l, const window *w, int32_t byte, int32_t next, uint8_t *first,
                                   uint8_t *second) {
  const int32_t length = l->kernel_columns * l->channels_in, size = l->kernel_rows * length;
  const int32_t outputs = l->channels_out;
  const bias_type *bias = l->bias;
  const int8_t *weights = l->weights + w->first * length;
  int32_t o, k;
  for (o = 0; o < outputs; o += 2) {
    const int32_t other = has_next(o, outputs);
    const int8_t *w0 = weights, *w1 = w0 + other * size;
    int32_t s00 = bias[o], s10 = s00, s01 = bias[o + other], s11 = s01;
    for (k = 0; k < w->count; k++) {
      const uint8_t *a0 = w->rows[k] + byte, *a1 = a0 + next;
#if defined(__thumb__) && !defined(__thumb2__) /* too few registers for both pixels */
      int32_t i;
      for (i = length - 1; i >= 0; i--) {
        s00 += a0[i] * w0[i];
        s01 += a0[i] * w1[i];
      }
      for (i = length - 1; i >= 0; i--) {
        s10 += a1[i] * w0[i];
        s11 += a1[i] * w1[i];
      }
      w0 += length;
      w1 += length;
#else
      const uint8_t *const end = a0 + length;
#if NETWORK_HAS_CONV_REST
      const uint8_t *const unrolled = a0 + (length & ~3);
      while (a0 != unrolled) {
        TWO_BY_TWO TWO_BY_TWO TWO_BY_TWO TWO_BY_TWO
      }
      while (a0 != end) TWO_BY_TWO
#else
      do {
        TWO_BY_TWO TWO_BY_TWO TWO_BY_TWO TWO_BY_TWO
      } while (a0 != end);
#endif
#endif
    }
    weights += 2 * size;
    first[o] = requantize(l, o, s00);
    first[o + other] = requantize(l, o + other, s01);
    second[o] = requantize(l, o, s10);
    second[o + other] = requantize(l, o + other, s11);
  }
}

KERNEL void conv_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t step = l->stride_columns * l->channels_in, outputs = l->channels_out;
  int32_t x;
  for (x = 0; x < l->columns; x += 2) {
    const int32_t next = has_next(x, l->columns);
    channels_of_two_pixels(l, w, x * step, next * step, out + x * outputs, out + (x + next) * outputs);
  }
}
#define CONV_ROW conv_row
#endif

#if NETWORK_HAS_GROUPED
static inline void grouped_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t outputs = l->channels_out, per_group = outputs / l->groups, inputs = l->channels_in / l->groups;
  const int32_t taps = l->kernel_columns, step = l->stride_columns * l->channels_in;
  int32_t x, o, k, t, i;
  for (x = 0; x < l->columns; x++) {
    for (o = 0; o < outputs; o++) {
      const int8_t *weights = l->weights + (o * l->kernel_rows + w->first) * taps * inputs;
      int32_t sum = l->bias[o];
      for (k = 0; k < w->count; k++) {
        const uint8_t *a = w->rows[k] + x * step + o / per_group * inputs;
        for (t = 0; t < taps; t++) {
          for (i = 0; i < inputs; i++) sum += a[i] * weights[i];
          a += l->channels_in;
          weights += inputs;
        }
      }
      out[x * outputs + o] = requantize(l, o, sum);
    }
  }
}
#endif

#ifndef DEPTHWISE_ROW
/* Four channels at a time, and then those that are left. */
KERNEL void depthwise_row(const layer *l, const window *w, uint8_t *out) {
  const int32_t channels = l->channels_in, taps = DEPTHWISE_TAPS(l), step = l->stride_columns * channels;
  const bias_type *bias = l->bias;
  int32_t x, c, k, t;
  for (x = 0; x < l->columns; x++, out += channels) {
    for (c = 0; c + 4 <= channels; c += 4) {
      const int8_t *weights = l->weights + w->first * taps * channels + c;
      int32_t s0 = bias[c], s1 = bias[c + 1], s2 = bias[c + 2], s3 = bias[c + 3];
      for (k = 0; k < w->count; k++) {
        const uint8_t *a = w->rows[k] + x * step + c;
        for (t = taps; t > 0; t--) {
          s0 += a[0] * weights[0];
          s1 += a[1] * weights[1];
          s2 += a[2] * weights[2];
          s3 += a[3] * weights[3];
          a += channels;
          weights += channels;
        }
      }
      out[c] = requantize(l, c, s0);
      out[c + 1] = requantize(l, c + 1, s1);
      out[c + 2] = requantize(l, c + 2, s2);
      out[c + 3] = requantize(l, c + 3, s3);
    }
#if NETWORK_HAS_DEPTHWISE_REST
    for (; c < channels; c++) out[c] = depthwise_channel(l, w, x, c);
#endif
  }
}
#define DEPTHWISE_ROW depthwise_row
#endif

/* The logits: the sums of the last layer. */
static inline void sums_row(const layer *l, const window *w, int32_t *sums) {
  const int32_t length = l->kernel_columns * l->channels_in;
  const int8_t *weights = l->weights;
  int32_t o, k;
  for (o = 0; o < l->channels_out; o++) {
    int32_t sum = l->bias[o];
    for (k = 0; k < w->count; k++) {
      const uint8_t *a = w->rows[k], *const end = a + length;
      do sum += *a++ * *weights++;
      while (a != end);
    }
    sums[o] = sum;
  }
}

/* The columns of the window at x that are not padding. */
static inline void find_columns(const layer *l, int32_t x, int32_t columns, int32_t *first, int32_t *end) {
  const int32_t left = x * l->stride_columns - l->left;
  *first = left < 0 ? -left : 0;
  *end = left + l->kernel_columns > columns ? columns - left : l->kernel_columns;
}

static inline void max_pool_row(const layer *l, const window *w, int32_t columns, uint8_t *out) {
  const int32_t channels = l->channels_in;
  int32_t x, c, k, t, first, end;
  for (x = 0; x < l->columns; x++) {
    find_columns(l, x, columns, &first, &end);
    for (c = 0; c < channels; c++) {
      uint8_t largest = 0;
      for (k = 0; k < w->count; k++) {
        for (t = first; t < end; t++) {
          const uint8_t code = w->rows[k][(x * l->stride_columns - l->left + t) * channels + c];
          if (code > largest) largest = code;
        }
      }
      *out++ = largest;
    }
  }
}

static inline void average_pool_row(const layer *l, const window *w, int32_t columns, uint8_t *out) {
  const int32_t channels = l->channels_in;
  int32_t x, c, k, t, first, end;
  for (x = 0; x < l->columns; x++) {
    find_columns(l, x, columns, &first, &end);
    for (c = 0; c < channels; c++) {
      int32_t sum = 0;
      for (k = 0; k < w->count; k++)
        for (t = first; t < end; t++)
          sum += w->rows[k][(x * l->stride_columns - l->left + t) * channels + c] - l->zero_point;
      *out++ = requantize(l, 0, sum);
    }
  }
}

#ifndef ADD_TO_SUMS
static inline void add_to_sums(const uint8_t *codes, int32_t pixels, int32_t channels, pool_sum *sums) {
  const uint8_t *const end = codes + pixels * channels;
  int32_t c;
  do {
    for (c = 0; c < channels; c++) sums[c] = (pool_sum)(sums[c] + *codes++);
  } while (codes != end);
}
#define ADD_TO_SUMS add_to_sums
#endif

#ifndef ADD_ROW
static inline void add_codes(const layer *l, const uint8_t *one, const uint8_t *shortcut, uint8_t *out, int32_t share) {
  const int32_t codes = l->columns * l->channels_out, zero_point = l->other_zero_point, whole = share == WHOLE_SHARE;
  const int32_t half = WHOLE_SHARE / 2 - zero_point * share;
  const int32_t offset = l->output_zero_point - l->zero_point - (whole ? zero_point : 0);
  int32_t i;
  for (i = 0; i < codes; i++) {
    const int32_t sum = one[i] + offset + (whole ? shortcut[i] : (shortcut[i] * share + half) >> 15);
    out[i] = (uint8_t)(sum < 0 ? 0 : sum < l->largest ? sum : l->largest);
  }
}

static inline void add_row(const layer *l, const uint8_t *one, const uint8_t *shortcut, uint8_t *out) {
#if NETWORK_HAS_FRACTIONS
  if (l->share != WHOLE_SHARE) {
    add_codes(l, one, shortcut, out, l->share);
    return;
  }
#endif
  add_codes(l, one, shortcut, out, WHOLE_SHARE);
}
#define ADD_ROW add_row
#endif

#endif
