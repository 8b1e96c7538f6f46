/* checkpoint.c - see checkpoint.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/checkpoint.h"

#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1, NAME_BYTES = 64, SLOTS = 2 };
static const char MAGIC[8] = "MOACKPT\n";

static void slot_path(char *out, size_t n, const char *dir, int slot) { snprintf(out, n, "%s/checkpoint-%d.moa", dir, slot); }

/* ---- reading: a cursor that never leaves the file and hashes what it passes ---- */
typedef struct cursor {
    const char *path;
    const uint8_t *at, *end;
    uint64_t hash;
} cursor;

static const void *take(cursor *c, uint64_t n) {
    if (n > (uint64_t)(c->end - c->at)) return NULL;
    const void *p = c->at;
    c->hash = moa_hash64(p, n, c->hash);
    c->at += n;
    return p;
}

static int truncated(const cursor *c, moa_err *err) { return moa_fail(err, MOA_EFORMAT, "%s: truncated", c->path); }

static int take_u32(uint32_t *out, cursor *c, moa_err *err) {
    const void *p = take(c, 4);
    if (!p) return truncated(c, err);
    memcpy(out, p, 4);
    return 0;
}

typedef struct head {
    uint64_t recipe_hash;
    char name[NAME_BYTES + 1];
    moa_progress p;
    moa_inputs in;
    uint64_t sum; /* checksum of the whole file */
} head;

static int read_head(head *h, cursor *c, moa_err *err) {
    const void *magic = take(c, 8);
    uint32_t version, size;
    if (!magic || memcmp(magic, MAGIC, 8) != 0) return moa_fail(err, MOA_EFORMAT, "%s: not a checkpoint", c->path);
    MOA_TRY(take_u32(&version, c, err));
    MOA_TRY(take_u32(&size, c, err));
    if (version != VERSION || size != sizeof(moa_progress))
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: version %u (%u bytes of progress), this program reads %d (%zu)", c->path, version, size,
                        VERSION, sizeof(moa_progress));
    const void *hash = take(c, 8), *name = take(c, NAME_BYTES), *p = take(c, sizeof h->p);
    if (!hash || !name || !p) return truncated(c, err);
    memcpy(&h->recipe_hash, hash, 8);
    memcpy(h->name, name, NAME_BYTES);
    h->name[NAME_BYTES] = 0;
    memcpy(&h->p, p, sizeof h->p);
    const moa_progress *q = &h->p;
    if (q->pack.n_waiting > MOA_WAITING_MAX || q->stage < 0 || q->step < 0 || q->total_step < 0 || q->updates < 0 || q->log_bytes < 0)
        return moa_fail(err, MOA_EFORMAT, "%s: impossible counters", c->path);
    return 0;
}

static uint32_t count_states(const moa_optim_param *p) {
    uint32_t n = 0;
    while (n < MOA_OPTIM_STATES && p->state[n]) n++;
    return n;
}

/* One parameter of the file. to NULL: only pass over it. */
static int read_param(cursor *c, const moa_optim_param *to, bool states, moa_err *err) {
    uint32_t n_name, n_dim, n_state;
    int64_t count = 1;
    MOA_TRY(take_u32(&n_name, c, err));
    const char *name = take(c, n_name);
    if (!name) return truncated(c, err);
    MOA_TRY(take_u32(&n_dim, c, err));
    if (n_dim < 1 || n_dim > MOA_MAX_DIM) return moa_fail(err, MOA_EFORMAT, "%s: a tensor of %u dimensions", c->path, n_dim);
    for (uint32_t i = 0; i < n_dim; i++) {
        int64_t size;
        const void *p = take(c, 8);
        if (!p) return truncated(c, err);
        memcpy(&size, p, 8);
        if (size < 1 || size > INT32_MAX || count > INT64_MAX / 8 / size) return moa_fail(err, MOA_EFORMAT, "%s: impossible tensor size", c->path);
        if (to && (to->w->n_dim != (int)n_dim || to->w->shape[i] != size))
            return moa_fail(err, MOA_EINVAL, "%s: tensor '%.*s' has another shape than the model's '%s'", c->path, (int)(n_name < 64 ? n_name : 64),
                            name, to->w->name);
        count *= size;
    }
    MOA_TRY(take_u32(&n_state, c, err));
    if (n_state > MOA_OPTIM_STATES) return moa_fail(err, MOA_EFORMAT, "%s: %u states", c->path, n_state);
    if (to && states && n_state != count_states(to))
        return moa_fail(err, MOA_EINVAL, "%s: %u states of '%s', the optimiser keeps %u", c->path, n_state, to->w->name, count_states(to));
    for (uint32_t i = 0; i <= n_state; i++) {
        const void *p = take(c, (uint64_t)count * 4);
        if (!p) return truncated(c, err);
        float *dst = !to ? NULL : i == 0 ? to->w->data : states ? to->state[i - 1] : NULL;
        if (dst) memcpy(dst, p, (size_t)count * 4);
    }
    return 0;
}

