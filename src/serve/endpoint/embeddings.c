/* embeddings.c - POST /v1/embeddings: a vector of length 1 for each text, as numbers or as base64 of little-endian f32.
 * endpoints.def: ENDPOINT(embeddings)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"

#include "base/json.h"
#include "serve/ask.h"
#include "serve/base64.h"
#include "serve/tokens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXTS = 2048, MAX_OUT = 1 << 28 };

typedef struct wanted {
    moa_num dimensions;
    const char *format;
} wanted;
static const moa_param fields[] = {
    {"dimensions", MOA_PARAM_INT, offsetof(wanted, dimensions), 1, 1 << 24},
    {"encoding_format", MOA_PARAM_TEXT, offsetof(wanted, format), 0, 0},
};

static moa_embedder *embedder_of(moa_catalog_model *m, moa_err *err) {
    moa_embed_cfg cfg = moa_embed_defaults();
    cfg.n_threads = m->n_threads;
    if (!m->embedder) moa_embedder_new(&m->embedder, m->encoder ? m->encoder : moa_backend_local_model(m->backend), &cfg, err);
    return m->embedder;
}

/* Texts to ids: all of them, or a fault that names the first that cannot be. */
static int tokenize(moa_ids *ids, int n, const json_t *list, const moa_embedder *e, moa_fault *f) {
    for (int i = 0; i < n; i++) {
        const json_t *v = json_is_array(list) ? json_array_get(list, (size_t)i) : list;
        moa_err err = {0};
        char param[40];
        int rc = 0;
        snprintf(param, sizeof param, json_is_array(list) ? "input[%d]" : "input", i);
        if (json_is_array(v)) MOA_TRY(moa_tokens_read(&ids[i], v, param, f));
        else if (json_is_string(v)) rc = moa_embed_tokenize(&ids[i], e, json_string_value(v), json_string_length(v), &err);
        else return moa_param_wrong(f, param, v, "a string or an array of tokens");
        if (rc >= 0) rc = moa_embed_check(e, &ids[i], &err);
        if (rc < 0) return moa_fault_from(f, param, &err);
    }
    return 0;
}

/* The first d numbers of a vector, at length 1 again. */
static void shorten(float *v, int d) {
    double sum = 0;
    for (int i = 0; i < d; i++) sum += (double)v[i] * (double)v[i];
    const double by = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int i = 0; i < d; i++) v[i] = (float)(v[i] * by);
}

static void write_vector(moa_buf *b, const float *v, int d, bool base64) {
    if (base64) {
        moa_buf_adds(b, "\"");
        moa_base64_add(b, v, (size_t)d * sizeof *v); /* x86 is little-endian */
        moa_buf_adds(b, "\"");
        return;
    }
    for (int i = 0; i < d; i++) moa_buf_addf(b, "%s%.9g", i ? "," : "[", (double)v[i]);
    moa_buf_adds(b, "]");
}

