/* SPDX-License-Identifier: Apache-2.0 */
/* What a library for PCs has beside the functions of network.h: its kernels are chosen when it runs.
 *
 * Compile network.c for plain C with -D NETWORK_VARIANT=generic -D NETWORK_GENERIC, and once for each of these kernels
 * with -D NETWORK_VARIANT=NAME and the options that are shown:
@OPTIONS@ * Compile network_dispatch.c with -D NETWORK_DISPATCH, and -D NETWORK_WITH_AVX2 for the kernels avx2, and so on. Link them
 * all. CMakeLists.txt does so.
 */
#ifndef NETWORK_DISPATCH_H
#define NETWORK_DISPATCH_H

#include <stddef.h>

#include "network.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The kernels that this processor runs: the name of the best ones that were compiled in. */
const char *network_kernels(void);

/* sizeof(network_state), for callers in other languages. */
size_t network_state_size(void);

/* network_run for several images side by side. */
void network_run_many(network_state *state, const uint8_t *rgb, size_t images, int32_t *logits);

#ifdef __cplusplus
}
#endif

#endif
