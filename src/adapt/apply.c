/* apply.c - sets of adapters: what each place of a model adds to its product, and the adding.
 *
 * h = A x and B h are products of the kernel table with f32 activations, so a row's bits depend on nothing but the row; terms are added
 * in the order of the set, y_o += s (sum_k B_ok h_k + c_o). Scratch is the step's arena.
 *
 * DoRA: y = g . (W x + s B A x) + b with g_o = m_o / |row o of W + s B A|. As PEFT does with several adapters, each adds
 * (g - 1) . W x + g . s B A x: the second part is an adapter with rows of B times g, the first a factor of the place.
 *
 * Tensors that stand in for the base's are swaps: the graph asks for the weight that the model keeps at an address (moa_weight_at).
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt_impl.h"
#include "base/arena.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/rng.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

typedef struct term {
    moa_tensor a, b;       /* [rank, n_in] or [n_vocab, rank]; [n_out, rank] */
    const float *bias;     /* [n_out] or NULL */
    int rank;
    float scale;
    struct term *next;     /* in the order of the set */
} term;

struct moa_site_delta {
    term *first, *last;
    int64_t n_in, n_out;
    float *gain;           /* [n_out] sum of g - 1, or NULL */
};

struct moa_adapter_set {
    moa_arena *arena;
    moa_sites sites;
    moa_site_delta **at;   /* [n_site] */
    moa_swap *swap;        /* [n_swap], room for cap */
    int n_swap, cap;
};

/* ---- adding ---- */

typedef struct down { float *h; const float *x; const term *t; int64_t n, n_in; const moa_kernels *k; } down; /* range: rows of A */
static void down_range(const void *args, int64_t o0, int64_t o1, int thread) {
    const down *p = args;
    const moa_tensor *a = &p->t->a;
    (void)thread;
    p->k->slot[MOA_K_GEMM][a->dtype]->fn.gemm_f32(p->h, p->t->rank, p->x, p->n_in, a->data, moa_row_bytes(a->dtype, p->n_in), p->n, o0, o1, p->n_in);
}

typedef struct up { float *y, *part; const float *h; const term *t; int64_t n, n_out; const moa_kernels *k; } up; /* range: rows of B */
static void up_range(const void *args, int64_t o0, int64_t o1, int thread) {
    const up *p = args;
    const int64_t rank = p->t->rank;
    const moa_tensor *b = &p->t->b;
    (void)thread;
    p->k->slot[MOA_K_GEMM][b->dtype]->fn.gemm_f32(p->part, p->n_out, p->h, rank, b->data, moa_row_bytes(b->dtype, rank), p->n, o0, o1, rank);
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t o = o0; o < o1; o++) {
            const int64_t at = i * p->n_out + o;
            p->y[at] += p->t->scale * (p->t->bias ? p->part[at] + p->t->bias[o] : p->part[at]);
        }
}

static void scale_rows(moa_exec *x, const moa_site_delta *d, const moa_linear_w *l, float *y, int64_t n) {
    const moa_tensor *bias = l ? moa_weight_at(x, &l->b) : NULL;
    const float *b = bias ? bias->data : NULL;
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = 0; o < d->n_out; o++) y[i * d->n_out + o] += d->gain[o] * (y[i * d->n_out + o] - (b ? b[o] : 0));
}

static void add_term(moa_exec *x, const moa_site_delta *d, const term *t, const moa_tensor *in, float *y, int64_t n) {
    float *h = moa_arena_alloc(x->arena, (size_t)(n * t->rank) * sizeof *h), *part = moa_arena_alloc(x->arena, (size_t)(n * d->n_out) * sizeof *part);
    if (!h || !part) {
        moa_fail(&x->err, MOA_ENOMEM, "adapter: no memory for %lld rows", (long long)n);
        return;
    }
    if (in->dtype == MOA_I32) { /* the embedding: rows of A by token */
        const size_t bytes = moa_row_bytes(t->a.dtype, t->rank);
        for (int64_t i = 0; i < n; i++)
            moa_type_get(t->a.dtype)->dequantize(h + i * t->rank, (const char *)t->a.data + (size_t)((const int32_t *)in->data)[i] * bytes, t->rank);
    } else {
        const down p = {h, in->data, t, n, d->n_in, x->k};
        moa_parallel(x, t->rank, 8, (double)d->n_in * (0.05 + 0.02 * (double)n), down_range, &p);
    }
    const up p = {y, part, h, t, n, d->n_out, x->k};
    moa_parallel(x, d->n_out, 16, (double)t->rank * (0.05 + 0.02 * (double)n) + (double)n, up_range, &p);
}

