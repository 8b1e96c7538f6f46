/* ask.c - see ask.h.
 *
 * Where a mix merges proposals, what the client says of the reply (temperature, stop, max_tokens, a schema) is for the call that writes it;
 * proposals keep the mix's own numbers, which `moa` in the body can change. Where nobody merges, every sample is a reply.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/ask.h"

#include "base/json.h"
#include "base/rng.h"
#include "serve/upstream.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { BIG = 1 << 30, ARENA = 256 << 20, MAX_BIAS = 4096 };

#define AT(field) offsetof(moa_ask, field)
static const moa_param fields[] = {
    {"model", MOA_PARAM_TEXT, AT(model), 0, 0},
    {"user", MOA_PARAM_TEXT, AT(user), 0, 0},
    {"temperature", MOA_PARAM_NUM, AT(temperature), 0, 2},
    {"top_p", MOA_PARAM_NUM, AT(top_p), 0, 1},
    {"top_k", MOA_PARAM_INT, AT(top_k), 0, 1e6},
    {"min_p", MOA_PARAM_NUM, AT(min_p), 0, 1},
    {"repeat_penalty", MOA_PARAM_NUM, AT(repeat_penalty), 0.1, 10},
    {"presence_penalty", MOA_PARAM_NUM, AT(presence_penalty), -2, 2},
    {"frequency_penalty", MOA_PARAM_NUM, AT(frequency_penalty), -2, 2},
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

void moa_ask_deinit(moa_ask *a) {
    moa_mix_spec_deinit(&a->spec);
    moa_grammar_free(a->grammar);
    json_decref(a->schema);
    moa_tools_deinit(&a->tools);
    json_decref(a->talk);
    moa_arena_free(a->arena);
    json_decref(a->body);
    *a = (moa_ask){0};
}

static int no_memory(moa_fault *f) { return moa_fault_set(f, 413, "request_too_large", NULL, "the request needs over %d MiB of memory", ARENA >> 20); }

/* {"TOKEN": BIAS}: which tokens a model has is looked at when it draws. */
static int read_bias(moa_ask *a, moa_fault *f) {
    json_t *v = json_object_get(a->body, "logit_bias"), *b;
    const char *key;
    if (!v || json_is_null(v)) return 0;
    if (!json_is_object(v)) return moa_param_wrong(f, "logit_bias", v, "an object of numbers by token");
    if (json_object_size(v) > MAX_BIAS) return moa_fault_set(f, 400, "invalid_value", "logit_bias", "logit_bias: got %zu tokens, expected at most %d", json_object_size(v), MAX_BIAS);
    moa_bias *list = moa_arena_alloc(a->arena, (json_object_size(v) + 1) * sizeof *list);
    if (!list) return no_memory(f);
    json_object_foreach(v, key, b) {
        char *end, param[60];
        const long id = strtol(key, &end, 10);
        const double x = json_number_value(b);
        snprintf(param, sizeof param, "logit_bias.%.40s", key);
        if (*end || end == key || id < 0 || id > INT32_MAX) return moa_fault_set(f, 400, "invalid_value", param, "logit_bias: '%.40s' is no token: expected a whole number", key);
        if (!json_is_number(b) || !(x >= -100 && x <= 100)) return moa_fault_set(f, 400, "invalid_value", param, "%s: expected a number from -100 to 100", param);
        list[a->extra.n_bias++] = (moa_bias){(int32_t)id, (float)x};
    }
    a->extra.bias = list;
    return 0;
}

