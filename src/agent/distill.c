/* distill.c - see distill.h. Every prompt is runs of mixes on the one executor: first those that answer, then, for preferences with a judge, one that names what
 * counts and two for each pair, in both orders. A pair whose verdict follows the order is a tie; the sample with the most wins is chosen, that with the fewest
 * rejected, and where these are as many the prompt is dropped.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/distill.h"

#include "agent/duel.h"
#include "agent/rouge.h"
#include "agent/strategy.h"
#include "agent/worklog.h"
#include "base/json.h"
#include "base/nearest.h"
#include "base/rng.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OUTPUT = 16, MAX_PAIR = MAX_OUTPUT * (MAX_OUTPUT - 1), MAX_PROMPT = 64 << 20 };
const char *const moa_distill_kinds[3] = {"answers", "consensus", "preferences"};

int moa_distill_kind_find(moa_distill_kind *out, const char *name, moa_err *err) {
    for (int i = 0; i < 3; i++)
        if (!strcmp(moa_distill_kinds[i], name)) return *out = (moa_distill_kind)i, 0;
    const char *near = moa_nearest(name, moa_distill_kinds, 3);
    const int rc = moa_fail(err, MOA_EUSAGE, "unknown kind '%s', expected answers, consensus or preferences", name);
    return near ? moa_hint(err, rc, "did you mean %s?", near) : rc;
}

/* One prompt under way. */
typedef struct prompt {
    int item;
    moa_message msg;
    moa_run *run[MAX_OUTPUT + 1]; int n; /* outputs; then, where it decides, the mix that samples are to agree with */
    moa_run *side[MAX_PAIR + 1]; int n_side;  /* the judge's */
    moa_message side_msg[MAX_PAIR + 1];
    char *criteria;
    int64_t calls, prompt_tokens, completion_tokens;
    double cost;
} prompt;
typedef struct work {
    moa_distill *d; moa_distill_cb cb; void *ctx;
    moa_worklog *log;
    uint64_t *seen; size_t n_seen, cap_seen; /* hashes of prompts, open addressing; 0: free */
    bool *is_done;                    /* [items] */
    bool going;                       /* earlier pieces have been read */
    prompt *p;                        /* [chunk] */
} work;

static bool on_event(void *ctx, moa_run *r, const moa_event *e) {
    const work *w = ctx;
    (void)r, (void)e;
    return !w->cb || w->cb(w->ctx, w->d);
}

/* ---- what was asked before ---- */

/* Spaces and case make no other prompt. */
static uint64_t prompt_hash(const char *s) {
    uint64_t h = 0xcbf29ce484222325ull;
    bool gap = false, any = false;
    for (; *s; s++) {
        if (isspace((unsigned char)*s)) {
            gap = any;
            continue;
        }
        if (gap) h = (h ^ ' ') * 0x100000001b3ull;
        gap = false, any = true;
        h = (h ^ (uint64_t)tolower((unsigned char)*s)) * 0x100000001b3ull;
    }
    h = moa_mix64(h);
    return h ? h : 1;
}

static bool repeated(work *w, const char *s) {
    const uint64_t h = prompt_hash(s);
    for (size_t i = h & (w->cap_seen - 1);; i = (i + 1) & (w->cap_seen - 1)) {
        if (w->seen[i] == h) return true;
        if (!w->seen[i]) return w->seen[i] = h, false;
    }
}

/* ---- runs ---- */

static uint64_t seed_of(const moa_distill *d, const moa_item *it, int k) {
    const uint64_t key[3] = {d->seed, moa_hash64(moa_buf_str(&it->question), it->question.len, 0), (uint64_t)k};
    return moa_hash64(key, sizeof key, 0);
}

static int outputs_of(const moa_distill *d) { return d->kind == MOA_DISTILL_PREFERENCES ? d->samples : d->n_mix; }

static int begin_prompt(prompt *p, const moa_distill *d, int item, moa_err *err) {
    const moa_item *it = moa_taskset_item(d->prompts, item);
    *p = (prompt){.item = item, .msg = {"user", moa_buf_str(&it->question)}, .n = outputs_of(d)};
    for (int k = 0; k < p->n; k++) {
        const moa_mix_spec *m = &d->mix[d->kind == MOA_DISTILL_PREFERENCES ? 0 : k];
        MOA_TRY(moa_run_new(&p->run[k], &m->cfg, &p->msg, 1, seed_of(d, it, d->kind == MOA_DISTILL_PREFERENCES ? k : 0), err));
    }
    return d->kind == MOA_DISTILL_PREFERENCES && !d->judge ? moa_run_new(&p->run[p->n], &d->agree->cfg, &p->msg, 1, seed_of(d, it, MAX_OUTPUT), err) : 0;
}

