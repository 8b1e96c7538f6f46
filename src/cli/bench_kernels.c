/* bench_kernels.c - moa bench kernels [TEXT]: speed of every kernel on one core, or of those whose name has TEXT in it.
 *
 * Products are measured with a [1024, 1024] matrix, which stays in the second or third cache as the layers of small
 * models do, for 1, 6, 32 and 256 rows of x. GB/s counts the bytes of the weights (what bounds decoding), GFLOP/s
 * two operations a multiply-add (what bounds prefill), "x 1 row" the time in units of the one for a single row: how
 * cheap it is to let sequences advance together. The best of several runs counts, since only noise makes a run slower.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "tensor/kernel.h"

#include <stdlib.h>
#include <string.h>

enum { N_IN = 1024, N_OUT = 1024, MAX_TOK = 256, N_VEC = 4096, RUNS = 40 };
static const int tok_counts[] = {1, 6, 32, 256};

typedef struct bench {
    float *x, *y; /* [MAX_TOK, N_IN], [MAX_TOK, N_OUT] */
    void *w;      /* [N_OUT, N_IN] of the type at hand */
    moa_q8_act act;
    const moa_bench_opt *opt;
    bool first; /* nothing printed yet */
} bench;

static void close_bench(bench *b) {
    free(b->x), free(b->y), free(b->w);
    free(b->act.q), free(b->act.scale), free(b->act.sum);
}

static int open_bench(bench *b, moa_err *err) {
    const size_t n = (size_t)MAX_TOK * N_IN;
    b->x = malloc(n * sizeof *b->x), b->y = malloc((size_t)MAX_TOK * N_OUT * sizeof *b->y);
    b->w = malloc((size_t)N_OUT * N_IN * sizeof(float));
    b->act = (moa_q8_act){.n = N_IN, .q = malloc(n), .scale = malloc(n / 32 * 4), .sum = malloc(n / 16 * 2)};
    if (!b->x || !b->y || !b->w || !b->act.q || !b->act.scale || !b->act.sum)
        return moa_fail(err, MOA_ENOMEM, "no memory for the matrices");
    moa_rng r;
    moa_rng_seed(&r, 1);
    for (size_t i = 0; i < n; i++) b->x[i] = moa_rng_f32(&r) - 0.5f;
    return MOA_OK;
}

/* Any bytes do as quantised weights: the time does not depend on them, as long as no scale is a NaN or denormal. */
static void fill_weights(bench *b, moa_dtype dtype) {
    const size_t bytes = moa_row_bytes(dtype, (int64_t)N_OUT * N_IN);
    if (dtype == MOA_F32)
        for (size_t i = 0; i < (size_t)N_OUT * N_IN; i++) ((float *)b->w)[i] = b->x[i % ((size_t)MAX_TOK * N_IN)];
    else
        memset(b->w, 0x2a, bytes);
}

static void call(const moa_kernel *k, bench *b, int n_tok) {
    const size_t stride = k->op <= MOA_K_GEMM_Q8 ? moa_row_bytes(k->dtype, N_IN) : 0;
    b->act.n_tok = n_tok;
    switch (k->op) {
    case MOA_K_GEMM: k->fn.gemm_f32(b->y, N_OUT, b->x, N_IN, b->w, stride, n_tok, 0, N_OUT, N_IN); break;
    case MOA_K_GEMM_Q8: k->fn.gemm_q8(b->y, N_OUT, &b->act, b->w, stride, 0, N_OUT); break;
    case MOA_K_QUANT_Q8: k->fn.quant_q8(&b->act, b->x, N_IN, 0, N_VEC / N_IN); break;
    case MOA_K_DOT: b->y[0] = k->fn.dot(b->x, b->x + N_VEC, N_VEC); break;
    case MOA_K_AXPY: k->fn.axpy(b->y, 1e-9f, b->x, N_VEC); break;
    case MOA_K_RMS_NORM: k->fn.rms_norm(b->y, b->x, b->x + N_VEC, N_VEC, 1e-5f); break;
    case MOA_K_SOFTMAX: k->fn.softmax(b->y, N_VEC); break;
    case MOA_K_SILU_MUL: k->fn.silu_mul(b->y, b->x, b->x + N_VEC, N_VEC); break;
    case MOA_K_EXP: k->fn.expv(b->y, b->x, N_VEC); break;
    default: break;
    }
}

