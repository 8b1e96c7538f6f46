/* test_ops.c - every op's forward against naive double-precision loops, on every instruction set, with one and with two
 * threads, with and without a tape; errors; inference of linear is bit-equal for any batch and any number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "op_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Largest difference to naive, relative to 1 + |value|: sums of at most 120 f32 terms of size about 1. */
static const double tolerance = 2e-5;

static void compare(const char *op, const char *label, const moa_tensor *out, const double *ref) {
    for (int64_t i = 0; i < moa_tensor_count(out); i++) {
        const double got = out->dtype == MOA_I32 ? (double)((int32_t *)out->data)[i] : (double)((float *)out->data)[i];
        if (!(fabs(got - ref[i]) <= tolerance * (1 + fabs(ref[i]))))
            fail_msg("%s (%s): element %lld is %.9g, expected %.9g", op, label, (long long)i, got, ref[i]);
    }
}

static void check_case(int i, moa_isa isa, int n_threads, bool taped) {
    tcase c;
    case_open(&c, i, isa, n_threads);
    if (taped) c.x.tape = moa_tape_new();
    moa_tensor *out = case_call(&c, i);
    if (!out) fail_msg("%s (%s): %s", op_cases[i].op, op_cases[i].label, c.x.err.text);
    assert_true(moa_tensor_contiguous(out));
    c.ref = calloc((size_t)moa_tensor_count(out), sizeof *c.ref);
    c.phase = NAIVE;
    op_cases[i].run(&c);
    compare(op_cases[i].op, op_cases[i].label, out, c.ref);
    free(c.ref);
    moa_tape_free(c.x.tape);
    case_close(&c);
}

static void forward_is_the_definition(void **state) {
    (void)state;
    for (int isa = 0; isa <= (int)moa_isa_best(); isa++)
        for (int i = 0; i < N_OP_CASES; i++)
            for (int t = 1; t <= 2; t++) {
                check_case(i, (moa_isa)isa, t, false);
                check_case(i, (moa_isa)isa, t, true);
            }
}

static void every_op_has_a_case(void **state) {
    (void)state;
    int n;
    const moa_op *const *ops = moa_ops(&n);
    for (int o = 0; o < n; o++) {
        int cases = 0;
        for (int i = 0; i < N_OP_CASES; i++) cases += !strcmp(op_cases[i].op, ops[o]->name);
        if (!cases) fail_msg("op '%s' has no case in op_cases.h", ops[o]->name);
        assert_ptr_equal(moa_op_find(ops[o]->name), ops[o]);
        assert_true(ops[o]->help && *ops[o]->help);
    }
    assert_null(moa_op_find("no such op"));
}

/* Documents longer than several blocks of queries and keys, all head layouts of real models. */
static void attention_of_long_documents(void **state) {
    (void)state;
    enum { N = 400, HEADS = 4, KV = 2, HD = 64 };
    tcase c = {.x = {.arena = moa_arena_new(0, 0), .n_threads = 2, .exact = true}};
    moa_rng_seed(&c.rng, 3);
    moa_err err;
    assert_int_equal(moa_kernels_default(&c.x.k, &err), 0);
    int start[N];
    for (int i = 0; i < N; i++) start[i] = i < 101 ? 0 : i < 102 ? 101 : 102;
    add_matrix(&c, N, HEADS * HD), add_matrix(&c, N, KV * HD), add_matrix(&c, N, KV * HD), add_ints(&c, N, start);
    moa_tensor *out = moa_attention(&c.x, &c.in[0], &c.in[1], &c.in[2], &c.in[3], HEADS, KV, 0.125f);
    assert_non_null(out);
    for (int i = 0; i < N; i += 7)
        for (int h = 0; h < HEADS; h++) {
            double y[HD] = {0}, sum = 0;
            for (int j = start[i]; j <= i; j++) {
                double s = 0;
                for (int e = 0; e < HD; e++) s += (double)F(&c, 0)[(i * HEADS + h) * HD + e] * (double)F(&c, 1)[(j * KV + h / 2) * HD + e];
                sum += s = exp(0.125 * s);
                for (int e = 0; e < HD; e++) y[e] += s * (double)F(&c, 2)[(j * KV + h / 2) * HD + e];
            }
            for (int e = 0; e < HD; e++) assert_true(fabs(y[e] / sum - (double)((float *)out->data)[(i * HEADS + h) * HD + e]) < 2e-5);
        }
    case_close(&c);
}

