/* test_property.c - every strategy, under a clock of the test's own and a backend that delays, fails, stalls, babbles: whatever happens, each call ends once,
 * budgets hold, a cancel reaches every call, a trace replayed gives the same bytes, and what was paid for before a kill is not paid again.
 * A case that fails is run again alone with MOA_PROPERTY=CASE; MOA_PROPERTY_CASES=N runs more of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/replay.h"
#include "agent/run.h"
#include "agent/trace.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_CALLS = 4096, N_CASE = 1500 };

static double now_is;
static double own_clock(void) { return now_is; }

/* ---- a backend with a fate for every call ---- */

typedef struct fate { moa_call *call; double at, half_at; uint64_t key; size_t told; } fate; /* told: bytes of its text, at half_at */
typedef struct world {
    moa_backend base[3];
    fate f[MOST_CALLS]; int n;       /* that run */
    uint64_t paid[MOST_CALLS]; int n_paid; /* keys of calls that ended well */
    int started, ended, twice;
    int64_t tokens;
    int faults;                      /* percent of calls that go wrong */
    int n_ctx;
    bool instant;
} world;
static world *the;

static uint64_t key_of(const moa_backend *b, const moa_call *c) {
    uint64_t h = moa_hash64(&c->sampling.seed, sizeof c->sampling.seed, moa_hash64(b->id, strlen(b->id), 0));
    for (int i = 0; i < c->n_msg; i++) {
        h = moa_hash64(c->msg[i].role, strlen(c->msg[i].role) + 1, h);
        h = moa_hash64(c->msg[i].content, strlen(c->msg[i].content) + 1, h);
    }
    if (c->prefix) h = moa_hash64(c->prefix, strlen(c->prefix) + 1, h);
    return moa_hash64(&c->max_tokens, sizeof c->max_tokens, h);
}

/* What a model may say to anything. By words, since a word is a token here. */
static void say(moa_buf *b, moa_rng *g, int most) {
    static const char *const odd[] = {"== 2 ==", "== end ==", "Replies say: 1 | 2", "Score: 99999999999999999999", "Score: -3", "Choice: 0, 7, 7, -1", "End: maybe", "Better: C",
                                      "\x01\x02\x1b[31m", "\xf0\x9f\x98\x80", "Answer:", "Answer: none", "{\"k\": [1,", "nan", "1e999", "\n\n\n", "2+2=4", "2+2=5", "3*7=22."};
    const int kind = (int)moa_rng_below(g, 10);
    int n = 0;
    if (kind == 0) return;
    if (kind == 1) {
        for (; n < most && n < 3000; n++) moa_buf_addf(b, "word%d ", n);
        return;
    }
    for (int k = (int)moa_rng_below(g, 12); k > 0 && n < most - 2; k--, n += 4) {
        if (n + 6 > most) break;
        moa_buf_addf(b, "%s ", moa_rng_below(g, 3) ? "so it is" : odd[moa_rng_below(g, sizeof odd / sizeof *odd)]);
    }
    n += 3; /* a piece has up to three words */
    if (n + 7 > most) return;
    const uint32_t v = moa_rng_below(g, 4);
    if (kind < 7) moa_buf_addf(b, "\nAnswer: %u", v < 2 ? 7 : v);
    else if (kind == 7) moa_buf_addf(b, "\nScore: %u", moa_rng_below(g, 11));
    else if (kind == 8) moa_buf_addf(b, "\nChoice: %u, %u\nEnd: %s", 1 + v, 1 + moa_rng_below(g, 4), v ? "no" : "yes");
    else moa_buf_addf(b, "\nBetter: %s", v < 2 ? "A" : "B");
}

static int words(const char *s) {
    int n = 0;
    while (*(s += strspn(s, " \n"))) s += strcspn(s, " \n"), n++;
    return n;
}

/* Its draws, behind those of whether it fails; and its text. */
static bool write_text(moa_buf *b, moa_rng *g, const fate *f) {
    moa_rng_seed(g, f->key);
    const bool fails = (int)moa_rng_below(g, 100) < the->faults;
    moa_buf_init(b, 1 << 20);
    say(b, g, f->call->max_tokens < the->n_ctx / 4 ? f->call->max_tokens : the->n_ctx / 4); /* a reply has the rest of the context at most */
    return !fails;
}

/* Half of the text comes before the rest of it, of those that fail too. */
static void tell_half(fate *f) {
    moa_rng g;
    moa_buf b;
    write_text(&b, &g, f);
    f->told = moa_utf8_ready(moa_buf_str(&b), b.len / 2);
    if (f->told) f->call->on_text(f->call, moa_buf_str(&b), f->told);
    f->half_at = 1e9;
    moa_buf_deinit(&b);
}

