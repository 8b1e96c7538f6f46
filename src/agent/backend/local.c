/* local.c - a model in this process: conversations become prompts, its generator decodes all calls as one batch.
 * backends.def: BACKEND(local)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend.h"

#include "agent/backend/prompt.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "model/embed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct local {
    moa_backend base;
    moa_model *model;
    moa_generator *gen;
    moa_prompter *prompter;
    char *id;
    moa_model *draft;       /* NULL: none */
    moa_adapters *adapters; /* NULL: none */
    uint64_t bare;          /* fingerprint without adapters */
    moa_embedder *embedder; /* made when first asked for */
    pthread_mutex_t embeds;
} local;

static void close_local(moa_backend *b) {
    local *l = (local *)b;
    moa_embedder_free(l->embedder);
    pthread_mutex_destroy(&l->embeds);
    moa_prompter_free(l->prompter);
    moa_generator_free(l->gen);
    moa_adapters_close(l->adapters);
    moa_model_close(l->model);
    moa_model_close(l->draft);
    free(l->id);
    free(l);
}

static int64_t measure(moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    moa_ids ids = {0};
    const int rc = moa_prompter_call(&ids, ((local *)b)->prompter, msg, n_msg, x, err);
    const int64_t n = ids.n;
    moa_ids_deinit(&ids);
    return rc < 0 ? rc : n;
}

/* The mean over a text's tokens: a decoder's last token says what comes next rather than what was said. Texts are cut at 2,048 tokens. */
static int embed_locked(local *l, float **out, int *dim, const char *const *text, int n, moa_err *err) {
    enum { MOST = 2048 };
    moa_embed_cfg cfg = moa_embed_defaults();
    cfg.pooling = MOA_POOL_MEAN;
    if (!l->embedder) MOA_TRY(moa_embedder_new(&l->embedder, l->model, &cfg, err));
    *dim = moa_embedder_dim(l->embedder);
    moa_ids *ids = calloc((size_t)n + 1, sizeof *ids);
    *out = malloc(((size_t)n * (size_t)*dim + 1) * sizeof **out);
    int rc = ids && *out ? 0 : moa_fail(err, MOA_ENOMEM, "embeddings of %d texts", n);
    const int64_t most = moa_embedder_max_len(l->embedder) < MOST ? moa_embedder_max_len(l->embedder) : MOST;
    for (int i = 0; rc >= 0 && i < n; i++) {
        rc = moa_embed_tokenize(&ids[i], l->embedder, *text[i] ? text[i] : " ", *text[i] ? strlen(text[i]) : 1, err);
        if (ids[i].n > most) ids[i].n = most;
    }
    if (rc >= 0) rc = moa_embed_ids(l->embedder, *out, ids, n, err);
    for (int i = 0; ids && i < n; i++) moa_ids_deinit(&ids[i]);
    free(ids);
    if (rc < 0) free(*out), *out = NULL;
    return rc;
}

static int embed(moa_backend *b, float **out, int *dim, const char *const *text, int n, moa_err *err) {
    local *l = (local *)b;
    pthread_mutex_lock(&l->embeds);
    const int rc = embed_locked(l, out, dim, text, n, err);
    pthread_mutex_unlock(&l->embeds);
    return rc;
}

/* ---- calls ---- */

static bool on_text(void *ctx, const char *text, size_t n) {
    moa_call *c = ctx;
    if (n) c->on_text(c, text, n);
    return !atomic_load(&c->cancel);
}

static void on_end(void *ctx, moa_gen_res *res) {
    moa_call *c = ctx;
    c->res = *res;
    c->share_s = res->share_s;
    if (res->rc < 0) c->rc = res->rc, c->err = res->err;
    c->on_end(c);
}

static bool same_messages(const moa_call *a, const moa_call *b) {
    if (a->n_msg != b->n_msg || a->prefix != b->prefix) return false;
    for (int i = 0; i < a->n_msg; i++)
        if (a->msg[i].role != b->msg[i].role || a->msg[i].content != b->msg[i].content) return false;
    return true;
}

