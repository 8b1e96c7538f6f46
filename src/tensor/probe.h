/* probe.h - loops that do one thing as fast as a core can: read memory, or multiply and add numbers of one kind with one instruction.
 * What they reach is the machine's limit, with which kernels are compared (machine.h).
 *
 * A row lies beside the kernels of its instruction set, kernels/probes.def lists them. The probe of a kernel has the kernel's last name:
 * gemm_q8_q4_0_avxvnni is measured against int8_avxvnni, gemm_f32_f16_avx2 against f32_avx2.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_PROBE_H
#define MOA_TENSOR_PROBE_H

#include "tensor/kernel.h"

typedef enum moa_limit { MOA_LIMIT_READ, MOA_LIMIT_F32, MOA_LIMIT_INT8, MOA_LIMIT_BF16 } moa_limit;

enum { MOA_PROBE_PIECE = 16 << 10 }; /* reads: n is a multiple of it, p of 64 */

typedef struct moa_probe {
    const char *name, *help;
    moa_limit kind;
    moa_isa isa;
    bool (*usable)(void); /* finer test than the level; NULL: the level is enough */
    double per_turn;      /* operations of one of n turns, an addition and a multiplication being two; reads: 1, n being bytes */
    uint64_t (*run)(const void *p, int64_t n); /* the result is to be used, so that nothing is left out */
} moa_probe;

const moa_probe *const *moa_probes(int *n);
bool moa_probe_usable(const moa_probe *p);
/* Index of the probe whose limit a product kernel has; -1: none (plain C). */
int moa_probe_of(const moa_kernel *k);
/* The fastest usable one of a kind up to an instruction set; -1: none. Rows of a kind are listed from slow to fast. */
int moa_probe_best(moa_limit kind, moa_isa at_most);

#endif
