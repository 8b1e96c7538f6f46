/* explain.c - see explain.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/explain.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/err.h"
#include "model/explain_lab.h"
#include "model/kv.h"
#include "tensor/pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const int moa_explain_batch[MOA_EXPLAIN_BATCHES] = {1, 2, 4, 8, 16, 32};

const char *moa_part_name(moa_part p) {
    static const char *const name[MOA_PARTS] = {"attention", "feed-forward", "experts", "shared expert", "routers", "output matrix"};
    return p >= 0 && p < MOA_PARTS ? name[p] : "?";
}

const char *moa_gap_name(moa_gap g) {
    static const char *const name[] = {"none: near its limit", "products: taking weights apart, waiting for memory and threads", "attention",
                                       "small work between products", "what is not in the prediction: a busy machine, sharing of threads, routing"};
    return name[g];
}

/* ---- what the model has ---- */

enum { MAX_WORK = 64, PREFILL = MOA_EXPLAIN_PREFILL };

/* A kind of work, and after the last attention: there only rows that want logits go on. */
typedef struct entry {
    moa_work w;
    double late;              /* of count, those in the last layer and behind its attention */
    double one_s;             /* seconds with one row, this round */
} entry;

typedef struct survey { const moa_model *m; moa_explained *e; entry work[MAX_WORK]; int n; } survey;

static void count_bytes(moa_explained *e, moa_part part, const moa_tensor *w, double share) {
    if (!w) return;
    e->weights[part] += (double)moa_tensor_count(w);
    e->bytes[part] += (double)moa_tensor_bytes(w);
    e->active[part] += (double)moa_tensor_bytes(w) * share;
}

static bool same_kind(const moa_work *a, const moa_work *b) {
    bool same = a->kind == b->kind && a->n_w == b->n_w && a->part == b->part;
    for (int i = 0; same && i < a->n_w; i++)
        same = a->w[i].dtype == b->w[i].dtype && moa_rows(&a->w[i]) == moa_rows(&b->w[i]) && moa_cols(&a->w[i]) == moa_cols(&b->w[i]);
    return same;
}

/* Up to three weights of one work; those that are missing are left out. */
static void add(survey *s, moa_work_kind kind, moa_part part, bool late, const moa_tensor *a, const moa_tensor *b, const moa_tensor *c) {
    const moa_tensor *w[3] = {a, b, c};
    moa_work k = {.kind = kind, .part = part};
    for (int i = 0; i < 3; i++)
        if (w[i]) k.w[k.n_w++] = *w[i];
    if (!k.n_w) return;
    int i = 0;
    while (i < s->n && !same_kind(&s->work[i].w, &k)) i++;
    if (i == MAX_WORK) i = MAX_WORK - 1; /* mixtures of very many kinds: the last stands for the rest */
    if (i == s->n) s->work[s->n++].w = k;
    s->work[i].w.count += 1;
    s->work[i].late += late;
}

static void take_layer(survey *s, int i) {
    const moa_layer *l = &s->m->layer[i];
    const bool last = i == s->m->h.n_layer - 1;
    const moa_tensor *attention[] = {l->q.w, l->k.w, l->v.w, l->o.w, l->q_a.w, l->kv_a.w, l->kv_b.w, l->k_b, l->v_b};
    for (size_t k = 0; k < sizeof attention / sizeof *attention; k++) {
        count_bytes(s->e, MOA_PART_ATTENTION, attention[k], 1);
        if (k > 2 || s->m->h.kv_rank) add(s, MOA_WORK_LINEAR, MOA_PART_ATTENTION, last && attention[k] == l->o.w, attention[k], NULL, NULL);
    }
    if (!s->m->h.kv_rank) add(s, MOA_WORK_LINEAR, MOA_PART_ATTENTION, false, l->q.w, l->k.w, l->v.w);
    const moa_part part = l->router.w ? MOA_PART_SHARED : MOA_PART_DENSE;
    const moa_tensor *gate = l->router.w ? l->s_gate.w : l->gate.w, *up = l->router.w ? l->s_up.w : l->up.w, *down = l->router.w ? l->s_down.w : l->down.w;
    count_bytes(s->e, part, gate, 1), count_bytes(s->e, part, up, 1), count_bytes(s->e, part, down, 1);
    add(s, gate && up ? MOA_WORK_GATED : MOA_WORK_LINEAR, part, last, gate, up, NULL);
    add(s, MOA_WORK_LINEAR, part, last, down, NULL, NULL);
    if (!l->router.w) return;
    count_bytes(s->e, MOA_PART_ROUTER, l->router.w, 1);
    add(s, MOA_WORK_LINEAR, MOA_PART_ROUTER, last, l->router.w, NULL, NULL);
    const double share = (double)s->m->h.n_expert_used / s->m->h.n_expert;
    for (int x = 0; x < s->m->h.n_expert; x++)
        count_bytes(s->e, MOA_PART_EXPERTS, l->e_gate[x].w, share), count_bytes(s->e, MOA_PART_EXPERTS, l->e_up[x].w, share),
            count_bytes(s->e, MOA_PART_EXPERTS, l->e_down[x].w, share);
    add(s, MOA_WORK_EXPERTS, MOA_PART_EXPERTS, last, l->e_gate[0].w, l->e_up[0].w, l->e_down[0].w);
}