static void count(prompt *p, const moa_run *r) {
    p->calls += r->usage.calls, p->cost += r->usage.cost;
    p->prompt_tokens += r->usage.prompt_tokens, p->completion_tokens += r->usage.completion_tokens;
}

static void end_sides(prompt *p, bool paid) {
    for (int i = 0; i < p->n_side; i++) {
        if (paid && p->side[i]) count(p, p->side[i]);
        moa_run_free(p->side[i]);
        free((char *)(uintptr_t)p->side_msg[i].content);
        p->side[i] = NULL;
    }
    p->n_side = 0;
}

static void end_prompt(prompt *p) {
    for (int i = 0; i <= MAX_OUTPUT; i++) moa_run_free(p->run[i]);
    end_sides(p, false);
    free(p->criteria);
    *p = (prompt){0};
}

static const char *output_of(const prompt *p, int k) {
    const char *s = p->run[k] && p->run[k]->rc >= 0 ? moa_run_answer(p->run[k]) : "";
    return s[strspn(s, " \t\r\n")] ? s : NULL;
}

/* Executes what the prompts' lists hold; which: their outputs, or their judge's runs. */
static int execute(work *w, int n, bool sides, moa_err *err) {
    int total = 0;
    for (int i = 0; i < n; i++) total += sides ? w->p[i].n_side : MAX_OUTPUT + 1;
    moa_run **all = malloc(((size_t)total + 1) * sizeof(moa_run *));
    if (!all) return moa_fail(err, MOA_ENOMEM, "%d runs", total);
    total = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < (sides ? w->p[i].n_side : MAX_OUTPUT + 1); k++) {
            moa_run *r = sides ? w->p[i].side[k] : w->p[i].run[k];
            if (r) all[total++] = r;
        }
    const int rc = total ? moa_run_execute_many(all, total, on_event, w, err) : 0;
    for (int i = 0; rc >= 0 && i < total; i++)
        if (all[i]->rc < 0 && !w->d->first_error.code) w->d->first_error = all[i]->err;
    free(all);
    return rc;
}

/* ---- judging ---- */

static int add_side(prompt *p, const moa_distill *d, moa_buf *text, int number, moa_err *err) {
    char *own = text->failed ? NULL : moa_buf_take(text);
    if (!own) return moa_fail(err, MOA_ENOMEM, "a judge's prompt");
    p->side_msg[p->n_side] = (moa_message){"user", own};
    const int rc = moa_run_new(&p->side[p->n_side], &d->judge->cfg, &p->side_msg[p->n_side], 1, seed_of(d, moa_taskset_item(d->prompts, p->item), 1000 + number), err);
    p->n_side++;
    return rc;
}

static int ask_criteria(work *w, int n, moa_err *err) {
    const moa_distill *d = w->d;
    int rc = 0;
    for (int i = 0; rc >= 0 && i < n; i++) {
        moa_buf b;
        moa_buf_init(&b, MAX_PROMPT);
        moa_criteria_prompt(&b, w->p[i].msg.content, d->criteria);
        rc = add_side(&w->p[i], d, &b, 0, err);
        moa_buf_deinit(&b);
    }
    if (rc >= 0) rc = execute(w, n, true, err);
    for (int i = 0; rc >= 0 && i < n; i++) {
        moa_buf b;
        moa_buf_init(&b, 4096);
        const moa_run *r = w->p[i].side[0];
        const char *said = r->rc >= 0 ? moa_run_answer(r) : "";
        if (moa_criteria_parse(&b, said, strlen(said), d->criteria)) w->p[i].criteria = moa_buf_take(&b); /* none named: all of it counts */
        moa_buf_deinit(&b);
        end_sides(&w->p[i], true);
    }
    return rc;
}

/* All pairs of outputs, each in both orders. */
static int ask_pairs(prompt *p, const moa_distill *d, moa_err *err) {
    int rc = 0, number = 1;
    for (int i = 0; i < p->n; i++)
        for (int j = 0; rc >= 0 && j < p->n; j++, number++) {
            const char *a = output_of(p, i), *b = output_of(p, j);
            if (i == j || !a || !b || !strcmp(a, b)) continue;
            moa_buf t;
            moa_buf_init(&t, MAX_PROMPT);
            moa_duel_prompt(&t, p->msg.content, a, b, p->criteria);
            rc = add_side(p, d, &t, number, err);
            moa_buf_deinit(&t);
        }
    return rc;
}

