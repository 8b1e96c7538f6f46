/* responses.c - POST /v1/responses: OpenAI's newer shape of a reply, whole or as typed events. Nothing is stored between requests: a client that
 * goes on sends the conversation (previous_response_id is refused). endpoints.def: ENDPOINT(responses)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"

#include "base/json.h"
#include "serve/chunk.h"

#include <stdlib.h>
#include <string.h>

/* ---- input items -> messages of a chat ---- */

static int add_item(json_t *to, const json_t *v, size_t i, moa_fault *f) {
    char where[40];
    const char *type = json_string_value(json_object_get(v, "type"));
    json_t *call = json_object_get(v, "call_id"), *content = json_object_get(v, "content"), *role = json_object_get(v, "role");
    snprintf(where, sizeof where, "input[%zu]", i);
    if (!json_is_object(v)) return moa_param_wrong(f, where, v, "an object");
    if (!type || !strcmp(type, "message")) return json_array_append_new(to, json_pack("{s:O?, s:O?}", "role", role, "content", content));
    if (!strcmp(type, "reasoning")) return 0;
    if (!strcmp(type, "function_call"))
        return json_array_append_new(to, json_pack("{s:s, s:s, s:[{s:O?, s:s, s:{s:O?, s:O?}}]}", "role", "assistant", "content", "", "tool_calls", "id", call, "type", "function",
                                                   "function", "name", json_object_get(v, "name"), "arguments", json_object_get(v, "arguments")));
    if (!strcmp(type, "function_call_output"))
        return json_array_append_new(to, json_pack("{s:s, s:O?, s:O?}", "role", "tool", "tool_call_id", call, "content", json_object_get(v, "output")));
    return moa_fault_set(f, 400, "unsupported_content", where, "%s: items of type '%.40s' are not supported", where, type);
}

/* What the body says, as a chat's messages in the body, where the texts live. */
static int read_input(moa_ask *a, moa_fault *f) {
    const json_t *input = json_object_get(a->body, "input"), *v;
    json_t *list = json_array(), *told = json_object_get(a->body, "instructions");
    size_t i;
    json_object_set_new(a->body, "messages", list);
    if (told && !json_is_null(told) && !json_is_string(told)) return moa_param_wrong(f, "instructions", told, "a string");
    if (json_is_string(told)) json_array_append_new(list, json_pack("{s:s, s:O}", "role", "system", "content", told));
    if (json_is_string(input)) json_array_append_new(list, json_pack("{s:s, s:O}", "role", "user", "content", input));
    else if (!json_is_array(input)) return moa_param_wrong(f, "input", input, "a string or an array of items");
    json_array_foreach(input, i, v) {
        if (add_item(list, v, i, f) >= 0) continue;
        return f->status ? -1 : moa_fault_set(f, 400, "invalid_value", "input", "input[%zu] cannot be read", i);
    }
    return moa_ask_messages(a, list, f);
}

static int read_request(moa_ask *a, const moa_exchange *x, moa_fault *f) {
    static const char *const stateful[] = {"previous_response_id", "conversation"};
    static const moa_param fields[] = {{"max_output_tokens", MOA_PARAM_INT, offsetof(moa_ask, max_tokens), 1, 1 << 30}};
    MOA_TRY(moa_ask_body(a, moa_buf_str(&x->body), x->body.len, f));
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(a->body, stateful[i]);
        if (v && !json_is_null(v)) return moa_fault_set(f, 400, "unsupported_value", stateful[i], "%s: nothing is stored here; send the conversation as input", stateful[i]);
    }
    if (json_is_true(json_object_get(a->body, "background"))) return moa_fault_set(f, 400, "unsupported_value", "background", "background: nothing is stored here");
    a->n = (moa_num){0};
    MOA_TRY(moa_params_read(a, a->body, fields, 1, f));
    MOA_TRY(moa_tools_read(&a->tools, a->body, true, f));
    MOA_TRY(moa_ask_format(a, json_object_get(json_object_get(a->body, "text"), "format"), "text.format", f));
    MOA_TRY(read_input(a, f));
    return moa_ask_bind(a, x->catalog, f);
}

/* ---- the reply ---- */

typedef struct work {
    moa_exchange *x;
    moa_ask ask, *a;       /* a: &ask */
    moa_turn turn;
    char id[64], item[64];
    int seq;               /* of events */
    bool open;             /* the message's item has begun */
} work;

static json_t *part_of(const char *s, size_t n) { return json_pack("{s:s, s:o, s:[], s:[]}", "type", "output_text", "text", moa_json_str(s, n), "annotations", "logprobs"); }

static json_t *message_item(const work *w, const char *status, json_t *content) {
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "type", "message", "id", w->item, "status", status, "role", "assistant", "content", content);
}