static moa_tensor *add(moa_exec *x, const moa_site_delta *d, moa_tensor *in, const moa_linear_w *l, moa_tensor *y) {
    if (!in || x->tape) {
        if (x->tape) moa_fail(&x->err, MOA_EUNSUPPORTED, "adapters cannot be recorded for training");
        return NULL;
    }
    const int64_t n = moa_rows(y);
    const moa_arena_mark mark = moa_arena_save(x->arena);
    if (d->gain) scale_rows(x, d, l, y->data, n);
    for (const term *t = d->first; t && n && !x->err.code; t = t->next) {
        add_term(x, d, t, in, y->data, n);
        moa_arena_restore(x->arena, mark);
    }
    return x->err.code ? NULL : y;
}

/* ---- making a set ---- */

static int no_memory(const moa_adapter *a, moa_err *err) { return moa_fail(err, MOA_ENOMEM, "%s: no memory for a set of adapters", a->path); }

/* Rows of the place, in its order: the file's own memory where nothing must be moved, or a copy as f32. data NULL: no memory. A vector
 * has rows of one number. */
static moa_tensor rows_of(moa_adapter_set *s, const moa_tensor *v, const place *p, bool wide) {
    const int64_t cols = v->n_dim > 1 ? moa_cols(v) : 1;
    const moa_dtype type = wide ? MOA_F32 : v->dtype;
    const size_t from = moa_row_bytes(v->dtype, cols), to = moa_row_bytes(type, cols);
    char *data = (char *)v->data + (size_t)p->row * from;
    if (wide || p->pairs || p->step > 1) {
        char *own = moa_arena_alloc(s->arena, (size_t)p->rows * to);
        for (int64_t i = 0; own && i < p->rows; i++) {
            const char *row = data + (size_t)(pair_row(i, p->rows, p->pairs) * p->step) * from;
            if (type == v->dtype) memcpy(own + (size_t)i * to, row, to);
            else moa_type_get(v->dtype)->dequantize((float *)(void *)(own + (size_t)i * to), row, cols);
        }
        data = own;
    }
    return v->n_dim > 1 ? moa_view2(type, data, p->rows, cols) : moa_view1(type, data, p->rows);
}

static float *vector_of(moa_adapter_set *s, float *v, int64_t n, const place *p, bool copy) {
    const moa_tensor t = moa_view1(MOA_F32, v, n);
    return rows_of(s, &t, p, copy).data;
}

/* |row| of W + s B A; a, b: as f32, b's rows as the place's; buf [n_in]. */
static double row_norm(const place *p, const moa_lora *l, const float *a, const float *b, float s, int64_t o, float *buf) {
    double sum = 0;
    moa_type_get(p->w->dtype)->dequantize(buf, (const char *)p->w->data + o * p->w->stride[p->w->n_dim > 1 ? p->w->n_dim - 2 : 0], l->n_in);
    for (int k = 0; k < l->rank; k++) {
        const float f = s * b[o * l->rank + k];
        for (int64_t i = 0; i < l->n_in; i++) buf[i] += f * a[k * l->n_in + i];
    }
    for (int64_t i = 0; i < l->n_in; i++) sum += (double)buf[i] * buf[i];
    return sqrt(sum);
}

