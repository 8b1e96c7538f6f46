/* ask.c - see ask.h.
 *
 * Where a mix merges proposals, what the client says of the reply (temperature, stop, max_tokens, a schema) is for the call that writes it;
 * proposals keep the mix's own numbers, which `moa` in the body can change. Where nobody merges, every sample is a reply.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/ask.h"

#include "base/json.h"
#include "base/rng.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { BIG = 1 << 30, ARENA = 256 << 20 };

#define AT(field) offsetof(moa_ask, field)
static const moa_param fields[] = {
    {"model", MOA_PARAM_TEXT, AT(model), 0, 0},
    {"user", MOA_PARAM_TEXT, AT(user), 0, 0},
    {"temperature", MOA_PARAM_NUM, AT(temperature), 0, 2},
    {"top_p", MOA_PARAM_NUM, AT(top_p), 0, 1},
    {"top_k", MOA_PARAM_INT, AT(top_k), 0, 1e6},
    {"min_p", MOA_PARAM_NUM, AT(min_p), 0, 1},
    {"repeat_penalty", MOA_PARAM_NUM, AT(repeat_penalty), 0.1, 10},
    {"n", MOA_PARAM_INT, AT(n), 1, MOA_ASK_CHOICES},
    {"max_tokens", MOA_PARAM_INT, AT(max_tokens), 1, BIG},
    {"max_completion_tokens", MOA_PARAM_INT, AT(max_completion_tokens), 1, BIG},
    {"seed", MOA_PARAM_INT, AT(seed), -9.3e18, 9.3e18},
    {"stream", MOA_PARAM_FLAG, AT(stream), 0, 0},
};

/* ---- what all endpoints share ---- */

static int read_stop(moa_ask *a, moa_fault *f) {
    const json_t *v = json_object_get(a->body, "stop"), *s;
    size_t i;
    if (!v || json_is_null(v)) return 0;
    if (json_is_string(v)) {
        if (*json_string_value(v)) a->stop[a->extra.n_stop++] = json_string_value(v);
    } else if (!json_is_array(v)) {
        return moa_param_wrong(f, "stop", v, "a string or an array of strings");
    }
    if (json_array_size(v) > MOA_ASK_STOPS) return moa_fault_set(f, 400, "invalid_value", "stop", "stop: got %zu strings, expected at most %d", json_array_size(v), MOA_ASK_STOPS);
    json_array_foreach(v, i, s) {
        if (!json_is_string(s)) return moa_param_wrong(f, "stop", s, "strings");
        if (*json_string_value(s)) a->stop[a->extra.n_stop++] = json_string_value(s);
    }
    a->extra.stop = a->stop;
    return 0;
}

static int read_stream_options(moa_ask *a, moa_fault *f) {
    const json_t *v = json_object_get(a->body, "stream_options"), *u = json_object_get(v, "include_usage");
    if (!v || json_is_null(v)) return 0;
    if (!json_is_object(v)) return moa_param_wrong(f, "stream_options", v, "an object");
    if (u && !json_is_boolean(u) && !json_is_null(u)) return moa_param_wrong(f, "stream_options.include_usage", u, "true or false");
    a->include_usage = json_is_true(u);
    return 0;
}

int moa_ask_body(moa_ask *a, const char *text, size_t n, moa_fault *f) {
    moa_err err = {0};
    a->created = time(NULL);
    if (moa_json_parse(&a->body, text, n, n, "the body", &err) < 0) return moa_fault_set(f, 400, "invalid_json", NULL, "%s", err.text);
    if (!json_is_object(a->body)) return moa_fault_set(f, 400, "invalid_json", NULL, "the body: got %s, expected a JSON object", moa_json_kind(a->body));
    if (!(a->arena = moa_arena_new(0, ARENA))) return moa_fault_set(f, 500, "internal_error", NULL, "no memory for the request");
    MOA_TRY(moa_params_read(a, a->body, fields, sizeof fields / sizeof *fields, f));
    MOA_TRY(read_stop(a, f));
    return read_stream_options(a, f);
}

void moa_ask_deinit(moa_ask *a) {
    moa_mix_spec_deinit(&a->spec);
    moa_grammar_free(a->grammar);
    moa_arena_free(a->arena);
    json_decref(a->body);
    *a = (moa_ask){0};
}

/* ---- the conversation ---- */

static int no_memory(moa_fault *f) { return moa_fault_set(f, 413, "request_too_large", NULL, "the request needs over %d MiB of memory", ARENA >> 20); }

