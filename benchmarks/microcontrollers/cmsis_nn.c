/* Runs the network by CMSIS-NN IMAGES times, and prints the logits of the last image. */
#include <stdio.h>

#include "arm_nnfunctions.h"

#if !defined(PRINT)
#define PRINT printf
#endif

enum { CLASSES = 10 };

static int8_t scratch_bytes[32768] __attribute__((aligned(16)));
static const cmsis_nn_context scratch = {scratch_bytes, sizeof scratch_bytes};

#include "cmsis_network.h"

int main(void) {
  int8_t logits[CLASSES];
  int image, i;
  if (prepare()) return 1;
  for (image = 0; image < IMAGES; image++)
    if (run(images[image], logits)) return 1;
  for (i = 0; i < CLASSES; i++) PRINT("%d ", logits[i]);
  PRINT("\n");
  return 0;
}
