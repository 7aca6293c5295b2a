/* SPDX-License-Identifier: Apache-2.0 */
/* Other names for the network, so that a program can have it several times: where NETWORK_VARIANT is avx2, network_run
 * is network_run_avx2. network_dispatch.c chooses between such variants. */
#ifndef NETWORK_VARIANT_H
#define NETWORK_VARIANT_H

#define NETWORK_JOINED(name, variant) name##_##variant
#define NETWORK_JOIN(name, variant) NETWORK_JOINED(name, variant)
#define network_begin NETWORK_JOIN(network_begin, NETWORK_VARIANT)
#define network_row NETWORK_JOIN(network_row, NETWORK_VARIANT)
#define network_end NETWORK_JOIN(network_end, NETWORK_VARIANT)
#define network_run NETWORK_JOIN(network_run, NETWORK_VARIANT)
#define network_decide NETWORK_JOIN(network_decide, NETWORK_VARIANT)
#define network_description NETWORK_JOIN(network_description, NETWORK_VARIANT)
#define network_labels NETWORK_JOIN(network_labels, NETWORK_VARIANT)
#define network_logit_scale NETWORK_JOIN(network_logit_scale, NETWORK_VARIANT)

#endif
