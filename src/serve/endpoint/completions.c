/* completions.c - POST /v1/completions: text that goes on. A plain model reads the prompt as it is, without a chat template (control tokens in it
 * are control tokens); a mix, whose calls need a question, reads it as a user's turn. Several prompts are answered one after the other, their
 * choices numbered through. endpoints.def: ENDPOINT(completions)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"

#include "base/json.h"
#include "serve/chunk.h"
#include "serve/logprobs.h"
#include "serve/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PROMPTS = 64 };

typedef struct work {
    moa_exchange *x;
    moa_ask ask, *a;       /* a: &ask */
    moa_turn turn;         /* of the prompt that is at work */
    moa_ids ids; moa_message msg; /* it */
    size_t at;             /* its number */
    moa_chunks chunks;
    moa_buf body;
    char id[64];
    int first;             /* number of the choice that this prompt's first one has */
    const char *echo;      /* the prompt's text, where it is asked for */
    json_t *choices, *usage;
    json_int_t sum[4];     /* of all prompts */
} work;

static int send(work *w, int choice) { return w->body.failed ? w->body.failed : moa_chunk_send(&w->chunks, w->first + choice, moa_buf_str(&w->body), w->body.len); }

static int on_text(void *ctx, moa_turn *t, int choice, const char *s, size_t n) {
    work *w = ctx;
    moa_buf_clear(&w->body);
    moa_buf_adds(&w->body, "\"text\":");
    moa_json_add_str(&w->body, s, n);
    moa_buf_adds(&w->body, ",\"logprobs\":");
    if (t) moa_logprobs_text(&w->body, t, choice);
    else moa_buf_adds(&w->body, "null"); /* the prompt's echo */
    moa_buf_adds(&w->body, ",\"finish_reason\":null");
    return send(w, choice);
}

static int on_end(void *ctx, moa_turn *t, int choice) {
    work *w = ctx;
    moa_buf_clear(&w->body);
    moa_buf_addf(&w->body, "\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"%s\"", t->choice[choice].finish);
    return send(w, choice);
}

static const moa_turn_sink sink = {.text = on_text, .end = on_end};

static void add_choices(work *w, moa_turn *t) {
    for (int i = 0; i < t->n_choice; i++) {
        moa_buf b;
        moa_buf_init(&b, 1 << 27);
        if (w->echo) moa_buf_adds(&b, w->echo);
        moa_buf_add(&b, moa_buf_str(&t->choice[i].text), t->choice[i].text.len);
        json_array_append_new(w->choices, json_pack("{s:i, s:o, s:o, s:s}", "index", w->first + i, "text", moa_json_str(moa_buf_str(&b), b.len), "logprobs", moa_logprobs_value(moa_logprobs_text, t, i), "finish_reason",
                                                    t->choice[i].finish));
        moa_buf_deinit(&b);
    }
}

/* The usage of the last prompt, with the sums of all in their places. */
static void add_usage(work *w, const moa_turn *t) {
    static const char *const keys[] = {"prompt_tokens", "completion_tokens", "total_tokens"};
    json_t *u = moa_turn_usage(t);
    for (int i = 0; i < 3; i++) {
        w->sum[i] += json_integer_value(json_object_get(u, keys[i]));
        json_object_set_new(u, keys[i], json_integer(w->sum[i]));
    }
    json_decref(w->usage);
    w->usage = u;
}

/* The prompt's tokens where it goes on as it is; *plain false: it becomes a question. */
static int read_prompt(moa_ids *ids, moa_message *msg, work *w, const json_t *v, const char *param, moa_fault *f) {
    moa_ask *a = w->a;
    const moa_backend *b = a->spec.cfg.proposer[0];
    const moa_model *m = moa_backend_local_model(b);
    const bool plain = m && (a->spec.strategy->has & MOA_PLAIN);
    const char *s = json_string_value(v);
    moa_err err = {0};
    *msg = (moa_message){"user", s ? s : ""};
    a->msg = msg, a->n_msg = 1;
    a->extra.ids = NULL;
    if (!s && !plain) return moa_fault_set(f, 400, "invalid_type", param, "%s: %s takes a text, not tokens", param, a->spec.label);
    if (!plain) return moa_turn_check(a, f);
    if (!s) MOA_TRY(moa_tokens_read(ids, v, param, f));
    else if (moa_tokenize(ids, m->tok, s, strlen(s), MOA_TOK_BOS | MOA_TOK_SPECIAL, &err) < 0) return moa_fault_from(f, param, &err);
    MOA_TRY(moa_tokens_check(ids, m->tok, param, f));
    if (!ids->n) return moa_fault_set(f, 400, "invalid_value", param, "%s: the prompt is empty", param);
    if (ids->n >= b->n_ctx)
        return moa_fault_set(f, 400, "context_length_exceeded", param, "the prompt has %lld tokens, the context of %s holds %d with the reply", (long long)ids->n, b->id, b->n_ctx);
    a->extra.ids = ids->v, a->extra.n_ids = ids->n;
    return 0;
}