int moa_ask_logprobs(moa_ask *a, moa_fault *f) {
    const json_t *v = json_object_get(a->body, "logprobs"), *top = json_object_get(a->body, "top_logprobs");
    if (v && !json_is_null(v) && !json_is_boolean(v)) return moa_param_wrong(f, "logprobs", v, "true or false");
    a->extra.logprobs = json_is_true(v);
    if (!top || json_is_null(top)) return 0;
    if (!json_is_integer(top)) return moa_param_wrong(f, "top_logprobs", top, "an integer");
    const json_int_t n = json_integer_value(top);
    if (n < 0 || n > MOA_TOP_MAX) return moa_fault_set(f, 400, "invalid_value", "top_logprobs", "top_logprobs: got %lld, expected 0 to %d", (long long)n, MOA_TOP_MAX);
    if (n && !a->extra.logprobs) return moa_fault_set(f, 400, "invalid_value", "top_logprobs", "top_logprobs: only together with logprobs: true");
    a->extra.top_logprobs = (int)n;
    return 0;
}

int moa_ask_logprobs_text(moa_ask *a, moa_fault *f) {
    const json_t *v = json_object_get(a->body, "logprobs");
    if (!v || json_is_null(v)) return 0;
    if (!json_is_integer(v)) return moa_param_wrong(f, "logprobs", v, "an integer");
    const json_int_t n = json_integer_value(v);
    if (n < 0 || n > MOA_TOP_MAX) return moa_fault_set(f, 400, "invalid_value", "logprobs", "logprobs: got %lld, expected 0 to %d", (long long)n, MOA_TOP_MAX);
    a->extra.logprobs = true;
    a->extra.top_logprobs = (int)n;
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
    MOA_TRY(read_bias(a, f));
    return read_stream_options(a, f);
}

/* ---- the conversation ---- */

static bool is_text(const char *type) { return !strcmp(type, "text") || !strcmp(type, "input_text") || !strcmp(type, "output_text"); }
static bool is_image(const char *type) { return type && (!strcmp(type, "image_url") || !strcmp(type, "input_image") /* of /v1/responses */); }

/* Images are passed on as they are: nothing here fetches or decodes one. */
static int read_image(moa_ask *a, const json_t *p, const char *where, moa_fault *f) {
    static const char *const begin[] = {"https://", "http://", "data:image/"};
    const json_t *v = json_object_get(p, "image_url");
    const char *url = json_string_value(json_is_object(v) ? json_object_get(v, "url") : v);
    for (size_t k = 0; url && k < sizeof begin / sizeof *begin; k++) {
        if (strncmp(url, begin[k], strlen(begin[k])) != 0) continue;
        if (!a->image[0]) snprintf(a->image, sizeof a->image, "%s", where);
        return 0;
    }
    return moa_fault_set(f, 400, "invalid_value", where, "%s: image_url: got %.20s, expected a URL that begins with https://, http:// or data:image/", where, url ? url : "none");
}

static int read_part(moa_ask *a, moa_buf *text, const json_t *p, const char *where, bool users, moa_fault *f) {
    const char *type = json_string_value(json_object_get(p, "type")), *s = json_string_value(json_object_get(p, "text"));
    if (!json_is_object(p) || !type) return moa_fault_set(f, 400, "invalid_type", where, "%s: expected an object with a type", where);
    if (is_image(type) && users) return read_image(a, p, where, f);
    if (!is_text(type)) return moa_fault_set(f, 400, "unsupported_content", where, "%s: parts of type '%.40s' are not supported here, expected text%s", where, type, users ? " or image_url" : "");
    if (!s) return moa_fault_set(f, 400, "missing_value", where, "%s: a part of type text without its text", where);
    return moa_buf_adds(text, s) < 0 ? no_memory(f) : 0;
}

/* The texts of an array of parts as one. */
static const char *join_parts(moa_ask *a, const json_t *parts, const char *where, bool users, moa_fault *f) {
    const json_t *p;
    size_t i;
    int rc = 0;
    moa_buf b;
    moa_buf_init(&b, ARENA);
    json_array_foreach(parts, i, p) {
        char param[100];
        snprintf(param, sizeof param, "%s[%zu]", where, i);
        if ((rc = read_part(a, &b, p, param, users, f)) < 0) break;
    }
    const char *s = rc < 0 ? NULL : moa_arena_strndup(a->arena, moa_buf_str(&b), b.len);
    if (rc >= 0 && !s) no_memory(f);
    moa_buf_deinit(&b);
    return s;
}

