/* test_formats.c - files of questions in the formats that people have: what is read, how replies are checked, what is said of bad lines; recorded
 * verdicts on real replies against ours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/json.h"
#include "task/taskset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static moa_taskset *open_text(const char *text, const char *want_format) {
    moa_err err = {0};
    moa_taskset *t;
    if (moa_taskset_text(&t, text, strlen(text), "file", NULL, &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(moa_taskset_format(t)->name, want_format);
    return t;
}

static bool right(const moa_taskset *t, int i, const char *reply) { return moa_item_check(moa_taskset_item(t, i), reply, strlen(reply)); }
static const char *question(const moa_taskset *t, int i) { return moa_buf_str(&moa_taskset_item(t, i)->question); }

static void test_known(void **state) {
    (void)state;
    moa_taskset *t = open_text("{\"question\": \"How many?\", \"answer\": \"3 + 4 = <<3+4=7>>7.\\n#### 1,007\"}", "gsm8k");
    assert_true(right(t, 0, "so ... Answer: $1007 a day") && right(t, 0, "3 and 4\n#### 1007") && right(t, 0, "It is 1,007.00 in all"));
    assert_false(right(t, 0, "Answer: 7") || right(t, 0, "none") || right(t, 0, "-1007"));
    assert_non_null(strstr(question(t, 0), "How many?\n\nThink"));
    moa_taskset_free(t);
    t = open_text("{\"question\": \"Which?\", \"choices\": [\"x\", \"y\", \"z\"], \"answer\": 2, \"subject\": \"law\"}\n"
                  "{\"question\": \"Which?\", \"choices\": [\"x\", \"y\"], \"answer\": \"A\", \"subject\": \"art\"}\n"
                  "{\"question\": \"Which?\", \"choices\": {\"text\": [\"x\", \"y\"], \"label\": [\"1\", \"2\"]}, \"answerKey\": \"2\"}", "mmlu");
    assert_non_null(strstr(question(t, 0), "Which?\nA) x\nB) y\nC) z\n"));
    assert_true(right(t, 0, "Answer: C") && right(t, 0, "C) z") && right(t, 0, "so\nAnswer: (c)") && right(t, 1, "a") && right(t, 2, "B."));
    assert_false(right(t, 0, "Cz") || right(t, 0, "A") || right(t, 0, ""));
    assert_string_equal(moa_taskset_group_name(t, moa_taskset_group(t, 1)), "art");
    moa_taskset_free(t);
    t = open_text("{\"task_id\": \"HumanEval/0\", \"prompt\": \"def f():\\n\", \"test\": \"import os\", \"entry_point\": \"f\"}\n"
                  "{\"task_id\": 2, \"text\": \"Write f.\", \"code\": \"def f(): 1\", \"answer\": \"1\"}", "humaneval");
    assert_false(moa_item_scored(moa_taskset_item(t, 0)) || right(t, 0, "def f(): pass"));
    assert_true(right(t, 1, "Answer: 1"));
    assert_non_null(moa_taskset_format(t)->note);
    moa_taskset_free(t);
    t = open_text(" [{\"instruction\": \"Do it.\", \"output\": \"Done.\", \"generator\": \"g\", \"dataset\": \"d\"}, {\"instruction\": \"And?\", \"input\": \"this\"}]", "alpacaeval");
    assert_string_equal(moa_buf_str(&moa_taskset_item(t, 0)->reference), "Done.");
    assert_string_equal(question(t, 1), "And?\n\nthis");
    assert_false(moa_item_scored(moa_taskset_item(t, 0)));
    moa_taskset_free(t);
    t = open_text("{\"question_id\": 1, \"category\": \"math\", \"turns\": [\"a?\", \"b?\"]}", "mtbench");
    assert_string_equal(moa_buf_str(&moa_taskset_item(t, 0)->follow), "b?");
    assert_string_equal(moa_taskset_group_name(t, 0), "math");
    moa_taskset_free(t);
    t = open_text("{\"code\": \"def f(a):\\n    return a\", \"input\": \"'x'\", \"output\": \"['x', 1, (2,)]\", \"id\": \"s1\"}", "cruxeval");
    assert_true(right(t, 0, "[\"x\",1,(2,)]") && right(t, 0, "It returns that.\nAnswer: [ 'x', 1, (2, ) ]"));
    assert_false(right(t, 0, "['x', 1, (2)]") || right(t, 0, "['X', 1, (2,)]") || right(t, 0, "['x', 1, (2,)] + []"));
    assert_string_equal(moa_buf_str(&moa_taskset_item(t, 0)->name), "s1");
    moa_taskset_free(t);
    t = open_text("{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"checker\": \"contains\", \"reference\": \"Red  fox\"}\n{\"question\": \"c\", \"answer\": \"The End.\", \"checker\": \"text\"}\n"
                  "{\"question\": \"d\", \"answer\": \"it is 5.0\", \"checker\": \"number\", \"family\": \"n\"}", "own");
    assert_false(moa_item_scored(moa_taskset_item(t, 0)));
    assert_true(right(t, 1, "a red\nfox ran") && right(t, 2, " the  end.") && right(t, 3, "5"));
    assert_false(right(t, 1, "a redfox") || right(t, 2, "the end. no") || right(t, 3, "5.5"));
    moa_taskset_free(t);
}

static void test_bad(void **state) {
    (void)state;
    static const struct { const char *format, *text, *want; } bad[] = {
        {NULL, "{\"question\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": 2}", "file:1: the answer is choice 2, expected 0 to 1"},
        {NULL, "{\"question\": \"a\", \"choices\": [\"x\"], \"answer\": 0}", "got 1"},
        {NULL, "{\"question\": \"a\", \"choices\": [\"x\", \"y\"], \"answer\": \"why\"}", "got"},
        {NULL, "\n{\"question\": \"a\", \"choices\": [\"x\", 5], \"answer\": 0}", "file:2: choice 1 is no string"},
        {NULL, "{\"turns\": []}", "got 0 entries"},
        {NULL, "{\"prompt\": \"a\", \"checker\": \"magic\", \"answer\": \"b\"}", "unknown checker 'magic'"},
        {NULL, "{\"prompt\": \"a\", \"checker\": \"number\"}", "no \"answer\""},
        {NULL, "{\"question\": \"a\", \"answer\": \"seven\", \"checker\": \"number\"}", "the answer 'seven' is"},
        {NULL, "{\"code\": \"c\", \"input\": \"1\", \"output\": \"open('x')\"}", "the answer 'open('x')' is"},
        {"gsm8k", "{\"question\": \"a\", \"answer\": \"7\"}", "#### N"},
        {"mmlu", "{\"prompt\": \"a\"}", "expected the string \"question\" and 2 to 26"},
        {"alpacaeval", "[1]", "item 1: expected an object"},
        {NULL, "[{\"instruction\": \"a\"}, {\"instruction\": 4}]", "item 2: expected the string \"instruction\""},
        {NULL, "[{\"instruction\": \"a\"}", "file"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_err err = {0};
        moa_taskset *t;
        const moa_task_format *f = bad[i].format ? moa_task_format_find(bad[i].format, &err) : NULL;
        assert_int_equal(moa_taskset_text(&t, bad[i].text, strlen(bad[i].text), "file", f, &err), MOA_EFORMAT);
        assert_null(t);
        if (!strstr(err.text, bad[i].want) && !(strstr(bad[i].want, "got") && strstr(err.text, "expected"))) fail_msg("'%s' does not say '%s'", err.text, bad[i].want);
    }
    moa_err err = {0};
    assert_null(moa_task_format_find("gsm9k", &err));
    assert_non_null(strstr(err.hint, "gsm8k"));
}

static void literal(const char *s, const char *want) {
    moa_buf b;
    moa_buf_init(&b, 4096);
    const bool ok = moa_literal_canon(&b, s, strlen(s));
    if (ok != (want != NULL) || (ok && strcmp(moa_buf_str(&b), want) != 0)) fail_msg("%s: %s, expected %s", s, ok ? moa_buf_str(&b) : "nothing", want ? want : "nothing");
    moa_buf_deinit(&b);
}

static void test_literals(void **state) {
    (void)state;
    literal(" { 'a' : [1 ,2.5, -3], \"b\": None } ", "{\"a\":[1,2.5,-3],\"b\":None}");
    literal("'it\\'s'", "\"it's\"");
    literal("\"it's\"", "\"it's\"");
    literal("'a\"b'", "\"a\\\"b\"");
    literal("'\\x41\\n'", "\"A\\ua;\"");
    literal("('a')", "(\"a\")");
    literal("('a',)", "(\"a\",)");
    literal("True", "True");
    static const char *const none[] = {"", "x", "f(1)", "[1", "[1 2]", "'a", "1 + 1", "[1]]", "__import__('os')", "{1: }", "'\\x4'"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) literal(none[i], NULL);
    char deep[400];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    literal(deep, NULL);
}

static void test_named_answers(void **state) {
    (void)state;
    static const struct { const char *reply, *want; } t[] = {
        {"so \\boxed{12}.", "12"}, {"\\boxed{\\frac{1}{2}} it is", "\\frac{1}{2}"}, {"x\n#### 1,000\n", "1000"}, {"work\nA: 18", "18"}, {"A: 18\nmore", NULL},
        {"The answer is 5.", "5"}, {"the answer is 5\nAnswer: 6", "6"}, {"#### 4\nThe answer is **7**", "7"}, {"\\boxed{1", NULL}, {"##### 4", NULL}, {"answer is", NULL}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        moa_buf b;
        moa_buf_init(&b, 4096);
        const bool got = moa_answer_extract(&b, t[i].reply, strlen(t[i].reply));
        if (got != (t[i].want != NULL) || (got && strcmp(moa_buf_str(&b), t[i].want) != 0)) fail_msg("'%s': '%s'", t[i].reply, got ? moa_buf_str(&b) : "none");
        moa_buf_deinit(&b);
    }
}

/* ---- real replies: does our checker say what those who recorded them said? ---- */

