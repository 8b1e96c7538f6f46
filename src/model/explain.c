/* explain.c - see explain.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/explain.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/team.h"
#include "model/attend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const int moa_explain_batch[MOA_EXPLAIN_BATCHES] = {1, 2, 4, 8, 16, 32};

const char *moa_part_name(moa_part p) {
    static const char *const name[MOA_PARTS] = {"attention", "feed-forward", "experts", "shared expert", "routers", "output matrix"};
    return p >= 0 && p < MOA_PARTS ? name[p] : "?";
}

/* ---- what the model has ---- */

enum { MAX_SHAPE = 48, N_ROWS = 9, BIG = 64 << 20 /* bytes: beyond most caches */, MAX_ROWS = 512, RUNS = 3 };
static const int row_counts[N_ROWS] = {1, 2, 4, 8, 16, 32, 64, 192, MAX_ROWS};

/* A kind of matrix. */
typedef struct matrix {
    moa_dtype type;
    int64_t out, in;
    double weights[MOA_PARTS]; /* of all of its kind */
    double rate[N_ROWS];       /* seconds a weight with row_counts rows */
} matrix;

typedef struct survey { matrix shape[MAX_SHAPE]; int n; } survey;

static void count(survey *s, moa_explained *e, moa_part part, const moa_tensor *w, double times) {
    if (!w) return;
    const int64_t in = moa_cols(w), out = moa_rows(w);
    const double weights = (double)moa_tensor_count(w);
    e->weights[part] += weights;
    e->bytes[part] += (double)moa_tensor_bytes(w);
    e->active[part] += (double)moa_tensor_bytes(w) * times;
    int i = 0;
    while (i < s->n && (s->shape[i].type != w->dtype || s->shape[i].out != out || s->shape[i].in != in)) i++;
    if (i == MAX_SHAPE) i = MAX_SHAPE - 1; /* mixtures of very many kinds: the last stands for the rest */
    if (i == s->n) s->shape[s->n++] = (matrix){.type = w->dtype, .out = out, .in = in};
    s->shape[i].weights[part] += weights;
}

static void take_stock(survey *s, moa_explained *e, const moa_model *m) {
    for (int i = 0; i < m->h.n_layer; i++) {
        const moa_layer *l = &m->layer[i];
        const moa_tensor *attention[] = {l->q.w, l->k.w, l->v.w, l->o.w, l->q_a.w, l->kv_a.w, l->kv_b.w, l->k_b, l->v_b};
        const moa_tensor *dense[] = {l->gate.w, l->up.w, l->down.w}, *shared[] = {l->s_gate.w, l->s_up.w, l->s_down.w};
        for (size_t k = 0; k < sizeof attention / sizeof *attention; k++) count(s, e, MOA_PART_ATTENTION, attention[k], 1);
        for (int k = 0; k < 3; k++) count(s, e, MOA_PART_SHARED, shared[k], 1);
        count(s, e, MOA_PART_ROUTER, l->router.w, 1);
        if (!l->router.w) {
            for (int k = 0; k < 3; k++) count(s, e, MOA_PART_DENSE, dense[k], 1);
            continue;
        }
        for (int x = 0; x < m->h.n_expert; x++) {
            const double share = (double)m->h.n_expert_used / m->h.n_expert;
            count(s, e, MOA_PART_EXPERTS, l->e_gate[x].w, share);
            count(s, e, MOA_PART_EXPERTS, l->e_up[x].w, share);
            count(s, e, MOA_PART_EXPERTS, l->e_down[x].w, share);
        }
    }
    count(s, e, MOA_PART_HEAD, m->out.w, 1);
}

/* ---- what the machine does ---- */

typedef struct lab { moa_exec x; char *memory; size_t size; float *rows; } lab;

static void close_lab(lab *b) {
    moa_team_free(b->x.team);
    moa_arena_free(b->x.arena);
    free(b->memory), free(b->rows);
}

static int open_lab(lab *b, int threads, size_t widest, moa_err *err) {
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    *b = (lab){.size = l3 > BIG / 2 && l3 < BIG * 4L ? 2 * (size_t)l3 : BIG};
    b->x = (moa_exec){.n_threads = threads, .arena = moa_arena_new(0, 0)};
    MOA_TRY(moa_kernels_default(&b->x.k, err));
    MOA_TRY(moa_team_new(&b->x.team, threads, err));
    if (!b->x.arena || !(b->memory = aligned_alloc(64, b->size)) || !(b->rows = malloc(MAX_ROWS * widest * sizeof(float))))
        return moa_fail(err, MOA_ENOMEM, "explain: no memory to measure with");
    memset(b->memory, 0x2a, b->size); /* ordinary weights of every type */
    for (size_t i = 0; i < MAX_ROWS * widest; i++) b->rows[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    return 0;
}

static double middle_of(const double t[RUNS]) { return fmax(fmin(t[0], t[1]), fmin(fmax(t[0], t[1]), t[2])); }
_Static_assert(RUNS == 3, "the middle of three");

typedef struct sweep { const uint64_t *p; uint64_t *sum; } sweep; /* range: pieces of 32 KiB */
static void read_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const sweep *s = args;
    uint64_t a[4] = {0};
    for (int64_t i = i0 * 4096; i < i1 * 4096; i += 4)
        for (int k = 0; k < 4; k++) a[k] += s->p[i + k];
    s->sum[thread * 8] += a[0] + a[1] + a[2] + a[3]; /* used, so it is read */
}

