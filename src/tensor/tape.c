/* tape.c - reverse-mode differentiation: the list of recorded calls, run backwards.
 *
 * Gradients of intermediates live in buffers that count their owners. An op whose input gradient is its output gradient
 * (add, reshape) shares the buffer instead of copying it; a buffer is copied only when somebody adds to it while it is
 * still shared. A buffer without owners goes to a free list: the gradients of a deep graph then fit into the cache
 * instead of streaming through memory. The order of additions is the reverse order of calls, so it is always the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/tape.h"

#include "base/err.h"
#include "tensor/kernels/body/train.h"

#include <stdlib.h>
#include <string.h>

typedef struct moa_grad { /* in the arena, followed by its data on a 64-byte boundary */
    struct moa_grad *next; /* in the free list */
    size_t bytes;
    int owners;
    bool half;             /* bf16 instead of f32 */
    _Alignas(64) unsigned char data[];
} moa_grad;

typedef struct ptr_list { void **at; int n, cap; } ptr_list;

struct moa_tape {
    ptr_list node; /* moa_node *, in the order of calls */
    ptr_list leaf; /* moa_tensor *: leaves that got a gradient from the arena */
    moa_grad *spare;
};

moa_tape *moa_tape_new(void) { return calloc(1, sizeof(moa_tape)); }

void moa_tape_free(moa_tape *t) {
    if (!t) return;
    moa_tape_reset(t);
    free(t->node.at);
    free(t->leaf.at);
    free(t);
}

void moa_tape_reset(moa_tape *t) {
    for (int i = 0; i < t->leaf.n; i++) ((moa_tensor *)t->leaf.at[i])->grad = NULL;
    t->node.n = t->leaf.n = 0;
    t->spare = NULL;
}

int moa_tape_length(const moa_tape *t) { return t->node.n; }

static int push(ptr_list *l, void *p) {
    if (l->n == l->cap) {
        const int more = l->cap ? l->cap * 2 : 256;
        void **grown = more > l->cap ? realloc(l->at, (size_t)more * sizeof *grown) : NULL;
        if (!grown) return MOA_ENOMEM;
        l->at = grown;
        l->cap = more;
    }
    l->at[l->n++] = p;
    return MOA_OK;
}

int moa_tape_record(moa_exec *x, moa_node *n) {
    moa_tape *t = x->tape;
    if (push(&t->node, n) < 0) return moa_fail(&x->err, MOA_ENOMEM, "tape: no memory for node %d", t->node.n);
    n->out->node = n;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] && n->in[i]->node) n->in[i]->node->n_use++;
    return MOA_OK;
}

/* ---- buffers ---- */

static moa_grad *grad_get(moa_exec *x, size_t bytes) {
    if (x->err.code) return NULL;
    for (moa_grad **p = &x->tape->spare; *p; p = &(*p)->next)
        if ((*p)->bytes == bytes) {
            moa_grad *g = *p;
            *p = g->next;
            g->owners = 1;
            g->half = false;
            return g;
        }
    moa_grad *g = bytes < SIZE_MAX - sizeof *g ? moa_arena_alloc(x->arena, sizeof *g + bytes) : NULL;
    if (!g) {
        moa_fail(&x->err, MOA_ENOMEM, "backward: no memory for a gradient of %zu bytes", bytes);
        return NULL;
    }
    *g = (moa_grad){.bytes = bytes, .owners = 1};
    return g;
}

static void grad_put(moa_tape *t, moa_grad *g) {
    if (!g || --g->owners > 0) return;
    g->next = t->spare;
    t->spare = g;
}

void *moa_tape_scratch(moa_exec *x, size_t bytes) {
    moa_grad *g = grad_get(x, bytes);
    return g ? g->data : NULL;
}

void moa_tape_unscratch(moa_exec *x, void *p) {
    if (p) grad_put(x->tape, (moa_grad *)((unsigned char *)p - offsetof(moa_grad, data)));
}

static size_t f32_bytes(const moa_tensor *t) { return (size_t)moa_tensor_count(t) * sizeof(float); }

/* ---- what backward functions call ---- */

const uint16_t *moa_grad_out_half(const moa_node *n) { return n->grad->half ? (const uint16_t *)n->grad->data : NULL; }

