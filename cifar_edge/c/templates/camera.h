/* SPDX-License-Identifier: Apache-2.0 */
/* From a camera's frame of any size to the network, row by row, without a copy of the frame.
 *
 * The middle square of the frame is resized to the pixels of the network: down by averaging, up by cubic interpolation.
 * These pixels are those that `cifar-edge predict` makes of the same picture in RGB, bit for bit.
 */
#ifndef NETWORK_CAMERA_H
#define NETWORK_CAMERA_H

#include "network.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the bytes of a row give pixels.
 *
 * RGB565: 5 bits become 8 by repeating the upper ones, v << 3 | v >> 2, and 6 bits by v << 2 | v >> 4.
 * YUYV, UYVY: two pixels in four bytes; a row of an odd width ends with four bytes too. Y, U and V have the full range
 * of JPEG files, and become RGB as in libjpeg, with u = U - 128, v = V - 128, and >> rounding down:
 *   R = Y + (91881 v + 32768 >> 16)
 *   G = Y + (32768 - 22554 u - 46802 v >> 16)
 *   B = Y + (116130 u + 32768 >> 16), each limited to 0..255. */
typedef enum {
  NETWORK_RGB888,    /* R G B */
  NETWORK_BGR888,    /* B G R */
  NETWORK_RGB565_LE, /* RRRRRGGG GGGBBBBB in 16 bits, the low byte first */
  NETWORK_RGB565_BE, /* the same, the high byte first */
  NETWORK_YUYV,      /* Y0 U Y1 V */
  NETWORK_UYVY,      /* U Y0 V Y1 */
  NETWORK_GREY       /* one byte of brightness */
} network_format;

/* What is kept while the rows of one frame come in. It is yours, as the state of the network is. */
typedef struct {
  network_state *state;
  network_format format;
  uint32_t left, top, side; /* of the middle square */
  uint32_t height;          /* of the frame */
  uint32_t row;             /* the next one of the frame */
  uint32_t target;          /* the next row of the network */
  union {
    uint32_t sums[NETWORK_SIZE * 3];   /* down: of the rows so far */
    uint8_t rows[4][NETWORK_SIZE * 3]; /* up: the last four rows */
  } kept;
  uint8_t narrow[NETWORK_SIZE * 3]; /* a row that was resized */
} network_camera;

/* Begin a frame of width x height pixels, each at most 65535; every frame needs it. Returns the bytes of a row; 0 if there
 * is no such frame, and then neither rows nor logits are touched until the next begin. */
uint32_t network_camera_begin(network_camera *camera, network_state *state, network_format format, uint32_t width,
                              uint32_t height);

/* The next row of the frame, from the top. Rows that are not in the middle square are not read. */
void network_camera_row(network_camera *camera, const uint8_t *row);

/* The logits, after all rows, or all of the middle square. Returns 0; -1 if there is no frame, or after fewer rows, or
 * more than its height, as when a begin is missing, and the logits stay as they were. */
int network_camera_end(network_camera *camera, int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]);

/* All of this for a frame in memory. Returns 0; -1 if there is no such frame, and the logits stay as they were. */
int network_camera_run(network_camera *camera, network_state *state, network_format format, uint32_t width,
                       uint32_t height, const uint8_t *frame, int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]);

#ifdef __cplusplus
}
#endif

#endif