/* Bytes a second with t threads. */
static double read_rate(lab *b, int t) {
    uint64_t sum[8 * 64] = {0};
    const sweep s = {(const uint64_t *)(const void *)b->memory, sum};
    double took[RUNS];
    for (int i = -1; i < RUNS; i++) {
        const double t0 = moa_now();
        moa_team_run(b->x.team, t, (int64_t)(b->size / 32768), 1, read_range, &s);
        if (i >= 0) took[i] = moa_now() - t0;
    }
    return (double)b->size / middle_of(took);
}

/* Seconds a weight of one kind with n rows. The matrices of a step are as many as the model has, or fill the memory. */
static double product_rate(lab *b, const matrix *s, int n, double of_kind) {
    const size_t bytes = moa_row_bytes(s->type, s->in) * (size_t)s->out;
    size_t fit = b->size / bytes;
    if ((double)fit > of_kind / ((double)s->in * (double)s->out)) fit = (size_t)(of_kind / ((double)s->in * (double)s->out) + 0.5);
    int64_t out = s->out;
    if (!fit) fit = 1, out = (int64_t)(b->size / moa_row_bytes(s->type, s->in)); /* larger than the memory: a part of it */
    if (n >= 64 && fit > 4) fit = 4;                                                /* bound by arithmetic: caches do not matter */
    if (n >= 64 && (double)out * (double)s->in > 3e7) out = (int64_t)(3e7 / (double)s->in);
    double took[RUNS];
    for (int i = -1; i < RUNS; i++) {
        const double t0 = moa_now();
        for (size_t k = 0; k < fit; k++) {
            moa_arena_reset(b->x.arena);
            moa_tensor w = moa_view2(s->type, b->memory + k * bytes, out, s->in), x = moa_view2(MOA_F32, b->rows, n, s->in);
            if (!moa_linear(&b->x, &x, &w, NULL)) return 0;
        }
        if (i >= 0) took[i] = moa_now() - t0;
        if (took[i < 0 ? 0 : i] > 0.3) return (moa_now() - t0) / ((double)fit * (double)out * (double)s->in);
    }
    return middle_of(took) / ((double)fit * (double)out * (double)s->in);
}

/* Between measured counts of rows the time of a product is a straight line. */
static double rate_at(const matrix *s, double rows) {
    if (rows <= 1) return s->rate[0];
    for (int i = 1; i < N_ROWS; i++)
        if (rows <= row_counts[i]) {
            const double f = (rows - row_counts[i - 1]) / (row_counts[i] - row_counts[i - 1]);
            return s->rate[i - 1] + f * (s->rate[i] - s->rate[i - 1]);
        }
    return s->rate[N_ROWS - 1] * rows / row_counts[N_ROWS - 1];
}

