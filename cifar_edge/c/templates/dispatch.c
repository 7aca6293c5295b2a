/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses kernels when it runs; see the header. Without NETWORK_DISPATCH this file is empty, so that build systems that
 * compile every file do no harm. */
#include "network_dispatch.h"

#if defined(NETWORK_DISPATCH)

typedef struct {
  const char *name;
  void (*begin)(network_state *);
  void (*row)(network_state *, const uint8_t *);
  int (*end)(network_state *, int32_t *);
  void (*run)(network_state *, const uint8_t *, int32_t *);
  int (*decide)(const int32_t *);
} variant;

#define DEFINE(NAME)                                               \
  void network_begin_##NAME(network_state *);                      \
  void network_row_##NAME(network_state *, const uint8_t *);       \
  int network_end_##NAME(network_state *, int32_t *);              \
  void network_run_##NAME(network_state *, const uint8_t *, int32_t *); \
  int network_decide_##NAME(const int32_t *);                      \
  static const variant variant_##NAME = {#NAME, network_begin_##NAME, network_row_##NAME, network_end_##NAME, \
                                         network_run_##NAME, network_decide_##NAME};

DEFINE(generic)
@VARIANTS@
#if @ANY_X86@
#include <cpuid.h>

/* Whether the processor has these bits of its leaf 7, and the operating system keeps the registers they are about. */
static int has(uint32_t registers, uint32_t wanted_b, uint32_t wanted_c) {
  uint32_t a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & registers) != registers || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  return (b & wanted_b) == wanted_b && (c & wanted_c) == wanted_c;
}
#endif

#if @ANY_ARM@
#if defined(__linux__)
#include <sys/auxv.h>
static int has_dot_product(void) { return (getauxval(AT_HWCAP) >> 20 & 1u) != 0; }
#elif defined(__APPLE__)
static int has_dot_product(void) { return 1; } /* every Mac has it */
#else
static int has_dot_product(void) { return 0; } /* not known here */
#endif
#endif

static const variant *chosen = &variant_generic;

/* Before any other function is called, so that threads need not agree. The best kernels come last. */
__attribute__((constructor)) static void choose(void) {
@CHECKS@}

@CONSTANTS@
const char *network_kernels(void) { return chosen->name; }

size_t network_state_size(void) { return sizeof(network_state); }

void network_begin(network_state *state) { chosen->begin(state); }

void network_row(network_state *state, const uint8_t rgb_row[NETWORK_LEAST(NETWORK_SIZE * 3)]) {
  chosen->row(state, rgb_row);
}

int network_end(network_state *state, int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]) {
  return chosen->end(state, logits);
}

void network_run(network_state *state, const uint8_t rgb[NETWORK_LEAST(NETWORK_SIZE * NETWORK_SIZE * 3)],
                 int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]) {
  chosen->run(state, rgb, logits);
}

void network_run_many(network_state *state, const uint8_t *rgb, size_t images, int32_t *logits) {
  const variant *best = chosen;
  size_t i;
  for (i = 0; i < images; i++)
    best->run(state, rgb + i * NETWORK_SIZE * NETWORK_SIZE * 3, logits + i * NETWORK_CLASSES);
}

int network_decide(const int32_t logits[NETWORK_LEAST(NETWORK_CLASSES)]) { return chosen->decide(logits); }

#endif
