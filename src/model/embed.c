/* embed.c - from texts to vectors: packs texts into passes, pools the rows of each text, brings the vector to length 1.
 *
 * A decoder runs through a session that gives hidden states instead of logits; a text may be cut into several steps. An encoder
 * sees a text whole, so a pass holds as many whole texts as fit. Sums of pooling go over a text's rows in order, in double.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/embed.h"
#include "base/cpu.h"
#include "base/err.h"
#include "model/encoder.h"
#include "model/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 256, MAX_BATCH = 1 << 16, MAX_THREADS = 1024 };

struct moa_embedder {
    const moa_model *m;
    moa_pooling pooling;
    int dim;             /* numbers of a vector */
    int n_batch;
    moa_exec x;          /* of an encoder */
    moa_session *s;      /* of a decoder */
    moa_row *row;        /* [n_batch] */
    int *row_text;       /* [n_batch] text that a row belongs to */
    double *sum;         /* [d_model] */
};

/* ---- pooling ---- */

static const char *const pool_names[] = {"default", "mean", "cls", "last"};

const char *moa_pooling_name(moa_pooling p) { return pool_names[p]; }

int moa_pooling_parse(moa_pooling *out, const char *name, moa_err *err) {
    for (int i = MOA_POOL_MEAN; i <= MOA_POOL_LAST; i++)
        if (!strcmp(name, pool_names[i])) return *out = (moa_pooling)i, 0;
    return moa_fail(err, MOA_EUSAGE, "pooling '%.32s' is not known, expected mean, cls or last", name);
}

/* What the file asks for. 0 is "none": the file leaves it to the user. 4 scores pairs of texts. */
static int choose_pooling(moa_embedder *e, moa_pooling want, moa_err *err) {
    const moa_model *m = e->m;
    char key[96];
    uint32_t file = 0;
    snprintf(key, sizeof key, "%s.pooling_type", m->arch->name);
    if (m->meta) MOA_TRY(moa_gguf_u32(&file, m->meta, key, 0, err));
    e->pooling = want ? want : m->arch->encoder ? MOA_POOL_MEAN : MOA_POOL_LAST;
    if (want || !file) return 0;
    if (file > MOA_POOL_LAST) {
        moa_fail(err, MOA_EUNSUPPORTED, "%s: %s = %u, expected 1 (mean), 2 (cls) or 3 (last)", m->path ? m->path : "model", key, file);
        return moa_hint(err, MOA_EUNSUPPORTED, "--pooling mean, cls or last overrides it");
    }
    e->pooling = (moa_pooling)file;
    return 0;
}

/* Length 1; a vector of zeros stays. */
static int normalise(float *out, const double *v, int n, int text, moa_err *err) {
    double square = 0;
    for (int i = 0; i < n; i++) square += v[i] * v[i];
    if (!isfinite(square)) return moa_fail(err, MOA_EFORMAT, "text %d: the model gives numbers that are not finite", text + 1);
    const double by = square > 0 ? 1 / sqrt(square) : 0;
    for (int i = 0; i < n; i++) out[i] = (float)(v[i] * by);
    return 0;
}

/* ---- the embedder ---- */

moa_embed_cfg moa_embed_defaults(void) { return (moa_embed_cfg){.isa = MOA_ISA_COUNT}; }
int moa_embedder_dim(const moa_embedder *e) { return e->dim; }
int moa_embedder_max_len(const moa_embedder *e) { return e->m->h.n_ctx; }
moa_pooling moa_embedder_pooling(const moa_embedder *e) { return e->pooling; }

static int init_encoder(moa_embedder *e, const moa_embed_cfg *c, moa_err *err) {
    e->x = (moa_exec){.n_threads = c->n_threads ? c->n_threads : moa_cpu_threads(), .compute = MOA_F32, .exact = c->exact};
    MOA_TRY(c->isa == MOA_ISA_COUNT ? moa_kernels_default(&e->x.k, err) : moa_kernels_get(&e->x.k, c->isa, err));
    if (!c->exact) MOA_TRY(moa_packs_want(e->m->packs, MOA_REPACK_AUTO, &e->x.repack, err));
    MOA_TRY(moa_team_new(&e->x.team, e->x.n_threads, err));
    return (e->x.arena = moa_arena_new(0, 0)) ? 0 : moa_fail(err, MOA_ENOMEM, "embedder: no memory");
}

/* Room for one text of the model's context, and for the short ones that share its last step, each in blocks of its own. */
static int init_decoder(moa_embedder *e, const moa_embed_cfg *c, moa_err *err) {
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_ctx = e->m->h.n_ctx + e->n_batch * MOA_KV_BLOCK;
    cfg.n_seq = e->n_batch;
    cfg.n_batch = e->n_batch;
    cfg.n_threads = c->n_threads;
    cfg.isa = c->isa;
    cfg.exact = c->exact;
    cfg.hidden = true;
    return moa_session_new(&e->s, e->m, &cfg, err);
}

