/* test_pack.c - packed weights: every number of every row is where pack.h says; products that read them give the bits of those that read
 * rows, of any number of rows and threads, also when several sessions want the packed form at once; who is offered and when it is wanted.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/cpu.h"
#include "base/rng.h"
#include "tensor/exec.h"
#include "tensor/pack.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const moa_type *packing[32];
static int n_packing;

static int list_types(void **state) {
    int n;
    const moa_type *const *all = moa_types(&n);
    (void)state;
    for (int i = 0; i < n; i++)
        if (moa_type_packs(all[i])) packing[n_packing++] = all[i];
    return 0;
}

/* Weights that any type reads as ordinary numbers: scales are small, whatever byte they are. */
static moa_tensor weights(const moa_type *t, int64_t rows, int64_t cols) {
    const size_t bytes = moa_row_bytes(t->id, cols) * (size_t)rows;
    uint8_t *p = malloc(bytes);
    moa_rng r;
    moa_rng_seed(&r, 3);
    for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)(moa_rng_u64(&r) & 0x3b);
    return moa_view2(t->id, p, rows, cols);
}

static void numbers_are_where_they_belong(void **state) {
    (void)state;
    assert_int_equal(n_packing, 14);
    for (int i = 0; i < n_packing; i++) {
        const moa_type *t = packing[i];
        enum { GROUPS = 3, COLS = 512 };
        const size_t row = moa_row_bytes(t->id, COLS), stride = row + 5; /* rows need not touch */
        uint8_t *w = malloc(GROUPS * MOA_PACK_ROWS * stride), *packed = malloc(GROUPS * MOA_PACK_ROWS * row), back[256];
        moa_rng r;
        moa_rng_seed(&r, (uint64_t)i);
        for (size_t b = 0; b < GROUPS * MOA_PACK_ROWS * stride; b++) w[b] = (uint8_t)moa_rng_u64(&r);
        moa_pack_rows(packed, w, stride, t, GROUPS, COLS);
        for (int o = 0; o < GROUPS * MOA_PACK_ROWS; o++)
            for (int b = 0; b < COLS / t->block; b++) {
                const uint8_t *group = packed + (size_t)(o / MOA_PACK_ROWS) * MOA_PACK_ROWS * row + (size_t)b * MOA_PACK_ROWS * (size_t)t->bytes;
                moa_unpack_block(back, group, t, o % MOA_PACK_ROWS);
                assert_memory_equal(back, w + (size_t)o * stride + (size_t)(b * t->bytes), (size_t)t->bytes);
            }
        free(w), free(packed);
    }
    /* By hand: Q4_0 has its scale first, then words. */
    uint8_t w[MOA_PACK_ROWS][18], packed[MOA_PACK_ROWS * 18];
    for (int r = 0; r < MOA_PACK_ROWS; r++)
        for (int j = 0; j < 18; j++) w[r][j] = (uint8_t)(16 * j + r);
    moa_pack_rows(packed, w, 18, moa_type_get(MOA_Q4_0), 1, 32);
    assert_int_equal(packed[0], 0), assert_int_equal(packed[1], 16);                 /* d of row 0 */
    assert_int_equal(packed[2], 1), assert_int_equal(packed[30], 15);                /* of rows 1, 15 */
    assert_int_equal(packed[32], 2 * 16), assert_int_equal(packed[36], 2 * 16 + 1);  /* first word of rows 0, 1 */
    assert_int_equal(packed[32 + 64], 6 * 16);                                       /* second word of row 0 */
}

static moa_exec new_exec(int threads) {
    moa_exec x = {.arena = moa_arena_new(0, 0), .n_threads = threads, .compute = MOA_F32};
    moa_err err = {0};
    if (moa_kernels_default(&x.k, &err) < 0 || moa_team_new(&x.team, threads, &err) < 0) fail_msg("%s", err.text);
    return x;
}
static void free_exec(moa_exec *x) {
    moa_team_free(x->team);
    moa_arena_free(x->arena);
}