static void on_done(void *ctx, moa_turn *t, int rc, const moa_fault *f);

static int begin_one(work *w, const json_t *v, const char *param, moa_fault *f) {
    const bool stream = w->a->stream.v != 0;
    w->ids.n = 0;
    MOA_TRY(read_prompt(&w->ids, &w->msg, w, v, param, f));
    if (stream) moa_sse_begin(w->x);
    if (w->echo) w->echo = w->msg.content;
    if (stream && w->echo)
        for (int i = 0; i < moa_ask_n(w->a); i++) on_text(w, NULL, i, w->echo, strlen(w->echo));
    return moa_turn_start(&w->turn, w->x, w->a, stream ? &sink : NULL, on_done, w, f);
}

/* The prompt, or prompt number `at` of several. 1: there is none left. */
static int begin_next(work *w, moa_fault *f) {
    const json_t *v = json_object_get(w->a->body, "prompt"), *one;
    char param[40];
    if (json_is_string(v) || json_is_integer(json_array_get(v, 0))) return w->at ? 1 : begin_one(w, v, "prompt", f);
    if (!json_is_array(v)) return moa_param_wrong(f, "prompt", v, "a string, an array of strings, or tokens");
    const size_t n = json_array_size(v);
    if (n < 1 || n > MAX_PROMPTS) return moa_fault_set(f, 400, "invalid_value", "prompt", "prompt: got %zu, expected 1 to %d", n, MAX_PROMPTS);
    if (w->at == n) return 1;
    snprintf(param, sizeof param, "prompt[%zu]", w->at);
    one = json_array_get(v, w->at);
    if (!json_is_string(one) && !json_is_array(one)) return moa_param_wrong(f, param, one, "a string or an array of tokens");
    return begin_one(w, one, param, f);
}

static void reply(work *w) {
    char print[32];
    if (w->a->stream.v != 0) {
        if (w->a->include_usage) moa_chunk_usage(&w->chunks, json_incref(w->usage));
        moa_sse_end(w->x, true);
        return;
    }
    moa_reply_json(w->x, 200, json_pack("{s:s, s:s, s:I, s:s, s:O, s:O, s:s}", "id", w->id, "object", "text_completion", "created", (json_int_t)w->a->created, "model",
                                        w->a->spec.label, "choices", w->choices, "usage", w->usage, "system_fingerprint", moa_turn_fingerprint(print, w->a)));
}

/* rc 0: the next prompt's turn runs; 1: all have ended; negative: f says what went wrong. */
static void go_on(work *w, int rc, const moa_fault *f) {
    if (rc == 0) return; /* w may be gone */
    moa_exchange *x = w->x;
    if (rc < 0) moa_reply_fault(x, f);
    else reply(w);
    moa_turn_deinit(&w->turn);
    moa_ids_deinit(&w->ids);
    moa_chunks_deinit(&w->chunks);
    moa_buf_deinit(&w->body);
    json_decref(w->choices);
    json_decref(w->usage);
    moa_ask_deinit(w->a);
    free(w);
    moa_queue_done(x);
}

static void on_done(void *ctx, moa_turn *t, int rc, const moa_fault *f) {
    work *w = ctx;
    moa_fault next = *f;
    if (rc >= 0) {
        if (w->a->stream.v == 0) add_choices(w, t);
        add_usage(w, t);
        w->first += moa_ask_n(w->a);
        w->at++;
        moa_turn_deinit(t);
        *t = (moa_turn){.part = (int)w->at};
        rc = begin_next(w, &next);
    }
    go_on(w, rc, &next);
}

static int begin(work *w, moa_fault *f) {
    MOA_TRY(moa_ask_body(w->a, moa_buf_str(&w->x->body), w->x->body.len, f));
    MOA_TRY(moa_ask_logprobs_text(w->a, f));
    MOA_TRY(moa_ask_bind(w->a, w->x->catalog, f));
    moa_chunks_init(&w->chunks, w->x, w->a, "text_completion", w->id);
    if (json_is_true(json_object_get(w->a->body, "echo"))) w->echo = "";
    return begin_next(w, f);
}

static void handle(moa_exchange *x) {
    moa_fault f = {0};
    work *w = moa_queue_work(x, sizeof *w);
    if (!w) return;
    *w = (work){.x = x, .a = &w->ask, .choices = json_array()};
    moa_chunk_id(w->id, "cmpl-", x);
    moa_buf_init(&w->body, 1 << 26);
    const int rc = begin(w, &f);
    if (rc != 0) go_on(w, rc, &f);
}

const moa_endpoint moa_endpoint_completions = {.name = "completions", .help = "text that goes on", .method = "POST", .path = "/completions", .later = true, .handle = handle};
