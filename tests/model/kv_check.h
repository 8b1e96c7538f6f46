/* kv_check.h - what must hold of a KV store and of the tree of prefixes over it, whatever was done before.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TESTS_MODEL_KV_CHECK_H
#define MOA_TESTS_MODEL_KV_CHECK_H

#include "model/prefix.h"
#include "model/support.h"

static inline bool is_newer(const moa_prefix_node *a, const moa_prefix_node *b) {
    while (b && b != a) b = b->newer;
    return b == a;
}

/* Every block is held exactly as often as lists and nodes name it, and free or held; the tree's order and counts are right. */
static inline void check_kv(moa_session *s, const moa_prefix_cache *c) {
    const moa_kv *kv = moa_session_kv(s);
    size_t bytes = 0;
    int n_node = 0;
    for (const moa_prefix_node *n = c->newest; n; n = n->older) {
        int children = 0;
        n_node++;
        assert_true(n->n > 0);
        for (const moa_prefix_node *k = c->newest; k; k = k->older) children += k->parent == n;
        assert_int_equal(n->n_child, children);
        if (n->parent) assert_true(is_newer(n->parent, n) && n->parent->start + n->parent->n == n->start && n->parent->kind == n->kind);
        else assert_int_equal(n->start, 0);
    }
    assert_int_equal(c->n_node, n_node);
    for (int i = 0; i < kv->n_store; i++) {
        const moa_kv_store *st = &kv->store[i];
        int32_t *want = calloc((size_t)kv->n_block, sizeof *want), n_free = 0;
        for (const moa_prefix_node *n = c->newest; n; n = n->older)
            for (int b = 0; b < moa_kv_blocks(n->start + n->n) - (int)(n->start / MOA_KV_BLOCK); b++)
                if (n->block[i][b] >= 0) want[n->block[i][b]]++;
        for (int b = 0; b < kv->n_block; b++) {
            assert_int_equal(c->held[i][b], want[b]);
            if (want[b]) bytes += st->block_bytes;
        }
        for (int q = 0; q < kv->n_seq; q++) {
            const moa_kv_list *l = &kv->seq[q].list[i];
            if (!kv->seq[q].live) assert_int_equal(l->n, 0);
            else assert_int_equal(l->n, moa_kv_blocks(kv->seq[q].len));
            for (int b = l->first; b < l->n; b++) want[l->block[b]]++;
        }
        for (int b = 0; b < kv->n_block; b++) {
            assert_int_equal(st->ref[b], want[b]);
            n_free += !want[b];
        }
        assert_int_equal(st->n_spare, n_free);
        free(want);
    }
    assert_true(c->bytes == bytes && (!c->budget || bytes <= c->budget));
}

#endif
