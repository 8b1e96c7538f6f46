/* test_mix.c - moa mix: every strategy is told and drawn, pictures are well-formed and those of the documentation up to date, hostile names change nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/program.h"

#include "agent/run.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int lines(const char *s, size_t *widest) {
    int n = 0;
    *widest = 0;
    for (; *s; n++) {
        const size_t len = strcspn(s, "\n"), k = moa_utf8_count(s, len);
        if (k > *widest) *widest = k;
        s += len + (s[len] == '\n');
    }
    return n;
}

/* Elements are closed in their order, attributes are quoted, and there is no bare < or & in a text. */
static void well_formed(const char *s) {
    enum { DEPTH = 64, NAME = 32 };
    char open[DEPTH][NAME];
    int depth = 0, roots = 0;
    for (const char *p = s; *p;) {
        if (*p == '&') {
            const size_t n = strspn(p + 1, "abcdefghijklmnopqrstuvwxyz#0123456789");
            if (!n || p[n + 1] != ';') fail_msg("a bare & in %.60s", p);
        }
        if ((unsigned char)*p < ' ' && *p != '\n') fail_msg("a control character: %.60s", p);
        if (*p != '<') {
            assert_true(depth > 0 || *p == '\n');
            p++;
            continue;
        }
        const bool ends = p[1] == '/';
        const char *name = p + 1 + ends;
        const size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz");
        if (!n || n >= NAME) fail_msg("no element: %.60s", p);
        p = name + n;
        while (*p && *p != '>' && *p != '/') { /* ` name="value"` */
            assert_int_equal(*p, ' ');
            p += 1 + strcspn(p + 1, "=<>/ ");
            if (p[0] != '=' || p[1] != '"') fail_msg("an attribute without quotes: %.60s", p);
            p += 2 + strcspn(p + 2, "\"<");
            if (*p != '"') fail_msg("an attribute without end: %.60s", p);
            p++;
        }
        if (ends) {
            if (!depth || strncmp(open[depth - 1], name, n) != 0 || open[depth - 1][n]) fail_msg("</%.*s> closes nothing", (int)n, name);
            depth--;
        } else if (*p != '/') {
            assert_true(depth < DEPTH);
            roots += depth == 0;
            snprintf(open[depth++], NAME, "%.*s", (int)n, name);
        }
        p += *p == '/';
        assert_int_equal(*p, '>');
        p++;
    }
    assert_int_equal(depth, 0);
    assert_int_equal(roots, 1);
}

/* All of it: nothing is wider than the page, the answer is reached, JSON says the same as the picture. */
static void check_mix(const char *mix) {
    size_t widest;
    assert_int_equal(moaf("mix '%s'", mix), 0);
    if (lines(out, &widest) < 20 || widest > 100) fail_msg("%s: %zu columns", mix, widest);
    const char *graph = strstr(out, "\ngraph: "), *question = graph ? strstr(graph, " question\n") : NULL, *answer = question ? strstr(question, " answer\n") : NULL;
    if (!answer) fail_msg("%s: no graph in %s", mix, out);
    char said[20000];
    snprintf(said, sizeof said, "%s", graph);
    assert_int_equal(moaf("mix '%s' --json", mix), 0);
    json_t *v = parsed(), *g = json_object_get(v, "graph"), *nodes = json_object_get(g, "nodes"), *n;
    char calls[60];
    size_t i;
    int grown = 0;
    snprintf(calls, sizeof calls, " %lld call%s", integer(g, "calls"), integer(g, "calls") == 1 ? "" : "s");
    if (!strstr(said, calls)) fail_msg("%s: not '%s' in %s", mix, calls, said);
    json_array_foreach(nodes, i, n) {
        const json_t *reads = json_object_get(n, "reads"), *by = json_object_get(n, "added_by");
        for (size_t k = 0; k < json_array_size(reads); k++) assert_in_range(json_integer_value(json_array_get(reads, k)), 0, i - 1);
        if (by) assert_true(json_integer_value(by) < (json_int_t)i);
        grown += by != NULL;
    }
    assert_int_equal(strstr(said, "grows while it runs") != NULL, grown > 0);
    assert_in_range(integer(g, "answer"), 0, json_array_size(nodes) - 1);
    json_decref(v);
    assert_int_equal(moaf("mix '%s' --svg -", mix), 0);
    well_formed(out);
}

