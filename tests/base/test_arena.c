/* test_arena.c - alignment, growth, merging, limits, marks. SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void pieces_are_aligned_and_apart(void **state) {
    (void)state;
    moa_arena *a = moa_arena_new(0, 0);
    unsigned char *p[300];
    for (int i = 0; i < 300; i++) {
        size_t n = (size_t)i * 37 % 5000;
        p[i] = moa_arena_alloc(a, n);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 64, 0);
        memset(p[i], i & 255, n);
    }
    for (int i = 0; i < 300; i++)
        for (size_t k = 0; k < (size_t)i * 37 % 5000; k++) assert_int_equal(p[i][k], i & 255);
    unsigned char *z = moa_arena_calloc(a, 100);
    for (int k = 0; k < 100; k++) assert_int_equal(z[k], 0);
    assert_string_equal(moa_arena_strndup(a, "hello there", 5), "hello");
    assert_string_equal(moa_arena_strndup(a, "", 0), "");
    moa_arena_free(a);
    moa_arena_free(NULL);
}

static void reset_merges_and_reuses(void **state) {
    (void)state;
    moa_arena *a = moa_arena_new(1000, 0);
    for (int i = 0; i < 100; i++) assert_non_null(moa_arena_alloc(a, 10000));
    size_t held = moa_arena_bytes(a), peak = moa_arena_peak(a);
    assert_true(held >= 1000000 && peak >= 1000000 && peak <= held);
    moa_arena_reset(a);
    assert_true(moa_arena_bytes(a) >= peak && moa_arena_bytes(a) <= held); /* one chunk that holds as much: */
    held = moa_arena_bytes(a);
    char *first = moa_arena_alloc(a, 10000), *last = first;
    for (int i = 1; i < 100; i++) {
        char *p = moa_arena_alloc(a, 10000);
        assert_int_equal(p - last, 10048); /* so the second round lies in one piece */
        last = p;
    }
    assert_int_equal(moa_arena_bytes(a), held);
    assert_int_equal(moa_arena_peak(a), peak);
    moa_arena_reset(a);
    assert_ptr_equal(moa_arena_alloc(a, 1), first);
    moa_arena_free(a);
}

static void limit_is_kept(void **state) {
    (void)state;
    static const size_t limits[] = {1, 63, 64, 100000, 1 << 20, (1 << 20) + 17};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        moa_arena *a = moa_arena_new(0, limits[i]);
        for (int round = 0; round < 3; round++) {
            size_t got = 0;
            while (moa_arena_alloc(a, 1000)) got += 1024;
            assert_true(moa_arena_bytes(a) <= limits[i]);
            assert_true(got <= limits[i] && (limits[i] < 100000 || got * 10 > limits[i] * 9));
            assert_null(moa_arena_alloc(a, limits[i] + 1));
            moa_arena_reset(a);
        }
        moa_arena_free(a);
    }
    moa_arena *a = moa_arena_new(0, 0);
    assert_null(moa_arena_alloc(a, SIZE_MAX));
    assert_null(moa_arena_alloc(a, SIZE_MAX - 64));
    assert_null(moa_arena_strndup(a, "x", SIZE_MAX));
    assert_non_null(moa_arena_alloc(a, 1));
    moa_arena_free(a);
    assert_null(moa_arena_new(1 << 20, 1000));
}

static void marks_give_memory_back(void **state) {
    (void)state;
    moa_arena *a = moa_arena_new(0, 0);
    char *kept = moa_arena_strndup(a, "kept", 4);
    moa_arena_mark m = moa_arena_save(a);
    char *p = moa_arena_alloc(a, 100);
    moa_arena_restore(a, m);
    assert_ptr_equal(moa_arena_alloc(a, 100), p);
    moa_arena_restore(a, m);
    size_t held = 0;
    for (int i = 0; i < 1000; i++) { /* scratch larger than a chunk: the heap is called once, not 1000 times */
        m = moa_arena_save(a);
        char *big = moa_arena_alloc(a, 1 << 20);
        assert_non_null(big);
        memset(big, i, 1 << 20);
        moa_arena_restore(a, m);
        if (i == 1) held = moa_arena_bytes(a);
    }
    assert_int_equal(moa_arena_bytes(a), held);
    assert_string_equal(kept, "kept");
    moa_arena_free(a);
    a = moa_arena_new(0, 0);
    m = moa_arena_save(a); /* of an arena without a chunk */
    assert_non_null(moa_arena_alloc(a, 10));
    moa_arena_restore(a, m);
    assert_non_null(moa_arena_alloc(a, 10));
    moa_arena_free(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_are_aligned_and_apart), cmocka_unit_test(reset_merges_and_reuses), cmocka_unit_test(limit_is_kept), cmocka_unit_test(marks_give_memory_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
