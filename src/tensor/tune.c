/* tune.c - see tune.h. Kernels are timed in turns, by the processor time of the one thread, and the middle of the turns counts: another
 * program's share of the core, or a slower minute, then falls on all of them alike.
 *
 * One and few rows read weights from memory, as decoding does, so each turn takes the next matrices of a large ring; many rows are bound by
 * arithmetic. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/tune.h"

#include "base/err.h"
#include "base/pages.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_IN = 1024, RING = 48 << 20, TURNS = 7, MAX_ROWS = 64 };
static const struct { int rows, n_out; } work[MOA_ROW_CLASSES] = {{1, 4096}, {4, 2048}, {8, 1024}, {MAX_ROWS, 256}};
#define MARGIN 0.97 /* of the usual kernel's time */

typedef struct lab {
    char *ring;
    float *y;
    moa_q8_act x;
    size_t at; /* in the ring */
} lab;

static void lab_free(lab *b) { free(b->ring), free(b->y), free(b->x.q), free(b->x.scale), free(b->x.sum); }

static int lab_new(lab *b, moa_err *err) {
    const size_t n = MAX_ROWS * N_IN;
    *b = (lab){.ring = aligned_alloc(MOA_HUGE_PAGE, RING), .y = malloc(MAX_ROWS * 4096 * sizeof(float)), .x = {.n = N_IN, .q = malloc(n), .scale = malloc(n / 32 * 4), .sum = malloc(n / 16 * 2)}};
    if (!b->ring || !b->y || !b->x.q || !b->x.scale || !b->x.sum) return lab_free(b), moa_fail(err, MOA_ENOMEM, "no memory to measure kernels with");
    moa_pages_huge(b->ring, RING);
    memset(b->ring, 0x2a, RING); /* ordinary weights of every type */
    memset(b->x.q, 1, n);
    for (size_t i = 0; i < n / 32; i++) b->x.scale[i] = 0.01f, b->x.sum[2 * i] = b->x.sum[2 * i + 1] = 16;
    return 0;
}

static double thread_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double once(lab *b, const moa_kernel *k, int class) {
    const int64_t n_out = work[class].n_out;
    const size_t stride = moa_row_bytes(k->dtype, N_IN), bytes = stride * (size_t)n_out;
    if (b->at + bytes > RING) b->at = 0;
    b->x.n_tok = work[class].rows;
    const double t0 = thread_time();
    k->fn.gemm_q8(b->y, n_out, &b->x, b->ring + b->at, stride, 0, n_out);
    b->at += (bytes + 63) / 64 * 64;
    return thread_time() - t0;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int moa_tune_candidates(const moa_kernel *out[MOA_RANKS], moa_kernel_op op, moa_dtype type) {
    int n_kernel, n = 0;
    const moa_kernel *const *list = moa_kernel_list(&n_kernel);
    for (int i = 0; i < n_kernel && n < MOA_RANKS; i++)
        if (list[i]->op == op && list[i]->dtype == type && list[i]->isa > MOA_ISA_REF && list[i]->isa <= moa_isa_best() && (!list[i]->usable || list[i]->usable()))
            out[n++] = list[i];
    return n;
}

static void rank(const moa_kernel **out, double *seconds, lab *b, const moa_kernel *const *k, int n, const moa_kernel *usual, int class) {
    double took[MOA_RANKS][TURNS];
    for (int t = -1; t < TURNS; t++)
        for (int i = 0; i < n; i++) {
            const double s = once(b, k[i], class);
            if (t >= 0) took[i][t] = s;
        }
    int have = 0;
    for (int i = 0; i < n; i++) {
        qsort(took[i], TURNS, sizeof(double), ascending);
        const double s = took[i][TURNS / 2], key = s * (k[i] == usual ? MARGIN : 1);
        int at = have++;
        for (; at > 0 && key < seconds[at - 1] * (out[at - 1] == usual ? MARGIN : 1); at--) out[at] = out[at - 1], seconds[at] = seconds[at - 1];
        out[at] = k[i], seconds[at] = s;
    }
}

int moa_tune(moa_tuned *out, moa_tune_told *told, void *ctx, moa_err *err) {
    lab b;
    int n_op;
    const moa_kernel_op *ops = moa_row_ops(&n_op);
    memset(out, 0, sizeof *out);
    MOA_TRY(lab_new(&b, err));
    for (int o = 0; o < n_op; o++)
        for (int d = 0; d < MOA_DTYPE_MAX; d++) {
            const moa_kernel *k[MOA_RANKS];
            const int n = moa_tune_candidates(k, ops[o], (moa_dtype)d);
            for (int c = 0; n && c < MOA_ROW_CLASSES; c++) {
                double seconds[MOA_RANKS] = {0};
                rank(out->rank[o][d][c], seconds, &b, k, n, moa_kernel_usual(ops[o], (moa_dtype)d, c), c);
                out->n++;
                if (told) told(ctx, ops[o], (moa_dtype)d, c, out->rank[o][d][c], seconds);
            }
        }
    lab_free(&b);
    return 0;
}
