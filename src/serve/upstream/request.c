/* request.c - a call as the body of a request to /chat/completions: fields that all such servers know, and others only where the call has them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/upstream.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

enum { NO_LIMIT = 1 << 28 /* a maximum of tokens that means: none was given */, IMAGE_TOKENS = 1000 };

static json_t *message(const char *role, const char *content) { return json_pack("{s:s, s:o}", "role", role, "content", moa_json_str(content, strlen(content))); }

static json_t *messages_of(const moa_call *c) {
    json_t *list = json_array();
    for (int i = 0; i < c->n_msg; i++) json_array_append_new(list, message(c->msg[i].role, c->msg[i].content));
    return list;
}

static const char *text_of(const json_t *part) { return !strcmp(json_string_value(json_object_get(part, "type")), "text") ? json_string_value(json_object_get(part, "text")) : NULL; }

/* A turn of parts (serve/ask.c has checked them) whose texts together say `text` now: its images stay where they are. */
static json_t *turn_of(const json_t *parts, const char *text) {
    json_t *list = json_array(), *p;
    const char *left = text;
    bool told = false;
    size_t i;
    json_array_foreach(parts, i, p) {
        const char *s = text_of(p);
        const size_t n = s ? strlen(s) : 0;
        left = left && strncmp(left, s ? s : "", n) == 0 ? left + n : NULL;
    }
    const bool same = left && !*left;
    json_array_foreach(parts, i, p) {
        if (same || !text_of(p)) json_array_append(list, p);
        else if (!told) told = true, json_array_append_new(list, json_pack("{s:s, s:o}", "type", "text", "text", moa_json_str(text, strlen(text))));
    }
    if (!same && !told) json_array_append_new(list, json_pack("{s:s, s:o}", "type", "text", "text", moa_json_str(text, strlen(text))));
    return json_pack("{s:s, s:o}", "role", "user", "content", list);
}

/* The client's conversation with its calls of tools and images. What the mix put around it stays: a system message of the role before it, and the last user's
 * turn as the call has it, with the references. */
static json_t *talk_of(const moa_call *c) {
    json_t *list = json_copy((json_t *)(uintptr_t)c->extra->messages), *last = json_array_get(list, json_array_size(list) - 1), *first = json_array_get(list, 0);
    const moa_message *own = c->n_msg ? &c->msg[c->n_msg - 1] : NULL;
    const char *role = json_string_value(json_object_get(last, "role")), *begins = json_string_value(json_object_get(first, "role"));
    const json_t *parts = json_object_get(last, "content");
    if (own && role && !strcmp(role, "user") && !strcmp(own->role, "user"))
        json_array_set_new(list, json_array_size(list) - 1, json_is_array(parts) ? turn_of(parts, own->content) : message("user", own->content));
    if (c->n_msg && !strcmp(c->msg[0].role, "system")) {
        if (begins && !strcmp(begins, "system")) json_array_set_new(list, 0, message("system", c->msg[0].content));
        else json_array_insert_new(list, 0, message("system", c->msg[0].content));
    }
    return list;
}

static void add_format(json_t *o, const moa_call_extra *x) {
    const char *type = json_string_value(json_object_get(x->schema, "type"));
    if (type && !strcmp(type, "object") && json_object_size(x->schema) == 1) json_object_set_new(o, "response_format", json_pack("{s:s}", "type", "json_object"));
    else json_object_set_new(o, "response_format", json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema", "json_schema", "name", "reply", "schema", x->schema));
}

/* Tokens are the other server's own: who asks a model there knows its numbers. */
static void add_bias(json_t *o, const moa_call_extra *x) {
    json_t *biases = json_object();
    for (int i = 0; i < x->n_bias; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", (int)x->bias[i].token);
        json_object_set_new(biases, id, json_real((double)x->bias[i].bias));
    }
    json_object_set_new(o, "logit_bias", biases);
}

static void add_extra(json_t *o, const moa_call_extra *x) {
    json_t *stops = x->n_stop ? json_array() : NULL;
    for (int i = 0; i < x->n_stop; i++) json_array_append_new(stops, moa_json_str(x->stop[i], strlen(x->stop[i])));
    if (stops) json_object_set_new(o, "stop", stops);
    if (x->schema) add_format(o, x);
    if (x->n_bias) add_bias(o, x);
    if (x->logprobs) json_object_set_new(o, "logprobs", json_true());
    if (x->logprobs && x->top_logprobs) json_object_set_new(o, "top_logprobs", json_integer(x->top_logprobs));
    if (x->tools) json_object_set_new(o, "tools", json_incref((json_t *)(uintptr_t)x->tools));
}

int moa_upstream_body(moa_buf *out, const upstream *u, const moa_call *c, moa_err *err) {
    const moa_sampling *s = &c->sampling;
    const moa_call_extra *x = c->extra;
    if (c->grammar && !(x && x->schema)) return moa_fail(err, MOA_EUNSUPPORTED, "%s takes no grammar, only a JSON schema", u->id);
    if (c->prefix) return moa_fail(err, MOA_EUNSUPPORTED, "%s does not go on from the beginning of a reply", u->id);
    if (x && x->ids) return moa_fail(err, MOA_EUNSUPPORTED, "%s takes messages, not tokens", u->id);
    json_t *o = json_pack("{s:s, s:o, s:b, s:{s:b}, s:f, s:I}", "model", u->model, "messages", x && x->messages ? talk_of(c) : messages_of(c), "stream", 1, "stream_options",
                          "include_usage", 1, "temperature", (double)s->temperature, "seed", (json_int_t)(s->seed & INT32_MAX));
    if (s->top_p < 1) json_object_set_new(o, "top_p", json_real((double)s->top_p));
    if (s->presence_penalty != 0) json_object_set_new(o, "presence_penalty", json_real((double)s->presence_penalty));
    if (s->frequency_penalty != 0) json_object_set_new(o, "frequency_penalty", json_real((double)s->frequency_penalty));
    if (c->max_tokens < NO_LIMIT) json_object_set_new(o, "max_tokens", json_integer(c->max_tokens));
    if (x) add_extra(o, x);
    const int rc = o ? moa_json_add(out, o) : MOA_ENOMEM;
    json_decref(o);
    return rc < 0 ? moa_fail(err, rc, "%s: the request is too long", u->id) : 0;
}

/* An image costs by its size in pixels, not by its bytes: IMAGE_TOKENS is about one of 1024 x 1024 (OpenAI: 765, Anthropic: 1400). */
static double image_bytes(const moa_call *c, int *n) {
    const json_t *m, *p;
    size_t i, k;
    double bytes = 0;
    *n = 0;
    if (c->extra) json_array_foreach(c->extra->messages, i, m) json_array_foreach(json_object_get(m, "content"), k, p) {
        const json_t *url = json_object_get(json_object_get(p, "image_url"), "url");
        if (url) bytes += (double)json_string_length(url), ++*n;
    }
    return bytes;
}

double moa_upstream_cost(const upstream *u, const moa_call *c, size_t body) {
    int n;
    const double images = image_bytes(c, &n), text = (double)body > images ? (double)body - images : 0;
    return text / 4 + (double)n * IMAGE_TOKENS + (c->max_tokens < NO_LIMIT ? c->max_tokens : u->mean_tokens);
}
