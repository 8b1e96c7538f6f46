/* test_attend.c - attention over the paged cache. Every type of cache and ISA of this CPU against plain sums in double, and against
 * themselves: a column's bits do not depend on its neighbours, on how positions came into the block, or on how a mix is cut. Then
 * whole sessions: spans that are items of their own, ISAs, types.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/support.h"
#include "tensor/attn.h"

enum { B = MOA_KV_BLOCK, MAX_HD = 136, MAX_Q = 50, L = MOA_ATTN_LANES, BYTES = 160 * B * 5 };

static const moa_dtype types[] = {MOA_F32, MOA_F16, MOA_BF16, MOA_Q8_0};
enum { N_TYPE = sizeof types / sizeof *types };
/* Largest relative error of a number that a cache of the type holds; of queries and keys together for scores. */
static const double precision[N_TYPE] = {1e-7, 5e-4, 4e-3, 4.2e-3};

static void fill(float *v, int n, moa_rng *r) {
    for (int i = 0; i < n; i++) v[i] = (float)moa_rng_normal(r);
}

typedef struct block { float key[B * MAX_HD], value[B * MAX_HD]; char k[BYTES], v[BYTES]; } block;

/* Positions of a block, put there in pieces. */
static void fill_block(block *b, const moa_attn_kernels *a, int hd, moa_rng *r) {
    memset(b->k, 0x7f, sizeof b->k); /* what lay there before must not matter: NaNs in every type */
    memset(b->v, 0x7f, sizeof b->v);
    fill(b->key, B * MAX_HD, r);
    fill(b->value, B * MAX_HD, r);
    for (int t = 0, n; t < B; t += n) {
        n = 1 + (int)moa_rng_below(r, (uint32_t)(B - t));
        a->put_key(b->k, b->key + t * MAX_HD, MAX_HD, t, n, hd);
        a->put_value(b->v, b->value + t * MAX_HD, MAX_HD, t, n, hd);
    }
}

static void check_bits(const char *what, const void *a, const void *b, size_t n, const moa_kernel *k) {
    if (memcmp(a, b, n)) fail_msg("%s: %s is not the same", k->name, what);
}

static void check_scores(const moa_kernel *k, const block *b, int type, int hd, int n, moa_rng *r) {
    static float q[MAX_Q * MAX_HD], s[MAX_Q * B], one[B];
    static float packed[MAX_Q * (MAX_HD + 64)];
    const moa_attn_kernels *a = k->fn.attn;
    fill(q, n * hd, r);
    a->query(packed, q, n, hd, 0.25f);
    a->score(s, packed, b->k, n, hd);
    for (int j = 0; j < n; j++) {
        const void *own = (const char *)packed + (size_t)j * moa_attn_query_bytes(k->dtype, hd);
        a->score(one, own, b->k, 1, hd);
        check_bits("a column's score", one, s + j * B, sizeof one, k);
        for (int t = 0; t < B; t++) {
            const float *key = b->key + t * MAX_HD, *query = q + j * hd;
            double want = 0, size = 0, top_k = 0, top_q = 0;
            for (int d = 0; d < hd; d++) {
                want += 0.25 * (double)query[d] * (double)key[d], size += 0.25 * fabs((double)query[d] * (double)key[d]);
                top_k = fmax(top_k, fabs((double)key[d])), top_q = fmax(top_q, fabs((double)query[d]));
            }
            for (int d = 0; k->dtype == MOA_Q8_0 && d < hd; d++) /* half a step of the largest number on either side */
                size += 0.25 * (fabs((double)query[d]) * top_k + fabs((double)key[d]) * top_q + top_k * top_q / 254);
            const double bound = precision[type] * size + 1e-5;
            if (fabs(want - (double)s[j * B + t]) > bound) fail_msg("%s: score %g, expected %g within %g", k->name, (double)s[j * B + t], want, bound);
        }
    }
}