static int read_content(moa_ask *a, moa_message *to, const json_t *m, size_t i, moa_fault *f) {
    const json_t *c = json_object_get(m, "content");
    char where[64];
    snprintf(where, sizeof where, "messages[%zu].content", i);
    if (json_is_string(c)) to->content = json_string_value(c);
    else if (json_is_array(c)) to->content = join_parts(a, c, where, !strcmp(to->role, "user"), f);
    else if ((!c || json_is_null(c)) && json_object_get(m, "tool_calls")) to->content = "";
    else return moa_param_wrong(f, where, c, "a string or an array of parts");
    return to->content ? 0 : -1;
}

static int read_role(const char **role, const json_t *m, size_t i, moa_fault *f) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    char where[64];
    const json_t *v = json_object_get(m, "role");
    snprintf(where, sizeof where, "messages[%zu].role", i);
    if (!json_is_string(v)) return moa_param_wrong(f, where, v, "a string");
    const char *s = strcmp(json_string_value(v), "developer") ? json_string_value(v) : "system"; /* the newer name of the same */
    for (size_t k = 0; k < sizeof roles / sizeof *roles; k++)
        if (!strcmp(roles[k], s)) return *role = roles[k], 0;
    return moa_fault_set(f, 400, "invalid_value", where, "%s: got '%.40s', expected system, developer, user, assistant or tool", where, s);
}

/* A turn with calls, or a tool's result, in words: for models that only read texts. */
static int in_words(moa_ask *a, moa_message *to, const json_t *m, size_t i, moa_fault *f) {
    const json_t *calls = json_object_get(m, "tool_calls"), *c;
    const char *id = json_string_value(json_object_get(m, "tool_call_id"));
    size_t k;
    moa_buf b;
    moa_buf_init(&b, ARENA);
    if (!strcmp(to->role, "tool")) {
        moa_buf_addf(&b, "Result of the call %.80s: %s", id ? id : "", to->content);
        to->role = "user";
    } else {
        moa_buf_adds(&b, to->content);
    }
    json_array_foreach(calls, k, c) {
        const json_t *fn = json_object_get(c, "function");
        const char *name = json_string_value(json_object_get(fn, "name")), *args = json_string_value(json_object_get(fn, "arguments")), *cid = json_string_value(json_object_get(c, "id"));
        char where[80];
        snprintf(where, sizeof where, "messages[%zu].tool_calls[%zu]", i, k);
        if (!name || !args) {
            moa_buf_deinit(&b);
            return moa_fault_set(f, 400, "invalid_value", where, "%s: expected {\"id\", \"type\": \"function\", \"function\": {\"name\", \"arguments\": TEXT}}", where);
        }
        moa_buf_addf(&b, "%sCall %.80s: %s(%s)", b.len ? "\n" : "", cid ? cid : "", name, args);
    }
    to->content = moa_arena_strndup(a->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    return to->content ? 0 : no_memory(f);
}

static bool has_image(const json_t *content) {
    const json_t *p;
    size_t i;
    json_array_foreach(content, i, p)
        if (is_image(json_string_value(json_object_get(p, "type")))) return true;
    return false;
}

/* Parts as /chat/completions has them. */
static json_t *parts_of(const json_t *content) {
    json_t *list = json_array(), *p;
    size_t i;
    json_array_foreach(content, i, p) {
        const char *type = json_string_value(json_object_get(p, "type"));
        if (!strcmp(type, "input_image"))
            json_array_append_new(list, json_pack("{s:s, s:{s:O, s:O*}}", "type", "image_url", "image_url", "url", json_object_get(p, "image_url"), "detail", json_object_get(p, "detail")));
        else if (strcmp(type, "text") && is_text(type)) json_array_append_new(list, json_pack("{s:s, s:O}", "type", "text", "text", json_object_get(p, "text")));
        else json_array_append(list, p);
    }
    return list;
}

/* The message as a chat template reads it. */
static int add_talk(moa_ask *a, const moa_message *read, const json_t *m, moa_fault *f) {
    static const char *const keys[] = {"tool_calls", "tool_call_id", "name", "reasoning_content"};
    const json_t *content = json_object_get(m, "content");
    json_t *o = json_pack("{s:s, s:o}", "role", read->role, "content", has_image(content) ? parts_of(content) : json_string(read->content));
    for (size_t k = 0; o && k < sizeof keys / sizeof *keys; k++) {
        json_t *v = json_object_get(m, keys[k]);
        if (v && !json_is_null(v)) json_object_set(o, keys[k], v);
    }
    return o && json_array_append_new(a->talk, o) == 0 ? 0 : no_memory(f);
}

static int read_message(moa_ask *a, const json_t *m, size_t i, moa_fault *f) {
    char where[64];
    const json_t *calls = json_object_get(m, "tool_calls");
    moa_message *to = &a->msg[a->n_msg++];
    snprintf(where, sizeof where, "messages[%zu]", i);
    if (!json_is_object(m)) return moa_param_wrong(f, where, m, "an object");
    MOA_TRY(read_role(&to->role, m, i, f));
    MOA_TRY(read_content(a, to, m, i, f));
    if (a->talk) MOA_TRY(add_talk(a, to, m, f));
    a->after_tool = !strcmp(to->role, "tool");
    return a->after_tool || json_array_size(calls) ? in_words(a, to, m, i, f) : 0;
}

/* Something that plain texts do not say: tools, their results, images. */
static bool has_more(const moa_ask *a, const json_t *messages) {
    const json_t *m;
    size_t i;
    if (moa_tools_any(&a->tools)) return true;
    json_array_foreach(messages, i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));
        if (json_array_size(json_object_get(m, "tool_calls")) || (role && !strcmp(role, "tool")) || has_image(json_object_get(m, "content"))) return true;
    }
    return false;
}