static json_t *call_item(const json_t *call) {
    const json_t *fn = json_object_get(call, "function");
    char id[100];
    snprintf(id, sizeof id, "fc_%s", json_string_value(json_object_get(call, "id")));
    return json_pack("{s:s, s:s, s:s, s:O, s:O, s:O}", "type", "function_call", "id", id, "status", "completed", "call_id", json_object_get(call, "id"), "name",
                     json_object_get(fn, "name"), "arguments", json_object_get(fn, "arguments"));
}

static json_t *usage_of(const moa_turn *t) {
    json_t *u = moa_turn_usage(t);
    json_t *out = json_pack("{s:O, s:O, s:O, s:O, s:O, s:O}", "input_tokens", json_object_get(u, "prompt_tokens"), "input_tokens_details",
                            json_object_get(u, "prompt_tokens_details"), "output_tokens", json_object_get(u, "completion_tokens"), "output_tokens_details",
                            json_object_get(u, "completion_tokens_details"), "total_tokens", json_object_get(u, "total_tokens"), "moa", json_object_get(u, "moa"));
    json_decref(u);
    return out;
}

static json_t *output_of(const work *w, const moa_turn *t) {
    json_t *list = json_array(), *c;
    const moa_choice *k = &t->choice[0];
    size_t i;
    const bool cut = !strcmp(k->finish, "length");
    if (k->text.len || !k->calls) {
        json_t *content = json_array();
        json_array_append_new(content, part_of(moa_buf_str(&k->text), k->text.len));
        json_array_append_new(list, message_item(w, cut ? "incomplete" : "completed", content));
    }
    json_array_foreach(k->calls, i, c) json_array_append_new(list, call_item(c));
    return list;
}

/* t NULL: it has just begun. */
static json_t *response_of(const work *w, const moa_turn *t) {
    const moa_ask *a = w->a;
    const bool cut = t && !strcmp(t->choice[0].finish, "length");
    json_t *told = json_object_get(a->body, "instructions"), *meta = json_object_get(a->body, "metadata");
    json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:n, s:s, s:O*, s:b, s:n, s:b, s:s, s:s}", "id", w->id, "object", "response", "created_at", (json_int_t)a->created, "status",
                          !t ? "in_progress" : cut ? "incomplete" : "completed", "error", "model", a->spec.label, "instructions", told, "parallel_tool_calls", !a->tools.one,
                          "previous_response_id", "store", 0, "tool_choice", a->tools.choice == MOA_TOOLS_REQUIRED ? "required" : a->tools.choice == MOA_TOOLS_NONE ? "none" : "auto",
                          "truncation", "disabled");
    json_object_set_new(o, "incomplete_details", cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null());
    json_object_set_new(o, "output", t ? output_of(w, t) : json_array());
    json_object_set_new(o, "tools", json_is_array(json_object_get(a->body, "tools")) ? json_incref(json_object_get(a->body, "tools")) : json_array());
    json_object_set_new(o, "text", json_is_object(json_object_get(a->body, "text")) ? json_incref(json_object_get(a->body, "text")) : json_pack("{s:{s:s}}", "format", "type", "text"));
    json_object_set_new(o, "metadata", json_is_object(meta) ? json_incref(meta) : json_object());
    json_object_set_new(o, "usage", t ? usage_of(t) : json_null());
    return o;
}

/* ---- events ---- */

static int event(work *w, const char *type, json_t *fields) {
    json_object_set_new(fields, "type", json_string(type));
    json_object_set_new(fields, "sequence_number", json_integer(w->seq++));
    return moa_sse_json(w->x, type, fields);
}

static int open_message(work *w) {
    if (w->open) return 0;
    w->open = true;
    MOA_TRY(event(w, "response.output_item.added", json_pack("{s:i, s:o}", "output_index", 0, "item", message_item(w, "in_progress", json_array()))));
    return event(w, "response.content_part.added", json_pack("{s:s, s:i, s:i, s:o}", "item_id", w->item, "output_index", 0, "content_index", 0, "part", part_of("", 0)));
}

static int on_text(void *ctx, moa_turn *t, int choice, const char *s, size_t n) {
    work *w = ctx;
    (void)t, (void)choice;
    MOA_TRY(open_message(w));
    return event(w, "response.output_text.delta", json_pack("{s:s, s:i, s:i, s:o, s:[]}", "item_id", w->item, "output_index", 0, "content_index", 0, "delta", moa_json_str(s, n), "logprobs"));
}

