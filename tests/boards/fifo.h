/* What the program for a camera with a memory in docs/microcontrollers.md takes; fifo.c stands in for the camera. */
#include <stddef.h>
#include <stdint.h>

int fifo_capture(void);
void fifo_read(uint8_t *bytes, size_t count);
