/* rope.c - rotary position embedding (kernels/body/rope.h). Its backward is the rotation by the opposite angle.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

#include <math.h>

typedef moa_rope_spec param;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    const param *p = PARAM(param, n);
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    MOA_TRY(moa_op_vector(n, 1, "pos", MOA_I32, moa_rows(n->in[0]), false, err));
    if (p->head_dim <= 0 || moa_cols(n->in[0]) % p->head_dim)
        return moa_fail(err, MOA_EINVAL, "rope: input %s is not a number of heads of %d", SHAPE(n->in[0]), p->head_dim);
    if (p->n_rot <= 0 || p->n_rot % 2 || p->n_rot > p->head_dim)
        return moa_fail(err, MOA_EINVAL, "rope: rotates %d of %d, expected an even number up to it", p->n_rot, p->head_dim);
    if (p->first < 0 || p->first > p->head_dim - p->n_rot)
        return moa_fail(err, MOA_EINVAL, "rope: rotates %d of %d from %d on, expected 0 to %d", p->n_rot, p->head_dim, p->first,
                        p->head_dim - p->n_rot);
    if (!(p->base > 0)) return moa_fail(err, MOA_EINVAL, "rope: base is %g, expected more than 0", (double)p->base);
    const moa_tensor *lists = n->in[3] ? n->in[2] : NULL; /* several, or one vector */
    if (n->in[3] && !(lists && lists->n_dim == 2 && moa_cols(lists) == p->n_rot / 2))
        return moa_fail(err, MOA_EINVAL, "rope: rows choose a list of factors, expected lists of %d", p->n_rot / 2);
    MOA_TRY(moa_op_vector(n, 2, "factors", MOA_F32, p->n_rot / 2 * (lists ? moa_rows(lists) : 1), true, err));
    MOA_TRY(moa_op_vector(n, 3, "which", MOA_I32, moa_rows(n->in[0]), true, err));
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

static void run(moa_exec *x, moa_node *n, float *y, const float *src, bool back, bool add) {
    const param *p = PARAM(param, n);
    const float *factor = n->in[2] ? n->in[2]->data : NULL;
    const int64_t half = p->n_rot / 2, n_freq = factor ? moa_tensor_count(n->in[2]) : half;
    if (n->in[3] && !moa_op_ids_ok(x, n, n->in[3], n_freq / half)) return;
    const moa_arena_mark mark = moa_arena_save(x->arena);
    double *freq = moa_op_alloc(x, n, n_freq, sizeof *freq);
    moa_rope_args a = {.y = y, .x = src, .pos = n->in[1]->data, .freq = freq, .which = n->in[3] ? n->in[3]->data : NULL,
                       .n_head = moa_cols(n->out) / p->head_dim, .hd = p->head_dim, .first = p->first, .n_rot = p->n_rot,
                       .magnitude = p->magnitude, .neox = p->pairs == MOA_ROPE_NEOX, .back = back, .add = add};
    a.scratch = freq ? moa_op_alloc(x, n, (int64_t)(x->n_threads > 1 ? x->n_threads : 1) * p->n_rot, sizeof(float)) : NULL;
    if (a.scratch) {
        for (int64_t i = 0; i < n_freq; i++)
            freq[i] = pow(p->base, -2.0 * (double)(i % half) / p->n_rot) * (double)p->freq_scale / (factor ? (double)factor[i] : 1.0);
        moa_parallel(x, moa_rows(n->out), 1, 0.4 * (double)moa_cols(n->out), moa_train_of(x)->rope, &a);
    }
    moa_arena_restore(x->arena, mark);
}

static void forward(moa_exec *x, moa_node *n) { run(x, n, n->out->data, n->in[0]->data, false, false); }

static void backward(moa_exec *x, moa_node *n) {
    bool add;
    float *dx = moa_grad_in(x, n, 0, &add);
    const float *dy = moa_grad_out(x, n);
    if (dx && dy) run(x, n, dx, dy, true, add);
}

const moa_op moa_op_rope = {.name = "rope", .help = "rotary position embedding", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_rope_as(moa_exec *x, moa_tensor *in, moa_tensor *pos, const moa_rope_spec *spec, moa_tensor *factors, moa_tensor *which) {
    return moa_apply(x, &moa_op_rope, (moa_tensor *[]){in, pos, factors, which}, 4, spec, sizeof *spec);
}

moa_tensor *moa_rope(moa_exec *x, moa_tensor *in, moa_tensor *pos, int head_dim, int n_rot, float base, float freq_scale,
                     moa_tensor *factors, moa_rope_pairs pairs) {
    const moa_rope_spec spec = {.head_dim = head_dim, .n_rot = n_rot, .base = base, .freq_scale = freq_scale, .magnitude = 1, .pairs = pairs};
    return moa_rope_as(x, in, pos, &spec, factors, NULL);
}
