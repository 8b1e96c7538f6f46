/* test_families.c - the conformance test of families.def: what every family must do, at every level.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 500, MAX_QUESTION = 240, MAX_SOLUTION = 360, TRAIN_N = 20000, HELDOUT_N = 4000 };

static void make(moa_item *it, const moa_family *f, moa_split split, uint64_t seed, uint64_t i, int level) {
    moa_err err = {0};
    if (moa_item_make(it, f, split, seed, i, level, &err) < 0) fail_msg("%s", err.text);
}

static bool plain(const moa_buf *b) {
    if (!b->len || b->data[0] == ' ' || b->data[b->len - 1] == ' ' || b->data[b->len - 1] == '\n') return false;
    for (size_t i = 0; i < b->len; i++)
        if (((unsigned char)b->data[i] < ' ' && b->data[i] != '\n') || (unsigned char)b->data[i] > '~') return false;
    return !strstr(b->data, " \n") && !strstr(b->data, "..") && !strstr(b->data, "$") && !strstr(b->data, " .");
}

/* The last line is "Answer: " and what the checker wants; the reply fails as soon as the answer is another. */
static void check_scored(const moa_item *it) {
    moa_buf got, wrong;
    moa_buf_init(&got, 4096);
    moa_buf_init(&wrong, 4096);
    assert_true(it->answer.len > 0);
    const char *s = moa_buf_str(&it->solution), *last = strrchr(s, '\n');
    if (!last || strncmp(last, "\nAnswer: ", 9) != 0 || strstr(s, "Answer: ") != last + 1) fail_msg("no answer line: %s", s);
    assert_true(moa_answer_extract(&got, s, it->solution.len));
    assert_string_equal(moa_buf_str(&got), moa_buf_str(&it->answer));
    assert_true(moa_item_check(it, s, it->solution.len));
    static const char *const before[] = {"", "", "x", "-7"}, *const after[] = {"1", " x", "", ""};
    for (int k = 0; k < 4; k++) {
        moa_buf_clear(&wrong);
        moa_buf_addf(&wrong, "Answer: %s%s%s", before[k], it->answer.data, after[k]);
        if (moa_item_check(it, wrong.data, wrong.len)) fail_msg("'%s' passed for '%s'", wrong.data, it->answer.data);
    }
    const char *named = strstr(s, "nswer is ");
    if (!named || named > last) assert_false(moa_item_check(it, s, (size_t)(last - s))); /* steps alone are no answer, unless they name it ("So the answer is C.") */
    moa_buf_deinit(&got);
    moa_buf_deinit(&wrong);
}

static void test_items(void **state) {
    (void)state;
    int n;
    const moa_family *const *f = moa_families(&n);
    moa_item it;
    moa_item_init(&it);
    for (int k = 0; k < n; k++)
        for (int level = 1; level <= f[k]->n_level; level++)
            for (uint64_t i = 0; i < N; i++) {
                make(&it, f[k], i % 2 ? MOA_HELDOUT : MOA_TRAIN, 11, i, level);
                assert_int_equal(it.level, level);
                assert_ptr_equal(it.family, f[k]);
                if (!plain(&it.question) || !plain(&it.solution)) fail_msg("%s %d: [%s] [%s]", f[k]->name, level, it.question.data, it.solution.data);
                if (it.question.len > (f[k]->scored ? MAX_QUESTION : 4 * MAX_QUESTION) || it.solution.len > MAX_SOLUTION)
                    fail_msg("%s %d too long: [%s] [%s]", f[k]->name, level, it.question.data, it.solution.data);
                if (f[k]->scored) check_scored(&it);
                else assert_int_equal(it.answer.len, 0);
            }
    moa_item_deinit(&it);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* No question of one split, however worded, in the other; and held-out is not a handful. */
static void test_splits(void **state) {
    (void)state;
    int n;
    const moa_family *const *f = moa_families(&n);
    static uint64_t id[2][TRAIN_N];
    static const int count[2] = {TRAIN_N, HELDOUT_N};
    moa_item it;
    moa_item_init(&it);
    for (int k = 0; k < n; k++) {
        if (!f[k]->scored) continue;
        for (int s = 0; s < 2; s++)
            for (int i = 0; i < count[s]; i++) {
                make(&it, f[k], (moa_split)s, 5 + (uint64_t)s, (uint64_t)i, 0);
                id[s][i] = moa_hash64(it.question.data, it.question.len, 0);
                assert_int_equal(it.id % 8 == 0, s == MOA_HELDOUT);
            }
        int distinct = 1;
        for (int s = 0; s < 2; s++) qsort(id[s], (size_t)count[s], sizeof **id, by_value);
        for (int i = 1; i < HELDOUT_N; i++) distinct += id[1][i] != id[1][i - 1];
        for (int i = 0; i < TRAIN_N; i++) assert_null(bsearch(&id[0][i], id[1], HELDOUT_N, sizeof **id, by_value));
        assert_true(distinct > 2000);
    }
    moa_item_deinit(&it);
}

/* Change a family on purpose and put the new number here; a model trained before knows the old items. */
static void test_determinism(void **state) {
    (void)state;
    static const struct { const char *family; uint64_t hash; } want[] = {
        {"arithmetic", 0xb8d9a609ae308641ull},  {"word_problem", 0x4ef54056af8e2998ull}, {"program", 0x8999c86d59d0887dull},
        {"world", 0x1bc2f46e4bdffb1dull},       {"text", 0x355f4731b1ccb35eull},         {"translate", 0xf6819117489af6d9ull},
        {"world_facts", 0xe082b792f049ea46ull}, {"about", 0x966ebb800ba3894bull},     {"echo", 0x51d3f672a30fa741ull},
    };
    int n;
    const moa_family *const *f = moa_families(&n);
    moa_item it;
    moa_item_init(&it);
    bool same = true;
    for (int k = 0; k < n; k++) {
        uint64_t h = 0;
        for (uint64_t i = 200; i-- > 0;) { /* backwards: an item does not depend on those before it */
            make(&it, f[k], i % 2 ? MOA_HELDOUT : MOA_TRAIN, 1, i, 0);
            const moa_buf *b[] = {&it.question, &it.solution, &it.answer, &it.key};
            uint64_t one = i;
            for (int j = 0; j < 4; j++) one = moa_hash64(moa_buf_str(b[j]), b[j]->len, one);
            h += moa_mix64(one);
        }
        bool found = false;
        for (size_t j = 0; j < sizeof want / sizeof *want; j++) found |= strcmp(want[j].family, f[k]->name) == 0 && want[j].hash == h;
        if (!found) print_message("{\"%s\", 0x%016llxull},\n", f[k]->name, (unsigned long long)h);
        same &= found;
    }
    moa_item_deinit(&it);
    assert_true(same);
}

static void test_wrong_use(void **state) {
    (void)state;
    moa_err err = {0};
    moa_item it;
    moa_item_init(&it);
    const moa_family *f = moa_family_find("arithmetic");
    assert_non_null(f);
    assert_null(moa_family_find("aritmetic"));
    assert_int_equal(moa_item_make(&it, f, MOA_TRAIN, 1, 1, 6, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "level 6"));
    assert_int_equal(moa_item_make(&it, f, MOA_TRAIN, 1, 1, -1, NULL), MOA_EINVAL);
    moa_item_deinit(&it);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_items), cmocka_unit_test(test_splits), cmocka_unit_test(test_determinism), cmocka_unit_test(test_wrong_use)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