static void take_stock(survey *s) {
    for (int i = 0; i < s->m->h.n_layer; i++) take_layer(s, i);
    count_bytes(s->e, MOA_PART_HEAD, s->m->out.w, 1);
    add(s, MOA_WORK_LINEAR, MOA_PART_HEAD, false, s->m->out.w, NULL, NULL);
    s->e->kv_bytes = (double)moa_kv_numbers(&s->m->h) * (double)moa_row_bytes(moa_kv_usual(&s->m->h), 32) / 32;
}

/* ---- routing ---- */

typedef struct routing { const double *rows; int n; } routing; /* [n, n_expert]: profiles of a point */

/* What was counted, or U experts with equally many rows, in `room`. */
static routing routing_of(double *room, double *unique, const moa_model *m, int point, int n, const moa_explain_routes *counted) {
    const double e = m->h.n_expert, k = m->h.n_expert_used;
    *unique = counted ? counted->unique[point] : e > 0 ? e * (1 - pow(1 - k / e, n)) : 0;
    if (counted) return (routing){counted->rows + point * counted->n_layer * m->h.n_expert, counted->n_layer};
    for (int j = 0; j < m->h.n_expert; j++) room[j] = j < *unique ? (*unique - j < 1 ? *unique - j : 1) * n * k / *unique : 0;
    return (routing){room, 1};
}

/* ---- limits ---- */

static double peak_of(const moa_machine *l, const moa_exec *x, const moa_tensor *w, int rows) {
    const int c = moa_row_class(rows), threads = x->n_threads;
    const moa_kernel *kernel = x->repack && w->pack ? x->k->gemm_packed[c][w->dtype] : NULL;
    if (!kernel) kernel = x->k->gemm_q8[c][w->dtype];
    if (!kernel) kernel = x->k->slot[MOA_K_GEMM][w->dtype];
    const int p = kernel ? moa_probe_of(kernel) : -1;
    if (p < 0 || p >= MOA_PROBES || l->peak[p].one <= 0) return INFINITY;
    return l->n_cpu > 1 ? l->peak[p].one + (l->peak[p].all - l->peak[p].one) * (fmin(threads, l->n_cpu) - 1) / (l->n_cpu - 1) : l->peak[p].one;
}

/* Seconds that reading the weights of a step and multiplying them take at least. */
static void limits_of(moa_explain_point *p, const survey *s, const moa_lab *b, const moa_machine *l, bool prefill) {
    p->bytes = p->work_s = 0;
    for (int i = 0; i < s->n; i++) {
        const moa_work *w = &s->work[i].w;
        const bool experts = w->kind == MOA_WORK_EXPERTS, head = w->part == MOA_PART_HEAD;
        const double rows = experts ? (double)p->rows * s->m->h.n_expert_used : head && prefill ? 1 : p->rows;
        const double each = experts ? rows / (p->unique > 0 ? p->unique : 1) : rows, times = w->count - (prefill ? s->work[i].late : 0);
        for (int k = 0; k < w->n_w; k++) {
            p->bytes += (double)moa_tensor_bytes(&w->w[k]) * (experts ? p->unique : 1) * w->count;
            p->work_s += 2 * (double)moa_tensor_count(&w->w[k]) * rows * times / peak_of(l, &b->x, &w->w[k], (int)(each + 0.5));
        }
    }
    p->read_s = p->bytes / moa_machine_read(l, b->x.n_threads);
}

/* ---- prediction ---- */

