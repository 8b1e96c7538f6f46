/* job.h - one request on its way: its tokens, its text, how its tokens are drawn. Nothing here knows of other jobs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_JOB_H
#define MOA_MODEL_JOB_H

#include "model/constrain.h"
#include "model/generate.h"
#include "model/ngram.h"
#include "model/stream.h"

enum { MOA_DRAFT_MAX = 16 };

typedef enum moa_job_state { MOA_JOB_WAITING, MOA_JOB_RUNNING, MOA_JOB_DONE } moa_job_state;

typedef struct moa_job {
    struct moa_job *next;        /* in a mailbox */
    moa_gen_req req;             /* prompt NULL: it is the beginning of tok; stop and grammar are the job's own */
    moa_gen_sink sink;
    const _Atomic bool *call;    /* NULL, or true once the whole call that it belongs to is canceled */
    moa_gen_res res;
    long long number;            /* in its errors */
    moa_job_state state;
    double came, order;          /* when; what it is sorted by: came - priority * age_s */
    int32_t *tok;                /* [most] prompt, then what was generated */
    int64_t n_tok, most;         /* most: n_tok at which it ends */
    int seq;                     /* while RUNNING */
    double pass;                 /* rows that it has read by its weight: the least has the next turn */
    int row, n_row;              /* first row of this step whose logits it wants, or -1; rows that it feeds */
    bool started, dropped;       /* has a sampler; its sink wants no more */
    moa_sampler *sampler;        /* from its first admission to its end */
    moa_matcher *matcher;        /* NULL: no grammar, or no token yet */
    int place;                   /* state in it */
    moa_stream out;
    /* drawn in this step */
    int32_t draft[MOA_DRAFT_MAX], pick[MOA_DRAFT_MAX + 1];
    float logprob[MOA_DRAFT_MAX + 1];
    moa_token_prob *prob;        /* [MOA_DRAFT_MAX + 1][1 + log->top] of the picks; NULL: nobody asked */
    int n_draft, n_pick, drawn;  /* n_pick: all but the last are drafts that came true; drawn: what moa_job_draw said */
    /* what will be drawn */
    moa_ngrams *ngrams;          /* from its first admission to its end; NULL: no drafts */
    int32_t guess;               /* of the next token; -1: none */
    bool came_true;              /* the last guess */
    int mirror, mirror_row, n_model; /* its sequence with a drafter, or -1; row of that; guesses that the drafter made for this turn */
    moa_sampler *shadow;         /* with a drafter: draws as sampler would */
    float hit[2];                /* how often guesses come true, lately: after one that did not, after one that did */
} moa_job;

/* Checks q and copies it; max_len as of the session. number: which request, for errors. */
int moa_job_new(moa_job **out, const moa_model *m, int64_t max_len, const moa_gen_req *q, const moa_gen_sink *sink, long long number, moa_err *err);
void moa_job_free(moa_job *j);
static inline bool moa_job_canceled(const moa_job *j) {
    return j->dropped || (j->req.cancel && atomic_load(j->req.cancel)) || (j->call && atomic_load(j->call));
}

/* Pick i has become part of the text. */
void moa_job_log(moa_job *j, int i);
/* Hands over what may be shown. */
void moa_job_show(moa_job *j);
/* t is the next token: what was guessed is compared, what comes next is guessed. */
void moa_job_learn(moa_job *j, int32_t t);
/* Draws from logits [1 + n_draft][n_vocab] (of rows row ..) until a draft is not what comes; -> pick, n_pick. 0, or negative with
 * res.err filled. */
int moa_job_draw(moa_job *j, const moa_tokenizer *tok, const moa_session *s);
/* Fills res but for times, closes the text and tells the end. */
void moa_job_end(moa_job *j, moa_stop why, moa_constraints *grammars);

#endif
