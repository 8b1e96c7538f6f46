/* test_tape.c - the tape itself: order of the reverse pass, gradients of tensors that are used more than once, buffers that are
 * shared and recycled, the same bits on every replay, reset, errors and the end of memory. What each op's backward computes is
 * the matter of test_grad.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/rng.h"
#include "tensor/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static moa_exec new_exec(size_t limit) {
    moa_exec x = {.arena = moa_arena_new(0, limit), .tape = moa_tape_new(), .n_threads = 1, .compute = MOA_F32};
    assert_true(x.arena && x.tape);
    assert_int_equal(moa_kernels_default(&x.k, NULL), 0);
    return x;
}

static void free_exec(moa_exec *x) {
    moa_tape_free(x->tape);
    moa_arena_free(x->arena);
}

static void next_step(moa_exec *x) {
    moa_tape_reset(x->tape);
    moa_arena_reset(x->arena);
    x->err = (moa_err){0};
}

/* Whole numbers in all tests but those of the net: every sum is exact, so gradients are compared with ==. */
static float ones[1 << 12];
static moa_tensor *sum(moa_exec *x, moa_tensor *t) {
    if (!t) return NULL;
    const int64_t n = moa_tensor_count(t);
    moa_tensor one = moa_view2(MOA_F32, ones, 1, n), *w = moa_new_tensor(x, MOA_F32, 2, one.shape);
    assert_true(n <= (int64_t)(sizeof ones / sizeof *ones));
    if (w) memcpy(w->data, ones, (size_t)n * sizeof *ones);
    return moa_linear(x, moa_reshape(x, t, 2, (int64_t[]){1, n}), w, NULL);
}

static void back(moa_exec *x, moa_tensor *loss, float scale) {
    moa_err err = {0};
    if (!loss || moa_tape_backward(x, loss, scale, &err) < 0) fail_msg("%s%s", x->err.text, loss ? err.text : "");
}

static float grad_at(const moa_tensor *t, int i) { return ((const float *)t->grad->data)[i]; }

/* ---- order ---- */
static char order[64]; /* names of probes, in the order in which their backward ran */

static int probe_shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    (void)err;
    out->n_dim = n->in[0]->n_dim;
    memcpy(out->shape, n->in[0]->shape, sizeof out->shape);
    return 0;
}
static void probe_forward(moa_exec *x, moa_node *n) {
    (void)x;
    memcpy(n->out->data, n->in[0]->data, moa_tensor_bytes(n->out));
}
static void probe_backward(moa_exec *x, moa_node *n) {
    const size_t at = strlen(order);
    if (at + 1 < sizeof order) order[at] = (char)n->param[0], order[at + 1] = 0;
    moa_grad_pass(x, n, 0);
}
static const moa_op probe_op = {.name = "probe", .shape = probe_shape, .forward = probe_forward, .backward = probe_backward};
static moa_tensor *probe(moa_exec *x, char name, moa_tensor *in) { return moa_apply(x, &probe_op, &in, 1, &name, 1); }

static void reverse_order_of_calls(void **state) {
    (void)state;
    moa_exec x = new_exec(0);
    float v[2] = {3, 4}, k[2] = {1, 1};
    moa_tensor in = moa_view1(MOA_F32, v, 2), constant = moa_view1(MOA_F32, k, 2);
    in.needs_grad = true;
    moa_tensor *a = probe(&x, 'a', &in), *b = probe(&x, 'b', a);
    moa_tensor *d = probe(&x, 'd', a); /* not part of the loss */
    probe(&x, 'e', d);
    assert_false(probe(&x, 'k', &constant)->needs_grad); /* nothing to differentiate: not recorded */
    assert_int_equal(moa_tape_length(x.tape), 4);
    moa_tensor *c = probe(&x, 'c', a), *both = moa_add(&x, probe(&x, 'f', b), c);
    order[0] = 0;
    back(&x, sum(&x, both), 1);
    assert_string_equal(order, "fcba");
    assert_true(grad_at(&in, 0) == 2 && grad_at(&in, 1) == 2); /* through b and through c; d and e give nothing */
    free_exec(&x);
}

