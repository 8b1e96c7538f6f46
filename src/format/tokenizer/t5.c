/* t5.c - SentencePiece's unigram model: of all ways to write a text as tokens, the one whose scores (log probabilities) add up to
 * most, found from left to right (Kudo 2018). T5, XLM-R and the embedding models that grew from it.
 *
 * Scores are added in double, as the tokenizers library does that these models are used with; SentencePiece adds floats, so of ways
 * that are worth the same (three equal signs as one and two) it may take another. A part of the text that no token reaches across
 * begins at zero again, which is the same maximum, in near memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/utf8.h"
#include "format/tokenizer/trie.h"
#include "format/tokenizer/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { UNKNOWN = -2 };
static const double UNKNOWN_PENALTY = 10; /* a character without a token costs as much as the worst token, and this */

typedef struct unigram {
    moa_trie trie;
    float *score;       /* [n_vocab] */
    double unknown;     /* score of a character without a token */
    bool inner[256];    /* bytes that some token has before a space */
} unigram;

/* ---- open ---- */

static int read_scores(moa_tokenizer *t, unigram *u, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv;
    MOA_TRY(moa_tok_scores(&kv, t, g, err));
    u->score = malloc((size_t)t->n_vocab * sizeof *u->score);
    if (!u->score) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the scores", t->path);
    double least = 0;
    for (int i = 0; i < t->n_vocab; i++) {
        u->score[i] = t->type[i] == MOA_TOKEN_USER ? 0 : moa_gguf_arr_f32(kv, (uint64_t)i);
        if (!isfinite(u->score[i])) return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.scores[%d] is not a finite number", t->path, i);
        if (t->type[i] == MOA_TOKEN_NORMAL && u->score[i] < least) least = u->score[i];
    }
    u->unknown = least - UNKNOWN_PENALTY;
    return 0;
}

static int make_trie(moa_tokenizer *t, unigram *u, moa_err *err) {
    moa_trie_key *key = malloc((size_t)t->n_vocab * sizeof *key);
    size_t n = 0;
    int rc = key ? 0 : MOA_ENOMEM;
    for (int i = 0; rc == 0 && i < t->n_vocab; i++) {
        if (t->type[i] != MOA_TOKEN_NORMAL && t->type[i] != MOA_TOKEN_USER) continue;
        const moa_str s = t->piece[i];
        key[n++] = (moa_trie_key){s.p, (uint32_t)s.n, i};
        moa_tok_note_inner(u->inner, s);
    }
    if (rc == 0) rc = moa_trie_init(&u->trie, key, n);
    free(key);
    return rc < 0 ? moa_fail(err, rc, "%s: no memory for the vocabulary", t->path) : 0;
}

static int open_t5(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    unigram *u = t->own = calloc(1, sizeof *u);
    if (!u) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the tokenizer", t->path);
    MOA_TRY(read_scores(t, u, g, err));
    MOA_TRY(moa_tok_read_spelling(t, g, err));
    return make_trie(t, u, err);
}

static void close_t5(moa_tokenizer *t) {
    unigram *u = t->own;
    if (!u) return;
    moa_trie_deinit(&u->trie);
    free(u->score);
    free(u);
}

/* ---- the best way ---- */

typedef struct best { double score; int32_t id; uint32_t from; } best; /* of the text up to here: its last token */

static size_t char_len(const char *p, size_t n) {
    uint32_t cp;
    return (uint8_t)*p < 0x80 ? 1 : (size_t)moa_utf8_next(&cp, p, n);
}

static void reach(best *to, double score, int32_t id, size_t from) {
    if (score > to->score) *to = (best){score, id, (uint32_t)from};
}

static void search(best *v, const unigram *u, const char *p, size_t n) {
    for (size_t i = 0; i <= n; i++) v[i].score = -INFINITY;
    v[0] = (best){0, UNKNOWN, 0};
    for (size_t at = 0, w; at < n; at += w) {
        bool alone = false; /* a token of this character alone */
        uint32_t node = 0;
        w = char_len(p + at, n - at);
        for (size_t i = at; i < n && (node = moa_trie_next(&u->trie, node, (uint8_t)p[i])); i++) {
            const int32_t id = u->trie.id[node];
            if (id < 0) continue;
            reach(&v[i + 1], v[at].score + u->score[id], id, at);
            alone = alone || i + 1 == at + w;
        }
        if (!alone) reach(&v[at + w], v[at].score + u->unknown, UNKNOWN, at);
    }
}

typedef struct work {
    const moa_tokenizer *t;
    moa_ids *ids;
    best *v; /* [cap] */
    size_t cap;
    bool unknown; /* the character before was one without a token */
    moa_err *err;
} work;

/* The best way to the end as a chain: `from` then says where the token behind it ends. Returns the end of the first token. */
static size_t turn_round(best *v, size_t n) {
    size_t next = 0;
    for (size_t at = n; at > 0;) {
        const size_t from = v[at].from;
        v[at].from = (uint32_t)next;
        next = at;
        at = from;
    }
    return next;
}

static int encode_part(void *ctx, const char *p, size_t n) {
    work *w = ctx;
    if (n + 1 > w->cap) {
        const size_t cap = n + 1 < 256 ? 256 : n + 1 + n / 2;
        best *v = realloc(w->v, cap * sizeof *v);
        if (!v) return moa_fail(w->err, MOA_ENOMEM, "no memory to tokenize %zu bytes", n);
        w->v = v;
        w->cap = cap;
    }
    search(w->v, w->t->own, p, n);
    for (size_t from = 0, at = turn_round(w->v, n); at; from = at, at = w->v[at].from) {
        if (w->v[at].id == UNKNOWN) {
            MOA_TRY(moa_tok_unknown(w->ids, w->t, p + from, at - from, &w->unknown, w->err));
            continue;
        }
        w->unknown = false;
        MOA_TRY(moa_tok_put(w->ids, w->v[at].id, w->err));
    }
    return 0;
}

static int encode_t5(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool prefix, moa_err *err) {
    const unigram *u = t->own;
    work w = {.t = t, .ids = ids, .err = err};
    const int rc = moa_tok_by_parts(t, u->inner, p, n, prefix, encode_part, &w, err);
    free(w.v);
    return rc;
}

const moa_tokenizer_model moa_tokenizer_model_t5 = {
    .name = "t5", .help = "SentencePiece unigram: the best sum of scores", .add_eos = true, .one_space = true, .bos = -1, .eos = 1, .unk = 2,
    .open = open_t5, .close = close_t5, .encode = encode_t5,
};
