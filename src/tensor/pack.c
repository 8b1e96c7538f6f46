/* pack.c - see pack.h. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/pack.h"
#include "base/arena.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/file.h"
#include "base/pages.h"
#include "tensor/exec.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

enum { R = MOA_PACK_ROWS };

/* Numbers of a block that are no words of 4 bytes: `lead` bytes before the words, `trail` behind them, two each (a lead of 1: one byte). */
static const struct form { moa_dtype id; int lead, trail; } forms[] = {
    {MOA_Q4_0, 2, 0}, {MOA_Q4_1, 4, 0}, {MOA_Q5_0, 2, 0}, {MOA_Q5_1, 4, 0},   {MOA_Q8_0, 2, 0},   {MOA_Q2_K, 0, 4},  {MOA_Q3_K, 0, 2},
    {MOA_Q4_K, 4, 0}, {MOA_Q5_K, 4, 0}, {MOA_Q6_K, 0, 2}, {MOA_IQ4_NL, 2, 0}, {MOA_IQ4_XS, 4, 0}, {MOA_TQ2_0, 0, 2}, {MOA_MXFP4, 1, 0}};

static const struct form *form_of(moa_dtype id) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].id == id) return &forms[i];
    return NULL;
}
bool moa_type_packs(const moa_type *t) { return t && form_of(t->id); }

static void spread(uint8_t *dst, const uint8_t *src, int bytes, int width) { /* one row's numbers to every R-th place */
    for (int j = 0; j < bytes; j += width) memcpy(dst + j * R, src + j, (size_t)width);
}

void moa_pack_rows(uint8_t *dst, const void *w, size_t w_stride, const moa_type *t, int64_t n_group, int64_t n_in) {
    const struct form *f = form_of(t->id);
    const int end = t->bytes - f->trail;
    const int64_t n_block = n_in / t->block;
    const uint8_t *row = w;
    for (int64_t g = 0; g < n_group; g++, row += R * w_stride)
        for (int64_t b = 0; b < n_block; b++, dst += R * t->bytes)
            for (int r = 0; r < R; r++) {
                const uint8_t *src = row + (size_t)r * w_stride + b * t->bytes;
                if (f->lead == 1) dst[r] = *src;
                else spread(dst + 2 * r, src, f->lead, 2);
                spread(dst + f->lead * R + 4 * r, src + f->lead, end - f->lead, 4);
                spread(dst + end * R + 2 * r, src + end, f->trail, 2);
            }
}

void moa_unpack_block(uint8_t *dst, const uint8_t *src, const moa_type *t, int r) {
    const struct form *f = form_of(t->id);
    for (int at = 0, width; at < t->bytes; at += width) {
        width = at < f->lead ? (f->lead == 1 ? 1 : 2) : at < t->bytes - f->trail ? 4 : 2;
        memcpy(dst + at, src + at * R + r * width, (size_t)width);
    }
}

/* ---- the packed forms of a model ---- */

struct moa_packs {
    pthread_mutex_t lock;
    char *base;         /* one reservation for all, touched as it is used; NULL: nobody wanted it yet, or there was no room */
    size_t total, used; /* bytes of what was offered; of what was made */
};
struct moa_pack { moa_packs *of; _Atomic(uint8_t *) data; };

enum { ALIGN = 64 };
static size_t bytes_of(const moa_tensor *w) { return (size_t)(w->shape[0] / R * R) * (size_t)w->stride[0]; }

int moa_repack_parse(moa_repack *out, const char *name, moa_err *err) {
    static const char *const mode[] = {"auto", "on", "off"};
    for (int i = 0; name && i < 3; i++)
        if (!strcasecmp(name, mode[i])) return *out = (moa_repack)i, MOA_OK;
    return !name ? MOA_OK : moa_fail(err, MOA_EINVAL, "repack '%s': expected auto, on or off", name);
}

moa_packs *moa_packs_new(void) {
    moa_packs *p = calloc(1, sizeof *p);
    if (p && pthread_mutex_init(&p->lock, NULL)) free(p), p = NULL;
    return p;
}

/* Bytes that all models of this process have reserved. */
static pthread_mutex_t ledger = PTHREAD_MUTEX_INITIALIZER;
static size_t promised;

