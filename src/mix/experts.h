/* experts.h - a layer of feed-forward experts at inference: all chosen experts' products as a few regions of work.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MIX_EXPERTS_H
#define MOA_MIX_EXPERTS_H

#include "mix/route.h"

/* down(act(gate x, up x)) of one expert; biases may be NULL. */
typedef struct moa_expert_w { const moa_tensor *gate, *gate_b, *up, *up_b, *down, *down_b; } moa_expert_w;
typedef moa_expert_w (*moa_expert_at)(const void *ctx, int e);

/* What combiner "sum" makes of such experts, bit for bit; without a tape. -> [n, d] */
moa_tensor *moa_experts_sum(moa_exec *x, const moa_route *r, moa_tensor *in /* [n, d] */, moa_expert_at at, const void *ctx, int n_expert,
                            moa_gated_fn act);

#endif
