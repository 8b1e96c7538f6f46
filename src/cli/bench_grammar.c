/* bench_grammar.c - moa bench grammar [SCHEMA]: what a grammar costs beside decoding.
 *
 * A reply is drawn at random from the masks of a schema (a file, or one with a hundred properties of all kinds that is built in), over
 * the model's own vocabulary: once with empty memories, when every mask is worked out, and again by the same matcher with other
 * seeds. One token is one mask, one draw and one step of the automaton; the time is compared with that of decoding one token
 * without a grammar. benches.def: BENCH(grammar)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "format/grammar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_PROPERTY = 100, MAX_TOKENS = 20000, REPLIES = 10, PROMPT = 64, ROUNDS = 5 };

typedef struct cost {
    int rules, tokens;
    double compile_ms, tree_ms, first_us, again_us, decode_us; /* per token where not ms */
    double worst_us;                                           /* the dearest token of the first reply */
    moa_matcher_stats stats;
} cost;

/* Objects in objects, so that there are about a hundred rules: strings, numbers, choices, lists, half of them required. */
static int built_in(moa_buf *b) {
    static const char *const kind[] = {
        "{\"type\":\"string\"}", "{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000}", "{\"type\":\"number\"}", "{\"enum\":[\"low\",\"middle\",\"high\"]}", "{\"type\":\"boolean\"}",
        "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":3}", "{\"type\":\"string\",\"maxLength\":20}", "{\"type\":\"string\",\"format\":\"date-time\"}",
        "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\"},\"note\":{\"type\":\"string\"}},\"required\":[\"id\"]}", "{\"type\":[\"string\",\"null\"]}"};
    moa_buf_adds(b, "{\"type\":\"object\",\"properties\":{");
    for (int i = 0; i < N_PROPERTY; i++) moa_buf_addf(b, "%s\"field_%d\":%s", i ? "," : "", i, kind[i % 10]);
    moa_buf_adds(b, "},\"required\":[");
    for (int i = 0; i < N_PROPERTY; i += 2) moa_buf_addf(b, "%s\"field_%d\"", i ? "," : "", i);
    return moa_buf_adds(b, "]}");
}

static int read_schema(moa_grammar **g, cost *c, const char *arg, moa_err *err) {
    moa_buf b;
    char *text = NULL;
    size_t n = 0;
    moa_buf_init(&b, 1 << 20);
    if (arg) MOA_TRY(moa_read_file(&text, &n, arg, MOA_GRAMMAR_TEXT, err));
    else built_in(&b);
    const double start = moa_now();
    const int rc = moa_grammar_from_schema(g, text ? text : moa_buf_str(&b), text ? n : b.len, arg ? arg : "built-in schema", err);
    c->compile_ms = (moa_now() - start) * 1e3;
    if (rc >= 0) c->rules = moa_grammar_n_rule(*g);
    moa_buf_deinit(&b);
    free(text);
    return rc;
}

/* Any allowed token, all alike; but every fourth time a quote where one is allowed: strings end, as those of models do. */
static int32_t any_token(const uint64_t *mask, int n_vocab, int32_t quote, moa_rng *r) {
    if (moa_rng_below(r, 4) == 0 && mask[quote / 64] >> (quote % 64) & 1) return quote;
    const int words = n_vocab / 64 + 1;
    int64_t n = 0;
    for (int i = 0; i < words; i++) n += __builtin_popcountll(mask[i]);
    int64_t k = (int64_t)moa_rng_below(r, (uint32_t)n);
    for (int i = 0; i < words; i++) {
        uint64_t m = mask[i];
        for (const int c = __builtin_popcountll(m); k < c;) {
            while (k-- > 0) m &= m - 1;
            return i * 64 + __builtin_ctzll(m);
        }
        k -= __builtin_popcountll(m);
    }
    return 0;
}

/* Of this thread alone: masks are the work of one, and a neighbour on the machine should not count. */
static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What reading that clock twice takes: a good part of a microsecond, of which a token has two. */
static double clock_cost(void) {
    enum { N = 2000 };
    double sum = 0;
    for (int i = 0; i < N; i++) {
        const double t = cpu_now();
        sum += cpu_now() - t;
    }
    return sum / N;
}

/* One reply; time goes to *seconds, without the draw and the clock. */
static int reply(double *seconds, double *worst, int *tokens, moa_matcher *m, int n_vocab, int32_t quote, uint64_t seed, moa_err *err) {
    moa_rng r;
    moa_rng_seed(&r, seed);
    const double clock = 2 * clock_cost();
    const int s = moa_matcher_open(m, err);
    int rc = s < 0 ? s : 0;
    for (int i = 0; rc >= 0 && i < MAX_TOKENS && !moa_matcher_finished(m, s); i++) {
        const uint64_t *mask;
        const double t0 = cpu_now();
        if ((rc = moa_matcher_mask(&mask, m, s, INT64_MAX, err)) < 0) break;
        const double t1 = cpu_now();
        const int32_t t = any_token(mask, n_vocab, quote, &r);
        const double t2 = cpu_now();
        rc = moa_matcher_accept(m, s, t, err);
        const double one = t1 - t0 + cpu_now() - t2 - clock;
        *seconds += one;
        if (worst && one > *worst) *worst = one;
        ++*tokens;
    }
    if (s >= 0) moa_matcher_close(m, s);
    return rc;
}

