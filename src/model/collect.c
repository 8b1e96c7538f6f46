/* collect.c - see collect.h. The products are watched where they are computed (moa_exec.watch), so that architectures need not
 * know; a weight is recognised by where its data lies in the file, an expert by its place in its tensor.
 *
 * Why force: an expert without data would be quantised as if all its inputs mattered the same, and in models with many experts
 * a text of ordinary length misses some. A forced expert sees tokens that the router would not send it, which is closer to
 * what it sees than nothing is. Its logit is lifted to the row's largest plus a little, so that the layer's output stays about
 * what it was; where a bias or groups keep the expert out all the same, the lift grows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/collect.h"

#include "base/err.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, SAVE_EVERY = 10, FORCED_ROWS = 16 /* that every forced expert should see, at least */ };
static const float lifts[] = {1, 8, 64};

typedef struct span { const char *at; size_t bytes; const moa_tensor *t; } span; /* where the data of a weight lies */

typedef struct collector {
    moa_imatrix *im;
    span *span;
    int n_span;
    bool failed;
    /* Forcing: */
    float lift;            /* 0: record everything */
    uint8_t *starved;      /* [n_layer, n_expert] */
    int n_layer, n_expert;
} collector;

static int by_address(const void *a, const void *b) {
    const span *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static const span *span_of(const collector *c, const void *data) {
    int lo = 0, hi = c->n_span;
    while (lo < hi) {
        const int mid = (lo + hi) / 2;
        if (c->span[mid].at <= (const char *)data) lo = mid + 1;
        else hi = mid;
    }
    const span *s = lo ? &c->span[lo - 1] : NULL;
    return s && (size_t)((const char *)data - s->at) < s->bytes ? s : NULL;
}

/* ---- names ---- */

static int layer_of(const char *name) {
    char *end;
    if (strncmp(name, "blk.", 4)) return -1;
    const long n = strtol(name + 4, &end, 10);
    return *end == '.' && n >= 0 && n < 1 << 20 ? (int)n : -1;
}

static bool is_router(const char *name) { return strstr(name, ".ffn_gate_inp.weight") != NULL; }
static bool is_experts(const moa_tensor *t) { return t->n_dim == 3 && strstr(t->name, "_exps.weight"); }

/* The expert of files before 2024, "blk.3.ffn_gate.5.weight"; -1: none. */
static int own_expert(const char *name) {
    const char *p = strstr(name, ".ffn_");
    char *end;
    if (!p || !(p = strchr(p + 1, '.')) || p[1] < '0' || p[1] > '9') return -1;
    const long e = strtol(p + 1, &end, 10);
    return !strcmp(end, ".weight") && e < 1 << 20 ? (int)e : -1;
}

static uint8_t *starved_at(const collector *c, int layer, int expert) {
    return layer >= 0 && layer < c->n_layer && expert >= 0 && expert < c->n_expert ? &c->starved[(size_t)layer * (size_t)c->n_expert + (size_t)expert] : NULL;
}

/* ---- while a step runs ---- */

/* Lift starved experts of the router's layer, one a row, in turn, on every second row. */
static void force(const collector *c, int layer, moa_tensor *logits /* [n, n_expert] */) {
    const int64_t n = moa_rows(logits), cols = moa_cols(logits);
    int turn = -1;
    if (cols != c->n_expert || layer < 0 || layer >= c->n_layer) return;
    const uint8_t *starved = starved_at(c, layer, 0);
    if (!memchr(starved, 1, (size_t)cols)) return;
    for (int64_t i = 0; i < n; i += 2) {
        float *row = (float *)logits->data + i * cols, top = row[0];
        for (int64_t e = 1; e < cols; e++) top = fmaxf(top, row[e]);
        do turn = (turn + 1) % (int)cols;
        while (!starved[turn]);
        row[turn] = top + c->lift;
    }
}

static void record(collector *c, const moa_tensor *t, int64_t mat, const moa_tensor *in) {
    moa_imatrix_entry *e = moa_imatrix_add(c->im, t->name, t->n_dim == 3 ? t->shape[0] : 1, moa_cols(t));
    const int64_t rows = moa_rows(in), cols = moa_cols(in);
    if (!e) {
        c->failed = true;
        return;
    }
    for (int64_t i = 0; i < rows; i++) {
        const float *x = (const float *)in->data + i * cols;
        double *sum = e->sum + mat * cols;
        for (int64_t j = 0; j < cols; j++) sum[j] += (double)x[j] * (double)x[j];
    }
    e->count[mat] += (double)rows;
}

static void watch(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out) {
    collector *c = ctx;
    const span *s = span_of(c, w->data);
    if (!s || moa_cols(s->t) != moa_cols(in)) return;
    const moa_tensor *t = s->t;
    const int64_t mat = t->n_dim == 3 ? (int64_t)((size_t)((const char *)w->data - s->at) / (s->bytes / (size_t)t->shape[0])) : 0;
    if (c->lift == 0) {
        record(c, t, mat, in);
        return;
    }
    const int layer = layer_of(t->name);
    if (is_router(t->name)) force(c, layer, out);
    const uint8_t *needs = starved_at(c, layer, is_experts(t) ? (int)mat : own_expert(t->name));
    if (needs && *needs) record(c, t, mat, in);
}

/* ---- set up ---- */

static int make_spans(collector *c, const moa_gguf *g, moa_err *err) {
    c->span = calloc((size_t)moa_gguf_n_tensor(g) + 1, sizeof *c->span);
    if (!c->span) return moa_fail(err, MOA_ENOMEM, "no memory for %d tensors", moa_gguf_n_tensor(g));
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        if (t->n_dim >= 2) c->span[c->n_span++] = (span){t->data, moa_tensor_bytes(t), t};
        if (layer_of(t->name) >= c->n_layer) c->n_layer = layer_of(t->name) + 1;
        const int e = is_experts(t) ? (int)t->shape[0] - 1 : own_expert(t->name);
        if (e >= c->n_expert) c->n_expert = e + 1;
    }
    qsort(c->span, (size_t)c->n_span, sizeof *c->span, by_address);
    if ((int64_t)c->n_layer * c->n_expert > 1 << 28)
        return moa_fail(err, MOA_ELIMIT, "%d layers of %d experts are too many", c->n_layer, c->n_expert);
    c->starved = calloc((size_t)c->n_layer * (size_t)c->n_expert + 1, 1);
    return c->starved ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for %d experts", c->n_expert);
}