static moa_verdict verdict_of(const moa_run *r) {
    const char *s = r && r->rc >= 0 ? moa_run_answer(r) : "";
    return moa_duel_parse(s, strlen(s));
}

/* score[k]: wins less losses of output k. */
static void score_pairs(int *score, const prompt *p) {
    moa_verdict v[MAX_OUTPUT][MAX_OUTPUT] = {{MOA_VERDICT_NONE}};
    int at = 0;
    for (int i = 0; i < p->n; i++)
        for (int j = 0; j < p->n; j++) {
            const char *a = output_of(p, i), *b = output_of(p, j);
            if (i != j && a && b && strcmp(a, b)) v[i][j] = verdict_of(p->side[at++]);
        }
    for (int i = 0; i < p->n; i++)
        for (int j = 0; j < i; j++) {
            const int better = moa_duel_both(v[i][j], v[j][i]);
            score[i] += better, score[j] -= better;
        }
}

/* 1: the output has the answer of the mix that decides; 0: another one, or none. -1: the mix gave none. */
static int agrees(const prompt *p, int k) {
    moa_buf a, b;
    const char *want = output_of(p, p->n), *got = output_of(p, k);
    int same = -1;
    moa_buf_init(&a, MOA_ANSWER_MAX), moa_buf_init(&b, MOA_ANSWER_MAX);
    if (want && moa_answer_extract(&a, want, strlen(want))) same = got && moa_answer_extract(&b, got, strlen(got)) && !strcmp(moa_buf_str(&a), moa_buf_str(&b));
    moa_buf_deinit(&a), moa_buf_deinit(&b);
    return same;
}

/* ---- what a prompt has come to ---- */

static json_t *turn(const char *role, const char *text) {
    json_t *o = json_object();
    if (!o || json_object_set_new(o, "role", json_string(role)) < 0 || json_object_set_new(o, "content", moa_json_str(text, strlen(text))) < 0) return json_decref(o), NULL;
    return o;
}

static json_t *turns(const char *role, const char *text, const char *role2, const char *text2) {
    json_t *a = json_array();
    if (!a || json_array_append_new(a, turn(role, text)) < 0 || (role2 && json_array_append_new(a, turn(role2, text2)) < 0)) return json_decref(a), NULL;
    return a;
}

/* The forms that moa train and TRL read: a conversation; a prompt with a chosen and a rejected reply. */
static json_t *line_of(const prompt *p, const moa_distill *d, int chosen, int rejected) {
    json_t *o = json_object();
    int rc = o ? 0 : -1;
    if (rejected < 0) {
        if (rc == 0) rc = json_object_set_new(o, "messages", turns("user", p->msg.content, "assistant", output_of(p, chosen)));
    } else {
        if (rc == 0) rc = json_object_set_new(o, "prompt", turns("user", p->msg.content, NULL, NULL));
        if (rc == 0) rc = json_object_set_new(o, "chosen", turns("assistant", output_of(p, chosen), NULL, NULL));
        if (rc == 0) rc = json_object_set_new(o, "rejected", turns("assistant", output_of(p, rejected), NULL, NULL));
    }
    if (rc == 0) rc = json_object_set_new(o, "mix", json_string(d->mix[d->kind == MOA_DISTILL_CONSENSUS ? chosen : 0].label));
    if (rc == 0 && p->criteria) rc = json_object_set_new(o, "criteria", json_string(p->criteria));
    if (rc == 0) return o;
    json_decref(o);
    return NULL;
}

