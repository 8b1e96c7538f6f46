/* test_grammar.c - grammars against brute force: languages of random grammars by enumeration, masks token by token; errors with
 * their places; grammars that are meant to cost much.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "format/grammar.h"
#include "support/vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        const int ok_rc_ = (expr);                                                                                     \
        if (ok_rc_ < 0) fail_msg("%s: %d %s (%s)", #expr, ok_rc_, err.text, err.hint);                                 \
    } while (0)

static moa_grammar *parse(const char *text) {
    moa_grammar *g = NULL;
    moa_err err = {0};
    if (moa_grammar_parse(&g, text, strlen(text), "g", &err) < 0) fail_msg("%s\n%s", err.text, text);
    return g;
}

static moa_matcher *matcher(const moa_grammar *g, const moa_token_tree *t) {
    moa_matcher *m = NULL;
    moa_err err = {0};
    OK(moa_matcher_new(&m, g, t, &err));
    return m;
}

/* 0: dead; 1: alive; 2: a sentence. */
static int state_of(moa_matcher *m, const char *text, size_t n) {
    moa_err err = {0};
    const int s = moa_matcher_open(m, &err);
    assert_true(s >= 0);
    const int rc = moa_matcher_feed(m, s, text, n, &err);
    if (rc < 0) fail_msg("%s", err.text);
    const int out = rc ? 1 + moa_matcher_complete(m, s) : 0;
    moa_matcher_close(m, s);
    return out;
}

/* ---- languages by enumeration ---- */

/* All strings over {a, b} of up to LONG letters, numbered by length and then in order: number + 1 in binary is 1 and the letters. */
enum { LONG = 7, ALL = (1 << (LONG + 1)) - 1, RULES = 4 };
typedef struct language { bool has[ALL]; } language;

static int length_of(int i) {
    int n = 0;
    while ((i + 1) >> (n + 1)) n++;
    return n;
}

static int joined(int a, int b) { /* -1: too long */
    const int n = length_of(b);
    return length_of(a) + n > LONG ? -1 : (((a + 1) << n) | ((b + 1) & ((1 << n) - 1))) - 1;
}

static void spell(char out[LONG + 1], int i) {
    const int n = length_of(i);
    for (int k = 0; k < n; k++) out[k] = (i + 1) >> (n - 1 - k) & 1 ? 'b' : 'a';
    out[n] = 0;
}

static void join(language *out, const language *a, const language *b) {
    language c = {.has = {false}};
    for (int i = 0; i < ALL; i++)
        for (int k = 0; a->has[i] && k < ALL; k++) {
            const int j = b->has[k] ? joined(i, k) : -1;
            if (j >= 0) c.has[j] = true;
        }
    *out = c;
}

static void unite(language *out, const language *a) {
    for (int i = 0; i < ALL; i++) out->has[i] |= a->has[i];
}

/* A random expression: its text, and its language when the rules have those of `rule`. The same rng state gives the same one. */
static void random_rx(moa_buf *text, language *l, const language *rule, moa_rng *r, int depth) {
    language a, b;
    memset(l, 0, sizeof *l);
    const uint32_t kind = depth ? moa_rng_below(r, 9) : moa_rng_below(r, 3);
    if (kind == 0) {
        static const char *const lit[] = {"a", "b", "ab", "ba", "", "aba"};
        const char *t = lit[moa_rng_below(r, 6)];
        int i = 0;
        for (const char *c = t; *c; c++) i = joined(i, *c == 'a' ? 1 : 2);
        l->has[i] = true;
        moa_buf_addf(text, "\"%s\"", t);
    } else if (kind == 1) {
        l->has[1] = l->has[2] = true;
        moa_buf_adds(text, moa_rng_below(r, 2) ? "[ab]" : "[^c-z\\x00-\\x60{-\\U0010ffff]");
    } else if (kind == 2) {
        const uint32_t k = moa_rng_below(r, RULES);
        *l = rule[k];
        moa_buf_addf(text, "r%u", k);
    } else if (kind < 5) {
        random_rx(text, &a, rule, r, depth - 1);
        moa_buf_adds(text, " ");
        random_rx(text, &b, rule, r, depth - 1);
        join(l, &a, &b);
    } else if (kind < 7) {
        moa_buf_adds(text, "(");
        random_rx(text, l, rule, r, depth - 1);
        moa_buf_adds(text, " | ");
        random_rx(text, &b, rule, r, depth - 1);
        moa_buf_adds(text, ")");
        unite(l, &b);
    } else {
        static const struct { const char *text; int min, max; } rep[] = {{"?", 0, 1}, {"*", 0, LONG}, {"+", 1, LONG}, {"{2}", 2, 2}, {"{1,3}", 1, 3}, {"{2,}", 2, LONG}, {"{,2}", 0, 2}};
        const int k = (int)moa_rng_below(r, 7);
        moa_buf_adds(text, "(");
        random_rx(text, &a, rule, r, depth - 1);
        moa_buf_addf(text, ")%s", rep[k].text);
        b = (language){.has = {true}}; /* a^0 */
        for (int i = 0; i <= rep[k].max; i++) {
            if (i >= rep[k].min) unite(l, &b);
            join(&b, &b, &a);
        }
        if (rep[k].min > 0 && a.has[0]) l->has[0] = true;
    }
}

