/* compare.c - see compare.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/compare.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 32, MAX_PROMPT = 1 << 20, BOOT_SEED = 20240602 };

typedef struct pair { int item; const char *a, *b; } pair; /* the mix's answer, the other's */
typedef struct listener { const moa_eval *e; moa_eval_cb cb; void *ctx; } listener;

static bool go_on(void *ctx, int index, const char *text, size_t n) {
    const listener *l = ctx;
    (void)index, (void)text, (void)n;
    return !l->cb || l->cb(l->ctx, l->e, false);
}

static const char *answer_of(const moa_eval *e, int mix, int item) {
    const moa_buf *ref = &moa_taskset_item(e->tasks, item)->reference;
    if (mix == MOA_AGAINST_REFERENCE) return ref->len ? moa_buf_str(ref) : NULL;
    return e->answer[(size_t)mix * (size_t)moa_taskset_count(e->tasks) + (size_t)item];
}

/* Both turns of the user, where there are two. */
static int prompt_of(moa_buf *out, const moa_item *it, const char *first, const char *second) {
    moa_buf q;
    moa_buf_init(&q, MAX_PROMPT);
    moa_buf_addf(&q, it->follow.len ? "%s\n\n%s" : "%s", moa_buf_str(&it->question), moa_buf_str(&it->follow));
    const int rc = q.failed ? q.failed : moa_duel_prompt(out, moa_buf_str(&q), first, second, NULL);
    moa_buf_deinit(&q);
    return rc < 0 ? rc : out->failed;
}

static void count_verdict(moa_compare *c, moa_verdict v, const char *first, const char *second) {
    const bool one = v == MOA_VERDICT_A || v == MOA_VERDICT_B;
    c->said += one, c->none += v == MOA_VERDICT_NONE, c->first += v == MOA_VERDICT_A;
    c->longer += one && strlen(v == MOA_VERDICT_A ? first : second) > strlen(v == MOA_VERDICT_A ? second : first);
}

static int judge_some(moa_compare *c, double *win, double *length, const moa_eval *e, const pair *p, int n, moa_backend *judge, int max_tokens, listener *l, moa_err *err) {
    moa_call call[2 * AT_ONCE];
    moa_message msg[2 * AT_ONCE];
    moa_buf text[2 * AT_ONCE];
    int rc = 0;
    for (int i = 0; i < 2 * n; i++) {
        const pair *q = &p[i / 2];
        moa_buf_init(&text[i], MAX_PROMPT);
        const int made = prompt_of(&text[i], moa_taskset_item(e->tasks, q->item), i % 2 ? q->b : q->a, i % 2 ? q->a : q->b);
        if (made < 0 && rc >= 0) rc = moa_fail(err, made, "a judge's prompt");
        msg[i] = (moa_message){"user", moa_buf_str(&text[i])};
        call[i] = (moa_call){.msg = &msg[i], .n_msg = 1, .sampling = moa_sampling_defaults(), .max_tokens = max_tokens};
        call[i].sampling.temperature = 0;
    }
    if (rc >= 0) rc = moa_backend_complete(judge, call, 2 * n, go_on, l, err);
    for (int i = 0; rc >= 0 && i < n; i++) {
        moa_verdict v[2];
        for (int k = 0; k < 2 && rc >= 0; k++) {
            moa_call *k_call = &call[2 * i + k];
            if (k_call->rc < 0) {
                if (err) *err = k_call->err;
                rc = k_call->rc; /* a judge that cannot be asked is no tie */
                break;
            }
            v[k] = moa_duel_parse(k_call->res.text, k_call->res.text_len);
            count_verdict(c, v[k], k ? p[i].b : p[i].a, k ? p[i].a : p[i].b);
            c->calls++, c->prompt_tokens += k_call->res.n_prompt, c->completion_tokens += k_call->res.n_ids;
        }
        if (rc < 0) break;
        const int better = moa_duel_both(v[0], v[1]);
        c->won += better > 0, c->lost += better < 0, c->tied += !better;
        c->by_order += v[0] == v[1] && (v[0] == MOA_VERDICT_A || v[0] == MOA_VERDICT_B);
        win[i] = 0.5 + 0.5 * better;
        length[i] = (double)strlen(p[i].a) - (double)strlen(p[i].b);
    }
    for (int i = 0; i < 2 * n; i++) {
        moa_buf_deinit(&text[i]);
        moa_gen_res_deinit(&call[i].res);
    }
    return rc;
}

int moa_compare_run(moa_compare *out, const moa_eval *e, int mix, int against, moa_backend *judge, int max_tokens, moa_eval_cb cb, void *ctx, moa_err *err) {
    const int n_item = e->done;
    listener l = {e, cb, ctx};
    *out = (moa_compare){0};
    pair *p = malloc(((size_t)n_item + 1) * sizeof *p);
    double *win = malloc(2 * ((size_t)n_item + 1) * sizeof *win), *length = win ? win + n_item + 1 : NULL;
    int n = 0, rc = p && win ? 0 : moa_fail(err, MOA_ENOMEM, "a comparison of %d items", n_item);
    for (int i = 0; rc >= 0 && i < n_item; i++) {
        const pair q = {i, answer_of(e, mix, i), answer_of(e, against, i)};
        if (q.a && q.b) p[n++] = q;
        else out->skipped++;
    }
    for (int i = 0; rc >= 0 && i < n; i += AT_ONCE) rc = judge_some(out, win + i, length + i, e, p + i, n - i < AT_ONCE ? n - i : AT_ONCE, judge, max_tokens, &l, err);
    if (rc >= 0) rc = moa_preference_of(&out->p, win, length, n, BOOT_SEED, err);
    free(p);
    free(win);
    return rc < 0 ? rc : 0;
}
