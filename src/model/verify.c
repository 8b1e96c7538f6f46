/* verify.c - see verify.h. A few base sequences are computed alone first: one row a step, one thread. Of every row's logits a hash is
 * kept. Then they go through steps of every kind beside neighbours that could disturb them, and each row's logits are hashed again. At the
 * first difference both are computed once more, with every product of the step watched, so that the first one that differs can be named.
 * So it is with a short sequence on every instruction set.
 *
 * The base sequences are those that went wrong in engines without this promise: random tokens, one token over and over (every row goes to
 * the same experts), two that part half-way (shared blocks), and one that is longer than a span of attention.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/verify.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/rng.h"
#include "tensor/attn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_BASE = 5, MAX_SEQ = 64, MAX_ROW = 256, MAX_TRACE = 8192, SHORT_QUICK = 20, SHORT = 40, LONG_QUICK = 70, LONG = 560 };

/* One product of a step: which weight, and the bits of the row that is followed. */
typedef struct product { const moa_tensor *w; uint64_t hash; } product;
typedef struct trace { int n, row, n_row; product p[MAX_TRACE]; } trace; /* row of n_row; n_row 0: off */

typedef struct base { int32_t *tok; int len; uint64_t *hash; } base; /* [len] each */

typedef struct verify {
    const moa_model *m;
    const moa_verify_cfg *cfg;
    base base[N_BASE];
    int n_base, cores;
    moa_dtype kv;        /* of the hashes at hand */
    bool exact;
    trace *trace[2];
    trace *now;          /* the one that is written; NULL: none */
    moa_verify_check check;
    void (*done)(void *ctx, const moa_verify_check *c);
    void *ctx;
    bool failed;
    bool listing;        /* nothing is computed: checks are counted */
    int n_check, n_done; /* how many there will be, were */
    double end;          /* moa_now() when time is up; 0: never */
    bool out_of_time;
} verify;

/* Work goes on: somebody may want to see that, and time may be up. */
static int tick(verify *v, const char *what, int64_t rows, moa_err *err) {
    if (v->cfg->progress) v->cfg->progress(v->ctx, what, rows, v->n_done, v->n_check);
    if (v->end <= 0 || moa_now() < v->end) return 0;
    v->out_of_time = true;
    return moa_fail(err, MOA_ECANCELED, "verify: time is up");
}
static void checked(verify *v) {
    v->n_done++;
    v->done(v->ctx, &v->check);
}

static uint64_t hash_of(const float *x, int64_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, 4);
        h = (h ^ u) * 0x100000001b3u;
        h ^= h >> 29;
    }
    return h;
}

/* Rows of an expert's products are gathered: they have another order. */
static bool of_expert(const moa_model *m, const moa_tensor *w) {
    for (int i = 0; i < m->h.n_layer; i++)
        for (int e = 0; m->layer[i].e_gate && e < m->h.n_expert; e++)
            if (w == m->layer[i].e_gate[e].w || w == m->layer[i].e_up[e].w || w == m->layer[i].e_down[e].w) return true;
    return false;
}

static void watch(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out) {
    verify *v = ctx;
    if (v->cfg->spoil) v->cfg->spoil(v->cfg->spoil_ctx, w, in, out);
    trace *t = v->now;
    if (!t || !t->n_row || t->n == MAX_TRACE || moa_rows(out) != t->n_row || of_expert(v->m, w)) return;
    t->p[t->n++] = (product){w, hash_of((const float *)out->data + t->row * moa_cols(out), moa_cols(out))};
}

static int open_session(moa_session **s, verify *v, int n_ctx, int threads, moa_isa isa, moa_repack repack, moa_err *err) {
    moa_session_cfg c = moa_session_defaults();
    c.n_ctx = n_ctx, c.n_batch = MAX_ROW, c.n_seq = MAX_SEQ + N_BASE, c.n_threads = threads, c.isa = isa, c.exact = v->exact, c.kv_type = v->kv, c.repack = repack;
    MOA_TRY(moa_session_new(s, v->m, &c, err));
    if (v->cfg->spoil || v->now) moa_session_watch(*s, watch, v);
    return 0;
}

/* ---- alone ---- */