static void random_grammar(moa_buf *text, language *rule, uint64_t seed) {
    memset(rule, 0, RULES * sizeof *rule);
    for (bool more = true; more;) {
        moa_rng r;
        more = false;
        moa_rng_seed(&r, seed);
        moa_buf_clear(text);
        moa_buf_adds(text, "root ::= r0\n");
        for (int k = 0; k < RULES; k++) {
            language l;
            moa_buf_addf(text, "r%d ::= ", k);
            random_rx(text, &l, rule, &r, 3);
            moa_buf_adds(text, "\n");
            unite(&l, &rule[k]);
            more |= memcmp(&l, &rule[k], sizeof l) != 0;
            rule[k] = l;
        }
    }
}

/* Can this be finished? Sentences of the brute force are short, so a living prefix may have none of them. With one token left the
 * masks lead the shortest way. */
static bool can_finish(moa_matcher *m, int state) {
    moa_err err = {0};
    for (int k = 0; k < 200 && !moa_matcher_complete(m, state); k++) {
        const uint64_t *mask;
        int32_t t = 1;
        OK(moa_matcher_mask(&mask, m, state, 1, &err));
        while (t < 300 && !(mask[t / 64] >> (t % 64) & 1)) t++;
        OK(moa_matcher_accept(m, state, t, &err));
    }
    return moa_matcher_complete(m, state);
}

static bool is_prefix_of_any(const language *l, const char *p, size_t n) {
    char t[LONG + 1];
    for (int i = 0; i < ALL; i++)
        if (l->has[i] && (spell(t, i), !strncmp(t, p, n))) return true;
    return false;
}

static bool compare(moa_matcher *m, const language *l, const char *text) {
    char t[LONG + 1];
    moa_err err = {0};
    for (int i = 0; i < ALL; i++) {
        spell(t, i);
        const int got = state_of(m, t, strlen(t)), want = l->has[i] ? 2 : is_prefix_of_any(l, t, strlen(t)) ? 1 : 0;
        if (got == want) continue;
        if (want == 0 && got == 1) { /* only longer sentences begin so */
            const int s = moa_matcher_open(m, &err);
            moa_matcher_feed(m, s, t, strlen(t), &err);
            const bool ok = can_finish(m, s);
            moa_matcher_close(m, s);
            if (ok) continue;
        }
        fail_msg("'%s' is %d, expected %d, in\n%s", t, got, want, text);
    }
    return true;
}

