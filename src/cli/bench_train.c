/* bench_train.c - moa bench train: how much of the dense products' own speed a training step keeps.
 *
 * A decoder (d 256, 6 layers, 8 heads over 4 kv heads, feed-forward 768, vocabulary 4096, tied to nothing) runs forward and
 * backward on 4096 tokens packed from documents of about 200. In the same run the same products, in the same order and
 * layouts, are done alone. The ratio says what attention, norms, activations, loss and memory traffic cost; both sides
 * are measured in turns, so a machine that is busy disturbs both. Then every optimiser makes its update (zeroed gradients, their norm,
 * the step itself with the bf16 copies), which has no bare counterpart and is told apart: a whole step is all of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench.h"

#include "agent/stats.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/rng.h"
#include "tensor/dense.h"
#include "tensor/exec.h"
#include "train/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 256, N_LAYER = 6, N_HEAD = 8, N_KV = 4, HD = 32, FF = 768, VOCAB = 4096, TOKENS = 4096 };
enum { NORM_A, NORM_F, Q, K, V, O, GATE, UP, DOWN, PER_LAYER };
enum { N_PARAM = 3 + N_LAYER * PER_LAYER, MAX_OPTIM = 8 };

typedef struct net {
    moa_arena *arena;                     /* parameters */
    moa_tensor p[N_PARAM], g[N_PARAM], h[N_PARAM];
    moa_tensor id, pos, start, target, weight;
} net;

static int make_param(net *m, int i, moa_rng *rng, int64_t rows, int64_t cols) {
    const int64_t n = rows * cols;
    float *p = moa_arena_alloc(m->arena, sizeof *p * (size_t)n), *g = moa_arena_calloc(m->arena, sizeof *g * (size_t)n);
    uint16_t *h = moa_arena_alloc(m->arena, sizeof *h * (size_t)n);
    if (!p || !g || !h) return MOA_ENOMEM;
    const int n_dim = rows == 1 ? 1 : 2;
    const int64_t shape[2] = {rows == 1 ? cols : rows, cols};
    for (int64_t j = 0; j < n; j++) {
        p[j] = rows == 1 ? 1.0f : 0.02f * (float)moa_rng_normal(rng);
        h[j] = moa_f32_to_bf16(p[j]);
    }
    m->p[i] = moa_view(MOA_F32, p, n_dim, shape), m->g[i] = moa_view(MOA_F32, g, n_dim, shape);
    m->h[i] = moa_view(MOA_BF16, h, n_dim, shape);
    m->p[i].grad = &m->g[i];
    m->p[i].needs_grad = true;
    m->p[i].half = n_dim == 2 ? &m->h[i] : NULL;
    return MOA_OK;
}

static int make_data(net *m, moa_rng *rng) {
    int32_t *v = moa_arena_alloc(m->arena, sizeof *v * 4 * TOKENS);
    float *w = moa_arena_alloc(m->arena, sizeof *w * TOKENS);
    if (!v || !w) return MOA_ENOMEM;
    for (int i = 0, start = 0, end = 0; i < TOKENS; i++) {
        if (i == end) start = i, end = i + moa_rng_range(rng, 100, 300);
        v[i] = (int32_t)moa_rng_below(rng, VOCAB);
        v[TOKENS + i] = i - start;
        v[2 * TOKENS + i] = start;
        v[3 * TOKENS + i] = (int32_t)moa_rng_below(rng, VOCAB);
        w[i] = 1.0f;
    }
    m->id = moa_view1(MOA_I32, v, TOKENS), m->pos = moa_view1(MOA_I32, v + TOKENS, TOKENS);
    m->start = moa_view1(MOA_I32, v + 2 * TOKENS, TOKENS), m->target = moa_view1(MOA_I32, v + 3 * TOKENS, TOKENS);
    m->weight = moa_view1(MOA_F32, w, TOKENS);
    return MOA_OK;
}

static const int64_t layer_shape[PER_LAYER][2] = {
    [NORM_A] = {1, D}, [NORM_F] = {1, D}, [Q] = {N_HEAD * HD, D}, [K] = {N_KV * HD, D}, [V] = {N_KV * HD, D},
    [O] = {D, N_HEAD * HD}, [GATE] = {FF, D}, [UP] = {FF, D}, [DOWN] = {D, FF},
};