static void test_every_strategy(void **state) {
    (void)state;
    need_program();
    int n;
    const moa_strategy *const *s = moa_strategies(&n);
    for (int i = 0; i < n; i++) {
        const moa_setting *p;
        check_mix(s[i]->name);
        assert_int_equal(moaf("mix %s", s[i]->name), 0);
        *strstr(out, "\ngraph: ") = 0;
        for (int k = 0; (p = moa_strategy_setting(s[i], k)); k++) { /* each once */
            char row[60];
            snprintf(row, sizeof row, "\n  %s ", p->key);
            const char *at = strstr(out, row);
            if (!at || strstr(at + 1, row)) fail_msg("mix %s tells %s not once", s[i]->name, p->key);
        }
    }
    moa_expect(0, "mix");
    for (int i = 0; i < n; i++) assert_non_null(strstr(out, s[i]->help));
    moa_expect(0, "mix --json");
    json_t *v = parsed();
    assert_int_equal(json_array_size(v), n);
    json_decref(v);
}

static const char *node_named(const json_t *nodes, size_t i) { return json_string_value(json_object_get(json_array_get(nodes, i), "node")); }

/* The graph is the strategy's own: with the numbers that are given, and as it grows. */
static void test_settings(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "mix self-moa:n=3 --json");
    json_t *v = parsed(), *nodes = json_object_get(json_object_get(v, "graph"), "nodes");
    assert_int_equal(json_array_size(nodes), 4);
    assert_string_equal(node_named(nodes, 3), "agg");
    assert_int_equal(json_array_size(json_object_get(json_array_get(nodes, 3), "reads")), 3);
    assert_string_equal(string(json_object_get(v, "graph"), "of"), "every run");
    json_decref(v);
    moa_expect(0, "mix self-moa:n=3");
    assert_non_null(strstr(out, "│ p1 │ │ p2 │ │ p3 │"));
    assert_non_null(strstr(out, "3 "));
    assert_non_null(strstr(out, "default 6"));
    moa_expect(0, "mix self-moa:n=40"); /* elided, but told */
    assert_non_null(strstr(out, " more │"));
    assert_non_null(strstr(out, "p1 .. p40: 40 calls"));
    moa_expect(0, "mix smoa:rounds=3,n=2,select=1 --json"); /* judges never end it here */
    v = parsed();
    assert_int_equal(integer(json_object_get(v, "graph"), "calls"), 3 * 2 + 3 + 1);
    json_decref(v);
    moa_expect(0, "mix cascade:proposers=small+other,aggregator=large,n=2");
    assert_non_null(strstr(out, "2 calls of small, other"));
    assert_non_null(strstr(out, "strong: 1 call of large"));
    static const char *const more[] = {"vote:n=9,wave=2", "self-moa:screen=dropout-vote", "mcts:simulations=9,levels=3,depth=2", "moa:layers=16,n=12", "ranker:n=20", "ranker:n=30,tournament=knock-out",
                                       "self-moa-seq:n=200,window=3", "smoa:roles=make,rounds=16,n=9", "symbolic-moe:tags=model,profile=write", "fuse:rank=rate,n=9", "mora:identify=calculator",
                                       "moe-lm:attributes=a|b|c|d", "best-of-n:n=256", "self-moa:deadline=0.001,budget-tokens=1,grace=0.001", "patched-moa:n=7", "free-agent:roster=3"};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) check_mix(more[i]);
}

