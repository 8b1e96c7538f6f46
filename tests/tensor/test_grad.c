/* test_grad.c - every op's backward against finite differences, then a whole two-layer transformer.
 *
 * Loss: sum of the output times fixed random numbers, taken in double. Derivative: five-point differences with step h, whose
 * truncation is O(h^4) and whose f32 rounding noise is about 1e-7 * sqrt(count) / h. Every element of every input
 * up to 400 elements, beyond that 40 random directions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "op_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const double step = 0.03;
/* Allowed: this much of the largest element of the gradient, plus as much of 1. */
static const double tolerance = 1e-3;
enum { N_WEIGHT = 8192 }; /* elements of the largest output */

/* The loss at the current inputs, without a tape. */
static double loss_at(tcase *c, int i, const float *r) {
    c->x.tape = NULL;
    const moa_tensor *out = case_call(c, i);
    if (!out) fail_msg("%s (%s): %s", op_cases[i].op, op_cases[i].label, c->x.err.text);
    double s = 0;
    for (int64_t j = 0; j < moa_tensor_count(out); j++) s += (double)((float *)out->data)[j] * (double)r[j];
    moa_arena_reset(c->x.arena);
    return s;
}

/* d loss / dt of inputs p + t v, by f(-2h) - 8 f(-h) + 8 f(h) - f(2h) over 12 h. */
static double slope(tcase *c, int i, const float *r, float *p, const float *v, int64_t n) {
    static const int at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
    float *keep = malloc(sizeof *keep * (size_t)n);
    memcpy(keep, p, sizeof *keep * (size_t)n);
    double s = 0;
    for (int k = 0; k < 4; k++) {
        for (int64_t j = 0; j < n; j++) p[j] = keep[j] + (float)(at[k] * step) * v[j];
        s += weight[k] * loss_at(c, i, r);
    }
    memcpy(p, keep, sizeof *keep * (size_t)n);
    free(keep);
    return s / (12 * step);
}

static void check_input(tcase *c, int i, int in, const float *r, const float *grad) {
    const int64_t n = moa_tensor_count(&c->in[in]);
    const bool each = n <= 400;
    float *v = calloc((size_t)n, sizeof *v);
    double top = 0;
    for (int64_t j = 0; j < n; j++) top = fmax(top, fabs((double)grad[j]));
    for (int64_t k = 0; k < (each ? n : 40); k++) {
        double want = 0;
        for (int64_t j = 0; j < n; j++) {
            v[j] = each ? (j == k) : (float)(moa_rng_normal(&c->rng) / sqrt((double)n));
            want += (double)v[j] * (double)grad[j];
        }
        const double got = slope(c, i, r, c->in[in].data, v, n);
        if (!(fabs(got - want) <= tolerance * (1 + top)))
            fail_msg("%s (%s): input %d, %s %lld: backward gives %.6g, differences %.6g (largest element %.3g)", op_cases[i].op,
                     op_cases[i].label, in, each ? "element" : "direction", (long long)k, want, got, top);
    }
    free(v);
}

/* Backward of case i; gradients land in heap buffers that start at `start`, to see that they are added to. */
static void gradients(tcase *c, int i, float **grad, moa_tensor *view, const float *r, float start) {
    moa_tape *tape = c->x.tape = moa_tape_new();
    for (int k = 0; k < c->n_in; k++) {
        if (!c->in[k].needs_grad) continue;
        const int64_t n = moa_tensor_count(&c->in[k]);
        grad[k] = malloc(sizeof(float) * (size_t)n);
        for (int64_t j = 0; j < n; j++) grad[k][j] = start;
        view[k] = moa_view(MOA_F32, grad[k], c->in[k].n_dim, c->in[k].shape);
        c->in[k].grad = &view[k];
    }
    moa_tensor *out = case_call(c, i);
    if (!out) fail_msg("%s (%s): %s", op_cases[i].op, op_cases[i].label, c->x.err.text);
    const int64_t n = moa_tensor_count(out);
    assert_true(n <= N_WEIGHT);
    moa_tensor weights = moa_view2(MOA_F32, (void *)(uintptr_t)r, 1, n);
    moa_tensor *loss = moa_linear(&c->x, moa_reshape(&c->x, out, 2, (const int64_t[]){1, n}), &weights, NULL);
    if (!loss || moa_tape_backward(&c->x, loss, 1.0f, &c->x.err) < 0)
        fail_msg("%s (%s): %s", op_cases[i].op, op_cases[i].label, c->x.err.text);
    for (int k = 0; k < c->n_in; k++) c->in[k].grad = NULL;
    moa_tape_free(tape);
    c->x.tape = NULL;
    moa_arena_reset(c->x.arena);
}

