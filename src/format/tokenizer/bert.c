/* bert.c - WordPiece, as BERT and the embedding models after it use it: a text is cleaned and cut into words at spaces, around
 * punctuation and around CJK characters; a word becomes the longest token it begins with, then the longest that continues it, and so
 * on; a word that does not come out even is the unknown token as a whole (Devlin et al. 2018; Song et al. 2021).
 *
 * GGUF files mark beginnings of words (U+2581) and store continuations plainly; older ones keep the published form, where "##" marks
 * continuations. Which of both is seen from the tokens. Whether text is lowered and loses its accents is a key in some files; where
 * it is not, the tokens say that too: a vocabulary with capitals is for text that keeps them, since nothing else could reach them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/utf8.h"
#include "format/tokenizer/trie.h"
#include "format/tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    MAX_WORD = 100,     /* characters; a longer word is unknown, as it is in the published tokenizer */
    MAX_BYTES = 4 * MAX_WORD,
    ONE_IN = 200        /* tokens with a capital (an accent) that make a vocabulary one of capitals (accents) */
};

typedef struct word_piece {
    moa_trie begin, more; /* tokens at the beginning of a word; tokens inside of it, without their mark */
    bool lower, strip;    /* text is lowered; loses its accents */
    bool clean, han;      /* control characters go, white space is a space; Han characters stand alone */
} word_piece;

/* ---- open ---- */

/* A token in brackets stands for something else than its letters: [CLS], [unused7]. */
static bool in_brackets(moa_str s) { return s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']'; }

static bool has_marks(const moa_tokenizer *t) {
    for (int i = 0; i < t->n_vocab; i++)
        if (t->type[i] == MOA_TOKEN_NORMAL && moa_tok_is_mark(t->text[i].p, t->text[i].n)) return true;
    return false;
}

static moa_str spaced(moa_tokenizer *t, moa_str s) {
    char *p = moa_arena_alloc(t->arena, s.n + 1);
    if (!p) return (moa_str){NULL, 0};
    p[0] = ' ';
    memcpy(p + 1, s.p, s.n);
    return (moa_str){p, s.n + 1};
}

/* Sorts the tokens into keys of both tries: beginnings from the front, continuations from the back. */
static int sort_tokens(moa_tokenizer *t, moa_trie_key *key, size_t *n_begin, size_t *n_more) {
    const bool marks = has_marks(t);
    size_t front = 0, back = (size_t)t->n_vocab;
    for (int i = 0; i < t->n_vocab; i++) {
        moa_str s = t->text[i];
        if (t->type[i] != MOA_TOKEN_NORMAL || !s.n || in_brackets(s)) continue;
        const bool first = marks ? moa_tok_is_mark(s.p, s.n) : !(s.n > 2 && memcmp(s.p, "##", 2) == 0);
        const size_t skip = marks ? (first ? 3 : 0) : first ? 0 : 2;
        s = (moa_str){s.p + skip, s.n - skip};
        t->piece[i] = first ? spaced(t, s) : s;
        if (!t->piece[i].p) return MOA_ENOMEM;
        key[first ? front++ : --back] = (moa_trie_key){s.p, (uint32_t)s.n, i};
    }
    *n_begin = front;
    *n_more = (size_t)t->n_vocab - back;
    return 0;
}

static int make_tries(moa_tokenizer *t, word_piece *w, moa_err *err) {
    size_t n_begin, n_more;
    moa_trie_key *key = malloc((size_t)t->n_vocab * sizeof *key);
    int rc = key ? sort_tokens(t, key, &n_begin, &n_more) : MOA_ENOMEM;
    if (rc == 0) rc = moa_trie_init(&w->begin, key, n_begin);
    if (rc == 0) rc = moa_trie_init(&w->more, key + t->n_vocab - n_more, n_more);
    free(key);
    return rc < 0 ? moa_fail(err, rc, "%s: no memory for the vocabulary", t->path) : 0;
}

/* Canonical parts of a character, in the order of the standard. */
static int parts(utf8proc_int32_t out[8], uint32_t cp) {
    int last = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, out, 8, UTF8PROC_DECOMPOSE, &last);
    if (n >= 1 && n <= 8) return (int)n;
    out[0] = (utf8proc_int32_t)cp;
    return 1;
}

