/* A camera with a memory, into which frames of ROWS x WORDS * 2 pixels come from the standard input. Prints the class of each
 * frame, and of one that does not come. */
#include "fifo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int classify(void);

static uint8_t frame[ROWS * WORDS * 4];
static size_t taken;

int fifo_capture(void) {
  taken = 0;
  return fread(frame, 1, sizeof frame, stdin) == sizeof frame ? 0 : -1;
}

void fifo_read(uint8_t *bytes, size_t count) {
  if (taken + count > sizeof frame) exit(3);
  memcpy(bytes, frame + taken, count);
  taken += count;
}

int main(void) {
  int found;
  do {
    found = classify();
    printf("%d\n", found);
  } while (found >= 0);
  return 0;
}
