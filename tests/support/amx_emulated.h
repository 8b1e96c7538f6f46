/* amx_emulated.h - the kernels of kernels/amx/ with tile registers made of plain C. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TESTS_AMX_EMULATED_H
#define MOA_TESTS_AMX_EMULATED_H

#include "tensor/kernel.h"

/* Rows named ..._amx_emulated; they need AVX-512. A program that uses a tile against its configuration is ended with words. */
const moa_kernel *const *amx_emulated(int *n);

#endif
