/* SPDX-License-Identifier: Apache-2.0 */
/* @DESCRIPTION@
 *
 * Pixels in, logits out, in integers: the very logits that the integer network of cifar-edge computes.
 * C99, no heap; README.md says how to build it.
 */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { NETWORK_SIZE = @SIZE@, NETWORK_CLASSES = @CLASSES@ };

/* What the network keeps of one image. It is yours: static, on the stack or the heap, one for each image at a time. */
typedef struct {
  uint32_t memory[@WORDS@];
@POOL_SUMS@  uint16_t done[@ACTIVATIONS@];
} network_state;

extern const char network_description[]; /* model, precision, digests, accuracy, version of cifar-edge */
extern const char *const network_labels[NETWORK_CLASSES];
extern const float network_logit_scale; /* logits as floats = int32 logits * this */

/* At least so many numbers: compilers of C warn where an array is too short for them. */
#if defined(__cplusplus) || defined(_MSC_VER)
#define NETWORK_LEAST(numbers)
#else
#define NETWORK_LEAST(numbers) static numbers
#endif

/* Probabilities are the softmax of logits as floats / this. */
#define NETWORK_TEMPERATURE @TEMPERATURE@

/* The least int32 logit that network_decide takes for an answer; -D NETWORK_THRESHOLD=NUMBER sets another. */
@THRESHOLD@

/* Logits of an image: rgb has SIZE rows of SIZE pixels of 3 bytes, logits has CLASSES numbers. */
void network_run(network_state *state, const uint8_t rgb[NETWORK_LEAST(NETWORK_SIZE * NETWORK_SIZE * 3)],
                 int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]);

/* The same row by row, as a camera gives them: begin, then row SIZE times from top to bottom, then end, for every image.
 * end returns 0; -1 after fewer rows, or more, as when a begin is missing, and the logits stay as they were. */
void network_begin(network_state *state);
void network_row(network_state *state, const uint8_t rgb_row[NETWORK_LEAST(NETWORK_SIZE * 3)]);
int network_end(network_state *state, int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]);

/* The class with the largest logit, or -1 where that is below NETWORK_THRESHOLD, if there is one. */
int network_decide(const int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]);

#ifdef __cplusplus
}
#endif

#endif
