/* attention.h - causal attention inside one document for one kv head and the query heads that share it.
 *
 *   S = (scale Q) K^T,  P = e^(S - lse),  O = P V
 *   dV = P^T dO,  dS = P o (dO V^T - D),  D_i = dO_i . O_i,  dQ = scale dS K,  dK = dS^T (scale Q)
 * after FlashAttention (Dao et al. 2022, arXiv:2205.14135): only lse is kept from forward, backward computes P again,
 * which costs less than writing and reading it. Unlike there, a block of BR query rows keeps its whole row of scores (documents
 * are some hundred tokens, so this is cache), which spares the rescaling of partial sums.
 *
 * K, V, Q are first copied to padded buffers (K and V also transposed), so that all products are the one tile of vec.h
 * and any head size works. Groups of MOA_MR rows stop at their own diagonal; other documents are never looked at. dK and
 * dV of a kv head are summed by one task in the order of heads and rows, so the result does not depend on the threads.
 * SPDX-License-Identifier: Apache-2.0 */
enum { ATTN_BR = 4 * MOA_MR, ATTN_AHEAD = 12 };

typedef struct attn_buf { /* of one thread; hp: padded head size, lp: padded document length */
    int64_t hp, lp;
    float *kt, *vt;       /* [hp, lp] */
    float *k, *v;         /* [l, hp] */
    float *dk, *dv;       /* [l, hp] */
    float *q, *o, *dq, *dx; /* [BR, hp] */
    float *s, *ds;        /* [BR, lp] */
} attn_buf;

static int64_t attn_lp(int64_t l) { return moa_round_up(l, MOA_VL) + MOA_VL; } /* + VL: columns do not fall into one cache set */

static int64_t attention_scratch(int64_t max_doc, int hd, bool back) {
    const int64_t hp = moa_round_up(hd, MOA_VL), lp = attn_lp(max_doc);
    return (back ? 6 : 3) * hp * lp + 4 * ATTN_BR * hp + (back ? 2 : 1) * ATTN_BR * lp;
}

static attn_buf attn_carve(const moa_attn_args *a, int thread, bool back) {
    attn_buf b = {.hp = moa_round_up(a->hd, MOA_VL), .lp = attn_lp(a->max_doc)};
    float *p = a->scratch + thread * a->scratch_floats;
    const int64_t big = b.hp * b.lp, blk = ATTN_BR * b.hp;
    b.kt = p, p += big, b.k = p, p += big, b.v = p, p += big;
    if (back) b.vt = p, p += big, b.dk = p, p += big, b.dv = p, p += big;
    b.q = p, p += blk, b.o = p, p += blk, b.dq = p, p += blk, b.dx = p, p += blk;
    b.s = p, p += ATTN_BR * b.lp;
    if (back) b.ds = p;
    return b;
}

/* dst [n, hp] = scale * src [n, hd], padded with zeros. Rows lie far apart, which the hardware's prefetcher does not follow. */
static void attn_pack(float *restrict dst, int64_t hp, const float *restrict src, int64_t ld, int64_t n, int64_t hd, float scale) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < hd; c += 16) __builtin_prefetch(src + (i + ATTN_AHEAD < n ? i + ATTN_AHEAD : i) * ld + c);
#pragma omp simd
        for (int64_t c = 0; c < hd; c++) dst[i * hp + c] = src[i * ld + c] * scale;
        for (int64_t c = hd; c < hp; c++) dst[i * hp + c] = 0;
    }
}

/* dst [hp, lp] = src [n, hp]^T; columns n..round_up(n, VL) are zero. In squares, so that both sides stay in cache. */
static void attn_transpose(float *restrict dst, int64_t lp, const float *restrict src, int64_t hp, int64_t n) {
    const int64_t np = moa_round_up(n, MOA_VL);
    for (int64_t j0 = 0; j0 < n; j0 += MOA_VL) {
        const int64_t j1 = j0 + MOA_VL < n ? j0 + MOA_VL : n;
        for (int64_t c = 0; c < hp; c++) {
#pragma omp simd
            for (int64_t j = j0; j < j1; j++) dst[c * lp + j] = src[j * hp + c];
        }
    }
    for (int64_t c = 0; c < hp; c++)
        for (int64_t j = n; j < np; j++) dst[c * lp + j] = 0;
}

/* Product of BR rows with columns up to each row group's diagonal: c [m, lp] = a [m, hp] bt [hp, lp]. */
static void attn_scores(float *c, const float *a, const float *bt, const attn_buf *b, int64_t i0, int64_t m) {
    for (int64_t g = 0; g < m; g += MOA_MR) {
        const int64_t mr = m - g < MOA_MR ? m - g : MOA_MR;
        moa_gemm_nn(c + g * b->lp, b->lp, a + g * b->hp, b->hp, bt, b->lp, mr, moa_round_up(i0 + g + mr, MOA_VL), b->hp);
    }
}

