/* moa.h - the one public header: run mixtures of language models.
 *
 * Graded from easy to hard:
 *   1. errors            moa_err, moa_strerror
 *   2. one answer        moa_answer
 *   3. models, sessions  moa_model_*, moa_session_*, moa_seq_*, moa_sampler_*
 *   4. mixtures          moa_mix_* (events while they run)
 *   5. embeddings        moa_embedder_*
 *
 * Every fallible function returns 0 or a negative MOA_E* code and, when err is not NULL, fills it with
 * what failed, where, what was got and expected, and a hint what to do. The library never prints and
 * never exits. Who makes an object frees it; every free/close function takes NULL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_H
#define MOA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* everything else in the library is hidden */

#define MOA_VERSION "0.1.0"

/* ---- 1. errors ---------------------------------------------------------------------------------- */

/* One list of codes for the whole library: X(name, value, text). */
#define MOA_ERR_LIST(X)                                                                            \
    X(OK, 0, "ok")                                                                                 \
    X(EINVAL, -1, "invalid argument")                                                              \
    X(ENOMEM, -2, "out of memory")                                                                 \
    X(EIO, -3, "input/output error")                                                               \
    X(EFORMAT, -4, "malformed input")                                                              \
    X(EUNSUPPORTED, -5, "not supported")                                                           \
    X(ENOTFOUND, -6, "not found")                                                                  \
    X(ELIMIT, -7, "limit exceeded")                                                                \
    X(ECANCELED, -8, "canceled")                                                                   \
    X(EUSAGE, -9, "wrong use")                                                                     \
    X(ETIME, -10, "out of time")

enum {
#define MOA_ERR_ENUM(name, value, text) MOA_##name = value,
    MOA_ERR_LIST(MOA_ERR_ENUM)
#undef MOA_ERR_ENUM
};

typedef struct moa_err {
    int code;       /* MOA_E*, 0 when nothing failed */
    char text[512]; /* what, where, got and expected */
    char hint[256]; /* what to do about it; may be empty */
} moa_err;

const char *moa_strerror(int code); /* static text; "unknown error" for a foreign code */

/* ---- 2. one answer ------------------------------------------------------------------------------ */

/* Ask a mix one question. model: path of a GGUF file. mix: as in section 4; NULL is "self-moa". *answer is the
 * caller's: free() it. Opens and closes the model; for more than one question use section 4.
 *
 *     char *a;
 *     moa_err err;
 *     if (moa_answer(&a, "moa-tiny.gguf", NULL, "What is 17 + 25?", &err) < 0) puts(err.text); else puts(a), free(a); */
int moa_answer(char **answer, const char *model, const char *mix, const char *question, moa_err *err);

/* ---- 3. models and sessions --------------------------------------------------------------------- */

/* A GGUF file, mapped: read-only, shared by any number of sessions and threads. */
typedef struct moa_model moa_model;
int moa_model_open(moa_model **out, const char *path, moa_err *err);
void moa_model_close(moa_model *m);
int moa_model_n_vocab(const moa_model *m); /* rows of logits */
int moa_model_n_ctx(const moa_model *m);   /* most positions of one sequence */

/* Text to ids and back. *ids and *text are the caller's: free() them. special: names of control tokens in text become
 * their id (templates); without it they are plain text (what users type). bos: put BOS first where the model asks for it. */
int moa_model_tokenize(int32_t **ids, int64_t *n_ids, const moa_model *m, const char *text, size_t n, bool bos, bool special, moa_err *err);
int moa_model_detokenize(char **text, size_t *n, const moa_model *m, const int32_t *ids, int64_t n_ids, moa_err *err);
bool moa_model_is_end(const moa_model *m, int32_t id); /* ends an answer */

/* Inference state: a KV cache of n_ctx positions in f32 (0: the model's context) for up to n_seq sequences (0: 32); n_threads 0: all
 * cores. One owner thread. */
typedef struct moa_session moa_session;
int moa_session_open(moa_session **out, const moa_model *m, int n_ctx, int n_seq, int n_threads, moa_err *err);
void moa_session_free(moa_session *s);

/* Sequences are small integers. A fork shares the first n_keep positions (<= length) and costs nothing until it writes. Where a model's
 * sliding windows have left what position n_keep sees, a fork is MOA_ELIMIT, and a truncate leaves nothing. */
