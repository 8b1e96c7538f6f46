/* test_session.c - the promise of session.h: a row's logits are bit-equal alone and in any batch, for any chunks of a
 * prefill, any tree of forks, 1 and 2 threads, every architecture, f32 and f16 KV; and no heap call while decoding.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"
#include "model/support.h"

bool moa_guard_works(void);

enum { LEN = 150, N_SEQ = 12 };

static moa_session *open_session(const moa_model *m, int n_ctx, int threads, moa_dtype kv, bool exact) {
    moa_session *s = NULL;
    moa_err err = {0};
    const moa_session_cfg cfg = {.n_ctx = n_ctx, .n_batch = 64, .n_seq = 16, .n_threads = threads, .isa = MOA_ISA_COUNT, .exact = exact, .kv_type = kv};
    OK(moa_session_new(&s, m, &cfg, &err));
    return s;
}

static void random_tokens(int32_t *tok, int n, int n_vocab, uint64_t seed) {
    moa_rng r;
    moa_rng_seed(&r, seed);
    for (int i = 0; i < n; i++) tok[i] = (int32_t)moa_rng_below(&r, (uint32_t)n_vocab);
}

/* The definition: one sequence alone, one row a step, one thread. */
static float *alone(const moa_model *m, const int32_t *tok, int n, moa_dtype kv, bool exact) {
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_threads = 1;
    cfg.kv_type = kv;
    cfg.exact = exact;
    return logits_of(m, tok, n, 1, cfg);
}

typedef struct seq_state { int id; int len; int32_t tok[LEN]; } seq_state;

/* A tree of forks: sequence i copies the first part of an earlier one, then goes its own way. */
static void random_tree(seq_state *q, int n, int n_vocab, moa_rng *r) {
    for (int i = 0; i < n; i++) {
        random_tokens(q[i].tok, LEN, n_vocab, moa_rng_u64(r));
        if (i) memcpy(q[i].tok, q[moa_rng_below(r, (uint32_t)i)].tok, moa_rng_below(r, LEN - 1) * sizeof(int32_t));
        q[i].id = -1;
        q[i].len = 0;
    }
}

static int common(const int32_t *a, const int32_t *b, int n) {
    int i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* Start q[i] as a fork of whoever has most of it already. */
static void start(moa_session *s, seq_state *q, int i, int n) {
    moa_err err = {0};
    int best = 0, from = -1;
    for (int j = 0; j < n; j++) {
        const int c = j != i && q[j].id >= 0 ? common(q[i].tok, q[j].tok, q[j].len) : 0;
        if (c > best && moa_seq_reaches(s, q[j].id, c)) best = c, from = j;
    }
    q[i].id = from < 0 ? moa_seq_new(s, &err) : moa_seq_fork(s, q[from].id, best, &err);
    assert_true(q[i].id >= 0);
    q[i].len = best;
    assert_int_equal(moa_seq_len(s, q[i].id), best);
}

/* Random mixes of prefill chunks and single rows until all are done; every wanted row is compared as bits. */
static void run_mix(const moa_model *m, int threads, moa_dtype kv, bool exact, uint64_t seed) {
    moa_session *s = open_session(m, N_SEQ * (LEN + MOA_KV_BLOCK), threads, kv, exact);
    seq_state *q = calloc(N_SEQ, sizeof *q);
    float *want[N_SEQ];
    moa_rng r;
    moa_err err = {0};
    moa_rng_seed(&r, seed);
    random_tree(q, N_SEQ, m->h.n_vocab, &r);
    for (int i = 0; i < N_SEQ; i++) want[i] = alone(m, q[i].tok, LEN, kv, exact);
    for (int done = 0, started = 0; done < N_SEQ;) {
        if (started < N_SEQ && moa_rng_below(&r, 2)) start(s, q, started, N_SEQ), started++;
        moa_row row[64];
        int owner[64], n = 0;
        for (int i = 0; i < started; i++) {
            int take = moa_rng_below(&r, 3) ? 1 : (int)moa_rng_below(&r, 40);
            for (int at = q[i].len; take-- > 0 && at < LEN && n < 64; at++) {
                row[n] = (moa_row){q[i].id, q[i].tok[at], moa_rng_below(&r, 3) != 0};
                owner[n++] = i;
            }
        }
        if (!n) continue;
        OK(moa_session_step(s, row, n, &err));
        for (int k = 0; k < n; k++) {
            seq_state *o = &q[owner[k]];
            const float *got = moa_session_logits(s, k);
            assert_int_equal(got != NULL, row[k].want_logits);
            if (got) assert_memory_equal(got, want[owner[k]] + (size_t)o->len * (size_t)m->h.n_vocab, (size_t)m->h.n_vocab * sizeof(float));
            done += ++o->len == LEN;
        }
    }
    for (int i = 0; i < N_SEQ; i++) free(want[i]);
    free(q);
    moa_session_free(s);
}

static void test_bits_dense(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_hparams(), NULL, 1);
    for (uint64_t seed = 1; seed <= 3; seed++)
        for (int threads = 1; threads <= 2; threads++) run_mix(m, threads, MOA_F32, seed & 1, seed);
    run_mix(m, 2, MOA_F16, false, 9);
    moa_model_close(m);
}