/* Rows [0, n) of a base sequence, one a step, by weights as the file has them (elsewhere they may be packed); hash NULL: only the last row's logits go to out. */
static int alone(verify *v, const base *b, int n, uint64_t *hash, float *out, moa_err *err) {
    const int nv = v->m->h.n_vocab;
    moa_session *s = NULL;
    int rc = open_session(&s, v, n, 1, MOA_ISA_COUNT, MOA_REPACK_OFF, err), seq = 0;
    if (rc >= 0) rc = seq = moa_seq_begin(s, n, err);
    for (int i = 0; rc >= 0 && i < n; i++) {
        if (v->now) *v->now = (trace){.n_row = i == n - 1};
        else if ((rc = tick(v, "sequences alone, one row a step", i, err)) < 0) break;
        rc = moa_session_step(s, &(moa_row){seq, b->tok[i], true}, 1, err);
        if (rc < 0) break;
        const float *l = moa_session_logits(s, 0);
        if (hash) hash[i] = hash_of(l, nv);
        else if (i == n - 1) memcpy(out, l, (size_t)nv * sizeof *l);
    }
    moa_session_free(s);
    return rc;
}

static int all_alone(verify *v, moa_dtype kv, bool exact, moa_err *err) {
    v->kv = kv, v->exact = exact;
    if (v->listing) return 0;
    for (int i = 0; i < v->n_base; i++) MOA_TRY(alone(v, &v->base[i], v->base[i].len, v->base[i].hash, NULL, err));
    return 0;
}

static int make_base(verify *v, moa_err *err) {
    const int n_ctx = v->m->h.n_ctx, some = v->cfg->quick ? SHORT_QUICK : SHORT, lots = v->cfg->quick ? LONG_QUICK : LONG;
    moa_rng r;
    moa_rng_seed(&r, v->cfg->seed);
    for (int i = 0; i < N_BASE; i++) {
        base *b = &v->base[i];
        b->len = i == N_BASE - 1 ? lots : some + 3 * i;
        if (b->len > n_ctx) b->len = n_ctx;
        b->tok = malloc((size_t)b->len * sizeof *b->tok);
        b->hash = calloc((size_t)b->len, sizeof *b->hash);
        if (!b->tok || !b->hash) return moa_fail(err, MOA_ENOMEM, "verify: no memory for %d tokens", b->len);
        const int32_t one = (int32_t)moa_rng_below(&r, (uint32_t)v->m->h.n_vocab);
        for (int k = 0; k < b->len; k++)
            b->tok[k] = i == 1 ? one : (i == 2 || i == 3) && k < v->base[0].len / 2 ? v->base[0].tok[k] : (int32_t)moa_rng_below(&r, (uint32_t)v->m->h.n_vocab);
    }
    return 0;
}

/* ---- steps of every kind ---- */

typedef enum kind { RANDOM, SAME, FLOOD, LONGEST } kind; /* what neighbours are */
typedef struct scenario {
    int n_seq, threads, chunk; /* chunk: rows of a prefill in a step; 0: random */
    kind neighbours;
    bool churn;                /* sequences come and go, fork, fall back and are taken up again */
} scenario;

typedef struct live { const int32_t *tok; int32_t *own; int len, at, id, base; } live; /* base -1: a neighbour; id -1: not begun */

typedef struct mix {
    verify *v;
    const scenario *c;
    moa_session *s;
    live q[MAX_SEQ];
    int n, n_done;
    moa_rng r;
    moa_row row[MAX_ROW];
    int owner[MAX_ROW], at[MAX_ROW], n_row;
    int64_t step;
} mix;

static void fill_neighbour(mix *x, live *q, int i) {
    const verify *v = x->v;
    const base *b = &v->base[i % v->n_base], *last = &v->base[v->n_base - 1];
    q->base = -1;
    q->len = x->c->neighbours == LONGEST ? last->len : b->len;
    for (int k = 0; k < q->len; k++)
        switch (x->c->neighbours) {
        case SAME: q->own[k] = v->base[0].tok[k % v->base[0].len]; break;
        case FLOOD: q->own[k] = v->base[1].tok[0]; break;
        default: q->own[k] = (int32_t)moa_rng_below(&x->r, (uint32_t)v->m->h.n_vocab);
        }
}