/* The prompt and behind it the beginning of the reply; n_given: tokens of that. */
static int call_ids(moa_ids *ids, int *n_given, const local *l, const moa_call *c, moa_err *err) {
    MOA_TRY(moa_prompter_call(ids, l->prompter, c->msg, c->n_msg, c->extra, err));
    const int64_t n = ids->n;
    if (c->prefix) MOA_TRY(moa_prompter_go_on(ids, l->prompter, c->prefix, err));
    *n_given = (int)(ids->n - n);
    return 0;
}

static int check_length(const local *l, const moa_ids *ids, moa_err *err) {
    if (ids->n < l->base.n_ctx) return 0;
    const int rc = moa_fail(err, MOA_ELIMIT, "prompt of %lld tokens, the context of %s holds %d with the reply", (long long)ids->n, l->id, l->base.n_ctx);
    return moa_backend_ctx_hint(err, rc, &l->base, ids->n, "shorten the prompt");
}

/* The model's stops, then the call's. */
static int submit(local *l, moa_call *c, const moa_ids *ids, int n_given, moa_err *err) {
    const moa_call_extra *x = c->extra;
    int n_own;
    const char *const *own = moa_prompter_stop(l->prompter, &n_own);
    const int n = x ? x->n_stop : 0;
    const char **stop = malloc(((size_t)n_own + (size_t)n + 1) * sizeof *stop);
    if (!stop) return moa_fail(err, MOA_ENOMEM, "%d stop strings", n);
    if (n_own) memcpy(stop, own, (size_t)n_own * sizeof *stop);
    if (n) memcpy(stop + n_own, x->stop, (size_t)n * sizeof *stop);
    const moa_gen_req q = {.prompt = ids->v, .n_prompt = ids->n, .n_given = n_given, .goes_on = c->goes_on, .sampling = c->sampling, .max_tokens = c->max_tokens, .stop = stop, .n_stop = n_own + n,
                           .grammar = c->grammar, .partial = x && x->partial, .cancel = &c->cancel, .log = c->log, .bias = x ? x->bias : NULL, .n_bias = x ? x->n_bias : 0,
                           .priority = c->priority};
    const moa_gen_sink sink = {on_text, on_end, c};
    const int rc = moa_gen_submit(l->gen, &q, &sink, err);
    free(stop);
    return rc;
}

/* Calls with their neighbour's messages take its tokens. The neighbour itself is its owner's again as soon as it has ended, which may be now. */
static void start(moa_backend *base, moa_call *const *call, int n) {
    local *l = (local *)base;
    moa_ids ids = {0};
    moa_call made = {0};
    moa_err err = {0}, none = {0};
    int rc = 0, n_given = 0;
    const int alive = moa_generator_start(l->gen, &none);
    for (int i = 0; i < n; i++) {
        moa_call *c = call[i];
        if (i == 0 || c->extra != made.extra || !same_messages(c, &made)) {
            ids.n = 0;
            rc = call_ids(&ids, &n_given, l, c, &err);
            if (rc >= 0) rc = check_length(l, &ids, &err);
            made = moa_call_again(c);
        }
        moa_err own = alive < 0 ? none : err;
        if ((alive < 0 ? alive : rc < 0 ? rc : submit(l, c, &ids, n_given, &own)) < 0) moa_call_fail(c, &own);
    }
    moa_ids_deinit(&ids);
}

const moa_backend_ops moa_backend_ops_local = {
    .name = "local", .help = "a GGUF model in this process", .start = start, .close = close_local, .measure = measure, .embed = embed};

/* ---- opening ---- */

