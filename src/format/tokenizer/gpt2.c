/* gpt2.c - byte-level BPE: words from the pre-tokenizer, then merges of neighbouring tokens by rank, starting at
 * single bytes (Sennrich et al. 2016; bytes as in GPT-2, Radford et al. 2019).
 *
 * Merges are kept as (left id, right id) -> (rank, id), so that tokenizing compares numbers, not strings.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/rng.h"
#include "format/tokenizer/merge.h"
#include "format/tokenizer/pretokenize.h"
#include "format/tokenizer/vocab.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct pair { uint64_t ids; uint32_t rank; int32_t id; } pair; /* ids: left << 32 | right, NO_PAIR: free */
#define NO_PAIR UINT64_MAX

typedef struct gpt2 {
    moa_pre *pre;
    bool whole;
    moa_strtab by_piece; /* only when whole */
    pair *pairs;
    uint64_t mask;
} gpt2;

static pair *pair_slot(const gpt2 *b, uint64_t ids) {
    for (uint64_t h = moa_mix64(ids ^ (uintptr_t)b->pairs);; h++) { /* the address: a file cannot aim at collisions */
        pair *p = &b->pairs[h & b->mask];
        if (p->ids == ids || p->ids == NO_PAIR) return p;
    }
}

/* ---- open ---- */

/* Bytes of every token; those of one byte make the alphabet. */
static int decode_pieces(moa_tokenizer *t, moa_err *err) {
    for (int i = 0; i < t->n_vocab; i++) {
        if (t->type[i] != MOA_TOKEN_NORMAL) continue;
        moa_str s = t->text[i];
        char *p = moa_arena_alloc(t->arena, s.n);
        size_t n;
        if (!p) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the vocabulary", t->path);
        if (moa_bytes_of_chars(p, &n, s.p, s.n) < 0) continue; /* an added token in plain text: stays as it is */
        t->piece[i] = (moa_str){p, n};
        if (n == 1 && t->byte_id[(uint8_t)*p] < 0) t->byte_id[(uint8_t)*p] = i;
    }
    for (int c = ' '; c < 127; c++)
        if (t->byte_id[c] < 0)
            return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.tokens has no token for byte 0x%02X '%c': not a byte-level vocabulary",
                            t->path, c, c);
    return 0;
}

/* A token named by a merge: -1 when there is none, -2 when it can never come out of plain text. */
static int32_t merge_token(const moa_tokenizer *t, const char *p, size_t n) {
    int32_t id = moa_strtab_find(&t->by_text, p, n);
    if (id >= 0) return t->type[id] == MOA_TOKEN_NORMAL ? id : -2;
    char raw[MOA_TOKEN_MAX]; /* converters store user-defined tokens as plain text; those are cut out before words are merged */
    size_t k;
    if (n > sizeof raw || moa_bytes_of_chars(raw, &k, p, n) < 0) return -1;
    return moa_strtab_find(&t->by_text, raw, k) >= 0 ? -2 : -1;
}

static int add_merge(gpt2 *b, const moa_tokenizer *t, moa_str m, uint32_t rank, moa_err *err) {
    const char *space = m.n > 2 ? memchr(m.p + 1, ' ', m.n - 2) : NULL;
    if (!space || m.n - 1 > MOA_TOKEN_MAX)
        return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.merges[%u] is '%.*s', expected two texts with a space between", t->path,
                        rank, m.n < 48 ? (int)m.n : 48, m.p);
    char both[MOA_TOKEN_MAX];
    size_t n = (size_t)(space - m.p), k = m.n - n - 1;
    memcpy(both, m.p, n);
    memcpy(both + n, space + 1, k);
    int32_t l = merge_token(t, m.p, n), r = merge_token(t, space + 1, k), id = merge_token(t, both, n + k);
    if (l == -1 || r == -1 || id == -1)
        return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.merges[%u] '%.*s': %s not in the vocabulary", t->path, rank,
                        m.n < 48 ? (int)m.n : 48, m.p, l == -1 ? "left part is" : r == -1 ? "right part is" : "what it makes is");
    if (l < 0 || r < 0 || id < 0) return 0;
    pair *p = pair_slot(b, (uint64_t)l << 32 | (uint32_t)r);
    if (p->ids == NO_PAIR) *p = (pair){(uint64_t)l << 32 | (uint32_t)r, rank, id}; /* given twice: the first rank counts */
    return 0;
}

static int read_merges(gpt2 *b, const moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, "tokenizer.ggml.merges");
    if (!kv) return moa_fail(err, MOA_ENOTFOUND, "%s: key 'tokenizer.ggml.merges' is missing", t->path);
    if (kv->type != MOA_GGUF_ARR || kv->elem != MOA_GGUF_STR || kv->count > INT_MAX)
        return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.merges: expected an array of strings", t->path);
    uint64_t size = 16;
    while (size < kv->count * 2) size *= 2;
    b->pairs = malloc(size * sizeof *b->pairs);
    if (!b->pairs) return moa_fail(err, MOA_ENOMEM, "%s: no memory for %llu merges", t->path, (unsigned long long)kv->count);
    b->mask = size - 1;
    for (uint64_t i = 0; i < size; i++) b->pairs[i].ids = NO_PAIR;
    for (uint64_t i = 0; i < kv->count; i++) MOA_TRY(add_merge(b, t, moa_gguf_arr_str(kv, i), (uint32_t)i, err));
    return 0;
}

