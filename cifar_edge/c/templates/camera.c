/* SPDX-License-Identifier: Apache-2.0 */
#include "network_camera.h"

#include <string.h>

/* As in Pillow, weights are whole numbers of 2^-22, and rows are resized across, rounded to bytes, and then down. */
enum { BITS = 22, HALF = 1 << (BITS - 1), SIZE = NETWORK_SIZE, COLUMNS = NETWORK_SIZE * 3 };
enum { TAPS = 4 }; /* of cubic interpolation */

static uint8_t limited(int32_t value) { return (uint8_t)(value < 0 ? 0 : value < 255 ? value : 255); }

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* value * 2^-16, rounded down: value is above -2^25, and a shift of a negative number is up to the compiler. */
static int32_t rounded_down(int32_t value) { return (int32_t)((uint32_t)(value + (1 << 25)) >> 16) - (1 << 9); }

static void read_yuv(int32_t y, int32_t u, int32_t v, uint8_t *rgb) {
  u -= 128;
  v -= 128;
  rgb[0] = limited(y + rounded_down(91881 * v + 32768));
  rgb[1] = limited(y + rounded_down(32768 - 22554 * u - 46802 * v));
  rgb[2] = limited(y + rounded_down(116130 * u + 32768));
}

static void read_565(uint32_t low, uint32_t high, uint8_t *rgb) {
  const uint32_t red = high >> 3, green = (high & 7u) << 3 | low >> 5, blue = low & 31u;
  rgb[0] = (uint8_t)(red << 3 | red >> 2);
  rgb[1] = (uint8_t)(green << 2 | green >> 4);
  rgb[2] = (uint8_t)(blue << 3 | blue >> 2);
}

/* Pixel x of a row. */
static void read_pixel(network_format format, const uint8_t *row, uint32_t x, uint8_t *rgb) {
  const uint8_t *pair = row + x / 2u * 4u;
  switch (format) {
    case NETWORK_RGB888:
      memcpy(rgb, row + x * 3u, 3);
      break;
    case NETWORK_BGR888:
      rgb[0] = row[x * 3u + 2u];
      rgb[1] = row[x * 3u + 1u];
      rgb[2] = row[x * 3u];
      break;
    case NETWORK_RGB565_LE:
      read_565(row[x * 2u], row[x * 2u + 1u], rgb);
      break;
    case NETWORK_RGB565_BE:
      read_565(row[x * 2u + 1u], row[x * 2u], rgb);
      break;
    case NETWORK_YUYV:
      read_yuv(pair[x % 2u * 2u], pair[1], pair[3], rgb);
      break;
    case NETWORK_UYVY:
      read_yuv(pair[x % 2u * 2u + 1u], pair[0], pair[2], rgb);
      break;
    case NETWORK_GREY:
    default:
      rgb[0] = rgb[1] = rgb[2] = row[x];
      break;
  }
}

static uint32_t bytes_of_row(network_format format, uint32_t width) {
  switch (format) {
    case NETWORK_RGB888:
    case NETWORK_BGR888:
      return width * 3u;
    case NETWORK_RGB565_LE:
    case NETWORK_RGB565_BE:
      return width * 2u;
    case NETWORK_YUYV:
    case NETWORK_UYVY:
      return (width + 1u) / 2u * 4u;
    case NETWORK_GREY:
      return width;
    default:
      return 0;
  }
}

#if @TIES@
/* Whether a pixel whose centre lies on an edge of a target pixel counts for it: the rounding of Pillow's numbers in
 * double decides. For sizes that are powers of two nothing is rounded. Each volatile is one rounding. */
static int has_pixel(uint32_t side, uint32_t target, uint32_t pixel) {
  const volatile double scale = (double)side / (double)SIZE, support = 0.5 * scale, inverse = 1.0 / scale;
  const volatile double centre = (target + 0.5) * scale, left = centre - support, right = centre + support;
  const volatile double first = left + 0.5, end = right + 0.5, shift = pixel - centre, distance = shift + 0.5;
  const volatile double x = distance * inverse;
  return pixel >= (uint32_t)first && pixel < (uint32_t)end && x > -0.5 && x <= 0.5;
}
#endif

/* Down: a target pixel is the mean of the pixels whose centres lie in it. On an edge they count for the one before. */
static void find_window(uint32_t side, uint32_t target, uint32_t *first, uint32_t *end) {
  const uint32_t from = 2u * target * side + SIZE, to = from + 2u * side;
  *first = from / (2u * SIZE);
  *end = to / (2u * SIZE);
#if @TIES@
  if (from % (2u * SIZE) == 0 && has_pixel(side, target, *first - 1u)) --*first;
  if (to % (2u * SIZE) == 0 && !has_pixel(side, target, *end - 1u)) --*end;
#endif
}

static uint8_t mean(uint32_t sum, uint32_t count) {
  const uint32_t weight = (2u * (1u << BITS) + count) / (2u * count);
  return (uint8_t)smaller((sum * weight + HALF) >> BITS, 255);
}

static void average_across(network_camera *camera, const uint8_t *row) {
  uint32_t target, first, end, x;
  for (target = 0; target < SIZE; target++) {
    uint32_t red = 0, green = 0, blue = 0;
    uint8_t rgb[3];
    find_window(camera->side, target, &first, &end);
    for (x = first; x < end; x++) {
      read_pixel(camera->format, row, camera->left + x, rgb);
      red += rgb[0];
      green += rgb[1];
      blue += rgb[2];
    }
    camera->narrow[target * 3u] = mean(red, end - first);
    camera->narrow[target * 3u + 1u] = mean(green, end - first);
    camera->narrow[target * 3u + 2u] = mean(blue, end - first);
  }
}