/* ---- tensors that are used again ---- */
static void uses_add_up(void **state) {
    (void)state;
    moa_exec x = new_exec(0);
    float v[3] = {1, -2, 5};
    moa_tensor in = moa_view1(MOA_F32, v, 3);
    in.needs_grad = true;
    back(&x, sum(&x, moa_add(&x, moa_mul(&x, &in, &in), &in)), 1); /* a leaf, three times: x^2 + x */
    for (int i = 0; i < 3; i++) assert_true(grad_at(&in, i) == 2 * v[i] + 1);
    next_step(&x);
    moa_tensor *h = moa_scale(&x, &in, 2); /* an intermediate: h^2 + h with h = 2x */
    back(&x, sum(&x, moa_add(&x, moa_mul(&x, h, h), h)), 1);
    for (int i = 0; i < 3; i++) assert_true(grad_at(&in, i) == 2 * (4 * v[i] + 1));
    next_step(&x);
    moa_tensor *twice = moa_add(&x, &in, &in); /* both inputs of one call */
    back(&x, sum(&x, moa_add(&x, twice, twice)), 1);
    for (int i = 0; i < 3; i++) assert_true(grad_at(&in, i) == 4);
    free_exec(&x);
}

/* add hands its own gradient to a and to b. The product then adds to a's: b must keep the old values. */
static void shared_gradients_are_copied_on_write(void **state) {
    (void)state;
    moa_exec x = new_exec(0);
    float v[3] = {1, -2, 5}, u[3] = {7, 7, 7};
    moa_tensor in = moa_view1(MOA_F32, v, 3), other = moa_view1(MOA_F32, u, 3);
    in.needs_grad = other.needs_grad = true;
    moa_tensor *a = moa_scale(&x, &in, 1), *b = moa_scale(&x, &other, 1);
    moa_tensor *square = moa_mul(&x, a, a), *s = moa_add(&x, a, b);
    back(&x, sum(&x, moa_add(&x, s, square)), 1);
    for (int i = 0; i < 3; i++) assert_true(grad_at(&in, i) == 1 + 2 * v[i] && grad_at(&other, i) == 1);
    free_exec(&x);
}

/* A parameter brings its own gradient, which is added to; the scale multiplies; a second pass over the tape adds the same. */
static void parameters_are_added_to(void **state) {
    (void)state;
    moa_exec x = new_exec(0);
    float v[2] = {3, 4}, g[2] = {100, 200};
    moa_tensor in = moa_view1(MOA_F32, v, 2), grad = moa_view1(MOA_F32, g, 2);
    in.needs_grad = true;
    in.grad = &grad;
    moa_tensor *loss = sum(&x, moa_mul(&x, &in, &in));
    back(&x, loss, 1);
    assert_true(g[0] == 106 && g[1] == 208);
    back(&x, loss, 0.5f);
    assert_true(g[0] == 109 && g[1] == 212);
    next_step(&x);
    assert_ptr_equal(in.grad, &grad); /* not the tape's to take away */
    assert_true(g[0] == 109 && g[1] == 212);
    free_exec(&x);
}

static void leaves_without_a_gradient_get_one_until_reset(void **state) {
    (void)state;
    moa_exec x = new_exec(0);
    float v[2] = {3, 4};
    moa_tensor in = moa_view1(MOA_F32, v, 2);
    in.needs_grad = true;
    for (int step = 0; step < 2; step++) { /* zeroed each time: not 6, then 12 */
        back(&x, sum(&x, moa_mul(&x, &in, &in)), 1);
        assert_non_null(in.grad);
        assert_true(grad_at(&in, 0) == 6 && grad_at(&in, 1) == 8);
        moa_tape_reset(x.tape);
        assert_null(in.grad);
        assert_int_equal(moa_tape_length(x.tape), 0);
        moa_arena_reset(x.arena);
    }
    free_exec(&x);
}