static int net_make(net *m, moa_err *err) {
    moa_rng rng;
    moa_rng_seed(&rng, 1);
    int rc = (m->arena = moa_arena_new(64 << 20, 0)) ? MOA_OK : MOA_ENOMEM;
    if (!rc) rc = make_param(m, 0, &rng, VOCAB, D);
    if (!rc) rc = make_param(m, 1, &rng, VOCAB, D);
    if (!rc) rc = make_param(m, 2, &rng, 1, D);
    for (int i = 3; i < N_PARAM && !rc; i++) rc = make_param(m, i, &rng, layer_shape[(i - 3) % PER_LAYER][0], layer_shape[(i - 3) % PER_LAYER][1]);
    if (!rc) rc = make_data(m, &rng);
    return rc ? moa_fail(err, rc, "bench train: no memory for the model") : MOA_OK;
}

static moa_tensor *layer(moa_exec *x, net *m, moa_tensor *w, moa_tensor *h) {
    const float scale = 1.0f / sqrtf((float)HD);
    moa_tensor *a = moa_rms_norm(x, h, &w[NORM_A], 1e-5f);
    moa_tensor *q = moa_rope(x, moa_linear(x, a, &w[Q], NULL), &m->pos, HD, HD, 10000, 1, NULL, MOA_ROPE_NEOX);
    moa_tensor *k = moa_rope(x, moa_linear(x, a, &w[K], NULL), &m->pos, HD, HD, 10000, 1, NULL, MOA_ROPE_NEOX);
    moa_tensor *v = moa_linear(x, a, &w[V], NULL);
    h = moa_add(x, h, moa_linear(x, moa_attention(x, q, k, v, &m->start, N_HEAD, N_KV, scale), &w[O], NULL));
    moa_tensor *f = moa_rms_norm(x, h, &w[NORM_F], 1e-5f);
    moa_tensor *gate = moa_linear(x, f, &w[GATE], NULL), *up = moa_linear(x, f, &w[UP], NULL);
    return moa_add(x, h, moa_linear(x, moa_silu_mul(x, gate, up), &w[DOWN], NULL));
}

/* Seconds of forward and of backward. */
static int step(moa_exec *x, net *m, double t[2], moa_err *err) {
    const double t0 = moa_now();
    moa_tensor *h = moa_embedding(x, &m->p[0], &m->id);
    for (int l = 0; l < N_LAYER; l++) h = layer(x, m, &m->p[3 + l * PER_LAYER], h);
    moa_tensor *loss = moa_cross_entropy(x, moa_linear(x, moa_rms_norm(x, h, &m->p[2], 1e-5f), &m->p[1], NULL), &m->target, &m->weight, 0);
    const double t1 = moa_now();
    MOA_TRY(moa_tape_backward(x, loss, 1.0f, err));
    t[1] = moa_now() - t1;
    t[0] = t1 - t0;
    moa_tape_reset(x->tape);
    moa_arena_reset(x->arena);
    return MOA_OK;
}

/* Operands of the bare products. */
typedef struct bare { float *c; void *a, *b; int n_threads; moa_dtype dtype; double seconds; moa_err *err; } bare;

static int product(bare *s, int64_t m, int64_t n, int64_t k, bool a_t, bool b_t, bool add) {
    const moa_dense d = {.m = m, .n = n, .k = k, .dtype = s->dtype, .a_t = a_t, .b_t = b_t, .add = add, .n_threads = s->n_threads};
    const double t0 = moa_now();
    const int rc = moa_dense_run(&d, s->c, s->a, s->b, NULL, s->err);
    s->seconds += moa_now() - t0;
    return rc;
}

static int bare_matrix(bare *s, int64_t n_out, int64_t n_in) {
    MOA_TRY(product(s, TOKENS, n_out, n_in, false, true, false)); /* Y = X W^T */
    MOA_TRY(product(s, TOKENS, n_in, n_out, false, false, false)); /* dX = dY W */
    return product(s, n_out, n_in, TOKENS, true, false, true);     /* dW += dY^T X */
}

