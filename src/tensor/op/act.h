/* act.h - what the ops silu, gelu, silu_mul and gelu_mul share. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_OP_ACT_H
#define MOA_TENSOR_OP_ACT_H

#include "tensor/op/op.h"

static inline int moa_act_shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, n->n_in > 1 ? "gate" : "input", MOA_F32, err));
    if (n->n_in > 1) {
        MOA_TRY(moa_op_need(n, 1, "up", MOA_F32, err));
        MOA_TRY(moa_op_same_shape(n, 0, 1, err));
    }
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

static inline void moa_act_forward(moa_exec *x, moa_node *n, moa_act act) {
    const moa_act_args a = {.y = n->out->data, .a = n->in[0]->data, .b = n->n_in > 1 ? n->in[1]->data : NULL,
                            .half = moa_op_half_out(x, n), .act = act};
    moa_parallel(x, moa_tensor_count(n->out), 256, 0.5, moa_train_of(x)->act, &a);
}

static inline void moa_act_backward(moa_exec *x, moa_node *n, moa_act act) {
    moa_act_args a = {.a = n->in[0]->data, .b = n->n_in > 1 ? n->in[1]->data : NULL, .act = act};
    if (n->n_in > 1 && n->in[0] == n->in[1]) moa_grad_in_zeroed(x, n, 0); /* both parts are then added to it */
    if (moa_grad_wanted(n, 0) && !(a.da_half = moa_grad_in_half(x, n, 0))) a.da = moa_grad_in(x, n, 0, &a.add_a);
    if (a.b && moa_grad_wanted(n, 1) && !(a.db_half = moa_grad_in_half(x, n, 1))) a.db = moa_grad_in(x, n, 1, &a.add_b);
    a.dy = moa_grad_out(x, n);
    if (!x->err.code) moa_parallel(x, moa_tensor_count(n->out), 256, 1.0, moa_train_of(x)->act_back, &a);
}

#endif
