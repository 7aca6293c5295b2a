/* SPDX-License-Identifier: Apache-2.0 */
/* Images on standard input, their logits on standard output. */
#include <stdio.h>

#include "network.h"

int main(void) {
  static network_state state;
  static uint8_t image[NETWORK_SIZE * NETWORK_SIZE * 3];
  int32_t logits[NETWORK_CLASSES];
  while (fread(image, 1, sizeof image, stdin) == sizeof image) {
    network_run(&state, image, logits);
    if (fwrite(logits, sizeof *logits, NETWORK_CLASSES, stdout) != NETWORK_CLASSES) return 1;
  }
  return 0;
}
