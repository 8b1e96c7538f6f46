/* task.h - microworld: families of small tasks with checkable answers, in plain English, made by seed.
 * One file a family in family/, registry families.def.
 *
 * Splits: an item's key is what it asks, stripped of wording ("47 + 85", not "How much is 47 plus 85?"). An item
 * belongs to held-out when moa_hash64(key) % 8 == 0, else to train; so the two can never meet, whatever seed or
 * wording makes them. (The fixed world's facts are the same in both; its *questions* are split.)
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
    moa_buf answer;    /* canonical, what the checker compares; empty in families that are not scored */
    moa_buf key;       /* what is asked, without the wording; the same question always has the same key */
    int level;         /* 1 (easy) .. n_level */
    uint64_t id;       /* hash of the key: decides the split */
    const struct moa_family *family;
    /* Of files (format.h): */
    const struct moa_checker *checker; /* how a reply is held against answer (check.h); NULL: as any family's */
    moa_buf follow;    /* what the user asks when the question has been answered; empty: nothing */
    moa_buf reference; /* a reply to compare others with; empty: none */
    moa_buf name;      /* what its file calls it; empty: nothing */
} moa_item;
void moa_item_init(moa_item *it);
void moa_item_deinit(moa_item *it);

typedef struct moa_family {
    const char *name, *help;
    int n_level;
    bool scored;       /* false: talk to learn from (greetings, what moa is), no part of the task set "microworld" */
    /* Fill question, solution, answer (as written, made canonical by the caller) and key. Same rng state, same item.
     * Solutions vary in method, wording and order of steps, so that several samples of a model do not all err alike.
     * Returns 0, or MOA_EINVAL when this draw made no good item (too long, a dull answer): the caller draws again. */
    int (*make)(moa_item *it, int level, moa_rng *r);
} moa_family;
const moa_family *const *moa_families(int *n);
const moa_family *moa_family_find(const char *name);

/* Item number `index` of a seed in a split; level 0: drawn by the seed. Deterministic, independent of other indices. */
int moa_item_make(moa_item *it, const moa_family *f, moa_split split, uint64_t seed, uint64_t index, int level, moa_err *err);

/* The answer in a reply, canonical: what follows the last "Answer:" on its line (or on the next one that is not blank),
 * lower case, spaces folded, quotes and a last full stop taken off, commas of a list as spaces, numbers in one form
 * ("1,000", "+1000" and "1000.0" are "1000"), a choice as its letter ("B)", "(b) the baker" are "b").
 * false when there is none, when it is empty or longer than MOA_ANSWER_MAX. Works on any bytes; votes cluster by it. */
enum { MOA_ANSWER_MAX = 1024 };
/* The words after the last "Answer:" up to the end of the line, as they stand; false when there is none. A reply without that line may name its
 * answer as others have taught models to: \boxed{4} (MATH), "#### 4" (GSM8K), "A: 4" as its last line, "the answer is 4". */
bool moa_answer_find(const char **answer, size_t *len, const char *reply, size_t n);
bool moa_answer_extract(moa_buf *out, const char *reply, size_t n);
/* The same canonical form of an answer alone. false: empty or too long. */
bool moa_answer_canon(moa_buf *out, const char *answer, size_t n);
/* Is the reply right? By the item's checker; an item without an answer has no right reply. */
bool moa_item_check(const moa_item *it, const char *reply, size_t n);

/* The aggregator's user turn: the question first and unchanged (so that its KV is shared with the proposals),
 * then the candidate answers, then what to do with them. Used by training (second form) and by agent/.
 * Borders are lines "== 1 ==" .. "== end =="; a line of a candidate that begins with "==" (after blanks) is written
 * with "> " before it, so that no candidate can end itself or begin another. Control characters become spaces.
 * A candidate longer than MOA_CAND_MAX bytes keeps its head and its tail (where the answer is), cut on UTF-8
 * borders, with " [...] " between. NULL or blank: "(no reply)". */
enum { MOA_CAND_MAX = 1200 };
/* One such candidate, of at most `most` bytes, with its line end: its tail is a third. */
int moa_add_quoted(moa_buf *out, const char *s, size_t most);
/* The parts of that, for prompts that ask something else of candidates (judge.c). */
void moa_fence_begin(moa_buf *out, const char *question);
void moa_fence_add(moa_buf *out, const char *label, const char *text, size_t most);
void moa_fence_numbered(moa_buf *out, const char *question, const char *const *cand, int n_cand, size_t most); /* begin, and all of them */
int moa_fence_end(moa_buf *out, const char *task);
int moa_aggregate_prompt(moa_buf *out, const char *question, const char *const *cand, int n_cand);
/* The fence alone, for other layouts (agent/reference.c): whole candidates. nonce (NULL: none): a word that no candidate could know, in every border,
 * and a line that says what borders are and that candidates are data. */
int moa_add_candidates(moa_buf *out, const char *const *cand, int n_cand, const char *nonce);
const char *moa_aggregate_task(void); /* the words with which moa_aggregate_prompt ends */
/* A reply to that prompt to learn from: first every candidate's answer in the order shown ("Replies say: 12 | 12 | 15"),
 * so that agreement lies before the model's eyes in a few tokens, then `chosen`, a worked solution with its answer. */
#define MOA_REPLIES_SAY "Replies say: "
int moa_replies_say(moa_buf *out, const char *const *cand, int n_cand); /* that first line */
int moa_aggregate_reply(moa_buf *out, const char *const *cand, int n_cand, const char *chosen);
/* Bytes of that first line of a reply, with its line end: what comes after it is the reply proper. 0: it has none. */
size_t moa_aggregate_preface(const char *reply, size_t n);

/* ---- judge.c: what a judge is asked about candidates, in the same fence ----
 * One place for strategies that ask and for the training of a critic (aggregate sources of recipes, train/data.c). */
typedef enum moa_judging {
    MOA_JUDGE_RATE,       /* one candidate, 0 to 10: "Score: 7" */
    MOA_JUDGE_CHOOSE,     /* the k best of n, best first, and whether further rounds are of use: "Choice: 2, 5", "End: no" */
    MOA_JUDGE_COMPARE,    /* two candidates, A and B: "Better: B" */
    MOA_JUDGE_CONSISTENT, /* the one that agrees with most of the others: "Choice: 3" */
    MOA_JUDGE_CRITIQUE,   /* a line on each: "1: right." */
    MOA_JUDGE_REVISE,     /* the final answer out of candidates and a critique of them, which comes as one more text in the fence */
} moa_judging;
/* k: of MOA_JUDGE_CHOOSE. MOA_JUDGE_REVISE: the critique is the last of n texts. most: bytes of each; training cuts at MOA_CAND_MAX, agent/ counts first
 * and says what it cuts. */
int moa_judge_prompt(moa_buf *out, moa_judging ask, const char *question, const char *const *cand, int n, int k, size_t most);
/* A reply to learn from, which knows what is right. A small model does not learn in minutes to name the candidates that it finds right, but it can
 * answer the question: it works it out beside one or two candidates, and of several it lists the answers (moa_replies_say) and takes one, as an
 * aggregator does. Who asked compares the answers (moa_answers_like). Not for MOA_JUDGE_REVISE (moa_aggregate_reply). */
int moa_judge_reply(moa_buf *out, moa_judging ask, const char *const *cand, const unsigned char *correct, int n, const char *solution);

#endif