/* Whether a session would read packed weights; -1: an error, kept in last. */
static moa_err last;
static int want(moa_packs *p, moa_repack mode) {
    bool wanted = true;
    last = (moa_err){0};
    return moa_packs_want(p, mode, &wanted, &last) < 0 ? -1 : wanted;
}

static void products_have_the_same_bits(void **state) {
    (void)state;
    static float in[40 * 512];
    moa_rng r;
    moa_rng_seed(&r, 9);
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) in[i] = (float)moa_rng_normal(&r);
    static const int64_t outs[] = {16, 48, 100, 33, 15}, rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 40};
    for (int t = 0; t < n_packing; t++)
        for (size_t o = 0; o < sizeof outs / sizeof *outs; o++) {
            moa_packs *packs = moa_packs_new();
            moa_arena *arena = moa_arena_new(0, 0);
            moa_tensor w = weights(packing[t], outs[o], 512);
            assert_true(moa_packs_offer(packs, arena, &w));
            assert_int_equal(want(packs, MOA_REPACK_ON), outs[o] >= MOA_PACK_ROWS);
            for (size_t n = 0; n < sizeof rows / sizeof *rows; n++)
                for (int threads = 1; threads <= 2; threads++) {
                    moa_exec x = new_exec(threads), y = new_exec(1);
                    x.repack = true;
                    moa_tensor a = moa_view2(MOA_F32, in, rows[n], 512);
                    assert_true((moa_packed(&x, &w) != NULL) == (outs[o] >= MOA_PACK_ROWS));
                    assert_null(moa_packed(&y, &w)); /* a session that does not want it */
                    const moa_tensor *p = moa_linear(&x, &a, &w, NULL), *q = moa_linear(&y, &a, &w, NULL);
                    assert_non_null(p), assert_non_null(q);
                    assert_memory_equal(p->data, q->data, moa_tensor_bytes(p));
                    free_exec(&x), free_exec(&y);
                }
            free(w.data);
            moa_packs_free(packs);
            moa_arena_free(arena);
        }
}

enum { SESSIONS = 4, WEIGHTS = 20 };
typedef struct crowd { moa_tensor *w; const uint8_t *got[WEIGHTS]; } crowd;
static void *want_all(void *arg) {
    crowd *c = arg;
    moa_exec x = new_exec(2);
    x.repack = true;
    for (int i = 0; i < WEIGHTS; i++) c->got[i] = moa_packed(&x, &c->w[i]);
    free_exec(&x);
    return NULL;
}

static void sessions_share_what_one_made(void **state) {
    (void)state;
    moa_packs *packs = moa_packs_new();
    moa_arena *arena = moa_arena_new(0, 0);
    moa_tensor w[WEIGHTS];
    for (int i = 0; i < WEIGHTS; i++) {
        w[i] = weights(moa_type_get(MOA_Q8_0), 64, 256);
        assert_true(moa_packs_offer(packs, arena, &w[i]));
    }
    assert_int_equal(moa_packs_total(packs), WEIGHTS * 64 * 272);
    assert_int_equal(want(packs, MOA_REPACK_ON), 1);
    assert_int_equal(moa_packs_made(packs), 0); /* reserved, not made */
    crowd c[SESSIONS];
    pthread_t thread[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        c[i].w = w;
        assert_int_equal(pthread_create(&thread[i], NULL, want_all, &c[i]), 0);
    }
    for (int i = 0; i < SESSIONS; i++) pthread_join(thread[i], NULL);
    uint8_t *made = malloc(moa_tensor_bytes(&w[0]));
    for (int k = 0; k < WEIGHTS; k++) {
        moa_pack_rows(made, w[k].data, (size_t)w[k].stride[0], moa_type_get(MOA_Q8_0), 4, 256);
        assert_memory_equal(c[0].got[k], made, moa_tensor_bytes(&w[k]));
        for (int i = 1; i < SESSIONS; i++) assert_ptr_equal(c[i].got[k], c[0].got[k]);
        for (int j = 0; j < k; j++) assert_ptr_not_equal(c[0].got[k], c[0].got[j]);
        free(w[k].data);
    }
    free(made);
    assert_int_equal(moa_packs_made(packs), moa_packs_total(packs));
    moa_packs_free(packs);
    moa_arena_free(arena);
}