int moa_seq_new(moa_session *s, moa_err *err); /* id or MOA_ELIMIT; of two lists of rope factors (Phi-3) it takes the one for n_ctx */
int moa_seq_fork(moa_session *s, int seq, int64_t n_keep, moa_err *err);
void moa_seq_free(moa_session *s, int seq);
int64_t moa_seq_len(const moa_session *s, int seq);
void moa_seq_truncate(moa_session *s, int seq, int64_t n_keep);

/* One forward pass over rows of any sequences, rows of one sequence in order, at most 256 (its position is the sequence's
 * length, counting up). On MOA_ELIMIT (KV is full) nothing has changed. A row's logits do not depend on the other rows. */
typedef struct moa_row {
    int seq;
    int32_t token;
    bool want_logits;
} moa_row;
int moa_session_step(moa_session *s, const moa_row *row, int n, moa_err *err);
const float *moa_session_logits(const moa_session *s, int i); /* [n_vocab] of row i of the last step; NULL if not wanted */

/* Logits to token. Order: biases, repetition, presence and frequency penalty, temperature, top-k, top-p, min-p, draw. */
enum { MOA_REPEAT_MAX = 4096 };
typedef struct moa_sampling {
    float temperature;    /* 0: greedy, ties to the lower id */
    int top_k;            /* 0: off */
    float top_p;          /* 1: off */
    float min_p;          /* 0: off; keep p >= min_p * p_max */
    float repeat_penalty; /* 1: off; divides positive and multiplies negative logits of recent tokens */
    int repeat_last;      /* window of recent tokens, 0 to MOA_REPEAT_MAX */
    uint64_t seed;
    float presence_penalty;  /* 0: off; taken from the logit of every token that the reply has already */
    float frequency_penalty; /* 0: off; taken once for each time (of the last MOA_REPEAT_MAX tokens) */
} moa_sampling;
moa_sampling moa_sampling_defaults(void); /* temperature 0.7, the rest off, seed 1 */
typedef struct moa_sampler moa_sampler;
int moa_sampler_new(moa_sampler **out, const moa_sampling *cfg, int n_vocab, moa_err *err);
void moa_sampler_free(moa_sampler *s);
void moa_sampler_accept(moa_sampler *s, int32_t token); /* feed the penalty window (prompt tokens too) */
/* NaN and -inf are never chosen, +inf counts as the largest finite number; -1 when no logit is left. logprob: log of the
 * chosen token's probability under the model itself (softmax of the logits as they came). */
int32_t moa_sampler_next(moa_sampler *s, const float *logits, float *logprob /* or NULL */);

/* LoRA adapters (PEFT, MLX, GGUF; docs/adapters.md) for a model, each "PATH" or "PATH:SCALE". What does not fit the model is an error
 * that names tensor and file. Read-only, shared by any number of sessions; the model must outlive them. n_threads 0: all cores. */
typedef struct moa_adapters moa_adapters;
int moa_adapters_open(moa_adapters **out, const moa_model *m, const char *const *spec, int n_spec, int n_threads, moa_err *err);
void moa_adapters_close(moa_adapters *a);
/* Sequences begun from now on work with these (NULL: with none); they must live until the next call or the session's end. Sequences
 * begun with others stay as they are, and can be stepped again when theirs are back. */
int moa_session_use(moa_session *s, const moa_adapters *a, moa_err *err);

/* What a reply may be, exactly: a GBNF grammar or a JSON schema (docs/structured.md). name stands in errors, which tell line
 * and column, or the keyword and its JSON pointer. Read-only once made; shared by any number of samplers, mixes and threads. */
typedef struct moa_grammar moa_grammar;
int moa_grammar_parse(moa_grammar **out, const char *gbnf, size_t n, const char *name, moa_err *err);
int moa_grammar_from_schema(moa_grammar **out, const char *json_schema, size_t n, const char *name, moa_err *err);
void moa_grammar_free(moa_grammar *g); /* who still uses it keeps it */

/* ---- 4. mixtures -------------------------------------------------------------------------------- */

typedef struct moa_message {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* UTF-8 */
} moa_message;

/* A mix that is ready to answer: its strategy, its numbers, its models. One owner thread. */
typedef struct moa_mix moa_mix;

/* spec: "NAME" or "NAME:KEY=VALUE,..." with NAME one of single, greedy, self-moa, moa, self-moa-seq, vote and KEY one of
 * n, layers, window, repeat, temperature, top-k, top-p, min-p, repeat-penalty, max-tokens, aggregate-temperature,
 * aggregate-max-tokens, proposers (paths joined by '+'), aggregator (a path). A wrong one is MOA_EUSAGE and says what
 * there is. NULL is "self-moa". Paths are those of GGUF files or Hugging Face folders. */
