/* A board with an ESP32 and a camera, whose frames of 320 x 240 pixels come from the standard input. Prints each state of
 * the LED. */
#include <stdio.h>
#include <stdlib.h>

#include "driver/gpio.h"
#include "esp_camera.h"

void app_main(void);

const camera_config_t board_camera = {6};

static uint8_t pixels[320 * 240 * 2];
static camera_fb_t buffer = {pixels, sizeof pixels, 320, 240};
static int taken;

esp_err_t esp_camera_init(const camera_config_t *config) { return config == &board_camera ? ESP_OK : -1; }

camera_fb_t *esp_camera_fb_get(void) {
  if (taken) exit(3);
  if (fread(pixels, 1, sizeof pixels, stdin) != sizeof pixels) exit(0);
  taken = 1;
  return &buffer;
}

void esp_camera_fb_return(camera_fb_t *frame) { taken = frame != &buffer; }

int gpio_set_direction(gpio_num_t pin, gpio_mode_t mode) { return pin == 33 && mode == GPIO_MODE_OUTPUT ? 0 : -1; }

int gpio_set_level(gpio_num_t pin, uint32_t level) {
  if (pin != 33) exit(4);
  printf("%u\n", (unsigned)level);
  return 0;
}

int main(void) {
  app_main();
  return 5;
}
