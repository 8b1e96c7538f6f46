/* test_constrained.c - mixes with grammars: every call of every role follows its own; a journal keeps calls with other grammars apart.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "support/tinymodel.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        const int ok_rc_ = (expr);                                                                                     \
        if (ok_rc_ < 0) fail_msg("%s: %d %s (%s)", #expr, ok_rc_, err.text, err.hint);                                 \
    } while (0)

static char path[256];

static int setup(void **state) {
    (void)state;
    moa_err err = {0};
    return tinymodel_write(path, sizeof path, 3, &err);
}

static int teardown(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

static moa_grammar *grammar(const char *text) {
    moa_grammar *g = NULL;
    moa_err err = {0};
    OK(moa_grammar_parse(&g, text, strlen(text), "test", &err));
    return g;
}

static bool all_of(const char *text, const char *letters) { return *text && strspn(text, letters) == strlen(text); }

/* Drafts of a's, a merge of b's; freed grammars live as long as the mix. */
static void test_roles(void **state) {
    (void)state;
    moa_err err = {0};
    moa_mix *m = NULL;
    char *answer;
    const moa_message msg = {"user", "What is 2 + 2?"};
    OK(moa_mix_open(&m, "self-moa:n=3,max-tokens=20", &(moa_mix_options){.model = path, .n_threads = 1}, &err));
    moa_grammar *a = grammar("root ::= \"a\"{3,9}"), *b = grammar("root ::= \"b\"{3,9}");
    moa_mix_constrain(m, a, b);
    moa_grammar_free(a);
    moa_grammar_free(b);
    OK(moa_mix_reply(&answer, m, &msg, 1, 1, NULL, NULL, NULL, &err));
    assert_true(all_of(answer, "b"));
    free(answer);
    moa_mix_constrain(m, NULL, NULL); /* free again: the model babbles */
    OK(moa_mix_reply(&answer, m, &msg, 1, 1, NULL, NULL, NULL, &err));
    assert_false(all_of(answer, "b"));
    free(answer);
    moa_mix_close(m);
}

static void test_nodes(void **state) {
    (void)state;
    moa_err err = {0};
    moa_backend *be = NULL;
    const moa_message msg = {"user", "Count."};
    OK(moa_backend_local_open(&be, path, NULL, &err));
    moa_grammar *a = grammar("root ::= [0-4]+ \"!\""), *b = grammar("root ::= [5-9]+ \"!\"");
    moa_mix_cfg c = moa_mix_defaults("self-moa");
    c.proposer = &be, c.n_proposer = 1, c.n = 4, c.max_tokens = 12;
    c.propose_grammar = a, c.aggregate_grammar = b;
    moa_run *r = NULL;
    OK(moa_run_new(&r, &c, &msg, 1, 7, &err));
    OK(moa_run_execute(r, NULL, NULL, &err));
    for (int i = 0; i < r->n_node; i++) {
        assert_int_equal(r->node[i].state, MOA_NODE_DONE);
        assert_true(all_of(r->node[i].text, i < 4 ? "01234!" : "56789!"));
    }
    moa_run_free(r);
    moa_grammar_free(a);
    moa_grammar_free(b);
    moa_backend_close(be);
}

/* Equal calls but for the grammar are two calls. */
static void test_journal(void **state) {
    (void)state;
    moa_err err = {0};
    moa_backend *be = NULL, *jb = NULL;
    moa_journal *j = NULL;
    int64_t computed, found;
    moa_message msg = {"user", "Count."};
    OK(moa_backend_local_open(&be, path, NULL, &err));
    OK(moa_journal_open(&j, NULL, &err));
    OK(moa_backend_journal_open(&jb, j, be, &err));
    moa_grammar *g[3] = {grammar("root ::= [0-4]+ \"!\""), grammar("root ::= [5-9]+ \"!\""), grammar("root ::= [0-4]+ \"!\"")};
    for (int i = 0; i < 3; i++) {
        moa_call call = {.msg = &msg, .n_msg = 1, .sampling = moa_sampling_defaults(), .max_tokens = 9, .grammar = g[i]};
        OK(moa_backend_complete(jb, &call, 1, NULL, NULL, &err));
        assert_int_equal(call.rc, 0);
        assert_true(all_of(call.res.text, i == 1 ? "56789!" : "01234!"));
        moa_gen_res_deinit(&call.res);
    }
    moa_journal_stats(j, &computed, &found);
    assert_int_equal(computed, 2); /* the third is the first: the same text of a grammar */
    assert_int_equal(found, 1);
    for (int i = 0; i < 3; i++) moa_grammar_free(g[i]);
    moa_backend_close(jb);
    moa_journal_close(j);
    moa_backend_close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_roles), cmocka_unit_test(test_nodes), cmocka_unit_test(test_journal)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