static int init_mix(mix *x, verify *v, const scenario *c, moa_err *err) {
    *x = (mix){.v = v, .c = c, .n = c->n_seq};
    moa_rng_seed(&x->r, v->cfg->seed + 17);
    int room = 0;
    for (int i = 0; i < x->n; i++) {
        live *q = &x->q[i];
        q->id = -1;
        if (i < v->n_base) {
            /* Fewer sequences than base ones: other scenarios have other ones. */
            const int which = x->n < v->n_base ? (i + x->n) % v->n_base : i;
            q->tok = v->base[which].tok, q->len = v->base[which].len, q->base = which;
        } else {
            if (!(q->own = malloc((size_t)v->base[v->n_base - 1].len * sizeof *q->own))) return moa_fail(err, MOA_ENOMEM, "verify: no memory for tokens");
            fill_neighbour(x, q, i);
            q->tok = q->own;
        }
        room += q->len + 2 * MOA_KV_BLOCK;
    }
    return open_session(&x->s, v, room, c->threads, MOA_ISA_COUNT, MOA_REPACK_AUTO, err);
}

static void deinit_mix(mix *x) {
    for (int i = 0; i < x->n; i++) free(x->q[i].own);
    moa_session_free(x->s);
}

/* Begin as a fork of whoever has the longest beginning in common, or anew. */
static int start(mix *x, live *q, moa_err *err) {
    int best = 0;
    const live *from = NULL;
    for (int i = 0; i < x->n; i++) {
        const live *p = &x->q[i];
        int same = 0;
        while (p->id >= 0 && same < p->at && same < q->len - 1 && p->tok[same] == q->tok[same]) same++;
        if (same > best && moa_seq_reaches(x->s, p->id, same)) best = same, from = p;
    }
    q->id = from ? moa_seq_fork(x->s, from->id, best, err) : moa_seq_begin(x->s, q->len, err);
    q->at = from ? best : 0;
    return q->id < 0 ? q->id : 0;
}

/* A sequence falls back, or is given up and begins again. */
static void disturb(mix *x) {
    live *q = &x->q[moa_rng_below(&x->r, (uint32_t)x->n)];
    if (q->id < 0 || q->at == q->len) return;
    if (moa_rng_below(&x->r, 2)) {
        moa_seq_truncate(x->s, q->id, moa_rng_below(&x->r, (uint32_t)q->at + 1));
        q->at = (int)moa_seq_len(x->s, q->id);
    } else {
        moa_seq_free(x->s, q->id);
        q->id = -1, q->at = 0;
    }
}

/* Rows of the next step: of a random first sequence on, so that rows have other places in every step. */
static int gather(mix *x, moa_err *err) {
    const int first = (int)moa_rng_below(&x->r, (uint32_t)x->n);
    x->n_row = 0;
    if (x->c->churn && x->step < 200 && !moa_rng_below(&x->r, 4)) disturb(x);
    for (int k = 0; k < x->n; k++) {
        live *q = &x->q[(first + k) % x->n];
        if (q->at == q->len && q->id >= 0) continue;
        if (q->id < 0) {
            if ((x->c->churn || !x->c->chunk) && moa_rng_below(&x->r, 2)) continue; /* joins later */
            MOA_TRY(start(x, q, err));
        }
        /* The first half is a prompt. */
        int take = q->at >= q->len / 2 ? 1 : x->c->chunk ? x->c->chunk : 1 + (int)moa_rng_below(&x->r, 50);
        if (take > q->len - q->at) take = q->len - q->at;
        for (int i = 0; i < take && x->n_row < MAX_ROW; i++) {
            x->row[x->n_row] = (moa_row){q->id, q->tok[q->at + i], q->base >= 0};
            x->owner[x->n_row] = (int)(q - x->q);
            x->at[x->n_row++] = q->at + i;
        }
    }
    return 0;
}

