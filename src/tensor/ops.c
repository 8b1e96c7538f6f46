/* ops.c - the registry of ops, and what their files share (op/op.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/dense.h"
#include "tensor/op/op.h"

#include <stdio.h>

#define OP(name) extern const moa_op moa_op_##name;
#include "tensor/ops.def"
#undef OP

#define OP(name) &moa_op_##name,
static const moa_op *const table[] = {
#include "tensor/ops.def"
};
#undef OP

const moa_op *const *moa_ops(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const moa_op *moa_op_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i]->name, name)) return table[i];
    return NULL;
}

const char *moa_shape_str(moa_shape_text *buf, const moa_tensor *t) {
    if (!t) return "nothing";
    const moa_type *type = moa_type_get(t->dtype);
    size_t at = 0;
    for (int i = 0; i < t->n_dim && at < sizeof buf->s - 32; i++) {
        const int n = snprintf(buf->s + at, sizeof buf->s - at, "%s%lld", i ? ", " : "[", (long long)t->shape[i]);
        if (n > 0) at += (size_t)n;
    }
    if (at < sizeof buf->s) snprintf(buf->s + at, sizeof buf->s - at, "] %s", type ? type->name : "of unknown type");
    return buf->s;
}

int moa_op_need(const moa_node *n, int i, const char *role, moa_dtype dtype, moa_err *err) {
    const moa_tensor *t = n->in[i];
    if (!t) return moa_fail(err, MOA_EINVAL, "%s: %s is missing", n->op->name, role);
    if (t->dtype == dtype) return MOA_OK;
    return moa_fail(err, MOA_EINVAL, "%s: %s is %s, expected %s", n->op->name, role, SHAPE(t), moa_type_get(dtype)->name);
}

int moa_op_same_shape(const moa_node *n, int i, int j, moa_err *err) {
    const moa_tensor *a = n->in[i], *b = n->in[j];
    if (a->n_dim == b->n_dim && !memcmp(a->shape, b->shape, (size_t)a->n_dim * sizeof *a->shape)) return MOA_OK;
    return moa_fail(err, MOA_EINVAL, "%s: shapes differ: %s and %s", n->op->name, SHAPE(a), SHAPE(b));
}

int moa_op_vector(const moa_node *n, int i, const char *role, moa_dtype dtype, int64_t len, bool optional, moa_err *err) {
    const moa_tensor *t = n->in[i];
    if (!t && optional) return MOA_OK;
    MOA_TRY(moa_op_need(n, i, role, dtype, err));
    if (moa_tensor_count(t) == len) return MOA_OK;
    return moa_fail(err, MOA_EINVAL, "%s: %s is %s, expected [%lld]; input is %s", n->op->name, role, SHAPE(t), (long long)len,
                    SHAPE(n->in[0]));
}

void moa_op_like(moa_tensor *out, const moa_tensor *t) {
    out->dtype = MOA_F32;
    out->n_dim = t->n_dim;
    memcpy(out->shape, t->shape, sizeof out->shape);
}

bool moa_op_ids_ok(moa_exec *x, const moa_node *n, const moa_tensor *ids, int64_t limit) {
    const int32_t *id = ids->data;
    const int64_t count = moa_tensor_count(ids);
    for (int64_t i = 0; i < count; i++)
        if (id[i] < 0 || id[i] >= limit) {
            moa_fail(&x->err, MOA_EINVAL, "%s: id %d at position %lld, expected 0 to %lld", n->op->name, (int)id[i], (long long)i,
                     (long long)limit - 1);
            return false;
        }
    return true;
}

void *moa_op_alloc(moa_exec *x, const moa_node *n, int64_t count, size_t size) {
    size_t bytes;
    void *p = count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes) ? NULL : moa_arena_alloc(x->arena, bytes);
    if (!p) moa_fail(&x->err, MOA_ENOMEM, "%s: no memory for %lld elements of scratch", n->op->name, (long long)count);
    return p;
}

bool moa_op_bf16(const moa_exec *x) { return x->tape && x->compute == MOA_BF16 && moa_dense_has_bf16(); }

uint16_t *moa_op_half_out(moa_exec *x, moa_node *n) {
    if (!n->out->needs_grad || !moa_op_bf16(x)) return NULL;
    n->out->half = moa_new_tensor(x, MOA_BF16, n->out->n_dim, n->out->shape);
    return n->out->half ? n->out->half->data : NULL;
}

void moa_op_sum_parts(float *dst, const float *part, int64_t n_chunk, int64_t d) {
    for (int64_t c = 0; c < n_chunk; c++) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dst[j] += part[c * d + j];
    }
}
