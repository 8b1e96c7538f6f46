/* test_checked.c - what needs no judge: a calculator that proves replies wrong, and answers weighed by the model's own probabilities.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/calc.h"
#include "agent/strategy.h"
#include "base/buf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reply { const char *text; double logprob; } reply; /* NULL: the call fails */
static const reply *script; /* of call i; what comes behind its end: the last one */
static int n_script;

static int says(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    const reply *p = &script[i < n_script ? i : n_script - 1];
    (void)c;
    s->logprob = p->logprob;
    if (!p->text) return MOA_EIO;
    snprintf(out, n, "%s", p->text);
    return 0;
}

static moa_run *run(scripted *s, const char *mix, const char *const *set, const reply *v, int n) {
    static moa_backend *b;
    static moa_mix_cfg cfg;
    static const moa_message q = {"user", "What is 17 + 5?"};
    moa_run *r;
    moa_err err = {0};
    script = v, n_script = n;
    scripted_init(s, "m", says);
    b = &s->base;
    cfg = moa_mix_defaults(mix);
    cfg.proposer = &b, cfg.n_proposer = 1;
    for (; *set; set += 2)
        if (moa_mix_set(&cfg, set[0], set[1], &err) < 0) fail_msg("%s", err.text);
    if (moa_run_new(&r, &cfg, &q, 1, 1, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(moa_run_execute(r, NULL, NULL, NULL), 0);
    return r;
}

static void done(scripted *s, moa_run *r) {
    moa_run_free(r);
    scripted_deinit(s);
}

static const moa_agent_node *node(const moa_run *r, const char *name) {
    for (int i = 0; i < r->n_node; i++)
        if (!strcmp(r->node[i].name, name)) return &r->node[i];
    fail_msg("no node %s", name);
    return NULL;
}

#define SET(...) (const char *const[]){__VA_ARGS__, NULL}
#define RUN(s, mix, set, v) run(s, mix, set, v, (int)(sizeof(v) / sizeof *(v)))

/* ---- weights ---- */

static void test_weights(void **state) {
    (void)state;
    /* P("one way", 8) = 0.5, seen once or thrice; two ways to 9 with 0.3 each: together more than the one, less than it thrice. */
    const reply v[] = {{"one way\nAnswer: 8", log(0.5)}, {"this way\nAnswer: 9", log(0.3)}, {"one way\nAnswer: 8", log(0.5)}, {"that way\nAnswer: 9", log(0.29)}, {"one way\nAnswer: 8", log(0.5)}};
    scripted s;
    moa_run *r = RUN(&s, "self-consistency", SET("n", "5"), v);
    assert_string_equal(moa_run_answer(r), "this way\nAnswer: 9");
    assert_non_null(strstr(node(r, "vote")->note, "took p1: 3 of 5"));       /* by count it is 8 */
    assert_non_null(strstr(node(r, "vote")->note, "p2: its answer has 0.59 of 1.09"));
    assert_int_equal(r->usage.calls, 5);
    done(&s, r);
    r = RUN(&s, "self-consistency", SET("n", "5", "weigh", "probability"), v);
    assert_string_equal(moa_run_answer(r), "one way\nAnswer: 8");
    done(&s, r);
    /* Normalised: a long way is no worse for being long. Tokens are words here: log 0.5 over two, log 0.01 over ten. */
    const reply len[] = {{"Answer: 8", 2 * log(0.5)}, {"a b c d e f g h Answer: 9", 10 * log(0.6)}};
    r = RUN(&s, "self-consistency", SET("n", "2", "weigh", "normalised"), len);
    assert_string_equal(moa_run_answer(r), "a b c d e f g h Answer: 9");
    done(&s, r);
    r = RUN(&s, "self-consistency", SET("n", "2"), len);
    assert_string_equal(moa_run_answer(r), "Answer: 8");
    done(&s, r);
}

/* A model that does not tell probabilities (0 stands for that): a count. Failed samples and such without an answer have no weight. */
static void test_weights_unknown(void **state) {
    (void)state;
    scripted s;
    const reply none[] = {{"Answer: 8", 0}, {"Answer: 9", -1}, {"Answer: 8", 0}};
    moa_run *r = RUN(&s, "self-consistency", SET("n", "3"), none);
    assert_string_equal(moa_run_answer(r), "Answer: 8");
    assert_non_null(strstr(node(r, "vote")->note, "were counted"));
    done(&s, r);
    const reply some[] = {{NULL, 0}, {"I do not know", -0.01}, {"a\nAnswer: 8", -800}, {"Answer: 9", -900}}; /* exp underflows: the first of equals */
    r = RUN(&s, "self-consistency", SET("n", "4"), some);
    assert_string_equal(moa_run_answer(r), "a\nAnswer: 8");
    done(&s, r);
    moa_mix_cfg cfg = moa_mix_defaults("self-consistency");
    moa_backend *b = &s.base;
    moa_err err;
    moa_run *no;
    scripted_init(&s, "m", says);
    cfg.proposer = &b, cfg.n_proposer = 1;
    assert_int_equal(moa_mix_set(&cfg, "until", "agree", NULL), 0);
    assert_int_equal(moa_run_new(&no, &cfg, &(moa_message){"user", "?"}, 1, 1, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "until=agree"));
    scripted_deinit(&s);
}

/* ---- the calculator ---- */

static void test_calc_wrong(void **state) {
    (void)state;
    moa_equation e;
    static const char good[] = "10+5=15, 7+0=7. 15+7=22. x = 4", bad[] = "10+5=15. 15 + 7 = 21, 1+1=3";
    assert_false(moa_calc_wrong(&e, good, sizeof good - 1));
    assert_true(moa_calc_wrong(&e, bad, sizeof bad - 1));
    assert_int_equal(e.n_expr, 6);
    assert_memory_equal(e.expr, "15 + 7", 6);
    assert_false(moa_calc_wrong(&e, "", 0));
    /* ten megabytes of signs are read in one pass */
    const size_t big = 10 << 20;
    char *text = malloc(big);
    assert_non_null(text);
    for (size_t i = 0; i < big; i++) text[i] = "1+1=2 "[i % 6];
    assert_false(moa_calc_wrong(&e, text, big));
    memset(text, '=', big);
    assert_false(moa_calc_wrong(&e, text, big));
    free(text);
}

static const reply mixed[] = {{"17+5=21\nAnswer: 21", -1}, {"17+5=21, so\nAnswer: 21", -1}, {"17+5=22\nAnswer: 22", -5}, {"it is\nAnswer: 30", -2}, {"17+5=22.\nAnswer: 22", -6}, {"merged\nAnswer: 22", -1}};

static void test_checker(void **state) {
    (void)state;
    scripted s;
    moa_run *r = RUN(&s, "vote", SET("n", "5"), mixed);
    assert_string_equal(moa_run_answer(r), mixed[0].text);
    done(&s, r);
    r = RUN(&s, "vote", SET("n", "5", "checker", "calculator"), mixed);
    assert_string_equal(moa_run_answer(r), mixed[2].text);
    assert_non_null(strstr(node(r, "vote")->note, "left out p1: 17+5 is 22, not 21"));
    assert_non_null(strstr(node(r, "vote")->note, "left out p2"));
    assert_int_equal(node(r, "vote")->vote->vote.n_vote, 3);
    assert_int_equal(node(r, "vote")->vote->cluster[0], -1);
    done(&s, r);
    /* An aggregator does not get to read them; nor does a judge. */
    r = RUN(&s, "self-moa", SET("n", "5", "checker", "calculator"), mixed);
    assert_null(strstr(node(r, "agg")->msg[0].content, "17+5=21"));
    assert_non_null(strstr(node(r, "agg")->msg[0].content, "== 3 =="));
    assert_null(strstr(node(r, "agg")->msg[0].content, "== 4 =="));
    done(&s, r);
    r = RUN(&s, "universal-self-consistency", SET("n", "5", "checker", "calculator"), mixed);
    assert_null(strstr(node(r, "choose")->msg[0].content, "17+5=21"));
    assert_non_null(strstr(node(r, "choose")->msg[0].content, "17+5=22."));
    done(&s, r);
    /* Where all are proved wrong, all are read. With other screens it is the first. */
    r = RUN(&s, "vote", SET("n", "2", "checker", "calculator"), mixed);
    assert_string_equal(moa_run_answer(r), mixed[0].text);
    assert_non_null(strstr(node(r, "vote")->note, "all 2 replies have a wrong equation"));
    done(&s, r);
    r = RUN(&s, "vote", SET("n", "5", "checker", "calculator", "screen", "cluster"), mixed);
    assert_string_equal(moa_run_answer(r), mixed[2].text);
    done(&s, r);
}

/* Only replies that stand agree: two wrong ones that say the same do not end the sampling. */
static void test_checked_agreement(void **state) {
    (void)state;
    scripted s;
    const reply v[] = {{"17+5=21\nAnswer: 21", -1}, {"17+5=21\nAnswer: 21", -1}, {"17+5=21\nAnswer: 21", -1}, {"17+5=22\nAnswer: 22", -1}, {"17+5=22\nAnswer: 22", -1}, {"17+5=22\nAnswer: 22", -1},
                       {"17+5=22\nAnswer: 22", -1}, {"17+5=22\nAnswer: 22", -1}};
    moa_run *r = RUN(&s, "vote", SET("n", "16", "until", "agree", "wave", "1", "error", "0.25"), v);
    assert_non_null(strstr(moa_run_answer(r), "21"));
    const int64_t calls = r->usage.calls;
    done(&s, r);
    r = RUN(&s, "vote", SET("n", "16", "until", "agree", "wave", "1", "error", "0.25", "checker", "calculator"), v);
    assert_non_null(strstr(moa_run_answer(r), "22"));
    assert_true(r->usage.calls > calls && r->usage.calls < 16);
    done(&s, r);
}

static void test_best_of_n(void **state) {
    (void)state;
    scripted s;
    const reply wrong[] = {{"17+5=21\nAnswer: 21", -3}, {"17+5=23\nAnswer: 23", -1}};
    moa_run *r = RUN(&s, "best-of-n", SET("n", "5", "rate", "calculator"), mixed);
    assert_string_equal(moa_run_answer(r), mixed[3].text); /* nothing is proved of it, and it is more probable than those that are proved right */
    assert_int_equal(r->usage.calls, 5);
    done(&s, r);
    r = RUN(&s, "best-of-n", SET("n", "2", "rate", "calculator"), wrong);
    assert_string_equal(moa_run_answer(r), wrong[1].text);
    assert_non_null(strstr(node(r, "best")->note, "all have a wrong equation"));
    done(&s, r);
}

/* ---- mora, repair=again ---- */

static void test_again(void **state) {
    (void)state;
    scripted s;
    const char *const *set = SET("identify", "calculator", "repair", "again", "repair-temperature", "0.25");
    const reply third[] = {{"17+5=21\nAnswer: 21", -1}, {"17+5=23\nAnswer: 23", -1}, {"17+5=22\nAnswer: 22", -1}};
    moa_run *r = RUN(&s, "mora", set, third);
    assert_string_equal(moa_run_answer(r), "17+5=22\nAnswer: 22");
    assert_int_equal(r->usage.calls, 3);
    assert_true(node(r, "solve1")->sampling.temperature == 0 && fabs(node(r, "again2")->sampling.temperature - 0.25) < 1e-6);
    assert_int_equal(node(r, "again1")->n_msg, 1); /* the question as it is: nothing of the fault */
    assert_string_equal(node(r, "again1")->msg[0].content, "What is 17 + 5?");
    done(&s, r);
    const reply never[] = {{"17+5=21\nAnswer: 21", -1}, {"17+5=23\nAnswer: 23", -1}};
    r = RUN(&s, "mora", set, never); /* the first solution stands */
    assert_string_equal(moa_run_answer(r), "17+5=21\nAnswer: 21");
    assert_int_equal(r->usage.calls, 4);
    assert_non_null(strstr(node(r, "route4")->note, "the first solution stands"));
    done(&s, r);
    const reply dies[] = {{"17+5=21\nAnswer: 21", -1}, {NULL, 0}};
    r = RUN(&s, "mora", set, dies); /* a draw that fails, or loses the answer, changes nothing */
    assert_string_equal(moa_run_answer(r), "17+5=21\nAnswer: 21");
    done(&s, r);
    /* A model that learned to merge begins with a line of what replies say: it is no part of the answer, whichever solution that is. */
    const reply lists[] = {{"17+5=21\nAnswer: 21", -1}, {"Replies say: 21\n17+5=22\nAnswer: 22", -1}};
    r = RUN(&s, "mora", set, lists);
    assert_string_equal(moa_run_answer(r), "17+5=22\nAnswer: 22");
    done(&s, r);
    const reply lost[] = {{"17+5=21\nAnswer: 21", -1}, {"Hm.", 0}};
    r = RUN(&s, "mora", set, lost);
    assert_string_equal(moa_run_answer(r), "17+5=21\nAnswer: 21");
    done(&s, r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_weights), cmocka_unit_test(test_weights_unknown), cmocka_unit_test(test_calc_wrong), cmocka_unit_test(test_checker),
                                       cmocka_unit_test(test_checked_agreement), cmocka_unit_test(test_best_of_n), cmocka_unit_test(test_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
