/* bind.c - from the modules of an adapter to the places of a model.
 *
 * The model's tensors are listed once by the names that GGUF has for them, each with its parts: the projections of a fused tensor,
 * the experts of a merged one. A module of PEFT or MLX is called as in the checkpoint; the tables of format/ translate it.
 * A module that covers several parts (phi3's qkv_proj, gate_up_proj) has a place in each, with its part of B's rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt_impl.h"
#include "base/arena.h"
#include "base/err.h"
#include "format/hf.h"
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct base_part { const moa_linear_w *linear; const moa_tensor *w; int64_t rows; int site; moa_tensor *const *slot; } base_part;
typedef struct base_tensor {
    const char *name;
    const base_part *part;
    int n_part, n_dim;
    int64_t shape[3];
} base_tensor;

struct base_map {
    const moa_model *m;
    moa_arena *arena;
    base_tensor *v;
    int n, cap;
};

/* ---- the list of tensors ---- */

/* The linear whose weight is kept at `at`; NULL: it is no linear's. */
static const moa_linear_w *linear_at(const moa_model *m, moa_tensor *const *at) {
    if (at == &m->out.w) return &m->out;
    for (int i = 0; i < m->h.n_layer; i++) {
        const moa_layer *l = &m->layer[i];
        const moa_linear_w *const one[] = {&l->q, &l->k, &l->v, &l->o, &l->q_a, &l->kv_a, &l->kv_b, &l->gate, &l->up, &l->down, &l->router,
                                           &l->s_gate, &l->s_up, &l->s_down};
        for (size_t k = 0; k < sizeof one / sizeof *one; k++)
            if (at == &one[k]->w) return one[k];
        const moa_linear_w *const many[] = {l->e_gate, l->e_up, l->e_down};
        for (size_t k = 0; l->router.w && k < sizeof many / sizeof *many; k++)
            if ((const char *)at >= (const char *)many[k] && (const char *)at < (const char *)(many[k] + m->h.n_expert))
                return &many[k][((const char *)at - (const char *)many[k]) / (ptrdiff_t)sizeof *many[k]];
    }
    return NULL;
}

static int add_tensor(base_map *b, const char *name, const base_part *part, int n_part, int n_dim, const int64_t *shape, moa_err *err) {
    if (b->n == b->cap) {
        const int cap = b->cap ? 2 * b->cap : 512;
        base_tensor *v = realloc(b->v, (size_t)cap * sizeof *v);
        if (!v) return moa_fail(err, MOA_ENOMEM, "adapter: no memory for the model's tensors");
        b->v = v;
        b->cap = cap;
    }
    base_tensor *t = &b->v[b->n];
    *t = (base_tensor){.name = moa_arena_strndup(b->arena, name, strlen(name)), .part = part, .n_part = n_part, .n_dim = n_dim};
    memcpy(t->shape, shape, (size_t)n_dim * sizeof *shape);
    if (!t->name) return moa_fail(err, MOA_ENOMEM, "adapter: no memory for the model's tensors");
    b->n++;
    return 0;
}

static int gate_site(const moa_model *m, moa_tensor *const *at) {
    for (int i = 0; i < m->h.n_layer; i++)
        if (at == &m->layer[i].s_router) return m->layer[i].s_router_site;
    return 0;
}

static int list_one(void *ctx, moa_model *m, const moa_weight *w, moa_err *err) {
    base_map *b = ctx;
    const int gate = w->n_dim == 1 ? gate_site(m, w->part->at) : 0;
    const bool vector = w->part_dim == 1 && w->n_dim == 1 && !gate; /* only as a whole */
    if (!*w->part->at || (w->part_dim != 2 && !gate && !vector)) return 0;
    base_part *p = moa_arena_calloc(b->arena, (size_t)w->n_part * sizeof *p);
    if (!p) return moa_fail(err, MOA_ENOMEM, "adapter: no memory for the model's tensors");
    for (int i = 0; i < w->n_part; i++) {
        const moa_linear_w *l = gate ? NULL : linear_at(m, w->part[i].at);
        p[i] = (base_part){.linear = l, .w = *w->part[i].at, .rows = w->part[i].rows, .site = l ? l->site : gate, .slot = w->part[i].at};
        if (w->part[i].at == &m->tok_embd) p[i].site = MOA_SITE_EMBEDDING;
        if (!p[i].site && !vector) return 0; /* a table that is no product: positions, types */
    }
    if (gate) {
        p->rows = 1;
        return add_tensor(b, w->name, p, 1, 2, (int64_t[]){1, w->shape[0]}, err);
    }
    return add_tensor(b, w->name, p, w->n_part, w->n_dim, w->shape, err);
}