static bool shared(char *out, size_t n, const char *name) {
    const char *dir = getenv("MOA_SHARED");
    FILE *f;
    snprintf(out, n, "%s/data/replay/%s", dir ? dir : "../shared", name);
    if (!(f = fopen(out, "rb"))) return printf("  %s is not here: skipped\n", out), false;
    fclose(f);
    return true;
}

typedef struct verdicts { int n, same; } verdicts;

static int on_solution(void *ctx, const json_t *o, const char *where, moa_err *err) {
    verdicts *v = ctx;
    const moa_task_format *f = moa_task_format_of(o);
    moa_item it;
    const char *group, *key;
    json_t *m;
    moa_item_init(&it);
    const int rc = f->read(&it, &group, o, where, err);
    json_object_foreach((json_t *)(uintptr_t)o, key, m) {
        const char *text = moa_member(m, "solution");
        if (rc < 0 || !text) continue;
        v->n++;
        v->same += moa_item_check(&it, text, strlen(text)) == json_is_true(json_object_get(m, "is_correct"));
    }
    moa_item_deinit(&it);
    return rc;
}

static void test_solutions(void **state) {
    (void)state;
    char path[1024];
    moa_err err = {0};
    verdicts v = {0};
    if (!shared(path, sizeof path, "gsm8k/solutions.even.jsonl")) return;
    if (moa_task_objects(path, on_solution, &v, &err) < 0) fail_msg("%s", err.text);
    printf("  %d of %d verdicts on recorded solutions are the recorded ones\n", v.same, v.n);
    assert_int_equal(v.n, 4 * 660);
    assert_true(v.same >= v.n - v.n / 200);
}

