/* t5.c - SentencePiece's unigram model: of all ways to write a text as tokens, the one whose scores (log probabilities) add up to
 * most, found from left to right (Kudo 2018). T5, XLM-R and the embedding models that grew from it.
 *
 * Before that the text is brought to its normal form: the file's map of characters (charsmap.c), runs of spaces as one, a space in
 * front. A space is U+2581 from then on. Scores are added in double, as the tokenizer does that these models are used with; a part
 * of the text that no token reaches across begins at zero again, which is the same maximum, in near memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/err.h"
#include "base/utf8.h"
#include "format/tokenizer/charsmap.h"
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
    bool one_space;     /* runs of spaces count as one, and none at the ends */
    moa_charsmap map;
} unigram;

/* ---- open ---- */

static int read_scores(moa_tokenizer *t, unigram *u, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, "tokenizer.ggml.scores");
    if (!kv) return moa_fail(err, MOA_ENOTFOUND, "%s: key 'tokenizer.ggml.scores' is missing", t->path);
    if (kv->type != MOA_GGUF_ARR || kv->elem != MOA_GGUF_F32 || kv->count != (uint64_t)t->n_vocab)
        return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.scores: %llu %s, expected %d f32", t->path,
                        (unsigned long long)kv->count, moa_gguf_type_name(kv->elem), t->n_vocab);
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

static void note_inner_spaces(unigram *u, moa_str s) {
    for (size_t k = 1; k < s.n; k++)
        if (moa_tok_is_mark(s.p + k, s.n - k) && !(k >= 3 && moa_tok_is_mark(s.p + k - 3, 3))) u->inner[(uint8_t)s.p[k - 1]] = true;
}

static int make_trie(moa_tokenizer *t, unigram *u, moa_err *err) {
    moa_trie_key *key = malloc((size_t)t->n_vocab * sizeof *key);
    size_t n = 0;
    int rc = key ? 0 : MOA_ENOMEM;
    for (int i = 0; rc == 0 && i < t->n_vocab; i++) {
        if (t->type[i] != MOA_TOKEN_NORMAL && t->type[i] != MOA_TOKEN_USER) continue;
        const moa_str s = t->text[i];
        key[n++] = (moa_trie_key){s.p, (uint32_t)s.n, i};
        note_inner_spaces(u, s);
    }
    if (rc == 0) rc = moa_trie_init(&u->trie, key, n);
    free(key);
    return rc < 0 ? moa_fail(err, rc, "%s: no memory for the vocabulary", t->path) : 0;
}

static int open_t5(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    unigram *u = t->own = calloc(1, sizeof *u);
    if (!u) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the tokenizer", t->path);
    MOA_TRY(read_scores(t, u, g, err));
    MOA_TRY(moa_tok_marked_pieces(t, err));
    MOA_TRY(make_trie(t, u, err));
    int rc = moa_charsmap_read(&u->map, g, "tokenizer.ggml.precompiled_charsmap", err);
    if (rc < 0) return moa_wrap(err, rc, "%s", t->path);
    MOA_TRY(moa_gguf_bool(&u->one_space, g, "tokenizer.ggml.remove_extra_whitespaces", true, err));
    return moa_gguf_bool(&t->space_prefix, g, "tokenizer.ggml.add_space_prefix", true, err);
}

static void close_t5(moa_tokenizer *t) {
    unigram *u = t->own;
    if (!u) return;
    moa_trie_deinit(&u->trie);
    moa_charsmap_deinit(&u->map);
    free(u->score);
    free(u);
}

/* ---- normal form ---- */

typedef struct normal { moa_buf b; size_t spaces; bool begun, one_space, prefix; } normal;

static void add_mark(normal *o) { moa_buf_add(&o->b, MOA_TOK_MARK, 3); }

/* Spaces are held back until something follows them. */
static void add_mapped(normal *o, moa_str s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ' ') {
            o->spaces++;
            continue;
        }
        size_t n = o->one_space ? o->begun && o->spaces : o->spaces;
        if (!o->begun) n += o->prefix;
        for (; n; n--) add_mark(o);
        o->spaces = 0;
        o->begun = true;
        size_t end = i + 1;
        while (end < s.n && s.p[end] != ' ') end++;
        moa_buf_add(&o->b, s.p + i, end - i);
        i = end - 1;
    }
}

