/* hf_tok.h - what the readers of tokenizers share: tokens on their way from the files of a folder to the keys tokenizer.* of GGUF.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_HF_TOK_H
#define MOA_FORMAT_HF_TOK_H

#include "format/hf_impl.h"
#include "format/tokenizer.h"

enum { HF_MAX_STEPS = 32 };

typedef enum hf_own { HF_BOS, HF_EOS, HF_UNK, HF_PAD, HF_N_OWN } hf_own;

typedef struct hf_tok {
    hf_model *m;
    moa_arena *arena;         /* until the keys have their copies */
    moa_err *err;
    char path[4200];          /* of the file that is read, for errors */
    int n;                    /* vocab_size of config.json */
    moa_str *name;            /* [n] as the files spell it, 0-terminated; p NULL: no token has this id */
    moa_str *text;            /* [n] as GGUF has it */
    int32_t *type;            /* [n] moa_tok_type */
    float *score;             /* [n] */
    uint8_t *flag;            /* [n] HF_ADDED_* */
    bool scored;              /* the kind has scores */
    bool add_bos, add_eos;    /* where no configuration says otherwise */
    bool ids_have_defaults;   /* readers of this kind know ids of BOS and EOS of their own: their absence is written too */
    int32_t own[HF_N_OWN];    /* ids that the tokenizer's file names itself; -1: none */
    moa_str step[HF_MAX_STEPS]; /* of the normal form */
    int n_step;
} hf_tok;

enum { HF_ADDED_LSTRIP = 1, HF_ADDED_RSTRIP = 2, HF_ADDED_WORD = 4, HF_ADDED_NORMALIZED = 8 };
typedef struct hf_added { const char *content; json_int_t id; bool special; uint8_t flags; } hf_added;

/* A token of the vocabulary. name is 0-terminated and lives until the keys are written. */
int hf_tok_set(hf_tok *t, const char *name, json_int_t id, int type);
/* A token that stands beside the vocabulary, or is one of it and is found in texts as a whole. */
int hf_tok_add(hf_tok *t, const hf_added *a);
hf_added hf_tok_added_of(const json_t *o); /* content, special and flags of an object of tokenizer.json or added_tokens_decoder; id -1 */
int32_t hf_tok_find(const hf_tok *t, const char *name); /* -1: none */
int hf_tok_step(hf_tok *t, const char *step, const char *from, const char *to); /* from NULL: a step without texts */
char *hf_tok_strndup(hf_tok *t, const char *s, size_t n); /* NULL: no memory, and the error says so */

const char *hf_tok_text(const json_t *o, const char *key); /* "" when it is none */
bool hf_tok_is(const json_t *o, const char *type);
bool hf_tok_flag(const json_t *o, const char *key, bool dflt);
int hf_tok_refuse(const hf_tok *t, const char *what, const json_t *part); /* by its text */

void hf_tok_put_kind(hf_tok *t, const char *kind, const char *pre);

/* Tokens of added_tokens.json and added_tokens_decoder. */
int hf_tok_read_beside(hf_tok *t);
/* Those that the configuration names as special, if the vocabulary has them, become control tokens; this one, if it has it. */
int hf_tok_mark_named(hf_tok *t);
int hf_tok_mark_special(hf_tok *t, const char *content);

/* tokenizer.json; a SentencePiece model; vocab.txt; vocab.json with merges.txt. */
int hf_tok_read_json(hf_tok *t);
int hf_tok_read_sentencepiece(hf_tok *t);
int hf_tok_read_words(hf_tok *t);
int hf_tok_read_pair(hf_tok *t);

/* WordPiece: how a text is made ready for it. Changes the tokens' texts to GGUF's form and writes the keys. */
typedef struct hf_words { bool lower, strip, clean, han; } hf_words;
int hf_words_put(hf_tok *t, const hf_words *w);

/* What a tokenizer.json does to a text before its model sees it (hf_tok_form.c). */
typedef struct hf_form {
    bool spm;              /* texts are written in SentencePiece's spelling */
    bool marks;            /* spaces are marks by now */
    bool prefix, missing, once, one_space, split;
    const json_t *bert;    /* BertNormalizer; NULL: none */
} hf_form;
int hf_form_normalizer(hf_tok *t, hf_form *f, const json_t *normalizer);
int hf_form_spm_pre(hf_tok *t, hf_form *f, const json_t *pre_tokenizer);
void hf_form_put_spaces(hf_tok *t, const hf_form *f);

#endif
