/* bench_agents.c - moa bench agents: what the executor of mixtures costs by itself; moa bench agents URL -m MODEL: one run with 1,000 calls at once.
 *
 * Without URL the backend answers at once with the same line, so that the time is that of building the graph, composing messages, events, accounting and
 * the graph's end. Microseconds a node, medians of --runs (5), of graphs of 10, 1,000 and 10,000 nodes in three shapes:
 *
 *   layers  ten proposers a layer, each of which reads the ten replies before it (moa)
 *   chain   each node reads the one before
 *   wide    all but one read the question, the last reads them all: the longest prompt, and one group of calls
 *
 * With URL every node of one run is a call of that server: how long the run takes, and how many calls failed. bench/serve/run.py graph asks the scripted
 * server, whose own times are known.
 * benches.def: BENCH(agents)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/stats.h"
#include "agent/strategy.h"
#include "base/clock.h"
#include "base/err.h"
#include "cli/bench.h"
#include "serve/upstream.h"

#include <stdlib.h>
#include <string.h>

enum { LAYER = 10, CALLS = 1000, MOST = 10000 };
static const moa_message question = {"user", "What is 17 + 25?"};

/* ---- a backend that answers at once ---- */

static void answer(moa_backend *b, moa_call *const *call, int n) {
    static const char text[] = "17 + 25 is 42.\nAnswer: 42";
    (void)b;
    for (int i = 0; i < n; i++) {
        moa_call *c = call[i];
        moa_err err = {0};
        char *own = strdup(text);
        if (!own) {
            moa_fail(&err, MOA_ENOMEM, "a reply");
            moa_call_fail(c, &err);
            continue;
        }
        c->rc = 0;
        c->res.text = own, c->res.text_len = sizeof text - 1, c->res.n_ids = 12, c->res.n_prompt = 12, c->res.why = MOA_STOP_EOS;
        c->on_text(c, text, sizeof text - 1);
        c->on_end(c);
    }
}

static void close_nothing(moa_backend *b) { (void)b; }
static const moa_backend_ops instant = {.name = "instant", .help = "answers at once", .start = answer, .close = close_nothing};

/* ---- graphs ---- */

typedef int (*grow_fn)(moa_run *r, const moa_mix_cfg *c, int n, moa_err *err); /* node 0, which asks the question, is there */

static int grow_layers(moa_run *r, const moa_mix_cfg *c, int n, moa_err *err) {
    int at[2][LAYER], n_before = 0, k = 0;
    for (int have = r->n_node; have < n; k = !k) {
        const int m = n - have < LAYER ? n - have : LAYER;
        MOA_TRY(moa_add_proposers(at[k], r, c, "p", m, at[!k], n_before, err));
        n_before = m, have += m;
    }
    return 0;
}

static int grow_chain(moa_run *r, const moa_mix_cfg *c, int n, moa_err *err) {
    for (int last = r->n_node - 1; last < n - 1;) MOA_TRY(moa_add_proposers(&last, r, c, "p", 1, &(int){last}, 1, err));
    return 0;
}

static int grow_wide(moa_run *r, const moa_mix_cfg *c, int n, moa_err *err) {
    static int at[MOST];
    MOA_TRY(moa_add_proposers(at, r, c, "p", n - 2, NULL, 0, err));
    return moa_add_proposers(&at[n - 2], r, c, "last", 1, at, n - 2, err);
}

static const struct { const char *name; grow_fn grow; } shapes[] = {{"layers", grow_layers}, {"chain", grow_chain}, {"wide", grow_wide}};
enum { N_SHAPE = sizeof shapes / sizeof *shapes };
static const int sizes[] = {10, 1000, MOST};
enum { N_SIZE = sizeof sizes / sizeof *sizes };

typedef struct timing { double build, run, end; } timing; /* seconds */

static int one_run(timing *t, moa_backend *b, grow_fn grow, int n, moa_err *err) {
    moa_mix_cfg c = moa_mix_defaults("single");
    moa_run *r;
    c.proposer = &b, c.n_proposer = 1;
    const double t0 = moa_now();
    MOA_TRY(moa_run_new(&r, &c, &question, 1, 1, err));
    int rc = grow(r, &c, n, err);
    r->answer = r->n_node - 1;
    const double t1 = moa_now();
    if (rc >= 0) rc = moa_run_execute(r, NULL, NULL, err);
    const double t2 = moa_now();
    if (rc >= 0 && r->usage.calls != n) rc = moa_fail(err, MOA_EINVAL, "%d of %d nodes were asked", r->usage.calls, n);
    moa_run_free(r);
    *t = (timing){t1 - t0, t2 - t1, moa_now() - t2};
    return rc;
}