static void check_mix(const moa_kernel *k, const block *b, int type, int hd, int n, moa_rng *r) {
    static float p[MAX_Q * B], o[MAX_Q * MAX_HD + 1], o1[MAX_Q * MAX_HD], before[MAX_Q * MAX_HD];
    const moa_attn_kernels *a = k->fn.attn;
    const int t0 = (int)moa_rng_below(r, B), t1 = t0 + 1 + (int)moa_rng_below(r, (uint32_t)(B - t0)), cut = t0 + (int)moa_rng_below(r, (uint32_t)(t1 - t0));
    fill(p, n * B, r);
    fill(before, n * hd, r);
    memcpy(o, before, sizeof before);
    memcpy(o1, before, sizeof before);
    o[n * hd] = 77; /* one beyond */
    a->mix(o, p, b->v, n, t0, t1, hd);
    assert_true(o[n * hd] == 77);
    for (int j = 0; j < n; j++) { /* alone, and in two steps */
        a->mix(o1 + j * hd, p + j * B, b->v, 1, t0, cut, hd);
        a->mix(o1 + j * hd, p + j * B, b->v, 1, cut, t1, hd);
    }
    check_bits("a column's mix", o, o1, (size_t)(n * hd) * sizeof *o, k);
    for (int j = 0; j < n; j++)
        for (int d = 0; d < hd; d++) {
            double want = (double)before[j * hd + d], size = 0;
            for (int t = t0; t < t1; t++) {
                const double term = (double)p[j * B + t] * (double)b->value[t * MAX_HD + d];
                want += term, size += fabs((double)p[j * B + t]) * (k->dtype == MOA_Q8_0 ? 4.5 : fabs((double)b->value[t * MAX_HD + d]));
            }
            const double bound = precision[type] * size + 1e-5;
            if (fabs(want - (double)o[j * hd + d]) > bound) fail_msg("%s: mix %g, expected %g within %g", k->name, (double)o[j * hd + d], want, bound);
        }
}

/* Two blocks in turn against the sums of the softmax in double; a part of the second is masked. Then the same in two spans, merged. */
static void check_soft(const moa_kernel *k, int hd, int n, moa_rng *r) {
    static float s[2][MAX_Q * B], p[2][MAX_Q * B], max[2][MAX_Q], sum[2][MAX_Q * L], o[2][MAX_Q * MAX_HD];
    const moa_attn_kernels *a = k->fn.attn;
    const int t0 = (int)moa_rng_below(r, 5), t1 = t0 + 1 + (int)moa_rng_below(r, (uint32_t)(B - t0));
    for (int i = 0; i < 2; i++) {
        fill(s[i], n * B, r);
        for (int j = 0; j < n * B; j++) s[i][j] *= 10;
        memcpy(p[i], s[i], sizeof *s);
        for (int j = 0; j < n; j++) max[i][j] = -INFINITY;
        memset(sum[i], 0, sizeof *sum);
        for (int j = 0; j < n * hd; j++) o[i][j] = 0;
    }
    s[1][3] = NAN; /* what is masked does not matter */
    const bool masked = 3 < t0 || 3 >= t1;
    if (!masked) s[1][3] = p[1][3];
    p[1][3] = s[1][3];
    a->soft(p[0], max[0], sum[0], o[0], n, 0, B, hd);
    for (int j = 0; j < n * hd; j++) o[0][j] = 1;
    float first[MAX_Q];
    memcpy(first, max[0], sizeof first);
    a->soft(p[1], max[0], sum[0], o[0], n, t0, t1, hd);
    for (int j = 0; j < n; j++) {
        double top = -1e30, want = 0, got = 0;
        for (int t = 0; t < B; t++) top = fmax(top, (double)s[0][j * B + t]);
        for (int t = t0; t < t1; t++) top = fmax(top, (double)s[1][j * B + t]);
        for (int t = 0; t < B; t++) want += exp((double)s[0][j * B + t] - top);
        for (int t = t0; t < t1; t++) want += exp((double)s[1][j * B + t] - top);
        for (int l = 0; l < L; l++) got += (double)sum[0][j * L + l];
        assert_true((double)max[0][j] == top && fabs(got - want) < 2e-6 * want);
        for (int d = 0; d < hd; d++) assert_true(fabs((double)o[0][j * hd + d] - exp((double)first[j] - top)) < 1e-6);
        for (int t = 0; t < B; t++)
            assert_true(t >= t0 && t < t1 ? fabs((double)p[1][j * B + t] - exp((double)s[1][j * B + t] - top)) < 1e-6 : p[1][j * B + t] == 0);
    }
    /* The same as two states. */
    memcpy(p, s, sizeof p);
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < n; j++) max[i][j] = -INFINITY;
        memset(sum[i], 0, sizeof *sum);
        a->soft(p[i], max[i], sum[i], o[i], n, i ? t0 : 0, i ? t1 : B, hd);
        for (int j = 0; j < n * hd; j++) o[i][j] = (float)(i + 1);
    }
    float was[2][MAX_Q];
    memcpy(was, max, sizeof was);
    a->merge(max[0], sum[0], o[0], max[1], sum[1], o[1], n, hd);
    for (int j = 0; j < n; j++) {
        const double top = fmax((double)was[0][j], (double)was[1][j]), x = exp((double)was[0][j] - top), y = exp((double)was[1][j] - top);
        assert_true((double)max[0][j] == top);
        for (int d = 0; d < hd; d++) assert_true(fabs((double)o[0][j * hd + d] - (x + 2 * y)) < 1e-6);
    }
}

