/* grammar_tree.c - the tokens of a vocabulary as a tree over their bytes, in depth-first order with the length of each subtree: a walk
 * is one pass over an array that jumps over what it does not want. Most tokens hold nothing but characters that may stand in any string; these
 * are kept apart, with masks by their number of characters, so that inside a string they need no walk at all. SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "format/grammar_impl.h"

#include <stdlib.h>
#include <string.h>

void moa_token_tree_free(moa_token_tree *t) {
    if (!t) return;
    free(t->v), free(t->tok), free(t->short_ordinary), free(t->end), free(t->at), free(t->bytes);
    free(t);
}

/* Characters of an ordinary token; 0: it is none. */
static int ordinary_chars(const moa_token_tree *t, int32_t token) {
    const char *s = t->bytes + t->at[token];
    const uint32_t n = moa_token_length(t, token);
    int chars = 0;
    for (uint32_t i = 0; i < n; chars++) {
        uint32_t cp;
        const int k = moa_utf8_next(&cp, s + i, n - i);
        if (!moa_char_is_ordinary(cp) || (k == 1 && cp == MOA_UTF8_BAD) || chars == MOA_TREE_CHARS) return 0;
        i += (uint32_t)k;
    }
    return chars;
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
    t->short_ordinary = calloc(MOA_TREE_CHARS * (n / 64 + 1), sizeof *t->short_ordinary);
    t->end = malloc((n + 1) * sizeof *t->end);
    t->v = malloc((sum + 1) * sizeof *t->v);
    if (!t->at || !t->bytes || !t->tok || !t->short_ordinary || !t->end || !t->v) return moa_fail(err, MOA_ENOMEM, "no memory for the tree of %d tokens", t->n_vocab);
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

/* Tokens are sorted by their bytes: each adds the nodes beyond what it shares with the one before. tok[from .. to), as a tree behind
 * what is there. */
static int grow_tree(moa_token_tree *t, uint32_t from, uint32_t to, moa_err *err) {
    uint32_t *path = NULL, cap = 0, depth = 0;
    const char *last = NULL;
    for (uint32_t k = from; k < to; k++) {
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
    t->v[t->n] = (moa_token_node){.tok = to};
    /* A node on the way holds the number of the first token below it, as its successor does: none ends there. */
    free(path);
    return 0;
}

/* Ordinary tokens to the front, and their masks. Returns how many there are. */
static uint32_t sort_out(moa_token_tree *t) {
    const size_t n_word = (size_t)t->n_vocab / 64 + 1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_tok; i++) {
        const int32_t k = t->tok[i];
        const int chars = ordinary_chars(t, k);
        if (!chars) continue;
        t->short_ordinary[(size_t)(chars - 1) * n_word + (size_t)k / 64] |= 1ull << (k % 64);
        t->tok[i] = t->tok[n], t->tok[n++] = k;
    }
    for (size_t i = n_word; i < MOA_TREE_CHARS * n_word; i++) t->short_ordinary[i] |= t->short_ordinary[i - n_word];
    return n;
}

int moa_token_tree_new(moa_token_tree **out, const moa_tokenizer *from, moa_err *err) {
    *out = NULL;
    moa_token_tree *t = calloc(1, sizeof *t);
    if (!t) return moa_fail(err, MOA_ENOMEM, "no memory for the tree of tokens");
    t->n_vocab = moa_tokenizer_n_vocab(from);
    int rc = read_tokens(t, from, err);
    if (rc >= 0) {
        const uint32_t n = sort_out(t);
        qsort_r(t->tok, n, sizeof *t->tok, by_bytes, t);
        qsort_r(t->tok + n, t->n_tok - n, sizeof *t->tok, by_bytes, t);
        rc = grow_tree(t, 0, n, err);
        t->n_ordinary = t->n;
        if (rc >= 0) rc = grow_tree(t, n, t->n_tok, err);
    }
    if (rc < 0) return moa_token_tree_free(t), rc;
    *out = t;
    return 0;
}
