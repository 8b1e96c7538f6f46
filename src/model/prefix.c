/* prefix.c - see prefix.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/prefix.h"
#include "base/err.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 64 };

int moa_prefix_init(moa_prefix_cache *c, moa_session *s, size_t budget, moa_err *err) {
    moa_kv *kv = moa_session_kv(s);
    *c = (moa_prefix_cache){.s = s, .kv = kv, .budget = budget, .n_bucket = FIRST_BUCKETS};
    bool ok = (c->bucket = calloc(FIRST_BUCKETS, sizeof(moa_prefix_node *))) != NULL;
    for (int i = 0; i < kv->n_store; i++) {
        c->held[i] = calloc((size_t)kv->n_block, sizeof(int32_t));
        c->table[i] = calloc((size_t)kv->max_block, sizeof(int32_t));
        ok = ok && c->held[i] && c->table[i];
    }
    return ok ? 0 : moa_fail(err, MOA_ENOMEM, "generator: no memory for the tables of a prefix cache");
}

/* ---- blocks ---- */

static void hold(moa_prefix_cache *c, int store, int block) {
    if (block < 0) return;
    moa_kv_hold(c->kv, store, block);
    if (!c->held[store][block]++) c->bytes += c->kv->store[store].block_bytes;
}

static void let_go(moa_prefix_cache *c, int store, int block) {
    if (block < 0) return;
    moa_kv_release(c->kv, store, block);
    if (!--c->held[store][block]) c->bytes -= c->kv->store[store].block_bytes;
}

static int first_block(const moa_prefix_node *n) { return (int)(n->start / MOA_KV_BLOCK); }
static int end_block(const moa_prefix_node *n) { return moa_kv_blocks(n->start + n->n); }

/* ---- nodes ---- */

static moa_prefix_node **bucket_of(const moa_prefix_cache *c, const moa_prefix_node *parent, uint64_t kind, int32_t first) {
    const uint64_t h = moa_mix64(moa_mix64((uint64_t)(uintptr_t)parent ^ kind) ^ (uint32_t)first);
    return &c->bucket[h & (uint64_t)(c->n_bucket - 1)];
}

static moa_prefix_node *child_of(const moa_prefix_cache *c, const moa_prefix_node *parent, uint64_t kind, int32_t first) {
    moa_prefix_node *n = *bucket_of(c, parent, kind, first);
    while (n && (n->parent != parent || n->kind != kind || n->tok[0] != first)) n = n->chain;
    return n;
}

static void chain(moa_prefix_cache *c, moa_prefix_node *n) {
    moa_prefix_node **b = bucket_of(c, n->parent, n->kind, n->tok[0]);
    n->chain = *b;
    *b = n;
}

static void unchain(moa_prefix_cache *c, moa_prefix_node *n) {
    moa_prefix_node **b = bucket_of(c, n->parent, n->kind, n->tok[0]);
    while (*b != n) b = &(*b)->chain;
    *b = n->chain;
}

/* More buckets; without memory the chains stay longer. */
static void grow(moa_prefix_cache *c) {
    moa_prefix_node **wide = calloc((size_t)c->n_bucket * 2, sizeof(moa_prefix_node *));
    if (!wide) return;
    free(c->bucket);
    c->bucket = wide;
    c->n_bucket *= 2;
    for (moa_prefix_node *n = c->newest; n; n = n->older) chain(c, n);
}

static void unlink_use(moa_prefix_cache *c, moa_prefix_node *n) {
    *(n->newer ? &n->newer->older : &c->newest) = n->older;
    *(n->older ? &n->older->newer : &c->oldest) = n->newer;
}

/* Just before `next` in order of use; NULL: as the oldest. */
static void link_use(moa_prefix_cache *c, moa_prefix_node *n, moa_prefix_node *next) {
    n->older = next;
    n->newer = next ? next->newer : c->oldest;
    *(n->newer ? &n->newer->older : &c->newest) = n;
    *(next ? &next->newer : &c->oldest) = n;
}

