/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the network on @IMAGES@ images whose logits are known. It includes network.c, so compile this file alone.
 *
 * It prints the logits of each image, then "ok", or for each image the first layer that differs. What a board has printed,
 * `cifar-edge verify-c LOG` compares with the model. Define NETWORK_PRINT to print elsewhere than with printf,
 * NETWORK_SELFTEST to call it otherwise than main, and NETWORK_SELFTEST_IMAGES to leave all but so many images out.
 */
#if !defined(ARDUINO) || defined(NETWORK_SELFTEST) /* Arduino compiles every file of a library; see examples */

#include <stdint.h>
#include <stdio.h>

static void trace(int32_t index, const uint8_t *codes, int32_t count);
#define NETWORK_TRACE trace
#include "network.c"

#if !defined(NETWORK_PRINT)
#define NETWORK_PRINT printf
#endif
#if !defined(NETWORK_SELFTEST)
#define NETWORK_SELFTEST main
#endif

#if !defined(NETWORK_SELFTEST_IMAGES)
#define NETWORK_SELFTEST_IMAGES @IMAGES@
#endif
#if NETWORK_SELFTEST_IMAGES < 1 || NETWORK_SELFTEST_IMAGES > @IMAGES@
#error "NETWORK_SELFTEST_IMAGES is not a number from 1 to @IMAGES@"
#endif

enum { IMAGES = NETWORK_SELFTEST_IMAGES };

@TESTS@
/* Of the rows of each layer: the sum of all partial sums. */
static uint32_t sums_found[LAYERS + 1], checksums_found[LAYERS + 1];

static void trace(int32_t index, const uint8_t *codes, int32_t count) {
  int32_t i;
  for (i = 0; i < count; i++) {
    sums_found[index] += codes[i];
    checksums_found[index] += sums_found[index];
  }
}

/* Cycles since some time, where there is a counter that needs no set-up beyond this; else 0. */
static uint32_t cycles(void) {
#if defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
  volatile uint32_t *const demcr = (volatile uint32_t *)0xe000edfcu, *const dwt = (volatile uint32_t *)0xe0001000u;
  *demcr |= 1u << 24;
  dwt[0xfb0 / 4] = 0xc5acce55u; /* Cortex-M7 locks the counter */
  dwt[0] |= 1u;
  return dwt[1];
#elif defined(__riscv) && !defined(__linux__) && defined(__GNUC__)
  unsigned long count;
  __asm__ volatile("rdcycle %0" : "=r"(count));
  return (uint32_t)count;
#elif (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  (void)high;
  return low;
#else
  return 0;
#endif
}

static int first_difference(int32_t image) {
  int32_t layer;
  for (layer = 0; layer < LAYERS; layer++)
    if (checksums_found[layer] != checksums[image * (LAYERS + 1) + layer]) return layer;
  return LAYERS;
}

int NETWORK_SELFTEST(void) {
  static network_state state;
  int32_t wrong = 0, image, i;
  uint32_t least = 0; /* cycles: the first image fills caches */
  NETWORK_PRINT("%s\n", network_description);
  for (image = 0; image < IMAGES; image++) {
    int32_t logits[NETWORK_CLASSES];
    int differs = 0;
    uint32_t start, taken;
    memset(sums_found, 0, sizeof sums_found);
    memset(checksums_found, 0, sizeof checksums_found);
    start = cycles();
    network_run(&state, images + image * (NETWORK_SIZE * NETWORK_SIZE * 3), logits);
    taken = cycles() - start;
    if (image == 0 || taken < least) least = taken;
    NETWORK_PRINT("image %d:", (int)image);
    for (i = 0; i < NETWORK_CLASSES; i++) {
      NETWORK_PRINT(" %ld", (long)logits[i]);
      differs |= logits[i] != expected[image * NETWORK_CLASSES + i];
    }
    NETWORK_PRINT("\n");
    if (differs) {
      NETWORK_PRINT("image %d differs, first in layer %s\n", (int)image, names[first_difference(image)]);
      wrong++;
    }
  }
  if (least) NETWORK_PRINT("cycles of an image, checksums included: %lu\n", (unsigned long)least);
  NETWORK_PRINT(wrong ? "failed\n" : "ok\n");
  return wrong ? 1 : 0;
}

#endif
