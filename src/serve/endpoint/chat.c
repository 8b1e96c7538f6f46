/* chat.c - POST /v1/chat/completions, whole or as a stream: first the role of every choice, then text as it comes, then for each choice one
 * chunk with its reason to end, then the usage where it was asked for, then [DONE].
 * endpoints.def: ENDPOINT(chat)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"

#include "base/json.h"
#include "serve/chunk.h"
#include "serve/logprobs.h"

#include <stdlib.h>
#include <string.h>

typedef struct chat {
    moa_exchange *x;
    moa_ask ask;
    moa_turn turn;
    moa_chunks chunks;
    moa_buf body;          /* of the chunk that is made */
    int spoke;             /* node whose thoughts came last; -1: none */
} chat;

static int send(chat *s, int choice) { return s->body.failed ? s->body.failed : moa_chunk_send(&s->chunks, choice, moa_buf_str(&s->body), s->body.len); }

static int send_role(chat *s, int choice) {
    moa_buf_clear(&s->body);
    moa_buf_adds(&s->body, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null");
    return send(s, choice);
}

static int on_text(void *ctx, moa_turn *t, int choice, const char *text, size_t n) {
    chat *s = ctx;
    moa_buf_clear(&s->body);
    moa_buf_adds(&s->body, "\"delta\":");
    moa_chunk_delta(&s->body, "content", text, n);
    moa_buf_adds(&s->body, ",\"logprobs\":");
    moa_logprobs_chat(&s->body, t, choice);
    moa_buf_adds(&s->body, ",\"finish_reason\":null");
    return send(s, choice);
}

/* Where thoughts come one after the other, the name of each agent stands before its text, since most clients show one text. */
static int on_thought(void *ctx, moa_turn *t, const moa_agent_node *node, const char *text, size_t n, bool thinks) {
    chat *s = ctx;
    const int at = (int)(node - t->run->node);
    const bool serial = t->ask->show == MOA_SHOW_THOUGHTS, answers = moa_run_is_answer(t->run, at);
    moa_buf both;
    if (serial && !n) return 0;
    moa_buf_init(&both, 1 << 26);
    if (serial && s->spoke != at && s->spoke >= 0) moa_buf_adds(&both, "\n\n");
    if (serial && s->spoke != at && !answers) moa_buf_addf(&both, "[%s, %s]\n", node->name, node->backend ? node->backend->id : node->role);
    moa_buf_add(&both, text ? text : "", n);
    s->spoke = at;
    moa_buf_clear(&s->body);
    moa_buf_adds(&s->body, "\"delta\":");
    moa_chunk_delta(&s->body, "reasoning_content", moa_buf_str(&both), both.len);
    moa_buf_addf(&s->body, ",\"logprobs\":null,\"finish_reason\":null,\"moa\":{\"node\":\"%s\",\"role\":\"%s\",\"model\":", node->name, node->role);
    moa_json_add_str(&s->body, node->backend ? node->backend->id : "", node->backend ? strlen(node->backend->id) : 0);
    moa_buf_adds(&s->body, thinks ? ",\"thinks\":true}" : n ? "}" : ",\"done\":true}");
    moa_buf_deinit(&both);
    return send(s, answers ? at - t->run->answer : 0);
}

/* Of each call first its id and name, then its arguments: SDKs put them together by index. */
static int on_calls(void *ctx, moa_turn *t, int choice, const json_t *calls) {
    chat *s = ctx;
    const json_t *c;
    size_t i;
    int rc = 0;
    (void)t;
    json_array_foreach(calls, i, c) {
        const json_t *fn = json_object_get(c, "function"), *args = json_object_get(fn, "arguments");
        moa_buf_clear(&s->body);
        moa_buf_addf(&s->body, "\"delta\":{\"tool_calls\":[{\"index\":%zu,\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":\"%s\",\"arguments\":\"\"}}]}", i,
                     json_string_value(json_object_get(c, "id")), json_string_value(json_object_get(fn, "name")));
        moa_buf_adds(&s->body, ",\"logprobs\":null,\"finish_reason\":null");
        if (rc >= 0) rc = send(s, choice);
        moa_buf_clear(&s->body);
        moa_buf_addf(&s->body, "\"delta\":{\"tool_calls\":[{\"index\":%zu,\"function\":", i);
        moa_chunk_delta(&s->body, "arguments", json_string_value(args), json_string_length(args));
        moa_buf_adds(&s->body, "}]},\"logprobs\":null,\"finish_reason\":null");
        if (rc >= 0) rc = send(s, choice);
    }
    return rc;
}

static int on_end(void *ctx, moa_turn *t, int choice) {
    chat *s = ctx;
    moa_buf_clear(&s->body);
    moa_buf_addf(&s->body, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"", t->choice[choice].finish);
    return send(s, choice);
}

static int on_event(void *ctx, moa_turn *t, json_t *event) {
    (void)t;
    return moa_chunk_event(&((chat *)ctx)->chunks, event);
}

static const moa_turn_sink sink = {on_text, on_thought, on_calls, on_end, on_event};

static json_t *message_of(const moa_turn *t, int k) {
    const moa_choice *c = &t->choice[k];
    const moa_buf *thoughts = t->ask->show == MOA_SHOW_ANSWER ? NULL : moa_turn_thoughts(t, t->run->answer + k);
    json_t *content = c->calls && !c->text.len ? json_null() : moa_json_str(moa_buf_str(&c->text), c->text.len);
    json_t *m = json_pack("{s:s, s:o}", "role", "assistant", "content", content);
    if (thoughts) json_object_set_new(m, "reasoning_content", moa_json_str(moa_buf_str(thoughts), thoughts->len));
    if (c->calls) json_object_set(m, "tool_calls", c->calls);
    return m;
}

static json_t *choices_of(moa_turn *t) {
    json_t *list = json_array();
    for (int i = 0; i < t->n_choice; i++)
        json_array_append_new(list, json_pack("{s:i, s:o, s:o, s:s}", "index", i, "message", message_of(t, i), "logprobs", moa_logprobs_value(moa_logprobs_chat, t, i), "finish_reason", t->choice[i].finish));
    return list;
}

static void reply_whole(chat *s) {
    char id[64], print[32];
    moa_chunk_id(id, "chatcmpl-", s->x);
    moa_reply_json(s->x, 200, json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:s}", "id", id, "object", "chat.completion", "created", (json_int_t)s->ask.created, "model",
                                        s->ask.spec.label, "choices", choices_of(&s->turn), "usage", moa_turn_usage(&s->turn), "system_fingerprint",
                                        moa_turn_fingerprint(print, &s->ask)));
}