static void test_random_grammars(void **state) {
    (void)state;
    static language rule[RULES];
    moa_buf text;
    int compared = 0, left = 0, endless = 0;
    test_vocab v;
    moa_token_tree *tree = NULL;
    moa_err verr = {0};
    if (test_vocab_open(&v, 300, 1, &verr) < 0 || moa_token_tree_new(&tree, v.tok, &verr) < 0) fail_msg("%s", verr.text);
    moa_buf_init(&text, 1 << 20);
    for (uint64_t seed = 0; seed < 400; seed++) {
        moa_grammar *g;
        moa_err err = {0};
        random_grammar(&text, rule, seed);
        if (moa_grammar_parse(&g, moa_buf_str(&text), text.len, "g", &err) < 0) {
            const bool left_recursive = strstr(err.text, "calls itself") != NULL, empty = strstr(err.text, "never comes to an end") != NULL;
            if (!left_recursive && !empty) fail_msg("%s\n%s", err.text, moa_buf_str(&text));
            for (int i = 0; empty && i < ALL; i++) assert_false(rule[0].has[i]);
            left += left_recursive, endless += empty;
            continue;
        }
        moa_matcher *m = matcher(g, tree);
        compared += compare(m, &rule[0], moa_buf_str(&text));
        moa_matcher_free(m);
        moa_grammar_free(g);
    }
    moa_buf_deinit(&text);
    moa_token_tree_free(tree);
    test_vocab_close(&v);
    assert_true(compared > 100 && left > 5);
}

/* ---- characters ---- */

static void test_unicode(void **state) {
    (void)state;
    static const uint32_t edge[] = {0, 1, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFF};
    enum { N = sizeof edge / sizeof *edge };
    moa_buf c;
    moa_buf_init(&c, 100);
    for (int i = 0; i < N; i++)
        for (int k = i; k < N; k++)
            for (int negated = 0; negated < 2; negated++) {
                char text[80];
                snprintf(text, sizeof text, "root ::= [%s\\U%08x-\\U%08x\\x41]", negated ? "^" : "", edge[i], edge[k]);
                moa_grammar *g;
                moa_err err = {0};
                if (moa_grammar_parse(&g, text, strlen(text), "g", &err) < 0) { /* [^everything] */
                    assert_true(negated && i == 0 && k == N - 1);
                    continue;
                }
                moa_matcher *m = matcher(g, NULL);
                for (int e = 0; e < N; e++)
                    for (uint32_t cp = edge[e] ? edge[e] - 1 : 0; cp <= edge[e] + 1; cp++) {
                        if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) continue;
                        moa_buf_clear(&c);
                        moa_utf8_add(&c, cp);
                        const bool in = (cp >= edge[i] && cp <= edge[k]) || cp == 'A';
                        if (state_of(m, c.data, c.len) != (in != negated ? 2 : 0)) fail_msg("U+%04X in %s", cp, text);
                    }
                assert_int_equal(state_of(m, "\xED\xA0\x80", 3), 0); /* a surrogate */
                assert_int_equal(state_of(m, "\xC0\x80", 2), 0);     /* too long */
                assert_int_equal(state_of(m, "\xF4\x90\x80\x80", 4), 0);
                moa_matcher_free(m);
                moa_grammar_free(g);
            }
    moa_buf_deinit(&c);
}

/* ---- masks ---- */

static const char json[] = "root ::= value\nvalue ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
                           "object ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\npair ::= string \":\" ws value\narray ::= \"[\" ws (value (\",\" ws value)*)? \"]\"\n"
                           "string ::= \"\\\"\" ([^\"\\\\\\x00-\\x1f] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\"\n"
                           "number ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15}) (\".\" [0-9]{1,9})?\nws ::= \" \"? # may be left out\n";
static const char words[] = "root ::= (word \" \")+ \"end\"\nword ::= [a-z]+ | \"\\\"\" [^\"]* \"\\\"\" | \"(\" root \")\" \n";
static const char choices[] = "root ::= \"{\" a \"}\"\na ::= \"\\\"name\\\": \" s | \"\\\"n\" [a-z]* \"\\\": \" s | \"\\\"age\\\":\" [0-9]{1,3}\ns ::= \"\\\"\" .{0,20} \"\\\"\"\n";
static const char counted[] = "root ::= \"{\" (\"a\" | \"b\") \":\" s{0,2} \"}\"\ns ::= \"<\" ([^>\\\\] | \"\\\\\" [nt]){3,60} \">\"\n";
/* Where ordinary tokens come by their number of characters, also more than masks are made for. */
static const char strings[] = "root ::= (\"\\\"\" c{2,9} \"\\\"\" | \"\\\\\" c{0,40} \"\\\"\" | \"\\n\" c* \"\\n\")*\nc ::= [^\"\\\\\\x00-\\x1f]\n";
static const char tail[] = "root ::= \"a\" root \"x\" | \"a\" root \"y\" | s\ns ::= [^x]{0,40} | [a-m]+ \"x\"*\n";

