/* free_agent.c - a stream of questions in which the agent that answers goes bad (docs/agents/free-agent.md).
 *
 *     build/bench/agents/free_agent MODEL [N [T [SEED]]]     N questions (default 600), bad from the T-th on (default 200)
 *
 * Choice questions about the invented world, a classification into A to D. All agents are MODEL; what differs is put over its replies here: "worse" gives
 * the next letter in nine of ten replies, always; "first" is honest until question T and gives the next letter in three of four after; "good" is honest.
 * Told: accuracy before, from T to the swap, and after it; when whom was tried and adopted; the same stream with nobody on the bench.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "agent/stats.h"
#include "base/rng.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stands before the model; what its replies are turned into depends on the question alone. */
typedef struct mask { moa_backend base; moa_backend *model; double wrong; int from; } mask;
typedef struct relay { moa_call call; moa_call *outer; mask *of; } relay;
static int asked; /* the question's place in the stream */

static void shift(char *text, size_t n) {
    const char *answer;
    size_t len;
    if (!moa_answer_find(&answer, &len, text, n) || !len) return;
    char *c = text + (answer - text);
    if (*c >= 'A' && *c <= 'D') *c = *c == 'D' ? 'A' : (char)(*c + 1);
}

static void on_text(moa_call *c, const char *text, size_t n) { (void)c, (void)text, (void)n; }
static void on_end(moa_call *inner) {
    relay *t = (relay *)inner;
    moa_call *c = t->outer;
    moa_rng g;
    moa_rng_seed2(&g, 99, (uint64_t)asked);
    c->res = inner->res, c->rc = inner->rc, c->err = inner->err, c->share_s = inner->share_s;
    if (c->res.text && asked >= t->of->from && moa_rng_f64(&g) < t->of->wrong) shift(c->res.text, c->res.text_len);
    if (c->res.text) c->on_text(c, c->res.text, c->res.text_len);
    free(t);
    c->on_end(c);
}
static void start(moa_backend *b, moa_call *const *call, int n) {
    mask *m = (mask *)b;
    for (int i = 0; i < n; i++) {
        relay *t = calloc(1, sizeof *t);
        moa_call *one;
        if (!t) abort();
        t->call = moa_call_again(call[i]);
        t->call.on_text = on_text, t->call.on_end = on_end, t->outer = call[i], t->of = m;
        one = &t->call;
        m->model->ops->start(m->model, &one, 1);
    }
}
static void close_it(moa_backend *b) { (void)b; }

static double check(void *item, const char *reply, size_t n) { return moa_item_check(item, reply, n); }

typedef struct stream { int n, t; uint64_t seed; moa_backend *model; } stream;

static int run(double *right, int *swap, const stream *s, int n_agent, bool tell, moa_err *err) {
    static const moa_backend_ops ops = {.name = "mask", .help = "", .start = start, .close = close_it};
    mask agent[3] = {{.base = {.ops = &ops, .id = "first"}, .model = s->model, .wrong = 0.75, .from = s->t},
                     {.base = {.ops = &ops, .id = "worse"}, .model = s->model, .wrong = 0.9},
                     {.base = {.ops = &ops, .id = "good"}, .model = s->model}};
    moa_backend *b[3] = {&agent[0].base, &agent[1].base, &agent[2].base};
    moa_mix_cfg cfg = moa_mix_defaults("free-agent");
    moa_item it;
    int told = 0;
    cfg.proposer = b, cfg.n_proposer = n_agent;
    MOA_TRY(moa_store_open(&cfg.store, NULL, err));
    moa_item_init(&it);
    *swap = -1;
    for (asked = 0; asked < s->n; asked++) {
        moa_run *r;
        char key[24], *change;
        MOA_TRY(moa_item_make(&it, moa_family_find("world"), MOA_HELDOUT, s->seed, (uint64_t)asked, 1 + asked % 3, err));
        const moa_message m = {"user", moa_buf_str(&it.question)};
        MOA_TRY(moa_run_new(&r, &cfg, &m, 1, s->seed + (uint64_t)asked, err));
        MOA_TRY(moa_run_execute(r, NULL, NULL, err));
        right[asked] = check(&it, moa_run_answer(r), strlen(moa_run_answer(r)));
        MOA_TRY(moa_run_learn(r, check, &it, err));
        moa_run_free(r);
        snprintf(key, sizeof key, "%d", told + 1);
        MOA_TRY(moa_store_get(&change, cfg.store, "free-agent/change", key, err));
        if (change && tell) printf("  question %4d  %s\n", asked + 1, change);
        if (change && *swap < 0 && asked >= s->t && !strncmp(change, "replaced", 8)) *swap = asked + 1;
        told += change != NULL;
        free(change);
    }
    moa_item_deinit(&it);
    moa_store_close(cfg.store);
    return 0;
}

static void row(const char *what, const double *right, int from, int to) {
    double ci[2];
    if (to <= from) return;
    moa_bootstrap_ci(ci, right + from, to - from, 1);
    printf("%-46s %5.1f %%  %5.1f .. %5.1f  (%d questions)\n", what, 100 * moa_mean(right + from, to - from), 100 * ci[0], 100 * ci[1], to - from);
}

int main(int argc, char **argv) {
    stream s = {.n = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 600, .t = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 200, .seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1};
    moa_err err = {0};
    int swap, none;
    if (argc < 2 || s.n < 1) return fprintf(stderr, "usage: free_agent MODEL [N [T [SEED]]]\n"), 2;
    double *right = calloc((size_t)s.n, sizeof *right), *alone = calloc((size_t)s.n, sizeof *alone);
    int rc = right && alone ? moa_backend_local_open(&s.model, argv[1], NULL, &err) : moa_fail(&err, MOA_ENOMEM, "%d questions", s.n);
    if (rc >= 0) rc = run(right, &swap, &s, 3, true, &err);
    if (rc >= 0) rc = run(alone, &none, &s, 1, false, &err);
    if (rc < 0) return fprintf(stderr, "%s\n", err.text), 1;
    printf("swapped after question %d: %d after the change\n", swap, swap < 0 ? -1 : swap - s.t);
    row("before the change", right, 0, s.t);
    row("from the change to the swap", right, s.t, swap < 0 ? s.n : swap);
    if (swap > 0) row("after the swap", right, swap, s.n);
    if (swap > 0) row("the same questions, nobody on the bench", alone, swap, s.n);
    moa_backend_close(s.model);
    free(right), free(alone);
    return 0;
}
