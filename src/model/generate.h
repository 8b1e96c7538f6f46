/* generate.h - many completions as one batch. Requests of one call whose prompts share a beginning share its KV;
 * a prefix cache in the generator keeps finished sequences, so the next call (an aggregator, the next turn)
 * pays only for what is new.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_GENERATE_H
#define MOA_MODEL_GENERATE_H

#include "model/sampler.h"
#include "model/session.h"

typedef enum moa_stop { MOA_STOP_EOS, MOA_STOP_STRING, MOA_STOP_LENGTH, MOA_STOP_CONTEXT, MOA_STOP_CANCELED, MOA_STOP_FAILED } moa_stop;

typedef struct moa_gen_req {
    const int32_t *prompt; int64_t n_prompt;
    moa_sampling sampling;
    int max_tokens;                    /* > 0 */
    const char *const *stop; int n_stop; /* stop strings; not part of the text */
    const moa_grammar *grammar;        /* what the text may be; NULL: anything. Where max_tokens ends it too early: MOA_ELIMIT in rc */
} moa_gen_req;

typedef struct moa_gen_res {
    char *text; size_t text_len;       /* free with moa_gen_res_deinit; an unfinished last character is left out */
    int32_t *ids; int n_ids;           /* generated, without the end token */
    int64_t n_prompt, n_reused;        /* prompt tokens; of these, not computed again */
    double sum_logprob;                /* of ids, under the model itself (temperature 1, no cuts) */
    double seconds;                    /* from the call's start to this one's end */
    double share_s;                    /* its part of the steps' time, by rows: adds up over the requests of a call */
    moa_stop why;
    int rc; moa_err err;               /* rc < 0: this request failed, and err says why; the others went on */
} moa_gen_res;
void moa_gen_res_deinit(moa_gen_res *r);

typedef struct moa_generator moa_generator; /* a session, samplers and a prefix cache */
int moa_generator_new(moa_generator **out, const moa_model *m, const moa_session_cfg *cfg, moa_err *err);
void moa_generator_free(moa_generator *g);
moa_session *moa_generator_session(moa_generator *g);

/* Called with whole UTF-8 characters that can no longer become part of a stop string; return false to cancel all.
 * text "", n 0: a step has read more of req's prompt, which is not at its end: the place to cancel a long one.
 * text NULL, n 0: request req has come to its end (not by cancel) and res[req] is filled, while others may still run. */
typedef bool (*moa_gen_cb)(void *ctx, int req, const char *text, size_t n);

/* Runs all n requests to their end. res[i] is filled for each, also on failure (then empty or partial). A request whose logits
 * are not finite fails alone (MOA_EFORMAT in its rc), and the call is still a success.
 * A prompt longer than the context: MOA_ELIMIT naming both numbers, before any work. More requests than sequences or KV
 * allows run in waves. Result of a request does not depend on the others. Canceled: MOA_ECANCELED with partial results. */
int moa_generate(moa_generator *g, moa_gen_res *res, const moa_gen_req *req, int n, moa_gen_cb cb, void *ctx, moa_err *err);

#endif