static int bare_step(bare *s) {
    s->seconds = 0;
    for (int l = 0; l < N_LAYER; l++)
        for (int i = Q; i < PER_LAYER; i++) MOA_TRY(bare_matrix(s, layer_shape[i][0], layer_shape[i][1]));
    return bare_matrix(s, VOCAB, D);
}

static double step_flops(void) {
    double weights = (double)VOCAB * D;
    for (int i = Q; i < PER_LAYER; i++) weights += (double)N_LAYER * (double)(layer_shape[i][0] * layer_shape[i][1]);
    return 6.0 * TOKENS * weights;
}

/* ---- updates ---- */
typedef struct trainee {
    const moa_optimizer *o;
    moa_optim_param p[N_PARAM];
    float *states;
    double t[MOA_BENCH_RUNS];
} trainee;
typedef struct trainees { trainee of[MAX_OPTIM]; int n; moa_exec scratch; } trainees;

static int trainees_make(trainees *q, net *m, const moa_exec *x, moa_err *err) {
    int n;
    const moa_optimizer *const *all = moa_optimizers(&n);
    q->n = n < MAX_OPTIM ? n : MAX_OPTIM;
    q->scratch = (moa_exec){.arena = moa_arena_new(0, 0), .k = x->k, .n_threads = x->n_threads, .compute = x->compute};
    for (int i = 0; i < q->n; i++) {
        trainee *u = &q->of[i];
        u->o = all[i];
        for (int j = 0; j < N_PARAM; j++) u->p[j] = (moa_optim_param){.w = &m->p[j], .hidden = j >= 3 && m->p[j].n_dim == 2};
        u->states = calloc((size_t)moa_optim_states(u->o, u->p, N_PARAM, NULL), sizeof *u->states);
        if (!u->states || !q->scratch.arena) return moa_fail(err, MOA_ENOMEM, "bench train: no memory for the optimisers");
        moa_optim_states(u->o, u->p, N_PARAM, u->states);
    }
    return MOA_OK;
}

static void trainees_free(trainees *q) {
    for (int i = 0; q && i < q->n; i++) free(q->of[i].states);
    if (q) moa_arena_free(q->scratch.arena);
    free(q);
}

/* A rate so small that many runs leave the weights where they are. */
static int update(double *seconds, trainee *u, moa_exec *scratch, int64_t number, moa_err *err) {
    const moa_optim_cfg cfg = {.lr = 1e-7, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .momentum = 0.95, .weight_decay = 0.1, .step = number,
                               .n_threads = scratch->n_threads};
    const double t0 = moa_now(), norm = moa_grad_norm(u->p, N_PARAM, scratch->n_threads);
    MOA_TRY(moa_optim_update(u->o, u->p, N_PARAM, cfg, norm, 1.0, scratch, err));
    *seconds = moa_now() - t0;
    return MOA_OK;
}

static double zero_grads(net *m) {
    const double t0 = moa_now();
    for (int i = 0; i < N_PARAM; i++) memset(m->g[i].data, 0, moa_tensor_bytes(&m->g[i]));
    return moa_now() - t0;
}

/* ---- all of it, in turns ---- */
typedef struct result { double forward, backward, bare, update[MAX_OPTIM]; } result;

static int measure(result *r, moa_exec *x, net *m, bare *s, trainees *q, int runs, moa_err *err) {
    double t[2], forward[MOA_BENCH_RUNS], backward[MOA_BENCH_RUNS], alone[MOA_BENCH_RUNS], zero[MOA_BENCH_RUNS];
    for (int i = -1; i < runs; i++) { /* the first round fills caches and arenas */
        const int at = i < 0 ? 0 : i;
        zero[at] = zero_grads(m);
        MOA_TRY(step(x, m, t, err));
        MOA_TRY(bare_step(s));
        forward[at] = t[0], backward[at] = t[1], alone[at] = s->seconds;
        for (int k = 0; k < q->n; k++) MOA_TRY(update(&q->of[k].t[at], &q->of[k], &q->scratch, i + 2, err));
    }
    *r = (result){moa_median(forward, runs), moa_median(backward, runs), moa_median(alone, runs), {0}};
    const double zeroing = moa_median(zero, runs);
    for (int k = 0; k < q->n; k++) r->update[k] = zeroing + moa_median(q->of[k].t, runs);
    return MOA_OK;
}