static void who_is_offered_and_when(void **state) {
    (void)state;
    moa_packs *packs = moa_packs_new();
    moa_arena *arena = moa_arena_new(0, 0);
    moa_err err = {0};
    float f[32] = {0};
    moa_tensor plain = moa_view2(MOA_F32, f, 16, 2), few = weights(moa_type_get(MOA_Q4_0), 15, 64), book = weights(moa_type_get(MOA_IQ2_XS), 16, 256);
    assert_true(moa_packs_offer(packs, arena, &plain) && moa_packs_offer(packs, arena, &few) && moa_packs_offer(packs, arena, &book));
    assert_null(plain.pack), assert_null(few.pack), assert_null(book.pack);
    assert_int_equal(want(packs, MOA_REPACK_ON), 0); /* nothing was */
    assert_int_equal(want(NULL, MOA_REPACK_ON), 0);
    moa_tensor some = weights(moa_type_get(MOA_Q4_0), 16, 64);
    assert_true(moa_packs_offer(packs, arena, &some));
    assert_non_null(some.pack);
    assert_int_equal(want(packs, MOA_REPACK_OFF), 0);
    moa_exec x = new_exec(1);
    x.repack = true;
    assert_null(moa_packed(&x, &some)); /* there is no room yet */
    assert_int_equal(want(packs, MOA_REPACK_AUTO), 1);
    assert_non_null(moa_packed(&x, &some));
    free_exec(&x);
    /* More than there is memory: never, and who asked for it is told. */
    moa_packs *more = moa_packs_new();
    moa_tensor huge = moa_view2(MOA_Q4_0, NULL, (int64_t)1 << 40, 1024);
    assert_true(moa_packs_offer(more, arena, &huge));
    assert_int_equal(want(more, MOA_REPACK_AUTO), 0);
    assert_int_equal(want(more, MOA_REPACK_ON), -1);
    assert_true(last.code == MOA_ENOMEM && strstr(last.text, "no memory for 633318697598976 bytes") && last.hint[0]);
    moa_packs_free(more);
    moa_repack mode = MOA_REPACK_AUTO;
    assert_int_equal(moa_repack_parse(&mode, "off", &err), 0);
    assert_int_equal(mode, MOA_REPACK_OFF);
    assert_int_equal(moa_repack_parse(&mode, NULL, &err), 0);
    assert_int_equal(mode, MOA_REPACK_OFF);
    assert_int_equal(moa_repack_parse(&mode, "sometimes", &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "sometimes"));
    free(few.data), free(book.data), free(some.data);
    moa_packs_free(packs);
    moa_arena_free(arena);
}

/* Each alone has room, all together have not. */
static void models_share_the_memory(void **state) {
    (void)state;
    moa_packs *first = moa_packs_new(), *second = moa_packs_new();
    moa_arena *arena = moa_arena_new(0, 0);
    const int64_t row = (int64_t)moa_row_bytes(MOA_Q4_0, 1024);
    moa_tensor large = moa_view2(MOA_Q4_0, NULL, (int64_t)(moa_cpu_memory() / 5 * 3) / row / 16 * 16 + 16, 1024), small = moa_view2(MOA_Q4_0, NULL, 16, 64);
    assert_true(moa_packs_offer(first, arena, &large) && moa_packs_offer(second, arena, &small));
    if (want(first, MOA_REPACK_ON) == 1) assert_int_equal(want(second, MOA_REPACK_AUTO), 0);
    else print_message("the system reserves no %zu bytes: %s\n", moa_packs_total(first), last.text);
    moa_packs_free(first);
    assert_int_equal(want(second, MOA_REPACK_AUTO), 1);
    moa_packs_free(second);
    moa_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_where_they_belong), cmocka_unit_test(products_have_the_same_bits),
        cmocka_unit_test(sessions_share_what_one_made),  cmocka_unit_test(who_is_offered_and_when),
        cmocka_unit_test(models_share_the_memory),
    };
    return cmocka_run_group_tests(tests, list_types, NULL);
}