/* c [m, hp] = p [m, lp] r [., hp], keys up to each row group's diagonal. */
static void attn_mix(float *c, const float *p, const float *r, const attn_buf *b, int64_t i0, int64_t m) {
    for (int64_t g = 0; g < m; g += MOA_MR) {
        const int64_t mr = m - g < MOA_MR ? m - g : MOA_MR;
        moa_gemm_nn(c + g * b->hp, b->hp, p + g * b->lp, b->lp, r, b->hp, mr, b->hp, i0 + g + mr);
    }
}

/* c [keys, hp] += p [m, lp]^T r [m, hp]; rows above a key group's diagonal are skipped. */
static void attn_spread(float *c, const float *p, const float *r, const attn_buf *b, int64_t i0, int64_t m) {
    for (int64_t j = 0; j < i0 + m; j += MOA_MR) {
        const int64_t mr = i0 + m - j < MOA_MR ? i0 + m - j : MOA_MR, k = j > i0 ? j - i0 : 0;
        moa_gemm_tn_add(c + j * b->hp, b->hp, p + k * b->lp + j, b->lp, r + k * b->hp, b->hp, mr, b->hp, m - k);
    }
}

/* Keys n..np are masked, so that the loops run over whole vectors: e^-inf = 0. Returns np, n rounded up. */
static int64_t attn_mask(float *s, int64_t n) {
    const int64_t np = moa_round_up(n, MOA_VL);
    for (int64_t j = n; j < np; j++) s[j] = -__builtin_inff();
    return np;
}

/* s[0..n) = e^(s - lse), zeros up to end. */
static void attn_exp(float *restrict s, float lse, int64_t n, int64_t end) {
    const int64_t np = attn_mask(s, n);
#pragma omp simd
    for (int64_t j = 0; j < np; j++) s[j] = moa_vexpf(s[j] - lse);
    for (int64_t j = np; j < end; j++) s[j] = 0;
}

/* Softmax numerators of one row in place; returns their sum, *top the largest score. */
static float attn_softmax(float *restrict s, float *top, int64_t n, int64_t end) {
    const int64_t np = attn_mask(s, n);
    const float m = moa_row_max(s, np);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < np; j++) {
        s[j] = moa_vexpf(s[j] - m);
        sum += s[j];
    }
    for (int64_t j = np; j < end; j++) s[j] = 0;
    *top = m;
    return sum;
}

/* Columns of scores that row r's group has: up to the group's diagonal, in whole vectors. */
static int64_t attn_end(int64_t i0, int64_t r, int64_t m) {
    const int64_t g = (r / MOA_MR + 1) * MOA_MR;
    return moa_round_up(i0 + (g < m ? g : m), MOA_VL);
}

/* Fetch the rows of the next block while this one is computed. */
static void attn_fetch(const float *src, int64_t ld, int64_t n, int64_t hd) {
    for (int64_t i = 0; i < n && i < ATTN_BR; i++)
        for (int64_t c = 0; c < hd; c += 16) __builtin_prefetch(src + i * ld + c);
}

static void attn_head(const moa_attn_args *a, const attn_buf *b, int64_t row, int64_t l, int64_t h) {
    const int64_t ld = (int64_t)a->n_head * a->hd;
    for (int64_t i0 = 0; i0 < l; i0 += ATTN_BR) {
        const int64_t m = l - i0 < ATTN_BR ? l - i0 : ATTN_BR;
        float inv[ATTN_BR];
        attn_pack(b->q, b->hp, a->q + (row + i0) * ld + h * a->hd, ld, m, a->hd, a->scale);
        attn_fetch(a->q + (row + i0 + m) * ld + h * a->hd, ld, l - i0 - m, a->hd);
        attn_scores(b->s, b->q, b->kt, b, i0, m);
        for (int64_t r = 0; r < m; r++) {
            float top;
            const float sum = attn_softmax(b->s + r * b->lp, &top, i0 + r + 1, attn_end(i0, r, m));
            inv[r] = 1.0f / sum;
            if (a->lse) a->lse[(row + i0 + r) * a->n_head + h] = top + moa_vlogf(sum);
        }
        attn_mix(b->o, b->s, b->v, b, i0, m);
        for (int64_t r = 0; r < m; r++) {
            const int64_t at = (row + i0 + r) * ld + h * a->hd;
            const float *restrict o = b->o + r * b->hp;
            float *restrict y = a->out + at;
#pragma omp simd
            for (int64_t c = 0; c < a->hd; c++) y[c] = o[c] * inv[r];
            if (a->half) half_row(a->half + at, y, a->hd);
        }
    }
}

/* K and V of head g of a document, as rows and transposed (V only for backward). Returns where they lie, as dK and dV do. */
static int64_t attn_load(const attn_buf *b, const moa_attn_args *a, moa_attn_doc d, int64_t g) {
    const int64_t ld = (int64_t)a->n_kv * a->hd, at = d.row * ld + g * a->hd;
    attn_pack(b->k, b->hp, a->k + at, ld, d.n, a->hd, 1.0f);
    attn_pack(b->v, b->hp, a->v + at, ld, d.n, a->hd, 1.0f);
    attn_transpose(b->kt, b->lp, b->k, b->hp, d.n);
    if (b->vt) attn_transpose(b->vt, b->lp, b->v, b->hp, d.n);
    return at;
}