static bool is_mark(uint32_t cp) { return cp >= 0x80 && utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_MN; }

static void look(bool *capital, bool *accent, moa_str s) {
    *capital = *accent = false;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        utf8proc_int32_t part[8];
        i += (size_t)moa_utf8_next(&cp, s.p + i, s.n - i);
        if ((uint32_t)utf8proc_tolower((utf8proc_int32_t)cp) != cp) *capital = true;
        const int n = cp < 0x80 ? 1 : parts(part, cp);
        for (int k = 1; k < n; k++)
            if (is_mark((uint32_t)part[k])) *accent = true;
    }
}

/* What the tokens say about the texts they were made from. */
static int read_form(moa_tokenizer *t, word_piece *w, const moa_gguf *g, moa_err *err) {
    int capitals = 0, accents = 0;
    for (int i = 0; i < t->n_vocab; i++) {
        bool capital, accent;
        if (t->type[i] != MOA_TOKEN_NORMAL || in_brackets(t->text[i])) continue;
        look(&capital, &accent, t->text[i]);
        capitals += capital;
        accents += accent;
    }
    const bool lower = capitals <= t->n_vocab / ONE_IN;
    MOA_TRY(moa_gguf_bool(&w->clean, g, MOA_TOK_KEY_CLEAN, true, err));
    MOA_TRY(moa_gguf_bool(&w->han, g, MOA_TOK_KEY_HAN, true, err));
    MOA_TRY(moa_gguf_bool(&w->lower, g, "tokenizer.ggml.normalizer.lowercase", lower, err));
    return moa_gguf_bool(&w->strip, g, "tokenizer.ggml.normalizer.strip_accents", w->lower && accents <= t->n_vocab / ONE_IN, err);
}

static int open_bert(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    word_piece *w = t->own = calloc(1, sizeof *w);
    if (!w) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the tokenizer", t->path);
    if (t->bos < 0) MOA_TRY(moa_tok_read_id(&t->bos, t, g, "tokenizer.ggml.cls_token_id", -1, err));
    if (t->bos < 0) t->bos = moa_tokenizer_find(t, "[CLS]");
    if (t->sep < 0) t->sep = moa_tokenizer_find(t, "[SEP]");
    if (t->unk < 0) t->unk = moa_tokenizer_find(t, "[UNK]");
    if (t->unk < 0)
        return moa_fail(err, MOA_EFORMAT, "%s: neither tokenizer.ggml.unknown_token_id nor a token [UNK]: no way to write a word that is not in the vocabulary", t->path);
    MOA_TRY(read_form(t, w, g, err));
    t->space_prefix = true;
    return make_tries(t, w, err);
}

static void close_bert(moa_tokenizer *t) {
    word_piece *w = t->own;
    if (!w) return;
    moa_trie_deinit(&w->begin);
    moa_trie_deinit(&w->more);
    free(w);
}

/* ---- normal form ---- */

/* Han characters, each of which is a word. The bound 2B920 is a slip of the tokenizer that nearly all of these models are used with
 * (the block begins at 2B820); tokens are to be the same. */
static bool is_han(uint32_t cp) {
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) || (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B73F) ||
           (cp >= 0x2B740 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) || (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

static void add_lowered(moa_buf *out, const word_piece *w, uint32_t cp) {
    if (w->lower && cp == 0x130) moa_buf_adds(out, "i\xcc\x87"); /* the one character whose small form is two */
    else moa_utf8_add(out, w->lower ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp) : cp);
}

/* Characters above ASCII. Accents are dropped one character at a time: what marks of other classes remain is so little that
 * their canonical order does not matter. */
static void add_wide(moa_buf *out, const word_piece *w, uint32_t cp) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    const bool none = cp == MOA_UTF8_BAD || k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CS || k == UTF8PROC_CATEGORY_CO;
    const bool han = w->han && is_han(cp);
    if (w->clean && none) return;
    if (w->clean && k >= UTF8PROC_CATEGORY_ZS && k <= UTF8PROC_CATEGORY_ZP) cp = ' ';
    utf8proc_int32_t part[8];
    const int n = w->strip && cp >= 0x80 ? parts(part, cp) : 0;
    if (han) moa_buf_adds(out, " ");
    if (!n) add_lowered(out, w, cp);
    for (int i = 0; i < n; i++)
        if (!is_mark((uint32_t)part[i])) add_lowered(out, w, (uint32_t)part[i]);
    if (han) moa_buf_adds(out, " ");
}