/* Of a file's weights, without reading all of a large one: its size, its first 64 KiB and 63 places spread over it. */
static uint64_t fingerprint(const char *path) {
    enum { BLOCK = 64 << 10, PLACES = 64 };
    moa_map f;
    if (moa_map_open(&f, path, NULL) < 0) return 0;
    uint64_t h = moa_hash64(&f.size, sizeof f.size, 0);
    for (size_t i = 0; i < PLACES && f.size; i++) {
        size_t at = f.size > BLOCK ? (f.size - BLOCK) / PLACES * i : 0;
        h = moa_hash64(f.data + at, f.size < BLOCK ? f.size : BLOCK, h);
    }
    moa_map_close(&f);
    return h ? h : 1;
}

static char *name_of(const char *path) {
    const char *base = strrchr(path, '/'), *dot;
    base = base ? base + 1 : path;
    dot = strrchr(base, '.');
    return strndup(base, dot && dot > base && !strcmp(dot, ".gguf") ? (size_t)(dot - base) : strlen(base));
}

uint64_t moa_backend_local_kv_bytes(void) {
    const uint64_t part = moa_cpu_memory() / 4; /* of a small container: the model and the steps want theirs */
    return part < 1u << 30 ? part : 1u << 30;
}

/* Positions of KV: 32 whole conversations where that holds them, and a quarter more than one of the length that was asked for
 * (the samples beside it) whatever that takes. */
static int positions(const moa_hparams *h, moa_dtype kv, int asked) {
    const moa_type *t = moa_type_get(kv);
    const int64_t per = moa_kv_numbers(h) * t->bytes / t->block, most = 1 << 28;
    const int64_t len = asked && asked < h->n_ctx ? asked : h->n_ctx, room = per > 0 ? (int64_t)moa_backend_local_kv_bytes() / per : most;
    int64_t n = 32 * len < room ? 32 * len : room;
    if (n > 1 << 22) n = 1 << 22;
    n -= n % MOA_KV_BLOCK;
    if (asked && n < len + len / 4) n = len + len / 4;
    return (int)(n < MOA_KV_BLOCK ? MOA_KV_BLOCK : n < most ? n : most);
}

int moa_backend_local_ctx(const moa_hparams *h) {
    const int n = positions(h, moa_kv_usual(h), 0);
    return n < h->n_ctx ? n : h->n_ctx;
}

int moa_backend_local_open(moa_backend **out, const char *path, const moa_session_cfg *cfg, moa_err *err) {
    *out = NULL;
    local *l = calloc(1, sizeof *l);
    if (!l || !(l->id = name_of(path))) {
        free(l);
        return moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    }
    pthread_mutex_init(&l->embeds, NULL);
    l->base.ops = &moa_backend_ops_local;
    l->base.id = l->id;
    l->base.goes_on = true;
    moa_session_cfg c = cfg ? *cfg : moa_session_defaults();
    int rc = moa_model_open(&l->model, path, err);
    if (rc >= 0) {
        if (c.kv_usual) c.kv_type = moa_kv_usual(&l->model->h), c.kv_usual = false;
        if (!c.n_ctx) c.n_ctx = positions(&l->model->h, c.kv_type, c.max_len);
        l->bare = fingerprint(path);
        if (l->bare && c.kv_type != MOA_F32) l->bare = moa_hash64(&c.kv_type, sizeof c.kv_type, l->bare); /* other rounding, other replies */
        l->base.fingerprint = l->bare;
        rc = moa_generator_new(&l->gen, l->model, &c, err);
        if (rc >= 0) rc = moa_generator_set(l->gen, &(moa_gen_cfg){.max_waiting = 1 << 30}, err); /* a graph may be large; who serves strangers has bounds of his own */
    }
    if (rc >= 0) {
        l->base.n_ctx = (int)moa_session_max_len(moa_generator_session(l->gen));
        l->base.n_ctx_most = l->model->h.n_ctx;
    }
    if (rc >= 0) rc = moa_prompter_new(&l->prompter, l->model, err);
    if (rc < 0) {
        close_local(&l->base);
        return rc;
    }
    *out = &l->base;
    return 0;
}

