/* task.h - microworld: families of small tasks with checkable answers, in plain English, made by seed.
 * One file a family in family/, registry families.def.
 *
 * Splits: an item belongs to held-out when moa_hash64(question) % 8 == 0, else to train; so the two can never
 * meet, whatever seed makes them. (The fixed world's facts are the same in both; its *questions* are split.)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_TASK_H
#define MOA_TASK_TASK_H

#include "base/buf.h"
#include "base/rng.h"
#include "moa.h"

typedef enum moa_split { MOA_TRAIN, MOA_HELDOUT } moa_split;

typedef struct moa_item {
    moa_buf question;  /* what the user asks */
    moa_buf solution;  /* a worked reply to learn from; its last line gives the answer ("Answer: 42") */
    moa_buf answer;    /* canonical, what the checker compares */
    int level;         /* 1 (easy) .. n_level */
    uint64_t id;       /* hash of the question */
    const struct moa_family *family;
} moa_item;
void moa_item_init(moa_item *it);
void moa_item_deinit(moa_item *it);

typedef struct moa_family {
    const char *name, *help;
    int n_level;
    bool scored;       /* false: talk to learn from (greetings, what moa is), no part of the task set "microworld" */
    /* Fill question, solution, answer. Same rng state, same item. Solutions should vary in wording and in the order of steps. */
    int (*make)(moa_item *it, int level, moa_rng *r);
} moa_family;
const moa_family *const *moa_families(int *n);
const moa_family *moa_family_find(const char *name);

/* Item number `index` of a seed in a split; level 0: drawn by the seed. Deterministic, independent of other indices. */
int moa_item_make(moa_item *it, const moa_family *f, moa_split split, uint64_t seed, uint64_t index, int level, moa_err *err);

/* The answer in a reply, canonical (after the last "Answer:", trimmed, lower case, spaces folded, "1,000" = "1000");
 * false when there is none. Works on any text; votes cluster by it. */
bool moa_answer_extract(moa_buf *out, const char *reply, size_t n);
bool moa_item_check(const moa_item *it, const char *reply, size_t n);

/* The aggregator's user turn: the question first and unchanged (so that its KV is shared with the proposals),
 * then the candidate answers, then what to do with them. Used by training (second form) and by agent/. */
int moa_aggregate_prompt(moa_buf *out, const char *question, const char *const *cand, int n_cand);

#endif