static void test_cruxeval(void **state) {
    (void)state;
    char path[1024], gen[1024], marks[1024];
    moa_err err = {0};
    moa_taskset *t;
    json_t *g, *m;
    if (!shared(path, sizeof path, "cruxeval/cruxeval.even.jsonl") || !shared(gen, sizeof gen, "cruxeval/model_generations_sample_codellama-7b_temp0.2_output_generations.even.json") ||
        !shared(marks, sizeof marks, "cruxeval/evaluation_results_sample_scored_codellama-7b_temp0.2_output.even.json")) return;
    if (moa_taskset_open(&t, path, 1, 0, &err) < 0 || moa_json_read(&g, gen, 1 << 24, &err) < 0 || moa_json_read(&m, marks, 1 << 24, &err) < 0) fail_msg("%s", err.text);
    int n = 0, same = 0, too_kind = 0;
    for (int i = 0; i < moa_taskset_count(t); i++) {
        const moa_item *it = moa_taskset_item(t, i);
        const json_t *reply = json_object_get(g, moa_buf_str(&it->name)), *mark = json_object_get(m, moa_buf_str(&it->name));
        for (size_t k = 0; k < json_array_size(reply); k++) {
            const char *s = json_string_value(json_array_get(reply, k));
            const bool ours = moa_item_check(it, s, strlen(s)), theirs = json_is_true(json_array_get(mark, k));
            n++, same += ours == theirs, too_kind += ours && !theirs;
        }
    }
    printf("  %d of %d verdicts on recorded outputs are the recorded ones; right here and wrong there: %d\n", same, n, too_kind);
    assert_int_equal(n, 4000);
    assert_true(same >= n - n / 100);
    json_decref(g);
    json_decref(m);
    moa_taskset_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known), cmocka_unit_test(test_bad), cmocka_unit_test(test_literals), cmocka_unit_test(test_named_answers),
                                       cmocka_unit_test(test_solutions), cmocka_unit_test(test_cruxeval)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