/* Row i of the step differs from the same row alone: say where, and which product was the first. */
static int tell(mix *x, int i, const float *got, moa_err *err) {
    verify *v = x->v;
    const live *q = &x->q[x->owner[i]];
    const int nv = v->m->h.n_vocab;
    float *want = malloc((size_t)nv * sizeof *want);
    if (!want) return moa_fail(err, MOA_ENOMEM, "verify: no memory for logits");
    v->now = v->trace[0];
    int rc = alone(v, &v->base[q->base], x->at[i] + 1, NULL, want, err), at = 0;
    v->now = NULL;
    while (rc >= 0 && at < nv - 1 && !memcmp(got + at, want + at, 4)) at++;
    if (rc >= 0)
        snprintf(v->check.first, sizeof v->check.first, "step %lld of %d rows, row %d (sequence %d, position %d): logit %d is %.9g, alone %.9g",
                 (long long)x->step, x->n_row, i, q->base, x->at[i], at, (double)got[at], (double)want[at]);
    free(want);
    return rc;
}

/* The step is done; -> 1 when a row differs (*row says which). */
static int compare(mix *x, int *row, moa_err *err) {
    verify *v = x->v;
    for (int i = 0; i < x->n_row; i++) {
        const live *q = &x->q[x->owner[i]];
        if (q->base < 0) continue;
        const float *got = moa_session_logits(x->s, i);
        v->check.rows++;
        if (hash_of(got, v->m->h.n_vocab) == v->base[q->base].hash[x->at[i]]) continue;
        *row = i;
        const int rc = tell(x, i, got, err);
        return rc < 0 ? rc : 1;
    }
    return 0;
}

/* Steps until all sequences are done, or one differs (1), or step `stop` has been taken with row `row` watched. */
static int run_steps(mix *x, int64_t stop, int *row, moa_err *err) {
    for (x->step = 0;; x->step++) {
        MOA_TRY(gather(x, err));
        bool left = false;
        for (int i = 0; i < x->n; i++) left |= x->q[i].at < x->q[i].len;
        if (!left) return 0;
        if (!x->n_row) continue;
        if (stop < 0) MOA_TRY(tick(x->v, x->v->check.what, x->v->check.rows, err));
        if (x->step == stop) {
            *x->v->now = (trace){.row = *row, .n_row = x->n_row};
            /* Rows without logits leave the last layer early; here all stay, so that a row keeps its number. */
            for (int i = 0; i < x->n_row; i++) x->row[i].want_logits = true;
        }
        MOA_TRY(moa_session_step(x->s, x->row, x->n_row, err));
        if (x->step == stop) return 0;
        if (stop < 0) {
            const int rc = compare(x, row, err);
            if (rc) return rc;
        }
        for (int i = 0; i < x->n_row; i++) x->q[x->owner[i]].at = x->at[i] + 1;
    }
}

/* Which product was the first that differs? Said behind the difference. */
static void add_product(verify *v) {
    const trace *a = v->trace[0], *b = v->trace[1];
    const size_t used = strlen(v->check.first);
    for (int i = 0; i < a->n && i < b->n; i++) {
        if (a->p[i].w == b->p[i].w && a->p[i].hash == b->p[i].hash) continue;
        snprintf(v->check.first + used, sizeof v->check.first - used, "; first product that differs: %s", a->p[i].w->name ? a->p[i].w->name : "without a name");
        return;
    }
}

/* The same steps again, up to the one that differed. */
static int name_product(mix *x, verify *v, const scenario *c, int64_t step, int row, moa_err *err) {
    v->now = v->trace[1];
    int rc = init_mix(x, v, c, err);
    if (rc >= 0) rc = run_steps(x, step, &row, err);
    deinit_mix(x);
    v->now = NULL;
    if (rc >= 0) add_product(v);
    return rc;
}

static int try_scenario(verify *v, const char *what, const scenario *c, moa_err *err) {
    if (v->listing) return v->n_check++, 0;
    mix *x = malloc(sizeof *x);
    if (!x) return moa_fail(err, MOA_ENOMEM, "verify: no memory");
    int row = 0;
    v->check = (moa_verify_check){.exact = true, .isa = MOA_ISA_COUNT};
    snprintf(v->check.what, sizeof v->check.what, "%s", what);
    int rc = init_mix(x, v, c, err);
    if (rc >= 0) rc = run_steps(x, -1, &row, err);
    const int64_t step = x->step;
    deinit_mix(x);
    if (rc == 1) {
        v->check.exact = false;
        v->failed = true;
        rc = name_product(x, v, c, step, row, err);
    }
    free(x);
    if (rc >= 0) checked(v);
    return rc;
}

