/* SPDX-License-Identifier: Apache-2.0 */
/* The layers of the network, its weights, and where its rows lie. */
#ifndef NETWORK_LAYERS_H
#define NETWORK_LAYERS_H

@FEATURES@

enum { KIND_CONV, KIND_DEPTHWISE, KIND_GROUPED, KIND_MAX_POOL, KIND_AVERAGE_POOL, KIND_GLOBAL_POOL, KIND_ADD };
enum { LAYERS = @LAYERS@ }; /* without the last one, which gives the logits */
enum { KERNEL_ROWS = @KERNEL_ROWS@ };   /* of the highest window */
enum { CHANNELS = @CHANNELS@ };         /* the most that a layer makes, in steps of 4 */
enum { WHOLE_SHARE = 1 << 15 };         /* of a sum whose shortcut has the scale of the output */
enum { COLUMN_BYTES = @COLUMN_BYTES@ }; /* of the largest window of a convolution, in steps of 16 */

/* A bias: 16 bits where those of all layers fit, and where kernels do not load several at a time. */
#if defined(NETWORK_BIASES_OF_32_BITS)
typedef int32_t bias_type;
#else
typedef @BIAS@ bias_type;
#endif

typedef @PLACE@ place_type; /* number of a word of the memory */

typedef @POOL_SUM@ pool_sum; /* of codes as they are */

typedef struct {
  uint8_t kind, input, other, last_reader; /* numbers of the activations it reads, and the last layer that reads it */
  uint8_t kernel_rows, kernel_columns, stride_rows, stride_columns, top, left;
  uint8_t zero_point, other_zero_point, output_zero_point, largest; /* of inputs and output; its largest code */
  int16_t reach;                                                    /* last row of the input that its row 0 needs */
  uint16_t rows, columns; /* that it makes; of a global pool those that it reads */
  uint16_t channels_in, channels_out;
  place_type place; /* word of a row of padding; 0 if that is the code 0; of a global pool the number of its first sum */
#if NETWORK_HAS_GROUPED
  uint16_t groups;
#endif
#if NETWORK_HAS_FRACTIONS
  uint16_t share; /* of a sum: what a code of its shortcut is of a code of the output, times 2^15 */
#endif
#if NETWORK_HAS_FLOAT32
  uint8_t float32; /* whether its factors are those of float32: significands and exponents */
#endif
  const int8_t *weights;
  const bias_type *bias;
  const int32_t *multipliers;
#if NETWORK_HAS_SHIFTS
  const uint8_t *shifts; /* null: 32 */
#endif
#if defined(NETWORK_FLOAT_FACTORS)
  const float *factors;
  uint8_t wide; /* whether the sum of two products of codes and weights may exceed 16 bits */
#endif
} layer;

typedef struct {
  uint16_t first_place; /* of its rows in the table of places */
  uint16_t rows;
#if NETWORK_HAS_POOLS
  uint16_t columns;
#endif
  uint16_t words_before, padding, words_behind; /* padding before a row, and behind it: first word and their number */
  uint8_t code;                                 /* of padding */
} activation;

typedef struct {
  uint32_t offset, bytes;
  uint8_t code;
} fill;

/* The rows that a window reads: count of them, beginning with row first of the window. */
typedef struct {
  const uint8_t *rows[KERNEL_ROWS];
  int32_t first, count;
} window;

#if defined(__GNUC__)
#define ALIGNED __attribute__((aligned(16)))
#else
#define ALIGNED
#endif
#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline, unused))
#else
#define NOINLINE
#endif
/* A function that stays one of its own: inside another one its inner loop might not get all registers. */
#if defined(__GNUC__)
#define KERNEL static NOINLINE
#else
#define KERNEL static inline
#endif
#if defined(NETWORK_FLOAT_FACTORS)
#define FACTORS(name, wide) , name, wide
#else
#define FACTORS(name, wide)
#endif

@TABLES@
#endif
