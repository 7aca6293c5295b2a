/* SPDX-License-Identifier: Apache-2.0 */
/* @DESCRIPTION@ */
#if defined(__OPTIMIZE_SIZE__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2") /* Arduino builds at -Os: up to 1.6 times the instructions, to save 1 kB */
#endif
#if defined(NETWORK_VARIANT)
#include "network_variant.h"
#endif
#include "network.h"

#include <string.h>

/* The kernels are chosen by the compiler's options; with -DNETWORK_GENERIC they are plain C. */
@CHOICE@

#include "network_layers.h"
#include "network_requantize.h"
@INCLUDES@
#include "network_generic.h"

@CONSTANTS@
/* A layer is ready when as many rows of its input have been made as its next row needs. After each row of the image, and
 * after each row of a layer, the last layer that is ready makes one row, until none is ready. So it is known when each row
 * is made and last read, and rows that are not needed at the same time lie in the same place. */

static uint8_t *row_of(network_state *state, int32_t number, int32_t row) {
  return (uint8_t *)(state->memory + places[activations[number].first_place + row]);
}

/* The place of a row that is made now. Other rows lay there, so that its padding is written again. */
static uint8_t *new_row(network_state *state, int32_t number, int32_t row) {
  const activation *a = &activations[number];
  const uint32_t padding = a->code * 0x01010101u;
  uint32_t *first = state->memory + places[a->first_place + row];
  int32_t i;
  for (i = 1; i <= a->words_before; i++) first[-i] = padding;
  for (i = 0; i < a->words_behind; i++) first[a->padding + i] = padding;
  return (uint8_t *)first;
}

#if NETWORK_HAS_GLOBAL_POOL
/* How many rows of its input a global pool has added: the number behind its sums. */
static pool_sum *rows_added(network_state *state, const layer *l) { return state->sums + l->place + l->channels_in; }
#endif

/* Whether there are all rows of its input that the next row of a layer needs. A global pool takes them one by one. */
static int is_ready(network_state *state, int32_t index) {
  const layer *l = &layers[index];
  const int32_t rows = activations[l->input].rows;
  int32_t row = state->done[index + 1], needed;
#if NETWORK_HAS_GLOBAL_POOL
  if (l->kind == KIND_GLOBAL_POOL) row = (int32_t)*rows_added(state, l);
#endif
  needed = row * l->stride_rows + l->reach + 1;
  if (needed > rows) needed = rows;
#if NETWORK_HAS_ADD
  if (state->done[l->other] < needed) return 0;
#endif
  return row < l->rows && state->done[l->input] >= needed;
}

/* The rows of the window that are not padding, or all of them if padding is not the code 0. */
static void find_rows(network_state *state, const layer *l, int32_t row, window *w) {
  const activation *a = &activations[l->input];
  const int32_t left = l->kind <= KIND_GROUPED ? l->left * l->channels_in : 0; /* padding lies before the row */
  const int32_t top = row * l->stride_rows - l->top;
  int32_t i, first = 0, count = 0;
  for (i = 0; i < l->kernel_rows; i++) {
    if ((uint32_t)(top + i) < a->rows) { /* and so not negative */
      if (count == 0) first = i;
      w->rows[count++] = row_of(state, l->input, top + i) - left;
    } else if (l->place != 0) {
      w->rows[count++] = (const uint8_t *)(state->memory + l->place);
    }
  }
  w->first = first;
  w->count = count;
}

static void make_row(network_state *state, int32_t index) {
  const layer *l = &layers[index];
  const int32_t row = state->done[index + 1];
  uint8_t *out = new_row(state, index + 1, row);
  window w;
  find_rows(state, l, row, &w);
  switch (l->kind) {
#if NETWORK_HAS_CONV
    case KIND_CONV:
      CONV_ROW(l, &w, out);
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
#if NETWORK_HAS_ADD
    case KIND_ADD:
      ADD_ROW(l, w.rows[0], row_of(state, l->other, row), out);
      break;
#endif
    default:
      break;
  }
#if defined(NETWORK_TRACE)
  NETWORK_TRACE(index, out, l->columns * l->channels_out);
#endif
  state->done[index + 1]++;
}

#if NETWORK_HAS_GLOBAL_POOL
/* Adds a row to the sums of a global pool, and makes its one row of them after the last. */
static void add_row_to_pool(network_state *state, int32_t index) {
  const layer *l = &layers[index];
  const int32_t channels = l->channels_in;
  const int32_t zero_points = l->rows * l->columns * l->zero_point;
  pool_sum *sums = state->sums + l->place, *added = rows_added(state, l);
  uint8_t *out;
  int32_t c;
  ADD_TO_SUMS(row_of(state, l->input, (int32_t)*added), l->columns, channels, sums);
  if (++*added < l->rows) return;
  out = new_row(state, index + 1, 0);
  for (c = 0; c < channels; c++) out[c] = requantize(l, 0, (int32_t)sums[c] - zero_points);
#if defined(NETWORK_TRACE)
  NETWORK_TRACE(index, out, channels);
#endif
  state->done[index + 1] = 1;
}
#endif

void network_begin(network_state *state) {
  uint8_t *memory = (uint8_t *)state->memory;
  uint32_t i;
  memset(state, 0, sizeof *state);
  for (i = 0; i < sizeof fills / sizeof *fills; i++) memset(memory + fills[i].offset, fills[i].code, fills[i].bytes);
}

NOINLINE void network_row(network_state *state, const uint8_t rgb_row[NETWORK_LEAST(NETWORK_SIZE * 3)]) {
  int32_t index = LAYERS - 1;
  if (state->done[0] >= NETWORK_SIZE) {
    state->done[0] = NETWORK_SIZE + 1; /* for network_end */
    return;
  }
  memcpy(new_row(state, 0, state->done[0]), rgb_row, NETWORK_SIZE * 3);
  state->done[0]++;
  while (index >= 0) {
    if (is_ready(state, index)) {
#if NETWORK_HAS_GLOBAL_POOL
      if (layers[index].kind == KIND_GLOBAL_POOL) add_row_to_pool(state, index);
      else
#endif
        make_row(state, index);
      index = layers[index].last_reader;
    } else {
      index--;
    }
  }
}

int network_end(network_state *state, int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]) {
  window w;
  if (state->done[0] != NETWORK_SIZE) return -1;
  find_rows(state, &layers[LAYERS], 0, &w);
  sums_row(&layers[LAYERS], &w, logits);
  return 0;
}

void network_run(network_state *state, const uint8_t rgb[NETWORK_LEAST(NETWORK_SIZE * NETWORK_SIZE * 3)],
                 int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]) {
  int32_t row;
  network_begin(state);
  for (row = 0; row < NETWORK_SIZE; row++) network_row(state, rgb + row * (NETWORK_SIZE * 3));
  network_end(state, logits);
}

int network_decide(const int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]) {
  int best = 0, i;
  for (i = 1; i < NETWORK_CLASSES; i++)
    if (logits[i] > logits[best]) best = i;
#if defined(NETWORK_THRESHOLD)
  enum { THRESHOLD = NETWORK_THRESHOLD }; /* an error unless it is a whole number: logits are */
  if (logits[best] < THRESHOLD) return -1;
#endif
  return best;
}