/* g of DoRA goes into the rows of B, g - 1 into the place's gain. */
static int magnify(moa_adapter_set *s, moa_site_delta *d, term *t, const moa_adapter *a, const moa_lora *l, const place *p, int n_threads, moa_err *err) {
    float *b = t->b.data, *bias = (float *)(uintptr_t)t->bias; /* copies of ours */
    const float *m = vector_of(s, l->magnitude, l->n_out, p, false);
    float *buf = malloc((size_t)n_threads * (size_t)l->n_in * sizeof *buf);
    int64_t bad = -1;
    if (!d->gain) d->gain = moa_arena_calloc(s->arena, (size_t)d->n_out * sizeof *d->gain);
    const moa_arena_mark mark = moa_arena_save(s->arena); /* A as f32 is not needed for long */
    const float *wide = adapter_wide(s->arena, &l->a);
    if (!m || !buf || !d->gain || !wide) {
        free(buf);
        return no_memory(a, err);
    }
#pragma omp parallel for num_threads(n_threads) if (n_threads > 1)
    for (int64_t o = 0; o < p->rows; o++) {
        const double norm = row_norm(p, l, wide, b, t->scale, o, buf + (size_t)omp_get_thread_num() * (size_t)l->n_in), g = m[o] / norm;
        if (!isfinite(g)) {
#pragma omp critical
            bad = o;
            continue;
        }
        for (int k = 0; k < l->rank; k++) b[o * l->rank + k] = (float)(g * b[o * l->rank + k]);
        if (bias) bias[o] = (float)(g * bias[o]);
        d->gain[o] += (float)(g - 1);
    }
    moa_arena_restore(s->arena, mark);
    free(buf);
    return bad < 0 ? 0 : moa_fail(err, MOA_EFORMAT, "%s: '%.120s': row %lld of W + B A is zero or not finite, so DoRA has no direction for it", a->path, l->name, (long long)bad);
}

static int add_to_place(moa_adapter_set *s, const moa_adapter *a, const moa_lora *l, const place *p, float scale, int n_threads, moa_err *err) {
    moa_site_delta *d = s->at[p->site];
    if (!d && (d = s->at[p->site] = moa_arena_calloc(s->arena, sizeof *d))) *d = (moa_site_delta){.n_in = l->n_in, .n_out = p->rows};
    term *t = d ? moa_arena_alloc(s->arena, sizeof *t) : NULL;
    if (!t) return no_memory(a, err);
    const bool dora = l->magnitude != NULL;
    place own = *p; /* the base of this adapter is what it brings itself */
    for (int i = 0; i < s->n_swap; i++)
        if (s->swap[i].slot == p->slot) own.w = s->swap[i].w;
    *t = (term){.a = l->a, .b = rows_of(s, &l->b, p, dora), .bias = l->bias ? vector_of(s, l->bias, l->n_out, p, dora) : NULL, .rank = l->rank, .scale = scale * l->scale};
    if (!t->b.data || (l->bias && !t->bias)) return no_memory(a, err);
    if (dora) MOA_TRY(magnify(s, d, t, a, l, &own, n_threads, err));
    if (d->last) d->last->next = t;
    else d->first = t;
    d->last = t;
    return 0;
}

/* ---- swaps ---- */

/* The place's part of w, in its order and with its numbers. */
static moa_tensor *part_of(moa_adapter_set *s, const moa_whole *w, const place *p) {
    moa_tensor *t = moa_arena_alloc(s->arena, sizeof *t);
    if (!t) return NULL;
    *t = rows_of(s, &w->w, p, p->plus1);
    float *norm = t->data;
    for (int64_t i = 0; norm && p->plus1 && i < p->rows; i++) norm[i] += 1;
    t->name = w->name;
    return norm ? t : NULL;
}