/* ---- length and memory ---- */
static void long_tapes_recycle_their_gradients(void **state) {
    (void)state;
    enum { LONG = 3000, N = 1024 };
    moa_exec x = new_exec(0);
    moa_tensor in = moa_view1(MOA_F32, ones, N), *h = &in;
    in.needs_grad = true;
    for (int i = 0; i < LONG; i++) h = moa_scale(&x, h, i % 2 ? 0.5f : 2.0f);
    assert_int_equal(moa_tape_length(x.tape), LONG);
    moa_tensor *loss = sum(&x, h);
    const size_t before = moa_arena_peak(x.arena);
    back(&x, loss, 1);
    for (int i = 0; i < N; i++) assert_true(grad_at(&in, i) == 1);
    assert_true(moa_arena_peak(x.arena) - before < 8 * N * sizeof(float)); /* a few buffers, not one a node */
    free_exec(&x);
}

/* ---- a small net: the same bits on every replay ---- */
enum { ROWS = 5, D = 32, FF = 48, VOCAB = 7, N_W = 5 };
typedef struct net {
    float w[N_W][FF * D], g[N_W][FF * D], in[ROWS * D], weight[ROWS];
    int32_t target[ROWS];
    moa_tensor tw[N_W], tg[N_W], tin, ttarget, tweight;
} net;

static void net_make(net *m) {
    static const int64_t shape[N_W][2] = {{FF, D}, {FF, D}, {D, FF}, {VOCAB, D}, {1, D}};
    moa_rng r;
    moa_rng_seed(&r, 5);
    for (int i = 0; i < N_W; i++) {
        for (int j = 0; j < FF * D; j++) m->w[i][j] = (float)moa_rng_normal(&r) * 0.2f;
        m->tw[i] = i == N_W - 1 ? moa_view1(MOA_F32, m->w[i], D) : moa_view(MOA_F32, m->w[i], 2, shape[i]);
        m->tg[i] = i == N_W - 1 ? moa_view1(MOA_F32, m->g[i], D) : moa_view(MOA_F32, m->g[i], 2, shape[i]);
        m->tw[i].needs_grad = true;
        m->tw[i].grad = &m->tg[i];
    }
    for (int i = 0; i < ROWS * D; i++) m->in[i] = (float)moa_rng_normal(&r);
    for (int i = 0; i < ROWS; i++) m->target[i] = i % VOCAB, m->weight[i] = 1;
    m->tin = moa_view2(MOA_F32, m->in, ROWS, D);
    m->tin.needs_grad = true; /* a leaf whose gradient lies in the arena */
    m->ttarget = moa_view1(MOA_I32, m->target, ROWS);
    m->tweight = moa_view1(MOA_F32, m->weight, ROWS);
}

static moa_tensor *net_loss(moa_exec *x, net *m) {
    moa_tensor *h = moa_rms_norm(x, &m->tin, &m->tw[4], 1e-5f);
    moa_tensor *up = moa_silu_mul(x, moa_linear(x, h, &m->tw[0], NULL), moa_linear(x, h, &m->tw[1], NULL));
    moa_tensor *out = moa_add(x, &m->tin, moa_linear(x, up, &m->tw[2], NULL));
    return moa_cross_entropy(x, moa_linear(x, moa_rms_norm(x, out, &m->tw[4], 1e-5f), &m->tw[3], NULL), &m->ttarget, &m->tweight, 0);
}

static void replays_give_the_same_bits(void **state) {
    (void)state;
    static net m;
    static float keep[N_W][FF * D], keep_in[ROWS * D];
    size_t held = 0;
    net_make(&m);
    moa_exec x = new_exec(0);
    for (int step = 0; step < 6; step++) {
        memset(m.g, 0, sizeof m.g);
        moa_tensor *loss = net_loss(&x, &m);
        back(&x, loss, 1);
        if (step == 3) { /* the same tape once more */
            memset(m.g, 0, sizeof m.g);
            memset(m.tin.grad->data, 0, sizeof keep_in);
            back(&x, loss, 1);
        }
        if (step == 0) memcpy(keep, m.g, sizeof keep), memcpy(keep_in, m.tin.grad->data, sizeof keep_in);
        assert_memory_equal(keep, m.g, sizeof keep);
        assert_memory_equal(keep_in, m.tin.grad->data, sizeof keep_in);
        next_step(&x);
        if (step == 1) held = moa_arena_bytes(x.arena);
        if (step > 1 && step != 3) assert_int_equal(moa_arena_bytes(x.arena), held); /* a warm step asks the heap for nothing */
    }
    float any = 0;
    for (int i = 0; i < D * FF; i++) any += keep[0][i] * keep[0][i];
    assert_true(any > 0);
    free_exec(&x);
}

