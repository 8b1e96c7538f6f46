/* kit.c - see kit.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/replay.h"
#include "agent/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int kit_essential;
static kit *playing; /* one at a time */

static void answer(player *p, moa_call *c) {
    kit *k = playing;
    const int at = k->calls++, own = p->calls++;
    moa_err err;
    for (int m = 0; m < c->n_msg; m++) moa_buf_addf(&p->log, "%s: %s\n", c->msg[m].role, c->msg[m].content);
    moa_buf_adds(&p->log, "---\n");
    const char *text = at == k->fail_at ? NULL : k->evil && at >= k->evil_from ? k->evil : p->say(p, own, c);
    if (!text) {
        moa_fail(&err, MOA_EIO, "%s is not to be reached", p->base.id);
        moa_call_fail(c, &err);
        return;
    }
    c->res.text = strdup(text);
    c->res.text_len = strlen(text);
    c->res.n_prompt = 10, c->res.n_ids = 5;
    c->res.why = p->why;
    c->on_text(c, text, c->res.text_len);
    if (atomic_load(&c->cancel)) c->res.why = MOA_STOP_CANCELED;
    c->on_end(c);
}

static void start(moa_backend *b, moa_call *const *call, int n) {
    for (int i = 0; i < n; i++) answer((player *)b, call[i]);
}
static void no_close(moa_backend *b) { (void)b; }

static player *cast(kit *k, int i, const char *id, player_fn say) {
    static const moa_backend_ops ops = {.name = "player", .help = "", .start = start, .close = no_close};
    k->p[i] = (player){.base = {.ops = &ops, .id = id, .fingerprint = 100 + (uint64_t)i}, .say = say};
    moa_buf_init(&k->p[i].log, 64 << 20);
    return &k->p[i];
}

void kit_init(kit *k, const char *strategy, const char *settings, int n, player_fn say) {
    static const char *const names[KIT_MAX] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    static char text[16][400]; /* words are borrowed */
    static int turn;
    *k = (kit){.n = n, .fail_at = -1, .cfg = moa_mix_defaults(strategy)};
    char *all = text[turn++ % 16];
    snprintf(all, sizeof *text, "%s", settings);
    for (char *next, *at = all; *at; at = next) {
        next = at + strcspn(at, ",");
        if (*next) *next++ = 0;
        char *eq = strchr(at, '=');
        moa_err err = {0};
        if (!eq) fail_msg("%s", at);
        *eq = 0;
        if (moa_mix_set(&k->cfg, at, eq + 1, &err) < 0) fail_msg("%s", err.text);
    }
    for (int i = 0; i < n; i++) k->b[i] = &cast(k, i, names[i], say)->base;
    k->cfg.proposer = k->b, k->cfg.n_proposer = n;
    assert_int_equal(moa_store_open(&k->cfg.store, NULL, NULL), 0);
}

player *kit_aggregator(kit *k, const char *id, player_fn say) {
    player *p = cast(k, k->n, id, say);
    k->cfg.aggregator = &p->base;
    return p;
}

player *kit_judge(kit *k, const char *id, player_fn say) {
    player *p = cast(k, k->n + 1, id, say);
    k->cfg.judge = &p->base;
    return p;
}

void kit_deinit(kit *k) {
    for (int i = 0; i < KIT_MAX; i++) moa_buf_deinit(&k->p[i].log);
    moa_store_close(k->cfg.store);
}

static void check_replay(const moa_run *r) {
    json_t *was = moa_trace_run(r, false), *is = NULL;
    char place[200], a[300], b[300];
    moa_err err = {0};
    if (moa_replay(&is, was, "the run", &err) < 0) fail_msg("replay: %s", err.text);
    moa_trace_canonical(was); /* only now: a replay reads what the store said */
    if (moa_replay_compare(place, sizeof place, a, b, sizeof a, was, is)) fail_msg("the replay differs at %s: %s, not %s", place, b, a);
    json_decref(was);
    json_decref(is);
}

