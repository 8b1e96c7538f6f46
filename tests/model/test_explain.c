/* test_explain.c - what moa explain says of a model's bytes is what the model has, its predictions are numbers that fit each other, and what it
 * compares with the run is what stood beside it. How near predictions come is a matter of the machine: docs/performance.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/explain.h"
#include "model/support.h"

enum { PREFILL = MOA_EXPLAIN_PREFILL };
/* A machine of round numbers. */
static moa_machine limits = {.n_cpu = 2, .n_read = 2, .read = {{1, 1e10}, {2, 2e10}}};

static void test_bytes(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "qwen3moe", "deepseek2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        moa_model *m = arch_model(moa_arch_find(names[i], strlen(names[i])), 3 + i);
        moa_explained e;
        moa_err err = {0};
        const moa_explain_cfg cfg = {.context = 40, .prompt = 64, .threads = 1};
        OK(moa_explain(&e, m, &limits, &cfg, &err));
        double have = 0, matrices = 0;
        for (int p = 0; p < MOA_PARTS; p++) have += e.bytes[p];
        for (int p = 0; p < m->n_param; p++) /* norms and biases are not matrices, the embedding is read a row at a time */
            if (m->param[p]->n_dim >= 2 && m->param[p] != m->tok_embd) matrices += (double)moa_tensor_bytes(m->param[p]);
        if (fabs(have - matrices) > 0.5) fail_msg("%s: parts have %.0f bytes, matrices %.0f", names[i], have, matrices);
        assert_true(fabs(e.active[MOA_PART_EXPERTS] * m->h.n_expert - e.bytes[MOA_PART_EXPERTS] * m->h.n_expert_used) < 1e-6 * have);
        assert_true((e.bytes[MOA_PART_EXPERTS] > 0) == (m->h.n_expert > 0));
        double active = 0;
        for (int p = 0; p < MOA_PARTS; p++) active += e.active[p];
        if (fabs(e.point[0].bytes - active) > 1) fail_msg("%s: a step of one row reads %.0f bytes, its parts have %.0f", names[i], e.point[0].bytes, active);
        for (int b = 0; b < MOA_EXPLAIN_POINTS; b++) {
            const moa_explain_point *p = &e.point[b], *before = p - 1;
            const moa_explain_cost *c = &p->cost;
            assert_true(c->products > 0 && c->attention > 0 && c->small > 0 && c->total >= c->products && p->real == 0 && p->ratio == 0);
            assert_true(!m->h.n_expert || (p->unique >= m->h.n_expert_used - 1e-9 && p->unique <= m->h.n_expert));
            assert_true(fabs(p->read_s - p->bytes / 1e10) < 1e-9);
            if (b && b != PREFILL) assert_true(p->rows == 2 * before->rows && p->unique >= before->unique && p->bytes >= before->bytes);
        }
        assert_true(e.threads == 1 && e.read_gbps == 10 && e.n_tried == 1 && !e.counted);
        moa_model_close(m);
    }
}

static void test_routing(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_moe_hparams(), NULL, 2); /* 2 of 6 */
    moa_explained e;
    moa_err err = {0};
    moa_explain_cfg cfg = {.context = 1, .prompt = 1, .threads = 1};
    OK(moa_explain(&e, m, &limits, &cfg, &err));
    assert_true(fabs(e.point[0].unique - 2) < 1e-9 && fabs(e.point[1].unique - (6 - 6 * 4.0 / 6 * 4 / 6)) < 1e-9); /* of the second row, 2/3 of 2 are new */
    double rows[MOA_EXPLAIN_POINTS * 2 * 6] = {0};
    moa_explain_routes told = {.n_layer = 2, .rows = rows};
    for (int p = 0; p < MOA_EXPLAIN_POINTS; p++) {
        const double n = p == PREFILL ? 1 : moa_explain_batch[p];
        told.unique[p] = 2;
        for (int l = 0; l < 2; l++) rows[(p * 2 + l) * 6] = rows[(p * 2 + l) * 6 + 1] = n; /* all rows go to the same two */
    }
    cfg.routes = &told;
    OK(moa_explain(&e, m, &limits, &cfg, &err));
    assert_true(e.counted && e.point[3].unique == 2 && e.point[3].bytes == e.point[0].bytes);
    moa_model_close(m);
}

/* Takes times that are told, another every time. */
typedef struct told { int calls[MOA_EXPLAIN_POINTS], threads; } told;
static int run(void *ctx, double *seconds, int point, int threads, moa_err *err) {
    told *t = ctx;
    if (t->calls[point] == 3 && point == 2 && t->threads < 0) return moa_fail(err, MOA_EIO, "lost");
    *seconds = 1 + point + (t->calls[point]++ == 2 ? 100 : 0); /* one round is an outlier */
    t->threads = t->threads < 0 ? t->threads : threads;
    return 0;
}

static void test_turns(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_hparams(), NULL, 2);
    moa_explained e;
    moa_err err = {0};
    told t = {0};
    moa_explain_cfg cfg = {.context = 8, .prompt = 8, .threads = 1, .run = run, .ctx = &t, .rounds = 3};
    OK(moa_explain(&e, m, &limits, &cfg, &err));
    for (int p = 0; p < MOA_EXPLAIN_POINTS; p++) {
        assert_int_equal(t.calls[p], 4);
        assert_true(e.point[p].real == 1 + p && e.point[p].ratio > 1 && e.point[p].gap == MOA_GAP_REST); /* seconds, for a model of microseconds */
        assert_true(strlen(moa_gap_name(e.point[p].gap)) > 0);
    }
    assert_int_equal(t.threads, 1);
    t = (told){.threads = -1};
    assert_int_equal(moa_explain(&e, m, &limits, &cfg, &err), MOA_EIO);
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_routing), cmocka_unit_test(test_turns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