/* Every token of every mask against its bytes fed one by one; a random walk through the grammar. */
static void walk(const char *text, const test_vocab *v, const moa_token_tree *tree, uint64_t seed, int steps) {
    moa_grammar *g = parse(text);
    moa_matcher *m = matcher(g, tree), *plain = matcher(g, NULL);
    moa_err err = {0};
    moa_rng r;
    const int n = moa_tokenizer_n_vocab(v->tok);
    int32_t *in = malloc((size_t)n * sizeof *in);
    int s = moa_matcher_open(m, &err), p = moa_matcher_open(plain, &err);
    moa_rng_seed(&r, seed);
    for (int k = 0; k < steps; k++) {
        const uint64_t *mask;
        int n_in = 0;
        OK(moa_matcher_mask(&mask, m, s, INT64_MAX, &err));
        for (int32_t t = 0; t < n; t++) {
            const moa_str b = moa_token_bytes(v->tok, t, false);
            const int f = moa_matcher_fork(plain, p, &err);
            const bool want = t == 0 ? moa_matcher_complete(plain, p) : moa_matcher_feed(plain, f, b.p, b.n, &err) == 1;
            moa_matcher_close(plain, f);
            if ((mask[t / 64] >> (t % 64) & 1) != want) fail_msg("step %d: token %d '%.*s' should %sbe allowed", k, t, (int)b.n, b.p, want ? "" : "not ");
            if (want && t) in[n_in++] = t;
        }
        for (int32_t t = n; t % 64; t++) assert_false(mask[t / 64] >> (t % 64) & 1);
        if (!n_in) break;
        const int32_t t = in[moa_rng_below(&r, (uint32_t)n_in)];
        const moa_str b = moa_token_bytes(v->tok, t, false);
        OK(moa_matcher_accept(m, s, t, &err));
        assert_int_equal(moa_matcher_feed(plain, p, b.p, b.n, &err), 1);
        assert_int_equal(moa_matcher_complete(m, s), moa_matcher_complete(plain, p));
    }
    free(in);
    moa_matcher_free(m);
    moa_matcher_free(plain);
    moa_grammar_free(g);
}

static void test_masks(void **state) {
    (void)state;
    static const char *const text[] = {json, words, choices, counted, strings, tail, "root ::= .*", "root ::= [^a]* \"\xE2\x82\xAC\"", "root ::= \"\" | [a-z]{3,9}"};
    static const int size[] = {300, 12000};
    for (int k = 0; k < 2; k++) {
        test_vocab v;
        moa_token_tree *tree = NULL;
        moa_err err = {0};
        OK(test_vocab_open(&v, size[k], 5, &err));
        OK(moa_token_tree_new(&tree, v.tok, &err));
        for (size_t i = 0; i < sizeof text / sizeof *text; i++)
            for (uint64_t seed = 0; seed < (k ? 2 : 10); seed++) walk(text[i], &v, tree, seed, k ? 20 : 40);
        moa_token_tree_free(tree);
        test_vocab_close(&v);
    }
}