static void test_bits_experts(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_moe_hparams(), NULL, 2);
    for (int threads = 1; threads <= 2; threads++) run_mix(m, threads, MOA_F32, false, 20 + (uint64_t)threads);
    moa_model_close(m);
}

static void test_bits_architectures(void **state) {
    (void)state;
    int n;
    const moa_arch *const *all = moa_archs(&n);
    for (int i = 0; i < n; i++) {
        if (all[i]->encoder) continue;
        moa_model *m = arch_model(all[i], 60 + (uint64_t)i);
        for (int threads = 1; threads <= 2; threads++) run_mix(m, threads, i & 1 ? MOA_F32 : MOA_F16, false, 80 + (uint64_t)threads);
        moa_model_close(m);
    }
}

static void ignore(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out) { (void)w, (void)in, (void)out, ++*(int *)ctx; }

/* Who watches products sees them one by one; queries, keys and values, gate and up, and all experts together give the same bits. */
static void test_together(void **state) {
    (void)state;
    int n, tried = 0;
    const moa_arch *const *all = moa_archs(&n);
    for (int i = 0; i < n; i++) {
        moa_err err = {0};
        if (all[i]->encoder) continue;
        moa_model *m = arch_model(all[i], 90 + (uint64_t)i);
        for (int exact = 0; exact < 2; exact++) {
            moa_row row[48];
            moa_session *s[2];
            int seen = 0;
            for (int k = 0; k < 2; k++) {
                s[k] = open_session(m, 64, 1 + k, MOA_F32, exact);
                if (!k) moa_session_watch(s[k], ignore, &seen);
                const int seq = moa_seq_new(s[k], &err);
                for (int r = 0; r < 48; r++) row[r] = (moa_row){seq, (r * 37 + 5) % m->h.n_vocab, true};
                OK(moa_session_step(s[k], row, 48, &err));
            }
            assert_true(seen > 0);
            for (int r = 0; r < 48; r++) assert_memory_equal(moa_session_logits(s[0], r), moa_session_logits(s[1], r), (size_t)m->h.n_vocab * sizeof(float));
            moa_session_free(s[0]), moa_session_free(s[1]);
        }
        tried += m->h.n_expert > 0;
        moa_model_close(m);
    }
    assert_true(tried >= 4);
}

