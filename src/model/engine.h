/* engine.h - the inside of a generator: jobs, their order, what goes into the next step (the design is in generate.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_ENGINE_H
#define MOA_MODEL_ENGINE_H

#include "model/drafter.h"
#include "model/job.h"
#include "model/pace.h"
#include "model/prefix.h"

#include <pthread.h>

struct moa_generator {
    /* fixed */
    const moa_model *m;
    moa_session *s;
    moa_session_cfg session_cfg;
    moa_gen_cfg cfg;
    int n_live, n_batch, n_vocab;
    /* the owner's */
    moa_prefix_cache cache;
    moa_constraints grammars;
    moa_sampler **spare;           /* [n_spare] samplers not in use, room for n_live */
    int n_spare;
    moa_job **run, **wait;         /* [n_live], [cap_wait] by order; the first of wait is the next */
    int n_run, n_wait, cap_wait;
    moa_row *row;                  /* [n_batch] */
    moa_drafter *drafter;          /* NULL: none */
    moa_ngrams *ngrams;            /* a table for each prompt of a running or suspended job */
    float hit[2];                  /* of jobs' guesses, over the last few hundred: what a new job begins with */
    int since_draft;               /* steps */
    double pass;                   /* of the job that had the last turn to read */
    moa_gen_load count;
    moa_pace plain, reading;       /* steps that only decode; steps with rows of prompts */
    /* shared */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    moa_job *mail, *mail_end;      /* submitted, not yet seen by the owner */
    int n_open, n_alive;           /* submitted, not yet begun; not yet ended */
    long long n_submitted;
    bool threaded, quit;
    pthread_t thread;
    moa_gen_load load;             /* as of the last turn */
};

int moa_engine_add(moa_generator *g, moa_job *j, moa_err *err); /* it waits from now on; on failure it stays the caller's */
static inline bool moa_engine_idle(const moa_generator *g) { return !g->n_run && !g->n_wait; }
/* Admits, does one step, draws, ends what has come to its end. Never fails: what fails is a job. */
void moa_engine_turn(moa_generator *g);
void moa_engine_refuse(moa_generator *g, moa_job *j); /* a job that could not be added: ends with res.err */
void moa_engine_cancel_all(moa_generator *g);
bool moa_engine_useless(void *g); /* does the step that is being computed serve nobody any more? */

#endif
