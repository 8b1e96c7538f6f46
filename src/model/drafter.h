/* drafter.h - a smaller model that guesses what a larger one will say (speculative decoding: Leviathan et al. 2023,
 * arXiv:2211.17192).
 *
 * The guess is what the job's own sampler would pick from the small model's logits: a copy of it draws with the same random number, the
 * same cuts and penalties. Where both models agree about the order of magnitude, the same number picks the same token, at any
 * temperature; and the larger model's pick is taken in any case, so the text is what it is without guesses.
 *
 * Each job has a mirror in a session of the small model. It follows when a guess is wanted, by at most a step's rows a turn, and forks
 * from another mirror what both begin with.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_DRAFTER_H
#define MOA_MODEL_DRAFTER_H

#include "model/job.h"
#include "model/pace.h"

typedef struct moa_drafter {
    moa_session *s;
    int n_batch;
    moa_row *row;     /* [n_batch] */
    moa_job **active; /* [n_live] jobs of a run */
    moa_pace pace, reading; /* of steps that guess one token a job; of those that read */
    double hit;       /* how often guesses come true, over the last hundred */
    int since;        /* turns since the last run */
    int rest;         /* turns to leave out: its KV was full */
} moa_drafter;

/* small is borrowed. Its tokens must be those of m: as many, with the same bytes and roles; MOA_EINVAL names the first that differs. */
int moa_drafter_new(moa_drafter **out, const moa_model *small, const moa_model *m, const moa_session_cfg *cfg, int n_live, moa_err *err);
void moa_drafter_free(moa_drafter *d);
/* Up to k guesses for each of the jobs that decode -> draft, n_model (which were 0); none where the mirror is still behind, or memory is
 * short. Reading takes about `bound` seconds at most. */
void moa_drafter_run(moa_drafter *d, moa_job *const *job, int n, int k, double bound);
void moa_drafter_leave(moa_drafter *d, moa_job *j); /* j needs its mirror no more; d NULL is fine */
/* The mirror keeps at most len tokens: what follows did not come true. */
void moa_drafter_keep(moa_drafter *d, moa_job *j, int64_t len);

#endif