/* attn_kv_b [n_head * (plain + d_value), rank], head by head, as attn_k_b [n_head, rank, plain] and attn_v_b [n_head, d_value, rank]. */
static void put_absorbed(moa_gguf_out *o, const moa_tensor *t, const moa_hparams *h, float *k, float *v) {
    const int plain = h->head_dim - h->n_rot, rank = h->kv_rank, each = (plain + h->d_value) * rank;
    const float *w = t->data;
    char name[64];
    for (int i = 0; i < h->n_head; i++) {
        for (int p = 0; p < plain; p++)
            for (int r = 0; r < rank; r++) k[(i * rank + r) * plain + p] = w[i * each + p * rank + r];
        memcpy(v + i * h->d_value * rank, w + i * each + plain * rank, (size_t)(h->d_value * rank) * sizeof *v);
    }
    const moa_tensor kt = moa_view3(MOA_F32, k, h->n_head, rank, plain), vt = moa_view3(MOA_F32, v, h->n_head, h->d_value, rank);
    snprintf(name, sizeof name, "%.*s.attn_k_b.weight", 5, t->name); /* blk.N */
    moa_gguf_put_tensor(o, name, &kt);
    name[11] = 'v';
    moa_gguf_put_tensor(o, name, &vt);
}

/* The same latent attention from a file in the absorbed form. */
static moa_model *absorbed(const moa_model *made) {
    const moa_hparams *h = &made->h;
    const struct { const char *key; int v; } keys[] = {
        {"head_count_kv", 1}, {"key_length", h->kv_rank + h->n_rot}, {"value_length", h->kv_rank},
        {"key_length_mla", h->head_dim}, {"value_length_mla", h->d_value}};
    static float k[3][1 << 13], v[3][1 << 13];
    char path[4096], key[64];
    moa_model *m = NULL;
    moa_gguf *g = NULL;
    moa_err err = {0};
    int n = 0;
    temp_path(path, sizeof path, "latent.gguf");
    OK(moa_model_save(made, path, MOA_F32, NULL, &err));
    OK(moa_gguf_open(&g, path, &err));
    moa_gguf_out *o = moa_gguf_out_new();
    for (int i = 0; i < moa_gguf_n_kv(g); i++) moa_gguf_put_kv(o, moa_gguf_kv_at(g, i));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(key, sizeof key, "deepseek2.attention.%s", keys[i].key);
        moa_gguf_put_u32(o, key, (uint32_t)keys[i].v);
    }
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        if (!strstr(t->name, "attn_kv_b")) moa_gguf_put_tensor(o, t->name, t);
        else put_absorbed(o, t, h, k[n], v[n]), n++;
    }
    assert_int_equal(n, h->n_layer);
    OK(moa_gguf_write(o, path, &err));
    moa_gguf_out_free(o);
    moa_gguf_close(g);
    OK(moa_model_open(&m, path, &err));
    unlink(path);
    assert_true(m->h.absorbed && m->h.n_kv == h->n_kv && m->h.head_dim == h->head_dim);
    return m;
}

/* Latent attention: the absorbed form gives the expanded one's numbers, and the same bits in any batch. Its 20 heads are more than
 * attention takes at once. */
static void test_bits_latent(void **state) {
    (void)state;
    moa_hparams h = arch_hparams(moa_arch_find("deepseek2", 9));
    moa_model *made = NULL;
    moa_err err = {0};
    h.n_head = h.n_kv = 20;
    OK(moa_model_make(&made, "deepseek2", &h, NULL, 5, &err));
    grow_weights(made, 6.0f);
    moa_model *m = absorbed(made);
    int32_t tok[LEN];
    random_tokens(tok, LEN, m->h.n_vocab, 3);
    float *want = alone(made, tok, LEN, MOA_F32, true), *got = alone(m, tok, LEN, MOA_F32, true);
    const double d = max_difference(want, got, (size_t)LEN * 320);
    printf("   absorbed and expanded: largest difference %.2e\n", d);
    assert_true(d < 2e-3);
    free(want);
    free(got);
    for (int threads = 1; threads <= 2; threads++) run_mix(m, threads, MOA_F32, false, 30 + (uint64_t)threads);
    moa_model_close(m);
    moa_model_close(made);
}