/* ---- linear at inference ---- */

enum { N_TOK = 9, N_IN = 96, N_OUT = 77 };

static void run_linear(float *y, const moa_tensor *w, moa_tensor *bias, const float *x, int n, int n_threads, bool exact) {
    moa_exec e = {.arena = moa_arena_new(0, 0), .n_threads = n_threads, .exact = exact};
    assert_int_equal(moa_kernels_default(&e.k, &e.err), 0);
    moa_tensor in = moa_view2(MOA_F32, (void *)(uintptr_t)x, n, N_IN), copy = *w;
    moa_tensor *out = moa_linear(&e, &in, &copy, bias);
    if (!out) fail_msg("%s", e.err.text);
    memcpy(y, out->data, sizeof(float) * (size_t)(n * w->shape[0]));
    moa_arena_free(e.arena);
}

static void linear_is_batch_exact(void **state) {
    (void)state;
    static const moa_dtype types[] = {MOA_F32, MOA_F16, MOA_BF16, MOA_Q8_0, MOA_Q4_0};
    enum { MANY = 4000 }; /* output rows, so that two threads are worth it */
    moa_rng rng;
    moa_rng_seed(&rng, 5);
    float *wf = malloc(sizeof *wf * MANY * N_IN), *x = malloc(sizeof *x * N_TOK * N_IN), *b = malloc(sizeof *b * MANY);
    float *all = malloc(sizeof *all * N_TOK * MANY), *one = malloc(sizeof *one * N_TOK * MANY);
    for (int i = 0; i < MANY * N_IN; i++) wf[i] = (float)moa_rng_normal(&rng);
    for (int i = 0; i < N_TOK * N_IN; i++) x[i] = (float)moa_rng_normal(&rng);
    for (int i = 0; i < MANY; i++) b[i] = (float)moa_rng_normal(&rng);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int exact = 0; exact < 2; exact++) {
            void *wd = malloc(moa_row_bytes(types[t], N_IN) * MANY);
            moa_type_get(types[t])->quantize(wd, wf, NULL, MANY * N_IN);
            moa_tensor w = moa_view2(types[t], wd, MANY, N_IN), bias = moa_view1(MOA_F32, b, MANY);
            run_linear(all, &w, &bias, x, N_TOK, 1, exact);
            run_linear(one, &w, &bias, x, N_TOK, 2, exact);
            assert_memory_equal(all, one, sizeof *all * N_TOK * MANY);
            for (int i = 0; i < N_TOK; i++) run_linear(one + i * MANY, &w, &bias, x + i * N_IN, 1, 1 + i % 2, exact);
            assert_memory_equal(all, one, sizeof *all * N_TOK * MANY);
            free(wd);
        }
    free(wf), free(x), free(b), free(all), free(one);
}

/* Products that read one tensor of the arena share its int8 form; a caller's own tensor is never marked. */
static void int8_form_is_made_once(void **state) {
    (void)state;
    moa_exec e = {.arena = moa_arena_new(0, 0), .n_threads = 1};
    assert_int_equal(moa_kernels_default(&e.k, &e.err), 0);
    float x[N_IN * 2] = {1, 2, 3}, wf[N_OUT * N_IN] = {1};
    void *wd = malloc(moa_row_bytes(MOA_Q8_0, N_IN) * N_OUT);
    moa_type_get(MOA_Q8_0)->quantize(wd, wf, NULL, N_OUT * N_IN);
    moa_tensor own = moa_view2(MOA_F32, x, 2, N_IN), w = moa_view2(MOA_Q8_0, wd, N_OUT, N_IN);
    moa_tensor *in = moa_scale(&e, &own, 1.0f);
    moa_tensor *a = moa_linear(&e, in, &w, NULL);
    void *act = in->act;
    moa_tensor *b = moa_linear(&e, in, &w, NULL), *c = moa_linear(&e, &own, &w, NULL);
    assert_non_null(act);
    assert_ptr_equal(in->act, act);
    assert_null(own.act);
    assert_memory_equal(a->data, b->data, sizeof(float) * 2 * N_OUT);
    assert_memory_equal(a->data, c->data, sizeof(float) * 2 * N_OUT);
    free(wd);
    moa_arena_free(e.arena);
}