int moa_ask_messages(moa_ask *a, const json_t *messages, moa_fault *f) {
    const json_t *m;
    size_t i;
    if (!json_is_array(messages)) return moa_param_wrong(f, "messages", messages, "an array");
    const size_t n = json_array_size(messages);
    if (!n || n > MOA_ASK_MESSAGES) return moa_fault_set(f, 400, "invalid_value", "messages", "messages: got %zu, expected 1 to %d", n, MOA_ASK_MESSAGES);
    if (!(a->msg = moa_arena_alloc(a->arena, (n + 1) * sizeof *a->msg))) return no_memory(f); /* one more: what tools there are */
    if (has_more(a, messages)) a->talk = json_array();
    json_array_foreach(messages, i, m) MOA_TRY(read_message(a, m, i, f));
    if (strcmp(a->msg[n - 1].role, "user"))
        return moa_fault_set(f, 400, "invalid_value", "messages", "messages: the last is of role %s, expected user or tool", a->msg[n - 1].role);
    return 0;
}

/* ---- what the reply may be ---- */

static int set_schema(moa_ask *a, const json_t *schema, const char *param, moa_fault *f) {
    moa_err err = {0};
    char *text = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) return no_memory(f);
    json_decref(a->schema);
    a->extra.schema = a->schema = json_incref((json_t *)(uintptr_t)schema);
    const int rc = moa_grammar_from_schema(&a->grammar, text, strlen(text), param, &err);
    free(text);
    return rc < 0 ? moa_fault_set(f, 400, "invalid_schema", param, "%s%s%s", err.text, err.hint[0] ? "; " : "", err.hint) : 0;
}

