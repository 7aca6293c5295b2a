/* Hands an image as a camera's frame of WIDTH x HEIGHT pixels in RGB565 to the network, with a mark for the plugin that
 * counts instructions before and behind each row. */
#include "network_camera.h"

#include "images.h"

#define MARK __asm__ volatile("mov r10, r10")

static network_state state;
static network_camera camera;
static uint8_t line[WIDTH * 2];

/* Row y of the frame: the first image, enlarged to all of it. */
static void draw(int32_t y) {
  int32_t x;
  for (x = 0; x < WIDTH; x++) {
    const uint8_t *rgb = images[0] + (y * NETWORK_SIZE / HEIGHT * NETWORK_SIZE + x * NETWORK_SIZE / WIDTH) * 3;
    line[x * 2] = (uint8_t)((rgb[0] & 0xf8) | rgb[1] >> 5);
    line[x * 2 + 1] = (uint8_t)((rgb[1] << 3 & 0xe0) | rgb[2] >> 3);
  }
}

int main(void) {
  int32_t logits[NETWORK_CLASSES];
  int32_t y;
  network_camera_begin(&camera, &state, NETWORK_RGB565_BE, WIDTH, HEIGHT);
  for (y = 0; y < HEIGHT; y++) {
    draw(y);
    MARK;
    network_camera_row(&camera, line);
    MARK;
  }
  network_camera_end(&camera, logits);
  return 0;
}
