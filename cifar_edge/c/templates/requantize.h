/* SPDX-License-Identifier: Apache-2.0 */
/* From sums to codes, in integers. */
#ifndef NETWORK_REQUANTIZE_H
#define NETWORK_REQUANTIZE_H

#if NETWORK_HAS_FLOAT32
/* value / 2^bits, rounded half to even. */
static inline uint64_t rounded_shift(uint64_t value, uint32_t bits) {
  if (bits == 0) return value;
  if (bits > 62) return 0;
  return (value + ((uint64_t)1 << (bits - 1u)) - 1u + ((value >> bits) & 1u)) >> bits;
}

/* value rounded to the 24 bits of a float32, half to even, as value * 2^bits; bits is increased. */
static inline uint64_t to_24_bits(uint64_t value, int32_t *bits) {
  uint32_t excess = 0;
  while (value >> excess >= (uint64_t)1 << 24) excess++;
  *bits += (int32_t)excess;
  return rounded_shift(value, excess);
}

/* What float32 computes: the sum and its product with the factor are rounded to 24 bits, then the code, half to even. */
static inline uint8_t requantize_as_float32(const layer *l, int32_t channel, int32_t sum) {
  int32_t bits = -l->shifts[channel], code;
  uint64_t value = to_24_bits(sum < 0 ? (uint64_t) - (int64_t)sum : (uint64_t)sum, &bits);
  value = to_24_bits(value * (uint64_t)l->multipliers[channel], &bits);
  value = bits < 0 ? rounded_shift(value, (uint32_t)-bits) : value << (bits < 8 ? bits : 8);
  code = value < 256u ? (int32_t)value : 256;
  code = (sum < 0 ? -code : code) + l->output_zero_point;
  return (uint8_t)(code < 0 ? 0 : code < l->largest ? code : l->largest);
}
#endif

#if NETWORK_HAS_SHIFTS
/* A sum as a code: times a fixed-point factor, rounded half up, which for these factors gives what float32 gives. */
KERNEL uint8_t requantize_by_shift(const layer *l, int32_t channel, int32_t sum) {
  const uint32_t shift = l->shifts[channel];
  int64_t code = (int64_t)sum * l->multipliers[channel];
#if NETWORK_HAS_FLOAT32
  if (l->float32) return requantize_as_float32(l, channel, sum);
#endif
  code += (int64_t)((uint64_t)1 << (shift - 1u)) + (int64_t)((uint64_t)l->output_zero_point << shift);
  if (code < 0) return 0;
  code = (int64_t)((uint64_t)code >> shift);
  return (uint8_t)(code < l->largest ? code : l->largest);
}
#endif

/* The same; where a layer has no shifts they are 32, so that the upper word is the code. */
static inline uint8_t requantize(const layer *l, int32_t channel, int32_t sum) {
  int64_t code = (int64_t)sum * l->multipliers[channel];
  uint32_t upper;
#if NETWORK_HAS_SHIFTS
  if (l->shifts) return requantize_by_shift(l, channel, sum);
#endif
  code += ((int64_t)l->output_zero_point << 32) + 0x80000000;
  if (code < 0) return 0;
  upper = (uint32_t)((uint64_t)code >> 32);
  return (uint8_t)(upper < l->largest ? upper : l->largest);
}

/* 1 if there is one more pixel or channel of a convolution behind an even one, else 0. */
static inline int32_t has_next(int32_t even, int32_t count) { return !NETWORK_HAS_ODD || even + 1 < count ? 1 : 0; }

/* Whether codes go up to 255 and all shifts are 32. */
static inline int is_plain(const layer *l) {
#if NETWORK_HAS_SHIFTS
  if (l->shifts) return 0;
#endif
#if NETWORK_HAS_CLIPS
  return l->largest == 255;
#else
  (void)l;
  return 1;
#endif
}

#if NETWORK_HAS_DEPTHWISE_REST
/* One channel of a pixel of a depthwise convolution. */
KERNEL uint8_t depthwise_channel(const layer *l, const window *w, int32_t x, int32_t channel) {
  const int32_t channels = l->channels_in, taps = DEPTHWISE_TAPS(l);
  const int8_t *weights = l->weights + w->first * taps * channels + channel;
  int32_t sum = l->bias[channel], k, t;
  for (k = 0; k < w->count; k++) {
    const uint8_t *a = w->rows[k] + x * l->stride_columns * channels + channel;
    for (t = taps; t > 0; t--) {
      sum += *a * *weights;
      a += channels;
      weights += channels;
    }
  }
  return requantize(l, channel, sum);
}
#endif

#endif
