/* mora.c - word problems whose solutions have a known fault, for the strategy mora (docs/agents/mora.md).
 *
 *     build/bench/agents/mora data N SEED > mora.jsonl       conversations to train an identifier and repairers with (train split)
 *     build/bench/agents/mora run MODEL N SEED [KEY=VALUE ...]   held-out problems with a fault each: is it named, is it repaired?
 *
 * A fault is put into the worked solution of a problem of the microworld, whose steps are "a op b = c": a number of the question is read as another one
 * (misread), a step gets another operation (concept), or a result is off (computation); what follows is worked out from there, so that nothing else is
 * wrong. Problems whose steps do not chain that way are left out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/calc.h"
#include "agent/mix.h"
#include "agent/repair.h"
#include "agent/stats.h"
#include "base/json.h"
#include "task/task.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 12 };
/* Operand k of a step: a result of an earlier step (from >= 0), else a number of its own. */
typedef struct step { long v[2], result; int from[2]; char op; size_t at, len; } step;
typedef struct chain { step s[MOST]; int n; } chain;

static long apply(char op, long a, long b) {
    if (op == '+') return a + b;
    if (op == '-') return a - b;
    if (op == '*') return a * b;
    return b && a % b == 0 ? a / b : -1;
}

static bool read_step(step *s, const chain *c, const moa_equation *e, const char *text) {
    char op = 0, expr[64], *end;
    if (e->n_expr >= sizeof expr) return false;
    snprintf(expr, sizeof expr, "%.*s", (int)e->n_expr, e->expr);
    s->v[0] = strtol(expr, &end, 10);
    op = *end;
    if (!op || !strchr("+-*/", op)) return false;
    s->v[1] = strtol(end + 1, &end, 10);
    if (*end || !e->right || e->said != floor(e->said)) return false;
    s->op = op, s->result = (long)e->said, s->at = (size_t)(e->expr - text), s->len = (size_t)(e->result + e->n_result - e->expr);
    for (int k = 0; k < 2; k++) {
        s->from[k] = -1;
        for (int i = 0; i < c->n; i++)
            if (c->s[i].result == s->v[k]) s->from[k] = i;
    }
    return apply(op, s->v[0], s->v[1]) == s->result;
}

/* Does the number stand in the question, as a number of its own? */
static bool asked(const char *q, long v) {
    char text[24];
    const int n = snprintf(text, sizeof text, "%ld", v);
    for (const char *p = q; (p = strstr(p, text)); p++)
        if ((p == q || p[-1] < '0' || p[-1] > '9') && (p[n] < '0' || p[n] > '9')) return true;
    return false;
}

static bool read_chain(chain *c, const moa_item *it) {
    const char *text = moa_buf_str(&it->solution);
    moa_equation e[MOST + 1];
    const int n = moa_calc_find(e, MOST + 1, text, strlen(text));
    c->n = 0;
    if (n < 1 || n > MOST) return false;
    for (int i = 0; i < n; i++) {
        step *s = &c->s[i];
        if (!read_step(s, c, &e[i], text)) return false;
        for (int k = 0; k < 2; k++)
            if (s->from[k] < 0 && !asked(moa_buf_str(&it->question), s->v[k]) && s->v[k] > 4) return false; /* 2, 3, 4: twice, each of the three */
        c->n++;
    }
    char last[24];
    snprintf(last, sizeof last, "%ld", c->s[n - 1].result);
    return !strcmp(last, moa_buf_str(&it->answer));
}

/* Results of the steps behind `from` anew; keep: the result of that one is meant as it is. */
static bool work_on(chain *c, int from, bool keep) {
    for (int i = from; i < c->n; i++) {
        step *s = &c->s[i];
        for (int k = 0; k < 2; k++)
            if (s->from[k] >= 0) s->v[k] = c->s[s->from[k]].result;
        if (!(keep && i == from)) s->result = apply(s->op, s->v[0], s->v[1]);
        if (s->result < 1 || s->result > 99999999) return false;
    }
    return true;
}

static bool misread(chain *c, const char *question, moa_rng *g) {
    const int i = (int)moa_rng_below(g, (uint32_t)c->n), k = (int)moa_rng_below(g, 2);
    step *s = &c->s[i];
    if (s->from[k] >= 0 || !asked(question, s->v[k])) return false;
    const long other = s->v[k] < 10 ? moa_rng_range(g, 2, 9) : s->v[k] + (moa_rng_below(g, 2) ? 1 : -1) * (moa_rng_below(g, 2) ? 10 : moa_rng_range(g, 1, 9));
    if (other == s->v[k] || other < 2 || asked(question, other)) return false;
    s->v[k] = other;
    return work_on(c, i, false);
}

static bool wrong_kind(chain *c, moa_rng *g) {
    const int i = (int)moa_rng_below(g, (uint32_t)c->n);
    const char op = "+-*"[moa_rng_below(g, 3)];
    if (op == c->s[i].op) return false;
    c->s[i].op = op;
    return work_on(c, i, false);
}

