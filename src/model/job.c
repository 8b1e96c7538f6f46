/* job.c - see job.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/job.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static int check_request(const moa_model *m, int64_t room, const moa_gen_req *q, long long i, moa_err *err) {
    if (q->n_prompt < 1) return moa_fail(err, MOA_EINVAL, "request %lld: empty prompt", i);
    if (q->n_prompt >= room) {
        moa_fail(err, MOA_ELIMIT, "request %lld: the prompt has %lld tokens, the context holds %lld and one must be left for the answer", i,
                 (long long)q->n_prompt, (long long)room);
        return moa_hint(err, MOA_ELIMIT, "shorten the prompt, or raise n_ctx (the model allows %d)", m->h.n_ctx);
    }
    if (q->max_tokens < 1) return moa_fail(err, MOA_EINVAL, "request %lld: max_tokens = %d, expected at least 1", i, q->max_tokens);
    if (q->n_given < 0 || q->n_given > q->n_prompt) return moa_fail(err, MOA_EINVAL, "request %lld: n_given = %d, expected 0 to the prompt's %lld", i, q->n_given, (long long)q->n_prompt);
    if (q->priority < -MOA_PRIORITY_MAX || q->priority > MOA_PRIORITY_MAX)
        return moa_fail(err, MOA_EINVAL, "request %lld: priority %d, expected %d to %d", i, q->priority, -MOA_PRIORITY_MAX, MOA_PRIORITY_MAX);
    for (int64_t t = 0; t < q->n_prompt; t++)
        if (q->prompt[t] < 0 || q->prompt[t] >= m->h.n_vocab)
            return moa_fail(err, MOA_EINVAL, "request %lld: token %d at %lld, expected 0 to %d", i, q->prompt[t], (long long)t, m->h.n_vocab - 1);
    for (int s = 0; s < q->n_stop; s++)
        if (!q->stop[s] || !*q->stop[s]) return moa_fail(err, MOA_EINVAL, "request %lld: stop string %d is empty", i, s);
    const int rc = moa_sampling_check(&q->sampling, err);
    return rc < 0 ? moa_wrap(err, rc, "request %lld", i) : 0;
}

/* One allocation: the list, then the texts. NULL without memory, or where there are none. */
static const char *const *copy_stops(const moa_gen_req *q) {
    size_t bytes = (size_t)q->n_stop * sizeof(char *);
    for (int i = 0; i < q->n_stop; i++) bytes += strlen(q->stop[i]) + 1;
    char **list = q->n_stop ? malloc(bytes) : NULL;
    char *at = list ? (char *)(list + q->n_stop) : NULL;
    for (int i = 0; list && i < q->n_stop; i++) {
        const size_t n = strlen(q->stop[i]) + 1;
        list[i] = memcpy(at, q->stop[i], n);
        at += n;
    }
    return (const char *const *)list;
}

static moa_bias *copy_bias(const moa_gen_req *q) {
    moa_bias *b = q->n_bias ? malloc((size_t)q->n_bias * sizeof *b) : NULL;
    if (b) memcpy(b, q->bias, (size_t)q->n_bias * sizeof *b);
    return b;
}

/* Memory for what is told of each token. */
static int open_log(moa_job *j, int64_t n_prompt, moa_err *err) {
    moa_token_log *l = j->req.log;
    if (!l) return 0;
    j->prob = malloc((MOA_DRAFT_MAX + 1) * (size_t)(1 + l->top) * sizeof *j->prob);
    if (!j->prob) return moa_fail(err, MOA_ENOMEM, "request %lld: no memory for probabilities", j->number);
    return moa_token_log_reserve(l, j->most - n_prompt, err);
}

int moa_job_new(moa_job **out, const moa_model *m, int64_t max_len, const moa_gen_req *q, const moa_gen_sink *sink, long long number, moa_err *err) {
    MOA_TRY(check_request(m, max_len, q, number, err));
    moa_job *j = calloc(1, sizeof *j);
    if (!j) return moa_fail(err, MOA_ENOMEM, "request %lld: no memory", number);
    *j = (moa_job){.req = *q, .number = number, .seq = -1, .row = -1, .mirror = -1, .n_tok = q->n_prompt, .came = moa_now()};
    j->req.prompt = NULL;
    j->req.grammar = q->grammar ? moa_grammar_ref(q->grammar) : NULL;
    j->most = q->max_tokens < max_len - q->n_prompt ? q->n_prompt + q->max_tokens : max_len;
    j->tok = malloc((size_t)j->most * sizeof *j->tok);
    j->req.stop = copy_stops(q);
    j->req.bias = copy_bias(q);
    int rc = 0;
    if (!j->tok || (q->n_stop && !j->req.stop) || (q->n_bias && !j->req.bias)) rc = moa_fail(err, MOA_ENOMEM, "request %lld: no memory for %lld tokens", number, (long long)j->most);
    if (rc >= 0) rc = open_log(j, q->n_prompt, err);
    if (rc >= 0) rc = moa_stream_init(&j->out, j->req.stop, q->n_stop, err);
    if (rc < 0) {
        moa_job_free(j);
        return rc;
    }
    memcpy(j->tok, q->prompt, (size_t)q->n_prompt * sizeof *j->tok);
    j->sink = *sink;
    *out = j;
    return 0;
}