/* A run of ASCII, at most a chunk of it; returns how much. */
static size_t add_ascii(moa_buf *out, const word_piece *w, const char *p, size_t n) {
    char chunk[512];
    size_t i = 0, k = 0;
    for (; i < n && i < sizeof chunk && (uint8_t)p[i] < 0x80; i++) {
        char c = p[i];
        if (w->clean && (c == '\t' || c == '\n' || c == '\r')) c = ' ';
        if (w->clean && (c < ' ' || c == 127)) continue;
        chunk[k++] = w->lower && c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    moa_buf_add(out, chunk, k);
    return i;
}

static int normal_bert(moa_buf *out, const moa_tokenizer *t, const char *p, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += add_ascii(out, t->own, p + i, n - i);
        if (i == n || (uint8_t)p[i] < 0x80) continue;
        i += (size_t)moa_utf8_next(&cp, p + i, n - i);
        add_wide(out, t->own, cp);
    }
    return out->failed;
}

/* ---- encode ---- */

/* The word under way. */
typedef struct state {
    const moa_tokenizer *t;
    const word_piece *w;
    moa_ids *ids;
    char text[MAX_BYTES + 4];
    size_t n, n_char; /* n_char goes on counting where text is full */
} state;

/* Token of the longest beginning of p[0 .. n), its length in *len; -1: none. */
static int32_t longest(size_t *len, const moa_trie *trie, const char *p, size_t n) {
    int32_t best = -1;
    uint32_t node = 0;
    for (size_t i = 0; i < n && (node = moa_trie_next(trie, node, (uint8_t)p[i])); i++) {
        if (trie->id[node] < 0) continue;
        best = trie->id[node];
        *len = i + 1;
    }
    return best;
}

static int end_word(state *s) {
    const int64_t first = s->ids->n;
    bool fits = s->n_char <= MAX_WORD;
    for (size_t at = 0, len = 0; fits && at < s->n; at += len) {
        const int32_t id = longest(&len, at ? &s->w->more : &s->w->begin, s->text + at, s->n - at);
        fits = id >= 0;
        if (fits && moa_ids_add(s->ids, id) < 0) return MOA_ENOMEM;
    }
    const bool any = s->n_char > 0;
    s->n = s->n_char = 0;
    if (!any || fits) return 0;
    s->ids->n = first;
    return moa_ids_add(s->ids, s->t->unk);
}

static void add_char(state *s, uint32_t cp) {
    if (++s->n_char <= MAX_WORD) s->n += (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)s->text + s->n);
}

static bool is_punctuation(uint32_t cp) {
    if (cp < 0x80) return (cp > 32 && cp < '0') || (cp > '9' && cp < 'A') || (cp > 'Z' && cp < 'a') || (cp > 'z' && cp < 127);
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static int add(state *s, uint32_t cp) {
    if (!is_punctuation(cp)) return add_char(s, cp), 0;
    MOA_TRY(end_word(s));
    add_char(s, cp);
    return end_word(s);
}

static int add_text(state *s, const char *p, size_t n) {
    for (size_t i = 0, w; i < n; i += w) {
        uint32_t cp = (uint8_t)p[i];
        w = cp < 0x80 ? 1 : (size_t)moa_utf8_next(&cp, p + i, n - i);
        const bool space = cp < 0x80 ? cp == ' ' || (cp >= '\t' && cp <= '\r') : moa_space_at(p + i, n - i) > 0;
        MOA_TRY(space ? end_word(s) : add(s, cp));
    }
    return end_word(s);
}

static int encode_bert(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool prefix, moa_err *err) {
    (void)prefix;
    state s = {.t = t, .w = t->own, .ids = ids};
    return add_text(&s, p, n) < 0 ? moa_fail(err, MOA_ENOMEM, "no memory for token ids") : 0;
}

const moa_tokenizer_model moa_tokenizer_model_bert = {
    .name = "bert", .help = "WordPiece: words, longest token first", .add_bos = true, .add_sep = true, .bos = -1, .eos = -1, .unk = -1,
    .open = open_bert, .close = close_bert, .normal = normal_bert, .encode = encode_bert,
};
