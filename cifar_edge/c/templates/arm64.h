/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels for 64-bit Arm share, with the dot product and without. */
#ifndef NETWORK_ARM64_H
#define NETWORK_ARM64_H

#include <arm_neon.h>

/* Four sums as codes before the clip to 0 to 255, as float32 rounds them. */
static inline int32x4_t codes_of(const layer *l, int32x4_t sums, const float *factors) {
  const int32x4_t codes = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums), vld1q_f32(factors)));
  return vaddq_s32(codes, vdupq_n_s32(l->output_zero_point));
}

/* Eight channels at a time, from weights packed [row][column][channel]. */
static inline void arm64_depthwise_row(const layer *l, const window *w, uint8_t *out) {
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
#define DEPTHWISE_ROW arm64_depthwise_row

/* The sum of two branches, with their zero points and a clip. */
static inline void arm64_add_row(const layer *l, const uint8_t *one, const uint8_t *other, uint8_t *out) {
  const int32_t codes = l->columns * l->channels_out;
  const int32_t offset = l->output_zero_point - l->zero_point - l->other_zero_point;
  const int16x8_t offsets = vdupq_n_s16((int16_t)offset);
  int32_t i;
  for (i = 0; i + 8 <= codes; i += 8) {
    const int16x8_t sum = vreinterpretq_s16_u16(vaddl_u8(vld1_u8(one + i), vld1_u8(other + i)));
    vst1_u8(out + i, vmin_u8(vqmovun_s16(vaddq_s16(sum, offsets)), vdup_n_u8(l->largest)));
  }
  for (; i < codes; i++) {
    const int32_t sum = one[i] + other[i] + offset;
    out[i] = (uint8_t)(sum < 0 ? 0 : sum < l->largest ? sum : l->largest);
  }
}
#define ADD_ROW arm64_add_row

/* The sums of a global pool, with one more row. */
static inline void arm64_add_to_sums(const uint8_t *codes, int32_t pixels, int32_t channels, int32_t zero_point,
                                    int32_t *sums) {
  int32_t c, x;
  for (c = 0; c + 8 <= channels; c += 8) {
    int32x4_t low = vsubq_s32(vld1q_s32(sums + c), vdupq_n_s32(pixels * zero_point));
    int32x4_t high = vsubq_s32(vld1q_s32(sums + c + 4), vdupq_n_s32(pixels * zero_point));
    for (x = 0; x < pixels; x++) {
      const int16x8_t eight = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(codes + x * channels + c)));
      low = vaddw_s16(low, vget_low_s16(eight));
      high = vaddw_s16(high, vget_high_s16(eight));
    }
    vst1q_s32(sums + c, low);
    vst1q_s32(sums + c + 4, high);
  }
  for (; c < channels; c++)
    for (x = 0; x < pixels; x++) sums[c] += codes[x * channels + c] - zero_point;
}
#define ADD_TO_SUMS arm64_add_to_sums

#endif