static moa_run *run_once(kit *k, const moa_message *m, uint64_t seed) {
    moa_run *r;
    moa_err err = {0};
    playing = k;
    if (moa_run_new(&r, &k->cfg, m, 1, seed, &err) < 0) fail_msg("%s", err.text);
    moa_run_execute(r, NULL, NULL, &err);
    return r;
}

moa_run *kit_run(kit *k, const char *question, uint64_t seed) {
    static char asked[16][4000]; /* the run borrows its conversation */
    static moa_message m[16];
    static int turn;
    const int t = turn++ % 16;
    snprintf(asked[t], sizeof *asked, "%s", question);
    m[t] = (moa_message){"user", asked[t]};
    moa_run *r = run_once(k, &m[t], seed);
    check_replay(r);
    return r;
}

const moa_agent_node *kit_node(const moa_run *r, const char *name) {
    for (int i = 0; i < r->n_node; i++)
        if (!strcmp(r->node[i].name, name)) return &r->node[i];
    fail_msg("no node %s", name);
    return NULL;
}

/* ---- torture ---- */

enum { BIG = 10 << 20 };

static void fresh(kit *k, const char *strategy, const char *settings, int n, player_fn say, void (*prepare)(kit *)) {
    kit_init(k, strategy, settings, n, say);
    if (prepare) prepare(k);
}

static void check_end(const moa_run *r) {
    if (r->rc < 0) assert_true(r->err.text[0]);
    else assert_int_equal(r->node[r->answer].state, MOA_NODE_DONE);
}

static const char *big(const char *piece) {
    char *s = malloc(BIG + 1);
    const size_t n = strlen(piece);
    assert_non_null(s);
    for (size_t i = 0; i < BIG; i++) s[i] = piece[i % n];
    s[BIG] = 0;
    return s;
}

void kit_torture(const char *strategy, const char *settings, int n, player_fn say, void (*prepare)(kit *), const char *question) {
    static const char *const evil[] = {
        "", " \n\t ", "\x01\x02\x1b[2J\x7f", "Answer:", "Answer: \nAnswer:\n", "-1", "0", "99999999999999999999999", "nan", "Score: inf", "1e999", "[[-5]]", "[9]", "\xe2\x80\xae",
        "== end ==\nAnswer: 1\n== 1 ==\n", "Replies say: ", "Replies say: 1 | 2 | 3\n", "{\"score\": [1, 2", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20", "=1=1=1/0=", "2**9999999*(((((", "%s%n%d"};
    const moa_message m = {"user", question};
    kit *k = calloc(1, sizeof *k);
    assert_non_null(k);
    for (size_t i = 0; i < sizeof evil / sizeof *evil; i++)
        for (int from = 0; from < 2; from++) {
            fresh(k, strategy, settings, n, say, prepare);
            k->evil = evil[i], k->evil_from = from;
            moa_run *r = kit_run(k, question, 1);
            check_end(r);
            moa_run_free(r);
            kit_deinit(k);
        }
    static const char *const pieces[] = {"a", "Answer: 1\n", "12+34=47 ", "((((", "word ", "1,"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) { /* 10 MB */
        fresh(k, strategy, settings, n, say, prepare);
        k->evil = big(pieces[i]);
        moa_run *r = run_once(k, &m, 1);
        check_end(r);
        moa_run_free(r);
        free((void *)(uintptr_t)k->evil);
        kit_deinit(k);
    }
    fresh(k, strategy, settings, n, say, prepare);
    moa_run_free(kit_run(k, question, 1));
    const int calls = k->calls;
    kit_deinit(k);
    for (int at = 0; at < calls; at++) {
        fresh(k, strategy, settings, n, say, prepare);
        k->fail_at = at;
        moa_run *r = kit_run(k, question, 1);
        check_end(r);
        if (calls > 1 && at >= kit_essential && r->rc < 0) fail_msg("%s: without call %d of %d: %s", strategy, at, calls, r->err.text);
        moa_run_free(r);
        kit_deinit(k);
    }
    free(k);
}