static void check_case(int i, moa_isa isa, int n_threads, bool differences, float **keep) {
    tcase c;
    float *grad[8] = {0}, r[N_WEIGHT];
    moa_tensor view[8];
    case_open(&c, i, isa, n_threads);
    for (int j = 0; j < N_WEIGHT; j++) r[j] = (float)moa_rng_normal(&c.rng);
    gradients(&c, i, grad, view, r, 0.5f);
    for (int k = 0; k < c.n_in; k++) {
        if (!grad[k]) continue;
        const int64_t n = moa_tensor_count(&c.in[k]);
        if (keep[k]) /* another instruction set or thread count gave keep */
            for (int64_t j = 0; j < n; j++)
                if (!(fabs((double)keep[k][j] - (double)grad[k][j]) <= 2e-5 * (10 + fabs((double)keep[k][j]))))
                    fail_msg("%s (%s): input %d, element %lld: %g with %s and %d threads, else %g", op_cases[i].op, op_cases[i].label, k,
                             (long long)j, (double)grad[k][j], moa_isa_name(isa), n_threads, (double)keep[k][j]);
        if (!differences) {
            free(grad[k]);
            continue;
        }
        keep[k] = grad[k];
        float *g = malloc(sizeof *g * (size_t)n);
        for (int64_t j = 0; j < n; j++) g[j] = grad[k][j] - 0.5f;
        check_input(&c, i, k, r, g);
        free(g);
    }
    case_close(&c);
}

static void backward_is_the_derivative(void **state) {
    (void)state;
    for (int i = 0; i < N_OP_CASES; i++) {
        if (!moa_op_find(op_cases[i].op)->backward) continue;
        float *keep[8] = {0};
        check_case(i, moa_isa_best(), 2, true, keep);
        for (int isa = 0; isa <= (int)moa_isa_best(); isa++) check_case(i, (moa_isa)isa, 1, false, keep);
        for (int k = 0; k < 8; k++) free(keep[k]);
    }
}

static void every_backward_has_a_case(void **state) {
    (void)state;
    int n;
    const moa_op *const *ops = moa_ops(&n);
    for (int o = 0; o < n; o++) {
        bool seen = !ops[o]->backward;
        for (int i = 0; i < N_OP_CASES; i++) seen |= !strcmp(op_cases[i].op, ops[o]->name);
        if (!seen) fail_msg("op '%s' has a backward and no case in op_cases.h", ops[o]->name);
    }
}

/* ---- a two-layer transformer ---- */

enum { VOCAB = 29, D = 24, HEADS = 4, KV = 2, HD = 6, FF = 40, LAYERS = 2, TOKENS = 70, PER_LAYER = 9, N_PARAM = 3 + LAYERS * PER_LAYER };

typedef struct net {
    moa_tensor p[N_PARAM], g[N_PARAM], half[N_PARAM];
    int32_t id[TOKENS], pos[TOKENS], start[TOKENS], target[TOKENS];
    float weight[TOKENS];
} net;

static void net_param(net *m, int *at, moa_rng *rng, int rows, int cols, float base) {
    float *p = malloc(sizeof *p * (size_t)(rows * cols)), *g = calloc((size_t)(rows * cols), sizeof *g);
    uint16_t *h = malloc(sizeof *h * (size_t)(rows * cols));
    for (int i = 0; i < rows * cols; i++) p[i] = base + (float)(moa_rng_normal(rng) * 0.2), h[i] = moa_f32_to_bf16(p[i]);
    const int64_t shape[2] = {rows, cols};
    const int n_dim = rows == 1 ? 1 : 2;
    const int64_t *s = rows == 1 ? shape + 1 : shape;
    m->p[*at] = moa_view(MOA_F32, p, n_dim, s);
    m->g[*at] = moa_view(MOA_F32, g, n_dim, s);
    m->half[*at] = moa_view(MOA_BF16, h, n_dim, s);
    m->p[*at].grad = &m->g[*at];
    m->p[*at].needs_grad = true;
    if (n_dim == 2) m->p[*at].half = &m->half[*at];
    ++*at;
}