static int index_pieces(gpt2 *b, const moa_tokenizer *t, moa_err *err) {
    if (moa_strtab_init(&b->by_piece, (uint64_t)t->n_vocab) < 0)
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for the vocabulary", t->path);
    for (int i = 0; i < t->n_vocab; i++)
        if (t->type[i] == MOA_TOKEN_NORMAL && t->piece[i].n) moa_strtab_add(&b->by_piece, t->piece[i].p, t->piece[i].n, i);
    return 0;
}

static int open_gpt2(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    gpt2 *b = t->own = calloc(1, sizeof *b);
    if (!b) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the tokenizer", t->path);
    moa_str pre;
    MOA_TRY(moa_gguf_str(&pre, g, "tokenizer.ggml.pre", "default", err));
    int rc = moa_pre_open(&b->pre, pre.p, pre.n, err);
    if (rc < 0) return moa_wrap(err, rc, "%s", t->path);
    MOA_TRY(moa_gguf_bool(&b->whole, g, MOA_TOK_KEY_WHOLE, moa_pre_whole(b->pre), err));
    t->space_prefix = t->prefix_missing;
    t->add_bos = moa_pre_bos(b->pre);
    t->add_sep = moa_pre_sep(b->pre);
    MOA_TRY(decode_pieces(t, err));
    if (b->whole) MOA_TRY(index_pieces(b, t, err));
    return read_merges(b, t, g, err);
}

static void close_gpt2(moa_tokenizer *t) {
    gpt2 *b = t->own;
    if (!b) return;
    moa_pre_close(b->pre);
    moa_strtab_deinit(&b->by_piece);
    free(b->pairs);
    free(b);
}

/* ---- encode ---- */

typedef struct work {
    const moa_tokenizer *t;
    const gpt2 *b;
    moa_ids *ids;
    moa_merger merger;
    moa_err *err;
} work;

static bool find_pair(uint32_t *rank, int32_t *id, const void *ctx, const char *text, const moa_sym *a, const moa_sym *c) {
    (void)text;
    if (a->id < 0 || c->id < 0) return false;
    const pair *p = pair_slot(ctx, (uint64_t)a->id << 32 | (uint32_t)c->id);
    if (p->ids == NO_PAIR) return false;
    *rank = p->rank;
    *id = p->id;
    return true;
}

static int no_memory(moa_err *err, size_t n) { return moa_fail(err, MOA_ENOMEM, "no memory to tokenize a word of %zu bytes", n); }

static int encode_word(void *ctx, const char *p, size_t n) {
    work *w = ctx;
    const moa_tokenizer *t = w->t;
    int32_t id = w->b->whole ? moa_strtab_find(&w->b->by_piece, p, n) : -1;
    if (id >= 0) return moa_tok_put(w->ids, id, w->err);
    if (n == 1) return moa_tok_byte(w->ids, t, (uint8_t)*p, w->err);
    if (n > INT32_MAX / 4) return moa_fail(w->err, MOA_ELIMIT, "a word of %zu bytes", n);
    if (moa_merger_reserve(&w->merger, n) < 0) return no_memory(w->err, n);
    moa_sym *s = w->merger.sym;
    for (size_t i = 0; i < n; i++) s[i] = (moa_sym){0, 0, t->byte_id[(uint8_t)p[i]], (uint32_t)i, 1};
    if (moa_merger_run(&w->merger, n, p, find_pair, w->b) < 0) return no_memory(w->err, n);
    for (int32_t i = 0; i >= 0; i = s[i].next) {
        if (s[i].id < 0) MOA_TRY(moa_tok_byte(w->ids, t, (uint8_t)p[s[i].at], w->err));
        else MOA_TRY(moa_tok_put(w->ids, s[i].id, w->err));
    }
    return 0;
}

static int encode_gpt2(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool prefix, moa_err *err) {
    const gpt2 *b = t->own;
    work w = {.t = t, .b = b, .ids = ids, .err = err};
    char *spaced = NULL;
    if (prefix && t->space_prefix && *p != ' ') {
        if (!(spaced = malloc(n + 1))) return no_memory(err, n);
        *spaced = ' ';
        memcpy(spaced + 1, p, n);
    }
    const int rc = moa_pre_split(b->pre, spaced ? spaced : p, n + !!spaced, encode_word, &w, err);
    moa_merger_deinit(&w.merger);
    free(spaced);
    return rc;
}

const moa_tokenizer_model moa_tokenizer_model_gpt2 = {
    .name = "gpt2", .help = "byte-level BPE with a pre-tokenizer", .bos = -1, .eos = -1, .unk = -1,
    .open = open_gpt2, .close = close_gpt2, .encode = encode_gpt2,
};
