/* pack.c - see pack.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/pack.h"

#include "base/err.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int moa_batch_init(moa_train_batch *b, const moa_recipe_stage *s, moa_err *err) {
    *b = (moa_train_batch){.n = s->batch_tokens};
    int32_t **const a[] = {&b->id, &b->pos, &b->doc_start, &b->target, &b->pair};
    for (int i = 0; i < 5; i++) *a[i] = malloc((size_t)b->n * sizeof **a[i]);
    b->weight = malloc((size_t)b->n * sizeof *b->weight);
    if (b->id && b->pos && b->doc_start && b->target && b->weight && b->pair) return 0;
    moa_batch_deinit(b);
    return moa_fail(err, MOA_ENOMEM, "no memory for a batch of %lld tokens", (long long)s->batch_tokens);
}

void moa_batch_deinit(moa_train_batch *b) {
    free(b->id);
    free(b->pos);
    free(b->doc_start);
    free(b->target);
    free(b->weight);
    free(b->pair);
    *b = (moa_train_batch){0};
}

/* Tokens from .. to - 1 of a document at the place `at` (in the batch); part_len counts doc_start within its part. */
static void place_part(moa_train_batch *b, const moa_doc *doc, int64_t from, int64_t to, int64_t at, int64_t part_len, int32_t pair) {
    int32_t start = (int32_t)(at % part_len);
    for (int64_t i = from; i + 1 < to; i++, at++) {
        b->id[at] = doc->id[i];
        b->pos[at] = (int32_t)(i - from);
        b->doc_start[at] = start;
        b->target[at] = doc->id[i + 1];
        b->weight[at] = doc->learn[i + 1] ? 1.0f : 0.0f;
        b->pair[at] = doc->learn[i + 1] ? pair : 0;
        b->n_learned += doc->learn[i + 1];
    }
}

static void place(moa_train_batch *b, const moa_doc *doc, int64_t at, int64_t part_len) {
    const int64_t first = doc->split ? doc->split : doc->n;
    place_part(b, doc, 0, first, at, part_len, doc->pair);
    if (doc->split) place_part(b, doc, doc->split, doc->n, at + (first ? first - 1 : 0), part_len, -doc->pair);
    b->n_used += moa_doc_places(doc);
    b->n_doc++;
}

/* Empty places: documents of one token that nobody learns from. */
static void pad(moa_train_batch *b, int64_t at, int64_t end, int64_t part_len) {
    for (; at < end; at++) {
        b->id[at] = b->pos[at] = b->target[at] = b->pair[at] = 0;
        b->doc_start[at] = (int32_t)(at % part_len);
        b->weight[at] = 0;
    }
}

static int best_row(const int32_t *used, int rows, int seq_len, int64_t len) {
    int best = -1;
    for (int r = 0; r < rows; r++)
        if (seq_len - used[r] >= len && (best < 0 || used[r] > used[best])) best = r;
    return best;
}

int moa_batch_fill(moa_train_batch *b, moa_doc *doc, moa_data *d, const moa_recipe_stage *s, const moa_pack_state *from, moa_err *err) {
    const int rows = (int)(b->n / s->seq_len);
    const int64_t part_len = b->n / s->accumulate;
    int32_t *used = calloc((size_t)rows, sizeof *used);
    if (!used) return moa_fail(err, MOA_ENOMEM, "no memory to pack a batch");
    moa_pack_state st = *from, left = {.next = from->next};
    b->n_used = b->n_learned = b->n_doc = 0;
    int rc = 0;
    for (uint64_t i = 0; rc == 0; i++) {
        bool old = i < st.n_waiting;
        if (!old && (left.n_waiting == MOA_WAITING_MAX || b->n_used == b->n)) break;
        uint64_t number = old ? st.waiting[i] : left.next++;
        if ((rc = moa_data_doc(doc, d, number, err)) < 0) break;
        int r = best_row(used, rows, s->seq_len, moa_doc_places(doc));
        if (r < 0) left.waiting[left.n_waiting++] = number;
        else {
            place(b, doc, (int64_t)r * s->seq_len + used[r], part_len);
            used[r] += (int32_t)moa_doc_places(doc);
        }
    }
    for (int r = 0; r < rows; r++) pad(b, (int64_t)r * s->seq_len + used[r], (int64_t)(r + 1) * s->seq_len, part_len);
    b->after = left;
    b->n_dropped = moa_data_dropped(d);
    free(used);
    return rc;
}