const float *moa_grad_out(moa_exec *x, moa_node *n) {
    if (!n->grad->half) return (const float *)n->grad->data;
    moa_grad *g = grad_get(x, f32_bytes(n->out));
    if (!g) return NULL;
    const moa_uncast_args a = {(float *)g->data, (const uint16_t *)n->grad->data};
    moa_parallel(x, moa_tensor_count(n->out), 64, 0.1, x->k->slot[MOA_K_TRAIN][MOA_F32]->fn.train->from_bf16, &a);
    grad_put(x->tape, n->grad);
    n->grad = g;
    return (const float *)g->data;
}

static float *leaf_grad(moa_exec *x, moa_tensor *t) {
    if (t->grad) return t->grad->data;
    moa_tensor *g = moa_new_tensor(x, MOA_F32, t->n_dim, t->shape);
    if (!g) return NULL;
    memset(g->data, 0, f32_bytes(t));
    if (push(&x->tape->leaf, t) < 0) {
        moa_fail(&x->err, MOA_ENOMEM, "tape: no memory for leaf %d", x->tape->leaf.n);
        return NULL;
    }
    t->grad = g;
    return g->data;
}

float *moa_grad_in(moa_exec *x, moa_node *n, int i, bool *add) {
    moa_tensor *t = n->in[i];
    moa_node *from = t->node;
    *add = true;
    if (!from) return leaf_grad(x, t);
    moa_grad *old = from->grad;
    if (old && old->owners == 1) return (float *)old->data;
    moa_grad *g = grad_get(x, f32_bytes(t));
    if (!g) return NULL;
    *add = old != NULL;
    if (old) { /* shared: the others keep the old values */
        memcpy(g->data, old->data, g->bytes);
        grad_put(x->tape, old);
    }
    from->grad = g;
    return (float *)g->data;
}

float *moa_grad_in_zeroed(moa_exec *x, moa_node *n, int i) {
    bool add;
    float *g = moa_grad_in(x, n, i, &add);
    if (g && !add) memset(g, 0, f32_bytes(n->in[i]));
    return g;
}

uint16_t *moa_grad_in_half(moa_exec *x, moa_node *n, int i) {
    moa_node *from = n->in[i]->node;
    if (!from || from->grad || from->n_use != 1 || !from->op->half_grad || !from->op->half_grad(x, from)) return NULL;
    from->grad = grad_get(x, f32_bytes(n->in[i]) / 2);
    if (!from->grad) return NULL;
    from->grad->half = true;
    return (uint16_t *)from->grad->data;
}

void moa_grad_pass(moa_exec *x, moa_node *n, int i) {
    moa_tensor *t = n->in[i];
    const float *dy = moa_grad_out(x, n);
    if (!dy) return;
    if (t->node && !t->node->grad) {
        t->node->grad = n->grad;
        n->grad->owners++;
        return;
    }
    bool add;
    float *dx = moa_grad_in(x, n, i, &add);
    if (!dx) return;
    const moa_add_args a = {.y = dx, .a = dx, .b = dy, .d = moa_cols(t)};
    moa_parallel(x, moa_rows(t), 1, 0.1 * (double)a.d, x->k->slot[MOA_K_TRAIN][MOA_F32]->fn.train->add, &a);
}

/* ---- the reverse pass ---- */

static int seed(moa_exec *x, moa_tensor *loss, float scale, moa_err *err) {
    if (!x->tape) return moa_fail(err, MOA_EUSAGE, "backward: there is no tape");
    if (x->err.code) {
        if (err) *err = x->err;
        return x->err.code;
    }
    if (!loss || moa_tensor_count(loss) != 1 || loss->dtype != MOA_F32)
        return moa_fail(err, MOA_EINVAL, "backward: the loss is not one f32 number");
    if (!loss->node) return moa_fail(err, MOA_EUSAGE, "backward: the loss depends on no tensor that needs a gradient");
    moa_grad *g = grad_get(x, sizeof(float));
    if (!g) {
        if (err) *err = x->err;
        return x->err.code;
    }
    memcpy(g->data, &scale, sizeof scale);
    loss->node->grad = g;
    return MOA_OK;
}

int moa_tape_backward(moa_exec *x, moa_tensor *loss, float scale, moa_err *err) {
    MOA_TRY(seed(x, loss, scale, err));
    moa_tape *t = x->tape;
    for (int i = t->node.n - 1; i >= 0; i--) {
        moa_node *n = t->node.at[i];
        if (!n->grad) continue; /* the loss does not depend on it */
        if (!x->err.code) n->op->backward(x, n);
        grad_put(t, n->grad);
        n->grad = NULL;
    }
    if (x->err.code && err) *err = x->err;
    return x->err.code;
}