static int read_params(cursor *c, const moa_optim_param *param, int n_param, bool states, moa_err *err) {
    uint32_t n;
    MOA_TRY(take_u32(&n, c, err));
    if (param && n != (uint32_t)n_param)
        return moa_fail(err, MOA_EINVAL, "%s: %u tensors, the model has %d", c->path, n, n_param);
    for (uint32_t i = 0; i < n; i++) MOA_TRY(read_param(c, param ? &param[i] : NULL, states, err));
    return 0;
}

/* What is left before the checksum, if anything is. */
static int read_inputs(moa_inputs *in, cursor *c, moa_err *err) {
    in->n = 0;
    if (c->end - c->at <= 8) return 0;
    MOA_TRY(take_u32(&in->n, c, err));
    if (in->n < 1 || in->n > MOA_INPUTS_MAX) return moa_fail(err, MOA_EFORMAT, "%s: %u files of a recipe", c->path, in->n);
    const void *p = take(c, 8 * (uint64_t)in->n);
    if (!p) return truncated(c, err);
    memcpy(in->hash, p, 8 * (size_t)in->n);
    return 0;
}

/* Whole file through one pass; with the checksum. */
static int read_file(head *h, const char *path, const moa_optim_param *param, int n_param, bool states, moa_err *err) {
    moa_map m;
    MOA_TRY(moa_map_open(&m, path, err));
    cursor c = {path, m.data, m.size ? m.data + m.size : m.data, 0}; /* an empty file has no data */
    int rc = read_head(h, &c, err);
    if (rc == 0) rc = read_params(&c, param, n_param, states, err);
    if (rc == 0) rc = read_inputs(&h->in, &c, err);
    uint64_t want = c.hash, got = 0;
    if (rc == 0 && c.end - c.at != 8) rc = c.end - c.at < 8 ? truncated(&c, err) : moa_fail(err, MOA_EFORMAT, "%s: bytes after its end", path);
    if (rc == 0) memcpy(&got, c.at, 8);
    if (rc == 0 && got != want) rc = moa_fail(err, MOA_EFORMAT, "%s: corrupt (checksum does not agree)", path);
    h->sum = want;
    moa_map_close(&m);
    return rc;
}

/* ---- choosing ---- */
/* The newest sound file: its slot, or an error. Checks everything before anything is changed. */
static int newest(head *best, const char *dir, moa_err *err, moa_err *warn) {
    int slot = -1;
    moa_err bad = {0};
    for (int i = 0; i < SLOTS; i++) {
        char path[4096];
        head h = {0};
        moa_err e = {0};
        slot_path(path, sizeof path, dir, i);
        int rc = read_file(&h, path, NULL, 0, false, &e);
        if (rc < 0 && rc != MOA_ENOTFOUND) bad = e;
        if (rc == 0 && (slot < 0 || h.p.total_step > best->p.total_step ||
                        (h.p.total_step == best->p.total_step && h.p.stage >= best->p.stage))) {
            slot = i;
            *best = h;
        }
    }
    if (slot < 0 && bad.code) {
        if (err) *err = bad;
        return moa_hint(err, bad.code, "no sound checkpoint is left in %s; start over with --fresh", dir);
    }
    if (slot < 0) return moa_fail(err, MOA_ENOTFOUND, "%s: no checkpoint", dir);
    if (warn) *warn = bad;
    return slot;
}

