/* fuzz_machine.c - any bytes as the file of a machine's limits, behind a beginning that fits this machine: refused with words, or figures
 * within bounds and kernels that this CPU runs. SPDX-License-Identifier: Apache-2.0 */
#include "base/cpu.h"
#include "base/err.h"
#include "tensor/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static moa_machine m;
    char cpu[MOA_CPU_NAME], *text = malloc(size + 512);
    moa_err err = {0};
    moa_assert(text != NULL);
    moa_cpu_name(cpu);
    const size_t n = (size_t)snprintf(text, 512, "{\"moa\": \"%s\", \"cpu\": \"%s\", \"processors\": %d, \"isa\": \"%s\"", MOA_VERSION, cpu, moa_cpu_count(),
                                      moa_isa_name(moa_isa_best()));
    memcpy(text + n, data, size);
    const int rc = moa_machine_parse(&m, text, n + size, "input", &err);
    free(text);
    if (rc < 0) {
        moa_assert(err.code < 0 && err.text[0] && !m.cached && !m.n_read && !m.tuned.n);
        return 0;
    }
    moa_assert(m.n_read >= 1 && m.n_read <= MOA_READS);
    for (int t = 1; t < 2000; t += 37) moa_assert(moa_machine_read(&m, t) >= 1 && moa_machine_read(&m, t) <= 1e18);
    int n_op;
    const moa_kernel_op *op = moa_row_ops(&n_op);
    for (int o = 0; o < n_op; o++)
        for (int d = 0; d < MOA_DTYPE_MAX; d++)
            for (int c = 0; c < MOA_ROW_CLASSES; c++)
                for (int r = 0; r < MOA_RANKS; r++) {
                    const moa_kernel *k = m.tuned.rank[o][d][c][r];
                    moa_assert(!k || (k->op == op[o] && (int)k->dtype == d && k->isa <= moa_isa_best() && (!k->usable || k->usable())));
                }
    return 0;
}
