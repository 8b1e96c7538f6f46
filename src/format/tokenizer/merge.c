/* merge.c - pairs wait in a heap ordered by (rank, position). A pair whose parts have changed since it was
 * pushed is recognised by its length and dropped, so nothing has to be searched for in the heap; each join
 * pushes at most two new pairs, which bounds the whole at O(n log n) for words of any length.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer/merge.h"

#include "moa.h"

#include <stdlib.h>

void moa_merger_deinit(moa_merger *m) {
    free(m->sym);
    free(m->heap);
    *m = (moa_merger){0};
}

int moa_merger_reserve(moa_merger *m, size_t n_sym) {
    if (n_sym > m->cap_sym) {
        size_t cap = n_sym < 256 ? 256 : n_sym + n_sym / 2;
        void *p = realloc(m->sym, cap * sizeof *m->sym);
        if (!p) return MOA_ENOMEM;
        m->sym = p;
        m->cap_sym = cap;
    }
    return 0;
}

static void push(moa_merger *m, moa_join j) {
    if (m->n_heap == m->cap_heap) {
        size_t cap = m->cap_heap ? m->cap_heap * 2 : 256;
        void *p = realloc(m->heap, cap * sizeof *m->heap);
        if (!p) {
            m->failed = true;
            return;
        }
        m->heap = p;
        m->cap_heap = cap;
    }
    size_t i = m->n_heap++;
    for (; i > 0 && m->heap[(i - 1) / 2].key > j.key; i = (i - 1) / 2) m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = j;
}

static moa_join pop(moa_merger *m) {
    moa_join top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0, n = m->n_heap;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && m->heap[k + 1].key < m->heap[k].key) k++;
        if (m->heap[k].key >= last.key) break;
        m->heap[i] = m->heap[k];
    }
    m->heap[i] = last;
    return top;
}

typedef struct call { const char *text; moa_pair_fn pair; const void *ctx; } call;

static void consider(moa_merger *m, const call *c, int32_t left) {
    if (left < 0) return;
    const moa_sym *a = &m->sym[left];
    if (a->next < 0) return;
    const moa_sym *b = &m->sym[a->next];
    uint32_t rank;
    int32_t id;
    if (c->pair(&rank, &id, c->ctx, c->text, a, b))
        push(m, (moa_join){(uint64_t)rank << 32 | (uint32_t)left, id, a->n + b->n});
}

int moa_merger_run(moa_merger *m, size_t n_sym, const char *text, moa_pair_fn pair, const void *ctx) {
    const call c = {text, pair, ctx};
    m->n_heap = 0;
    m->failed = false;
    for (size_t i = 0; i < n_sym; i++) {
        m->sym[i].prev = (int32_t)i - 1;
        m->sym[i].next = i + 1 < n_sym ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i + 1 < n_sym; i++) consider(m, &c, (int32_t)i);
    while (m->n_heap) {
        moa_join j = pop(m);
        int32_t left = (int32_t)(uint32_t)j.key;
        moa_sym *a = &m->sym[left];
        if (!a->n || a->next < 0) continue;
        moa_sym *b = &m->sym[a->next];
        if (a->n + b->n != j.n) continue;
        a->id = j.id;
        a->n = j.n;
        a->next = b->next;
        b->n = 0;
        if (a->next >= 0) m->sym[a->next].prev = left;
        consider(m, &c, a->prev);
        consider(m, &c, left);
    }
    return m->failed ? MOA_ENOMEM : 0;
}