static bool miscompute(chain *c, moa_rng *g) {
    const int i = (int)moa_rng_below(g, (uint32_t)c->n);
    const long off = (moa_rng_below(g, 2) ? 1 : -1) * (moa_rng_below(g, 3) ? moa_rng_range(g, 1, 9) : 10 * moa_rng_range(g, 1, 9));
    c->s[i].result += off;
    return c->s[i].result > 0 && work_on(c, i, true);
}

/* The solution with the chain's numbers. */
static void write_solution(moa_buf *out, const moa_item *it, const chain *c) {
    const char *text = moa_buf_str(&it->solution);
    size_t at = 0;
    for (int i = 0; i < c->n; i++) {
        const step *s = &c->s[i];
        moa_buf_add(out, text + at, s->at - at);
        moa_buf_addf(out, "%ld%c%ld=%ld", s->v[0], s->op, s->v[1], s->result);
        at = s->at + s->len;
    }
    const char *rest = text + at, *say = strstr(rest, "That makes "), *line = strstr(rest, "Answer:");
    const char *stop = say && line && say < line ? say : line ? line : rest; /* "That makes 24 coins." goes with its number */
    moa_buf_add(out, rest, (size_t)(stop - rest));
    while (out->len && (out->data[out->len - 1] == ' ' || out->data[out->len - 1] == '\n')) out->data[--out->len] = 0;
    moa_buf_addf(out, "\nAnswer: %ld", c->s[c->n - 1].result);
}

/* What the identifier learns to write first: each step as it should be beside the one that is there. */
static void right_steps(moa_buf *out, const chain *good, const chain *bad) {
    moa_buf_adds(out, "Right (written):");
    for (int i = 0; i < good->n; i++) {
        const step *g = &good->s[i], *b = &bad->s[i];
        moa_buf_addf(out, " %ld%c%ld=%ld (%ld%c%ld=%ld).", g->v[0], g->op, g->v[1], g->result, b->v[0], b->op, b->v[1], b->result);
    }
}

typedef struct problem { moa_item it; chain good, bad; moa_fault fault; moa_buf solution; } problem;

/* Problem number i: its fault is that of i mod 4 (the fourth has none). */
static void make(problem *p, moa_split split, uint64_t seed, uint64_t i) {
    const moa_family *f = moa_family_find("word_problem");
    moa_err err = {0};
    moa_rng g;
    moa_rng_seed2(&g, seed, i);
    p->fault = (moa_fault)(i % 4);
    for (uint64_t k = 0;; k++) {
        if (moa_item_make(&p->it, f, split, moa_rng_u64(&g), k, 1 + (int)moa_rng_below(&g, 4), &err) < 0) exit(fprintf(stderr, "%s\n", err.text) > 0);
        if (!read_chain(&p->good, &p->it)) continue;
        p->bad = p->good;
        if (p->fault == MOA_FAULT_MISREAD && !misread(&p->bad, moa_buf_str(&p->it.question), &g)) continue;
        if (p->fault == MOA_FAULT_CONCEPT && !wrong_kind(&p->bad, &g)) continue;
        if (p->fault == MOA_FAULT_COMPUTATION && !miscompute(&p->bad, &g)) continue;
        if (p->fault != MOA_FAULT_NONE && p->bad.s[p->bad.n - 1].result == p->good.s[p->good.n - 1].result) continue; /* a fault that the answer does not show */
        moa_buf_clear(&p->solution);
        write_solution(&p->solution, &p->it, &p->bad);
        return;
    }
}

static void problem_init(problem *p) {
    moa_item_init(&p->it);
    moa_buf_init(&p->solution, 1 << 16);
}
static void problem_deinit(problem *p) {
    moa_item_deinit(&p->it);
    moa_buf_deinit(&p->solution);
}

static void print_pair(const moa_buf *user, const moa_buf *reply) {
    json_t *o = json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "messages", "role", "user", "content", moa_buf_str(user), "role", "assistant", "content", moa_buf_str(reply));
    char *line = json_dumps(o, JSON_COMPACT);
    puts(line);
    free(line);
    json_decref(o);
}

static int data(int n, uint64_t seed) {
    problem p;
    moa_buf user, reply, facts;
    problem_init(&p);
    moa_buf_init(&user, 1 << 16), moa_buf_init(&reply, 1 << 16), moa_buf_init(&facts, 1 << 14);
    for (int i = 0; i < n; i++) {
        make(&p, MOA_TRAIN, seed, (uint64_t)i);
        moa_buf_clear(&user), moa_buf_clear(&reply), moa_buf_clear(&facts);
        moa_repair_identify(&user, moa_buf_str(&p.it.question), moa_buf_str(&p.solution));
        right_steps(&reply, &p.good, &p.bad);
        moa_buf_addf(&reply, "\nError: %s", moa_fault_name(p.fault));
        print_pair(&user, &reply);
        if (p.fault == MOA_FAULT_NONE || i % 3) continue; /* repairing is what the model can almost do: a third as often */
        moa_buf_clear(&user), moa_buf_clear(&reply);
        moa_repair_facts(&facts, moa_buf_str(&p.solution));
        moa_repair_ask(&user, moa_buf_str(&p.it.question), moa_buf_str(&p.solution), p.fault, moa_buf_str(&facts));
        moa_buf_adds(&reply, moa_buf_str(&p.it.solution));
        print_pair(&user, &reply);
    }
    moa_buf_deinit(&user), moa_buf_deinit(&reply), moa_buf_deinit(&facts);
    problem_deinit(&p);
    return 0;
}

