/* probe.c - the registry of probes. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/probe.h"

#include <string.h>

#define PROBE(name) extern const moa_probe moa_probe_##name;
#include "tensor/kernels/probes.def"
#undef PROBE

static const moa_probe *const list[] = {
#define PROBE(name) &moa_probe_##name,
#include "tensor/kernels/probes.def"
#undef PROBE
};
enum { N_PROBE = sizeof list / sizeof *list };

const moa_probe *const *moa_probes(int *n) {
    *n = N_PROBE;
    return list;
}

bool moa_probe_usable(const moa_probe *p) { return p->isa <= moa_isa_best() && (!p->usable || p->usable()); }

int moa_probe_of(const moa_kernel *k) {
    const char *last = strrchr(k->name, '_');
    for (int i = 0; last && i < N_PROBE; i++)
        if (list[i]->kind == (k->op == MOA_K_GEMM ? MOA_LIMIT_F32 : MOA_LIMIT_INT8) && !strcmp(strrchr(list[i]->name, '_'), last)) return i;
    return -1;
}

int moa_probe_best(moa_limit kind, moa_isa at_most) {
    for (int i = N_PROBE - 1; i >= 0; i--)
        if (list[i]->kind == kind && list[i]->isa <= at_most && moa_probe_usable(list[i])) return i;
    return -1;
}