static int predict(moa_explain_cost *c, survey *s, moa_lab *b, int point, routing r, int runs, moa_err *err) {
    const moa_explained *e = s->e;
    const bool prefill = point == PREFILL;
    const int n = e->point[point].rows;
    *c = (moa_explain_cost){0};
    for (int i = 0; i < s->n; i++) {
        entry *w = &s->work[i];
        double t;
        MOA_TRY(moa_lab_work(&t, b, &w->w, prefill && w->w.part == MOA_PART_HEAD ? 1 : n, r.rows, r.n, runs, err));
        if (!point) w->one_s = t;
        c->products += prefill ? t * (w->w.count - w->late) + w->one_s * w->late : t * w->w.count;
    }
    MOA_TRY(moa_lab_attention(&c->attention, b, n, prefill ? 0 : e->context, runs, err));
    MOA_TRY(moa_lab_small(&c->small, b, n, runs, err));
    c->small *= s->m->h.n_layer;
    c->total = c->products + c->attention + c->small;
    return 0;
}

/* The fewest threads with which the products of decoding are within 3 % of the best. Turns, and the best of each, since a neighbour on the
 * machine hurts many threads more than one. */
static int choose_threads(survey *s, moa_lab *b, const moa_machine *l, routing r, int threads, int most, moa_err *err) {
    moa_explained *e = s->e;
    double best = 0, seconds[MOA_EXPLAIN_THREADS];
    for (int t = threads ? threads : 1; e->n_tried < MOA_EXPLAIN_THREADS; t = 2 * t > most ? most : 2 * t) {
        e->tried[e->n_tried].threads = t, seconds[e->n_tried++] = INFINITY;
        if (t >= most) break;
    }
    for (int turn = 0; turn < 3; turn++)
        for (int i = 0; i < e->n_tried; i++) {
            double all = 0, one;
            b->x.n_threads = e->tried[i].threads;
            for (int k = 0; k < s->n; k++) {
                MOA_TRY(moa_lab_work(&one, b, &s->work[k].w, 1, r.rows, 1, 1, err));
                all += one * s->work[k].w.count;
            }
            seconds[i] = fmin(seconds[i], all);
        }
    double active = 0;
    for (int p = 0; p < MOA_PARTS; p++) active += e->active[p];
    for (int i = 0; i < e->n_tried; i++) {
        e->tried[i].read_gbps = moa_machine_read(l, e->tried[i].threads) * 1e-9;
        e->tried[i].product_gbps = active / seconds[i] * 1e-9;
        if (e->tried[i].product_gbps <= 1.03 * best) continue;
        best = e->tried[i].product_gbps;
        e->threads = e->tried[i].threads, e->read_gbps = e->tried[i].read_gbps;
    }
    b->x.n_threads = e->threads;
    return 0;
}

static double middle(const double *v, int n) {
    double t[MOA_EXPLAIN_ROUNDS];
    for (int i = 0; i < n; i++) {
        int j = i;
        for (; j > 0 && t[j - 1] > v[i]; j--) t[j] = t[j - 1];
        t[j] = v[i];
    }
    return n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2;
}

/* What is largest of what lies between a step and the nearer of its limits. */
static moa_gap gap_of(const moa_explain_point *p) {
    const double limit = fmax(p->read_s, p->work_s), real = p->real > 0 ? p->real : p->cost.total;
    const double part[] = {0, p->cost.products - limit, p->cost.attention, p->cost.small, real - p->cost.total};
    if (limit > 0.85 * real) return MOA_GAP_NONE;
    int most = MOA_GAP_PRODUCTS;
    for (int i = most + 1; i <= MOA_GAP_REST; i++)
        if (part[i] > part[most]) most = i;
    return (moa_gap)most;
}

typedef struct rounds { double total[MOA_EXPLAIN_ROUNDS], products[MOA_EXPLAIN_ROUNDS], attention[MOA_EXPLAIN_ROUNDS], small[MOA_EXPLAIN_ROUNDS], real[MOA_EXPLAIN_ROUNDS], ratio[MOA_EXPLAIN_ROUNDS]; } rounds;

