/* trie.h - which tokens a text begins with, read byte by byte. Built once, read by many threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_TOKENIZER_TRIE_H
#define MOA_FORMAT_TOKENIZER_TRIE_H

#include "moa.h"

#include <string.h>

typedef struct moa_trie_key { const char *p; uint32_t n; int32_t id; } moa_trie_key;

/* Children of a node stand side by side, so finding one is a memchr over their bytes. Node 0 is the root. */
typedef struct moa_trie {
    uint32_t *first;   /* [n] first child */
    uint16_t *count;   /* [n] children */
    uint8_t *byte;     /* [n] the byte that leads here */
    int32_t *id;       /* [n] token that ends here, -1: none */
    uint32_t n, cap;
} moa_trie;

/* Sorts key. Empty keys are left out; of equal ones the smallest id counts. */
int moa_trie_init(moa_trie *t, moa_trie_key *key, size_t n);
void moa_trie_deinit(moa_trie *t);

/* The child of node by byte c; 0: there is none (the root is nobody's child). */
static inline uint32_t moa_trie_next(const moa_trie *t, uint32_t node, uint8_t c) {
    const uint8_t *row = t->byte + t->first[node], *at = t->count[node] ? memchr(row, c, t->count[node]) : NULL;
    return at ? t->first[node] + (uint32_t)(at - row) : 0;
}

#endif
