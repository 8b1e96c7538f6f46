/* exec.c - the one way every op is called, and the split of work over threads.
 *
 * Inference has threads of its own (base/team.h). Training works in libgomp's, because oneDNN brings it, and two sets of threads that wait
 * for each other's work would fight for the cores. A region of one thread is never opened there: libgomp would replace its cached
 * team, which is a heap call on the next wide region.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/exec.h"
#include "tensor/tape.h"

#include "base/err.h"

#include <omp.h>
#include <string.h>

/* Below this much work a thread (ns), a further one costs more than it brings: libgomp's threads take some microseconds to
 * wake, the team's are awake during a step. */
#define MIN_NS_GOMP 4000.0
#define MIN_NS_TEAM 1000.0
#define MIN_NS_PIECE 500.0 /* what is claimed at once */

static int n_threads_for(const moa_exec *x, int64_t n, double cost) {
    const double worth = (double)n * cost / (x->team ? MIN_NS_TEAM : MIN_NS_GOMP);
    int t = x->n_threads > 1 ? x->n_threads : 1;
    if (worth < t) t = worth < 2 ? 1 : (int)worth;
    return n < t ? (int)(n > 1 ? n : 1) : t;
}

void moa_parallel(const moa_exec *x, int64_t n, int64_t align, double cost, moa_range_fn fn, const void *args) {
    const int64_t units = (n + align - 1) / align;
    const int want = n_threads_for(x, units, cost * (double)align);
    if (n <= 0) return;
    if (want == 1) {
        fn(args, 0, n, 0);
        return;
    }
    if (x->team) {
        const double many = MIN_NS_PIECE / (cost * (double)align + 1e-3);
        moa_team_run(x->team, want, n, align * (many > 1 ? (int64_t)many : 1), fn, args);
        return;
    }
#pragma omp parallel num_threads(want)
    {
        const int64_t t = omp_get_thread_num(), all = omp_get_num_threads();
        const int64_t i0 = units * t / all * align, i1 = units * (t + 1) / all * align;
        if (i0 < n && i0 < i1) fn(args, i0, i1 < n ? i1 : n, (int)t);
    }
}

void moa_parallel_each(const moa_exec *x, int64_t n, double cost, moa_range_fn fn, const void *args) {
    if (x->team) {
        moa_parallel(x, n, 1, cost, fn, args);
        return;
    }
    const int want = n_threads_for(x, n, cost);
    if (n <= 0) return;
    if (want == 1) {
        fn(args, 0, n, 0);
        return;
    }
#pragma omp parallel for num_threads(want) schedule(dynamic, 1)
    for (int64_t i = 0; i < n; i++) fn(args, i, i + 1, omp_get_thread_num());
}

/* Bytes of a new tensor, with every product checked. 0 with err filled when the shape is impossible. */
static int tensor_layout(moa_tensor *t, size_t *bytes, moa_err *err) {
    const moa_type *type = moa_type_get(t->dtype);
    if (!type) return moa_fail(err, MOA_EINVAL, "tensor: no element type with number %d", (int)t->dtype);
    if (t->n_dim < 1 || t->n_dim > MOA_MAX_DIM)
        return moa_fail(err, MOA_EINVAL, "tensor: %d dimensions, expected 1 to %d", t->n_dim, (int)MOA_MAX_DIM);
    int64_t count = 1;
    for (int i = 0; i < t->n_dim; i++)
        if (t->shape[i] < 0 || __builtin_mul_overflow(count, t->shape[i], &count) || count > INT64_MAX / 64)
            return moa_fail(err, MOA_ELIMIT, "tensor: size %lld on axis %d is out of range", (long long)t->shape[i], i);
    if (moa_cols(t) % type->block)
        return moa_fail(err, MOA_EINVAL, "tensor: rows of %lld elements, expected a multiple of %d for %s",
                        (long long)moa_cols(t), type->block, type->name);
    *bytes = (size_t)(count / type->block) * (size_t)type->bytes;
    return MOA_OK;
}

static moa_tensor *new_tensor(moa_exec *x, const moa_tensor *like, bool view) {
    moa_tensor t = *like;
    size_t bytes = 0;
    if (tensor_layout(&t, &bytes, &x->err) < 0) return NULL;
    moa_tensor *out = moa_arena_alloc(x->arena, sizeof *out);
    void *data = out && !view ? moa_arena_alloc(x->arena, bytes) : NULL;
    if (!out || (!view && !data)) {
        moa_fail(&x->err, MOA_ENOMEM, "arena: no memory for a tensor of %zu bytes", bytes);
        return NULL;
    }
    *out = moa_view(t.dtype, data, t.n_dim, t.shape);
    out->arena = x->arena;
    return out;
}

moa_tensor *moa_new_tensor(moa_exec *x, moa_dtype dtype, int n_dim, const int64_t *shape) {
    moa_tensor t = {.dtype = dtype, .n_dim = n_dim, .shape = {1, 1, 1, 1}};
    if (x->err.code) return NULL;
    for (int i = 0; i < n_dim && i < MOA_MAX_DIM; i++) t.shape[i] = shape[i];
    return new_tensor(x, &t, false);
}

/* What holds for every op, so that op files need not ask. */
static int check_inputs(const moa_node *n, moa_err *err) {
    for (int i = 0; i < n->n_in; i++) {
        const moa_tensor *t = n->in[i];
        if (!t) continue;
        if (t->n_dim < 1 || t->n_dim > MOA_MAX_DIM || !moa_type_get(t->dtype))
            return moa_fail(err, MOA_EINVAL, "%s: input %d is no tensor: %d axes, element type %d", n->op->name, i, t->n_dim, (int)t->dtype);
        if (moa_cols(t) < (t->n_dim > 1)) return moa_fail(err, MOA_EINVAL, "%s: input %d has rows of 0 elements", n->op->name, i);
        if (!moa_tensor_contiguous(t)) return moa_fail(err, MOA_EINVAL, "%s: input %d is not contiguous", n->op->name, i);
    }
    return MOA_OK;
}

moa_tensor *moa_apply(moa_exec *x, const moa_op *op, moa_tensor *const *in, int n_in, const void *param, size_t param_bytes) {
    if (x->err.code) return NULL;
    moa_assert(n_in <= MOA_OP_MAX_IN && param_bytes <= MOA_OP_PARAM_BYTES);
    bool grad = false;
    for (int i = 0; i < n_in; i++) grad |= in[i] && in[i]->needs_grad;
    grad = grad && x->tape && op->backward;

    moa_node on_stack, *n = &on_stack;
    if (grad && !(n = moa_arena_alloc(x->arena, sizeof *n))) {
        moa_fail(&x->err, MOA_ENOMEM, "arena: no memory for a node of the tape");
        return NULL;
    }
    memset(n, 0, sizeof *n);
    n->op = op;
    n->n_in = n_in;
    memcpy(n->in, in, (size_t)n_in * sizeof *in);
    if (param_bytes) memcpy(n->param, param, param_bytes);

    moa_tensor t = {.dtype = MOA_F32, .n_dim = 1, .shape = {1, 1, 1, 1}};
    if (check_inputs(n, &x->err) < 0 || op->shape(n, &t, &x->err) < 0) return NULL;
    n->out = new_tensor(x, &t, op->view);
    if (!n->out) return NULL;
    n->out->needs_grad = grad;
    op->forward(x, n);
    if (x->err.code || (grad && moa_tape_record(x, n) < 0)) return NULL;
    return n->out;
}
