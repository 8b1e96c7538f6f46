/* hf_data.c - the numbers of a planned tensor: rows of the checkpoint in the order and type that GGUF has.
 *
 *   pairs     llama's rotation joins neighbours (2i, 2i + 1) in GGUF and halves (i, i + hd/2) in checkpoints, so rows of q and k
 *             of a head change places: 2i <- i, 2i + 1 <- i + hd/2
 *   MXFP4     32 values of 4 bits with one exponent. Checkpoint: byte j holds values 2j (low) and 2j + 1. GGUF: the exponent first,
 *             byte j holds values j (low) and j + 16
 * Sources may be unaligned, so numbers are copied out before they are looked at.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MX_VALUES = 32, MX_IN = 16, MX_OUT = 17 };

static int64_t cols_of(const hf_tensor *t) {
    const moa_tensor v = moa_view(MOA_F32, NULL, t->n_dim, t->shape);
    int64_t rows = 0;
    for (int i = 0; i < t->n_piece; i++) rows += t->piece[i].n;
    return moa_tensor_count(&v) / rows;
}

static size_t bytes_of(moa_dtype plain) { return plain == MOA_F32 ? 4 : 2; }

const void *hf_direct(const hf_tensor *t, const hf_piece *p) {
    if (t->op != HF_ROWS || t->dtype != t->from || p->step != 1) return NULL;
    const uint8_t *at = p->t->data + (size_t)p->first * moa_row_bytes(t->from, cols_of(t));
    return (uintptr_t)at % bytes_of(t->from) ? NULL : at;
}

static void pack_mx(uint8_t *dst, const uint8_t *q, const uint8_t *scale, int64_t blocks) {
    for (int64_t b = 0; b < blocks; b++, q += MX_IN, dst += MX_OUT) {
        dst[0] = scale[b];
        for (int j = 0; j < MX_IN; j++) {
            const int lo = q[j / 2] >> (j % 2 * 4) & 15, hi = q[8 + j / 2] >> (j % 2 * 4) & 15;
            dst[1 + j] = (uint8_t)(lo | hi << 4);
        }
    }
}

static void widen(float *dst, moa_dtype from, const uint8_t *src, int64_t n) {
    if (from == MOA_F32) {
        memcpy(dst, src, (size_t)n * 4);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, 2);
        dst[i] = from == MOA_F16 ? moa_f16_to_f32(h) : moa_bf16_to_f32(h);
    }
}

static int64_t source_row(const hf_tensor *t, const hf_piece *p, int64_t i) {
    if (t->op == HF_PAIRS) {
        const int64_t hd = p->n / t->heads;
        i = i / hd * hd + i % hd / 2 + i % 2 * (hd / 2);
    }
    return p->first + p->step * i;
}

/* One row; wide has room for cols floats, packed for a row of MXFP4. */
static void one_row(uint8_t *dst, moa_dtype to, const hf_tensor *t, const hf_piece *p, int64_t i, int64_t cols, float *wide, uint8_t *packed) {
    const int64_t r = source_row(t, p, i);
    if (t->op == HF_MXFP4) {
        const int64_t blocks = cols / MX_VALUES;
        pack_mx(to == t->from ? dst : packed, p->t->data + r * blocks * MX_IN, p->scales->data + r * blocks, blocks);
        if (to == t->from) return;
        moa_type_get(t->from)->dequantize(wide, packed, cols);
    } else if (t->op == HF_COLUMNS) {
        const size_t e = bytes_of(t->from);
        for (int64_t c = 0; c < cols; c++) widen(&wide[c], t->from, p->t->data + (size_t)(r + c * p->t->shape[2]) * e, 1);
    } else {
        const size_t n = (size_t)cols * bytes_of(t->from);
        const uint8_t *src = p->t->data + (size_t)r * n;
        if (to == t->from && t->op != HF_PLUS1) {
            memcpy(dst, src, n);
            return;
        }
        widen(wide, t->from, src, cols);
        for (int64_t c = 0; t->op == HF_PLUS1 && c < cols; c++) wide[c] += 1.0f;
    }
    if (to == MOA_F32) memcpy(dst, wide, (size_t)cols * 4);
    else moa_type_get(to)->quantize(dst, wide, NULL, cols);
}

int hf_rows(void *dst, moa_dtype to, const hf_tensor *t, int64_t from, int64_t n, moa_err *err) {
    if (t->op == HF_VALUES) {
        memcpy(dst, t->values + from * t->shape[0], (size_t)(n * t->shape[0]) * 4);
        return 0;
    }
    /* Pieces may be narrower than rows of the tensor: a bias whose numbers change places. */
    const int64_t cols = cols_of(t), per_row = t->shape[t->n_dim - 1] / cols, each = t->piece[0].n;
    const size_t out_bytes = moa_row_bytes(to, cols);
    int failed = 0;
#pragma omp parallel reduction(+ : failed) if (n * per_row * cols > 1 << 18)
    {
        float *wide = malloc((size_t)cols * (sizeof *wide + 1));
        failed += !wide;
#pragma omp for
        for (int64_t i = from * per_row; i < (from + n) * per_row; i++)
            if (wide)
                one_row((uint8_t *)dst + (size_t)(i - from * per_row) * out_bytes, to, t, &t->piece[i / each], i % each, cols, wide,
                        (uint8_t *)(wide + cols));
        free(wide);
    }
    return failed ? moa_fail(err, MOA_ENOMEM, "tensor '%s': no memory for a row of %lld", t->name, (long long)cols) : 0;
}
