/* What the program for ESP32 in docs/microcontrollers.md takes of esp_camera; esp32.c stands in for the board. */
#include <stddef.h>
#include <stdint.h>

typedef int esp_err_t;
#define ESP_OK 0
typedef struct {
  uint8_t *buf;
  size_t len, width, height;
} camera_fb_t;
typedef struct {
  int frame_size;
} camera_config_t;

esp_err_t esp_camera_init(const camera_config_t *config);
camera_fb_t *esp_camera_fb_get(void);
void esp_camera_fb_return(camera_fb_t *frame);
