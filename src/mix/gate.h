/* gate.h - from router logits and a choice to gate values: one recorded op for all normalisations, so that a
 * router is "choose, then gate" and the gradient of the gate is written once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MIX_GATE_H
#define MOA_MIX_GATE_H

#include "mix/route.h"

/* Gate values of the chosen experts times scale. The choice itself carries no gradient. -> [n, k] */
moa_tensor *moa_gate(moa_exec *x, moa_tensor *logits /* [n, n_expert] */, moa_tensor *ids /* i32 [n, k] */,
                     moa_gate_norm norm, float scale);
/* Score of every expert as the gate sees it: softmax or sigmoid over the whole row. -> [n, n_expert] */
moa_tensor *moa_gate_scores(moa_exec *x, moa_tensor *logits /* [n, n_expert] */, moa_gate_norm norm);

/* 1 / (1 + exp(-in)), all of it. */
moa_tensor *moa_gate_sigmoid(moa_exec *x, moa_tensor *in /* [n, m] */);

/* What routers share. Do logits and numbers fit? An error names the router. */
int moa_route_check(moa_exec *x, const moa_router_cfg *c, const moa_tensor *logits, const char *router);
/* Scores as the choice sees them: with the selection bias. -> [n, n_expert] */
moa_tensor *moa_route_biased(moa_exec *x, moa_tensor *score, const moa_router_cfg *c);

#endif