static void net_open(net *m, uint64_t seed) {
    moa_rng rng;
    int at = 0;
    moa_rng_seed(&rng, seed);
    memset(m, 0, sizeof *m);
    net_param(m, &at, &rng, VOCAB, D, 0), net_param(m, &at, &rng, VOCAB, D, 0), net_param(m, &at, &rng, 1, D, 1);
    for (int l = 0; l < LAYERS; l++) {
        net_param(m, &at, &rng, 1, D, 1), net_param(m, &at, &rng, HEADS * HD, D, 0), net_param(m, &at, &rng, KV * HD, D, 0);
        net_param(m, &at, &rng, KV * HD, D, 0), net_param(m, &at, &rng, D, HEADS * HD, 0), net_param(m, &at, &rng, 1, D, 1);
        net_param(m, &at, &rng, FF, D, 0), net_param(m, &at, &rng, FF, D, 0), net_param(m, &at, &rng, D, FF, 0);
    }
    for (int i = 0; i < TOKENS; i++) {
        m->id[i] = (int32_t)moa_rng_below(&rng, VOCAB), m->target[i] = (int32_t)moa_rng_below(&rng, VOCAB);
        m->start[i] = i < 31 ? 0 : i < 32 ? 31 : 32;
        m->pos[i] = i - m->start[i];
        m->weight[i] = i % 3 ? 1.0f : 0.0f;
    }
}
static void net_close(net *m) {
    for (int i = 0; i < N_PARAM; i++) free(m->p[i].data), free(m->g[i].data), free(m->half[i].data);
}

static moa_tensor *net_loss(net *m, moa_exec *x) {
    moa_tensor id = moa_view1(MOA_I32, m->id, TOKENS), pos = moa_view1(MOA_I32, m->pos, TOKENS), start = moa_view1(MOA_I32, m->start, TOKENS);
    moa_tensor target = moa_view1(MOA_I32, m->target, TOKENS), weight = moa_view1(MOA_F32, m->weight, TOKENS);
    /* The tape keeps pointers to inputs until backward: these live in the arena. */
    moa_tensor *leaf = moa_arena_alloc(x->arena, 5 * sizeof *leaf);
    leaf[0] = id, leaf[1] = pos, leaf[2] = start, leaf[3] = target, leaf[4] = weight;
    moa_tensor *h = moa_embedding(x, &m->p[0], &leaf[0]);
    for (int l = 0; l < LAYERS; l++) {
        moa_tensor *p = &m->p[3 + l * PER_LAYER], *a = moa_rms_norm(x, h, &p[0], 1e-5f);
        moa_tensor *q = moa_rope(x, moa_linear(x, a, &p[1], NULL), &leaf[1], HD, HD, 10000, 1, NULL, MOA_ROPE_NEOX);
        moa_tensor *k = moa_rope(x, moa_linear(x, a, &p[2], NULL), &leaf[1], HD, HD, 10000, 1, NULL, MOA_ROPE_NEOX);
        h = moa_add(x, h, moa_linear(x, moa_attention(x, q, k, moa_linear(x, a, &p[3], NULL), &leaf[2], HEADS, KV, 0.4f), &p[4], NULL));
        moa_tensor *f = moa_rms_norm(x, h, &p[5], 1e-5f);
        h = moa_add(x, h, moa_linear(x, moa_silu_mul(x, moa_linear(x, f, &p[6], NULL), moa_linear(x, f, &p[7], NULL)), &p[8], NULL));
    }
    return moa_cross_entropy(x, moa_linear(x, moa_rms_norm(x, h, &m->p[2], 1e-5f), &m->p[1], NULL), &leaf[3], &leaf[4], 0);
}