/* From the leaf up, so that parents end before their children. */
static void touch(moa_prefix_cache *c, moa_prefix_node *leaf) {
    for (moa_prefix_node *n = leaf; n; n = n->parent) {
        unlink_use(c, n);
        link_use(c, n, c->newest);
    }
}

/* A node with room for its tokens and blocks, in no list yet. */
static moa_prefix_node *make(moa_prefix_cache *c, moa_prefix_node *parent, uint64_t kind, const int32_t *tok, int64_t start, int64_t n) {
    const size_t blocks = (size_t)(moa_kv_blocks(start + n) - start / MOA_KV_BLOCK), stores = (size_t)c->kv->n_store;
    moa_prefix_node *p = malloc(sizeof *p + ((size_t)n + blocks * stores) * sizeof(int32_t));
    if (!p) return NULL;
    *p = (moa_prefix_node){.parent = parent, .kind = kind, .start = start, .n = n, .tok = (int32_t *)(p + 1)};
    for (size_t i = 0; i < stores; i++) p->block[i] = p->tok + n + i * blocks;
    memcpy(p->tok, tok, (size_t)n * sizeof *tok);
    if (c->n_node >= 2 * c->n_bucket) grow(c);
    if (parent) parent->n_child++;
    c->n_node++;
    return p;
}

static void drop(moa_prefix_cache *c, moa_prefix_node *n) {
    for (int i = 0; i < c->kv->n_store; i++)
        for (int b = 0; b < end_block(n) - first_block(n); b++) let_go(c, i, n->block[i][b]);
    unchain(c, n);
    unlink_use(c, n);
    if (n->parent) n->parent->n_child--;
    c->n_node--;
    free(n);
}

void moa_prefix_deinit(moa_prefix_cache *c) {
    while (c->oldest) drop(c, c->oldest);
    free(c->bucket);
    for (int i = 0; i < MOA_KV_STORES; i++) {
        free(c->held[i]);
        free(c->table[i]);
    }
    *c = (moa_prefix_cache){0};
}

/* Parts n after its first `at` tokens: those become a node above it, which is returned; NULL without memory. */
static moa_prefix_node *split(moa_prefix_cache *c, moa_prefix_node *n, int64_t at) {
    moa_prefix_node *up = make(c, n->parent, n->kind, n->tok, n->start, at);
    if (!up) return NULL;
    const int up_blocks = end_block(up) - first_block(up), skip = (int)((n->start + at) / MOA_KV_BLOCK) - first_block(n);
    const int left = end_block(n) - first_block(n) - skip;
    unchain(c, n);
    for (int i = 0; i < c->kv->n_store; i++) {
        memcpy(up->block[i], n->block[i], (size_t)up_blocks * sizeof(int32_t));
        if (up_blocks > skip) hold(c, i, up->block[i][skip]); /* the block in which they part is held by both */
        memmove(n->block[i], n->block[i] + skip, (size_t)left * sizeof(int32_t));
    }
    memmove(n->tok, n->tok + at, (size_t)(n->n - at) * sizeof(int32_t));
    n->start += at;
    n->n -= at;
    n->parent = up; /* of which it is the only child; the old parent has lost one and got one */
    up->n_child = 1;
    if (up->parent) up->parent->n_child--;
    chain(c, up);
    chain(c, n);
    link_use(c, up, n);
    return up;
}

/* ---- what is kept ---- */

/* Blocks that windows had left when n was made, and that seq still has. */
static void bring(moa_prefix_cache *c, moa_prefix_node *n, const moa_kv_seq *q) {
    for (int i = 0; i < c->kv->n_store; i++)
        for (int b = first_block(n); b < end_block(n); b++) {
            int32_t *at = &n->block[i][b - first_block(n)];
            if (*at < 0) hold(c, i, *at = q->list[i].block[b]);
        }
}