typedef struct moa_mix_options { /* zero is a good value of every field but the first */
    const char *model;           /* path for every role that the spec names no model for */
    int n_threads;               /* 0: all cores */
    int n_ctx;                   /* most tokens of a conversation with its reply, whatever KV they take; 0: what the model reads, as far as 1 GiB of KV holds it */
    const char *const *adapter;  /* [n_adapter] LoRA adapters of every model, as in moa_adapters_open */
    int n_adapter;
    const char *kv_type;         /* of the KV cache: "f32", "f16", "bf16" or "q8_0"; NULL: f16 where the model's context takes more than 64 MiB in f32, else f32 */
    const char *repack;          /* "auto" (NULL), "on", "off": weights also in the order that products read, where memory allows; no reply changes */
    const char *draft;           /* path of a smaller model with the same tokens, which guesses for every model: replies come sooner, none changes */
    const char *template_vars;   /* a JSON object: variables of the models' chat templates, such as {"enable_thinking": false}; NULL: none */
} moa_mix_options;
int moa_mix_open(moa_mix **out, const char *spec, const moa_mix_options *opt, moa_err *err);
void moa_mix_close(moa_mix *m);
/* From now on all models work with these adapters in place of those they had; n 0: none. On failure they keep what they had. */
int moa_mix_adapt(moa_mix *m, const char *const *adapter, int n, moa_err *err);
/* From now on drafts (the only replies of single and vote) follow one grammar, and what merges them the other; NULL: free. Give both
 * where the answer must follow it whatever happens: a draft stands in for a merge that fails. The mix keeps what it needs. */
void moa_mix_constrain(moa_mix *m, const moa_grammar *drafts, const moa_grammar *answer);

/* What happens while a mix works. A call is one completion of one model; the calls of a mix are numbered from 0. */
typedef struct moa_mix_event {
    enum { MOA_MIX_CALL_START, MOA_MIX_CALL_TEXT, MOA_MIX_CALL_END } kind;
    int call;
    const char *name, *role;   /* "p3", "proposer"; "agg", "aggregator" */
    bool is_answer;            /* this call's text is the answer, but for a first line "Replies say: ..."; where it lost the answer, a vote chose another */
    const char *text; size_t n; /* MOA_MIX_CALL_TEXT: n bytes of whole UTF-8 characters, not 0-terminated; 0 bytes: a long prompt is still read */
} moa_mix_event;
typedef bool (*moa_mix_cb)(void *ctx, const moa_mix_event *e); /* false stops the mix: MOA_ECANCELED */

typedef struct moa_mix_usage {
    int calls;
    int64_t prompt_tokens, completion_tokens;
    int64_t reused_prefix_tokens; /* of the prompt tokens: found in the KV cache, not computed again */
    double seconds;
} moa_mix_usage;

/* Answer a conversation that ends with the user's turn. Equal seeds give equal answers. cb, ctx and usage may be
 * NULL. *answer is the caller's: free() it. An aggregator that moa trained begins with a line "Replies say: 12 | 12 | 15", what
 * the drafts say: the line is in its call's text, and no part of the answer. */
int moa_mix_reply(char **answer, moa_mix *m, const moa_message *msg, int n_msg, uint64_t seed, moa_mix_cb cb, void *ctx,
                  moa_mix_usage *usage, moa_err *err);

/* ---- 5. embeddings ------------------------------------------------------------------------------ */

/* Texts to vectors of length 1, by an encoder (BERT and relatives) or a decoder. One owner thread. */
typedef struct moa_embedder moa_embedder;
/* pooling: "mean", "cls" (first token), "last"; NULL: what the model's file says, else mean for encoders, last for decoders. */
int moa_embedder_open(moa_embedder **out, const moa_model *m, const char *pooling, int n_threads, moa_err *err);
void moa_embedder_free(moa_embedder *e);
int moa_embedder_dim(const moa_embedder *e);     /* numbers of a vector */
int moa_embedder_max_len(const moa_embedder *e); /* most tokens of a text, [CLS], [SEP], BOS and EOS included */
/* out [n_text][dim] is the caller's; len NULL: texts end with 0. A text that is too long is MOA_ELIMIT, and nothing is cut off.
 * A vector does not depend on the other texts of the call. */
int moa_embedder_run(moa_embedder *e, float *out, const char *const *text, const size_t *len, int n_text, moa_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