static void end_now(const fate *f) {
    moa_call *c = f->call;
    moa_rng g;
    moa_buf b;
    const bool canceled = atomic_load(&c->cancel), works = write_text(&b, &g, f);
    the->ended++;
    if (canceled) {
        moa_fail(&c->err, MOA_ECANCELED, "canceled");
        c->rc = MOA_ECANCELED;
    } else if (!works) {
        moa_fail(&c->err, MOA_EIO, "the script says no");
        c->rc = MOA_EIO;
    } else {
        c->res.text_len = b.len;
        c->res.text = moa_buf_take(&b);
        if (!c->res.text) c->res.text = calloc(1, 1), c->res.text_len = 0;
        c->res.n_ids = words(c->res.text);
        c->res.sum_logprob = -(double)moa_rng_below(&g, 1000) / 100;
        c->res.why = c->goes_on && moa_rng_below(&g, 4) ? MOA_STOP_LENGTH : moa_rng_below(&g, 8) ? MOA_STOP_EOS : MOA_STOP_STRING;
        assert_true(c->res.n_ids <= c->max_tokens);
        the->tokens += c->res.n_ids;
        assert_true(the->n_paid < MOST_CALLS);
        the->paid[the->n_paid++] = f->key;
        if (c->res.text_len > f->told) c->on_text(c, c->res.text + f->told, c->res.text_len - f->told);
    }
    moa_buf_deinit(&b);
    c->on_end(c);
}

static void start(moa_backend *b, moa_call *const *call, int n) {
    for (int i = 0; i < n; i++) {
        const uint64_t key = key_of(b, call[i]);
        moa_rng g;
        moa_rng_seed(&g, key ^ 99);
        assert_true(the->n < MOST_CALLS);
        the->started++;
        for (int k = 0; k < the->n_paid; k++) the->twice += the->paid[k] == key;
        fate f = {.call = call[i], .at = now_is + 0.01 + 0.01 * moa_rng_below(&g, 400) + (moa_rng_below(&g, 25) ? 0 : 500), .key = key}; /* one in 25 stalls */
        f.half_at = now_is + 0.01 + 0.01 * moa_rng_below(&g, 300);
        if (the->instant) end_now(&f);
        else the->f[the->n++] = f;
    }
}

static int64_t measure(moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    (void)b, (void)x, (void)err;
    int64_t n = 0;
    for (int i = 0; i < n_msg; i++) n += words(msg[i].content);
    return n;
}

static void stir(moa_backend *b) { (void)b; }
static void close_it(moa_backend *b) { (void)b; }

/* Ends all that ends by now. */
static void pass(void) {
    for (int i = 0; i < the->n; i++) {
        if (the->f[i].half_at <= now_is && the->f[i].at > now_is) tell_half(&the->f[i]);
        if (the->f[i].at > now_is && !atomic_load(&the->f[i].call->cancel)) continue;
        const fate f = the->f[i];
        the->f[i--] = the->f[--the->n];
        end_now(&f);
    }
}

static double next_event(void) {
    double at = now_is + 0.25; /* alarms of the run: deadlines, graces */
    for (int i = 0; i < the->n; i++) {
        if (the->f[i].at < at) at = the->f[i].at;
        if (the->f[i].half_at < at) at = the->f[i].half_at;
    }
    return at;
}

/* ---- a run ---- */

typedef struct watch { int over; double cancel_at; double canceled_at; } watch;
static void ended(void *ctx, moa_run *r) { (void)r; ((watch *)ctx)->over++; }

static void drive(moa_run *r, double cancel_at) {
    watch w = {.cancel_at = cancel_at};
    moa_loop *loop;
    const double t0 = now_is;
    assert_int_equal(moa_loop_new(&loop, 0, NULL), 0);
    assert_int_equal(moa_run_start(r, loop, NULL, ended, &w, NULL), 0);
    for (int turn = 0; !w.over; turn++) {
        moa_loop_turn(loop, 0);
        if (w.over) break;
        if (now_is >= t0 + cancel_at && !(w.canceled_at > 0)) {
            moa_run_cancel(r);
            w.canceled_at = now_is;
            continue;
        }
        const double next = next_event();
        now_is = !(w.canceled_at > 0) && next > t0 + cancel_at ? t0 + cancel_at : next;
        pass();
        if (w.canceled_at > 0) assert_true(now_is < w.canceled_at + 1); /* a cancel reaches everything */
        if (turn >= 20000) fail_msg("%s: no end: %d calls run at %g", r->cfg->strategy, the->n, now_is - t0);
    }
    assert_int_equal(w.over, 1);
    assert_int_equal(the->started, the->ended);
    assert_int_equal(the->n, 0);
    moa_loop_free(loop);
}

