/* vocab.h - what the kinds of tokenizers share: the token table, lookups by text, the row of the registry.
 * Only files of this folder include it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_TOKENIZER_VOCAB_H
#define MOA_FORMAT_TOKENIZER_VOCAB_H

#include "base/arena.h"
#include "format/tokenizer.h"

#include <string.h>

/* Numbers of tokenizer.ggml.token_type. */
typedef enum moa_tok_type {
    MOA_TOKEN_NORMAL = 1, MOA_TOKEN_UNKNOWN = 2, MOA_TOKEN_CONTROL = 3, MOA_TOKEN_USER = 4, MOA_TOKEN_UNUSED = 5, MOA_TOKEN_BYTE = 6
} moa_tok_type;

enum { MOA_TOKEN_MAX = 4096 }; /* bytes of one token's text; the longest published have some hundreds */

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
    bool add_bos, add_eos, add_sep; /* where the file does not say */
    int32_t bos, eos, unk;    /* where the file does not say; -1: none */
    int (*open)(moa_tokenizer *t, const moa_gguf *g, moa_err *err); /* fills piece of normal and byte tokens, byte_id, own */
    void (*close)(moa_tokenizer *t);
    /* Plain text, no special tokens in it. start: at the beginning or after a special token. */
    int (*encode)(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool start, moa_err *err);
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
    moa_specials all, user;   /* control + unknown + user-defined; user-defined alone */
    int32_t byte_id[256];     /* token of one byte, -1: none */
    int32_t bos, eos, unk, sep;
    int32_t end;              /* what stands behind a text: eos, sep or -1 */
    bool add_bos, add_sep, space_prefix;
    moa_arena *arena;
    void *own;                /* of the kind */
};
/* STRIP: takes the white space before it (L), behind it (R). */
enum { MOA_TOKEN_EOG = 1, MOA_TOKEN_RSTRIP = 2, MOA_TOKEN_LSTRIP = 4 };

/* Id that a key names; dflt (or -1, where the vocabulary has no such id) when it is absent. */
int moa_tok_read_id(int32_t *id, const moa_tokenizer *t, const moa_gguf *g, const char *key, int32_t dflt, moa_err *err);

/* ---- SentencePiece's spelling: U+2581 for a space, <0xNN> for a byte ---- */
#define MOA_TOK_MARK "\xe2\x96\x81"
static inline bool moa_tok_is_mark(const char *p, size_t n) { return n >= 3 && memcmp(p, MOA_TOK_MARK, 3) == 0; }
int moa_tok_marked_pieces(moa_tokenizer *t, moa_err *err); /* fills piece of normal, user-defined and byte tokens, and byte_id */

int moa_tok_byte(moa_ids *ids, const moa_tokenizer *t, uint8_t byte, moa_err *err); /* its token, else unknown, else an error */

#endif
