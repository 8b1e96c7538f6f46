/* generate.h - completions of many requests as one batch that never stops.
 *
 * DESIGN. A request becomes a job (job.h): a list of tokens, of which the KV holds the first len. What is missing is fed: one token
 * when it decodes, a chunk when it reads (or reads again) its beginning; prefill and decode are the same thing, and one step mixes
 * both. When the last token is in, its logits give the next. Since logits are bit-equal for any batch and chunking, a job can
 * join, stop, give its KV away and go on at any step, and its text is that of the request alone. So all of the following is about
 * time only:
 *
 * Order. A job of priority p counts as having come p * age_s earlier than it did. Who came earlier in this sense is admitted first
 * and loses its KV last; the order of two jobs never changes, so nobody starves and the first always gets on.
 * Admission. A job runs when a sequence is free and the KV has room for its tokens beside what running jobs still need; nobody
 * overtakes a job that waits for room. It begins as a fork of the longest common beginning, cached (prefix.h) or running. If a running
 * job will soon hold more of it, it waits for that: six samples of a prompt pay one prefill.
 * Full KV. The least recently used cached blocks go first, then the last job in order gives its KV to the cache and waits, with its
 * tokens and its sampler. A job fails for want of memory only when it is alone.
 * Chunks. Decoding jobs are in every step. A prompt gets as many rows as fit into stall_s, by a running estimate of what rows
 * cost (pace.h); prompts take turns, by stride scheduling (Waldspurger 1995) with weight 2^priority. With nobody decoding a chunk is a
 * whole step.
 * Drafts. Tokens that are likely to follow are fed with the last one, and kept as far as the sampler itself picks them
 * (draft.h): several tokens from one step, the same text. Only where the estimates say that it pays.
 * Failure. What concerns one request (logits that are not finite, its grammar, memory for its text) ends that request alone.
 * Cancel. A flag of the caller's; looked at between steps, and between the layers of a step that would be for canceled jobs only.
 *
 * Threads. A generator has one owner: who calls moa_generate, or, after moa_generator_start, a thread of its own, which sleeps
 * while there is nothing to do. Then any thread may submit and generate. Generators of a process take turns, step by step: they share the
 * same cores, and two steps at a time would only wait for each other's threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_GENERATE_H
#define MOA_MODEL_GENERATE_H

#include "model/sampler.h"
#include "model/session.h"

#include <stdatomic.h>

typedef enum moa_stop { MOA_STOP_EOS, MOA_STOP_STRING, MOA_STOP_LENGTH, MOA_STOP_CONTEXT, MOA_STOP_CANCELED, MOA_STOP_FAILED } moa_stop;

enum { MOA_PRIORITY_MAX = 8 };
typedef struct moa_gen_req {
    const int32_t *prompt; int64_t n_prompt;
    moa_sampling sampling;
    int n_given;                       /* the last tokens of the prompt are the beginning of the reply: penalties count them as its own */
    int max_tokens;                    /* > 0 */
    bool goes_on;                      /* another request will go on from this text: where max_tokens ends it, what may begin a stop string is left to that one */
    const char *const *stop; int n_stop; /* stop strings; not part of the text */
    const moa_grammar *grammar;        /* what the text may be; NULL: anything. Where max_tokens ends it too early: MOA_ELIMIT in rc ... */
    bool partial;                      /* ... unless this is set: then it is a text like any other */
    const moa_bias *bias; int n_bias;  /* copied */
    moa_token_log *log;                /* NULL, or what is told of each token of the text; lives until the request has ended */
    int priority;                      /* -MOA_PRIORITY_MAX to MOA_PRIORITY_MAX; higher goes first */
    const _Atomic bool *cancel;        /* NULL, or: once it is true, the request ends. Lives until the request has ended */
} moa_gen_req;

typedef struct moa_gen_res {
    char *text; size_t text_len;       /* free with moa_gen_res_deinit; an unfinished last character is left out */
    int32_t *ids; int n_ids;           /* generated, without the end token */
    int64_t n_prompt, n_reused;        /* prompt tokens; of these, not computed again */
    double sum_logprob;                /* of ids, under the model itself (temperature 1, no cuts) */
    double seconds, first_s;           /* from the call's start to this one's end; to its first token */
    double share_s;                    /* its part of the steps' time, by rows: adds up over the requests of a call */
    int n_thought;                     /* of n_ids, what the model thought before its reply, where a server counts that apart */
    int n_drafted, n_accepted;         /* tokens fed as drafts; of these, kept: each saved this request a step */
    moa_stop why;
    int rc; moa_err err;               /* rc < 0: this request failed, and err says why; the others went on */
} moa_gen_res;
void moa_gen_res_deinit(moa_gen_res *r);

