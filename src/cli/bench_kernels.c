/* bench_kernels.c - moa bench kernels [TEXT]: speed of every kernel on one core, or of those whose name has TEXT in it.
 *
 * Products are measured with matrices of [1024, 1024] for 1, 6, 32 and 256 rows of x, twice. With one matrix, which stays in the second or
 * third cache as the layers of small models do: microseconds, GB/s of weights, GFLOP/s (two operations a multiply-add), and "x 1 row", the
 * time in units of the one for a single row: how cheap it is to let sequences advance together. And with matrices that lie one
 * after the other in memory, as those of large models do: GB/s. The last columns compare that with the machine's limits
 * (tensor/machine.h): weights read from memory a second over what one core reads at most, or operations a second over what the same
 * instructions do at most, whichever share is larger: that one bounds the kernel. The best of several runs counts, since only noise makes a
 * run slower.
 *
 * --tune measures instead which of the kernels of the same bits is fastest, for each type and class of rows (tensor/tune.h), and keeps it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/err.h"
#include "base/pages.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "tensor/machine.h"

#include <stdlib.h>
#include <string.h>

enum { N_IN = 1024, N_OUT = 1024, MAX_TOK = 256, N_VEC = 4096, RUNS = 40, RING = 128 << 20 };
static const int tok_counts[] = {1, 6, 32, 256};

typedef struct bench {
    float *x, *y; /* [MAX_TOK, N_IN], [MAX_TOK, N_OUT] */
    char *w;      /* [N_OUT, N_IN] of the type at hand, one after the other: RING bytes */
    size_t at;    /* the one of the next call, */
    bool memory;  /* if not always the same */
    moa_q8_act act;
    moa_machine machine;
    const moa_bench_opt *opt;
    bool first, filled; /* nothing printed yet; weights are there */
} bench;

static void close_bench(bench *b) {
    free(b->x), free(b->y), free(b->w);
    free(b->act.q), free(b->act.scale), free(b->act.sum);
}

static int open_bench(bench *b, moa_err *err) {
    const size_t n = (size_t)MAX_TOK * N_IN;
    /* Aligned like arenas and the tensors of a file: a vector that crosses two cache lines is loaded twice. */
    b->x = aligned_alloc(64, n * sizeof *b->x), b->y = aligned_alloc(64, (size_t)MAX_TOK * N_OUT * sizeof *b->y);
    b->w = aligned_alloc(MOA_HUGE_PAGE, RING);
    b->act = (moa_q8_act){.n = N_IN, .q = malloc(n), .scale = malloc(n / 32 * 4), .sum = malloc(n / 16 * 2)};
    if (!b->x || !b->y || !b->w || !b->act.q || !b->act.scale || !b->act.sum)
        return moa_fail(err, MOA_ENOMEM, "no memory for the matrices");
    moa_pages_huge(b->w, RING);
    moa_rng r;
    moa_rng_seed(&r, 1);
    for (size_t i = 0; i < n; i++) b->x[i] = moa_rng_f32(&r) - 0.5f;
    return MOA_OK;
}

