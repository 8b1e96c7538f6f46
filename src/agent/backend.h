/* backend.h - places that complete conversations: models of this process, models behind URLs, others with a memory before them.
 *
 * A backend blocks nobody: it takes calls, tells their texts as they grow and their ends, and any number of calls may run. Who waits for
 * them, and in which thread, is the caller's (inbox.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_BACKEND_H
#define MOA_AGENT_BACKEND_H

#include "base/err.h"
#include "format/chat.h"
#include "model/generate.h"

/* A place that completes conversations. Kinds that the program opens by themselves: backends.def; others open their own (serve/upstream.h, agent/replay.c). */
typedef struct moa_backend moa_backend;
/* What few calls have: what a client of the server asks of the reply. */
typedef struct moa_call_extra {
    const char *const *stop; int n_stop; /* stop strings beside the model's own */
    const int32_t *ids; int64_t n_ids;   /* the prompt as tokens, in place of the messages; NULL: none */
    const json_t *messages, *tools;      /* the conversation with tool calls and results; NULL: what messages say is all. Tools: NULL: none */
    const moa_bias *bias; int n_bias;
    const json_t *schema;                /* what the grammar was made from; NULL: none, or no schema */
    bool logprobs; int top_logprobs;     /* tell of each token of the reply (node->log), with so many of the most probable ones */
    bool partial;                        /* a reply that ends before its grammar is complete is a reply */
} moa_call_extra;
/* One request to a backend, and its reply. The backend has it from start to on_end; what it points to stays as long. */
typedef struct moa_call {
    const moa_message *msg; int n_msg;
    const char *prefix;               /* NULL, or the beginning of the reply: the model goes on from there, and what it says is the rest. Only where the backend goes_on */
    bool goes_on;                     /* another call will go on from this reply (model/generate.h) */
    moa_sampling sampling; int max_tokens;
    const moa_grammar *grammar;       /* what the reply may be; NULL: anything */
    const moa_call_extra *extra;      /* NULL: nothing */
    moa_token_log *log;               /* NULL, or where to tell of each token; the run's */
    int sample;                       /* numbers the calls of a run, from a start of its own: which of several recorded replies (backend/recorded.c) */
    uint64_t scope;                   /* whose it is: a journal keeps calls of different scopes apart; 0: nobody's */
    int priority;                     /* -MOA_PRIORITY_MAX to MOA_PRIORITY_MAX; higher goes first */
    _Atomic bool cancel;              /* true: the call ends soon, as MOA_ECANCELED (moa_backend_stir) */
    /* From any thread, never two at a time for one call: copy and return. Text: whole UTF-8 characters that can be part of no stop string. */
    void (*on_text)(struct moa_call *c, const char *text, size_t n);
    void (*on_thought)(struct moa_call *c, const char *text, size_t n); /* NULL, or the same of what the model thinks first, told apart from its reply */
    void (*on_end)(struct moa_call *c); /* once, the last: all below is filled; res is the owner's. May come before start returns */
    moa_gen_res res;
    int rc; moa_err err;
    bool found;                       /* a journal knew the reply: nobody was asked */
    double share_s;                   /* of the time that a backend spent on several calls at once, this one's part by tokens: adds up over calls */
    void *state; struct moa_call *next; /* the backend's while it has the call */
} moa_call;
typedef struct moa_backend_ops {
    const char *name, *help;
    /* Takes the calls, from any thread, and never blocks for long. One that cannot start ends with its rc. */
    void (*start)(moa_backend *b, moa_call *const *call, int n);
    void (*stir)(moa_backend *b);     /* some call's cancel has become true; NULL: it looks by itself */
    void (*close)(moa_backend *b);    /* no call runs any more */
    /* Prompt tokens of a conversation with what extra (NULL: nothing) adds to it, such as definitions of tools, or a negative code. NULL: unknown, no limit is applied. */
    int64_t (*measure)(moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *extra, moa_err *err);
    /* Embeddings of n texts, each of length 1: *out [n][*dim], malloc'd. From any thread; it takes the time that it takes. NULL: it has none. */
    int (*embed)(moa_backend *b, float **out, int *dim, const char *const *text, int n, moa_err *err);
} moa_backend_ops;
struct moa_backend {
    const moa_backend_ops *ops;
    const char *id;                   /* model name shown */
    uint64_t fingerprint;             /* of the model's weights; 0: unknown */
    int n_ctx;                        /* tokens of one conversation with its reply; 0: unknown */
    int n_ctx_most;                   /* what n_ctx could be: the model reads so much; 0: unknown */
    bool goes_on;                     /* it can go on from the beginning of a reply (moa_call.prefix) */
    double price_prompt, price_completion; /* dollars per million tokens; 0: free, or unknown */
    struct moa_backend *inner;        /* which this one only stands before; NULL: it answers itself */
};
static inline moa_backend *moa_backend_plain(const moa_backend *b) {
    while (b->inner) b = b->inner;
    return (moa_backend *)(uintptr_t)b;
}
const moa_backend_ops *const *moa_backends(int *n);
void moa_backend_stir(moa_backend *b);
moa_call moa_call_again(const moa_call *c); /* the same request, which nobody has yet: for who passes calls on */
/* Ends a call that ran into trouble before it began, or was canceled: rc and err from *err, no text. */
void moa_call_fail(moa_call *c, const moa_err *err);
/* Runs n calls to their end and waits for it; text is passed on in the calling thread: cb(ctx, index, text, n), and with text NULL when that
 * call has ended; false cancels all. Negative: MOA_ECANCELED, or no memory; what came of a call is in its rc. */
