/* tokenizer.h - text <-> token ids, as stored in GGUF (tokenizer.ggml.*).
 * Models: byte-level BPE ("gpt2", pre-tokenisers by name), SentencePiece's BPE ("llama") and unigram ("t5"), WordPiece ("bert").
 * The first two are byte-exact both ways where their file names no normal form; with one, what comes back is that.
 * One file per model in tokenizer/, registry tokenizers.def.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_TOKENIZER_H
#define MOA_FORMAT_TOKENIZER_H

#include "format/gguf.h"

typedef struct moa_tokenizer moa_tokenizer;

/* Numbers of tokenizer.ggml.token_type, which are those of SentencePiece. */
typedef enum moa_tok_type {
    MOA_TOKEN_NORMAL = 1, MOA_TOKEN_UNKNOWN = 2, MOA_TOKEN_CONTROL = 3, MOA_TOKEN_USER = 4, MOA_TOKEN_UNUSED = 5, MOA_TOKEN_BYTE = 6
} moa_tok_type;

enum { MOA_TOKEN_MAX = 4096 }; /* bytes of one token's text; the longest published have some hundreds */
#define MOA_TOK_MARK "\xe2\x96\x81"   /* U+2581: a space, in SentencePiece's spelling */

typedef struct moa_ids { int32_t *v; int64_t n, cap; } moa_ids; /* zero-initialise; free with moa_ids_deinit */
void moa_ids_deinit(moa_ids *ids);
int moa_ids_add(moa_ids *ids, int32_t id);

int moa_tokenizer_open(moa_tokenizer **out, const moa_gguf *g, moa_err *err); /* borrows g's mapping */
void moa_tokenizer_close(moa_tokenizer *t);

enum {
    MOA_TOK_BOS = 1,     /* put BOS first where the model asks for it (once: a BOS that a trusted text begins with counts) */
    MOA_TOK_SPECIAL = 2, /* text of control tokens ("<|im_end|>") becomes their id; without it, plain text (user input) */
    MOA_TOK_GOES_ON = 8, /* the text goes on from one before it: no space of the tokenizer's own stands at its beginning */
    MOA_TOK_EOS = 4      /* put EOS or [SEP] behind where the model asks for it (once, as BOS): for embeddings, not for prompts */
};
/* Appends to ids (on failure too, up to where it came). Any bytes are valid input, and moa_detokenize gives them back where the model
 * is byte-exact; only a byte that the vocabulary cannot express at all (no token of that byte, no unknown token) is MOA_EFORMAT.
 * Time grows with the length of the text, whatever stands in it. Thread-safe. */
int moa_tokenize(moa_ids *ids, const moa_tokenizer *t, const char *text, size_t n, int flags, moa_err *err);

/* Bytes of one token, in the tokenizer's memory (whatever the neighbours; SPM word marks already turned into
 * spaces). Control tokens give an empty string unless special. Out-of-range ids give an empty string. */
moa_str moa_token_bytes(const moa_tokenizer *t, int32_t id, bool special);
/* Whole text of ids: like the concatenation, but SPM's first space is removed where the model adds one. free() it. */
int moa_detokenize(char **out, size_t *len, const moa_tokenizer *t, const int32_t *ids, int64_t n, bool special, moa_err *err);

/* Row i of tokenizers.def, 0 onwards; false behind the last. */
bool moa_tokenizer_row(const char **name, const char **help, int i);

/* Keys of moa's own: what a tokenizer.json or a SentencePiece model says and GGUF has no key for. */
#define MOA_TOK_KEY_NORMAL "moa.tokenizer.normalizer"   /* array of texts: steps by name (tokenizer/normal.c); "replace", FROM, TO as one text */
#define MOA_TOK_BETWEEN "\x1f"                          /* between the parts of such a text */
/* Arrays of i32, ids of tokens ... */
#define MOA_TOK_KEY_LSTRIP "moa.tokenizer.lstrip"       /* that swallow the white space before them */
#define MOA_TOK_KEY_RSTRIP "moa.tokenizer.rstrip"       /* behind them */
#define MOA_TOK_KEY_WORD "moa.tokenizer.single_word"    /* that count only where no word goes on beside them */
#define MOA_TOK_KEY_NORMALIZED "moa.tokenizer.normalized" /* that are looked for in the normal form */
/* Flags. */
#define MOA_TOK_KEY_PREFIX_MISSING "moa.tokenizer.prefix_missing" /* a space before a text that begins with none */
#define MOA_TOK_KEY_PREFIX_ONCE "moa.tokenizer.prefix_once"       /* the space stands at the very beginning, not behind special tokens */
#define MOA_TOK_KEY_SPLIT_SPACES "moa.tokenizer.split_spaces"     /* no token has a space but as its first character */
#define MOA_TOK_KEY_WHOLE "moa.tokenizer.ignore_merges"           /* a word that is a token is taken as it is */
#define MOA_TOK_KEY_CLEAN "moa.tokenizer.clean_text"              /* WordPiece: control characters are dropped */
#define MOA_TOK_KEY_HAN "moa.tokenizer.han_words"                 /* WordPiece: each Han character is a word */

int moa_tokenizer_n_vocab(const moa_tokenizer *t);
int32_t moa_tokenizer_bos(const moa_tokenizer *t); /* -1: none */
int32_t moa_tokenizer_eos(const moa_tokenizer *t);
int32_t moa_tokenizer_find(const moa_tokenizer *t, const char *token_text); /* exact entry; -1: none */
bool moa_tokenizer_is_eog(const moa_tokenizer *t, int32_t id); /* ends a generation: eos, eot, <|im_end|> ... */
bool moa_tokenizer_is_control(const moa_tokenizer *t, int32_t id);

/* ---- training a byte-level BPE ---- */
typedef struct moa_bpe_train {
    int n_vocab;                 /* total, incl. 256 bytes and specials; fewer come out when no pair is left that occurs twice */
    const char *pre;             /* pre-tokeniser name written to the file; "moa": words with their space, single digits */
    const char *const *special;  /* control tokens; they get ids 0, 1, ... and are cut out of the texts */
    int n_special;
    int bos, eos, pad;           /* indices into special, -1: none */
} moa_bpe_train;
/* Train on n texts, deterministic; writes tokenizer.ggml.* keys into o. */
int moa_bpe_train_run(moa_gguf_out *o, const moa_bpe_train *cfg, const char *const *text, const size_t *len, int64_t n, moa_err *err);

#endif