void moa_packs_free(moa_packs *p) {
    if (!p) return;
    if (p->base) {
        munmap(p->base, p->total);
        pthread_mutex_lock(&ledger);
        promised -= p->total;
        pthread_mutex_unlock(&ledger);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static bool packs(const moa_tensor *w) { return w->n_dim == 2 && w->shape[0] >= R && moa_cols(w) % 32 == 0 && moa_type_packs(moa_type_get(w->dtype)); }

bool moa_packs_offer(moa_packs *p, moa_arena *arena, moa_tensor *w) {
    if (!packs(w)) return true;
    if (!(w->pack = moa_arena_calloc(arena, sizeof *w->pack))) return false;
    w->pack->of = p;
    p->total += (bytes_of(w) + ALIGN - 1) / ALIGN * ALIGN;
    return true;
}

bool moa_pack_as_is(moa_arena *arena, moa_tensor *w) {
    if (!(w->pack = moa_arena_calloc(arena, sizeof *w->pack))) return false;
    atomic_store(&w->pack->data, (uint8_t *)w->data);
    return true;
}

/* Memory that nobody else can use is what packed forms take; files in the page cache give way to them. */
static bool fits(const moa_packs *p, moa_repack mode) {
    const uint64_t all = moa_cpu_memory();
    if (mode == MOA_REPACK_ON) return p->total < all;
    return p->total + promised < all / 5 * 3 && p->total < moa_cpu_memory_free() / 5 * 4;
}

int moa_packs_want(moa_packs *p, moa_repack mode, bool *wanted, moa_err *err) {
    *wanted = false;
    if (!p || !p->total || mode == MOA_REPACK_OFF) return 0;
    pthread_mutex_lock(&ledger);
    if (!p->base && fits(p, mode)) {
        void *base = mmap(NULL, p->total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base != MAP_FAILED) moa_pages_huge(base, p->total), p->base = base, promised += p->total;
    }
    *wanted = p->base != NULL;
    pthread_mutex_unlock(&ledger);
    if (*wanted || mode == MOA_REPACK_AUTO) return 0;
    moa_fail(err, MOA_ENOMEM, "repack: no memory for %zu bytes of weights in the order of products", p->total);
    return moa_hint(err, MOA_ENOMEM, "without repack, or with off, products read the file");
}

size_t moa_packs_total(const moa_packs *p) { return p ? p->total : 0; }
size_t moa_packs_made(moa_packs *p) {
    if (!p) return 0;
    pthread_mutex_lock(&p->lock);
    const size_t made = p->used;
    pthread_mutex_unlock(&p->lock);
    return made;
}

static uint8_t *room_for(moa_packs *p, size_t bytes) {
    uint8_t *at = (uint8_t *)p->base + p->used;
    p->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    moa_assert(p->used <= p->total);
    return at;
}

/* Each thread of the team begins with the share of rows that it begins with in products, too, and memory lies where it is first written: on
 * machines with several memory nodes near to who reads it. */
typedef struct job { uint8_t *dst; const moa_tensor *w; } job; /* range: groups */
static void pack_range(const void *args, int64_t g0, int64_t g1, int thread) {
    const job *j = args;
    const size_t group = R * (size_t)j->w->stride[0];
    (void)thread;
    moa_pack_rows(j->dst + (size_t)g0 * group, (const char *)j->w->data + (size_t)g0 * group, (size_t)j->w->stride[0],
                  moa_type_get(j->w->dtype), g1 - g0, moa_cols(j->w));
}

const uint8_t *moa_packed(moa_exec *x, const moa_tensor *w) {
    if (!x->repack || !w->pack) return NULL;
    struct moa_pack *pack = w->pack;
    uint8_t *data = atomic_load_explicit(&pack->data, memory_order_acquire);
    if (data) return data;
    moa_packs *p = pack->of;
    pthread_mutex_lock(&p->lock);
    data = atomic_load_explicit(&pack->data, memory_order_relaxed);
    if (!data && p->base) {
        data = room_for(p, bytes_of(w));
        const job j = {data, w};
        moa_parallel(x, w->shape[0] / R, 1, 0.3 * R * (double)w->stride[0], pack_range, &j);
        moa_map_done(w->data, bytes_of(w));
        atomic_store_explicit(&pack->data, data, memory_order_release);
    }
    pthread_mutex_unlock(&p->lock);
    return data;
}