int moa_backend_complete(moa_backend *b, moa_call *call, int n, moa_gen_cb cb, void *ctx, moa_err *err);
/* Hint for a prompt of n tokens that b has no room for: `first`, and a longer context where the model reads that much. */
int moa_backend_ctx_hint(moa_err *err, int rc, const moa_backend *b, int64_t n, const char *first);
/* cfg NULL: all cores, and a context of moa_backend_local_ctx. cfg->max_len: tokens of one conversation. KV (cfg->n_ctx 0) then is
 * for about 32 conversations within 1 GiB or a quarter of the memory, and for one of max_len whatever it takes; memory is used as far as it fills. */
uint64_t moa_backend_local_kv_bytes(void); /* 1 GiB, or a quarter of the memory that the machine or its control group has */
int moa_backend_local_ctx(const moa_hparams *h); /* the model's, or what that much KV (f32) holds */
int moa_backend_local_open(moa_backend **out, const char *path, const moa_session_cfg *cfg, moa_err *err);
void moa_backend_close(moa_backend *b);
/* Variables of the model's chat template as JSON text, before the first call; NULL: none. And does a variable of this name occur in it? */
int moa_backend_local_vars(moa_backend *b, const char *json, moa_err *err);
bool moa_backend_local_names(const moa_backend *b, const char *name);
/* Adapters for the model of a local backend (moa_adapters_open); n 0: NULL. */
int moa_backend_local_adapters(moa_adapters **out, const moa_backend *b, const char *const *spec, int n, int n_threads, moa_err *err);
/* It works with these from now on and closes them; those it had are closed. NULL: none. Its fingerprint changes with them. On
 * failure it keeps what it had, and a stays the caller's. */
int moa_backend_local_adapt(moa_backend *b, moa_adapters *a, moa_err *err);
/* It is shown as BASE@ADAPTER from now on: the adapter's file without what it shares with the base's. */
int moa_backend_local_call(moa_backend *b, const char *adapter, moa_err *err);
/* The model at path guesses for it (moa_generator_draft), and is closed with it. */
int moa_backend_local_draft(moa_backend *b, const char *path, moa_err *err);
moa_generator *moa_backend_local_generator(moa_backend *b); /* for measurements; NULL for other kinds */
/* Tokens of a conversation, appended; extra (NULL: nothing) as in a call. */
int moa_backend_local_ids(moa_ids *ids, const moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *extra, moa_err *err);
const moa_model *moa_backend_local_model(const moa_backend *b); /* NULL for other kinds */

/* A journal of finished calls: equal calls (model, messages, sampling, max_tokens, scope) are answered from it. With a path it
 * is a JSONL file, to which every call is written when it ends, so that killed work resumes; NULL: in memory. */
typedef struct moa_journal moa_journal;
/* Lines of a file that are no calls, as it is opened: objects with a member `moa` that names their kind. Negative ends the opening. */
typedef int (*moa_journal_line_fn)(void *ctx, const json_t *line, const char *where, moa_err *err);
typedef struct moa_journal_cfg {
    const char *path;                 /* NULL: in memory */
    size_t limit;                     /* bytes of replies kept in memory, about: the oldest are forgotten; 0: all are kept */
    bool silent;                      /* calls are not written to the file */
    moa_journal_line_fn line; void *ctx; /* NULL: the file must hold calls alone */
} moa_journal_cfg;
int moa_journal_open_with(moa_journal **out, const moa_journal_cfg *cfg, moa_err *err);
int moa_journal_open(moa_journal **out, const char *path, moa_err *err);
void moa_journal_close(moa_journal *j);
/* A line of another kind. */
int moa_journal_write(moa_journal *j, const json_t *line, moa_err *err);
/* The first line that could not be written (a full disk): its code, with err filled; 0: none. */
int moa_journal_failure(moa_journal *j, moa_err *err);
void moa_journal_stats(moa_journal *j, int64_t *computed, int64_t *found);
/* A backend that looks into the journal before it asks inner; borrows both. */
int moa_backend_journal_open(moa_backend **out, moa_journal *j, moa_backend *inner, moa_err *err);

#endif