/* Memory that ends anywhere in forward or backward: an error that says so, no gradient left hanging, and the next step, with
 * memory again, as if nothing had been. */
static void the_end_of_memory_is_an_error(void **state) {
    (void)state;
    static net m;
    static float keep[N_W][FF * D];
    net_make(&m);
    moa_exec big = new_exec(0);
    back(&big, net_loss(&big, &m), 1);
    memcpy(keep, m.g, sizeof keep);
    const size_t need = moa_arena_peak(big.arena);
    next_step(&big);
    int in_forward = 0, in_backward = 0, fine = 0;
    for (size_t limit = 64; limit < 4 * need; limit += need / 97) {
        moa_exec x = new_exec(limit);
        moa_err err = {0};
        memset(m.g, 0, sizeof m.g);
        moa_tensor *loss = net_loss(&x, &m);
        const int rc = loss ? moa_tape_backward(&x, loss, 1, &err) : x.err.code;
        if (rc < 0) {
            assert_int_equal(rc, MOA_ENOMEM);
            assert_non_null(strstr(loss ? err.text : x.err.text, "no memory"));
            if (loss) assert_int_equal(moa_tape_backward(&x, loss, 1, NULL), MOA_ENOMEM); /* it sticks */
        } else {
            assert_memory_equal(keep, m.g, sizeof keep);
        }
        if (rc == 0) fine++;
        else if (loss) in_backward++;
        else in_forward++;
        free_exec(&x);
        assert_null(m.tin.grad);
    }
    assert_true(in_forward > 0 && in_backward > 0 && fine > 0);
    free_exec(&big);
}

/* ---- wrong use ---- */
static void wrong_use_is_refused(void **state) {
    (void)state;
    moa_exec x = new_exec(0);
    moa_err err = {0};
    float v[2] = {3, 4};
    moa_tensor in = moa_view1(MOA_F32, v, 2), constant = moa_view1(MOA_F32, v, 1);
    in.needs_grad = true;
    moa_tensor *h = moa_scale(&x, &in, 2);
    assert_int_equal(moa_tape_backward(&x, h, 1, &err), MOA_EINVAL); /* two numbers */
    assert_int_equal(moa_tape_backward(&x, NULL, 1, &err), MOA_EINVAL);
    assert_int_equal(moa_tape_backward(&x, moa_scale(&x, &constant, 2), 1, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "depends on no tensor that needs a gradient"));
    assert_null(in.grad);
    moa_tensor *loss = sum(&x, h);
    assert_null(moa_reshape(&x, h, 1, (int64_t[]){3})); /* the first error is kept and comes out of backward */
    assert_int_equal(moa_tape_backward(&x, loss, 1, &err), MOA_EINVAL);
    assert_string_equal(err.text, x.err.text);
    next_step(&x);
    back(&x, sum(&x, moa_scale(&x, &in, 2)), 1); /* and is gone with the step */
    assert_true(grad_at(&in, 0) == 2);
    next_step(&x);
    moa_tape *tape = x.tape;
    x.tape = NULL;
    assert_int_equal(moa_tape_backward(&x, &constant, 1, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "no tape"));
    x.tape = tape;
    free_exec(&x);
}

int main(void) {
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++) ones[i] = 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reverse_order_of_calls),
        cmocka_unit_test(uses_add_up),
        cmocka_unit_test(shared_gradients_are_copied_on_write),
        cmocka_unit_test(parameters_are_added_to),
        cmocka_unit_test(leaves_without_a_gradient_get_one_until_reset),
        cmocka_unit_test(long_tapes_recycle_their_gradients),
        cmocka_unit_test(replays_give_the_same_bits),
        cmocka_unit_test(the_end_of_memory_is_an_error),
        cmocka_unit_test(wrong_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