int moa_embedder_new(moa_embedder **out, const moa_model *m, const moa_embed_cfg *cfg, moa_err *err) {
    const moa_embed_cfg none = moa_embed_defaults(), *c = cfg ? cfg : &none;
    if (c->n_batch < 0 || c->n_batch > MAX_BATCH || c->n_threads < 0 || c->n_threads > MAX_THREADS)
        return moa_fail(err, MOA_EINVAL, "embedder: %d rows, %d threads, expected at most %d and %d", c->n_batch, c->n_threads, MAX_BATCH, MAX_THREADS);
    if (c->dim < 0 || c->dim > m->h.d_model) return moa_fail(err, MOA_EUSAGE, "%d dimensions, the model has %d", c->dim, m->h.d_model);
    moa_embedder *e = calloc(1, sizeof *e);
    if (!e) return moa_fail(err, MOA_ENOMEM, "embedder: no memory");
    e->m = m;
    e->dim = c->dim ? c->dim : m->h.d_model;
    e->n_batch = c->n_batch ? c->n_batch : BATCH;
    e->row = calloc((size_t)e->n_batch, sizeof *e->row);
    e->row_text = calloc((size_t)e->n_batch, sizeof *e->row_text);
    e->sum = calloc((size_t)m->h.d_model, sizeof *e->sum);
    int rc = e->row && e->row_text && e->sum ? 0 : moa_fail(err, MOA_ENOMEM, "embedder: no memory for passes of %d rows", e->n_batch);
    if (rc >= 0) rc = choose_pooling(e, c->pooling, err);
    if (rc >= 0) rc = m->arch->encoder ? init_encoder(e, c, err) : init_decoder(e, c, err);
    if (rc < 0) {
        moa_embedder_free(e);
        return rc;
    }
    *out = e;
    return 0;
}

void moa_embedder_free(moa_embedder *e) {
    if (!e) return;
    moa_session_free(e->s);
    moa_team_free(e->x.team);
    moa_arena_free(e->x.arena);
    free(e->row);
    free(e->row_text);
    free(e->sum);
    free(e);
}

/* ---- texts ---- */

int moa_embed_check(const moa_embedder *e, const moa_ids *text, moa_err *err) {
    const int n_ctx = e->m->h.n_ctx, n_vocab = e->m->h.n_vocab;
    if (text->n < 1) return moa_fail(err, MOA_EINVAL, "has no token");
    if (text->n > n_ctx) {
        moa_fail(err, MOA_ELIMIT, "has %lld tokens, the model reads %d", (long long)text->n, n_ctx);
        return moa_hint(err, MOA_ELIMIT, "cut it into parts and embed each");
    }
    for (int64_t k = 0; k < text->n; k++)
        if (text->v[k] < 0 || text->v[k] >= n_vocab) return moa_fail(err, MOA_EINVAL, "token %d, expected 0 to %d", text->v[k], n_vocab - 1);
    return 0;
}

static int check_texts(const moa_embedder *e, const moa_ids *text, int n_text, moa_err *err) {
    for (int i = 0; i < n_text; i++) {
        const int rc = moa_embed_check(e, &text[i], err);
        if (rc < 0) return moa_wrap(err, rc, "text %d", i + 1);
    }
    return 0;
}

static bool pooled(const moa_embedder *e, int64_t at, int64_t len) {
    return e->pooling == MOA_POOL_MEAN || at == (e->pooling == MOA_POOL_CLS ? 0 : len - 1);
}

/* Whole texts first .. first + n in one pass. */
static int encode(moa_embedder *e, float *out, const moa_ids *text, int first, int n, int64_t rows, moa_err *err) {
    moa_exec *x = &e->x;
    const int d = e->m->h.d_model;
    moa_arena_reset(x->arena);
    x->err = (moa_err){0};
    moa_tensor *ids = moa_new_tensor(x, MOA_I32, 1, &rows), *pos = moa_new_tensor(x, MOA_I32, 1, &rows);
    int32_t *start = moa_arena_alloc(x->arena, ((size_t)n + 1) * sizeof *start);
    if (!ids || !pos || !start) return moa_fail(err, MOA_ENOMEM, "embedder: no memory for %lld tokens", (long long)rows);
    start[0] = 0;
    for (int t = 0; t < n; t++) {
        const int64_t len = text[first + t].n;
        memcpy((int32_t *)ids->data + start[t], text[first + t].v, (size_t)len * sizeof(int32_t));
        for (int64_t i = 0; i < len; i++) ((int32_t *)pos->data)[start[t] + i] = (int32_t)i;
        start[t + 1] = start[t] + (int32_t)len;
    }
    const moa_texts texts = {.ids = ids, .pos = pos, .start = start, .n_text = n};
    moa_tensor *h = moa_encoder_forward(x, e->m, &texts);
    if (!h) {
        if (err) *err = x->err;
        return x->err.code;
    }
    for (int t = 0; t < n; t++) {
        const int64_t len = text[first + t].n;
        memset(e->sum, 0, (size_t)d * sizeof *e->sum);
        for (int64_t i = 0; i < len; i++)
            for (int c = 0; pooled(e, i, len) && c < d; c++) e->sum[c] += (double)((const float *)h->data)[(start[t] + i) * d + c];
        MOA_TRY(normalise(out + (int64_t)(first + t) * e->dim, e->sum, e->dim, first + t, err));
    }
    return 0;
}