/* Attention of n rows of sequences that share `at` positions, or of a prefill (at 0): seconds of one layer, measured on the thing itself. */
static int attention_time(double *s, lab *b, const moa_model *m, int n, int at, moa_err *err) {
    moa_kv kv;
    moa_attend_rows rows = {.kv = &kv, .scratch_floats = moa_attend_scratch(&m->h), .part_floats = moa_attend_parts(&m->h)};
    const bool prefill = !at;
    const int len = prefill ? n : at, n_seq = prefill ? 1 : n, n_block = len / MOA_KV_BLOCK + 2 * n_seq + 2;
    const moa_kv_shape kvs = moa_kv_shape_of(&m->h);
    const int64_t cols[3] = {(int64_t)m->h.n_head * kvs.key, (int64_t)kvs.n_kv * kvs.key, (int64_t)kvs.n_kv * kvs.value};
    int32_t *seq = calloc(3 * (size_t)n, sizeof *seq), *pos = seq + n, *order = pos + n;
    float *in = calloc((size_t)n * (size_t)(cols[0] + cols[1] + cols[2]), sizeof *in);
    double took[RUNS];
    rows.scratch = aligned_alloc(64, rows.scratch_floats * (size_t)b->x.n_threads * sizeof(float));
    rows.parts = malloc(rows.part_floats * sizeof(float));
    int rc = moa_kv_init(&kv, m, MOA_F32, n_block, n_seq + 1, n_block, err);
    if (rc >= 0 && (!seq || !in || !rows.scratch || !rows.parts)) rc = moa_fail(err, MOA_ENOMEM, "explain: no memory to measure with");
    if (rc >= 0) {
        moa_kv_reserve(&kv, n_seq, at);
        kv.seq[n_seq].len = at;
        for (int i = 0; i < n_seq; i++) {
            if (at) moa_kv_fork(&kv, i, n_seq, at);
            moa_kv_reserve(&kv, i, prefill ? n : 1);
        }
        for (int i = 0; i < n; i++) seq[i] = prefill ? 0 : i, pos[i] = prefill ? i : at;
        rows.seq = seq, rows.pos = pos, rows.order = order;
        moa_attend_order(order, &rows, n);
        moa_tensor q = moa_view2(MOA_F32, in, n, cols[0]), k = moa_view2(MOA_F32, in + n * cols[0], n, cols[1]),
                   v = moa_view2(MOA_F32, in + n * (cols[0] + cols[1]), n, cols[2]);
        for (int i = -1; i < RUNS; i++) {
            const double t0 = moa_now();
            for (int l = 0; l < m->h.n_layer; l++) {
                moa_arena_reset(b->x.arena);
                moa_attend_paged(&b->x, &rows, m, l, &q, &k, &v);
            }
            if (i >= 0) took[i] = moa_now() - t0;
        }
        *s = middle_of(took);
    }
    moa_kv_deinit(&kv);
    free(rows.scratch), free(rows.parts), free(in), free(seq);
    return rc;
}

/* Seconds of what lies between the products of n rows in one layer: two norms, two sums and the copy of a layer's result, and the activation,
 * each in a region of its own. `wide`: numbers of a row's feed-forward part. */
static double small_time(lab *b, const moa_model *m, int n, int64_t wide) {
    const int64_t d = m->h.d_model, cols[2] = {d, wide};
    double took[RUNS], total = 0;
    for (int part = 0; part < 2; part++) {
        moa_tensor t = moa_view2(MOA_F32, b->rows, n, cols[part]);
        for (int i = -1; i < RUNS; i++) {
            const double t0 = moa_now();
            for (int k = 0; k < 8; k++) {
                moa_arena_reset(b->x.arena);
                if (part) moa_silu_mul(&b->x, &t, &t);
                else moa_add(&b->x, moa_rms_norm(&b->x, &t, NULL, 1e-5f), &t);
            }
            if (i >= 0) took[i] = (moa_now() - t0) / 8;
        }
        total += middle_of(took) * (part ? 1 : 2.5); /* the copy and the rotations: half of a norm and a sum */
    }
    return total;
}

/* ---- prediction ---- */

static double at_random(const moa_model *m, double rows) {
    const double e = m->h.n_expert, k = m->h.n_expert_used;
    return m->h.n_expert ? e * (1 - pow(1 - k / e, rows)) : 0;
}

/* Seconds of the products of n rows, of which n_out want logits; u experts of a layer have some of them. */
static double products(const survey *s, const moa_model *m, int n, int n_out, double u) {
    double t = 0;
    for (int i = 0; i < s->n; i++)
        for (int p = 0; p < MOA_PARTS; p++) {
            const double w = s->shape[i].weights[p];
            if (w == 0) continue;
            if (p == MOA_PART_EXPERTS) {
                t += w * u / m->h.n_expert * rate_at(&s->shape[i], n * (double)m->h.n_expert_used / u);
            } else {
                t += w * rate_at(&s->shape[i], p == MOA_PART_HEAD ? n_out : n);
            }
        }
    return t;
}

static int cost(moa_explain_cost *c, const survey *s, lab *b, const moa_model *m, int n, int at, double u, moa_err *err) {
    const int layers = m->h.n_layer, used = m->h.n_expert ? m->h.n_expert_used : 0;
    const int64_t wide = used ? (int64_t)used * m->h.d_expert + m->h.d_shared : m->h.d_ff;
    c->products = products(s, m, n, at ? n : 1, u);
    MOA_TRY(attention_time(&c->attention, b, m, n, at, err));
    c->small = layers * small_time(b, m, n, wide < 1 ? 1 : wide);
    c->total = c->products + c->attention + c->small;
    return 0;
}