void moa_job_free(moa_job *j) {
    if (!j) return;
    moa_stream_deinit(&j->out);
    moa_sampler_free(j->shadow);
    moa_gen_res_deinit(&j->res);
    moa_grammar_free((moa_grammar *)(uintptr_t)j->req.grammar);
    free((void *)(uintptr_t)j->req.stop);
    free((void *)(uintptr_t)j->req.bias);
    free(j->prob);
    free(j->tok);
    free(j);
}

void moa_job_show(moa_job *j) {
    const size_t ready = moa_stream_ready(&j->out);
    if (ready <= j->out.sent) return;
    if (!j->dropped && !j->sink.text(j->sink.ctx, j->out.text + j->out.sent, ready - j->out.sent)) j->dropped = true;
    j->out.sent = ready;
}

/* ---- the next tokens ---- */

/* The next token after n_tok tokens, or negative with the request's err filled. */
static int32_t choose(moa_job *j, const float *logits, int64_t n_tok, float *logprob) {
    const uint64_t *mask = NULL;
    moa_err *err = &j->res.err;
    if (j->matcher) MOA_TRY(moa_matcher_mask(&mask, j->matcher, j->place, j->most - n_tok, err));
    const int32_t t = moa_sampler_pick(j->sampler, logits, mask, logprob);
    if (t < 0) { /* damaged weights, most often */
        moa_fail(err, MOA_EFORMAT, "the model gives no finite logits after %lld tokens", (long long)n_tok);
        return moa_hint(err, MOA_EFORMAT, "the model's file may be damaged");
    }
    if (j->matcher) MOA_TRY(moa_matcher_accept(j->matcher, j->place, t, err));
    return t;
}

/* What is told of pick i. */
static void weigh_up(moa_job *j, int i, int32_t t, const float *logits) {
    const int top = j->req.log->top;
    moa_token_prob *row = j->prob + i * (1 + top);
    row[0] = (moa_token_prob){t, j->logprob[i]};
    moa_sampler_top(j->sampler, logits, row + 1, top);
}

void moa_job_log(moa_job *j, int i) {
    if (j->prob) moa_token_log_add(j->req.log, j->prob + i * (1 + j->req.log->top));
}

void moa_job_learn(moa_job *j, int32_t t) {
    enum { MEMORY = 10 }; /* guesses that count */
    j->tok[j->n_tok++] = t;
    if (!j->ngrams) return;
    const bool was = j->came_true;
    j->came_true = j->guess == t;
    if (j->guess >= 0) j->hit[was] += ((float)j->came_true - j->hit[was]) / MEMORY;
    moa_ngrams_learn(j->ngrams, j->tok, j->n_tok);
    if (!moa_ngrams_guess(j->ngrams, &j->guess, 1, j->tok, j->n_tok)) j->guess = -1;
}

int moa_job_draw(moa_job *j, const moa_tokenizer *tok, const moa_session *s) {
    j->n_pick = 0;
    for (int i = 0; i <= j->n_draft; i++) {
        const int32_t t = choose(j, moa_session_logits(s, j->row + i), j->n_tok + i, &j->logprob[i]);
        if (t < 0) return t;
        if (j->prob) weigh_up(j, i, t, moa_session_logits(s, j->row + i));
        j->pick[j->n_pick++] = t;
        if (moa_tokenizer_is_eog(tok, t)) break;
        moa_sampler_accept(j->sampler, t);
        if (j->matcher && moa_matcher_finished(j->matcher, j->place)) break;
        if (i < j->n_draft && t != j->draft[i]) break;
    }
    return 0;
}

/* ---- the end ---- */

/* A text that its tokens ended before its grammar did is not what was asked for. */
static void leave_grammar(moa_job *j, moa_stop why, moa_constraints *grammars) {
    moa_gen_res *res = &j->res;
    if (!j->matcher) return;
    if ((why == MOA_STOP_LENGTH || why == MOA_STOP_CONTEXT) && !j->req.partial && !moa_matcher_complete(j->matcher, j->place)) {
        res->rc = moa_fail(&res->err, MOA_ELIMIT, "request %lld: the reply ended after %d tokens, before its grammar was complete", j->number,
                           (int)(j->n_tok - j->req.n_prompt));
        moa_hint(&res->err, res->rc, why == MOA_STOP_LENGTH ? "raise max_tokens" : "the context is full: shorten the prompt");
    }
    moa_constraints_close(grammars, j->matcher, j->place);
    j->matcher = NULL;
}

void moa_job_end(moa_job *j, moa_stop why, moa_constraints *grammars) {
    moa_gen_res *res = &j->res;
    leave_grammar(j, why, grammars);
    (j->req.goes_on && why == MOA_STOP_LENGTH ? moa_stream_break : moa_stream_end)(&j->out);
    moa_job_show(j);
    res->n_ids = (int)(j->n_tok - j->req.n_prompt);
    res->ids = malloc(((size_t)res->n_ids + 1) * sizeof *res->ids);
    if (res->ids) memcpy(res->ids, j->tok + j->req.n_prompt, (size_t)res->n_ids * sizeof *res->ids);
    else res->n_ids = 0;
    res->text = j->out.text;
    res->text_len = j->out.len;
    j->out.text = NULL;
    res->n_prompt = j->req.n_prompt;
    res->why = why;
    res->seconds = moa_now() - j->came;
    j->state = MOA_JOB_DONE;
    j->sink.end(j->sink.ctx, res);
    *res = (moa_gen_res){0}; /* the sink's */
}