static int encode_all(moa_embedder *e, float *out, const moa_ids *text, int n_text, moa_err *err) {
    for (int first = 0, n; first < n_text; first += n) {
        int64_t rows = text[first].n;
        for (n = 1; first + n < n_text && rows + text[first + n].n <= e->n_batch; n++) rows += text[first + n].n;
        MOA_TRY(encode(e, out, text, first, n, rows, err));
    }
    return 0;
}

/* Rows of a step, added to their texts' sums; a text that ends here is done. */
static int pool_step(moa_embedder *e, float *out, const moa_ids *text, int n, int64_t first_at, moa_err *err) {
    const int d = e->m->h.d_model;
    int64_t at = first_at; /* position of row 0 in its text */
    for (int i = 0; i < n; i++, at++) {
        const int t = e->row_text[i];
        if (i && t != e->row_text[i - 1]) at = 0;
        if (!at) memset(e->sum, 0, (size_t)d * sizeof *e->sum);
        const float *h = moa_session_logits(e->s, i);
        for (int c = 0; h && c < d; c++) e->sum[c] += (double)h[c];
        if (at + 1 < text[t].n) continue;
        MOA_TRY(normalise(out + (int64_t)t * e->dim, e->sum, e->dim, t, err));
        moa_seq_free(e->s, e->row[i].seq);
    }
    return 0;
}

/* One step after another, filled with the rows of the texts in turn; the last text of a step may go on in the next. */
static int decode_all(moa_embedder *e, float *out, const moa_ids *text, int n_text, moa_err *err) {
    int64_t at = 0;
    int seq = -1;
    for (int t = 0; t < n_text;) {
        const int64_t first_at = at;
        int n = 0;
        for (; n < e->n_batch && t < n_text; n++) {
            if (!at && (seq = moa_seq_begin(e->s, text[t].n, err)) < 0) return seq;
            e->row[n] = (moa_row){seq, text[t].v[at], pooled(e, at, text[t].n)};
            e->row_text[n] = t;
            if (++at == text[t].n) t++, at = 0;
        }
        MOA_TRY(moa_session_step(e->s, e->row, n, err));
        MOA_TRY(pool_step(e, out, text, n, first_at, err));
    }
    return 0;
}

int moa_embed_ids(moa_embedder *e, float *out, const moa_ids *text, int n_text, moa_err *err) {
    MOA_TRY(check_texts(e, text, n_text, err));
    if (e->m->arch->encoder) return encode_all(e, out, text, n_text, err);
    const int rc = decode_all(e, out, text, n_text, err);
    if (rc < 0) /* a call that failed leaves no sequence behind */
        for (int i = 0; i < e->n_batch; i++) moa_seq_free(e->s, i);
    return rc;
}

/* ---- plain text ---- */

int moa_embed_tokenize(moa_ids *ids, const moa_embedder *e, const char *text, size_t n, moa_err *err) {
    if (!e->m->tok) return moa_fail(err, MOA_EUNSUPPORTED, "%s: the model has no tokenizer", e->m->path ? e->m->path : "model");
    return moa_tokenize(ids, e->m->tok, text, n, MOA_TOK_BOS | MOA_TOK_EOS, err);
}

int moa_embedder_run(moa_embedder *e, float *out, const char *const *text, const size_t *len, int n_text, moa_err *err) {
    moa_ids *ids = calloc(n_text > 0 ? (size_t)n_text : 1, sizeof *ids);
    int rc = ids ? 0 : moa_fail(err, MOA_ENOMEM, "embedder: no memory for %d texts", n_text);
    for (int i = 0; rc >= 0 && i < n_text; i++) rc = moa_embed_tokenize(&ids[i], e, text[i], len ? len[i] : strlen(text[i]), err);
    if (rc >= 0) rc = moa_embed_ids(e, out, ids, n_text, err);
    for (int i = 0; ids && i < n_text; i++) moa_ids_deinit(&ids[i]);
    free(ids);
    return rc;
}

int moa_embedder_open(moa_embedder **out, const moa_model *m, const char *pooling, int n_threads, moa_err *err) {
    moa_embed_cfg cfg = moa_embed_defaults();
    cfg.n_threads = n_threads;
    if (pooling) MOA_TRY(moa_pooling_parse(&cfg.pooling, pooling, err));
    return moa_embedder_new(out, m, &cfg, err);
}
