/* trie.c - built level by level from sorted keys: a node is a range of keys that share its bytes, its children are the parts of the
 * range that go on with one byte each. Ranges live only while the nodes are made.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer/trie.h"

#include <stdlib.h>

typedef struct range { uint32_t lo, hi, depth; } range;

static int by_text(const void *pa, const void *pb) {
    const moa_trie_key *a = pa, *b = pb;
    const int c = memcmp(a->p, b->p, a->n < b->n ? a->n : b->n);
    if (c) return c;
    if (a->n != b->n) return a->n < b->n ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

void moa_trie_deinit(moa_trie *t) {
    free(t->first);
    free(t->count);
    free(t->byte);
    free(t->id);
    *t = (moa_trie){0};
}

static int grow(moa_trie *t, range **r) {
    if (t->n < t->cap) return 0;
    if (t->cap > UINT32_MAX / 4) return MOA_ELIMIT;
    const uint32_t cap = t->cap ? t->cap * 2 : 1024;
    void *p;
    if (!(p = realloc(t->first, cap * sizeof *t->first))) return MOA_ENOMEM;
    t->first = p;
    if (!(p = realloc(t->count, cap * sizeof *t->count))) return MOA_ENOMEM;
    t->count = p;
    if (!(p = realloc(t->byte, cap))) return MOA_ENOMEM;
    t->byte = p;
    if (!(p = realloc(t->id, cap * sizeof *t->id))) return MOA_ENOMEM;
    t->id = p;
    if (!(p = realloc(*r, cap * sizeof **r))) return MOA_ENOMEM;
    *r = p;
    t->cap = cap;
    return 0;
}

static int add(moa_trie *t, range **r, range keys, uint8_t byte) {
    const int rc = grow(t, r);
    if (rc < 0) return rc;
    (*r)[t->n] = keys;
    t->byte[t->n] = byte;
    t->first[t->n] = 0;
    t->count[t->n] = 0;
    t->id[t->n++] = -1;
    return 0;
}

static int expand(moa_trie *t, range **r, const moa_trie_key *key, uint32_t node) {
    const range of = (*r)[node];
    uint32_t i = of.lo;
    for (; i < of.hi && key[i].n == of.depth; i++)
        if (t->id[node] < 0 && of.depth) t->id[node] = key[i].id;
    t->first[node] = t->n;
    while (i < of.hi) {
        const uint8_t c = (uint8_t)key[i].p[of.depth];
        uint32_t end = i + 1;
        while (end < of.hi && (uint8_t)key[end].p[of.depth] == c) end++;
        const int rc = add(t, r, (range){i, end, of.depth + 1}, c);
        if (rc < 0) return rc;
        t->count[node]++;
        i = end;
    }
    return 0;
}

int moa_trie_init(moa_trie *t, moa_trie_key *key, size_t n) {
    range *r = NULL;
    *t = (moa_trie){0};
    if (n > UINT32_MAX / 4) return MOA_ELIMIT;
    if (n) qsort(key, n, sizeof *key, by_text);
    int rc = add(t, &r, (range){0, (uint32_t)n, 0}, 0);
    for (uint32_t node = 0; rc == 0 && node < t->n; node++) rc = expand(t, &r, key, node);
    free(r);
    if (rc < 0) moa_trie_deinit(t);
    return rc;
}