/* ---- errors ---- */

static void errors_say_both_shapes_and_stick(void **state) {
    (void)state;
    moa_exec e = {.arena = moa_arena_new(0, 0), .n_threads = 1};
    assert_int_equal(moa_kernels_default(&e.k, &e.err), 0);
    float x[64] = {0};
    int32_t id[4] = {0, 1, 9, 0};
    moa_tensor a = moa_view2(MOA_F32, x, 4, 6), b = moa_view2(MOA_F32, x, 3, 5), ids = moa_view1(MOA_I32, id, 4);
    assert_null(moa_linear(&e, &a, &b, NULL));
    assert_int_equal(e.err.code, MOA_EINVAL);
    assert_non_null(strstr(e.err.text, "[4, 6] F32"));
    assert_non_null(strstr(e.err.text, "[3, 5] F32"));
    const moa_err first = e.err;
    assert_null(moa_add(&e, &a, &a)); /* sticky: later calls do nothing */
    assert_memory_equal(&first, &e.err, sizeof first);

#define FAILS(call, part)                                                                                                        \
    do {                                                                                                                         \
        memset(&e.err, 0, sizeof e.err);                                                                                         \
        assert_null(call);                                                                                                       \
        if (!e.err.code || !strstr(e.err.text, part)) fail_msg(#call ": '%s' lacks '%s'", e.err.text, part);                     \
    } while (0)
    FAILS(moa_add(&e, &a, &b), "[3, 5]");
    FAILS(moa_add(&e, &a, NULL), "b is missing");
    FAILS(moa_mul(&e, &a, &b), "[4, 6]");
    FAILS(moa_gather_rows(&e, &a, &ids), "id 9 at position 2");
    FAILS(moa_embedding(&e, &a, &ids), "id 9");
    FAILS(moa_scatter_rows(&e, &a, &ids, 9), "expected 0 to 8");
    FAILS(moa_scatter_rows(&e, &a, &ids, -1), "out of range");
    FAILS(moa_topk(&e, &a, 7), "k is 7");
    FAILS(moa_slice_cols(&e, &a, 3, 7), "columns 3 to 7");
    FAILS(moa_reshape(&e, &a, 2, ((const int64_t[]){5, 5})), "[5, 5");
    FAILS(moa_reshape(&e, &a, 4, ((const int64_t[]){INT64_MAX, INT64_MAX, 2, 6})), "as many elements");
    FAILS(moa_rope(&e, &a, &ids, 4, 4, 10000, 1, NULL, MOA_ROPE_NORM), "heads of 4");
    FAILS(moa_rope(&e, &a, &ids, 6, 3, 10000, 1, NULL, MOA_ROPE_NORM), "even");
    const moa_rope_spec spec = {.head_dim = 6, .n_rot = 6, .base = 10000, .freq_scale = 1, .magnitude = 1};
    moa_tensor lists = moa_view2(MOA_F32, x, 2, 3), short_lists = moa_view2(MOA_F32, x, 2, 2);
    FAILS(moa_rope_as(&e, &a, &ids, &spec, NULL, &ids), "lists of 3");
    FAILS(moa_rope_as(&e, &a, &ids, &spec, &short_lists, &ids), "lists of 3");
    FAILS(moa_rope_as(&e, &a, &ids, &spec, &lists, NULL), "expected [3]");
    FAILS(moa_rope_as(&e, &a, &ids, &spec, &lists, &ids), "id 9 at position 2, expected 0 to 1");
    FAILS(moa_attention(&e, &a, &a, &a, &ids, 2, 2, 1), "doc_start[2] is 9");
    FAILS(moa_cross_entropy(&e, &a, &ids, &b, 0), "weight is [3, 5]");
    int32_t far_v[4] = {1, -3, 0, 0}, near_v[4] = {0, 1, 2, 0};
    moa_tensor two = moa_view2(MOA_F32, x, 2, 2), far = moa_view1(MOA_I32, far_v, 4), near = moa_view1(MOA_I32, near_v, 4);
    FAILS(moa_dpo(&e, &a, &near, &far, &b, 1, 1), "reference is [3, 5]");
    FAILS(moa_dpo(&e, &a, &near, &far, &two, 1, 1), "pair[1] is -3");
    FAILS(moa_dpo(&e, &a, &ids, &near, &two, 1, 1), "target[2] is 9");
    moa_tensor strided = moa_view2(MOA_F32, x, 3, 4);
    strided.stride[0] *= 2;
    FAILS(moa_silu(&e, &strided), "not contiguous");
    moa_arena_free(e.arena);
}

static void memory_limit_is_an_error(void **state) {
    (void)state;
    moa_exec e = {.arena = moa_arena_new(0, 1 << 16), .n_threads = 1};
    assert_int_equal(moa_kernels_default(&e.k, &e.err), 0);
    static float x[100 * 100];
    moa_tensor a = moa_view2(MOA_F32, x, 100, 100);
    for (int i = 0; i < 4 && !e.err.code; i++) moa_add(&e, &a, &a);
    assert_int_equal(e.err.code, MOA_ENOMEM);
    moa_arena_free(e.arena);
}

/* An expert may get no rows. */
static void empty_matrices(void **state) {
    (void)state;
    moa_exec e = {.arena = moa_arena_new(0, 0), .n_threads = 2, .tape = moa_tape_new()};
    assert_int_equal(moa_kernels_default(&e.k, &e.err), 0);
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, w[12] = {1, 2};
    int32_t none[1];
    moa_tensor in = moa_view2(MOA_F32, x, 2, 4), weight = moa_view2(MOA_F32, w, 3, 4), ids = moa_view1(MOA_I32, none, 0);
    in.needs_grad = weight.needs_grad = true;
    moa_tensor *rows = moa_gather_rows(&e, &in, &ids);
    moa_tensor *y = moa_silu_mul(&e, moa_linear(&e, rows, &weight, NULL), moa_linear(&e, rows, &weight, NULL));
    moa_tensor *out = moa_scatter_rows(&e, moa_rms_norm(&e, y, NULL, 1e-5f), &ids, 2);
    moa_tensor *loss = moa_linear(&e, moa_reshape(&e, out, 2, (const int64_t[]){1, 6}), &(moa_tensor){0}, NULL);
    assert_null(loss); /* type and shape of the weight are nonsense: an error, not a crash */
    memset(&e.err, 0, sizeof e.err);
    moa_tensor ones = moa_view2(MOA_F32, w, 1, 6);
    loss = moa_linear(&e, moa_reshape(&e, out, 2, (const int64_t[]){1, 6}), &ones, NULL);
    if (!loss) fail_msg("%s", e.err.text);
    assert_int_equal(moa_tape_backward(&e, loss, 1, &e.err), 0);
    for (int i = 0; i < 12; i++) assert_true(((float *)weight.grad->data)[i] == 0.0f);
    moa_tape_free(e.tape);
    moa_arena_free(e.arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_a_case), cmocka_unit_test(forward_is_the_definition), cmocka_unit_test(attention_of_long_documents),
        cmocka_unit_test(linear_is_batch_exact), cmocka_unit_test(int8_form_is_made_once),
        cmocka_unit_test(errors_say_both_shapes_and_stick), cmocka_unit_test(memory_limit_is_an_error), cmocka_unit_test(empty_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
