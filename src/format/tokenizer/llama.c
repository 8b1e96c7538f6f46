/* llama.c - SentencePiece's BPE as LLaMA uses it: no pre-tokenizer; neighbours are joined while the text they make
 * is a token, best score first; what is left and is no token is written as byte tokens <0xNN>
 * (Kudo and Richardson 2018; scores and types as GGUF stores them).
 *
 * Only normal and user-defined tokens take part in joins, so no text can turn into a control token.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/utf8.h"
#include "format/tokenizer/merge.h"
#include "format/tokenizer/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct spm {
    moa_strtab by_piece;
    uint32_t *rank; /* [n_vocab] order of scores: smaller is better; equal scores have equal ranks */
    size_t longest; /* bytes of the longest piece */
    bool inner[256]; /* bytes that some piece has before a space */
} spm;

/* ---- open ---- */

/* Pieces by their bytes. User-defined ones join too, but never hide a normal one of the same bytes. */
static void index_pieces(moa_tokenizer *t, spm *m) {
    for (int type = MOA_TOKEN_NORMAL; type <= MOA_TOKEN_USER; type += MOA_TOKEN_USER - MOA_TOKEN_NORMAL)
        for (int i = 0; i < t->n_vocab; i++) {
            const moa_str s = t->piece[i];
            if (t->type[i] != type) continue;
            if (s.n) moa_strtab_add(&m->by_piece, s.p, s.n, i);
            if (s.n > m->longest) m->longest = s.n;
            moa_tok_note_inner(m->inner, s);
        }
}

/* A float as a number that grows as the score falls. */
static uint32_t rank_of(float score) {
    union { float f; uint32_t u; } v = {score == 0 ? 0.0f : score}; /* -0 is 0 */
    uint32_t up = v.u >> 31 ? ~v.u : v.u | 0x80000000u;
    return ~up;
}

static int read_scores(moa_tokenizer *t, spm *m, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv;
    MOA_TRY(moa_tok_scores(&kv, t, g, err));
    m->rank = malloc((size_t)t->n_vocab * sizeof *m->rank);
    if (!m->rank) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the scores", t->path);
    for (int i = 0; i < t->n_vocab; i++) {
        float s = moa_gguf_arr_f32(kv, (uint64_t)i);
        if (isnan(s)) return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.scores[%d] is not a number", t->path, i);
        m->rank[i] = rank_of(s);
    }
    return 0;
}

static int open_spm(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    spm *m = t->own = calloc(1, sizeof *m);
    if (!m || moa_strtab_init(&m->by_piece, (uint64_t)t->n_vocab) < 0)
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for the tokenizer", t->path);
    MOA_TRY(read_scores(t, m, g, err));
    MOA_TRY(moa_tok_read_spelling(t, g, err));
    index_pieces(t, m);
    return 0;
}

static void close_spm(moa_tokenizer *t) {
    spm *m = t->own;
    if (!m) return;
    moa_strtab_deinit(&m->by_piece);
    free(m->rank);
    free(m);
}

/* ---- encode ---- */

static bool find_pair(uint32_t *rank, int32_t *id, const void *ctx, const char *text, const moa_sym *a, const moa_sym *b) {
    const spm *m = ctx;
    size_t n = (size_t)a->n + b->n;
    if (n > m->longest) return false;
    int32_t found = moa_strtab_find(&m->by_piece, text + a->at, n);
    if (found < 0) return false;
    *rank = m->rank[found];
    *id = found;
    return true;
}

static size_t characters(moa_merger *mg, const spm *m, const char *p, size_t n) {
    size_t c = 0;
    for (size_t i = 0; i < n; c++) {
        uint32_t cp;
        size_t w = (size_t)moa_utf8_next(&cp, p + i, n - i);
        mg->sym[c] = (moa_sym){0, 0, moa_strtab_find(&m->by_piece, p + i, w), (uint32_t)i, (uint32_t)w};
        i += w;
    }
    return c;
}

typedef struct work {
    const moa_tokenizer *t;
    moa_ids *ids;
    moa_merger merger;
    bool unknown; /* the character before was one without a token */
    moa_err *err;
} work;

static int emit(work *w, const moa_sym *s, const char *text) {
    if (s->id < 0) return moa_tok_unknown(w->ids, w->t, text + s->at, s->n, &w->unknown, w->err);
    w->unknown = false;
    return moa_tok_put(w->ids, s->id, w->err);
}

static int no_memory(moa_err *err, size_t n) { return moa_fail(err, MOA_ENOMEM, "no memory to tokenize %zu bytes", n); }

static int encode_part(void *ctx, const char *p, size_t n) {
    work *w = ctx;
    const spm *m = w->t->own;
    moa_merger *mg = &w->merger;
    if (moa_merger_reserve(mg, n) < 0 || moa_merger_run(mg, characters(mg, m, p, n), p, find_pair, m) < 0) return no_memory(w->err, n);
    for (int32_t i = 0; i >= 0; i = mg->sym[i].next) MOA_TRY(emit(w, &mg->sym[i], p));
    return 0;
}

static int encode_spm(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool prefix, moa_err *err) {
    const spm *m = t->own;
    work w = {.t = t, .ids = ids, .err = err};
    const int rc = moa_tok_by_parts(t, m->inner, p, n, prefix, encode_part, &w, err);
    moa_merger_deinit(&w.merger);
    return rc;
}

const moa_tokenizer_model moa_tokenizer_model_llama = {
    .name = "llama", .help = "SentencePiece BPE with scores and byte fall-back", .add_bos = true, .bos = 1, .eos = 2, .unk = 0,
    .open = open_spm, .close = close_spm, .encode = encode_spm,
};
