/* eval.h - mixes against items, most of them with known answers. All mixes see the same items with the same seeds, in the same batches:
 * differences are paired, and with a journal backend equal calls are computed once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_EVAL_H
#define MOA_AGENT_EVAL_H

#include "agent/mix.h"
#include "task/taskset.h"

/* Sums of one mix over one item (all seeds). */
enum { MOA_EVAL_AGREE = 16 };
typedef struct moa_eval_cell {
    int runs, scored, correct, failed; /* scored: of items with a known answer */
    int replaced;                /* answers that are a fallback's: the aggregator failed or lost the answer */
    int64_t calls, prompt_tokens, completion_tokens, reused_tokens, spared_tokens;
    int64_t read, dropped;       /* replies that were merged or counted, and those that a screen left out */
    double seconds;              /* shares of the batches' wall time: adds up */
    double cost;                 /* dollars */
    /* Runs with a known answer in which so many of the first proposals agree (the last: so many and more), and those of them where they are right. */
    int agree[MOA_EVAL_AGREE + 1], agree_right[MOA_EVAL_AGREE + 1];
    /* Of the first proposals of runs that have at least two: */
    int proposal_runs;
    double quality;              /* share of right proposals */
    double distinct;             /* different answers / proposals; a reply without an answer counts as different */
    double disagreement;         /* pairs of proposals that differ / pairs */
    int any_right;               /* runs with at least one right proposal: what a perfect aggregator could reach */
} moa_eval_cell;

typedef struct moa_eval {
    const moa_taskset *tasks;
    moa_mix_spec *mix; int n_mix; /* bound */
    int n_seed;                   /* runs of one item and mix */
    uint64_t seed;
    int chunk;                    /* items whose runs advance together; 0: 16; one where a mix learns online */
    bool keep;                    /* keep the answers of the first seed: for judges */
    moa_eval_cell *cell;          /* [n_mix][n_item]; owned */
    float *latency;               /* [n_mix][n_item][n_seed] seconds of a run's longest chain of calls; owned */
    float *first;                 /* likewise, seconds to the first text of its answer (of the last turn's) as they passed: beside whatever ran; owned */
    char **answer;                /* [n_mix][n_item], after a second turn both replies; NULL where a run failed; owned; NULL: not kept */
    int done;                     /* items finished */
    moa_err first_error;          /* of a run that failed; code 0: none */
} moa_eval;
/* Called after every chunk and for every event; false stops (MOA_ECANCELED, cells of finished chunks stay). */
typedef bool (*moa_eval_cb)(void *ctx, const moa_eval *e, bool chunk_done);
int moa_eval_run(moa_eval *e, moa_eval_cb cb, void *ctx, moa_err *err);
void moa_eval_deinit(moa_eval *e);

/* Seconds of the runs of a mix that are done, p from 0 to 1: 0.5 is the median. */
double moa_eval_latency(const moa_eval *e, int mix, double p);
double moa_eval_first(const moa_eval *e, int mix, double p);
/* Sums over the items of a group (-1: all) that are done. score (may be NULL) receives the share of right runs of each
 * item with a known answer; returns how many these are. */
int moa_eval_sum(moa_eval_cell *sum, double *score, const moa_eval *e, int mix, int group);

#endif