/* "key":{"adamw":1.23,"muon":4.56} of scale * (a + each update) or, for rates, scale / that. */
static void print_each(const char *key, const result *r, const trainees *q, double a, double scale, bool rate) {
    printf(",\"%s\":{", key);
    for (int k = 0; k < q->n; k++) {
        const double s = a + r->update[k];
        printf("%s\"%s\":%.*f", k ? "," : "", q->of[k].o->name, rate ? 0 : 2, rate ? scale / s : scale * s);
    }
    printf("}");
}

static void print(const result *r, const trainees *q, const moa_exec *x, bool json) {
    const double all = r->forward + r->backward, flops = step_flops();
    const char *type = x->compute == MOA_BF16 ? "bf16" : "f32";
    if (json) {
        printf("{\"bench\":\"train\",\"type\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"tokens\":%d,\"forward_ms\":%.2f,\"backward_ms\":%.2f,"
               "\"tokens_per_s\":%.0f,\"gflops\":%.1f,\"onednn_ms\":%.2f,\"onednn_gflops\":%.1f,\"ratio\":%.3f",
               type, moa_isa_name(x->k->isa), x->n_threads, (int)TOKENS, r->forward * 1e3, r->backward * 1e3, TOKENS / all, flops / all / 1e9,
               r->bare * 1e3, flops / r->bare / 1e9, r->bare / all);
        print_each("update_ms", r, q, 0, 1e3, false);
        print_each("step_ms", r, q, all, 1e3, false);
        print_each("step_tokens_per_s", r, q, all, TOKENS, true);
        printf("}\n");
        return;
    }
    printf("training step, %d tokens, %s products, %s, %d threads\n", (int)TOKENS, type, moa_isa_name(x->k->isa), x->n_threads);
    printf("  forward   %8.1f ms\n  backward  %8.1f ms\n", r->forward * 1e3, r->backward * 1e3);
    printf("  together  %8.1f ms   %.0f tokens/s   %.0f GFLOP/s in dense products\n", all * 1e3, TOKENS / all, flops / all / 1e9);
    printf("  products alone %3.1f ms   %.0f GFLOP/s\n  ratio     %8.1f %%\n", r->bare * 1e3, flops / r->bare / 1e9, 100 * r->bare / all);
    for (int k = 0; k < q->n; k++)
        printf("  update    %8.1f ms   by %s; the whole step %.1f ms, %.0f tokens/s\n", r->update[k] * 1e3, q->of[k].o->name,
               (all + r->update[k]) * 1e3, TOKENS / (all + r->update[k]));
}

static int run(const moa_bench_opt *o, moa_err *err) {
    net *m = calloc(1, sizeof *m);
    trainees *q = calloc(1, sizeof *q);
    moa_exec x = {.arena = moa_arena_new((size_t)1 << 30, 0), .tape = moa_tape_new(),
                  .n_threads = o->threads > 0 ? o->threads : moa_cpu_threads(), .compute = moa_dense_has_bf16() ? MOA_BF16 : MOA_F32};
    const int runs = o->runs ? o->runs : 7;
    const size_t big = sizeof(float) * TOKENS * VOCAB;
    bare s = {calloc(1, big), calloc(1, big), calloc(1, big), x.n_threads, x.compute, 0, err};
    result r;
    int rc = m && q && x.arena && x.tape && s.a && s.b && s.c ? MOA_OK : moa_fail(err, MOA_ENOMEM, "bench train: no memory");
    if (!rc) rc = moa_kernels_default(&x.k, err);
    if (!rc) rc = net_make(m, err);
    if (!rc) rc = trainees_make(q, m, &x, err);
    if (!rc) rc = measure(&r, &x, m, &s, q, runs, err);
    if (!rc) print(&r, q, &x, o->json);
    free(s.a), free(s.b), free(s.c);
    trainees_free(q);
    if (m) moa_arena_free(m->arena);
    free(m);
    moa_tape_free(x.tape);
    moa_arena_free(x.arena);
    return rc;
}

const moa_bench moa_bench_train = {.name = "train", .help = "a training step beside its bare matrix products, and with its update", .run = run};