static int by_name(const void *a, const void *b) { return strcmp(((const base_tensor *)a)->name, ((const base_tensor *)b)->name); }

int base_map_new(base_map **out, const moa_model *m, moa_err *err) {
    base_map *b = *out = calloc(1, sizeof *b);
    if (!b || !(b->arena = moa_arena_new(0, 0))) {
        base_map_free(b);
        return *out = NULL, moa_fail(err, MOA_ENOMEM, "adapter: no memory");
    }
    b->m = m;
    int rc = moa_weights_each((moa_model *)(uintptr_t)m, list_one, b, err); /* the walk itself changes nothing */
    if (rc >= 0 && m->h.tied) { /* the output's product is its own place, though its matrix is the embedding */
        base_part *p = moa_arena_calloc(b->arena, sizeof *p);
        if (p) *p = (base_part){&m->out, m->tok_embd, m->h.n_vocab, m->out.site, &m->out.w};
        rc = p ? add_tensor(b, "output.weight", p, 1, 2, (int64_t[]){m->h.n_vocab, m->h.d_model}, err) : moa_fail(err, MOA_ENOMEM, "adapter: no memory");
    }
    if (rc < 0) {
        base_map_free(b);
        *out = NULL;
        return rc;
    }
    qsort(b->v, (size_t)b->n, sizeof *b->v, by_name);
    return 0;
}

void base_map_free(base_map *b) {
    if (!b) return;
    moa_arena_free(b->arena);
    free(b->v);
    free(b);
}

const moa_model *base_map_model(const base_map *b) { return b->m; }

static const base_tensor *find(const base_map *b, const char *name) {
    const base_tensor key = {.name = name};
    return b->n ? bsearch(&key, b->v, (size_t)b->n, sizeof *b->v, by_name) : NULL;
}

/* ---- names ---- */

static const char *base_name(const base_map *b) { return b->m->path ? b->m->path : "the model"; }

static int unknown(const base_map *b, const moa_adapter *a, const moa_lora *l, const char *to, moa_err *err) {
    moa_fail(err, MOA_EFORMAT, "%s: '%.120s' is adapted%s%s%s, but %s (%s) has no such matrix", a->path, l->name, *to ? ", which is '" : "", to, *to ? "'" : "",
             base_name(b), b->m->arch->name);
    return *a->base ? moa_hint(err, MOA_EFORMAT, "the adapter was made for %.100s", a->base) : MOA_EFORMAT;
}

/* Old files have one tensor an expert, "blk.3.ffn_up.7.weight"; adapters of them too. */
static bool one_expert(gguf_name *g) {
    int layer, expert, n = 0;
    char part[16];
    if (sscanf(g->to, "blk.%6d.ffn_%15[a-z].%6d.weight%n", &layer, part, &expert, &n) != 3 || !n || g->to[n]) return false;
    snprintf(g->to, sizeof g->to, "blk.%d.ffn_%s_exps.weight", layer, part);
    g->expert = expert;
    return true;
}

static int heads_of(const moa_model *m, int pairs) { return pairs == 1 ? m->h.n_head : pairs == 2 ? m->h.n_kv : 0; }

static int check_arch(const base_map *b, const moa_adapter *a, moa_err *err) {
    if (strcmp(a->arch, b->m->arch->name) == 0) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: the adapter is for architecture '%.60s', %s is '%s'", a->path, a->arch, base_name(b), b->m->arch->name);
}

int base_map_name(gguf_name *out, const base_map *b, const moa_adapter *a, const moa_lora *l, moa_err *err) {
    *out = (gguf_name){.expert = l->expert};
    if (a->form == MOA_ADAPTER_GGUF) {
        MOA_TRY(check_arch(b, a, err));
        if (snprintf(out->to, sizeof out->to, "%s", l->name) >= (int)sizeof out->to) return unknown(b, a, l, "", err);
        if (!find(b, out->to)) one_expert(out);
        return 0;
    }
    moa_hf_place p;
    const char *module = peft_strip(l->name);
    if (!(l->parameter ? moa_hf_parameter_of : moa_hf_place_of)(&p, b->m->arch->name, module)) return unknown(b, a, l, "", err);
    snprintf(out->to, sizeof out->to, "%s", p.to);
    snprintf(out->also, sizeof out->also, "%s", p.also);
    if (!l->parameter) out->expert = p.expert;
    out->turns = p.turns;
    out->pairs = heads_of(b->m, p.pairs);
    return 0;
}