static bool has_data(const collector *c, const char *name, int64_t mat) {
    const moa_imatrix_entry *e = moa_imatrix_find(c->im, name);
    return e && mat < e->n_mat && e->count[mat] > 0;
}

/* Marks experts of which some matrix has no data; returns how many there are. *most: in one layer. */
static int find_starved(collector *c, int *most) {
    int all = 0;
    *most = 0;
    memset(c->starved, 0, (size_t)c->n_layer * (size_t)c->n_expert);
    for (int i = 0; i < c->n_span; i++) {
        const moa_tensor *t = c->span[i].t;
        const int one = own_expert(t->name), layer = layer_of(t->name), n = is_experts(t) ? (int)t->shape[0] : one >= 0;
        for (int k = 0; k < n; k++) {
            uint8_t *s = starved_at(c, layer, is_experts(t) ? k : one);
            if (s && !has_data(c, t->name, is_experts(t) ? k : 0)) *s = 1;
        }
    }
    for (int l = 0; l < c->n_layer; l++) {
        int n = 0;
        for (int e = 0; e < c->n_expert; e++) n += *starved_at(c, l, e);
        all += n;
        if (n > *most) *most = n;
    }
    return all;
}

int moa_collect_fits(moa_imatrix *im, const moa_model *m, const char *text, size_t n, const moa_collect_cfg *cfg, moa_err *err) {
    const uint64_t hash = moa_hash64(text, n, 1);
    const char *slash = m->path ? strrchr(m->path, '/') : NULL, *model = slash ? slash + 1 : m->path ? m->path : "";
    int ctx = cfg->n_ctx ? cfg->n_ctx : 512;
    if (!cfg->n_ctx && ctx > m->h.n_ctx) ctx = m->h.n_ctx;
    if (!im->n_entry && !im->chunks) {
        im->text_hash = hash, im->chunk_size = ctx;
        free(im->text), free(im->model);
        im->text = strdup(cfg->text_name ? cfg->text_name : "");
        im->model = strdup(model);
        return im->text && im->model ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for names");
    }
    if (!im->model || !im->text_hash) return moa_fail(err, MOA_EINVAL, "the file was not made by moa, which could go on with it");
    if (strcmp(im->model, model)) return moa_fail(err, MOA_EINVAL, "the file is of the model %s, not of %s", im->model, model);
    if (im->text_hash != hash) return moa_fail(err, MOA_EINVAL, "the file is of another text, %s", im->text);
    if (im->chunk_size != ctx) return moa_fail(err, MOA_EINVAL, "the file has chunks of %d tokens, not %d", im->chunk_size, ctx);
    return 0;
}

/* ---- run ---- */

typedef struct run { collector c; moa_chunks chunks; moa_session *s; int32_t *token; moa_row *row; const moa_collect_cfg *cfg; } run;

static int run_chunk(run *r, int chunk, moa_err *err) {
    const int n_tok = moa_chunk_tokens(r->token, &r->chunks, chunk), seq = moa_seq_begin(r->s, n_tok, err);
    int rc = seq < 0 ? seq : 0;
    for (int at = 0; rc >= 0 && at < n_tok; at += ROWS) {
        const int n = n_tok - at < ROWS ? n_tok - at : ROWS;
        for (int i = 0; i < n; i++) r->row[i] = (moa_row){seq, r->token[at + i], true}; /* all rows go through the last layer */
        rc = moa_session_step(r->s, r->row, n, err);
        if (rc >= 0 && r->c.failed) rc = moa_fail(err, MOA_ENOMEM, "no memory for an entry, or the file that goes on has other sizes");
    }
    if (seq >= 0) moa_seq_free(r->s, seq);
    return rc;
}