static int add_swap(moa_adapter_set *s, const moa_adapter *a, const moa_whole *w, const place *p, moa_err *err) {
    for (int i = 0; i < s->n_swap; i++)
        if (s->swap[i].slot == p->slot)
            return moa_fail(err, MOA_EINVAL, "%s: tensor '%.120s' would stand in for what another adapter replaces already", a->path, w->name);
    if (s->n_swap == s->cap) {
        const int cap = s->cap ? 2 * s->cap : 16;
        moa_swap *v = realloc(s->swap, (size_t)cap * sizeof *v);
        if (!v) return no_memory(a, err);
        s->swap = v, s->cap = cap;
    }
    moa_tensor *t = part_of(s, w, p);
    if (!t) return no_memory(a, err);
    s->swap[s->n_swap++] = (moa_swap){p->slot, t};
    return 0;
}

static int by_slot(const void *pa, const void *pb) {
    const uintptr_t a = (uintptr_t)((const moa_swap *)pa)->slot, b = (uintptr_t)((const moa_swap *)pb)->slot;
    return (a > b) - (a < b);
}

static int add_adapter(moa_adapter_set *s, const base_map *b, const moa_adapter_use *u, int n_threads, moa_err *err) {
    place_list places = {0};
    int rc = 0;
    for (int i = 0; rc >= 0 && i < u->adapter->n_whole; i++) {
        rc = base_map_whole(&places, b, u->adapter, &u->adapter->whole[i], err);
        for (int k = 0; rc >= 0 && u->scale != 0 && k < places.n; k++) rc = add_swap(s, u->adapter, &u->adapter->whole[i], &places.v[k], err);
    }
    const int turned = rc < 0 ? rc : base_map_turned(b, u->adapter, err);
    if (turned < 0) rc = turned;
    for (int i = 0; rc >= 0 && i < u->adapter->n; i++) {
        const moa_lora *l = adapter_lora(s->arena, &u->adapter->lora[i], turned);
        rc = l ? base_map_places(&places, b, u->adapter, l, err) : no_memory(u->adapter, err);
        for (int k = 0; rc >= 0 && u->scale != 0 && k < places.n; k++) rc = add_to_place(s, u->adapter, l, &places.v[k], u->scale, n_threads, err);
    }
    free(places.v);
    return rc;
}

int moa_adapter_set_new(moa_adapter_set **out, const moa_model *m, const moa_adapter_use *use, int n, int n_threads, moa_err *err) {
    moa_adapter_set *s = calloc(1, sizeof *s);
    base_map *b = NULL;
    *out = NULL;
    if (!s || !(s->arena = moa_arena_new(0, 0)) || !(s->at = moa_arena_calloc(s->arena, (size_t)m->n_site * sizeof *s->at))) {
        moa_adapter_set_free(s);
        return moa_fail(err, MOA_ENOMEM, "adapters: no memory for a set of %d", n);
    }
    if (n_threads < 1) n_threads = moa_cpu_threads();
    s->sites = (moa_sites){.at = (const moa_site_delta *const *)s->at, .n_site = m->n_site, .add = add, .key = 1};
    int rc = base_map_new(&b, m, err);
    for (int i = 0; rc >= 0 && i < n; i++) {
        const struct { uint64_t key; float scale; uint32_t zero; } id = {use[i].adapter->key, use[i].scale, 0};
        s->sites.key = moa_hash64(&id, sizeof id, s->sites.key);
        rc = isfinite(use[i].scale) ? add_adapter(s, b, &use[i], n_threads, err) : moa_fail(err, MOA_EINVAL, "%s: scale %f", use[i].adapter->path, (double)use[i].scale);
    }
    if (!s->sites.key) s->sites.key = 1;
    if (s->n_swap) qsort(s->swap, (size_t)s->n_swap, sizeof *s->swap, by_slot);
    s->sites.swap = s->swap, s->sites.n_swap = s->n_swap;
    base_map_free(b);
    if (rc < 0) {
        moa_adapter_set_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void moa_adapter_set_free(moa_adapter_set *s) {
    if (!s) return;
    moa_arena_free(s->arena);
    free(s->swap);
    free(s);
}

const moa_sites *moa_adapter_set_sites(const moa_adapter_set *s) { return &s->sites; }