int moa_ask_format(moa_ask *a, const json_t *format, const char *param, moa_fault *f) {
    if (!format || json_is_null(format)) return 0;
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!type) return moa_param_wrong(f, param, format, "an object with a type");
    if (!strcmp(type, "text")) return 0;
    if (!strcmp(type, "json_object")) {
        json_t *any = json_pack("{s:s}", "type", "object");
        const int rc = set_schema(a, any, param, f);
        json_decref(any);
        return rc;
    }
    if (strcmp(type, "json_schema")) return moa_fault_set(f, 400, "invalid_value", param, "%s.type: got '%.40s', expected text, json_object or json_schema", param, type);
    const json_t *in = json_object_get(format, "json_schema"), *schema = json_object_get(in ? in : format, "schema"); /* flat in /v1/responses */
    char where[100];
    snprintf(where, sizeof where, in ? "%s.json_schema.schema" : "%s.schema", param);
    if (!json_is_object(schema)) return moa_param_wrong(f, where, schema, "a JSON schema");
    return set_schema(a, schema, where, f);
}

/* ---- who answers ---- */

static void set_sampling(moa_sampling *s, const moa_ask *a) {
    if (a->temperature.set) s->temperature = (float)a->temperature.v;
    else if (moa_ask_n(a) > 1 && s->temperature == 0) s->temperature = 0.7f; /* several answers that are all one serve nobody */
    if (a->top_p.set) s->top_p = a->top_p.v < 1e-6 ? 1e-6f : (float)a->top_p.v;
    if (a->top_k.set) s->top_k = (int)a->top_k.v;
    if (a->min_p.set) s->min_p = (float)a->min_p.v;
    s->presence_penalty = (float)a->presence_penalty.v;
    s->frequency_penalty = (float)a->frequency_penalty.v;
    if (a->repeat_penalty.set) s->repeat_penalty = (float)a->repeat_penalty.v;
}

static void set_reply(moa_ask *a) {
    moa_mix_cfg *c = &a->spec.cfg;
    const bool merges = (a->spec.strategy->has & MOA_AGGREGATES);
    const moa_num *most = a->max_completion_tokens.set ? &a->max_completion_tokens : &a->max_tokens;
    const int limit = most->set ? (int)most->v : BIG; /* the context ends it */
    set_sampling(merges ? &c->aggregate : &c->propose, a);
    if (merges) c->aggregate_max_tokens = limit;
    else c->max_tokens = limit;
    if (merges) c->aggregate_extra = &a->extra, c->aggregate_grammar = a->grammar;
    else c->propose_extra = &a->extra, c->propose_grammar = a->grammar;
    c->n_answer = moa_ask_n(a);
}

typedef int (*tell_fn)(moa_buf *out, const moa_tools *t);

