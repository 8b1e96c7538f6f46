/* prefix.h - what was computed stays for who begins alike: the next turn, the aggregator that reads the same conversation, the
 * next user of one system prompt.
 *
 * A radix tree over tokens. A node is a run of tokens and holds the KV blocks that they lie in; where two texts part within a block,
 * the nodes on both sides hold a block each, and the node above them one of the two (its own tokens are equal in both). Going down from
 * the root, later nodes' blocks replace earlier ones at the same place, so a path is a table of blocks, of which a new sequence
 * shares what it needs (copy on write: kv.h). Nodes below one parent begin with different tokens and are found in a hash table
 * by (parent, first token): a look-up costs the length of what matches. Trees of different kinds (moa_session_kind) have no node
 * in common.
 *
 * Blocks that a sliding window has left are missing in a node; a later sequence that has them brings them. A match then ends
 * where a sequence can go on from.
 *
 * Nodes stand in order of use, parents always before what is below them. What goes is the last block of the last node: so a long text
 * shrinks from its end, and beginnings that many share stay longest.
 * One owner thread, that of the session.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_PREFIX_H
#define MOA_MODEL_PREFIX_H

#include "model/kv.h"

typedef struct moa_prefix_node {
    struct moa_prefix_node *parent, *chain;     /* NULL: at the root; the next of a hash chain */
    struct moa_prefix_node *newer, *older;      /* order of use */
    uint64_t kind;
    int64_t start, n;                           /* its tokens are [start, start + n) of a text */
    int n_child;
    int32_t *tok;                               /* [n] */
    int32_t *block[MOA_KV_STORES];              /* [blocks(start + n) - start / MOA_KV_BLOCK]; -1: not there */
} moa_prefix_node;

typedef struct moa_prefix_cache {
    moa_session *s;
    moa_kv *kv;
    size_t budget, bytes;                       /* of blocks held, each once; budget 0: what the KV holds */
    moa_prefix_node **bucket;                   /* [n_bucket], a power of two */
    int n_bucket, n_node;
    moa_prefix_node *newest, *oldest;
    int32_t *held[MOA_KV_STORES];               /* [n_block] by how many nodes */
    int32_t *table[MOA_KV_STORES];              /* [max_block] of the path that the last find found */
    moa_prefix_node *hit;                       /* its last node */
} moa_prefix_cache;

int moa_prefix_init(moa_prefix_cache *c, moa_session *s, size_t budget, moa_err *err);
void moa_prefix_deinit(moa_prefix_cache *c); /* before the session is freed */
/* The KV of seq holds tok [n]: the tree shares it from now on. Never fails: without memory less is kept. */
void moa_prefix_keep(moa_prefix_cache *c, int seq, const int32_t *tok, int64_t n);
/* The same, and seq is freed. */
void moa_prefix_put(moa_prefix_cache *c, int seq, const int32_t *tok, int64_t n);
/* How many of the first `most` tokens a sequence of that kind can begin with. */
int64_t moa_prefix_find(moa_prefix_cache *c, uint64_t kind, const int32_t *tok, int64_t most);
/* A new sequence that holds len tokens: what the last find found, with no other call in between. for_len as in moa_seq_begin. */
int moa_prefix_fork(moa_prefix_cache *c, int64_t len, int64_t for_len, moa_err *err);
bool moa_prefix_evict(moa_prefix_cache *c); /* one block of the least recently used; false: nothing left */

static inline int64_t moa_common(const int32_t *a, const int32_t *b, int64_t n) {
    int64_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

#endif
