/* compare.h - answers of two mixes before a judge, item by item, in both orders. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_COMPARE_H
#define MOA_AGENT_COMPARE_H

#include "agent/duel.h"
#include "agent/eval.h"

enum { MOA_AGAINST_REFERENCE = -1 };
typedef struct moa_compare {
    int won, lost, tied;              /* items; tied: also where the order decided, and where a verdict says nothing */
    int by_order;                     /* of these, where each order had another winner */
    int said, first, none;            /* verdicts that name one of two; of these, the one that stood first; verdicts that say nothing */
    int longer;                       /* of those said, the longer reply */
    int skipped;                      /* items without an answer on either side */
    int64_t calls, prompt_tokens, completion_tokens;
    moa_preference p;                 /* of the mix over the other */
} moa_compare;
/* e has ended and kept its answers. against: a mix of e, or MOA_AGAINST_REFERENCE: the items' own. */
int moa_compare_run(moa_compare *out, const moa_eval *e, int mix, int against, moa_backend *judge, int max_tokens, moa_eval_cb cb, void *ctx, moa_err *err);

#endif