/* Blocks of every ISA are read by every other, and hold the same integers. */
static void check_layout(const moa_kernel *k, const moa_kernel *ref, int hd, moa_rng *r) {
    static block a, b;
    static float va[B * MAX_HD], vb[B * MAX_HD];
    moa_rng same = *r;
    fill_block(&a, k->fn.attn, hd, r);
    fill_block(&b, ref->fn.attn, hd, &same);
    check_bits("a block of keys", a.k, b.k, moa_attn_head_bytes(k->dtype, hd), k);
    check_bits("a block of values", a.v, b.v, moa_attn_head_bytes(k->dtype, hd), k);
    const int n = 1 + (int)moa_rng_below(r, (uint32_t)hd);
    k->fn.attn->turn(va, a.k, n, hd);
    ref->fn.attn->turn(vb, a.k, n, hd);
    check_bits("what keys are as values", va, vb, (size_t)(n * B) * sizeof *va, k);
}

/* Two blocks as two states that are merged: every step of it has the bits of plain C. */
static void check_isa(const moa_kernel *k, const moa_kernel *plain, const block *b, int hd, int n, moa_rng *r) {
    static float q[MAX_Q * MAX_HD], packed[2][MAX_Q * (MAX_HD + 64)], s[2][MAX_Q * B], max[2][2][MAX_Q], sum[2][2][MAX_Q * L], o[2][2][MAX_Q * MAX_HD];
    const moa_attn_kernels *const a[2] = {k->fn.attn, plain->fn.attn};
    const size_t floats = sizeof(float), state = (size_t)(n * hd) * floats;
    const int t0 = (int)moa_rng_below(r, 5), t1 = t0 + 1 + (int)moa_rng_below(r, (uint32_t)(B - t0));
    fill(q, n * hd, r);
    for (int i = 0; i < 2; i++) {
        memset(o[i], 0, sizeof o[i]), memset(sum[i], 0, sizeof sum[i]);
        for (int j = 0; j < n; j++) max[i][0][j] = max[i][1][j] = -INFINITY;
        a[i]->query(packed[i], q, n, hd, 0.3f);
        for (int round = 0; round < 3; round++) { /* a whole block, then a part: maxima grow; the other state; */
            const int to = round == 2, from = round == 1 ? t0 : 0, end = round == 0 ? B : t1;
            a[i]->score(s[i], packed[i], b->k, n, hd);
            for (int j = 0; j < n * B; j++) s[i][j] *= 1.0f + 0.5f * (float)round;
            a[i]->soft(s[i], max[i][to], sum[i][to], o[i][to], n, from, end, hd);
            a[i]->mix(o[i][to], s[i], b->v, n, from, end, hd);
        }
    }
    check_bits("a query", packed[0], packed[1], (size_t)n * moa_attn_query_bytes(k->dtype, hd), k);
    check_bits("a weight", s[0], s[1], (size_t)(n * B) * floats, k);
    for (int merged = 0; merged < 2; merged++) {
        check_bits("a maximum", max[0][0], max[1][0], (size_t)n * floats, k);
        check_bits("a sum", sum[0][0], sum[1][0], (size_t)(n * L) * floats, k);
        check_bits("an output", o[0][0], o[1][0], state, k);
        for (int i = 0; i < 2; i++) a[i]->merge(max[i][0], sum[i][0], o[i][0], max[i][1], sum[i][1], o[i][1], n, hd);
    }
}

static void test_kernels(void **state) {
    (void)state;
    static const int dims[] = {2, 8, 17, 64, 80, 100, 128}, columns[] = {1, 2, 3, 4, 7, 13, 48};
    static block b;
    moa_rng r;
    moa_rng_seed(&r, 1);
    for (int isa = MOA_ISA_REF; isa <= (int)moa_isa_best(); isa++) {
        const moa_kernels *k, *ref;
        assert_int_equal(moa_kernels_get(&k, (moa_isa)isa, NULL), 0);
        assert_int_equal(moa_kernels_get(&ref, MOA_ISA_REF, NULL), 0);
        for (int t = 0; t < N_TYPE; t++)
            for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
                const moa_kernel *one = k->slot[MOA_K_ATTN][types[t]];
                fill_block(&b, one->fn.attn, dims[d], &r);
                check_layout(one, ref->slot[MOA_K_ATTN][types[t]], dims[d], &r);
                for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
                    check_scores(one, &b, t, dims[d], columns[c], &r);
                    check_mix(one, &b, t, dims[d], columns[c], &r);
                    check_soft(one, dims[d], columns[c], &r);
                    check_isa(one, ref->slot[MOA_K_ATTN][types[t]], &b, dims[d], columns[c], &r);
                }
            }
    }
}