static int tell(const run *r, moa_collect_event e, moa_err *err) {
    e.n_chunk = r->chunks.n_chunk;
    return r->cfg->event && !r->cfg->event(r->cfg->ctx, &e) ? moa_fail(err, MOA_ECANCELED, "stopped") : 0;
}

static int run_text(run *r, moa_err *err) {
    const int every = r->cfg->save_every ? r->cfg->save_every : SAVE_EVERY;
    moa_imatrix *im = r->c.im;
    while (im->chunks < r->chunks.n_chunk) {
        MOA_TRY(run_chunk(r, im->chunks, err));
        im->chunks++;
        const int rc = tell(r, (moa_collect_event){.chunk = im->chunks}, err);
        if (rc < 0) return rc;
        if (im->chunks % every == 0) MOA_TRY(moa_imatrix_write(im, r->cfg->path, err));
    }
    return 0;
}

static int name_starved(const run *r, int n, bool given_up, moa_err *err) {
    const collector *c = &r->c;
    for (int i = 0; i < c->n_span; i++) {
        const moa_tensor *t = c->span[i].t;
        const bool merged = is_experts(t) && strstr(t->name, "ffn_down_exps"), own = own_expert(t->name) >= 0 && strstr(t->name, "ffn_down.");
        for (int k = 0; k < (merged ? (int)t->shape[0] : own ? 1 : 0); k++) {
            const int e = merged ? k : own_expert(t->name);
            const uint8_t *s = starved_at(c, layer_of(t->name), e);
            if (s && *s)
                MOA_TRY(tell(r, (moa_collect_event){.forcing = true, .n_starved = n, .name = t->name, .expert = e, .given_up = given_up}, err));
        }
    }
    return 0;
}

/* Every expert gets data, or is named as one that nothing reaches. */
static int run_forced(run *r, moa_err *err) {
    int most, n = find_starved(&r->c, &most);
    if (n) MOA_TRY(name_starved(r, n, false, err));
    for (size_t k = 0; n && k < sizeof lifts / sizeof *lifts; k++) {
        const int64_t rows = 2 * (int64_t)most * FORCED_ROWS, want = (rows + r->chunks.n_ctx - 1) / r->chunks.n_ctx;
        const int chunks = want < r->chunks.n_chunk ? (int)want : r->chunks.n_chunk;
        r->c.lift = lifts[k];
        for (int i = 0; i < chunks; i++) {
            MOA_TRY(run_chunk(r, i, err));
            MOA_TRY(tell(r, (moa_collect_event){.chunk = i + 1, .forcing = true, .n_starved = n}, err));
        }
        r->c.lift = 0;
        n = find_starved(&r->c, &most);
    }
    return n ? name_starved(r, n, true, err) : 0;
}

int moa_collect(moa_imatrix *im, const moa_model *m, const char *text, size_t n, const moa_collect_cfg *cfg, moa_err *err) {
    run r = {.c.im = im, .cfg = cfg};
    MOA_TRY(moa_collect_fits(im, m, text, n, cfg, err));
    if (!m->file) return moa_fail(err, MOA_EINVAL, "an importance matrix needs a model from a file");
    int rc = moa_chunks_make(&r.chunks, m, text, n, im->chunk_size, cfg->max_chunks, err);
    moa_session_cfg sc = moa_session_defaults();
    sc.n_ctx = im->chunk_size, sc.n_batch = ROWS, sc.n_seq = 1, sc.n_threads = cfg->n_threads;
    if (rc >= 0) rc = make_spans(&r.c, m->file, err);
    if (rc >= 0) rc = moa_session_new(&r.s, m, &sc, err);
    if (rc >= 0) {
        r.token = malloc((size_t)im->chunk_size * sizeof *r.token);
        r.row = malloc(ROWS * sizeof *r.row);
        if (!r.token || !r.row) rc = moa_fail(err, MOA_ENOMEM, "no memory for a chunk");
    }
    if (rc >= 0) {
        moa_session_watch(r.s, watch, &r.c);
        rc = run_text(&r, err);
        if (rc >= 0) rc = run_forced(&r, err);
        const int saved = rc >= 0 || rc == MOA_ECANCELED ? moa_imatrix_write(im, cfg->path, err) : 0; /* who stops keeps what was collected */
        if (saved < 0) rc = saved;
    }
    moa_session_free(r.s);
    moa_ids_deinit(&r.chunks.ids);
    free(r.c.span), free(r.c.starved), free(r.token), free(r.row);
    return rc;
}
