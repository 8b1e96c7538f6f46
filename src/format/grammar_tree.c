/* grammar_tree.c - the tokens of a vocabulary as a tree over their bytes, in depth-first order with the length of each subtree: a walk
 * is one pass over an array that jumps over what it does not want. SPDX-License-Identifier: Apache-2.0 */
#include "format/grammar_impl.h"

#include <stdlib.h>
#include <string.h>

void moa_token_tree_free(moa_token_tree *t) {
    if (!t) return;
    free(t->v), free(t->tok), free(t->by_length), free(t->end), free(t->at), free(t->bytes);
    free(t);
}

static int by_bytes(const void *a, const void *b, void *ctx) {
    const moa_token_tree *t = ctx;
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    const uint32_t nx = moa_token_length(t, x), ny = moa_token_length(t, y);
    const int d = memcmp(t->bytes + t->at[x], t->bytes + t->at[y], nx < ny ? nx : ny);
    if (d) return d;
    if (nx != ny) return nx < ny ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int read_tokens(moa_token_tree *t, const moa_tokenizer *from, moa_err *err) {
    const size_t n = (size_t)t->n_vocab;
    uint64_t sum = 0;
    for (int32_t i = 0; i < t->n_vocab; i++) sum += moa_token_bytes(from, i, false).n;
    if (sum > UINT32_MAX / 2) return moa_fail(err, MOA_ELIMIT, "the vocabulary has %llu bytes", (unsigned long long)sum);
    t->at = malloc((n + 1) * sizeof *t->at);
    t->bytes = malloc(sum + 1);
    t->tok = malloc((n + 1) * sizeof *t->tok);
    t->by_length = malloc((n + 1) * sizeof *t->by_length);
    t->end = malloc((n + 1) * sizeof *t->end);
    t->v = malloc((sum + 1) * sizeof *t->v);
    if (!t->at || !t->bytes || !t->tok || !t->by_length || !t->end || !t->v) return moa_fail(err, MOA_ENOMEM, "no memory for the tree of %d tokens", t->n_vocab);
    t->at[0] = 0;
    for (int32_t i = 0; i < t->n_vocab; i++) {
        const moa_str s = moa_token_bytes(from, i, false);
        if (s.n) memcpy(t->bytes + t->at[i], s.p, s.n);
        t->at[i + 1] = t->at[i] + (uint32_t)s.n;
        if (moa_tokenizer_is_eog(from, i)) t->end[t->n_end++] = i;
        else if (s.n) t->tok[t->n_tok++] = i;
    }
    return 0;
}

/* Tokens are sorted by their bytes: each adds the nodes beyond what it shares with the one before. */
static int grow_tree(moa_token_tree *t, moa_err *err) {
    uint32_t *path = NULL, cap = 0, depth = 0;
    const char *last = NULL;
    for (uint32_t k = 0; k < t->n_tok; k++) {
        const char *s = t->bytes + t->at[t->tok[k]];
        const uint32_t n = moa_token_length(t, t->tok[k]);
        if (n > cap) {
            uint32_t *p = n <= UINT16_MAX ? realloc(path, n * sizeof *p) : NULL;
            if (!p) return free(path), moa_fail(err, MOA_ENOMEM, "a token of %u bytes", n);
            path = p, cap = n;
        }
        uint32_t same = 0;
        while (same < depth && same < n && s[same] == last[same]) same++;
        while (depth > same) t->v[path[--depth]].skip = t->n;
        for (; depth < n; depth++) {
            path[depth] = t->n;
            t->v[t->n++] = (moa_token_node){.tok = k, .depth = (uint16_t)(depth + 1), .byte = (uint8_t)s[depth]};
        }
        if ((int)n > t->depth) t->depth = (int)n;
        last = s;
    }
    while (depth > 0) t->v[path[--depth]].skip = t->n;
    t->v[t->n] = (moa_token_node){.tok = t->n_tok};
    /* A node on the way holds the number of the first token below it, as its successor does: none ends there. */
    free(path);
    return 0;
}

static int by_length(const void *a, const void *b, void *ctx) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    const uint32_t nx = moa_token_length(ctx, x), ny = moa_token_length(ctx, y);
    return nx != ny ? (nx > ny ? -1 : 1) : x < y ? -1 : x > y;
}

static void sort_by_length(moa_token_tree *t) {
    if (!t->n_tok) return;
    memcpy(t->by_length, t->tok, t->n_tok * sizeof *t->tok);
    qsort_r(t->by_length, t->n_tok, sizeof *t->by_length, by_length, t);
    t->common = (int)moa_token_length(t, t->by_length[t->n_tok / 50]);
}

int moa_token_tree_new(moa_token_tree **out, const moa_tokenizer *from, moa_err *err) {
    *out = NULL;
    moa_token_tree *t = calloc(1, sizeof *t);
    if (!t) return moa_fail(err, MOA_ENOMEM, "no memory for the tree of tokens");
    t->n_vocab = moa_tokenizer_n_vocab(from);
    int rc = read_tokens(t, from, err);
    if (rc >= 0) {
        qsort_r(t->tok, t->n_tok, sizeof *t->tok, by_bytes, t);
        sort_by_length(t);
        rc = grow_tree(t, err);
    }
    if (rc < 0) return moa_token_tree_free(t), rc;
    *out = t;
    return 0;
}
