/* vocab.h - what the kinds of tokenizers share: the token table, lookups by text, the row of the registry.
 * Only files of this folder include it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_TOKENIZER_VOCAB_H
#define MOA_FORMAT_TOKENIZER_VOCAB_H

#include "base/arena.h"
#include "format/tokenizer.h"
#include "format/tokenizer/normal.h"

#include <string.h>

/* ---- string -> index, open addressing; keys are borrowed ---- */
typedef struct moa_strtab {
    struct moa_strslot { const char *p; uint32_t n; int32_t id; } *slot; /* p NULL: free */
    uint64_t mask, seed;
} moa_strtab;
int moa_strtab_init(moa_strtab *t, uint64_t n); /* room for n keys */
void moa_strtab_deinit(moa_strtab *t);
int32_t moa_strtab_find(const moa_strtab *t, const char *p, size_t n); /* -1: none */
int32_t moa_strtab_add(moa_strtab *t, const char *p, size_t n, int32_t id); /* -1, or the id already there (kept) */

/* ---- texts that are tokens wherever they stand, leftmost and longest first ---- */
typedef struct moa_specials {
    struct moa_special { moa_str text; int32_t id; } *v; /* sorted by text */
    int n, cap, first[257]; /* v[first[c] .. first[c + 1]) begin with byte c */
} moa_specials;
int moa_specials_add(moa_specials *s, moa_str text, int32_t id);
void moa_specials_sort(moa_specials *s); /* after the last add */
void moa_specials_deinit(moa_specials *s);
/* Position of the next one at or after from; n when there is none. */
size_t moa_specials_next(int32_t *id, size_t *len, const moa_specials *s, const char *text, size_t n, size_t from);

/* ---- byte <-> character of byte-level vocabularies ----
 * Printable bytes of Latin-1 stand for themselves, the others for U+0100, U+0101 ... in order, so that every
 * token is visible text without spaces (the published GPT-2 encoder). */
int moa_byte_char(char out[2], uint8_t byte);                       /* UTF-8, 1 or 2 bytes */
int moa_bytes_of_chars(char *out, size_t *len, const char *p, size_t n); /* out: n bytes; -1 when p is no such text */

/* ---- the tokenizer ---- */
typedef struct moa_tokenizer_model {
    const char *name, *help;
    bool add_bos, add_eos, add_sep, one_space; /* where the file does not say */
    int32_t bos, eos, unk;    /* where the file does not say; -1: none */
    int (*open)(moa_tokenizer *t, const moa_gguf *g, moa_err *err); /* fills piece of normal and byte tokens, byte_id, own */
    void (*close)(moa_tokenizer *t);
    /* NULL: none. The kind's own normal form, behind the steps of the file; appends. */
    int (*normal)(moa_buf *out, const moa_tokenizer *t, const char *p, size_t n);
    /* Text in normal form (n > 0), no special tokens in it. prefix: it begins where a space of the tokenizer's own may stand. */
    int (*encode)(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool prefix, moa_err *err);
} moa_tokenizer_model;
const moa_tokenizer_model *const *moa_tokenizer_models(int *n);

struct moa_tokenizer {
    const moa_tokenizer_model *model;
    const char *path;         /* for errors */
    int n_vocab;
    moa_str *text;            /* as stored: borrowed from the file */
    moa_str *piece;           /* bytes it stands for: in the file or the arena */
    uint8_t *type, *flag;     /* moa_tok_type; TOKEN_* below */
    moa_strtab by_text;
    moa_normal normal;
    moa_specials all, user;   /* found in the text as it is: control + unknown + user-defined; user-defined alone */
    moa_specials late;        /* user-defined, found in the normal form */
    int32_t byte_id[256];     /* token of one byte, -1: none */
    int32_t bos, eos, unk, sep;
    int32_t end;              /* what stands behind a text: eos, sep or -1 */
    bool add_bos, add_sep;
    bool space_prefix;        /* a space is put before a text (and behind every special token), ... */
    bool prefix_missing;      /* ... where none is there */
    bool prefix_once;         /* ... at the very beginning only */
    bool one_space;           /* runs of spaces count as one, and none at the ends */
    bool split_spaces;        /* no token has a space but as its first character */
    moa_arena *arena;
    void *own;                /* of the kind */
};
/* STRIP: takes the white space before it (L), behind it (R). WORD: counts only where no word goes on beside it. */
enum { MOA_TOKEN_EOG = 1, MOA_TOKEN_RSTRIP = 2, MOA_TOKEN_LSTRIP = 4, MOA_TOKEN_WORD = 8, MOA_TOKEN_LATE = 16 };

/* Id that a key names; dflt (or -1, where the vocabulary has no such id) when it is absent. */
int moa_tok_read_id(int32_t *id, const moa_tokenizer *t, const moa_gguf *g, const char *key, int32_t dflt, moa_err *err);

int moa_tok_put(moa_ids *ids, int32_t id, moa_err *err);
int moa_tok_byte(moa_ids *ids, const moa_tokenizer *t, uint8_t byte, moa_err *err); /* its token, else unknown, else an error */

/* ---- SentencePiece's spelling (spelling.c): U+2581 for a space, <0xNN> for a byte ---- */
static inline bool moa_tok_is_mark(const char *p, size_t n) { return n >= 3 && memcmp(p, MOA_TOK_MARK, 3) == 0; }
/* Fills piece of normal, user-defined and byte tokens (spaces for marks), byte_id, and the flags of spaces. */
int moa_tok_read_spelling(moa_tokenizer *t, const moa_gguf *g, moa_err *err);
int moa_tok_scores(const moa_gguf_kv **scores, const moa_tokenizer *t, const moa_gguf *g, moa_err *err); /* n_vocab f32 */
/* inner: bytes that some piece has before a space. Behind any other byte a space begins a part of the text that no token reaches
 * into, so parts go one by one: near memory. */
void moa_tok_note_inner(bool inner[256], moa_str piece);
/* Brings a text to the form in which pieces are written and gives its parts to encode, from the first to the last, up to an error. */
int moa_tok_by_parts(const moa_tokenizer *t, const bool inner[256], const char *p, size_t n, bool prefix,
                     int (*encode)(void *ctx, const char *p, size_t n), void *ctx, moa_err *err);
/* A character without a token: the tokens of its bytes where all have one, else the unknown token, one for a run of such. run: was the
 * character before one of them? */
int moa_tok_unknown(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool *run, moa_err *err);

#endif