static int bits(verify *v, moa_err *err) {
    static const int batch[] = {1, 2, 3, 4, 6, 8, 12, 16, 32, 64}, chunk[] = {1, 5, 31, 32, 33, 200};
    const bool quick = v->cfg->quick;
    char what[96];
    for (size_t i = quick ? 1 : 0; i < sizeof batch / sizeof *batch; i += quick ? 4 : 1) {
        snprintf(what, sizeof what, "batch of %d, random neighbours", batch[i]);
        MOA_TRY(try_scenario(v, what, &(scenario){.n_seq = batch[i], .threads = v->cores}, err));
    }
    MOA_TRY(try_scenario(v, "batch of 16, neighbours of the same tokens", &(scenario){.n_seq = 16, .threads = v->cores, .neighbours = SAME}, err));
    MOA_TRY(try_scenario(v, "batch of 40, neighbours that flood one expert", &(scenario){.n_seq = 40, .threads = v->cores, .neighbours = FLOOD}, err));
    MOA_TRY(try_scenario(v, "batch of 12, neighbours of the greatest length", &(scenario){.n_seq = 12, .threads = v->cores, .neighbours = LONGEST}, err));
    for (size_t i = 0; i < sizeof chunk / sizeof *chunk; i += quick ? 3 : 1) {
        snprintf(what, sizeof what, "prefill in chunks of %d", chunk[i]);
        MOA_TRY(try_scenario(v, what, &(scenario){.n_seq = 5, .threads = v->cores, .chunk = chunk[i]}, err));
    }
    for (int t = 1; t <= v->cores + 1; t = t < 8 || quick ? t + 1 + (quick && t > 2 ? t : 0) : t * 2) {
        snprintf(what, sizeof what, "%d thread%s", t, t > 1 ? "s" : "");
        MOA_TRY(try_scenario(v, what, &(scenario){.n_seq = 9, .threads = t}, err));
    }
    return try_scenario(v, "forks, falls back, evictions", &(scenario){.n_seq = 24, .threads = v->cores, .churn = true}, err);
}

/* ---- instruction sets ---- */

/* Logits [n, n_vocab] of the first base sequence in one step; a trace at hand takes the products of its row. */
static int logits_with(verify *v, float *out, moa_isa isa, int n, moa_err *err) {
    moa_session *s = NULL;
    moa_row row[SHORT];
    const size_t nv = (size_t)v->m->h.n_vocab;
    int rc = open_session(&s, v, n, v->cores, isa, MOA_REPACK_AUTO, err), seq = 0;
    if (rc >= 0) rc = seq = moa_seq_begin(s, n, err);
    for (int i = 0; i < n; i++) row[i] = (moa_row){seq, v->base[0].tok[i], true};
    if (v->now) v->now->n_row = n;
    if (rc >= 0) rc = moa_session_step(s, row, n, err);
    for (int i = 0; rc >= 0 && i < n; i++) memcpy(out + (size_t)i * nv, moa_session_logits(s, i), nv * sizeof *out);
    moa_session_free(s);
    return rc;
}

/* Row i differs: where, and which product was the first. */
static int tell_isa(verify *v, float *a, float *b, moa_isa isa, moa_isa best, int n, int i, moa_err *err) {
    const int nv = v->m->h.n_vocab;
    const float *x = a + (size_t)i * (size_t)nv, *y = b + (size_t)i * (size_t)nv;
    int at = 0;
    while (at < nv - 1 && !memcmp(x + at, y + at, sizeof *x)) at++;
    v->check.exact = false;
    v->failed = true;
    snprintf(v->check.first, sizeof v->check.first, "row %d of %d: logit %d is %.9g with %s and %.9g with %s", i, n, at, (double)x[at], moa_isa_name(isa), (double)y[at], moa_isa_name(best));
    int rc = 0;
    for (int k = 0; rc >= 0 && k < 2; k++) {
        v->now = v->trace[k];
        *v->now = (trace){.row = i};
        rc = logits_with(v, k ? b : a, k ? best : isa, n, err);
    }
    v->now = NULL;
    if (rc >= 0) add_product(v);
    return rc;
}

