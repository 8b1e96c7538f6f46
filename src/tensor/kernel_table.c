/* kernel_table.c - the registry of kernels and, for each ISA level, the table of the best ones up to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "tensor/machine.h"

#include <pthread.h>
#include <stddef.h>
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

/* Ops of which the table holds a kernel for every class of rows, and where. */
static const moa_kernel_op row_op[] = {MOA_K_GEMM_Q8, MOA_K_GEMM_PACKED};
static const size_t row_slots[] = {offsetof(moa_kernels, gemm_q8), offsetof(moa_kernels, gemm_packed)};
enum { N_ROW_OPS = sizeof row_op / sizeof *row_op };
_Static_assert((int)N_ROW_OPS <= (int)MOA_ROW_OPS && sizeof row_slots / sizeof *row_slots == N_ROW_OPS, "a place for every op");

const moa_kernel_op *moa_row_ops(int *n) {
    *n = N_ROW_OPS;
    return row_op;
}

static const moa_kernel **row_slot(moa_kernels *t, int i, int class, int dtype) {
    const moa_kernel *(*by_class)[MOA_DTYPE_MAX] = (void *)((char *)t + row_slots[i]);
    return &by_class[class][dtype];
}

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
        for (int o = 0; o < N_ROW_OPS; o++)
            for (int c = 0; k->op == row_op[o] && c < MOA_ROW_CLASSES; c++)
                if (k->min_rows <= fewest[c]) offer(row_slot(t, o, c, k->dtype), k, isa);
    }
}

const moa_kernel *moa_kernel_usual(moa_kernel_op op, moa_dtype type, int row_class) {
    moa_kernels t = {0};
    fill(&t, moa_isa_best());
    for (int o = 0; o < N_ROW_OPS; o++)
        if (row_op[o] == op) return *row_slot(&t, o, row_class, type);
    return NULL;
}

void moa_tuned_apply(moa_kernels *t, const moa_tuned *tuned) {
    for (int o = 0; o < N_ROW_OPS; o++)
        for (int d = 0; d < MOA_DTYPE_MAX; d++)
            for (int c = 0; c < MOA_ROW_CLASSES; c++)
                for (int r = MOA_RANKS - 1; r >= 0; r--) { /* the first of a ranking is written last */
                    const moa_kernel *k = tuned->rank[o][d][c][r];
                    if (k && k->isa <= t->isa) *row_slot(t, o, c, d) = k;
                }
}

static void fill_all(void) {
    static moa_machine m;
    const moa_isa best = moa_isa_best();
    const bool measured = moa_machine_load(&m, NULL) >= 0; /* if not, the commands that measure say why */
    for (int isa = 0; isa <= (int)best; isa++) {
        fill(&tables[isa], (moa_isa)isa);
        if (measured) moa_tuned_apply(&tables[isa], &m.tuned);
    }
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