/* Seconds of one call: the best of some runs, each long enough for the clock. */
static double seconds(const moa_kernel *k, bench *b, int n_tok) {
    double best = 1e30, t = moa_now();
    call(k, b, n_tok);
    t = moa_now() - t;
    const int inner = t > 5e-5 ? 1 : (int)(5e-5 / (t + 1e-9)) + 1, runs = t > 0.01 ? 2 : b->opt->runs > 0 ? b->opt->runs : RUNS;
    for (int r = 0; r < runs; r++) {
        const double t0 = moa_now();
        for (int i = 0; i < inner; i++) call(k, b, n_tok);
        t = (moa_now() - t0) / inner;
        best = t < best ? t : best;
    }
    return best;
}

static void print(bench *b, const moa_kernel *k, int n_tok, double s, double bytes, double flop, double one) {
    if (b->opt->json) {
        printf("%s{\"kernel\":\"%s\",\"isa\":\"%s\",\"n_tok\":%d,\"us\":%.4g,\"gb_per_s\":%.4g,\"gflop_per_s\":%.4g,\"x_one_"
               "row\":%.3g}",
               b->first ? "" : ",\n", k->name, moa_isa_name(k->isa), n_tok, s * 1e6, bytes / s * 1e-9, flop / s * 1e-9, s / one);
    } else {
        if (b->first) printf("%-26s %6s %10s %9s %9s %8s\n", "kernel", "n_tok", "us", "GB/s", "GFLOP/s", "x 1 row");
        printf("%-26s %6d %10.2f %9.2f %9.2f %8.2f\n", k->name, n_tok, s * 1e6, bytes / s * 1e-9, flop / s * 1e-9, s / one);
    }
    b->first = false;
    fflush(stdout);
}

static void product(bench *b, const moa_kernel *k) {
    double one = 0;
    fill_weights(b, k->dtype);
    for (size_t i = 0; i < sizeof tok_counts / sizeof *tok_counts; i++) {
        const int n = tok_counts[i];
        if (k->isa == MOA_ISA_REF && n > 32) break; /* plain C takes seconds and nobody waits for it */
        const double s = seconds(k, b, n);
        if (n == 1) one = s;
        print(b, k, n, s, (double)moa_row_bytes(k->dtype, (int64_t)N_OUT * N_IN), 2.0 * n * N_OUT * N_IN, one);
    }
}

static void vector(bench *b, const moa_kernel *k) {
    for (int i = 0; i < N_VEC; i++) b->y[i] = b->x[i];
    const double s = seconds(k, b, 1);
    print(b, k, 1, s, N_VEC * 4.0, 2.0 * N_VEC, s);
}

static int run(const moa_bench_opt *o, moa_err *err) {
    bench b = {.opt = o, .first = true};
    int n, rc = open_bench(&b, err);
    if (rc < 0) goto end;
    const moa_kernel *const *list = moa_kernel_list(&n), *quant = NULL;
    for (int i = 0; i < n; i++)
        if (list[i]->op == MOA_K_QUANT_Q8 && list[i]->isa == MOA_ISA_REF) quant = list[i];
    quant->fn.quant_q8(&b.act, b.x, N_IN, 0, MAX_TOK);
    if (o->json) printf("{\"kernels\":[\n");
    for (int i = 0; i < n; i++) {
        const moa_kernel *k = list[i];
        if (k->op > MOA_K_EXP || k->isa > moa_isa_best() || (k->usable && !k->usable())) continue;
        if (o->arg && !strstr(k->name, o->arg)) continue;
        if (k->op <= MOA_K_GEMM_Q8)
            product(&b, k);
        else
            vector(&b, k);
    }
    if (o->json)
        printf("]}\n");
    else if (b.first)
        rc = moa_fail(err, MOA_ENOTFOUND, "no kernel whose name has '%.64s' in it", o->arg ? o->arg : "");
end:
    close_bench(&b);
    return rc;
}

const moa_bench moa_bench_kernels = {
    .name = "kernels", .help = "every inner loop on one core: GB/s, GFLOP/s, cost of a batch", .run = run};