/* A number that is not one spoils its own position, and no other. */
static void test_broken_positions(void **state) {
    (void)state;
    static block b;
    static float packed[128], s[B], q[64], o[64], p[B];
    moa_rng r;
    moa_rng_seed(&r, 2);
    for (int isa = MOA_ISA_REF; isa <= (int)moa_isa_best(); isa++)
        for (int t = 0; t < N_TYPE; t++) {
            const moa_kernels *k;
            assert_int_equal(moa_kernels_get(&k, (moa_isa)isa, NULL), 0);
            const moa_attn_kernels *a = k->slot[MOA_K_ATTN][types[t]]->fn.attn;
            fill_block(&b, a, 64, &r);
            b.key[5 * MAX_HD + 40] = NAN, b.value[5 * MAX_HD + 40] = NAN, b.key[6 * MAX_HD] = INFINITY;
            a->put_key(b.k, b.key, MAX_HD, 0, B, 64);
            a->put_value(b.v, b.value, MAX_HD, 0, B, 64);
            fill(q, 64, &r);
            a->query(packed, q, 1, 64, 1);
            a->score(s, packed, b.k, 1, 64);
            for (int i = 0; i < B; i++) assert_true(i == 5 || i == 6 ? !isfinite(s[i]) : isfinite(s[i]));
            for (int i = 0; i < B; i++) p[i] = 1;
            memset(o, 0, sizeof o);
            a->mix(o, p, b.v, 1, 0, 5, 64);
            for (int d = 0; d < 64; d++) assert_true(isfinite(o[d]));
            a->mix(o, p, b.v, 1, 5, B, 64);
            assert_true(isnan(o[40]) && isfinite(o[0]));
        }
}

/* What the types of the cache cost, on every ISA (their bits: test_isa.c). */
static void test_cache_types(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_hparams(), NULL, 3);
    int32_t tok[70];
    for (int i = 0; i < 70; i++) tok[i] = i * 37 % 320;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = true;
    cfg.isa = MOA_ISA_REF;
    float *want = logits_of(m, tok, 70, 70, cfg);
    for (int isa = MOA_ISA_REF; isa <= (int)moa_isa_best(); isa++)
        for (int t = 0; t < N_TYPE; t++) {
            static const double bound[N_TYPE] = {1e-3, 0.05, 0.4, 0.4};
            cfg.isa = (moa_isa)isa;
            cfg.kv_type = types[t];
            float *got = logits_of(m, tok, 70, 33, cfg);
            const double d = max_difference(got, want, 70 * 320);
            if (d > bound[t]) fail_msg("%s cache: logits differ by %g", moa_type_get(types[t])->name, d);
            free(got);
        }
    free(want);
    moa_model_close(m);
}

/* Positions beyond a span, and beyond several: alone with one thread, in chunks, and with spans as items of their own. */
static void long_sequence(const moa_model *m, moa_dtype type) {
    enum { N = 1150 };
    int32_t *tok = malloc(N * sizeof *tok);
    for (int i = 0; i < N; i++) tok[i] = i * 7919 % m->h.n_vocab;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.kv_type = type;
    cfg.n_threads = 1;
    float *want = logits_of(m, tok, N, 100, cfg);
    static const int chunk[] = {1, 3, 700}, threads[] = {4, 2, 3};
    for (int i = 0; i < 3; i++) {
        cfg.n_threads = threads[i];
        float *got = logits_of(m, tok, N, chunk[i], cfg);
        assert_memory_equal(got, want, (size_t)N * (size_t)m->h.n_vocab * sizeof *got);
        free(got);
    }
    free(want);
    free(tok);
}

static void test_spans(void **state) {
    (void)state;
    moa_hparams h = tiny_hparams();
    h.n_ctx = 2048, h.n_layer = 2, h.n_vocab = 64;
    moa_model *m = tiny_model(h, NULL, 4);
    for (int t = 0; t < N_TYPE; t++) long_sequence(m, types[t]);
    moa_model_close(m);
    static const char *const names[] = {"gemma2", "gpt-oss"}; /* windows and soft caps; sinks */
    for (int i = 0; i < 2; i++) {
        const moa_arch *a = moa_arch_find(names[i], strlen(names[i]));
        assert_non_null(a);
        h = arch_hparams(a);
        h.n_ctx = 2048, h.n_layer = 2, h.n_vocab = 64, h.n_window = 600;
        moa_err err = {0};
        OK(moa_model_make(&m, a->name, &h, NULL, 5, &err));
        grow_weights(m, 6.0f);
        long_sequence(m, i ? MOA_F16 : MOA_F32);
        moa_model_close(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels), cmocka_unit_test(test_broken_positions),
                                       cmocka_unit_test(test_cache_types), cmocka_unit_test(test_spans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