/* ---- places ---- */

static int add_place(place_list *out, const place *p, moa_err *err) {
    if (out->n == out->cap) {
        const int cap = out->cap ? 2 * out->cap : 64;
        place *v = realloc(out->v, (size_t)cap * sizeof *v);
        if (!v) return moa_fail(err, MOA_ENOMEM, "adapter: no memory");
        out->v = v;
        out->cap = cap;
    }
    out->v[out->n++] = *p;
    return 0;
}

static int wrong_shape(const base_map *b, const moa_adapter *a, const moa_lora *l, const char *to, int64_t n_out, int64_t n_in, moa_err *err) {
    moa_fail(err, MOA_EFORMAT, "%s: '%.120s' adapts a matrix [%lld, %lld], '%s' of %s is [%lld, %lld]", a->path, l->name, (long long)l->n_out, (long long)l->n_in,
             to, base_name(b), (long long)n_out, (long long)n_in);
    return *a->base ? moa_hint(err, MOA_EFORMAT, "the adapter was made for %.100s", a->base) : MOA_EFORMAT;
}

/* Rows row, row + step, ... of B, as many as t has or the expert's part of it, belong to t; *row becomes the one behind them. */
static int places_of(place_list *out, const base_map *b, const moa_adapter *a, const moa_lora *l, const gguf_name *g, const char *to, int64_t *row, int step, bool all, moa_err *err) {
    const base_tensor *t = find(b, to);
    if (!t || t->n_dim < 2 || (t->n_dim == 3) != (g->expert >= 0)) return unknown(b, a, l, to, err);
    const int n_expert = t->n_dim == 3 ? (int)t->shape[0] : 1, each = t->n_part / n_expert, e = g->expert >= 0 ? g->expert : 0;
    if (e >= n_expert) return moa_fail(err, MOA_EFORMAT, "%s: '%.120s' is of expert %d, %s has %d", a->path, l->name, e, base_name(b), n_expert);
    const bool table = t->part->site == MOA_SITE_EMBEDDING;
    const int64_t n_out = table ? t->shape[1] : t->shape[t->n_dim - 2], n_in = table ? t->shape[0] : t->shape[t->n_dim - 1];
    if (table != l->embedding)
        return moa_fail(err, MOA_EFORMAT, "%s: '%.120s': a%s, '%s' of %s is%s one", a->path, l->name, l->embedding ? "n embedding's adapter" : " linear's adapter",
                        to, base_name(b), table ? "" : " not");
    if (l->n_in != n_in || (all ? l->n_out != n_out : l->n_out <= *row + (n_out - 1) * step)) return wrong_shape(b, a, l, to, n_out, n_in, err);
    if (g->pairs && n_out % (2 * g->pairs)) return wrong_shape(b, a, l, to, n_out, n_in, err);
    for (int i = 0; i < each; i++) {
        const base_part *p = &t->part[e * each + i];
        const int64_t rows = table ? n_out : p->rows;
        MOA_TRY(add_place(out, &(place){.site = p->site, .linear = p->linear, .row = *row, .rows = rows, .step = step, .pairs = g->pairs, .w = p->w, .slot = p->slot}, err));
        *row += rows * step;
    }
    return 0;
}

int base_map_places(place_list *out, const base_map *b, const moa_adapter *a, const moa_lora *l, moa_err *err) {
    gguf_name g;
    int64_t row = 0;
    out->n = 0;
    MOA_TRY(base_map_name(&g, b, a, l, err));
    const bool two = *g.also;
    const int step = g.turns && two ? 2 : 1;
    MOA_TRY(places_of(out, b, a, l, &g, g.to, &row, step, !two, err));
    if (step == 2) row = 1;
    if (two) MOA_TRY(places_of(out, b, a, l, &g, g.also, &row, step, false, err));
    return row == l->n_out + step - 1 ? 0 : wrong_shape(b, a, l, g.to, row, l->n_in, err);
}

/* Does a parameter's matrix fit as it is (1), turned (2), both ways (3), not at all (0)? */
static int ways_to_fit(const base_map *b, const moa_adapter *a, const moa_lora *l, moa_err *err) {
    gguf_name g;
    MOA_TRY(base_map_name(&g, b, a, l, err));
    const base_tensor *t = find(b, g.to);
    if (!t || t->n_dim != 3) return 0;
    const int64_t n_in = t->shape[2], n_out = t->shape[1] * (*g.also ? 2 : 1);
    return (l->n_in == n_in && l->n_out == n_out) | (l->n_in == n_out && l->n_out == n_in) << 1;
}