/* How a generator works; zero is a good value of every field. */
typedef struct moa_gen_cfg {
    size_t cache_bytes;                /* KV kept for beginnings, at most; 0: as much as there is */
    double stall_s;                    /* between two tokens of a running request while others read, about at most; 0: 0.05 */
    double age_s;                      /* what a step of priority is worth; 0: 5 s */
    int drafts;                        /* tokens drafted for one request in a step, at most; 0: 16; negative: none */
    bool draft_always;                 /* whatever it costs: for tests and measurements */
    int max_waiting;                   /* submitted requests that have not begun; 0: 1024. More are refused (MOA_ELIMIT) */
} moa_gen_cfg;

typedef struct moa_generator moa_generator; /* a session, samplers and a prefix cache */
int moa_generator_new(moa_generator **out, const moa_model *m, const moa_session_cfg *cfg, moa_err *err);
int moa_generator_set(moa_generator *g, const moa_gen_cfg *cfg, moa_err *err); /* while nothing runs */
/* small guesses for the model (drafter.h); borrowed as long as the generator lives; NULL: no more. While nothing runs. */
int moa_generator_draft(moa_generator *g, const moa_model *small, moa_err *err);
void moa_generator_free(moa_generator *g); /* what still runs is canceled, its end told */
moa_session *moa_generator_session(moa_generator *g);
const struct moa_prefix_cache *moa_generator_cache(const moa_generator *g);

/* Called with whole UTF-8 characters that can no longer become part of a stop string; return false to cancel all.
 * text "", n 0: a step has read more of req's prompt, which is not at its end: the place to cancel a long one.
 * text NULL, n 0: request req has come to its end (not by cancel) and res[req] is filled, while others may still run. */
typedef bool (*moa_gen_cb)(void *ctx, int req, const char *text, size_t n);

/* Runs all n requests to their end, beside others where the generator has a thread of its own; cb is called in the calling thread.
 * res[i] is filled for each, also on failure (then empty or partial). A request that fails alone has rc < 0, and the call is
 * still a success.
 * A prompt longer than the context: MOA_ELIMIT naming both numbers, before any work. More requests than sequences or KV
 * allows run in waves. Result of a request does not depend on the others. Canceled: MOA_ECANCELED with partial results. */
int moa_generate(moa_generator *g, moa_gen_res *res, const moa_gen_req *req, int n, moa_gen_cb cb, void *ctx, moa_err *err);

/* ---- a generator with a thread of its own ---- */
int moa_generator_start(moa_generator *g, moa_err *err); /* nothing where it has one */
/* Takes the thread away again, as settings want it (set, draft and adapters do this by themselves). Something runs or waits: MOA_EINVAL. */
int moa_generator_stop(moa_generator *g, moa_err *err);

/* What a request's owner hears, from the generator's thread: copy and return, it holds up everybody. */
typedef struct moa_gen_sink {
    bool (*text)(void *ctx, const char *text, size_t n); /* as moa_gen_cb, never NULL text; false cancels this request */
    void (*end)(void *ctx, moa_gen_res *res);            /* once, the last call; takes over what is in *res */
    void *ctx;
} moa_gen_sink;
/* From any thread. Copies what it needs of q (but for cancel). On failure the sink hears nothing. Too many wait: MOA_ELIMIT. */
int moa_gen_submit(moa_generator *g, const moa_gen_req *q, const moa_gen_sink *sink, moa_err *err);
/* From any thread, of about now. */
typedef struct moa_gen_load {
    int n_running, n_waiting;
    int64_t steps, drafted, accepted;
    int64_t written;                                     /* tokens drawn */
    int64_t kv_tokens, kv_room;                          /* positions that blocks of KV are held for, by jobs and as beginnings; and in all (kv.h: its first store) */
} moa_gen_load;
moa_gen_load moa_generator_load(moa_generator *g);

#endif
