/* session.c - sequences and steps over the paged KV.
 *
 * A step first plans and takes every block that it will write, so that a full cache is found before anything has
 * changed; then one forward pass; then lengths move on. Scratch is an arena that keeps its memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/session.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/rng.h"
#include "model/attend.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BATCH = 1 << 16, MAX_SEQ = 1 << 16, MAX_THREADS = 1024 };

struct moa_session {
    const moa_model *m;
    moa_exec x;
    moa_kv kv;
    int n_batch;
    int64_t max_len;          /* of a sequence */
    int32_t *add, *touched;   /* [n_seq] positions that this step adds; the sequences that get some */
    int n_touched;
    uint64_t *seq_key;        /* [n_seq] key of the adapters that a sequence was begun with */
    int32_t *seq_list;        /* [n_seq] its list of rope factors */
    int32_t *row_seq, *order, *logit_row; /* [n_batch]; logit_row: row of logits, -1: not wanted */
    moa_attend_rows rows;
    bool (*stop)(void *ctx);
    void *stop_ctx;
    bool hidden;              /* vectors instead of logits */
    const moa_tensor *logits; /* of the last step, in the arena */
    int n_row;
};

moa_session_cfg moa_session_defaults(void) { return (moa_session_cfg){.isa = MOA_ISA_COUNT, .kv_type = MOA_F32}; }

int moa_session_kv_type(moa_session_cfg *c, const char *name, moa_err *err) {
    const moa_type *t = name ? moa_type_find(name) : NULL;
    c->kv_usual = !name;
    if (!name) return 0;
    if (!t || (t->id != MOA_F32 && t->id != MOA_F16 && t->id != MOA_BF16 && t->id != MOA_Q8_0))
        return moa_fail(err, MOA_EUSAGE, "KV cache of type '%s', expected f32, f16, bf16 or q8_0", name);
    c->kv_type = t->id;
    return 0;
}

static int in_range(const char *what, int v, int hi, moa_err *err) {
    return v >= 0 && v <= hi ? 0 : moa_fail(err, MOA_EINVAL, "session: %s = %d, expected 0 to %d", what, v, hi);
}

static int check_cfg(const moa_session_cfg *c, moa_err *err) {
    MOA_TRY(in_range("n_ctx", c->n_ctx, 1 << 28, err));
    MOA_TRY(in_range("max_len", c->max_len, 1 << 28, err));
    MOA_TRY(in_range("n_batch", c->n_batch, MAX_BATCH, err));
    MOA_TRY(in_range("n_seq", c->n_seq, MAX_SEQ, err));
    MOA_TRY(in_range("n_threads", c->n_threads, MAX_THREADS, err));
    if (c->kv_type != MOA_F32 && c->kv_type != MOA_F16 && c->kv_type != MOA_BF16 && c->kv_type != MOA_Q8_0)
        return moa_fail(err, MOA_EINVAL, "session: KV type %d, expected F32, F16, BF16 or Q8_0", (int)c->kv_type);
    return 0;
}

static int init_step(moa_session *s, int n_seq, moa_err *err) {
    const size_t nb = (size_t)s->n_batch, floats = moa_attend_scratch(&s->m->h);
    s->add = calloc((size_t)n_seq, sizeof *s->add);
    s->touched = calloc((size_t)n_seq, sizeof *s->touched);
    s->seq_key = calloc((size_t)n_seq, sizeof *s->seq_key);
    s->seq_list = calloc((size_t)n_seq, sizeof *s->seq_list);
    s->row_seq = calloc(nb, sizeof *s->row_seq);
    s->order = calloc(nb, sizeof *s->order);
    s->logit_row = calloc(nb, sizeof *s->logit_row);
    s->rows = (moa_attend_rows){.kv = &s->kv, .seq = s->row_seq, .order = s->order, .scratch_floats = floats};
    s->rows.scratch = aligned_alloc(64, floats * (size_t)s->x.n_threads * sizeof(float));
    s->rows.part_floats = s->x.n_threads > 1 ? moa_attend_parts(&s->m->h) : 0;
    s->rows.parts = malloc(s->rows.part_floats * sizeof(float) + 1);
    s->x.arena = moa_arena_new(0, 0);
    if (!s->add || !s->touched || !s->seq_key || !s->seq_list || !s->row_seq || !s->order || !s->logit_row || !s->rows.scratch || !s->rows.parts || !s->x.arena)
        return moa_fail(err, MOA_ENOMEM, "session: no memory for steps of %d rows", s->n_batch);
    return 0;
}