int base_map_turned(const base_map *b, const moa_adapter *a, moa_err *err) {
    const moa_lora *square = NULL;
    for (int i = 0; i < a->n; i++) {
        if (!a->lora[i].parameter || a->lora[i].expert) continue;
        const int ways = ways_to_fit(b, a, &a->lora[i], err);
        if (ways < 0) return ways;
        if (ways == 3) square = &a->lora[i];
        else if (ways) return ways == 2;
    }
    if (!square || strcmp(b->m->arch->name, "gpt-oss") == 0) return 0; /* its parameters have the input first: all versions agree but 0.19.0, which was mended after two days */
    moa_fail(err, MOA_EFORMAT, "%s: '%.120s' [%lld, %lld]: a square parameter does not say which of its axes is the input's", a->path, square->name, (long long)square->n_out,
             (long long)square->n_in);
    return moa_hint(err, MOA_EFORMAT, "versions of PEFT differ in it; with the adapter of another parameter in the same file it would be known");
}

static moa_tensor transposed(moa_arena *ar, const moa_tensor *t) {
    const int64_t rows = moa_rows(t), cols = moa_cols(t);
    const size_t size = moa_row_bytes(t->dtype, 1);
    char *p = moa_arena_alloc(ar, (size_t)(rows * cols) * size);
    for (int64_t i = 0; p && i < rows; i++)
        for (int64_t k = 0; k < cols; k++) memcpy(p + (size_t)(k * rows + i) * size, (const char *)t->data + (size_t)(i * cols + k) * size, size);
    return moa_view2(t->dtype, p, cols, rows);
}

const moa_lora *adapter_lora(moa_arena *ar, const moa_lora *l, bool turned) {
    if (!turned || !l->parameter) return l;
    moa_lora *own = moa_arena_alloc(ar, sizeof *own);
    if (!own) return NULL;
    *own = *l;
    own->n_in = l->n_out, own->n_out = l->n_in;
    own->a = transposed(ar, &l->b), own->b = transposed(ar, &l->a);
    return own->a.data && own->b.data ? own : NULL;
}

static int no_such_whole(const base_map *b, const moa_adapter *a, const moa_whole *w, const base_tensor *t, moa_err *err) {
    const long long own = moa_rows(&w->w), cols = moa_cols(&w->w);
    if (!t)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.120s' would stand in for one that %s (%s) has not, or not whole", a->path, w->name, base_name(b),
                        b->m->arch->name);
    moa_fail(err, MOA_EFORMAT, "%s: tensor '%.120s' has %d axes, [%lld, %lld], '%s' of %s %d, [%lld, %lld]", a->path, w->name, w->w.n_dim, own, cols,
             t->name, base_name(b), t->n_dim, t->n_dim > 1 ? (long long)t->shape[0] : 1, (long long)t->shape[t->n_dim - 1]);
    return moa_hint(err, MOA_EFORMAT, "an adapter with another vocabulary needs the base with its tokens added");
}

int base_map_whole(place_list *out, const base_map *b, const moa_adapter *a, const moa_whole *w, moa_err *err) {
    moa_hf_place p = {0};
    const bool gguf = a->form == MOA_ADAPTER_GGUF;
    out->n = 0;
    if (gguf) MOA_TRY(check_arch(b, a, err));
    const bool known = gguf || moa_hf_tensor_of(&p, b->m->arch->name, peft_strip(w->name));
    const base_tensor *t = known ? find(b, gguf ? w->name : p.to) : NULL;
    if (!t || t->n_dim > 2 || !*t->part->slot) return no_such_whole(b, a, w, NULL, err);
    const int pairs = heads_of(b->m, p.pairs);
    const int64_t rows = t->shape[0];
    bool same = t->n_dim == w->w.n_dim && !(pairs && rows % (2 * pairs));
    for (int i = 0; same && i < t->n_dim; i++) same = t->shape[i] == w->w.shape[i];
    if (!same) return no_such_whole(b, a, w, t, err);
    int64_t row = 0;
    for (int i = 0; i < t->n_part; row += t->part[i++].rows)
        MOA_TRY(add_place(out, &(place){.site = t->part[i].site, .row = row, .rows = t->part[i].rows, .step = 1, .pairs = pairs, .w = t->part[i].w, .slot = t->part[i].slot,
                                        .plus1 = p.plus1}, err));
    return 0;
}
