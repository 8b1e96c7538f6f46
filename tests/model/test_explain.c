/* test_explain.c - what moa explain says of a model's bytes is what the model has, and its predictions are numbers that fit each other. How
 * near they come is a matter of the machine: docs/performance.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/explain.h"
#include "model/support.h"

static void test_bytes(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "qwen3moe", "deepseek2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        moa_model *m = arch_model(moa_arch_find(names[i], strlen(names[i])), 3 + i);
        moa_explained e;
        moa_err err = {0};
        OK(moa_explain(&e, m, 40, 64, 1, NULL, &err));
        double have = 0, matrices = 0;
        for (int p = 0; p < MOA_PARTS; p++) have += e.bytes[p];
        for (int p = 0; p < m->n_param; p++) /* norms and biases are not matrices, the embedding is read a row at a time */
            if (m->param[p]->n_dim >= 2 && m->param[p] != m->tok_embd) matrices += (double)moa_tensor_bytes(m->param[p]);
        if (fabs(have - matrices) > 0.5) fail_msg("%s: parts have %.0f bytes, matrices %.0f", names[i], have, matrices);
        assert_true(fabs(e.active[MOA_PART_EXPERTS] * m->h.n_expert - e.bytes[MOA_PART_EXPERTS] * m->h.n_expert_used) < 1e-6 * have);
        assert_true((e.bytes[MOA_PART_EXPERTS] > 0) == (m->h.n_expert > 0));
        for (int b = 0; b < MOA_EXPLAIN_BATCHES; b++) {
            const moa_explain_cost *c = &e.decode[b];
            assert_true(c->products > 0 && c->attention > 0 && c->small > 0 && c->total >= c->products);
            assert_true(!m->h.n_expert || (e.unique[b] >= m->h.n_expert_used - 1e-9 && e.unique[b] <= m->h.n_expert));
            assert_true(!b || (e.unique[b] >= e.unique[b - 1] && e.step_bytes[b] >= e.step_bytes[b - 1]));
        }
        assert_true(e.prefill.total > 0 && e.threads == 1 && e.read_gbps > 0);
        moa_model_close(m);
    }
}

static void test_routing_at_random(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_moe_hparams(), NULL, 2); /* 2 of 6 */
    moa_explained e;
    moa_err err = {0};
    OK(moa_explain(&e, m, 1, 1, 1, NULL, &err));
    assert_true(fabs(e.unique[0] - 2) < 1e-9 && fabs(e.unique[1] - (6 - 6 * 4.0 / 6 * 4 / 6)) < 1e-9); /* of the second row, 2/3 of 2 are new */
    const double told[MOA_EXPLAIN_BATCHES + 1] = {2, 2, 2, 2, 2, 2, 2};
    OK(moa_explain(&e, m, 1, 1, 1, told, &err));
    assert_true(e.unique[3] == 2 && e.step_bytes[3] == e.step_bytes[0]);
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_routing_at_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
