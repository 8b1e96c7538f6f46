/* kernel_table.c - the registry of kernels and, for each ISA level, the table of the best ones up to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "tensor/kernel.h"

#include <pthread.h>
#include <stdlib.h>

#define KERNEL(name) extern const moa_kernel moa_kernel_##name;
#include "tensor/kernels/kernels.def"
#undef KERNEL

static const moa_kernel *const list[] = {
#define KERNEL(name) &moa_kernel_##name,
#include "tensor/kernels/kernels.def"
#undef KERNEL
};
enum { N_KERNELS = sizeof list / sizeof *list };

static moa_kernels tables[MOA_ISA_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

const moa_kernel *const *moa_kernel_list(int *n) {
    *n = N_KERNELS;
    return list;
}

static void offer(const moa_kernel **slot, const moa_kernel *k, moa_isa isa) {
    if (k->isa <= isa && (!*slot || (*slot)->isa <= k->isa) && (!k->usable || k->usable())) *slot = k;
}

/* A later row of the same level wins, so that a special kernel may follow a general one. */
static void fill(moa_kernels *t, moa_isa isa) {
    static const int fewest[MOA_ROW_CLASSES] = {1, 2, 5, 16}; /* rows of x in a class */
    t->isa = isa;
    for (int i = 0; i < N_KERNELS; i++) {
        const moa_kernel *k = list[i];
        offer(&t->slot[k->op][k->dtype], k, isa);
        for (int c = 0; k->op == MOA_K_GEMM_Q8 && c < MOA_ROW_CLASSES; c++)
            if (k->min_rows <= fewest[c]) offer(&t->gemm_q8[c][k->dtype], k, isa);
    }
}

static void fill_all(void) {
    const moa_isa best = moa_isa_best();
    for (int isa = 0; isa <= (int)best; isa++) fill(&tables[isa], (moa_isa)isa);
}

int moa_kernels_get(const moa_kernels **out, moa_isa at_most, moa_err *err) {
    const moa_isa best = moa_isa_best();
    if (at_most > best) {
        moa_fail(err, MOA_EUNSUPPORTED, "instruction set '%s': this machine reaches '%s' and lacks: %s", moa_isa_name(at_most),
                 moa_isa_name(best), moa_isa_missing());
        return moa_hint(err, MOA_EUNSUPPORTED, "leave MOA_ISA and --isa unset to take the best one there is");
    }
    pthread_once(&once, fill_all);
    *out = &tables[at_most];
    return MOA_OK;
}

int moa_kernels_default(const moa_kernels **out, moa_err *err) {
    const char *env = getenv("MOA_ISA");
    if (env && *env) {
        moa_isa isa;
        const int rc = moa_isa_parse(&isa, env, err);
        if (rc < 0) return moa_wrap(err, rc, "environment variable MOA_ISA");
        return moa_kernels_get(out, isa, err);
    }
    const moa_isa best = moa_isa_best();
    if (best < MOA_ISA_AVX2) {
        moa_fail(err, MOA_EUNSUPPORTED, "this CPU is too old: moa needs AVX2, FMA and F16C (x86-64-v3); missing: %s",
                 moa_isa_missing());
        return moa_hint(err, MOA_EUNSUPPORTED, "MOA_ISA=ref runs the plain C kernels: right, but some ten times slower");
    }
    return moa_kernels_get(out, best, err);
}