int moa_checkpoint_peek(moa_progress *p, moa_inputs *in, const char *dir, const moa_recipe *r, moa_err *err, moa_err *warn) {
    head h;
    int slot = newest(&h, dir, err, warn);
    if (slot < 0) return slot;
    if (h.recipe_hash != r->hash) {
        moa_fail(err, MOA_EINVAL, "%s: this checkpoint is of recipe '%s' (%016llx), not of '%s' (%016llx) as %s now stands", dir, h.name,
                 (unsigned long long)h.recipe_hash, r->name, (unsigned long long)r->hash, r->path);
        return moa_hint(err, MOA_EINVAL, "give the recipe another name or --out, or start over with --fresh");
    }
    *p = h.p;
    if (in) *in = h.in;
    const moa_recipe_stage *s = p->stage < r->stages_count ? &r->stages[p->stage] : NULL;
    if (p->stage > r->stages_count || (p->step > 0 && (!s || s->kind != MOA_STAGE_TRAIN || p->step > s->steps)))
        return moa_fail(err, MOA_EFORMAT, "%s: a checkpoint of stage %lld, step %lld, which this recipe does not have", dir, (long long)p->stage,
                        (long long)p->step);
    return 0;
}

int moa_checkpoint_load(moa_progress *p, const char *dir, const moa_recipe *r, const moa_optim_param *param, int n_param, moa_err *err) {
    MOA_TRY(moa_checkpoint_peek(p, NULL, dir, r, err, NULL));
    head h;
    int slot = newest(&h, dir, err, NULL);
    if (slot < 0) return slot;
    char path[4096];
    slot_path(path, sizeof path, dir, slot);
    return read_file(&h, path, param, n_param, p->step > 0, err);
}

void moa_checkpoint_remove(const char *dir) {
    for (int i = 0; i < SLOTS; i++) {
        char path[4096];
        slot_path(path, sizeof path, dir, i);
        unlink(path);
    }
}

int moa_checkpoint_weights(const char *dir, const moa_optim_param *param, int n_param, moa_err *err) {
    head h;
    int slot = newest(&h, dir, err, NULL);
    if (slot < 0) return slot;
    char path[4096];
    slot_path(path, sizeof path, dir, slot);
    return read_file(&h, path, param, n_param, false, err);
}

int moa_checkpoint_sum(uint64_t *out, const char *dir, moa_err *err) {
    head h;
    int slot = newest(&h, dir, err, NULL);
    *out = slot < 0 ? 0 : h.sum;
    return slot < 0 ? slot : 0;
}

/* ---- writing ---- */
typedef struct sink { moa_writer *w; uint64_t hash; } sink;

static void put(sink *s, const void *p, size_t n) {
    moa_writer_add(s->w, p, n); /* errors are sticky and come out of the commit */
    s->hash = moa_hash64(p, n, s->hash);
}
static void put_u32(sink *s, uint32_t v) { put(s, &v, 4); }

static void put_param(sink *s, const moa_optim_param *p) {
    const char *name = p->w->name ? p->w->name : "";
    int64_t n = moa_tensor_count(p->w);
    uint32_t n_state = count_states(p);
    put_u32(s, (uint32_t)strlen(name));
    put(s, name, strlen(name));
    put_u32(s, (uint32_t)p->w->n_dim);
    for (int i = 0; i < p->w->n_dim; i++) put(s, &p->w->shape[i], 8);
    put_u32(s, n_state);
    put(s, p->w->data, (size_t)n * 4);
    for (uint32_t i = 0; i < n_state; i++) put(s, p->state[i], (size_t)n * 4);
}

/* Of the file that is not the newest sound one. */
static int slot_to_write(const char *dir) {
    head h;
    int slot = newest(&h, dir, NULL, NULL);
    return slot < 0 ? 0 : (slot + 1) % SLOTS;
}

int moa_checkpoint_save(const char *dir, const moa_recipe *r, const moa_progress *p, const moa_inputs *in, const moa_optim_param *param, int n_param,
                        moa_err *err) {
    char path[4096], name[NAME_BYTES] = {0};
    slot_path(path, sizeof path, dir, slot_to_write(dir));
    snprintf(name, sizeof name, "%s", r->name);
    sink s = {0};
    MOA_TRY(moa_writer_open(&s.w, path, err));
    put(&s, MAGIC, 8);
    put_u32(&s, VERSION);
    put_u32(&s, sizeof *p);
    put(&s, &r->hash, 8);
    put(&s, name, NAME_BYTES);
    put(&s, p, sizeof *p);
    put_u32(&s, (uint32_t)n_param);
    for (int i = 0; i < n_param; i++) put_param(&s, &param[i]);
    if (in->n) put_u32(&s, in->n), put(&s, in->hash, 8 * (size_t)in->n);
    moa_writer_add(s.w, &s.hash, 8);
    return moa_writer_commit(s.w, err);
}