static int decide(int *chosen, int *rejected, const prompt *p, const moa_distill *d, moa_err *err) {
    const char *text[MAX_OUTPUT];
    int score[MAX_OUTPUT] = {0}, n = 0;
    bool exact;
    *chosen = *rejected = -1;
    for (int k = 0; k < p->n; k++) text[k] = output_of(p, k), n += text[k] != NULL;
    if (d->kind == MOA_DISTILL_ANSWERS) *chosen = n ? 0 : -1;
    if (d->kind == MOA_DISTILL_CONSENSUS && n > 1) return moa_consensus(chosen, &exact, text, p->n, d->min_rouge, err);
    if (d->kind != MOA_DISTILL_PREFERENCES || n < 2) return 0;
    if (d->judge) score_pairs(score, p);
    for (int k = 0; !d->judge && k < p->n; k++) score[k] = agrees(p, k);
    for (int k = 0; k < p->n; k++) {
        if (text[k] && (*chosen < 0 || score[k] > score[*chosen])) *chosen = k;
        if (text[k] && (*rejected < 0 || score[k] < score[*rejected])) *rejected = k;
    }
    if (score[*chosen] == score[*rejected]) *chosen = *rejected = -1;
    return 0;
}

static json_t *piece_of(prompt *p, const moa_distill *d, moa_err *err) {
    const moa_item *it = moa_taskset_item(d->prompts, p->item);
    int chosen, rejected, known = 0, right = 0, n = 0, kept_right = 0;
    if (decide(&chosen, &rejected, p, d, err) < 0) return NULL;
    for (int k = 0; k <= p->n; k++)
        if (p->run[k]) count(p, p->run[k]);
    for (int k = 0; k < p->n; k++) {
        const char *s = output_of(p, k);
        n += s != NULL;
        known += s && moa_item_scored(it);
        right += s && moa_item_check(it, s, strlen(s));
        if (k == chosen) kept_right = moa_item_check(it, s, strlen(s));
    }
    json_t *o = json_pack("{s:i, s:s, s:I, s:I, s:I, s:f, s:i, s:i, s:i, s:i}", "item", p->item, "came", chosen >= 0 ? "kept" : n ? "dropped" : "failed", "calls", (json_int_t)p->calls,
                          "prompt_tokens", (json_int_t)p->prompt_tokens, "completion_tokens", (json_int_t)p->completion_tokens, "cost", p->cost, "known", known, "right", right,
                          "kept_known", chosen >= 0 && moa_item_scored(it), "kept_right", kept_right);
    json_t *line = o && chosen >= 0 ? line_of(p, d, chosen, rejected) : NULL;
    if (o && (chosen < 0 || (line && json_object_set_new(o, "line", line) == 0))) return o;
    json_decref(o);
    moa_fail(err, MOA_ENOMEM, "the data of a prompt");
    return NULL;
}

/* A piece, new or of an earlier start, into the sums. */
static int take_piece(void *ctx, const json_t *o, const char *where, moa_err *err) {
    work *w = ctx;
    moa_distill_sum *s = &w->d->sum;
    const char *came;
    long long item, v[7];
    static const char *const key[7] = {"calls", "prompt_tokens", "completion_tokens", "known", "right", "kept_known", "kept_right"};
    double cost;
    MOA_TRY(moa_json_get_int(&item, o, "item", -1, where, err));
    MOA_TRY(moa_json_get_str(&came, o, "came", "", where, err));
    MOA_TRY(moa_json_get_num(&cost, o, "cost", 0, where, err));
    for (int i = 0; i < 7; i++) MOA_TRY(moa_json_get_int(&v[i], o, key[i], 0, where, err));
    if (item < 0 || item >= moa_taskset_count(w->d->prompts)) return moa_fail(err, MOA_EFORMAT, "%s: item %lld, expected 0 to %d", where, item, moa_taskset_count(w->d->prompts) - 1);
    if (w->is_done[item]) return moa_fail(err, MOA_EFORMAT, "%s: item %lld once more", where, item);
    s->calls += v[0], s->prompt_tokens += v[1], s->completion_tokens += v[2], s->cost += cost;
    if (!w->going && !strcmp(came, "failed")) return 0; /* paid for, and tried again */
    w->is_done[item] = true;
    w->d->done++;
    s->prompts++;
    s->kept += !strcmp(came, "kept"), s->failed += !strcmp(came, "failed"), s->dropped += !strcmp(came, "dropped");
    s->known += v[3], s->right += v[4], s->kept_known += v[5], s->kept_right += v[6];
    return 0;
}