static void normal_form(normal *o, const unigram *u, const char *p, size_t n, bool prefix) {
    *o = (normal){.one_space = u->one_space, .prefix = prefix};
    moa_buf_init(&o->b, SIZE_MAX / 2);
    for (size_t i = 0; i < n;) {
        moa_str to;
        i += moa_charsmap_next(&to, &u->map, p + i, n - i);
        add_mapped(o, to);
    }
    if (o->one_space) return;
    for (size_t k = o->spaces + (!o->begun && o->spaces && o->prefix); k; k--) add_mark(o);
}

/* ---- the best way ---- */

typedef struct best { double score; int32_t id; uint32_t from; } best; /* of the text up to here: its last token */

typedef struct lattice { best *v; size_t cap; } lattice;

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

static bool has_bytes(const moa_tokenizer *t, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (t->byte_id[(uint8_t)p[i]] < 0) return false;
    return true;
}

/* Last token first. Unknown characters are their bytes where those are tokens, else a run of them is one unknown token. */
static int emit_back(moa_ids *ids, const moa_tokenizer *t, const best *v, const char *p, size_t n, moa_err *err) {
    bool unknown = false;
    for (size_t at = n; at > 0; at = v[at].from) {
        const size_t from = v[at].from;
        const bool none = v[at].id == UNKNOWN, bytes = none && has_bytes(t, p + from, at - from);
        int rc = 0;
        for (size_t i = at; bytes && rc == 0 && i > from; i--) rc = moa_ids_add(ids, t->byte_id[(uint8_t)p[i - 1]]);
        if (!none) rc = moa_ids_add(ids, v[at].id);
        else if (!bytes && !unknown) {
            if (t->unk < 0) return moa_tok_byte(ids, t, (uint8_t)p[from], err);
            rc = moa_ids_add(ids, t->unk);
        }
        if (rc < 0) return moa_fail(err, MOA_ENOMEM, "no memory for token ids");
        unknown = none && !bytes;
    }
    return 0;
}

static int encode_part(moa_ids *ids, const moa_tokenizer *t, lattice *l, const char *p, size_t n, moa_err *err) {
    const int64_t first = ids->n;
    if (n + 1 > l->cap) {
        const size_t cap = n + 1 < 256 ? 256 : n + 1 + n / 2;
        best *v = realloc(l->v, cap * sizeof *v);
        if (!v) return moa_fail(err, MOA_ENOMEM, "no memory to tokenize %zu bytes", n);
        *l = (lattice){v, cap};
    }
    search(l->v, t->own, p, n);
    const int rc = emit_back(ids, t, l->v, p, n, err);
    for (int64_t a = first, b = ids->n - 1; a < b; a++, b--) {
        const int32_t id = ids->v[a];
        ids->v[a] = ids->v[b];
        ids->v[b] = id;
    }
    return rc;
}

/* May a part end before p[i]? A space begins there, which no token has inside of it behind this byte. */
static bool cut_here(const unigram *u, const char *p, size_t n, size_t i) {
    return p[i] == MOA_TOK_MARK[0] && moa_tok_is_mark(p + i, n - i) && !u->inner[(uint8_t)p[i - 1]] && !(i >= 3 && moa_tok_is_mark(p + i - 3, 3));
}

static int encode_t5(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool start, moa_err *err) {
    const unigram *u = t->own;
    normal o;
    lattice l = {0};
    if (n > INT32_MAX / 4) return moa_fail(err, MOA_ELIMIT, "text of %zu bytes in one piece", n);
    normal_form(&o, u, p, n, start && t->space_prefix);
    const char *text = moa_buf_str(&o.b);
    const size_t all = o.b.len;
    int rc = o.b.failed || all > UINT32_MAX / 2 ? moa_fail(err, MOA_ENOMEM, "no memory for the normal form of %zu bytes", n) : 0;
    for (size_t at = 0, end; rc == 0 && at < all; at = end) {
        for (end = at + 1; end < all && !cut_here(u, text, all, end);) end++;
        rc = encode_part(ids, t, &l, text + at, end - at, err);
    }
    free(l.v);
    moa_buf_deinit(&o.b);
    return rc;
}

const moa_tokenizer_model moa_tokenizer_model_t5 = {
    .name = "t5", .help = "SentencePiece unigram: the best sum of scores", .add_eos = true, .bos = -1, .eos = 1, .unk = 2,
    .open = open_t5, .close = close_t5, .encode = encode_t5,
};