/* However few tokens are left, a reply can be finished: every byte has a token, so bytes to the end are tokens to the end. */
static void test_budget(void **state) {
    (void)state;
    test_vocab v;
    moa_token_tree *tree = NULL;
    moa_err err = {0};
    OK(test_vocab_open(&v, 2000, 9, &err));
    OK(moa_token_tree_new(&tree, v.tok, &err));
    moa_grammar *g = parse(json);
    moa_matcher *m = matcher(g, tree);
    for (uint64_t seed = 0; seed < 60; seed++) {
        moa_rng r;
        moa_rng_seed(&r, seed);
        const int s = moa_matcher_open(m, &err);
        int budget = 4 + (int)seed;
        for (; budget > 0; budget--) {
            const uint64_t *mask;
            int32_t t = (int32_t)moa_rng_below(&r, 2001);
            OK(moa_matcher_mask(&mask, m, s, budget, &err));
            while (!(mask[t / 64] >> (t % 64) & 1)) t = (t + 1) % 2001;
            OK(moa_matcher_accept(m, s, t, &err));
            if (t == 0 || moa_matcher_finished(m, s)) break;
        }
        assert_true(moa_matcher_complete(m, s));
        moa_matcher_close(m, s);
    }
    assert_true(moa_matcher_get_stats(m).hits > 0);
    moa_matcher_free(m);
    moa_grammar_free(g);
    moa_token_tree_free(tree);
    test_vocab_close(&v);
}

/* The end of a reply is allowed when the text is a sentence, and alone when nothing can follow. */
static void test_ends(void **state) {
    (void)state;
    test_vocab v;
    moa_token_tree *tree = NULL;
    moa_err err = {0};
    const uint64_t *mask;
    OK(test_vocab_open(&v, 300, 9, &err));
    OK(moa_token_tree_new(&tree, v.tok, &err));
    moa_grammar *g = parse("root ::= \"x\"");
    moa_matcher *m = matcher(g, tree);
    const int s = moa_matcher_open(m, &err), f = moa_matcher_fork(m, s, &err);
    assert_int_equal(moa_matcher_accept(m, s, 0, &err), MOA_EINVAL); /* the end, too early */
    assert_int_equal(moa_matcher_accept(m, s, 5000, &err), MOA_EINVAL);
    assert_int_equal(moa_matcher_feed(m, s, "x", 1, &err), 1);
    OK(moa_matcher_mask(&mask, m, s, 10, &err));
    assert_int_equal(mask[0], 1); /* the end alone */
    assert_true(moa_matcher_finished(m, s));
    assert_false(moa_matcher_complete(m, f)); /* the fork stayed */
    moa_matcher_free(m);
    moa_grammar_free(g);
    moa_token_tree_free(tree);
    test_vocab_close(&v);
}

/* ---- errors ---- */