static void call(const moa_kernel *k, bench *b, int n_tok) {
    const size_t stride = k->op <= MOA_K_GEMM_PACKED ? moa_row_bytes(k->dtype, N_IN) : 0;
    const char *w = b->w + b->at;
    if (b->memory) b->at += stride * N_OUT;
    if (b->at + stride * N_OUT > RING) b->at = 0;
    b->act.n_tok = n_tok;
    switch (k->op) {
    case MOA_K_GEMM: k->fn.gemm_f32(b->y, N_OUT, b->x, N_IN, w, stride, n_tok, 0, N_OUT, N_IN); break;
    case MOA_K_GEMM_Q8:
    case MOA_K_GEMM_PACKED: k->fn.gemm_q8(b->y, N_OUT, &b->act, w, stride, 0, N_OUT); break;
    case MOA_K_QUANT_Q8: k->fn.quant_q8(&b->act, b->x, N_IN, 0, N_VEC / N_IN); break;
    case MOA_K_AXPY: k->fn.axpy(b->y, 1e-9f, b->x, N_VEC); break;
    case MOA_K_SOFTMAX: k->fn.softmax(b->y, N_VEC); break;
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

typedef struct figures { double s, bytes, flop, one, memory; } figures; /* memory: seconds with weights from there; 0: no product */

/* Which limit is nearest, and the share of it; 0: none is known. */
static double share(const bench *b, const moa_kernel *k, const figures *f, const char **what) {
    int n;
    const int p = moa_probe_of(k);
    const double read = f->bytes / f->memory / moa_machine_read(&b->machine, 1);
    const double work = p >= 0 && b->machine.peak[p].one > 0 ? f->flop / f->s / b->machine.peak[p].one : 0;
    *what = read > work ? "reads" : p >= 0 ? moa_probes(&n)[p]->name : "";
    return read > work ? read : work;
}

static void print(bench *b, const moa_kernel *k, int n_tok, const figures *f) {
    const char *what = "";
    const double of_limit = f->memory > 0 ? share(b, k, f, &what) : 0;
    if (b->opt->json) {
        printf("%s{\"kernel\":\"%s\",\"isa\":\"%s\",\"n_tok\":%d,\"us\":%.4g,\"gb_per_s\":%.4g,\"gflop_per_s\":%.4g,\"x_one_row\":%.3g",
               b->first ? "" : ",\n", k->name, moa_isa_name(k->isa), n_tok, f->s * 1e6, f->bytes / f->s * 1e-9, f->flop / f->s * 1e-9, f->s / f->one);
        if (f->memory > 0) printf(",\"memory_gb_per_s\":%.4g,\"limit\":\"%s\",\"share_of_limit\":%.3g", f->bytes / f->memory * 1e-9, what, of_limit);
        printf("}");
    } else {
        if (b->first) printf("%-26s %6s %10s %9s %9s %8s %10s %9s\n", "kernel", "n_tok", "us", "GB/s", "GFLOP/s", "x 1 row", "mem. GB/s", "of limit");
        printf("%-26s %6d %10.2f %9.2f %9.2f %8.2f", k->name, n_tok, f->s * 1e6, f->bytes / f->s * 1e-9, f->flop / f->s * 1e-9, f->s / f->one);
        if (f->memory > 0) printf(" %10.2f %7.0f %% of %s", f->bytes / f->memory * 1e-9, 100 * of_limit, what);
        printf("\n");
    }
    b->first = false;
    fflush(stdout);
}

static void product(bench *b, const moa_kernel *k) {
    double one = 0;
    if (!b->filled) memset(b->w, 0x2a, RING); /* any bytes do as weights: the time does not depend on them, as long as none is a NaN or denormal */
    b->filled = true;
    for (size_t i = 0; i < sizeof tok_counts / sizeof *tok_counts; i++) {
        const int n = tok_counts[i];
        if (k->isa == MOA_ISA_REF && n > 32) break; /* plain C takes seconds and nobody waits for it */
        const double s = seconds(k, b, n);
        if (n == 1) one = s;
        b->memory = true;
        const double memory = k->isa == MOA_ISA_REF ? s : seconds(k, b, n); /* nor is it bound by reading */
        b->memory = false;
        b->at = 0;
        print(b, k, n, &(figures){s, (double)moa_row_bytes(k->dtype, (int64_t)N_OUT * N_IN), 2.0 * n * N_OUT * N_IN, one, memory});
    }
}

static void vector(bench *b, const moa_kernel *k) {
    for (int i = 0; i < N_VEC; i++) b->y[i] = b->x[i];
    const double s = seconds(k, b, 1);
    print(b, k, 1, &(figures){s, N_VEC * 4.0, 2.0 * N_VEC, s, 0});
}

/* ---- the choice ---- */

typedef struct choosing { bool json, first; } choosing;

static void told(void *ctx, moa_kernel_op op, moa_dtype type, int class, const moa_kernel *const *rank, const double *s) {
    static const char *const rows[MOA_ROW_CLASSES] = {"1", "2-4", "5-15", "16+"};
    choosing *c = ctx;
    const moa_kernel *usual = moa_kernel_usual(op, type, class);
    double usual_s = s[0];
    for (int i = 0; i < MOA_RANKS && rank[i]; i++)
        if (rank[i] == usual) usual_s = s[i];
    if (c->json) {
        printf("%s{\"rows\":\"%s\",\"kernel\":\"%s\",\"usual\":\"%s\",\"x_faster\":%.3f}", c->first ? "" : ",\n", rows[class], rank[0]->name, usual ? usual->name : "", usual_s / s[0]);
    } else {
        if (c->first) printf("%-6s %-26s %10s   others, in times of it\n", "rows", "fastest kernel", "us");
        printf("%-6s %-26s %10.1f  ", rows[class], rank[0]->name, s[0] * 1e6);
        for (int i = 1; i < MOA_RANKS && rank[i]; i++) printf(" %s %.2f", strrchr(rank[i]->name, '_') + 1, s[i] / s[0]);
        printf("%s\n", rank[0] == usual ? "" : "   (not the usual one)");
    }
    c->first = false;
    fflush(stdout);
}

static int tune(const moa_bench_opt *o, moa_machine *m, moa_err *err) {
    choosing c = {.json = o->json, .first = true};
    if (o->json) printf("{\"chosen\":[\n");
    MOA_TRY(moa_tune(&m->tuned, told, &c, err));
    if (o->json) printf("]}\n");
    char path[4096];
    MOA_TRY(moa_machine_path(path, err));
    MOA_TRY(moa_machine_save(m, err)); /* asked for, so that it is an error where it cannot be kept */
    if (!o->json) printf("kept in %s: from now on these are used; delete it to take the usual ones\n", path);
    return 0;
}

static int run(const moa_bench_opt *o, moa_err *err) {
    bench b = {.opt = o, .first = true};
    moa_err note;
    int n, rc = moa_machine_get(&b.machine, &note, err);
    if (rc >= 0 && note.code && !o->tune) fprintf(stderr, "moa: note: %s\n", note.text);
    if (rc < 0 || o->tune) return rc < 0 ? rc : tune(o, &b.machine, err);
    if ((rc = open_bench(&b, err)) < 0) goto end;
    const moa_kernel *const *list = moa_kernel_list(&n), *quant = NULL;
    for (int i = 0; i < n; i++)
        if (list[i]->op == MOA_K_QUANT_Q8 && list[i]->isa == MOA_ISA_REF) quant = list[i];
    quant->fn.quant_q8(&b.act, b.x, N_IN, 0, MAX_TOK);
    if (o->json) printf("{\"kernels\":[\n");
    for (int i = 0; i < n; i++) {
        const moa_kernel *k = list[i];
        if (k->op > MOA_K_EXP || k->isa > moa_isa_best() || (k->usable && !k->usable())) continue;
        if (o->arg && !strstr(k->name, o->arg)) continue;
        if (k->op <= MOA_K_GEMM_PACKED)
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
    .name = "kernels", .help = "every inner loop on one core: GB/s, GFLOP/s, share of the machine's limit, cost of a batch; --tune", .run = run};
