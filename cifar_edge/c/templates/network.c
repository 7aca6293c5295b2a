/* SPDX-License-Identifier: Apache-2.0 */
/* @DESCRIPTION@ */
#include "network.h"

#include <string.h>

/* The kernels are chosen by the compiler's options; with -DNETWORK_GENERIC they are plain C. */
@CHOICE@

#include "network_layers.h"
#include "network_requantize.h"
@INCLUDES@
#include "network_generic.h"

@CONSTANTS@
/* Rows of all activations lie in rings. A layer is ready when the rows that it needs have been made. After each row of
 * the image, and after each row of a layer, the last layer that is ready makes one row, until none is ready. */

static uint8_t *row_of(network_state *state, int32_t number, int32_t row) {
  const activation *a = &activations[number];
  return (uint8_t *)state->memory + a->offset + (uint32_t)(row % a->depth) * a->row_bytes;
}

static int has_rows(const network_state *state, const layer *l, int32_t number, int32_t row) {
  const activation *a = &activations[number];
  int32_t needed = row * l->stride_rows + l->reach + a->late;
  int32_t last = a->rows - 1 + a->late;
  return state->done[number] > (needed < last ? needed : last);
}

static int is_ready(const network_state *state, int32_t index) {
  const layer *l = &layers[index];
  int32_t row = state->done[index + 1];
  return row < l->rows && has_rows(state, l, l->input, row) && has_rows(state, l, l->other, row);
}

/* The rows of the window that are not padding, or all of them if padding is not the code 0. */
static void find_rows(network_state *state, int32_t index, int32_t row, window *w) {
  const layer *l = &layers[index];
  const activation *a = &activations[l->input];
  const int32_t left = l->kind <= KIND_GROUPED ? l->left * l->channels_in : 0; /* padding is in the ring */
  const int32_t top = row * l->stride_rows - l->top;
  int32_t i;
  w->first = 0;
  w->count = 0;
  for (i = 0; i < l->kernel_rows; i++) {
    if (top + i >= 0 && top + i < a->rows) {
      if (w->count == 0) w->first = i;
      w->rows[w->count++] = row_of(state, l->input, top + i) - left;
    } else if (l->padding != 0) {
      w->rows[w->count++] = (const uint8_t *)state->memory + l->padding;
    }
  }
}

static void make_row(network_state *state, int32_t index) {
  const layer *l = &layers[index];
  int32_t row = state->done[index + 1];
  uint8_t *out = row_of(state, index + 1, row);
  window w;
  find_rows(state, index, row, &w);
  switch (l->kind) {
#if NETWORK_HAS_ADD
    case KIND_ADD:
      add_row(l, row_of(state, l->input, row), row_of(state, l->other, row), out);
      break;
#endif
#if NETWORK_HAS_GLOBAL_POOL
    case KIND_GLOBAL_POOL:
      global_pool_row(l, w.rows[0], (int32_t *)(state->memory + l->sums), row, out);
      break;
#endif
#if NETWORK_HAS_MAX_POOL
    case KIND_MAX_POOL:
      max_pool_row(l, &w, activations[l->input].columns, out);
      break;
#endif
#if NETWORK_HAS_AVERAGE_POOL
    case KIND_AVERAGE_POOL:
      average_pool_row(l, &w, activations[l->input].columns, out);
      break;
#endif
#if NETWORK_HAS_DEPTHWISE
    case KIND_DEPTHWISE:
      DEPTHWISE_ROW(l, &w, out);
      break;
#endif
#if NETWORK_HAS_GROUPED
    case KIND_GROUPED:
      grouped_row(l, &w, out);
      break;
#endif
#if NETWORK_HAS_CONV
    case KIND_CONV:
      CONV_ROW(l, &w, out);
      break;
#endif
    default:
      break;
  }
  state->done[index + 1]++;
}

void network_begin(network_state *state) {
  uint8_t *memory = (uint8_t *)state->memory;
  uint32_t i;
  memset(state, 0, sizeof *state);
  for (i = 0; i < sizeof fills / sizeof *fills; i++) memset(memory + fills[i].offset, fills[i].code, fills[i].bytes);
}

void network_row(network_state *state, const uint8_t *rgb_row) {
  int32_t index = LAYERS - 1;
  if (state->done[0] >= NETWORK_SIZE) return;
  memcpy(row_of(state, 0, state->done[0]), rgb_row, NETWORK_SIZE * 3);
  state->done[0]++;
  while (index >= 0) {
    if (is_ready(state, index)) {
      make_row(state, index);
      index = layers[index].last_reader;
    } else {
      index--;
    }
  }
}

void network_end(network_state *state, int32_t *logits) {
  window w;
  find_rows(state, LAYERS, 0, &w);
  sums_row(&layers[LAYERS], &w, logits);
}

void network_run(network_state *state, const uint8_t *rgb, int32_t *logits) {
  int32_t row;
  network_begin(state);
  for (row = 0; row < NETWORK_SIZE; row++) network_row(state, rgb + row * (NETWORK_SIZE * 3));
  network_end(state, logits);
}

int network_decide(const int32_t *logits) {
  int best = 0, i;
  for (i = 1; i < NETWORK_CLASSES; i++)
    if (logits[i] > logits[best]) best = i;
  return @DECISION@;
}