static void test_errors(void **state) {
    (void)state;
    static const struct { const char *text, *want; } bad[] = {
        {"", "no rule 'root'"}, {"a ::= \"x\"", "no rule 'root'"}, {"root ::= \"a", "g:1:10: this literal has no closing"}, {"root ::= \"a\"\nb ::= [a-", "g:2:7: this class has no closing"},
        {"root ::= foo", "g:1:10: rule 'foo' is not defined"}, {"root ::= \"a\"\nroot ::= \"b\"", "g:2:1: rule 'root' is defined twice"},
        {"root = \"a\"", "g:1:6: expected '::='"}, {"root ::= \"\\q\"", "g:1:11: unknown escape '\\q'"}, {"root ::= \"\\x4\"", "expected 2 hexadecimal digits"},
        {"root ::= \"\\ud800\"", "which is no character"}, {"root ::= \"\\U00110000\"", "which is no character"}, {"root ::= [b-a]", "a range from U+0062 down to U+0061"}, {"root ::= []", "empty class"},
        {"root ::= (\"a\"", "g:1:10: this '(' is never closed"}, {"root ::= \"a\")", "g:1:13: expected a literal"}, {"root ::= \"a\"{3,2}", "g:1:13: {3,2}"}, {"root ::= \"a\"{}", "expected {m}"},
        {"root ::= \"a\"{x}", "expected {m}"}, {"root ::= \"a\"{99999999999}", "repeated more than"}, {"root ::= <[7]>", "tokens by name or number"}, {"root ::= *", "g:1:10: expected a literal"},
        {"root ::= \"\xFF\"", "g:1:11: byte 0xff is not UTF-8"}, {"# \xC3\xA9\n\xC3\xA9 ::= \"a\"", "g:2:1: expected the name of a rule"},
        {"root ::= root \"a\" | \"b\"", "rule 'root' calls itself before anything is read: root -> root"}, {"root ::= a\na ::= \"\"? b\nb ::= c \"x\"\nc ::= [0-9]* a | \"y\"", "a -> b -> c -> a"},
        {"root ::= \"a\" root", "'root' never comes to an end"}, {"root ::= a | b\na ::= \"(\" b\nb ::= \"[\" a", "never comes to an end"},
        {"root ::= ((((([a-z]{1000}){1000}){1000}){1000}){1000}){1000000}", "states"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_grammar *g;
        moa_err err = {0};
        const int rc = moa_grammar_parse(&g, bad[i].text, strlen(bad[i].text), "g", &err);
        if (rc >= 0) fail_msg("accepted: %s", bad[i].text);
        assert_null(g);
        assert_int_equal(err.code, rc);
        if (!strstr(err.text, bad[i].want)) fail_msg("%s\n  got      %s\n  expected %s", bad[i].text, err.text, bad[i].want);
    }
}

/* ---- dialect ---- */

static void test_dialect(void **state) {
    (void)state;
    static const struct { const char *text, *yes[4], *no[4]; } good[] = {
        {"root ::= \"a\" # comment\n  | \"b\"\n\n# more\n  |\"c\"", {"a", "b", "c"}, {"", "ab"}},
        {"root ::=\n  (\n \"a\"\n  \"b\" )\n", {"ab"}, {"a"}},
        {"root::=x-1 x_2\r\nx-1 ::= \"a\"\r\nx_2 ::= [\\]\\-\\\\^-]+", {"a]", "a-^\\"}, {"a", "ab"}},
        {"root ::= \"ab\"* \"c\"?", {"", "ababc", "c"}, {"aab", "abb"}},
        {"root ::= \"a\"? ? | \"b\"{2}{2}", {"", "a", "bbbb"}, {"bb", "bbb"}},
        {"root ::= \"\\x41\\u00e9\\U0001f600\\n\\t\\\"\\\\\"", {"A\xC3\xA9\xF0\x9F\x98\x80\n\t\"\\"}, {"A"}},
        {"root ::= [^\\n]+ | .", {"x y", "\n"}, {"\n\n", ""}},
        {"root ::= | \"a\"", {"", "a"}, {"b"}},
        {"root ::= (\"\")* \"x\" ((\"\" | \"y\")* )*", {"x", "xyyy"}, {"", "y"}},
        {"root ::= ( \"(\" root \")\" )*", {"", "(())()"}, {"(", "())"}},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        moa_grammar *g = parse(good[i].text);
        moa_matcher *m = matcher(g, NULL);
        for (int k = 0; k < 4 && good[i].yes[k]; k++)
            if (state_of(m, good[i].yes[k], strlen(good[i].yes[k])) != 2) fail_msg("'%s' should match %s", good[i].yes[k], good[i].text);
        for (int k = 0; k < 4 && good[i].no[k]; k++)
            if (state_of(m, good[i].no[k], strlen(good[i].no[k])) == 2) fail_msg("'%s' should not match %s", good[i].no[k], good[i].text);
        moa_matcher_free(m);
        moa_grammar_free(g);
    }
}

/* ---- cost ---- */

static void feed_some(moa_matcher *m, const char *letters, int n) {
    moa_err err = {0};
    const int s = moa_matcher_open(m, &err);
    const size_t k = strlen(letters);
    for (int i = 0; i < n; i++) assert_int_equal(moa_matcher_feed(m, s, letters + (size_t)i % k, 1, &err), 1);
    moa_matcher_close(m, s);
}

static void test_cost(void **state) {
    (void)state;
    static const struct { const char *text, *letters; } hard[] = {
        {"root ::= \"a\" root \"x\" | \"a\" root \"y\" | \"\"", "a"},                    /* 2^n stacks */
        {"root ::= s\ns ::= \"a\" s s | \"a\" s | \"a\"", "a"},                            /* Catalan many readings */
        {"root ::= (\"a\"* \"a\"*)* (\"a\"* \"a\"*)*", "a"}, {"root ::= (\"a\"?){1000} (\"a\"?){1000} \"a\"*", "a"},
        {"root ::= ((([ab]{1000}){1000}){1000}){1000}", "ab"}, {"root ::= ([ab]* \"a\" [ab]{12})*", "abb"}, {"root ::= \"(\" root \")\" | \"\"", "("},
    };
    const double start = moa_now();
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
        moa_grammar *g = parse(hard[i].text);
        moa_matcher *m = matcher(g, NULL);
        feed_some(m, hard[i].letters, 300);
        moa_matcher_free(m);
        moa_grammar_free(g);
    }
    if (moa_now() - start > 60) fail_msg("%.1f s", moa_now() - start); /* milliseconds, where nothing is exponential */
}