static int write_reply(moa_exchange *x, const char *id, float *v, int n, int dim, const wanted *w, int64_t tokens, moa_fault *f) {
    const int d = w->dimensions.set ? (int)w->dimensions.v : dim;
    moa_buf b;
    moa_buf_init(&b, MAX_OUT);
    moa_buf_adds(&b, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        float *row = v + (size_t)i * (size_t)dim;
        if (d < dim) shorten(row, d);
        moa_buf_addf(&b, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "", i);
        write_vector(&b, row, d, w->format && !strcmp(w->format, "base64"));
        moa_buf_adds(&b, "}");
    }
    moa_buf_addf(&b, "],\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld},\"model\":", (long long)tokens, (long long)tokens);
    moa_json_add_str(&b, id, strlen(id));
    moa_buf_adds(&b, "}\n");
    const int rc = b.failed ? moa_fault_set(f, 413, "request_too_large", "input", "the vectors are over %d MiB", MAX_OUT >> 20) : 0;
    if (rc >= 0) moa_reply_text(x, 200, "application/json", moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    return rc;
}

static int embed(moa_exchange *x, moa_catalog_model *m, const json_t *input, int n, const wanted *w, moa_fault *f) {
    moa_err err = {0};
    const moa_embedder *e = embedder_of(m, &err);
    if (!e) return moa_fault_from(f, "model", &err);
    const int dim = moa_embedder_dim(e);
    if (w->dimensions.set && w->dimensions.v > dim) return moa_fault_set(f, 400, "invalid_value", "dimensions", "dimensions: got %g, %s has %d", w->dimensions.v, m->id, dim);
    moa_ids *ids = calloc((size_t)n, sizeof *ids);
    float *v = malloc((size_t)n * (size_t)dim * sizeof *v);
    int64_t tokens = 0;
    int rc = ids && v ? tokenize(ids, n, input, e, f) : moa_fault_set(f, 500, "internal_error", NULL, "no memory for %d vectors", n);
    for (int i = 0; rc >= 0 && i < n; i++) tokens += ids[i].n;
    for (int i = 0; rc >= 0 && i < n; i++) { /* one by one: a client that left is noticed between them */
        if (moa_exchange_gone(x)) rc = moa_fault_set(f, 499, "canceled", NULL, "the client left");
        else if (moa_embed_ids(m->embedder, v + (size_t)i * (size_t)dim, &ids[i], 1, &err) < 0) rc = moa_fault_from(f, "input", &err);
    }
    if (rc >= 0) rc = write_reply(x, m->id, v, n, dim, w, tokens, f);
    if (rc >= 0) moa_metric_add(&x->server->metrics, "moa_tokens_total", "model", m->id, "kind", "prompt", (double)tokens);
    for (int i = 0; ids && i < n; i++) moa_ids_deinit(&ids[i]);
    free(ids);
    free(v);
    return rc;
}

/* A text, a list of texts, a list of tokens, or a list of those. */
static int count_inputs(const json_t **input, json_t **own, const json_t *body, moa_fault *f) {
    const json_t *v = json_object_get(body, "input");
    if (json_is_string(v)) return *input = v, 1;
    if (!json_is_array(v)) return moa_param_wrong(f, "input", v, "a string, an array of strings, or tokens");
    if (json_is_integer(json_array_get(v, 0))) v = *own = json_pack("[O]", v);
    const size_t n = json_array_size(v);
    *input = v;
    if (n < 1 || n > MAX_TEXTS) return moa_fault_set(f, 400, "invalid_value", "input", "input: got %zu texts, expected 1 to %d", n, MAX_TEXTS);
    return (int)n;
}

static void handle(moa_exchange *x) {
    moa_ask a = {0};
    moa_fault f = {0};
    wanted w = {0};
    json_t *own = NULL;
    const json_t *input = NULL;
    moa_catalog_model *m = NULL;
    int n = 0, rc = moa_ask_body(&a, moa_buf_str(&x->body), x->body.len, &f);
    if (rc >= 0) rc = moa_params_read(&w, a.body, fields, sizeof fields / sizeof *fields, &f);
    if (rc >= 0 && w.format && strcmp(w.format, "float") && strcmp(w.format, "base64"))
        rc = moa_fault_set(&f, 400, "invalid_value", "encoding_format", "encoding_format: got '%.40s', expected float or base64", w.format);
    if (rc >= 0) rc = n = count_inputs(&input, &own, a.body, &f);
    if (rc >= 0) rc = (m = moa_catalog_one(x->catalog, a.model, &f)) ? 0 : -1;
    if (rc >= 0) {
        pthread_mutex_lock(&m->lock);
        rc = embed(x, m, input, n, &w, &f);
        pthread_mutex_unlock(&m->lock);
    }
    if (rc < 0) moa_reply_fault(x, &f);
    json_decref(own);
    moa_ask_deinit(&a);
}

const moa_endpoint moa_endpoint_embeddings = {.name = "embeddings", .help = "vectors of texts", .method = "POST", .path = "/embeddings", .computes = true, .handle = handle};
