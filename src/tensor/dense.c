/* dense.c - oneDNN 2.x matmul behind one call.
 *
 * A primitive is compiled for its shapes (0.3 ms here), so up to N_SLOT of them are kept, and the one unused for longest goes.
 * oneDNN packs plain and transposed operands as it needs: measured, all four layouts of a training step run within 15 % of
 * each other, so nothing is reordered by us. One lock covers look-up and execution: a primitive owns its
 * scratchpad, and a product already uses all the threads it was asked to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/dense.h"

#include "base/err.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <string.h>

enum { N_SLOT = 128 };

typedef struct slot {
    moa_dense key;
    uint64_t used; /* clock of the last use; 0: empty */
    dnnl_primitive_t prim;
    dnnl_memory_t mem[4]; /* a, b, c, bias */
} slot;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dnnl_engine_t engine;
static dnnl_stream_t stream;
static slot slots[N_SLOT];
static uint64_t ticks;

/* What oneDNN will use: the CPU, unless ONEDNN_MAX_CPU_ISA in the environment says less. */
bool moa_dense_has_bf16(void) {
    const unsigned need = dnnl_cpu_isa_avx512_core_bf16;
    return ((unsigned)dnnl_get_effective_cpu_isa() & need) == need;
}

static bool same(const moa_dense *a, const moa_dense *b) {
    return a->m == b->m && a->n == b->n && a->k == b->k && a->dtype == b->dtype && a->a_t == b->a_t && a->b_t == b->b_t &&
           a->add == b->add && a->bias == b->bias && a->n_threads == b->n_threads;
}

static void slot_clear(slot *s) {
    for (int i = 0; i < 4; i++)
        if (s->mem[i]) dnnl_memory_destroy(s->mem[i]);
    if (s->prim) dnnl_primitive_destroy(s->prim);
    memset(s, 0, sizeof *s);
}

/* A matrix [rows, cols], stored transposed when t. */
static dnnl_status_t describe(dnnl_memory_desc_t *md, int64_t rows, int64_t cols, dnnl_data_type_t type, bool t) {
    const dnnl_dims_t dims = {rows, cols}, strides = {t ? 1 : cols, t ? rows : 1};
    return dnnl_memory_desc_init_by_strides(md, 2, dims, type, strides);
}

static dnnl_status_t compile(slot *s, const dnnl_memory_desc_t md[4]) {
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t rc = dnnl_matmul_desc_init(&desc, &md[0], &md[1], s->key.bias ? &md[3] : NULL, &md[2]);
    if (!rc) rc = dnnl_primitive_attr_create(&attr);
    if (!rc && s->key.add) {
        rc = dnnl_post_ops_create(&ops);
        if (!rc) rc = dnnl_post_ops_append_sum(ops, 1.0f);
        if (!rc) rc = dnnl_primitive_attr_set_post_ops(attr, ops);
    }
    if (!rc) rc = dnnl_primitive_desc_create(&pd, &desc, attr, engine, NULL);
    if (!rc) rc = dnnl_primitive_create(&s->prim, pd);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (ops) dnnl_post_ops_destroy(ops);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return rc;
}

static dnnl_status_t slot_make(slot *s, const moa_dense *d) {
    const dnnl_data_type_t type = d->dtype == MOA_BF16 ? dnnl_bf16 : dnnl_f32;
    dnnl_memory_desc_t md[4];
    s->key = *d;
    dnnl_status_t rc = describe(&md[0], d->m, d->k, type, d->a_t);
    if (!rc) rc = describe(&md[1], d->k, d->n, type, d->b_t);
    if (!rc) rc = describe(&md[2], d->m, d->n, dnnl_f32, false);
    if (!rc) rc = describe(&md[3], 1, d->n, dnnl_f32, false);
    if (!rc) rc = compile(s, md);
    for (int i = 0; i < 4 && !rc; i++) rc = dnnl_memory_create(&s->mem[i], &md[i], engine, DNNL_MEMORY_NONE);
    return rc;
}

/* The slot for d, made anew in place of the oldest when missing. */
static slot *slot_find(const moa_dense *d, dnnl_status_t *rc) {
    slot *old = &slots[0];
    for (int i = 0; i < N_SLOT; i++) {
        if (slots[i].used && same(&slots[i].key, d)) return &slots[i];
        if (slots[i].used < old->used) old = &slots[i];
    }
    slot_clear(old);
    *rc = slot_make(old, d);
    if (!*rc) return old;
    slot_clear(old);
    return NULL;
}

static dnnl_status_t run_locked(const moa_dense *d, float *c, const void *a, const void *b, const float *bias) {
    dnnl_status_t rc = dnnl_success;
    if (!engine) rc = dnnl_engine_create(&engine, dnnl_cpu, 0);
    if (!rc && !stream) rc = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    slot *s = rc ? NULL : slot_find(d, &rc);
    if (!s) return rc;
    s->used = ++ticks;
    const void *const at[4] = {a, b, c, bias};
    static const int arg[4] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
    dnnl_exec_arg_t args[4];
    const int n = d->bias ? 4 : 3;
    for (int i = 0; i < n && !rc; i++) {
        rc = dnnl_memory_set_data_handle(s->mem[i], (void *)(uintptr_t)at[i]);
        args[i] = (dnnl_exec_arg_t){arg[i], s->mem[i]};
    }
    if (!rc) rc = dnnl_primitive_execute(s->prim, stream, n, args);
    return rc ? rc : dnnl_stream_wait(stream);
}

/* k == 0: an empty sum. */
static void fill(const moa_dense *d, float *c, const float *bias) {
    for (int64_t i = 0; i < d->m; i++)
        for (int64_t j = 0; j < d->n; j++) c[i * d->n + j] = (d->add ? c[i * d->n + j] : 0.0f) + (d->bias ? bias[j] : 0.0f);
}

int moa_dense_run(const moa_dense *d, float *c, const void *a, const void *b, const float *bias, moa_err *err) {
    if (d->m == 0 || d->n == 0) return MOA_OK;
    if (d->k == 0) {
        fill(d, c, bias);
        return MOA_OK;
    }
    const int before = omp_get_max_threads();
    if (before != d->n_threads) omp_set_num_threads(d->n_threads);
    pthread_mutex_lock(&lock);
    const dnnl_status_t rc = run_locked(d, c, a, b, bias);
    pthread_mutex_unlock(&lock);
    if (before != d->n_threads) omp_set_num_threads(before);
    if (!rc) return MOA_OK;
    return moa_fail(err, rc == dnnl_out_of_memory ? MOA_ENOMEM : MOA_EUNSUPPORTED,
                    "oneDNN: status %d for a product of [%lld, %lld] by [%lld, %lld]", (int)rc, (long long)d->m, (long long)d->k,
                    (long long)d->k, (long long)d->n);
}