/* The tools behind the system message of a role. */
static int tell_role(const char **system, moa_ask *a, tell_fn tell, moa_fault *f) {
    moa_buf b;
    moa_buf_init(&b, ARENA);
    if (*system && **system) moa_buf_addf(&b, "%s\n\n", *system);
    tell(&b, &a->tools);
    *system = b.failed ? NULL : moa_arena_strndup(a->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    return *system ? 0 : no_memory(f);
}

/* The conversation's system message with the tools in it, for a model whose template does not tell of them. */
static int tell_tools(moa_ask *a, moa_fault *f) {
    const bool has = !strcmp(a->msg[0].role, "system");
    moa_buf b;
    moa_buf_init(&b, ARENA);
    if (has) moa_buf_addf(&b, "%s\n\n", a->msg[0].content);
    moa_tools_tell(&b, &a->tools);
    char *text = b.failed ? NULL : moa_arena_strndup(a->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    if (!text) return no_memory(f);
    if (!has) memmove(a->msg + 1, a->msg, (size_t)a->n_msg++ * sizeof *a->msg); /* moa_ask_messages left room */
    a->msg[0] = (moa_message){"system", text};
    return 0;
}

static int set_tools(moa_ask *a, moa_fault *f) {
    moa_mix_cfg *c = &a->spec.cfg;
    const bool merges = a->spec.strategy->has & MOA_AGGREGATES, any = moa_tools_any(&a->tools);
    const moa_backend *b = merges && c->aggregator ? c->aggregator : c->proposer[0];
    json_t *schema = moa_tools_schema(&a->tools);
    int rc = 0;
    if (schema) {
        moa_grammar_free(a->grammar); /* a demanded call goes before a format */
        a->grammar = NULL;
        rc = set_schema(a, schema, "tools", f);
        json_decref(schema);
    }
    if (rc < 0 || !a->talk) return rc;
    c->aggregate_acts = merges && any;
    if (merges && any) MOA_TRY(tell_role(&c->propose_system, a, moa_tools_mention, f)); /* who merges acts; proposals are words */
    if (!moa_backend_local_names(b, "tools") && !moa_upstream_takes_tools(b)) return !any ? 0 : merges ? tell_role(&c->aggregate_system, a, moa_tools_tell, f) : tell_tools(a, f);
    a->extra.messages = a->talk;
    a->extra.tools = any ? a->tools.list : NULL;
    if (a->after_tool) c->layout = MOA_LAYOUT_SYSTEM; /* no user's turn comes last that references could stand in */
    return 0;
}

/* Whoever is asked sees them. */
static int set_images(moa_ask *a, moa_fault *f) {
    moa_mix_cfg *c = &a->spec.cfg;
    if (!a->image[0]) return 0;
    for (int i = 0; i <= c->n_proposer; i++) {
        const moa_backend *b = i < c->n_proposer ? c->proposer[i] : c->aggregator;
        if (b && !moa_upstream_takes_images(b))
            return moa_fault_set(f, 400, "unsupported_content", a->image, "%s: %s reads text alone, not the part's image; a backend reads images where its configuration says `images: true`", a->image, b->id);
    }
    a->extra.messages = a->seen.messages = a->talk;
    if (a->spec.strategy->has & MOA_AGGREGATES) c->propose_extra = &a->seen;
    return 0;
}

/* A tool's result goes on with what the merging model began: unless `tool-turns` says otherwise, it is answered by that model alone. */
static int take_single(moa_ask *a, const moa_catalog *c, const char *model, moa_fault *f) {
    moa_err err = {0};
    char *label = strdup(a->spec.label), *name = strdup(a->spec.aggregator_name ? a->spec.aggregator_name : a->spec.n_proposer_name ? a->spec.proposer_name[0] : model);
    moa_mix_spec_deinit(&a->spec);
    int rc = label && name ? moa_mix_spec_parse(&a->spec, "single", &err) : moa_fail(&err, MOA_ENOMEM, "a mix");
    if (rc >= 0) {
        free(a->spec.label);
        a->spec.label = label, label = NULL;
        rc = moa_mix_spec_bind(&a->spec, c->pool, name, &err);
    }
    free(label);
    free(name);
    return rc < 0 ? moa_fault_from(f, "model", &err) : 0;
}

static int read_show(moa_ask *a, const json_t *v, moa_fault *f) {
    static const char *const names[] = {"answer", "thoughts", "all"};
    const char *s = json_string_value(v);
    for (int i = 0; s && i < 3; i++)
        if (!strcmp(s, names[i])) return a->show = (moa_show)i, 0;
    return moa_fault_set(f, 400, "invalid_value", "moa.show", "moa.show: expected answer, thoughts or all");
}

/* One parameter of the mix, or a list of ids where it takes one. */
static int set_param(moa_ask *a, const char *key, const json_t *v, moa_fault *f) {
    char text[64], param[80];
    const json_t *one;
    size_t i;
    moa_err err = {0};
    int rc = 0;
    snprintf(param, sizeof param, "moa.%.60s", key);
    if (json_is_number(v)) snprintf(text, sizeof text, "%.15g", json_number_value(v));
    else if (!json_is_string(v) && !json_is_array(v)) return moa_param_wrong(f, param, v, "a number, a string or an array of strings");
    if (!json_is_array(v)) rc = moa_mix_spec_set(&a->spec, key, json_is_string(v) ? json_string_value(v) : text, &err);
    json_array_foreach(v, i, one) {
        if (!json_is_string(one)) return moa_param_wrong(f, param, one, "an array of strings");
        if (rc >= 0) rc = moa_mix_spec_set(&a->spec, key, json_string_value(one), &err);
    }
    return rc < 0 ? moa_fault_from(f, param, &err) : 0;
}

/* Events show every text as it comes. */
static int read_events(moa_ask *a, const json_t *v, moa_fault *f) {
    if (!json_is_boolean(v)) return moa_param_wrong(f, "moa.events", v, "true or false");
    a->events = json_is_true(v);
    if (a->events) a->show = MOA_SHOW_ALL;
    return 0;
}

static int read_one(moa_ask *a, const char *key, const json_t *v, moa_fault *f) {
    if (!strcmp(key, "show")) return read_show(a, v, f);
    if (!strcmp(key, "events")) return read_events(a, v, f);
    if (!strcmp(key, "request_id")) {
        if (!json_string_length(v)) return moa_param_wrong(f, "moa.request_id", v, "a text that is not empty");
        a->request_id = json_string_value(v);
        return 0;
    }
    return set_param(a, key, v, f);
}

/* `moa` in the body: {"show": ..., "events": ..., and numbers of the mix as on the command line}. */
static int read_moa(moa_ask *a, moa_fault *f) {
    json_t *o = json_object_get(a->body, "moa"), *v;
    const char *key;
    if (!o || json_is_null(o)) return 0;
    if (!json_is_object(o)) return moa_param_wrong(f, "moa", o, "an object");
    json_object_foreach(o, key, v) {
        if (json_is_null(v) || !strcmp(key, "mix")) continue;
        MOA_TRY(read_one(a, key, v, f));
    }
    return 0;
}

/* `moa.mix` goes before `model`: clients that know one model by name can still choose. */
static const char *asked_id(const moa_ask *a) {
    const char *mix = json_string_value(json_object_get(json_object_get(a->body, "moa"), "mix"));
    return mix && *mix ? mix : a->model;
}

/* What chat programs ask for themselves beside each reply (Open WebUI: titles, tags, further questions): one call, not a mixture. */
static bool is_housekeeping(const moa_ask *a) {
    static const char *const words[] = {"title", "tags", "follow-up", "follow_up", "queries", "autocomplete", "emoji"};
    const char *s = a->msg && a->n_msg ? a->msg[a->n_msg - 1].content : "";
    if (a->stream.v != 0 || strncmp(s, "### Task:", 9) != 0) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(s, words[i])) return true;
    return false;
}

int moa_ask_bind(moa_ask *a, const moa_catalog *c, moa_fault *f) {
    moa_err err = {0};
    const char *keeper = c->config ? c->config->housekeeping : NULL;
    MOA_TRY(moa_catalog_spec(&a->spec, &a->row, c, asked_id(a), f));
    MOA_TRY(read_moa(a, f));
    const bool cheap = is_housekeeping(a) && !(a->spec.strategy->has & MOA_PLAIN);
    if (cheap && keeper) {
        moa_mix_spec_deinit(&a->spec);
        MOA_TRY(moa_catalog_spec(&a->spec, &a->row, c, keeper, f));
    }
    if (cheap && !keeper) MOA_TRY(take_single(a, c, a->row->model, f));
    else if (a->after_tool && (a->spec.strategy->has & MOA_AGGREGATES) && a->spec.cfg.tool_turns == MOA_TURNS_SKIP) MOA_TRY(take_single(a, c, a->row->model, f));
    else if (moa_mix_spec_bind(&a->spec, c->pool, a->row->model, &err) < 0) return moa_fault_from(f, "model", &err);
    a->extra.partial = true;
    MOA_TRY(set_tools(a, f));
    set_reply(a);
    MOA_TRY(set_images(a, f));
    a->run_seed = (uint64_t)(int64_t)a->seed.v;
    if (!a->seed.set && getrandom(&a->run_seed, sizeof a->run_seed, 0) != sizeof a->run_seed) a->run_seed = (uint64_t)a->created;
    return 0;
}