static int measure(timing *o, grow_fn grow, int n, int runs, moa_err *err) {
    moa_backend b = {.ops = &instant, .id = "instant"};
    double v[3][MOA_BENCH_RUNS];
    const int times = n < 1000 ? 100 : 1; /* a run of few nodes is too short for a clock */
    for (int i = -1; i < runs; i++) { /* run -1 warms up */
        timing sum = {0};
        for (int k = 0; k < times; k++) {
            timing t;
            MOA_TRY(one_run(&t, &b, grow, n, err));
            sum.build += t.build / times, sum.run += t.run / times, sum.end += t.end / times;
        }
        if (i >= 0) v[0][i] = sum.build, v[1][i] = sum.run, v[2][i] = sum.end;
    }
    *o = (timing){moa_median(v[0], runs), moa_median(v[1], runs), moa_median(v[2], runs)};
    return 0;
}

static int executor(const moa_bench_opt *opt, moa_err *err) {
    const int runs = opt->runs ? opt->runs : 5;
    if (opt->json) printf("{\"graphs\":[");
    else printf("microseconds a node, of a backend that answers at once (medians of %d)\n  %-8s %7s %9s %9s %9s %9s\n", runs, "graph", "nodes", "build", "execute", "free", "all");
    for (int i = 0; i < N_SHAPE; i++)
        for (int k = 0; k < N_SIZE; k++) {
            timing t;
            MOA_TRY(measure(&t, shapes[i].grow, sizes[k], runs, err));
            const double us = 1e6 / sizes[k], build = t.build * us, run = t.run * us, end = t.end * us;
            if (opt->json)
                printf("%s{\"graph\":\"%s\",\"nodes\":%d,\"build_us\":%.3f,\"execute_us\":%.3f,\"free_us\":%.3f,\"all_us\":%.3f}", i + k ? "," : "", shapes[i].name, sizes[k], build, run,
                       end, build + run + end);
            else printf("  %-8s %7d %9.2f %9.2f %9.2f %9.2f\n", shapes[i].name, sizes[k], build, run, end, build + run + end);
        }
    if (opt->json) printf("]}\n");
    return 0;
}

/* ---- calls of a server ---- */

/* The answer: it waits for every call, since what runs when the answer is there is canceled. */
static int all_there(moa_run *r, moa_agent_node *n, moa_err *err) {
    n->text = moa_arena_strndup(r->arena, "", 0);
    return n->text ? 0 : moa_fail(err, MOA_ENOMEM, "an answer");
}

static int calls(const moa_bench_opt *opt, moa_backend *b, moa_err *err) {
    const int runs = opt->runs ? opt->runs : 5;
    double took[MOA_BENCH_RUNS];
    long failed = 0;
    char why[512] = "";
    moa_mix_cfg c = moa_mix_defaults("single");
    c.proposer = &b, c.n_proposer = 1;
    for (int i = 0; i < runs; i++) {
        moa_run *r;
        static int at[CALLS]; /* at[0]: node 0 */
        MOA_TRY(moa_run_new(&r, &c, &question, 1, (uint64_t)i, err));
        int rc = moa_add_proposers(at + 1, r, &c, "p", CALLS - 1, NULL, 0, err);
        const moa_agent_node last = {.name = "all", .role = "end", .in = at, .n_in = CALLS, .reduce = all_there};
        if (rc >= 0) rc = moa_run_add(r, &last, err);
        r->answer = r->n_node - 1;
        const double t0 = moa_now();
        if (rc >= 0) rc = moa_run_execute(r, NULL, NULL, err);
        took[i] = moa_now() - t0;
        for (int k = 0; k < r->n_node; k++) {
            if (r->node[k].state == MOA_NODE_DONE) continue;
            if (!failed++) snprintf(why, sizeof why, "%s", r->node[k].error ? r->node[k].error : "");
        }
        moa_run_free(r);
        if (rc < 0) return rc;
    }
    const double s = moa_median(took, runs);
    if (failed) fprintf(stderr, "the first that failed: %s\n", why);
    if (opt->json) printf("{\"calls\":%d,\"runs\":%d,\"seconds\":%.4f,\"failed\":%ld}\n", (int)CALLS, runs, s, failed);
    else printf("%s: a run of %d calls at once takes %.3f s (median of %d); %ld of %ld calls failed\n", b->id, (int)CALLS, s, runs, failed, (long)CALLS * runs);
    return 0;
}

static int run(const moa_bench_opt *opt, moa_err *err) {
    moa_backend *b;
    if (!opt->arg) return executor(opt, err);
    if (!opt->model) return moa_fail(err, MOA_EUSAGE, "which model of %s is asked? -m MODEL says it", opt->arg);
    const moa_upstream_cfg cfg = {.id = opt->model, .url = opt->arg, .key = getenv("MOA_API_KEY"), .max_concurrent = CALLS, .retries = -1};
    MOA_TRY(moa_upstream_open(&b, &cfg, err));
    const int rc = calls(opt, b, err);
    moa_backend_close(b);
    return rc;
}

const moa_bench moa_bench_agents = {.name = "agents", .help = "what the executor of mixtures costs a call; URL: 1,000 calls of a server at once", .run = run};