/* ---- the experiment ---- */

/* The base: it "solves" as the problem says. */
typedef struct recorded { moa_backend base; const char *solution; } recorded;
static void recorded_start(moa_backend *b, moa_call *const *call, int n) {
    for (int i = 0; i < n; i++) {
        const char *s = ((recorded *)b)->solution;
        call[i]->res = (moa_gen_res){.text = strdup(s), .text_len = strlen(s), .why = MOA_STOP_EOS};
        call[i]->on_text(call[i], s, strlen(s));
        call[i]->on_end(call[i]);
    }
}
static void recorded_close(moa_backend *b) { (void)b; }

static const moa_agent_node *node_of(const moa_run *r, const char *name) {
    for (int i = 0; i < r->n_node; i++)
        if (!strcmp(r->node[i].name, name)) return &r->node[i];
    return NULL;
}

static int run(const char *path, int n, uint64_t seed, char **setting) {
    static const moa_backend_ops ops = {.name = "recorded", .help = "", .start = recorded_start, .close = recorded_close};
    recorded base = {.base = {.ops = &ops, .id = "base"}};
    moa_backend *model, *proposer = &base.base;
    moa_err err = {0};
    problem p;
    int named[4][5] = {{0}}, repaired[4] = {0}, total[4] = {0};
    double *before = calloc((size_t)n, sizeof *before), *after = calloc((size_t)n, sizeof *after);
    if (!before || !after || moa_backend_local_open(&model, path, NULL, &err) < 0) return fprintf(stderr, "%s\n", err.text), 1;
    moa_mix_cfg cfg = moa_mix_defaults("mora");
    for (; setting && *setting; setting++) {
        char key[64];
        const char *eq = strchr(*setting, '=');
        snprintf(key, sizeof key, "%.*s", eq ? (int)(eq - *setting) : 0, *setting);
        if (moa_mix_set(&cfg, key, eq ? eq + 1 : "", &err) < 0) return fprintf(stderr, "%s\n", err.text), 1;
    }
    cfg.proposer = &proposer, cfg.n_proposer = 1, cfg.judge = model, cfg.judge_max_tokens = 200;
    problem_init(&p);
    for (int i = 0; i < n; i++) {
        make(&p, MOA_HELDOUT, seed, (uint64_t)i);
        base.solution = moa_buf_str(&p.solution);
        const moa_message m = {"user", moa_buf_str(&p.it.question)};
        moa_run *r;
        if (moa_run_new(&r, &cfg, &m, 1, (uint64_t)i, &err) < 0 || moa_run_execute(r, NULL, NULL, &err) < 0) return fprintf(stderr, "%s\n", err.text), 1;
        const moa_agent_node *route = node_of(r, "route1");
        moa_fault f = MOA_FAULT_NONE;
        const bool told = route && route->note && moa_fault_parse(&f, route->note, strlen(route->note));
        named[p.fault][told ? (int)f : 4]++;
        total[p.fault]++;
        before[i] = moa_item_check(&p.it, base.solution, strlen(base.solution));
        after[i] = moa_item_check(&p.it, moa_run_answer(r), strlen(moa_run_answer(r)));
        repaired[p.fault] += after[i] > 0;
        moa_run_free(r);
    }
    printf("put in        misread  concept  computation  none  unclear   right in the end\n");
    for (int f = 0; f < 4; f++) {
        printf("%-12s", moa_fault_name((moa_fault)f));
        for (int k = 0; k < 5; k++) printf("%9d", named[f][k]);
        printf("   %d of %d\n", repaired[f], total[f]);
    }
    int good = 0;
    for (int f = 0; f < 4; f++) good += named[f][f];
    double b[2], a[2];
    moa_bootstrap_ci(b, before, n, seed), moa_bootstrap_ci(a, after, n, seed);
    printf("named rightly: %.1f %%\nbase: %.1f %% right, %.1f .. %.1f\nmora: %.1f %% right, %.1f .. %.1f (95 %% intervals, %d held-out problems)\n", 100.0 * good / n, 100 * moa_mean(before, n), 100 * b[0],
           100 * b[1], 100 * moa_mean(after, n), 100 * a[0], 100 * a[1], n);
    problem_deinit(&p);
    moa_backend_close(model);
    free(before);
    free(after);
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 4 && !strcmp(argv[1], "data")) return data((int)strtol(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc >= 5 && !strcmp(argv[1], "run")) return run(argv[2], (int)strtol(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), argv + 5);
    fprintf(stderr, "usage: mora data N SEED | mora run MODEL N SEED [KEY=VALUE ...]\n");
    return 2;
}