int moa_batch_pairs(moa_train_batch *b, moa_doc *doc, moa_data *d, const moa_recipe_stage *s, int64_t *next, moa_err *err) {
    const int rows = (int)(b->n / s->seq_len);
    const int64_t part_len = b->n / s->accumulate;
    int32_t *used = calloc((size_t)rows, sizeof *used);
    if (!used) return moa_fail(err, MOA_ENOMEM, "no memory to pack a batch");
    int rc = 0;
    b->n_used = b->n_learned = b->n_doc = 0;
    for (; *next < moa_data_pairs(d); ++*next) {
        if ((rc = moa_data_pair(doc, d, *next, err)) < 0) break;
        if (moa_doc_places(doc) > s->seq_len || doc->n < 2) continue;
        const int r = best_row(used, rows, s->seq_len, moa_doc_places(doc));
        if (r < 0) break;
        place(b, doc, (int64_t)r * s->seq_len + used[r], part_len);
        used[r] += (int32_t)moa_doc_places(doc);
    }
    for (int r = 0; r < rows; r++) pad(b, (int64_t)r * s->seq_len + used[r], (int64_t)(r + 1) * s->seq_len, part_len);
    free(used);
    return rc;
}

/* ---- the thread: a ring of AHEAD batches ---- */
enum { AHEAD = 3 };
struct moa_feed {
    moa_data *data;
    const moa_recipe_stage *stage;
    moa_pack_state state;
    int64_t n_batch, made, taken; /* taken: handed out, the last one still in use */
    moa_train_batch slot[AHEAD];
    moa_doc doc;
    bool quit, running;
    int rc;
    moa_err err;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
};

static void *produce(void *arg) {
    moa_feed *f = arg;
    for (int64_t i = 0; i < f->n_batch; i++) {
        pthread_mutex_lock(&f->lock);
        while (!f->quit && f->made - f->taken >= AHEAD - 1) pthread_cond_wait(&f->changed, &f->lock);
        bool quit = f->quit;
        pthread_mutex_unlock(&f->lock);
        if (quit) return NULL;
        moa_err err = {0};
        moa_train_batch *b = &f->slot[i % AHEAD];
        int rc = moa_batch_fill(b, &f->doc, f->data, f->stage, &f->state, &err);
        f->state = b->after;
        pthread_mutex_lock(&f->lock);
        if (rc < 0) f->rc = rc, f->err = err;
        else f->made++;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
        if (rc < 0) return NULL;
    }
    return NULL;
}

int moa_feed_start(moa_feed **out, moa_data *d, const moa_recipe_stage *s, const moa_pack_state *from, int64_t n_batch, moa_err *err) {
    *out = NULL;
    moa_feed *f = calloc(1, sizeof *f);
    if (!f) return moa_fail(err, MOA_ENOMEM, "no memory for the data thread");
    f->data = d;
    f->stage = s;
    f->state = *from;
    f->n_batch = n_batch;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    int rc = 0;
    for (int i = 0; i < AHEAD && rc == 0; i++) rc = moa_batch_init(&f->slot[i], s, err);
    if (rc == 0 && pthread_create(&f->thread, NULL, produce, f) != 0) rc = moa_fail(err, MOA_EIO, "cannot start the data thread");
    if (rc < 0) {
        moa_feed_stop(f);
        return rc;
    }
    f->running = true;
    *out = f;
    return 0;
}

int moa_feed_take(const moa_train_batch **out, moa_feed *f, moa_err *err) {
    pthread_mutex_lock(&f->lock);
    while (f->made == f->taken && f->rc == 0) pthread_cond_wait(&f->changed, &f->lock);
    int rc = f->made == f->taken ? f->rc : 0;
    if (rc == 0) {
        *out = &f->slot[f->taken % AHEAD];
        f->taken++;
        pthread_cond_broadcast(&f->changed);
    } else if (err) {
        *err = f->err;
    }
    pthread_mutex_unlock(&f->lock);
    return rc;
}

void moa_feed_stop(moa_feed *f) {
    if (!f) return;
    if (f->running) {
        pthread_mutex_lock(&f->lock);
        f->quit = true;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
        pthread_join(f->thread, NULL);
    }
    for (int i = 0; i < AHEAD; i++) moa_batch_deinit(&f->slot[i]);
    moa_doc_deinit(&f->doc);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f);
}
