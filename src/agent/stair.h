/* stair.h - staircase aggregation: the aggregator begins while proposals are still being written ("Staircase Streaming for Low-Latency Multi-Agent
 * Inference", arXiv 2510.05059).
 *
 * Its reply is made in steps, each a call that reads the conversation, the proposals as far as the step waits for them, and the reply so far as the
 * beginning of its turn (moa_call.prefix), and goes on from there. Step j waits for c(j) tokens of each proposal that has not ended, c(0) = K, and writes
 * c(j) - c(j-1); c doubles (steps=double: the prompts of all steps together stay within twice the last one, however long proposals are) or grows by K
 * (steps=even). The last step reads what plain aggregation reads, whole proposals, by the same composer, and writes the rest.
 *
 * What a step reads is a function of the proposals' texts and not of the clock: a part ends at the last blank within its bytes (a token is taken for
 * BYTES of them), there is a step as long as some proposal is longer than that, and it is made so too where all have long ended. So seeds and journals give the
 * same reply on any machine. Where a proposal fails or is cut off midway, the clock decides which steps had read of it: each tells in the trace how much
 * (moa_step.read), and a replay reads that.
 *
 * A model that trained on moa's prompt begins with a line of what the replies say (MOA_REPLIES_SAY). The line is about what a step reads and no part of the
 * reply: each step after the first gets it anew, of what it reads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_STAIR_H
#define MOA_AGENT_STAIR_H

#include "agent/run.h"
#include "base/buf.h"

typedef struct moa_step {
    bool last;
    int64_t *read;                    /* [n_in] bytes of each proposal, as JSON spells them; -1: left out */
    const moa_message *msg; int n_msg;
    const char *prefix;               /* NULL: the reply begins here */
    uint64_t seed; int max_tokens;
    const char *text, *error;         /* what the call said */
    int64_t prompt_tokens, completion_tokens, reused_tokens;
    double started, ended, seconds, first_s, sum_logprob;
    moa_stop why; int rc;
    struct moa_step *next;
} moa_step;

/* How it came to its end: by itself; no tokens or no context are left; the budget is spent; the deadline; a call failed. */
typedef enum moa_stair_over { MOA_STAIR_GOES, MOA_STAIR_ENDED, MOA_STAIR_FULL, MOA_STAIR_SPENT, MOA_STAIR_LATE, MOA_STAIR_FAILED } moa_stair_over;
typedef struct moa_stair {
    moa_step *first, *last; int n_step; /* that were asked */
    moa_step *now;                    /* composed; the one to be asked next */
    const char *note;                 /* n's with what composing it has to say; NULL: nothing. It counts when it is asked */
    bool queued;                      /* now waits to begin */
    int64_t waits_for;                /* bytes */
    moa_buf said, raw;                /* the reply so far, without the line; what the call that runs has said */
    size_t shown;                     /* of said and what of raw belongs to it */
    bool lists, ended;                /* it began with the line; it came to an end by itself, on parts */
    int written;                      /* tokens */
    moa_stair_over over; moa_err err;
} moa_stair;

/* Settings that cannot go with it are refused: screens choose among whole proposals. */
int moa_stair_check(const moa_mix_cfg *c, moa_err *err);
/* Why an aggregator of this mix waits for whole proposals although the setting is there; NULL: it does not. */
const char *moa_stair_off(const moa_mix_cfg *c, const moa_backend *b);
moa_stair *moa_stair_new(moa_arena *a, const moa_mix_cfg *c);
void moa_stair_deinit(moa_stair *s);

/* What a node has said by now: the beginning of its reply until it is done. What stands in for a reply that failed is read by the last step alone. */
const char *moa_stair_heard(const moa_agent_node *from);
/* What may be done next, with what the proposals have said by now. */
typedef enum moa_stair_next { MOA_STAIR_WAITS, MOA_STAIR_PART, MOA_STAIR_LAST } moa_stair_next;
moa_stair_next moa_stair_look(const moa_run *r, const moa_agent_node *n);
int moa_stair_compose(moa_run *r, moa_agent_node *n, bool last, moa_err *err); /* n->msg and stair->now */
/* stair->now is asked: fills what a call needs. */
void moa_stair_begin(moa_call *c, moa_agent_node *n, double now);
/* The call that runs has said more. The part of the reply that can be shown by now: *text [return value]. */
size_t moa_stair_hear(const char **text, moa_stair *s, const char *more, size_t n);
/* It has ended, with this text: what is left to show, as above. */
size_t moa_stair_end_step(const char **text, moa_run *r, moa_agent_node *n, const moa_call *c, double now);
/* The whole reply, with the line if there is one, becomes n's text. */
int moa_stair_join(moa_run *r, moa_agent_node *n);
/* Replay: what the trace tells of n's steps; -1: nobody asks a trace. */
int moa_stair_n_then(const moa_run *r, const moa_agent_node *n);

#endif