/* ---- cases ---- */

static bool may(moa_rng *g, const moa_strategy *s, unsigned has) { return (s->has & has) == has && moa_rng_below(g, 3) == 0; }

static void set(moa_mix_cfg *c, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void set(moa_mix_cfg *c, const char *key, const char *fmt, ...) {
    char value[40];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    moa_err err = {0};
    if (moa_mix_set(c, key, value, &err) < 0) fail_msg("%s", err.text);
}

/* A strategy with settings drawn from all it has. */
static void draw(moa_mix_cfg *c, moa_rng *g, const moa_strategy *s, moa_backend **b) {
    *c = moa_mix_defaults(s->name);
    c->n_proposer = s->has & MOA_SEVERAL ? 1 + (int)moa_rng_below(g, 3) : 1;
    c->proposer = b;
    if (may(g, s, MOA_AGGREGATES)) c->aggregator = b[2];
    if (may(g, s, MOA_JUDGES)) c->judge = b[1];
    set(c, "max-tokens", "%u", 4 + moa_rng_below(g, 200));
    if (may(g, s, MOA_HAS_N)) set(c, "n", "%u", (unsigned)c->n_proposer + moa_rng_below(g, 7));
    if (may(g, s, MOA_GATHERS)) set(c, "quorum", "%u", 1 + moa_rng_below(g, 3));
    if (may(g, s, MOA_GATHERS)) set(c, "grace", "%u", 1 + moa_rng_below(g, 2));
    if (may(g, s, MOA_GATHERS)) set(c, "until", "agree");
    if (may(g, s, MOA_GATHERS)) set(c, "same", "%s", moa_rng_below(g, 2) ? "text" : "embedding");
    if (may(g, s, MOA_GATHERS | MOA_HAS_N)) set(c, "wave", "%u", 1 + moa_rng_below(g, 3));
    if (may(g, s, MOA_GATHERS)) c->screen = (int)moa_rng_below(g, 5), c->subsets = 1 + (int)moa_rng_below(g, 6), c->screen_at = 0.1 * moa_rng_below(g, 5);
    if (may(g, s, MOA_GATHERS)) c->most_of_one = (int)moa_rng_below(g, 3), c->duplicates = (int)moa_rng_below(g, 2);
    if (may(g, s, MOA_GATHERS)) set(c, "checker", "calculator");
    if (s->has & MOA_CLIMBS && moa_rng_below(g, 2)) { /* screens and windows exclude it */
        c->screen = c->most_of_one = c->duplicates = c->checker = 0;
        set(c, "staircase", "%u", 1 + moa_rng_below(g, 12));
        c->stair_steps = (int)moa_rng_below(g, 2);
    }
    if (may(g, s, MOA_AGGREGATES)) c->layout = (int)moa_rng_below(g, 2), c->fence = (int)moa_rng_below(g, 2), c->aggregate_acts = moa_rng_below(g, 2), c->fit = c->staircase ? 0 : (int)moa_rng_below(g, 2);
    if (may(g, s, 0)) set(c, "budget-tokens", "%u", 20 + moa_rng_below(g, 600));
    if (may(g, s, 0)) set(c, "budget-cost", "%u", 1 + moa_rng_below(g, 2000));
    if (may(g, s, 0)) set(c, "deadline", "%u", 1 + moa_rng_below(g, 6));
    for (int i = 0; i < s->n_setting; i++) {
        const moa_setting *p = &s->setting[i];
        if (p->text || moa_rng_below(g, 2)) continue;
        if (p->words) {
            int n = 1;
            for (const char *w = p->words; *w; w++) n += *w == '|';
            c->arg[i] = moa_rng_below(g, (uint32_t)n);
        } else {
            const double hi = p->hi < p->lo + 4 ? p->hi : p->lo + 4, v = p->lo + (hi - p->lo) * moa_rng_below(g, 1000) / 1000;
            c->arg[i] = p->whole ? (double)(long long)v : v;
        }
    }
}

static char *dump(json_t *v) {
    char *s = json_dumps(moa_trace_canonical(v), JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(v);
    return s;
}

/* The trace of r, replayed, is the trace of r. */
static void check_replay(const moa_run *r, int which) {
    json_t *was = moa_trace_run(r, false), *again = NULL;
    moa_err err = {0};
    double (*clock)(void) = moa_clock;
    world quiet = {.instant = true}, *w = the;
    the = &quiet;
    moa_clock = NULL; /* a replay looks at no clock but to give up */
    const int rc = moa_replay(&again, was, "trace", &err);
    moa_clock = clock;
    the = w;
    if (rc < 0) fail_msg("case %d, %s: replay: %s", which, r->cfg->strategy, err.text);
    char *a = dump(was), *b = dump(again);
    if (strcmp(a, b)) {
        size_t k = 0;
        while (a[k] == b[k]) k++;
        if (getenv("MOA_PROPERTY")) fprintf(stderr, "%s\n%s\n", a, b);
        fail_msg("case %d, %s: replay differs at %zu: %.200s AND %.200s", which, r->cfg->strategy, k, a + (k > 60 ? k - 60 : 0), b + (k > 60 ? k - 60 : 0));
    }
    free(a);
    free(b);
}

static void one_case(int which) {
    int n_strategy;
    const moa_strategy *const *all = moa_strategies(&n_strategy), *s = all[which % n_strategy];
    moa_rng g;
    moa_rng_seed(&g, (uint64_t)which * 7919 + 1);
    static const moa_backend_ops ops = {.name = "fate", .help = "", .start = start, .stir = stir, .close = close_it, .measure = measure};
    static const char *const id[] = {"one", "two", "three"};
    world *w = calloc(1, sizeof *w);
    moa_backend *plain[3], *b[3];
    moa_journal *j;
    moa_mix_cfg cfg;
    const moa_message conv[] = {{"system", "Be brief."}, {"user", "What is 3 + 4?"}};
    moa_run *r;
    the = w;
    now_is = 1; /* no time of the machine's: nobody sleeps until then */
    assert_int_equal(moa_journal_open(&j, NULL, NULL), 0);
    w->n_ctx = moa_rng_below(&g, 2) ? 20000 : 40 + (int)moa_rng_below(&g, 600); /* some hold few references, some not one */
    w->faults = moa_rng_below(&g, 2) ? 0 : (int)moa_rng_below(&g, 60);
    for (int i = 0; i < 3; i++) {
        w->base[i] = (moa_backend){.ops = &ops, .id = id[i], .fingerprint = (uint64_t)i + 1, .n_ctx = w->n_ctx, .goes_on = i < 2, .price_prompt = 1e6, .price_completion = 1e6}; /* a dollar a token */
        plain[i] = &w->base[i];
        assert_int_equal(moa_backend_journal_open(&b[i], j, plain[i], NULL), 0);
        b[i]->price_prompt = b[i]->price_completion = 1e6;
    }
    draw(&cfg, &g, s, b);
    if (s->has & MOA_LEARNS) assert_int_equal(moa_store_open(&cfg.store, NULL, NULL), 0);
    const bool killed = moa_rng_below(&g, 3) == 0;
    const double cancel_at = killed ? 0.01 * moa_rng_below(&g, 500) : 1e5;
    const uint64_t seed = moa_rng_below(&g, 1000);
    moa_err err = {0};
    const int made = moa_run_new(&r, &cfg, conv, 2, seed, &err);
    if (made == MOA_EUSAGE) goto done; /* settings that do not fit each other */
    if (made < 0) fail_msg("case %d, %s: %s", which, s->name, err.text);
    drive(r, cancel_at);
    if (cfg.budget_tokens) assert_true(w->tokens <= cfg.budget_tokens);
    if (cfg.budget_cost > 0) assert_true(r->usage.cost <= cfg.budget_cost + 1e-6);
    assert_true(r->rc >= 0 || r->err.text[0]);
    check_replay(r, which);
    if (!killed) {
        moa_score_fn nobody = NULL;
        assert_int_equal(moa_run_learn(r, nobody, NULL, NULL), 0);
    }
    moa_run_free(r);
    if (killed) { /* the same again: what had ended well is not asked again */
        assert_int_equal(w->twice, 0);
        assert_int_equal(moa_run_new(&r, &cfg, conv, 2, seed, NULL), 0);
        drive(r, 1e5);
        if (w->twice) fail_msg("case %d, %s: %d calls were paid twice", which, s->name, w->twice);
        moa_run_free(r);
    }
done:
    moa_store_close(cfg.store);
    for (int i = 0; i < 3; i++) moa_backend_close(b[i]);
    moa_journal_close(j);
    free(w);
}

static void test_all(void **state) {
    (void)state;
    const char *only = getenv("MOA_PROPERTY"), *many = getenv("MOA_PROPERTY_CASES");
    const int n = only ? (int)strtol(only, NULL, 10) + 1 : many ? (int)strtol(many, NULL, 10) : N_CASE;
    moa_clock = own_clock;
    for (int i = 0; i < n; i++)
        if (!only || i == n - 1) one_case(i);
    moa_clock = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