/* The int8 path: quantised weights, mapped from a file. */
static void test_bits_quantised(void **state) {
    (void)state;
    moa_hparams h = tiny_hparams();
    moa_err err = {0};
    char path[4096];
    h.d_model = 256;
    h.d_ff = 512;
    h.head_dim = 32;
    h.n_layer = 2;
    moa_model *made = tiny_model(h, NULL, 3), *m = NULL;
    static const moa_dtype types[] = {MOA_Q8_0, MOA_Q4_K, MOA_Q4_0, MOA_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        temp_path(path, sizeof path, "bits.gguf");
        OK(moa_model_save(made, path, types[i], NULL, &err));
        OK(moa_model_open(&m, path, &err));
        run_mix(m, 2, MOA_F32, false, 40 + i);
        moa_model_close(m);
    }
    unlink(path);
    moa_model_close(made);
}

static void test_copy_on_write(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_hparams(), NULL, 4);
    moa_session *s = open_session(m, 4 * MOA_KV_BLOCK, 1, MOA_F32, false);
    moa_err err = {0};
    moa_row row[64];
    const int a = moa_seq_new(s, &err);
    for (int i = 0; i < 40; i++) row[i] = (moa_row){a, i, false};
    OK(moa_session_step(s, row, 40, &err));
    assert_int_equal(moa_session_free_positions(s), 2 * MOA_KV_BLOCK);
    const int b = moa_seq_fork(s, a, 40, &err), c = moa_seq_fork(s, a, 35, &err);
    assert_int_equal(moa_session_free_positions(s), 2 * MOA_KV_BLOCK); /* a fork costs nothing */
    for (int i = 0; i < 3; i++) row[i] = (moa_row){(int[]){a, b, c}[i], 7, false};
    OK(moa_session_step(s, row, 3, &err)); /* three writers of one block: two copies */
    assert_int_equal(moa_session_free_positions(s), 0);
    moa_seq_free(s, a);
    moa_seq_free(s, b);
    assert_int_equal(moa_session_free_positions(s), 2 * MOA_KV_BLOCK);
    moa_seq_truncate(s, c, 20);
    assert_int_equal(moa_seq_len(s, c), 20);
    assert_int_equal(moa_session_free_positions(s), 3 * MOA_KV_BLOCK);
    moa_session_free(s);
    moa_model_close(m);
}

/* After a truncate the sequence goes on as if the rest had never been. */
static void test_truncate(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_hparams(), NULL, 5);
    moa_session *s = open_session(m, 512, 2, MOA_F32, false);
    int32_t tok[LEN];
    moa_err err = {0};
    random_tokens(tok, LEN, m->h.n_vocab, 6);
    float *want = alone(m, tok, LEN, MOA_F32, false);
    const int a = moa_seq_new(s, &err), keep = 45;
    for (int i = 0; i < 60; i++) OK(moa_session_step(s, &(moa_row){a, tok[i < keep ? i : 0], false}, 1, &err));
    moa_seq_truncate(s, a, keep);
    for (int i = keep; i < LEN; i++) {
        OK(moa_session_step(s, &(moa_row){a, tok[i], true}, 1, &err));
        assert_memory_equal(moa_session_logits(s, 0), want + (size_t)i * 320, 320 * sizeof(float));
    }
    free(want);
    moa_session_free(s);
    moa_model_close(m);
}