static void end_stream(chat *s) {
    if (s->ask.include_usage) moa_chunk_usage(&s->chunks, moa_turn_usage(&s->turn));
    moa_sse_end(s->x, true);
}

static void finish(chat *s) {
    moa_exchange *x = s->x;
    moa_turn_deinit(&s->turn);
    moa_ask_deinit(&s->ask);
    moa_chunks_deinit(&s->chunks);
    moa_buf_deinit(&s->body);
    free(s);
    moa_queue_done(x);
}

static void on_done(void *ctx, moa_turn *t, int rc, const moa_fault *f) {
    chat *s = ctx;
    (void)t;
    if (rc < 0) moa_reply_fault(s->x, f);
    else (s->ask.stream.v != 0 ? end_stream : reply_whole)(s);
    finish(s);
}

static int begin_stream(chat *s, moa_fault *f) {
    char id[64];
    MOA_TRY(moa_turn_check(&s->ask, f));
    moa_chunk_id(id, "chatcmpl-", s->x);
    moa_chunks_init(&s->chunks, s->x, &s->ask, "chat.completion.chunk", id);
    moa_sse_begin(s->x);
    for (int i = 0; i < moa_ask_n(&s->ask); i++) send_role(s, i);
    return 0;
}

static int begin(chat *s, moa_fault *f) {
    moa_ask *a = &s->ask;
    MOA_TRY(moa_ask_body(a, moa_buf_str(&s->x->body), s->x->body.len, f));
    MOA_TRY(moa_tools_read(&a->tools, a->body, false, f));
    MOA_TRY(moa_ask_format(a, json_object_get(a->body, "response_format"), "response_format", f));
    MOA_TRY(moa_ask_logprobs(a, f));
    MOA_TRY(moa_ask_messages(a, json_object_get(a->body, "messages"), f));
    MOA_TRY(moa_ask_bind(a, s->x->catalog, f));
    const bool stream = a->stream.v != 0;
    if (stream) MOA_TRY(begin_stream(s, f));
    return moa_turn_start(&s->turn, s->x, a, stream ? &sink : NULL, on_done, s, f);
}

static void handle(moa_exchange *x) {
    moa_fault f = {0};
    chat *s = moa_queue_work(x, sizeof *s);
    if (!s) return;
    s->x = x, s->spoke = -1;
    moa_buf_init(&s->body, 1 << 26);
    if (begin(s, &f) >= 0) return;
    moa_reply_fault(x, &f);
    finish(s);
}

const moa_endpoint moa_endpoint_chat = {.name = "chat", .help = "a reply to a conversation", .method = "POST", .path = "/chat/completions", .later = true, .handle = handle};