static int close_message(work *w, const moa_turn *t) {
    const moa_choice *c = &t->choice[0];
    const char *s = moa_buf_str(&c->text);
    json_t *content = json_array();
    json_array_append_new(content, part_of(s, c->text.len));
    MOA_TRY(event(w, "response.output_text.done", json_pack("{s:s, s:i, s:i, s:o, s:[]}", "item_id", w->item, "output_index", 0, "content_index", 0, "text", moa_json_str(s, c->text.len), "logprobs")));
    MOA_TRY(event(w, "response.content_part.done", json_pack("{s:s, s:i, s:i, s:o}", "item_id", w->item, "output_index", 0, "content_index", 0, "part", part_of(s, c->text.len))));
    return event(w, "response.output_item.done", json_pack("{s:i, s:o}", "output_index", 0, "item", message_item(w, strcmp(c->finish, "length") ? "completed" : "incomplete", content)));
}

static int call_events(work *w, const json_t *call, int at) {
    json_t *item = call_item(call), *begun = json_deep_copy(item);
    const json_t *id = json_object_get(item, "id"), *args = json_object_get(item, "arguments");
    json_object_set_new(begun, "arguments", json_string(""));
    json_object_set_new(begun, "status", json_string("in_progress"));
    int rc = event(w, "response.output_item.added", json_pack("{s:i, s:o}", "output_index", at, "item", begun));
    if (rc >= 0) rc = event(w, "response.function_call_arguments.delta", json_pack("{s:O, s:i, s:O}", "item_id", id, "output_index", at, "delta", args));
    if (rc >= 0) rc = event(w, "response.function_call_arguments.done", json_pack("{s:O, s:i, s:O}", "item_id", id, "output_index", at, "arguments", args));
    if (rc >= 0) rc = event(w, "response.output_item.done", json_pack("{s:i, s:O}", "output_index", at, "item", item));
    json_decref(item);
    return rc;
}

static int on_end(void *ctx, moa_turn *t, int choice) {
    work *w = ctx;
    const json_t *c;
    size_t i;
    int at = 0;
    if (!t->choice[choice].calls) MOA_TRY(open_message(w)); /* an empty reply is one too */
    if (w->open) {
        MOA_TRY(close_message(w, t));
        at = 1;
    }
    json_array_foreach(t->choice[choice].calls, i, c) MOA_TRY(call_events(w, c, at++));
    return 0;
}

static const moa_turn_sink sink = {.text = on_text, .end = on_end};

static int begin_stream(work *w, moa_fault *f) {
    MOA_TRY(moa_turn_check(w->a, f));
    moa_sse_begin(w->x);
    event(w, "response.created", json_pack("{s:o}", "response", response_of(w, NULL)));
    event(w, "response.in_progress", json_pack("{s:o}", "response", response_of(w, NULL)));
    return 0;
}

static void end_stream(work *w) {
    event(w, strcmp(w->turn.choice[0].finish, "length") ? "response.completed" : "response.incomplete", json_pack("{s:o}", "response", response_of(w, &w->turn)));
    moa_sse_end(w->x, false); /* the last event says it */
}

/* A stream that has begun fails with events of its own. */
static void fail(work *w, const moa_fault *f) {
    if (w->seq) {
        json_t *r = response_of(w, NULL);
        json_object_set_new(r, "status", json_string("failed"));
        json_object_set_new(r, "error", json_pack("{s:s?, s:o}", "code", f->code, "message", moa_json_str(f->text, strlen(f->text))));
        event(w, "response.failed", json_pack("{s:o}", "response", r));
        moa_sse_end(w->x, false);
    } else {
        moa_reply_fault(w->x, f);
    }
}

static void finish(work *w) {
    moa_exchange *x = w->x;
    moa_turn_deinit(&w->turn);
    moa_ask_deinit(w->a);
    free(w);
    moa_queue_done(x);
}

static void on_done(void *ctx, moa_turn *t, int rc, const moa_fault *f) {
    work *w = ctx;
    if (rc < 0) fail(w, f);
    else if (w->a->stream.v != 0) end_stream(w);
    else moa_reply_json(w->x, 200, response_of(w, t));
    finish(w);
}

static int begin(work *w, moa_fault *f) {
    MOA_TRY(read_request(w->a, w->x, f));
    const bool stream = w->a->stream.v != 0;
    if (stream) MOA_TRY(begin_stream(w, f));
    return moa_turn_start(&w->turn, w->x, w->a, stream ? &sink : NULL, on_done, w, f);
}

static void handle(moa_exchange *x) {
    moa_fault f = {0};
    work *w = moa_queue_work(x, sizeof *w);
    if (!w) return;
    w->x = x, w->a = &w->ask;
    moa_chunk_id(w->id, "resp_", x);
    moa_chunk_id(w->item, "msg_", x);
    if (begin(w, &f) >= 0) return;
    fail(w, &f);
    finish(w);
}

const moa_endpoint moa_endpoint_responses = {.name = "responses", .help = "a reply as items, or as typed events", .method = "POST", .path = "/responses", .later = true, .handle = handle};