/* Full cache, foreign ids, too long: an error with numbers, and nothing has changed. */
static void test_limits(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_hparams(), NULL, 7);
    moa_session *s = open_session(m, 2 * MOA_KV_BLOCK, 1, MOA_F32, false);
    moa_err err = {0};
    moa_row row[64];
    const int a = moa_seq_new(s, &err), b = moa_seq_new(s, &err);
    for (int i = 0; i < 64; i++) row[i] = (moa_row){i < 33 ? a : b, 1, i == 63};
    assert_int_equal(moa_session_step(s, row, 64, &err), MOA_ELIMIT);
    assert_non_null(strstr(err.text, "3 blocks"));
    assert_int_equal(moa_seq_len(s, a), 0);
    assert_int_equal(moa_session_free_positions(s), 2 * MOA_KV_BLOCK);
    OK(moa_session_step(s, row, 32, &err)); /* still works */
    assert_int_equal(moa_session_step(s, &(moa_row){a, 320, true}, 1, &err), MOA_EINVAL);
    assert_int_equal(moa_session_step(s, &(moa_row){a, -1, true}, 1, &err), MOA_EINVAL);
    assert_int_equal(moa_session_step(s, &(moa_row){9, 1, true}, 1, &err), MOA_EINVAL);
    assert_int_equal(moa_session_step(s, row, 65, &err), MOA_EINVAL);
    assert_int_equal(moa_session_step(s, row, 0, &err), MOA_EINVAL);
    assert_true(moa_seq_fork(s, a, 33, &err) == MOA_EINVAL);
    assert_null(moa_session_logits(s, 99));
    for (int i = 2; i < 16; i++) assert_true(moa_seq_new(s, &err) >= 0);
    assert_int_equal(moa_seq_new(s, &err), MOA_ELIMIT);
    moa_session_free(s);
    moa_session_cfg bad = {.n_batch = -1, .kv_type = MOA_F32};
    assert_int_equal(moa_session_new(&s, m, &bad, &err), MOA_EINVAL);
    bad = (moa_session_cfg){.kv_type = MOA_Q4_0, .isa = MOA_ISA_COUNT};
    assert_int_equal(moa_session_new(&s, m, &bad, &err), MOA_EINVAL);
    moa_model_close(m);
}

static void decode_guarded(const moa_model *m, int threads) {
    moa_session *s = open_session(m, 16 * 128, threads, MOA_F32, false);
    moa_err err = {0};
    moa_row row[6];
    int32_t next[6];
    for (int i = 0; i < 6; i++) row[i].seq = i ? moa_seq_fork(s, row[0].seq, 0, &err) : moa_seq_new(s, &err), next[i] = i + 1;
    for (int step = 0; step < 68; step++) {
        for (int i = 0; i < 6; i++) row[i] = (moa_row){row[i].seq, next[i], true};
        if (step == 4) moa_guard_enter("decode");
        const int rc = moa_session_step(s, row, 6, &err);
        for (int i = 0; rc >= 0 && i < 6; i++) next[i] = (int32_t)(fabsf(moa_session_logits(s, i)[step]) * 100) % m->h.n_vocab;
        if (rc < 0) moa_guard_leave();
        assert_int_equal(rc, 0);
    }
    moa_guard_leave();
    moa_session_free(s);
}

static void test_no_heap(void **state) {
    (void)state;
    if (!moa_guard_works()) {
        printf("skip: sanitizers bring their own allocator\n");
        skip();
    }
    moa_model *m = tiny_model(tiny_hparams(), NULL, 8), *e = tiny_model(tiny_moe_hparams(), NULL, 8);
    moa_model *o = arch_model(moa_arch_find("gpt-oss", 7), 8), *g = arch_model(moa_arch_find("gemma2", 6), 8);
    for (int threads = 1; threads <= 2; threads++) {
        decode_guarded(m, threads);
        decode_guarded(e, threads);
        decode_guarded(o, threads);
        decode_guarded(g, threads);
    }
    moa_model_close(m);
    moa_model_close(e);
    moa_model_close(o);
    moa_model_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_dense), cmocka_unit_test(test_bits_experts), cmocka_unit_test(test_bits_architectures), cmocka_unit_test(test_together),
        cmocka_unit_test(test_bits_latent),
        cmocka_unit_test(test_bits_quantised),
        cmocka_unit_test(test_copy_on_write), cmocka_unit_test(test_truncate), cmocka_unit_test(test_limits), cmocka_unit_test(test_no_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