static void average_down(network_camera *camera, uint32_t row) {
  uint32_t first, end, i;
  while (camera->target < SIZE) {
    find_window(camera->side, camera->target, &first, &end);
    if (row < first) return;
    for (i = 0; i < COLUMNS; i++) camera->kept.sums[i] += camera->narrow[i];
    if (row + 1u < end) return;
    for (i = 0; i < COLUMNS; i++) camera->kept.rows[0][i] = mean(camera->kept.sums[i], end - first);
    network_row(camera->state, camera->kept.rows[0]);
    memset(&camera->kept, 0, sizeof camera->kept);
    camera->target++;
  }
}

/* Up: the weights of up to four pixels, from first to end, by the cubic of Keys with a = -0.5. */
static uint32_t find_taps(uint32_t side, uint32_t target, uint32_t *first, int32_t *weights) {
  const uint32_t centre = (2u * target + 1u) * side, end = smaller(side, (centre + 5u * SIZE) / (2u * SIZE));
  const int64_t unit = 2 * SIZE;
  int64_t values[TAPS], total = 0;
  uint32_t i;
  *first = centre > 3u * SIZE ? (centre - 3u * SIZE) / (2u * SIZE) : 0;
  for (i = 0; i < end - *first; i++) {
    int64_t x = (int64_t)((2u * (*first + i) + 1u) * SIZE) - (int64_t)centre; /* distance times unit */
    if (x < 0) x = -x;
    if (x < unit)
      values[i] = (3 * x - 5 * unit) * x * x + 2 * unit * unit * unit;
    else
      values[i] = x < 2 * unit ? 4 * unit * unit * unit - ((x - 5 * unit) * x + 8 * unit * unit) * x : 0;
    total += values[i];
  }
  for (i = 0; i < end - *first; i++) {
    const int64_t size = values[i] < 0 ? -values[i] : values[i];
    const int32_t weight = (int32_t)((size * (2 << BITS) + total) / (2 * total));
    weights[i] = values[i] < 0 ? -weight : weight;
  }
  return end;
}

/* A sum as a byte; a shift of a negative number is up to the compiler. */
static uint8_t from_sum(int32_t sum) { return sum < 0 ? 0 : limited(sum >> BITS); }

static void interpolate_across(network_camera *camera, const uint8_t *row, uint8_t *out) {
  uint32_t target, first, end, x;
  int32_t weights[TAPS];
  for (target = 0; target < SIZE; target++) {
    int32_t red = HALF, green = HALF, blue = HALF;
    uint8_t rgb[3];
    end = find_taps(camera->side, target, &first, weights);
    for (x = first; x < end; x++) {
      read_pixel(camera->format, row, camera->left + x, rgb);
      red += rgb[0] * weights[x - first];
      green += rgb[1] * weights[x - first];
      blue += rgb[2] * weights[x - first];
    }
    out[target * 3u] = from_sum(red);
    out[target * 3u + 1u] = from_sum(green);
    out[target * 3u + 2u] = from_sum(blue);
  }
}

static void interpolate_down(network_camera *camera, uint32_t row) {
  uint32_t first, end, i, k;
  int32_t weights[TAPS];
  while (camera->target < SIZE) {
    end = find_taps(camera->side, camera->target, &first, weights);
    if (row + 1u < end) return;
    for (i = 0; i < COLUMNS; i++) {
      int32_t sum = HALF;
      for (k = first; k < end; k++) sum += camera->kept.rows[k % TAPS][i] * weights[k - first];
      camera->narrow[i] = from_sum(sum);
    }
    network_row(camera->state, camera->narrow);
    camera->target++;
  }
}

uint32_t network_camera_begin(network_camera *camera, network_state *state, network_format format, uint32_t width,
                              uint32_t height) {
  const uint32_t bytes = width > 65535u || height > 65535u || height == 0 ? 0 : bytes_of_row(format, width);
  memset(camera, 0, sizeof *camera); /* without a frame, rows are not read */
  if (bytes == 0) return 0;
  camera->state = state;
  camera->format = format;
  camera->side = smaller(width, height);
  camera->left = (width - camera->side) / 2u;
  camera->top = (height - camera->side) / 2u;
  camera->height = height;
  network_begin(state);
  return bytes;
}

void network_camera_row(network_camera *camera, const uint8_t *row) {
  const uint32_t index = camera->row++ - camera->top; /* huge above the square */
  uint32_t x;
  if (index >= camera->side) return;
  if (camera->side > SIZE) {
    average_across(camera, row);
    average_down(camera, index);
  } else if (camera->side < SIZE) {
    interpolate_across(camera, row, camera->kept.rows[index % TAPS]);
    interpolate_down(camera, index);
  } else {
    for (x = 0; x < SIZE; x++) read_pixel(camera->format, row, camera->left + x, camera->narrow + x * 3u);
    network_row(camera->state, camera->narrow);
  }
}

int network_camera_end(network_camera *camera, int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]) {
  if (camera->state == NULL || camera->row > camera->height) return -1;
  return network_end(camera->state, logits);
}

int network_camera_run(network_camera *camera, network_state *state, network_format format, uint32_t width,
                       uint32_t height, const uint8_t *frame, int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]) {
  const uint32_t bytes = network_camera_begin(camera, state, format, width, height);
  uint32_t row;
  if (bytes == 0) return -1;
  for (row = 0; row < height; row++) network_camera_row(camera, frame + (size_t)row * bytes);
  return network_camera_end(camera, logits);
}