static int measure_grammar(cost *c, const moa_grammar *g, const moa_tokenizer *tok, moa_err *err) {
    moa_token_tree *tree = NULL;
    moa_matcher *m = NULL;
    double first = 0, again = 0;
    int n_first = 0, n_again = 0;
    const int n = moa_tokenizer_n_vocab(tok);
    const double start = moa_now();
    MOA_TRY(moa_token_tree_new(&tree, tok, err));
    c->tree_ms = (moa_now() - start) * 1e3;
    moa_ids quote = {0};
    int rc = moa_tokenize(&quote, tok, "\"", 1, 0, err);
    const int32_t q = rc >= 0 && quote.n ? quote.v[quote.n - 1] : 0;
    moa_ids_deinit(&quote);
    if (rc >= 0) rc = moa_matcher_new(&m, g, tree, err);
    if (rc >= 0) rc = reply(&first, &c->worst_us, &n_first, m, n, q, 1, err);
    for (uint64_t i = 0; rc >= 0 && i < REPLIES; i++) rc = reply(&again, NULL, &n_again, m, n, q, i + 2, err);
    if (rc >= 0) {
        c->tokens = n_first;
        c->first_us = first * 1e6 / (n_first ? n_first : 1);
        c->again_us = again * 1e6 / (n_again ? n_again : 1);
        c->worst_us *= 1e6;
        c->stats = moa_matcher_get_stats(m);
    }
    moa_matcher_free(m);
    moa_token_tree_free(tree);
    return rc;
}

/* Decoding one token behind a prompt, without a grammar: the fastest of some rounds, since masks are timed without neighbours too, and a
 * step of several threads that waits for one of them would make any mask look cheap. */
static int measure_decode(cost *c, moa_session *s, int runs, moa_err *err) {
    const int half = moa_session_model(s)->h.n_ctx / 2;
    moa_steps t;
    double step = 0, least = INFINITY;
    int parent = -1, rc = moa_steps_init(&t, s, PROMPT, runs, err);
    if (rc >= 0) rc = parent = moa_steps_prefill(&t, half < PROMPT ? half : PROMPT, err);
    for (int i = 0; rc >= 0 && i < ROUNDS; i++) {
        rc = moa_steps_decode(&step, &t, parent, 1, err);
        if (step < least) least = step;
    }
    if (parent >= 0) moa_seq_free(s, parent);
    moa_steps_deinit(&t);
    c->decode_us = least * 1e6;
    return rc;
}

static void print(const cost *c, const char *model, bool json) {
    const double share = 100 * c->first_us / c->decode_us, later = 100 * c->again_us / c->decode_us;
    if (json) {
        printf("{\"model\":\"%s\",\"rules\":%d,\"compile_ms\":%.3f,\"tree_ms\":%.3f,\"tokens\":%d,\"first_us\":%.3f,\"again_us\":%.3f,\"worst_us\":%.1f,\"decode_us\":%.2f,"
               "\"first_percent\":%.2f,\"again_percent\":%.2f,\"hits\":%lld,\"misses\":%lld}\n",
               model, c->rules, c->compile_ms, c->tree_ms, c->tokens, c->first_us, c->again_us, c->worst_us, c->decode_us, share, later, (long long)c->stats.hits, (long long)c->stats.misses);
        return;
    }
    printf("%s  %d rules, compiled in %.2f ms; vocabulary's tree in %.1f ms, once a model\n", model, c->rules, c->compile_ms, c->tree_ms);
    printf("  decode         %10.1f us a token without a grammar\n", c->decode_us);
    printf("  first reply    %10.2f us a token over %d tokens: %.2f %% of decode, the dearest %.0f us\n", c->first_us, c->tokens, share, c->worst_us);
    printf("  later replies  %10.2f us a token: %.2f %% of decode\n", c->again_us, later);
    printf("  masks          %lld found, %lld worked out\n", (long long)c->stats.hits, (long long)c->stats.misses);
}

static int run(const moa_bench_opt *opt, moa_err *err) {
    char path[4096];
    moa_backend *be;
    moa_grammar *g = NULL;
    cost c = {0};
    MOA_TRY(moa_bench_open(&be, path, opt, err));
    moa_session *s = moa_generator_session(moa_backend_local_generator(be));
    int rc = read_schema(&g, &c, opt->arg, err);
    if (rc >= 0) rc = measure_grammar(&c, g, moa_session_model(s)->tok, err);
    if (rc >= 0) rc = measure_decode(&c, s, opt->runs ? opt->runs : 5, err);
    if (rc >= 0) print(&c, be->id, opt->json);
    moa_grammar_free(g);
    moa_backend_close(be);
    return rc;
}

const moa_bench moa_bench_grammar = {.name = "grammar", .help = "what a JSON schema costs a token, against decoding", .run = run};