static float net_run(net *m, moa_exec *x) {
    moa_tensor *loss = net_loss(m, x);
    if (!loss) fail_msg("%s", x->err.text);
    const float v = *(float *)loss->data;
    if (x->tape) {
        if (moa_tape_backward(x, loss, 1.0f, &x->err) < 0) fail_msg("%s", x->err.text);
        moa_tape_reset(x->tape);
    }
    moa_arena_reset(x->arena);
    return v;
}

static moa_exec net_exec(int n_threads, moa_dtype compute) {
    moa_exec x = {.arena = moa_arena_new(0, 0), .n_threads = n_threads, .compute = compute, .exact = true};
    assert_int_equal(moa_kernels_default(&x.k, &x.err), 0);
    return x;
}

/* Along random directions in the space of all weights. */
static void whole_graph_derivative(void **state) {
    (void)state;
    net m;
    net_open(&m, 1);
    moa_exec x = net_exec(2, MOA_F32);
    x.tape = moa_tape_new();
    net_run(&m, &x);
    moa_tape_free(x.tape);
    x.tape = NULL;
    for (uint64_t dir = 0; dir < 6; dir++) {
        static const int at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
        const double h = 0.003;
        double want = 0, got = 0;
        for (int k = -1; k < 4; k++) {
            moa_rng rng;
            moa_rng_seed(&rng, 100 + dir);
            net at_h;
            net_open(&at_h, 1);
            for (int i = 0; i < N_PARAM; i++)
                for (int64_t j = 0; j < moa_tensor_count(&m.p[i]); j++) {
                    const double v = moa_rng_normal(&rng) * 0.3;
                    if (k < 0) want += v * (double)((float *)m.g[i].data)[j];
                    else ((float *)at_h.p[i].data)[j] += (float)(at[k] * h * v);
                }
            if (k >= 0) got += weight[k] * (double)net_run(&at_h, &x) / (12 * h);
            net_close(&at_h);
        }
        if (!(fabs(got - want) <= 2e-3 * (1 + fabs(want)))) fail_msg("direction %d: backward %.6g, differences %.6g", (int)dir, want, got);
    }
    moa_arena_free(x.arena);
    net_close(&m);
}

static double cosine(const net *a, const net *b, double *ratio) {
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < N_PARAM; i++)
        for (int64_t j = 0; j < moa_tensor_count(&a->p[i]); j++) {
            const double u = (double)((float *)a->g[i].data)[j], v = (double)((float *)b->g[i].data)[j];
            ab += u * v, aa += u * u, bb += v * v;
        }
    *ratio = sqrt(bb / aa);
    return ab / sqrt(aa * bb);
}

/* bf16 products change the gradient's direction and length by less than a per cent; a second backward adds the same again, and
 * the same seed and thread count give the same bits. */
static void bf16_products(void **state) {
    (void)state;
    net f, h, again;
    double ratio;
    net_open(&f, 1), net_open(&h, 1), net_open(&again, 1);
    moa_exec x = net_exec(2, MOA_F32), y = net_exec(2, MOA_BF16);
    x.tape = moa_tape_new(), y.tape = moa_tape_new();
    const float a = net_run(&f, &x), b = net_run(&h, &y), c = net_run(&again, &y);
    assert_true(fabsf(a - b) < 2e-2f);
    assert_true(b == c);
    assert_true(cosine(&f, &h, &ratio) > 0.999);
    assert_true(fabs(ratio - 1) < 0.01);
    for (int i = 0; i < N_PARAM; i++) assert_memory_equal(h.g[i].data, again.g[i].data, sizeof(float) * (size_t)moa_tensor_count(&h.p[i]));
    net_run(&f, &x);
    cosine(&h, &f, &ratio);
    assert_true(fabs(ratio - 2) < 0.02);
    moa_tape_free(x.tape), moa_tape_free(y.tape);
    moa_arena_free(x.arena), moa_arena_free(y.arena);
    net_close(&f), net_close(&h), net_close(&again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_backward_has_a_case), cmocka_unit_test(backward_is_the_derivative),
        cmocka_unit_test(whole_graph_derivative), cmocka_unit_test(bf16_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
