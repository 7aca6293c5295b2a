/* Runs the network IMAGES times. Prints the logits of the last image, the bytes of the state, those of the stack that
 * were written to, less some words of the call, and the kernels. */
#include <stdio.h>

#include "network.c"

#include "images.h"

#if !defined(PRINT)
#define PRINT printf
#endif
#if defined(NETWORK_HELIUM)
#define KERNELS "helium"
#elif defined(NETWORK_DSP)
#define KERNELS "dsp"
#elif defined(NETWORK_NEON)
#define KERNELS "neon"
#else
#define KERNELS "generic"
#endif

enum { STACK = 32768, MARK = 0xa5 };

static network_state state;
static int32_t logits[NETWORK_CLASSES];

/* All of the stack below is marked here, and looked at afterwards. */
static __attribute__((noinline)) uint32_t stack_used(int after) {
  volatile uint8_t below[STACK];
  uint32_t i = 0;
  if (!after)
    for (i = 0; i < STACK; i++) below[i] = MARK;
  for (i = 0; i < STACK && below[i] == MARK; i++) {
  }
  return STACK - i;
}

int main(void) {
  int image, i;
  uint32_t stack = stack_used(0);
  for (image = 0; image < IMAGES; image++) network_run(&state, images[image], logits);
  stack = stack_used(1);
  for (i = 0; i < NETWORK_CLASSES; i++) PRINT("%ld ", (long)logits[i]);
  PRINT("\nstate %lu stack %lu kernels %s\n", (unsigned long)sizeof state, (unsigned long)stack, KERNELS);
  return 0;
}