/* A name can be any bytes. */
static void test_hostile_names(void **state) {
    (void)state;
    need_program();
    static const char hostile[] = "moa:proposers=</text><script>&\"+\xff\xfe\x01\x1b[2J+]]>&amp;<!--,aggregator=\xe2\x80\xaeverylongnameverylongnameverylongnameverylongname";
    check_mix(hostile);
    assert_int_equal(moaf("mix '%s'", hostile), 0);
    assert_null(strchr(out, '\x1b'));
    assert_int_equal(moaf("mix '%s' --svg %%D/h.svg", hostile), 0);
    assert_string_equal(out, "");
    slurp(out, sizeof out, path_of("h.svg"));
    well_formed(out);
    assert_null(strstr(out, "<script"));
    moa_expect(0, "mix 'moe-lm:attributes=\x1b[31m|</text>'");
    assert_null(strchr(out, '\x1b'));
    assert_int_equal(moaf("mix 'moe-lm:attributes=%0900d'", 7), 0);
}

static void test_wrong_use(void **state) {
    (void)state;
    need_program();
    static const program_case cases[] = {
        {"mix slef-moa", 2, "did you mean 'self-moa'"},
        {"mix self-moa:m=3", 2, "unknown parameter 'm'"},
        {"mix self-moa:tempreature=1", 2, "did you mean 'temperature'"},
        {"mix self-moa:n=0", 2, "expected a whole number from 1 to 256"},
        {"mix self-moa:n=many", 2, "expected a whole number from 1 to 256"},
        {"mix vote:until=agreed", 2, "did you mean 'agree'"},
        {"mix vote:judge=x", 2, "mix vote has no judge"},
        {"mix self-moa:proposers=a+b", 2, "takes one proposer"},
        {"mix moa:n=1,proposers=a+b", 2, "n 1, but 2 proposers"},
        {"mix ranker:n=99", 2, "at most 64"},
        {"mix vote extra", 2, "unexpected argument"},
        {"mix --svg x.svg", 2, "name it"},
        {"mix vote --svg ''", 2, "empty"},
        {"mix vote --svg - --json", 2, "both"},
        {"mix vote --svg /nowhere/x.svg", 1, "/nowhere"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
}

/* docs/agents/graphs/NAME.svg is what moa mix draws now, and stands in a page. */
static void test_documentation(void **state) {
    (void)state;
    need_program();
    static char picture[sizeof out];
    int n;
    const moa_strategy *const *s = moa_strategies(&n);
    for (int i = 0; i < n; i++) {
        char path[200], mix[200] = "";
        snprintf(path, sizeof path, "docs/agents/graphs/%s.svg", s[i]->name);
        slurp(picture, sizeof picture, path);
        if (!*picture) fail_msg("%s is missing: make graphs", path);
        const char *title = strstr(picture, "<title>"), *end = title ? strstr(title, "</title>") : NULL, *colon = end;
        assert_non_null(end);
        while (colon > title && strncmp(colon, ": ", 2) != 0) colon--; /* "mcts:simulations=2: 9 calls" */
        snprintf(mix, sizeof mix, "%.*s", (int)(colon - title - 7), title + 7);
        assert_int_equal(strncmp(mix, s[i]->name, strlen(s[i]->name)), 0);
        assert_int_equal(moaf("mix '%s' --svg -", mix), 0);
        if (strcmp(out, picture) != 0) fail_msg("%s is not what `moa mix %s` draws: make graphs", path, mix);
        char cmd[300];
        snprintf(cmd, sizeof cmd, "grep -q 'graphs/%s\\.svg' docs/agents/*.md", s[i]->name);
        if (system(cmd) != 0) fail_msg("no page of docs/agents shows %s", path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_strategy), cmocka_unit_test(test_settings), cmocka_unit_test(test_hostile_names), cmocka_unit_test(test_wrong_use),
                                       cmocka_unit_test(test_documentation)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