int moa_session_new(moa_session **out, const moa_model *m, const moa_session_cfg *cfg, moa_err *err) {
    const moa_session_cfg none = moa_session_defaults(), *c = cfg ? cfg : &none;
    MOA_TRY(check_cfg(c, err));
    if (m->arch->encoder) {
        moa_fail(err, MOA_EUNSUPPORTED, "%s: architecture '%s' is an encoder: it gives embeddings, not text", m->path ? m->path : "model",
                 m->arch->name);
        return moa_hint(err, MOA_EUNSUPPORTED, "moa embed runs it");
    }
    moa_session *s = calloc(1, sizeof *s);
    if (!s) return moa_fail(err, MOA_ENOMEM, "session: no memory");
    s->m = m;
    s->hidden = c->hidden;
    s->n_batch = c->n_batch ? c->n_batch : 256;
    s->x = (moa_exec){.n_threads = c->n_threads ? c->n_threads : moa_cpu_threads(), .compute = MOA_F32, .exact = c->exact};
    const int n_block = ((c->n_ctx ? c->n_ctx : m->h.n_ctx) + MOA_KV_BLOCK - 1) / MOA_KV_BLOCK, n_seq = c->n_seq ? c->n_seq : 32;
    const int64_t room = (int64_t)n_block * MOA_KV_BLOCK;
    s->max_len = room < m->h.n_ctx ? room : m->h.n_ctx;
    if (c->max_len && c->max_len < s->max_len) s->max_len = c->max_len;
    const int max_block = (int)((s->max_len + MOA_KV_BLOCK - 1) / MOA_KV_BLOCK);
    int rc = c->isa == MOA_ISA_COUNT ? moa_kernels_default(&s->x.k, err) : moa_kernels_get(&s->x.k, c->isa, err);
    if (rc >= 0) rc = moa_kv_init(&s->kv, m, c->kv_usual ? moa_kv_usual(&m->h) : c->kv_type, n_block, n_seq, max_block, err);
    if (rc >= 0 && !c->exact) rc = moa_packs_want(m->packs, c->repack, &s->x.repack, err);
    if (rc >= 0) rc = moa_team_new(&s->x.team, s->x.n_threads, err);
    if (rc >= 0) rc = init_step(s, n_seq, err);
    if (rc < 0) {
        moa_session_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void moa_session_free(moa_session *s) {
    if (!s) return;
    moa_team_free(s->x.team);
    moa_kv_deinit(&s->kv);
    moa_arena_free(s->x.arena);
    free(s->add);
    free(s->touched);
    free(s->seq_key);
    free(s->seq_list);
    free(s->row_seq);
    free(s->order);
    free(s->logit_row);
    free(s->rows.scratch);
    free(s->rows.parts);
    free(s);
}

/* ---- sequences ---- */

static bool is_live(const moa_session *s, int seq) { return seq >= 0 && seq < s->kv.n_seq && s->kv.seq[seq].live; }

/* 0: the only list or the short one; 1: the long one. */
static int32_t list_for(const moa_session *s, int64_t len) { return s->m->rope_long && len > s->m->h.n_ctx_orig; }

int moa_seq_begin(moa_session *s, int64_t len, moa_err *err) {
    for (int i = 0; i < s->kv.n_seq; i++)
        if (!s->kv.seq[i].live) {
            s->kv.seq[i].live = true;
            s->seq_key[i] = moa_session_adapters(s);
            s->seq_list[i] = list_for(s, len);
            return i;
        }
    return moa_fail(err, MOA_ELIMIT, "session: all %d sequences are in use", s->kv.n_seq);
}

int moa_seq_new(moa_session *s, moa_err *err) { return moa_seq_begin(s, s->max_len, err); }

static uint64_t kind_of(uint64_t adapters, int32_t list) { return moa_mix64(adapters) ^ (uint64_t)list; }
uint64_t moa_session_kind(const moa_session *s, int64_t len) { return kind_of(moa_session_adapters(s), list_for(s, len)); }
uint64_t moa_seq_kind(const moa_session *s, int seq) { return is_live(s, seq) ? kind_of(s->seq_key[seq], s->seq_list[seq]) : 0; }

int moa_seq_fork(moa_session *s, int seq, int64_t n_keep, moa_err *err) {
    if (!is_live(s, seq)) return moa_fail(err, MOA_EINVAL, "session: fork of sequence %d, which does not exist", seq);
    const moa_kv_seq *from = &s->kv.seq[seq];
    if (n_keep < 0 || n_keep > from->len)
        return moa_fail(err, MOA_EINVAL, "session: fork of %lld positions, sequence %d has %lld", (long long)n_keep, seq, (long long)from->len);
    if (!moa_kv_reaches(&s->kv, seq, n_keep))
        return moa_fail(err, MOA_ELIMIT,
                        "session: fork of %lld positions: sequence %d has %lld, and sliding windows have left what the fork would see",
                        (long long)n_keep, seq, (long long)from->len);
    const int id = moa_seq_new(s, err);
    if (id >= 0) {
        moa_kv_fork(&s->kv, id, seq, n_keep);
        s->seq_key[id] = s->seq_key[seq];
        s->seq_list[id] = s->seq_list[seq];
    }
    return id;
}

void moa_seq_free(moa_session *s, int seq) {
    if (!is_live(s, seq)) return;
    moa_kv_truncate(&s->kv, seq, 0);
    s->kv.seq[seq].live = false;
}

int64_t moa_seq_len(const moa_session *s, int seq) { return is_live(s, seq) ? s->kv.seq[seq].len : 0; }

void moa_seq_truncate(moa_session *s, int seq, int64_t n_keep) {
    if (is_live(s, seq) && n_keep >= 0 && n_keep < s->kv.seq[seq].len)
        moa_kv_truncate(&s->kv, seq, moa_kv_reaches(&s->kv, seq, n_keep) ? n_keep : 0);
}

bool moa_session_slides(const moa_session *s) {
    for (int i = 0; i < s->kv.n_store; i++)
        if (s->kv.store[i].window) return true;
    return false;
}

bool moa_seq_reaches(const moa_session *s, int seq, int64_t n_keep) {
    return is_live(s, seq) && n_keep >= 0 && n_keep <= s->kv.seq[seq].len && moa_kv_reaches(&s->kv, seq, n_keep);
}

int64_t moa_session_free_positions(const moa_session *s) {
    int least = s->kv.n_block;
    for (int i = 0; i < s->kv.n_store; i++)
        if (s->kv.store[i].n_spare < least) least = s->kv.store[i].n_spare;
    return (int64_t)least * MOA_KV_BLOCK;
}
int64_t moa_session_max_len(const moa_session *s) { return s->max_len; }
struct moa_kv *moa_session_kv(moa_session *s) { return &s->kv; }
void moa_session_watch(moa_session *s, void (*fn)(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out), void *ctx) {
    s->x.watch = fn;
    s->x.watch_ctx = ctx;
}

int moa_session_adapt(moa_session *s, const moa_sites *sites, moa_err *err) {
    if (sites && sites->n_site != s->m->n_site)
        return moa_fail(err, MOA_EINVAL, "session: adapters for a model of %d places, this one has %d", sites->n_site, s->m->n_site);
    s->x.sites = sites;
    return 0;
}

uint64_t moa_session_adapters(const moa_session *s) { return s->x.sites ? s->x.sites->key : 0; }

void moa_session_parallel(moa_session *s, int64_t n, double cost, moa_range_fn fn, const void *args) {
    moa_parallel_each(&s->x, n, cost, fn, args);
}

const moa_model *moa_session_model(const moa_session *s) { return s->m; }
size_t moa_session_kv_bytes(const moa_session *s) {
    size_t n = 0;
    for (int i = 0; i < s->kv.n_store; i++) n += s->kv.store[i].block_bytes * (size_t)(s->kv.n_block - s->kv.store[i].least_spare);
    return n;
}

/* ---- steps ---- */

static void forget_plan(moa_session *s) {
    for (int i = 0; i < s->n_touched; i++) s->add[s->touched[i]] = 0;
    s->n_touched = 0;
}

static int check_row(const moa_session *s, const moa_row *r, int i, moa_err *err) {
    if (!is_live(s, r->seq)) return moa_fail(err, MOA_EINVAL, "step: row %d: sequence %d does not exist", i, r->seq);
    if (r->token < 0 || r->token >= s->m->h.n_vocab)
        return moa_fail(err, MOA_EINVAL, "step: row %d: token %d, expected 0 to %d", i, r->token, s->m->h.n_vocab - 1);
    if (s->seq_key[r->seq] != moa_session_adapters(s))
        return moa_fail(err, MOA_EINVAL, "step: row %d: sequence %d was begun with other adapters", i, r->seq);
    const int64_t len = s->kv.seq[r->seq].len + s->add[r->seq] + 1;
    if (len > s->max_len)
        return moa_fail(err, MOA_ELIMIT, "step: sequence %d reaches %lld positions, the context is %lld", r->seq, (long long)len,
                        (long long)s->max_len);
    if (list_for(s, len) > s->seq_list[r->seq])
        return moa_fail(err, MOA_ELIMIT, "step: sequence %d reaches %lld positions, it was begun for the original context of %d", r->seq,
                        (long long)len, s->m->h.n_ctx_orig);
    return 0;
}

/* Count, check, and take blocks. */
static int plan(moa_session *s, const moa_row *row, int n, moa_err *err) {
    for (int i = 0; i < n; i++) {
        MOA_TRY(check_row(s, &row[i], i, err));
        if (!s->add[row[i].seq]++) s->touched[s->n_touched++] = row[i].seq;
    }
    for (int i = 0; i < s->n_touched; i++) moa_kv_evict(&s->kv, s->touched[i]);
    for (int i = 0; i < s->kv.n_store; i++) {
        const int need = moa_kv_plan(&s->kv, i, s->touched, s->n_touched, s->add), spare = s->kv.store[i].n_spare;
        if (need > spare)
            return moa_fail(err, MOA_ELIMIT, "KV cache is full: the step needs %d blocks of %d positions, %d of %d are free", need, MOA_KV_BLOCK,
                            spare, s->kv.n_block);
    }
    for (int i = 0; i < s->n_touched; i++) moa_kv_reserve(&s->kv, s->touched[i], s->add[s->touched[i]]);
    return 0;
}

void moa_session_interrupt(moa_session *s, bool (*stop)(void *ctx), void *ctx) {
    s->stop = stop;
    s->stop_ctx = ctx;
}

static moa_tensor *attend_or_stop(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v) {
    moa_session *s = ctx;
    if (!s->stop || !s->stop(s->stop_ctx)) return moa_attend_paged(x, &s->rows, m, layer, q, k, v);
    moa_fail(&x->err, MOA_ECANCELED, "step: nobody waits for it any more");
    return NULL;
}

static int forward(moa_session *s, const moa_row *row, int n) {
    moa_exec *x = &s->x;
    int64_t n_out = 0;
    for (int i = 0; i < n; i++) s->logit_row[i] = row[i].want_logits ? (int32_t)n_out++ : -1;
    moa_tensor *ids = moa_new_tensor(x, MOA_I32, 1, &(int64_t){n}), *pos = moa_new_tensor(x, MOA_I32, 1, &(int64_t){n});
    moa_tensor *out = moa_new_tensor(x, MOA_I32, 1, &(int64_t){n_out ? n_out : 1}), *list = NULL;
    if (s->m->rope_long && !(list = moa_new_tensor(x, MOA_I32, 1, &(int64_t){n}))) return x->err.code;
    if (!ids || !pos || !out) return x->err.code;
    for (int i = 0; i < s->n_touched; i++) s->add[s->touched[i]] = 0;
    for (int i = 0; i < n; i++) {
        const int q = s->row_seq[i] = row[i].seq;
        ((int32_t *)ids->data)[i] = row[i].token;
        ((int32_t *)pos->data)[i] = (int32_t)(s->kv.seq[q].len + s->add[q]++);
        if (list) ((int32_t *)list->data)[i] = s->seq_list[q];
        if (row[i].want_logits) ((int32_t *)out->data)[s->logit_row[i]] = i;
    }
    if (!n_out) ((int32_t *)out->data)[0] = n - 1; /* a prefill chunk: KV is all that matters */
    s->rows.pos = pos->data;
    moa_attend_order(s->order, &s->rows, n);
    const moa_rows_in in = {.ids = ids, .pos = pos, .out_rows = out, .attend = attend_or_stop, .attend_ctx = s,
                            .rope_list = list, .hidden = s->hidden};
    s->logits = moa_model_forward(x, s->m, &in);
    return x->err.code;
}

int moa_session_step(moa_session *s, const moa_row *row, int n, moa_err *err) {
    if (n < 1 || n > s->n_batch) return moa_fail(err, MOA_EINVAL, "step: %d rows, expected 1 to %d", n, s->n_batch);
    int rc = plan(s, row, n, err);
    if (rc < 0) {
        forget_plan(s);
        return rc;
    }
    moa_arena_reset(s->x.arena);
    s->logits = NULL;
    s->n_row = n;
    s->x.err = (moa_err){0};
    rc = forward(s, row, n);
    for (int i = 0; i < s->n_touched; i++) {
        moa_kv_seq *q = &s->kv.seq[s->touched[i]];
        if (rc < 0) moa_kv_truncate(&s->kv, s->touched[i], q->len); /* give back what was taken */
        else q->len += s->add[s->touched[i]];
    }
    forget_plan(s);
    if (rc < 0) {
        s->n_row = 0;
        if (err) *err = s->x.err;
    }
    return rc;
}

const float *moa_session_logits(const moa_session *s, int i) {
    if (!s->logits || i < 0 || i >= s->n_row || s->logit_row[i] < 0) return NULL;
    return (const float *)s->logits->data + s->logit_row[i] * moa_cols(s->logits);
}