static void attention(const void *args, int64_t t0, int64_t t1, int thread) {
    const moa_attn_args *a = args;
    const attn_buf b = attn_carve(a, thread, false);
    const int64_t group = a->n_head / a->n_kv;
    for (int64_t t = t0; t < t1; t++) {
        const moa_attn_doc d = a->doc[t / a->n_kv];
        const int64_t g = t % a->n_kv;
        attn_load(&b, a, d, g);
        for (int64_t h = g * group; h < (g + 1) * group; h++) attn_head(a, &b, d.row, d.n, h);
    }
}

/* dst [n, hd] (+)= scale * src [n, hp] */
static void attn_unpack(float *dst, int64_t ld, const float *src, int64_t hp, int64_t n, int64_t hd, float scale, bool to) {
    for (int64_t i = 0; i < n; i++) {
        float *restrict y = dst + i * ld;
        const float *restrict s = src + i * hp;
        if (to) {
#pragma omp simd
            for (int64_t c = 0; c < hd; c++) y[c] += s[c] * scale;
        } else {
#pragma omp simd
            for (int64_t c = 0; c < hd; c++) y[c] = s[c] * scale;
        }
    }
}

/* ds [m, lp]: dP on entry, dS on exit; s: scores on entry, P on exit. */
static void attn_back_scores(const moa_attn_args *a, const attn_buf *b, int64_t row, int64_t i0, int64_t m, int64_t h) {
    const int64_t ld = (int64_t)a->n_head * a->hd;
    for (int64_t r = 0; r < m; r++) {
        const int64_t i = row + i0 + r, n = i0 + r + 1, end = attn_end(i0, r, m);
        float *restrict s = b->s + r * b->lp, *restrict ds = b->ds + r * b->lp;
        const float *restrict o = a->out + i * ld + h * a->hd, *restrict dy = a->dout + i * ld + h * a->hd;
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t c = 0; c < a->hd; c++) dot += o[c] * dy[c];
        attn_exp(s, a->lse[i * a->n_head + h], n, end);
#pragma omp simd
        for (int64_t j = 0; j < end; j++) ds[j] = s[j] * (ds[j] - dot);
    }
}

static void attn_head_back(const moa_attn_args *a, const attn_buf *b, int64_t row, int64_t l, int64_t h) {
    const int64_t ld = (int64_t)a->n_head * a->hd;
    for (int64_t i0 = 0; i0 < l; i0 += ATTN_BR) {
        const int64_t m = l - i0 < ATTN_BR ? l - i0 : ATTN_BR, at = (row + i0) * ld + h * a->hd;
        attn_pack(b->q, b->hp, a->q + at, ld, m, a->hd, a->scale);
        attn_pack(b->dx, b->hp, a->dout + at, ld, m, a->hd, 1.0f);
        attn_fetch(a->out + at, ld, m, a->hd);
        attn_fetch(a->q + at + m * ld, ld, l - i0 - m, a->hd);
        attn_fetch(a->dout + at + m * ld, ld, l - i0 - m, a->hd);
        attn_scores(b->s, b->q, b->kt, b, i0, m);
        attn_scores(b->ds, b->dx, b->vt, b, i0, m);
        attn_back_scores(a, b, row, i0, m, h);
        if (a->dv) attn_spread(b->dv, b->s, b->dx, b, i0, m);
        if (a->dk) attn_spread(b->dk, b->ds, b->q, b, i0, m);
        if (!a->dq) continue;
        attn_mix(b->dq, b->ds, b->k, b, i0, m);
        attn_unpack(a->dq + at, ld, b->dq, b->hp, m, a->hd, a->scale, a->add_q);
    }
}

static void attention_back(const void *args, int64_t t0, int64_t t1, int thread) {
    const moa_attn_args *a = args;
    const attn_buf b = attn_carve(a, thread, true);
    const int64_t ld = (int64_t)a->n_kv * a->hd, group = a->n_head / a->n_kv;
    for (int64_t t = t0; t < t1; t++) {
        const moa_attn_doc d = a->doc[t / a->n_kv];
        const int64_t g = t % a->n_kv, at = attn_load(&b, a, d, g);
        memset(b.dk, 0, (size_t)(d.n * b.hp) * sizeof(float));
        memset(b.dv, 0, (size_t)(d.n * b.hp) * sizeof(float));
        for (int64_t h = g * group; h < (g + 1) * group; h++) attn_head_back(a, &b, d.row, d.n, h);
        if (a->dk) attn_unpack(a->dk + at, ld, b.dk, b.hp, d.n, a->hd, 1.0f, a->add_k);
        if (a->dv) attn_unpack(a->dv + at, ld, b.dv, b.hp, d.n, a->hd, 1.0f, a->add_v);
    }
}
