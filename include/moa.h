/* moa.h - the one public header: run mixtures of language models.
 *
 * Graded from easy to hard:
 *   1. errors            moa_err, moa_strerror
 *   2. one answer        moa_answer
 *   3. models, sessions  moa_model_open, moa_tokenize, moa_session_*
 *   4. mixtures          moa_mix_* (events while they run)
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
    X(EUSAGE, -9, "wrong use")

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
 * there is. model: the GGUF file of every role that the spec names no model for. n_threads 0: all cores. */
int moa_mix_open(moa_mix **out, const char *spec, const char *model, int n_threads, moa_err *err);
void moa_mix_close(moa_mix *m);

/* What happens while a mix works. A call is one completion of one model; the calls of a mix are numbered from 0. */
typedef struct moa_mix_event {
    enum { MOA_MIX_CALL_START, MOA_MIX_CALL_TEXT, MOA_MIX_CALL_END } kind;
    int call;
    const char *name, *role;   /* "p3", "proposer"; "agg", "aggregator" */
    bool is_answer;            /* this call's text is the answer's */
    const char *text; size_t n; /* MOA_MIX_CALL_TEXT: n bytes of whole UTF-8 characters, not 0-terminated */
} moa_mix_event;
typedef bool (*moa_mix_cb)(void *ctx, const moa_mix_event *e); /* false stops the mix: MOA_ECANCELED */

typedef struct moa_mix_usage {
    int calls;
    int64_t prompt_tokens, completion_tokens;
    int64_t reused_prefix_tokens; /* of the prompt tokens: found in the KV cache, not computed again */
    double seconds;
} moa_mix_usage;

/* Answer a conversation that ends with the user's turn. Equal seeds give equal answers. cb, ctx and usage may be
 * NULL. *answer is the caller's: free() it. */
int moa_mix_reply(char **answer, moa_mix *m, const moa_message *msg, int n_msg, uint64_t seed, moa_mix_cb cb, void *ctx,
                  moa_mix_usage *usage, moa_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