static int measure_rates(survey *s, lab *b, moa_err *err) {
    for (int i = 0; i < s->n; i++) {
        double all = 0;
        for (int p = 0; p < MOA_PARTS; p++) all += s->shape[i].weights[p];
        for (int r = 0; r < N_ROWS; r++)
            if ((s->shape[i].rate[r] = product_rate(b, &s->shape[i], row_counts[r], all)) <= 0) {
                *err = b->x.err;
                return b->x.err.code ? b->x.err.code : moa_fail(err, MOA_EUNSUPPORTED, "explain: a product cannot be measured");
            }
    }
    return 0;
}

/* The kind of matrix that one token reads most of. */
static const matrix *main_kind(const survey *s, const moa_explained *e) {
    const matrix *best = NULL;
    double most = -1;
    for (int i = 0; i < s->n; i++) {
        double read = 0;
        for (int p = 0; p < MOA_PARTS; p++)
            read += s->shape[i].weights[p] * (p == MOA_PART_EXPERTS && e->n_expert ? (double)e->n_used / e->n_expert : 1);
        if (read > most) most = read, best = &s->shape[i];
    }
    return best;
}

/* The fewest threads with which the products of decoding are within 3 % of the best. */
static void choose_threads(moa_explained *e, lab *b, const survey *s, int threads, int most) {
    const matrix *kind = main_kind(s, e);
    double best = 0;
    for (int t = threads ? threads : 1; kind && e->n_tried < MOA_EXPLAIN_THREADS; t = 2 * t > most ? most : 2 * t) {
        b->x.n_threads = t;
        const double rate = product_rate(b, kind, 1, 1e18);
        e->tried[e->n_tried].threads = t;
        e->tried[e->n_tried].read_gbps = read_rate(b, t) * 1e-9;
        e->tried[e->n_tried].product_gbps = (double)moa_row_bytes(kind->type, kind->in) / (double)kind->in / rate * 1e-9;
        if (e->tried[e->n_tried].product_gbps > 1.03 * best) {
            best = e->tried[e->n_tried].product_gbps;
            e->threads = t;
            e->read_gbps = e->tried[e->n_tried].read_gbps;
        }
        e->n_tried++;
        if (t >= most) break;
    }
}

int moa_explain(moa_explained *e, const moa_model *m, int context, int prompt, int threads, const double *unique, moa_err *err) {
    if (m->arch->encoder) return moa_fail(err, MOA_EUNSUPPORTED, "explain: '%s' is an encoder", m->arch->name);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const int most = threads ? threads : cores < 1 ? 1 : cores > 64 ? 64 : (int)cores;
    const double t0 = moa_now();
    survey *s = calloc(1, sizeof *s);
    lab b = {0};
    if (!s) return moa_fail(err, MOA_ENOMEM, "explain: no memory");
    if (prompt > MAX_ROWS) prompt = MAX_ROWS;
    if (prompt > m->h.n_ctx) prompt = m->h.n_ctx;
    if (context >= m->h.n_ctx) context = m->h.n_ctx - 1;
    *e = (moa_explained){.context = context < 1 ? 1 : context, .prompt = prompt < 1 ? 1 : prompt, .n_expert = m->h.n_expert, .n_used = m->h.n_expert_used};
    take_stock(s, e, m);
    e->kv_bytes = (double)moa_kv_numbers(&m->h) * 4;
    size_t widest = (size_t)m->h.d_model;
    for (int i = 0; i < s->n; i++) widest = (size_t)s->shape[i].in > widest ? (size_t)s->shape[i].in : widest;
    const size_t all_wide = (size_t)(m->h.n_expert ? m->h.n_expert_used * m->h.d_expert + m->h.d_shared : m->h.d_ff);
    int rc = open_lab(&b, most, widest > all_wide ? widest : all_wide, err);
    if (rc >= 0) {
        choose_threads(e, &b, s, threads, most);
        b.x.n_threads = e->threads;
        rc = measure_rates(s, &b, err);
    }
    for (int i = 0; rc >= 0 && i < MOA_EXPLAIN_BATCHES; i++) {
        const int n = moa_explain_batch[i];
        e->unique[i] = unique ? unique[i] : at_random(m, n);
        for (int p = 0; p < MOA_PARTS; p++)
            e->step_bytes[i] += p == MOA_PART_EXPERTS && m->h.n_expert ? e->bytes[p] * e->unique[i] / m->h.n_expert : e->bytes[p];
        rc = cost(&e->decode[i], s, &b, m, n, e->context, e->unique[i], err);
    }
    e->unique[MOA_EXPLAIN_BATCHES] = unique ? unique[MOA_EXPLAIN_BATCHES] : at_random(m, e->prompt);
    if (rc >= 0) rc = cost(&e->prefill, s, &b, m, e->prompt, 0, e->unique[MOA_EXPLAIN_BATCHES], err);
    close_lab(&b);
    free(s);
    e->seconds = moa_now() - t0;
    return rc;
}