static int work_chunk(work *w, int n, moa_err *err) {
    const bool judged = w->d->kind == MOA_DISTILL_PREFERENCES && w->d->judge;
    int rc = execute(w, n, false, err);
    if (rc >= 0 && judged && w->d->criteria) rc = ask_criteria(w, n, err);
    for (int i = 0; rc >= 0 && judged && i < n; i++) rc = ask_pairs(&w->p[i], w->d, err);
    if (rc >= 0 && judged) rc = execute(w, n, true, err);
    for (int i = 0; rc >= 0 && i < n; i++) {
        json_t *o = piece_of(&w->p[i], w->d, err);
        for (int k = 0; o && k < w->p[i].n_side; k++) /* what the judge cost */
            count(&w->p[i], w->p[i].side[k]);
        if (o && w->p[i].n_side) {
            json_object_set_new(o, "calls", json_integer(w->p[i].calls));
            json_object_set_new(o, "prompt_tokens", json_integer(w->p[i].prompt_tokens));
            json_object_set_new(o, "completion_tokens", json_integer(w->p[i].completion_tokens));
            json_object_set_new(o, "cost", json_real(w->p[i].cost));
        }
        rc = o ? moa_worklog_add(w->log, o, err) : err ? err->code : MOA_ENOMEM;
        if (rc >= 0) rc = take_piece(w, o, "this prompt", err);
        json_decref(o);
    }
    return rc;
}

static int work_all(work *w, moa_err *err) {
    moa_distill *d = w->d;
    const int n_item = moa_taskset_count(d->prompts), chunk = d->chunk > 0 ? d->chunk : 16;
    int rc = 0;
    d->resumed = d->done;
    w->going = true;
    for (int i = 0, n = 0; rc >= 0 && i <= n_item; i++) {
        if (n == chunk || (i == n_item && n)) {
            rc = work_chunk(w, n, err);
            for (int k = 0; k < n; k++) end_prompt(&w->p[k]);
            n = 0;
            if (rc >= 0 && w->cb && !w->cb(w->ctx, d)) rc = moa_fail(err, MOA_ECANCELED, "stopped");
        }
        if (rc < 0 || i == n_item) break;
        if (repeated(w, moa_buf_str(&moa_taskset_item(d->prompts, i)->question))) d->sum.repeated++;
        else if (!w->is_done[i]) rc = begin_prompt(&w->p[n++], d, i, err);
        for (int k = 0; rc < 0 && k < n; k++) end_prompt(&w->p[k]);
    }
    return rc;
}

static int check(const moa_distill *d, moa_err *err) {
    const int n = outputs_of(d);
    if (d->kind == MOA_DISTILL_ANSWERS && n != 1) return moa_fail(err, MOA_EUSAGE, "answers are those of one mix, got %d", n);
    if (d->kind == MOA_DISTILL_CONSENSUS && (n < 2 || n > MAX_OUTPUT)) return moa_fail(err, MOA_EUSAGE, "a consensus is one of 2 to %d mixes, got %d", (int)MAX_OUTPUT, n);
    if (d->kind == MOA_DISTILL_PREFERENCES && (n < 2 || n > MAX_OUTPUT)) return moa_fail(err, MOA_EUSAGE, "preferences are between 2 to %d samples, got %d", (int)MAX_OUTPUT, n);
    if (d->kind == MOA_DISTILL_PREFERENCES && !d->judge == !d->agree)
        return moa_fail(err, MOA_EUSAGE, "preferences need one who decides: a judge, or a mix whose answers are to be met");
    return 0;
}

int moa_distill_run(moa_distill *d, moa_distill_cb cb, void *ctx, moa_err *err) {
    const size_t n_item = (size_t)moa_taskset_count(d->prompts), chunk = (size_t)(d->chunk > 0 ? d->chunk : 16);
    work w = {.d = d, .cb = cb, .ctx = ctx, .cap_seen = 1024};
    MOA_TRY(check(d, err));
    while (w.cap_seen < 2 * n_item + 2) w.cap_seen *= 2;
    d->sum = (moa_distill_sum){0};
    d->done = 0;
    w.seen = calloc(w.cap_seen, sizeof *w.seen);
    w.is_done = calloc(n_item + 1, sizeof *w.is_done);
    w.p = calloc(chunk, sizeof *w.p);
    int rc = w.seen && w.is_done && w.p ? 0 : moa_fail(err, MOA_ENOMEM, "a work of %zu prompts", n_item);
    if (rc >= 0) rc = moa_worklog_open(&w.log, d->out, d->what, d->fresh, take_piece, &w, err);
    if (rc >= 0) {
        rc = work_all(&w, err);
        if (rc >= 0) rc = moa_worklog_finish(w.log, err);
        else moa_worklog_close(w.log);
    }
    free(w.seen);
    free(w.is_done);
    free(w.p);
    return rc;
}