static int between(verify *v, moa_isa isa, moa_isa best, moa_err *err) {
    if (v->listing) return v->n_check++, 0;
    /* Plain C takes a second for what others do in a few milliseconds. */
    const int n = isa == MOA_ISA_REF && moa_model_n_weights(v->m) > 50000000 ? 1 : v->base[0].len < 12 ? v->base[0].len : 12;
    const size_t nv = (size_t)v->m->h.n_vocab;
    float *a = malloc((size_t)n * nv * sizeof *a), *b = malloc((size_t)n * nv * sizeof *b);
    int rc = a && b ? 0 : moa_fail(err, MOA_ENOMEM, "verify: no memory for logits");
    v->check = (moa_verify_check){.exact = true, .rows = n, .isa = isa};
    snprintf(v->check.what, sizeof v->check.what, "%s against %s, %s", moa_isa_name(isa), moa_isa_name(best),
             v->exact ? "reference mode" : "int8 activations");
    if (rc >= 0) rc = tick(v, v->check.what, 0, err);
    if (rc >= 0) rc = logits_with(v, a, isa, n, err);
    if (rc >= 0) rc = logits_with(v, b, best, n, err);
    for (int i = 0; rc >= 0 && i < n && v->check.exact; i++)
        if (memcmp(a + (size_t)i * nv, b + (size_t)i * nv, nv * sizeof *a)) rc = tell_isa(v, a, b, isa, best, n, i, err);
    free(a);
    free(b);
    if (rc >= 0) checked(v);
    return rc;
}

/* Every check in its order; while listing they are counted. */
static int run(verify *v, const moa_kernels *k, moa_err *err) {
    static const moa_dtype caches[] = {MOA_F16, MOA_BF16, MOA_Q8_0};
    char what[96];
    v->n_base = N_BASE;
    MOA_TRY(all_alone(v, MOA_F32, false, err));
    MOA_TRY(bits(v, err));
    for (int e = 1; e >= 0; e--) {
        v->exact = e;
        for (int isa = MOA_ISA_REF; isa < (int)k->isa; isa++) MOA_TRY(between(v, (moa_isa)isa, k->isa, err));
    }
    v->n_base = N_BASE - 1; /* what follows does without the long one */
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
        MOA_TRY(all_alone(v, caches[i], false, err));
        snprintf(what, sizeof what, "KV in %s, batch of 9", moa_type_get(caches[i])->name);
        MOA_TRY(try_scenario(v, what, &(scenario){.n_seq = 9, .threads = v->cores}, err));
    }
    MOA_TRY(all_alone(v, MOA_F32, true, err));
    return try_scenario(v, "reference mode, batch of 9", &(scenario){.n_seq = 9, .threads = v->cores}, err);
}

int moa_verify(const moa_model *m, const moa_verify_cfg *cfg, void (*done)(void *ctx, const moa_verify_check *c), void *ctx, moa_err *err) {
    if (m->arch->encoder) return moa_fail(err, MOA_EUNSUPPORTED, "verify: '%s' is an encoder: it has no sequences", m->arch->name);
    const int cores = moa_cpu_count();
    verify v = {.m = m, .cfg = cfg, .cores = cfg->n_threads ? cfg->n_threads : cores < 256 ? cores : 255, .done = done, .ctx = ctx,
                .end = cfg->seconds > 0 ? moa_now() + cfg->seconds : 0};
    const moa_kernels *k = NULL;
    int rc = moa_kernels_default(&k, err);
    for (int i = 0; i < 2 && rc >= 0; i++)
        if (!(v.trace[i] = calloc(1, sizeof *v.trace[i]))) rc = moa_fail(err, MOA_ENOMEM, "verify: no memory for traces");
    if (rc >= 0) rc = make_base(&v, err);
    for (int i = 0; i < 2 && rc >= 0; i++) v.listing = !i, rc = run(&v, k, err);
    for (int i = 0; i < N_BASE; i++) free(v.base[i].tok), free(v.base[i].hash);
    for (int i = 0; i < 2; i++) free(v.trace[i]);
    if (!v.out_of_time) return rc < 0 ? rc : v.failed;
    if (!v.n_done) return moa_fail(err, MOA_ELIMIT, "verify: no check was done in %g s: 0 of %d", cfg->seconds, v.n_check);
    return v.failed ? 1 : MOA_VERIFY_STOPPED;
}