void moa_prefix_keep(moa_prefix_cache *c, int seq, const int32_t *tok, int64_t n) {
    const moa_kv_seq *q = &c->kv->seq[seq];
    const uint64_t kind = moa_seq_kind(c->s, seq);
    const bool slides = moa_session_slides(c->s);
    moa_prefix_node *at = NULL;
    moa_assert(n <= q->len);
    for (int64_t pos = 0; pos < n;) {
        moa_prefix_node *k = child_of(c, at, kind, tok[pos]);
        if (!k) {
            if (!(k = make(c, at, kind, tok + pos, pos, n - pos))) break;
            for (int i = 0; i < c->kv->n_store; i++)
                for (int b = first_block(k); b < end_block(k); b++) hold(c, i, k->block[i][b - first_block(k)] = q->list[i].block[b]);
            chain(c, k);
            link_use(c, k, c->newest);
            at = k;
            break;
        }
        const int64_t same = moa_common(k->tok, tok + pos, k->n < n - pos ? k->n : n - pos);
        /* A text that ends within a node is in it; with windows its end is a place to go on from, and a node of its own. */
        if (same < k->n && (pos + same < n || slides) && !(k = split(c, k, same))) break;
        if (same == k->n) bring(c, k, q);
        at = k;
        pos += same;
    }
    touch(c, at);
    while (c->budget && c->bytes > c->budget && moa_prefix_evict(c)) continue;
}

void moa_prefix_put(moa_prefix_cache *c, int seq, const int32_t *tok, int64_t n) {
    moa_prefix_keep(c, seq, tok, n);
    moa_seq_free(c->s, seq);
}

bool moa_prefix_evict(moa_prefix_cache *c) {
    moa_prefix_node *n = c->oldest;
    if (!n) return false;
    moa_assert_eq(n->n_child, 0);
    c->hit = NULL;
    const int last = end_block(n) - 1;
    const int64_t end = (int64_t)last * MOA_KV_BLOCK;
    if (end <= n->start) {
        drop(c, n);
        return true;
    }
    for (int i = 0; i < c->kv->n_store; i++) let_go(c, i, n->block[i][last - first_block(n)]);
    n->n = end - n->start;
    return true;
}

/* ---- what is found ---- */

int64_t moa_prefix_find(moa_prefix_cache *c, uint64_t kind, const int32_t *tok, int64_t most) {
    int64_t pos = 0;
    c->hit = NULL;
    while (pos < most) {
        moa_prefix_node *k = child_of(c, c->hit, kind, tok[pos]);
        if (!k) break;
        const int64_t same = moa_common(k->tok, tok + pos, k->n < most - pos ? k->n : most - pos);
        for (int i = 0; i < c->kv->n_store; i++)
            for (int b = first_block(k); b < moa_kv_blocks(pos + same); b++) c->table[i][b] = k->block[i][b - first_block(k)];
        c->hit = k;
        pos += same;
        if (same < k->n) break;
    }
    int64_t len = moa_kv_reach(c->kv, c->table, pos);
    while (c->hit && len < c->hit->start) { /* windows have left the last node: its parent's end, with the parent's own blocks */
        const moa_prefix_node *n = c->hit;
        const int b = first_block(n);
        c->hit = n->parent;
        for (int i = 0; c->hit && n->start % MOA_KV_BLOCK && i < c->kv->n_store; i++)
            c->table[i][b] = c->hit->block[i][b - first_block(c->hit)];
        len = moa_kv_reach(c->kv, c->table, n->start);
    }
    return len;
}

int moa_prefix_fork(moa_prefix_cache *c, int64_t len, int64_t for_len, moa_err *err) {
    const int seq = moa_seq_begin(c->s, for_len, err);
    if (seq < 0) return seq;
    moa_assert(len == 0 || c->hit);
    if (len) touch(c, c->hit);
    moa_kv_adopt(c->kv, seq, c->table, len);
    return seq;
}