static int all_points(survey *s, moa_lab *b, const moa_machine *l, const moa_explain_cfg *cfg, double *room, double *own, moa_err *err) {
    moa_explained *e = s->e;
    rounds *r = calloc(MOA_EXPLAIN_POINTS, sizeof *r);
    const int n_round = !cfg->run ? 1 : cfg->rounds < 1 ? 1 : cfg->rounds > MOA_EXPLAIN_ROUNDS ? MOA_EXPLAIN_ROUNDS : cfg->rounds;
    int rc = r ? 0 : moa_fail(err, MOA_ENOMEM, "explain: no memory");
    for (int k = 0; rc >= 0 && k < n_round; k++)
        for (int i = 0; rc >= 0 && i < MOA_EXPLAIN_POINTS; i++) {
            moa_explain_cost c;
            const routing way = routing_of(room, &e->point[i].unique, s->m, i, e->point[i].rows, cfg->routes);
            if (!k) limits_of(&e->point[i], s, b, l, i == PREFILL);
            double real = 0;
            const double t0 = moa_now();
            if (cfg->run && !k) rc = cfg->run(cfg->ctx, &real, i, e->threads, err); /* warms up */
            *own += moa_now() - t0;
            if (rc >= 0) rc = predict(&c, s, b, i, way, cfg->run ? 2 : 3, err);
            const double t1 = moa_now();
            if (rc >= 0 && cfg->run) rc = cfg->run(cfg->ctx, &real, i, e->threads, err);
            *own += moa_now() - t1;
            if (rc < 0) break;
            r[i].total[k] = c.total, r[i].products[k] = c.products, r[i].attention[k] = c.attention, r[i].small[k] = c.small;
            r[i].real[k] = real, r[i].ratio[k] = real / c.total;
        }
    for (int i = 0; rc >= 0 && i < MOA_EXPLAIN_POINTS; i++) {
        moa_explain_point *p = &e->point[i];
        p->cost = (moa_explain_cost){middle(r[i].total, n_round), middle(r[i].products, n_round), middle(r[i].attention, n_round), middle(r[i].small, n_round)};
        if (cfg->run) p->real = middle(r[i].real, n_round), p->ratio = middle(r[i].ratio, n_round);
        p->gap = gap_of(p);
    }
    free(r);
    return rc;
}

int moa_explain(moa_explained *e, const moa_model *m, const moa_machine *limits, const moa_explain_cfg *cfg, moa_err *err) {
    if (m->arch->encoder) return moa_fail(err, MOA_EUNSUPPORTED, "explain: '%s' is an encoder", m->arch->name);
    const moa_hparams *h = &m->h;
    const int most = cfg->threads ? cfg->threads : moa_cpu_count();
    int prompt = cfg->prompt < MOA_LAB_ROWS ? cfg->prompt : MOA_LAB_ROWS, context = cfg->context;
    if (prompt > h->n_ctx) prompt = h->n_ctx;
    if (context >= h->n_ctx) context = h->n_ctx - 1;
    *e = (moa_explained){.context = context < 1 ? 1 : context, .prompt = prompt < 1 ? 1 : prompt, .n_expert = h->n_expert, .n_used = h->n_expert_used, .counted = cfg->routes};
    for (int i = 0; i < MOA_EXPLAIN_POINTS; i++) e->point[i].rows = i == PREFILL ? e->prompt : moa_explain_batch[i];
    const double t0 = moa_now();
    double own = 0, bytes = 0, *room = calloc((size_t)h->n_expert + 1, sizeof *room);
    survey *s = calloc(1, sizeof *s);
    moa_lab b = {0};
    int rc = s && room ? 0 : moa_fail(err, MOA_ENOMEM, "explain: no memory");
    if (rc >= 0) {
        s->m = m, s->e = e;
        take_stock(s);
        int64_t widest = (int64_t)(h->n_head > h->n_kv ? h->n_head : h->n_kv) * h->head_dim;
        if (widest < h->d_model) widest = h->d_model;
        for (int i = 0; i < s->n; i++) widest = moa_cols(&s->work[i].w.w[0]) > widest ? moa_cols(&s->work[i].w.w[0]) : widest;
        for (int p = 0; p < MOA_PARTS; p++) bytes += e->bytes[p];
        bool repack;
        rc = moa_packs_want(m->packs, cfg->repack, &repack, err);
        if (rc >= 0) e->packed_bytes = repack ? (double)moa_packs_total(m->packs) : 0;
        if (rc >= 0) rc = moa_lab_open(&b, m, most, repack, bytes, widest, err);
    }
    if (rc >= 0) {
        double unused;
        rc = choose_threads(s, &b, limits, routing_of(room, &unused, m, 0, 1, cfg->routes), cfg->threads, most, err);
        if (rc >= 0) rc = all_points(s, &b, limits, cfg, room, &own, err);
        moa_lab_close(&b);
    }
    free(s), free(room);
    e->seconds = moa_now() - t0 - own;
    return rc;
}
