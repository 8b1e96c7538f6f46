/* distill.h - training data from mixtures: a mix's answers, agreements of several mixes, preferences between samples.
 *
 * Work is written down prompt by prompt, whole lines only, in OUT.work; the finished file takes OUT's name when all is done. A work that was killed goes on
 * after the last whole line, and calls of prompts that were under way are found in the journal behind the backends: nothing is paid for twice.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_DISTILL_H
#define MOA_AGENT_DISTILL_H

#include "agent/mix.h"
#include "task/taskset.h"

typedef enum moa_distill_kind {
    MOA_DISTILL_ANSWERS,      /* what the mix answers: MoAA's first stage (arXiv 2505.03059) */
    MOA_DISTILL_CONSENSUS,    /* what the mixes agree on (rouge.h): Ensemble-Instruct */
    MOA_DISTILL_PREFERENCES,  /* of n samples the best and the worst: MoAA's second stage */
} moa_distill_kind;
int moa_distill_kind_find(moa_distill_kind *out, const char *name, moa_err *err);
extern const char *const moa_distill_kinds[3];

/* What came of the prompts; also those of earlier starts. */
typedef struct moa_distill_sum {
    int64_t prompts, repeated, kept, failed, dropped; /* repeated: the same text as an earlier prompt. dropped: ties, no agreement */
    int64_t calls, prompt_tokens, completion_tokens;
    double cost;
    int64_t known, right, kept_known, kept_right;     /* where the answer is known: of all outputs, and of those kept (preferences: of the chosen) */
} moa_distill_sum;

typedef struct moa_distill {
    moa_distill_kind kind;
    const moa_taskset *prompts;
    moa_mix_spec *mix; int n_mix;     /* bound. Preferences: the first gives the samples */
    moa_mix_spec *judge;              /* preferences: compares pairs (duel.h); NULL: agree does */
    moa_mix_spec *agree;              /* preferences without a judge: samples with this mix's answer are better than others */
    int samples, criteria;            /* preferences: of one prompt; how many criteria the judge chooses first, 0: none */
    double min_rouge;                 /* consensus */
    uint64_t seed;
    int chunk;                        /* prompts that run together; 0: 16 */
    const char *out;                  /* file */
    bool fresh;                       /* throw away what was begun */
    const char *what;                 /* one line of what is asked: another one does not go on with the work */
    moa_distill_sum sum;
    int64_t done, resumed;            /* prompts; those of earlier starts */
    moa_err first_error;              /* of a run that failed; code 0: none */
} moa_distill;
/* Called after every chunk and now and then; false stops (MOA_ECANCELED): the work goes on at the next start. */
typedef bool (*moa_distill_cb)(void *ctx, const moa_distill *d);
int moa_distill_run(moa_distill *d, moa_distill_cb cb, void *ctx, moa_err *err);

#endif