/* The texts of an array of parts as one. */
static const char *join_parts(moa_ask *a, const json_t *parts, const char *where, moa_fault *f) {
    const json_t *p;
    size_t i;
    moa_buf b;
    moa_buf_init(&b, ARENA);
    json_array_foreach(parts, i, p) {
        char param[100];
        const char *type = json_string_value(json_object_get(p, "type")), *text = json_string_value(json_object_get(p, "text"));
        snprintf(param, sizeof param, "%s[%zu]", where, i);
        if (!json_is_object(p) || !type) moa_fault_set(f, 400, "invalid_type", param, "%s: expected an object with a type", param);
        else if (strcmp(type, "text") && strcmp(type, "input_text") && strcmp(type, "output_text"))
            moa_fault_set(f, 400, "unsupported_content", param, "%s: parts of type '%.40s' are not supported: the models here read text", param, type);
        else if (!text) moa_fault_set(f, 400, "missing_value", param, "%s: a part of type text without its text", param);
        else if (moa_buf_adds(&b, text) == 0) continue;
        else no_memory(f);
        moa_buf_deinit(&b);
        return NULL;
    }
    const char *s = moa_arena_strndup(a->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    if (!s) no_memory(f);
    return s;
}

static int read_content(moa_ask *a, const char **text, const json_t *m, size_t i, moa_fault *f) {
    const json_t *c = json_object_get(m, "content");
    char where[64];
    snprintf(where, sizeof where, "messages[%zu].content", i);
    if (json_is_string(c)) *text = json_string_value(c);
    else if (json_is_array(c)) *text = join_parts(a, c, where, f);
    else if ((!c || json_is_null(c)) && json_object_get(m, "tool_calls")) *text = "";
    else return moa_param_wrong(f, where, c, "a string or an array of parts");
    return *text ? 0 : -1;
}

static int read_role(const char **role, const json_t *m, size_t i, moa_fault *f) {
    static const char *const roles[] = {"system", "user", "assistant"};
    char where[64];
    const json_t *v = json_object_get(m, "role");
    snprintf(where, sizeof where, "messages[%zu].role", i);
    if (!json_is_string(v)) return moa_param_wrong(f, where, v, "a string");
    const char *s = strcmp(json_string_value(v), "developer") ? json_string_value(v) : "system"; /* the newer name of the same */
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
        if (!strcmp(roles[k], s)) return *role = roles[k], 0;
    return moa_fault_set(f, 400, "invalid_value", where, "%s: got '%.40s', expected system, developer, user or assistant", where, s);
}

int moa_ask_messages(moa_ask *a, const json_t *messages, moa_fault *f) {
    const json_t *m;
    size_t i;
    if (!json_is_array(messages)) return moa_param_wrong(f, "messages", messages, "an array");
    const size_t n = json_array_size(messages);
    if (!n || n > MOA_ASK_MESSAGES) return moa_fault_set(f, 400, "invalid_value", "messages", "messages: got %zu, expected 1 to %d", n, MOA_ASK_MESSAGES);
    if (!(a->msg = moa_arena_alloc(a->arena, n * sizeof *a->msg))) return no_memory(f);
    json_array_foreach(messages, i, m) {
        char where[64];
        snprintf(where, sizeof where, "messages[%zu]", i);
        if (!json_is_object(m)) return moa_param_wrong(f, where, m, "an object");
        moa_message *to = &a->msg[a->n_msg++];
        MOA_TRY(read_role(&to->role, m, i, f));
        MOA_TRY(read_content(a, &to->content, m, i, f));
    }
    if (strcmp(a->msg[n - 1].role, "user"))
        return moa_fault_set(f, 400, "invalid_value", "messages", "messages: the last is of role %s, expected user", a->msg[n - 1].role);
    return 0;
}

/* ---- who answers ---- */

static void set_sampling(moa_sampling *s, const moa_ask *a) {
    if (a->temperature.set) s->temperature = (float)a->temperature.v;
    else if (moa_ask_n(a) > 1 && s->temperature == 0) s->temperature = 0.7f; /* several answers that are all one serve nobody */
    if (a->top_p.set) s->top_p = a->top_p.v < 1e-6 ? 1e-6f : (float)a->top_p.v;
    if (a->top_k.set) s->top_k = (int)a->top_k.v;
    if (a->min_p.set) s->min_p = (float)a->min_p.v;
    if (a->repeat_penalty.set) s->repeat_penalty = (float)a->repeat_penalty.v;
}

static void set_reply(moa_ask *a) {
    moa_mix_cfg *c = &a->spec.cfg;
    const bool merges = a->spec.row->aggregates;
    const moa_num *most = a->max_completion_tokens.set ? &a->max_completion_tokens : &a->max_tokens;
    const int limit = most->set ? (int)most->v : BIG; /* the context ends it */
    set_sampling(merges ? &c->aggregate : &c->propose, a);
    if (merges) c->aggregate_max_tokens = limit;
    else c->max_tokens = limit;
    if (merges) c->aggregate_extra = &a->extra, c->aggregate_grammar = a->grammar;
    else c->propose_extra = &a->extra, c->propose_grammar = a->grammar;
    c->n_answer = moa_ask_n(a);
}

int moa_ask_bind(moa_ask *a, const moa_catalog *c, moa_fault *f) {
    const char *model;
    moa_err err = {0};
    MOA_TRY(moa_catalog_spec(&a->spec, &model, c, a->model, f));
    if (moa_mix_spec_bind(&a->spec, c->pool, model, &err) < 0) return moa_fault_from(f, "model", &err);
    set_reply(a);
    a->run_seed = (uint64_t)(int64_t)a->seed.v;
    if (!a->seed.set && getrandom(&a->run_seed, sizeof a->run_seed, 0) != sizeof a->run_seed) a->run_seed = (uint64_t)a->created;
    return 0;
}