static int need_local(const moa_backend *b, moa_err *err) {
    return moa_backend_plain(b)->ops == &moa_backend_ops_local ? 0 : moa_fail(err, MOA_EUNSUPPORTED, "%s is no model of this process: it takes no adapters", b->id);
}

int moa_backend_local_vars(moa_backend *b, const char *json, moa_err *err) {
    MOA_TRY(need_local(b, err));
    b = moa_backend_plain(b);
    local *l = (local *)b;
    MOA_TRY(moa_prompter_vars(l->prompter, json, err));
    if (json && l->bare) b->fingerprint = l->bare = moa_hash64(json, strlen(json), l->bare); /* other prompts, other answers */
    return 0;
}

bool moa_backend_local_names(const moa_backend *b, const char *name) {
    b = moa_backend_plain(b);
    const moa_chat_template *chat = b->ops == &moa_backend_ops_local ? ((const local *)b)->model->chat : NULL;
    return chat && moa_chat_names(chat, name);
}

int moa_backend_local_adapters(moa_adapters **out, const moa_backend *b, const char *const *spec, int n, int n_threads, moa_err *err) {
    *out = NULL;
    MOA_TRY(need_local(b, err));
    return n ? moa_adapters_open(out, ((const local *)moa_backend_plain(b))->model, spec, n, n_threads, err) : 0;
}

int moa_backend_local_adapt(moa_backend *b, moa_adapters *a, moa_err *err) {
    MOA_TRY(need_local(b, err));
    b = moa_backend_plain(b);
    local *l = (local *)b;
    MOA_TRY(moa_generator_stop(l->gen, err));
    MOA_TRY(moa_session_use(moa_generator_session(l->gen), a, err));
    moa_adapters_close(l->adapters);
    l->adapters = a;
    const uint64_t key = moa_session_adapters(moa_generator_session(l->gen));
    b->fingerprint = key && l->bare ? moa_hash64(&key, sizeof key, l->bare) : l->bare;
    return 0;
}

int moa_backend_local_call(moa_backend *b, const char *adapter, moa_err *err) {
    MOA_TRY(need_local(b, err));
    b = moa_backend_plain(b);
    local *l = (local *)b;
    char *word = name_of(adapter), id[512];
    if (!word) return moa_fail(err, MOA_ENOMEM, "%s: no memory", adapter);
    const size_t n = strlen(l->id);
    snprintf(id, sizeof id, "%s@%s", l->id, !strncmp(word, l->id, n) && word[n] == '.' ? word + n + 1 : word);
    free(word);
    if (!(word = strdup(id))) return moa_fail(err, MOA_ENOMEM, "%s: no memory", adapter);
    free(l->id);
    b->id = l->id = word;
    return 0;
}

int moa_backend_local_draft(moa_backend *b, const char *path, moa_err *err) {
    local *l = (local *)b;
    moa_model *small;
    MOA_TRY(need_local(b, err));
    MOA_TRY(moa_model_open(&small, path, err));
    const int rc = moa_generator_draft(l->gen, small, err);
    if (rc < 0) {
        moa_model_close(small);
        return moa_wrap(err, rc, "%s for %s", path, b->id);
    }
    moa_model_close(l->draft);
    l->draft = small;
    return 0;
}

moa_generator *moa_backend_local_generator(moa_backend *b) {
    b = moa_backend_plain(b);
    return b->ops == &moa_backend_ops_local ? ((local *)b)->gen : NULL;
}

const moa_model *moa_backend_local_model(const moa_backend *b) {
    b = moa_backend_plain(b);
    return b->ops == &moa_backend_ops_local ? ((const local *)b)->model : NULL;
}

int moa_backend_local_ids(moa_ids *ids, const moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *extra, moa_err *err) {
    MOA_TRY(need_local(b, err));
    return moa_prompter_call(ids, ((const local *)moa_backend_plain(b))->prompter, msg, n_msg, extra, err);
}