/* A grammar of a megabyte: many rules in a chain, and a choice of many words. */
static void test_large(void **state) {
    (void)state;
    moa_buf b;
    moa_buf_init(&b, 8 << 20);
    moa_buf_adds(&b, "root ::= r0 | words\n");
    enum { N = 20000 };
    for (int i = 0; i < N; i++) moa_buf_addf(&b, "r%d ::= \"%c\" r%d | \"%d\"\n", i, 'a' + i % 26, i + 1, i);
    moa_buf_addf(&b, "r%d ::= \"z\"\nwords ::= \"w0\"", N);
    for (int i = 1; i < N; i++) moa_buf_addf(&b, " | \"w%d\"", i);
    moa_buf_adds(&b, "\nq0 ::= \"x\"\n");
    for (int i = 1; i < N; i++) moa_buf_addf(&b, "q%d ::= q%d q%d\n", i, i - 1, i - 1); /* doubles with each rule; root does not use it */
    assert_true(b.len > 1 << 20);
    const double start = moa_now();
    moa_grammar *g = parse(moa_buf_str(&b));
    moa_matcher *m = matcher(g, NULL);
    assert_int_equal(state_of(m, "w19999", 6), 2);
    assert_int_equal(state_of(m, "w20000", 6), 0);
    assert_int_equal(state_of(m, "abc3", 4), 2);
    assert_int_equal(state_of(m, "abc4", 4), 0);
    moa_matcher_free(m);
    moa_grammar_free(g);
    if (moa_now() - start > 60) fail_msg("%.1f s", moa_now() - start);
    moa_buf_deinit(&b);
}

/* More positions than memory: what is not needed is forgotten, and the answers stay the same. */
static void test_collections(void **state) {
    (void)state;
    moa_grammar *g = parse("root ::= (item \",\"){0,3000} \";\"\nitem ::= [a-z]{0,30} | \"<\" item \">\"");
    moa_matcher *m = matcher(g, NULL);
    moa_err err = {0};
    moa_rng r;
    moa_rng_seed(&r, 3);
    const int s = moa_matcher_open(m, &err), other = moa_matcher_open(m, &err);
    assert_int_equal(moa_matcher_feed(m, other, "<<ab", 4, &err), 1);
    for (int k = 0; k < 2500; k++) {
        char item[40];
        const int n = (int)moa_rng_below(&r, 31);
        for (int i = 0; i < n; i++) item[i] = (char)('a' + (int)moa_rng_below(&r, 26));
        item[n] = ',';
        assert_int_equal(moa_matcher_feed(m, s, item, (size_t)n + 1, &err), 1);
        assert_int_equal(moa_matcher_feed(m, s, ">", 1, &err), 0);
    }
    assert_true(moa_matcher_get_stats(m).collections > 0);
    assert_int_equal(moa_matcher_feed(m, other, ">>,;", 4, &err), 1);
    assert_true(moa_matcher_finished(m, other));
    moa_matcher_free(m);
    moa_grammar_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_grammars), cmocka_unit_test(test_unicode), cmocka_unit_test(test_masks), cmocka_unit_test(test_budget),
        cmocka_unit_test(test_ends), cmocka_unit_test(test_errors), cmocka_unit_test(test_dialect), cmocka_unit_test(test_cost),
        cmocka_unit_test(test_large), cmocka_unit_test(test_collections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
